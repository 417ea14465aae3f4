"""The settings that are tried: legal on every recorded machine, and none of another device."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from local_opus.devices.names import kind_of
from local_opus.devices.settings import LEGAL, candidates, refusals, thread_counts
from local_opus.facts import gather
from local_opus.values import CpuFacts, Device, HostFacts
from local_opus.values.tuning import Goal, Setting
from machines import MACHINES, machine_host

BASE = {"PERFORMANCE_HINT": "LATENCY"}
GOALS: tuple[Goal, Goal] = ("latency", "throughput")


@pytest.fixture(scope="session")
def facts_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], HostFacts]:
    found: dict[str, HostFacts] = {}

    def read(machine: str) -> HostFacts:
        if machine not in found:
            host = machine_host(tmp_path_factory.mktemp("machine"), MACHINES[machine])
            found[machine] = gather(host, disk_path="/var/lib")
        return found[machine]

    return read


def of(facts: HostFacts, goal: Goal, *, model: bool = True) -> Iterator[tuple[str, Setting]]:
    for device in facts.openvino.devices:
        if device.name.partition(".")[0] in list(Device):
            for setting in candidates(facts, device.name, goal, BASE, model=model):
                yield device.name, setting


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("machine", MACHINES)
def test_every_candidate_is_legal_on_its_device(facts_of, machine, goal):
    found = [*of(facts_of(machine), goal)]
    assert found
    for device, setting in found:
        properties = {k: v for k, v in setting.properties.items() if k != "ATTENTION_BACKEND"}
        assert refusals(device, properties, setting.scheduler) == []
        assert bool(setting.properties) != bool(setting.scheduler)


@pytest.mark.parametrize("machine", MACHINES)
def test_no_device_gets_a_property_of_another(facts_of, machine):
    for device, setting in of(facts_of(machine), "throughput"):
        foreign = {"NPU_", "GPU_"} - {f"{kind_of(device)}_"}
        assert not any(name.startswith(tuple(foreign)) for name in setting.properties)


@pytest.mark.parametrize("machine", MACHINES)
def test_kinds_of_cores_and_threads_are_tried_only_where_they_are(facts_of, machine):
    facts = facts_of(machine)
    names = {name for device, one in of(facts, "latency") for name in one.properties if device == "CPU"}  # fmt: skip
    hybrid = bool(facts.cpu.performance_cores and facts.cpu.efficiency_cores)
    assert ("SCHEDULING_CORE_TYPE" in names) == hybrid
    threads = facts.cpu.logical_cores > facts.cpu.physical_cores
    assert ("ENABLE_HYPER_THREADING" in names) == threads


@pytest.mark.parametrize("machine", MACHINES)
def test_nothing_that_the_device_does_by_itself_is_tried(facts_of, machine):
    facts = facts_of(machine)
    for device in facts.openvino.devices:
        for name, setting in of(facts, "latency"):
            if name == device.name:
                for key, value in setting.properties.items():
                    assert BASE.get(key) != value
                    assert device.properties.get(key) != value


def test_both_kinds_of_machines_are_among_them(facts_of):
    hybrid = [one for one in MACHINES if facts_of(one).cpu.efficiency_cores]
    assert 0 < len(hybrid) < len(MACHINES)


def test_a_low_precision_is_tried_where_the_processor_has_it(facts_of):
    for machine in MACHINES:
        facts = facts_of(machine)
        cpu = next((one for one in facts.openvino.devices if one.name == "CPU"), None)
        can = cpu.properties.get("OPTIMIZATION_CAPABILITIES", []) if cpu is not None else []
        tried = {one.properties.get("INFERENCE_PRECISION_HINT")
                 for device, one in of(facts, "latency") if device == "CPU"}  # fmt: skip
        assert "bf16" not in tried or "BF16" in can
        assert "f16" not in tried or "FP16" in can


def cpu(physical: int, logical: int, usable: float, performance: int | None = None) -> CpuFacts:
    return CpuFacts(
        model="m", vendor="v", architecture="x86_64", sockets=1, physical_cores=physical,
        logical_cores=logical, usable_cores=usable, performance_cores=performance,
        efficiency_cores=None if performance is None else physical - performance, isa=(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("processor", "counts"),
    [
        (cpu(2, 2, 2), [1]),
        (cpu(1, 1, 1), []),
        (cpu(8, 16, 16), [8, 16, 15, 4]),
        (cpu(16, 22, 22, 6), [16, 6, 22, 21]),
        (cpu(64, 128, 4.5), [4, 3]),  # a container with a share of the machine
        (cpu(8, 8, 0.5), [1]),
    ],
)
def test_threads_never_more_than_may_be_used(facts_of, processor, counts):
    facts = facts_of("amd-epyc-no-intel").model_copy(update={"cpu": processor})
    assert thread_counts(facts) == counts


def test_without_a_model_nothing_that_changes_answers_is_chosen(facts_of):
    for machine in MACHINES:
        for _, setting in of(facts_of(machine), "latency", model=False):
            assert not setting.scheduler
            assert (setting.never is not None) == setting.changes_answers


def test_prefix_caching_is_measured_and_never_chosen(facts_of):
    found = {one.name: one for _, one in of(facts_of("amd-epyc-no-intel"), "latency")}
    assert "seed" in (found["enable_prefix_caching=True"].never or "")
    assert found["ATTENTION_BACKEND=SDPA"].never is not None


@pytest.mark.parametrize(
    ("device", "properties", "scheduler", "words"),
    [
        ("CPU", {"NPU_TURBO": True}, {}, "properties.NPU_TURBO: CPU has no such setting"),
        ("CPU", {"CACHE_DIR": "/etc"}, {}, "properties.CACHE_DIR: CPU has no such setting"),
        ("GPU.1", {"INFERENCE_NUM_THREADS": 2}, {}, "GPU.1 has no such setting"),
        ("NPU", {"KV_CACHE_PRECISION": "u8"}, {}, "NPU has no such setting"),
        ("CPU", {"NUM_STREAMS": 0}, {}, "properties.NUM_STREAMS: 0 is no value of it"),
        ("CPU", {"NUM_STREAMS": True}, {}, "properties.NUM_STREAMS: True is no value"),
        ("CPU", {"KV_CACHE_PRECISION": "i4"}, {}, "'i4' is no value of it"),
        ("CPU", {"ENABLE_CPU_PINNING": "YES"}, {}, "'YES' is no value of it"),
        ("CPU", {}, {"max_num_seqs": 0}, "scheduler.max_num_seqs: 0 is no value"),
        ("CPU", {}, {"cache_size": 1}, "scheduler.cache_size: CPU has no such setting"),
    ],
)
def test_what_a_device_can_not_have(device, properties, scheduler, words):
    (line,) = refusals(device, properties, scheduler)
    assert words in line


def test_each_device_has_a_table():
    assert set(LEGAL) == set(Device)


def test_paths_are_in_no_table():
    for table in LEGAL.values():
        assert not any(word in name for name in table for word in ("DIR", "PATH", "BLOB", "LOG"))
