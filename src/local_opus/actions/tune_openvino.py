"""Tune OpenVINO's settings by measurement, and keep what was chosen beside the server's configs."""

from __future__ import annotations

import hashlib
from typing import ClassVar, Self

from pydantic import JsonValue

from local_opus import sealed
from local_opus.actions.base import (
    EARLIER,
    Action,
    Inspection,
    Progress,
    Record,
    Reverted,
    State,
)
from local_opus.actions.ownership import group_number
from local_opus.actions.write_file import WriteFile
from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.tuning import tuned, tuner
from local_opus.values.tuning import Tuned, TuningOrder

#: What of an order asks for a new measurement where it is another. How long it may take, and which
#: candidates a version of this program knows, do not.
_HOLDS_FOR = {"model", "folder", "device", "device_name", "driver", "openvino"}
_BY_PROFILE = {"goal", "base"}


class TuneOpenvino(Action):
    """Measure what is ordered, or keep a ``result`` that was measured before, and write the file.

    It never fails for what it measures: the defaults stay then, and the file says why.
    """

    kind: ClassVar[str] = "tune_openvino"
    path: str
    order: TuningOrder
    mode: int = 0o600
    group: str | None = None
    #: Measured by `tune`, at the user's word; None: it is measured when this is executed.
    result: Tuned | None = None

    def summary(self) -> str:
        """Say what it does."""
        order = self.order
        if self.result is not None:
            return f"keep what `tune` chose for {order.device} in {self.path}"
        what = order.model or "a generated graph"
        return (
            f"tune OpenVINO on {order.device} for {order.goal}, measured with {what} "
            f"({order.seconds} s at most)"
        )

    def paths(self) -> tuple[str, ...]:
        """Name the file."""
        return (self.path,)

    def _file(self, content: str = "") -> WriteFile:
        """Return the action that writes such a file: it captures and reverts like this one."""
        return WriteFile(path=self.path, content=content, mode=self.mode, group=self.group)

    def inspect(self, host: Host) -> Inspection:
        """A result for just this model, device, driver and OpenVINO is there."""
        found = host.files.stat(self.path)
        if (lacking := self._file().lacking(host, found, "not tuned")) is not None:
            return lacking
        try:
            there = tuned.parse(host.files.read_text(self.path), self.path)
            wanted = self.order.holds_for(tuner.weights_digest(host, self.order))
        except (LocalOpusError, FileNotFoundError, UnicodeDecodeError) as error:
            return Inspection(state=State.DIFFERENT, evidence=str(error))
        if there.tuned_for != wanted:
            return Inspection(state=State.DIFFERENT, evidence="tuned for something else")
        return Inspection(state=State.PRESENT, evidence=tuned.in_words(there))

    def covers(self, earlier: Self) -> bool:  # the word of the interface
        """What was tuned for the same holds; whoever ran `tune` chose the goal himself."""
        if self.result is not None:
            return False
        said = _HOLDS_FOR | (_BY_PROFILE if earlier.result is None else set())
        mine, its = (one.order.model_dump(include=said) for one in (self, earlier))
        same = (self.path, self.mode, self.group) == (earlier.path, earlier.mode, earlier.group)
        return same and mine == its

    def capture(self, host: Host) -> Record:
        """Keep the file that is there."""
        return self._file().capture(host)

    def execute(self, host: Host, before: Record, progress: Progress) -> Record:  # noqa: ARG002
        """Measure and write."""
        found = self.result
        if found is None:
            found = tuner.tune(
                host, self.order, lambda what, seconds: progress(what, int(seconds), None)
            )
        data = sealed.dump(found)
        group = group_number(host, self.group, required=not host.is_image)
        host.files.write_atomic(self.path, data, mode=self.mode, gid=group)
        return {"sha256": hashlib.sha256(data).hexdigest(), **_summary(found)}

    def reach(self, host: Host) -> None:
        """Open the file."""
        host.files.open_up(self.path)

    def edited(self, host: Host, after: Record) -> str | None:
        """Compare as for any file; where the sum in it is right, this program wrote it."""
        said = self._file().edited(host, after)
        return None if said is None or self._is_ours(host) else said

    def _is_ours(self, host: Host) -> bool:
        there = host.files.stat(self.path)
        if there is None or there.kind != "file":
            return False
        try:
            found = tuned.parse(host.files.read_bytes(self.path).decode(), self.path)
        except (LocalOpusError, UnicodeDecodeError):
            return False
        return not sealed.is_edited(found)

    def edited_meanwhile(self, host: Host, *earlier: Record) -> str | None:
        """Look at the sum, and at what stood there."""
        return self.edited(host, {EARLIER: [*earlier]})

    def revert(self, host: Host, before: Record, after: Record | None) -> Reverted:
        """Put back what was there, or remove it; keep what the user edited."""
        self.reach(host)
        if after is not None and (kept := self.edited(host, after)) is not None:
            return Reverted(kept=kept)
        return self._file().revert(host, before, None)


def _summary(found: Tuned) -> dict[str, JsonValue]:
    """Return what the receipt keeps besides the file's digest."""
    return {
        "chosen": found.chosen.model_dump(mode="json"),
        "gain": None if found.gain is None else found.gain.model_dump(mode="json"),
        "tried": {row.setting: row.why for row in found.tried},
        "seconds": found.seconds,
        "problem": found.problem,
    }
