"""Which devices a person is offered."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_catalog_fit import NPU, gpu, machine

from fakes import FakeHost
from local_opus import profiles
from local_opus.cli import prompts, questions
from local_opus.cli.given import Given
from local_opus.locations import locate
from local_opus.values import DeviceFacts, HostFacts, Scope

CPU = DeviceFacts(name="CPU", full_name="CPU", properties={})
IGPU, CARD = gpu(15, "INTEGRATED", name="GPU.0"), gpu(12, "DISCRETE", name="GPU.1")
FOREIGN = gpu(32, "DISCRETE", name="GPU.1", vendor="0x10de")


@pytest.mark.parametrize(
    ("facts", "offered"),
    [
        (machine(devices=(CPU, IGPU, CARD, NPU)), ["auto", "GPU.1", "GPU.0", "CPU", "NPU"]),
        (machine(devices=(CPU, IGPU, FOREIGN)), ["auto", "GPU.0", "CPU"]),
        (machine(devices=(CPU,)), []),
    ],
)
def test_devices_are_offered_by_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facts: HostFacts, offered: list[str]
) -> None:
    asked: dict[str, list[str]] = {}

    def select(question: str, choices: list[tuple[str, str]], default: str | None = None) -> str:
        asked[question] = [value for value, _ in choices]
        if "device" in question.lower():
            assert all(value in text for value, text in choices)
        return default or choices[0][0]

    monkeypatch.setattr(prompts, "select", select)
    (tmp_path / "root").mkdir()
    host = FakeHost(tmp_path / "root")
    profile = profiles.load("local-opus", lambda path: path)
    given = Given(None, None, None, None, None, None, "/")
    places = locate(Scope.USER, host.environ)
    found = questions.ask_rest(given, facts, profile, host, places)
    assert asked.get("Which device?", []) == offered
    assert found.device == ("auto" if offered else None)
    assert found.model in asked["Which model?"]
