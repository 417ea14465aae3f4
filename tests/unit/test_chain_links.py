"""Every link broken in turn, on every platform: the first broken link is exactly that one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from chain_facts import (
    GPUS,
    NPUS,
    Facts,
    chain,
    gpu_machine,
    library,
    npu_machine,
    right,
    unbind,
    unlist,
    wrong,
)

from local_opus.values import LinkName, LinkState

NPU_LINKS = [name for name in LinkName if name is not LinkName.PROCESSOR]
Change = Callable[[Facts], object]


def on_item(**changes: object) -> Change:
    return lambda machine: [item.update(changes) for item in machine["accelerators"]]


def missing_module(machine: Facts) -> None:
    unbind(machine)["software"]["modules"] = dict.fromkeys(("i915", "xe", "intel_vpu"), "missing")


def old_kernel(machine: Facts) -> None:
    unbind(machine)["os"]["kernel"] = "5.15.0-91-generic"


def module_that_gave_up(machine: Facts) -> None:
    unbind(machine)


def no_firmware(machine: Facts) -> None:
    for item in machine["accelerators"]:
        item["firmware"] = []
    if machine["accelerators"][0]["driver"] != "i915":  # i915 makes its node all the same
        unbind(machine)


def lose(*names: str) -> Change:
    return lambda machine: machine["software"]["libraries"].update(dict.fromkeys(names))


def nothing(_machine: Facts) -> None:
    """Change nothing but OpenVINO's list."""


BOTH: dict[str, tuple[LinkName, Change]] = {
    "no module": (LinkName.DRIVER, missing_module),
    "an old kernel": (LinkName.DRIVER, old_kernel),
    "a driver that gave up": (LinkName.DRIVER, module_that_gave_up),
    "a virtual machine's driver": (LinkName.DRIVER, on_item(driver="vfio-pci", node=None)),
    "no firmware": (LinkName.FIRMWARE, no_firmware),
    "no node": (LinkName.NODE, on_item(node=None, node_problem="its driver made no node")),
    "no node in /dev": (LinkName.NODE, on_item(node_problem="no such file or directory")),
    "busy": (LinkName.NODE, on_item(node_problem="device or resource busy")),
    "no permission": (LinkName.PERMISSION, on_item(node_problem="permission denied")),
    "not allowed": (LinkName.PERMISSION, on_item(node_problem="operation not permitted")),
    "not listed": (LinkName.PLUGIN, nothing),
}
NPU_ONLY: dict[str, tuple[LinkName, Change]] = {
    "no loader": (LinkName.LIBRARIES, lose("libze_loader.so.1")),
    "no driver library": (LinkName.LIBRARIES, lose("libze_intel_npu.so.1")),
    "an old loader": (
        LinkName.LIBRARIES,
        lambda machine: machine["software"]["libraries"].update(
            {"libze_loader.so.1": library("libze_loader.so.1", "1.8.12")}
        ),
    ),
}
GPU_ONLY: dict[str, tuple[LinkName, Change]] = {
    "no OpenCL loader": (LinkName.LIBRARIES, lose("libOpenCL.so.1")),
    "no ICD file": (LinkName.LIBRARIES, lambda machine: machine["software"].update(icds={})),
    "no driver library": (LinkName.LIBRARIES, lose("libigdrcl.so")),
}


@pytest.mark.parametrize("generation", NPUS)
def test_every_link_of_a_good_npu_holds(generation: str) -> None:
    found = chain(npu_machine(generation), "NPU", right("NPU"))
    assert [link.state for link in found.links] == [LinkState.HOLDS] * len(NPU_LINKS)
    assert [link.name for link in found.links] == NPU_LINKS
    assert (found.fix, found.broken, found.openvino_name) == (None, None, "NPU")


@pytest.mark.parametrize("platform", GPUS)
def test_every_link_of_a_good_gpu_holds(platform: str) -> None:
    found = chain(gpu_machine(platform), "GPU", right("GPU"))
    assert [link.state for link in found.links] == [LinkState.HOLDS] * len(NPU_LINKS)
    assert (found.fix, found.openvino_name) == (None, "GPU")


def broken_in(machine: Facts, kind: str, change: Change) -> LinkName:
    """Break one thing; return the first broken link, of which everything else is checked."""
    change(machine)
    found = chain(unlist(machine, kind), kind)
    states = [link.state for link in found.links]
    assert states.count(LinkState.BROKEN) == 1
    first = states.index(LinkState.BROKEN)
    assert set(states[first + 1 :]) <= {LinkState.NOT_REACHED}
    assert LinkState.NOT_REACHED not in states[:first]
    assert found.links[first].evidence
    assert found.fix is not None
    assert "\n" not in "".join((found.fix.text, *found.fix.commands, found.links[first].evidence))
    return found.links[first].name


@pytest.mark.parametrize("case", BOTH | NPU_ONLY)
@pytest.mark.parametrize("generation", NPUS)
def test_the_broken_link_of_an_npu(generation: str, case: str) -> None:
    link, change = (BOTH | NPU_ONLY)[case]
    assert broken_in(npu_machine(generation), "NPU", change) is link


@pytest.mark.parametrize("generation", ["Meteor Lake", "Arrow Lake", "Lunar Lake", "Panther Lake"])
def test_an_npu_that_the_pci_bus_does_not_show(generation: str) -> None:
    machine = npu_machine(generation)
    assert broken_in(machine, "NPU", lambda one: one.update(accelerators=[])) is LinkName.PCI
    found = chain(machine, "NPU")
    assert found.name == f"Intel AI Boost ({generation})"
    assert found.fix is not None
    assert "BIOS" in found.fix.text


@pytest.mark.parametrize("case", BOTH | GPU_ONLY)
@pytest.mark.parametrize("platform", GPUS)
def test_the_broken_link_of_a_gpu(platform: str, case: str) -> None:
    link, change = (BOTH | GPU_ONLY)[case]
    assert broken_in(gpu_machine(platform), "GPU", change) is link


@pytest.mark.parametrize("kind", ["CPU", "GPU", "NPU"])
def test_a_wrong_inference_is_the_last_link(kind: str) -> None:
    machine = gpu_machine() if kind == "GPU" else npu_machine()
    found = chain(machine, kind, wrong(kind, "the result is wrong"))
    assert found.broken is not None
    assert (found.broken.name, found.broken.evidence) == (LinkName.INFERENCE, "the result is wrong")
    assert [link.state for link in found.links[:-1]] == [LinkState.HOLDS] * (len(found.links) - 1)
    assert found.fix is not None


def test_without_a_try_the_inference_is_unknown() -> None:
    found = chain(npu_machine(), "NPU")
    assert (found.links[-1].state, found.links[-1].evidence) == (LinkState.UNKNOWN, "not tried")
    assert found.broken is None


@pytest.mark.parametrize("kind", ["GPU", "NPU"])
def test_what_openvino_lists_works_whatever_the_files_look_like(kind: str) -> None:
    machine = gpu_machine() if kind == "GPU" else npu_machine()
    machine["software"] = {}
    machine["os"]["kernel"] = "5.14.0-503.el9.x86_64"
    on_item(firmware=[])(machine)
    assert chain(machine, kind, right(kind)).broken is None


def test_links_that_nothing_tells_of_do_not_break() -> None:
    machine = unlist(npu_machine(), "NPU")
    machine["software"]["libraries"] = {}
    found = chain(machine, "NPU")
    states = {link.name: link.state for link in found.links}
    assert states[LinkName.LIBRARIES] is LinkState.UNKNOWN
    assert found.broken is not None
    assert found.broken.name is LinkName.PLUGIN
    assert found.fix is not None
    assert "user-space driver" in found.fix.text
