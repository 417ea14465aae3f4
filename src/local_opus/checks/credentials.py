"""Whether the credentials are there, open, and fit what the server wants.

Their modes and owners are the question of ``secrets``.
"""

from __future__ import annotations

from collections.abc import Iterator

from local_opus.checks.base import (
    Answer,
    Check,
    Group,
    NotApplicableError,
    advise,
    failed,
    passed,
    told,
    warned,
)
from local_opus.checks.context import Context
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.host import Host
from local_opus.keys import giving, node_key, sealing, store
from local_opus.locations import Locations

_SECONDS = 30.0
_AGAIN = "local-opus keys require on"


def ask(context: Context) -> Answer:
    """Open each credential, and look what the server's unit is given of them."""
    host, locations = context.host, context.locations
    try:
        required = giving.wanted(host, locations)
        names = store.names(host, locations)
    except PermissionError as error:
        raise NotApplicableError("the keys are closed to this user") from error
    except BadInputError as error:
        return failed(error.message, advise(error.remedy))
    if not required and not names:
        raise NotApplicableError("no keys are kept, and none are wanted")
    wrong = [*_damaged(host, locations, names), *(_lacking(host, locations) if required else ())]
    if wrong:
        evidence, details = told(wrong, "credentials are not as the server needs them")
        return failed(evidence, advise("Have made again what is missing.", _AGAIN), details=details)
    said = f"{len(names)} credentials, keys are {'required' if required else 'not required'}"
    plain = [one.path for name in names if (one := store.find(host, locations, name))
             and not one.sealed]  # fmt: skip
    if plain and sealing.problem(host, locations.scope) is None:
        return warned(
            f"{said}; not encrypted, and systemd could: {', '.join(plain)}",
            advise("Have those of this node written again.", _AGAIN),
        )
    return passed(said)


def _damaged(host: Host, locations: Locations, names: list[str]) -> Iterator[str]:
    for name in names:
        try:
            data = store.read(host, locations, name)
            if name == store.API_KEYS:
                store.keyring(host, locations)
            elif not data:
                yield f"{locations.credentials}/{name}: empty"
        except LocalOpusError as error:
            yield error.message


def _lacking(host: Host, locations: Locations) -> Iterator[str]:
    """Say what a server that wants keys would not find."""
    kept = store.find(host, locations, store.API_KEYS)
    if kept is None:
        yield f"{locations.credentials}/{store.API_KEYS}: missing, and the server wants keys"
        return
    if (problem := node_key.problem(host, locations)) is not None:
        yield problem
    path = giving.drop_in_path(locations)
    if not host.services.running(locations.scope):
        return
    wanted = f":{kept.path}".replace("%", "%%")
    found = host.files.stat(path)
    if found is None or wanted not in host.files.read_text(path):
        yield f"{path}: does not give the server {kept.path}"


CHECK = Check("credentials", "credentials", Group.INSTALL, ask, _SECONDS)
