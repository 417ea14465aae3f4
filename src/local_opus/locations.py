"""Where an install lies on the machine, by scope. Pure: paths as seen inside the root."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from local_opus.errors import BadInputError
from local_opus.values import Scope

#: The static group that may read configs and weights.
GROUP = "local-opus"
UNIT = "local-opus.service"
#: The name that the server's unit had in versions before the node had more units than one.
FORMER_UNIT = "local-opus-server.service"
#: The folders of what the server writes, below /var/lib and /var/cache; no unit has them as a name.
SERVER_STATE = "local-opus-server"
#: The other units of a node: the socket that a server without a network is given, the whole system,
#: the machine's own tuning, the monitor, and what starts a sick server again.
SOCKET_UNIT = "local-opus.socket"
TARGET_UNIT = "local-opus.target"
#: Closes the socket of a server that has failed, so that no client starts it again.
FAILED_UNIT = "local-opus-failed.target"
TUNE_UNIT = "local-opus-tune.service"
MONITOR_UNIT = "local-opus-monitor.service"
MONITOR_TIMER = "local-opus-monitor.timer"
RECOVER_UNIT = "local-opus-recover.service"
#: The drop-in that gives the server its keys: an admin's own, with a higher number, outranks it.
KEYS_DROP_IN = "40-local-opus-keys.conf"
#: The unit of a new server while it is tried beside the old one.
TRIAL_UNIT = "local-opus-trial.service"


@dataclass(frozen=True)
class Locations:
    """The folders and files of one install."""

    scope: Scope
    #: Environments and the program.
    prefix: str
    #: Folder of the ``local-opus`` link.
    commands: str
    config: str
    #: Receipt and lock.
    state: str
    #: The store of weights.
    models: str
    units: str
    #: PID file of a server that runs without systemd.
    runtime: str
    logs: str
    #: The server's unit.
    unit: str = UNIT

    @property
    def trial(self) -> Locations:
        """Where a new server is tried while the old one serves."""
        return replace(
            self,
            config=f"{self.config}/trial",
            runtime=f"{self.runtime}/trial",
            logs=f"{self.logs}/trial",
            unit=TRIAL_UNIT,
        )

    @property
    def receipt(self) -> str:
        """The journal of the applied plan."""
        return f"{self.state}/receipt.jsonl"

    @property
    def lock(self) -> str:
        """Held while this install is changed."""
        return f"{self.state}/lock"

    @property
    def server_config(self) -> str:
        """The server's settings."""
        return f"{self.config}/server.json"

    @property
    def tuned(self) -> str:
        """What tuning chose, for the server to take."""
        return f"{self.config}/tuned.json"

    @property
    def machine(self) -> str:
        """What was measured of the machine's own settings, and what of them is to be set."""
        return f"{self.config}/machine.json"

    @property
    def machine_record(self) -> str:
        """What of the machine is set now, and what was there before; gone with a reboot, as it."""
        return f"{self.runtime}-tune/set.json"

    @property
    def machine_drop_in(self) -> str:
        """What the server's unit is given besides, as it was measured."""
        return f"{self.units}/{UNIT}.d/20-local-opus-machine.conf"

    @property
    def keys_file(self) -> str:
        """Whether the server wants a key."""
        return f"{self.config}/keys.json"

    @property
    def credentials(self) -> str:
        """The folder of keys: root's alone, or the user's."""
        return f"{self.state}/credentials"

    @property
    def own_catalog(self) -> str:
        """The models that the user pinned."""
        return f"{self.config}/models.toml"

    @property
    def pid_file(self) -> str:
        """PID and start time of a detached server."""
        return f"{self.runtime}/server.pid"

    @property
    def server_log(self) -> str:
        """What a detached server prints."""
        return f"{self.logs}/server.log"

    @property
    def roots(self) -> tuple[str, ...]:
        """The only folders that an install, and its way back, may touch."""
        return (
            self.prefix,
            self.config,
            self.state,
            self.models,
            self.units,
            self.runtime,
            self.logs,
            self.commands,
        )


def default_scope(euid: int) -> Scope:
    """Root installs for the system, anyone else for themselves."""
    return Scope.SYSTEM if euid == 0 else Scope.USER


def locate(scope: Scope, environ: Mapping[str, str]) -> Locations:
    """Return the locations of a scope; those of a user follow the XDG base directories.

    Raises BadInputError when the user's home is not known.
    """
    if scope is Scope.SYSTEM:
        return Locations(
            scope=scope,
            prefix="/opt/local-opus",
            commands="/usr/local/bin",
            config="/etc/local-opus",
            state="/var/lib/local-opus",
            models="/var/lib/local-opus/models",
            units="/etc/systemd/system",
            runtime="/run/local-opus",
            logs="/var/log/local-opus",
        )
    for variable in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        _require_text(variable, environ.get(variable, ""))
    home = environ.get("HOME", "")

    def folder(variable: str, below_home: str) -> str:
        # The XDG specification: a relative path is invalid and is ignored.
        given = environ.get(variable, "")
        if given.startswith("/"):
            return given.rstrip("/")
        if not home.startswith("/"):
            problem = f"{home!r} is not an absolute path" if home else "not set"
            raise BadInputError(
                f"HOME: {problem}, so there is no place for {variable}",
                f"Set HOME or {variable} to an absolute path.",
            )
        return f"{home.rstrip('/')}/{below_home}"

    data = folder("XDG_DATA_HOME", ".local/share")
    config = folder("XDG_CONFIG_HOME", ".config")
    state = folder("XDG_STATE_HOME", ".local/state")
    # ~/.local/bin has no variable of its own; it lies beside ~/.local/share.
    commands = f"{data.rpartition('/')[0]}/bin"
    return Locations(
        scope=scope,
        prefix=f"{data}/local-opus",
        commands=commands,
        config=f"{config}/local-opus",
        state=f"{state}/local-opus",
        models=f"{data}/local-opus/models",
        units=f"{config}/systemd/user",
        runtime=f"{state}/local-opus/run",
        logs=f"{state}/local-opus/log",
    )


def _require_text(variable: str, path: str) -> None:
    """Raise BadInputError for a path that no config and no unit can hold."""
    # Python stands a lone surrogate for each byte that is no UTF-8.
    if any("\ud800" <= character <= "\udfff" or character == "\n" for character in path):
        raise BadInputError(
            f"{variable}: {path!a} is not one line of UTF-8 text",
            f"Set {variable} to the path of another folder.",
        )
