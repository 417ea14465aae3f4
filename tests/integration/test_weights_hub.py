"""The hub source against a real HTTP server on loopback: resuming, refusing, redirecting."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from builders import IR_BIN, catalog_file, gguf_bytes, ir_xml, wheel_model
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.host import Host
from local_opus.values import HubSource, Model, Trust
from local_opus.weights.fetch import fetch_model

from local_opus.weights.verify import is_proven, verify_folder

COMMIT = "ab" * 20
SOUND = gguf_bytes()
WORK = "/models/tiny/.partial/gguf-q4_1"


class Hub(ThreadingHTTPServer):
    """Serves ``files`` by path, in the way that the test sets."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.ranges: list[str | None] = []
        self.tokens: list[str | None] = []
        self.status = 200
        self.cut_after: int | None = None
        self.cuts = 0
        self.ignores_range = False
        self.redirect: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass

    def do_GET(self) -> None:
        hub = self.server
        wanted = self.headers.get("Range")
        hub.ranges.append(wanted)
        hub.tokens.append(self.headers.get("Authorization"))
        if hub.redirect is not None:
            self.send_response(302)
            self.send_header("Location", hub.redirect + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = hub.files.get(self.path)
        status = 404 if data is None and hub.status == 200 else hub.status
        if data is None or status != 200:
            self.send_error(status)
            return
        start = 0
        if wanted and not hub.ignores_range:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])  # type: ignore[index]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        body = data[start:]
        if hub.cut_after is not None and hub.cuts:
            hub.cuts -= 1
            self.wfile.write(body[: hub.cut_after])
            self.close_connection = True
            return
        self.wfile.write(body)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def host(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("NO_PROXY", "*")
    (tmp_path / "root").mkdir()
    return Host(str(tmp_path / "root"), {"HF_ENDPOINT": hub.url + "/", "HF_TOKEN": "hf_secret"})


def hub_model(files: dict[str, bytes], *, kind: str = "gguf") -> Model:
    source = HubSource(kind="hub", repo="some/repo", revision=COMMIT)
    pins = tuple(catalog_file(data, path) for path, data in files.items())
    changes = {"source": source, "files": pins, "format": kind}
    return wheel_model(b"x").model_copy(update=changes)


MODEL = hub_model({"tiny.gguf": SOUND})
PATH = f"/some/repo/resolve/{COMMIT}/tiny.gguf"


def fails(host: Host, model: Model = MODEL) -> LocalOpusError:
    with pytest.raises(LocalOpusError) as caught:
        fetch_model(host, "/models", model)
    assert "\n" not in caught.value.message + caught.value.remedy
    return caught.value


def test_a_file_is_fetched_at_its_commit_and_proven(host, hub):
    hub.files[PATH] = SOUND
    stored = fetch_model(host, "/models", MODEL)
    (file,) = stored.manifest.files
    assert (file.trust, file.origin.kind) == (Trust.PINNED, "hub")
    assert file.structure["architecture"] == "llama"
    assert is_proven(verify_folder(host, stored.folder, catalog_files=MODEL.files))
    assert host.files.stat("/models/tiny/.partial") is None
    assert not fetch_model(host, "/models", MODEL).changed
    assert hub.ranges == [None]


def test_an_ir_is_checked_as_a_pair(host, hub):
    files = {"openvino_model.bin": IR_BIN, "openvino_model.xml": ir_xml(), "sub/config.json": b"{}"}
    hub.files = {f"/some/repo/resolve/{COMMIT}/{path}": data for path, data in files.items()}
    stored = fetch_model(host, "/models", hub_model(files, kind="openvino-ir"))
    assert stored.variant == "ir-q4_1"
    assert {file.path for file in stored.manifest.files} == set(files)
    assert is_proven(verify_folder(host, stored.folder))


def test_an_ir_that_does_not_fit_together_is_refused(host, hub):
    files = {"openvino_model.bin": IR_BIN + b"x", "openvino_model.xml": ir_xml()}
    hub.files = {f"/some/repo/resolve/{COMMIT}/{path}": data for path, data in files.items()}
    fails(host, hub_model(files, kind="openvino-ir"))
    assert host.files.stat("/models/tiny/ir-q4_1/weights.json") is None


def test_a_broken_connection_continues_where_it_ended(host, hub):
    hub.files[PATH] = SOUND
    hub.cut_after, hub.cuts = 400, 2
    assert fetch_model(host, "/models", MODEL).changed
    assert hub.ranges == [None, "bytes=400-", "bytes=800-"]


def test_what_a_killed_run_left_is_continued(host, hub):
    hub.files[PATH] = SOUND
    hub.cut_after, hub.cuts = 100, 4
    assert "continues" in fails(host).remedy
    hub.cuts = 0
    assert fetch_model(host, "/models", MODEL).changed
    assert hub.ranges[-1] == f"bytes={100 * 4}-"


def test_a_server_without_ranges_starts_again(host, hub):
    hub.files[PATH] = SOUND
    hub.cut_after, hub.cuts, hub.ignores_range = 400, 1, True
    assert fetch_model(host, "/models", MODEL).changed


def test_a_wrong_start_of_the_partial_file_is_found_out(host, hub):
    hub.files[PATH] = SOUND
    host.files.make_folders(WORK)
    name = f"tiny.{MODEL.files[0].sha256[:8]}.gguf"
    host.files.write_atomic(f"{WORK}/{name}", b"\xff" * 300)
    assert "sha256" in fails(host).message
    assert host.files.stat(f"{WORK}/{name}") is None
    assert fetch_model(host, "/models", MODEL).changed


SERVED = {
    "another content": (SOUND[:-1] + b"\xff", "expected sha256"),
    "a longer file": (SOUND + b"x", f"got {len(SOUND) + 1}"),
    "a shorter file": (SOUND[:-1], f"got {len(SOUND) - 1}"),
    "a page": (b"<html>Sign in</html>", "got 20"),
}


@pytest.mark.parametrize(("data", "words"), SERVED.values(), ids=SERVED.keys())
def test_another_file_than_the_pinned_one_is_refused(host, hub, data, words):
    hub.files[PATH] = data
    assert words in fails(host).message
    assert host.files.stat("/models/tiny/gguf-q4_1/tiny.gguf") is None


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "HF_TOKEN"), (403, "HF_TOKEN"), (404, "later"), (503, "later")]
)
def test_a_status_becomes_an_error_with_a_remedy(host, hub, status, remedy):
    hub.files[PATH] = SOUND
    hub.status = status
    error = fails(host)
    assert remedy in error.remedy
    assert "127.0.0.1" in error.message
    assert "hf_secret" not in error.message + error.remedy


def test_a_redirect_to_another_host_carries_no_token(host, hub):
    with Hub() as other:
        thread = threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        other.files[PATH] = SOUND
        hub.redirect = f"http://localhost:{other.server_port}"
        assert fetch_model(host, "/models", MODEL).changed
        other.shutdown()
        thread.join()
    assert hub.tokens == ["Bearer hf_secret"]
    assert other.tokens == [None]


def test_a_hub_that_does_not_answer(tmp_path, host):
    dead = Host(str(tmp_path / "root"), {"HF_ENDPOINT": "http://127.0.0.1:9"})
    error = fails(dead)
    assert "refused" in error.message
    assert "network" in error.remedy


@pytest.mark.parametrize("address", ["ftp://x", "huggingface.co", "file:///etc/passwd", "http://"])
def test_an_endpoint_that_is_no_address(tmp_path, host, address):
    wrong = Host(str(tmp_path / "root"), {"HF_ENDPOINT": address})
    with pytest.raises(BadInputError, match="HF_ENDPOINT"):
        fetch_model(wrong, "/models", MODEL)
