"""The catalog of the user's own: read beside the program's, added to, and kept at an uninstall."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import gguf_bytes, wheel_model
from fakes import FakeHost
from local_opus import stock, uninstall, verification
from local_opus.catalog import load, own, parse
from local_opus.catalog.entry_text import dump
from local_opus.catalog.pick import choose
from local_opus.errors import BadInputError, ExitCode, LocalOpusError
from local_opus.facts import gather
from local_opus.host import Host
from local_opus.locations import Locations, locate
from local_opus.report.reporter import QuietReporter
from local_opus.values import (
    Device,
    DiskFacts,
    HostFacts,
    HttpsSource,
    HubSource,
    License,
    LocalSource,
    MemoryNeed,
    Model,
    Scope,
    Trust,
)
from machines import MACHINES, machine_host

BUILT_IN = load()


def model(model_id: str = "mine", **more: object) -> Model:
    base = wheel_model(gguf_bytes()).model_copy(update={"id": model_id, "parameters": "1B"})
    return base.model_copy(update={"devices": (Device.CPU,), **more})


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> HostFacts:
    root = tmp_path_factory.mktemp("machine")
    found = gather(machine_host(root, MACHINES["meteor-lake-155h"]), disk_path="/var/lib")
    disk = DiskFacts(path="/var", total=10**12, free=5 * 10**11, free_inodes=None)
    return found.model_copy(update={"disk": disk})


def write(host: FakeHost, places: Locations, text: str | bytes) -> None:
    host.files.make_folders(places.config)
    data = text if isinstance(text, bytes) else text.encode()
    host.files.write_atomic(places.own_catalog, data)


def wrong(host: FakeHost, places: Locations) -> BadInputError:
    with pytest.raises(BadInputError) as caught:
        own.load_all(host, places)
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    assert places.own_catalog in caught.value.message
    return caught.value


# --- the text of an entry


@pytest.mark.parametrize("one", BUILT_IN.models, ids=lambda one: one.id)
def test_an_entry_is_read_as_it_was(one):
    assert parse(dump(one)).models == (one,)


TEXT = st.text(st.characters(exclude_categories=["Cs"]).filter(str.isprintable), max_size=20)


@given(
    name=TEXT,
    caveats=st.lists(TEXT, max_size=3),
    note=st.none() | TEXT,
    gated=st.none() | st.booleans(),
)
def test_any_text_is_read_as_it_was(name, caveats, note, gated):
    one = model(
        name=name, caveats=tuple(caveats), license=License(id=name, gated=gated, note=note),
        trust=Trust.HUB,
    )  # fmt: skip
    assert parse(dump(one)).models == (one,)


@pytest.mark.parametrize(
    "source",
    [
        HubSource(kind="hub", repo="a/b", revision="ab" * 20),
        HttpsSource(kind="https", bases=("https://a.example/x", "https://b.example/y")),
        LocalSource(kind="local", folder='/srv/with "quotes" and \\'),
    ],
)
def test_every_source_is_read_as_it_was(source):
    assert parse(dump(model(source=source))).models == (model(source=source),)


@pytest.mark.parametrize("base", ["https://me:word@a.example/x", "https://a.example/x?key=1"])
def test_an_address_holds_no_secret(base):
    with pytest.raises(ValueError, match="bases"):
        HttpsSource(kind="https", bases=(base,))
    assert HttpsSource(kind="https", bases=("https://a.example/x@1/y",))


# --- reading


def test_without_a_file_there_is_the_programs_alone(host, places):
    assert own.load_all(host, places) == BUILT_IN
    write(host, places, "# nothing yet\n")
    assert own.load_all(host, places) == BUILT_IN


def test_a_pinned_model_is_one_of_the_catalog_everywhere(host, places, facts, monkeypatch):
    monkeypatch.setattr(stock, "gather", lambda *_, **__: facts)
    write(host, places, dump(model()))
    found = own.load_all(host, places)
    assert found.ids() == [*BUILT_IN.ids(), "mine"]
    assert found.own == {"mine"}
    assert stock.row_of(host, places, "mine").model == model()
    with pytest.raises(LocalOpusError, match="mine: not in the store"):
        verification.subjects(host, places, "mine")
    assert own.known_ids(host) == ["mine"]


def test_a_pinned_model_is_not_chosen_unasked(host, places, facts):
    # Of all models it is the best by far.
    need = MemoryNeed(bytes=1, estimated=True, source="x")
    write(host, places, dump(model(parameters="999B", context_length=10**6, memory=need)))
    catalog = own.load_all(host, places)
    assert choose(catalog, facts, "chat", Device.CPU).taken.model.id != "mine"
    unowned = catalog.model_copy(update={"own": frozenset()})
    assert choose(unowned, facts, "chat", Device.CPU).taken.model.id == "mine"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[model]\n", "not TOML"),
        (b"\xff\xfe", ":1: not UTF-8"),
        (b"# x\n\xff", ":2: not UTF-8"),
        ("x = 1\n", "x: unknown key"),
        ("a = " + "[" * 100_000, "not TOML"),
        (dump(model("smollm2-135m")), "the program's own catalog has a model of this id"),
        (dump(model()) * 2, "id: is there twice"),
        (dump(model()).replace('"1B"', '"many"'), 'parameters: "many" is no number'),
        (dump(model()).replace("sha256 = ", "sha512 = "), "unknown key"),
        (dump(model()).replace('"tiny.gguf"', '"../tiny.gguf"'), "must be a relative path"),
        (dump(model()).replace('"tiny.gguf"', '"/tiny.gguf"'), "must be a relative path"),
        (dump(model()).replace('"tiny.gguf"', '"a\\nb.gguf"'), "can't be printed"),
        (dump(model()).replace('"tiny.gguf"', '"a\\u001b[1m.gguf"'), "can't be printed"),
        (dump(model()).replace('id = "mine"', 'id = "../x"'), "does not have the right form"),
        (dump(model()).replace('id = "mine"', 'id = "mine"\ntrust = "derived"'), "trust: must be"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_with_its_path(host, places, text, says):
    write(host, places, text)
    error = wrong(host, places)
    assert says in " ".join([error.message, *error.details])
    assert own.known_ids(host) in ([], ["mine"], ["mine", "mine"], ["smollm2-135m"], ["../x"])


def test_all_errors_are_told_at_once(host, places):
    first = dump(model("a")).replace('"1B"', '"many"')
    second = dump(model("b")).replace("sha256 = ", "sha512 = ")
    write(host, places, first + second)
    error = wrong(host, places)
    assert len(error.details) == 3
    assert all(line.startswith(f"{places.own_catalog}: model ") for line in error.details)


FILES = [
    ('{ path = "a.gguf", size = 1, sha256 = "%s" }', '{ path = "A.gguf", size = 1, sha256 = "%s" }',
     "differ in their case alone"),
    ('{ path = "a.gguf", size = 1, sha256 = "%s" }', '{ path = "a.gguf/b.gguf", size = 1, sha256 = "%s" }',
     "is a file and a folder"),
    ('{ path = "weights.json", size = 1, sha256 = "%s" }', '{ path = "b.gguf", size = 1, sha256 = "%s" }',
     "is the name of the manifest"),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second", "says"), FILES)
def test_files_that_can_not_lie_beside_each_other(host, places, first, second, says):
    digest = "0" * 64
    lines = f"files = [\n  {first % digest},\n  {second % digest},\n]"
    text = dump(model())
    begin, end = text.index("files = ["), text.index("]\n", text.index("files = [")) + 1
    write(host, places, text[:begin] + lines + text[end:])
    error = wrong(host, places)
    assert says in " ".join([error.message, *error.details])


def test_a_huge_file(host, places):
    write(host, places, "#" * (own.LIMIT + 1))
    assert "is larger than" in wrong(host, places).message


def test_a_folder_in_its_place(host, places):
    host.files.make_folders(places.own_catalog)
    wrong(host, places)


def test_one_that_this_user_may_not_read_is_named(host, places, monkeypatch):
    def refuse(path: str, limit: int | None = None) -> bytes:
        raise PermissionError

    monkeypatch.setattr(host.files, "read_bytes", refuse)
    found = own.load_all(host, places)
    assert found.models == BUILT_IN.models
    assert found.unread == f"{places.own_catalog}: permission denied"
    with pytest.raises(BadInputError) as caught:
        found.get("mine")
    assert caught.value.details == (f"{found.unread}: the models there were not looked at",)


def test_root_believes_no_file_of_another_user(host, places, monkeypatch):
    write(host, places, dump(model()))
    monkeypatch.setattr(host.files, "others_hand", lambda path: "user 1234 owns it")
    with pytest.raises(LocalOpusError, match="user 1234 owns it, and root would fetch"):
        own.load_all(host, places)


def test_what_an_image_holds_is_not_believed(places, tmp_path, host, monkeypatch):
    write(host, places, dump(model()))
    image = Host(str(tmp_path / "root"), {"HOME": "/home/user"})
    assert own.load_all(image, places).ids() == BUILT_IN.ids()


# --- writing


def test_the_first_entry_makes_the_file(host, places):
    assert own.save(host, places, model()) is own.Saved.ADDED
    assert own.load_all(host, places).get("mine") == model()
    assert host.files.stat(places.config).mode == 0o700
    assert own.save(host, places, model()) is own.Saved.SAME


def test_what_stands_there_stays(host, places):
    mine = f"# mine\n\n{dump(model('a'))}# before b\n{dump(model('b'))}\n# the end\n"
    write(host, places, mine)
    own.save(host, places, model("c"))
    text = host.files.read_text(places.own_catalog)
    assert text.startswith(mine.rstrip())
    assert own.load_all(host, places).own == {"a", "b", "c"}


@pytest.mark.parametrize("which", ["a", "b", "c"])
def test_one_entry_is_replaced(host, places, which):
    write(
        host, places, "\n".join(f"# of {one}\n{dump(model(one))}" for one in "abc") + "# the end\n"
    )
    changed = model(which, name="Other")
    with pytest.raises(BadInputError, match=f"has another model {which}"):
        own.save(host, places, changed)
    assert own.save(host, places, changed, replace=True) is own.Saved.REPLACED
    found = own.load_all(host, places)
    assert [found.get(one).name for one in "abc"] == [
        "Other" if one == which else "Tiny" for one in "abc"
    ]
    text = host.files.read_text(places.own_catalog)
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# of a", "# of b", "# of c", "# the end",
    ]  # fmt: skip


def test_an_id_of_the_programs_own_is_refused(host, places):
    with pytest.raises(BadInputError, match="own catalog has a model of this id"):
        own.save(host, places, model("smollm2-135m"))
    assert host.files.stat(places.config) is None


@pytest.mark.parametrize("text", ["[[model]\n", "model = []\n"])
def test_a_file_that_nothing_can_be_added_to_stays_as_it_is(host, places, text):
    write(host, places, text)
    with pytest.raises(BadInputError):
        own.save(host, places, model())
    assert host.files.read_text(places.own_catalog) == text


def test_a_link_stays_a_link(host, places, tmp_path):
    host.files.make_folders(places.config)
    host.files.symlink("elsewhere.toml", places.own_catalog)
    with pytest.raises(BadInputError, match="is a link"):
        own.save(host, places, model())
    assert host.files.stat(places.own_catalog).kind == "link"


def test_many_at_once_lose_nothing(host, places):
    host.files.make_folders(places.config)
    threads = [
        threading.Thread(target=own.save, args=(host, places, model(f"m{number}")))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert own.load_all(host, places).own == {f"m{number}" for number in range(8)}


# --- uninstalling


def away(host: FakeHost, places: Locations, *, purge: bool) -> uninstall.Removed:
    return uninstall.uninstall(host, places, purge=purge, tell=QuietReporter())


def test_an_uninstall_keeps_it_and_says_so(host, places):
    own.save(host, places, model())
    line = f"{places.own_catalog}: the models that you pinned; --purge removes it"
    assert line in uninstall.forecast(host, places, purge=False).kept
    assert line in away(host, places, purge=False).kept
    assert own.load_all(host, places).own == {"mine"}


def test_a_purge_removes_it(host, places):
    own.save(host, places, model())
    ahead = uninstall.forecast(host, places, purge=True)
    assert places.own_catalog in str(ahead.steps)
    assert places.own_catalog not in str(ahead.kept)
    assert places.own_catalog not in str(away(host, places, purge=True).kept)
    assert host.files.stat(places.config) is None


def test_a_purge_leaves_what_else_lies_there(host, places):
    own.save(host, places, model())
    host.files.write_atomic(f"{places.config}/mine", b"x")
    away(host, places, purge=True)
    assert host.files.list(places.config) == ["mine"]


def test_completion_offers_pinned_models(home: Path, monkeypatch):
    from local_opus.cli import options

    machine = Host()
    places = locate(Scope.USER, machine.environ)
    own.save(machine, places, model("mine-too"))
    assert options.complete_model(None, None, "mine") == ["mine-too"]  # type: ignore[arg-type]
