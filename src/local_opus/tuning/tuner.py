"""Tune this machine as ordered: measure, choose, and say what came of it.

A fault is a result too: then the defaults stay, and the result says why.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from local_opus.errors import LocalOpusError, MachineCannotError
from local_opus.facts import memory
from local_opus.host import Host
from local_opus.tuning import Outcome, Search, Tell
from local_opus.tuning.workbench import Subject, Workbench, generated
from local_opus.units import size_text
from local_opus.values.tuning import Tuned, TunedFor, TuningOrder
from local_opus.weights import manifest

#: Bytes that one generated graph takes while it runs: measured 0.55 GB with 8 threads at most.
GRAPH_MEMORY = 700_000_000


def weights_digest(host: Host, order: TuningOrder) -> str | None:
    """Return the digest of the weights manifest; None for a generated graph.

    Raises LocalOpusError or OSError where there is none.
    """
    if order.folder is None:
        return None
    return manifest.read_with_digest(host, order.folder)[1]


def tune(host: Host, order: TuningOrder, tell: Tell = lambda _what, _seconds: None) -> Tuned:
    """Return what was measured and chosen; KeyboardInterrupt alone goes through."""
    begin = time.monotonic()
    holds_for = order.holds_for(None)
    try:
        holds_for = order.holds_for(weights_digest(host, order))
        require_memory(host, order)
        with subject(host, order) as what, Workbench(host, what) as bench:
            outcome = Search(
                bench,
                goal=order.goal,
                seconds=order.seconds - (time.monotonic() - begin),
                clock=time.monotonic,
                tell=tell,
                band=order.band,
            ).run(order.settings)
    except LocalOpusError as error:
        outcome = Outcome(problem=error.message)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        outcome = Outcome(problem=f"{where}{(error.strerror or str(error)).lower()}")
    return result(host, order, holds_for, outcome, time.monotonic() - begin)


def result(
    host: Host, order: TuningOrder, holds_for: TunedFor, outcome: Outcome, seconds: float
) -> Tuned:
    """Return an outcome as it is kept."""
    return Tuned(
        tuned_for=holds_for,
        goal=order.goal,
        base=order.base,
        chosen=outcome.chosen,
        gain=outcome.gain,
        judged=outcome.judged,
        noise=outcome.noise,
        tried=[*outcome.tried, *([outcome.verified] if outcome.verified else [])],
        seconds=round(seconds, 1),
        at=host.now(),
        problem=outcome.problem,
    )


@contextmanager
def subject(host: Host, order: TuningOrder) -> Iterator[Subject]:
    """Give what is measured: the model of the order, or a graph that is made for the time."""
    if order.folder is None:
        with generated(host, order.device, order.base) as made:
            yield made
        return
    yield Subject(
        device=order.device,
        folder=host.files.real_path(order.folder),
        base=order.base,
        model=order.model,
        context_length=order.context_length,
        cache_size_gb=order.cache_size_gb,
        text=order.text,
    )


def require_memory(host: Host, order: TuningOrder) -> None:
    """Raise MachineCannotError where the default and another setting can't run side by side."""
    usable = memory.parse(memory.read(host)).usable
    needed = 2 * (order.memory if order.folder is not None else GRAPH_MEMORY)
    if needed > usable:
        raise MachineCannotError(
            f"two settings are measured side by side, which needs {size_text(needed)} of memory, "
            f"and {size_text(usable)} are free",
            "End other programs, then run `local-opus tune`.",
        )
