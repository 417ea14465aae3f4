"""An upgrade: the install that is there, made anew by this version of the program.

What was chosen then (profile, model, device, port) is read from the receipt. The new environment is
made beside the old, the new server is tried on another port while the old one serves, and only then
do configs, unit and command change. A failure anywhere leads back to the old version.
"""

from __future__ import annotations

from collections.abc import Mapping

from packaging.version import InvalidVersion, Version
from pydantic import JsonValue

from local_opus import __version__, install, profiles, server_config, whereabouts
from local_opus.actions.create_environment import CreateEnvironment
from local_opus.devices import names, usable
from local_opus.errors import BadInputError, LocalOpusError, MachineCannotError
from local_opus.history import History
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.values import Device, HostFacts

#: Ports that are tried for the trial, from the one after the server's.
_TRIES = 100
_LAST_PORT = 65535


def installed(host: Host, locations: Locations) -> History:
    """Return what is installed. Raises LocalOpusError where nothing is."""
    history = whereabouts.receipt(host, locations).history
    # After an uninstall that left weights the folders that hold them are still listed.
    if not any(entry.kind == CreateEnvironment.kind for entry in history.entries):
        raise LocalOpusError(
            f"{locations.receipt}: nothing is installed in the scope {locations.scope.value}",
            "Run `install` instead; it makes the first one.",
        )
    return history


def require_newer(history: History, *, allow_downgrade: bool) -> None:
    """Raise BadInputError where the installed version is newer than this one."""
    was = history.last_run.get("program")
    try:
        older = was is not None and Version(__version__) < Version(str(was))
    except InvalidVersion:  # of a version that counts otherwise: nothing to compare
        older = False
    if older and not allow_downgrade:
        raise BadInputError(
            f"version {was} is installed, and this is {__version__}, an older one",
            "Run it from a newer checkout, or add --allow-downgrade.",
        )


def choose(host: Host, locations: Locations, facts: HostFacts, history: History) -> install.Choice:
    """Plan the upgrade; nothing is changed. Raises LocalOpusError as an install does."""
    run = history.last_run or history.run  # an interrupted run chose nothing yet
    file = run.get("profile_file")
    profile = _profile(host, str(file or run["profile"]))
    model, port = run.get("model"), run.get("port")
    if not isinstance(port, int) and profile.server.enabled:  # of a receipt that does not say
        port = server_config.port(host.files.read_text, locations.server_config)
    tune, linger = run.get("tune"), run.get("linger")
    at_port = port if isinstance(port, int) else profile.server.port
    return install.prepare(
        host,
        locations,
        profile,
        facts,
        model_id=str(model) if model else None,
        device=_device(facts, run),
        port=at_port,
        trial_port=_free_port(host, profile.server.host, at_port),
        profile_file=str(file) if file else None,
        tune=tune if isinstance(tune, bool) else None,
        linger=linger if isinstance(linger, bool) else None,
    )


def _device(facts: HostFacts, run: Mapping[str, JsonValue]) -> str | None:
    """Return the device that was asked for: by its name, or by its kind where that name is gone.

    None: the best was wanted, and what was chosen stays. Older versions wrote the kind alone that
    was chosen, and a card may have been put in or taken out since.
    """
    name, kind = run.get("device_asked", run.get("device_name")), run.get("device")
    if name is None and "device_asked" in run:
        return None
    if isinstance(name, str) and names.is_name(name) and usable.problem(facts, name) is None:
        return name
    return Device(str(kind)).value if kind else None


def _profile(host: Host, name: str) -> profiles.Profile:
    try:
        return profiles.load(name, host.files.read_text)
    except BadInputError as error:
        raise BadInputError(
            f"the profile that was installed: {error.message}",
            "Put the file back, or run `install --profile FILE` to choose another.",
            details=error.details,
        ) from error


def _free_port(host: Host, address: str, port: int) -> int:
    for one in range(port + 1, min(port + _TRIES, _LAST_PORT) + 1):
        if host.network.port_problem(address, one) is None:
            return one
    raise MachineCannotError(
        f"no free port above {port} to try the new server on", "End a program that holds one."
    )
