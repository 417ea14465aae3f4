"""What released versions wrote down can be read, and taken back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus.history import Entry, Event, Fold
from local_opus.host import Completed
from local_opus.locations import Locations, locate
from local_opus.receipts import Receipt, parse
from local_opus.report.reporter import QuietReporter
from local_opus.uninstall import uninstall
from local_opus.values import Scope

RECEIPTS = Path(__file__).resolve().parent.parent / "data" / "receipts"
NAMES = sorted(path.stem for path in RECEIPTS.glob("*.jsonl"))
GROUPS = "root:x:0:\nstaff:x:50:\n"
#: What was on the machine before: it is there after, too.
THEIRS = {"/etc/systemd/system/theirs.service": "[Unit]\n", "/usr/local/bin/theirs": "#!/bin/sh\n",
          "/home/user/.profile": "umask 022\n", "/etc/group": GROUPS}  # fmt: skip


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    (tmp_path / "root").mkdir()
    made = FakeHost(tmp_path / "root")
    for folder in ("/opt", "/var/lib"):
        made.files.make_folders(folder)
    for path, text in THEIRS.items():
        made.files.make_folders(path.rpartition("/")[0])
        made.files.write_atomic(path, text.encode())

    def groupdel(_command: object) -> Completed:
        made.files.write_atomic("/etc/group", GROUPS.encode())
        return Completed(0, "", "")

    made.processes.answers["groupdel"] = groupdel
    return made


def tree(host: FakeHost) -> dict[str, tuple[str, int, str]]:
    return {
        path: (
            found.kind,
            found.mode,
            host.files.read_text(f"/{path}") if found.kind == "file" else "",
        )
        for path, found in host.files.walk("/", folders=True)
    }


def lay_out(host: FakeHost, name: str) -> tuple[Locations, list[Entry]]:
    """Make the tree that a receipt speaks of, and put the receipt into it."""
    data = (RECEIPTS / f"{name}.jsonl").read_bytes()
    fold = Fold()
    for record in parse(data, name)[0]:
        fold.take(record)
    history = fold.history()
    places = locate(Scope(str(history.run["scope"])), host.environ)
    for entry in history.entries:
        if entry.status is not Event.PREEXISTING:
            make(host, entry)
    host.files.make_folders(places.state)
    host.files.write_atomic(places.receipt, data, mode=0o600)
    head = RECEIPTS / f"{name}.head"
    if head.exists():
        host.files.write_atomic(places.receipt.replace(".jsonl", ".head"), head.read_bytes())
    return places, list(history.entries)


def make(host: FakeHost, entry: Entry) -> None:
    params = entry.params
    match entry.kind:
        case "create_folder":
            host.files.make_folders(str(params["path"]))
        case "write_file" | "install_unit":
            text = str(params["content"]) + ("edited" if entry.status is Event.KEPT else "")
            host.files.write_atomic(str(params["path"]), text.encode(), mode=int(params["mode"]))
        case "link_command":
            host.files.symlink(str(params["target"]), str(params["path"]))
        case "create_environment":
            host.files.make_folders(f"{params['folder']}/bin")
            host.files.write_atomic(f"{params['folder']}/bin/python", b"")
        case "create_group":
            text = f"{GROUPS}{params['name']}:x:995:\n"
            host.files.write_atomic("/etc/group", text.encode())


@pytest.mark.parametrize("name", NAMES)
def test_it_is_read(host: FakeHost, name: str) -> None:
    places, entries = lay_out(host, name)
    receipt = Receipt(host, places.receipt)
    assert receipt.history.finished
    assert {entry.status for entry in entries} <= {Event.DONE, Event.PREEXISTING, Event.KEPT}
    assert len(entries) > 10


@pytest.mark.parametrize("name", NAMES)
def test_it_is_taken_back(host: FakeHost, name: str) -> None:
    before = tree(host)
    places, entries = lay_out(host, name)
    removed = uninstall(host, places, purge=False, tell=QuietReporter())
    edited = [str(entry.params["path"]) for entry in entries if entry.status is Event.KEPT]
    left = {path: item for path, item in tree(host).items() if before.get(path) != item}
    assert set(left) == {
        part.removeprefix("/")
        for path in edited
        for part in (path, path.rpartition("/")[0], path.rpartition("/")[0].rpartition("/")[0])
        if part.removeprefix("/") not in before
    }
    assert before.items() <= tree(host).items()
    assert {line.partition(":")[0] for line in removed.kept} >= set(edited)


@pytest.mark.parametrize("name", NAMES)
def test_todays_records_go_on_where_the_old_ones_end(host: FakeHost, name: str) -> None:
    places, _ = lay_out(host, name)
    receipt = Receipt(host, places.receipt)
    before = len(receipt.records)
    receipt.append(Event.RUN, data={})
    again = Receipt(host, places.receipt)
    assert [record.n for record in again.records[before:]] == [before + 1]
    assert json.loads(host.files.read_text(places.receipt).splitlines()[-1])["v"] == 2


@pytest.mark.parametrize("name", NAMES)
def test_the_documents_name_every_fact_of_a_run(name: str, checkout: Path) -> None:
    rows = (checkout / "docs/receipt.md").read_text().splitlines()
    row = next(line for line in rows if line.startswith("| `run` |"))
    records, _ = parse((RECEIPTS / f"{name}.jsonl").read_bytes(), name)
    facts = {fact for record in records if record.event is Event.RUN for fact in record.data}
    assert {fact for fact in facts if f"`{fact}`" not in row} == set()
