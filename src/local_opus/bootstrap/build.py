"""Has the checkout's environment built by one program at a time, and removes old ones."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from local_opus.bootstrap import Environment, distrust
from local_opus.bootstrap.steps import Build, Screen, remove
from local_opus.errors import BadInputError, MachineCannotError


def make(
    checkout: str,
    kind: str,
    candidates: Sequence[Environment],
    environ: Mapping[str, str],
    screen: Screen,
) -> tuple[Environment, int]:
    """Build the first candidate whose place allows it; return it and what holds it.

    When another program builds the same one, wait for it and use what it made. Raises
    LocalOpusError with everything that stood in the way.
    """
    if "\n" in checkout:
        raise BadInputError(
            f"{checkout!r}: a line break in the path", "Move the checkout to another folder"
        )
    reasons = []
    with _umask(0o022):
        for candidate in candidates:
            try:
                descriptor = _claim(candidate, screen)
            except OSError as error:
                reasons.append(f"{candidate.base}: {error.strerror}")
                continue
            if isinstance(descriptor, str):
                reasons.append(descriptor)
                continue
            try:
                if not candidate.is_usable():
                    Build(checkout, kind, candidate, environ, screen, descriptor).run()
                    _prune(candidate)
            except BaseException:
                os.close(descriptor)
                raise
            # Going from alone to shared may let a remover in between; then start again.
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if candidate.holds(descriptor) and candidate.is_usable():
                return candidate, descriptor
            os.close(descriptor)
            return make(checkout, kind, candidates, environ, screen)
    raise MachineCannotError(
        f"no folder for the environment: {'; '.join(reasons)}",
        "Set XDG_CACHE_HOME to a folder that is yours and writable, and run it again",
    )


def _claim(environment: Environment, screen: Screen) -> int | str:
    """Return a descriptor that locks the environment for us alone, or why its place won't do."""
    reason = distrust(environment.base)
    if reason is None:
        os.makedirs(environment.base, exist_ok=True)
        reason = distrust(environment.base)  # somebody else may have made it just now
    if reason is not None:
        return reason
    while True:
        descriptor = os.open(
            environment.lock_file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            screen.note("Another run is setting up the environment; waiting for it ...")
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except BaseException:
                os.close(descriptor)
                raise
        if environment.holds(descriptor):
            return descriptor
        os.close(descriptor)


def _prune(kept: Environment) -> None:
    """Remove other environments of the same kind and Python that no program uses."""
    prefix = kept.name.rpartition("-")[0] + "-"
    stems = {os.path.splitext(entry)[0] for entry in os.listdir(kept.base)}
    for stem in stems:
        if stem == kept.name or not stem.startswith(prefix):
            continue
        other = Environment(kept.base, stem)
        try:
            descriptor = os.open(
                other.lock_file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644
            )
        except OSError:  # not a lock file of ours: leave it and what belongs to it
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # in use
            continue
        else:
            for path in (other.folder, other.log, other.lock_file):
                remove(path)
        finally:
            os.close(descriptor)


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
