"""The settings that each device may have, and those worth a try on a machine. Pure.

Properties and their legal values: openvino/runtime/properties.hpp and the plugins' own
(intel_gpu/properties.hpp, intel_npu/properties.hpp), those of the CPU also by compiling. A plugin
refuses the properties of another (`Unsupported property X by CPU plugin`), so each device has its
own table. What no plugin may know is refused by compiling before anything is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from pydantic import JsonValue

from local_opus.devices.names import kind_of
from local_opus.values import Device, DeviceFacts, HostFacts
from local_opus.values.tuning import Goal, Setting

Legal = Callable[[JsonValue], bool]


def _words(*words: str) -> Legal:
    return lambda value: value in words


def _whole(low: int, high: int) -> Legal:
    return lambda value: type(value) is int and low <= value <= high


def _flag(value: JsonValue) -> bool:
    return type(value) is bool


def _text(value: JsonValue) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200  # noqa: PLR2004 - a line


_PRIORITY = _words("LOW", "MEDIUM", "HIGH")
_ALL: dict[str, Legal] = {
    "PERFORMANCE_HINT": _words("LATENCY", "THROUGHPUT", "CUMULATIVE_THROUGHPUT"),
    "EXECUTION_MODE_HINT": _words("PERFORMANCE", "ACCURACY"),
}
_MANY: dict[str, Legal] = {
    "NUM_STREAMS": _whole(1, 1024),
    "KV_CACHE_PRECISION": _words("u8", "u4", "bf16", "f16", "f32"),
    #: 0: off; -1: one group a token.
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": _whole(-1, 1 << 20),
}
#: What each device may be given.
LEGAL: dict[Device, dict[str, Legal]] = {
    Device.CPU: {
        **_ALL,
        **_MANY,
        "INFERENCE_PRECISION_HINT": _words("bf16", "f16", "f32", "dynamic"),
        "INFERENCE_NUM_THREADS": _whole(1, 4096),
        "SCHEDULING_CORE_TYPE": _words("ANY_CORE", "PCORE_ONLY", "ECORE_ONLY"),
        "ENABLE_HYPER_THREADING": _flag,
        "ENABLE_CPU_PINNING": _flag,
    },
    Device.GPU: {
        **_ALL,
        **_MANY,
        "INFERENCE_PRECISION_HINT": _words("f16", "f32", "dynamic"),
        "GPU_QUEUE_THROTTLE": _PRIORITY,
        "GPU_QUEUE_PRIORITY": _PRIORITY,
        "GPU_HOST_TASK_PRIORITY": _PRIORITY,
        "GPU_ENABLE_SDPA_OPTIMIZATION": _flag,
    },
    Device.NPU: {
        **_ALL,
        "NPU_TURBO": _flag,
        "NPU_TILES": _whole(1, 64),
        "NPU_COMPILATION_MODE_PARAMS": _text,
        "PREFILL_HINT": _words("DYNAMIC", "STATIC"),
        "GENERATE_HINT": _words("FAST_COMPILE", "BEST_PERF"),
    },
}
#: What the scheduler of continuous batching may be given.
SCHEDULER: dict[str, Legal] = {
    "max_num_seqs": _whole(1, 4096),
    "max_num_batched_tokens": _whole(16, 1 << 20),
    "dynamic_split_fuse": _flag,
    "enable_prefix_caching": _flag,
}
#: Options of the pipeline: no plugin knows them, so none can be asked by compiling a tiny model.
OF_PIPELINE = frozenset({"PREFILL_HINT", "GENERATE_HINT", "ATTENTION_BACKEND"})

_NO_MODEL = "it changes answers, and there is no model here to judge them by"
_SDPA = "the server answers several requests at once, and this attention one after the other"
_PREFIX = "an answer would depend on what was asked before, so the same seed gives other texts"
#: The words of OpenVINO's types and of its settings.
_TYPES = {"bfloat16": "bf16", "float16": "f16", "float32": "f32", "uint8_t": "u8", "uint4_t": "u4"}


def refusals(
    device: str, properties: Mapping[str, JsonValue], scheduler: Mapping[str, JsonValue]
) -> list[str]:
    """Say, a line each, which settings the device can't have."""
    legal = LEGAL[kind_of(device)]
    found = []
    for where, table, given in (
        ("properties", legal, properties),
        ("scheduler", SCHEDULER, scheduler),
    ):
        for name, value in given.items():
            if name not in table:
                found.append(f"{where}.{name}: {device} has no such setting")
            elif not table[name](value):
                found.append(f"{where}.{name}: {value!r} is no value of it")
    return found


def candidates(
    facts: HostFacts, device: str, goal: Goal, base: Mapping[str, JsonValue], *, model: bool = True
) -> tuple[Setting, ...]:
    """Return what is worth a try on the device, the likeliest gain first.

    ``base`` holds the properties that the profile sets: they are the default here. Without a
    ``model`` a bare graph is measured, which has no scheduler.
    """
    kind = kind_of(device)
    found = next((one for one in facts.openvino.devices if one.name == device), None)
    reported = {**_reported(found), **base}
    makers = {Device.CPU: _cpu, Device.GPU: _gpu, Device.NPU: _npu}
    settings = [*makers[kind](facts, reported, _capabilities(found), goal)]
    if model and kind is not Device.NPU:
        settings += _scheduler(goal)
    if not model:  # nothing tells what such a setting costs in quality, so they come last
        settings = [one for one in settings if not OF_PIPELINE & one.properties.keys()]
        settings = [_unjudged(one) for one in settings]
        settings.sort(key=lambda one: one.changes_answers)
    return tuple(settings)


def _unjudged(setting: Setting) -> Setting:
    never = _NO_MODEL if setting.changes_answers else setting.never
    return setting.model_copy(update={"never": never})


def _reported(device: DeviceFacts | None) -> dict[str, JsonValue]:
    """Return the device's defaults as the words that set them."""
    if device is None:
        return {}
    words: dict[str, JsonValue] = {}
    for name, value in device.properties.items():
        word = value.rpartition(".")[2] if isinstance(value, str) else value
        words[name] = _TYPES.get(word, word) if isinstance(word, str) else word
    return words


def _capabilities(device: DeviceFacts | None) -> frozenset[str]:
    found = device.properties.get("OPTIMIZATION_CAPABILITIES") if device is not None else None
    return frozenset(str(word) for word in found) if isinstance(found, list) else frozenset()


def _each(
    name: str,
    values: Sequence[JsonValue],
    reported: Mapping[str, JsonValue],
    *,
    group: str | None = None,
    changes_answers: bool = False,
) -> Iterator[Setting]:
    """Yield a setting for each value that is not the default already."""
    for value in values:
        if name in reported and reported[name] == value:
            continue
        yield Setting(
            name=f"{name}={'max' if (name, value) == (_GROUP, -1) else value}",
            group=group or name,
            properties={name: value},
            changes_answers=changes_answers,
        )


_GROUP = "DYNAMIC_QUANTIZATION_GROUP_SIZE"


def thread_counts(facts: HostFacts) -> list[int]:
    """Return the numbers of threads to try, the likeliest first; never more than may be used."""
    cpu = facts.cpu
    most = max(1, min(cpu.logical_cores, int(cpu.usable_cores)))
    wanted = [cpu.physical_cores, cpu.performance_cores or 0, most]
    wanted += [most - 1, (cpu.physical_cores + 1) // 2]
    found = dict.fromkeys(number for number in wanted if 1 <= number <= most)
    if most == cpu.logical_cores == cpu.physical_cores:  # one a core, all of them: the default
        found.pop(most, None)
    return [*found][:4]


def _cpu(
    facts: HostFacts, reported: Mapping[str, JsonValue], can: frozenset[str], goal: Goal
) -> Iterator[Setting]:
    cpu = facts.cpu
    if goal == "throughput":
        yield from _each("PERFORMANCE_HINT", ["THROUGHPUT"], reported)
        yield from _each("NUM_STREAMS", [2], reported)
    counts = thread_counts(facts)
    name = "INFERENCE_NUM_THREADS"
    yield from _each(name, [*counts[:2]], reported, group="threads")
    if cpu.performance_cores and cpu.efficiency_cores:
        kinds: list[JsonValue] = ["PCORE_ONLY", "ANY_CORE", "ECORE_ONLY"]
        yield from _each("SCHEDULING_CORE_TYPE", kinds, reported, group="threads")
    if cpu.logical_cores > cpu.physical_cores:
        yield from _each("ENABLE_HYPER_THREADING", [False, True], reported, group="threads")
    precisions: list[JsonValue] = [
        word for word, capability in (("bf16", "BF16"), ("f16", "FP16")) if capability in can
    ]
    name = "INFERENCE_PRECISION_HINT"
    yield from _each(name, [*precisions, "f32"], reported, changes_answers=True)
    yield from _each(_GROUP, [32, 128, 64, -1, 0], reported, changes_answers=True)
    yield from _each("ENABLE_CPU_PINNING", [False], reported)
    kv: list[JsonValue] = ["u8", "u4", *precisions]
    yield from _each("KV_CACHE_PRECISION", kv, reported, changes_answers=True)
    yield from _each("INFERENCE_NUM_THREADS", [*counts[2:]], reported, group="threads")
    sdpa: dict[str, JsonValue] = {"ATTENTION_BACKEND": "SDPA"}
    yield Setting(
        name="ATTENTION_BACKEND=SDPA",
        group="attention",
        properties=sdpa,
        how="sequential",
        changes_answers=True,
        never=_SDPA,
    )


def _gpu(
    facts: HostFacts,  # noqa: ARG001 - the makers are called alike
    reported: Mapping[str, JsonValue],
    can: frozenset[str],  # noqa: ARG001
    goal: Goal,
) -> Iterator[Setting]:
    if goal == "throughput":
        yield from _each("PERFORMANCE_HINT", ["THROUGHPUT"], reported)
        yield from _each("NUM_STREAMS", [2], reported)
    yield from _each(_GROUP, [32, 128, -1, 64, 0], reported, changes_answers=True)
    yield from _each("KV_CACHE_PRECISION", ["u8", "f16"], reported, changes_answers=True)
    for name, word in (
        ("GPU_QUEUE_THROTTLE", "HIGH"),
        ("GPU_HOST_TASK_PRIORITY", "HIGH"),
        ("GPU_QUEUE_PRIORITY", "HIGH"),
    ):
        yield from _each(name, [word], reported)
    yield from _each("GPU_ENABLE_SDPA_OPTIMIZATION", [False], reported, changes_answers=True)


def _npu(
    facts: HostFacts,  # noqa: ARG001 - the makers are called alike
    reported: Mapping[str, JsonValue],
    can: frozenset[str],  # noqa: ARG001
    goal: Goal,  # noqa: ARG001 - an NPU answers one request after the other
) -> Iterator[Setting]:
    yield from _each("NPU_TURBO", [True], reported)
    yield from _each("GENERATE_HINT", ["BEST_PERF"], reported)
    yield from _each("PREFILL_HINT", ["STATIC"], reported)
    tiles = reported.get("NPU_MAX_TILES")
    if isinstance(tiles, int) and tiles > 0:
        yield from _each("NPU_TILES", [tiles], reported)
    mode = "optimization-level=2 performance-hint-override=latency"
    yield from _each("NPU_COMPILATION_MODE_PARAMS", [mode], reported)


def _scheduler(goal: Goal) -> Iterator[Setting]:
    tried: list[tuple[str, list[JsonValue]]] = [("max_num_batched_tokens", [1024])]
    if goal == "throughput":
        tried = [
            ("max_num_batched_tokens", [1024, 4096]),
            ("max_num_seqs", [16, 64]),
            ("dynamic_split_fuse", [False]),
        ]
    for name, values in tried:
        for value in values:
            yield Setting(name=f"{name}={value}", group=name, scheduler={name: value})
    yield Setting(
        name="enable_prefix_caching=True",
        group="prefix caching",
        scheduler={"enable_prefix_caching": True},
        never=_PREFIX,
    )
