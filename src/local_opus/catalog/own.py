"""The models that a user pinned: ``models.toml`` beside the configs, beside the program's own."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from local_opus.catalog.entry_text import dump
from local_opus.catalog.load import Catalog, load, parse
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.host import Host, locks
from local_opus.locations import Locations, locate
from local_opus.values import Model, Scope

#: Bytes of the file at most; an entry has some hundred.
LIMIT = 4 * 1024 * 1024
_MODE = 0o644
_FOLDER_MODES = {Scope.SYSTEM: 0o750, Scope.USER: 0o700}
_HEADER = (
    "# Models that `local-opus models pin --save` added. Each is as in the program's own catalog;\n"
    "# edit or remove them as you like.\n"
)
_ENTRY = re.compile(r"^[ \t]*\[\[[ \t]*model[ \t]*\]\]", re.MULTILINE)
_IDLE = re.compile(r"[ \t]*(?:#.*)?\n?\Z")
_BY_HAND = "Add the printed entry by hand."


class Saved(StrEnum):
    """What became of an entry that was to be saved."""

    ADDED = "added"
    REPLACED = "replaced"
    SAME = "already there"


@dataclass(frozen=True)
class _Own:
    text: str
    models: tuple[Model, ...]


def load_all(host: Host, locations: Locations) -> Catalog:
    """Return the program's catalog with the models that were pinned on this machine.

    Raises BadInputError with every error of the user's file, LocalOpusError where others could
    tell root what to fetch. One that this user may not read is passed over: ``unread`` says so.
    """
    catalog = load()
    # An image gets what its maker pinned, as it gets his profiles: what it holds itself is not
    # believed.
    machine = Host() if host.is_image else host
    path = locations.own_catalog
    try:
        own = _read(machine, path)
    except PermissionError:
        return catalog.model_copy(update={"unread": f"{path}: permission denied"})
    if not own.models:
        return catalog
    _refuse_clashes(catalog, own.models, path)
    return Catalog(
        models=(*catalog.models, *own.models), own=frozenset(one.id for one in own.models)
    )


def _read(host: Host, path: str) -> _Own:
    if (hand := host.files.others_hand(path)) is not None:
        raise LocalOpusError(
            f"{path}: {hand}, and root would fetch what it names",
            f"Where you trust it: `chown root: {path}` and `chmod go-w {path}`.",
        )
    try:
        data = host.files.read_bytes(path, LIMIT + 1)
    except FileNotFoundError:
        return _Own("", ())
    except PermissionError:
        raise
    except OSError as error:
        raise BadInputError(
            f"{path}: {(error.strerror or str(error)).lower()}", "Look at what is there."
        ) from error
    if len(data) > LIMIT:
        raise BadInputError(f"{path}: is larger than {LIMIT} bytes", "Remove entries of it.")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInputError(f"{path}:{line}: not UTF-8", "Save it as UTF-8.") from error
    return _Own(text, parse(text, path).models)


def _refuse_clashes(catalog: Catalog, own: Sequence[Model], path: str) -> None:
    taken = set(catalog.ids())
    found = [
        f"{path}: model {one.id}: the program's own catalog has a model of this id"
        for one in own
        if one.id in taken
    ]
    if found:
        message = found[0] if len(found) == 1 else f"{path}: {len(found)} errors"
        raise BadInputError(
            message, "Give it another id there.", details=found if len(found) > 1 else ()
        )


def known_ids(host: Host) -> list[str]:
    """Return the ids of all pinned models, of both scopes, for words that are only looked at.

    A file that can't be read or is wrong adds nothing: whoever uses it is told.
    """
    found: list[str] = []
    for scope in Scope:
        try:
            text = host.files.read_bytes(locate(scope, host.environ).own_catalog, LIMIT).decode()
            entries = tomllib.loads(text).get("model", [])
            found += [str(entry["id"]) for entry in entries]
        except (OSError, BadInputError, ValueError, RecursionError, TypeError, KeyError):
            continue
    return found


def require_new_id(model_id: str) -> None:
    """Raise BadInputError where the program's own catalog has a model of this id."""
    if model_id in load().ids():
        raise BadInputError(
            f"{model_id}: the program's own catalog has a model of this id",
            "Give another one with --id.",
        )


def save(host: Host, locations: Locations, model: Model, *, replace: bool = False) -> Saved:
    """Add an entry to the user's file; what else stands there stays as it is.

    Raises BadInputError where another entry has its id (unless ``replace``), and where the file is
    wrong or is a link.
    """
    require_new_id(model.id)
    path, folder = locations.own_catalog, locations.config
    if host.files.stat(folder, follow=True) is None:
        *above, _ = host.files.missing(folder)
        for one in above:
            host.files.make_folder(one)
        host.files.make_folder(folder, mode=_FOLDER_MODES[locations.scope])
    with locks.folder(host.files, folder):
        found = host.files.stat(path)
        if found is not None and found.kind != "file":
            raise BadInputError(f"{path}: is {found.what}", _BY_HAND)
        own = _read(host, path)
        there = next((one for one in own.models if one.id == model.id), None)
        if there == model:
            return Saved.SAME
        if there is None:
            text, wanted = _appended(own.text, model), (*own.models, model)
        elif replace:
            number = own.models.index(there)
            text = _exchanged(own.text, number, model)
            wanted = (*own.models[:number], model, *own.models[number + 1 :])
        else:
            raise BadInputError(
                f"{path}: has another model {model.id}",
                "Give this one another id with --id, or add --replace.",
            )
        _require(text, wanted, path)
        mode = found.mode if found is not None else _MODE
        host.files.write_atomic(path, text.encode(), mode=mode)
    return Saved.ADDED if there is None else Saved.REPLACED


def _appended(text: str, model: Model) -> str:
    before = text if text.strip() else _HEADER
    return f"{before.rstrip()}\n\n{dump(model)}"


def _exchanged(text: str, number: int, model: Model) -> str:
    """Put an entry in the place of the one with this number; comments that follow it stay."""
    starts = [match.start() for match in _ENTRY.finditer(text)]
    if number >= len(starts):  # in a form of its own, which ``_require`` finds out
        return text
    end = starts[number + 1] if number + 1 < len(starts) else len(text)
    lines = text[starts[number] : end].splitlines(keepends=True)
    kept: list[str] = []
    while lines and _IDLE.match(lines[-1]):
        kept.insert(0, lines.pop())
    return text[: starts[number]] + dump(model) + "".join(kept) + text[end:]


def _require(text: str, wanted: Sequence[Model], path: str) -> None:
    """Raise BadInputError where a text does not come to these models: it has a form of its own."""
    try:
        sound = parse(text, path).models == tuple(wanted)
    except BadInputError:
        sound = False
    if not sound:
        raise BadInputError(f"{path}: is written in a way that nothing can be added to", _BY_HAND)


def is_there(host: Host, locations: Locations) -> bool:
    """Whether there is a user's file."""
    return host.files.stat(locations.own_catalog) is not None


def remove(host: Host, locations: Locations) -> None:
    """Remove the user's file, and the folder where nothing else is in it.

    An install found that folder there already, if it came later, and so would not remove it.
    """
    if not is_there(host, locations):
        return
    host.files.discard(locations.own_catalog)
    if not host.files.list(locations.config):
        host.files.remove_folder(locations.config)
