"""What an install measured of its models: tokens/s by device. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import JsonValue

from local_opus import sealed
from local_opus.devices.names import is_name
from local_opus.devices.ranking import Measured
from local_opus.history import Event, Record
from local_opus.values.tuning import Tuned


def of_records(records: Iterable[Record]) -> tuple[Measured, ...]:
    """Return the tokens/s of each finished run, the oldest first."""
    found: list[Measured] = []
    run: dict[str, JsonValue] = {}
    for record in records:
        if record.event is Event.RUN:
            run = record.data
        elif record.event is Event.FINISHED and (one := _measured(run, record)) is not None:
            found.append(one)
    return tuple(found)


def of_tuned(found: Tuned) -> Measured | None:
    """Return the tokens/s of what tuning chose: of one answer after its first token.

    None where it chose the default, which the self-test measured; for many answers at once and for
    a generated graph, which nothing else is measured with; for a file that was edited since.
    """
    model = found.tuned_for.model
    chosen = [one.speed for one in found.tried if one.kept and one.speed is not None]
    rates = [one.decode_tokens_per_second for one in chosen]
    comparable = model is not None and found.goal == "latency" and not sealed.is_edited(found)
    if not comparable or model is None or not rates or rates[-1] <= 0:
        return None
    return Measured(
        device=found.tuned_for.device, model=model, tokens_per_second=rates[-1], when=found.at
    )


def _measured(run: dict[str, JsonValue], finished: Record) -> Measured | None:
    # Older versions wrote the kind alone; they served on what OpenVINO calls so.
    device, model = run.get("device_name") or run.get("device"), run.get("model")
    rate = finished.data.get("tokens_per_second")
    if not isinstance(rate, int | float) or isinstance(rate, bool) or rate <= 0:
        return None
    if not isinstance(device, str) or not is_name(device) or not isinstance(model, str):
        return None
    return Measured(device=device, model=model, tokens_per_second=rate, when=finished.at)
