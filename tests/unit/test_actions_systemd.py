"""The service under systemd: what systemctl is told, and what is made of its answers."""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pydantic import JsonValue

from fakes import FakeHost, FakeProcesses
from local_opus import node, node_settings
from local_opus.actions.base import State
from local_opus.actions.create_group import CreateGroup
from local_opus.actions.enable_service import EnableService
from local_opus.actions.install_unit import InstallUnit
from local_opus.actions.unit_links import TARGETS
from local_opus.apply import Applier
from local_opus.errors import LocalOpusError, SilentSystemdError
from local_opus.history import Event
from local_opus.host import Completed, Files
from local_opus.host.services import Services
from local_opus.journal import Journal
from local_opus.locations import SOCKET_UNIT, TARGET_UNIT, UNIT, locate
from local_opus.receipts import Receipt
from local_opus.reverting import revert_all
from local_opus.values import Plan, PlannedAction, Scope
from rendered import rendered

NODE = (TARGET_UNIT, UNIT)
FORGOTTEN = [("reset-failed", unit) for unit in NODE]
SERVICE = EnableService(scope=Scope.SYSTEM, inputs_sha256="0" * 64, units=NODE)
JOURNAL = "starting\nerror: model.json: folder: Field required\n  fix: Correct the file.\n"


def quiet(_step: str, _done: int, _total: int | None) -> None:
    return None


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """A host whose systemd runs and whose server, once started, is ready at once."""
    (tmp_path / "root").mkdir()
    made = FakeHost(tmp_path / "root")
    made.services.runs = True
    made.services.values = {"LoadState": "loaded", "ActiveState": "inactive"}
    monkeypatch.setattr(node_settings, "settings", lambda *_: None)
    monkeypatch.setattr(node, "wait_ready", lambda *_: {})
    return made


@pytest.mark.parametrize(
    ("active", "enabled", "state"),
    [
        ("active", "enabled", State.PRESENT),
        ("active", "disabled", State.DIFFERENT),
        ("activating", "enabled", State.DIFFERENT),
        ("failed", "enabled", State.DIFFERENT),
        ("inactive", "", State.ABSENT),
    ],
)
def test_enabled_and_active_is_present(
    host: FakeHost, active: str, enabled: str, state: State
) -> None:
    host.services.values |= {"ActiveState": active, "UnitFileState": enabled}
    assert SERVICE.inspect(host).state is state


def test_it_is_enabled_and_started_anew(host: FakeHost) -> None:
    SERVICE.execute(host, {}, quiet)
    assert host.services.verbs == [
        ("daemon-reload",),
        ("enable", *NODE),
        *FORGOTTEN,  # what failed before, or was started often, does not forbid the start
        ("restart", UNIT),
        ("start", TARGET_UNIT),
    ]


@pytest.mark.parametrize(("active", "stopped"), [("inactive", [("stop", UNIT)]), ("active", [])])
def test_a_socket_is_opened_when_the_server_has_let_go_of_the_port(
    host: FakeHost, active: str, stopped: list[tuple[str, ...]]
) -> None:
    """A server that opened its port itself, before, still serves: systemd opens no socket for it."""
    host.services.runs = True
    units = locate(Scope.SYSTEM, {}).units
    host.files.make_folders(units)
    host.files.write_atomic(f"{units}/{SOCKET_UNIT}", b"ListenStream=127.0.0.1:8000\n")
    host.services.units[SOCKET_UNIT] = {
        "LoadState": "loaded", "ActiveState": active, "Listen": "127.0.0.1:8000 (Stream)",
    }  # fmt: skip
    host.network.port_problem = lambda *_: "another program holds it"  # type: ignore[method-assign]
    units_of_it = (SOCKET_UNIT, UNIT, TARGET_UNIT)
    EnableService(scope=Scope.SYSTEM, inputs_sha256="0" * 64, units=units_of_it).execute(
        host, {}, quiet
    )
    done = host.services.verbs[-3 - len(stopped) :]
    assert done == [
        *stopped, ("start", SOCKET_UNIT), ("restart", UNIT), ("start", TARGET_UNIT),
    ]  # fmt: skip
    assert ("stop", UNIT) not in host.services.verbs[: -3 - len(stopped)]


NODE_S = tuple(sorted(NODE))
FORGOTTEN_S = [("reset-failed", unit) for unit in NODE_S]
STATE = "local-opus-server"
ENABLED = {"enabled": "enabled", "active": "active"}
CLEAN = ("clean", "--what=state", "--what=cache", UNIT)


@pytest.mark.parametrize(
    ("scope", "before", "verbs"),
    [
        (
            Scope.SYSTEM,
            {"units": {}, "wrote": []},
            [("stop", *NODE_S), *FORGOTTEN_S, ("disable", *NODE_S), CLEAN],
        ),
        (
            Scope.USER,
            {"units": {}, "wrote": []},
            [("stop", *NODE_S), *FORGOTTEN_S, ("disable", *NODE_S)],
        ),
        (
            Scope.SYSTEM,
            {"units": dict.fromkeys(NODE, ENABLED), "wrote": [STATE]},
            [("stop", *NODE_S), *FORGOTTEN_S],
        ),
        (
            Scope.SYSTEM,
            {"enabled": ""},
            [("stop", *NODE_S), *FORGOTTEN_S, ("disable", *NODE_S), CLEAN],
        ),  # older
    ],
)
def test_the_way_back(
    host: FakeHost, scope: Scope, before: dict[str, object], verbs: list[tuple[str, ...]]
) -> None:
    EnableService(scope=scope, inputs_sha256="0" * 64, units=NODE).revert(host, before, {})  # type: ignore[arg-type]
    assert host.services.verbs == verbs


@pytest.mark.parametrize(("had_run", "cleaned"), [(False, True), (True, False)])
def test_only_the_way_back_of_the_install_itself_removes_what_the_service_wrote(
    host: FakeHost, had_run: bool, cleaned: bool
) -> None:
    """Somebody disabled it: to a repair that fails, it looks as it did to the install."""
    host.services.values["UnitFileState"] = "disabled"
    host.files.make_folders("/var/lib/local-opus-server" if had_run else "/var/lib")
    found = SERVICE.capture(host)
    host.files.make_folders("/var/lib/local-opus-server")  # it was started
    SERVICE.revert(host, found, None)
    assert ("disable", *NODE_S) in host.services.verbs
    assert (CLEAN in host.services.verbs) is cleaned


def test_a_unit_that_is_gone_needs_no_way_back(host: FakeHost) -> None:
    host.services.values["LoadState"] = "not-found"
    SERVICE.revert(host, {"enabled": ""}, {})
    assert host.services.verbs == []


def test_what_a_unit_that_is_gone_wrote_goes_without_systemd(host: FakeHost) -> None:
    """An install's way back stopped at a verb, then its unit's file went: nothing can be cleaned."""
    found = SERVICE.capture(host)
    for path in ("/var/lib/private/local-opus-server", "/var/cache/local-opus-server"):
        host.files.make_folders(path)
    host.files.symlink("private/local-opus-server", "/var/lib/local-opus-server")
    host.services.values["LoadState"] = "not-found"
    SERVICE.revert(host, found, None)
    assert host.files.list("/var/lib/private") == host.files.list("/var/cache") == []
    assert host.files.stat("/var/lib/local-opus-server") is None


LINK = f"/home/user/.config/systemd/user/local-opus.target.wants/{UNIT}"
USERS = EnableService(scope=Scope.USER, inputs_sha256="0" * 64, units=NODE)


def silent(host: FakeHost, *, manager: bool) -> None:
    """A machine that systemd runs, and a user whose own is not found; ``manager``: but runs."""
    host.services.runs = False
    host.files.make_folders("/run/systemd/system")
    if manager:
        host.files.make_folders(f"/run/user/{host.euid}/systemd")
    host.files.make_folders(LINK.rpartition("/")[0])
    host.files.symlink(f"../{UNIT}", LINK)


def test_a_service_of_a_systemd_that_does_not_answer_is_not_told_to_be_gone(host: FakeHost) -> None:
    silent(host, manager=True)
    with pytest.raises(SilentSystemdError, match="runs, and does not answer") as caught:
        USERS.revert(host, {"enabled": ""}, {})
    assert caught.value.remedy.startswith(f"Set XDG_RUNTIME_DIR=/run/user/{host.euid} and")
    assert host.files.stat(LINK) is not None


@pytest.mark.parametrize(("enabled", "stays"), [("", False), ("enabled", True)])
def test_a_service_that_no_systemd_runs_is_disabled_by_its_link(
    host: FakeHost, enabled: str, stays: bool
) -> None:
    silent(host, manager=False)
    before = {"units": {UNIT: {"enabled": enabled, "active": "active"}}, "wrote": []}
    assert USERS.revert(host, before, {}).kept is None
    assert (host.files.stat(LINK) is not None) is stays
    assert (host.files.stat(LINK.rpartition("/")[0]) is not None) is stays


def test_another_service_that_starts_with_it_stays(host: FakeHost) -> None:
    silent(host, manager=False)
    folder = LINK.rpartition("/")[0]
    host.files.symlink("../other.service", f"{folder}/other.service")
    USERS.revert(host, {"enabled": ""}, {})
    assert host.files.list(folder) == ["other.service"]


def test_nothing_goes_that_a_service_runs_from_before_it_can_be_ended(host: FakeHost) -> None:
    silent(host, manager=True)
    host.files.make_folders("/home/user/opt")
    host.files.make_folders("/var")
    kinds = {kind.kind: kind for kind in (EnableService, InstallUnit)}
    receipt = Receipt(host, "/var/receipt.jsonl")
    unit: dict[str, JsonValue] = {"path": "/home/user/opt/x", "content": "x", "scope": "user"}
    host.files.write_atomic("/home/user/opt/x", b"x")
    service: dict[str, JsonValue] = {"scope": "user", "inputs_sha256": "0" * 64, "units": [*NODE]}
    for kind, params in (("enable_service", service), ("install_unit", unit)):  # repaired later
        receipt.append(Event.BEGIN, id=kind, kind=kind, params=params)
    journal = Journal(host, receipt, lambda kind, params: kinds[kind].model_validate(params), ("/home/user/opt",))  # fmt: skip
    with pytest.raises(SilentSystemdError):
        revert_all(journal)
    assert host.files.list("/home/user/opt") == ["x"]


@pytest.mark.parametrize("scope", list(Scope))
def test_the_unit_is_wanted_by_what_its_link_is_sought_at(scope: Scope) -> None:
    assert f"WantedBy={TARGETS[scope]}" in rendered(TARGET_UNIT, scope=scope.value)


class Breaks(CreateGroup):
    """An action that never comes to its end."""

    kind = "breaks"

    def execute(self, *_: object) -> dict[str, object]:  # type: ignore[override]
        raise LocalOpusError("it broke", "Mend it.")


def test_a_server_that_ran_before_starts_again_when_its_own_unit_is_back(host: FakeHost) -> None:
    host.files.make_folders("/units")
    host.files.write_atomic(f"/units/{UNIT}", b"the former\n")
    host.files.make_folders("/var")
    # Disabled, so that there is something to do.
    host.services.values |= {"ActiveState": "active", "UnitFileState": "disabled"}
    kinds = {kind.kind: kind for kind in (InstallUnit, EnableService, Breaks)}
    seen: list[str] = []
    start = host.services.start

    def watched(scope, unit, *words, **more):  # type: ignore[no-untyped-def]
        if unit == UNIT:
            seen.append(host.files.read_text(f"/units/{UNIT}"))
        start(scope, unit, *words, **more)

    host.services.start = watched  # type: ignore[method-assign]
    unit: dict[str, JsonValue] = {
        "path": f"/units/{UNIT}",
        "content": "the new\n",
        "scope": "system",
    }
    steps = [
        PlannedAction(id="unit", kind="install_unit", summary="", params=unit),
        PlannedAction(
            id="server",
            kind="enable_service",
            summary="",
            params={"scope": "system", "inputs_sha256": "0" * 64, "units": [UNIT]},
        ),
        PlannedAction(id="breaks", kind="breaks", summary="", params={"name": "x"}),
    ]
    plan = Plan(
        profile="p", scope=Scope.SYSTEM, root="/", model=None, device=None, actions=tuple(steps)
    )
    journal = Journal(
        host,
        Receipt(host, "/var/receipt"),
        lambda kind, params: kinds[kind].model_validate(params),
        ("/units",),
    )
    with pytest.raises(LocalOpusError, match="it broke"):
        Applier(journal).apply(plan, {}, dict)
    assert seen == ["the new\n", "the former\n"]


# -- systemctl's answers --------------------------------------------------------------------------


class Systemctl:
    """Answers ``systemctl show`` from a list, one answer after the other, and the rest with ``code``."""

    def __init__(self, shows: Sequence[dict[str, str]] = (), code: int = 0, err: str = "") -> None:
        self.shows = list(shows)
        self.other = Completed(code, "", err)
        #: Given to ``systemctl show`` as it is, instead.
        self.answer: Completed | None = None

    def __call__(self, command: Sequence[str]) -> Completed:
        if "show" not in command:
            return self.other
        if self.answer is not None:
            return self.answer
        now = self.shows.pop(0) if len(self.shows) > 1 else self.shows[0]
        return Completed(0, "".join(f"{name}={value}\n" for name, value in now.items()), "")


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Systemctl], Services]:
    monkeypatch.setattr("local_opus.host.services._POLL_SECONDS", 0)

    def make(systemctl: Systemctl) -> Services:
        processes = FakeProcesses({})
        processes.answers = {"systemctl": systemctl, "journalctl": Completed(0, JOURNAL, "")}
        return Services(Files("/"), processes)

    return make


LOADING = {"ActiveState": "activating", "Job": "7", "StatusText": "Loading tiny on CPU"}


def test_a_start_waits_for_systemd_and_tells_what_the_service_says(
    services: Callable[[Systemctl], Services],
) -> None:
    told: list[str] = []
    systemctl = Systemctl([LOADING, LOADING, {"ActiveState": "active"}])
    services(systemctl).start(Scope.SYSTEM, UNIT, lambda _waited, said: told.append(said))
    assert told == ["Loading tiny on CPU"] * 2


@pytest.mark.parametrize("state", ["failed", "activating"])  # activating: it waits for a restart
def test_a_start_that_fails_says_what_the_service_said(
    services: Callable[[Systemctl], Services], state: str
) -> None:
    systemctl = Systemctl([LOADING, {"ActiveState": state, "Result": "exit-code"}])
    with pytest.raises(LocalOpusError) as caught:
        services(systemctl).start(Scope.SYSTEM, UNIT, lambda _waited, _said: None)
    assert caught.value.message == f"{UNIT} did not start: model.json: folder: Field required"
    assert caught.value.remedy == "Correct the file."


#: systemd's own words, as systemd 252 logs them: not those of the program, which said nothing.
AT_A_STEP = f"""{UNIT}: Failed to determine supplementary groups: No such process
{UNIT}: Failed at step GROUP spawning /opt/x/bin/python: No such process
Starting {UNIT} - Local Opus inference server...
{UNIT}: Main process exited, code=exited, status=216/GROUP
"""


@pytest.mark.parametrize(
    ("scope", "field"), [(Scope.SYSTEM, "INVOCATION_ID"), (Scope.USER, "USER_INVOCATION_ID")]
)
def test_of_a_program_that_could_not_be_started_systemd_says_at_which_step(
    services: Callable[[Systemctl], Services], scope: Scope, field: str
) -> None:
    made = services(Systemctl())

    def journalctl(command: Sequence[str]) -> Completed:
        return Completed(0, AT_A_STEP if command[-1] == f"{field}=e1" else "", "")

    made._processes.answers["journalctl"] = journalctl  # type: ignore[attr-defined]
    said = ("Failed at step GROUP spawning /opt/x/bin/python: No such process", "")
    assert made.last_words(scope, UNIT, "e1") == said
    assert made.last_words(scope, UNIT, "e2") == ("", "")


REFUSED = (
    "Failed to stop x.service: Interactive authentication required.\n"
    "See system logs and 'systemctl status x.service' for details.\n"
)
MISSING = "Failed to enable unit: Unit file x.service does not exist.\n"


@pytest.mark.parametrize(
    ("err", "said", "remedy"),
    [
        (REFUSED, "Interactive authentication required.", "Run it as root"),
        (MISSING, "Unit file x.service does not exist.", "journalctl -u x.service"),
    ],
)
def test_an_error_names_the_cause_and_not_where_to_read_on(
    services: Callable[[Systemctl], Services], err: str, said: str, remedy: str
) -> None:
    with pytest.raises(LocalOpusError) as caught:
        services(Systemctl(code=1, err=err)).do(Scope.SYSTEM, "stop", "x.service")
    assert said in caught.value.message
    assert remedy in caught.value.remedy


def test_a_property_that_systemd_does_not_know_is_empty(
    services: Callable[[Systemctl], Services],
) -> None:
    made = services(Systemctl([{"LoadState": "not-found"}]))
    found = made.properties(Scope.USER, UNIT, "LoadState", "UnitFileState")
    assert found == {"LoadState": "not-found", "UnitFileState": ""}


def test_several_units_are_asked_about_at_once(
    services: Callable[[Systemctl], Services],
) -> None:
    # As systemd 252 prints it: a block for each; a target has no NRestarts.
    text = "ActiveState=active\nId=a.target\n\nNRestarts=2\nActiveState=failed\nId=b.service\n"
    systemctl = Systemctl()
    made = services(systemctl)
    systemctl.answer = Completed(0, text, "")
    found = made.properties_of(Scope.SYSTEM, ["a.target", "b.service"], "ActiveState", "NRestarts")
    assert found == {
        "a.target": {"ActiveState": "active", "NRestarts": ""},
        "b.service": {"ActiveState": "failed", "NRestarts": "2"},
    }
    systemctl.answer = Completed(1, "", "Failed to connect to bus")
    found = made.properties_of(Scope.SYSTEM, ["a.target", "b.service"], "ActiveState")
    assert found == {"a.target": {"ActiveState": ""}, "b.service": {"ActiveState": ""}}


NOT_LOADED = "Failed to reset failed state of unit {}.service: Unit {}.service not loaded.\n"


def test_a_failure_is_forgotten_of_those_that_are_loaded(
    services: Callable[[Systemctl], Services],
) -> None:
    not_loaded = "".join(NOT_LOADED.format(name, name) for name in "ab")
    services(Systemctl(code=1, err=not_loaded)).forget_failure(
        Scope.SYSTEM, "a.service", "b.service"
    )
    made = services(Systemctl(code=1, err=not_loaded + "Failed to connect to bus\n"))
    with pytest.raises(LocalOpusError) as caught:
        made.forget_failure(Scope.SYSTEM, "a.service", "b.service")
    assert "Failed to connect to bus" in caught.value.message


# -- groups and units -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "existed", "called"),
    [(0, False, True), (6, False, True), (0, True, False)],
)
def test_a_group_is_removed_only_if_it_was_made(
    host: FakeHost, code: int, existed: bool, called: bool
) -> None:
    host.processes.answers["groupdel"] = Completed(code, "", "")
    CreateGroup(name="local-opus").revert(host, {"existed": existed}, {})
    assert ("groupdel" in [call[0] for call in host.processes.calls]) is called


GROUP = CreateGroup(name="local-opus")
#: What groupadd and groupdel end with and say, and what then helps.
REFUSALS = [
    ("groupdel", 8, "cannot remove the primary group of user 'x'", "usermod --gid GROUP USER"),
    ("groupdel", 10, "cannot lock /etc/group; try again later.", "leaves /etc/group.lock"),
    ("groupdel", 1, "odd", "Remove the group local-opus with a tool of your system"),
    ("groupadd", 10, "Permission denied.", "See that /etc/group can be written"),
    ("groupadd", 4, "Can't get unique system GID", "SYS_GID_MAX in /etc/login.defs"),
    ("groupadd", 3, "not a valid group name", "Make the group local-opus with a tool"),
]


@pytest.mark.parametrize(("program", "code", "said", "helps"), REFUSALS)
def test_a_group_that_can_not_be_changed_is_an_error_with_what_helps(
    host: FakeHost, program: str, code: int, said: str, helps: str
) -> None:
    host.processes.answers[program] = Completed(code, "", f"{program}: {said}\n")
    call = GROUP.revert if program == "groupdel" else GROUP.execute
    with pytest.raises(LocalOpusError) as caught:
        call(host, {"existed": False}, quiet)  # type: ignore[operator]
    assert caught.value.message == f"{program} local-opus: {program}: {said}"
    assert helps in caught.value.remedy
    assert "\n" not in caught.value.remedy


def test_systemd_reads_a_unit_when_it_comes_and_when_it_goes(host: FakeHost) -> None:
    host.files.make_folders("/units")
    unit = InstallUnit(path=f"/units/{UNIT}", content="[Unit]\n", scope=Scope.SYSTEM)
    after = unit.execute(host, unit.capture(host), quiet)
    found = host.files.stat(f"/units/{UNIT}")
    assert found is not None
    assert stat.S_IMODE(found.mode) == 0o644
    unit.revert(host, {"existed": False}, after)
    assert host.files.stat(f"/units/{UNIT}") is None
    assert host.services.verbs == [("daemon-reload",)] * 2


def test_a_users_unit_holds_nothing_that_its_systemd_refuses() -> None:
    text = rendered(scope="user", device_groups=("render",))
    for directive in ("DynamicUser", "SupplementaryGroups", "ProtectSystem"):
        assert directive not in text
    assert "WantedBy=local-opus.target" in text


def test_the_service_never_gets_the_folder_of_the_receipt() -> None:
    folders = [line for line in rendered().splitlines() if "Directory=" in line]
    assert folders == ["StateDirectory=local-opus-server", "CacheDirectory=local-opus-server"]


@pytest.mark.parametrize(
    ("groups", "state"),
    [("Groups:\t61234 995 ", State.PRESENT), ("Groups:\t61234 994 ", State.DIFFERENT)],
)
def test_a_server_without_todays_group_is_started_anew(
    host: FakeHost, groups: str, state: State
) -> None:
    """The group was removed and made again: what runs has the number that it had before."""
    host.euid = 0
    host.services.values |= {"ActiveState": "active", "UnitFileState": "enabled", "MainPID": "77"}
    for path, text in (
        ("/etc/group", "root:x:0:\nlocal-opus:x:995:\n"),
        ("/proc/77/status", f"Name:\tpython\nGid:\t61234\t61234\t61234\t61234\n{groups}\n"),
    ):
        host.files.make_folders(path.rpartition("/")[0])
        host.files.write_atomic(path, text.encode())
    assert SERVICE.inspect(host).state is state


UNIT_PATH = f"/etc/systemd/system/{UNIT}"


def masked(host: FakeHost) -> None:
    if host.files.stat(UNIT_PATH) is not None:
        host.files.remove(UNIT_PATH)
    host.files.make_folders("/etc/systemd/system")
    host.files.symlink("/dev/null", UNIT_PATH)


def test_a_mask_is_damage_and_no_edit(host: FakeHost) -> None:
    unit = InstallUnit(path=UNIT_PATH, content="[Unit]\n", scope=Scope.SYSTEM)
    host.files.make_folders("/etc/systemd/system")
    before = unit.capture(host)
    after = unit.execute(host, before, quiet)
    masked(host)
    assert unit.edited(host, after) is None
    assert unit.inspect(host).state is State.DIFFERENT
    unit.execute(host, unit.capture(host), quiet)
    assert host.files.read_text(UNIT_PATH) == "[Unit]\n"
    assert unit.revert(host, before, after).kept is None
    assert host.files.stat(UNIT_PATH) is None


def test_a_mask_from_before_the_install_comes_back(host: FakeHost) -> None:
    unit = InstallUnit(path=UNIT_PATH, content="[Unit]\n", scope=Scope.SYSTEM)
    masked(host)
    before = unit.capture(host)
    after = unit.execute(host, before, quiet)
    assert host.files.read_text(UNIT_PATH) == "[Unit]\n"
    unit.revert(host, before, after)
    assert host.files.read_link(UNIT_PATH) == "/dev/null"
    unit.revert(host, before, None)  # as after a kill
    assert host.files.read_link(UNIT_PATH) == "/dev/null"


def test_a_mask_comes_back_with_the_folder_that_was_removed(host: FakeHost) -> None:
    unit = InstallUnit(path=UNIT_PATH, content="[Unit]\n", scope=Scope.SYSTEM)
    unit.revert(host, {"masked": True}, None)
    assert host.files.read_link(UNIT_PATH) == "/dev/null"


def test_another_link_in_the_place_of_the_unit_is_the_users(host: FakeHost) -> None:
    unit = InstallUnit(path=UNIT_PATH, content="[Unit]\n", scope=Scope.SYSTEM)
    host.files.make_folders("/etc/systemd/system")
    host.files.symlink("/srv/mine.service", UNIT_PATH)
    with pytest.raises(LocalOpusError, match="a link is there"):
        unit.capture(host)
    assert "a link took its place" in str(unit.edited(host, {"sha256": "x"}))
