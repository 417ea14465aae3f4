"""Pinning without a hub: what a word names, files of this machine, what an address must state."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from blake3 import blake3

from builders import IR_BIN, LFS_POINTER, LLAMA, PLACEHOLDER, gguf_bytes, ir_xml
from fakes import FakeHost
from local_opus import pinning
from local_opus.catalog import load
from local_opus.errors import BadInputError, ExitCode, LocalOpusError, ProblemFoundError
from local_opus.pinning import gguf_traits, ir_traits
from local_opus.pinning.draft import count_text, told_by
from local_opus.pinning.source import At, Place, Repository, parse
from local_opus.values import Device, HttpsSource, LocalSource, Trust
from local_opus.weights import contents, manifest
from local_opus.weights import gguf as gguf_format
from local_opus.weights.fetch import fetch_model
from local_opus.weights.manifest import LocalOrigin, Manifest, ManifestFile

SOUND = gguf_bytes()
SHA256 = hashlib.sha256(SOUND).hexdigest()
IR = {
    f"openvino_{name}.{suffix}": data
    for name in ("model", "tokenizer", "detokenizer")
    for suffix, data in (("xml", ir_xml(name=name)), ("bin", IR_BIN))
}
CONFIG = {
    "config.json": json.dumps({"max_position_embeddings": 4096, "model_type": "qwen2"}).encode()
}


def put(host: FakeHost, folder: str, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        host.files.make_folders(f"{folder}/{path}".rpartition("/")[0])
        host.files.write_atomic(f"{folder}/{path}", data)


def pin(host: FakeHost, text: str, **asked: object) -> pinning.Pinned:
    return pinning.pin(host, text, pinning.Asked(**asked), load())  # type: ignore[arg-type]


def refused(host: FakeHost, text: str, **asked: object) -> LocalOpusError:
    with pytest.raises(LocalOpusError) as caught:
        pin(host, text, **asked)
    every = [caught.value.message, caught.value.remedy, *caught.value.details]
    assert all(line.isprintable() for line in every), every
    return caught.value


# --- what a word names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/name", Repository("org/name", None)),
        ("org/name@v1", Repository("org/name", "v1")),
        ("hf:org/name@refs/pr/1", Repository("org/name", "refs/pr/1")),
        ("https://huggingface.co/org/name", Repository("org/name", None)),
        ("https://huggingface.co/org/name/", Repository("org/name", None)),
        ("https://huggingface.co/org/name/tree/v1", Repository("org/name", "v1")),
        (
            "https://huggingface.co/org/name/blob/main/a/b.gguf",
            Repository("org/name", "main", "a/b.gguf"),
        ),
        (
            "https://huggingface.co/org/name/resolve/main/b.gguf?download=true",
            Repository("org/name", "main", "b.gguf"),
        ),
        ("https://a.example/x/b.gguf", At("https://a.example/x/b.gguf")),
        ("/there", Place("/there")),
        ("/there/", Place("/there")),
        ("/there/file.gguf", Place("/there/file.gguf")),
    ],
)
def test_what_a_word_names(host, text, expected):
    put(host, "/there", {"file.gguf": SOUND})
    assert parse(host, text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "one",
            "a/b/c",
            "/nowhere",
            "./nowhere",
            "../x",
            "hf:",
            "hf:one",
            "hf:../x",
            "org/na me",
        ),
        *("ftp://a/b", "file:///etc/passwd", "https://", "https://huggingface.co/org"),
        *("https://huggingface.co/org/name/settings", "https://huggingface.co/datasets/a/b"),
        *("a\nb", "org/name\x1b[31m", "org/name@\x00"),
    ],
)
def test_what_names_nothing(host, text):
    error = refused(host, text)
    assert isinstance(error, BadInputError)
    assert "ORGANISATION/NAME" in error.remedy


def test_a_word_that_may_be_either(host, monkeypatch):
    folder = f"{os.getcwd()}/org"
    put(host, f"{folder}/name", {"x.gguf": SOUND})
    put(host, folder, {"file.gguf": SOUND})
    error = refused(host, "org/name")
    assert "hf:org/name" in error.remedy
    assert "./org/name" in error.remedy
    assert parse(host, "./org/name") == Place(f"{folder}/name")
    assert parse(host, "hf:org/name") == Repository("org/name", None)
    assert parse(host, "org/file.gguf") == Place(f"{folder}/file.gguf")


# --- names and numbers


@pytest.mark.parametrize(
    ("count", "text"),
    [(1, "0M"), (134_515_008, "135M"), (999_600_000, "1000M"), (1_235_814_432, "1.24B"),
     (7_615_616_512, "7.62B"), (14_768_307_200, "14.8B"), (70_553_706_496, "70.6B"), (405_000_000_000, "405B")],
)  # fmt: skip
def test_numbers_of_parameters(count, text):
    assert count_text(count) == text


@pytest.mark.parametrize(
    ("stem", "told"),
    [("Qwen2.5-1.5B-Instruct", "1.5B"), ("SmolLM2-135M", "135M"), ("phi-4", None), ("llama-3b-int4-ov", "3B"), ("x8bx", None)],
)  # fmt: skip
def test_numbers_in_names(stem, told):
    assert told_by(stem) == told


# --- files of this machine


def test_a_file_of_this_machine_whatever_lies_beside_it(host, monkeypatch):
    monkeypatch.setattr(contents, "MOST_FILES", 1)
    put(host, "/m", {"Tiny-Q4_1.gguf": SOUND, "other.gguf": SOUND, "more/x.gguf": b""})
    (file,) = pin(host, "/m/Tiny-Q4_1.gguf").model.files
    assert file.path == "Tiny-Q4_1.gguf"
    assert "holds more than 1 files" in refused(host, "/m").message


def test_an_error_names_some_files_and_counts_the_others(host):
    put(host, "/m", {f"{number:03}.gguf": b"" for number in range(100)})
    error = refused(host, "/m")
    assert (error.exit_code, len(error.details)) == (ExitCode.PROBLEM_FOUND, 20)
    assert error.details[-1] == "and 80 more files that are not sound"


def test_a_gguf_of_this_machine(host):
    put(host, "/m", {"Tiny-Q4_1.gguf": SOUND})
    for text, asked in (("/m/Tiny-Q4_1.gguf", {}), ("/m", {}), ("/m", {"file": "Tiny-Q4_1.gguf"})):
        found = pin(host, text, license="MIT", **asked)
        model = found.model
        assert model.source == LocalSource(kind="local", folder="/m")
        assert [(one.path, one.size, one.sha256) for one in model.files] == [
            ("Tiny-Q4_1.gguf", len(SOUND), SHA256)
        ]
        assert (model.id, model.trust, model.license.id) == ("tiny-q4_1", Trust.PINNED, "MIT")
        assert found.notes == ()


def test_what_was_pinned_of_a_folder_is_fetched_from_there(host):
    put(host, "/m", {"Tiny-Q4_1.gguf": SOUND})
    model = pin(host, "/m").model
    assert fetch_model(host, "/models", model).manifest.files[0].sha256 == SHA256
    put(host, "/m", {"Tiny-Q4_1.gguf": SOUND[:-1] + b"x"})
    with pytest.raises(LocalOpusError, match="is not the pinned file"):
        fetch_model(host, "/others", model)


def test_an_ir_of_this_machine(host):
    put(host, "/m/tiny-1b-int8-ov", {**IR, **CONFIG, "README.md": b"# x\n"})
    model = pin(host, "/m/tiny-1b-int8-ov").model
    assert {one.path for one in model.files} == {*IR, *CONFIG}
    assert (model.id, model.format, model.quantization) == (
        "tiny-1b-int8-ov",
        "openvino-ir",
        "INT8",
    )
    assert (model.context_length, model.parameters, model.license.id) == (4096, "1B", "unknown")


def test_an_ir_without_a_config_needs_a_manifest_that_tells_the_context_length(host):
    put(host, "/ir", IR)
    error = refused(host, "/ir")
    assert "does not tell the context length" in error.message
    assert error.exit_code is ExitCode.MACHINE_CANNOT
    files = tuple(
        ManifestFile(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest(),
                     blake3=blake3(data).hexdigest(), origin=LocalOrigin(folder="/x"), trust=Trust.DERIVED)
        for path, data in IR.items()
    )  # fmt: skip
    listed = Manifest(
        model="tiny", variant="cpu-q4_1", created_by="t", context_length=64, files=files
    )
    manifest.write(host, "/ir", listed)
    assert pin(host, "/ir").model.context_length == 64


@pytest.mark.parametrize(
    ("files", "says", "code"),
    [
        ({"a.gguf": PLACEHOLDER}, "a.gguf: placeholder", 3),
        ({"a.gguf": LFS_POINTER}, "a.gguf: placeholder", 3),
        ({"a.gguf": SOUND[:-40]}, "a.gguf: truncated", 3),
        ({"a.gguf": b"GGUF" + bytes(100)}, "a.gguf: corrupt", 3),
        ({"a.gguf": SOUND, "x.pkl": b"\x80\x04\x95"}, "x.pkl: unsafe", 3),
        ({"a.gguf": SOUND, "code.py": b"import os\n"}, "code.py: unsafe", 3),
        ({**IR, **CONFIG, "openvino_model.bin": IR_BIN[:10]}, "truncated", 3),
        ({**IR, **CONFIG, "openvino_model.bin": LFS_POINTER}, "openvino_model.bin: placeholder", 3),
        ({"a.gguf": SOUND, "b.gguf": SOUND}, "has 2 GGUF files", 2),
        ({"README.md": b"x"}, "holds no model", 4),
        ({"model.safetensors": b"x"}, "model.safetensors: ", 3),
        (
            {path: IR[path] for path in list(IR)[:4]},
            "its OpenVINO IR lacks openvino_detokenizer",
            4,
        ),
        ({"a-00001-of-00002.gguf": SOUND}, "part 2 of 2", 3),
        (
            {"a.gguf": gguf_bytes({**LLAMA, "general.architecture": "gemma3"})},
            "gemma3 is none of",
            4,
        ),
    ],
)
def test_what_is_no_model(host, files, says, code):
    put(host, "/m", files)
    error = refused(host, "/m")
    assert says in " ".join([error.message, *error.details])
    assert error.exit_code == code


def test_a_file_that_changes_after_it_was_looked_at_is_not_pinned(host):
    """What is hashed must be what was found sound."""
    put(host, "/m", {"model.gguf": SOUND})

    def change(what: str, _done: int, _total: int) -> None:
        if what.startswith("hash"):
            put(host, "/m", {"model.gguf": SOUND})

    with pytest.raises(ProblemFoundError, match=r"model\.gguf: changed while it was read"):
        pinning.pin(host, "/m", pinning.Asked(), load(), change)


def test_a_link_out_of_the_folder_is_unsafe(host):
    put(host, "/m", {"a.gguf": SOUND})
    put(host, "/elsewhere", {"b.gguf": SOUND})
    host.files.symlink("/elsewhere/b.gguf", "/m/b.gguf")
    assert "b.gguf: unsafe" in refused(host, "/m").message


def test_a_device_is_no_model(host):
    put(host, "/m", {})
    host.files.make_folders("/m")
    os.mkfifo(f"{host.root}/m/pipe.gguf")
    assert "neither a file nor a folder" in refused(host, "/m/pipe.gguf").message
    assert "pipe.gguf: unsafe" in refused(host, "/m").message


@pytest.mark.parametrize("name", ["a\nb.gguf", "a\x1b[31m.gguf", "a\\b.gguf"])
def test_names_that_a_catalog_can_not_hold(host, name):
    put(host, "/m", {name: SOUND})
    assert "a catalog can't hold this name" in refused(host, "/m").message


@pytest.mark.parametrize(
    "asked", [{"size": 5}, {"sha256": "a" * 64}, {"mirrors": ("https://a/b",)}]
)
def test_options_that_say_nothing_of_a_folder(host, asked):
    put(host, "/m", {"a.gguf": SOUND})
    assert "says nothing of a file or folder" in refused(host, "/m", **asked).message


# --- what files say of a model


def traits(keys: dict[str, object], **more: object) -> gguf_traits.Traits:
    import io

    data = gguf_bytes({**LLAMA, **keys}, **more)  # type: ignore[arg-type]
    info = gguf_format.check(io.BytesIO(data), len(data))
    assert isinstance(info, gguf_format.GgufInfo)
    return gguf_traits.traits(info, "x.gguf")


@pytest.mark.parametrize(
    ("keys", "kv_bytes"),
    [
        ({}, 2 * 2 * 16 * 2),
        ({"llama.attention.head_count_kv": 1}, 2 * 1 * 16 * 2),
        ({"llama.attention.head_count_kv": [1, 2]}, None),
        ({"llama.attention.key_length": 32, "llama.attention.value_length": 8}, 2 * 2 * 40),
        ({"llama.block_count": 2**32 - 1}, None),
        ({"llama.embedding_length": 0}, None),
    ],
)
def test_the_kv_cache_follows_from_the_header(keys, kv_bytes):
    assert traits(keys).kv_bytes == kv_bytes


@pytest.mark.parametrize(
    ("file_type", "quantization"),
    [(7, "Q8_0"), (15, "Q4_K_M"), (18, "Q6_K"), (2, "Q4_0"), (9999, "Q4_1")],
)
def test_the_quantization_is_that_of_the_header(file_type, quantization):
    tensors = [("token_embd.weight", (32, 300), 3), ("output_norm.weight", (32,), 0)]
    found = traits({"general.file_type": file_type}, tensors=tensors)
    assert found.quantization == quantization


def test_a_header_without_a_template_is_told():
    assert "no chat template" in traits({"tokenizer.chat_template": ""}).caveats[0]


@pytest.mark.parametrize(
    ("options", "name", "form"),
    [
        (b'{"dtype": "int4", "quantization_config": {"sym": false}}', "x", "INT4_ASYM"),
        (b'{"dtype": "int8"}', "x-int4-ov", "INT8"),
        (b'{"dtype": "other"}', "x-int4-ov", "INT4"),
        (b"[1]", "x-FP16-ov", "FP16"),
        (b"no json", "x", "unknown"),
        (b"[" * 100_000, "x", "unknown"),
    ],
)
def test_the_form_of_an_ir(options, name, form):
    texts = {**CONFIG, "openvino_config.json": options}
    assert ir_traits.traits(name, 10**9, texts).quantization == form


def test_parameters_that_nobody_states_are_estimated_and_said_to_be():
    found = ir_traits.traits("model-int4-ov", 4_500_000_000, CONFIG)
    assert found.parameters == "8B"
    assert "estimated" in found.caveats[0]
    assert found.devices == (Device.CPU, Device.GPU)


# --- addresses


class Files(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server on loopback with one file; it knows no ranges."""
    monkeypatch.setenv("NO_PROXY", "*")
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "Tiny-Q4_1.gguf").write_bytes(SOUND)
    (folder / "page.gguf").write_bytes(b"<html>sign in</html>" * 40)

    def handler(*args: object) -> Files:
        return Files(*args, directory=str(folder))  # type: ignore[arg-type]

    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


STATED = {"size": len(SOUND), "sha256": SHA256}


def test_an_address_is_pinned_by_what_the_user_states(host, address):
    mirror = "https://mirror.example/deep/Tiny-Q4_1.gguf"
    found = pin(
        host,
        f"{address}/Tiny-Q4_1.gguf",
        mirrors=(mirror,),
        license="MIT",
        size=len(SOUND),
        sha256=SHA256.upper(),
    )
    model = found.model
    assert model.source == HttpsSource(kind="https", bases=(address, "https://mirror.example/deep"))
    assert [(one.path, one.sha256) for one in model.files] == [("Tiny-Q4_1.gguf", SHA256)]
    assert (model.id, model.trust, model.license.id) == ("tiny-q4_1", Trust.PINNED, "MIT")
    assert fetch_model(host, "/models", model).manifest.files[0].sha256 == SHA256


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, "--size and --sha256 must be given"),
        ({"size": 5}, "--sha256 must be given"),
        ({"sha256": SHA256}, "--size must be given"),
        ({"size": 5, "sha256": "abc"}, "is no sha256"),
        ({"size": 0, "sha256": SHA256}, "is no size"),
        ({**STATED, "mirrors": ("https://a/other.gguf",)}, "ends in another name"),
        ({**STATED, "mirrors": ("http://a/x.gguf",)}, "is not https"),
        ({**STATED, "file": "x.gguf"}, "--file: says nothing of an address"),
    ],
)
def test_what_an_address_must_state(host, asked, says):
    error = refused(host, "https://a.example/x.gguf", **asked)
    assert says in error.message
    assert error.exit_code is ExitCode.BAD_INPUT


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://a.example/x.gguf", "is not https"),
        ("https://user:pass@a.example/x.gguf", "holds a name or a password"),
        ("https://a.example/x.gguf?token=1", "must be plain"),
        ("https://a.example/", "ends in no plain file name"),
        ("https://a.example", "ends in no plain file name"),
        ("https://a.example/..", "ends in no plain file name"),
        ("https://a.example/%2e%2e%2fx.gguf", "ends in no plain file name"),
        ("https://a.example/a%0ab.gguf", "ends in no plain file name"),
        ("https://a.example/a%1b.gguf", "ends in no plain file name"),
        ("https://a.example/x.safetensors", "serves a .gguf file alone"),
        ("https://a.example/x-00001-of-00002.gguf", "is a part of a GGUF"),
    ],
)
def test_addresses_that_are_none(host, url, says):
    error = refused(host, url, **STATED)
    assert says in error.message
    assert "pass" not in error.message.replace("password", "")


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [
        ("Tiny-Q4_1.gguf", len(SOUND) + 1000, "the answer ended"),
        ("Tiny-Q4_1.gguf", len(SOUND) - 32, "truncated"),
        ("page.gguf", 800, "does not begin with GGUF"),
        ("none.gguf", 800, "status 404"),
    ],
)
def test_what_lies_at_an_address(host, address, name, size, says, monkeypatch):
    monkeypatch.setattr("local_opus.pinning.reading._PAUSE", 0.0)
    assert says in refused(host, f"{address}/{name}", size=size, sha256=SHA256).message


def test_no_network(host, monkeypatch):
    monkeypatch.setattr("local_opus.pinning.reading._PAUSE", 0.0)
    error = refused(host, "http://127.0.0.1:9/x.gguf", **STATED)
    assert "127.0.0.1:9/x.gguf" in error.message
    assert "network" in error.remedy
