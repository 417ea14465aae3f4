"""Which of OpenVINO's devices is which PCI device."""

from __future__ import annotations

from typing import Any

import pytest
from chain_facts import Facts, facts, gpu, listed, npu, uuid

from local_opus.devices.matching import is_foreign, match
from local_opus.devices.platforms import is_backported, npu_of_processor, version
from local_opus.values import DeviceFacts, HostFacts

ARC = gpu("Battlemage", "0000:03:00.0")
OTHER = gpu("Alchemist", "0000:04:00.0")
TWIN = gpu("Battlemage", "0000:05:00.0")
DENIED = {"node_problem": "permission denied"}


def at(bus: str, device: str = "0") -> str:
    return f"{{domain: 0 bus: {bus} device: {device} function: 0}}"


#: Accelerators, OpenVINO's devices, its name by address, the devices left over.
CASES: dict[str, tuple[list[Facts], list[Facts], dict[str, str], list[str]]] = {
    "by id": ([ARC, OTHER], [listed("GPU", DEVICE_UUID=uuid("56a0"))],
              {"0000:04:00.0": "GPU"}, []),
    "by address, against the order": (
        [ARC, TWIN],
        [listed("GPU.0", DEVICE_PCI_INFO=at("5")), listed("GPU.1", DEVICE_PCI_INFO=at("0x3"))],
        {"0000:03:00.0": "GPU.1", "0000:05:00.0": "GPU.0"}, []),
    "an address in the form of another release": (
        [npu()], [listed("NPU", DEVICE_PCI_INFO="domain: 0, bus: 0, device: 0xb, function: 0")],
        {"0000:00:0b.0": "NPU"}, []),
    "an address that is a PCI id": (
        [npu()], [listed("NPU", DEVICE_PCI_INFO=at("0", "0x7d1d"))], {"0000:00:0b.0": "NPU"}, []),
    "an address that is none": (
        [npu()], [listed("NPU", DEVICE_PCI_INFO=at("x"))], {"0000:00:0b.0": "NPU"}, []),
    "by number, the closed one is missing": (
        [ARC | DENIED, OTHER], [listed("GPU")], {"0000:04:00.0": "GPU"}, []),
    "by number, all are there": (
        [ARC, OTHER], [listed("GPU.0"), listed("GPU.1")],
        {"0000:03:00.0": "GPU.0", "0000:04:00.0": "GPU.1"}, []),
    "equal cards, one of them closed": (
        [ARC | DENIED, TWIN], [listed("GPU", DEVICE_UUID=uuid("e20b"))],
        {"0000:05:00.0": "GPU"}, []),
    "an NVIDIA card is none of ours": (
        [ARC], [listed("GPU", DEVICE_ARCHITECTURE="GPU: vendor=0x10de arch=v12")], {}, []),
    "an NVIDIA card by its name": ([ARC], [listed("GPU", "NVIDIA GPU (dGPU)")], {}, []),
    "a GPU is no NPU": ([ARC, npu()], [listed("GPU")], {"0000:03:00.0": "GPU"}, []),
    "more than sysfs shows": (
        [ARC], [listed("GPU.0"), listed("GPU.1")], {"0000:03:00.0": "GPU.0"}, ["GPU.1"]),
    "another id than any here": ([ARC], [listed("GPU", DEVICE_UUID=uuid("9a49"))], {}, ["GPU"]),
    "a device of another kind": ([ARC], [listed("GNA"), listed("TEMPLATE.0")], {}, []),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_match(case: str) -> None:
    items, devices, names, others = CASES[case]
    machine: dict[str, Any] = facts(*items)
    machine["openvino"]["devices"] = devices
    found = match(HostFacts.model_validate(machine))
    assert {address: one.device.name for address, one in found.by_address.items()} == names
    assert [one.name for one in found.others] == others


@pytest.mark.parametrize(("name", "architecture", "foreign"), [
    ("Intel(R) Arc(TM) A770 Graphics (dGPU)", "GPU: vendor=0x8086 arch=v12.55.8", False),
    ("GPU", "", False),
    ("Radeon RX 7900", "", True),
    ("Intel(R) Graphics", "GPU: vendor=0x1002 arch=v1", True),
])  # fmt: skip
def test_is_foreign(name: str, architecture: str, foreign: bool) -> None:
    device = listed("GPU", name, DEVICE_ARCHITECTURE=architecture)
    assert is_foreign(DeviceFacts.model_validate(device)) is foreign


PROCESSORS = {
    "Intel(R) Core(TM) Ultra 7 155H": "Meteor Lake",
    "Intel(R) Core(TM) Ultra 5 PRO 134U": "Meteor Lake",
    "Intel(R) Core(TM) Ultra 7 256V": "Lunar Lake",
    "Intel(R) Core(TM) Ultra 9 288V": "Lunar Lake",
    "Intel(R) Core(TM) Ultra 9 275HX": "Arrow Lake",
    "Intel(R) Core(TM) Ultra 7 270K Plus": "Arrow Lake",
    "Intel(R) Core(TM) Ultra 5 225": "Arrow Lake",
    "Intel(R) Core(TM) Ultra X7 358H": "Panther Lake",
    "Intel Core Ultra 7 355": "Panther Lake",
    "13th Gen Intel(R) Core(TM) i9-13900HK": None,
    "Intel(R) Core(TM) 7 150U": None,
    "Intel(R) Xeon(R) w3-2425": None,
    "AMD Ryzen AI 9 HX 370": None,
    "unknown": None,
}


@pytest.mark.parametrize("model", PROCESSORS)
def test_the_npu_of_a_processor(model: str) -> None:
    assert npu_of_processor(model) == PROCESSORS[model]


@pytest.mark.parametrize(("text", "numbers"), [
    ("22.43.24595.41-1", (22, 43, 24595, 41)),
    ("1:1.28.0.20251218-20347000698~ubuntu24.04", (1, 28, 0, 20251218)),
    ("7.0.0-31-generic", (7, 0, 0)),
    ("v1.35.0", (1, 35, 0)),
    ("", None),
    (None, None),
    ("unknown", None),
])  # fmt: skip
def test_version(text: str | None, numbers: tuple[int, ...] | None) -> None:
    assert version(text) == numbers


@pytest.mark.parametrize(("kernel", "backported"), [
    ("5.14.0-503.el9.x86_64", True),
    ("6.4.0-150600.23.60-default", True),
    ("6.8.0-45-generic", False),
    ("7.0.11-arch1-1", False),
])  # fmt: skip
def test_is_backported(kernel: str, backported: bool) -> None:
    assert is_backported(kernel) is backported
