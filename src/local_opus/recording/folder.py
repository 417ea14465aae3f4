"""The folder of a recording: empty before, whole after, and nothing of it left by an error."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from contextlib import suppress

from local_opus.errors import BadInputError, LocalOpusError
from local_opus.host import Host

#: What the name of the folder itself can be at fault for.
_BAD_NAME = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP,
             errno.ENAMETOOLONG, errno.EINVAL}  # fmt: skip
_REMEDY = "Name a folder that is empty, or not there yet."


def check(host: Host, path: str) -> None:
    """Raise BadInputError unless ``path`` is an empty folder, or can become one."""
    try:
        found = host.files.stat(path, follow=True)
        if found is None:
            _check_new(host, path)
        elif found.kind != "folder":
            raise BadInputError(f"{path}: {found.what} is there", _REMEDY)
        elif host.files.list(path):
            raise BadInputError(f"{path}: the folder is not empty", _REMEDY)
    except OSError as error:
        raise _told(error, path) from error


def _check_new(host: Host, path: str) -> None:
    if host.files.stat(path) is not None:
        raise BadInputError(f"{path}: a link to nothing is there", _REMEDY)
    parent = path.rpartition("/")[0] or "/"
    above = host.files.stat(parent, follow=True)
    if above is None:
        raise BadInputError(f"{parent}: there is no such folder", "Make it first.")
    if above.kind != "folder":
        raise BadInputError(f"{parent}: {above.what}, and no folder", _REMEDY)


def write(host: Host, path: str, texts: Mapping[str, str]) -> None:
    """Write the files into the folder; after an error, take back what was written.

    Raises BadInputError where the folder can't be written to, LocalOpusError for other errors.
    """
    made = False
    try:
        if host.files.stat(path, follow=True) is None:
            host.files.make_folder(path)
            made = True
        for name, text in texts.items():
            host.files.write_atomic(f"{path}/{name}", text.encode())
    except BaseException as error:
        _take_back(host, path, texts, made=made)
        if isinstance(error, OSError):
            raise _told(error, path) from error
        raise


def _take_back(host: Host, path: str, texts: Mapping[str, str], *, made: bool) -> None:
    for name in texts:
        with suppress(OSError):
            host.files.discard(f"{path}/{name}")
    if made:
        with suppress(OSError):
            host.files.remove_folder(path)


def _told(error: OSError, path: str) -> LocalOpusError:
    words = (error.strerror or str(error)).lower()
    if error.errno in _BAD_NAME:
        return BadInputError(f"{path}: {words}", "Name a folder that this user can write to.")
    return LocalOpusError(f"{path}: {words}", "Nothing was left there; look at that file system.")
