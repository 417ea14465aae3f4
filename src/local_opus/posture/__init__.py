"""How the offline posture stands: each part of it applied, not applicable or drifted."""

from __future__ import annotations

from pydantic import JsonValue

from local_opus import node_units, server_config
from local_opus.actions.create_environment import CreateEnvironment
from local_opus.errors import LocalOpusError
from local_opus.history import History
from local_opus.host import Host
from local_opus.locations import SOCKET_UNIT, Locations
from local_opus.posture.part import Part, State
from local_opus.posture.units import egress, processes, services
from local_opus.validation import loopback
from local_opus.values.posture import NAME, VARIABLES, assignments

__all__ = ["CONSENT", "Part", "State", "consent_told", "parts", "told", "without_server"]

#: Where Intel's telemetry package keeps whether the user agreed (openvino_telemetry 2025.2).
CONSENT = "intel/openvino_telemetry"


def parts(host: Host, locations: Locations, history: History) -> tuple[Part, ...]:
    """Look at each part. Raises PermissionError where the config is closed to this user."""
    units = services(host, locations, history)
    return (
        _variables(host, locations, history),
        processes(host, locations, units, offline=_is_wanted(history)),
        egress(host, locations, history, units),
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


def _is_wanted(history: History) -> bool:
    return any(entry.id == "posture" and entry.active for entry in history.entries)


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
    said = dict(assignments(text))
    wrong = [
        f"{name} is {said.get(name) or 'not set'}"
        for name, value in VARIABLES.items()
        if said.get(name) != value
    ]
    if wrong:
        return Part("variables", State.DRIFTED, f"{path}: {', '.join(wrong)}")
    return Part("variables", State.APPLIED, f"{path}: {', '.join(VARIABLES)}")


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
    opened = node_units.socket_addresses(host, locations)
    try:
        listens = opened or [server_config.listens(host.files.read_text, locations.server_config)]
    except LocalOpusError as error:
        return Part("loopback", State.DRIFTED, error.message)
    where = SOCKET_UNIT if opened else locations.server_config
    for address, port in listens:
        try:
            loopback(address)
        except ValueError as error:
            return Part("loopback", State.DRIFTED, f"{where}: {address}:{port}: {error}")
    said = ", ".join(f"{address}:{port}" for address, port in listens)
    return Part("loopback", State.APPLIED, f"{where}: {said}")


def without_server(history: History) -> str | None:
    """Say so where what is installed has no server; None: it has one, or nothing is installed."""
    entries = [entry for entry in history.entries if entry.active]
    if not history.finished or any(entry.id in {"server", "config:server"} for entry in entries):
        return None
    locks = [str(entry.params["lock"]) for entry in entries if entry.kind == CreateEnvironment.kind]
    what = "no server" if any("openvino" in lock for lock in locks) else "no local component"
    return f"none: the profile {history.last_run.get('profile')} installs {what}"
