"""``verify --against`` a repository of the hub that speaks the real protocol, with the real model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hub import Hub, Mischief
from models import CHECKOUT, smollm2

REPO = "org/smollm2"
DOCUMENTS = {
    "README.md": b"# SmolLM2\n",
    ".gitattributes": b"*.bin filter=lfs\n",
    "chat_template.jinja": b"{{ messages }}\n",
    "config.json": b'{"model_type": "llama"}\n',
}


@pytest.fixture(scope="module")
def ir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, on the disk of the tests' folders, so that each of them can link to its files."""
    return Path(shutil.copytree(smollm2()[1], tmp_path_factory.mktemp("smollm2") / "ir"))


@pytest.fixture(scope="module")
def hub(ir: Path) -> Iterator[Hub]:
    with Hub(page_size=3) as running:
        running.add(REPO, {path.name: path for path in ir.iterdir()} | DOCUMENTS)
        running.add(f"{REPO}-private", DOCUMENTS, private=True, tokens=["hf_right"])
        yield running


@pytest.fixture
def folder(ir: Path, tmp_path: Path) -> Path:
    """What ``hf download --local-dir`` would have left."""
    made = tmp_path / "model"
    shutil.copytree(ir, made, copy_function=os.link)
    for name, data in DOCUMENTS.items():
        (made / name).write_bytes(data)
    (made / ".cache/huggingface/download").mkdir(parents=True)
    (made / ".cache/huggingface/download/config.json.metadata").write_text("x\n")
    return made


@pytest.fixture
def verify(hub: Hub, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command, in a process of its own: the hub's client reads its settings at its import."""

    def run(folder: Path, against: str, *words: str, **environment: str):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "local_opus",
                "verify",
                str(folder),
                "--against",
                against,
                *words,
            ],
            env={
                **kept,
                "HOME": str(tmp_path),
                "PYTHONPATH": str(CHECKOUT / "src"),
                "HF_ENDPOINT": hub.url,
                "NO_PROXY": "*",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def found(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    (one,) = json.loads(done.stdout)["folders"]
    return {file["path"]: file["verdict"] for file in one["files"]}


@pytest.mark.parametrize("revision", ["", "@main", "@commit"])
def test_a_download_is_real(hub, folder, verify, revision):
    commit = hub.repositories[REPO].head
    done = verify(folder, REPO + revision.replace("commit", commit), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["folders"][0]["against"] == f"{REPO}@{commit}"
    assert set(found(done)) == {path.name for path in folder.iterdir() if path.is_file()}
    assert set(found(done).values()) == {"real"}


CHANGES = {
    "a chat template by one byte": ("chat_template.jinja", b"{{ messages }} "),
    "a config by one byte": ("config.json", b'{"model_type": "lluma"}\n'),
    "a tokenizer by one byte": ("openvino_tokenizer.bin", None),
}


@pytest.mark.parametrize(("name", "data"), CHANGES.values(), ids=CHANGES.keys())
def test_what_was_changed_by_one_byte_is_found(folder, verify, name, data):
    path = folder / name
    if data is None:
        data = path.read_bytes()
        data = data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]
    path.unlink()  # it is linked to the tests' own
    path.write_bytes(data)
    done = verify(folder, REPO, "--json")
    assert done.returncode == 3
    assert {path: verdict for path, verdict in found(done).items() if verdict != "real"} == {
        name: "corrupt"
    }


def test_a_lost_file_and_one_too_many(folder, verify):
    (folder / "openvino_model.bin").unlink()
    (folder / "README.md").unlink()
    (folder / "adapter.json").write_text("{}")
    done = verify(folder, REPO, "--json")
    assert done.returncode == 3
    assert {path: verdict for path, verdict in found(done).items() if verdict != "real"} == {
        "openvino_model.bin": "missing",
        "adapter.json": "unexpected",
    }


REFUSALS = {
    "no such repository": (f"{REPO}3", {}, 1, "not found, or private"),
    "no such revision": (f"{REPO}@v9", {}, 1, "has no revision 'v9'"),
    "private": (f"{REPO}-private", {}, 1, "not found, or private"),
    "no network": (REPO, {"HF_ENDPOINT": "http://127.0.0.1:9"}, 1, "127.0.0.1:9"),
    "no address": (REPO, {"HF_ENDPOINT": "huggingface.co"}, 2, "HF_ENDPOINT"),
    "offline": (REPO, {"HF_HUB_OFFLINE": "1"}, 1, "HF_HUB_OFFLINE"),
}


@pytest.mark.parametrize(
    ("against", "env", "code", "words"), REFUSALS.values(), ids=REFUSALS.keys()
)
def test_a_hub_that_does_not_answer_is_told(folder, verify, against, env, code, words):
    done = verify(folder, against, **env)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_token_opens_what_is_private(hub, folder, verify):
    done = verify(folder, f"{REPO}-private", "--json", HF_TOKEN="hf_right")
    assert done.returncode == 3  # of its files alone: the weights are not in that one
    assert found(done)["config.json"] == "real"
    assert found(done)["openvino_model.bin"] == "unexpected"


def test_a_hub_that_is_busy_half_of_the_time_is_asked_again(hub, folder, verify):
    hub.misbehave(Mischief("status", on="api", status=429, probability=0.5, retry_after=0, seed=3))
    try:
        assert verify(folder, REPO, "--json").returncode == 0
    finally:
        hub.misbehave()


PRANKS = {
    "a page of a sign-in": (Mischief("portal", on="api"), "is none of a hub's"),
    "a way to another host": (
        Mischief("redirect", on="api", to="http://localhost:9"),
        "localhost:9",
    ),
    "a circle": (Mischief("loop", on="api"), "leads in a circle"),
}


@pytest.mark.parametrize(("prank", "words"), PRANKS.values(), ids=PRANKS.keys())
def test_pranks_are_told(hub, folder, verify, prank, words):
    hub.misbehave(prank)
    try:
        done = verify(folder, REPO)
    finally:
        hub.misbehave()
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
