"""What a hub says of a repository, asked by the real huggingface_hub of a server on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _detect_agent

from local_opus.errors import BadInputError, LocalOpusError
from local_opus.host import hub_client
from local_opus.host.hub_metadata import HubFile, resolve

COMMIT = "0123456789abcdef" * 2 + "01234567"
SHA1, SHA256 = "1b" * 20, "2c" * 32
REPO = "org/model"


class Hub(ThreadingHTTPServer):
    """Answers of one repository; ``page`` files a page."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), Handler)
        self.info: dict[str, object] = {"id": REPO, "sha": COMMIT, "tags": [], "siblings": []}
        self.tree: list[dict[str, object]] = []
        self.page = 1000
        self.failures: list[tuple[int, dict[str, str]]] = []
        self.raw: bytes | None = None
        self.endless = False
        self.next_page: str | None = None
        self.asked: list[str] = []
        self.tokens: set[str | None] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        hub = self.server
        hub.asked.append(self.path)
        hub.tokens.add(self.headers.get("Authorization"))
        if hub.failures:
            status, headers = hub.failures.pop(0)
            self.answer(status, b"{}", **headers)
        elif hub.endless:
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b" " * 1_000_000)
            except OSError:
                pass
        elif hub.raw is not None:
            self.answer(200, hub.raw)
        elif "/tree/" in self.path:
            self.pages()
        else:
            self.answer(200, json.dumps(hub.info).encode())

    def pages(self) -> None:
        hub = self.server
        begin = int(parse_qs(urlsplit(self.path).query).get("cursor", ["0"])[0])
        body = json.dumps(hub.tree[begin : begin + hub.page]).encode()
        headers = {}
        if begin + hub.page < len(hub.tree) or hub.next_page:
            there = hub.next_page or f"{hub.url}{urlsplit(self.path).path}"
            headers["Link"] = f'<{there}?cursor={begin + hub.page}>; rel="next"'
        self.answer(200, body, **headers)


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)


def file(path: str, size: int = 3, **more: object) -> dict[str, object]:
    return {"type": "file", "path": path, "size": size, "oid": SHA1, **more}


def lfs(path: str, size: int = 9, **more: object) -> dict[str, object]:
    return file(path, size, lfs={"oid": SHA256, "size": size, "pointerSize": 130, **more})


def test_files_with_their_digests(hub):
    hub.tree = [
        lfs("model.bin"),
        file("config.json"),
        {"type": "directory", "path": "a", "oid": "1"},
    ]
    found = resolve(hub.url, REPO, "main")
    assert found.commit == COMMIT
    assert found.files == (
        HubFile("config.json", 3, None, SHA1),
        HubFile("model.bin", 9, SHA256, None),
    )


def test_the_tree_is_asked_for_at_the_commit(hub):
    resolve(hub.url, REPO, "refs/pr/1")
    assert urlsplit(hub.asked[0]).path == "/api/models/org/model/revision/refs%2Fpr%2F1"
    assert urlsplit(hub.asked[1]).path == f"/api/models/org/model/tree/{COMMIT}"


def test_all_pages_are_read(hub):
    hub.tree, hub.page = [file(f"{number}.json") for number in range(25)], 10
    assert len(resolve(hub.url, REPO).files) == 25
    assert len(hub.asked) == 4


LICENCES = {
    "a word": ({"license": "apache-2.0"}, [], "apache-2.0", None),
    "another's": (
        {"license": "other", "license_name": "mine", "license_link": "LICENSE"},
        [],
        "mine",
        "LICENSE",
    ),
    "in the tags alone": ({}, ["x", "license:mit"], "mit", None),
    "none": ({}, [], None, None),
}


@pytest.mark.parametrize(("card", "tags", "word", "link"), LICENCES.values(), ids=LICENCES.keys())
def test_the_licence(hub, card, tags, word, link):
    hub.info |= {"cardData": card, "tags": tags}
    found = resolve(hub.url, REPO)
    assert (found.license, found.license_link) == (word, link)


@pytest.mark.parametrize(("told", "gated"), [("auto", "auto"), ("manual", "manual"), (False, None)])
def test_gating(hub, told, gated):
    hub.info["gated"] = told
    assert resolve(hub.url, REPO).gated == gated


def test_the_token_goes_along(hub):
    resolve(hub.url, REPO, token="hf_secret")
    assert hub.tokens == {"Bearer hf_secret"}


def test_a_token_that_lies_about_is_not_sent(hub, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", "hf_of_another_hub")
    resolve(hub.url, REPO)
    assert hub.tokens == {None}


NAMES = {
    "up": (["../up.bin"], "../up.bin"),
    "absolute": (["/etc/passwd"], "/etc/passwd"),
    "not plain": (["a//b"], "a//b"),
    "a newline": (["a\nb.bin"], r"a\\nb.bin"),
    "an escape code": (["\x1b[31m.bin"], r"\\x1b[31m.bin"),
    "a lone surrogate": (["\ud800"], r"\\ud800"),
    "a backslash": (["a\\b"], "no plain path"),
    "too long a part": (["a" * 256], "longer than Linux takes"),
    "case": (["Model.bin", "model.bin"], "in its case alone"),
    "case of a folder": (["A/x", "a/y"], "in its case alone"),
    "twice": (["a", "a"], "is there twice"),
    "below a file": (["a", "a/b"], "below a file"),
}


@pytest.mark.parametrize(("paths", "words"), NAMES.values(), ids=NAMES.keys())
def test_names_that_no_folder_may_hold(hub, paths, words):
    hub.tree = [file(path) for path in paths]
    with pytest.raises(LocalOpusError) as caught:
        resolve(hub.url, REPO)
    assert words in caught.value.message
    assert caught.value.message.isprintable()


ENTRIES = {
    "no size": file("a", -1),
    "a size that is a text": file("a", "3"),  # type: ignore[arg-type]
    "no digest": file("a") | {"oid": "x"},
    "two sizes": lfs("a") | {"size": 10},
    "a sha256 that is none": file("a", lfs={"oid": "2", "size": 3, "pointerSize": 1}),
    "no path": {"type": "file", "size": 3, "oid": SHA1},
    "no file at all": 7,
}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES.keys())
def test_a_tree_that_is_none(hub, entry):
    hub.tree = [entry]
    with pytest.raises(LocalOpusError, match="answer"):
        resolve(hub.url, REPO)


@pytest.mark.parametrize("sha", ["main", None, 7, COMMIT.upper(), COMMIT + "\n"])
def test_a_commit_that_is_none(hub, sha):
    hub.info["sha"] = sha
    with pytest.raises(LocalOpusError, match="the commit"):
        resolve(hub.url, REPO)


def test_another_commit_than_was_asked_for(hub):
    with pytest.raises(LocalOpusError, match="when asked for"):
        resolve(hub.url, REPO, "f" * 40)


def test_an_answer_of_100000_brackets(hub):
    hub.raw = b"[" * 100_000
    with pytest.raises(LocalOpusError, match="the answer is none of a hub's"):
        resolve(hub.url, REPO)


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "nonsense://", "http://[::1"])
def test_a_proxy_that_is_not_spoken_to(hub, monkeypatch, proxy):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(BadInputError, match="ALL_PROXY: one names a proxy that is not spoken to"):
        resolve(hub.url, REPO)
    assert hub.asked == []


def test_nothing_else_is_asked_and_nothing_is_left_in_the_home_folder(hub, monkeypatch, tmp_path):
    """As the library does with HF_ENDPOINT set, for the name of the program that calls it."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "list.json"))
    monkeypatch.setattr(_detect_agent, "_registry", None)
    resolve(hub.url, REPO)
    assert [path.split("?")[0].split("/")[:4] for path in hub.asked] == [
        ["", "api", "models", REPO.split("/", maxsplit=1)[0]]
    ] * len(hub.asked)
    assert not (tmp_path / "list.json").exists()


def test_a_suggestion_is_a_sentence_and_another_name(hub):
    for known, ends in ((REPO, "or private."), (f"{REPO}s", f'private. Did you mean "{REPO}s"?')):
        hub.failures = [(404, {"X_Error_Code": "RepoNotFound"})]
        with pytest.raises(LocalOpusError) as caught:
            resolve(hub.url, REPO, known=[known])
        assert caught.value.message.endswith(ends)


REFUSALS = {
    "not found": (404, {"X_Error_Code": "RepoNotFound"}, None, "not found, or private", "HF_TOKEN"),
    "401 without words": (401, {}, None, "not found, or private", "HF_TOKEN"),
    "401 with a token": (401, {}, "hf_a", "not found, or private", "another HF_TOKEN"),
    "a bad token": (
        401,
        {"X_Error_Message": "Invalid credentials in Authorization header"},
        "hf_a",
        "refuses the token",
        "/settings/tokens",
    ),
    "no revision": (404, {"X_Error_Code": "RevisionNotFound"}, None, "no revision 'v9'", "commits"),
    "gated": (401, {"X_Error_Code": "GatedRepo"}, None, "gated, and no token", "/org/model"),
    "gated, not let in": (403, {"X_Error_Code": "GatedRepo"}, "hf_a", "not been let in", "/org/model"),
    "another status": (418, {}, None, "status 418", "HF_ENDPOINT"),
    "a long wait": (429, {"Retry_After": "9999"}, None, "wait 9999 s", "after that time"),
    "a long wait, with zeros": (503, {"Retry_After": "0000000000999"}, None, "wait 999 s", "after that time"),
    "a limit that ends late": (429, {"RateLimit": '"api";r=0;t=900'}, None, "wait 900 s", "after that time"),
    "a limit without an end": (429, {"RateLimit": f'"api";r=0;t={"9" * 18}'}, None, "wait 99999", "after that time"),
    "a redirect elsewhere": (302, {"Location": "http://localhost:1/x"}, None, "http://localhost:1", "HF_ENDPOINT"),
    "a redirect to a file": (302, {"Location": "file:///etc/passwd"}, None, "file://", "HF_ENDPOINT"),
    "packed": (200, {"Content_Encoding": "gzip"}, None, "is packed", "HF_ENDPOINT"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("status", "headers", "token", "message", "remedy"), REFUSALS.values(), ids=REFUSALS.keys()
)
def test_refusals(hub, status, headers, token, message, remedy):
    hub.failures = [(status, headers)]
    with pytest.raises(LocalOpusError) as caught:
        resolve(hub.url, REPO, "v9", token)
    assert message in caught.value.message
    assert remedy in caught.value.remedy
    assert len(hub.asked) == 1


def test_a_redirect_on_the_same_host_is_followed(hub):
    hub.failures = [(307, {"Location": "/api/models/org/renamed"})]
    assert resolve(hub.url, REPO).commit == COMMIT


def test_a_redirect_loop_ends(hub):
    hub.failures = [(302, {"Location": "/again"})] * 100
    with pytest.raises(LocalOpusError, match="in a circle"):
        resolve(hub.url, REPO)


def test_a_next_page_on_another_host_is_refused(hub):
    hub.tree, hub.next_page = [file("a")], "http://localhost:1/tree"
    with pytest.raises(LocalOpusError, match="http://localhost:1"):
        resolve(hub.url, REPO)


def test_a_busy_hub_is_asked_again(hub):
    hub.tree = [file("a")]
    hub.failures = [(429, {"Retry_After": "1"}), (500, {}), (408, {})]
    assert len(resolve(hub.url, REPO).files) == 1


def test_a_hub_that_stays_busy(hub):
    hub.failures = [(503, {})] * 99
    with pytest.raises(LocalOpusError, match="status 503"):
        resolve(hub.url, REPO)


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b"[]", b"7", b"{}", b"\xff", b""])
def test_an_answer_that_is_no_hubs(hub, body):
    hub.raw = body
    with pytest.raises(LocalOpusError, match="is none of a hub's"):
        resolve(hub.url, REPO)


def test_an_endless_answer(hub, monkeypatch):
    hub.endless = True
    monkeypatch.setattr(hub_client, "MAX_BODY", 3_000_000)
    with pytest.raises(LocalOpusError, match="longer than 3000000 bytes"):
        resolve(hub.url, REPO)


def test_a_slow_answer_ends_in_time(hub):
    hub.endless = True
    with pytest.raises(LocalOpusError, match=r"longer than 0\.05 s"):
        resolve(hub.url, REPO, limit=0.05)


def test_no_hub_at_all():
    with pytest.raises(LocalOpusError, match=r"127\.0\.0\.1:9") as caught:
        resolve("http://127.0.0.1:9", REPO)
    assert "network" in caught.value.remedy


@pytest.mark.parametrize(
    ("endpoint", "repo", "revision"),
    [
        ("ftp://a", REPO, None),
        ("huggingface.co", REPO, None),
        ("http://127.0.0.1:9", "model", None),
        ("http://127.0.0.1:9", "../..", None),
        ("http://127.0.0.1:9", "a/b/c", None),
        ("http://127.0.0.1:9", "a/b\n", None),
        ("http://127.0.0.1:9", REPO, ""),
        ("http://127.0.0.1:9", REPO, "a\nb"),
    ],
)
def test_bad_words(endpoint, repo, revision):
    with pytest.raises(BadInputError):
        resolve(endpoint, repo, revision)


def test_the_nearest_name_is_suggested(hub):
    hub.failures = [(404, {"X_Error_Code": "RepoNotFound"})]
    with pytest.raises(LocalOpusError, match='Did you mean "org/model-2"'):
        resolve(hub.url, REPO, known=["org/model-2", "x/y"])
