"""Signatures of folders: what holds, what does not and why, and what can't be signed at all."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from local_opus import signing
from local_opus.errors import BadInputError, ProblemFoundError
from local_opus.host import Host
from local_opus.runtime import protocol
from local_opus.runtime import signing as worker
from local_opus.signing import Check
from local_opus.values import FileVerdict, Verdict
from local_opus.weights.seen import look
from signatures import CURVES, PASSWORD, WRONG_KINDS, key_pair, statement

STAT = "weights.stat.json"


class Here:
    """Answers as the worker does, in this process; what goes in and out must fit into frames."""

    def worker(self, module: str, request: protocol.Message, *, timeout: float) -> protocol.Message:
        assert module == "signing"
        assert timeout >= 60
        sent = protocol.decode(protocol.encode(request)[protocol.HEADER.size :])
        answer = worker.handle(sent, lambda event: None)
        return protocol.decode(protocol.encode(answer)[protocol.HEADER.size :])


@pytest.fixture
def host() -> Host:
    made = Host("/")
    made.processes = Here()  # type: ignore[assignment]
    return made


class Place:
    """A variant's folder with its signature, and the keys."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.folder = top / "store" / "tiny" / "cpu-int8"
        self.signature = self.folder.with_name("cpu-int8.sig")
        self.private, self.public = top / "key.pem", top / "key.pub"

    def check(self, host: Host, **other: Path) -> Check:
        key, path = other.get("key", self.public), other.get("signature", self.signature)
        return signing.check(host, str(self.folder), key=str(key), path=str(path))

    def sign(self, host: Host, *, key: Path | None = None, **more: str) -> signing.Signed:
        path = str(self.signature)
        key = key or self.private
        return signing.sign(
            host, str(self.folder), key=str(key), path=path, password=more.get("password")
        )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Made once; the tests work with copies."""
    place = Place(tmp_path_factory.mktemp("signed"))
    place.folder.mkdir(parents=True)
    (place.folder / "sub").mkdir()
    (place.folder / "openvino_model.bin").write_bytes(bytes(range(256)) * 40)
    (place.folder / "openvino_model.xml").write_text("<net/>")
    (place.folder / "sub/config.json").write_text("{}")
    (place.folder / "weights.json").write_text('{"files": []}')
    (place.folder / STAT).write_text("{}")
    key_pair(place.top)
    host = Host("/")
    host.processes = Here()  # type: ignore[assignment]
    place.sign(host)
    return place


@pytest.fixture
def place(made: Place, tmp_path: Path) -> Place:
    shutil.copytree(made.top, tmp_path / "here", symlinks=True)
    return Place(tmp_path / "here")


def test_every_file_but_the_stamps_is_signed(place, host):
    names = [one["name"] for one in statement(place.signature)["predicate"]["resources"]]
    assert names == ["openvino_model.bin", "openvino_model.xml", "sub/config.json", "weights.json"]
    found = place.check(host)
    assert (found.holds, found.signed, found.problems) == (True, 4, ())
    hint = json.loads(place.signature.read_text())["verificationMaterial"]["publicKey"]["hint"]
    assert found.key == hint
    assert place.signature.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("curve", CURVES)
def test_key_kinds(place, host, curve, tmp_path):
    private, public = key_pair(tmp_path, key=ec.generate_private_key(CURVES[curve]()))
    place.sign(host, key=private)
    assert place.check(host, key=public).holds
    assert place.check(host).problems == ("it is by another key",)


def test_an_encrypted_key(place, host, tmp_path):
    private, public = key_pair(tmp_path, password=PASSWORD)
    assert signing.is_encrypted(host, str(private))
    assert not signing.is_encrypted(host, str(place.private))
    place.sign(host, key=private, password=PASSWORD)
    assert place.check(host, key=public).holds


# --- keys that won't do ------------------------------------------------------------------------

NEEDED = "an EC key of the curve P-256, P-384 or P-521 is needed"
BAD_KEYS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: path.unlink(), "no such file"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "not a regular file"),
    "a pipe": (lambda path: (path.unlink(), os.mkfifo(path)), "not a regular file"),
    "too long": (lambda path: path.write_bytes(b"-" * 65537), "longer than a key is"),
    "empty": (lambda path: path.write_bytes(b""), "holds no {kind} key in PEM"),
    "no PEM": (lambda path: path.write_bytes(bytes(range(256))), "holds no {kind} key in PEM"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:90]), "holds no {kind} key in PEM"),
}


@pytest.mark.parametrize(("damage", "said"), BAD_KEYS.values(), ids=BAD_KEYS)
@pytest.mark.parametrize("kind", ["private", "public"])
def test_a_key_that_can_not_be_read(place, host, damage, said, kind):
    before = place.signature.read_bytes()
    damage(getattr(place, kind))
    with pytest.raises(BadInputError) as error:
        place.sign(host) if kind == "private" else place.check(host)
    assert error.value.message.startswith(f"{getattr(place, kind)}: ")
    assert said.format(kind=kind) in error.value.message
    assert place.signature.read_bytes() == before


@pytest.mark.parametrize("name", WRONG_KINDS)
def test_a_key_of_another_kind(place, host, tmp_path, name):
    private, public = key_pair(tmp_path, key=WRONG_KINDS[name]())
    before = place.signature.read_bytes()
    for do in (lambda: place.sign(host, key=private), lambda: place.check(host, key=public)):
        with pytest.raises(BadInputError) as error:
            do()
        assert error.value.message.endswith(f"{name}; {NEEDED}")
    assert place.signature.read_bytes() == before


def test_the_other_half_of_the_pair(place, host):
    with pytest.raises(BadInputError, match=r"key\.pub: holds no private key in PEM"):
        place.sign(host, key=place.public)
    with pytest.raises(BadInputError, match=r"key\.pem: holds no public key in PEM"):
        place.check(host, key=place.private)


@pytest.mark.parametrize("password", ["", "wrong"])
def test_a_wrong_password(place, host, tmp_path, password):
    private, _ = key_pair(tmp_path, password=PASSWORD)
    with pytest.raises(BadInputError, match="the password is wrong, or the key is damaged"):
        place.sign(host, key=private, password=password)


# --- signatures that are none, or another's ----------------------------------------------------


def edit(change: Callable[[dict[str, object]], object]) -> Callable[[Place], object]:
    """Return what changes a signature's JSON."""

    def apply(place: Place) -> None:
        bundle = json.loads(place.signature.read_text())
        change(bundle)
        place.signature.write_text(json.dumps(bundle))

    return apply


def edit_statement(change: Callable[[dict[str, object]], object]) -> Callable[[Place], object]:
    """Return what changes what is signed, and not the signature."""

    def apply(place: Place) -> None:
        said = statement(place.signature)
        change(said)
        payload = base64.b64encode(json.dumps(said).encode()).decode()
        edit(lambda bundle: bundle["dsseEnvelope"].update(payload=payload))(place)

    return apply


def write(data: bytes) -> Callable[[Place], object]:
    return lambda place: place.signature.write_bytes(data)


def ignore_all(said: dict) -> None:  # type: ignore[type-arg]
    said["predicate"]["serialization"]["ignore_paths"] = ["."]
    said["predicate"]["resources"] = []


NONE, CHANGED = "no model signature: ", "it was changed, or is not by this key"
BAD_SIGNATURES = {
    "no JSON": (write(b"signature"), NONE),
    "no UTF-8": (write(b"\xff\xfe\x00"), NONE),
    "empty": (write(b""), NONE),
    "a list": (write(b"[]"), NONE),
    "an empty object": (write(b"{}"), NONE),
    "null": (write(b"null"), NONE),
    "deeply nested": (write(b"[" * 200_000), NONE),
    "cut": (lambda place: place.signature.write_bytes(place.signature.read_bytes()[:-9]), NONE),
    "no base64": (edit(lambda one: one["dsseEnvelope"].update(payload="*")), NONE),
    "a payload of another kind": (edit_statement(lambda one: one.update(predicateType="x")), NONE),
    "no resources": (edit_statement(lambda one: one["predicate"].pop("resources")), NONE),
    "a resource without a name": (edit_statement(lambda one: one["predicate"].update(resources=[{}])), NONE),
    "a name with half a character": (edit_statement(lambda one: one["predicate"]["resources"][0].update(name="\ud800")), CHANGED),
    "another digest": (edit_statement(lambda one: one["predicate"]["resources"][0].update(digest="00" * 32)), CHANGED),
    "a file less": (edit_statement(lambda one: one["predicate"]["resources"].pop()), CHANGED),
    "all is left out": (edit_statement(ignore_all), CHANGED),
    "other bytes signed": (edit(lambda one: one["dsseEnvelope"]["signatures"][0].update(sig="MEUCIQ==")), CHANGED),
    "no signature in it": (edit(lambda one: one["dsseEnvelope"].update(signatures=[])), "no signature with a plain key"),
    "made by a certificate": (edit(lambda one: one.update(verificationMaterial={"certificate": {"rawBytes": ""}})), "no signature with a plain key"),
    "of another format": (edit(lambda one: one.update(mediaType="x")), "no signature with a plain key"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "said"), BAD_SIGNATURES.values(), ids=BAD_SIGNATURES)
def test_a_signature_that_is_none_does_not_hold(place, host, damage, said):
    damage(place)
    found = place.check(host)
    assert (found.holds, found.signed) == (False, None)
    (problem,) = found.problems
    assert problem.startswith(said)
    assert len(problem) <= 400


def test_a_signature_by_another_key(place, host, tmp_path):
    _, public = key_pair(tmp_path, "other")
    assert place.check(host, key=public).problems == ("it is by another key",)


def test_a_key_that_only_claims_to_be_the_one(place, host, tmp_path):
    """The hint names the key; the proof is the signature."""
    private, _ = key_pair(tmp_path, "other")
    hint = json.loads(place.signature.read_text())["verificationMaterial"]
    place.sign(host, key=private)
    edit(lambda bundle: bundle.update(verificationMaterial=hint))(place)
    assert place.check(host).problems == (CHANGED,)


def test_a_signature_of_another_model(place, host, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.gguf").write_bytes(b"GGUF")
    path = str(tmp_path / "other.sig")
    signing.sign(host, str(other), key=str(place.private), password=None, path=path)
    found = place.check(host, signature=Path(path))
    assert "model.gguf: missing" in found.problems
    assert "openvino_model.bin: the signature does not speak of it" in found.problems
    assert len(found.problems) == 5


UNREADABLE = {
    "missing": (lambda path: path.unlink(), "no such file"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "not a regular file"),
    "too long": (lambda path: os.truncate(path, signing.MAX_SIGNATURE + 1), "longer than a signature"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "said"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_signature_that_can_not_be_read(place, host, damage, said):
    damage(place.signature)
    with pytest.raises(BadInputError, match=said) as error:
        place.check(host)
    assert str(place.signature) in error.value.message


# --- folders that changed ----------------------------------------------------------------------


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


BIN = "openvino_model.bin"
CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "one bit": (lambda folder: flip(folder / BIN), f"{BIN}: its digest is "),
    "the manifest": (lambda folder: flip(folder / "weights.json"), "weights.json: its digest is "),
    "a byte more": (lambda folder: (folder / BIN).write_bytes((folder / BIN).read_bytes() + b"\0"), f"{BIN}: its digest is "),
    "a missing file": (lambda folder: (folder / BIN).unlink(), f"{BIN}: missing"),
    "a file more": (lambda folder: (folder / "x").touch(), "x: the signature does not speak of it"),
    "a hidden one": (lambda folder: (folder / ".git").mkdir() or (folder / ".git/a").touch(), ".git/a: the signature does not speak of it"),
    "git's own": (lambda folder: (folder / ".gitattributes").touch(), ".gitattributes: the signature does not"),
    "an odd name": (lambda folder: (folder / "a\n\x1b[31m").touch(), "a\\n\\x1b[31m: the signature does not"),
    "stamps elsewhere": (lambda folder: (folder / "sub" / STAT).touch(), f"sub/{STAT}: the signature does not"),
    "a link": (lambda folder: (folder / "x").symlink_to(BIN), "x: a link, and a signature speaks of files alone"),
    "a link in its place": (lambda folder: ((folder / BIN).rename(folder.parent / BIN), (folder / BIN).symlink_to(f"../{BIN}")), f"{BIN}: a link"),
    "a pipe": (lambda folder: os.mkfifo(folder / "x"), "x: a pipe, socket or device"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "said"), CHANGES.values(), ids=CHANGES)
def test_a_folder_that_changed(place, host, change, said):
    change(place.folder)
    found = place.check(host)
    assert not found.holds
    assert any(line.startswith(said) for line in found.problems), found.problems


def test_a_renamed_file_is_missing_and_unspoken_of(place, host):
    (place.folder / BIN).rename(place.folder / "b.bin")
    said = f"{BIN}: missing", "b.bin: the signature does not speak of it"
    assert place.check(host).problems == said


def test_new_stamps_change_nothing(place, host):
    (place.folder / STAT).write_text('{"new": 1}')
    assert place.check(host).holds
    (place.folder / STAT).unlink()
    assert place.check(host).holds


def test_another_place_changes_nothing(place, host):
    moved = place.folder.rename(place.folder.with_name("moved"))
    link = place.folder
    link.symlink_to(moved)
    assert place.check(host).holds


# --- signatures that others made ---------------------------------------------------------------


def by_library(place: Place, hashing) -> None:  # type: ignore[no-untyped-def]
    from model_signing import signing as library

    config = library.Config().use_elliptic_key_signer(private_key=str(place.private))
    config.set_hashing_config(hashing).sign(str(place.folder), str(place.signature))


def hashing():  # type: ignore[no-untyped-def]
    from model_signing import hashing as library

    return library.Config()


OTHERS = {
    "plain": hashing,
    "blake3": lambda: hashing().use_file_serialization(hashing_algorithm="blake3"),
    "shards": lambda: hashing().use_shard_serialization(shard_size=1000),
}


@pytest.mark.parametrize("way", OTHERS.values(), ids=OTHERS)
def test_ways_of_hashing(place, host, way):
    by_library(place, way())
    assert place.check(host).problems == ()
    assert place.check(host).signed == 5  # it was not told to leave out the stamps
    flip(place.folder / BIN)
    assert place.check(host).problems[0].startswith(BIN)


def test_stamps_that_were_signed_are_checked(place, host):
    by_library(place, hashing())
    (place.folder / STAT).write_text('{"new": 1}')
    assert place.check(host).problems[0].startswith(f"{STAT}: its digest is ")


@pytest.mark.parametrize("left_out", [[BIN], ["sub"]])
def test_what_the_signer_left_out_is_not_proven(place, host, left_out):
    by_library(place, hashing().set_ignored_paths(paths=left_out))
    (problem,) = place.check(host).problems
    assert problem.startswith(left_out[0])
    assert problem.endswith(": the signature does not speak of it")


def test_a_signature_of_nothing_proves_nothing(place, host):
    by_library(place, hashing().set_ignored_paths(paths=["."]))
    assert len(place.check(host).problems) == 4


# --- what is not signed, and where a signature goes --------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "x").symlink_to("weights.json"), "x: a link"),
        (lambda folder: os.mkfifo(folder / "x"), "x: a pipe, socket or device"),
        (lambda folder: (shutil.rmtree(folder), folder.mkdir()), "there is no file in it"),
    ],
    ids=["a link", "a pipe", "an empty folder"],
)
def test_a_folder_that_can_not_be_signed(place, host, change, said):
    change(place.folder)
    before = place.signature.read_bytes()
    with pytest.raises(ProblemFoundError, match=said):
        place.sign(host)
    assert place.signature.read_bytes() == before


def test_a_single_file_can_not_be_signed(place, host):
    path = str(place.folder / BIN)
    with pytest.raises(BadInputError, match="is no folder"):
        signing.sign(host, path, key=str(place.private), password=None, path=f"{path}.sig")


def test_a_signature_in_the_folder_it_signs(place, host):
    """As people publish them; it does not speak of itself."""
    place.signature = place.folder / "model.sig"
    with pytest.raises(BadInputError, match="in the folder of a variant") as error:
        signing.require_target(host, str(place.folder), str(place.signature))
    assert f"{place.folder}.sig" in error.value.remedy
    (place.folder / "weights.json").unlink()
    signing.require_target(host, str(place.folder), str(place.signature))
    place.sign(host)
    place.sign(host)
    assert place.check(host).signed == 3
    assert place.check(host).holds


@pytest.mark.parametrize("content", [b"mine", b"{}", b"[1]", b"\xff"])
def test_a_file_that_is_no_signature_is_not_replaced(place, host, content):
    place.signature.write_bytes(content)
    with pytest.raises(BadInputError, match="is there already, and is no signature"):
        signing.require_target(host, str(place.folder), str(place.signature))


def test_a_signature_is_replaced(place, host):
    signing.require_target(host, str(place.folder), str(place.signature))


def test_a_target_in_no_folder(place, host):
    with pytest.raises(BadInputError, match="there is no such folder"):
        signing.require_target(host, str(place.folder), f"{place.top}/nowhere/x.sig")


def verdict(path: str, found: Verdict) -> FileVerdict:
    return FileVerdict(path=path, verdict=found, trust=None, evidence="")


PROOFS = [
    ([], (), False),
    ([Verdict.REAL, Verdict.UNPROVEN], (), True),
    ([Verdict.REAL], ("a: missing",), False),
    *(([Verdict.REAL, worse], (), False) for worse in Verdict if worse not in {Verdict.REAL, Verdict.UNPROVEN}),
]  # fmt: skip


@pytest.mark.parametrize(("found", "problems", "proven"), PROOFS)
def test_what_a_signature_proves(found, problems, proven):
    verdicts = [verdict(str(number), one) for number, one in enumerate(found)]
    assert Check("/m", "/m.sig", "", 1, problems).proves(verdicts) is proven


def test_the_signature_itself_is_no_file_of_the_model():
    verdicts = [verdict("a", Verdict.REAL), verdict("model.sig", Verdict.UNEXPECTED)]
    assert Check("/m", "/m/model.sig", "", 1, ()).proves(verdicts)
    assert not Check("/m", "/other.sig", "", 1, ()).proves(verdicts)


def test_a_signature_over_other_files_than_those_verified_proves_nothing(place, host):
    """A file is another one when it is verified than it was when its signature was checked."""
    place.sign(host)
    check = place.check(host)
    assert check.holds
    assert check.of(look(host, str(place.folder))).holds
    (place.folder / "config.json").write_bytes(b"{}")
    assert check.of(look(host, str(place.folder))).problems == (
        "the folder changed while it was checked",
    )
