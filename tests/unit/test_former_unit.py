"""From a node of a version with one unit, local-opus-server.service, to one with several; and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus import node, node_settings
from local_opus.actions.enable_service import EnableService
from local_opus.actions.install_unit import InstallUnit
from local_opus.apply import Applier
from local_opus.errors import LocalOpusError
from local_opus.history import Event, Fold
from local_opus.journal import Journal
from local_opus.locations import FORMER_UNIT, SOCKET_UNIT, TARGET_UNIT, UNIT
from local_opus.receipts import Receipt, parse
from local_opus.reverting import revert_all
from local_opus.values import Plan, PlannedAction, Scope

UNITS = "/etc/systemd/system"
STATE = "/var/lib/local-opus-server"
NODE = [TARGET_UNIT, SOCKET_UNIT, UNIT]
UP = {"ActiveState": "active", "UnitFileState": "enabled"}
DOWN = {"ActiveState": "inactive", "UnitFileState": "disabled"}
GONE = {"LoadState": "not-found", "ActiveState": "inactive"}


class Systemd:
    """Knows the units whose files are there, and what became of each; a state folder comes with
    the first start of a server, and `clean` removes it."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.up: set[str] = set()
        self.enabled: set[str] = set()
        host.services.do = self.do  # type: ignore[method-assign]
        host.services.start = self.start  # type: ignore[method-assign]
        host.services.properties = self.properties  # type: ignore[method-assign]

    def there(self, unit: str) -> bool:
        return self.host.files.stat(f"{UNITS}/{unit}") is not None

    def do(self, scope: Scope, *words: str) -> None:
        verb, units = words[0], words[1:]
        match verb:
            case "enable":
                assert all(map(self.there, units)), units
                self.enabled.update(units)
            case "disable":
                self.enabled.difference_update(units)
            case "stop":
                self.up.difference_update(units)
            case "clean":
                assert not self.up & {UNIT, FORMER_UNIT}, "cleaned under a server's feet"
                self.host.files.remove_tree(STATE)

    def start(self, scope: Scope, unit: str, waiting: object, verb: str = "start") -> None:
        assert self.there(unit), unit
        assert not {UNIT, FORMER_UNIT} <= self.up | {unit}, "two servers at once"
        self.up.add(unit)
        if unit in {UNIT, FORMER_UNIT}:
            self.host.files.make_folders(STATE)

    def properties(self, scope: Scope, unit: str, *names: str) -> dict[str, str]:
        if not self.there(unit):
            return {name: GONE.get(name, "") for name in names}
        found = {
            "LoadState": "loaded",
            "ActiveState": "active" if unit in self.up else "inactive",
            "UnitFileState": "enabled" if unit in self.enabled else "disabled",
        }
        return {name: found.get(name, "") for name in names}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    (tmp_path / "root").mkdir()
    made = FakeHost(tmp_path / "root")
    made.services.runs = True
    made.files.make_folders(UNITS)
    made.files.make_folders("/var/lib")
    monkeypatch.setattr(node_settings, "settings", lambda *_: None)
    monkeypatch.setattr(node, "wait_ready", lambda *_: {})
    return made


@pytest.fixture
def systemd(host: FakeHost) -> Systemd:
    return Systemd(host)


KINDS = {kind.kind: kind for kind in (InstallUnit, EnableService)}


def journal(host: FakeHost) -> Journal:
    receipt = Receipt(host, "/var/receipt")
    return Journal(host, receipt, lambda kind, params: KINDS[kind].model_validate(params), (UNITS,))


def plan(*units: str, start: dict[str, object]) -> Plan:
    files = [
        PlannedAction(
            id="unit" if name == FORMER_UNIT else f"unit:{name}",
            kind="install_unit",
            summary="",
            params={"path": f"{UNITS}/{name}", "content": f"# {name}\n", "scope": "system"},
        )
        for name in units
    ]
    begin = {"scope": "system", "inputs_sha256": "0" * 64, **start}
    server = PlannedAction(id="server", kind="enable_service", summary="", params=begin)  # type: ignore[arg-type]
    return Plan(
        profile="p", scope=Scope.SYSTEM, root="/", model=None, device=None,
        actions=(*files, server),
    )  # fmt: skip


OLD = plan(FORMER_UNIT, start={})
NEW = plan(*NODE, start={"units": NODE, "inputs_sha256": "1" * 64})


@pytest.fixture
def old(host: FakeHost, systemd: Systemd) -> FakeHost:
    """A node of the older version, in the words of its receipt: one unit, which it does not name."""
    receipt = Receipt(host, "/var/receipt")
    unit, server = OLD.actions
    receipt.append(Event.RUN, data={})
    for action, before in (
        (unit, {"existed": False}),
        (server, {"enabled": "disabled", "active": "inactive", "wrote": False}),
    ):
        data = {"before": before, "found": before}
        receipt.append(Event.BEGIN, id=action.id, kind=action.kind, params=action.params, data=data)  # type: ignore[arg-type]
        made = journal(host).make(action.kind, action.params)
        if action is unit:
            after = made.execute(host, {}, lambda *_: None)
        else:
            systemd.do(Scope.SYSTEM, "enable", FORMER_UNIT)
            systemd.start(Scope.SYSTEM, FORMER_UNIT, None)
            after = {}
        receipt.append(Event.DONE, id=action.id, data=after)
    receipt.append(Event.FINISHED, data={})
    return host


def apply(host: FakeHost, test: Callable[[], dict[str, object]] = dict) -> list[str]:
    return Applier(journal(host)).apply(NEW, {}, test).kept  # type: ignore[arg-type]


def fail() -> dict[str, object]:
    raise LocalOpusError("it does not answer", "Look.")


def test_the_new_server_takes_the_place_of_the_old(old, systemd):
    apply(old)
    assert (systemd.up, systemd.enabled) == (set(NODE), set(NODE))
    assert old.files.list(UNITS) == sorted(NODE)
    assert old.files.stat(STATE) is not None
    assert Applier(journal(old)).pending(NEW) == []


def test_where_the_new_one_fails_the_old_one_serves_again(old, systemd):
    with pytest.raises(LocalOpusError, match="does not answer"):
        apply(old, fail)
    assert (systemd.up, systemd.enabled) == ({FORMER_UNIT}, {FORMER_UNIT})
    assert old.files.list(UNITS) == [FORMER_UNIT]
    assert old.files.stat(STATE) is not None
    assert journal(old).history.finished


def test_an_uninstall_after_an_upgrade_leaves_nothing(old, systemd):
    apply(old)
    revert_all(journal(old))
    assert (systemd.up, systemd.enabled, old.files.list(UNITS)) == (set(), set(), [])
    assert old.files.stat(STATE) is None, "the state folder was not there before the first install"


def test_an_uninstall_of_the_older_version_leaves_nothing(old, systemd):
    revert_all(journal(old))
    assert (systemd.up, systemd.enabled, old.files.list(UNITS)) == (set(), set(), [])
    assert old.files.stat(STATE) is None


@pytest.mark.parametrize("verb", ["stop", "disable", "enable"])
def test_an_uninstall_after_a_killed_upgrade_leaves_nothing(old, systemd, verb):
    do = systemd.do

    def killed(scope: Scope, *words: str) -> None:
        do(scope, *words)
        if words[0] == verb:
            raise KeyboardInterrupt

    old.services.do = killed
    with pytest.raises(LocalOpusError, match="interrupted"):
        apply(old)
    old.services.do = do
    revert_all(journal(old))
    assert (systemd.up, systemd.enabled, old.files.list(UNITS)) == (set(), set(), [])
    assert old.files.stat(STATE) is None


def test_drop_ins_of_the_old_name_are_named_and_stay(old):
    old.files.make_folders(f"{UNITS}/{FORMER_UNIT}.d")
    old.files.write_atomic(f"{UNITS}/{FORMER_UNIT}.d/mine.conf", b"[Service]\n")
    (told,) = apply(old)
    assert told.startswith(f"{UNITS}/{FORMER_UNIT}.d: mine.conf: yours, and no longer applied")
    assert told.endswith(f"Move them to {UNITS}/{UNIT}.d")
    assert old.files.stat(f"{UNITS}/{FORMER_UNIT}.d/mine.conf") is not None


def test_drop_ins_stay_in_an_upgrade_and_are_named_by_an_uninstall(host, systemd):
    apply(host)
    folder = f"{UNITS}/{UNIT}.d"
    host.files.make_folders(folder)
    host.files.write_atomic(f"{folder}/mine.conf", b"[Service]\n")
    host.files.write_atomic(f"{folder}/notes", b"")
    assert revert_all(journal(host)).kept == [f"{folder}: mine.conf: yours, so they stay"]
    assert host.files.list(folder) == ["mine.conf", "notes"]
    assert host.files.list(UNITS) == [f"{UNIT}.d"]


def test_a_rolled_back_install_is_at_rest_though_a_drop_in_stays(host, systemd):
    host.files.make_folders(f"{UNITS}/{UNIT}.d")
    host.files.write_atomic(f"{UNITS}/{UNIT}.d/mine.conf", b"[Service]\n")
    with pytest.raises(LocalOpusError) as caught:
        apply(host, fail)
    assert caught.value.details == ()
    assert not any(entry.active for entry in journal(host).history.entries)


# -- an image ---------------------------------------------------------------------------------


@pytest.fixture
def image(host: FakeHost) -> FakeHost:
    host.services.runs = False
    host.is_image = True  # type: ignore[misc]
    return host


def links(host: FakeHost) -> dict[str, str]:
    found = {}
    for folder in host.files.list(UNITS):
        if folder.endswith(".wants"):
            for name in host.files.list(f"{UNITS}/{folder}"):
                path = f"{folder}/{name}"
                found[path] = host.files.read_link(f"{UNITS}/{path}")
    return found


def test_an_image_gets_the_links_that_systemctl_would_make(image):
    """Those that `systemctl enable` made of these units on a machine, with systemd 252."""
    apply(image)
    assert links(image) == {
        "multi-user.target.wants/local-opus.target": f"{UNITS}/local-opus.target",
        "local-opus.target.wants/local-opus.service": f"{UNITS}/local-opus.service",
        "local-opus.target.wants/local-opus.socket": f"{UNITS}/local-opus.socket",
    }
    assert Applier(journal(image)).pending(NEW) == []
    assert image.services.verbs == []


def test_an_image_is_as_it_was_after_an_uninstall(image):
    image.files.make_folders(f"{UNITS}/multi-user.target.wants")
    image.files.symlink("/lib/theirs", f"{UNITS}/multi-user.target.wants/theirs")
    apply(image)
    revert_all(journal(image))
    assert links(image) == {"multi-user.target.wants/theirs": "/lib/theirs"}
    assert image.files.list(UNITS) == ["multi-user.target.wants"]


def test_what_an_image_has_in_the_place_of_a_link_is_an_error(image):
    image.files.make_folders(f"{UNITS}/local-opus.target.wants")
    image.files.write_atomic(f"{UNITS}/local-opus.target.wants/{UNIT}", b"theirs")
    with pytest.raises(LocalOpusError, match="a file is in the place of the link that starts"):
        apply(image)
    assert image.files.read_text(f"{UNITS}/local-opus.target.wants/{UNIT}") == "theirs"


def test_a_folder_of_links_that_leads_out_of_an_image_is_not_followed(image, tmp_path):
    (tmp_path / "outside").mkdir()
    real = Path(image.root) / UNITS.lstrip("/") / "multi-user.target.wants"
    real.symlink_to(tmp_path / "outside")
    with pytest.raises((LocalOpusError, OSError)):
        apply(image)
    assert list((tmp_path / "outside").iterdir()) == []


def test_an_image_that_was_booted_is_enabled_already(image, systemd):
    apply(image)
    image.is_image = False  # type: ignore[misc]
    image.services.runs = True
    systemd.enabled = set(NODE)
    apply(image)
    assert (systemd.up, systemd.enabled) == (set(NODE), set(NODE))
    revert_all(journal(image))
    assert (systemd.up, systemd.enabled) == (set(), set())


# -- a real receipt ---------------------------------------------------------------------------


def test_a_real_receipt_of_the_older_version_is_that_of_one_unit(checkout: Path) -> None:
    """What the upgrade above starts from is what that version wrote."""
    path = checkout / "tests/data/receipts/schema-2-system-service.jsonl"
    fold = Fold()
    for record in parse(path.read_bytes(), path.name)[0]:
        fold.take(record)
    entries = {entry.id: entry for entry in fold.history().entries}
    unit, server = entries["unit"], entries["server"]
    assert unit.params["path"] == f"{UNITS}/{FORMER_UNIT}"
    assert set(server.params) == {"scope", "inputs_sha256"}
    assert server.before == {"enabled": "disabled", "active": "inactive", "wrote": False}
    assert EnableService.model_validate(server.params).units == (FORMER_UNIT,)
