"""The hub of the tests is driven by the real huggingface_hub, so that what it speaks is true."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub import Hub, HubProcess, Mischief, generated

BIG = 11_000_000
FILES = {
    "config.json": b"{}",
    "tiny.gguf": bytes(range(256)) * 16,
    "sub/deep/notes.txt": b"hello\n",
    "sub/tokenizer.json": b"[]",
}
TINY_SHA256 = "c8f5d0341d54d951a71b136e6e2afcb14d11ed8489a7ae126a8fee0df6ecf193"
TOKEN = "hf_right"
#: Evaluates an expression a line, and answers with its value or its error as JSON.
DRIVER = """
import functools, json, sys, tempfile
import huggingface_hub as hf
api = hf.HfApi()
new = functools.partial(tempfile.mkdtemp, dir=hf.constants.HF_HOME)
for line in sys.stdin:
    try:
        value = {"value": eval(line)}
    except Exception as error:
        value = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps(value, default=lambda one: getattr(one, "__dict__", str(one))), flush=True)
"""


class Refused(Exception):  # noqa: N818 - what happened, not a fault
    """The real library raised; the arguments are the name of its error and the message."""


class Driver:
    """The real library in a child: it reads its settings when it is imported."""

    def __init__(self, hub: Hub, home: Path) -> None:
        home.mkdir(exist_ok=True)
        settings = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "*",
        }
        plain = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        self._child = subprocess.Popen(
            [sys.executable, "-c", DRIVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**plain, **settings},
        )

    def ask(self, expression: str):
        self._child.stdin.write(expression + "\n")
        self._child.stdin.flush()
        answer = json.loads(self._child.stdout.readline())
        if "error" in answer:
            raise Refused(answer["error"], answer["message"])
        return answer["value"]

    def close(self) -> None:
        self._child.stdin.close()
        assert self._child.wait(20) == 0
        self._child.stdout.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("served")
    with Hub(page_size=2) as hub:
        big = generated(folder / "big", BIG, seed=1)
        repository = hub.add("some/repo", {**FILES, "big.txt": big}, license="mit")
        repository.tags["v1"] = repository.head
        repository.commit({"config.json": b"{1}"}, branch="refs/pr/1")
        hub.add("gated/repo", FILES, gated="manual", tokens={TOKEN}, license=None)
        hub.add("secret/repo", FILES, private=True, tokens={TOKEN})
        hub.add("plain", FILES)
        yield hub


@pytest.fixture(scope="module")
def client(served: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    driver = Driver(served, tmp_path_factory.mktemp("hf"))
    yield driver
    driver.close()


@pytest.fixture
def hub(served: Hub) -> Iterator[Hub]:
    served.forget()
    yield served
    served.misbehave()


def test_a_model_tells_its_commit_licence_and_files(hub, client):
    info = client.ask("api.model_info('some/repo', files_metadata=True)")
    assert info["sha"] == hub.repositories["some/repo"].head
    assert (info["gated"], info["private"]) == (False, False)
    assert info["card_data"]["license"] == "mit"
    files = {file["rfilename"]: file for file in info["siblings"]}
    assert set(files) == {*FILES, "big.txt"}
    # As `git hash-object` says of the same bytes, and of the pointer.
    config = files["config.json"]
    assert (config["size"], config["blob_id"], config["lfs"]) == (
        2,
        "9e26dfeeb6e641a33dae4961196235bdb965b21b",
        None,
    )
    tiny = files["tiny.gguf"]
    assert tiny["blob_id"] == "1aa0c74fa11ac45e9e7b876d0e12a197a146e280"
    assert tiny["lfs"] == {"size": 4096, "sha256": TINY_SHA256, "pointer_size": 129}
    assert files["big.txt"]["lfs"]["size"] == BIG


def test_files_are_listed_without_sizes_unless_asked(hub, client):
    info = client.ask("api.model_info('gated/repo')")
    assert info["gated"] == "manual"
    assert [file["size"] for file in info["siblings"]] == [None] * len(FILES)
    assert hub.requests[0].target == "/api/models/gated/repo"


def test_a_tree_comes_in_pages(hub, client):
    entries = client.ask("list(api.list_repo_tree('some/repo', recursive=True))")
    files = {entry["path"] for entry in entries if "size" in entry}
    assert files == {*FILES, "big.txt"}
    assert {entry["path"] for entry in entries} - files == {"sub", "sub/deep"}
    assert [request.query.get("cursor") for request in hub.requests] == [None, "2", "4", "6"]


def test_names_come_as_they_are(client):
    names = ["../up.txt", "/etc/passwd", "a\nb.gguf", "A\nb.gguf", "\x1b[2J.json"]
    with Hub() as other:
        other.add("some/repo", dict.fromkeys(names, b"x"))
        listed = client.ask(f"hf.HfApi(endpoint={other.url!r}).list_repo_files('some/repo')")
        assert sorted(listed) == sorted(names)
        url = f"{other.url}/some/repo/resolve/main/a%0Ab.gguf"
        assert client.ask(f"hf.get_session().get({url!r}).content.decode()") == "x"


TREES = {
    "'some/repo'": {"config.json", "tiny.gguf", "big.txt", "sub"},
    "'some/repo', 'sub'": {"sub/deep", "sub/tokenizer.json"},
    "'some/repo', 'sub/deep'": {"sub/deep/notes.txt"},
    "'some/repo', revision='refs/pr/1'": {"config.json"},
    "'some/repo', 'sub', recursive=True": {"sub/deep", "sub/deep/notes.txt", "sub/tokenizer.json"},
}


@pytest.mark.parametrize(("asked", "paths"), TREES.items())
def test_a_tree_lists_what_is_in_a_folder(hub, client, asked, paths):
    entries = client.ask(f"list(api.list_repo_tree({asked}))")
    assert {entry["path"] for entry in entries} == paths


def test_a_tree_tells_of_commits_and_scans_if_asked(hub, client):
    entries = client.ask("list(api.list_repo_tree('plain', expand=True))")
    file = next(entry for entry in entries if entry["path"] == "config.json")
    assert file["last_commit"]["oid"] == hub.repositories["plain"].head
    assert file["security"]["safe"]


def test_paths_are_told_of_one_by_one(hub, client):
    entries = client.ask("api.get_paths_info('some/repo', ['sub', 'tiny.gguf', 'none'])")
    assert [entry["path"] for entry in entries] == ["sub", "tiny.gguf"]
    assert entries[1]["lfs"]["sha256"]


REVISIONS = ["main", "v1", "refs/heads/main", "refs/tags/v1"]


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_name_leads_to_a_commit(hub, client, revision):
    info = client.ask(f"api.model_info('some/repo', revision={revision!r})")
    assert info["sha"] == hub.repositories["some/repo"].head


def test_branches_and_tags_are_listed(hub, client):
    refs = client.ask("api.list_repo_refs('some/repo')")
    head = hub.repositories["some/repo"].head
    assert refs["tags"][0]["target_commit"] == head
    assert ("main", head) in [(one["name"], one["target_commit"]) for one in refs["branches"]]


def test_a_snapshot_comes_whole(hub, client):
    folder = Path(client.ask("hf.snapshot_download('some/repo', token='hf_any')"))
    assert folder.name == hub.repositories["some/repo"].head
    assert {path: (folder / path).read_bytes() for path in FILES} == FILES
    assert (folder / "big.txt").stat().st_size == BIG
    assert client.ask("vars(api.verify_repo_checksums('some/repo'))")["mismatches"] == []
    sizes = {path: len(data) for path, data in FILES.items()}
    assert hub.sent() == {**sizes, "big.txt": BIG}
    # Large files come from another host, which is not told the token.
    (large,) = hub.asked("tiny.gguf", method="GET")
    assert (large.place, large.host, large.token) == ("cdn", hub.cdn_url.partition("//")[2], None)
    (small,) = hub.asked("config.json", method="GET")
    assert (small.place, small.token) == ("resolve", "hf_any")


def test_small_files_may_come_by_a_redirect(client, tmp_path):
    with Hub(plain_redirect=True) as other:
        other.add("some/repo", FILES)
        got = client.ask(
            "hf.hf_hub_download('some/repo', 'sub/tokenizer.json',"
            f" endpoint={other.url!r}, cache_dir={str(tmp_path)!r})"
        )
        assert Path(got).read_bytes() == b"[]"
        assert {request.status for request in other.requests} == {307, 200}


def get(path: str, repo: str = "some/repo", **more: object) -> str:
    return f"hf.hf_hub_download({repo!r}, {path!r}, cache_dir=new(), **{more!r})"


REFUSALS = {
    "gated, nobody": (get("tiny.gguf", "gated/repo"), "GatedRepoError", "401.*Please log in"),
    "gated, somebody": (
        get("tiny.gguf", "gated/repo", token="hf_wrong"),
        "GatedRepoError",
        "403.*authorized list",
    ),
    "secret, nobody": (get("tiny.gguf", "secret/repo"), "RepositoryNotFoundError", "401"),
    "no repository": (get("x", "no/repo", token=TOKEN), "RepositoryNotFoundError", "404"),
    "no repository's facts": (
        "api.model_info('no/repo', token='hf_right')",
        "RepositoryNotFoundError",
        "404",
    ),
    "no revision": (get("x", revision="v2"), "RevisionNotFoundError", "Revision Not Found"),
    "no revision's tree": (
        "list(api.list_repo_tree('some/repo', revision='ab'))",
        "RevisionNotFoundError",
        "Invalid rev id: ab",
    ),
    "no file": (get("none.gguf"), "RemoteEntryNotFoundError", "Entry Not Found"),
    "no folder": (
        "list(api.list_repo_tree('some/repo', 'none'))",
        "RemoteEntryNotFoundError",
        "Entry Not Found",
    ),
}


@pytest.mark.parametrize(("asked", "error", "words"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refusal_is_understood(hub, client, asked, error, words):
    with pytest.raises(Refused, match=f"(?s){error}.*{words}"):
        client.ask(asked)


@pytest.mark.parametrize("repo", ["gated/repo", "secret/repo"])
def test_the_right_token_opens(hub, client, repo):
    got = Path(client.ask(get("tiny.gguf", repo, token=TOKEN)))
    assert got.read_bytes() == FILES["tiny.gguf"]


def test_the_real_client_goes_on_where_a_body_ended(hub, client):
    kept = 10 * 1024 * 1024  # it writes in pieces of this size, and forgets the last that is short
    hub.misbehave(Mischief("truncate", on="cdn", at=kept + 300_000, first=1))
    got = Path(client.ask(get("big.txt")))
    assert got.stat().st_size == BIG
    first, second = hub.asked("big.txt", place="cdn")
    assert (first.range, first.sent) == (None, kept + 300_000)
    assert (second.range, second.status, second.sent) == (f"bytes={kept}-", 206, BIG - kept)


def test_the_real_check_finds_a_flipped_byte(hub, client, tmp_path):
    hub.misbehave(Mischief("flip", path="tiny.gguf", at=2000))
    client.ask(f"hf.snapshot_download('plain', local_dir={str(tmp_path)!r})")
    result = client.ask(f"vars(api.verify_repo_checksums('plain', local_dir={str(tmp_path)!r}))")
    assert [one["path"] for one in result["mismatches"]] == ["tiny.gguf"]


def test_a_hub_of_its_own_process_is_told_and_tells(client, tmp_path):
    files = {"big.gguf": generated(tmp_path / "big", 100_000, seed=2), "x.json": b"{}"}
    facts = {"gated": "auto", "tokens": [TOKEN]}
    with HubProcess({"a/b": files}, facts={"a/b": facts}) as other:
        url = f"{other.url}/a/b/resolve/main/big.gguf"
        asked = f"vars(hf.get_hf_file_metadata({url!r}, token={TOKEN!r}))"
        other.misbehave(Mischief("status", status=503))
        with pytest.raises(Refused, match="503"):
            client.ask(asked)
        other.misbehave()
        found = client.ask(asked)
        assert (found["size"], found["commit_hash"]) == (100_000, other.heads["a/b"])
        assert [request.status for request in other.requests] == [503, 302]
        assert client.ask(f"len(hf.get_session().get({found['location']!r}).content)") == 100_000
        assert other.sent() == {"big.gguf": 100_000}
        other.expire_cdn()
        assert client.ask(f"hf.get_session().get({found['location']!r}).status_code") == 403
        pid = other.pid
    assert not Path(f"/proc/{pid}").exists()
