"""A user's install when the XDG variables are not what they were: told as that, with its remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import JsonValue

from fakes import FakeHost
from local_opus import control, install, node, shelf, upgrade, verification, whereabouts
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.history import Event
from local_opus.install import Choice
from local_opus.locations import Locations, locate
from local_opus.receipts import Receipt
from local_opus.report.reporter import QuietReporter
from local_opus.uninstall import uninstall
from local_opus.values import Scope

HOME = "/home/user"
MADE = {
    "folder:prefix": f"{HOME}/.local/share/local-opus",
    "folder:models": f"{HOME}/.local/share/local-opus/models",
    "folder:config": f"{HOME}/.config/local-opus",
    "folder:units": f"{HOME}/.config/systemd/user",
}


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    (tmp_path / "root/home/user").mkdir(parents=True)
    return FakeHost(tmp_path / "root")


def record(host: FakeHost, made: dict[str, str], scope: Scope = Scope.USER) -> None:
    places = locate(scope, host.environ)
    host.files.make_folders(places.state)
    receipt = Receipt(host, places.receipt)
    receipt.append(Event.RUN)
    for id_, path in made.items():
        params: dict[str, JsonValue] = {"path": path, "mode": 0o755, "group": None}
        receipt.append(Event.BEGIN, id=id_, kind="create_folder", params=params)
        receipt.append(Event.DONE, id=id_)


def now(host: FakeHost, **variables: str) -> Locations:
    host.environ = {**host.environ, **variables}
    return locate(Scope.USER, host.environ)


@pytest.mark.parametrize("made", [{name: MADE[name]} for name in MADE], ids=MADE)
def test_with_the_same_folders_nothing_is_said(host, made):
    record(host, made)
    assert whereabouts.receipt(host, now(host)).records
    default = {"XDG_DATA_HOME": f"{HOME}/.local/share/", "XDG_CONFIG_HOME": f"{HOME}/.config"}
    whereabouts.require(host, now(host, **default))


@pytest.mark.parametrize(
    ("name", "variable", "was"),
    [
        ("folder:prefix", "XDG_DATA_HOME", f"{HOME}/.local/share"),
        ("folder:models", "XDG_DATA_HOME", f"{HOME}/.local/share"),
        ("folder:config", "XDG_CONFIG_HOME", f"{HOME}/.config"),
        ("folder:units", "XDG_CONFIG_HOME", f"{HOME}/.config"),
    ],
)
def test_another_variable_is_named_with_both_folders(host, name, variable, was):
    record(host, {name: MADE[name]})
    with pytest.raises(BadInputError) as caught:
        whereabouts.require(host, now(host, **{variable: "/mnt/new"}))
    receipt = f"{HOME}/.local/state/local-opus/receipt.jsonl"
    assert caught.value.message == f"{receipt}: the install lies below {was}, not below /mnt/new"
    assert caught.value.remedy == f"Set {variable}={was} as at the install, and run this again."
    assert caught.value.details == ()


def test_two_other_variables_are_named_at_once(host):
    record(host, MADE)
    places = now(host, XDG_DATA_HOME="/mnt/data", XDG_CONFIG_HOME="/mnt/config")
    with pytest.raises(BadInputError) as caught:
        whereabouts.require(host, places)
    assert "below /mnt/data" in caught.value.message
    assert "below /mnt/config" in caught.value.details[0]
    wanted = f"XDG_DATA_HOME={HOME}/.local/share and XDG_CONFIG_HOME={HOME}/.config"
    assert caught.value.remedy.startswith(f"Set {wanted} as")


@pytest.mark.parametrize("path", ["/etc", "etc/local-opus", f"{HOME}/.local/share/other"])
def test_a_folder_that_no_variable_leads_to_is_damage(host, path):
    record(host, {"folder:prefix": path})
    whereabouts.require(host, now(host))
    with pytest.raises(LocalOpusError, match="outside of the folders"):
        uninstall(host, now(host), purge=False, tell=QuietReporter())


def test_the_systems_folders_are_moved_by_nothing(host):
    record(host, {"folder:prefix": "/opt/other/local-opus"}, Scope.SYSTEM)
    assert whereabouts.receipt(host, locate(Scope.SYSTEM, {})).records


USES: dict[str, Callable[[FakeHost, Locations], object]] = {
    "install": lambda host, places: install.pending(host, chosen(places)),
    "uninstall": lambda host, places: uninstall(host, places, purge=True, tell=QuietReporter()),
    "upgrade": upgrade.installed,
    "start": lambda host, places: control.start(host, places, lambda _waited: None),
    "chat": node.address,
    "verify": lambda host, places: verification.subjects(host, places, None),
    "models remove": lambda host, places: shelf.removable(host, places, "smollm2-135m"),
}


def chosen(places: Locations) -> Choice:
    return Choice(None, None, None, None, places, 8000, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_every_use_says_so_and_changes_nothing(host, use):
    record(host, MADE)
    places = now(host, XDG_DATA_HOME="/mnt/data", XDG_CONFIG_HOME="/mnt/config")
    before = [path for path, _ in host.files.walk("/", folders=True) if not path.endswith("/lock")]
    with pytest.raises(BadInputError, match="the install lies below"):
        use(host, places)
    after = [path for path, _ in host.files.walk("/", folders=True) if not path.endswith("/lock")]
    assert after == before


def test_status_says_so(host):
    record(host, MADE)
    found = control.status(host, now(host, XDG_CONFIG_HOME="/mnt/config"))
    assert found["installed"] is True
    assert "the install lies below" in str(found["problem"])
    assert "Set XDG_CONFIG_HOME=" in str(found["fix"])
