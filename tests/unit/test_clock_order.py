"""A clock that is years off, or runs backwards between two runs: nothing is ordered by it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from builders import catalog_file, gguf_bytes
from fakes import FakeHost
from local_opus import clock
from local_opus.actions import build
from local_opus.apply import Applier
from local_opus.host import Host, locks
from local_opus.journal import Journal
from local_opus.receipts import Receipt
from local_opus.reverting import revert_all
from local_opus.values import Plan, PlannedAction, Scope
from local_opus.weights import manifest
from local_opus.weights.verify import is_proven, verify_folder

RECEIPT = "/var/receipt.jsonl"
#: What the clock says at each record, over and over.
CLOCKS = {
    "ten years behind": ["2016-11-25T10:00:00+00:00"],
    "ten years ahead": ["2036-11-25T10:00:00+00:00"],
    "before Unix": ["1969-12-31T23:59:59+00:00"],
    "backwards": [f"{year}-01-01T00:00:00+00:00" for year in range(2036, 2016, -1)],
    "to and fro": ["2036-01-01T00:00:00+00:00", "1970-01-01T00:00:00+00:00"],
}


def plan(word: str, *names: str) -> Plan:
    actions = [
        PlannedAction(id=name, kind="write_file", summary=name,
                      params={"path": f"/opt/lo/{name}", "content": word, "mode": 0o644})
        for name in names
    ]  # fmt: skip
    return Plan(profile="p", scope=Scope.SYSTEM, root="/", model=None, device=None, actions=tuple(actions))  # fmt: skip


@pytest.fixture(params=CLOCKS)
def host(tmp_path: Path, request: pytest.FixtureRequest) -> FakeHost:
    for name in ("var", "opt/lo"):
        (tmp_path / "root" / name).mkdir(parents=True)
    host = FakeHost(tmp_path / "root")
    times = CLOCKS[request.param]
    reads = iter(range(10_000))
    host.now = lambda: times[next(reads) % len(times)]  # type: ignore[method-assign]
    return host


def test_a_receipt_is_in_the_order_of_its_records(host):
    def journal() -> Journal:
        return Journal(host, Receipt(host, RECEIPT), build, ("/opt/lo",))

    def applier() -> Applier:
        return Applier(journal())

    applier().apply(plan("1", "a", "b"), {}, dict)
    assert applier().pending(plan("1", "a", "b")) == []
    applier().apply(plan("2", "b", "c"), {}, dict)
    assert {name: host.files.read_text(f"/opt/lo/{name}") for name in host.files.list("/opt/lo")} == {
        "b": "2", "c": "2",
    }  # fmt: skip
    records = Receipt(host, RECEIPT).records
    assert [record.n for record in records] == list(range(1, len(records) + 1))
    revert_all(journal())
    assert host.files.list("/opt/lo") == []


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    return folder


DECADE = 10 * 365 * 86400


@pytest.mark.parametrize("off", [-DECADE, DECADE, -60 * DECADE // 10])
def test_quick_verification_compares_times_and_does_not_order_them(store, off):
    """Weights that were stored while the clock was wrong are as good as any."""
    host = Host("/")
    data = gguf_bytes()
    path = store / "tiny.gguf"
    path.write_bytes(data)
    now = path.stat().st_mtime + off
    os.utime(path, (now, now))
    pins = (catalog_file(data),)
    for _ in range(2):
        assert is_proven(verify_folder(host, str(store), quick=True, catalog_files=pins))


def test_a_lock_of_another_time_is_free(tmp_path):
    host = Host(str(tmp_path))
    (tmp_path / "lock").write_text("1\n")
    for when in (0, 4_000_000_000):
        os.utime(tmp_path / "lock", (when, when))
        with locks.exclusive(host.files, "/lock"):
            assert host.files.read_text("/lock") == f"{os.getpid()}\n"


SAID = {
    "expired": ("certificate verify failed: certificate has expired (_ssl.c:1006)", "no longer"),
    "early": ("certificate verify failed: certificate is not yet valid (_ssl.c:1006)", "not valid yet"),
    "list": ("CRL is not yet valid", "not valid yet"),
    "alert": ("[SSL: SSLV3_ALERT_CERTIFICATE_EXPIRED] sslv3 alert certificate expired", "no longer"),
}  # fmt: skip


@pytest.mark.parametrize(("words", "how"), SAID.values(), ids=SAID)
def test_the_clock_is_named_with_its_time(words, how, monkeypatch):
    real: Callable[[], object] = clock.time.gmtime
    monkeypatch.setattr(clock.time, "gmtime", lambda: real(1_000_000_000))  # type: ignore[call-arg]
    error = clock.blamed(words, "the package index at index.test")
    assert error is not None
    assert how in error.message
    assert "the package index at index.test" in error.message
    assert "2001-09-09 01:46 UTC" in error.message
    assert error.exit_code == 4


@pytest.mark.parametrize("words", ["self-signed certificate", "token has expired", "", "timed out"])
def test_the_clock_is_not_blamed_for_other_faults(words):
    assert clock.blamed(words, "x") is None


def test_stamps_hold_times_of_any_year():
    text = {"size": 1, "inode": 2, "mtime_ns": -(10**18), "ctime_ns": 10**19}
    assert manifest.FileStamp.model_validate(text).mtime_ns == -(10**18)
