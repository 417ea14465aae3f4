"""The checks of the machine: every state, by the facts or files that lead to it."""

from __future__ import annotations

import pytest
from checks_host import GIB, context, facts, install, one, settings, write

from local_opus.checks import (
    clock,
    foreign,
    governor,
    huge_pages,
    limits,
    swap,
    throttling,
)
from local_opus.checks import facts as facts_check
from local_opus.errors import MachineCannotError
from local_opus.values import Device, DeviceFacts, ForeignFacts

HIDDEN = MachineCannotError("/proc/meminfo does not state MemTotal", "Mount /proc.")


@pytest.mark.parametrize(
    ("of", "state", "words"),
    [
        (facts(), "pass", "Ultra 7 155H, 16 GiB memory, Debian 12"),
        (facts(openvino={"version": None, "problem": "probe worker ended (SIGSEGV)"}), "warn", "SIGSEGV"),
        (HIDDEN, "fail", "does not state MemTotal"),
    ],
)  # fmt: skip
def test_facts(host, of, state, words):
    found = one(facts_check.CHECK, context(host, of=of))
    assert (found.state, words in found.evidence) == (state, True)
    assert (found.fix is None) == (state == "pass")


@pytest.mark.parametrize("check", [limits, governor, swap, huge_pages, foreign])
def test_what_rests_on_facts_is_not_applicable_where_proc_is_hidden(host, check):
    found = one(check.CHECK, context(host, of=HIDDEN))
    assert found.state == "not applicable"
    assert found.evidence == f"the host facts are not known: {HIDDEN.message}"


@pytest.mark.parametrize(
    ("driver", "governors", "state", "words"),
    [
        (None, (), "not applicable", "scales no frequency"),
        ("intel_pstate", ("powersave",), "pass", "powersave of intel_pstate: rises with the load"),
        ("intel_pstate", ("performance",), "pass", "performance of intel_pstate"),
        ("amd-pstate-epp", ("powersave",), "pass", "rises with the load"),
        ("intel_cpufreq", ("powersave",), "warn", "holds the processor at the lowest frequency"),
        ("acpi-cpufreq", ("powersave",), "warn", "the lowest frequency"),
        ("acpi-cpufreq", ("performance", "powersave"), "warn", "the lowest frequency"),
        ("acpi-cpufreq", ("userspace",), "warn", "set by hand"),
        ("acpi-cpufreq", ("schedutil",), "pass", "rises with the load"),
        (None, ("ondemand",), "pass", "unknown driver"),
    ],
)
def test_governor(host, driver, governors, state, words):
    of = facts(cpu={"scaling_driver": driver, "governors": governors})
    found = one(governor.CHECK, context(host, of=of))
    assert (found.state, words in found.evidence) == (state, True), found
    assert (found.fix is not None) == (state == "warn")


@pytest.mark.parametrize(
    ("memory", "model", "state", "words"),
    [
        ({}, True, "not applicable", "no swap space"),
        ({"swap_total": 4 * GIB, "swap_free": 4 * GIB}, True, "pass", "0 bytes of 4 GiB in use"),
        ({"swap_total": 4 * GIB, "swap_free": 1 * GIB}, True, "warn", "had too little memory"),
        ({"swap_total": 4 * GIB, "swap_free": 1 * GIB}, False, "warn", "had too little memory"),
        ({"swap_total": 4 * GIB, "swap_free": 4 * GIB, "total": GIB // 8, "available": 1}, True, "warn", "from the disk"),
        ({"swap_total": 4 * GIB, "swap_free": 4 * GIB, "total": GIB // 8, "available": 1}, False, "pass", "in use"),
    ],
)  # fmt: skip
def test_swap(host, memory, model, state, words):
    server = settings() if model else None
    found = one(swap.CHECK, context(host, of=facts(memory=memory), server=server))
    assert (found.state, words in found.evidence) == (state, True), found


@pytest.mark.parametrize(
    ("memory", "state", "words"),
    [
        ({}, "not applicable", "tells of no huge pages"),
        ({"transparent_huge_pages": "madvise"}, "pass", "transparent: madvise, none reserved"),
        ({"transparent_huge_pages": "never", "huge_pages": 512, "huge_page_size": 2**21}, "pass", "1 GiB reserved"),
        ({"huge_pages": 1024, "huge_pages_free": 1024, "huge_page_size": 2**21}, "warn", "2 GiB are reserved as huge pages and free"),
        ({"huge_pages": 1024, "huge_pages_free": 1024, "huge_page_size": None, "transparent_huge_pages": "always"}, "pass", "always"),
    ],
)  # fmt: skip
def test_huge_pages(host, memory, state, words):
    found = one(huge_pages.CHECK, context(host, of=facts(memory=memory)))
    assert (found.state, words in found.evidence) == (state, True), found


@pytest.mark.parametrize(
    ("changes", "cores", "model", "state", "words"),
    [
        ({}, 8, True, "pass", "no container, no memory limit, 8 of 8 processors, no quota"),
        ({"os": {"container": "docker"}, "memory": {"cgroup_limit": 8 * GIB}}, 8, True, "pass", "in a container (docker), memory limit 8 GiB"),
        ({"memory": {"cgroup_limit": 64 * GIB}}, 8, True, "pass", "no memory limit"),
        ({"memory": {"cgroup_limit": GIB // 8}}, 8, True, "fail", "the model needs"),
        ({"memory": {"cgroup_limit": GIB // 8}}, 8, False, "pass", "memory limit 128 MiB"),
        ({"cpu": {"usable_cores": 1.5}}, 8, True, "warn", "a quota of 1.5 of 8 processors"),
        ({"cpu": {"usable_cores": 2}}, 2, True, "pass", "2 of 8 processors, no quota"),
    ],
)  # fmt: skip
def test_limits(host, changes, cores, model, state, words):
    host.cores = cores
    at = context(host, of=facts(**changes), server=settings() if model else None)
    found = one(limits.CHECK, at)
    assert (found.state, words in found.evidence) == (state, True), found
    if changes.get("os") and found.fix:
        assert found.fix.needs == "a new start of the container"


def count(host, cores: int, package: int = 0) -> None:  # type: ignore[no-untyped-def]
    base = "/sys/devices/system/cpu"
    for number in range(2):
        folder = f"{base}/cpu{number}/thermal_throttle"
        write(host, f"{folder}/core_throttle_count", f"{cores}\n")
        write(host, f"{folder}/package_throttle_count", f"{package}\n")
    write(host, f"{base}/cpufreq/boost", "1\n")


@pytest.mark.parametrize(
    ("first", "second", "state", "words"),
    [
        (None, None, "not applicable", "counts no throttling"),
        ((0, 0), (0, 0), "pass", "never slowed"),
        ((3, 5), (3, 5), "pass", "slowed 11 times since the boot, not within these 0.5 s"),
        ((3, 5), (4, 7), "warn", "slowed 4 times within 0.5 s, 15 times since the boot"),
    ],
)
def test_throttling(host, monkeypatch, first, second, state, words):
    if first:
        count(host, *first)
    monkeypatch.setattr(throttling.time, "sleep", lambda _seconds: count(host, *second))
    found = one(throttling.CHECK, context(host))
    assert (found.state, words in found.evidence) == (state, True), found


def test_counters_that_are_no_numbers_or_vanish_count_nothing(host, monkeypatch):
    count(host, 1)
    write(host, "/sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "many\n")

    def vanish(_seconds: float) -> None:
        host.files.remove_tree("/sys/devices/system/cpu/cpu1")

    monkeypatch.setattr(throttling.time, "sleep", vanish)
    assert one(throttling.CHECK, context(host)).state == "pass"


@pytest.mark.parametrize(
    ("now", "kept", "state", "words"),
    [
        ("2026-11-30T12:00:00+00:00", True, "pass", "2026-11-30 12:00 UTC, kept by the network's time"),
        ("2026-11-30T12:00:00+00:00", None, "pass", "whether it is kept is not told"),
        ("2026-11-30T12:00:00+00:00", False, "warn", "nothing keeps it"),
        ("1970-01-01T00:00:07+00:00", True, "fail", "1970-01-01 00:00 UTC, and OpenVINO 2026.4.1 is of 2026"),
    ],
)  # fmt: skip
def test_clock(host, monkeypatch, now, kept, state, words):
    monkeypatch.setattr(host, "now", lambda: now)
    monkeypatch.setattr(host, "clock_kept", lambda: kept)
    found = one(clock.CHECK, context(host))
    assert (found.state, words in found.evidence) == (state, True), found
    assert (found.fix is None) == (state == "pass")


def test_a_receipt_from_the_future_tells_of_a_clock_that_went_back(host, monkeypatch):
    install(host)
    monkeypatch.setattr(host, "clock_kept", lambda: True)
    monkeypatch.setattr(host, "now", lambda: "2026-01-01T00:00:00+00:00")
    found = one(clock.CHECK, context(host))
    assert (found.state, "the receipt was written at" in found.evidence) == ("fail", True)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"/run/systemd/container": "docker\n"}, "machine below this container"),
        ({"/run/systemd/system/x": ""}, "the network's time"),
        ({}, "chrony"),
    ],
)
def test_who_keeps_the_clock_is_named_as_it_is(host, monkeypatch, files, words):
    for path, text in files.items():
        write(host, path, text)
    monkeypatch.setattr(host, "now", lambda: "2026-11-30T12:00:00+00:00")
    monkeypatch.setattr(host, "clock_kept", lambda: False)
    found = one(clock.CHECK, context(host))
    assert found.fix is not None
    assert words in found.fix.text


def test_the_kernel_itself_says_whether_the_clock_is_kept(host):
    assert host.clock_kept() in {True, False, None}


NVIDIA = ForeignFacts(kind=Device.GPU, pci_address="0000:01:00.0", pci_id="10de:2b85", driver="nvidia", node=None)  # fmt: skip
AMD_NPU = ForeignFacts(
    kind=Device.NPU, pci_address="0000:c4:00.1", pci_id="1022:17f0", driver="amdxdna", node="/dev/accel/accel0"
)  # fmt: skip


def gpu(name: str, vendor: str) -> DeviceFacts:
    return DeviceFacts(
        name=name, full_name=f"card of {vendor}", properties={"DEVICE_ARCHITECTURE": f"GPU: vendor={vendor} arch=v1"}
    )  # fmt: skip


NAMELESS = DeviceFacts(name="GPU", full_name="NVIDIA GeForce RTX 5090 (dGPU)", properties={})


@pytest.mark.parametrize(
    ("seen", "listed", "device", "state", "words"),
    [
        ((), (), "CPU", "not applicable", "no GPU or NPU of another maker"),
        ((), (gpu("GPU", "0x8086"),), "GPU", "not applicable", "no GPU"),
        ((NVIDIA,), (), "CPU", "pass", "GPU 10de:2b85: not Intel's"),
        ((AMD_NPU,), (), "CPU", "pass", "NPU 1022:17f0 (/dev/accel/accel0): not Intel's"),
        ((NVIDIA,), (gpu("GPU.0", "0x8086"), gpu("GPU.1", "0x10de")), "GPU", "warn", "OpenVINO lists GPU.1"),
        ((NVIDIA,), (gpu("GPU.0", "0x8086"), gpu("GPU.1", "0x10de")), "GPU.1", "fail", "set to GPU.1"),
        ((NVIDIA,), (gpu("GPU.0", "0x10de"), gpu("GPU.1", "0x8086")), "GPU", "fail", "set to GPU, which is card of 0x10de"),
        ((NVIDIA,), (gpu("GPU.0", "0x10de"), gpu("GPU.1", "0x8086")), "GPU.1", "warn", "OpenVINO lists GPU.0"),
        ((NVIDIA,), (gpu("GPU.0", "0x10de"),), None, "warn", "OpenVINO lists GPU.0"),
        # Its plugin states no vendor: the name tells.
        ((NVIDIA,), (NAMELESS,), "GPU", "fail", "which is NVIDIA GeForce RTX 5090"),
    ],
)  # fmt: skip
def test_foreign(host, seen, listed, device, state, words):
    of = facts(openvino={"devices": listed}, foreign=seen)
    server = settings(device=device) if device else None
    found = one(foreign.CHECK, context(host, of=of, server=server))
    assert (found.state, words in found.evidence) == (state, True), found


def test_the_name_to_use_is_told(host):
    listed = (gpu("GPU.0", "0x10de"), gpu("GPU.1", "0x8086"))
    found = one(foreign.CHECK, context(host, of=facts(openvino={"devices": listed})))
    assert found.fix is not None
    assert found.fix.text == "Where you name a GPU yourself, name Intel's: GPU.1."
    found = one(foreign.CHECK, context(host, of=facts(openvino={"devices": listed[:1]})))
    assert found.fix is not None
    assert found.fix.text == "Name no GPU: none of OpenVINO's list is Intel's."
