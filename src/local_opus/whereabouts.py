"""Whether an install lies where its folders are sought now: the XDG variables move a user's.

Its receipt names the folders that they had at the install. With other ones it would look damaged,
or as if nothing were installed.
"""

from __future__ import annotations

import shlex

from local_opus import receipts
from local_opus.errors import BadInputError
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.receipts import Receipt
from local_opus.values import Scope

#: By the id of the action that makes a folder: the variable that moves it, and the part below that.
_MOVED = {
    "folder:prefix": ("XDG_DATA_HOME", "/local-opus"),
    "folder:models": ("XDG_DATA_HOME", "/local-opus/models"),
    "folder:config": ("XDG_CONFIG_HOME", "/local-opus"),
    "folder:units": ("XDG_CONFIG_HOME", "/systemd/user"),
}


#: Set by the installed command of a user: the folder of its receipt.
STATE_VARIABLE = "LOCAL_OPUS_OWN_STATE"
#: Bytes of an installed command that are read at most.
_LIMIT = 65536


def receipt(host: Host, locations: Locations, *, held: bool = False) -> Receipt:
    """Read the receipt of an install; ``held`` as for ``Receipt``.

    Raises LocalOpusError when it is damaged, BadInputError when it is of other folders, or lies
    elsewhere.
    """
    require_state(host, locations)
    found = Receipt(host, locations.receipt, held=held)
    if locations.scope is Scope.USER:  # nothing moves those of the system
        _require_same(found, locations)
    return found


def require(host: Host, locations: Locations) -> None:
    """Raise as ``receipt`` does; that of the system's folders is not read."""
    if locations.scope is Scope.USER:
        receipt(host, locations)


def require_state(host: Host, locations: Locations) -> None:
    """Raise BadInputError where the installed command says that its receipt lies elsewhere.

    It says so to who runs it, and to who finds it. One whose receipt is gone says nothing.
    """
    if locations.scope is not Scope.USER:
        return
    try:
        for state in (host.environ.get(STATE_VARIABLE, ""), _of_command(host, locations)):
            then, there = state.removesuffix("/local-opus"), f"{state}/receipt.jsonl"
            elsewhere = then.startswith("/") and state not in {then, locations.state}
            if not elsewhere or not receipts.is_there(host, there):
                continue
            now = locations.state.removesuffix("/local-opus")
            raise BadInputError(
                f"{there}: the receipt of the install lies below {then}, not below {now}",
                f"Set XDG_STATE_HOME={then} as at the install, and run this again.",
            )
    except PermissionError:  # closed to this user, who may be about to repair that
        return


def _of_command(host: Host, locations: Locations) -> str:
    """Return the folder that the installed command names; nothing where it names none."""
    path = f"{locations.prefix}/bin/local-opus"
    found = host.files.stat(path)
    if found is None or found.kind != "file":
        return ""
    for line in host.files.read_text(path, _LIMIT).splitlines():
        name, _, value = line.partition("=")
        if name == STATE_VARIABLE:
            try:
                return "".join(shlex.split(value))
            except ValueError:  # edited: it says nothing that can be relied on
                return ""
    return ""


def _require_same(found: Receipt, locations: Locations) -> None:
    data, config = (
        path.removesuffix("/local-opus") for path in (locations.prefix, locations.config)
    )
    now = {"XDG_DATA_HOME": data, "XDG_CONFIG_HOME": config}
    moved = {variable: then for variable, then in _recorded(found).items() if then != now[variable]}
    if not moved:
        return
    lines = [
        f"{found.path}: the install lies below {then}, not below {now[variable]}"
        for variable, then in moved.items()
    ]
    settings = " and ".join(f"{variable}={then}" for variable, then in moved.items())
    raise BadInputError(
        lines[0], f"Set {settings} as at the install, and run this again.", details=lines[1:]
    )


def _recorded(found: Receipt) -> dict[str, str]:
    """Return what the variables were, or stood for, when the folders were made."""
    values: dict[str, str] = {}
    for entry in found.history.entries:
        variable, below = _MOVED.get(entry.id, ("", ""))
        path = str(entry.params.get("path"))
        if variable and path.startswith("/") and path.endswith(below):  # else it is damaged
            values[variable] = path.removesuffix(below)
    return values
