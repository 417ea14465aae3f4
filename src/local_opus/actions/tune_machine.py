"""Measure the machine's own settings, and keep what gains: for the unit that sets it at each start.

What is measured is set for the time and taken back; killed in between, the record of it is there,
and whoever comes next takes it back: this action, the unit, or an uninstall.
"""

from __future__ import annotations

import hashlib
from typing import ClassVar, Self

from local_opus import node, sealed
from local_opus.actions.base import (
    EARLIER,
    Action,
    Inspection,
    Progress,
    Record,
    Reverted,
    State,
    earlier,
)
from local_opus.actions.ownership import group_number
from local_opus.actions.write_file import WriteFile
from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.locations import TUNE_UNIT, Locations, locate
from local_opus.machine import decided, measuring, service, setting
from local_opus.tuning import tuner
from local_opus.values import Scope
from local_opus.values.machine_tuning import MachineOrder, MachineTuned

_DROP_IN = "drop_in"


class TuneMachine(Action):
    """Measure what is ordered, or keep a ``result`` of `tune --machine`; write what was decided.

    ``path`` is machine.json; ``drop_in`` gives the server's unit what of it is systemd's to set.
    It never fails for what it measures: then nothing is chosen, and the file says why.
    """

    kind: ClassVar[str] = "tune_machine"
    path: str
    drop_in: str
    order: MachineOrder
    mode: int = 0o600
    group: str | None = None
    #: Measured by `tune --machine`, at the user's word; None: it is measured when executed.
    result: MachineTuned | None = None

    @property
    def scope(self) -> Scope:
        """The scope of what is measured."""
        return self.order.scope

    def summary(self) -> str:
        """Say what it does."""
        if self.result is not None:
            return f"keep what `tune --machine` chose in {self.path}"
        items = ", ".join(self.order.items)
        if not self.order.measure:
            return f"note in {self.path} that nothing was measured, and nothing is set"
        if self.scope is not Scope.SYSTEM:
            return f"look what of this machine is this user's to set ({items})"
        what = self.order.subject.model or "a generated graph"
        return (
            f"measure what each of {items} gains with {what}, and set what does "
            f"({self.order.seconds} s at most)"
        )

    def paths(self) -> tuple[str, ...]:
        """Name both files."""
        return (self.path, self.drop_in)

    def _file(self) -> WriteFile:
        return WriteFile(path=self.path, content="", mode=self.mode, group=self.group)

    def _drop_in(self, content: str = "") -> WriteFile:
        return WriteFile(path=self.drop_in, content=content)

    def inspect(self, host: Host) -> Inspection:
        """A result for just this model, device, driver and OpenVINO is there, and its drop-in."""
        found = host.files.stat(self.path)
        if (lacking := self._file().lacking(host, found, "not measured")) is not None:
            return lacking
        try:
            there = decided.parse(host.files.read_text(self.path), self.path)
            wanted = self.order.subject.holds_for(tuner.weights_digest(host, self.order.subject))
        except (LocalOpusError, FileNotFoundError, UnicodeDecodeError) as error:
            return Inspection(state=State.DIFFERENT, evidence=str(error))
        if there.measured_on != wanted or {one.id for one in there.items} != {*self.order.items}:
            return Inspection(state=State.DIFFERENT, evidence="measured for something else")
        if self.order.measure and not there.measured:
            return Inspection(state=State.DIFFERENT, evidence="not measured")
        if (evidence := self._lacks_drop_in(host, there)) is not None:
            return Inspection(state=State.DIFFERENT, evidence=evidence)
        chosen = ", ".join(one.id for one in there.chosen) or "nothing"
        return Inspection(state=State.PRESENT, evidence=f"chosen: {chosen}")

    def _lacks_drop_in(self, host: Host, there: MachineTuned) -> str | None:
        text = decided.drop_in(there)
        if text is None:
            is_there = host.files.stat(self.drop_in) is not None
            return f"{self.drop_in}: of an earlier result" if is_there else None
        looked = self._drop_in(text).inspect(host)
        return None if looked.state is State.PRESENT else f"{self.drop_in}: {looked.evidence}"

    def covers(self, earlier: Self) -> bool:  # the word of the interface
        """What was measured for the same holds, whoever asked for it."""
        if self.result is not None or (self.order.measure and not earlier.order.measure):
            return False
        mine, its = (_means(one.order) for one in (self, earlier))
        same = (self.path, self.drop_in, self.mode, self.group)
        return same == (earlier.path, earlier.drop_in, earlier.mode, earlier.group) and mine == its

    def capture(self, host: Host) -> Record:
        """Keep both files; remember what is set now, and by whom."""
        locations = locate(self.scope, host.environ)
        now = setting.record(host, locations)
        folder = self.drop_in.rpartition("/")[0]
        return {
            **self._file().capture(host),
            _DROP_IN: self._drop_in().capture(host),
            "folder": host.files.stat(folder) is not None,
            "set_by": now.by if now is not None else None,
            "set": [one.model_dump(mode="json") for one in now.files] if now is not None else [],
        }

    def execute(self, host: Host, before: Record, progress: Progress) -> Record:  # noqa: ARG002
        """Measure and write; what was set before is set again, as it is chosen now."""
        found = self.result
        if found is None:
            found = measuring.measure(
                host,
                locate(self.scope, host.environ),
                self.order,
                lambda what, seconds: progress(what, int(seconds), None),
            )
        data = sealed.dump(found)
        group = group_number(host, self.group, required=not host.is_image)
        host.files.write_atomic(self.path, data, mode=self.mode, gid=group)
        after: Record = {"sha256": hashlib.sha256(data).hexdigest(), **_summary(found)}
        text = decided.drop_in(found)
        if text is not None:
            host.files.make_folders(self.drop_in.rpartition("/")[0])
            after[_DROP_IN] = self._drop_in(text).execute(host, {}, progress)
        else:
            self._remove_drop_in(host)
        self._reload(host)
        self._set_now(host)
        return after

    def _remove_drop_in(self, host: Host) -> None:
        host.files.discard(self.drop_in)
        self._remove_folder(host)

    def _remove_folder(self, host: Host) -> None:
        folder = self.drop_in.rpartition("/")[0]
        if host.files.stat(folder) is not None and not host.files.list(folder):
            host.files.remove_folder(folder)

    def _reload(self, host: Host) -> None:
        if host.services.running(self.scope):
            host.services.do(self.scope, "daemon-reload")

    def resume(self, host: Host, before: Record) -> None:
        """Set again what was set when this was begun: measuring, and a revert, took it back."""
        if before.get("set_by") in {"unit", "server"}:
            self._set_now(host)

    def _set_now(self, host: Host) -> None:
        """Have it set where the node runs: by its unit, or beside a server without systemd."""
        locations = locate(self.scope, host.environ)
        if host.services.running(self.scope):
            if host.services.property(self.scope, TUNE_UNIT, "ActiveState") == "active":
                host.services.do(self.scope, "restart", TUNE_UNIT)
        elif node.serving(host, locations) is not None:
            service.start_beside(host, locations)

    def reach(self, host: Host) -> None:
        """Open both files."""
        host.files.open_up(self.path)
        host.files.open_up(self.drop_in)

    def edited(self, host: Host, after: Record) -> str | None:
        """Compare as for any file; where the sum in machine.json is right, we wrote it."""
        said = self._file().edited(host, after)
        if said is not None and not self._is_ours(host):
            return said
        known = [one[_DROP_IN] for one in (after, *earlier(after)) if _DROP_IN in one]
        records = [one for one in known if isinstance(one, dict)]
        return self._drop_in().edited(host, {EARLIER: [*records]})

    def _is_ours(self, host: Host) -> bool:
        there = host.files.stat(self.path)
        if there is None or there.kind != "file":
            return False
        try:
            found = decided.parse(host.files.read_bytes(self.path).decode(), self.path)
        except (LocalOpusError, UnicodeDecodeError):
            return False
        return not sealed.is_edited(found)

    def edited_meanwhile(self, host: Host, *earlier: Record) -> str | None:
        """Look at the sum; a drop-in that a kill left says the same as machine.json."""
        said = self._file().edited(host, {EARLIER: [*earlier]})
        if said is not None:
            return None if self._is_ours(host) else said
        return None

    def revert(self, host: Host, before: Record, after: Record | None) -> Reverted:
        """Put back what is set, then both files; keep what the user edited."""
        self.reach(host)
        kept = self.edited(host, after) if after is not None else None
        locations = locate(self.scope, host.environ)
        left = _put_back(host, locations)
        if kept is not None:
            return Reverted(kept=kept)
        self._file().revert(host, before, None)
        was = before.get(_DROP_IN)
        self._drop_in().revert(host, was if isinstance(was, dict) else {}, None)
        if not before.get("folder"):
            self._remove_folder(host)
        self._reload(host)
        return Reverted(kept=left)


def _put_back(host: Host, locations: Locations) -> str | None:
    """Take back what is set; name what somebody else has set since."""
    noted = setting.record(host, locations)
    taken = setting.take_back(host, locations)
    drifted = {**(noted.drifted if noted is not None else {}), **taken.drifted}
    lines = [f"{path}: somebody else has set {now}" for path, now in drifted.items()]
    return "; ".join(lines) or None


def _means(order: MachineOrder) -> MachineOrder:
    """Return an order without what asks for no new measurement."""
    subject = order.subject.model_copy(
        update={"seconds": 1, "settings": (), "goal": "latency", "text": None, "band": None}
    )
    return order.model_copy(update={"seconds": 1, "measure": True, "subject": subject})


def _summary(found: MachineTuned) -> Record:
    """Return what the receipt keeps besides the file's digest."""
    return {
        "items": {one.id: decided.in_words(one) for one in found.items},
        "before": {knob.path: knob.before for one in found.items for knob in one.knobs},
        "seconds": found.seconds,
        "problem": found.problem,
    }
