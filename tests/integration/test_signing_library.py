"""`models sign` and `verify --public-key`, with the real library, its own command and a worker."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from terminal import Terminal

from builders import PLACEHOLDER, catalog_file, gguf_bytes, safetensors_bytes
from local_opus import cli
from local_opus.cli.sign import PASSWORD as VARIABLE
from local_opus.host import Host
from local_opus.weights import manifest as manifests
from local_opus.weights.digest import Hasher
from signatures import PASSWORD, key_pair, plain

Done = tuple[int, str, str]
Run = Callable[..., Done]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Return exit code, standard output and standard error."""

    def call(*words: object) -> Done:
        code = cli.main([str(word) for word in words])
        said = capfd.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return call


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return key_pair(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A stranger's folder: sound files, and nothing that proves them."""
    made = tmp_path / "tiny"
    made.mkdir()
    (made / "model.safetensors").write_bytes(safetensors_bytes())
    (made / "config.json").write_text("{}")
    return made


def variant(store: Path, name: str, data: bytes) -> Path:
    """A variant with its manifest, as an install leaves it."""
    made = store / "tiny" / name
    made.mkdir(parents=True)
    (made / "tiny.gguf").write_bytes(data)
    pin = catalog_file(data)
    hasher = Hasher(segment_size=0)
    hasher.update(data)
    file = manifests.ManifestFile(
        path=pin.path, size=pin.size, sha256=pin.sha256, blake3=str(hasher.result().blake3),
        origin=manifests.WheelOrigin(requirement="a==1", member="a/b"), trust="pinned",
    )  # fmt: skip
    manifest = manifests.Manifest(model="tiny", variant=name, created_by="t", files=(file,))
    manifests.write(Host("/"), str(made), manifest)
    return made


@pytest.fixture
def store(home: Path) -> Path:
    made = home / ".local/share/local-opus/models"
    variant(made, "cpu-q4_1", gguf_bytes())
    variant(made, "gguf-q4_1", gguf_bytes()[:-32] + bytes(range(32)))
    return made


def test_ours_holds_for_the_library(run, keys, folder):
    private, public = keys
    code, out, _ = run("models", "sign", folder, "--private-key", private)
    signature = folder.with_name("tiny.sig")
    assert (code, f"{signature}: signed, 2 files, key " in out) == (0, True)
    words = ("verify", "key", folder, "--signature", signature, "--public_key", public)
    assert plain(*words).stdout == "Verification succeeded\n"
    assert f"model_signing {' '.join(map(str, words[:-1]))} FILE" in out
    (folder / "config.json").write_text("{ }")
    done = plain(*words)
    assert (done.returncode, "Hash mismatch for 'config.json'" in done.stderr) == (1, True)


def test_the_librarys_holds_for_us(run, keys, folder):
    private, public = keys
    signature = folder / "model.sig"
    assert plain("sign", "key", folder, "--signature", signature, "--private_key", private).returncode == 0  # fmt: skip
    words = ("verify", folder, "--public-key", public, "--signature", signature)
    code, out, _ = run(*words)
    assert (code, f"signature {signature}: holds, 2 files, key " in out) == (0, True)
    assert "model.safetensors  unproven" in out
    assert run("verify", folder)[0] == 3  # nothing but the signature speaks for them
    found = json.loads(run(*words, "--json")[1])
    (check,) = found["signatures"]
    assert (check["holds"], check["signed"], check["problems"]) == (True, 2, [])


def test_a_variant_that_the_library_signed(run, keys, store, home):
    private, public = keys
    made, signature = store / "tiny/cpu-q4_1", home / "x.sig"
    stat = made / "weights.stat.json"
    words = ("sign", "key", made, "--signature", signature, "--private_key", private)
    assert plain(*words, "--ignore-paths", stat).returncode == 0
    stat.unlink()
    assert run("verify", made, "--public-key", public, "--signature", signature)[0] == 0
    check = ("verify", "key", made, "--signature", signature, "--public_key", public)
    assert plain(*check).returncode == 0


def test_git_files_are_signed_and_the_library_told_so(run, keys, folder):
    private, public = keys
    (folder / ".gitattributes").write_text("*.bin filter=lfs\n")
    out = run("models", "sign", folder, "--private-key", private)[1]
    signature = folder.with_name("tiny.sig")
    assert " --no-ignore-git-paths --public_key FILE" in out
    words = ("verify", "key", folder, "--signature", signature, "--public_key", public)
    assert plain(*words, "--no-ignore-git-paths").returncode == 0
    assert run("verify", folder, "--public-key", public)[0] == 0


def test_a_changed_file_is_named_below_the_table(run, keys, folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    private, public = keys
    run("models", "sign", folder, "--private-key", private)
    (folder / "config.json").write_text('{"a": 1}')
    (folder / "extra.txt").write_text("hello there")
    code, out, err = run("verify", folder, "--public-key", public)
    assert (code, err) == (3, "")
    lines = out.splitlines()
    assert lines[0] == f"{folder}: 3 unproven"
    assert lines[5].startswith(f"signature {folder}.sig: does not hold, key ")
    assert lines[6].startswith("  config.json: its digest is ")
    assert lines[7:] == ["  extra.txt: the signature does not speak of it"]
    found = json.loads(run("verify", folder, "--public-key", public, "--json")[1])
    assert len(found["folders"][0]["files"]) == 3
    assert [check["holds"] for check in found["signatures"]] == [False]


@pytest.mark.parametrize("name", ["not JSON", "another's"])
def test_a_signature_that_proves_nothing_hides_no_table(run, keys, folder, tmp_path, name):
    other, public = key_pair(tmp_path, "other")[0], keys[1]
    signature = tmp_path / "tiny.sig"
    if name == "not JSON":
        signature.write_text("signed by me")
    else:
        run("models", "sign", folder, "--private-key", other)
    code, out, _ = run("verify", folder, "--public-key", public)
    assert (code, "config.json" in out) == (3, True)
    said = {"not JSON": "  no model signature: ", "another's": "  it is by another key"}
    assert said[name] in out


def test_a_placeholder_that_was_signed_stays_one(run, keys, folder):
    private, public = keys
    (folder / "weights.bin").write_bytes(PLACEHOLDER)
    signature = folder.with_name("tiny.sig")
    assert plain("sign", "key", folder, "--signature", signature, "--private_key", private).returncode == 0  # fmt: skip
    code, out, _ = run("verify", folder, "--public-key", public)
    assert (code, ": holds, 3 files" in out) == (3, True)


def test_a_model_of_the_store(run, keys, store):
    private, public = keys
    code, out, _ = run("models", "sign", "tiny", "--private-key", private, "--json")
    signed = json.loads(out)["signatures"]
    assert code == 0
    paths = [store / "tiny/cpu-q4_1.sig", store / "tiny/gguf-q4_1.sig"]
    assert [one["signature"] for one in signed] == list(map(str, paths))
    assert [one["files"] for one in signed] == [["tiny.gguf", "weights.json"]] * 2
    code, out, _ = run("verify", "tiny", "--public-key", public, "--quick")
    assert (code, out.count(": holds, 2 files")) == (0, 2)
    assert run("verify")[0] == 0  # what lies beside a variant is nothing unexpected
    flipped = store / "tiny/cpu-q4_1/weights.json"
    flipped.write_text(flipped.read_text().replace('"t"', '"u"'))
    code, out, _ = run("verify", "tiny", "--public-key", public)
    assert (code, "  weights.json: its digest is " in out) == (3, True)


def test_a_purge_takes_the_signatures_too(run, keys, store):
    private, _ = keys
    run("models", "sign", "tiny", "--private-key", private)
    (store / "tiny/mine.sig").touch()
    assert "tiny: holds files that are not ours (mine.sig)" in run("uninstall", "--purge", "--yes")[1]  # fmt: skip
    (store / "tiny/mine.sig").unlink()
    assert run("uninstall", "--purge", "--yes")[0] == 0
    assert not (store / "tiny").exists()


# --- what is refused, before anything is hashed or written --------------------------------------


def bad_words(folder: Path, private: Path, public: Path) -> dict[str, tuple[tuple[object, ...], int, str]]:  # fmt: skip
    nowhere = folder / "nowhere"
    return {
        "no key": (("models", "sign", folder), 2, "--private-key, are needed"),
        "no folder": (("models", "sign", "--private-key", private), 2, "a model or a folder to sign"),
        "no such key": (("models", "sign", folder, "--private-key", nowhere), 2, f"{nowhere}: no such file"),
        "no such folder": (("models", "sign", nowhere, "--private-key", private), 2, "no folder, no file and no model"),
        "a file": (("models", "sign", folder / "config.json", "--private-key", private), 2, "is no folder"),
        "a public key": (("models", "sign", folder, "--private-key", public), 2, "holds no private key in PEM"),
        "another's file": (("models", "sign", folder, "--private-key", private, "--signature", public), 2, "is no signature"),
        "a repair": (("verify", folder, "--public-key", public, "--repair"), 2, "exclude each other"),
        "a signature without a key": (("verify", folder, "--signature", public), 2, "whose it should be is not said"),
        "no signature there": (("verify", folder, "--public-key", public), 2, f"{folder}.sig: no such file"),
        "no such public key": (("verify", folder, "--public-key", nowhere), 2, f"{nowhere}: no such file"),
        "a private key": (("verify", folder, "--public-key", private, "--signature", private), 2, "holds no public key in PEM"),
    }  # fmt: skip


@pytest.mark.parametrize("name", bad_words(Path(), Path(), Path()))
def test_bad_words(run, keys, folder, tmp_path, name):
    words, code, said = bad_words(folder, *keys)[name]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    found, out, err = run(*words)
    assert (found, out) == (code, "")
    assert said in err.splitlines()[0]
    assert err.splitlines()[1].startswith("  fix: ")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_one_signature_for_several_folders(run, keys, store, tmp_path):
    private, public = keys
    words = ("--signature", tmp_path / "one.sig")
    for command in (("models", "sign", "tiny", "--private-key", private), ("verify", "tiny", "--public-key", public)):  # fmt: skip
        code, _, err = run(*command, *words)
        assert (code, "--signature: one file, and 2 folders" in err) == (2, True)


def test_a_signature_in_a_variants_folder(run, keys, store):
    made = store / "tiny/cpu-q4_1"
    words = ("--private-key", keys[0], "--signature", made / "model.sig")
    code, _, err = run("models", "sign", made, *words)
    assert (code, f"--signature {made}.sig" in err) == (2, True)
    assert not (made / "model.sig").exists()


DAMAGE = {
    "placeholder": lambda path: path.write_bytes(PLACEHOLDER),
    "corrupt": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "missing": lambda path: path.unlink(),
    "unexpected": lambda path: path.with_name("more.txt").write_text("more"),
    "unsafe": lambda path: path.with_name("more.py").write_text("more = 1"),
}


@pytest.mark.parametrize("verdict", DAMAGE)
def test_what_is_not_sound_is_not_signed(run, keys, store, verdict):
    DAMAGE[verdict](store / "tiny/cpu-q4_1/tiny.gguf")
    code, out, err = run("models", "sign", "tiny", "--private-key", keys[0])
    assert (code, out) == (3, "")
    assert f": {verdict}, " in err.splitlines()[0]
    assert not list(store.rglob("*.sig"))


# --- passwords ---------------------------------------------------------------------------------


def test_a_password_from_the_environment(run, folder, tmp_path, monkeypatch):
    private, public = key_pair(tmp_path, password=PASSWORD)
    monkeypatch.setenv(VARIABLE, PASSWORD)
    assert run("models", "sign", folder, "--private-key", private)[0] == 0
    assert VARIABLE not in os.environ  # no child inherits it
    assert run("verify", folder, "--public-key", public)[0] == 0


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("wrong", "the password is wrong, or the key is damaged"),
        (None, "is encrypted, and nobody can be asked for its password"),
    ],
)
def test_a_password_that_is_wrong_or_not_given(run, folder, tmp_path, monkeypatch, password, said):
    private, _ = key_pair(tmp_path, password=PASSWORD)
    if password is not None:
        monkeypatch.setenv(VARIABLE, password)
    code, _, err = run("models", "sign", folder, "--private-key", private)
    assert (code, f"{private}: {said}" in err) == (2, True)
    assert not folder.with_name("tiny.sig").exists()


def test_a_password_is_asked_for_on_a_terminal(folder, tmp_path):
    private, _ = key_pair(tmp_path, password="ask me")
    command = [sys.executable, "-s", "-P", "-m", "local_opus.cli", "models", "sign", str(folder)]
    terminal = Terminal([*command, "--private-key", str(private)], os.environ, tmp_path)
    said = b""
    while b"Password of " not in said:
        said += os.read(terminal.master, 4096)
    os.write(terminal.master, b"ask me\n")
    try:
        while chunk := os.read(terminal.master, 4096):
            said += chunk
    except OSError:  # it has ended
        pass
    assert terminal.close() == 0, said
    assert b"ask me" not in said
    assert b": signed, 2 files" in said


# --- no network --------------------------------------------------------------------------------

ALONE = ["unshare", "--net", "--map-root-user"]
can_be_alone = pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode != 0,
    reason="no network namespaces here",
)


@can_be_alone
def test_without_a_network_and_a_home(keys, folder, tmp_path):
    private, public = keys
    before = sorted((tmp_path / "home").rglob("*"))
    ours = [*ALONE, sys.executable, "-s", "-P", "-m", "local_opus.cli"]
    for words in (("models", "sign", folder, "--private-key", private), ("verify", folder, "--public-key", public)):  # fmt: skip
        done = subprocess.run([*ours, *map(str, words)], capture_output=True, text=True, check=False)  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
    assert sorted((tmp_path / "home").rglob("*")) == before
