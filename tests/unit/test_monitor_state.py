"""The state folder: bounded, whole after a kill, put aside where it is damaged."""

from __future__ import annotations

import errno

import pytest
from prometheus_client.parser import text_string_to_metric_families

from local_opus.errors import LocalOpusError
from local_opus.monitor import metrics, state
from local_opus.monitor.history import Counts, History, Sample
from local_opus.monitor.sight import Canary, Condition, Engine, Health, Look, Memory, Seen, Weights

FOLDER = "/state"
SEEN = Seen(
    server='sys"tem\n', url="http://127.0.0.1:8000", how="systemd", pid=7,
    condition=Condition.SICK, health=Health(seconds=0.25),
    engine=Engine(state="ready", restarts=2, requests_in_flight=3, turn_age=0.5),
    canary=Canary(tokens=16, first_token_seconds=0.1, total_seconds=0.5, tokens_per_second=37.5),
    baseline_tokens_per_second=40, weights=Weights(files=4, problem="x"),
    memory=Memory(rss_bytes=1, anonymous_bytes=2, growth_bytes_per_hour=7200),
)  # fmt: skip
LOOK = Look(at="2026-01-01T00:00:00+00:00", servers=(SEEN,))


@pytest.fixture
def folder(host):
    host.files.make_folders(FOLDER)
    return FOLDER


def full(host) -> dict[str, History]:
    now = host.uptime()
    samples = tuple(
        Sample(uptime=now - number, pid=7, condition=Condition.HEALTHY, first_token=0.123,
               total=1.5, rate=31.25, memory=512_000_000, in_flight=1)
        for number in reversed(range(720))
    )  # fmt: skip
    return {"system": History(samples=samples, counts=Counts(looks=9), last=SEEN)}


def test_what_is_saved_is_loaded_and_an_hour_takes_little(host, folder):
    kept = full(host)
    assert state.save(host, folder, kept, "") is None
    assert state.load(host, folder, host.uptime()).servers == kept
    assert host.files.stat(f"{folder}/{state.NAME}").size < 200_000


def test_after_a_boot_the_counts_stay_and_the_samples_go(host, folder):
    state.save(host, folder, full(host), "")
    found = state.load(host, folder, 5.0).servers["system"]
    assert (found.samples, found.counts.looks) == ((), 9)


DAMAGED = [
    b"",
    b"\x00" * 100,
    b'{"schema_version":1,',
    b'{"schema_version":2,"written_at":"x","uptime":1,"servers":{}}',
    b'{"schema_version":1,"written_at":"x","uptime":1,"servers":{"system":{"sick_in_a_row":"no"}}}',
    b"[1,2]",
    b'{"a":' * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("data", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_state_is_put_aside_and_said(host, folder, data):
    host.files.write_atomic(f"{folder}/{state.NAME}", data)
    found = state.load(host, folder, host.uptime())
    assert found.servers == {}
    assert "put aside as state.json.damaged" in found.note
    assert host.files.read_bytes(f"{folder}/{state.DAMAGED}") == data
    assert host.files.stat(f"{folder}/{state.NAME}") is None
    assert state.load(host, folder, host.uptime()).note is None


def test_a_folder_in_the_place_of_the_state_is_put_aside(host, folder):
    host.files.make_folders(f"{folder}/{state.NAME}")
    assert "put aside" in state.load(host, folder, host.uptime()).note


def test_a_full_disk_leaves_the_old_state_and_is_told(host, folder, monkeypatch):
    state.save(host, folder, {}, "")
    before = host.files.read_bytes(f"{folder}/{state.NAME}")

    def full_disk(*_words, **_settings):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(host.files, "write_atomic", full_disk)
    with pytest.raises(LocalOpusError, match=r"/state/state.json: no space left on device"):
        state.save(host, folder, full(host), "")
    assert host.files.read_bytes(f"{folder}/{state.NAME}") == before


def test_a_metrics_file_of_others_stays(host, folder):
    host.files.write_atomic(f"{folder}/{state.METRICS}", b"node_load1 3\n")
    assert "not the monitor's own" in state.save(host, folder, {}, "x 1\n")
    assert host.files.read_bytes(f"{folder}/{state.METRICS}") == b"node_load1 3\n"


def test_a_link_in_the_place_of_the_metrics_is_not_followed(host, folder):
    host.files.write_atomic("/precious", b"mine\n")
    host.files.symlink("/precious", f"{folder}/{state.METRICS}")
    assert "not the monitor's own" in state.save(host, folder, {}, "x 1\n")
    assert host.files.read_bytes("/precious") == b"mine\n"


def test_own_metrics_are_replaced(host, folder):
    for value in (1, 2):
        assert state.save(host, folder, {}, f"x {value}\n") is None
    assert host.files.read_text(f"{folder}/{state.METRICS}") == f"{state.MARK}x 2\n"


def parsed(text: str) -> dict[str, float]:
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_are_read_by_prometheus_own_parser():
    history = History(counts=Counts(looks=5, sick=2, recoveries=1))
    text = metrics.render(LOOK, {SEEN.server: history}, 1_767_225_600)
    found = parsed(state.MARK + text)
    server = [("server", SEEN.server)]
    wanted = {
        f"local_opus_server_health_seconds{server}": 0.25,
        f"local_opus_server_canary_first_token_seconds{server}": 0.1,
        f"local_opus_server_canary_tokens_per_second{server}": 37.5,
        f"local_opus_server_memory_growth_bytes_per_second{server}": 2.0,
        f"local_opus_server_requests_in_flight{server}": 3,
        f"local_opus_server_weights_verified{server}": 0,
        f"local_opus_engine_restarts_total{server}": 2,
        f"local_opus_server_sick_total{server}": 2,
        f"local_opus_server_recoveries_total{server}": 1,
        f"local_opus_monitor_looks_total{server}": 5,
        f"local_opus_server_condition{[('condition', 'sick'), *server]}": 1,
        f"local_opus_server_condition{[('condition', 'healthy'), *server]}": 0,
        "local_opus_monitor_last_look_timestamp_seconds[]": 1_767_225_600,
    }
    assert {name: found.get(name) for name in wanted} == wanted


def test_what_is_not_known_is_left_out_of_the_metrics():
    bare = LOOK.model_copy(update={"servers": (Seen(server="user", url="http://127.0.0.1:1"),)})
    found = parsed(metrics.render(bare, {}, 1))
    assert not [name for name in found if "memory" in name or "canary" in name]


def test_every_metric_has_help_a_type_and_a_unit_by_convention():
    for family in text_string_to_metric_families(metrics.render(LOOK, {"x": History()}, 1)):
        assert family.documentation, family.name
        assert family.type in {"gauge", "counter"}
        assert family.name.startswith("local_opus_")
        assert not family.name.endswith(("_ms", "_kb", "_mib", "_percent", "_hours"))
