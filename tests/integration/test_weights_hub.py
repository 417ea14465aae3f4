"""Fetching from a hub on loopback: proven, resumed, refused, redirected."""

from __future__ import annotations

from pathlib import Path

import pytest
from fetching import REPO, TOKEN, host_for, hub_model, large_gguf, pinned

from builders import IR_BIN, gguf_bytes, ir_xml
from fakes import FakeHost
from hub import Hub, Mischief
from local_opus.errors import BadInputError, LocalOpusError, WorkerError
from local_opus.host import Host
from local_opus.host.partials import PIECE, Partial, boot_id
from local_opus.values import Model, Trust
from local_opus.weights.fetch import fetch_model
from local_opus.weights.sources import web
from local_opus.weights.verify import is_proven, verify_folder

pytestmark = pytest.mark.usefixtures("hasty")

SOUND = gguf_bytes()
WORK = "/models/tiny/.partial/gguf-q4_1"


@pytest.fixture
def model(hub: Hub) -> Model:
    return hub_model(hub, {"tiny.gguf": SOUND})


def fails(host: Host, model: Model) -> LocalOpusError:
    with pytest.raises(LocalOpusError) as caught:
        fetch_model(host, "/models", model)
    assert "\n" not in caught.value.message + caught.value.remedy
    assert TOKEN not in caught.value.message + caught.value.remedy
    return caught.value


def test_a_file_is_fetched_at_its_commit_and_proven(host, hub, model):
    stored = fetch_model(host, "/models", model)
    (file,) = stored.manifest.files
    assert (file.trust, file.origin.kind) == (Trust.PINNED, "hub")
    assert file.structure["architecture"] == "llama"
    assert is_proven(verify_folder(host, stored.folder, catalog_files=model.files))
    assert host.files.stat("/models/tiny/.partial") is None
    assert not fetch_model(host, "/models", model).changed
    (request,) = hub.asked(place="cdn")
    assert request.range is None
    assert all(model.source.revision in request.path for request in hub.asked(place="resolve"))


def test_an_ir_is_checked_as_a_pair(host, hub):
    files = {"openvino_model.bin": IR_BIN, "openvino_model.xml": ir_xml(), "sub/config.json": b"{}"}
    stored = fetch_model(host, "/models", hub_model(hub, files, kind="openvino-ir"))
    assert stored.variant == "ir-q4_1"
    assert {file.path for file in stored.manifest.files} == set(files)
    assert is_proven(verify_folder(host, stored.folder))


def test_an_ir_that_does_not_fit_together_is_refused(host, hub):
    files = {"openvino_model.bin": IR_BIN + b"x", "openvino_model.xml": ir_xml()}
    fails(host, hub_model(hub, files, kind="openvino-ir"))
    assert host.files.stat("/models/tiny/ir-q4_1/weights.json") is None


def test_a_broken_connection_continues_where_it_ended(host, hub, model):
    hub.misbehave(Mischief("truncate", on="cdn", at=400, first=2))
    assert fetch_model(host, "/models", model).changed
    ranges = [request.range for request in hub.asked(place="cdn")]
    last = len(SOUND) - 1
    assert ranges == [None, f"bytes=400-{last}", f"bytes=800-{last}"]


def test_pieces_that_a_killed_run_left_do_not_come_again(host, hub):
    data = large_gguf(3)
    model = hub_model(hub, {"tiny.gguf": data})
    with leave_partial(host, model) as partial:
        partial.write(0, data[: 2 * PIECE])
        partial.mark(0)
        partial.mark(1)
    assert fetch_model(host, "/models", model).changed
    assert hub.sent()["tiny.gguf"] == len(data) - 2 * PIECE


def test_a_partial_file_of_an_earlier_program_is_continued(host, hub):
    data = large_gguf(3)
    model = hub_model(hub, {"tiny.gguf": data})
    host.files.make_folders(WORK)
    host.files.write_atomic(partial_path(model), data[: 2 * PIECE + 7])
    assert fetch_model(host, "/models", model).changed
    assert hub.sent()["tiny.gguf"] == len(data) - 2 * PIECE


def test_a_wrong_start_of_the_partial_file_comes_anew(host, hub):
    data = large_gguf(3)
    model = hub_model(hub, {"tiny.gguf": data})
    with leave_partial(host, model) as partial:
        partial.write(0, b"\xff" * PIECE)
        partial.mark(0)
    assert fetch_model(host, "/models", model).changed
    assert hub.sent()["tiny.gguf"] == len(data) - PIECE + len(data)


def partial_path(model: Model) -> str:
    return f"{WORK}/tiny.{model.files[0].sha256[:8]}.gguf"


def leave_partial(host: Host, model: Model) -> Partial:
    host.files.make_folders(WORK)
    (file,) = model.files
    return Partial(host.files, partial_path(model), file.size, file.sha256, boot_id(host.files))


SERVED = {
    "another content": (SOUND[:-1] + b"\xff", "expected sha256"),
    "a longer file": (SOUND + b"x", "expected sha256"),
    "a page": (b"<html>Sign in</html>", "expected sha256"),
}


@pytest.mark.parametrize(("data", "words"), SERVED.values(), ids=SERVED.keys())
def test_another_file_than_the_pinned_one_is_refused_before_it_comes(host, hub, model, data, words):
    hub.add(REPO, {"tiny.gguf": data}, commit=model.source.revision)
    assert words in fails(host, model).message
    assert host.files.stat("/models/tiny/gguf-q4_1/tiny.gguf") is None
    assert host.files.stat("/models/tiny/.partial") is None


STATUSES = [(401, "HF_TOKEN"), (403, "HF_TOKEN"), (404, "choose another"), (503, "continues")]


@pytest.mark.parametrize(("status", "remedy"), STATUSES)
def test_a_status_becomes_an_error_with_a_remedy(host, hub, model, status, remedy):
    hub.misbehave(Mischief("status", status=status))
    error = fails(host, model)
    assert remedy in error.remedy
    assert "127.0.0.1" in error.message


def test_a_gated_model_names_the_page_of_its_licence(tmp_path, hub):
    model = hub_model(hub, {"tiny.gguf": SOUND})
    hub.repositories[REPO].gated = "auto"
    error = fails(host_for(hub, tmp_path / "root", HF_TOKEN=""), model)
    assert "HF_TOKEN is not set" in error.message
    assert f"{hub.url}/{REPO}" in error.remedy


def test_the_cdn_gets_no_token(host, hub, model):
    fetch_model(host, "/models", model)
    assert {request.token for request in hub.asked(place="resolve")} == {TOKEN}
    assert {request.token for request in hub.asked(place="cdn")} == {None}


def test_a_host_that_is_not_trusted_may_not_be_private(tmp_path, hub, model):
    host = host_for(hub, tmp_path / "root", LOCAL_OPUS_TRUSTED_HOSTS="")
    assert "http://localhost, which is not https" in fails(host, model).message
    assert hub.asked(place="cdn") == []


def test_a_hub_that_does_not_answer(tmp_path, host, model):
    dead = Host(str(tmp_path / "root"), {"HF_ENDPOINT": "http://127.0.0.1:9"})
    error = fails(dead, model)
    assert "refused" in error.message
    assert "network" in error.remedy


NO_ADDRESSES = [
    "ftp://x",
    "huggingface.co",
    "file:///etc/passwd",
    "http://",
    "http://[::1",
    "http://x:99999",
    "http://x:y",
    "http://x\x1b[31m",
    "https://somebody:secret@x",
]


@pytest.mark.parametrize("address", NO_ADDRESSES)
@pytest.mark.parametrize("name", ["HF_ENDPOINT", "LOCAL_OPUS_MIRRORS"])
def test_an_endpoint_that_is_no_address(tmp_path, name, address):
    wrong = Host(str(tmp_path), {name: address})
    with pytest.raises(BadInputError, match=name) as caught:
        fetch_model(wrong, "/models", pinned({"tiny.gguf": SOUND}, "ab" * 20))
    assert caught.value.message.isprintable()
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("name", ["HF_ENDPOINT", "LOCAL_OPUS_MIRRORS"])
def test_an_endpoint_with_a_password_is_refused_and_not_repeated(tmp_path, name):
    host = Host(str(tmp_path), {name: "https://me:secret@hub.example/hf"})
    error = fails(host, pinned({"tiny.gguf": SOUND}, "ab" * 20))
    assert name in error.message
    assert "secret" not in error.message + error.remedy


def test_the_hubs_own_client_may_bring_files_and_they_are_hashed(tmp_path, hub):
    files = {"openvino_model.bin": IR_BIN, "openvino_model.xml": ir_xml(), "sub/config.json": b"{}"}
    model = hub_model(hub, files, kind="openvino-ir")
    host = host_for(hub, tmp_path / "root", LOCAL_OPUS_XET="1")
    stored = fetch_model(host, "/models", model)
    assert is_proven(verify_folder(host, stored.folder, catalog_files=model.files))
    assert {path for path, _ in host.files.walk("/models")} == {
        f"tiny/ir-q4_1/{name}" for name in [*files, "weights.json", "weights.stat.json"]
    }


def test_what_the_hubs_own_client_brings_may_be_wrong(tmp_path, hub, model):
    host = host_for(hub, tmp_path / "root", LOCAL_OPUS_XET="1")
    hub.misbehave(Mischief("flip", on="cdn", at=40))
    assert "sha256" in fails(host, model).message
    assert host.files.stat("/models/tiny/gguf-q4_1/tiny.gguf") is None


def test_a_word_that_asks_for_xet_and_does_not(tmp_path, hub, model):
    error = fails(host_for(hub, tmp_path / "root", LOCAL_OPUS_XET="maybe"), model)
    assert "LOCAL_OPUS_XET" in error.message


def test_a_file_that_another_variant_has_does_not_come_again(host, hub):
    shared, own = large_gguf(1), b"{}"
    first = hub_model(hub, {"tiny.gguf": shared})
    fetch_model(host, "/models", first)
    hub.forget()
    contents = {"tiny.gguf": shared, "config.json": own}
    second = hub_model(hub, contents).model_copy(update={"id": "other"})
    stored = fetch_model(host, "/models", second)
    assert hub.sent() == {"config.json": len(own)}
    assert is_proven(verify_folder(host, stored.folder, catalog_files=second.files))
    one = host.files.stat("/models/tiny/gguf-q4_1/tiny.gguf")
    assert one.inode == host.files.stat(f"{stored.folder}/tiny.gguf").inode


def test_a_damaged_file_of_another_variant_is_not_taken(host, hub):
    data = large_gguf(1)
    first = fetch_model(host, "/models", hub_model(hub, {"tiny.gguf": data}))
    with host.files.open_in_place(f"{first.folder}/tiny.gguf") as stream:
        stream.seek(len(data) - 1)
        stream.write(b"\xff")
    hub.forget()
    second = hub_model(hub, {"tiny.gguf": data}).model_copy(update={"id": "other"})
    assert is_proven(verify_folder(host, fetch_model(host, "/models", second).folder))
    assert hub.sent() == {"tiny.gguf": len(data)}


@pytest.mark.parametrize(
    ("endpoint", "token"),
    [
        ("https://hub.example", "hf_word"),
        ("http://localhost:9", "hf_word"),
        ("http://hub.example", None),
    ],
)
def test_over_plain_http_the_hubs_own_client_gets_no_token(tmp_path, model, endpoint, token):
    environ = {"HF_ENDPOINT": endpoint, "HF_TOKEN": "hf_word", "LOCAL_OPUS_XET": "1"}
    (tmp_path / "root").mkdir()
    host = FakeHost(tmp_path / "root", environ)
    asked: list[dict[str, object]] = []

    def worker(_module: str, request: dict[str, object], **_: object) -> dict[str, object]:
        asked.append(request)
        raise WorkerError("it ended", "")

    host.processes.worker = worker  # type: ignore[assignment,method-assign]
    fails(host, model)
    assert [request["token"] for request in asked] == [token]


def test_the_token_is_in_the_environment_of_no_child(tmp_path):
    """Converters and drivers are a stranger's code; the one that needs it is told it."""
    host = Host(str(tmp_path), {"HF_TOKEN": "hf_word", "PATH": "/bin"})
    assert "hf_word" not in host.processes.clean_environment().values()


def test_a_file_that_was_changed_while_another_came_gets_no_stamp(host, hub, monkeypatch):
    """It was hashed when the fetch began, and was right then."""
    model = hub_model(hub, {"config.json": b'{"a": 1}', "tiny.gguf": SOUND})
    folder = fetch_model(host, "/models", model).folder
    for name in ("tiny.gguf", "weights.json"):
        host.files.remove(f"{folder}/{name}")

    bring = web._Fetch.run

    def change(fetch: web._Fetch, *given: object) -> None:
        bring(fetch, *given)  # type: ignore[arg-type]
        Path(host.root + folder, "config.json").write_bytes(b'{"a": 2}')

    monkeypatch.setattr(web._Fetch, "run", change)
    fetch_model(host, "/models", model)
    found = {item.path: item.verdict for item in verify_folder(host, folder, quick=True)}
    assert found == {"config.json": "corrupt", "tiny.gguf": "real"}
