"""What the JSON files of a model must hold, by their names.

Sources: the serialization of huggingface/tokenizers (``tokenizer.json``) and the loaders of
huggingface/transformers for the others. Only what every real file keeps to is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from local_opus.weights.structure import corrupt, printable

#: Characters of a chat template at most; the longest have about 20,000.
MAX_TEMPLATE = 1024 * 1024
#: An id is sane below this many times the tokens: gaps are reserved for later ones.
_MAX_GAPS = 4
_SMALL = 65_536
#: Keys that only a file of the tokenizers library has.
_OURS = frozenset({"added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder"})


@dataclass(frozen=True)
class JsonInfo:
    """What a sound file says of itself; ``tokens`` is None where it lists none."""

    format: str
    tokens: int | None = None

    def summary(self) -> dict[str, int | str | bool | None]:
        """Return the facts that a manifest records."""
        found: dict[str, int | str | bool | None] = {"format": self.format}
        if self.tokens is not None:
            found["tokens"] = self.tokens
        return found


def _object(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise corrupt(f"{what} is no object")
    return value


def _config(value: object) -> JsonInfo:
    _object(value, "the config")
    return JsonInfo("JSON")


def _tokenizer(value: object) -> JsonInfo:
    tokenizer = _object(value, "the tokenizer")
    if "model" not in tokenizer and tokenizer and not _OURS & tokenizer.keys():
        return JsonInfo("JSON")  # a tokenizer of another library
    model = _object(tokenizer.get("model"), "model")
    kind = model.get("type", "")
    if not isinstance(kind, str):
        raise corrupt("model.type is no text")
    vocab = model.get("vocab")
    if isinstance(vocab, dict):
        _check_ids(vocab, "model.vocab")
        _check_merges(model, vocab)
    elif isinstance(vocab, list):
        _check_scores(vocab)
    else:
        raise corrupt("model.vocab is missing")
    if not vocab:
        raise corrupt("model.vocab is empty")
    _check_added(tokenizer.get("added_tokens", []))
    return JsonInfo(f"tokenizer {printable(kind, 20)}".strip(), len(vocab))


def _check_ids(vocab: dict[str, object], what: str) -> None:
    """Refuse ids that are no counts, that two tokens share, or far above the tokens' number."""
    most = _MAX_GAPS * len(vocab) + _SMALL
    for token, number in vocab.items():
        if type(number) is not int or not 0 <= number < most:
            shown = printable(repr(number), 40)
            raise corrupt(f"{what}: the id of {printable(token, 40)!r} is {shown}")
    if len(set(vocab.values())) < len(vocab):
        raise corrupt(f"{what}: two tokens have the same id")


def _check_merges(model: dict[str, object], vocab: dict[str, object]) -> None:
    """Refuse merges of tokens that the vocabulary lacks: the library does not load them either."""
    merges = model.get("merges", [])
    if not isinstance(merges, list):
        raise corrupt("model.merges is no list")
    prefix = model.get("continuing_subword_prefix")
    cut = len(prefix) if isinstance(prefix, str) else 0
    for number, merge in enumerate(merges):
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2:  # noqa: PLR2004 - a pair
            raise corrupt(f"merge {number} is {printable(repr(merge), 40)}, not two tokens")
        left, right = pair
        if not isinstance(left, str) or not isinstance(right, str):
            raise corrupt(f"merge {number} is {printable(repr(merge), 40)}, not two tokens")
        if left not in vocab or right not in vocab or left + right[cut:] not in vocab:
            raise corrupt(f"merge {number} has a token that is not in model.vocab")


def _check_scores(vocab: list[object]) -> None:
    for number, entry in enumerate(vocab):
        if (
            not isinstance(entry, list)
            or len(entry) != 2  # noqa: PLR2004 - a token and its score
            or not isinstance(entry[0], str)
            or type(entry[1]) not in {int, float}
        ):
            shown = printable(repr(entry), 40)
            raise corrupt(f"model.vocab: entry {number} is {shown}, not a token and its score")


def _check_added(added: object) -> None:
    if not isinstance(added, list):
        raise corrupt("added_tokens is no list")
    for number, entry in enumerate(added):
        token = _object(entry, f"added token {number}")
        identity = token.get("id")
        if type(identity) is not int or identity < 0 or not isinstance(token.get("content"), str):
            raise corrupt(f"added token {number} has no id and content")


def _tokenizer_config(value: object) -> JsonInfo:
    config = _object(value, "the tokenizer's config")
    template = config.get("chat_template")
    if template is None:
        return JsonInfo("JSON")
    named = template if isinstance(template, list) else [{"template": template}]
    for entry in named:
        text = _object(entry, "a chat template").get("template")
        if not isinstance(text, str):
            raise corrupt("a chat template is no text")
        if len(text) > MAX_TEMPLATE:
            raise corrupt(f"a chat template has {len(text)} characters")
    return JsonInfo("JSON")


def _chat_template(value: object) -> JsonInfo:
    config = _object(value, "the chat template")
    if "chat_template" not in config:
        raise corrupt("chat_template is missing")
    return _tokenizer_config(config)


def _vocab(value: object) -> JsonInfo:
    """Check a vocab.json or added_tokens.json; some hold a vocabulary a language, or a list."""
    if not isinstance(value, dict | list):
        raise corrupt("the vocabulary is neither an object nor a list")
    if isinstance(value, dict) and value and all(type(item) is int for item in value.values()):
        ids = list(value.values())
        if min(ids) < 0:
            raise corrupt("the vocabulary has a negative id")
        if len(set(ids)) < len(ids):
            raise corrupt("the vocabulary: two tokens have the same id")
    return JsonInfo("vocabulary", len(value))


def _special_tokens(value: object) -> JsonInfo:
    for key, token in _object(value, "the map of special tokens").items():
        if not isinstance(token, str | dict | list) and token is not None:
            raise corrupt(f"{printable(key, 40)!r} is no token")
    return JsonInfo("JSON")


#: By a file's name, in lower case.
CHECKS: dict[str, Callable[[object], JsonInfo]] = {
    "tokenizer.json": _tokenizer,
    "tokenizer_config.json": _tokenizer_config,
    "chat_template.json": _chat_template,
    "special_tokens_map.json": _special_tokens,
    "vocab.json": _vocab,
    "added_tokens.json": _vocab,
    "config.json": _config,
    "generation_config.json": _config,
    "adapter_config.json": _config,
    "preprocessor_config.json": _config,
}
