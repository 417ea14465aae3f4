"""The script that holds each unit's exposure against its bound."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys

import pytest

from models import CHECKOUT
from rendered import rendered

PATH = CHECKOUT / "bench/exposure.py"
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
BARE = "[Service]\nExecStart=/opt/local-opus/bin/python\n"


@pytest.fixture(scope="module")
def exposure():  # type: ignore[no-untyped-def]
    spec = importlib.util.spec_from_file_location("exposure", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["exposure"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["exposure"]


BOUNDS = [
    ("local-opus.service", "system", "loopback", False, 1.2),
    ("local-opus.service", "system", "loopback", True, 1.3),
    ("local-opus.service", "system", "none", False, 0.5),
    ("local-opus.service", "system", "none", True, 0.6),
    ("local-opus.service", "user", "loopback", False, 2.1),
    ("local-opus.service", "user", "none", False, 1.4),
    ("local-opus-monitor.service", "user", "loopback", False, 2.0),
    ("local-opus-recover.service", "user", "none", False, 1.3),
    ("nobody-knows.service", "system", "none", False, None),
]


@pytest.mark.parametrize(("name", "scope", "network", "accelerators", "bound"), BOUNDS)
def test_bounds_are_those_of_the_design(exposure, name, scope, network, accelerators, bound):
    found = exposure.bound_of(name, scope, network=network, accelerators=accelerators)
    assert found == bound


@needs_systemd
def test_a_unit_over_its_bound_is_told_with_what_costs_most(exposure, tmp_path, capsys):
    file = tmp_path / "local-opus.service"
    file.write_text(BARE)
    assert exposure.main([str(file)]) == 3
    out = capsys.readouterr().out
    assert "OVER" in out
    assert "0.5  PrivateNetwork=" in out


@needs_systemd
def test_a_unit_without_a_bound_is_over_it(exposure, tmp_path, capsys):
    file = tmp_path / "local-opus-new.service"
    file.write_text(BARE)
    assert exposure.main(["--json", str(file)]) == 3
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["bound"], found["over"], found["scope"]) == (None, True, "system")


@needs_systemd
def test_the_rendered_units_are_within_their_bounds(exposure, capsys):
    # What a user's units have depends on his systemd: those are measured where one runs.
    rendered = sorted((CHECKOUT / "tests/golden/rendered").glob("*.service-*"))
    files = [str(path) for path in rendered if "/home/" not in path.read_text()]
    assert len(files) >= 2
    code = exposure.main(files)
    assert code == 0, capsys.readouterr().out


@needs_systemd
@pytest.mark.parametrize("group", ["render", "accel"])
@pytest.mark.parametrize(("private", "bound"), [(False, 1.3), (True, 0.6)])
def test_the_group_of_an_accelerator_costs_no_more_than_a_tenth(
    exposure, tmp_path, capsys, group, private, bound
):
    file = tmp_path / "local-opus.service"
    file.write_text(rendered(device_groups=(group,), private_network=private))
    assert exposure.main(["--json", str(file)]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["variant"].endswith(", accelerators")
    assert found["exposure"] <= found["bound"] == bound


def test_without_a_unit_there_is_nothing_to_look_at(exposure, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nowhere")
    assert exposure.main([]) == 4
    assert "systemd-analyze: not installed" in capsys.readouterr().err


@needs_systemd
@pytest.mark.parametrize("text", [None, "\0\x80"], ids=["missing", "no text"])
def test_a_file_that_can_not_be_read_is_named(exposure, tmp_path, capsys, text):
    file = tmp_path / "x.service"
    if text is not None:
        file.write_bytes(b"\x80")
    assert exposure.main([str(file)]) == 4
    assert str(file) in capsys.readouterr().err
