"""What fits a machine, why the rest does not, and which model is chosen."""

from __future__ import annotations

import pytest

from local_opus.catalog import Catalog, load, needs
from local_opus.catalog.fitting import fit, remedy
from local_opus.catalog.needs import Serving
from local_opus.values import (
    AcceleratorFacts,
    CpuFacts,
    Device,
    DeviceFacts,
    DiskFacts,
    HostFacts,
    MemoryFacts,
    OpenVinoFacts,
    OsFacts,
)

GIB = 2**30


def machine(
    *,
    memory: float = 16,
    limit: float | None = None,
    disk: float = 500,
    cores: float = 8,
    architecture: str = "x86_64",
    accelerators: tuple[AcceleratorFacts, ...] = (),
    devices: tuple[DeviceFacts, ...] = (),
    problem: str | None = None,
) -> HostFacts:
    """A machine; memory and disk in GiB."""
    cpu = CpuFacts(
        model="x", vendor="GenuineIntel", architecture=architecture, sockets=1,
        physical_cores=8, logical_cores=8, usable_cores=cores, performance_cores=None,
        efficiency_cores=None, isa=("avx2",),
    )  # fmt: skip
    system = OsFacts(
        id="debian", version="12", name="Debian", kernel="6.14.0", init="init", systemd_running=False,
        container=None, python="3.11",
    )  # fmt: skip
    return HostFacts(
        cpu=cpu,
        memory=MemoryFacts(
            total=int(memory * GIB),
            available=int(memory * GIB),
            cgroup_limit=None if limit is None else int(limit * GIB),
        ),
        disk=DiskFacts(path="/store", total=int(disk * GIB), free=int(disk * GIB), free_inodes=9),
        os=system,
        accelerators=accelerators,
        openvino=OpenVinoFacts(version="2026.4.1", devices=devices, problem=problem),
    )


def gpu(memory_gib: float, kind: str, *, vendor: str = "0x8086", name: str = "GPU") -> DeviceFacts:
    return DeviceFacts(
        name=name,
        full_name="Intel(R) Arc(TM)",
        properties={
            "DEVICE_ARCHITECTURE": f"GPU: vendor={vendor} arch=v12.71.4",
            "DEVICE_TYPE": f"Type.{kind}",
            "GPU_DEVICE_TOTAL_MEM_SIZE": int(memory_gib * GIB),
        },
    )


NPU = DeviceFacts(name="NPU", full_name="Intel(R) AI Boost", properties={})


def seen(kind: Device, **changes: str | None) -> AcceleratorFacts:
    facts: dict[str, str | None] = {
        "pci_address": "0000:00:0b.0", "pci_id": "8086:643e", "name": None, "driver": "intel_vpu",
        "node": "/dev/accel/accel0", "node_problem": None,
    }  # fmt: skip
    return AcceleratorFacts.model_validate({"kind": kind, **facts, **changes})


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load()


# --- fit


def test_the_small_default_fits_a_small_machine(catalog: Catalog) -> None:
    found = fit(catalog.get("smollm2-135m"), machine(memory=1.5, disk=1), None)
    assert (found.fits, found.device, found.reasons) == (True, Device.CPU, ())


def test_too_little_memory_says_need_and_have(catalog: Catalog) -> None:
    found = fit(catalog.get("qwen3-8b-q4_k_m"), machine(memory=8.1), None)
    assert not found.fits
    assert found.device is None
    assert found.reasons[0] == "needs about 8.8 GiB memory, 8.1 GiB usable"


def test_an_estimate_is_called_about(catalog: Catalog) -> None:
    found = fit(catalog.get("qwen3-8b-int4-ov"), machine(memory=4), None)
    assert found.reasons == ("needs about 5.9 GiB memory, 4 GiB usable",)


def test_the_cgroup_limit_counts(catalog: Catalog) -> None:
    found = fit(catalog.get("qwen3-8b-int4-ov"), machine(memory=64, limit=2), None)
    assert found.reasons == ("needs about 5.9 GiB memory, 2 GiB usable",)


def test_too_little_disk_says_need_have_and_where(catalog: Catalog) -> None:
    found = fit(catalog.get("qwen3-8b-q4_k_m"), machine(memory=64, disk=5), None)
    assert found.reasons == (
        "needs 10.8 GiB disk (weights and their conversion), 5 GiB free at /store",
    )


def test_what_else_comes_onto_the_disk_counts(catalog: Catalog) -> None:
    model, roomy = catalog.get("qwen3-8b-q4_k_m"), machine(memory=64, disk=11)
    assert fit(model, roomy, None).fits
    assert fit(model, roomy, None, beside=GIB).reasons == (
        "needs 11.8 GiB disk (weights, their conversion and the environment), 11 GiB free at /store",
    )


def test_all_reasons_are_told(catalog: Catalog) -> None:
    found = fit(catalog.get("qwen3-14b-q8_0"), machine(memory=2, disk=2), None)
    assert [reason.split(" GiB ")[1][:6] for reason in found.reasons] == [
        "memory", "memory", "disk (",
    ]  # fmt: skip


def test_a_conversion_needs_more_memory_than_serving(catalog: Catalog) -> None:
    model = catalog.get("qwen3-8b-q8_0")
    found = fit(model, machine(memory=12), None)
    assert found.reasons == ("needs about 16.4 GiB memory to convert its GGUF, 12 GiB usable",)


def test_stored_weights_need_no_disk_and_no_conversion(catalog: Catalog) -> None:
    model = catalog.get("qwen3-8b-q8_0")
    assert fit(model, machine(memory=12, disk=0.001), None, stored=True).fits


def test_each_request_more_needs_its_kv_cache(catalog: Catalog) -> None:
    model = catalog.get("qwen3-4b-int4-ov")
    one, eight = (fit(model, machine(), None, Serving(n, 4096, 8, "f16")).memory for n in (1, 8))
    assert eight - one == 7 * 4096 * (2 * 36 * 8 * 128 * 2)


def test_a_split_gguf_does_not_fit(catalog: Catalog) -> None:
    found = fit(catalog.get("qwen2.5-7b-instruct-q4_k_m-qwen"), machine(memory=64), None)
    assert found.reasons == ("its GGUF is split into 2 files; this version converts one file only",)


def test_another_architecture_cannot(catalog: Catalog) -> None:
    found = fit(catalog.get("smollm2-135m"), machine(architecture="aarch64"), None)
    assert "not x86-64" in " ".join(found.reasons)


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (machine(), "NPU not usable: this machine shows no Intel NPU"),
        (
            machine(accelerators=(seen(Device.NPU, driver=None),)),
            "NPU not usable: kernel driver: no ",
        ),
        (machine(accelerators=(seen(Device.NPU, node=None),)), "NPU not usable: firmware: "),
        (
            machine(accelerators=(seen(Device.NPU, node_problem="permission denied"),)),
            "NPU not usable: permission: /dev/accel/accel0: permission denied",
        ),
        (
            machine(accelerators=(seen(Device.NPU),), problem="not installed"),
            "OpenVINO plugin: ",
        ),
        (
            machine(accelerators=(seen(Device.NPU),)),
            "OpenVINO plugin: OpenVINO 2026.4.1 does not list it",
        ),
    ],
)
def test_why_an_npu_cannot_be_used(catalog: Catalog, facts: HostFacts, says: str) -> None:
    found = fit(catalog.get("qwen3-4b-int4-ov"), facts, Device.NPU)
    assert len(found.reasons) == 1
    assert says in found.reasons[0]


def test_gguf_is_not_for_the_npu(catalog: Catalog) -> None:
    found = fit(catalog.get("qwen3-0.6b-q8_0"), machine(devices=(NPU,)), Device.NPU)
    assert found.reasons[0].startswith("GGUF is not offered for the NPU")


def test_a_usable_npu_serves_what_is_made_for_it(catalog: Catalog) -> None:
    found = fit(catalog.get("qwen3-4b-int4-ov"), machine(devices=(NPU,)), Device.NPU)
    assert found.device is Device.NPU


def test_a_discrete_gpu_counts_its_own_memory(catalog: Catalog) -> None:
    model = catalog.get("qwen3-8b-int4-ov")
    large, small = gpu(12, "DISCRETE"), gpu(4, "DISCRETE")
    assert fit(model, machine(memory=3, devices=(large,)), Device.GPU).fits
    found = fit(model, machine(memory=64, devices=(small,)), Device.GPU)
    assert found.reasons == ("needs about 5.7 GiB memory, 4 GiB usable on the GPU",)


def test_an_integrated_gpu_shares_the_machines_memory(catalog: Catalog) -> None:
    model = catalog.get("qwen3-8b-int4-ov")
    found = fit(model, machine(memory=3, devices=(gpu(15, "INTEGRATED"),)), Device.GPU)
    assert found.reasons == ("needs about 5.9 GiB memory, 3 GiB usable",)


def test_another_makers_gpu_is_none(catalog: Catalog) -> None:
    facts = machine(devices=(gpu(32, "DISCRETE", vendor="0x10de"),))
    found = fit(catalog.get("qwen3-8b-int4-ov"), facts, Device.GPU)
    assert found.reasons == ("GPU not usable: this machine shows no Intel GPU",)


def test_without_a_device_the_gpu_is_taken_first(catalog: Catalog) -> None:
    facts = machine(devices=(gpu(15, "INTEGRATED"),))
    assert fit(catalog.get("qwen3-8b-int4-ov"), facts, None).device is Device.GPU
    assert fit(catalog.get("qwen3-8b-q4_k_m"), facts, None).device is Device.CPU


# --- needs


def test_converted_sizes_follow_what_was_measured(catalog: Catalog) -> None:
    sizes = {m.quantization: needs.loaded_size(m) / m.size for m in catalog.models}
    assert sizes["Q8_0"] == sizes["Q4_0"] == sizes["F16"] == 1
    assert 1.4 < sizes["Q6_K"] < 1.5


def test_an_ir_is_not_converted(catalog: Catalog) -> None:
    model = catalog.get("qwen3-4b-int4-ov")
    assert needs.conversion_memory(model) == 0
    assert needs.disk(model) == pytest.approx(model.size * 1.05, abs=1)


def test_free_space_alone_does_not_help_where_more_is_missing(catalog: Catalog) -> None:
    facts = machine(memory=2, disk=2)
    assert remedy(fit(catalog.get("qwen3-14b-q8_0"), facts, None), facts).startswith("Choose")
