"""How the offline posture stands: each part of it applied, not applicable or drifted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import JsonValue

from local_opus import node, server_config
from local_opus.actions.create_environment import CreateEnvironment
from local_opus.actions.install_unit import InstallUnit
from local_opus.errors import LocalOpusError
from local_opus.history import History
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.planner.posture import NAME, VARIABLES
from local_opus.sandbox import drop_ins
from local_opus.values import Scope

#: Where Intel's telemetry package keeps whether the user agreed (openvino_telemetry 2025.2).
CONSENT = "intel/openvino_telemetry"
#: What systemd makes of IPAddressDeny=any and IPAddressAllow=localhost.
_ANY = {"0.0.0.0/0", "::/0"}
_LOCALHOST = {"127.0.0.0/8", "::1/128"}
_PROPERTIES = ("PrivateNetwork", "IPAddressDeny", "IPAddressAllow", "EnvironmentFiles",
               "UnsetEnvironment")  # fmt: skip
_OF_UNIT = {"IPAddressDeny", "IPAddressAllow", "PrivateNetwork"}
_OF_ENVIRONMENT = {"Environment", "EnvironmentFile", "UnsetEnvironment"}


class State(StrEnum):
    """How a part stands."""

    APPLIED = "applied"
    NOT_APPLICABLE = "not applicable"
    DRIFTED = "drifted"


@dataclass(frozen=True)
class Part:
    """One part of the posture, how it stands, and the evidence in one line."""

    id: str
    state: State
    evidence: str


def parts(host: Host, locations: Locations, history: History) -> tuple[Part, ...]:
    """Look at each part. Raises PermissionError where the config is closed to this user."""
    units = _units(host, locations, history)
    return (
        _variables(host, locations, history),
        _processes(host, locations, units, offline=_is_wanted(history)),
        _egress(host, locations, history, units),
        _telemetry(host, history),
        _loopback(host, locations, history),
    )


def told(host: Host, locations: Locations, history: History) -> dict[str, JsonValue]:
    """Return what ``status`` says: a line, a line for each part, and the parts as data."""
    try:
        found = parts(host, locations, history)
    except PermissionError:
        return {"verdict": "not known: the config is closed to this user", "parts": []}
    count = {state: sum(one.state is state for one in found) for state in State}
    words = ", ".join(f"{number} {state}" for state, number in count.items() if number)
    return {
        "verdict": words,
        "details": [f"{one.id}: {one.state}: {one.evidence}" for one in found],
        "parts": [
            {"id": one.id, "state": one.state.value, "evidence": one.evidence} for one in found
        ],
    }


def environment(host: Host, locations: Locations) -> dict[str, str]:
    """Return the variables of the file, for a server that no systemd starts; none without it."""
    try:
        text = host.files.read_text(f"{locations.config}/{NAME}")
    except FileNotFoundError:
        return {}
    return {name: value for name, value in _assignments(text) if name in VARIABLES}


def _is_wanted(history: History) -> bool:
    return any(entry.id == "posture" and entry.active for entry in history.entries)


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith(("#", ";")):
            yield name.strip(), value.strip().strip("\"'")


def _variables(host: Host, locations: Locations, history: History) -> Part:
    path = f"{locations.config}/{NAME}"
    if not _is_wanted(history):
        return Part("variables", State.NOT_APPLICABLE, "the profile has no offline posture")
    try:
        text = host.files.read_text(path)
    except FileNotFoundError:
        return Part("variables", State.DRIFTED, f"{path}: missing")
    except PermissionError:
        raise
    except OSError as error:
        return Part("variables", State.DRIFTED, f"{path}: {error.strerror}")
    said = dict(_assignments(text))
    wrong = [
        f"{name} is {said.get(name) or 'not set'}"
        for name, value in VARIABLES.items()
        if said.get(name) != value
    ]
    if wrong:
        return Part("variables", State.DRIFTED, f"{path}: {', '.join(wrong)}")
    return Part("variables", State.APPLIED, f"{path}: {', '.join(VARIABLES)}")


def _units(host: Host, locations: Locations, history: History) -> dict[str, dict[str, str]] | None:
    """Return the properties of each service of the install; None: no systemd runs them here."""
    names = [
        str(entry.params["path"]).rpartition("/")[2]
        for entry in history.entries
        if entry.kind == InstallUnit.kind and entry.active
    ]
    if host.is_image or not host.services.running(locations.scope):
        return None
    return {
        name: host.services.properties(locations.scope, name, *_PROPERTIES)
        for name in names
        if name.endswith(".service")
    }


def _processes(
    host: Host,
    locations: Locations,
    units: Mapping[str, Mapping[str, str]] | None,
    *,
    offline: bool,
) -> Part:
    """The variables where they count: in what the units get, and in the server that runs."""
    if not offline:
        return Part("processes", State.NOT_APPLICABLE, "the profile has no offline posture")
    wrong = []
    for name, found in (units or {}).items():
        if NAME not in found["EnvironmentFiles"]:
            wrong.append(f"{name} does not read {NAME}")
        dropped = VARIABLES.keys() & set(found["UnsetEnvironment"].split())
        wrong += [f"{name} drops {one}" for one in sorted(dropped)]
        wrong += _by_drop_in(host, locations, name, _OF_ENVIRONMENT) if dropped else []
    running = node.serving(host, locations)
    seen = _environ(host, running.pid) if running is not None else None
    if seen is not None:
        wrong += [
            f"the server runs with {name} {seen.get(name) or 'not set'}"
            for name, value in VARIABLES.items()
            if seen.get(name) != value
        ]
    if wrong:
        return Part("processes", State.DRIFTED, "; ".join(wrong))
    if not units and running is None:
        return Part("processes", State.APPLIED, "the command's own; nothing else of it runs here")
    by = f"{len(units)} units read {NAME}" if units else "no systemd runs here"
    own = ", and the server that runs has the variables" if seen is not None else ""
    return Part("processes", State.APPLIED, f"{by}{own}")


def _environ(host: Host, pid: int) -> dict[str, str] | None:
    """Return a process's environment as it began (proc_pid_environ(5)); None: closed, or gone."""
    try:
        words = host.files.read_bytes(f"/proc/{pid}/environ").split(b"\0")
    except OSError:
        return None
    pairs = (word.decode(errors="replace").partition("=") for word in words if word)
    return {name: value for name, _, value in pairs}


def _egress(
    host: Host,
    locations: Locations,
    history: History,
    units: Mapping[str, Mapping[str, str]] | None,
) -> Part:
    if not any(entry.kind == InstallUnit.kind and entry.active for entry in history.entries):
        return Part("egress", State.NOT_APPLICABLE, "the profile has no unit")
    if units is None:
        return Part("egress", State.NOT_APPLICABLE, "no systemd runs here, so nothing enforces it")
    closed, left = [], []
    for name, found in units.items():
        if found["PrivateNetwork"] == "yes":
            closed.append(f"{name} has no network")
        elif _denies(found):
            closed.append(f"{name} reaches this machine alone")
        else:
            left.append(name)
    drifted = []
    for name in left:
        by = _by_drop_in(host, locations, name, _OF_UNIT)
        if by or locations.scope is Scope.SYSTEM:
            drifted.append(f"{name} may reach other hosts{': ' if by else ''}{', '.join(by)}")
    if drifted:
        return Part("egress", State.DRIFTED, "; ".join(drifted))
    if left:
        others = "".join(f"; {one}" for one in closed)
        return Part(
            "egress", State.NOT_APPLICABLE,
            f"{', '.join(left)}: this user's systemd can't keep it from other hosts{others}",
        )  # fmt: skip
    return Part("egress", State.APPLIED, "; ".join(closed))


def _denies(found: Mapping[str, str]) -> bool:
    denied, allowed = (set(found[name].split()) for name in ("IPAddressDeny", "IPAddressAllow"))
    return denied >= _ANY and allowed <= _LOCALHOST


def _by_drop_in(host: Host, locations: Locations, unit: str, names: set[str]) -> list[str]:
    """Return the lines of drop-ins that set one of these, with their files."""
    try:
        lines = drop_ins.read(host, locations.scope, unit).lines
    except (LocalOpusError, OSError):
        return []
    return [str(line) for line in lines if not line.is_own and line.name in names]


def _telemetry(host: Host, history: History) -> Part:
    locks = [
        str(entry.params.get("lock"))
        for entry in history.entries
        if entry.kind == CreateEnvironment.kind and entry.active
    ]
    consent = consent_told(host)
    if not any("openvino" in lock or "server" in lock for lock in locks):
        return Part("telemetry", State.NOT_APPLICABLE, f"there is no OpenVINO here{consent}")
    return Part("telemetry", State.APPLIED, f"openvino_telemetry is never imported{consent}")


def consent_told(host: Host) -> str:
    """Say what the user told Intel's own tools; here nothing reads it."""
    home = host.environ.get("HOME", "")
    if not home.startswith("/"):
        return ""
    path = f"{home.rstrip('/')}/{CONSENT}"
    try:
        found = host.files.stat(path)
        word = host.files.read_text(path, 16).strip() if found is not None else None
    except OSError:
        return ""
    words = {"1": "agreed", "0": "declined"}
    return "" if word is None else f"; ~/{CONSENT} says {words.get(word, 'nothing')}"


def _loopback(host: Host, locations: Locations, history: History) -> Part:
    if not any(entry.id == "config:server" and entry.active for entry in history.entries):
        return Part("loopback", State.NOT_APPLICABLE, "the profile has no server")
    try:
        address, port = server_config.listens(host.files.read_text, locations.server_config)
    except LocalOpusError as error:
        return Part("loopback", State.DRIFTED, error.message)
    return Part("loopback", State.APPLIED, f"{locations.server_config}: {address}:{port}")


def without_server(history: History) -> str | None:
    """Say so where what is installed has no server; None: it has one, or nothing is installed."""
    entries = [entry for entry in history.entries if entry.active]
    if not history.finished or any(entry.id in {"server", "config:server"} for entry in entries):
        return None
    locks = [str(entry.params["lock"]) for entry in entries if entry.kind == CreateEnvironment.kind]
    what = "no server" if any("openvino" in lock for lock in locks) else "no local component"
    return f"none: the profile {history.last_run.get('profile')} installs {what}"
