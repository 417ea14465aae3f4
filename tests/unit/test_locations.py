"""Where an install lies, by scope and XDG variables."""

from __future__ import annotations

from dataclasses import fields

import pytest

from local_opus.errors import BadInputError
from local_opus.locations import Locations, default_scope, locate
from local_opus.values import Scope

HOME = {"HOME": "/home/u"}


def paths(places: Locations) -> dict[str, str]:
    return {field.name: str(getattr(places, field.name)) for field in fields(places)}


def test_the_system():
    assert paths(locate(Scope.SYSTEM, {})) == {
        "scope": "system", "prefix": "/opt/local-opus", "commands": "/usr/local/bin",
        "config": "/etc/local-opus", "state": "/var/lib/local-opus",
        "models": "/var/lib/local-opus/models", "units": "/etc/systemd/system",
        "runtime": "/run/local-opus", "logs": "/var/log/local-opus",
        "unit": "local-opus.service",
    }  # fmt: skip


def test_the_variables_of_a_user_do_not_move_the_system():
    assert locate(Scope.SYSTEM, {**HOME, "XDG_DATA_HOME": "/elsewhere"}) == locate(Scope.SYSTEM, {})


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        (HOME, {"prefix": "/home/u/.local/share/local-opus", "commands": "/home/u/.local/bin",
                "config": "/home/u/.config/local-opus", "state": "/home/u/.local/state/local-opus",
                "models": "/home/u/.local/share/local-opus/models",
                "units": "/home/u/.config/systemd/user",
                "runtime": "/home/u/.local/state/local-opus/run",
                "logs": "/home/u/.local/state/local-opus/log"}),
        ({"HOME": "/home/u/"}, {"prefix": "/home/u/.local/share/local-opus"}),
        ({**HOME, "XDG_DATA_HOME": "/data/"}, {"prefix": "/data/local-opus", "config": "/home/u/.config/local-opus"}),
        ({**HOME, "XDG_CONFIG_HOME": "/c"}, {"config": "/c/local-opus", "units": "/c/systemd/user"}),
        ({**HOME, "XDG_STATE_HOME": "/s"}, {"state": "/s/local-opus", "logs": "/s/local-opus/log"}),
        ({**HOME, "XDG_DATA_HOME": "relative"}, {"prefix": "/home/u/.local/share/local-opus"}),
        ({**HOME, "XDG_DATA_HOME": ""}, {"prefix": "/home/u/.local/share/local-opus"}),
        ({"XDG_DATA_HOME": "/d", "XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s"}, {"prefix": "/d/local-opus"}),
    ],
)  # fmt: skip
def test_a_user(environ, wanted):
    found = paths(locate(Scope.USER, environ))
    assert {name: found[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    "environ", [{}, {"HOME": ""}, {"HOME": "relative"}, {"XDG_DATA_HOME": "/d"}]
)
def test_no_home_names_the_variable(environ):
    with pytest.raises(
        BadInputError, match=r"HOME: (?:not set|.* is not an absolute path)"
    ) as caught:
        locate(Scope.USER, environ)
    assert "absolute path" in caught.value.remedy


@pytest.mark.parametrize("scope", Scope)
def test_every_file_lies_below_a_root(scope):
    places = locate(scope, HOME)
    for path in (
        places.receipt,
        places.lock,
        places.server_config,
        places.pid_file,
        places.server_log,
    ):
        assert any(path.startswith(f"{root}/") for root in places.roots)
    assert "/" not in places.roots
    assert all(root.count("/") >= 2 for root in places.roots)


@pytest.mark.parametrize(("euid", "scope"), [(0, Scope.SYSTEM), (1000, Scope.USER)])
def test_the_default_scope(euid, scope):
    assert default_scope(euid) is scope


@pytest.mark.parametrize("scope", Scope)
def test_a_trial_has_folders_and_a_unit_of_its_own_below_the_known_ones(scope):
    places = locate(scope, HOME)
    trial = places.trial
    differ = {name for name, path in paths(places).items() if paths(trial)[name] != path}
    assert differ == {"config", "runtime", "logs", "unit"}
    for folder in (trial.config, trial.runtime, trial.logs):
        assert any(folder.startswith(f"{root}/") for root in places.roots)
    assert (trial.state, trial.models) == (places.state, places.models)
