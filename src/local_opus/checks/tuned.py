"""Whether the server uses what was tuned: settings that were measured here, for this model."""

from __future__ import annotations

from local_opus import node_settings
from local_opus.checks.base import (
    Answer,
    Check,
    Group,
    NotApplicableError,
    advise,
    passed,
    warned,
)
from local_opus.checks.context import Context
from local_opus.tuning import tuned


def ask(context: Context) -> Answer:
    """Compare tuned.json with the model, the device and the OpenVINO that the server has."""
    context.settings()
    state = node_settings.tuned_state(context.host, context.locations)
    if state is None:
        raise NotApplicableError("nothing was tuned here")
    if state.unused is not None:
        again = advise("Measure anew, for what is served now.", "local-opus tune")
        return warned(f"not used: {state.unused}", again)
    return passed(tuned.in_words(state.tuned))


CHECK = Check("tuned", "tuned settings", Group.SERVER, ask)
