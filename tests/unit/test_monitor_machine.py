"""What the monitor reads of the machine: memory, drivers' errors, weights, units, settings."""

from __future__ import annotations

import errno
import json
import os
import runpy
from pathlib import Path

import checks_host
import pytest
from serving import serve

from builders import IR_BIN, gguf_bytes, ir_xml
from fakes import FakeHost
from local_opus import node, server_config
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.host import Completed
from local_opus.last_good import LastGood
from local_opus.locations import locate
from local_opus.monitor import asking, baseline, device_errors, memory, settings, targets, weights
from local_opus.monitor.history import History
from local_opus.monitor.looking import Monitor
from local_opus.monitor.sight import Canary, Condition, Engine, Health, Weights
from local_opus.values import Scope
from nobody import as_nobody, folder_of_nobody

BENCH = Path(__file__).resolve().parents[2] / "bench"
MODEL = "/models/tiny/cpu-int4"
UNIT = "/system.slice/local-opus.service"


def tiny_model(host) -> str:
    """A folder of a proven model; return its path on the machine."""
    folder = Path(f"{host.root}{MODEL}")
    folder.mkdir(parents=True)
    for name, data in {
        "tiny.gguf": gguf_bytes(),
        "openvino_model.xml": ir_xml(),
        "openvino_model.bin": IR_BIN,
    }.items():
        (folder / name).write_bytes(data)
    runpy.run_path(str(BENCH / "verify_speed.py"))["listed"](folder)
    return MODEL


def write(host, path: str, text: str) -> None:
    host.files.make_folders(path.rpartition("/")[0])
    host.files.write_atomic(path, text.encode())


def test_memory_is_that_of_server_and_engine_and_of_the_units_cgroup(host):
    for pid, rss, pss in ((7, 100, 90), (8, 400, 380)):
        write(host, f"/proc/{pid}/status", f"Name:\tpython\nVmRSS:\t  {rss} kB\n")
        write(
            host,
            f"/proc/{pid}/smaps_rollup",
            f"00-ff ---p [rollup]\nRss: {rss} kB\nPss: {pss} kB\n",
        )
    folder = f"/sys/fs/cgroup{UNIT}"
    for name, text in {"memory.current": "900\n", "memory.stat": "anon 500\nfile 300\n",
                       "memory.peak": "1000\n", "memory.max": "max\n"}.items():  # fmt: skip
        write(host, f"{folder}/{name}", text)
    found = memory.look(host, [7, 8], UNIT)
    assert (found.rss_bytes, found.pss_bytes) == (500 * 1024, 470 * 1024)
    assert (found.current_bytes, found.anonymous_bytes) == (900, 500)
    assert (found.peak_bytes, found.limit_bytes, found.own) == (1000, None, 500)


def test_memory_that_is_half_known_is_no_figure(host):
    write(host, "/proc/7/status", "VmRSS: 100 kB\n")
    found = memory.look(host, [7, 8], None)
    assert (found.rss_bytes, found.current_bytes) == (None, None)


@pytest.mark.parametrize("cgroup", ["/", "/../../etc", "", None])
def test_the_cgroup_of_the_whole_machine_is_not_the_servers(host, cgroup):
    write(host, "/sys/fs/cgroup/memory.current", "900\n")
    write(host, "/etc/memory.current", "900\n")
    assert memory.look(host, [], cgroup).current_bytes is None


LINES = [
    ("[drm] Initialized i915 1.6.0 20230929 for 0000:00:02.0 on minor 0", False),
    ("i915 0000:00:02.0: [drm] GPU HANG: ecode 12:1:85dffffb, in python3 [4242]", True),
    ("xe 0000:03:00.0: [drm] *ERROR* GT0: Timedout job: seqno=4294967169", True),
    ("xe 0000:03:00.0: [drm] Xe device coredump has been created", False),
    ("intel_vpu 0000:00:0b.0: [drm] *ERROR* ivpu_pm_recovery_work(): TDR detected", True),
    ("intel_vpu 0000:00:0b.0: [drm] ivpu_fw_request(): Failed to request firmware: -2", False),
    ("nvme nvme0: I/O timeout, reset controller", False),
]


@pytest.mark.parametrize(("line", "is_error"), LINES, ids=range(len(LINES)))
def test_lines_of_the_kernel_that_tell_of_an_error(line, is_error):
    assert device_errors.errors_in([line]) == ((line,) if is_error else ())


def test_a_line_that_comes_often_is_told_once():
    line = LINES[1][0]
    assert device_errors.errors_in([line] * 1000) == (line,)


def test_crash_dumps_of_these_drivers_alone_are_told(host):
    for name, driver in {"devcd1": "xe", "devcd2": "iwlwifi", "devcd3": "intel_vpu"}.items():
        folder = f"/sys/class/devcoredump/{name}/failing_device"
        host.files.make_folders(folder)
        host.files.symlink(f"../../../bus/pci/drivers/{driver}", f"{folder}/driver")
    found = device_errors.look(host, 60)
    assert found.dumps == ("xe left a crash dump, devcd1", "intel_vpu left a crash dump, devcd3")
    assert found.skipped == "no journal here"


def test_a_kernels_log_that_is_closed_is_said(host):
    host.files.make_folders("/run/systemd/system")
    host.processes.answers["journalctl"] = Completed(
        0, "", "Hint: You are currently not seeing messages from other users and the system.\n"
    )
    assert device_errors.look(host, 60).skipped == "the kernel's log is closed to this user"


def test_weights_are_read_again_only_where_they_changed(host, monkeypatch):
    folder = tiny_model(host)
    found, kept = weights.check(host, folder, 7, None)
    assert (found.problem, found.warning) == (None, None)
    assert found.files == 3
    monkeypatch.setattr(weights, "_verify", lambda *_: pytest.fail("they were read again"))
    assert weights.check(host, folder, 7, kept)[0] == found


def test_a_file_that_changed_is_named_and_stays_bad(host):
    folder = tiny_model(host)
    _, kept = weights.check(host, folder, 7, None)
    path = f"{folder}/openvino_model.bin"
    data = host.files.read_bytes(path)
    host.files.write_atomic(path, bytes([data[0] ^ 1]) + data[1:])
    for _ in range(2):
        found, kept = weights.check(host, folder, 7, kept)
        assert found.problem == f"{path}: changed since it was verified"
    host.files.write_atomic(path, data)
    assert weights.check(host, folder, 7, kept)[0].problem is None


def test_a_file_that_was_only_touched_is_fine(host):
    folder = tiny_model(host)
    _, kept = weights.check(host, folder, 7, None)
    path = f"{folder}/openvino_model.bin"
    host.files.write_atomic(path, host.files.read_bytes(path))
    assert weights.check(host, folder, 7, kept)[0].problem is None


def test_a_file_that_is_gone_is_missing(host):
    folder = tiny_model(host)
    host.files.remove(f"{folder}/openvino_model.bin")
    assert (
        weights.check(host, folder, 7, None)[0].problem == f"{folder}/openvino_model.bin: missing"
    )


def test_a_folder_that_is_gone_is_a_problem(host):
    assert weights.check(host, "/models/none", 7, None)[0].problem == "/models/none: not found"


def test_weights_swapped_together_with_their_manifest_are_not_what_was_loaded(host):
    folder = tiny_model(host)
    _, kept = weights.check(host, folder, 7, None)
    path = f"{folder}/weights.json"
    host.files.write_atomic(path, host.files.read_bytes(path) + b" \n")
    found, kept = weights.check(host, folder, 7, kept)
    assert found.problem == f"{path}: changed since it was verified"
    assert weights.check(host, folder, 8, kept)[0].problem is None  # a server that loaded these


def test_another_model_that_was_taken_at_a_reload_is_no_swap(host):
    folder = tiny_model(host)
    _, kept = weights.check(host, folder, 7, None)
    other = "/models/tiny/other"
    host.files.make_folders(other)
    for name in host.files.list(folder):
        data = host.files.read_bytes(f"{folder}/{name}")
        host.files.write_atomic(
            f"{other}/{name}", data + (b" \n" if name == "weights.json" else b"")
        )
    assert weights.check(host, other, 7, kept)[0].problem is None


BAD_SETTINGS = [
    ('{"schema_version": 1, "interval_seconds": 0}', "interval_seconds"),
    ('{"schema_version": 1, "interval_seconds": "often"}', "interval_seconds"),
    ('{"schema_version": 1, "interval_seconds": NaN}', "interval_seconds"),
    ('{"schema_version": 1, "sick_after": -1}', "sick_after"),
    ('{"schema_version": 1, "intervall_seconds": 30}', "interval_seconds"),
    ('{"schema_version": 2}', "schema_version"),
    ("{", "the file"),
]


@pytest.mark.parametrize(("text", "named"), BAD_SETTINGS, ids=range(len(BAD_SETTINGS)))
def test_settings_of_nonsense_name_the_file_and_the_field(host, places, text, named):
    write(host, settings.path_of(places), text)
    with pytest.raises(BadInputError, match=f"monitor.json: .*{named}|{named}") as raised:
        settings.read(host, places)
    assert settings.path_of(places) in raised.value.message


def test_without_settings_the_defaults_hold(host, places):
    assert settings.read(host, places) == settings.Settings()


def test_a_baseline_of_another_model_is_none(host, places):
    assert baseline.read(host, places, "tiny") is None
    text = json.dumps({"model": "tiny", "tokens_per_second": 40, "first_token_seconds": 0.1,
                       "measured_for": "0" * 64})  # fmt: skip
    write(host, baseline.path_of(places), text)
    assert baseline.read(host, places, "tiny") == 40
    assert baseline.read(host, places, "other") is None


BAD_BASELINES = [
    ("fast", "the file: Invalid JSON"),
    ('{"model": "tiny", "measured_for": 1}', "measured_for: "),
    ('{"speed": 40}', "model: "),
    (None, "not a regular file"),
]


@pytest.mark.parametrize(("text", "named"), BAD_BASELINES, ids=["junk", "field", "unknown", "fifo"])
def test_a_damaged_baseline_is_a_warning(host, places, installed, text, named):
    path = baseline.path_of(places)
    if text is None:
        os.mkfifo(f"{host.root}{path}")
    else:
        write(host, path, text)
    seen = installed.look().servers[0]
    assert seen.baseline_tokens_per_second is None
    (warning,) = seen.warnings
    assert warning.startswith(f"baseline: {path}: {named}")
    assert warning.endswith(". Remove it and install again to have it measured anew.")


@pytest.mark.parametrize("closed", ["config", "config/monitor.json", "config/baseline.json"])
def test_what_is_closed_alone_is_told_and_not_a_closed_folder(closed):
    def steps() -> None:
        host = FakeHost(root)
        places = locate(Scope.USER, host.environ)
        folder = host.files.real_path(places.config)
        files = {
            "monitor.json": settings.path_of(places),
            "baseline.json": baseline.path_of(places),
        }
        for path in files.values():
            write(host, path, "{}")
        os.chmod(closed.replace("config", folder, 1), 0)
        _, note = settings.read_with_note(host, places)
        assert (note is not None) == closed.endswith("monitor.json")
        if closed == "config":
            assert baseline.read(host, places, None) is None
        elif closed.endswith("baseline.json"):
            with pytest.raises(BadInputError, match=r"baseline\.json: permission denied"):
                baseline.read(host, places, None)
        os.chmod(folder, 0o700)

    with folder_of_nobody() as root:
        as_nobody(steps)


def test_no_server_is_told(host, places):
    monitor = Monitor(host, (places,), settings.Settings())
    with pytest.raises(LocalOpusError, match="no server is installed"):
        monitor.look()


@pytest.fixture
def installed(host, places):
    serve(host, places, tiny_model(host))
    return Monitor(host, (places,), settings.Settings())


@pytest.mark.parametrize("state", ["inactive", "failed", "activating", "deactivating"])
def test_a_unit_at_rest_is_not_asked_for_that_would_start_it(host, installed, monkeypatch, state):
    host.services.runs = True
    host.services.units = {"local-opus.service": {"LoadState": "loaded", "ActiveState": state}}
    monkeypatch.setattr(
        "local_opus.host.http_probe.get", lambda *_a, **_k: pytest.fail("it was asked")
    )
    seen = installed.look().servers[0]
    assert seen.canary.skipped == state
    assert seen.condition is not Condition.SICK


@pytest.mark.parametrize(
    ("after", "condition"),
    [("deactivating", Condition.STOPPING), ("inactive", Condition.STOPPED)],
)
def test_one_that_is_stopped_while_the_canary_is_asked_is_not_asked_again(
    host, installed, monkeypatch, after, condition
):
    host.services.runs = True
    unit = {"LoadState": "loaded", "ActiveState": "active", "MainPID": "7"}
    host.services.units = {"local-opus.service": unit}
    asked: list[str] = []

    def health(*_: object) -> tuple[Health, Engine]:
        asked.append("health")
        return Health(seconds=0.01), Engine(state="ready", requests_in_flight=0)

    def canary(*_: object) -> Canary:
        unit["ActiveState"] = after
        return Canary(problem="the answer broke off")

    monkeypatch.setattr(asking, "health", health)
    monkeypatch.setattr(asking, "canary", canary)
    seen = installed.look().servers[0]
    assert asked == ["health"]
    assert seen.canary == Canary(skipped=after)
    assert seen.condition is condition


STALLED = "the engine's loop has not turned for 90 s (its limit is 60 s)"
MEANWHILE = [
    (Engine(state="restarting", reason="it hung", restarts=1), Condition.LOADING,
     ("the engine is restarting: it hung",), "the engine is restarting"),
    (Engine(state="ready", requests_in_flight=3, turn_age=90, turn_limit=60), Condition.SICK,
     (STALLED,), "busy: 2 requests"),
    (Engine(state="ready", requests_in_flight=3), Condition.HEALTHY, (), "busy: 2 requests"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("later", "condition", "reasons", "skipped"),
    MEANWHILE,
    ids=["restarting", "hangs", "busy"],
)
def test_the_engine_is_judged_as_it_was_asked_last(
    host, installed, monkeypatch, later, condition, reasons, skipped
):
    runs(host, 7)
    engines = [Engine(state="ready"), later]
    monkeypatch.setattr(asking, "health", lambda *_: (Health(seconds=0.01), engines.pop(0)))
    monkeypatch.setattr(asking, "canary", lambda *_: Canary(problem="no whole answer"))
    seen = installed.look().servers[0]
    assert (seen.engine, seen.canary) == (later, Canary(skipped=skipped))
    assert (seen.condition, seen.reasons) == (condition, reasons)


def test_a_config_of_nonsense_is_told_and_what_serves_is_looked_at(host, places, installed):
    write(host, f"{places.config}/model.json", "{")
    seen = installed.look().servers[0]
    assert seen.url == "http://127.0.0.1:8000"
    assert any(f"{places.config}/model.json" in warning for warning in seen.warnings)


SOCKET_UNIT = "[Socket]\nListenStream=127.0.0.1:8080\n"
ELSEWHERE = "http://127.0.0.1:9000"


def edit(host, places, **values: object) -> None:
    """Edit ``server.json`` as an admin does."""
    found = json.loads(host.files.read_text(places.server_config))
    write(host, places.server_config, json.dumps(found | values))


def with_socket(host, places) -> None:
    write(host, f"{places.units}/local-opus.socket", SOCKET_UNIT)
    write(host, f"{places.units}/local-opus.service", "[Unit]\nRequires=local-opus.socket\n")


def runs(host, pid: int) -> None:
    host.services.runs = True
    unit = {"LoadState": "loaded", "ActiveState": "active", "MainPID": str(pid)}
    host.services.units = {"local-opus.service": unit}


def answers_at(monkeypatch, *ports: int) -> None:
    """Have a server at these ports; nothing listens elsewhere."""

    def health(_address: str, port: int, _headers: object) -> tuple[Health, Engine | None]:
        if port not in ports:
            return Health(problem="connection refused"), None
        return Health(seconds=0.01), Engine(state="ready")

    monkeypatch.setattr(asking, "health", health)
    monkeypatch.setattr(asking, "canary", lambda *_: Canary(tokens=16))


@pytest.mark.parametrize("nonsense", [False, True])
def test_where_systemd_listens_is_asked_whatever_the_config_says(
    host, places, installed, monkeypatch, nonsense
):
    with_socket(host, places)
    runs(host, 7)
    edit(host, places, port="often" if nonsense else 9000)
    answers_at(monkeypatch, 8080)
    seen = installed.look().servers[0]
    assert (seen.url, seen.condition) == ("http://127.0.0.1:8080", Condition.HEALTHY)


def test_a_socket_of_systemds_that_refuses_is_sick(host, places, installed, monkeypatch):
    with_socket(host, places)
    runs(host, 7)
    answers_at(monkeypatch)
    assert installed.look().servers[0].condition is Condition.SICK


@pytest.mark.parametrize("port", [9000, "often"])
@pytest.mark.parametrize("pid", [7, 8])  # the same process, and one that serves the last good
def test_one_that_opens_its_port_itself_is_asked_where_it_answered_last(
    host, places, installed, monkeypatch, port, pid
):
    edit(host, places, port=8500)
    runs(host, 7)
    answers_at(monkeypatch, 8500)
    installed.look()
    edit(host, places, port=port)
    runs(host, pid)
    for _ in range(2):
        seen = installed.look().servers[0]
        assert (seen.url, seen.condition) == ("http://127.0.0.1:8500", Condition.HEALTHY)


def test_one_that_took_another_port_is_asked_there(host, places, installed, monkeypatch):
    runs(host, 7)
    answers_at(monkeypatch, 8000)
    installed.look()
    edit(host, places, port=9000)
    answers_at(monkeypatch, 9000)
    seen = installed.look().servers[0]
    assert (seen.url, seen.condition) == (ELSEWHERE, Condition.HEALTHY)


def test_one_that_refuses_where_it_answered_is_sick(host, places, installed, monkeypatch):
    runs(host, 7)
    answers_at(monkeypatch, 8000)
    installed.look()
    edit(host, places, port=9000)
    answers_at(monkeypatch)
    seen = installed.look().servers[0]
    assert (seen.url, seen.condition) == ("http://127.0.0.1:8000", Condition.SICK)


@pytest.mark.parametrize("port", [9000, "often"])
def test_one_that_was_never_heard_may_listen_elsewhere(host, places, installed, monkeypatch, port):
    edit(host, places, port=port)
    runs(host, 7)
    answers_at(monkeypatch)
    for _ in range(3):
        seen = installed.look().servers[0]
        assert seen.condition is Condition.LOADING
        assert "nothing tells where it listens" in seen.reasons[0]


def keep_last_good(host, places) -> None:
    good = checks_host.settings(port=8500, model="tiny", model_folder=MODEL)
    folder = node.server_states(places)[-1]
    host.files.make_folders(folder)
    LastGood(host, places.server_config, folder).write(good)


def test_a_config_of_nonsense_leaves_the_last_good_settings(host, places, installed, monkeypatch):
    keep_last_good(host, places)
    edit(host, places, port="often")
    runs(host, 7)
    answers_at(monkeypatch, 8500)
    seen = installed.look().servers[0]
    assert (seen.url, seen.condition) == ("http://127.0.0.1:8500", Condition.HEALTHY)
    assert (seen.model, seen.weights.files) == ("tiny", 3)


@pytest.mark.parametrize("evidence", ["unit", "process"])
def test_a_server_whose_config_is_gone_is_looked_at(host, places, installed, monkeypatch, evidence):
    host.files.discard(places.server_config)
    if evidence == "unit":
        write(host, f"{places.units}/local-opus.service", "[Service]\n")
        runs(host, 7)
    else:
        monkeypatch.setattr(node, "detached", lambda *_: node.Serving(7, "detached"))
        monkeypatch.setattr(node, "started_at", lambda *_: 0.0)
    answers_at(monkeypatch, 8000)
    seen = installed.look().servers[0]
    assert (seen.url, seen.condition) == ("http://127.0.0.1:8000", Condition.HEALTHY)
    assert seen.warnings == (
        f"config: {places.server_config}: missing; `local-opus doctor --fix` writes it anew",
    )


def test_a_config_that_is_gone_leaves_the_last_good_settings(host, places, installed, monkeypatch):
    keep_last_good(host, places)
    write(host, f"{places.units}/local-opus.service", "[Service]\n")
    host.files.discard(places.server_config)
    runs(host, 7)
    answers_at(monkeypatch, 8500)
    seen = installed.look().servers[0]
    assert (seen.url, seen.condition) == ("http://127.0.0.1:8500", Condition.HEALTHY)
    assert (seen.model, seen.weights.files) == ("tiny", 3)


NO_FOLDER = [
    ("server.json", False, "neither its config nor last good settings name them"),
    ("model.json", False, "neither its config nor last good settings name them"),
    ("model.json", True, "the server's config is closed to this user"),
]


@pytest.mark.parametrize(
    ("name", "closed", "skipped"), NO_FOLDER, ids=["server", "model", "closed"]
)
def test_weights_that_nothing_names_are_said_to_be_skipped(
    host, places, installed, monkeypatch, name, closed, skipped
):
    runs(host, 7)
    answers_at(monkeypatch, 8000)
    if closed:
        denied = PermissionError(errno.EACCES, "Permission denied")

        def refused(*_: object) -> None:
            raise denied

        monkeypatch.setattr(server_config, "model_file", refused)
    else:
        write(host, f"{places.config}/{name}", "{")
    assert installed.look().servers[0].weights == Weights(skipped=skipped)


def test_one_that_answered_is_not_loading_where_no_systemd_says_it(host, monkeypatch):
    places = locate(Scope.SYSTEM, host.environ)
    serve(host, places, tiny_model(host))
    with_socket(host, places)
    host.services.runs = True
    host.services.units = {places.unit: {"LoadState": ""}}
    folder = f"/sys/fs/cgroup{UNIT}"
    write(host, f"{folder}/cgroup.events", "populated 1\n")
    write(host, f"{folder}/cgroup.procs", "7\n")
    monitor = Monitor(host, (places,), settings.Settings())
    answers_at(monkeypatch)
    assert monitor.look().servers[0].condition is Condition.LOADING  # it hashes its weights
    answers_at(monkeypatch, 8080)
    assert monitor.look().servers[0].condition is Condition.HEALTHY
    answers_at(monkeypatch)
    assert monitor.look().servers[0].condition is Condition.SICK


def test_a_service_without_a_home_sees_the_systems_server_alone(host):
    host.environ = {}
    assert [one.scope for one in targets.places_of(host, Scope)] == [Scope.SYSTEM]


def test_why_a_failed_server_was_given_up_names_what_was_seen_last(host, places, installed):
    host.services.runs = True
    host.services.units = {"local-opus.service": {
        "LoadState": "loaded", "ActiveState": "failed", "Result": "signal"}}  # fmt: skip
    recovery = {"at": "2026-01-01T00:00:00+00:00", "uptime": 1.0, "reasons": ["canary: hung"]}
    installed.histories["user"] = History.model_validate({"recoveries": [recovery]})
    seen = installed.look().servers[0]
    assert seen.condition is Condition.FAILED
    assert seen.reasons[0] == "systemd gave it up (signal)"
    assert "1 times, last at 2026-01-01T00:00:00+00:00: canary: hung" in seen.reasons[1]


def test_both_scopes_are_watched(host):
    folder = tiny_model(host)
    for scope in Scope:
        serve(host, locate(scope, host.environ), folder)
    monitor = Monitor(host, targets.places_of(host, Scope), settings.Settings())
    assert [one.server for one in monitor.look().servers] == ["system", "user"]


def test_a_systemd_that_does_not_answer_leaves_the_cgroup_to_tell(host):
    places = locate(Scope.SYSTEM, host.environ)
    host.services.runs = True
    host.services.units = {places.unit: {"LoadState": ""}}
    assert targets.unit_of(host, places) is None  # no such unit
    write(host, f"{places.units}/{places.unit}", "[Service]\n")
    assert targets.unit_of(host, places) == targets.Unit("dead", "", None, None, None)
    folder = f"/sys/fs/cgroup{UNIT}"
    write(host, f"{folder}/cgroup.events", "populated 1\nfrozen 0\n")
    write(host, f"{folder}/cgroup.procs", "240\n237\n")
    assert targets.unit_of(host, places) == targets.Unit("running", "", 237, UNIT, None)
    write(host, f"{folder}/cgroup.events", "populated 0\nfrozen 0\n")
    assert targets.unit_of(host, places).state == "dead"
