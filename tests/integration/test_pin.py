"""Pinning from a real hub on loopback, asked by the real huggingface_hub: entries, and refusals."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from builders import IR_BIN, LLAMA, gguf_bytes, ir_xml
from fakes import FakeHost
from hub import Hub, Mischief, Repository
from local_opus import cli, pinning
from local_opus.catalog import load, needs
from local_opus.catalog.licenses import is_free
from local_opus.errors import BadInputError, ExitCode, LocalOpusError, MachineCannotError
from local_opus.host.hub_metadata import resolve
from local_opus.values import Device, HubSource, Model, Trust
from local_opus.weights.fetch import fetch_model

REPO = "some/Tiny-1.5B-GGUF"
GGUF = "Tiny-1.5B-Q4_1.gguf"
#: With 3 MB of tensors, so that its header is a small part of it.
SOUND = gguf_bytes(
    tensors=[("token_embd.weight", (32, 150_000), 3), ("output_norm.weight", (32,), 0)]
)
CONFIG = {
    "model_type": "qwen3",
    "max_position_embeddings": 40960,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 64,
    "head_dim": 32,
}
IR = {
    **{f"openvino_{name}.xml": ir_xml(name=name) for name in ("model", "tokenizer", "detokenizer")},
    **{f"openvino_{name}.bin": IR_BIN + name.encode() for name in ("model", "tokenizer", "detokenizer")},
    "config.json": json.dumps(CONFIG).encode(),
    "generation_config.json": b"{}",
    "tokenizer_config.json": b'{"a": 1}',
    "openvino_config.json": b'{"dtype": "int4", "quantization_config": {"sym": true}}',
    "README.md": b"# A model\n",
    "configuration_x.py": b"import os\n",
}  # fmt: skip


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


def environ(hub: Hub, **more: str) -> dict[str, str]:
    return {
        "HF_ENDPOINT": hub.url,
        "LOCAL_OPUS_TRUSTED_HOSTS": "localhost",
        "NO_PROXY": "*",
        **more,
    }


@pytest.fixture
def host(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    monkeypatch.setenv("NO_PROXY", "*")
    (tmp_path / "root").mkdir()
    return FakeHost(tmp_path / "root", environ(hub))


def pin(host: FakeHost, text: str = REPO, **asked: object) -> pinning.Pinned:
    return pinning.pin(host, text, pinning.Asked(**asked), load())  # type: ignore[arg-type]


def refused(host: FakeHost, text: str = REPO, **asked: object) -> LocalOpusError:
    with pytest.raises(LocalOpusError) as caught:
        pin(host, text, **asked)
    every = [caught.value.message, caught.value.remedy, *caught.value.details]
    assert all(line.isprintable() for line in every), every
    assert list(host.files.walk("/", folders=True)) == []
    return caught.value


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- entries


def test_a_gguf_is_pinned_at_its_commit_by_the_hubs_digest(host, hub):
    repository = hub.add(REPO, {GGUF: SOUND, "README.md": b"x"}, license="apache-2.0")
    model = pin(host).model
    assert model.source == HubSource(kind="hub", repo=REPO, revision=repository.head)
    ((file),) = model.files
    assert (file.path, file.size, file.sha256) == (GGUF, len(SOUND), sha256(SOUND))
    assert (model.id, model.trust, model.license.id) == ("tiny-1.5b-q4_1", Trust.HUB, "apache-2.0")
    assert (model.family, model.quantization, model.context_length) == ("llama", "Q4_1", 64)
    assert model.devices == (Device.CPU, Device.GPU)
    # 1 layer, 2 heads of 16: keys and values at f16.
    assert model.memory.kv_bytes_per_token == 2 * 2 * 2 * 16
    assert model.memory.estimated
    assert model.memory.bytes == needs.serving_estimate(model)


def test_what_is_pinned_can_be_fetched(host, hub):
    hub.add(REPO, {GGUF: SOUND})
    model = pin(host).model
    stored = fetch_model(host, "/models", model)
    (file,) = stored.manifest.files
    assert (file.sha256, file.trust) == (sha256(SOUND), Trust.HUB)


def test_of_a_large_file_only_the_beginning_is_read(host, hub):
    hub.add(REPO, {GGUF: SOUND})
    hub.misbehave(Mischief("flip", on="files", at=len(SOUND) - 1))
    assert pin(host).model.files[0].sha256 == sha256(SOUND)
    assert hub.sent()[GGUF] == 1024 * 1024


def test_a_header_that_is_longer_than_the_first_part_is_read_on(host, hub):
    words = [f"token {number:060}" for number in range(30_000)]
    data = gguf_bytes({**LLAMA, "tokenizer.ggml.tokens": words})
    hub.add(REPO, {GGUF: data})
    assert pin(host).model.files[0].size == len(data) > 2 * 1024 * 1024
    assert hub.sent()[GGUF] == len(data)


@pytest.mark.parametrize("kind", ["endless", "ignore_range", "no_length"])
def test_a_server_that_sends_more_or_says_less_is_read_as_far_as_needed(host, hub, kind):
    hub.add(REPO, {GGUF: SOUND})
    hub.add("some/Tiny-1.5B-int4-ov", IR)
    hub.misbehave(Mischief(kind, on="files"))
    assert pin(host).model.files[0].sha256 == sha256(SOUND)
    files = {file.path: file.sha256 for file in pin(host, "some/Tiny-1.5B-int4-ov").model.files}
    assert files["config.json"] == sha256(IR["config.json"])


def test_a_revision_is_resolved_to_a_commit(host, hub):
    repository = hub.add(REPO, {GGUF: SOUND})
    old = repository.head
    repository.tags["v1"] = old
    repository.commit({GGUF: gguf_bytes()})
    for text in (f"{REPO}@v1", f"hf:{REPO}@{old}", f"{hub.url}/{REPO}/tree/v1"):
        source = pin(host, text).model.source
        assert isinstance(source, HubSource)
        assert source.revision == old
    source = pin(host).model.source
    assert isinstance(source, HubSource)
    assert source.revision == repository.head != old


def test_an_ir_is_pinned_with_all_that_it_needs(host, hub):
    hub.add("some/Tiny-1.5B-int4-ov", IR, license="mit")
    model = pin(host, "some/Tiny-1.5B-int4-ov").model
    assert {file.path for file in model.files} == set(IR) - {"README.md", "configuration_x.py"}
    for file in model.files:
        assert (file.size, file.sha256) == (len(IR[file.path]), sha256(IR[file.path]))
    assert (model.format, model.quantization, model.parameters) == (
        "openvino-ir",
        "INT4_SYM",
        "1.5B",
    )
    assert (model.context_length, model.family) == (40960, "qwen3")
    assert model.memory.kv_bytes_per_token == 2 * 2 * 2 * 2 * 32
    assert model.id == "tiny-1.5b-int4-ov"
    # What the hub keeps by sha256 is not read.
    assert hub.asked("openvino_model.bin") == []


@pytest.mark.parametrize(
    ("asked", "file"),
    [({"file": "b/Q8_0.gguf"}, "b/Q8_0.gguf"), ({"file": "a-Q4_1.gguf"}, "a-Q4_1.gguf")],
)
def test_one_of_several_is_chosen(host, hub, asked, file):
    hub.add(REPO, {"a-Q4_1.gguf": SOUND, "b/Q8_0.gguf": SOUND, "config.json": b"{}"})
    assert [one.path for one in pin(host, **asked).model.files] == [file]
    assert [one.path for one in pin(host, f"{hub.url}/{REPO}/blob/main/{file}").model.files] == [
        file
    ]


def test_the_id_can_be_given(host, hub):
    hub.add(REPO, {GGUF: SOUND})
    assert pin(host, id="mine").model.id == "mine"
    assert "--id ../x" in refused(host, id="../x").message


@pytest.mark.parametrize(
    ("facts", "license_id", "free"),
    [({"license": "llama3.2"}, "llama3.2", False), ({"license": None}, "unknown", False),
     ({"license": "apache-2.0"}, "apache-2.0", True)],
)  # fmt: skip
def test_the_licence_is_the_repositorys(host, hub, facts, license_id, free):
    hub.add(REPO, {GGUF: SOUND}, **facts)
    found = pin(host)
    assert found.model.license.id == license_id
    assert is_free(license_id) is free
    assert any("states no licence" in note for note in found.notes) is (license_id == "unknown")


def test_a_gated_repository_is_pinned_with_its_token(tmp_path, hub, host):
    hub.add(REPO, {GGUF: SOUND}, gated="manual", tokens={"hf_good"})
    allowed = FakeHost(tmp_path / "root", environ(hub, HF_TOKEN="hf_good"))
    found = pin(allowed)
    assert found.model.license.gated is True
    assert any("gated" in note for note in found.notes)


def test_a_gated_repository_without_a_token_names_the_page(host, hub):
    hub.add(REPO, {GGUF: SOUND}, gated="manual", tokens={"hf_good"})
    error = refused(host)
    assert "gated" in error.message
    assert f"{hub.url}/{REPO}" in error.remedy


def test_what_passes_is_tried_again(host, hub):
    hub.add(REPO, {GGUF: SOUND})
    hub.misbehave(Mischief("status", on="resolve", status=503, first=2))
    assert pin(host).model.id == "tiny-1.5b-q4_1"


def test_the_same_weights_of_the_catalog_are_named(host, hub, monkeypatch):
    hub.add(REPO, {GGUF: SOUND})
    monkeypatch.setattr(pinning, "_LARGE", 1)
    catalog = load()
    twin = catalog.models[0].model_copy(update={"files": pin(host).model.files})
    catalog = catalog.model_copy(update={"models": (twin,)})
    found = pinning.pin(host, REPO, pinning.Asked(), catalog)
    assert found.notes == (f"the catalog has the same weights already: {twin.id}",)


# --- refusals


def test_several_without_a_choice_are_listed(host, hub):
    hub.add(REPO, {"a-Q4_1.gguf": SOUND, "b-Q8_0.gguf": SOUND})
    error = refused(host)
    assert isinstance(error, BadInputError)
    assert "has 2 GGUF files" in error.message
    assert "--file" in error.remedy
    assert [line.partition(":")[0] for line in error.details] == ["a-Q4_1.gguf", "b-Q8_0.gguf"]


def test_a_file_that_is_not_there(host, hub):
    hub.add(REPO, {"a-Q4_1.gguf": SOUND})
    error = refused(host, file="a-Q4_0.gguf")
    assert 'has no GGUF file a-Q4_0.gguf. Did you mean "a-Q4_1.gguf"?' in error.message
    assert isinstance(error, BadInputError)


PHI = gguf_bytes({**LLAMA, "general.architecture": "phi3"})
Q5 = {"a-00001-of-00002.gguf": SOUND, "a-00002-of-00002.gguf": SOUND}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"model.safetensors": b"x", "config.json": b"{}"}, "holds safetensors"),
        ({"pytorch_model.bin": b"x"}, "holds PyTorch checkpoints (pickle)"),
        ({"model.onnx": b"x"}, "holds ONNX"),
        ({"openvino_language_model.xml": b"x"}, "a model for pictures"),
        ({"README.md": b"x"}, "holds no weights"),
        (Q5, "split into several files"),
        ({path: data for path, data in IR.items() if path != "config.json"}, "lacks config.json"),
        ({**IR, "config.json": b"{}"}, "does not tell the context length"),
        ({**IR, "config.json": b"[" * 1000}, "does not tell the context length"),
        ({GGUF: PHI}, "the architecture phi3 is none of llama, qwen2, qwen3"),
        ({GGUF: gguf_bytes(tensors=[("a", (32, 3), 30)])}, "has the type BF16"),
    ],
)
def test_what_this_version_can_not_serve(host, hub, files, says):
    hub.add(REPO, files)
    error = refused(host)
    assert says in error.message
    assert error.exit_code is ExitCode.MACHINE_CANNOT


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (SOUND[: len(SOUND) // 2], "truncated"),
        (SOUND + b"x" * 100, "corrupt"),
        (b"GGUF" + b"\xff" * 100, "GGUF version"),
        (b"version https://git-lfs.github.com/spec/v1\n", "does not begin with GGUF"),
    ],
)
def test_a_gguf_that_is_none(host, hub, data, says):
    hub.add(REPO, {GGUF: data})
    error = refused(host)
    assert says in error.message
    assert GGUF in error.message


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["../x.gguf"], "leads out of its folder"),
        (["/x.gguf"], "leads out of its folder"),
        (["a/../../x.gguf"], "leads out of its folder"),
        (["a\nb.gguf"], "can't be printed"),
        (["a\x1b[31m.gguf"], "can't be printed"),
        (["a.gguf", "A.gguf"], "in its case alone"),
    ],
)
def test_names_that_no_folder_may_hold(host, hub, names, says):
    hub.add(REPO, dict.fromkeys(names, SOUND))
    assert says in refused(host).message


def test_a_revision_that_is_not_there(host, hub):
    hub.add(REPO, {GGUF: SOUND})
    assert "has no revision" in refused(host, f"{REPO}@v9").message


def test_a_repository_that_is_not_there(host):
    assert f"{REPO}: not found, or private" in refused(host).message


def test_no_hub_at_all(tmp_path, hub, host):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    alone = FakeHost(tmp_path / "root", {"HF_ENDPOINT": f"http://127.0.0.1:{port}"})
    error = refused(alone)
    assert f"127.0.0.1:{port}" in error.message
    assert "network" in error.remedy


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (
            Mischief("flip", on="files", path="config.json", at=3),
            "is not the file that the hub lists",
        ),
        (Mischief("portal", on="files", path="config.json"), "config.json"),
        (Mischief("truncate", on="files", path="config.json", at=3), "ended early"),
        (Mischief("commit", on="files", path="config.json", text="0" * 40), "commit"),
        (Mischief("status", on="files", path="config.json", status=404), "status 404"),
        (
            Mischief("redirect", on="resolve", path="config.json", to="http://10.0.0.1:9"),
            "http://10.0.0.1",
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, Mischief) else "",
)
def test_a_small_file_that_is_another(host, hub, rule, says):
    hub.add("some/Tiny-1.5B-int4-ov", IR)
    hub.misbehave(rule)
    error = refused(host, "some/Tiny-1.5B-int4-ov")
    assert says in error.message
    assert "config.json" in error.message


def test_a_header_under_another_range_is_none(host, hub):
    hub.add(REPO, {GGUF: SOUND})
    hub.misbehave(Mischief("wrong_range", on="files", by=3))
    assert "another range" in refused(host).message


@pytest.mark.parametrize(
    "asked", [{"size": 5}, {"sha256": "a" * 64}, {"mirrors": ("https://a/b",)}, {"license": "mit"}]
)
def test_options_that_say_nothing_of_a_repository(host, asked):
    assert "says nothing of the repository" in refused(host, **asked).message


# --- on the command line


def said(*words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(list(words))
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def as_user(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environ(hub).items():
        monkeypatch.setenv(name, value)


PIN = ("models", "pin", REPO, "--scope", "user")


def test_without_save_nothing_is_written(home, hub, as_user):
    hub.add(REPO, {GGUF: SOUND})
    code, out, _ = said(*PIN)
    assert (code, list(home.iterdir())) == (0, [])
    assert out.startswith('[[model]]\nid = "tiny-1.5b-q4_1"\n')


def test_a_saved_entry_is_a_model_of_the_catalog(home, hub, as_user):
    repository: Repository = hub.add(REPO, {GGUF: SOUND}, license="llama3.2")
    code, out, err = said(*PIN, "--save")
    path = home / ".config/local-opus/models.toml"
    assert (code, f"{path}: tiny-1.5b-q4_1 added" in err) == (0, True)
    assert path.read_text().endswith(out)
    code, out, _ = said("models", "show", "tiny-1.5b-q4_1", "--scope", "user", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["source"]["revision"] == repository.head
    assert found["license_is_free"] is False
    assert "tiny-1.5b-q4_1" in said("models", "list", "--scope", "user")[1]
    code, _, err = said("models", "pull", "tiny-1.5b-q4_1", "--scope", "user")
    assert (code, "llama3.2 is not a free one" in err) == (2, True)
    assert "already there" in said(*PIN, "--save")[2]
    repository.commit({GGUF: gguf_bytes()})
    code, _, err = said(*PIN, "--save")
    assert (code, "--replace" in err) == (2, True)
    assert "replaced" in said(*PIN, "--save", "--replace")[2]
    assert said("models", "show", "tiny-1.5b-q4_1", "--scope", "user", "--json")[1] != out


def test_an_id_of_the_programs_own_catalog_is_refused(home, hub, as_user):
    hub.add(REPO, {GGUF: SOUND})
    code, _, err = said(*PIN, "--save", "--id", "smollm2-135m")
    assert code == 2
    assert "smollm2-135m: the program's own catalog has a model of this id" in err
    assert list(home.iterdir()) == []


def test_json_holds_the_entry(home, hub, as_user):
    hub.add(REPO, {GGUF: SOUND})
    code, out, _ = said(*PIN, "--json", "--save")
    found = json.loads(out)
    assert (code, found["saved"]) == (0, "added")
    assert Model.model_validate(found["model"]).id == "tiny-1.5b-q4_1"
    assert found["entry"].startswith("[[model]]")


def test_the_metadata_is_that_of_the_real_client(hub):
    repository = hub.add(REPO, {GGUF: SOUND})
    assert resolve(hub.url, REPO).commit == repository.head


def test_errors_are_told_with_the_exit_code(home, hub, as_user):
    hub.add(REPO, {GGUF: PHI})
    code, _, err = said(*PIN, "--save")
    assert (code, "phi3" in err) == (4, True)
    assert issubclass(MachineCannotError, LocalOpusError)
    assert list(home.iterdir()) == []
