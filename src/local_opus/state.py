"""The folder of receipt and lock: it comes with its first record, and goes with its last, whole.

Whatever is killed in between, each folder that an install made is named in a receipt that can be
found: the outermost missing folder gets its name only when the receipt below it says that it was
made, and the receipt leaves the folder before the folders on its way go.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from local_opus.errors import LocalOpusError
from local_opus.history import Event
from local_opus.host import Host, locks
from local_opus.locations import Locations
from local_opus.receipts import Receipt

#: What is on its way lies beside the outermost folder, under one of these names.
ARRIVING = ".local-opus-arriving"
LEAVING = ".local-opus-leaving"
_ON_WAY = (ARRIVING, LEAVING)
_STILL_USED = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.EBUSY}


def arrive(host: Host, locations: Locations) -> None:
    """Make the state folder where it is missing, with a receipt that names the folders made."""
    recover(host, locations)
    while host.files.stat(locations.state, follow=True) is None:
        missing = host.files.missing(locations.state)
        top, parent = missing[0], _parent(missing[0])
        if host.files.stat(top) is not None:
            raise LocalOpusError(
                f"{top}: a link is in the way, and nothing is where it leads to"
                f" ({host.files.read_link(top)})",
                "Remove that link, or make the folder that it leads to, then run this again.",
            )
        with locks.folder(host.files, parent):
            if host.files.missing(locations.state) != missing:  # another run was faster
                continue
            new = f"{parent}/{ARRIVING}"
            inside = new + locations.state.removeprefix(top)
            try:
                host.files.make_folders(inside)
                receipt = Receipt(host, inside + locations.receipt.removeprefix(locations.state))
                receipt.append(Event.RUN, data={"made": [*missing]})
                host.files.rename(new, top)
            except OSError:
                with suppress(OSError):  # of two errors the first tells more
                    if host.files.stat(new) is not None:
                        host.files.remove_tree(new)
                raise


@contextmanager
def held(host: Host, locations: Locations) -> Iterator[None]:
    """Hold the state folder, made where it is missing. Raises LocalOpusError as the lock does."""
    with ExitStack() as stack:
        arrive(host, locations)
        while not _locked(host, locations.lock, stack):  # another run has left with the folder
            arrive(host, locations)
        yield


@contextmanager
def held_if_there(host: Host, locations: Locations) -> Iterator[bool]:
    """Hold the state folder, and say whether it is there. Raises as ``held`` does.

    Where it is not, the place of its outermost missing folder is held: no other run arrives there.
    """
    with ExitStack() as stack:
        while True:
            recover(host, locations)
            missing = host.files.missing(locations.state)
            if missing:
                stack.enter_context(locks.folder(host.files, _parent(missing[0])))
                if host.files.missing(locations.state) == missing:
                    break
                stack.close()  # another run has arrived
            elif _locked(host, locations.lock, stack):
                break
        yield not missing


def _locked(host: Host, lock: str, stack: ExitStack) -> bool:
    """Take a lock into ``stack``; false where its folder is not there."""
    try:
        stack.enter_context(locks.exclusive(host.files, lock))
    except FileNotFoundError:
        return False
    return True


def leave(host: Host, locations: Locations, receipt: Receipt) -> None:
    """Remove receipt and lock, and the folders that were made for them; the caller holds the lock.

    A folder that was there before, or that holds something else, stays.
    """
    made = _made(receipt, locations.state)
    receipt.append(Event.LEFT)
    files = {path.rpartition("/")[2] for path in (receipt.path, receipt.head, locations.lock)}
    if locations.state in made and set(host.files.list(locations.state)) <= files:
        leaving = f"{_parent(made[0])}/{LEAVING}"
        if _renamed(host, locations.state, leaving):
            _finish(host, locations, leaving)
            return
    for path in (receipt.head, receipt.path, locations.lock):
        host.files.discard(path)


def _renamed(host: Host, old: str, new: str) -> bool:
    """Rename a folder; false where a disk was mounted there since it was made."""
    try:
        host.files.rename(old, new)
    except OSError as error:
        if error.errno in {errno.EXDEV, errno.EBUSY}:
            return False
        raise
    return True


def recover(host: Host, locations: Locations) -> None:
    """Finish what a killed run left on its way. Raises LocalOpusError while another run works."""
    for parent in _parents(locations.state):
        if host.files.stat(f"{parent}/{ARRIVING}") is not None:
            with locks.folder(host.files, parent):
                if host.files.stat(f"{parent}/{ARRIVING}") is not None:
                    host.files.remove_tree(f"{parent}/{ARRIVING}")
        leaving = f"{parent}/{LEAVING}"
        if host.files.stat(leaving) is None:
            continue
        lock = leaving + locations.lock.removeprefix(locations.state)
        with ExitStack() as stack:
            if _locked(host, lock, stack):  # else who left has come to its end
                _finish(host, locations, leaving)


def on_the_way(host: Host, locations: Locations) -> list[str]:
    """Return what ``recover`` would look at: the folders that a run has on their way."""
    ways = (f"{parent}/{name}" for parent in _parents(locations.state) for name in _ON_WAY)
    return [path for path in ways if _is_there(host, path)]


def _is_there(host: Host, path: str) -> bool:
    try:
        return host.files.stat(path) is not None
    except PermissionError:
        return False


def _finish(host: Host, locations: Locations, leaving: str) -> None:
    receipt = leaving + locations.receipt.removeprefix(locations.state)
    if host.files.stat(receipt) is not None:
        made = _made(Receipt(host, receipt, held=True), locations.state)
        for path in reversed(made):
            if path != locations.state:
                _remove_if_empty(host, path)
    # The receipt goes before its head: alone, a head stops nothing here.
    for name in ("receipt.jsonl", "receipt.head", "lock"):
        host.files.discard(f"{leaving}/{name}")
    # The next one may be there already, with a lock of its own, to do the same.
    _remove_if_empty(host, leaving)


def _remove_if_empty(host: Host, path: str) -> None:
    try:
        host.files.remove_folder(path)
    except OSError as error:
        if error.errno not in _STILL_USED:
            raise


def _made(receipt: Receipt, state: str) -> Sequence[str]:
    """Return the folders on the way to the state folder that were made, the outermost first.

    Whatever a receipt says, no other folder is meant.
    """
    named = {
        str(path)
        for record in receipt.records
        if record.event is Event.RUN and isinstance(made := record.data.get("made"), list)
        for path in made
    }
    way = [state, *_parents(state)]
    return [path for path in reversed(way) if path in named]


def _parents(path: str) -> Iterator[str]:
    """Yield the folders above a path, the innermost first; the root is an empty word."""
    while path:
        path = _parent(path)
        yield path


def _parent(path: str) -> str:
    return path.rpartition("/")[0]
