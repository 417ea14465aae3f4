"""Whether the installed environment holds what its lock says, and OpenVINO works in it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from shlex import quote

from packaging.markers import Marker

from local_opus import resources
from local_opus.checks.base import (
    SECONDS_WITH_FACTS,
    Answer,
    Check,
    Group,
    NotApplicableError,
    advise,
    failed,
    passed,
)
from local_opus.checks.context import Context
from local_opus.restoring import install_command
from local_opus.values import CheckState

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)\s*(?:;\s*([^\\]+?))?\s*\\?$", re.MULTILINE)
_OPENVINO = "openvino"
_NAMED = 3


@dataclass(frozen=True)
class Pin:
    """One package of a lock."""

    name: str
    version: str


def ask(context: Context) -> Answer:
    """Compare the packages with the lock, and take OpenVINO's own word."""
    made = context.environment()
    host, again = context.host, install_command(context.history())
    fix = advise("Move it away and install again; it is then made anew.",
                 f"mv {quote(made.folder)} {quote(made.folder)}.old", again)  # fmt: skip
    site = f"{made.folder}/lib/python{made.python}/site-packages"
    if host.files.stat(f"{made.folder}/bin/python", follow=True) is None:
        return failed(f"{made.folder}/bin/python: missing, or leads nowhere", fix)
    if host.files.stat(site) is None:
        return failed(f"{site}: missing", fix)
    there = _there(host.files.list(site))
    pins = _pins(made.lock, made.lock_sha256)
    wrong = [
        f"{pin.name} {there.get(_normal(pin.name), 'is missing')}, the lock says {pin.version}"
        for pin in pins
        if there.get(_normal(pin.name)) != pin.version
    ]
    if wrong:
        return failed(f"{len(wrong)} of {len(pins)} packages: {wrong[0]}", fix,
                      details=wrong[:_NAMED])  # fmt: skip
    said = f"{len(pins)} packages as {made.lock} pins them" if pins else "of another version's lock"
    if _OPENVINO not in there:
        return passed(f"{said}; without OpenVINO, as planned")
    try:
        openvino = context.facts().openvino
    except NotApplicableError as reason:
        return passed(f"{said}; OpenVINO not asked: {reason}")
    if openvino.version is None:
        return failed(f"OpenVINO does not answer: {openvino.problem}", fix)
    if not openvino.version.startswith(there[_OPENVINO]):
        return failed(
            f"OpenVINO says {openvino.version}, and its package is {there[_OPENVINO]}", fix
        )
    return passed(f"{said}; OpenVINO {openvino.version.partition('-')[0]} answers")


def _there(names: list[str]) -> dict[str, str]:
    found = {}
    for name in names:
        stem = name.removesuffix(".dist-info")
        if stem != name:
            package, _, version = stem.partition("-")
            found[_normal(package)] = version
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _pins(lock: str, sha256: str) -> list[Pin]:
    """Return the packages of a lock that this machine takes; none where it is another's lock."""
    if lock not in resources.names("locks"):
        return []
    text = resources.read("locks", lock)
    if hashlib.sha256(text.encode()).hexdigest() != sha256:
        return []
    return [
        Pin(name, version)
        for name, version, marker in _PIN.findall(text)
        if not marker or Marker(marker).evaluate()
    ]


CHECK = Check("environment", "environment", Group.INSTALL, ask, SECONDS_WITH_FACTS, CheckState.FAIL)
