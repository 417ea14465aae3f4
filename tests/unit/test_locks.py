"""The locks pin everything, agree with each other and name no place."""

from __future__ import annotations

import re
import tomllib

import pytest

EXTRAS = {
    "requirements.lock": [],
    "requirements-openvino.lock": [],
    "requirements-server.lock": ["server"],
    "requirements-signing.lock": ["signing"],
    "requirements-test.lock": ["server", "signing", "test"],
}
#: An environment that this program does not run from: the extra, and nothing of the program's own.
ALONE = "requirements-signing.lock"
#: What no environment without a local component has: OpenVINO, and what it alone needs.
LOCAL = {"openvino", "openvino-telemetry", "numpy"}


def entries(text: str) -> list[str]:
    return [entry for entry in re.split(r"\n(?=\S)", text.strip()) if entry]


def pins(text: str) -> set[str]:
    """Every pin with its marker, hashes left out."""
    return {entry.split(" \\")[0] for entry in entries(text)}


def names(text: str) -> set[str]:
    return {re.split(r"==|\[", pin)[0] for pin in pins(text)}


@pytest.mark.parametrize("lock", EXTRAS)
def test_every_entry_has_version_and_hashes(lock, checkout):
    for entry in entries((checkout / lock).read_text()):
        first, *hashes = entry.split("\n")
        assert re.fullmatch(r"[a-z0-9-]+(\[[a-z]+\])?==\d[\w.]*( ; .+)? \\", first), first
        assert hashes
        assert all(re.fullmatch(r" +--hash=sha256:[0-9a-f]{64}( \\)?", line) for line in hashes)


@pytest.mark.parametrize("lock", EXTRAS)
def test_lock_holds_what_the_project_asks_for(lock, checkout):
    project = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
    asked = [] if lock == ALONE else list(project["dependencies"])
    for extra in EXTRAS[lock]:
        asked += project["optional-dependencies"][extra]
    wanted = {re.split(r"[<>=!~;\s\[]", one)[0] for one in asked}
    assert {"pip", "openvino"} <= wanted or lock == ALONE
    held = names((checkout / lock).read_text())
    assert wanted - held == ({"openvino"} if lock == "requirements.lock" else set())


@pytest.mark.parametrize("lock", EXTRAS)
def test_what_something_asks_for_with_an_extra_is_pinned_without_it_too(lock, checkout):
    """A pip older than 24.0 finds it pinned in neither way otherwise."""
    held = {pin.partition(" ")[0] for pin in pins((checkout / lock).read_text())}
    with_extras = {pin for pin in held if "[" in pin}
    assert {re.sub(r"\[.*\]", "", pin) for pin in with_extras} <= held


@pytest.mark.parametrize("lock", EXTRAS)
def test_openvino_is_in_the_locks_of_a_local_component(lock, checkout):
    expected = set() if lock in {"requirements.lock", ALONE} else LOCAL
    assert LOCAL & names((checkout / lock).read_text()) == expected


def test_the_build_is_tested_with_its_own_requirement(checkout):
    project = tomllib.loads((checkout / "pyproject.toml").read_text())
    (backend,) = project["build-system"]["requires"]
    assert backend in project["project"]["optional-dependencies"]["test"]
    assert backend in pins((checkout / "requirements-test.lock").read_text())


@pytest.mark.parametrize("lock", EXTRAS)
def test_versions_are_those_of_the_largest_lock(lock, checkout):
    def versions(name):
        return {pin.partition(" ")[0] for pin in pins((checkout / name).read_text())}

    assert versions(lock) <= versions("requirements-test.lock")
