"""A self-test that the system refuses: told as the step that it was, and never as the receipt."""

from __future__ import annotations

from pathlib import Path

import pytest

from builders import wheel_model
from fakes import FakeHost
from local_opus import proof, selftest
from local_opus.apply import Applier
from local_opus.errors import LocalOpusError
from local_opus.install import Choice
from local_opus.journal import Journal
from local_opus.locations import locate
from local_opus.receipts import Receipt
from local_opus.report.reporter import QuietReporter
from local_opus.values import Device, Plan, PlannedAction, Scope

STEPS = {
    "program": "start the program",
    "weights": "verify the weights",
    "canary": "canary",
    "server": "ask over HTTP",
}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    (tmp_path / "root/var").mkdir(parents=True)
    for step in STEPS:
        monkeypatch.setattr(selftest, step, lambda *_: {})
    monkeypatch.setattr(FakeHost, "root", "/")  # an image is not tested
    return FakeHost(tmp_path / "root")


def choice(host: FakeHost) -> Choice:
    environment = PlannedAction(
        id="environment", kind="create_environment", summary="", params={"folder": "/env"}
    )
    plan = Plan(profile="p", scope=Scope.USER, root="/", model=None, device=None, actions=(environment,))  # fmt: skip
    places = locate(Scope.USER, host.environ)
    return Choice(None, None, wheel_model(b"x"), Device.CPU, places, 8000, plan)  # type: ignore[arg-type]


@pytest.mark.parametrize(("test", "step"), STEPS.items())
def test_what_the_system_refuses_is_told_as_the_steps(host, monkeypatch, test, step):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/models/x")

    monkeypatch.setattr(selftest, test, refuse)
    receipt = Receipt(host, "/var/receipt.jsonl")
    applier = Applier(Journal(host, receipt, lambda *_: pytest.fail("no action here"), ("/",)))
    nothing = Plan(profile="p", scope=Scope.USER, root="/", model=None, device=None, actions=())
    with pytest.raises(LocalOpusError) as caught:
        applier.apply(nothing, {}, lambda: proof.prove(host, choice(host), QuietReporter()))
    assert caught.value.message == f"self-test, {step}: permission denied (/models/x)"
