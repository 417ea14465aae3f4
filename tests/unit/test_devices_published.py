"""Published peaks: which belong to which device, and each with its source."""

from __future__ import annotations

from typing import Any

import pytest
from host_facts import accelerator, cpu, device, facts

from local_opus.devices import gpu_peaks, peaks
from local_opus.devices.figures import Figure, Published
from local_opus.devices.published import npu_peak, of_cpu, platform_of, rated

KEYS = ("int8_tops", "fp16_tflops", "fp32_tflops", "memory_gbs")
ROWS = [*peaks.NPU.values(), *peaks.CPU.values(), *gpu_peaks.GPU.values()]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.device}-{row.platform}")
def test_every_figure_names_its_source(row: Published) -> None:
    found = [getattr(row, key) for key in KEYS if getattr(row, key) is not None]
    assert all(isinstance(one, Figure) and one.source for one in found)
    assert found or row.platform == "Nova Lake" or row.device == "CPU"


GPU_IDS = """9a49 46a6 a7a0 4680 a780 7d55 7d51 7d40 7d45 7dd5 7d67 7dd1 7d41 64a0 6420 64b0
b080 b082 b081 b083 b08f b090 b0a0 fd80 fd81 e20b e209 e20c e211 e212 e222 e223
56a0 56a1 56a2 56a5 56a6"""
NPU_IDS = {"7d1d", "ad1d", "643e", "b03e", "fd3e", "d71d"}


@pytest.mark.parametrize("pci_id", GPU_IDS.split())
def test_every_known_gpu_has_its_peaks(pci_id: str) -> None:
    assert gpu_peaks.GPU[pci_id].int8_tops is not None


def test_every_known_npu_is_in_the_table() -> None:
    assert peaks.NPU_IDS.keys() == NPU_IDS
    assert set(peaks.NPU_IDS.values()) == set(peaks.NPU)
    assert set(peaks.NPU_ARCHITECTURES.values()) < set(peaks.NPU)


@pytest.mark.parametrize("platform", [
    "Meteor Lake", "Arrow Lake-S", "Arrow Lake-H", "Lunar Lake", "Panther Lake", "Wildcat Lake",
])  # fmt: skip
def test_every_platform_has_its_processor(platform: str) -> None:
    assert platform in peaks.CPU
    assert platform == "Wildcat Lake" or peaks.CPU[platform].int8_tops is not None


NPUS = [  # PCI id, DEVICE_ARCHITECTURE, platform, TOPS
    ("7d1d", "3720", "Meteor Lake", 11.5),
    ("ad1d", "3720", "Arrow Lake", 13),
    ("643e", "4000", "Lunar Lake", 48),
    ("b03e", "5010", "Panther Lake", 50),
    ("fd3e", "5020", "Wildcat Lake", 17),
    ("", "4000", "Lunar Lake", 48),  # no sysfs, OpenVINO alone
    ("ffff", "5010", "Panther Lake", 50),  # an id that is in no table
    ("d71d", "6010", None, None),  # nothing is published
    ("", "AUTO_DETECT", None, None),
]


@pytest.mark.parametrize(("pci_id", "architecture", "platform", "tops"), NPUS)
def test_npu(pci_id: str, architecture: str, platform: str | None, tops: float | None) -> None:
    npu = device("NPU", "Intel(R) AI Boost", DEVICE_ARCHITECTURE=architecture)
    there = [accelerator("NPU", pci_id)] if pci_id else []
    found = platform_of(facts([npu], accelerators=there), npu)
    if platform is None:
        assert found is None
    else:
        assert found is not None
        assert found.platform == platform
        assert found.int8_tops is not None
        assert found.int8_tops.value == tops


IGPU = ("7d55", "0000:00:02.0")
A770 = ("56a0", "0000:0a:00.0")
B60 = ("e211", "0000:03:00.0")
GPUS: list[tuple[str, dict[str, Any], list[tuple[str, str]], str | None]] = [
    ("x", {"DEVICE_UUID": "8680557d080000000002000000000000"}, [IGPU, A770], "Meteor Lake-H"),
    ("x", {"DEVICE_UUID": "8680a064040000000002000000000000"}, [], "Lunar Lake"),
    ("x", {"DEVICE_PCI_INFO": "{domain: 0 bus: 0xa device: 0x0 function: 0}"}, [B60, A770],
     "Arc A770"),
    ("x", {"DEVICE_PCI_INFO": "domain: 0, bus: 3, device: 0x0, function: 0"}, [B60, A770],
     "Arc Pro B60"),
    ("Intel(R) Arc(TM) A770 Graphics (dGPU)", {}, [B60, A770], "Arc A770"),
    ("Intel(R) Arc(TM) Pro B60 Graphics (dGPU)", {}, [B60, A770], "Arc Pro B60"),
    ("Intel(R) Iris(R) Xe Graphics (iGPU)", {}, [("a7a0", IGPU[1]), A770], "Raptor Lake-P"),
    ("x", {}, [A770], "Arc A770"),
    ("x", {"DEVICE_ARCHITECTURE": "GPU: vendor=0x8086 arch=v12.71.4"}, [], "Meteor Lake-H"),
    ("x", {"DEVICE_ARCHITECTURE": "GPU: vendor=0x8086 arch=v99.0.0"}, [], None),
    ("NVIDIA", {"DEVICE_ARCHITECTURE": "GPU: vendor=0x10de arch=v12.0.0"}, [A770], None),
    ("x", {}, [("ffff", IGPU[1])], None),
]  # fmt: skip


@pytest.mark.parametrize(("full_name", "properties", "there", "platform"), GPUS)
def test_gpu(
    full_name: str, properties: dict[str, Any], there: list[tuple[str, str]], platform: str | None
) -> None:
    gpu = device("GPU.0", full_name, **properties)
    cards = [accelerator("GPU", pci_id, address) for pci_id, address in there]
    found = platform_of(facts([gpu], accelerators=cards), gpu)
    assert (found and found.platform) == platform


MODELS = [
    ("Intel(R) Core(TM) Ultra 7 155H", "Meteor Lake", 119.5),
    ("Intel(R) Core(TM) Ultra 7 258V", "Lunar Lake", 136.5),
    ("Intel(R) Core(TM) Ultra 9 275HX", "Arrow Lake-HX", 102.4),
    ("Intel(R) Core(TM) Ultra 7 255H", "Arrow Lake-H", 134.4),
    ("Intel(R) Core(TM) Ultra 7 270K Plus", "Arrow Lake-S", 102.4),
    ("Intel(R) Core(TM) Ultra 5 225", "Arrow Lake-S", 102.4),
    ("Intel(R) Core(TM) Ultra X7 358H", "Panther Lake", 153.6),
    ("13th Gen Intel(R) Core(TM) i9-13900HK", "Raptor Lake-P", 102.4),
    ("13th Gen Intel(R) Core(TM) i9-13900K", "Raptor Lake-S", 89.6),
    ("11th Gen Intel(R) Core(TM) i7-1165G7", "Tiger Lake", 68.3),
]


@pytest.mark.parametrize(("model", "platform", "gbs"), MODELS)
def test_cpu_of_a_platform(model: str, platform: str, gbs: float) -> None:
    found = of_cpu(facts(processor=cpu(model)))
    assert found is not None
    assert found.platform == platform
    assert found.memory_gbs is not None
    assert found.memory_gbs.value == gbs


SERVER = {"max_mhz": 2000, "physical_cores": 10, "usable_cores": 20.0}
ZEN4 = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16")
SPR = (*ZEN4, "avx_vnni", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16")
FORMULA: list[tuple[dict[str, Any], tuple[float | None, float | None, float | None]]] = [
    # int8, half, fp32 of 10 cores at 2 GHz: 0.02 x operations/cycle
    ({"isa": SPR}, (40.96, 20.48, 1.28)),
    ({"isa": ZEN4, "vendor": "AuthenticAMD"}, (2.56, 1.28, 0.64)),
    ({"isa": (*ZEN4, "avx_vnni"), "vendor": "AuthenticAMD"}, (5.12, 2.56, 1.28)),
    ({"isa": ("avx2", "fma", "avx_vnni")}, (2.56, None, 0.64)),
    ({"isa": ("avx2", "fma")}, (1.28, None, 0.64)),
    ({"isa": ("avx2", "fma"), "usable_cores": 5.0}, (0.64, None, 0.32)),
    ({"isa": ("avx2", "fma"), "performance_cores": 2, "efficiency_cores": 8}, (0.768, None, 0.384)),
]


@pytest.mark.parametrize(("more", "expected"), FORMULA)
def test_cpu_by_formula(more: dict[str, Any], expected: tuple[float | None, ...]) -> None:
    found = of_cpu(facts(processor=cpu("Xeon", **{**SERVER, **more})))
    assert found is not None
    figures = [getattr(found, key) for key in KEYS[:3]]
    assert [one and one.value for one in figures] == [pytest.approx(one) for one in expected]
    assert all("cores x 2 GHz (highest clock)" in one.source for one in figures if one)
    assert found.memory_gbs is None


@pytest.mark.parametrize("more", [{"max_mhz": None}, {"max_mhz": 2000, "isa": ()}])
def test_cpu_without_clock_or_vectors_has_none(more: dict[str, Any]) -> None:
    assert of_cpu(facts(processor=cpu("Xeon", **more))) is None


def test_a_clock_in_the_name_is_its_base_clock() -> None:
    found = of_cpu(facts(processor=cpu("Intel(R) Xeon(R) E5-2680 v4 @ 2.40GHz")))
    assert found is not None
    assert found.fp32_tflops is not None
    assert found.fp32_tflops.value == pytest.approx(4 * 2.4 * 32 / 1000, abs=1e-4)


CLOCKS = [  # as OpenVINO itself computes DEVICE_GOPS of these
    ("3720", 1400, 11.4688),
    ("3720", 1050, 8.6016),
    ("3720", 1600, 13.1072),
    ("4000", 1900, 46.6944),
    ("6010", 1900, None),
    ("3720", 0, None),
]


@pytest.mark.parametrize(("architecture", "mhz", "tops"), CLOCKS)
def test_npu_by_its_clock(architecture: str, mhz: int, tops: float | None) -> None:
    found = npu_peak(architecture, mhz)
    assert (found and found.value) == tops


GOPS = {"int8_t": 8601.6, "float16": 4300.8, "float32": 0.0}
RATED: list[tuple[dict[str, Any], int | None, float, str]] = [
    ({"DEVICE_GOPS": GOPS}, 1400, 8.6016, "DEVICE_GOPS"),
    ({}, 1400, 11.4688, "1.4 GHz x 2 tiles"),
    ({"DEVICE_GOPS": {"int8": 0.0}}, None, 11.5, "Register"),
    ({"DEVICE_GOPS": "nonsense"}, None, 11.5, "Register"),
]


@pytest.mark.parametrize(("properties", "mhz", "tops", "source"), RATED)
def test_what_an_npu_is_held_against(
    properties: dict[str, Any], mhz: int | None, tops: float, source: str
) -> None:
    npu = device("NPU", DEVICE_ARCHITECTURE="3720", **properties)
    found = rated(facts([npu], accelerators=[accelerator("NPU", "7d1d", max_mhz=mhz)]), npu)
    assert found is not None
    assert found.int8_tops is not None
    assert found.int8_tops.value == tops
    assert source in found.int8_tops.source


def test_zeros_of_a_gpu_are_no_peaks() -> None:
    uuid = "8680a064040000000002000000000000"
    gpu = device("GPU", DEVICE_UUID=uuid, DEVICE_GOPS={"int8": 0.0, "float32": 2099.2})
    found = rated(facts([gpu]), gpu)
    assert found is not None
    assert (found.int8_tops and found.int8_tops.value) == 67
    assert (found.fp32_tflops and found.fp32_tflops.value) == 4.2


def test_gops_stand_in_for_an_unknown_gpu() -> None:
    gpu = device("GPU", "a new one", DEVICE_GOPS={"i8": 1000.0})
    found = rated(facts([gpu]), gpu)
    assert found is not None
    assert (found.platform, found.int8_tops and found.int8_tops.value) == ("a new one", 1.0)
