"""Finds the checkout's environment, or has it built: what runs before any package is there.

Standard library alone, and little of it, because every start of ``./installer`` passes here; what
only a build needs is imported then. This room does not go through ``host``, which needs packages.

An environment is a folder ``<kind>-<python>-<digest>``; beside it lie a lock file of the same name,
which running programs hold shared and builders hold alone, and the log of its build. Its stamp is
written last: a folder without one is half-built.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import sys

TYPE_CHECKING = False  # what typing calls so; importing typing costs time on every start
if TYPE_CHECKING:
    from collections.abc import Mapping

    from local_opus.bootstrap.steps import Screen

STAMP = "complete"
_OF_PYTHON = frozenset({"VIRTUAL_ENV", "__PYVENV_LAUNCHER__"})
_ROOTS_CACHE = "/var/cache/local-opus"
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Environment:
    """One environment of one lock at one place, there or not."""

    def __init__(self, base: str, name: str) -> None:
        self.base = base
        self.name = name
        self.folder = os.path.join(base, name)
        self.python = os.path.join(self.folder, "bin", "python")
        self.lock_file = self.folder + ".lock"
        self.log = self.folder + ".log"

    def is_usable(self) -> bool:
        """Tell whether it was built to the end and nobody else can write it."""
        try:
            found = os.lstat(self.folder)
            stamp = os.lstat(os.path.join(self.folder, STAMP))
        except OSError:
            return False
        # Root's folders are closed to everybody else, so what lies below needs no second look.
        foreign = 0o077 if os.geteuid() == 0 else stat.S_IWOTH
        return (
            stat.S_ISDIR(found.st_mode)
            and stat.S_ISREG(stamp.st_mode)
            and found.st_uid in {0, os.geteuid()}
            and not found.st_mode & foreign
        )

    def use(self) -> int | None:
        """Return a descriptor that holds the environment while it is open; None if unusable."""
        try:
            descriptor = os.open(self.lock_file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:  # somebody builds or removes it
            os.close(descriptor)
            return None
        if self.holds(descriptor) and self.is_usable():
            return descriptor
        os.close(descriptor)
        return None

    def holds(self, descriptor: int) -> bool:
        """Tell whether ``descriptor`` is still the lock file, not one that was removed since."""
        try:
            return os.path.samestat(os.fstat(descriptor), os.lstat(self.lock_file))
        except OSError:
            return False


def digest(lock: bytes, *identity: str) -> str:
    """Return 16 hex digits that change with the lock's bytes or with any part of ``identity``."""
    state = hashlib.sha256(lock)
    for part in identity:
        state.update(b"\0" + os.fsencode(part))
    return state.hexdigest()[:16]


def environment_name(checkout: str, kind: str) -> str:
    """Return the folder's name for a lock, this Python and this checkout.

    The environment refers to the interpreter and to the checkout's ``src`` by their paths, so both
    are part of its identity. Raises OSError when the lock can't be read.
    """
    with open(lock_path(checkout, kind), "rb") as stream:
        lock = stream.read()
    tag = sys.implementation.cache_tag or sys.implementation.name
    marks = digest(lock, tag + sys.abiflags, os.path.realpath(sys.executable), checkout)
    return f"{kind}-{tag}-{marks}"


def lock_path(checkout: str, kind: str) -> str:
    """Return the path of the lock of ``base``, ``openvino``, ``server`` or ``test``."""
    middle = "" if kind == "base" else f"-{kind}"
    return os.path.join(checkout, f"requirements{middle}.lock")


def places(checkout: str, environ: Mapping[str, str]) -> list[str]:
    """Return the folders where this user may keep environments of a checkout, best first."""
    cache = environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):  # the specification says: ignore a relative one
        cache = os.path.join(os.path.expanduser("~"), ".cache")
    own = [os.path.join(os.path.realpath(cache), "local-opus")]
    if os.geteuid() == 0:
        own.append(_ROOTS_CACHE)
    which = digest(b"", checkout)
    return [
        os.path.join(checkout, ".env"),
        *(os.path.join(cache, "env", which) for cache in own if os.path.isabs(cache)),
    ]


def distrust(base: str) -> str | None:
    """Return why environments in ``base`` must not be run, or None; it need not exist yet.

    Nothing is run from below a link or a folder that another user owns or everybody can write.
    Root asks this of every folder on the way too: who can rename one of them can exchange all that
    lies below. (A sticky folder such as /tmp is safe to pass: there only the owner renames.)
    """
    user = os.geteuid()
    way = base
    while True:
        try:
            found = os.lstat(way)
        except FileNotFoundError:
            pass
        except OSError as error:
            return f"{way}: {error.strerror}"
        else:
            passing = way != base and found.st_mode & stat.S_ISVTX
            if not stat.S_ISDIR(found.st_mode):
                return f"{way} is not a folder"
            if found.st_uid not in {0, user}:
                return f"{way} belongs to another user"
            if found.st_mode & (_OTHERS_WRITE if user == 0 else stat.S_IWOTH) and not passing:
                return f"{way} can be written by others"
            if user != 0:
                return None
        if way == os.sep:
            return None
        way = os.path.dirname(way)


def ready(
    checkout: str, kind: str, environ: Mapping[str, str], screen: Screen
) -> tuple[Environment, int]:
    """Return an environment of the checkout's lock ``kind``, built if need be.

    The descriptor that comes with it keeps it from being removed; it is meant to be inherited by
    the program that runs there. Raises LocalOpusError when no environment can be made.
    """
    try:
        name = environment_name(checkout, kind)
    except OSError as error:
        from local_opus.errors import BadInputError  # noqa: PLC0415 - see below

        raise BadInputError(
            f"{error.filename}: {error.strerror}", "Run it from a complete checkout"
        ) from error
    bases = places(checkout, environ)
    for base in bases:
        environment = Environment(base, name)
        if environment.is_usable() and distrust(base) is None:
            descriptor = environment.use()
            if descriptor is not None:
                return environment, descriptor
    from local_opus.bootstrap import build  # noqa: PLC0415 - only a first start pays for it

    return build.make(checkout, kind, [Environment(base, name) for base in bases], environ, screen)


def without_python_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return ``environ`` without what points Python at other modules or another environment."""
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith("PYTHON") and name not in _OF_PYTHON
    }


def enter(
    environment: Environment, descriptor: int, arguments: list[str], environ: Mapping[str, str]
) -> None:
    """Become the environment's Python, isolated, with ``arguments``. Raises OSError."""
    fcntl.fcntl(descriptor, fcntl.F_SETFD, 0)  # inherited: it guards the program's environment
    os.execve(  # noqa: S606 - a program of ours, by its path
        environment.python,
        [environment.python, "-I", *arguments],
        without_python_settings(environ),
    )
