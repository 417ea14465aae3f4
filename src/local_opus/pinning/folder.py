"""A file or folder of this machine as a catalog entry: hashed here, its structure checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from posixpath import basename, dirname
from typing import TYPE_CHECKING

from local_opus.errors import BadInputError, MachineCannotError, ProblemFoundError
from local_opus.pinning import gguf_traits, ir_traits
from local_opus.pinning.draft import UNKNOWN_LICENSE, Asked, Draft, Traits
from local_opus.values import CatalogFile, FileVerdict, License, LocalSource, Trust, Verdict
from local_opus.weights import gguf, manifest
from local_opus.weights.contents import contents
from local_opus.weights.digest import hash_stream
from local_opus.weights.stamps import as_stamp
from local_opus.weights.structure import Refusal, printable
from local_opus.weights.verify import examine

if TYPE_CHECKING:
    from local_opus.catalog.load import Catalog
    from local_opus.host import Host
    from local_opus.pinning.source import Place
    from local_opus.weights.door import Progress

#: Files that an error names at most.
_MOST_TOLD = 20
_SERVED = "This version serves OpenVINO IR of language models, and GGUF in one file."
#: What a file of a model may be where nothing proves it yet.
_SOUND = {Verdict.REAL, Verdict.UNPROVEN, Verdict.UNEXPECTED}


def draft(
    host: Host, source: Place, asked: Asked, catalog: Catalog, progress: Progress | None
) -> Draft:
    """Return the draft of an entry. Raises as ``pinning.pin`` does."""
    found = host.files.stat(source.path, follow=True)
    if found is None or found.kind not in {"file", "folder"}:
        raise BadInputError(
            f"{printable(source.path)}: neither a file nor a folder", "Name one with weights."
        )
    one = basename(source.path) if found.kind == "file" else None
    folder = dirname(source.path) if one is not None else source.path
    if one is not None and asked.file is not None:
        raise BadInputError("--file: the path names a file already", "Leave that out.")
    known = [file for model in catalog.models for file in model.files]
    looked = examine(host, source.path, known_files=known, stranger=True, progress=progress)
    verdicts = looked.verdicts
    _refuse_unsound(folder, verdicts)
    chosen = _choose(folder, [one] if one is not None else _paths(host, folder), asked.file)
    files = tuple(_pinned(host, folder, path, progress) for path in chosen)
    stem = basename(folder) if len(chosen) > 1 else basename(chosen[0]).removesuffix(".gguf")
    traits = _traits(host, folder, files)
    for path in chosen:
        now = host.files.stat(f"{folder}/{path}")
        if now is None or as_stamp(now) != looked.seen.get(path):
            raise _changed(folder, path)
    return Draft(
        stem=stem,
        traits=traits,
        license=License(id=printable(asked.license or UNKNOWN_LICENSE)),
        source=LocalSource(kind="local", folder=folder),
        files=files,
        trust=Trust.PINNED,
        figures=("size and sha256 as they were on this machine when it was pinned",),
        notes=_notes(verdicts, asked),
    )


def _paths(host: Host, folder: str) -> list[str]:
    return [path for path, stat in contents(host, folder).items() if stat.kind == "file"]


def _refuse_unsound(folder: str, verdicts: Sequence[FileVerdict]) -> None:
    """Raise ProblemFoundError where a file is no model's, or is not safe."""
    bad = [item for item in verdicts if item.verdict not in _SOUND]
    if bad:
        lines = [
            f"{folder}/{item.path}: {item.verdict}: {item.evidence}" for item in bad[:_MOST_TOLD]
        ]
        if len(bad) > _MOST_TOLD:
            lines.append(f"and {len(bad) - _MOST_TOLD} more files that are not sound")
        raise ProblemFoundError(
            lines[0], "Nothing was pinned. Get these files anew, or remove them.", details=lines[1:]
        )


def _choose(folder: str, paths: Sequence[str], wanted: str | None) -> list[str]:
    ggufs = [path for path in paths if path.endswith(".gguf")]
    if wanted is not None:
        if wanted not in ggufs:
            raise BadInputError(
                f"{printable(folder)}: has no GGUF file {printable(wanted)}",
                "Choose one that is there.",
                details=map(printable, ggufs),
            )
        ggufs = [wanted]
    elif ir_traits.is_ir(paths):
        return ir_traits.files_of(folder, paths, ir_traits.GRAPHS)
    if len(ggufs) > 1:
        raise BadInputError(
            f"{printable(folder)}: has {len(ggufs)} GGUF files",
            "Choose one with --file, or name its path.",
            details=map(printable, ggufs),
        )
    if not ggufs:
        raise MachineCannotError(f"{printable(folder)}: holds no model that can be served", _SERVED)
    if gguf_traits.SPLIT.search(ggufs[0]):
        raise MachineCannotError(
            f"{printable(ggufs[0])}: is a part of a GGUF in several files", _SERVED
        )
    return ggufs


def _pinned(host: Host, folder: str, path: str, progress: Progress | None) -> CatalogFile:
    stat = host.files.stat(f"{folder}/{path}", follow=True)
    size = stat.size if stat is not None else 0
    done = 0

    def count(read: int) -> None:
        nonlocal done
        done += read
        if progress is not None:
            progress(f"hash {path}", done, size)

    with host.files.open_read(f"{folder}/{path}") as stream:
        digests = hash_stream(stream, limit=size, want_blake3=False, on_bytes=count)
    if digests.size != size or digests.sha256 is None:
        raise _changed(folder, path)
    if not path.isprintable() or "\\" in path:
        raise BadInputError(
            f"{printable(path)}: a catalog can't hold this name", "Give the file a plain one."
        )
    return CatalogFile(path=path, size=size, sha256=digests.sha256)


def _changed(folder: str, path: str) -> ProblemFoundError:
    return ProblemFoundError(
        f"{printable(folder)}/{printable(path)}: changed while it was read",
        "Wait until nothing writes to it, then run this again.",
    )


def _traits(host: Host, folder: str, files: Sequence[CatalogFile]) -> Traits:
    by_path = {file.path: file for file in files}
    if len(files) == 1:
        path, size = files[0].path, files[0].size
        with host.files.open_read(f"{folder}/{path}") as stream:
            info = gguf.check(stream, size)
        if isinstance(info, Refusal):
            raise ProblemFoundError(
                f"{printable(folder)}/{printable(path)}: {info.verdict}: {info.reason}",
                "Nothing was pinned. Get this file anew.",
            )
        return gguf_traits.traits(info, path)
    texts = {
        path: host.files.read_bytes(f"{folder}/{path}")
        for path in (ir_traits.CONFIG, ir_traits.OPTIONS)
        if path in by_path and by_path[path].size <= _MAX_TEXT
    }
    weights = by_path["openvino_model.bin"].size
    return ir_traits.traits(basename(folder), weights, texts, _context(host, folder))


def _context(host: Host, folder: str) -> int | None:
    """Return the context length that a manifest beside the files states."""
    if host.files.stat(f"{folder}/{manifest.NAME}") is None:
        return None
    return manifest.read(host, folder).context_length


#: Bytes of a config that is read.
_MAX_TEXT = 4 * 1024 * 1024


def _notes(verdicts: Iterable[FileVerdict], asked: Asked) -> tuple[str, ...]:
    notes = [
        f"{item.path}: {item.evidence}"
        for item in verdicts
        if item.verdict is Verdict.REAL and item.trust is Trust.PINNED
    ]
    if not asked.license:
        notes.append("no licence was stated: --license says which it is")
    return tuple(notes)
