"""Text that stays text: what a user writes never becomes one of the model's special tokens.

A chat template puts messages between special tokens such as ``<|im_end|>``, and the tokenizer finds
those anywhere in the rendered prompt, also inside a message. A message that holds them could end
its own turn and speak as the system. The tokenizer has no setting for it, but it takes text in
parts: so a mark that nobody can guess is put inside every special token of a message, the template
renders it, and the parts between the marks are encoded each for itself.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from local_opus.runtime.engine_protocol import ChatMessage

#: Parts that are encoded at once; they are padded to the longest, so parts of one length go
#: together.
BATCH = 256
#: Random bytes of a mark.
_MARK_BYTES = 16


class _Encoded(Protocol):
    """``openvino_genai.TokenizedInputs``."""

    @property
    def input_ids(self) -> _Tensor: ...
    @property
    def attention_mask(self) -> _Tensor: ...


class _Tensor(Protocol):
    @property
    def data(self) -> npt.NDArray[np.int64]: ...


class Tokenizer(Protocol):
    """What is used of ``openvino_genai.Tokenizer``."""

    def encode(self, prompts: list[str], *, add_special_tokens: bool) -> _Encoded:
        """Return the tokens of texts, padded to the longest."""

    def decode(self, tokens: list[list[int]], *, skip_special_tokens: bool) -> list[str]:
        """Return the texts of lists of tokens."""


class Marker:
    """Splits special tokens in messages."""

    def __init__(self, specials: Iterable[str]) -> None:
        # The longest first is not needed: where one begins, the mark comes after its first
        # character, so it is inside of every other that begins there.
        names = "|".join(map(re.escape, specials))
        self._begins = re.compile(f"(?={names})") if names else None

    def mark(self, messages: Sequence[ChatMessage]) -> tuple[list[ChatMessage], str | None]:
        """Return the messages to render, and the mark in them; None: there is nothing to mark."""
        if self._begins is None or not any(self._begins.search(m["content"]) for m in messages):
            return list(messages), None
        mark = secrets.token_hex(_MARK_BYTES)
        return [{**m, "content": self._marked(m["content"], mark)} for m in messages], mark

    def _marked(self, text: str, mark: str) -> str:
        if self._begins is None:
            return text
        cuts = [match.start() + 1 for match in self._begins.finditer(text)]
        return mark.join(text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True))


def special_tokens(tokenizer: Tokenizer, vocabulary: Mapping[bytes, int]) -> frozenset[str]:
    """Return the names of the tokens that are not text: decoding can leave them out."""
    # Bytes that are no character decode to nothing too; a name of one character can't be split.
    names = {}
    for name, token in vocabulary.items():
        try:
            text = name.decode()
        except UnicodeDecodeError:
            continue
        if len(text) > 1:
            names[text] = token
    shown = tokenizer.decode([[token] for token in names.values()], skip_special_tokens=True)
    return frozenset(name for name, text in zip(names, shown, strict=True) if not text)


def encode_parts(tokenizer: Tokenizer, parts: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the tokens of ``parts``, one after the other, in the shape [1, tokens]."""
    import numpy as np

    order = sorted(range(len(parts)), key=lambda index: len(parts[index]))
    found: dict[int, npt.NDArray[np.int64]] = {}
    for start in range(0, len(order), BATCH):
        indexes = order[start : start + BATCH]
        encoded = tokenizer.encode([parts[index] for index in indexes], add_special_tokens=False)
        rows = zip(indexes, encoded.input_ids.data, encoded.attention_mask.data, strict=True)
        found.update({index: row[mask != 0] for index, row, mask in rows})
    return np.concatenate([found[index] for index in range(len(parts))])[np.newaxis]
