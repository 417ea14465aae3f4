"""The checks of the files beside the weights, by their names."""

from __future__ import annotations

import base64
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import field, sentencepiece_bytes, tokenizer_json
from local_opus.values import Verdict
from local_opus.weights import sentencepiece, tokenizer
from local_opus.weights.structure import Refusal
from local_opus.weights.tokenizer_json import MAX_TEMPLATE

RANKS = b"".join(base64.b64encode(bytes([n])) + b" %d\n" % n for n in range(200))


def check(name: str, content: bytes | object) -> object:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return tokenizer.check(name, io.BytesIO(data), len(data))


SOUND: dict[str, tuple[str, bytes | object, str]] = {
    "byte pairs": ("tokenizer.json", tokenizer_json(), "tokenizer BPE"),
    "byte pairs as pairs": (
        "tokenizer.json", tokenizer_json(merges=[["a", "b"], ["ab", "c"]]), "tokenizer BPE",
    ),
    "a prefix that merges drop": (
        "tokenizer.json",
        tokenizer_json(
            vocab={"a": 0, "##b": 1, "ab": 2}, merges=["a ##b"], continuing_subword_prefix="##"
        ),
        "tokenizer BPE",
    ),
    "scores": (
        "tokenizer.json", tokenizer_json(type="Unigram", vocab=[["<unk>", 0], ["a", -1.5]], merges=[]),
        "tokenizer Unigram",
    ),
    "no type, as old files": (
        "tokenizer.json", {"model": {"vocab": {"a": 0}, "merges": []}}, "tokenizer",
    ),
    "ids with gaps": (
        "tokenizer.json", tokenizer_json(vocab={"a": 0, "b": 9, "ab": 40_000}, merges=[]),
        "tokenizer BPE",
    ),
    "another library's": ("tokenizer.json", {"class_name": "Tokenizer", "config": {}}, "JSON"),
    "a config": ("config.json", {"model_type": "llama"}, "JSON"),
    "a template in a config": ("tokenizer_config.json", {"chat_template": "{{ x }}"}, "JSON"),
    "named templates": (
        "tokenizer_config.json", {"chat_template": [{"name": "tools", "template": "{{ x }}"}]}, "JSON",
    ),
    "no template": ("tokenizer_config.json", {"chat_template": None}, "JSON"),
    "a template": ("chat_template.jinja", "{% for m in messages %}ü{% endfor %}".encode(), "chat template"),
    "a template in a folder": ("additional_chat_templates/my_chat_template.jinja", b"x", "chat template"),
    "a template as JSON": ("chat_template.json", {"chat_template": "{{ x }}"}, "JSON"),
    "special tokens": (
        "special_tokens_map.json", {"eos_token": {"content": "</s>"}, "pad_token": "x", "y": [], "z": None},
        "JSON",
    ),
    "a vocabulary": ("vocab.json", {"a": 0, "b": 1}, "vocabulary"),
    "a vocabulary a language": ("vocab.json", {"eng": {"a": 0}, "deu": {"a": 0}}, "vocabulary"),
    "added tokens": ("added_tokens.json", {"<|end|>": 7}, "vocabulary"),
    "merges": ("merges.txt", "#version: 0.2\nĠ t\nh e\n".encode(), "vocabulary"),
    "words": ("vocab.txt", b"[PAD]\n[unused0]\n\x1b\n", "vocabulary"),
    "SentencePiece": ("tokenizer.model", sentencepiece_bytes("<unk>", "a", "b"), "sentencepiece"),
    "SentencePiece by another name": ("source.spm", sentencepiece_bytes("a"), "sentencepiece"),
    "tiktoken": ("tokenizer.model", RANKS, "tiktoken"),
    "tiktoken by its name": ("gpt2.tiktoken", RANKS, "tiktoken"),
    "any JSON": ("modules.json", [1, 2], "JSON"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "words"), SOUND.values(), ids=SOUND.keys())
def test_a_sound_file_tells_what_it_is(name, content, words):
    answer = check(name, content)
    assert not isinstance(answer, Refusal | None)
    assert answer.summary()["format"] == words


def test_other_names_are_not_checked():
    assert check("README.md", b"\xff") is None
    assert check("final.model", b"any") is None


VOCAB = {"a": 0, "b": 1, "ab": 2, "c": 3, "abc": 4}
REFUSED: dict[str, tuple[str, bytes | object, str]] = {
    "no object": ("tokenizer.json", [1], "no object"),
    "an empty tokenizer": ("tokenizer.json", {}, "model"),
    "no model": ("tokenizer.json", {"added_tokens": []}, "model"),
    "a type that is no text": ("tokenizer.json", tokenizer_json(type=3), "type"),
    "no vocabulary": ("tokenizer.json", {"model": {"type": "BPE"}}, "vocab is missing"),
    "an empty vocabulary": ("tokenizer.json", tokenizer_json(vocab={}, merges=[]), "empty"),
    "an id twice": ("tokenizer.json", tokenizer_json(vocab={**VOCAB, "d": 4}), "same id"),
    "a negative id": ("tokenizer.json", tokenizer_json(vocab={**VOCAB, "d": -1}), "id of 'd'"),
    "an id in words": ("tokenizer.json", tokenizer_json(vocab={**VOCAB, "d": "5"}), "id of 'd'"),
    "an id that is true": ("tokenizer.json", tokenizer_json(vocab={"a": True}, merges=[]), "id of"),
    "an id far off": ("tokenizer.json", tokenizer_json(vocab={**VOCAB, "d": 1 << 40}), "id of 'd'"),
    "a merge of a token that lacks": ("tokenizer.json", tokenizer_json(merges=["a d"]), "not in"),
    "a merge into a token that lacks": ("tokenizer.json", tokenizer_json(merges=["b a"]), "not in"),
    "a merge of three": ("tokenizer.json", tokenizer_json(merges=["a b c"]), "two tokens"),
    "a merge of numbers": ("tokenizer.json", tokenizer_json(merges=[[1, 2]]), "two tokens"),
    "merges that are none": ("tokenizer.json", tokenizer_json(merges={"a": "b"}), "no list"),
    "a score in words": (
        "tokenizer.json", tokenizer_json(type="Unigram", vocab=[["a", "b"]], merges=[]), "entry 0",
    ),
    "an added token without an id": (
        "tokenizer.json", {**tokenizer_json(), "added_tokens": [{"content": "x"}]}, "added token 0",
    ),
    "a config that is a list": ("config.json", [], "no object"),
    "generation that is text": ("generation_config.json", "x", "no object"),
    "a template that is a number": ("tokenizer_config.json", {"chat_template": 3}, "no text"),
    "a template that is too long": (
        "tokenizer_config.json", {"chat_template": "x" * (MAX_TEMPLATE + 1)}, "characters",
    ),
    "a template of control characters": ("chat_template.jinja", b"{{ x }}\0", "control"),
    "a template that is no text": ("chat_template.jinja", b"{{ \xff }}", "UTF-8"),
    "a template that lacks": ("chat_template.json", {"template": "x"}, "missing"),
    "a special token that is a number": ("special_tokens_map.json", {"eos_token": 3}, "eos_token"),
    "a vocabulary's id twice": ("vocab.json", {"a": 0, "b": 0}, "same id"),
    "a vocabulary's negative id": ("added_tokens.json", {"a": -1}, "negative"),
    "a vocabulary that is a number": ("vocab.json", 3, "neither"),
    "merges of one token": ("merges.txt", b"#version\na b\nc\n", "two tokens"),
    "words that are no text": ("vocab.txt", b"a\n\xff\xfe\n", "UTF-8"),
    "a rank that lacks": ("x.tiktoken", RANKS + b"YQ==\n", "not a token"),
    "tiktoken with a broken line": ("tokenizer.model", RANKS + b"\xff\xff\n", "not a token"),
    "SentencePiece without pieces": ("tokenizer.model", field(2, b""), "no pieces"),
    "a piece without text": ("tokenizer.model", field(1, field(3, 1)), "empty"),
    "SentencePiece cut": ("tokenizer.model", sentencepiece_bytes("a", "b")[:-3], "file has"),
    "noise": ("tokenizer.model", b"\x0f\xff" * 50, "wire type"),
    "a text": ("tokenizer.model", b"Entry not found", ""),
    "broken JSON": ("config.json", b'{"a": ', "no JSON"),
    "JSON of 100,000 brackets": ("tokenizer.json", b"[" * 100_000, "no JSON"),
    "JSON with a long number": ("config.json", b'{"a": ' + b"9" * 10_000 + b"}", "no JSON"),
    "JSON that is no text": ("config.json", b'{"a": "\xff"}', "no JSON"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_broken_file_is_refused(name, content, words):
    answer = check(name, content)
    assert isinstance(answer, Refusal)
    assert answer.verdict in {Verdict.CORRUPT, Verdict.TRUNCATED}
    assert words in answer.reason
    assert answer.reason.isprintable()


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "chat_template.jinja", "vocab.txt", "tokenizer.model", "x.spm"]
)
def test_a_file_beyond_all_sizes_is_not_read(name):
    class Unread(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise AssertionError

        readline = read  # type: ignore[assignment]

    answer = tokenizer.check(name, Unread(), 60_000_000)
    assert isinstance(answer, Refusal)
    assert answer.verdict is Verdict.UNSAFE


@pytest.mark.parametrize("place", range(0, 300, 7))
def test_a_tokenizer_with_one_byte_changed_never_raises(place):
    data = bytearray(json.dumps(tokenizer_json()).encode())
    data[place % len(data)] ^= 0x55
    assert check("tokenizer.json", bytes(data)) is not None


@given(st.binary(max_size=200))
def test_random_bytes_never_raise(data):
    for name in ("tokenizer.json", "tokenizer.model", "merges.txt", "x.tiktoken", "x.index.json"):
        check(name, data)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["model", "vocab", "merges", "type", "added_tokens", "chat_template",
                         "weight_map", "metadata", "total_size", "template", "content", "id", "a"]),
        inner, max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip


@given(VALUES)
def test_any_json_never_raises(value):
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.json", "vocab.json",
                 "special_tokens_map.json", "config.json", "model.safetensors.index.json"):  # fmt: skip
        check(name, value)


def test_pieces_are_counted_with_their_scores():
    data = sentencepiece_bytes("<unk>", "▁the", "\x00")
    info = sentencepiece.check(io.BytesIO(data), len(data))
    assert info == sentencepiece.SentencePieceInfo(3)
