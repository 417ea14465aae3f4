"""The four config files, put together: sound ones, and each kind of mistake with its file and field."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from local_opus import server_config
from local_opus.errors import BadInputError
from local_opus.server.settings import Settings

FILES: dict[str, dict[str, Any]] = {
    "/c/server.json": {"schema_version": 1, "host": "127.0.0.1", "port": 8000, "max_queue": 64, "model_config": "/c/model.json", "generation_config": "/c/generation.json", "openvino_config": "/c/openvino.json"},
    "/c/model.json": {"schema_version": 1, "model": "m", "name": "M", "quantization": "Q4_1", "license": "MIT", "prompt_format": None, "folder": "/models/m", "device": "CPU", "context_length": None},
    "/c/generation.json": {"schema_version": 1, "temperature": 0.7, "top_p": 0.95, "max_tokens": 1024},
    "/c/openvino.json": {"schema_version": 1, "cache_size_gb": 2, "properties": {"PERFORMANCE_HINT": "LATENCY"}},
}  # fmt: skip


def load(
    files: dict[str, Any], tokens: Callable[[str], int | None] = lambda _folder: 2048
) -> Settings:
    def read(path: str) -> str:
        if path not in files:
            raise FileNotFoundError(2, "No such file or directory", path)
        content = files[path]
        if isinstance(content, Exception):
            raise content
        return content if isinstance(content, str) else json.dumps(content)

    return server_config.load(
        read, "/c/server.json", lambda folder: server_config.WeightsFacts("ab" * 32, tokens(folder))
    )


def changed(name: str, **fields: Any) -> dict[str, Any]:
    return {**FILES, f"/c/{name}.json": {**FILES[f"/c/{name}.json"], **fields}}


def without(name: str, field: str) -> dict[str, Any]:
    whole = FILES[f"/c/{name}.json"]
    return {
        **FILES,
        f"/c/{name}.json": {key: value for key, value in whole.items() if key != field},
    }


@pytest.mark.parametrize(
    "device", ["GPU", "GPU.0", "GPU.1", "NPU", "AUTO", "AUTO:GPU.1,CPU", "HETERO:GPU,CPU"]
)
def test_a_device_is_named_in_the_words_of_openvino(device: str) -> None:
    assert load(changed("model", device=device)).device == device


def test_all_that_the_files_say_is_in_the_settings():
    found = load(FILES)
    assert (found.host, found.port, found.max_queue) == ("127.0.0.1", 8000, 64)
    assert (found.model, found.model_folder, found.device) == ("m", "/models/m", "CPU")
    assert found.weights_digest == "ab" * 32
    assert (found.cache_size_gb, found.openvino) == (2, {"PERFORMANCE_HINT": "LATENCY"})
    assert (found.generation.temperature, found.generation.max_tokens) == (0.7, 1024)


def test_requests_at_once_are_those_of_the_file_and_else_as_many_as_before():
    assert load(FILES).max_concurrent == 128
    assert load(changed("server", max_concurrent=4)).max_concurrent == 4


def test_the_names_and_pages_that_may_call_are_those_of_the_file():
    assert (load(FILES).allowed_hosts, load(FILES).allowed_origins) == ((), ())
    found = load(
        changed("server", allowed_hosts=["opus.lan"], allowed_origins=["https://ui.lan:8443"])
    )
    assert found.allowed_hosts == ("opus.lan",)
    assert found.allowed_origins == ("https://ui.lan:8443",)


@pytest.mark.parametrize(
    ("file", "weights", "context"), [(None, 2048, 2048), (512, 2048, 512), (4096, 2048, 2048), (512, None, 512)]
)  # fmt: skip
def test_the_shorter_context_counts(file: int | None, weights: int | None, context: int):
    found = load(changed("model", context_length=file), lambda _folder: weights)
    assert found.context_length == context


def test_the_weights_tell_the_context_length_that_the_file_does_not():
    asked = []

    def tokens(folder: str) -> int:
        asked.append(folder)
        return 4096

    assert load(FILES, tokens).context_length == 4096
    assert set(asked) == {"/models/m"}
    assert load(changed("model", context_length=512), tokens).context_length == 512


def test_a_context_length_that_nothing_tells():
    with pytest.raises(BadInputError, match=r"/c/model\.json: context_length: neither given"):
        load(FILES, lambda _folder: None)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (changed("server", port="8000"), "/c/server.json: port: "),
        (changed("server", prot=1), '/c/server.json: prot: unknown key. Did you mean "port"?'),
        (changed("server", model_config="model.json"), "/c/server.json: model_config: "),
        (changed("server", allowed_hosts=[""]), "/c/server.json: allowed_hosts.0: "),
        (changed("server", allowed_hosts=["http://a"]), "/c/server.json: allowed_hosts.0: "),
        (changed("server", allowed_hosts="opus.lan"), "/c/server.json: allowed_hosts: "),
        (changed("server", allowed_origins=["ui.lan"]), "/c/server.json: allowed_origins.0: "),
        (changed("server", allowed_origins=["https://a/b"]), "/c/server.json: allowed_origins.0: "),
        (changed("server", schema_version=2), "/c/server.json: schema_version: "),
        (changed("server", port=70000), "/c/server.json: port: "),
        (changed("server", port=0), "/c/server.json: port: "),
        (without("server", "openvino_config"), "/c/server.json: openvino_config: "),
        (without("model", "folder"), "/c/model.json: folder: "),
        (changed("model", device="cpu; rm"), "/c/model.json: device: "),
        (changed("model", device="FOO"), "/c/model.json: device: "),
        (changed("model", device="auto"), "/c/model.json: device: "),
        (changed("model", device="AUTO:FOO"), "/c/model.json: device: "),
        (changed("model", model="../../x"), "/c/model.json: model: "),
        (changed("model", context_length=3), "/c/model.json: context_length: "),
        (changed("generation", temperature="hot"), "/c/generation.json: temperature: "),
        (changed("generation", temperature=3), "/c/generation.json: temperature: "),
        (changed("openvino", cache_size_gb=0), "/c/openvino.json: cache_size_gb: "),
        ({**FILES, "/c/generation.json": "{"}, "/c/generation.json: the file: "),
        ({**FILES, "/c/openvino.json": "[]"}, "/c/openvino.json: the file: "),
        ({**FILES, "/c/model.json": ""}, "/c/model.json: the file: "),
        ({}, "/c/server.json: no such file or directory"),
        ({name: text for name, text in FILES.items() if "model" not in name}, "/c/model.json: no such file"),
        ({**FILES, "/c/model.json": IsADirectoryError(21, "Is a directory")}, "/c/model.json: is a directory"),
    ],
)  # fmt: skip
def test_a_mistake_names_its_file_and_field(files, words):
    with pytest.raises(BadInputError) as caught:
        load(files)
    assert caught.value.message.startswith(words)
    assert "\n" not in caught.value.message + caught.value.remedy


def test_every_mistake_of_a_file_is_told_at_once():
    with pytest.raises(BadInputError) as caught:
        load(changed("server", port="x", max_queue=None, hots="h"))
    assert len(caught.value.details) == 2


def test_each_mistake_names_its_own_file():
    name = "/c/generation.json"
    files = {**changed("server", max_queue=-1), name: changed("generation", top_p=2)[name]}
    with pytest.raises(BadInputError) as caught:
        load(files)
    assert caught.value.message.startswith("/c/server.json: max_queue: ")
    assert [line.partition(": ")[0] for line in caught.value.details] == ["/c/generation.json"]


def test_a_file_that_may_not_be_read_is_another_matter():
    with pytest.raises(PermissionError):
        load({**FILES, "/c/model.json": PermissionError(13, "Permission denied", "/c/model.json")})


def test_the_port_can_be_read_where_all_else_is_broken():
    def read(path: str) -> str:
        assert path == "/c/server.json"
        return json.dumps(FILES[path])

    assert server_config.port(read, "/c/server.json") == 8000


@pytest.mark.parametrize("port", [0, -1, 70000])
def test_where_it_listens_is_no_port_that_nobody_can_ask_for(port: int) -> None:
    text = json.dumps(changed("server", port=port)["/c/server.json"])
    with pytest.raises(BadInputError, match=r"/c/server\.json: port: "):
        server_config.listens(lambda _path: text, "/c/server.json")
