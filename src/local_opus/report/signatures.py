"""Signatures of models as lines for people and as documents for programs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from pydantic import JsonValue

from local_opus.signing import Check, Signed
from local_opus.weights.structure import printable

#: Problems that a person is shown; JSON has them all.
MAX_LINES = 50


def signed_lines(signed: Signed) -> Iterator[str]:
    """Yield what was made, and how others check it without this program."""
    shown = printable(signed.signature, 500)
    yield f"{shown}: signed, {_files(len(signed.files))}, key {signed.key}"
    words = ["model_signing", "verify", "key", signed.folder, "--signature", signed.signature]
    git = " --no-ignore-git-paths" if signed.holds_git_files else ""
    yield f"  check it elsewhere: {shlex.join(words)}{git} --public_key FILE"


def check_lines(check: Check) -> Iterator[str]:
    """Yield one line that says whether a signature holds, and a line for each problem."""
    shown = printable(check.signature, 500)
    if check.holds:
        yield f"signature {shown}: holds, {_files(check.signed or 0)}, key {check.key}"
        return
    yield f"signature {shown}: does not hold, key {check.key}"
    yield from (f"  {line}" for line in check.problems[:MAX_LINES])
    if len(check.problems) > MAX_LINES:
        yield f"  ... and {len(check.problems) - MAX_LINES} more (see --json)"


def signed_document(signed: Signed) -> dict[str, JsonValue]:
    """Return what ``models sign --json`` prints of one folder."""
    return {
        "folder": signed.folder,
        "signature": signed.signature,
        "key_sha256": signed.key,
        "files": list(signed.files),
    }


def check_document(check: Check) -> dict[str, JsonValue]:
    """Return what ``verify --json`` prints of one signature; ``signed`` null: not by this key."""
    return {
        "folder": check.folder,
        "signature": check.signature,
        "key_sha256": check.key,
        "holds": check.holds,
        "signed": check.signed,
        "problems": list(check.problems),
    }


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"
