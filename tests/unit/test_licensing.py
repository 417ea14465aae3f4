"""Licences that are not free, and models that a hub guards: told before anything is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from builders import gguf_bytes, wheel_model
from fakes import FakeHost
from local_opus import licensing, planner
from local_opus.actions import build
from local_opus.apply import Applier
from local_opus.catalog import load
from local_opus.catalog.licenses import is_free, page
from local_opus.errors import BadInputError, ExitCode, LocalOpusError
from local_opus.host.hub_token import hub_token
from local_opus.journal import Journal
from local_opus.locations import Locations
from local_opus.receipts import Receipt
from local_opus.values import HttpsSource, HubSource, License, LocalSource, Model

SOUND = gguf_bytes()


def model(license_id: str, **more: object) -> Model:
    return wheel_model(SOUND).model_copy(update={"license": License(id=license_id), **more})


@pytest.mark.parametrize(
    ("license_id", "free"),
    [
        *((one, True) for one in ("Apache-2.0", "apache-2.0", "MIT", "bsd-3-clause", "cc-by-4.0")),
        *(
            (one, True)
            for one in ("CC0-1.0", "mpl-2.0", "gpl-3.0", "AGPL-3.0", "MIT AND Apache-2.0")
        ),
        *((one, False) for one in ("llama3", "llama3.1", "llama3.2", "gemma", "qwen-research")),
        *((one, False) for one in ("cc-by-nc-4.0", "openrail", "bigscience-openrail-m", "other")),
        *(
            (one, False)
            for one in ("unknown", "", "MIT AND llama3.1", "MIT OR llama3.1", "mit-like")
        ),
    ],
)
def test_which_licences_are_free(license_id, free):
    assert is_free(license_id) is free


def test_the_catalog_says_of_every_model_what_it_asks():
    asking = {one.license.id for one in load().models if not is_free(one.license.id)}
    assert asking == {"MIT AND llama3.1", "llama3", "llama3.1", "llama3.2", "qwen-research"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (HubSource(kind="hub", repo="a/b", revision=None), "https://huggingface.co/a/b"),
        (HttpsSource(kind="https", bases=("https://a.example/m",)), "https://a.example/m"),
        (LocalSource(kind="local", folder="/srv/m"), "/srv/m"),
    ],
)
def test_where_the_terms_are(source, expected):
    assert page(model("llama3", source=source)) == expected


def fetched(host: FakeHost, places: Locations, wanted: Model) -> None:
    folder = f"{places.models}/tiny/gguf-q4_1"
    host.files.make_folders(folder)
    host.files.write_atomic(f"{folder}/weights.json", b"{}")


def test_what_must_be_accepted(host, places):
    found = licensing.terms(host, places, model("llama3"))
    assert found is not None
    assert (found.model, found.license) == ("tiny", "llama3")
    refusal = found.refusal()
    assert refusal.exit_code is ExitCode.BAD_INPUT
    assert refusal.message.startswith("tiny: its licence llama3 is not a free one")
    assert "--accept-license" in refusal.remedy
    assert found.page in refusal.remedy


@pytest.mark.parametrize("license_id", ["Apache-2.0", "mit"])
def test_a_free_licence_asks_nothing(host, places, license_id):
    assert licensing.terms(host, places, model(license_id)) is None
    assert licensing.agreed(host, places, model(license_id), now=True) is None


def test_what_is_in_the_store_asks_nothing(host, places):
    fetched(host, places, model("llama3"))
    assert licensing.terms(host, places, model("llama3")) is None
    assert licensing.agreed(host, places, model("llama3"), now=False) is None


def journal(host: FakeHost, places: Locations) -> Journal:
    host.files.make_folders(places.state)
    return Journal(host, Receipt(host, places.receipt), build, places.roots)


def accept(host: FakeHost, places: Locations, wanted: Model, monkeypatch) -> None:
    stored = type("Stored", (), {"manifest_sha256": "0" * 64})
    monkeypatch.setattr("local_opus.actions.fetch_weights.fetch_model", lambda *_, **__: stored)
    params = {"model": wanted.model_dump(mode="json"), "store": places.models}
    params["license_accepted"] = licensing.agreed(host, places, wanted, now=True)
    Applier(journal(host, places)).ensure(planner.planned("weights", "fetch_weights", params))


def test_a_consent_is_kept_in_the_receipt(host, places, monkeypatch):
    accept(host, places, model("llama3"), monkeypatch)
    (entry,) = Receipt(host, places.receipt).history.entries
    assert entry.params["license_accepted"] == "llama3"
    assert entry.after == {"manifest_sha256": "0" * 64, "license_accepted": "llama3"}
    assert licensing.terms(host, places, model("llama3")) is None
    assert licensing.agreed(host, places, model("llama3"), now=False) == "llama3"


@pytest.mark.parametrize("other", [model("llama3.1"), model("llama3", id="small")])
def test_a_consent_holds_for_one_licence_of_one_model(host, places, monkeypatch, other):
    accept(host, places, model("llama3"), monkeypatch)
    assert licensing.terms(host, places, other) is not None
    with pytest.raises(BadInputError):
        licensing.agreed(host, places, other, now=False)


# --- gated models


GATED = model(
    "MIT",
    license=License(id="MIT", gated=True),
    source=HubSource(kind="hub", repo="a/b", revision=None),
)


def test_a_gated_model_without_a_token_is_refused(host, places):
    with pytest.raises(BadInputError) as caught:
        licensing.require_token(host, places, GATED)
    assert caught.value.message == "tiny: is gated on the hub, and no token is set"
    assert "https://huggingface.co/a/b" in caught.value.remedy
    assert "HF_TOKEN" in caught.value.remedy


def test_a_token_opens_it(tmp_path, places):
    host = FakeHost(tmp_path, {"HOME": "/home/user", "HF_TOKEN": "hf_x"})
    licensing.require_token(host, places, GATED)


def test_what_is_in_the_store_needs_no_token(host, places):
    fetched(host, places, GATED)
    licensing.require_token(host, places, GATED)


def test_a_model_that_is_not_gated_needs_no_token(host, places):
    licensing.require_token(host, places, GATED.model_copy(update={"license": License(id="MIT")}))


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"HF_TOKEN_PATH": "{}/t"}, "t"),
        ({"HF_HOME": "{}/hf"}, "hf/token"),
        ({"XDG_CACHE_HOME": "{}/c"}, "c/huggingface/token"),
        ({"HOME": "{}"}, ".cache/huggingface/token"),
    ],
)
def test_the_tokens_file(tmp_path: Path, environ, path):
    environ = {name: value.format(tmp_path) for name, value in environ.items()}
    assert hub_token(environ) is None
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text("hf_file\n")
    assert hub_token(environ) == "hf_file"
    assert hub_token(environ | {"HF_TOKEN": " hf_variable "}) == "hf_variable"
    (tmp_path / path).write_text("\n")
    assert hub_token(environ) is None


@pytest.mark.parametrize("word", ["hf_secret\nmore", "hf_secret more", "hf_sécret", "hf_secret\0"])
def test_what_is_no_token_is_refused_and_not_repeated(tmp_path: Path, word):
    (tmp_path / "token").write_text(word)
    for environ in ({"HF_TOKEN": word}, {"HF_HOME": str(tmp_path)}):
        with pytest.raises(BadInputError, match="holds no token") as caught:
            hub_token(environ)
        assert "cret" not in caught.value.message + caught.value.remedy


def test_a_tokens_file_that_cant_be_read_is_named(tmp_path: Path):
    (tmp_path / "token").mkdir()
    with pytest.raises(LocalOpusError, match=f"{tmp_path}/token: is a directory"):
        hub_token({"HF_HOME": str(tmp_path)})


def test_no_home_is_no_token():
    assert hub_token({}) is None


@pytest.mark.parametrize("word", ["hf_a\nX-Other: 1", "hf_\u2603", "hf a", "\x00" * 9, "a" * 5000])
def test_what_is_no_token_is_refused_and_not_shown(tmp_path: Path, word):
    (tmp_path / "t").write_text(word)
    for environ in ({"HF_TOKEN": word}, {"HF_TOKEN_PATH": f"{tmp_path}/t"}):
        with pytest.raises(BadInputError, match="holds no token") as caught:
            hub_token(environ)
        assert word not in f"{caught.value.message}{caught.value.remedy}"
