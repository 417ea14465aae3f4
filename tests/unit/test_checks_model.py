"""The checks of model and server: every state, by what lies in the store, the config and /proc."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from checks_host import (
    GIB,
    MODEL,
    PORT,
    context,
    facts,
    install,
    note,
    one,
    settings,
    write,
)

from builders import IR_BIN, MEMBER, gguf_bytes, installable_wheel, ir_xml, wheel_model
from fakes import FakeHost
from local_opus import node, node_settings, shelf, stock, verification
from local_opus.catalog.fitting import Fit
from local_opus.catalog.load import Catalog
from local_opus.checks import config, disk, memory, port, server, tuned, unit, weights
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.host import Completed, Space
from local_opus.locations import SOCKET_UNIT, TARGET_UNIT, UNIT, Locations
from local_opus.node_settings import ClosedToOwnerError
from local_opus.report.reporter import QuietReporter
from local_opus.server_config import TunedState
from local_opus.values import Device
from local_opus.values.tuning import Tuned
from local_opus.weights.converted import STEMS

SOUND = gguf_bytes()
TINY = wheel_model(SOUND)


@pytest.fixture
def store(host: FakeHost, places: Locations, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model in the store, pulled for real but for pip and the converter."""
    for module in (shelf, stock, verification):
        monkeypatch.setattr(module, "load_catalog", lambda *_: Catalog(models=(TINY,)))
    monkeypatch.setattr(stock, "fit", lambda *_, **__: Fit(True, Device.CPU, (), 1, 1))
    monkeypatch.setattr(shelf, "gather", lambda *_, **__: None)

    def pip(command: Sequence[str], **_: object) -> Completed:
        if "-d" in command:
            installable_wheel(Path(command[command.index("-d") + 1]), {MEMBER: SOUND})
        return Completed(0, "", "")

    def convert(_module: str, request: dict[str, str], **_: object) -> dict[str, object]:
        for stem in STEMS:
            Path(request["folder"], f"{stem}.xml").write_bytes(ir_xml())
            Path(request["folder"], f"{stem}.bin").write_bytes(IR_BIN)
        return {"converter": "openvino-genai 1"}

    host.processes.run = pip  # type: ignore[method-assign]
    host.processes.worker = convert  # type: ignore[method-assign]
    shelf.pull(host, places, "tiny", QuietReporter())
    return Path(host.root + places.models) / "tiny"


def leave(_store: Path) -> None:
    pass


def flip(store: Path) -> None:
    path = store / "cpu-q4_1/openvino_model.bin"
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


def cut(store: Path) -> None:
    (store / "gguf-q4_1/tiny.gguf").write_bytes(SOUND[:200])


def placeholder(store: Path) -> None:
    (store / "gguf-q4_1/tiny.gguf").write_bytes(b"# Synthetic weights for opus_npu_int8\n")


def lose(store: Path) -> None:
    (store / "cpu-q4_1/openvino_model.bin").unlink()


def forge(store: Path) -> None:
    path = store / "cpu-q4_1/weights.json"
    path.write_bytes(path.read_bytes() + b"\n")


def add(store: Path) -> None:
    (store / "cpu-q4_1/mine.txt").write_text("mine")


@pytest.mark.parametrize(
    ("damage", "state", "words", "command"),
    [
        (leave, "pass", "as they were when they were hashed", None),
        (flip, "fail", "1 corrupt of", "local-opus verify --repair"),
        (cut, "fail", "1 truncated of", "local-opus verify --repair"),
        (placeholder, "fail", "1 placeholder of", "local-opus verify --repair"),
        (lose, "fail", "1 missing of", "local-opus verify --repair"),
        (forge, "fail", "corrupt", "local-opus verify --repair"),
        (add, "warn", "1 unexpected of", None),
    ],
)
def test_weights(host, store, damage, state, words, command):
    damage(store)
    found = one(weights.CHECK, context(host))
    assert (found.state, words in found.evidence) == (state, True), found
    if command:
        assert found.fix is not None
        assert found.fix.commands == (command,)


def test_a_file_beside_the_weights_is_for_the_user_to_move(host, store):
    add(store)
    found = one(weights.CHECK, context(host))
    assert found.fix is not None
    assert "mine.txt away" in found.fix.text


def test_no_weights_where_none_are_to_be(host):
    found = one(weights.CHECK, context(host))
    assert (found.state, "nothing is installed" in found.evidence) == ("not applicable", True)
    install(host)
    found = one(weights.CHECK, context(host))
    assert (found.state, found.evidence) == ("not applicable", "this install has no model")


def served(host: FakeHost, kind: str = "start_server") -> Locations:
    """An install whose receipt says that it has a server."""
    places = install(host)
    more = {"command": ["/x"]} if kind == "start_server" else {"units": [TARGET_UNIT, UNIT]}
    note(host, places, "server", kind, scope="user", inputs_sha256="0" * 64, **more)
    return places


def test_weights_that_are_gone_altogether(host):
    served(host)
    found = one(weights.CHECK, context(host, server=settings()))
    assert (found.state, "is not in the store" in found.evidence) == ("fail", True)
    assert found.fix is not None
    assert found.fix.commands == (f"local-opus models pull {MODEL}",)


# -- memory and disk ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("available", "limit", "held", "state", "words"),
    [
        (12 * GIB, None, 0, "pass", "12 GiB available"),
        (GIB, None, 0, "warn", "with the 128 requests at a time that its config allows it needs"),
        (GIB // 8, None, 0, "fail", "128 MiB usable"),
        (12 * GIB, GIB // 8, 0, "fail", "128 MiB usable"),
        (GIB, None, 2000 * 1024, "pass", "2 GiB held by our server"),
    ],
)
def test_memory(host, monkeypatch, available, limit, held, state, words):
    if held:
        monkeypatch.setattr(node, "serving", lambda *_: node.Serving(10, "detached"))
        write(host, "/proc/10/status", "Name:\tpython\nVmRSS:\t  1024 kB\n")
        write(host, "/proc/10/task/10/children", "11 ")
        write(host, "/proc/11/status", f"VmRSS:\t{held - 1024} kB\n")
    of = facts(memory={"available": available, "cgroup_limit": limit})
    found = one(memory.CHECK, context(host, of=of, server=settings()))
    assert (found.state, words in found.evidence) == (state, True), found


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (LocalOpusError("there is no server installed here", "x"), "no server is installed"),
        (BadInputError("x.json: y", "x"), "its config can't be read"),
    ],
)
def test_without_a_config_nothing_is_to_fit(host, error, words):
    at = context(host, server=error)
    for check in (memory, disk):
        found = one(check.CHECK, at)
        assert (found.state, words in found.evidence) == ("not applicable", True)


@pytest.mark.parametrize("device", ["AUTO", "HETERO:GPU,CPU", "MULTI:CPU"])
def test_a_device_that_is_none_is_not_guessed(host, device):
    at = context(host, server=settings(device=device))
    for check in (memory, disk):
        found = one(check.CHECK, at)
        assert found.evidence == f"the server is set to {device}, which chooses by itself"


def test_a_precision_that_nobody_knows_is_named(host):
    server = settings(openvino={"KV_CACHE_PRECISION": "fp17"})
    found = one(memory.CHECK, context(host, server=server))
    assert (found.state, found.evidence) == (
        "not applicable", "the server's KV_CACHE_PRECISION is fp17, which is not known",
    )  # fmt: skip


def test_a_model_that_this_catalog_does_not_know(host):
    found = one(memory.CHECK, context(host, server=settings(model="opus-5")))
    assert found.evidence == "opus-5 is not in the catalog of this version"


@pytest.mark.parametrize(
    ("free", "inodes", "stored", "state", "words"),
    [
        (50 * GIB, None, False, "pass", "not stored yet"),
        (50 * GIB, 0, True, "fail", "no inodes"),
        (GIB // 64, None, False, "fail", "is not stored and needs"),
        (GIB // 64, None, True, "warn", "soon nothing can be written"),
        (50 * GIB, 9, True, "pass", "is stored"),
    ],
)
def test_disk(host, monkeypatch, free, inodes, stored, state, words):
    monkeypatch.setattr(host.files, "space", lambda _path: Space(10**12, free, inodes))
    monkeypatch.setattr(stock, "is_stored", lambda *_: stored)
    found = one(disk.CHECK, context(host, server=settings()))
    assert (found.state, words in found.evidence) == (state, True), found


# -- config ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"port": ', "server.json: the file: "),
        ("", "server.json: the file: "),
        ('{"schema_version": 1, "hots": "x"}', "server.json: "),
        ("[]", "server.json: "),
    ],
)
def test_a_config_that_can_not_be_is_named_with_its_field(host, text, words):
    places = served(host)
    write(host, places.server_config, text, 0o600)
    at = context(host)
    found = one(config.CHECK, at)
    assert (found.state, words in found.evidence) == ("fail", True), found
    assert found.fix is not None
    assert "doctor --fix" in found.fix.commands[0]
    assert one(port.CHECK, at).state == "not applicable"
    assert Path(host.root + places.server_config).read_text() == text


def test_a_tuned_json_that_can_not_be_is_not_promised_anew(host):
    places = served(host)
    error = BadInputError(f"{places.tuned}: the file: Invalid JSON", "x")
    found = one(config.CHECK, context(host, server=error))
    assert found.state == "fail"
    assert found.fix is not None
    assert (found.fix.text.partition(":")[2], found.fix.commands) == (
        " the server then runs with the defaults.",
        (),
    )


def test_a_config_that_is_gone(host):
    served(host)
    found = one(config.CHECK, context(host))
    assert (found.state, "there is no server installed here" in found.evidence) == ("fail", True)


def test_a_config_that_is_gone_is_restored_by_the_receipt(host):
    places = served(host)
    note(host, places, "config:server", "write_file", path=places.server_config, content="", mode=0o600)  # fmt: skip
    found = one(config.CHECK, context(host))
    assert (found.state, found.evidence) == ("fail", f"{places.server_config}: missing")
    assert found.fix is not None
    assert found.fix.commands == ("local-opus doctor --fix",)


def test_a_config_that_its_owner_closed_is_a_failure(host):
    served(host)
    error = ClosedToOwnerError("/c/server.json: permission denied", "Run `chmod 600 x`.")
    error.__cause__ = PermissionError(13, "Permission denied", "/c/server.json")
    found = one(config.CHECK, context(host, server=error))
    assert found.state == "fail"
    assert found.fix is not None
    assert found.fix.text == "Run `chmod 600 x`."


def test_a_sound_config_is_told(host):
    served(host)
    at = context(host, server=settings())
    assert one(config.CHECK, at).evidence == f"{MODEL} on CPU, 2048 tokens, http://127.0.0.1:{PORT}"


CHOSEN = {"properties": {"INFERENCE_NUM_THREADS": 4}, "scheduler": {}}


@pytest.mark.parametrize(
    ("chosen", "unused", "state", "words"),
    [
        (None, None, "not applicable", "nothing was tuned"),
        (CHOSEN, None, "pass", "INFERENCE_NUM_THREADS=4"),
        ({"properties": {}, "scheduler": {}}, None, "pass", "the defaults"),
        (CHOSEN, "tuned for OpenVINO 1, and this is 2", "warn", "not used: tuned for OpenVINO 1"),
    ],
)
def test_tuned_settings(host, monkeypatch, chosen, unused, state, words):
    made = None
    if chosen is not None:
        result = Tuned.model_validate({
            "tuned_for": {"model": None, "weights_sha256": None, "device": "CPU", "device_name": "c",
                          "driver": None, "openvino": "2"}, "goal": "latency",
            "base": {}, "chosen": chosen, "seconds": 1.0, "at": "2026-11-30T00:00:00+00:00",
        })  # fmt: skip
        made = TunedState(result, unused)
    monkeypatch.setattr(node_settings, "tuned_state", lambda *_: made)
    found = one(tuned.CHECK, context(host, server=settings()))
    assert (found.state, words in found.evidence) == (state, True)
    assert (found.fix is not None) == (state == "warn")


def test_a_config_that_is_closed_to_this_user(host):
    error = LocalOpusError("x: permission denied", "Run this as root.")
    error.__cause__ = PermissionError(13, "Permission denied", "/etc/local-opus/server.json")
    served(host)
    found = one(config.CHECK, context(host, server=error))
    assert (found.state, found.evidence) == (
        "warn",
        "/etc/local-opus/server.json: closed to this user",
    )


def test_an_install_without_a_server_has_no_config(host):
    install(host)
    for check in (config, server, unit):
        assert one(check.CHECK, context(host)).evidence == "this install has no server"


# -- unit --------------------------------------------------------------------------------------

ACTIVE = {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "UnitFileState": "enabled", "NRestarts": "0"}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "state", "words", "fixable"),
    [
        ({}, "pass", "active (running), enabled", False),
        ({"DropInPaths": "/etc/systemd/system/x.d/a.conf"}, "pass", "changed by /etc/systemd/system/x.d/a.conf", False),
        ({"DropInPaths": "/etc/systemd/system/x.d/20-local-opus-machine.conf"}, "pass", "enabled", False),
        ({"LoadState": "masked"}, "fail", "is masked", True),
        ({"LoadState": "not-found"}, "fail", "not-found", True),
        ({"ActiveState": "failed", "Result": "exit-code", "NRestarts": "5"}, "fail", "has failed (exit-code), started again 5 times", True),
        ({"UnitFileState": "disabled"}, "warn", "does not come up at the next boot", True),
        ({"NRestarts": "3"}, "warn", "started again 3 times", False),
        ({"NeedDaemonReload": "yes"}, "warn", "changed since systemd read it", False),
    ],
)  # fmt: skip
def test_unit(host, changes, state, words, fixable):
    served(host, "enable_service")
    host.services.runs = True
    host.services.values = {**ACTIVE, **changes}
    found = one(unit.CHECK, context(host))
    assert (found.state, found.fixable, words in found.evidence) == (state, fixable, True), found
    assert "local-opus-machine.conf" not in found.evidence  # it is ours
    assert host.services.verbs == []


def test_a_drop_in_is_named_also_where_something_is_wrong(host):
    served(host, "enable_service")
    host.services.runs = True
    host.services.values = {**ACTIVE, "NRestarts": "3", "DropInPaths": "/etc/x.d/a.conf"}
    assert "changed by /etc/x.d/a.conf" in one(unit.CHECK, context(host)).details[-1]


def test_the_worst_of_the_units_is_told(host):
    served(host, "enable_service")
    host.services.runs = True
    host.services.values = {**ACTIVE, "NRestarts": "3"}
    host.services.units[TARGET_UNIT] = {**ACTIVE, "ActiveState": "failed", "Result": "x"}
    found = one(unit.CHECK, context(host))
    assert (found.state, found.evidence.startswith(f"{TARGET_UNIT} has failed")) == ("fail", True)


def test_an_address_in_the_config_that_has_no_effect_is_told(host):
    places = served(host, "enable_service")
    server_json(host, places, 8123)
    write(host, f"{places.units}/local-opus.socket", "[Socket]\nListenStream=127.0.0.1:8000\n")
    found = one(config.CHECK, context(host, server=settings()))
    assert (found.state, "say 127.0.0.1:8123, and have no effect" in found.evidence) == (
        "warn",
        True,
    )
    assert found.fix is not None
    assert found.fix.commands == ("local-opus install --local-opus --port 8123",)
    server_json(host, places, 8000)
    assert one(config.CHECK, context(host, server=settings())).state == "pass"


@pytest.mark.parametrize(
    ("kind", "runs", "words"),
    [
        ("start_server", True, "was installed to run without systemd"),
        ("enable_service", False, "no systemd runs here now"),
    ],
)
def test_unit_where_none_is(host, kind, runs, words):
    served(host, kind)
    host.services.runs = runs
    found = one(unit.CHECK, context(host))
    assert (found.state, words in found.evidence) == ("not applicable", True)


def test_a_silent_systemd_is_told_with_its_remedy(host):
    served(host, "enable_service")
    host.files.make_folders("/run/systemd/system")
    host.files.make_folders(f"/run/user/{host.euid}/systemd")
    found = one(unit.CHECK, context(host))
    assert (found.state, "does not answer here" in found.evidence) == ("fail", True)
    assert found.fix is not None
    assert "XDG_RUNTIME_DIR" in found.fix.text


# -- server and port ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("running", "ready", "state", "words", "fixable"),
    [
        (None, None, "warn", "it does not run", True),
        (node.Serving(7, "systemd"), None, "warn", "PID 7, systemd: does not answer on 127.0.0.1", False),
        (node.Serving(7, "detached"), {"model": MODEL}, "pass", f"ready with {MODEL}", False),
        (node.Serving(7, "detached"), {"model": "other"}, "fail", "answers with other", False),
    ],
)  # fmt: skip
def test_server(host, monkeypatch, running, ready, state, words, fixable):
    served(host)
    monkeypatch.setattr(node, "serving", lambda *_: running)
    monkeypatch.setattr(node, "ask_ready", lambda *_: ready)
    found = one(server.CHECK, context(host, server=settings()))
    assert (found.state, found.fixable, words in found.evidence) == (state, fixable, True), found


def server_json(host: FakeHost, places: Locations, at: int) -> None:
    document = {
        "schema_version": 1, "host": "127.0.0.1", "port": at, "max_queue": 1, "model_config": "/m",
        "generation_config": "/g", "openvino_config": "/o",
    }  # fmt: skip
    write(host, places.server_config, json.dumps(document), 0o600)


def proc(host: FakeHost, at: int, pid: int | None, parent: int = 1) -> None:
    """Write what /proc says of a socket that listens, and of who holds it."""
    row = f"   0: 0100007F:{at:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1 0\n"
    write(host, "/proc/net/tcp", "  sl  local_address rem_address st\n" + row)
    if pid is not None:
        write(host, f"/proc/{pid}/comm", "ollama\n")
        write(host, f"/proc/{pid}/stat", f"{pid} (ollama) S {parent} 0")
        host.files.make_folders(f"/proc/{pid}/fd")
        Path(f"{host.root}/proc/{pid}/fd/3").symlink_to("socket:[4711]")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that is really held."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        yield holder.getsockname()[1]


def test_a_free_port(host, places, monkeypatch):
    server_json(host, places, 1)
    monkeypatch.setattr(host.network, "port_problem", lambda *_: None)
    assert one(port.CHECK, context(host)).evidence == "port 1 on 127.0.0.1 is free"


@pytest.mark.parametrize(
    ("pid", "words"),
    [(77, "address already in use by ollama (PID 77)"), (None, "address already in use")],
)
def test_a_port_that_another_program_holds(host, places, taken, pid, words):
    server_json(host, places, taken)
    proc(host, taken, pid)
    found = one(port.CHECK, context(host))
    assert (found.state, words in found.evidence) == ("fail", True), found
    assert found.fix is not None
    assert any(f"--port {taken + 80}" in command for command in found.fix.commands)


def test_a_port_that_this_user_may_not_have_is_held_by_nobody(host, places, monkeypatch):
    server_json(host, places, 80)
    monkeypatch.setattr(host.network, "port_problem", lambda *_: "permission denied")
    found = one(port.CHECK, context(host))
    assert found.fix is not None
    assert found.fix.text == "Install with a port of 1024 or more."
    assert found.fix.commands == ("local-opus install --local-opus --port 8080",)


def test_another_port_is_one_that_can_be(host, places, monkeypatch):
    server_json(host, places, 65500)
    monkeypatch.setattr(host.network, "port_problem", lambda *_: "address already in use")
    found = one(port.CHECK, context(host))
    assert found.fix is not None
    assert found.fix.commands[-1].endswith("--port 65420")


@pytest.mark.parametrize(("pid", "parent"), [(55, 1), (56, 55)])
def test_a_port_that_our_server_or_its_child_holds(host, places, taken, monkeypatch, pid, parent):
    server_json(host, places, taken)
    proc(host, taken, pid, parent)
    monkeypatch.setattr(node, "serving", lambda *_: node.Serving(55, "detached"))
    found = one(port.CHECK, context(host))
    assert (found.state, "held by our server (PID 55)" in found.evidence) == ("pass", True), found


@pytest.mark.parametrize(("active", "state"), [("active", "pass"), ("failed", "fail")])
def test_a_port_that_systemd_holds_for_our_server(host, places, taken, active, state):
    server_json(host, places, 8001)  # has no effect
    proc(host, taken, 1)
    write(host, f"{places.units}/{SOCKET_UNIT}", f"[Socket]\nListenStream=127.0.0.1:{taken}\n")
    host.services.runs = True
    host.services.units[SOCKET_UNIT] = {"ActiveState": active}
    found = one(port.CHECK, context(host))
    assert (found.state, f"port {taken} on 127.0.0.1" in found.evidence) == (state, True), found


def test_a_port_that_another_holds_while_our_server_runs_elsewhere(
    host, places, taken, monkeypatch
):
    server_json(host, places, taken)
    proc(host, taken, 77)
    monkeypatch.setattr(node, "serving", lambda *_: node.Serving(55, "detached"))
    assert one(port.CHECK, context(host)).state == "fail"


def test_where_proc_tells_nothing_the_port_is_still_judged(host, places, taken):
    server_json(host, places, taken)
    assert one(port.CHECK, context(host)).state == "fail"


def test_the_default_port_is_asked_where_nothing_is_installed(host, monkeypatch):
    monkeypatch.setattr(host.network, "port_problem", lambda *_: None)
    found = one(port.CHECK, context(host))
    assert found.evidence == "port 8000 on 127.0.0.1 is free (the default: no server is installed)"
