"""``tuned.json``: what tuning chose, read and written, and put together with the server's settings.

The file holds the sum of all its rest, so an edit is seen wherever the file came from. An edited
one is used as it says, if what it says can be.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from local_opus.devices.names import kind_of
from local_opus.devices.settings import refusals
from local_opus.errors import BadInputError
from local_opus.tuning.search import NOT_TRIED
from local_opus.validation import parse_json
from local_opus.values.tuning import Chosen, Tuned

NAME = "tuned.json"
_REMEDY = "Correct the file, or remove it: the server then runs with the defaults."


def parse(text: str, path: str) -> Tuned:
    """Return what the file at ``path`` says. Raises BadInputError that names the field."""
    tuned = parse_json(Tuned, text, path, _REMEDY)
    try:
        kind_of(tuned.tuned_for.device)
    except ValueError:
        raise BadInputError(
            f"{path}: tuned_for.device: {tuned.tuned_for.device!r} is no device", _REMEDY
        ) from None
    chosen = tuned.chosen
    found = refusals(tuned.tuned_for.device, chosen.properties, chosen.scheduler)
    if found:
        lines = [f"chosen.{line}" for line in found]
        raise BadInputError(f"{path}: {lines[0]}", _REMEDY, details=lines[1:])
    return tuned


def mismatch(
    tuned: Tuned,
    *,
    model: str | None,
    weights_sha256: str | None,
    device: str,
    openvino: str | None,
) -> str | None:
    """Say for what else this was tuned; None: for just this."""
    was = tuned.tuned_for
    pairs = (
        ("the model", was.model or "a generated graph", model or "a generated graph"),
        ("the device", was.device, device),
        ("OpenVINO", was.openvino, openvino or "of an unknown version"),
    )
    for what, tuned_value, now in pairs:
        if tuned_value != now:
            return f"tuned for {what} {tuned_value}, and this is {now}"
    if was.weights_sha256 != weights_sha256:
        return f"tuned for other weights of {was.model}"
    return None


def effective(
    edited: Mapping[str, JsonValue], base: Mapping[str, JsonValue], chosen: Chosen
) -> dict[str, JsonValue]:
    """Return the properties to run with.

    ``edited`` are those of openvino.json: a key that is not as it was when this was tuned
    (``base``) is the user's, and wins.
    """
    own = {name for name, value in edited.items() if name not in base or base[name] != value}
    tuned = {name: value for name, value in chosen.properties.items() if name not in own}
    return {**edited, **tuned}


def _no_gain(tuned: Tuned) -> str:
    """Say that nothing gained, and of how many: a short time leaves some out."""
    tried = sum(row.why != NOT_TRIED for row in tuned.tried)
    of = f" ({tried} of {len(tuned.tried)} settings tried)" if tried < len(tuned.tried) else ""
    return f"nothing gained more than the noise{of}"


def in_words(tuned: Tuned) -> str:
    """Say in one line what was chosen."""
    chosen = {**tuned.chosen.properties, **tuned.chosen.scheduler}
    if not chosen:
        return f"the defaults: {tuned.problem or _no_gain(tuned)}"
    words = ", ".join(f"{name}={value}" for name, value in chosen.items())
    gain = f", {tuned.gain.median:.2f} times the default" if tuned.gain is not None else ""
    return f"{words}{gain}"
