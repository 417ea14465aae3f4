"""Keys on a fake host: what is kept, where, how it goes, and that no key gets anywhere else."""

from __future__ import annotations

import base64
import io
import json
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus import cli, control, node, node_settings
from local_opus.errors import BadInputError, KeyNeededError, LocalOpusError
from local_opus.host import Completed
from local_opus.keys import changing, cloud, giving, node_key, ring, sealing, store, words
from local_opus.locations import KEYS_DROP_IN, MONITOR_UNIT, UNIT, Locations, locate
from local_opus.report import streams
from local_opus.report.reporter import QuietReporter
from local_opus.uninstall import forecast, uninstall
from local_opus.values import Scope
from local_opus.values.keys import OWN

KEY = "sk-lo-" + "k" * 40


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    (tmp_path / "root/home/user").mkdir(parents=True)
    return FakeHost(tmp_path / "root")


@pytest.fixture
def places(host: FakeHost) -> Locations:
    return locate(Scope.USER, host.environ)


@pytest.fixture
def system(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> Locations:
    """The system scope, whose files are this process's; a systemd 252 encrypts for it."""
    monkeypatch.setattr(host.files, "set_owner", lambda *_, **__: None)
    real = host.files.write_atomic
    monkeypatch.setattr(
        host.files, "write_atomic", lambda path, data, **k: real(path, data, mode=k.get("mode", 0o644))
    )  # fmt: skip
    monkeypatch.setattr(host, "euid", 0)
    for path, text in {"/etc/group": "local-opus:x:990:\n", "/etc/gshadow": ""}.items():
        host.files.make_folders("/etc")
        host.files.write_atomic(path, text.encode())
    host.files.make_folders("/etc/systemd/system")
    host.files.make_folders("/var/lib/systemd")
    host.services.runs = True
    host.services.values = {"MainPID": "0"}
    return locate(Scope.SYSTEM, {})


def systemd_creds(host: FakeHost, version: str = "252", **fails: str) -> list[list[str]]:
    """Have systemd-creds encrypt (by Base64, reversed); return the calls of it."""
    calls: list[list[str]] = []
    given: dict[str, bytes] = {}
    real = host.processes.run

    def run(command: Sequence[str], **more: object) -> Completed:
        if command[0] == "systemd-creds" and isinstance(more.get("input"), bytes):
            given["input"] = more["input"]  # type: ignore[assignment]
        return real(command, **more)

    def answer(command: Sequence[str]) -> Completed:
        calls.append(list(command))
        verb = command[1]
        if verb in fails:
            return Completed(1, "", fails[verb])
        if verb == "--version":
            return Completed(0, f"systemd {version} ({version}.39-1)\n+PAM", "")
        name = next((one for one in command if one.startswith("--name=")), "")
        if verb == "setup":
            host.files.write_atomic(sealing.HOST_KEY, b"machine", mode=0o400)
        elif verb == "encrypt":
            return Completed(0, name + base64.b64encode(given["input"]).decode()[::-1], "")
        elif verb == "decrypt":
            text = given["input"].decode()
            if not text.startswith(name):
                return Completed(1, "", "Embedded credential name does not match")
            return Completed(0, base64.b64decode(text.removeprefix(name)[::-1]).decode(), "")
        return Completed(0, "", "")

    host.processes.run = run  # type: ignore[method-assign]
    host.processes.answers["systemd-creds"] = answer
    return calls


def tree(host: FakeHost) -> dict[str, tuple[str, int, bytes]]:
    root = Path(host.root)
    return {
        str(path.relative_to(root)): (
            stat.filemode(path.lstat().st_mode)[0],
            stat.S_IMODE(path.lstat().st_mode),
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(root.rglob("*"))
    }


def everywhere(host: FakeHost) -> bytes:
    """All that lies on the machine, but for the credentials."""
    found = tree(host)
    return b"\n".join(
        name.encode() + content
        for name, (_, _, content) in found.items()
        if "credentials/" not in name
    )


def assert_refused(key: str, host: FakeHost, places: Locations) -> None:
    kept = store.keyring(host, places)
    assert kept is not None
    assert words.digest(key) not in {one.sha256 for one in kept.keys}


# -- the keys of clients --------------------------------------------------------------------------


def test_a_key_is_made_and_only_its_digest_is_kept(host: FakeHost, places: Locations) -> None:
    changed = ring.add(host, places, ["agent-1", "writer"])
    kept = store.keyring(host, places)
    assert kept is not None
    assert [one.name for one in kept.keys] == [OWN, "agent-1", "writer"]
    for name, key in changed.keys.items():
        assert kept.get(name).sha256 == words.digest(key)  # type: ignore[union-attr]
        assert len(key) > 40
        assert key.encode() not in b"".join(content for _, _, content in tree(host).values())
    assert len({*changed.keys.values()}) == 2
    assert giving.wanted(host, places)


def test_files_and_folder_are_their_owners_alone(host: FakeHost, places: Locations) -> None:
    ring.add(host, places, ["a"])
    cloud.keep(host, places, "openai", KEY)
    found = tree(host)
    modes = {name.rpartition("/")[2]: mode for name, (_, mode, _) in found.items()}
    assert modes["credentials"] == 0o700
    assert (modes["api-keys"], modes["node-key"], modes["cloud-openai"]) == (0o600,) * 3


def test_the_unit_gets_the_credential_and_the_monitor_the_nodes_key(
    host: FakeHost, places: Locations
) -> None:
    ring.add(host, places, ["a"])
    lines = {
        unit: host.files.read_text(f"{places.units}/{unit}.d/{KEYS_DROP_IN}")
        for unit in (UNIT, MONITOR_UNIT)
    }
    folder = places.credentials
    assert f"\nLoadCredential=api-keys:{folder}/api-keys\n" in lines[UNIT]
    assert f"\nLoadCredential=node-key:{folder}/node-key\n" in lines[MONITOR_UNIT]
    assert "node-key" not in lines[UNIT]


def test_nothing_of_a_key_is_in_receipt_unit_config_or_any_command(
    host: FakeHost, system: Locations
) -> None:
    systemd_creds(host)
    added = ring.add(host, system, ["a"])
    ring.add(host, system, ["b"], KEY)
    cloud.keep(host, system, "anthropic", KEY + "cloud")
    own = node_key.read(host, system)
    assert own is not None
    said = everywhere(host) + json.dumps(host.processes.calls).encode()
    for key in (added.keys["a"], KEY, own):
        assert key.encode() not in said
        assert words.digest(key).encode() not in said


def test_the_last_key_that_goes_opens_nothing(host: FakeHost, places: Locations) -> None:
    key = ring.add(host, places, ["a"]).keys["a"]
    ring.remove(host, places, ["a"])
    assert_refused(key, host, places)
    assert giving.wanted(host, places)
    assert ring.look(host, places).clients == ()


def test_no_more_and_again(host: FakeHost, places: Locations) -> None:
    ring.add(host, places, ["a"])
    assert ring.require_no_more(host, places)
    assert not giving.wanted(host, places)
    assert host.files.stat(f"{places.units}/{UNIT}.d") is None
    assert [one.name for one in ring.look(host, places).clients] == ["a"]
    assert not ring.require_no_more(host, places)
    ring.require(host, places)
    assert giving.wanted(host, places)
    assert host.files.stat(f"{places.units}/{UNIT}.d/{KEYS_DROP_IN}") is not None


def test_keys_may_be_wanted_before_there_is_any(host: FakeHost, places: Locations) -> None:
    ring.require(host, places)
    kept = store.keyring(host, places)
    assert kept is not None
    assert [one.name for one in kept.keys] == [OWN]
    assert node_key.problem(host, places) is None


def test_require_on_makes_again_what_is_missing(host: FakeHost, places: Locations) -> None:
    ring.add(host, places, ["a"])
    host.files.remove(f"{places.credentials}/node-key")
    host.files.remove(f"{places.units}/{UNIT}.d/{KEYS_DROP_IN}")
    assert node_key.problem(host, places) is not None
    ring.require(host, places)
    assert node_key.problem(host, places) is None
    assert host.files.stat(f"{places.units}/{UNIT}.d/{KEYS_DROP_IN}") is not None
    assert [one.name for one in ring.look(host, places).clients] == ["a"]


DAMAGED_OWN = {
    "random bytes": bytes(range(1, 251)) * 2,
    "empty": b"",
    "JSON": b'{"keys": 5}',
    "a megabyte": b"a" * 1_000_000,
}


@pytest.mark.parametrize("data", DAMAGED_OWN.values(), ids=DAMAGED_OWN.keys())
def test_a_damaged_key_of_the_node_is_named_with_what_makes_it_anew(
    host: FakeHost, places: Locations, data: bytes
) -> None:
    ring.add(host, places, ["a"])
    path = f"{places.credentials}/node-key"
    host.files.write_atomic(path, data, mode=0o600)
    before = store.read(host, places, store.API_KEYS)
    listening(host, 0)
    for change in (
        lambda: ring.add(host, places, ["b"]),
        lambda: ring.remove(host, places, ["a"]),
        lambda: node_key.find(host, places, "127.0.0.1", 8000),
    ):
        with pytest.raises(LocalOpusError) as caught:
            change()
        assert caught.value.message.startswith(f"{path}: ")
        assert "`local-opus keys require on`" in caught.value.remedy
        assert store.read(host, places, store.API_KEYS) == before


@pytest.mark.parametrize("data", DAMAGED_OWN.values(), ids=DAMAGED_OWN.keys())
def test_require_on_makes_a_damaged_key_of_the_node_anew(
    host: FakeHost, places: Locations, data: bytes
) -> None:
    ring.add(host, places, ["a"])
    former = node_key.read(host, places)
    assert former is not None
    host.files.write_atomic(f"{places.credentials}/node-key", data, mode=0o600)
    ring.require(host, places)
    assert node_key.problem(host, places) is None
    assert_refused(former, host, places)
    assert [one.name for one in ring.look(host, places).clients] == ["a"]


def test_require_on_makes_a_key_of_the_node_anew_that_does_not_open(
    host: FakeHost, system: Locations
) -> None:
    systemd_creds(host)
    ring.add(host, system, ["a"])
    host.files.write_atomic(f"{system.credentials}/node-key.cred", b"of another machine")
    ring.require(host, system)
    assert node_key.problem(host, system) is None


@pytest.mark.parametrize("name", ["api-keys", "node-key"])
def test_a_folder_in_the_place_of_a_credential_is_named_as_one(
    host: FakeHost, places: Locations, name: str
) -> None:
    ring.add(host, places, ["a"])
    path = f"{places.credentials}/{name}"
    host.files.remove(path)
    host.files.make_folder(path)
    with pytest.raises(LocalOpusError) as caught:
        ring.require(host, places)
    assert caught.value.message == f"{path}: a folder took its place"
    assert caught.value.remedy.startswith("Move that folder away")
    host.files.remove_folder(path)
    ring.require(host, places)
    assert node_key.problem(host, places) is None


def test_nonsense_in_the_credential_of_a_unit_is_no_key(host: FakeHost, places: Locations) -> None:
    folder = "/run/credentials/local-opus-monitor.service"
    host.files.make_folders(folder)
    host.files.write_atomic(f"{folder}/node-key", b"\x8f" * 300)
    host.environ = {**host.environ, "CREDENTIALS_DIRECTORY": folder}
    with pytest.raises(BadInputError) as caught:
        node_key.read(host, places)
    assert caught.value.message.startswith(f"{folder}/node-key: ")


BAD_NAMES = ["", "a/b", "..", "../x", "-x", "a b", "a\nb", "x" * 65, "ä", "a\0", OWN]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_is_none(host: FakeHost, places: Locations, name: str) -> None:
    before = tree(host)
    with pytest.raises(BadInputError):
        ring.add(host, places, [name])
    assert tree(host) == before


def test_a_name_that_is_taken(host: FakeHost, places: Locations) -> None:
    key = ring.add(host, places, ["a"]).keys["a"]
    before = store.read(host, places, store.API_KEYS)
    for names in (["a"], ["b", "a"], ["c", "c"]):
        with pytest.raises(BadInputError):
            ring.add(host, places, names)
    with pytest.raises(BadInputError, match="the one of a"):
        ring.add(host, places, ["b"], key)
    assert store.read(host, places, store.API_KEYS) == before


def test_a_name_that_has_no_key(host: FakeHost, places: Locations) -> None:
    ring.add(host, places, ["agent-1", "writer"])
    with pytest.raises(BadInputError, match='Did you mean "agent-1"'):
        ring.remove(host, places, ["writer", "agent-l"])
    assert len(ring.look(host, places).clients) == 2


BAD_KEYS = {
    "empty": "",
    "a line break alone": "\n",
    "two lines": "a" * 30 + "\n" + "b" * 30,
    "a blank": "a" * 20 + " " + "b" * 20,
    "short": "a" * 19,
    "1 MB": "a" * 1_000_000,
    "no ASCII": "schlüssel" * 5,
    "a control character": "a" * 30 + "\x00",
    "a lone surrogate": "a" * 30 + "\udcff",
}


@pytest.mark.parametrize("text", BAD_KEYS.values(), ids=BAD_KEYS.keys())
def test_what_is_no_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(BadInputError) as caught:
        words.checked(text, "standard input")
    assert caught.value.message.startswith("standard input: ")
    assert len(text) < 2 or text.strip() not in caught.value.message


@pytest.mark.parametrize("text", [KEY, KEY + "\n", KEY + "\r\n"])
def test_a_key_may_end_its_line(text: str) -> None:
    assert words.checked(text, "x") == KEY


DAMAGED = [b"", b"{", b"[]", b'{"schema_version": 1, "keys": [{"name": "a"}]}', b"\xff" * 40]


@pytest.mark.parametrize("data", DAMAGED)
def test_a_damaged_credential_is_named_and_nothing_is_changed(
    host: FakeHost, places: Locations, data: bytes
) -> None:
    ring.add(host, places, ["a"])
    path = f"{places.credentials}/api-keys"
    host.files.write_atomic(path, data, mode=0o600)
    before = tree(host)
    for change in (ring.add, ring.remove):
        with pytest.raises(BadInputError) as caught:
            change(host, places, ["a"])
        assert path in caught.value.message
    after = tree(host)
    receipt = f"{places.state[1:]}/receipt"
    assert {k: v for k, v in after.items() if receipt not in k} == {
        k: v for k, v in before.items() if receipt not in k
    }


def test_an_edited_drop_in_is_not_overwritten(host: FakeHost, places: Locations) -> None:
    ring.add(host, places, ["a"])
    path = f"{places.units}/{UNIT}.d/{KEYS_DROP_IN}"
    host.files.write_atomic(path, b"[Service]\nNice=5\n")
    with pytest.raises(LocalOpusError, match="edited since"):
        ring.add(host, places, ["b"])
    assert host.files.read_text(path) == "[Service]\nNice=5\n"


def edited_drop_in(host: FakeHost, places: Locations) -> None:
    host.files.write_atomic(f"{places.units}/{UNIT}.d/{KEYS_DROP_IN}", b"[Service]\nNice=5\n")


def edited_drop_in_of_the_monitor(host: FakeHost, places: Locations) -> None:
    host.files.write_atomic(
        f"{places.units}/{MONITOR_UNIT}.d/{KEYS_DROP_IN}", b"[Service]\nNice=5\n"
    )


def edited_mark(host: FakeHost, places: Locations) -> None:
    host.files.write_atomic(places.keys_file, b'{"schema_version": 1, "required": false}')


def systemd_that_fails(host: FakeHost, places: Locations) -> None:
    host.files.remove(f"{places.units}/{UNIT}.d/{KEYS_DROP_IN}")
    host.services.runs = True

    def fail(*_: object) -> None:
        raise LocalOpusError("systemctl daemon-reload: failed", "Look.")

    host.services.do = fail  # type: ignore[method-assign]


HINDRANCES = [edited_drop_in, edited_drop_in_of_the_monitor, edited_mark, systemd_that_fails]


@pytest.mark.parametrize("hinder", HINDRANCES)
def test_no_key_is_kept_that_nobody_was_shown(
    host: FakeHost, places: Locations, hinder: Callable[[FakeHost, Locations], None]
) -> None:
    key = ring.add(host, places, ["a"]).keys["a"]
    hinder(host, places)
    with pytest.raises(LocalOpusError):
        ring.add(host, places, ["b"])
    kept = store.keyring(host, places)
    assert kept is not None
    assert [one.name for one in kept.clients] == ["a"]
    assert words.digest(key) in {one.sha256 for one in kept.keys}
    assert node_key.problem(host, places) is None


@pytest.mark.parametrize("hinder", HINDRANCES[:3])
def test_what_was_edited_is_told_before_a_key_is_removed(
    host: FakeHost, places: Locations, hinder: Callable[[FakeHost, Locations], None]
) -> None:
    ring.add(host, places, ["a", "b"])
    hinder(host, places)
    before = store.read(host, places, store.API_KEYS)
    for change in (lambda: ring.remove(host, places, ["b"]), lambda: ring.require(host, places)):
        with pytest.raises(LocalOpusError, match="edited since"):
            change()
        assert store.read(host, places, store.API_KEYS) == before


def test_the_first_key_that_nobody_was_shown_can_be_added_again(
    host: FakeHost, places: Locations
) -> None:
    real = host.services.do
    host.files.make_folders(f"{places.units}/{UNIT}.d")
    host.files.write_atomic(f"{places.units}/{UNIT}.d/{KEYS_DROP_IN}", b"")
    systemd_that_fails(host, places)
    with pytest.raises(LocalOpusError, match="daemon-reload"):
        ring.add(host, places, ["a"])
    assert ring.look(host, places).clients == ()
    host.services.do = real  # type: ignore[method-assign]
    assert [*ring.add(host, places, ["a"]).keys] == ["a"]


# -- wanted or not --------------------------------------------------------------------------------


def test_a_server_that_is_given_the_credential_wants_keys_also_without_the_mark(
    host: FakeHost, places: Locations
) -> None:
    ring.add(host, places, ["a"])
    host.files.remove(places.keys_file)
    assert giving.wanted(host, places)
    assert ring.look(host, places).required


def test_no_more_takes_back_the_drop_in_also_without_the_mark(
    host: FakeHost, places: Locations
) -> None:
    ring.add(host, places, ["a"])
    host.files.remove(places.keys_file)
    assert ring.require_no_more(host, places)
    assert host.files.stat(f"{places.units}/{UNIT}.d/{KEYS_DROP_IN}") is None
    assert not giving.wanted(host, places)


def test_no_more_leaves_nothing_where_nothing_was_kept(host: FakeHost, places: Locations) -> None:
    before = tree(host)
    assert not ring.require_no_more(host, places)
    assert tree(host) == before


def mark_by_hand(host: FakeHost, places: Locations) -> str:
    host.files.write_atomic(places.keys_file, b'{"schema_version": 1,   "required": true}')
    return places.keys_file


def drop_in_by_hand(host: FakeHost, places: Locations) -> str:
    path = f"{places.units}/{UNIT}.d/{KEYS_DROP_IN}"
    host.files.write_atomic(path, host.files.read_bytes(path) + b"Nice=5\n")
    return path


def test_no_more_does_not_say_so_where_a_drop_in_of_nobody_still_gives_the_credential(
    host: FakeHost, places: Locations
) -> None:
    ring.add(host, places, ["a"])
    path = f"{places.units}/{UNIT}.d/{KEYS_DROP_IN}"
    text = host.files.read_bytes(path)
    ring.require_no_more(host, places)
    host.files.make_folders(f"{places.units}/{UNIT}.d")
    host.files.write_atomic(path, text)
    with pytest.raises(LocalOpusError, match=f"{path}: still wants keys"):
        ring.require_no_more(host, places)


@pytest.mark.parametrize("edit", [mark_by_hand, drop_in_by_hand])
def test_no_more_does_not_say_so_where_an_edited_file_still_wants_keys(
    host: FakeHost, places: Locations, edit: Callable[[FakeHost, Locations], str]
) -> None:
    ring.add(host, places, ["a"])
    path = edit(host, places)
    for _ in range(2):
        with pytest.raises(LocalOpusError) as caught:
            ring.require_no_more(host, places)
        assert caught.value.message.startswith(f"{path}: ")
        assert giving.wanted(host, places)
    host.files.remove(path)
    ring.require_no_more(host, places)
    assert not giving.wanted(host, places)


# -- encryption -----------------------------------------------------------------------------------


def test_where_systemd_can_it_encrypts(host: FakeHost, system: Locations) -> None:
    calls = systemd_creds(host)
    changed = ring.add(host, system, ["a"])
    assert changed.kept.sealed
    assert host.files.list(system.credentials) == ["api-keys.cred", "node-key.cred"]
    drop_in = host.files.read_text(f"{system.units}/{UNIT}.d/{KEYS_DROP_IN}")
    assert f"\nLoadCredentialEncrypted=api-keys:{system.credentials}/api-keys.cred\n" in drop_in
    assert [one.name for one in ring.look(host, system).clients] == ["a"]
    assert any("--tpm2-pcrs=" in call for call in calls if call[1] == "encrypt")


def test_without_encryption_it_says_why(host: FakeHost, system: Locations) -> None:
    systemd_creds(host, version="249")
    kept = ring.add(host, system, ["a"]).kept
    assert not kept.sealed
    assert kept.why_plain == "systemd 249 encrypts nothing for services; 250 does"


def test_a_users_own_systemd_encrypts_from_256_on(host: FakeHost, places: Locations) -> None:
    host.services.runs = True
    host.services.values = {"MainPID": "0"}
    calls = systemd_creds(host, version="252")
    assert not ring.add(host, places, ["a"]).kept.sealed
    calls = systemd_creds(host, version="257")
    assert ring.add(host, places, ["b"]).kept.sealed
    assert all("--user" in call for call in calls if call[1] in {"encrypt", "decrypt"})
    assert host.files.list(places.credentials) == ["api-keys.cred", "node-key.cred"]
    text = host.files.read_text(f"{places.units}/{UNIT}.d/{KEYS_DROP_IN}")
    assert "LoadCredentialEncrypted=" in text
    assert "LoadCredential=" not in text


@pytest.mark.parametrize("verb", ["encrypt", "decrypt"])
def test_what_systemd_can_not_do_here_is_kept_plainly(
    host: FakeHost, system: Locations, verb: str
) -> None:
    systemd_creds(host, **{verb: "no encryption key available"})
    kept = ring.add(host, system, ["a"]).kept
    assert not kept.sealed
    assert "no encryption key available" in str(kept.why_plain)
    assert host.files.list(system.credentials) == ["api-keys", "node-key"]


def test_a_credential_of_another_machine_is_named(host: FakeHost, system: Locations) -> None:
    systemd_creds(host)
    ring.add(host, system, ["a"])
    systemd_creds(host, decrypt="Decryption failed")
    with pytest.raises(LocalOpusError) as caught:
        ring.look(host, system)
    assert f"{system.credentials}/api-keys.cred: does not open" in caught.value.message


# -- the way back ---------------------------------------------------------------------------------


@pytest.mark.parametrize("purge", [False, True])
def test_an_uninstall_removes_the_keys_of_clients(
    host: FakeHost, places: Locations, purge: bool
) -> None:
    before = tree(host)
    ring.add(host, places, ["a"])
    ring.remove(host, places, ["a"])
    ring.require_no_more(host, places)
    ring.add(host, places, ["b"])
    removed = uninstall(host, places, purge=purge, tell=QuietReporter())
    assert removed.kept == []
    assert tree(host) == before


def test_a_clouds_key_stays_until_a_purge(host: FakeHost, places: Locations) -> None:
    before = tree(host)
    ring.add(host, places, ["a"])
    cloud.keep(host, places, "openai", KEY)
    ahead = forecast(host, places, purge=False)
    assert any("openai" in line for line in ahead.kept)
    assert "credential:cloud-openai" not in [one.step for one in ahead.steps]
    removed = uninstall(host, places, purge=False, tell=QuietReporter())
    assert [line for line in removed.kept if "openai" in line and "--purge" in line]
    assert host.files.list(places.credentials) == ["cloud-openai"]
    assert store.read(host, places, "cloud-openai") == KEY.encode()
    assert uninstall(host, places, purge=False, tell=QuietReporter()).nothing
    ahead = forecast(host, places, purge=True)
    assert "credential:cloud-openai" in [one.step for one in ahead.steps]
    uninstall(host, places, purge=True, tell=QuietReporter())
    assert tree(host) == before


def test_a_clouds_key_is_replaced_and_forgotten(host: FakeHost, places: Locations) -> None:
    cloud.keep(host, places, "openai", KEY)
    cloud.keep(host, places, "openai", KEY + "2")
    assert store.read(host, places, "cloud-openai") == f"{KEY}2".encode()
    assert not giving.wanted(host, places)
    cloud.forget(host, places, "openai")
    assert cloud.kept_here(host, places) == []
    with pytest.raises(BadInputError):
        cloud.forget(host, places, "openai")


def test_systemds_key_stays_and_is_named_where_it_was_made_for_this(
    host: FakeHost, system: Locations
) -> None:
    systemd_creds(host)
    ring.add(host, system, ["a"])
    removed = uninstall(host, system, purge=True, tell=QuietReporter())
    assert [line for line in removed.kept if line.startswith(f"{sealing.HOST_KEY}: ")]
    assert host.files.stat(sealing.HOST_KEY) is not None


def test_systemds_key_that_was_there_is_not_spoken_of(host: FakeHost, system: Locations) -> None:
    systemd_creds(host)
    host.files.write_atomic(sealing.HOST_KEY, b"older", mode=0o400)
    ring.add(host, system, ["a"])
    removed = uninstall(host, system, purge=True, tell=QuietReporter())
    assert removed.kept == []
    assert host.files.read_text(sealing.HOST_KEY) == "older"


# -- who is started, and asks ---------------------------------------------------------------------


def test_a_server_without_systemd_is_given_the_digests_alone(
    host: FakeHost, places: Locations
) -> None:
    ring.add(host, places, ["a"])
    host.files.make_folders(places.runtime)
    folder = giving.hand(host, places, None)
    assert folder is not None
    assert host.files.list(folder) == ["api-keys"]
    found = host.files.stat(f"{folder}/api-keys")
    assert found is not None
    assert found.mode == 0o600
    node.forget(host, places)
    assert host.files.stat(folder) is None


def test_a_server_whose_keys_are_gone_is_not_started(host: FakeHost, places: Locations) -> None:
    ring.add(host, places, ["a"])
    host.files.remove(f"{places.credentials}/api-keys")
    with pytest.raises(BadInputError, match="they are not there"):
        giving.hand(host, places, None)


def test_a_trial_wants_keys_too(host: FakeHost, places: Locations) -> None:
    assert giving.trial_lines(host, places.trial) == ""
    ring.add(host, places, ["a"])
    lines = giving.trial_lines(host, places.trial)
    assert f"\nLoadCredential=api-keys:{places.credentials}/api-keys\n" in lines


def listening(host: FakeHost, *owners: int, port: int = 8000) -> None:
    rows = [
        f"   {number}: 0100007F:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000"
        f"  {owner}        0 123 1 0000000000000000 100 0 0 10 0"
        for number, owner in enumerate(owners)
    ]
    host.files.make_folders("/proc/self/net")
    host.files.write_atomic(
        "/proc/self/net/tcp", "\n".join(["  sl  local_address", *rows]).encode()
    )


@pytest.mark.parametrize("owners", [(0,), (61200,), (65534,), (0, 65519)])
def test_the_nodes_key_is_told_to_services(
    host: FakeHost, places: Locations, owners: tuple[int, ...]
) -> None:
    ring.add(host, places, ["a"])
    listening(host, *owners)
    assert node_key.find(host, places, "127.0.0.1", 8000) == node_key.read(host, places)


@pytest.mark.parametrize("owners", [(), (1000,), (0, 1000), (61183,)])
def test_the_nodes_key_is_told_to_nobody_else_who_listens(
    host: FakeHost, places: Locations, owners: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    ring.add(host, places, ["a"])
    monkeypatch.setattr(host, "euid", 0)
    listening(host, *owners)
    assert node_key.find(host, places, "127.0.0.1", 8000) is None


def test_a_unit_of_the_node_reads_its_credential(host: FakeHost, places: Locations) -> None:
    host.files.make_folders("/run/credentials/local-opus-monitor.service")
    folder = "/run/credentials/local-opus-monitor.service"
    host.files.write_atomic(f"{folder}/node-key", KEY.encode())
    host.environ = {**host.environ, "CREDENTIALS_DIRECTORY": folder}
    assert node_key.read(host, places) == KEY


def test_a_user_says_his_key_in_the_environment(host: FakeHost, places: Locations) -> None:
    host.environ = {**host.environ, "LOCAL_OPUS_API_KEY": KEY}
    assert node_key.find(host, places, "127.0.0.1", 8000) == KEY
    host.environ = {**host.environ, "LOCAL_OPUS_API_KEY": KEY + "\nHost: evil"}
    with pytest.raises(BadInputError) as caught:
        node_key.find(host, places, "127.0.0.1", 8000)
    assert caught.value.message.startswith("LOCAL_OPUS_API_KEY: ")
    assert KEY not in caught.value.message


def test_no_child_is_given_a_users_key(host: FakeHost) -> None:
    from local_opus.host.processes import Processes

    made = Processes({"LOCAL_OPUS_API_KEY": KEY, "CREDENTIALS_DIRECTORY": "/x", "HOME": "/h"})
    found = made.clean_environment()
    assert found["HOME"] == "/h"
    assert KEY not in found.values()
    assert "CREDENTIALS_DIRECTORY" not in found


def test_status_says_that_a_key_is_wanted(
    host: FakeHost, places: Locations, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wants(*_: object) -> None:
        raise KeyNeededError("http://127.0.0.1:8000/ready: the server wants a key", "Set one.")

    denied = LocalOpusError("server.json: permission denied", "")
    denied.__cause__ = PermissionError()

    def closed(*_: object) -> None:
        raise denied

    monkeypatch.setattr(node_settings, "settings", closed)
    monkeypatch.setattr(node, "ask_ready", wants)
    found = control.status(host, places)
    assert (found["running"], found["ready"], found["keys"]) == (True, None, "required")
    assert found["fix"] == "Set one."


@pytest.mark.parametrize("closed", [True, False])
def test_a_server_that_runs_is_started_anew_and_seen_to_be_closed(
    host: FakeHost, places: Locations, monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    ring.add(host, places, ["a"])
    host.services.runs = True
    done: list[str] = []
    monkeypatch.setattr(node, "serving", lambda *_: node.Serving(77, "systemd"))
    monkeypatch.setattr(control, "restart", lambda *_: done.append("restart"))
    monkeypatch.setattr(node_settings, "address", lambda *_: ("127.0.0.1", 8000))
    monkeypatch.setattr(host.network, "wants_key", lambda *_: closed)
    if closed:
        assert changing.restart(host, places)
    else:
        with pytest.raises(LocalOpusError, match="answers without a key"):
            changing.restart(host, places)
    assert done == ["restart"]


@pytest.mark.parametrize("required", [True, False])
def test_a_server_that_does_not_start_is_not_told_to_do_what_was_done(
    host: FakeHost, places: Locations, monkeypatch: pytest.MonkeyPatch, required: bool
) -> None:
    ring.add(host, places, ["a"])
    if not required:
        ring.require_no_more(host, places)

    def fail(*_: object) -> None:
        raise LocalOpusError("it did not come up", "Look.")

    monkeypatch.setattr(node, "serving", lambda *_: node.Serving(77, "systemd"))
    monkeypatch.setattr(control, "restart", fail)
    with pytest.raises(LocalOpusError, match="it did not come up") as caught:
        changing.restart(host, places)
    assert ("keys require off" in caught.value.remedy) is required


# -- the command ----------------------------------------------------------------------------------


@pytest.fixture
def here(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Runs the command on the fake host, with a standard input."""
    from local_opus.cli import context

    monkeypatch.setattr(context, "open_host", lambda *_: host)

    def run(*said: str, stdin: str | None = "") -> int:
        monkeypatch.setattr("sys.stdin", None if stdin is None else io.StringIO(stdin))
        return cli.main(["keys", *said, "--scope", "user"])

    return run


def test_the_command_shows_a_key_once(
    here: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("add", "agent-1", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    key = said["keys"][0]["key"]
    assert (said["required"], said["encrypted"], said["server_restarted"]) == (True, False, False)
    assert said["why_not_encrypted"] == "no systemd runs here"
    assert here("list", "--json") == 0
    shown = capsys.readouterr().out
    assert [one["name"] for one in json.loads(shown)["keys"]] == ["agent-1"]
    assert key not in shown
    assert here("list") == 0
    assert key not in capsys.readouterr().out


@pytest.mark.parametrize("form", [(), ("--json",)])
@pytest.mark.parametrize("former", [(), ("a",)], ids=["the first", "one more"])
def test_a_key_that_nobody_has_seen_is_taken_back(
    here: Callable[..., int], host: FakeHost, places: Locations, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], former: tuple[str, ...], form: tuple[str, ...],
) -> None:  # fmt: skip
    if former:
        ring.add(host, places, former)
    monkeypatch.setattr(streams, "unseen", lambda: True)
    assert here("add", "b", "c", *form) == 1
    shown = ring.look(host, places)
    assert tuple(one.name for one in shown.clients) == former
    assert shown.required is bool(former)
    assert "nobody has seen the new keys (b c); they were taken back" in capsys.readouterr().err


def test_a_key_in_json_that_nobody_has_seen_is_taken_back_where_the_server_does_not_start(
    here: Callable[..., int], host: FakeHost, places: Locations, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fail(*_: object) -> None:
        raise LocalOpusError("it did not come up", "Look.")

    monkeypatch.setattr(changing, "restart", fail)
    monkeypatch.setattr(streams, "unseen", lambda: True)
    assert here("add", "a", "--json") == 1
    assert ring.look(host, places).clients == ()
    assert "they were taken back, and it did not come up" in capsys.readouterr().err


def test_a_key_of_ones_own_is_kept_also_where_nobody_reads(
    here: Callable[..., int], host: FakeHost, places: Locations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "unseen", lambda: True)
    assert here("add", "a", "--own", stdin=KEY) == 0
    assert [one.name for one in ring.look(host, places).clients] == ["a"]


def test_a_key_that_can_not_be_taken_back_is_named_with_what_removes_it(
    here: Callable[..., int], host: FakeHost, places: Locations, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    ring.add(host, places, ["a"])

    def fill() -> bool:
        edited_mark(host, places)
        return True

    monkeypatch.setattr(streams, "unseen", fill)
    assert here("add", "b") == 1
    assert "local-opus keys remove b" in " ".join(capsys.readouterr().err.split())


def test_a_key_of_ones_own_is_not_shown(
    here: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("add", "a", "--own", stdin=KEY + "\n") == 0
    assert here("set-cloud", "anthropic", stdin=KEY + "c\n") == 0
    assert here("list") == 0
    said = capsys.readouterr()
    assert KEY not in said.out + said.err
    assert "cloud anthropic" in said.out


@pytest.mark.parametrize("stdin", [None, *BAD_KEYS.values()], ids=["closed", *BAD_KEYS.keys()])
@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_a_bad_key_ends_with_two_at_once(
    here: Callable[..., int], host: FakeHost, capsys: pytest.CaptureFixture[str],
    stdin: str | None, debug: list[str],
) -> None:  # fmt: skip
    before = tree(host)
    assert here("add", "a", "--own", *debug, stdin=stdin) == 2
    assert here("set-cloud", "openai", *debug, stdin=stdin) == 2
    assert tree(host) == before
    said = capsys.readouterr().err
    assert not stdin or len(stdin) < 19 or stdin.strip()[:19] not in said


@pytest.mark.parametrize(
    "said",
    [
        ("add",),
        ("add", "a/b"),
        ("add", "x", "y", "--own"),
        ("remove", "nobody"),
        ("require", "maybe"),
        ("set-cloud", "nobody"),
        ("remove-cloud", "openai"),
    ],
)
def test_bad_words_end_with_two(
    here: Callable[..., int], host: FakeHost, said: tuple[str, ...]
) -> None:
    assert here(*said, stdin=KEY) == 2
    assert host.files.stat("/home/user/.config") is None
