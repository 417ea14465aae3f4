"""Makes a served variant from a fetched one: GGUF to OpenVINO IR, in a worker.

The worker writes into a folder of its own. Only when every file of it is sound, hashed, listed and
on the disk does the folder get its name, so a variant is there as a whole or not at all.
"""

from __future__ import annotations

import errno
import secrets
from typing import TYPE_CHECKING

from local_opus.errors import LocalOpusError, MachineCannotError, WorkerError
from local_opus.values import Device, Model
from local_opus.weights import gguf
from local_opus.weights import manifest as manifests
from local_opus.weights.converted import settle
from local_opus.weights.door import Progress
from local_opus.weights.fetch import CREATED_BY, Stored
from local_opus.weights.genai import genai_problem
from local_opus.weights.manifest import DerivedFrom, Manifest
from local_opus.weights.seen import Seen, changed_since
from local_opus.weights.sources.arrival import GB, check_space, disk_errors
from local_opus.weights.stamps import stamp_of
from local_opus.weights.store import (
    drop_empty_partials,
    partial_folder,
    variant_folder,
    variant_names,
)
from local_opus.weights.structure import Refusal, printable
from local_opus.weights.verify import FOREIGN, examine, is_proven, verify_folder

if TYPE_CHECKING:
    from local_opus.host import Host

#: Seconds that a conversion may take; 135 million parameters take 5 s on two cores.
TIMEOUT = 3600.0
#: Size of the result by the GGUF's, estimated: Q4_1 of 98.4 MB gives 97.7 MB (measured), Q6_K
#: becomes 8 bits with its scales, 8.5 / 6.56 = 1.3.
GROWTH = 1.4


def convert_model(
    host: Host,
    models: str,
    model: Model,
    device: Device,
    *,
    progress: Progress | None = None,
    quick: bool = False,
) -> Stored:
    """Return the model's variant for ``device``, made from its GGUF where it is missing.

    The GGUF must be in the store (``fetch_model``). The caller holds the model's lock. Raises
    MachineCannotError where GenAI can't load this GGUF or the disk has no space, WorkerError when
    the conversion fails, LocalOpusError when its result is not sound; nothing is left then.
    """
    names = variant_names(model, device)
    if names.derived is None or len(model.files) != 1:
        raise LocalOpusError(
            f"{model.id}: only a GGUF of one file can be converted", "Serve it as it is."
        )
    source = variant_folder(models, model.id, names.source)
    target = variant_folder(models, model.id, names.derived)
    file = model.files[0]
    with disk_errors(target):
        there = _there(host, target, file.sha256, progress, quick=quick)
        if there is not None:
            _remove_leftovers(host, target)
            return there
        _refuse_foreign(host, target)
        proven = examine(host, source, catalog_files=model.files, progress=progress)
        if not is_proven(proven.verdicts):
            bad = next(item for item in proven.verdicts if item.verdict != "real")
            raise LocalOpusError(
                f"{source}/{bad.path}: {bad.verdict}: {bad.evidence}",
                f"Fetch it again with `local-opus models pull {model.id}`.",
            )
        work = _new_folder(host, target)
        try:
            stored = _convert(host, source, proven.seen, work, names.derived, model, progress)
            _replace(host, work, target)
        except BaseException as error:
            full = isinstance(error, WorkerError) and _disk_is_full(host, work, error, file.size)
            if host.files.stat(work) is not None:
                host.files.remove_tree(work)
            if full:
                raise MachineCannotError(
                    f"{target}: no space for the converted model: {error}",
                    f"Free {file.size * GROWTH / GB:.1f} GB and run this again.",
                ) from error
            raise
        finally:
            drop_empty_partials(host, target)
    return Stored(target, names.derived, stored[0], stored[1], changed=True)


def _there(
    host: Host, target: str, sha256: str, progress: Progress | None, *, quick: bool
) -> Stored | None:
    """Return the variant where it is in place, proven, and made from this very file."""
    if host.files.stat(f"{target}/{manifests.NAME}") is None:
        return None
    if not is_proven(verify_folder(host, target, quick=quick, progress=progress)):
        return None
    manifest, digest = manifests.read_with_digest(host, target)
    made_from = manifest.derived_from
    if made_from is None or made_from.sha256 != sha256:
        return None
    return Stored(target, manifest.variant, manifest, digest, changed=False)


def _refuse_foreign(host: Host, target: str) -> None:
    """Raise LocalOpusError for somebody's file in the folder that is about to be replaced."""
    if host.files.stat(f"{target}/{manifests.NAME}") is None:
        return
    for item in verify_folder(host, target, quick=True):
        if item.verdict in FOREIGN:
            raise LocalOpusError(
                f"{target}/{item.path}: {item.verdict}: {item.evidence}",
                "Move it away, and run this again.",
            )


def _new_folder(host: Host, target: str) -> str:
    """Make an empty folder to convert into.

    Its name is new each time: a worker that outlived a killed run may still write into its own.
    """
    _remove_leftovers(host, target)
    prefix = _prefix(target)
    host.files.make_folders(prefix.rpartition("/")[0])
    folder = f"{prefix}{secrets.token_hex(4)}"
    host.files.make_folder(folder, mode=0o755)
    return folder


def _prefix(target: str) -> str:
    return f"{partial_folder(target)}.partial-"


def _remove_leftovers(host: Host, target: str) -> None:
    """Remove the folders of runs that were killed."""
    parent, _, start = _prefix(target).rpartition("/")
    if host.files.stat(parent) is None:
        return
    for name in host.files.list(parent):
        if name.startswith(start):
            try:
                host.files.remove_tree(f"{parent}/{name}")
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.ENOENT}:
                    raise
                # The worker of that run still writes into it: the next run removes it.
    drop_empty_partials(host, target)


def _convert(
    host: Host,
    source: str,
    seen: Seen,
    work: str,
    variant: str,
    model: Model,
    progress: Progress | None,
) -> tuple[Manifest, str]:
    file = model.files[0]
    path = f"{source}/{file.path}"
    with host.files.open_read(path, follow=False) as stream:
        info = gguf.check(stream, file.size)
    if isinstance(info, Refusal):
        raise LocalOpusError(f"{path}: {info.reason}", "Choose another model.")
    if (problem := genai_problem(info)) is not None:
        raise MachineCannotError(
            f"{model.id}: OpenVINO GenAI can't load this GGUF: {problem}",
            "Choose a model whose quantization is Q4_0, Q4_1, Q4_K_M, Q6_K, Q8_0 or F16.",
        )
    check_space(host, work, int(file.size * GROWTH), f"converting {model.id}")
    request: dict[str, object] = {
        "gguf": host.files.real_path(path),
        "folder": host.files.real_path(work),
    }

    def on_event(event: dict[str, object]) -> None:
        written = event.get("bytes")
        if progress is not None and isinstance(written, int):
            progress(f"convert {model.id}", written, 0)

    result = host.processes.worker("convert", request, timeout=TIMEOUT, on_event=on_event)
    _refuse_changed(host, source, seen, model)
    converter = printable(str(result.get("converter", "unknown")))
    files = settle(host, work, file.sha256, converter)
    manifest = Manifest(
        model=model.id,
        variant=variant,
        created_by=CREATED_BY,
        context_length=info.context_length,
        derived_from=DerivedFrom(
            model=model.id,
            variant=variant_names(model, Device.CPU).source,
            sha256=file.sha256,
            converter=converter,
        ),
        files=files,
    )
    digest = manifests.write(host, work, manifest)
    host.files.sync(work)
    return manifest, digest


def _refuse_changed(host: Host, folder: str, seen: Seen, model: Model) -> None:
    """Raise LocalOpusError when the GGUF is not what was verified before the worker read it.

    A worker that links to the file changes its ctime: then its content is hashed once more.
    """
    if changed_since(host, folder, seen) is None:
        return
    name = model.files[0].path
    path = f"{folder}/{name}"
    now = stamp_of(host, path)
    linked = now is not None and now == seen[name].model_copy(update={"ctime_ns": now.ctime_ns})
    if not linked or not is_proven(verify_folder(host, folder, catalog_files=model.files)):
        raise LocalOpusError(f"{path}: changed while it was converted", "Fetch it again.")
    manifest, digest = manifests.read_with_digest(host, folder)
    manifests.write_stamps(host, folder, manifest, digest)


def _replace(host: Host, work: str, target: str) -> None:
    """Give the finished folder its name; one that failed verification makes room for it."""
    if host.files.stat(target) is not None:
        old = f"{work}.old"
        host.files.rename(target, old)
        host.files.rename(work, target)
        host.files.remove_tree(old)
    else:
        host.files.rename(work, target)


def _disk_is_full(host: Host, work: str, error: WorkerError, size: int) -> bool:
    """Whether the conversion failed for want of space: by its words, or by what is left now."""
    return "no space" in str(error).lower() or host.files.space(work).free < size * (GROWTH - 1)
