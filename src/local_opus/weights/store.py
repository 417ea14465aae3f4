"""Where weights live: ``<models>/<model>/<variant>/``, and the names of variants.

``<models>/<model>/.partial/`` holds what is being fetched or made. It is beside the variants, not
in them: a variant's folder holds what its manifest lists and nothing else.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from local_opus.errors import BadInputError, LocalOpusError
from local_opus.host import locks
from local_opus.host.partials import SUFFIX as NOTES
from local_opus.values import Device, Identifier, Model
from local_opus.weights import manifest as manifests
from local_opus.weights.door import Progress
from local_opus.weights.structure import printable

if TYPE_CHECKING:
    from local_opus.host import Host

PARTIAL = ".partial"
_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)


@dataclass(frozen=True)
class VariantNames:
    """The variant that is fetched, and the one made from it; None: the source is served as is."""

    source: str
    derived: str | None

    @property
    def served(self) -> str:
        """The variant that the engine loads."""
        return self.derived or self.source


@dataclass(frozen=True)
class StoredVariant:
    """One variant that lies in the store; ``problem`` says why its manifest can't be read."""

    model: str
    variant: str
    folder: str
    manifest: manifests.Manifest | None
    problem: str | None


def variant_names(model: Model, device: Device) -> VariantNames:
    """Return the names of a model's variants for ``device``, e.g. gguf-q4_1 and cpu-q4_1.

    An OpenVINO IR is served on every device as it was fetched.
    """
    quantization = _slug(model.quantization)
    if model.format == "gguf":
        return VariantNames(f"gguf-{quantization}", f"{device.value.lower()}-{quantization}")
    return VariantNames(f"ir-{quantization}", None)


def _slug(text: str) -> str:
    """Return the first word of a quantization as a part of a folder's name."""
    first = (text.lower().split() or [""])[0]
    return re.sub(r"[^a-z0-9._-]+", "-", first).strip("-.") or "unknown"


def variant_folder(models: str, model: str, variant: str) -> str:
    """Return the folder of a variant below the folder ``models``.

    Raises BadInputError for a name that could lead elsewhere.
    """
    return f"{model_folder(models, model)}/{_name(variant, 'variant')}"


def model_folder(models: str, model: str) -> str:
    """Return the folder of a model; raises as ``variant_folder`` does."""
    return f"{models.rstrip('/')}/{_name(model, 'model')}"


def partial_folder(folder: str) -> str:
    """Return where the variant ``folder`` is fetched or made before it has its name."""
    model, _, variant = folder.rstrip("/").rpartition("/")
    return f"{model}/{PARTIAL}/{variant}"


@contextmanager
def held(host: Host, folder: str, progress: Progress | None = None) -> Iterator[None]:
    """Be the only run that fetches or makes the variant ``folder``; waits for the one that is.

    ``progress`` is told whom it waits for. What is empty of the partial folders goes at the end.
    """

    def tell(holder: int | None) -> None:
        if progress is not None:
            progress(f"wait for PID {holder}" if holder else "wait for another run", 0, 0)

    lock = lock_of(folder)

    def clean() -> None:
        _drop_empty(host, partial_folder(folder))
        host.files.discard(lock)
        drop_empty_partials(host, folder)

    with locks.waited(host.files, lock, tell):
        try:
            yield
        except BaseException:
            # How the work ended counts more than an empty folder that can't be removed.
            with suppress(OSError):
                clean()
            raise
        clean()


def clear_leftovers(host: Host, folder: str) -> None:
    """Remove what a run has left that was killed when the variant ``folder`` was whole already.

    What came of another revision stays: a person asks for that to go.
    """
    work, lock = partial_folder(folder), lock_of(folder)
    # Another run that is still at it, or a store that can't be written: nothing is lost by it.
    with suppress(OSError, locks.HeldError):
        if host.files.stat(work) is not None or host.files.stat(lock) is not None:
            with locks.exclusive(host.files, lock):
                _drop_notes(host, work)
                _drop_empty(host, work)
                host.files.discard(lock)
        drop_empty_partials(host, folder)


def _drop_notes(host: Host, work: str) -> None:
    """Remove notes of partial files that have their names by now."""
    names = set(host.files.list(work)) if host.files.stat(work) is not None else set()
    for name in names:
        if name.endswith(NOTES) and name.removesuffix(NOTES) not in names:
            host.files.remove(f"{work}/{name}")


def lock_of(folder: str) -> str:
    """Return the lock that a run holds while it fetches or makes the variant ``folder``."""
    return f"{partial_folder(folder)}.lock"


def drop_empty_partials(host: Host, folder: str) -> None:
    """Remove what is empty of the partial folder of ``folder``'s model, and of the model's own."""
    model = folder.rstrip("/").rpartition("/")[0]
    _drop_empty(host, f"{model}/{PARTIAL}")
    _drop_empty(host, model)


def _drop_empty(host: Host, path: str) -> None:
    try:
        stat = host.files.stat(path)
        if stat is not None and stat.kind == "folder" and not host.files.list(path):
            host.files.remove_folder(path)
    except OSError as error:  # another run removed it, or has begun to use it
        if error.errno not in {errno.ENOENT, errno.ENOTEMPTY}:
            raise


def _name(text: str, what: str) -> str:
    try:
        return _IDENTIFIER.validate_python(text)
    except ValidationError as error:
        raise BadInputError(
            f"{printable(text)!r} is no name of a {what}",
            "Names have a-z, 0-9, '.', '_' and '-'; see `local-opus models list`.",
        ) from error


def list_variants(host: Host, models: str) -> tuple[StoredVariant, ...]:
    """Return every variant in the store, by model and name; empty where there is no store."""
    return tuple(
        _stored(host, model, variant, f"{models.rstrip('/')}/{model}/{variant}")
        for model in _folders(host, models.rstrip("/"))
        for variant in _folders(host, f"{models.rstrip('/')}/{model}")
    )


def list_models(host: Host, models: str) -> list[str]:
    """Return the models that have a folder in the store, sorted; empty where there is no store."""
    return _folders(host, models.rstrip("/"))


def _folders(host: Host, path: str) -> list[str]:
    stat = host.files.stat(path)
    if stat is None or stat.kind != "folder":
        return []
    found = []
    for name in host.files.list(path):
        stat = host.files.stat(f"{path}/{name}")
        if stat is not None and stat.kind == "folder" and not name.startswith("."):
            found.append(name)
    return found


def _stored(host: Host, model: str, variant: str, folder: str) -> StoredVariant:
    try:
        return StoredVariant(model, variant, folder, manifests.read(host, folder), None)
    except LocalOpusError as error:
        return StoredVariant(model, variant, folder, None, error.message)
