"""What of an install is missing or damaged, and its way back to what the receipt says.

The receipt itself is the plan: its actions, with the parameters that they were done with. Only what
takes no judgement, no network and no other package is restored here; the rest is the work of an
install.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from local_opus import state, whereabouts
from local_opus.actions.base import State
from local_opus.actions.convert_weights import ConvertWeights
from local_opus.actions.create_environment import CreateEnvironment
from local_opus.actions.create_folder import CreateFolder
from local_opus.actions.enable_service import EnableService
from local_opus.actions.fetch_weights import FetchWeights
from local_opus.actions.install_unit import InstallUnit
from local_opus.actions.link_command import LinkCommand
from local_opus.actions.start_server import StartServer
from local_opus.actions.write_file import WriteFile
from local_opus.apply import Applier
from local_opus.errors import InterruptedRunError, LocalOpusError
from local_opus.history import Entry, Event, History
from local_opus.host import Host
from local_opus.journal import Journal, Listener, Outcome
from local_opus.locations import Locations
from local_opus.opening import open_journal
from local_opus.refusals import explained
from local_opus.report.reporter import Reporter
from local_opus.values import Plan, PlannedAction, Scope

#: What is restored here, in the order in which one needs the other.
_SAFE = (
    CreateFolder.kind,
    CreateEnvironment.kind,  # only where nothing is to be built
    WriteFile.kind,
    LinkCommand.kind,
    InstallUnit.kind,
    EnableService.kind,
    StartServer.kind,
)
SERVERS = frozenset({EnableService.kind, StartServer.kind})
_WEIGHTS = frozenset({FetchWeights.kind, ConvertWeights.kind})


@dataclass(frozen=True)
class Damage:
    """An action whose work is not there as it was left; ``is_safe``: ``restore`` does it."""

    id: str
    kind: str
    what: str
    evidence: str
    is_safe: bool


def damages(journal: Journal, edits: Mapping[str, str]) -> list[Damage]:
    """Return what is missing or damaged, but for weights, the server and the user's ``edits``."""
    found = []
    for entry in _ours(journal.history):
        if entry.kind in SERVERS | _WEIGHTS or entry.id in edits:
            continue
        if (damage := _look(journal, entry)) is not None:
            found.append(damage)
    return found


def _ours(history: History) -> list[Entry]:
    """Return what the install holds: not what is of no plan, nor what a run left half-done."""
    there = {Event.DONE, Event.KEPT, Event.PREEXISTING}
    return [
        entry
        for entry in history.entries
        if entry.status in there and not entry.outside and not entry.transient
    ]


def _look(journal: Journal, entry: Entry) -> Damage | None:
    host, action = journal.host, journal.of(entry)
    paths = action.paths()
    what = paths[0] if paths else entry.id
    try:
        seen = action.inspect(host)
        if seen.state is State.PRESENT:
            return None
        evidence = "missing" if seen.state is State.ABSENT else seen.evidence
        safe = entry.kind in _SAFE
        if isinstance(action, CreateEnvironment):
            safe = action.room(host) == 0
    except PermissionError:
        evidence, safe = "closed to this user", entry.kind in _SAFE
    return Damage(entry.id, entry.kind, what, evidence, safe)


def install_command(history: History) -> str:
    """Return the command that installs the same again."""
    run = history.last_run or history.run
    words = [
        "local-opus",
        "install",
        "--profile",
        str(run.get("profile_file") or run.get("profile")),
    ]
    for name in ("model", "device", "port"):
        if run.get(name) is not None and run.get("model") is not None:
            words += [f"--{name}", str(run[name])]
    if run.get("scope") == Scope.USER:  # root would install for the system
        words += ["--scope", "user"]
    return shlex.join(words)


def summaries(journal: Journal, ids: Collection[str]) -> list[str]:
    """Return what ``restore`` would do, a line each."""
    return [action.summary for action in _planned(journal, ids)]


def restore(host: Host, locations: Locations, ids: Collection[str], tell: Reporter) -> Outcome:
    """Do these actions of the install again, as a run of its own in the receipt.

    Raises LocalOpusError where it fails, after having rolled back, InterruptedRunError, and
    BadInputError as ``whereabouts.receipt`` does.
    """
    whereabouts.require(host, locations)
    with state.held(host, locations), explained(locations.receipt):
        listener = Listener(tell.started, tell.progress, tell.finished)
        journal = open_journal(host, locations, listener, held=True)
        history = journal.history
        if not history.finished:
            raise LocalOpusError(
                f"{locations.receipt}: the last run did not come to its end",
                f"Run `{install_command(history)}` first: it goes on, or takes that back.",
            )
        actions = _planned(journal, ids)
        run = history.last_run
        plan = Plan(
            profile=str(run.get("profile")),
            scope=locations.scope,
            root=host.root,
            model=None,
            device=None,
            actions=tuple(actions),
        )

        def prove() -> dict[str, JsonValue]:
            _require_there(journal, actions)
            return {**history.result, "restored": [action.id for action in actions]}

        try:
            return Applier(journal).apply(plan, run, prove, whole=False)
        except InterruptedRunError as error:  # a part of an install can't go on by itself
            raise InterruptedRunError(
                error.message,
                f"Run `{install_command(history)}` to go on, or `uninstall` to take it all back.",
            ) from error


def _planned(journal: Journal, ids: Collection[str]) -> list[PlannedAction]:
    entries = [entry for entry in _ours(journal.history) if entry.id in ids]
    entries.sort(key=lambda entry: (_SAFE.index(entry.kind), _depth(journal, entry)))
    return [
        PlannedAction(
            id=entry.id,
            kind=entry.kind,
            summary=journal.of(entry).summary(),
            params=entry.params,
        )
        for entry in entries
    ]


def _depth(journal: Journal, entry: Entry) -> int:
    """A folder comes before what lies in it."""
    return max((path.count("/") for path in journal.of(entry).paths()), default=0)


def _require_there(journal: Journal, actions: Sequence[PlannedAction]) -> None:
    """Raise LocalOpusError where one of the actions did not come to what it is for."""
    for planned in actions:
        action = journal.make(planned.kind, planned.params)
        seen = action.inspect(journal.host)
        entry = journal.history.get(planned.id)
        kept = entry is not None and entry.status is Event.KEPT
        if seen.state is not State.PRESENT and not kept:
            raise LocalOpusError(
                f"{action.summary()}: afterwards it is still not so ({seen.evidence})",
                "Find out what changes it meanwhile, then run this again.",
            )
