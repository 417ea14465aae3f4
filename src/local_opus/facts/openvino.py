"""OpenVINO's devices, asked in a worker: a driver that crashes or hangs is a fact too."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from local_opus.errors import LocalOpusError
from local_opus.facts import reading
from local_opus.facts.cpu import Named
from local_opus.host import BegunWorker, Host
from local_opus.runtime.protocol import Message
from local_opus.values import DeviceFacts, OpenVinoFacts


@dataclass(frozen=True)
class Raw:
    """The worker's answer, or why there is none.

    ``problem`` is the error of the query of all devices. Then ``answer`` is that of a second
    worker that asked for the CPU alone, None if that one failed too.
    """

    answer: Message | None
    problem: str | None


def read(
    host: Host,
    *,
    timeout: float,
    ask_cpu_name: bool = False,
    begun: BegunWorker | None = None,
) -> Raw:
    """Ask a worker within ``timeout`` seconds; after a failure once more, for the CPU alone.

    One bad GPU or NPU driver takes the whole query down with it, but OpenVINO loads a device's
    plugin only when asked for it: the CPU may well be usable. ``ask_cpu_name`` has py-cpuinfo
    asked beside OpenVINO. ``begun`` is a worker that was asked for all devices already (see
    ``probing.begin``), and not for the CPU's name.
    """
    request: Message = {"devices": None, "cpu_name": ask_cpu_name}
    try:
        if begun is None:
            return Raw(host.processes.worker("probe", request, timeout=timeout), None)
        named = _name(host, timeout) if ask_cpu_name else {}
        return Raw({**begun.result(), **named}, None)
    except LocalOpusError as error:
        problem = error.message
    try:
        answer = host.processes.worker("probe", {**request, "devices": ["CPU"]}, timeout=timeout)
    except LocalOpusError:  # the first problem is the one to tell
        return Raw(None, problem)
    return Raw(answer, problem)


def _name(host: Host, timeout: float) -> Message:
    """Return what a worker beside the one that was begun says of the processor."""
    request: Message = {"devices": [], "cpu_name": True}
    try:
        answer = host.processes.worker("probe", request, timeout=timeout)
    except LocalOpusError:  # then the processor stays unnamed; the devices are asked elsewhere
        return {}
    return {"cpu": answer["cpu"]} if "cpu" in answer else {}


def parse(raw: Raw) -> OpenVinoFacts:
    """Return the facts. An answer of another form than the probe's is a problem, too."""
    if raw.answer is None:
        return OpenVinoFacts(version=None, devices=(), problem=raw.problem or "no answer")
    answer = {name: value for name, value in raw.answer.items() if name != "cpu"}
    try:
        facts = OpenVinoFacts.model_validate(answer)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return OpenVinoFacts(
            version=None, devices=(), problem=f"probe worker: {where}: {first['msg']}"
        )
    devices = tuple(
        DeviceFacts(
            name=device.name,
            # AMD pads the names of its CPUs; a firmware's may hold what moves the cursor.
            full_name=reading.one_line(device.full_name),
            properties=device.properties,
            unreadable=device.unreadable,
        )
        for device in facts.devices
    )
    return facts.model_copy(update={"devices": devices, "problem": raw.problem or facts.problem})


def parse_cpu(raw: Raw, usable: OpenVinoFacts | None = None) -> Named:
    """Return what py-cpuinfo said of the processor; empty where it was not asked.

    Where it does not know the model either (/proc is hidden), OpenVINO's CPU device names it.
    """
    said = (raw.answer or {}).get("cpu")
    if not isinstance(said, dict):
        return Named()
    flags = said.get("flags")
    devices = usable.devices if usable is not None else ()
    named = next((device.full_name for device in devices if device.name == "CPU"), "")
    return Named(
        model=str(said.get("model") or named),
        vendor=str(said.get("vendor") or ""),
        architecture=str(said.get("architecture") or ""),
        flags=frozenset(map(str, flags)) if isinstance(flags, list) else frozenset(),
    )
