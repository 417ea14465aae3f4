"""Every variant without faults; every fault of an install."""

from __future__ import annotations

import pytest
import worlds
from meeting import meet

pytestmark = pytest.mark.timeout(7200)


def test_install(campaign_of):
    meet(campaign_of, "install")


@pytest.mark.parametrize("variant", worlds.VARIANTS, ids=lambda variant: variant.name)
def test_without_faults_every_operation_ends_as_it_should(campaign_of, variant):
    campaign = campaign_of(variant)
    assert {"before", "installed", "upgraded"} <= set(campaign.states)
    assert all(len(points) > 20 for points in campaign.points.values())
