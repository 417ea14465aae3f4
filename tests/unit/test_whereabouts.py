"""A user's install when the XDG variables are not what they were: told as that, with its remedy."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from pydantic import JsonValue

from fakes import FakeHost
from local_opus import (
    control,
    install,
    node_settings,
    shelf,
    stock,
    upgrade,
    verification,
    whereabouts,
)
from local_opus.catalog.fitting import Fit
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.history import Event
from local_opus.install import Choice
from local_opus.locations import Locations, locate
from local_opus.receipts import Receipt
from local_opus.render import render
from local_opus.report.reporter import QuietReporter
from local_opus.uninstall import uninstall
from local_opus.values import Device, Scope

HOME = "/home/user"
MADE = {
    "folder:prefix": f"{HOME}/.local/share/local-opus",
    "folder:models": f"{HOME}/.local/share/local-opus/models",
    "folder:config": f"{HOME}/.config/local-opus",
    "folder:units": f"{HOME}/.config/systemd/user",
}


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
    "chat": node_settings.address,
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


STATE = f"{HOME}/my state/local-opus"
ELSEWHERE: dict[str, Callable[[FakeHost, Locations], object]] = {
    **USES,
    "stop": control.stop,
    "status": lambda host, places: raised(control.status(host, places)),
    "models pull": lambda host, places: shelf.pull(host, places, "smollm2-135m", QuietReporter()),
}
del ELSEWHERE["chat"], ELSEWHERE["verify"]


def raised(found: Mapping[str, object]) -> None:
    assert found["installed"] is True
    raise BadInputError(str(found["problem"]), str(found["fix"]))


def of_another_state(host: FakeHost) -> None:
    """An install whose receipt lies below another folder; its command says so."""
    host.environ = {**host.environ, "XDG_STATE_HOME": STATE.removesuffix("/local-opus")}
    record(host, MADE)
    host.environ = {**host.environ, "XDG_STATE_HOME": ""}


def command(host: FakeHost, state: str, scope: str = "user") -> None:
    values = {"python": "/p", "scope": scope, "state": state, "address": "127.0.0.1:8000",
              "posture": {}}  # fmt: skip
    text = render("local-opus.sh.j2", install.templates(), values)
    host.files.make_folders(f"{MADE['folder:prefix']}/bin")
    host.files.write_atomic(f"{MADE['folder:prefix']}/bin/local-opus", text.encode(), mode=0o755)


@pytest.fixture
def fits(monkeypatch):
    monkeypatch.setattr(shelf, "gather", lambda *_, **__: None)
    monkeypatch.setattr(stock, "fit", lambda *_, **__: Fit(True, Device.CPU, (), 1, 1))


@pytest.mark.parametrize("tells", ["found", "run"])
@pytest.mark.parametrize("use", ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_receipt_that_lies_elsewhere_is_named_and_nothing_changes(host, fits, use, tells):
    of_another_state(host)
    if tells == "found":
        command(host, STATE)
        places = now(host)
    else:  # with all variables gone, as in cron
        places = now(host, XDG_DATA_HOME="/mnt/data", LOCAL_OPUS_OWN_STATE=STATE)
    before = [path for path, _ in host.files.walk("/", folders=True)]
    with pytest.raises(BadInputError) as caught:
        use(host, places)
    was, is_now = f"{HOME}/my state", f"{HOME}/.local/state"
    assert caught.value.message == (
        f"{STATE}/receipt.jsonl: the receipt of the install lies below {was}, not below {is_now}"
    )
    assert caught.value.remedy.startswith(f"Set XDG_STATE_HOME={was} as at the install")
    assert [path for path, _ in host.files.walk("/", folders=True)] == before


@pytest.mark.parametrize(
    "state", ["", STATE, "/elsewhere/local-opus", "/elsewhere", "'", "x/local-opus"]
)
def test_a_command_whose_receipt_is_where_it_is_sought_or_nowhere_says_nothing(host, state):
    record(host, MADE)
    command(host, locate(Scope.USER, host.environ).state)
    whereabouts.require(host, now(host))
    host.files.make_folders("/elsewhere")
    command(host, state)
    whereabouts.require(host, now(host, LOCAL_OPUS_OWN_STATE=state))


def test_the_systems_command_names_no_state(host):
    of_another_state(host)
    command(host, STATE, scope="system")
    whereabouts.require_state(host, now(host))


def test_a_command_that_was_edited_says_nothing(host):
    path = f"{MADE['folder:prefix']}/bin/local-opus"
    of_another_state(host)
    command(host, STATE)
    host.files.write_atomic(path, host.files.read_bytes(path).replace(b"local-opus'", b""))
    whereabouts.require_state(host, now(host))


def test_status_says_so(host):
    record(host, MADE)
    found = control.status(host, now(host, XDG_CONFIG_HOME="/mnt/config"))
    assert found["installed"] is True
    assert "the install lies below" in str(found["problem"])
    assert "Set XDG_CONFIG_HOME=" in str(found["fix"])
