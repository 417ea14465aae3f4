"""The chain of every device that could run inference, from the PCI bus to a right result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from local_opus import resources
from local_opus.checks.base import (
    SECONDS_WITH_FACTS,
    Answer,
    Check,
    Group,
    NotApplicableError,
    advise,
)
from local_opus.checks.context import Context, Once, begin
from local_opus.devices.chain import chains
from local_opus.devices.matching import is_foreign
from local_opus.facts.inference import try_device
from local_opus.host import Host
from local_opus.values import (
    CheckState,
    Device,
    DeviceChain,
    HostFacts,
    Link,
    LinkName,
    LinkState,
    TinyInference,
)

#: Seconds of one tiny inference: an NPU compiles for some.
TINY_SECONDS = 20.0
_OPENVINO = "\nopenvino=="


def ask(context: Context) -> list[Answer]:
    """Walk each device's chain to its end, a real inference on it."""
    require_openvino(context)
    # The CPU is always there: it need not wait for OpenVINO's list.
    first = {"CPU": _begin(context.host, "CPU")}
    facts = context.facts()
    tiny = try_all(context.host, facts, first)
    return answers(facts, tiny, context.used_device())


def require_openvino(context: Context) -> None:
    """Raise NotApplicableError where the install is to have no OpenVINO."""
    try:
        lock = context.environment().lock
    except NotApplicableError:  # nothing is installed: this program's own environment is asked
        return
    if lock in resources.names("locks") and _OPENVINO not in resources.read("locks", lock):
        raise NotApplicableError("this install is without OpenVINO, as its profile wants")


def try_all(
    host: Host, facts: HostFacts, begun: Mapping[str, Once[TinyInference]]
) -> dict[str, TinyInference]:
    """Try each of Intel's devices that OpenVINO lists, all at the same time."""
    waiting = dict(begun)
    for device in facts.openvino.devices:
        if not is_foreign(device) and device.name not in waiting:
            waiting[device.name] = _begin(host, device.name)
    return {name: result() for name, result in waiting.items()}


def _begin(host: Host, name: str) -> Once[TinyInference]:
    return begin(Once(lambda: try_device(host, name, TINY_SECONDS)))


def answers(
    facts: HostFacts,
    tiny: Mapping[str, TinyInference],
    used: str | None,
    *,
    groups: frozenset[str] | None = None,
) -> list[Answer]:
    """Return an answer for each chain, and for each kind of device that is not there.

    ``used``: OpenVINO's name of the device that the server is set to; None: there is no server.
    ``groups``: those of the service, for whom it is judged; None: for this user.
    """
    found = chains(facts, tiny=tiny, groups=groups)
    told = [_answer(chain, used) for chain in found]
    there = {chain.device for chain in found}
    told += [_absent(kind, used) for kind in (Device.GPU, Device.NPU) if kind not in there]
    return told


def _absent(kind: Device, used: str | None) -> Answer:
    said = f"this machine shows no Intel {kind.value}"
    name = f"device-{kind.value.lower()}"
    if used is not None and used.partition(".")[0] == kind:
        fix = advise("Choose another device.", "local-opus install --local-opus --device auto")
        said += f", and the server is set to {used}"
        return Answer(CheckState.FAIL, said, fix=fix, id=name, title=kind.value)
    return Answer(CheckState.NOT_APPLICABLE, said, id=name, title=kind.value)


def _answer(chain: DeviceChain, used: str | None) -> Answer:
    """Judge a chain: a broken one fails, unless the server is set to another device."""
    state, link = _state(chain.links)
    if state is CheckState.FAIL and used is not None and not _is_used(chain, used):
        state = CheckState.WARN
    evidence = f"{chain.name}: "
    evidence += f"{link.name.value}: {link.evidence}" if link else "no link of it is known"
    return Answer(
        state,
        evidence,
        tuple(_line(one) for one in chain.links),
        chain.fix,
        id=_id(chain),
        title=_title(chain),
    )


def _state(links: Iterable[Link]) -> tuple[CheckState, Link | None]:
    """Return the state, and the link that says why."""
    links = list(links)
    broken = next((one for one in links if one.state is LinkState.BROKEN), None)
    if broken is not None:
        return CheckState.FAIL, broken
    last = next((one for one in links if one.name is LinkName.INFERENCE), None)
    if last is not None and last.state is LinkState.HOLDS:
        return CheckState.PASS, last
    doubtful = (one for one in links if one.state is LinkState.UNKNOWN)
    return CheckState.WARN, next(doubtful, last)


def _is_used(chain: DeviceChain, used: str) -> bool:
    """Whether the server's device is this one, or may be it."""
    kind, _, number = used.partition(".")
    if chain.device.value != kind:
        return False
    name = chain.openvino_name
    return name is None or not number or name == used


def _line(link: Link) -> str:
    return f"{link.name.value}: {link.state.value}{': ' if link.evidence else ''}{link.evidence}"


def _id(chain: DeviceChain) -> str:
    """Return a word that stays the same as long as the device does."""
    place = chain.pci_address or (chain.openvino_name or "").lower()
    kind = chain.device.value.lower()
    return f"device-{kind}" if place in {"", kind} else f"device-{kind}-{place}"


def _title(chain: DeviceChain) -> str:
    """Return OpenVINO's name, or the kind and the address without its usual domain."""
    if chain.openvino_name is not None:
        return chain.openvino_name
    address = (chain.pci_address or "").removeprefix("0000:")
    return f"{chain.device.value} {address}".strip()


CHECK = Check(
    "devices",
    "devices",
    Group.DEVICES,
    ask,
    SECONDS_WITH_FACTS + TINY_SECONDS,
    CheckState.FAIL,
)
