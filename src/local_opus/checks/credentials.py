"""Whether the credentials are there, open, and fit what the server wants.

Their modes and owners are the question of ``secrets``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from shlex import quote

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
from local_opus.values import Fix, Scope

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
    damaged = dict(_damaged(host, locations, names))
    lacking = [*_lacking(host, locations, damaged)] if required else []
    wrong = [*damaged.values(), *lacking]
    if wrong:
        evidence, details = told(wrong, "credentials are not as the server needs them")
        return failed(evidence, _fix(host, locations, damaged, lacking), details=details)
    said = f"{len(names)} credentials, keys are {'required' if required else 'not required'}"
    plain = [one.path for name in names if (one := store.find(host, locations, name))
             and not one.sealed]  # fmt: skip
    if plain and sealing.problem(host, locations.scope) is None:
        return warned(
            f"{said}; not encrypted, and systemd could: {', '.join(plain)}",
            advise("Have those of this node written again.", _AGAIN),
        )
    return passed(said)


def _fix(
    host: Host, locations: Locations, damaged: Mapping[str, str], lacking: Sequence[str]
) -> Fix:
    """Say what makes them whole: `keys require on` makes anew what nobody else has."""
    clouds = [name for name in damaged if name.startswith(store.CLOUD)]
    of_clouds = len(clouds) == len(damaged) and not lacking
    text = "Give those keys again." if of_clouds else "Have made again what is missing."
    away = [name for name in damaged if store.is_folder(host, locations, name)]
    if away:
        text = f"Move away what took the place of a file. {text}"
    if store.API_KEYS in damaged:
        text = (
            f"Restore {store.API_KEYS} from a backup of this machine; without one move away what "
            "is there, and add the keys of clients anew."
        )
        away = sorted({store.API_KEYS, *away})
    root = "sudo " if locations.scope is Scope.SYSTEM else ""
    places = [one.path for name in away if (one := store.find(host, locations, name)) is not None]
    return advise(
        text,
        *(f"{root}mv {quote(path)} ~" for path in places),
        *(() if of_clouds else (_AGAIN,)),
        *(f"local-opus keys set-cloud {name.removeprefix(store.CLOUD)}" for name in clouds),
    )


def _damaged(host: Host, locations: Locations, names: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the name of each credential that is not whole, and what is wrong with it."""
    for name in names:
        try:
            if name == store.API_KEYS:
                store.keyring(host, locations)
            elif name == store.NODE_KEY:
                node_key.kept(host, locations)
            elif not store.read(host, locations, name):
                yield name, f"{locations.credentials}/{name}: empty"
        except LocalOpusError as error:
            yield name, error.message


def _lacking(host: Host, locations: Locations, damaged: Mapping[str, str]) -> Iterator[str]:
    """Say what a server that wants keys would not find, besides what is damaged."""
    kept = store.find(host, locations, store.API_KEYS)
    if kept is None:
        yield f"{locations.credentials}/{store.API_KEYS}: missing, and the server wants keys"
        return
    if store.find(host, locations, store.NODE_KEY) is None:
        yield f"{locations.credentials}/{store.NODE_KEY}: missing"
    elif not damaged.keys() & {store.API_KEYS, store.NODE_KEY}:
        problem = node_key.problem(host, locations)
        if problem is not None:
            yield problem
    path = giving.drop_in_path(locations)
    if not host.services.running(locations.scope):
        return
    wanted = f":{kept.path}".replace("%", "%%")
    found = host.files.stat(path)
    if found is None or wanted not in host.files.read_text(path):
        yield f"{path}: does not give the server {kept.path}"


CHECK = Check("credentials", "credentials", Group.INSTALL, ask, _SECONDS)
