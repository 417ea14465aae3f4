"""What lies in the store: variants, what nobody knows, what is unfinished, and who uses what."""

from __future__ import annotations

import io
import json
import os

import pytest
from rich.console import Console
from serving import serve

from fakes import FakeHost
from local_opus import pruning, shelf, stock, uses
from local_opus.errors import LocalOpusError
from local_opus.host import locks, partials
from local_opus.locations import Locations, locate
from local_opus.report.store import age_text, pruned_json, store_json, store_table
from local_opus.values import Scope, Trust
from local_opus.weights import manifest
from local_opus.weights.digest import hash_stream
from local_opus.weights.manifest import LocalOrigin, Manifest, ManifestFile


def variant(
    host: FakeHost, places: Locations, model: str, name: str, trust: Trust, **files: bytes
) -> str:
    folder = f"{places.models}/{model}/{name}"
    host.files.make_folders(folder)
    listed = []
    for path, data in files.items():
        host.files.write_atomic(f"{folder}/{path}", data)
        digests = hash_stream(io.BytesIO(data), limit=len(data))
        listed.append(
            ManifestFile(path=path, size=len(data), sha256=digests.sha256, blake3=digests.blake3,
                         origin=LocalOrigin(folder="/x"), trust=trust)
        )  # fmt: skip
    manifest.write(
        host, folder, Manifest(model=model, variant=name, created_by="t", files=tuple(listed))
    )
    return folder


def partial(
    host: FakeHost, places: Locations, model: str = "smollm2-135m", name: str = "gguf-q4_1"
) -> str:
    folder = f"{places.models}/{model}/.partial/{name}"
    host.files.make_folders(folder)
    host.files.write_atomic(f"{folder}/x.gguf", bytes(1000))
    return folder


def shown(there: stock.Stock) -> str:
    stream = io.StringIO()
    store_table(Console(file=stream, width=100, color_system=None), there)
    return stream.getvalue()


def test_an_empty_store(host, places):
    there = stock.take(host, places)
    assert (there.rows, there.partials, there.bytes, there.busy) == ((), (), 0, False)
    assert "Nothing is in the store" in shown(there)


def test_what_lies_there(host, places):
    folder = variant(host, places, "smollm2-135m", "gguf-q4_1", Trust.PINNED, a=b"x" * 2000)
    variant(host, places, "foreign", "ir-int4", Trust.UNPROVEN, b=b"y")
    host.files.make_folders(f"{places.models}/broken/ir-int4")
    serve(host, places, folder)
    there = stock.take(host, places)
    found = {row.variant.model: row for row in there.rows}
    assert [found[one].known for one in ("smollm2-135m", "foreign", "broken")] == [
        True,
        False,
        False,
    ]
    assert [found[one].trust for one in ("smollm2-135m", "foreign", "broken")] == [
        Trust.PINNED, Trust.UNPROVEN, None,
    ]  # fmt: skip
    assert found["smollm2-135m"].used_by == "the installed server"
    assert found["smollm2-135m"].bytes == sum(one.size for _, one in host.files.walk(folder))
    assert found["broken"].problem is not None
    text = shown(there)
    assert "pinned, as its manifest says; in use: the installed server" in text
    assert "unproven, as its manifest says; not in the catalog" in text
    assert "not usable: " in text


def test_the_weakest_file_tells_the_trust():
    def of(*trusts: Trust) -> Trust | None:
        files = [
            ManifestFile(path=str(number), size=1, sha256="0" * 64, blake3="0" * 64,
                         origin=LocalOrigin(folder="/x"), trust=one)
            for number, one in enumerate(trusts)
        ]  # fmt: skip
        return stock.trust(Manifest(model="m", variant="v", created_by="t", files=tuple(files)))

    assert of(Trust.PINNED, Trust.HUB) is Trust.HUB
    assert of(Trust.DERIVED, Trust.HUB) is Trust.DERIVED
    assert of(Trust.UNPROVEN, Trust.PINNED) is Trust.UNPROVEN
    assert stock.trust(None) is None


def test_a_file_that_two_variants_share_counts_once(host, places):
    one = variant(host, places, "smollm2-135m", "gguf-q4_1", Trust.PINNED, a=b"x" * 50_000)
    other = variant(host, places, "smollm2-135m", "gguf-q8_0", Trust.PINNED, b=b"y")
    os.link(f"{host.root}{one}/a", f"{host.root}{other}/a")
    there = stock.take(host, places)
    assert 50_000 < there.bytes < 100_000
    assert all(row.bytes > 50_000 for row in there.rows)


def test_an_unfinished_download_is_listed_with_its_size_and_age(host, places):
    folder = partial(host, places)
    os.utime(f"{host.root}{folder}/x.gguf", (1, 1_000_000))
    os.utime(f"{host.root}{folder}", (1, 1_000_000))
    (found,) = stock.take(host, places).partials
    assert (found.model, found.name, found.bytes, found.held) == (
        "smollm2-135m",
        "gguf-q4_1",
        1000,
        False,
    )
    assert age_text(found.touched_ns, now=1_000_000 + 3 * 86_400) == "3 days ago"
    assert "smollm2-135m gguf-q4_1: 1000 bytes" in shown(stock.take(host, places))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "a moment ago"),
        (59, "a moment ago"),
        (60, "1 minute ago"),
        (7200, "2 hours ago"),
        (-5, "a moment ago"),
    ],
)
def test_ages(seconds, words):
    assert age_text(0, now=seconds) == words


def test_whether_a_live_process_works_on_it(host, places):
    folder = partial(host, places)
    with locks.exclusive(host.files, f"{folder}.lock"):
        assert [one.held for one in stock.take(host, places).partials] == [True]
    assert [one.held for one in stock.take(host, places).partials] == [False]


def test_of_a_file_on_its_way_counts_what_has_come(host, places):
    folder = f"{places.models}/smollm2-135m/.partial/gguf-q4_1"
    host.files.make_folders(folder)
    with partials.Partial(
        host.files, f"{folder}/x.gguf", 10 * partials.PIECE, "a" * 64, "boot"
    ) as one:
        one.mark(3)
    (found,) = stock.take(host, places).partials
    notes = host.files.stat(f"{folder}/x.gguf.pieces").size
    assert found.bytes == partials.PIECE + notes


def test_whether_a_run_is_at_work(host, places):
    host.files.make_folders(places.state)
    partial(host, places)
    with locks.exclusive(host.files, places.lock):
        there = stock.take(host, places)
    assert there.busy
    assert "a run is at work" in shown(there)
    assert not stock.take(host, places).busy


def test_a_config_that_tells_nothing_is_named(host, places):
    host.files.make_folders(places.config)
    host.files.write_atomic(places.server_config, b"{}")
    (note,) = stock.take(host, places).notes
    assert places.server_config in note


def test_json_holds_all_of_it(host, places):
    variant(host, places, "smollm2-135m", "gguf-q4_1", Trust.PINNED, a=b"x")
    partial(host, places)
    found = json.loads(json.dumps(store_json(stock.take(host, places))))
    assert found["variants"][0]["trust"] == "pinned"
    assert found["partials"][0]["bytes"] == 1000
    assert found["busy"] is False


# --- who uses it


def test_the_other_scopes_server_counts_too(host, places):
    system = locate(Scope.SYSTEM, host.environ)
    serve(host, system, f"{places.models}/tiny/ir-int4/")
    used = uses.configured(host, places)
    assert used.of(f"{places.models}/tiny") == "the server of the scope system"
    assert used.of(f"{places.models}/tin") is None


def test_a_process_that_has_it_in_its_memory(host, places):
    folder = f"{places.models}/tiny"
    host.files.make_folders("/proc/77")
    host.files.make_folders("/proc/self")
    line = f"7f00-7f01 r--s 00000000 08:01 42   {host.files.real_path(folder)}/ir-int4/openvino_model.bin\n"
    host.files.write_atomic("/proc/77/maps", line.encode())
    assert uses.running(host, folder) == "process 77"
    assert uses.running(host, f"{places.models}/tin") is None
    host.files.make_folders(folder)
    with pytest.raises(LocalOpusError, match="process 77 has it in its memory"):
        shelf.removable(host, places, "tiny")


def test_a_config_that_tells_nothing_keeps_models(host, places):
    host.files.make_folders(f"{places.models}/tiny")
    host.files.make_folders(places.config)
    host.files.write_atomic(places.server_config, b"{}")
    with pytest.raises(LocalOpusError, match="can't be told"):
        shelf.removable(host, places, "tiny")


# --- pruning


def test_a_prune_takes_partials_and_nothing_else(host, places):
    folder = variant(host, places, "smollm2-135m", "gguf-q4_1", Trust.PINNED, a=b"x")
    partial(host, places)
    partial(host, places, "lonely")
    host.files.make_folders(f"{places.models}/lonely/gguf-q4_1")
    ahead = pruning.prunable(host, places)
    assert len(ahead.orphans) == 2
    assert len(stock.take(host, places).partials) == 2
    found = pruning.prune(host, places)
    assert (len(found.removed), found.freed, found.kept) == (2, 2000, ())
    assert host.files.list(places.models) == ["smollm2-135m"]
    assert host.files.list(f"{places.models}/smollm2-135m") == ["gguf-q4_1"]
    assert host.files.read_bytes(f"{folder}/a") == b"x"
    assert pruned_json(found, dry_run=False)["freed"] == 2000


def test_a_file_that_came_without_its_manifest_stays(host, places):
    partial(host, places)
    host.files.make_folders(f"{places.models}/smollm2-135m/gguf-q4_1")
    host.files.write_atomic(f"{places.models}/smollm2-135m/gguf-q4_1/x.gguf", b"whole")
    pruning.prune(host, places)
    assert host.files.read_bytes(f"{places.models}/smollm2-135m/gguf-q4_1/x.gguf") == b"whole"


def test_what_a_process_works_on_stays(host, places):
    folder = partial(host, places)
    with locks.exclusive(host.files, f"{folder}.lock"):
        found = pruning.prune(host, places)
    ((kept, why),) = found.kept
    assert (kept.path, why) == (folder, "a process works on it")
    assert host.files.read_bytes(f"{folder}/x.gguf") == bytes(1000)


def test_a_conversion_that_is_at_work_stays(host, places):
    folder = partial(host, places, name="cpu-q4_1.partial-0a1b2c3d")
    lock = f"{places.models}/smollm2-135m/.partial/cpu-q4_1.lock"
    with locks.exclusive(host.files, lock):
        assert pruning.prune(host, places).removed == ()
    assert [one.path for one in pruning.prune(host, places).removed] == [folder]
    assert host.files.stat(f"{places.models}/smollm2-135m") is None


def test_the_lock_of_a_killed_run_goes_too(host, places):
    folder = f"{places.models}/smollm2-135m/.partial"
    host.files.make_folders(folder)
    host.files.write_atomic(f"{folder}/gguf-q4_1.lock", b"999999\n")
    assert stock.take(host, places).partials == ()
    pruning.prune(host, places)
    assert host.files.list(folder) == []


def test_no_prune_while_a_run_is_at_work(host, places):
    host.files.make_folders(places.state)
    folder = partial(host, places)
    with (
        locks.exclusive(host.files, places.lock),
        pytest.raises(LocalOpusError, match=f"PID {os.getpid()}"),
    ):
        pruning.prune(host, places)
    assert host.files.read_bytes(f"{folder}/x.gguf") == bytes(1000)
