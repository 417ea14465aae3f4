"""Every fault of an upgrade, of an uninstall, and of the way back of an install that fails."""

from __future__ import annotations

import pytest
from meeting import meet

pytestmark = pytest.mark.timeout(7200)


@pytest.mark.parametrize("operation", ["upgrade", "uninstall", "purge", "rollback"])
def test_operation(campaigns, operation):
    meet(campaigns, operation)
