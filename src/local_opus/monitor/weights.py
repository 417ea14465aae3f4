"""Whether the weights are still those that were verified, at the price of a stat each.

What the kernel said of every file when all were last proven is remembered. Only where a file is
another one now is its content read, once: a bad one stays bad until it changes again.
"""

from __future__ import annotations

import hashlib
import json

from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.monitor.sight import Weights
from local_opus.values import Value, Verdict
from local_opus.weights import manifest
from local_opus.weights.seen import Seen
from local_opus.weights.seen import look as look_at

#: What a file is that is no longer what the manifest says; the rest is told as a warning.
_CHANGED = (Verdict.CORRUPT, Verdict.TRUNCATED, Verdict.PLACEHOLDER, Verdict.UNSAFE)


class Remembered(Value):
    """What is known of the files that ``seen`` is a digest of, and of the server that loaded them.

    ``manifest_sha256`` is that of the manifest when process ``pid`` was first met with ``folder``:
    a reload may give it another.
    """

    seen: str
    found: Weights
    manifest_sha256: str | None = None
    pid: int | None = None
    folder: str | None = None


def check(
    host: Host, folder: str, pid: int | None, before: Remembered | None
) -> tuple[Weights, Remembered | None]:
    """Return whether the files are as verified, and what to remember for the next look."""
    try:
        seen = _digest(look_at(host, folder))
        digest = _manifest(host, folder)
    except PermissionError:
        return Weights(skipped="the weights are closed to this user"), before
    except OSError as error:
        return Weights(problem=f"{folder}: {(error.strerror or str(error)).lower()}"), before
    same = before is not None and (before.pid, before.folder) == (pid, folder)
    known = before if same else None
    first = known.manifest_sha256 if known is not None else digest
    found = before.found if before is not None and before.seen == seen else _verify(host, folder)
    remembered = Remembered(seen=seen, found=found, manifest_sha256=first, pid=pid, folder=folder)
    if found.problem is None and (digest is None or digest != first):
        what = "missing" if digest is None else "changed since it was verified"
        return found.model_copy(update={"problem": f"{folder}/{manifest.NAME}: {what}"}), remembered
    return found, remembered


def _digest(seen: Seen) -> str:
    stamps = {path: [*stamp.model_dump().values()] for path, stamp in seen.items()}
    return hashlib.sha256(json.dumps(stamps, sort_keys=True).encode()).hexdigest()


def _manifest(host: Host, folder: str) -> str | None:
    try:
        data = host.files.read_bytes(f"{folder}/{manifest.NAME}")
    except FileNotFoundError:
        return None
    return hashlib.sha256(data).hexdigest()


def _verify(host: Host, folder: str) -> Weights:
    """Read what changed; as a server does before it loads."""
    from local_opus.weights.verify import verify_folder  # noqa: PLC0415 - rarely needed, and large

    try:
        verdicts = verify_folder(host, folder, quick=True)
    except LocalOpusError as error:
        return Weights(problem=error.message)
    changed = [one for one in verdicts if one.verdict in _CHANGED]
    missing = [one for one in verdicts if one.verdict is Verdict.MISSING]
    other = [one for one in verdicts if one.verdict in {Verdict.UNEXPECTED, Verdict.UNPROVEN}]
    problem = warning = None
    if changed:
        problem = f"{folder}/{changed[0].path}: changed since it was verified"
    elif missing or not verdicts:
        problem = f"{folder}/{missing[0].path if missing else manifest.NAME}: missing"
    elif other:
        warning = f"{folder}/{other[0].path}: {other[0].verdict.value}"
    real = sum(one.verdict is Verdict.REAL for one in verdicts)
    return Weights(files=real, problem=problem, warning=warning)
