"""The server's settings: one strict JSON file."""

from __future__ import annotations

import json

import pytest

from local_opus.errors import BadInputError
from local_opus.server.settings import load, parse

GOOD = {"schema_version": 1, "model": "m", "model_folder": "/m", "context_length": 8192}


def test_what_is_not_said_is_safe():
    settings = parse(json.dumps(GOOD), "server.json")
    assert (settings.host, settings.port, settings.device) == ("127.0.0.1", 8000, "CPU")
    assert settings.allowed_origins == ()


BAD = {
    "schema_version": 2,
    "host": "a b",
    "port": 65536,
    "allowed_hosts": ["x/y"],
    "allowed_origins": ["example.com"],
    "model": "../../x",
    "model_folder": "models",
    "weights_digest": "abc",
    "device": "cpu; rm",
    "context_length": 0,
    "cache_size_gb": 0,
    "max_concurrent": 0,
    "max_queue": -1,
    "prefix_caching": "yes",
    "openvino": [],
    "max_body_bytes": 1,
    "max_messages": 0,
    "log_level": "loud",
}


@pytest.mark.parametrize(("field", "value"), BAD.items())
def test_a_bad_value_names_file_and_field(field, value):
    with pytest.raises(BadInputError) as caught:
        parse(json.dumps({**GOOD, field: value}), "/etc/server.json")
    assert caught.value.message.startswith(f"/etc/server.json: {field}")
    assert caught.value.remedy


BAD_GENERATION = {
    "temperature": 2.1,
    "top_p": 0,
    "top_k": 0,
    "repetition_penalty": 0,
    "max_tokens": 0,
}


@pytest.mark.parametrize(("field", "value"), BAD_GENERATION.items())
def test_a_bad_default_names_its_field(field, value):
    with pytest.raises(BadInputError, match=f"generation.{field}: "):
        parse(json.dumps({**GOOD, "generation": {field: value}}), "server.json")


@pytest.mark.parametrize(
    ("extra", "near"),
    [({"prot": 1}, "port"), ({"generation": {"temprature": 1}}, "temperature")],
)
def test_an_unknown_field_names_the_nearest(extra, near):
    with pytest.raises(BadInputError, match=f'Did you mean "{near}"'):
        parse(json.dumps({**GOOD, **extra}), "server.json")


def test_all_errors_are_told():
    with pytest.raises(BadInputError) as caught:
        parse(json.dumps({**GOOD, "port": -1, "model": "X Y"}), "server.json")
    assert len(caught.value.details) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema_version": 1}'])
def test_other_text_is_refused(text):
    with pytest.raises(BadInputError, match=r"server\.json: "):
        parse(text, "server.json")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(BadInputError, match="No such file"):
        load(str(tmp_path / "none.json"))
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInputError, match="UTF-8"):
        load(str(tmp_path / "binary.json"))
