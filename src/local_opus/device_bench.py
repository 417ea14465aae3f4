"""``bench device``: which devices are measured, each in a worker, and what came of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from pydantic import ValidationError

from local_opus import node, node_settings
from local_opus.devices.matching import is_foreign
from local_opus.devices.measured import (
    WITHOUT_OPENVINO,
    MeasuredDevice,
    MeasuredMachine,
    Measurement,
    What,
)
from local_opus.errors import (
    BadInputError,
    KeyNeededError,
    LocalOpusError,
    MachineCannotError,
    did_you_mean,
)
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.runtime.protocol import Message
from local_opus.values import Device, DeviceFacts, HostFacts

ALL = "all"
_MIN_SECONDS, _MAX_SECONDS = 15.0, 3600.0
#: OpenVINO's devices that choose among others: what ran is then not what was named.
_CHOOSERS = ("AUTO", "HETERO", "MULTI", "BATCH")
_NAME = re.compile(r"(CPU|GPU(\.\d+)?|NPU(\.\d+)?)\Z")
#: Share of a device's time that is for measuring; the rest is for loading and compiling.
_MEASURING = 0.5
#: Share after which no figure is begun: the one that runs then must end before the limit.
_BEGINNING = 0.6
#: Share of free memory that a device may take, and the most that is of use.
_MEMORY_SHARE = 0.5
_MAX_MEMORY = 8 * 1024**3

Tell = Callable[[str, Measurement], None]


def listed(facts: HostFacts) -> tuple[DeviceFacts, ...]:
    """Return OpenVINO's devices that are Intel's or the CPU, as it lists them.

    Raises MachineCannotError where OpenVINO can't be asked.
    """
    if not facts.openvino.devices:
        why = facts.openvino.problem or "OpenVINO lists no device"
        raise MachineCannotError(
            f"bench device: {why}",
            "Install a profile with OpenVINO (`local-opus install`), then run this again.",
        )
    return tuple(one for one in facts.openvino.devices if not is_foreign(one))


def check_name(name: str) -> None:
    """Raise BadInputError for a name that no device can have; nothing of the machine is asked."""
    word = name.upper()
    if word == ALL.upper() or _NAME.match(word):
        return
    kind = re.split(r"[:.,]", word)[0]
    if kind in _CHOOSERS:
        raise BadInputError(
            f"{name}: {kind} chooses among devices, so what ran is not what was named",
            "Name one device: CPU, GPU, GPU.1, NPU, or all.",
        )
    hint = did_you_mean(word, ("CPU", "GPU", "NPU", ALL))
    raise BadInputError(
        f"{name!r}: no name of a device.{hint}", "Name CPU, GPU, GPU.0, GPU.1, NPU, or all."
    )


def check_seconds(seconds: float) -> None:
    """Raise BadInputError for a time in which nothing can be measured, or that is no time."""
    if not _MIN_SECONDS <= seconds <= _MAX_SECONDS:
        raise BadInputError(
            f"--seconds {seconds:g}: must be {_MIN_SECONDS:g} to {_MAX_SECONDS:g}",
            "Leave it out for a minute.",
        )


def chosen(facts: HostFacts, name: str) -> tuple[DeviceFacts, ...]:
    """Return the devices that ``name`` means; "GPU" is the first GPU, as for OpenVINO.

    Raises BadInputError for nonsense, MachineCannotError for what is not there.
    """
    check_name(name)
    there = listed(facts)
    if name.upper() == ALL.upper():
        return there
    word = name.upper()
    found = [one for one in there if one.name == word]
    found = found or [one for one in there if _plain(one.name) == _plain(word)]
    if found:
        return (found[0],)
    known = ", ".join(f"{one.name} ({one.full_name})" for one in there)
    why = facts.openvino.absent.get(word.partition(".")[0])
    raise MachineCannotError(
        f"{word}: OpenVINO does not list it here; there is {known}",
        "Name one of these; `local-opus detect` shows what the machine has.",
        details=(f"OpenVINO says: {why}",) if why else (),
    )


def _plain(name: str) -> str:
    """GPU and GPU.0 are one device, and so is NPU with its only one's number."""
    return name.removesuffix(".0")


def competing(host: Host, locations: Locations) -> bool:
    """Tell whether a server of this install runs: it takes cores and memory from a measurement."""
    if node.serving(host, locations) is not None:
        return True
    try:
        address, port = node_settings.address(host, locations)
    except LocalOpusError:
        return False
    try:
        return node.ask_ready(host, address, port) is not None
    except KeyNeededError:  # whatever it answers, it runs
        return True


def measure(
    host: Host,
    facts: HostFacts,
    devices: Sequence[DeviceFacts],
    *,
    seconds: float,
    beside_server: bool,
    tell: Tell = lambda _device, _figure: None,
) -> MeasuredMachine:
    """Measure each device within its share of ``seconds``; a device's failure is its figures'."""
    share = seconds / len(devices)
    return MeasuredMachine(
        openvino=(facts.openvino.version or "unknown").partition("-")[0],
        beside_server=beside_server,
        devices=tuple(_measure_one(host, facts, one, share, tell) for one in devices),
    )


def _measure_one(
    host: Host, facts: HostFacts, device: DeviceFacts, seconds: float, tell: Tell
) -> MeasuredDevice:
    asked = [what for what in What if device.name == Device.CPU or what not in WITHOUT_OPENVINO]
    found: dict[What, Measurement] = {}
    strange: list[str] = []

    def on_event(message: Message) -> None:
        try:
            figure = Measurement.model_validate(message.get("figure"))
        except ValidationError as error:
            strange.append(str(error.errors()[0]["msg"]))
            return
        if figure.what in asked and figure.what not in found:
            found[figure.what] = figure
            tell(device.name, figure)

    request: Message = {
        "device": device.name,
        "what": [what.value for what in asked],
        "seconds": seconds * _MEASURING,
        "limit": seconds * _BEGINNING,
        "memory": _memory(facts, device),
    }
    problem = "the worker told nothing of it"
    try:
        host.processes.worker("device_bench", request, timeout=seconds, on_event=on_event)
    except LocalOpusError as error:
        problem = error.message
    if strange:
        problem = f"device_bench worker: answer of another form: {strange[0]}"
    figures = [found.get(what) or Measurement(what=what, problem=problem) for what in asked]
    return MeasuredDevice(name=device.name, full_name=device.full_name, figures=tuple(figures))


def _memory(facts: HostFacts, device: DeviceFacts) -> int:
    """Return the bytes that the measurement may take of the machine's and the device's memory."""
    usable = facts.memory.usable
    kind = device.name.partition(".")[0]
    own = device.properties.get(f"{kind}_DEVICE_TOTAL_MEM_SIZE")
    if isinstance(own, int) and not isinstance(own, bool) and own > 0:
        usable = min(usable, own)
    return min(int(usable * _MEMORY_SHARE), _MAX_MEMORY)
