"""The permission of the service's user, who is in the groups that its unit names."""

from __future__ import annotations

import pytest
from chain_facts import Facts, chain, gpu_machine, npu_machine, unlist

from local_opus.values import LinkName, LinkState

RENDER = frozenset({"local-opus", "render"})
HOLDS, BROKEN, UNKNOWN = LinkState.HOLDS, LinkState.BROKEN, LinkState.UNKNOWN
#: Group and mode of the node, the service's permission, words of the evidence.
NODES = {
    "as udev's default": ("render", "0660", HOLDS, "in the group render, may open"),
    "open to all": ("root", "0666", HOLDS, "every user may open"),
    "of root": ("root", "0660", BROKEN, "belongs to root"),
    "of a number": (None, "0660", BROKEN, "no group that has a name"),
    "closed to the group": ("render", "0600", BROKEN, "the group render may not open it"),
    "read only": ("render", "0640", BROKEN, "the group render may not open it"),
    "of a mode that is not told": ("render", None, UNKNOWN, "its mode is not told"),
    "of a strange mode": ("render", "rw", BROKEN, "may not open it"),
}


def with_node(machine: Facts, group: str | None, mode: str | None) -> Facts:
    machine["accelerators"][0].update(node_group=group, node_mode=mode)
    return machine


@pytest.mark.parametrize("kind", ["GPU", "NPU"])
@pytest.mark.parametrize("case", NODES)
def test_the_node_decides(case: str, kind: str) -> None:
    group, mode, state, words = NODES[case]
    machine = with_node(gpu_machine() if kind == "GPU" else npu_machine(), group, mode)
    found = chain(machine, kind, groups=RENDER)
    permission = next(link for link in found.links if link.name is LinkName.PERMISSION)
    assert permission.state is state
    assert words in permission.evidence
    if state is BROKEN:
        assert found.fix is not None
        assert 'GROUP="render"' in " ".join(found.fix.commands)
        assert "usermod" not in " ".join(found.fix.commands)
        assert chain(machine, kind).broken is None


@pytest.mark.parametrize("kind", ["GPU", "NPU"])
def test_where_this_user_may_not_and_the_service_may(kind: str) -> None:
    machine = unlist(gpu_machine() if kind == "GPU" else npu_machine(), kind)
    machine["accelerators"][0]["node_problem"] = "permission denied"
    ours = chain(machine, kind)
    assert ours.broken is not None
    assert ours.broken.name is LinkName.PERMISSION
    found = chain(machine, kind, groups=RENDER)
    states = {link.name: link.state for link in found.links}
    assert found.broken is None
    assert states[LinkName.PERMISSION] is HOLDS
    assert states[LinkName.PLUGIN] is UNKNOWN


@pytest.mark.parametrize("kind", ["GPU", "NPU"])
def test_what_the_service_lacks_all_the_same(kind: str) -> None:
    machine = unlist(gpu_machine() if kind == "GPU" else npu_machine(), kind)
    machine["accelerators"][0]["node_problem"] = "permission denied"
    name = "libOpenCL.so.1" if kind == "GPU" else "libze_loader.so.1"
    machine["software"]["libraries"][name] = None
    found = chain(machine, kind, groups=RENDER)
    assert found.broken is not None
    assert found.broken.name is LinkName.LIBRARIES


@pytest.mark.parametrize("kind", ["GPU", "NPU"])
@pytest.mark.parametrize("mode", ["0660", None])
def test_another_group_that_the_unit_names_is_as_good(kind: str, mode: str | None) -> None:
    machine = with_node(gpu_machine() if kind == "GPU" else npu_machine(), "video", mode)
    found = chain(machine, kind, groups=frozenset({"local-opus", "video"}))
    permission = next(link for link in found.links if link.name is LinkName.PERMISSION)
    assert permission.state is (HOLDS if mode else UNKNOWN)
    assert "the group video" in permission.evidence


@pytest.mark.parametrize("kind", ["GPU", "NPU"])
@pytest.mark.parametrize(("group", "groups"), [("video", RENDER), ("render", frozenset())])
def test_a_group_that_the_unit_does_not_name_is_had_by_an_install(
    kind: str, group: str, groups: frozenset[str]
) -> None:
    machine = with_node(gpu_machine() if kind == "GPU" else npu_machine(), group, "0660")
    found = chain(machine, kind, groups=groups)
    assert found.broken is not None
    assert found.broken.name is LinkName.PERMISSION
    assert f"belongs to the group {group}; the service is not in it" in found.broken.evidence
    assert found.fix is not None
    assert found.fix.commands == (f"sudo local-opus install --local-opus --device {kind}",)
