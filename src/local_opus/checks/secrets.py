"""Whether what only its owner may read or write is closed to others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from shlex import quote

from local_opus import receipts
from local_opus.checks.base import (
    Answer,
    Check,
    Group,
    NotApplicableError,
    advise,
    by_doctor,
    failed,
    passed,
    told,
)
from local_opus.checks.context import Context
from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.host.hub_token import token_file
from local_opus.locations import GROUP, Locations
from local_opus.values import Fix, Scope

#: What ``doctor --fix`` sets the mode of; what a link leads to is somebody else's.
OURS = frozenset({"file", "folder"})


@dataclass(frozen=True)
class Closed:
    """A path, the permission bits that it may have, and whether ``doctor --fix`` sets them."""

    path: str
    may: int
    ours: bool = True
    #: Members of the service's group may read it.
    group: bool = False


def ask(context: Context) -> Answer:
    """Compare modes and owners."""
    host, locations = context.host, context.locations
    seen, wrong, hidden = 0, [], 0
    for one in paths(host, locations):
        try:
            found = host.files.stat(one.path, follow=True)
            there = host.files.stat(one.path)
        except PermissionError:  # its folder keeps this user out
            hidden += 1
            continue
        if found is None or there is None:
            continue
        seen += 1
        if there.kind not in OURS:
            one = replace(one, ours=False)  # noqa: PLW2901
        if found.mode & ~one.may:
            wrong.append((one, f"mode {found.mode:04o}, not {one.may:04o} or less", "mode"))
        elif (lack := _owner(host, locations, one, found.uid, found.gid)) is not None:
            wrong.append((one, lack, "owner"))
    if wrong:
        lines = [f"{one.path}: {lack}" for one, lack, _ in wrong]
        evidence, details = told(lines, "files or folders are open to others")
        fixable = any(one.ours and kind == "mode" for one, _, kind in wrong)
        fix = _fix(locations, [(one, kind) for one, _, kind in wrong])
        return failed(evidence, fix, details=details, fixable=fixable)
    if not seen and not hidden:
        raise NotApplicableError("no receipt, no config and no token is here")
    behind = f", {hidden} more in folders closed to this user" if hidden else ""
    return passed(f"{seen} files and folders are closed to others{behind}")


def paths(host: Host, locations: Locations) -> Iterator[Closed]:
    """Yield what is to be closed: the receipt, the configs, tokens and keys."""
    state, config = locations.state, locations.config
    aside: list[str] = []
    with suppress(PermissionError):  # then it is closed
        aside = receipts.set_aside(host, locations.receipt)
    for path in (locations.receipt, f"{state}/receipt.head", locations.lock, *aside):
        yield Closed(path, 0o600)
    shared = locations.scope is Scope.SYSTEM
    yield Closed(config, 0o750 if shared else 0o700, group=shared)
    try:
        names = host.files.list(config)
    except OSError:
        names = []
    for name in names:
        if name.endswith(".json"):
            yield Closed(f"{config}/{name}", 0o640 if shared else 0o600, group=shared)
    yield Closed(locations.credentials, 0o700)
    with suppress(OSError):  # closed, or not there
        for name in host.files.list(locations.credentials):
            path = f"{locations.credentials}/{name}"
            found = host.files.stat(path)
            if found is not None and found.kind != "folder":  # no mode makes a folder a credential
                yield Closed(path, 0o600)
    try:
        token = token_file(host.environ)
    except LocalOpusError:
        token = None
    if token is not None:
        yield Closed(token, 0o600, ours=False)


def _owner(host: Host, locations: Locations, one: Closed, uid: int, gid: int) -> str | None:
    """Say who owns it that should not; None: all is well."""
    wanted = 0 if locations.scope is Scope.SYSTEM and one.ours else host.euid
    if uid != wanted:
        return f"owned by user {uid}, not by {wanted}"
    group = host.accounts.group_id(GROUP) if one.group else None
    if group is not None and gid not in {group, 0}:
        return f"of group {gid}, not of {GROUP} ({group})"
    return None


def _fix(locations: Locations, wrong: list[tuple[Closed, str]]) -> Fix:
    by_hand = [
        f"chmod {one.may:04o} {quote(one.path)}"
        for one, kind in wrong
        if kind == "mode" and not one.ours
    ]
    owner = f"root:{GROUP}" if locations.scope is Scope.SYSTEM else "$USER:"
    by_hand += [f"sudo chown {owner} {quote(one.path)}" for one, kind in wrong if kind == "owner"]
    if not by_hand:
        return by_doctor("Have the modes set.")
    if any(one.ours and kind == "mode" for one, kind in wrong):
        by_hand.append("local-opus doctor --fix")
    return advise("Close what is not this program's to change yourself.", *by_hand)


CHECK = Check("secrets", "secrets closed", Group.INSTALL, ask)
