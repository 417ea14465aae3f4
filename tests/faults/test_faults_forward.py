"""Every variant without faults; every fault of an install."""

from __future__ import annotations

import choosing
import pytest
import worlds
from meeting import meet

from local_opus.actions import REGISTRY

pytestmark = pytest.mark.timeout(7200)


def test_install(campaigns):
    meet(campaigns, "install")


@pytest.mark.parametrize("variant", worlds.VARIANTS, ids=lambda variant: variant.name)
def test_without_faults_every_operation_ends_as_it_should(campaigns, variant):
    prepared = campaigns.prepared(variant)
    assert {"before", "installed", "upgraded"} <= set(prepared["states"])
    assert all(count > 20 for count in prepared["points"].values())


def test_every_kind_of_action_meets_faults_or_is_named_with_a_reason():
    plans = [worlds.choice(one, version).plan for one in worlds.VARIANTS for version in (1, 2)]
    planned = {action.kind for plan in plans for action in plan.actions}
    assert planned | set(choosing.LEFT_OUT) == set(REGISTRY)
    assert not planned & set(choosing.LEFT_OUT)
