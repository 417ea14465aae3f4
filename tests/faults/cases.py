"""A case: one operation, one fault, and both ways on from what it left."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import operations
import trees
import worlds
from operations import Ended, Place
from played_programs import SOUND
from points import KILLED, Fault, Kind, Point
from worlds import Variant

from local_opus.errors import LocalOpusError
from local_opus.receipts import Event, Receipt

#: From which state each operation starts, and to which it leads.
START = {"install": "before", "rollback": "before", "upgrade": "installed",
         "uninstall": "installed", "purge": "installed"}  # fmt: skip
END = {"install": "installed", "rollback": "before", "upgrade": "upgraded",
       "uninstall": "removed", "purge": "before"}  # fmt: skip
FORWARD = ("install", "rollback", "upgrade")
_KILLS = (Kind.KILL, Kind.KILL_HALF)


@dataclass(frozen=True)
class Clean:
    """A state that runs without faults lead to."""

    place: Place
    tree: trees.Tree
    servers: tuple[str, ...]


@dataclass(frozen=True)
class Left:
    """What a run left: its files, and its receipt or what is wrong with that."""

    place: Place
    tree: trees.Tree
    receipt: Receipt | str


@dataclass(frozen=True)
class Finding:
    """What became of one case: the outcome in a few words, and what is wrong with it."""

    outcome: str
    problems: tuple[str, ...] = ()


@dataclass
class Campaign:
    """All cases of one variant; ``folder`` is where its machines are made."""

    variant: Variant
    folder: Path
    states: dict[str, Clean] = field(default_factory=dict)
    points: dict[str, tuple[Point, ...]] = field(default_factory=dict)
    #: What the ways on from a state came to, by the state itself: it is all that they depend on.
    known: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)
    runs: int = 0

    def prepare(self) -> None:
        """Run every operation without a fault; note its points and where it leads."""
        for version in (1, 2):
            worlds.choice(self.variant, version)
        self._keep("before", operations.fresh(self.variant, self.folder / "before"))
        for operation in ("install", "upgrade", "uninstall", "purge", "rollback"):
            if operation == "rollback" and self.variant.image:
                continue  # an image has no self-test that could fail
            place = self._copy(START[operation])
            ended = operations.run(place, operation, note=True)
            expected = 1 if operation == "rollback" else 0
            if ended.code != expected or ended.pending or ended.kept:
                raise AssertionError(
                    f"{self.variant.name}: {operation}: {ended.code} {ended.err} {ended.pending} {ended.kept}"
                )
            self.points[operation] = ended.points
            if END[operation] not in self.states:
                self._keep(END[operation], place)
                continue
            may_stay = operation == "rollback"
            problems = self._against(END[operation], place, place.tree(), may_stay=may_stay)
            if problems:
                raise AssertionError(f"{self.variant.name}: {operation}: {problems}")

    def _keep(self, name: str, place: Place) -> None:
        self.states[name] = Clean(place, place.tree(), tuple(place.machine().table.servers()))

    def _copy(self, state: str) -> Place:
        self.runs += 1
        return self.states[state].place.copy_to(self.folder / f"case-{self.runs}")

    # -- the cases ------------------------------------------------------------------------------

    def cases(
        self, operation: str, wanted: Callable[[Point], tuple[Kind, ...]]
    ) -> Iterator[tuple[Point, Kind, Finding]]:
        """Run an operation into every fault that is ``wanted``, look, and try both ways on."""
        place = self._copy(START[operation])
        try:
            with closing(operations.run_branching(place, operation, wanted)) as branches:
                for fault, left, ended in branches:
                    finding = self._finding(operation, fault, left, ended)
                    yield self.points[operation][fault.at], fault.kind, finding
        finally:
            shutil.rmtree(place.folder)

    def _finding(self, operation: str, fault: Fault, place: Place, ended: Ended) -> Finding:
        left = Left(place, place.tree(), _receipt(place))
        outcome, problems = self._look(operation, fault, left, ended)
        problems += [left.receipt] if isinstance(left.receipt, str) else []
        state = self._state(left)
        for way in ("again", "back"):
            then = self._then(operation, way, purge=fault.at % 2 == 0)
            if (then, state) not in self.known:
                self.known[then, state] = tuple(self._go(then, place))
            problems += [f"then {then}: {problem}" for problem in self.known[then, state]]
        return Finding(outcome, tuple(problems))

    def _look(
        self, operation: str, fault: Fault, left: Left, ended: Ended
    ) -> tuple[str, list[str]]:
        if fault.kind in _KILLS:
            killed = ended.code == KILLED
            return "killed", [] if killed else [f"it was not killed: {ended}"]
        if ended.code == 0:
            return self._worked(operation, left, ended)
        problems = _words_problems(ended)
        outcome = f"exit {ended.code}"
        if operation in FORWARD:
            differs = self._against(START[operation], left.place, left.tree, may_stay=True)
            unnamed = [line for line in differs if not _is_named(line, ended.err)]
            if not differs:
                outcome = f"rolled back, {outcome}"
            elif fault.kind is Kind.FULL or operation == "rollback":
                outcome = f"rolled back but for what is named, {outcome}"
                problems += [f"after the failure, not named: {line}" for line in unnamed]
            else:
                problems += [f"after the failure: {line}" for line in differs]
        return outcome, problems

    def _worked(self, operation: str, left: Left, ended: Ended) -> tuple[str, list[str]]:
        """A run that went on in spite of the fault: all is done, or what is not is told."""
        differs = self._against(END[operation], left.place, left.tree)
        if operation == "rollback":
            return "worked", [f"it should have failed: {ended}"]
        if not differs and not ended.pending:
            return "done all the same", []
        if ended.kept:
            return "done but for what is named", []
        return "worked", [f"it told of nothing: {line}" for line in [*differs, *ended.pending]]

    # -- the ways on ----------------------------------------------------------------------------

    @staticmethod
    def _then(operation: str, way: str, *, purge: bool) -> str:
        """Return the operation that goes on from what another left."""
        if operation in FORWARD:
            back = "purge" if purge else "uninstall"
            return {"again": operation.replace("rollback", "install"), "back": back}[way]
        return {"again": operation, "back": "install"}[way]

    def _go(self, then: str, start: Place) -> list[str]:
        self.runs += 1
        place = start.copy_to(self.folder / f"way-{self.runs}")
        try:
            stored = self._stored(place)
            counts = self._counts(place)
            ended = operations.run(place, then)
            if ended.code != 0 or ended.kept or ended.pending:
                return [f"{ended}"]
            problems = self._against(
                END[then], place, place.tree(), may_stay=then == "uninstall", may_lack=True
            )
            for name, there, before, after in zip(
                ("downloads", "conversions"), stored, counts, self._counts(place), strict=True
            ):
                if there and after > before:
                    problems.append(f"{name}: again, though it was there")
            if then != "purge" and stored > self._stored(place):
                problems.append("what was in the store is gone")
            receipt = _receipt(place)
            return problems + ([receipt] if isinstance(receipt, str) else [])
        finally:
            shutil.rmtree(place.folder)

    @staticmethod
    def _counts(place: Place) -> tuple[int, int]:
        machine = place.machine()
        return machine.counted("downloads"), machine.counted("conversions")

    def _stored(self, place: Place) -> tuple[bool, bool]:
        """Tell whether the proven file, and the variant made from it, are in the store."""
        store = Path(f"{place.root}{self.variant.places.models}/tiny")
        fetched = store / "gguf-q4_1/tiny.gguf"
        there = fetched.exists() and fetched.read_bytes() == SOUND
        return there, (store / "cpu-q4_1/weights.json").exists()

    def _state(self, left: Left) -> str:
        """Return a digest of all that a later run can depend on."""
        places = self.variant.places
        known = self._comparable(left.tree, self.states["before"].tree.keys())
        journal = _journal(left.place, left.receipt)
        machine = left.place.machine()
        # Numbers of processes differ from run to run: what counts is which of them are there.
        processes = len(list(machine.below("/proc").iterdir()))
        units = [
            machine.units.properties(self.variant.scope, unit)["ActiveState"]
            for unit in (places.unit, places.trial.unit)
        ]
        rest = [known, journal, machine.table.servers(), processes, units, machine.units.loaded()]
        return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()

    # -- comparing ------------------------------------------------------------------------------

    def _comparable(self, tree: trees.Tree, timed: object) -> trees.Tree:
        """Leave out what tells of one run, and times but of others' files."""
        places = self.variant.places
        found = {}
        for path, what in tree.items():
            shown = what if path in timed and path != "/etc/group" else what[:4]  # type: ignore[operator]
            found[path] = what[:3] if worlds.of_one_run(path, places) else shown
        return found

    def _is_empty_partial(self, place: Place, path: str) -> bool:
        """Tell whether a path is the folder of partials with nothing in it."""
        folder = Path(f"{place.root}{path}")
        return path == f"{self.variant.places.models}/tiny/.partial" and not [*folder.iterdir()]

    def _against(
        self,
        state: str,
        place: Place,
        tree: trees.Tree,
        *,
        may_stay: bool = False,
        may_lack: bool = False,
    ) -> list[str]:
        """Compare with a clean state; return what differs, one line each.

        Store and receipt may be there where the clean state has none (``may_stay``); and where the
        store is empty, both may be gone, which the clean state has (``may_lack``).
        """
        clean, before = self.states[state], self.states["before"].tree
        timed = {path for path, what in before.items() if clean.tree.get(path) == what}
        timed -= {"/etc/group"}  # its own tools write it anew
        places = self.variant.places
        expected = self._comparable(clean.tree, timed)
        found = self._comparable(tree, timed)
        lines = []
        for path in sorted(expected.keys() | found.keys()):
            first, second = expected.get(path), found.get(path)
            if first == second or self._is_empty_partial(place, path):
                continue
            if may_stay and first is None and worlds.may_stay(path, places):
                continue
            if may_stay and may_lack and second is None and worlds.may_stay(path, places):
                continue
            lines.append(f"{path}: {_words(first)} -> {_words(second)}")
        machine = place.machine()
        if machine.table.servers() != list(clean.servers):
            lines.append(f"servers: {list(clean.servers)} -> {machine.table.servers()}")
        for unit, text in machine.units.loaded().items():
            if text != machine.units.text(unit):
                lines.append(f"{unit}: systemd was not told of the change")
        return lines


def _journal(place: Place, receipt: Receipt | str) -> str:
    """Return what a receipt means: where every action stands, whatever was recorded on the way."""
    path = place.root / place.variant.places.receipt.lstrip("/")
    if isinstance(receipt, str) or not path.exists():
        return str(receipt) if isinstance(receipt, str) else ""
    records, history = receipt.records, receipt.history
    entries = [
        {
            **entry.model_dump(mode="json"),
            "began": entry.began > history.rested_at,
            "reverting": entry.reverting > history.rested_at,
        }
        for entry in history.entries
    ]
    made = [record.data.get("made") for record in records if record.event is Event.RUN]
    torn = not path.read_bytes().endswith(b"\n")
    head = path.with_name("receipt.head")
    behind = head.exists() and head.read_bytes()[:12].strip() != str(len(records)).encode()
    rest = history.model_dump(
        mode="json", exclude={"entries", "rested_at", "last_entries", "result"}
    )
    last = [entry.model_dump(mode="json", exclude={"began", "reverting"}) for entry in history.last_entries.values()]  # fmt: skip
    meaning = [entries, made[:1], torn, behind, rest, last]
    meaning.append(bool(records) and records[-1].event is Event.LEFT)
    return json.dumps(meaning, sort_keys=True)


def _words(what: tuple[str, ...] | None) -> str:
    return " ".join(what) if what is not None else "absent"


def _receipt(place: Place) -> Receipt | str:
    """Return the receipt, or what is wrong with it."""
    try:
        return Receipt(place.machine(), place.variant.places.receipt)
    except (LocalOpusError, OSError) as error:
        return f"the receipt can't be read: {error}"


def _words_problems(ended: Ended) -> list[str]:
    """Check the form of an error: what, and a remedy, one line each; and the exit code."""
    lines = ended.err.splitlines()
    problems = []
    if ended.code not in {1, 4}:
        problems.append(f"exit code {ended.code}: {ended.err}")
    if len(lines) < 2 or not lines[0].startswith("error: ") or not lines[-1].startswith("  fix: "):
        problems.append(f"not an error and its remedy: {lines}")
    if "Report it with" in ended.err:
        problems.append(f"not foreseen: {lines}")
    return problems


def _is_named(line: str, err: str) -> bool:
    """Tell whether an error names what differs: its path, or the step that it belongs to."""
    path = line.partition(": ")[0]
    steps = [told for told in err.splitlines() if "not taken back: " in told]
    word = "group" if path == "/etc/group" else None
    if _is_servers(path):  # the step's words where a server is a process, and where it is a unit
        return path in err or any("server" in step or "enable and start" in step for step in steps)
    if ".service.d" in path:  # what the machine's own settings say of the server's unit
        word = "/machine.json"  # in the words of the step that sets them
    return path in err or any(word is not None and word in step for step in steps)


def _is_servers(path: str) -> bool:
    """Tell whether a difference is the server itself, or what starting it makes."""
    own = ("/local-opus-server", "/server.pid", "/server.log", "/local-opus/run", "/local-opus/log")
    return path == "servers" or path.endswith(own) or ".target.wants" in path
