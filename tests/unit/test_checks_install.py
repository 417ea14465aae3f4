"""The checks of the install: every state, by what lies on the disk."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest
from checks_host import context, facts, install, note, one, write

from local_opus import __version__, environment, resources
from local_opus.checks import (
    drift,
    leftovers,
    locks,
    partials,
    receipt,
    secrets,
    telemetry,
    upgrade_room,
)
from local_opus.checks import environment as environment_check
from local_opus.errors import WorkerError
from local_opus.history import Event
from local_opus.host import Space
from local_opus.locations import Locations
from local_opus.receipts import Receipt
from local_opus.restoring import Damage

CHECKS = (receipt, drift, environment_check, upgrade_room)


@pytest.mark.parametrize("check", CHECKS)
def test_nothing_installed_is_no_problem(host, check):
    found = one(check.CHECK, context(host))
    assert (found.state, found.evidence) == (
        "not applicable",
        "nothing is installed in the scope user",
    )


def test_without_secrets_none_is_closed(host):
    found = one(secrets.CHECK, context(host))
    assert (found.state, found.evidence) == (
        "not applicable",
        "no receipt, no config and no token is here",
    )


@pytest.mark.parametrize("check", [leftovers, locks, partials])
def test_what_looks_at_files_alone_passes_where_there_are_none(host, check):
    assert one(check.CHECK, context(host)).state == "pass"


# -- receipt -----------------------------------------------------------------------------------


def test_a_sound_receipt(host):
    install(host)
    found = one(receipt.CHECK, context(host))
    assert (found.state, "profile local-opus, model smollm2-135m" in found.evidence) == (
        "pass",
        True,
    )


def cut(text: str) -> str:
    return text[: len(text) // 2] + text[len(text) // 2 + 40 :]


@pytest.mark.parametrize(
    ("damage", "words"),
    [(cut, "receipt.jsonl"), (lambda _: "", "receipt"), (lambda text: text.replace("local-opus", "military"), "receipt")],
)  # fmt: skip
def test_a_damaged_receipt_fails_once_and_the_rest_says_where_to_look(host, places, damage, words):
    install(host)
    path = Path(f"{host.root}{places.receipt}")
    path.write_text(damage(path.read_text()))
    before = path.read_bytes()
    at = context(host)
    found = one(receipt.CHECK, at)
    assert (found.state, words in found.evidence) == ("fail", True), found
    assert found.fix is not None
    assert found.fix.text
    other = one(drift.CHECK, at)
    assert (other.state, other.evidence) == (
        "not applicable",
        "the receipt can't be read: see its own check",
    )
    assert path.read_bytes() == before


def test_a_receipt_that_is_closed_to_this_user(host, places, monkeypatch):
    install(host)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", places.receipt)

    monkeypatch.setattr(Receipt, "_read", refuse)
    at = context(host)
    found = one(receipt.CHECK, at)
    assert (found.state, "closed to this user" in found.evidence) == ("warn", True)
    assert found.fix is not None
    assert found.fix.commands == ("sudo local-opus doctor",)
    assert one(drift.CHECK, at).evidence == "the receipt is closed to this user"


def test_a_run_that_was_killed(host, places):
    install(host)
    Receipt(host, places.receipt).append(Event.RUN, data={"profile": "local-opus"})
    found = one(receipt.CHECK, context(host))
    assert (found.state, "did not end" in found.evidence) == ("fail", True)
    assert found.fix is not None
    assert found.fix.commands[0].startswith(
        "local-opus install --profile local-opus --model smollm2"
    )


def test_a_run_that_is_at_work_is_no_failure(host, places):
    install(host)
    Receipt(host, places.receipt).append(Event.RUN, data={"profile": "local-opus"})
    with path_of(host, places.lock).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = one(receipt.CHECK, context(host))
    assert (found.state, "a run is at work now" in found.evidence) == ("warn", True)


def test_another_version_is_installed(host, places):
    install(host)
    log = Receipt(host, places.receipt)
    log.append(Event.RUN, data={**log.history.last_run, "program": "0.0.1"})
    log.append(Event.FINISHED)
    found = one(receipt.CHECK, context(host))
    assert found.state == "warn"
    assert f"version 0.0.1 is installed, and this is {__version__}" in found.evidence


def test_an_install_whose_weights_stayed_counts_as_none(host, places):
    install(host)
    Receipt(host, places.receipt).append(Event.LEFT)
    assert one(drift.CHECK, context(host)).state == "not applicable"


# -- drift -------------------------------------------------------------------------------------


def path_of(host, path: str) -> Path:  # type: ignore[no-untyped-def]
    return Path(f"{host.root}{path}")


def remove(host, places: Locations) -> None:  # type: ignore[no-untyped-def]
    path_of(host, f"{places.config}/a.json").unlink()


def open_up(host, places: Locations) -> None:  # type: ignore[no-untyped-def]
    path_of(host, f"{places.config}/a.json").chmod(0o644)


def half_write(host, places: Locations) -> None:  # type: ignore[no-untyped-def]
    write(host, f"{places.config}/.a.json.local-opus-new", "half")


def folder_mode(host, places: Locations) -> None:  # type: ignore[no-untyped-def]
    path_of(host, places.config).chmod(0o755)


def unlink(host, places: Locations) -> None:  # type: ignore[no-untyped-def]
    path_of(host, f"{places.commands}/local-opus").unlink()


def edit(host, places: Locations) -> None:  # type: ignore[no-untyped-def]
    path_of(host, f"{places.config}/a.json").write_text('{"mine": 1}')


def nothing(host, places: Locations) -> None:  # type: ignore[no-untyped-def]
    pass


@pytest.mark.parametrize(
    ("damage", "state", "words", "fixable"),
    [
        (nothing, "pass", "9 actions of the receipt are as they were left", False),
        (remove, "fail", "a.json: missing", True),
        (open_up, "fail", "a.json: mode 0644", True),
        (half_write, "fail", "a.json: a half-written one beside it", True),
        (folder_mode, "fail", "local-opus: mode 0755", True),
        (unlink, "fail", "bin/local-opus: missing", True),
        (edit, "warn", "a.json: edited since it was written (kept as it is)", False),
    ],
)
def test_drift(host, damage, state, words, fixable):
    places = install(host)
    damage(host, places)
    found = one(drift.CHECK, context(host))
    assert (found.state, found.fixable, words in found.evidence) == (state, fixable, True), found


def test_several_are_counted_and_listed(host):
    places = install(host)
    remove(host, places)
    unlink(host, places)
    path_of(host, f"{places.config}/b.json").write_text("edited")
    found = one(drift.CHECK, context(host))
    assert found.evidence == "2 things are missing or damaged"
    assert len(found.details) == 3


def test_what_an_install_alone_can_make_again_is_not_fixable_here(host):
    places = install(host)
    note(host, places, "group", "create_group", name="no-such-group-here")
    found = one(drift.CHECK, context(host))
    assert (found.state, found.fixable) == ("fail", False)
    assert found.fix is not None
    assert found.fix.commands[0].startswith("local-opus install --profile local-opus")


TUNED = Damage("tuning", "tune_openvino", "tuned.json", "not tuned", is_safe=False)
OF_MACHINE = Damage("machine", "tune_machine", "machine.json", "missing", is_safe=False)


@pytest.mark.parametrize(
    ("damages", "commands"),
    [
        ([TUNED], ("local-opus tune",)),
        ([OF_MACHINE], ("local-opus tune --machine",)),
        ([TUNED, OF_MACHINE], ("local-opus tune --machine", "local-opus tune")),
    ],
)
def test_what_was_measured_is_measured_anew_by_the_user_alone(host, monkeypatch, damages, commands):
    install(host)
    monkeypatch.setattr(drift, "damages", lambda *_: damages)
    found = one(drift.CHECK, context(host))
    assert (found.state, found.fixable) == ("warn", False)
    assert found.fix is not None
    assert found.fix.commands == commands


# -- environment -------------------------------------------------------------------------------

LOCK = "requirements-server.lock"


def made(
    host, places: Locations, packages: dict[str, str], lock: str = LOCK, digest: str | None = None
) -> str:  # type: ignore[no-untyped-def]
    import hashlib

    folder = f"{places.prefix}/env-x"
    sha = digest or hashlib.sha256(resources.read("locks", lock).encode()).hexdigest()
    note(host, places, "environment:x", "create_environment", folder=folder, lock=lock, lock_sha256=sha,
         program_sha256="0" * 64, interpreter="/usr/bin/python3", python="3.11")  # fmt: skip
    write(host, f"{folder}/bin/python")
    site = f"{folder}/lib/python3.11/site-packages"
    host.files.make_folders(site)
    for name, version in packages.items():
        host.files.make_folders(f"{site}/{name}-{version}.dist-info")
    return folder


def pinned() -> dict[str, str]:
    import hashlib

    sha = hashlib.sha256(resources.read("locks", LOCK).encode()).hexdigest()
    return {pin.name.replace("-", "_"): pin.version for pin in environment_check._pins(LOCK, sha)}


def test_the_lock_is_read_with_its_markers():
    found = pinned()
    assert found["openvino"] == "2026.4.1"
    assert "colorama" not in found
    assert len(found) > 30


@pytest.mark.parametrize(
    ("changes", "openvino", "state", "words"),
    [
        ({}, "2026.4.1-22982-x", "pass", "as requirements-server.lock pins them; OpenVINO 2026.4.1 answers"),
        ({"click": None}, "2026.4.1-x", "fail", "click is missing, the lock says"),
        ({"click": "1.0"}, "2026.4.1-x", "fail", "click 1.0, the lock says"),
        ({}, None, "fail", "OpenVINO does not answer: it crashed"),
        ({}, "2025.1.0-1-x", "fail", "OpenVINO says 2025.1.0-1-x, and its package is 2026.4.1"),
    ],
)  # fmt: skip
def test_environment(host, changes, openvino, state, words):
    places = install(host)
    packages = {name: version for name, version in {**pinned(), **changes}.items() if version}
    made(host, places, packages)
    problem = None if openvino else "it crashed"
    of = facts(openvino={"version": openvino, "problem": problem})
    found = one(environment_check.CHECK, context(host, of=of))
    assert (found.state, words in found.evidence) == (state, True), found
    assert (found.fix is None) == (state == "pass")


def test_the_lock_of_another_version_is_not_compared(host):
    made(host, install(host), {"openvino": "2026.4.1"}, digest="1" * 64)
    found = one(environment_check.CHECK, context(host))
    assert (found.state, "of another version's lock" in found.evidence) == ("pass", True)


def test_an_environment_without_its_python(host):
    folder = made(host, install(host), pinned())
    path_of(host, f"{folder}/bin/python").unlink()
    found = one(environment_check.CHECK, context(host))
    assert (found.state, "bin/python: missing" in found.evidence) == ("fail", True)


def test_hidden_facts_leave_openvino_unasked(host):
    made(host, install(host), pinned())
    found = one(environment_check.CHECK, context(host, of=WorkerError("no facts", "")))
    assert (found.state, "OpenVINO not asked" in found.evidence) == ("pass", True)


@pytest.mark.parametrize(
    ("free", "state"), [(environment.ROOM[LOCK], "pass"), (environment.ROOM[LOCK] - 1, "warn")]
)
def test_room_for_an_upgrade(host, monkeypatch, free, state):
    made(host, install(host), {})
    monkeypatch.setattr(host.files, "space", lambda _path: Space(10**12, free, None))
    found = one(upgrade_room.CHECK, context(host))
    assert (found.state, "an upgrade takes 400 MiB" in found.evidence) == (state, True)


# -- telemetry ---------------------------------------------------------------------------------

OFF = {"openvino_telemetry": "shut out", "hub_telemetry": "off", "do_not_track": True}


@pytest.mark.parametrize(
    ("said", "state", "words"),
    [
        (OFF, "pass", "openvino_telemetry is shut out, huggingface_hub's off"),
        ({**OFF, "openvino_telemetry": "importable"}, "fail", "openvino_telemetry can be imported"),
        ({**OFF, "hub_telemetry": "on"}, "fail", "huggingface_hub's telemetry is on"),
        ({**OFF, "do_not_track": False}, "fail", "DO_NOT_TRACK is not set"),
        ({}, "fail", "DO_NOT_TRACK"),
        (WorkerError("telemetry worker ended without an answer (SIGSEGV)", "Run it."), "fail", "SIGSEGV"),
    ],
)  # fmt: skip
def test_telemetry(host, said, state, words):
    host.processes.workers["telemetry"] = said
    found = one(telemetry.CHECK, context(host))
    assert (found.state, words in found.evidence) == (state, True), found


@pytest.mark.parametrize(("text", "words"), [("1", "agreed"), ("0", "declined"), ("", "nothing")])
def test_what_the_user_told_intel_is_named(host, text, words):
    host.processes.workers["telemetry"] = OFF
    write(host, "/home/user/intel/openvino_telemetry", text)
    found = one(telemetry.CHECK, context(host))
    assert found.evidence.endswith(f"~/intel/openvino_telemetry says {words}")


def test_a_real_worker_has_telemetry_off():
    from local_opus.host import Host

    said = Host().processes.worker("telemetry", {}, timeout=30)
    assert said["openvino_telemetry"] in {"shut out", "not installed"}
    assert (said["hub_telemetry"], said["do_not_track"]) == ("off", True)


# -- secrets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "mode", "fixable", "command"),
    [
        ("{config}/a.json", 0o644, True, "local-opus doctor --fix"),
        ("{config}", 0o755, True, "local-opus doctor --fix"),
        ("{state}/receipt.jsonl", 0o640, True, "local-opus doctor --fix"),
        ("{state}/receipt.head", 0o604, True, "local-opus doctor --fix"),
        ("{state}/receipt.jsonl.damaged-1", 0o644, True, "local-opus doctor --fix"),
        ("/home/user/.cache/huggingface/token", 0o644, False, "chmod 0600 /home/user/.cache/huggingface/token"),
    ],
)  # fmt: skip
def test_a_secret_that_others_can_read(host, path, mode, fixable, command):
    places = install(host)
    where = path.format(config=places.config, state=places.state)
    if not path_of(host, where).exists():
        write(host, where, "x")
    path_of(host, where).chmod(mode)
    found = one(secrets.CHECK, context(host))
    assert (found.state, found.fixable) == ("fail", fixable), found
    assert f"{where}: mode {mode:04o}" in found.evidence
    assert found.fix is not None
    assert command in found.fix.commands


def test_what_a_link_leads_to_is_not_ours_to_close(host):
    places = install(host)
    write(host, "/elsewhere", "x", 0o644)
    path_of(host, f"{places.config}/a.json").unlink()
    path_of(host, f"{places.config}/a.json").symlink_to("/elsewhere")
    found = one(secrets.CHECK, context(host))
    assert (found.state, found.fixable) == ("fail", False), found
    assert found.fix is not None
    assert found.fix.commands == (f"chmod 0600 {places.config}/a.json",)


def test_closed_secrets_pass(host):
    install(host)
    write(host, "/home/user/.cache/huggingface/token", "hf_x", 0o600)
    found = one(secrets.CHECK, context(host))
    assert (found.state, found.evidence) == ("pass", "7 files and folders are closed to others")


def test_one_of_another_user_is_named_with_its_owner(host):
    places = install(host)
    host.euid += 1
    found = one(secrets.CHECK, context(host))
    assert (found.state, found.fixable) == ("fail", False)
    assert found.fix is not None
    assert any(command == f"sudo chown $USER: {places.receipt}" for command in found.fix.commands)


# -- leftovers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("{pid_file}", '{"pid": 4194305, "started": "7"}', "names a process that has ended"),
        ("{pid_file}", "garbage", "names a process that has ended"),
        ("{config}/.models.toml.local-opus-new", "x", "half-written by a killed run"),
        ("{prefix}/bin/.x.sh.local-opus-new", "x", "half-written by a killed run"),
        ("/home/user/.local/.local-opus-arriving/x", "", "a killed run's folder on its way"),
    ],
)
def test_leftovers(host, path, text, words):
    places = install(host)
    where = path.format(pid_file=places.pid_file, config=places.config, prefix=places.prefix)
    write(host, where, text)
    found = one(leftovers.CHECK, context(host))
    assert (found.state, found.fixable, words in found.evidence) == ("warn", True, True), found


def test_the_pid_file_of_a_server_that_runs_is_none(host):
    places = install(host)
    fields = " ".join(["S", *(["0"] * 18), "77"])
    write(host, "/proc/4242/stat", f"4242 (python) {fields}")
    write(host, places.pid_file, json.dumps({"pid": 4242, "started": "77"}))
    assert one(leftovers.CHECK, context(host)).state == "pass"


def test_what_a_run_writes_now_is_its_own(host):
    places = install(host)
    write(host, f"{places.config}/.a.json.local-opus-new", "x")
    with path_of(host, places.lock).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = one(leftovers.CHECK, context(host))
    assert (found.state, "at work" in found.evidence) == ("pass", True)


# -- locks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("letter", "hours", "state", "words"),
    [
        ("S", 0, "pass", "a run is at work (PID 4242"),
        ("S", 7, "warn", "held by PID 4242 for 7 hours"),
        ("T", 0, "warn", "held by PID 4242 (stopped)"),
        ("Z", 0, "warn", "held by PID 4242 (dead, not waited for)"),
        (None, 0, "pass", "a run is at work"),
    ],
)
def test_locks(host, letter, hours, state, words):
    places = install(host)
    if letter:
        write(host, "/proc/4242/stat", f"4242 (a) b) {letter} 1 2")
    path = path_of(host, places.lock)
    path.write_text("4242\n")
    now = path.stat().st_mtime - hours * 3600
    os.utime(path, (now, now))
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = one(locks.CHECK, context(host))
    assert (found.state, words in found.evidence) == (state, True), found


def test_a_lock_of_the_store_counts_too_and_a_free_one_does_not(host):
    places = install(host)
    lock = path_of(host, f"{places.models}/tiny/.partial/gguf-q4.lock")
    write(host, f"{places.models}/tiny/.partial/gguf-q4.lock", "4242\n")
    assert one(locks.CHECK, context(host)).evidence == "no run is at work"
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "PID 4242" in one(locks.CHECK, context(host)).evidence


# -- partials ----------------------------------------------------------------------------------


def test_an_orphan_and_one_that_is_worked_on(host, places):
    write(host, f"{places.models}/tiny/.partial/gguf-q4/f", "x" * 2048)
    found = one(partials.CHECK, context(host))
    assert (found.state, found.fixable) == ("warn", True)
    assert found.evidence.endswith("tiny/.partial/gguf-q4: 2 KiB")
    lock = f"{places.models}/tiny/.partial/gguf-q4.lock"
    write(host, lock)
    with path_of(host, lock).open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = one(partials.CHECK, context(host))
    assert (found.state, "a process works on it" in found.evidence) == ("pass", True)
