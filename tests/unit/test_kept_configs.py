"""Configs that an install keeps because the user edited them: sound ones, and ones that can't be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus import kept_configs
from local_opus.errors import BadInputError
from local_opus.values import Plan, PlannedAction, Scope

SERVER = "/c/server.json"
TEXTS: dict[str, dict[str, object]] = {
    "server": {"schema_version": 1, "host": "127.0.0.1", "port": 8000, "max_queue": 64, "model_config": "/c/model.json", "generation_config": "/c/generation.json", "openvino_config": "/c/openvino.json"},
    "model": {"schema_version": 1, "model": "m", "name": "M", "quantization": "Q4_1", "license": "MIT", "prompt_format": None, "folder": "/models/m", "device": "CPU", "context_length": None},
    "generation": {"schema_version": 1, "temperature": 0.7, "top_p": 0.95, "max_tokens": 1024},
    "openvino": {"schema_version": 1, "cache_size_gb": 2, "properties": {}},
}  # fmt: skip
PLAN = Plan(
    profile="p", scope=Scope.USER, root="/", model=None, device=None,
    actions=tuple(
        PlannedAction(id=f"config:{name}", kind="write_file", summary="",
                      params={"path": f"/c/{name}.json", "content": json.dumps(text)})
        for name, text in TEXTS.items()
    ),
)  # fmt: skip


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """Its configs are all nonsense."""
    (tmp_path / "root/c").mkdir(parents=True)
    host = FakeHost(tmp_path / "root")
    for name in (*TEXTS, "mine"):
        host.files.write_atomic(f"/c/{name}.json", b"{")
    return host


def write(host: FakeHost, name: str, **fields: object) -> None:
    host.files.write_atomic(f"/c/{name}.json", json.dumps({**TEXTS[name], **fields}).encode())


@pytest.mark.parametrize("edited", [(), ("script:start_local_opus.sh",)])
def test_what_is_written_anew_may_say_anything_now(host, edited):
    kept_configs.require_sound(host, PLAN, SERVER, edited)


def test_what_is_kept_must_make_sense(host):
    write(host, "generation", temperature=0.1)
    kept_configs.require_sound(host, PLAN, SERVER, ["config:generation"])


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("generation", {"temperature": 9}, "/c/generation.json: temperature: "),
        ("model", {"device": "cpu; rm"}, "/c/model.json: device: "),
        ("server", {"prot": 1}, "/c/server.json: prot: unknown key."),
        ("server", {"openvino_config": "/c/mine.json"}, "/c/mine.json: the file: Invalid JSON"),
    ],
)
def test_what_is_kept_and_can_not_be_is_told(host, name, fields, said):
    write(host, name, **fields)
    with pytest.raises(BadInputError) as caught:
        kept_configs.require_sound(host, PLAN, SERVER, [f"config:{name}"])
    assert caught.value.message.startswith(said)


def test_something_else_in_the_place_of_a_config_is_told(host):
    host.files.remove("/c/model.json")
    host.files.make_folder("/c/model.json")
    with pytest.raises(BadInputError, match=r"/c/model\.json: not a regular file"):
        kept_configs.require_sound(host, PLAN, SERVER, ["config:model"])
