"""The verdict of every file of a folder, one that was installed here or a stranger's.

A verification is a result, not an exception: only a folder that isn't there raises. Files are read
without following links, and each is compared before and after with what the kernel says of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from posixpath import basename, dirname

from local_opus.errors import BadInputError, LocalOpusError
from local_opus.values import CatalogFile, FileVerdict, Verdict
from local_opus.weights import manifest as manifests
from local_opus.weights.door import Progress, Reader
from local_opus.weights.expected import expected_files
from local_opus.weights.folder import judge_folder
from local_opus.weights.inspect import Inspector
from local_opus.weights.judge import Judge, Meter, make_verdict, with_folder
from local_opus.weights.structure import printable

#: Files hashed at the same time. blake3 itself uses every core; this overlaps reading with it.
WORKERS = 4

#: The worst first: what a summary and an exit code go by.
SEVERITY = (
    Verdict.UNSAFE,
    Verdict.CORRUPT,
    Verdict.TRUNCATED,
    Verdict.PLACEHOLDER,
    Verdict.MISSING,
    Verdict.UNEXPECTED,
    Verdict.UNPROVEN,
    Verdict.REAL,
)


def worst(verdicts: Iterable[FileVerdict]) -> Verdict:
    """Return the worst verdict; ``missing`` of no files at all."""
    found = {item.verdict for item in verdicts}
    return next((verdict for verdict in SEVERITY if verdict in found), Verdict.MISSING)


def is_proven(verdicts: Sequence[FileVerdict]) -> bool:
    """Whether there are files and every one is real."""
    return worst(verdicts) is Verdict.REAL


def verify_folder(
    host: Reader,
    folder: str,
    *,
    quick: bool = False,
    catalog_files: Iterable[CatalogFile] | None = None,
    known_files: Iterable[CatalogFile] = (),
    progress: Progress | None = None,
) -> tuple[FileVerdict, ...]:
    """Return the verdict of every file of ``folder`` (or of the one file it names), by path.

    ``catalog_files`` are the files this folder must have, as the catalog pins them; they outrank
    the manifest. ``known_files`` are pins that a file may match under any name. ``quick`` believes
    a file whose size, inode, mtime and ctime are as they were when it was hashed, and hashes the
    others. Raises BadInputError when nothing is at ``folder``.
    """
    only, folder = _where(host, folder)
    verdicts: list[FileVerdict] = []
    manifest, stamps = None, dict[str, manifests.FileStamp]()
    try:
        manifest, digest = manifests.read_with_digest(host, folder)
        stamps = manifests.read_stamps(host, folder, digest) if quick else {}
    except BadInputError:  # there is none
        pass
    except LocalOpusError as error:
        problem = printable(error.message, 300)
        verdicts.append(make_verdict(manifests.NAME, Verdict.CORRUPT, problem))
    expected = expected_files(manifest, tuple(catalog_files or ()))
    own = {manifests.NAME, manifests.STAT_NAME}
    found = {path: stat for path, stat in host.files.walk(folder) if path not in own}
    if only is not None:
        found = {path: stat for path, stat in found.items() if path == only}
        expected = {path: item for path, item in expected.items() if path == only}
    meter = Meter(progress, sum(stat.size for stat in found.values() if stat.kind == "file"))
    inspector = Inspector(host, folder, found)
    judge = Judge(
        host, folder, found, expected, stamps, tuple(known_files), manifest, meter, inspector
    )
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            verdicts.extend(pool.map(judge.verdict, found))
        except BaseException:  # Ctrl-C: don't wait for gigabytes to be hashed to their end
            meter.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    verdicts.extend(
        make_verdict(path, Verdict.MISSING, f"{expected[path].source} lists it")
        for path in expected.keys() - found.keys()
    )
    if manifest is None and only is None:
        together = judge_folder(host, folder, inspector, found)
        verdicts = with_folder(verdicts, together)
    return tuple(sorted(verdicts, key=lambda item: item.path))


def _where(host: Reader, path: str) -> tuple[str | None, str]:
    stat = host.files.stat(path, follow=True)
    if stat is not None and stat.kind == "folder":
        return None, path
    if stat is not None and stat.kind == "file":
        return basename(path), dirname(path)
    what = "not found" if stat is None else "neither a folder nor a file"
    raise BadInputError(
        f"{printable(path)}: {what}", "Name a folder with weights, or a model of `models list`."
    )
