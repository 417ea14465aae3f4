"""``doctor --as-service``: the devices as the server's unit sees them, inside its sandbox.

``systemd-run`` starts workers with the settings of the installed unit and its drop-ins. Their state
and cache folders are left out: systemd would give those of the server to another dynamic user.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from local_opus import install
from local_opus.checks import devices
from local_opus.checks.base import Answer, Check, Group
from local_opus.checks.context import PROBE_SECONDS, Context
from local_opus.errors import LocalOpusError, MachineCannotError
from local_opus.facts import gather
from local_opus.host import Host
from local_opus.locations import UNIT, Locations
from local_opus.unit_text import service_settings
from local_opus.values import Scope

#: What only concerns how the server itself is started, watched and ended, and its own folders.
_LEFT_OUT = frozenset(
    {
        *("Type", "NotifyAccess", "ExecStart", "ExecStartPre", "ExecStartPost", "ExecReload"),
        *("ExecStop", "ExecStopPost", "ExecCondition", "Restart", "RestartSec", "GuessMainPID"),
        *("RestartPreventExitStatus", "RestartForceExitStatus", "SuccessExitStatus", "PIDFile"),
        *("RestartSteps", "RestartMaxDelaySec", "WatchdogSec", "WatchdogSignal", "BusName"),
        *("TimeoutStartSec", "TimeoutStopSec", "TimeoutSec", "TimeoutAbortSec", "RuntimeMaxSec"),
        *("StandardInput", "StandardOutput", "StandardError", "SyslogIdentifier"),
        *("StateDirectory", "StateDirectoryMode", "CacheDirectory", "CacheDirectoryMode"),
        *("RuntimeDirectory", "RuntimeDirectoryMode", "LogsDirectory", "LogsDirectoryMode"),
        *("RuntimeDirectoryPreserve", "FileDescriptorStoreMax", "RemainAfterExit"),
        *("LoadCredential", "LoadCredentialEncrypted"),  # no worker needs a key
    }
)
_MOST_SECONDS = 60
#: A word in double quotes, or up to the next blank; a backslash takes the next letter as it is.
_WORD = re.compile(r'"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>(?:[^\s"\\]|\\.)+)')


def check(host: Host, locations: Locations) -> Check:
    """Return the check of the devices inside the sandbox.

    Raises MachineCannotError where no systemd runs, or the unit is not installed, and
    BadInputError where only root can start something as the unit does.
    """
    scope = locations.scope
    install.require_rights(host, scope)
    if not host.services.running(scope):
        raise MachineCannotError(
            "--as-service: no systemd runs here, so there is no sandbox to look from",
            "Leave --as-service out: without systemd the server is an ordinary process.",
        )
    python, settings = _unit(host, locations)
    # A user's unit runs as that user, who may no more than here.
    groups = groups_of(settings) if scope is Scope.SYSTEM else None
    inside = Host(host.root, host.environ)
    inside.processes.launch = lambda module: [
        *_sandbox(scope, settings),
        *(python, "-s", "-P", "-m", module),
    ]

    def ask(context: Context) -> list[Answer]:
        devices.require_openvino(context)
        facts = gather(
            host, disk_path=locations.models, probe_timeout=PROBE_SECONDS, machine=inside
        )
        tiny = devices.try_all(inside, facts, {})
        return devices.answers(facts, tiny, context.used_device(), groups=groups)

    return Check("devices", "devices", Group.DEVICES, ask, devices.CHECK.seconds)


def _unit(host: Host, locations: Locations) -> tuple[str, list[str]]:
    """Return the Python that the unit starts, and its settings with those of its drop-ins."""
    found = host.services.properties(
        locations.scope, UNIT, "LoadState", "FragmentPath", "DropInPaths"
    )
    path = found["FragmentPath"]
    if found["LoadState"] != "loaded" or not path:
        raise MachineCannotError(
            f"--as-service: {UNIT} is not installed ({found['LoadState'] or 'not known'})",
            "Install with a server first: `local-opus install --local-opus`.",
        )
    settings: list[str] = []
    command = ""
    for file in (path, *found["DropInPaths"].split()):
        for one in service_settings(host.files.read_text(file)):
            if one.name == "ExecStart" and one.value:
                command = one.value
            if one.name not in _LEFT_OUT:
                settings.append(f"{one.name}={one.value}")
    python = program_of(command)
    if not python.startswith("/"):
        raise LocalOpusError(
            f"{path}: its ExecStart names no program",
            "Have the unit restored: `local-opus doctor --fix`.",
        )
    return python, settings


def program_of(command: str) -> str:
    """Return the program that an ExecStart= starts (systemd.service(5), "Command lines").

    "" where it names none.
    """
    word = _WORD.match(command.lstrip("@-:+!|"))
    if word is None:
        return ""
    plain = word["quoted"] if word["quoted"] is not None else word["plain"]
    return re.sub(r"\\(.)", r"\1", plain).replace("%%", "%").replace("$$", "$")


def groups_of(settings: Iterable[str]) -> frozenset[str]:
    """Return the groups that a unit with these settings is given (systemd.exec(5))."""
    own, others = "", set[str]()
    for setting in settings:
        name, _, value = setting.partition("=")
        if name == "Group":
            own = value
        elif name == "SupplementaryGroups":
            others = others | set(value.split()) if value else set()
    return frozenset(others | {own} - {""})


def _sandbox(scope: Scope, settings: Iterable[str]) -> list[str]:
    user = ["--user"] if scope is Scope.USER else []
    return [
        *("systemd-run", *user, "--quiet", "--pipe", "--wait", "--collect", "--no-ask-password"),
        *("--service-type=exec", f"--property=RuntimeMaxSec={_MOST_SECONDS}"),
        *(f"--property={setting}" for setting in settings),
        "--",
    ]
