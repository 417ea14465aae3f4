"""OpenSSF model signatures with a plain key: made and checked by a worker, without a network.

The signature of a variant lies beside its folder, ``<models>/<model>/<variant>.sig``: a variant's
folder holds what its manifest lists and nothing else. Every file of the folder is signed, the
manifest too; ``weights.stat.json`` is not, because it holds this machine's inodes and times.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from local_opus.errors import BadInputError, LocalOpusError, ProblemFoundError
from local_opus.host import Host
from local_opus.runtime.protocol import Message
from local_opus.values import FileVerdict, Verdict
from local_opus.weights import manifest as manifests
from local_opus.weights.seen import Seen, look
from local_opus.weights.structure import printable

#: Bytes at most of a key, and of a signature: one of 100,000 files has 20 MB.
MAX_KEY = 64 * 1024
MAX_SIGNATURE = 32 * 1024 * 1024
#: Seconds that a worker may take, and the bytes that a slow disk gives in one.
_BASE_SECONDS = 60.0
_SLOW_RATE = 20e6
#: What git keeps in a folder; the library's own command leaves it out unless it is told not to.
_GIT = frozenset({".git", ".gitattributes", ".github", ".gitignore"})
_CHANGED = "the folder changed while it was checked"


@dataclass(frozen=True)
class Signed:
    """A signature that was made: ``key`` is the sha256 of the public key's PEM."""

    folder: str
    signature: str
    key: str
    files: tuple[str, ...]

    @property
    def holds_git_files(self) -> bool:
        """Whether the library's own command has to be told of files of git."""
        return any(path.partition("/")[0] in _GIT for path in self.files)


@dataclass(frozen=True)
class Check:
    """What a signature says of a folder; ``problems`` is empty exactly where it ``holds``."""

    folder: str
    signature: str
    key: str
    #: How many files it speaks of; None: it is not by this key, or is none.
    signed: int | None
    problems: tuple[str, ...]
    #: What was there before it was checked.
    seen: Seen = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether every file of the folder is signed, unchanged and there."""
        return not self.problems

    def of(self, seen: Seen) -> Check:
        """Return this check where it was of the very files that were ``seen`` by another look."""
        if not self.holds or seen == self.seen:
            return self
        return replace(self, problems=(_CHANGED,))

    def proves(self, verdicts: Sequence[FileVerdict]) -> bool:
        """Whether it holds and no file is worse than unproven: then the signer vouches for it."""
        own = printable(_inside(self.folder, self.signature) or "", 500)
        rest = [item.verdict for item in verdicts if item.path != own]
        return self.holds and bool(rest) and {*rest} <= {Verdict.REAL, Verdict.UNPROVEN}


def default_path(folder: str) -> str:
    """Return where the signature of a folder lies: beside it."""
    return f"{folder.rstrip('/')}.sig"


def is_encrypted(host: Host, key: str) -> bool:
    """Whether a private key needs a password. Raises BadInputError where it can't be read."""
    return b"ENCRYPTED" in _read(host, key, MAX_KEY, "key")


def require_target(host: Host, folder: str, path: str) -> None:
    """Raise BadInputError where a signature of ``folder`` can't be put at ``path``.

    A file that is there is replaced only where it is a signature.
    """
    if _inside(folder, path) is not None and host.files.stat(f"{folder}/{manifests.NAME}"):
        raise BadInputError(
            f"{path}: in the folder of a variant, which holds only what its manifest lists",
            f"Put the signature beside it: --signature {default_path(folder)}.",
        )
    there = host.files.stat(path, follow=True)
    if there is None and host.files.stat(os.path.dirname(path), follow=True) is None:
        raise BadInputError(
            f"{os.path.dirname(path)}: there is no such folder", "Name a file in one that is there."
        )
    if there is not None and not _is_signature(host, path):
        raise BadInputError(
            f"{path}: is there already, and is no signature", "Name another file by --signature."
        )


def sign(host: Host, folder: str, *, key: str, password: str | None, path: str) -> Signed:
    """Sign a folder with the private key in the file ``key``; write the signature to ``path``.

    The caller has seen by ``require_target`` that it may. Raises BadInputError for a key of the
    wrong kind, ProblemFoundError for a folder that holds what can't be signed.
    """
    _read(host, key, MAX_KEY, "key")
    files = _files(host, folder, path)
    if not files:
        raise ProblemFoundError(f"{folder}: there is no file in it", "Name a folder with weights.")
    answer = _ask(host, folder, files, {"do": "sign", "key": key, "password": password}, path)
    if answer["signed"] != sorted(files):
        raise ProblemFoundError(
            f"{folder}: its files changed while they were signed", "Run this again."
        )
    host.files.write_atomic(path, str(answer["signature"]).encode(), mode=0o644)
    return Signed(folder, path, str(answer["key"]), tuple(sorted(files)))


def check(host: Host, folder: str, *, key: str, path: str) -> Check:
    """Check the signature in the file ``path`` over a folder by the public key in ``key``.

    A signature that does not hold is an answer. Raises BadInputError for a file that can't be read
    and for a key of the wrong kind.
    """
    _read(host, key, MAX_KEY, "key")
    _read(host, path, MAX_SIGNATURE, "signature")
    seen = look(host, folder)
    try:
        files = _files(host, folder, path)
    except ProblemFoundError as error:
        files, links = {}, [error.message.removeprefix(f"{folder}/")]
    else:
        links = []
    answer = _ask(host, folder, files, {"do": "check", "key": key, "signature": path}, path)
    signed, problems = answer["signed"], answer["problems"]
    told = [*links, *(printable(str(line), 400) for line in _list(problems))]
    if isinstance(signed, list):
        left = sorted(files.keys() - {*signed})
        told += [f"{printable(name)}: the signature does not speak of it" for name in left]
    if answer["holds"] is not True and not told:
        told = [_CHANGED]
    count = len(signed) if isinstance(signed, list) else None
    return Check(folder, path, str(answer["key"]), count, tuple(told), seen)


def _ask(
    host: Host, folder: str, files: dict[str, int], request: Message, signature: str
) -> Message:
    """Return the worker's answer. Raises BadInputError where it refuses a file."""
    inside = _inside(folder, signature)
    ignore = [manifests.STAT_NAME, *([inside] if inside is not None else [])]
    limit = _BASE_SECONDS + sum(files.values()) / _SLOW_RATE
    real = os.path.realpath(folder)  # the library refuses a link, on the way to the folder too
    answer = host.processes.worker(
        "signing", {**request, "folder": real, "ignore": ignore}, timeout=limit
    )
    if "refused" in answer:
        raise BadInputError(
            f"{answer['about']}: {printable(str(answer['refused']), 400)}",
            "Look at that file, or name another; docs/signing.md says which keys do.",
        )
    return answer


def _files(host: Host, folder: str, signature: str) -> dict[str, int]:
    """Return the files that a signature must speak of, with their sizes.

    Raises ProblemFoundError for a link or a device: their content is not the folder's.
    """
    found = host.files.stat(folder, follow=True)
    if found is None or found.kind != "folder":
        raise BadInputError(
            f"{printable(folder)}: is no folder, and a signature is of a whole one",
            "Name the folder that holds the file.",
        )
    left_out = {manifests.STAT_NAME, _inside(folder, signature)}
    files = {}
    for name, stat in host.files.walk(folder):
        if stat.kind != "file":
            raise ProblemFoundError(
                f"{folder}/{printable(name)}: {stat.what}, and a signature speaks of files alone",
                "Remove it, or put the file itself in its place.",
            )
        if name not in left_out:
            files[name] = stat.size
    return files


def _inside(folder: str, path: str) -> str | None:
    """Return the path below the folder, None where it lies elsewhere."""
    real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    base = os.path.realpath(folder).rstrip("/")
    return real.removeprefix(f"{base}/") if real.startswith(f"{base}/") else None


def _read(host: Host, path: str, limit: int, what: str) -> bytes:
    """Return a file of the user's. Raises BadInputError where it can't be read, or is too long."""
    remedy = f"Name the file of a {what}."
    try:
        with host.files.open_read(path) as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadInputError(f"{printable(path)}: {reason}", remedy) from error
    if len(data) > limit:
        raise BadInputError(f"{printable(path)}: longer than a {what} is", remedy)
    return data


def _is_signature(host: Host, path: str) -> bool:
    try:
        found = json.loads(_read(host, path, MAX_SIGNATURE, "signature"))
    except (LocalOpusError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and "dsseEnvelope" in found


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
