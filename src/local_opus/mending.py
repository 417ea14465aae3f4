"""``doctor --fix``: what takes no judgement, by the actions and the receipt of an install.

Never here: groups of a user, packages, the kernel, the firmware, anything that a person must weigh.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from pydantic import JsonValue

from local_opus import install, node, node_settings, planner, pruning, restoring, state, whereabouts
from local_opus.apply import Applier
from local_opus.checks import leftovers, secrets
from local_opus.errors import InterruptedRunError, LocalOpusError
from local_opus.host import Host
from local_opus.journal import Journal, Listener
from local_opus.locations import Locations
from local_opus.opening import open_journal
from local_opus.receipts import is_there
from local_opus.refusals import words
from local_opus.report.reporter import Reporter
from local_opus.units import size_text
from local_opus.values import CheckResult, Mended, PlannedAction

#: Checks whose answer may be another one after anything was mended.
_ALWAYS = ("receipt", "drift")
#: Checks that can't be answered while a config is missing.
_OF_CONFIG = ("config", "unit", "server", "port", "memory", "disk", "weights", "posture",
              "machine")  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One thing to mend: what it is, a line each, and the checks to be asked again."""

    lines: tuple[str, ...]
    checks: tuple[str, ...]
    do: Callable[[Reporter], object]


def steps(host: Host, locations: Locations, results: Iterable[CheckResult]) -> list[Step]:
    """Return what can be mended of what the checks found; nothing is changed.

    Raises BadInputError where this user may not change the install.
    """
    ids = {one.id for one in results if one.fixable}
    if not ids:
        return []
    install.require_rights(host, locations.scope)
    found: list[Step] = []
    if "leftovers" in ids:
        found += _leftovers(host, locations)
    journal = open_journal(host, locations) if is_there(host, locations.receipt) else None
    if journal is not None and journal.history.finished:
        found += _of_install(host, locations, journal, ids)
    if "partials" in ids:
        found.append(_partials(host, locations))
    return found


def mend(todo: Sequence[Step], tell: Reporter) -> list[Mended]:
    """Do the steps, one after the other; one that fails does not stop the rest.

    Raises InterruptedRunError at once.
    """
    done = []
    for step in todo:
        problem = remedy = None
        try:
            step.do(tell)
        except InterruptedRunError:
            raise
        except LocalOpusError as error:
            problem, remedy = error.message, error.remedy
        except OSError as error:
            problem, remedy = words(error), "Look at that path, then run this again."
        done.append(
            Mended(lines=step.lines, checks=step.checks, done=problem is None,
                   problem=problem, remedy=remedy)
        )  # fmt: skip
    return done


def affected(todo: Iterable[Step]) -> set[str]:
    """Return the ids of the checks to be asked again."""
    return {*_ALWAYS, *(id_ for step in todo for id_ in step.checks)}


def _of_install(host: Host, locations: Locations, journal: Journal, ids: set[str]) -> list[Step]:
    found = []
    edits = Applier(journal).edits()
    damaged = [one for one in restoring.damages(journal, edits) if one.is_safe]
    if damaged and ids & {"drift", "secrets", "unit"}:
        wanted = [one.id for one in damaged]
        found.append(
            Step(
                tuple(restoring.summaries(journal, wanted)),
                ("drift", "secrets", "leftovers", *_OF_CONFIG),
                partial(restoring.restore, host, locations, wanted),
            )
        )
    if "secrets" in ids:
        covered = {one.what for one in damaged}
        actions = _closing(host, locations, covered)
        if actions:
            found.append(
                Step(
                    tuple(action.summary for action in actions),
                    ("secrets",),
                    partial(_close, host, locations, actions),
                )
            )
    if ids & {"server", "unit"}:
        lines = restoring.summaries(journal, ["server"])
        if lines:
            again = ("server", "unit", "port", "memory", "posture", "sandbox", "machine")
            found.append(Step(tuple(lines), again, partial(_start, host, locations)))
    return found


def _closing(host: Host, locations: Locations, covered: set[str]) -> list[PlannedAction]:
    """Return the actions that close what no action of the install made, e.g. the receipt."""
    found = []
    for one in secrets.paths(host, locations):
        there = host.files.stat(one.path)
        if there is None or not one.ours or one.path in covered or not there.mode & ~one.may:
            continue
        if there.kind not in secrets.OURS:
            continue
        params: dict[str, JsonValue] = {"path": one.path, "mode": there.mode & one.may}
        found.append(planner.planned(f"mode:{one.path}", "set_mode", params))
    return found


def _close(
    host: Host, locations: Locations, actions: Sequence[PlannedAction], tell: Reporter
) -> None:
    with state.held(host, locations):
        listener = Listener(tell.started, tell.progress, tell.finished)
        applier = Applier(open_journal(host, locations, listener, held=True))
        for action in actions:
            applier.ensure(action, outside=True)


def _start(host: Host, locations: Locations, tell: Reporter) -> None:
    where = node_settings.settings(host, locations)
    node.require_free_port(host, locations, where.host, where.port)
    restoring.restore(host, locations, ["server"], tell)


def _leftovers(host: Host, locations: Locations) -> list[Step]:
    paths = [path for path, _ in leftovers.leftovers(host, locations)]
    if not paths:
        return []
    lines = tuple(f"remove {path}" for path in paths)
    return [Step(lines, ("leftovers",), partial(_clear, host, locations))]


def _clear(host: Host, locations: Locations, _tell: Reporter) -> None:
    """Look again under the lock: what a run writes that has begun meanwhile is its own."""
    whereabouts.require(host, locations)
    with state.held_if_there(host, locations):  # finishes what is on its way
        for path, _ in leftovers.leftovers(host, locations):
            found = host.files.stat(path)
            if found is None:
                continue
            if found.kind == "folder":
                host.files.remove_tree(path)
            else:
                host.files.remove(path)


def _partials(host: Host, locations: Locations) -> Step:
    orphans = pruning.prunable(host, locations).orphans
    lines = tuple(f"remove {one.path} ({size_text(one.bytes)})" for one in orphans)
    return Step(lines, ("partials", "disk"), lambda _tell: pruning.prune(host, locations))
