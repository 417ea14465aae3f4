"""Every variant without faults; every fault of an install."""

from __future__ import annotations

import pytest
import worlds
from meeting import meet

pytestmark = pytest.mark.timeout(7200)


def test_install(campaigns):
    meet(campaigns, "install")


@pytest.mark.parametrize("variant", worlds.VARIANTS, ids=lambda variant: variant.name)
def test_without_faults_every_operation_ends_as_it_should(campaigns, variant):
    prepared = campaigns.prepared(variant)
    assert {"before", "installed", "upgraded"} <= set(prepared["states"])
    assert all(count > 20 for count in prepared["points"].values())
