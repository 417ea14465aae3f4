"""The same file of two variants is stored once, and nothing that happens to one harms the other."""

from __future__ import annotations

import errno
import hashlib
import os

import pytest
from blake3 import blake3

from builders import gguf_bytes, wheel_model
from fakes import FakeHost
from local_opus import shelf, stock, stored
from local_opus.actions.fetch_weights import FetchWeights
from local_opus.locations import Locations
from local_opus.values import CatalogFile, LocalSource, Model, Trust
from local_opus.weights import manifest as manifests
from local_opus.weights.manifest import LocalOrigin, Manifest, ManifestFile
from local_opus.weights.orphans import list_partials
from local_opus.weights.shared_files import find, freed_by, keeping_stamps, share
from local_opus.weights.stamps import read_stamps, stamp_of
from local_opus.weights.verify import is_proven, verify_folder

MODELS = "/models"
BIG = b"weights" * 10_000


def variant(
    host: FakeHost, model: str, name: str = "gguf-q4_1", *, models: str = MODELS, **files: bytes
) -> str:
    folder = f"{models}/{model}/{name}"
    host.files.make_folders(folder)
    listed = []
    for path, data in files.items():
        host.files.write_atomic(f"{folder}/{path}", data)
        listed.append(
            ManifestFile(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest(),
                         blake3=blake3(data).hexdigest(), origin=LocalOrigin(folder="/x"),
                         trust=Trust.PINNED)
        )  # fmt: skip
    manifests.write(
        host, folder, Manifest(model=model, variant=name, created_by="t", files=tuple(listed))
    )
    return folder


def inode(host: FakeHost, path: str) -> int:
    return host.files.stat(path).inode


def holds_by_stamps(host: FakeHost, folder: str) -> bool:
    """Whether the stamp of every file is that of the file as it is."""
    manifest, digest = manifests.read_with_digest(host, folder)
    stamps = read_stamps(host, folder, digest)
    return all(
        stamps.get(file.path) == stamp_of(host, f"{folder}/{file.path}") for file in manifest.files
    )


def proven(host: FakeHost, folder: str) -> bool:
    return is_proven(verify_folder(host, folder))


# --- find


def test_a_file_is_found_by_what_it_holds(host):
    folder = variant(host, "a", weights=BIG, other=b"x")
    assert find(host, MODELS, len(BIG), hashlib.sha256(BIG).hexdigest()) == f"{folder}/weights"
    assert find(host, MODELS, len(BIG) - 1, hashlib.sha256(BIG).hexdigest()) is None
    assert find(host, MODELS, len(BIG), "0" * 64) is None
    assert find(host, "/nowhere", len(BIG), hashlib.sha256(BIG).hexdigest()) is None


def test_a_file_that_was_touched_is_hashed_before_it_counts(host):
    folder = variant(host, "a", weights=BIG)
    digest = hashlib.sha256(BIG).hexdigest()
    os.utime(f"{host.root}{folder}/weights")
    assert find(host, MODELS, len(BIG), digest) == f"{folder}/weights"
    host.files.write_atomic(f"{folder}/weights", b"x" + BIG[1:])
    assert find(host, MODELS, len(BIG), digest) is None
    host.files.remove(f"{folder}/weights")
    assert find(host, MODELS, len(BIG), digest) is None
    host.files.symlink("/etc/passwd", f"{folder}/weights")
    assert find(host, MODELS, len(BIG), digest) is None


def test_a_manifest_that_lies_finds_nothing(host):
    folder = variant(host, "a", weights=BIG)
    text = host.files.read_text(f"{folder}/weights.json")
    lie = text.replace(hashlib.sha256(BIG).hexdigest(), "0" * 64)
    host.files.write_atomic(f"{folder}/weights.json", lie.encode())
    assert find(host, MODELS, len(BIG), "0" * 64) is None


# --- share


def test_the_same_file_is_stored_once(host):
    old = variant(host, "a", weights=BIG, own=b"a")
    new = variant(host, "b", weights=BIG, own=b"b")
    found = share(host, MODELS, new)
    assert (found.files, found.bytes, found.problem) == (1, len(BIG), None)
    assert inode(host, f"{new}/weights") == inode(host, f"{old}/weights")
    for folder in (old, new):
        assert holds_by_stamps(host, folder)
        assert proven(host, folder)
    assert list_partials(host, MODELS) == ()
    assert share(host, MODELS, new).bytes == 0


def test_under_another_name_and_in_another_variant_of_the_model(host):
    old = variant(host, "a", "ir-int4", tokenizer=BIG)
    new = variant(host, "a", "ir-int8", vocabulary=BIG)
    share(host, MODELS, new)
    assert inode(host, f"{new}/vocabulary") == inode(host, f"{old}/tokenizer")


def test_three_of_them(host):
    folders = [variant(host, name, weights=BIG) for name in "abc"]
    for folder in folders:
        share(host, MODELS, folder)
    assert len({inode(host, f"{folder}/weights") for folder in folders}) == 1
    assert all(holds_by_stamps(host, folder) for folder in folders)


def test_what_differs_is_not_shared(host):
    old = variant(host, "a", weights=BIG)
    new = variant(host, "b", weights=BIG[:-1] + b"x")
    assert share(host, MODELS, new).files == 0
    assert inode(host, f"{new}/weights") != inode(host, f"{old}/weights")


@pytest.mark.parametrize("which", ["old", "new"])
def test_a_damaged_file_is_not_shared(host, which):
    folders = {"old": variant(host, "a", weights=BIG), "new": variant(host, "b", weights=BIG)}
    host.files.write_atomic(f"{folders[which]}/weights", b"x" + BIG[1:])
    assert share(host, MODELS, folders["new"]).files == 0
    other = folders["new" if which == "old" else "old"]
    assert host.files.read_bytes(f"{other}/weights") == BIG
    assert holds_by_stamps(host, other)
    assert not holds_by_stamps(host, folders[which])


def test_a_file_that_was_only_touched_is_hashed_and_shared(host):
    old, new = variant(host, "a", weights=BIG, rest=b"a"), variant(host, "b", weights=BIG)
    os.utime(f"{host.root}{old}/weights")
    os.utime(f"{host.root}{old}/rest")
    share(host, MODELS, new)
    assert inode(host, f"{new}/weights") == inode(host, f"{old}/weights")
    stamps = read_stamps(host, old, manifests.read_with_digest(host, old)[1])
    # What was hashed holds again; what nobody looked at does not.
    assert stamps["weights"] == stamp_of(host, f"{old}/weights")
    assert stamps["rest"] != stamp_of(host, f"{old}/rest")


@pytest.mark.parametrize("change", ["mode", "owner"])
def test_other_rights_are_not_taken_over(host, change):
    old, new = variant(host, "a", weights=BIG), variant(host, "b", weights=BIG)
    if change == "mode":
        host.files.set_mode(f"{old}/weights", 0o600)
    elif os.geteuid() == 0:
        host.files.set_owner(f"{old}/weights", 1234, -1)
    else:
        pytest.skip("only root can give a file away")
    assert share(host, MODELS, new).files == 0


@pytest.mark.parametrize(
    "number", [errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK, errno.ENOSPC]
)
def test_a_file_system_without_links_keeps_both_and_says_so(host, monkeypatch, number):
    old, new = variant(host, "a", weights=BIG), variant(host, "b", weights=BIG)

    def link(path: str, name: str) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(host.files, "link", link)
    found = share(host, MODELS, new)
    assert (found.files, found.bytes) == (0, 0)
    assert found.problem == f"{new}/weights: {os.strerror(number).lower()}"
    for folder in (old, new):
        assert host.files.read_bytes(f"{folder}/weights") == BIG
        assert holds_by_stamps(host, folder)
    assert list_partials(host, MODELS) == ()


def test_a_failed_rename_leaves_the_file(host, monkeypatch):
    variant(host, "a", weights=BIG)
    new = variant(host, "b", weights=BIG)

    def rename(old: str, name: str) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(host.files, "rename", rename)
    assert share(host, MODELS, new).problem is not None
    assert host.files.read_bytes(f"{new}/weights") == BIG
    assert list_partials(host, MODELS) == ()


class KilledError(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("call", ["link", "rename", "write_atomic"])
def test_a_kill_anywhere_loses_nothing_and_the_next_run_finishes(host, monkeypatch, call):
    old, new = variant(host, "a", weights=BIG), variant(host, "b", weights=BIG)
    real = getattr(host.files, call)

    def killed(*words: object, **more: object) -> None:
        if call != "rename":
            real(*words, **more)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(host.files, call, killed)
        if call == "rename":  # nothing is cleaned up by a process that is no more
            patch.setattr(host.files, "discard", lambda path: None)
        with pytest.raises(KilledError):
            share(host, MODELS, new)
    for folder in (old, new):
        assert proven(host, folder)
    share(host, MODELS, new)
    assert inode(host, f"{new}/weights") == inode(host, f"{old}/weights")
    assert all(holds_by_stamps(host, folder) for folder in (old, new))
    assert list_partials(host, MODELS) == ()


# --- what becomes of the other


@pytest.fixture
def shared_pair(host: FakeHost, places: Locations) -> tuple[str, str]:
    old = variant(host, "a", weights=BIG, own=b"a", models=places.models)
    new = variant(host, "b", weights=BIG, own=b"b", models=places.models)
    assert share(host, places.models, new).files == 1
    return old, new


def test_the_removal_of_one_keeps_the_other(host, places, shared_pair):
    old, new = shared_pair
    assert freed_by(host, old) < len(BIG)
    assert shelf.remove(host, places, "a") < len(BIG)
    assert host.files.stat(old) is None
    assert holds_by_stamps(host, new)
    assert proven(host, new)
    assert shelf.remove(host, places, "b") > len(BIG)


def test_a_list_counts_it_once(host, places, shared_pair):
    there = stock.take(host, places)
    assert len(BIG) < there.bytes < 2 * len(BIG)
    assert stored.size(host, places) == there.bytes


@pytest.mark.parametrize("foreign", ["a", "b", None])
def test_a_purge_counts_what_goes(host, places, shared_pair, foreign):
    if foreign is not None:
        host.files.write_atomic(f"{places.models}/{foreign}/mine", b"mine")
    before = stored.size(host, places)
    going, kept = stored.sort_out(host, places, ())
    assert len(kept) == (foreign is not None)
    stored.purge(host, places)
    assert sum(going.values()) == before - stored.size(host, places)
    if foreign is not None:
        left = dict(zip("ab", shared_pair, strict=True))[foreign]
        assert sum(going.values()) < len(BIG)
        assert holds_by_stamps(host, left)
        assert proven(host, left)


def test_what_was_not_proven_is_not_by_a_removal(host, shared_pair, places):
    old, new = shared_pair
    os.utime(f"{host.root}{new}/own")
    os.utime(f"{host.root}{new}/weights")  # and so that of the other
    with keeping_stamps(host, places.models, [old]):
        host.files.remove_tree(old)
    assert not holds_by_stamps(host, new)
    stamps = read_stamps(host, new, manifests.read_with_digest(host, new)[1])
    assert stamps["weights"] != stamp_of(host, f"{new}/weights")


# --- fetches


SOUND = gguf_bytes()


def local_model(host: FakeHost, model_id: str) -> Model:
    host.files.make_folders("/source")
    host.files.write_atomic("/source/tiny.gguf", SOUND)
    file = CatalogFile(path="tiny.gguf", size=len(SOUND), sha256=hashlib.sha256(SOUND).hexdigest())
    return wheel_model(SOUND).model_copy(
        update={
            "id": model_id,
            "files": (file,),
            "source": LocalSource(kind="local", folder="/source"),
        }
    )


def fetch(host: FakeHost, model_id: str) -> dict[str, object]:
    action = FetchWeights(model=local_model(host, model_id), store=MODELS)
    return action.execute(host, {}, lambda step, done, total: None)


def test_a_fetch_shares_what_is_there(host):
    assert "shared_files" not in fetch(host, "a")
    assert fetch(host, "b")["shared_files"] == 1
    folders = [f"{MODELS}/{one}/gguf-q4_1" for one in "ab"]
    assert len({inode(host, f"{folder}/tiny.gguf") for folder in folders}) == 1
    for one in "ab":
        action = FetchWeights(model=local_model(host, one), store=MODELS)
        assert action.inspect(host).state == "present"
        assert holds_by_stamps(host, action.folder())


def test_a_repair_of_one_does_not_write_through_the_link(host):
    fetch(host, "a")
    fetch(host, "b")
    first, second = (f"{MODELS}/{one}/gguf-q4_1" for one in "ab")
    with host.files.open_in_place(f"{first}/tiny.gguf") as stream:  # the disk rots under both
        stream.seek(len(SOUND) - 1)
        stream.write(b"\x00")
    rotten = host.files.read_bytes(f"{second}/tiny.gguf")
    assert rotten != SOUND
    with open(f"{host.root}{second}/tiny.gguf", "rb") as reader:  # as a server has it open
        fetch(host, "a")
        assert reader.read() == rotten
    assert host.files.read_bytes(f"{first}/tiny.gguf") == SOUND
    assert host.files.read_bytes(f"{second}/tiny.gguf") == rotten
    assert not proven(host, second)
    fetch(host, "b")
    assert proven(host, second)
    assert inode(host, f"{first}/tiny.gguf") == inode(host, f"{second}/tiny.gguf")
    assert all(holds_by_stamps(host, folder) for folder in (first, second))


def test_a_file_system_without_links_is_told_by_a_fetch(host, monkeypatch):
    fetch(host, "a")

    def link(path: str, name: str) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(host.files, "link", link)
    told: list[str] = []
    action = FetchWeights(model=local_model(host, "b"), store=MODELS)
    record = action.execute(host, {}, lambda step, done, total: told.append(step))
    assert "operation not permitted" in str(record["stored_twice"])
    assert any(step.startswith("stored twice: ") for step in told)
