"""Whether this machine tells what it is; what rests on it is not applicable otherwise."""

from __future__ import annotations

from local_opus.checks.base import (
    SECONDS_WITH_FACTS,
    Answer,
    Check,
    Group,
    advise,
    failed,
    passed,
    warned,
)
from local_opus.checks.context import Context
from local_opus.errors import LocalOpusError
from local_opus.units import size_text


def ask(context: Context) -> Answer:
    """Read the host facts, OpenVINO's among them."""
    try:
        facts = context.read_facts()
    except LocalOpusError as error:
        return failed(error.message, advise(error.remedy))
    said = f"{facts.cpu.model}, {size_text(facts.memory.total)} memory, {facts.os.name}"
    if facts.openvino.problem is not None:
        return warned(
            f"OpenVINO can't be asked: {facts.openvino.problem}",
            advise("See what of it works.", "local-opus detect"),
        )
    return passed(said)


CHECK = Check("facts", "host facts", Group.MACHINE, ask, SECONDS_WITH_FACTS)
