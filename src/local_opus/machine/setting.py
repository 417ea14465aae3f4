"""Set files of the kernel, and take exactly that back.

What a file holds is written to stable storage before it is changed. So whatever is killed in
between, the next call here, or an uninstall, puts it back; after a reboot the kernel has its own
values again, and a record of another boot is void. What somebody else has set since is his: it is
never overwritten, and named.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from local_opus.errors import LocalOpusError
from local_opus.facts import reading
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.machine.decided import may_set
from local_opus.machine.knobs import read, word
from local_opus.validation import parse_json
from local_opus.values.machine_tuning import Knob, SetFile, SetRecord

#: Set by the unit: systemd.unit(5), specifier %b.
BOOT_ID_VARIABLE = "LOCAL_OPUS_BOOT_ID"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


@dataclass
class Applied:
    """What setting came to: files that hold what was wanted, and why others do not."""

    done: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


@dataclass
class TakenBack:
    """What taking back came to: files put back, and those of somebody else, with what they hold."""

    done: list[str] = field(default_factory=list)
    drifted: dict[str, str] = field(default_factory=dict)


def record(host: Host, locations: Locations) -> SetRecord | None:
    """Return what is set now; None: nothing is, or what was is gone with a reboot.

    Raises LocalOpusError for a record that can't be read.
    """
    path = locations.machine_record
    if host.is_image or host.files.stat(path) is None:  # what an image holds is of no kernel
        return None
    remedy = f"Remove it; {locations.machine} names the values that were there before."
    if (who := host.files.others_hand(path)) is not None:
        raise LocalOpusError(f"{path}: {who}, so it is not believed", remedy)
    found = parse_json(SetRecord, host.files.read_text(path), path, remedy)
    for one in found.files:
        if not may_set(one.path):
            raise LocalOpusError(f"{path}: {one.path!r} is no file that is set here", remedy)
    return found if found.boot_id == boot_id(host) else None


def boot_id(host: Host) -> str:
    """Return the name of this boot, without dashes. Raises LocalOpusError where it has none.

    The unit is told it by systemd: where a container has a name of its own mounted over the
    kernel's, what the unit sees in its own /proc is another.
    """
    found = host.environ.get(BOOT_ID_VARIABLE) or reading.word(host, _BOOT_ID)
    if found is None:
        raise LocalOpusError(
            f"{_BOOT_ID}: can't be read, so nothing of this machine is set",
            "Mount /proc with all its parts (ProcSubset=all), and run this again.",
        )
    return found.replace("-", "")


def apply(host: Host, locations: Locations, knobs: Sequence[Knob], by: str) -> Applied:
    """Set files; what was set before is taken back first.

    A file that holds the word already is not set, so it is not taken back either. Raises
    LocalOpusError where the record can't be kept: then nothing is set.
    """
    take_back(host, locations)
    applied = Applied()
    files = []
    for knob in knobs:
        now = read(host, knob.path)
        if now is None:
            applied.problems[knob.path] = "it is not there any more"
        elif word(now) == knob.wanted:
            applied.done.append(knob.path)
        else:
            files.append(SetFile(path=knob.path, before=now, wanted=knob.wanted))
    if files:
        _keep(host, locations, SetRecord.model_validate(
            {"boot_id": boot_id(host), "by": by, "files": files}
        ))  # fmt: skip
        for one in files:
            problem = _set(host, one.path, one.wanted)
            if problem is None:
                applied.done.append(one.path)
            else:
                applied.problems[one.path] = problem
        if any(one.path in applied.problems for one in files):
            _keep_changed(host, locations)
    return applied


def _keep_changed(host: Host, locations: Locations) -> None:
    """Keep on record what holds another word than before: what was refused was not set."""
    found = record(host, locations)
    if found is None:
        return
    changed = tuple(one for one in found.files if read(host, one.path) != one.before)
    if changed:
        _keep(host, locations, found.model_copy(update={"files": changed}))
    else:
        forget(host, locations)


def take_back(host: Host, locations: Locations, *, note: bool = False) -> TakenBack:
    """Put each file back that still holds what was set.

    ``note``: keep in the record which were left to somebody else, for ``status``. Raises
    LocalOpusError where a file can't be put back: then the record stays, and the next call tries
    again.
    """
    found = record(host, locations)
    taken = TakenBack()
    if found is not None:
        failed = [line for one in found.files if (line := _put_back(host, one, taken)) is not None]
        if failed:
            raise LocalOpusError(
                failed[0],
                f"Set it by hand; {locations.machine_record} holds what was there before.",
                details=failed[1:],
            )
    if found is not None and note and taken.drifted:
        _keep(host, locations, found.model_copy(update={"files": (), "drifted": taken.drifted}))
    else:
        forget(host, locations)
    return taken


def forget(host: Host, locations: Locations) -> None:
    """Remove the record, and its folder where nothing else is in it."""
    path = locations.machine_record
    folder = path.rpartition("/")[0]
    if host.files.stat(folder) is None:
        return
    host.files.discard(path)
    if not host.files.list(folder):
        try:
            host.files.remove_folder(folder)
        except OSError as error:
            if error.errno != errno.EBUSY:  # the unit has it as a mount; an uninstall removes it
                raise


@contextmanager
def held(host: Host, locations: Locations, knobs: Sequence[Knob]) -> Iterator[None]:
    """Set files for a while. Raises LocalOpusError where one is refused, or is set by others."""
    for knob in knobs:
        now = read(host, knob.path)
        if now != knob.before:
            raise _set_by_others(knob.path, word(now or ""))
    applied = apply(host, locations, knobs, "measuring")
    try:
        for path, problem in applied.problems.items():
            raise LocalOpusError(f"{path}: {problem}", "Set it by hand to see why.")
        yield
    finally:
        taken = take_back(host, locations)
    for path, now in taken.drifted.items():
        raise _set_by_others(path, now)


def _set_by_others(path: str, now: str) -> LocalOpusError:
    return LocalOpusError(
        f"{path}: set to {now!r} by someone else since", "Tune when nothing else sets it."
    )


def _keep(host: Host, locations: Locations, found: SetRecord) -> None:
    path = locations.machine_record
    host.files.make_folders(path.rpartition("/")[0], mode=0o755)
    host.files.write_atomic(path, found.model_dump_json(indent=2).encode() + b"\n", mode=0o644)


def _set(host: Host, path: str, wanted: str) -> str | None:
    """Write a word and look whether it is there now; return why not, or None."""
    try:
        host.files.tell_kernel(path, wanted.encode())
    except OSError as error:
        return f"{wanted} was refused: {(error.strerror or str(error)).lower()}"
    now = read(host, path)
    if now is None or word(now) != wanted:
        return f"{wanted} was written, and it holds {word(now or '')!r}"
    return None


def _put_back(host: Host, one: SetFile, taken: TakenBack) -> str | None:
    """Put a file back; return why that failed."""
    now = read(host, one.path)
    before = word(one.before)
    if now is None or word(now) == before:  # gone with its device, or refused, or put back already
        return None
    if word(now) != one.wanted:
        taken.drifted[one.path] = word(now)
        return None
    # Where the kernel lists all values, the one in use is written; else all that was there.
    whole = one.before if one.before.strip() == before else before
    try:
        host.files.tell_kernel(one.path, whole.encode())
    except OSError as error:
        return f"{one.path}: {before} was refused: {(error.strerror or str(error)).lower()}"
    if word(read(host, one.path) or "") != before:
        return f"{one.path}: {before} was written, and it holds another value"
    taken.done.append(one.path)
    return None
