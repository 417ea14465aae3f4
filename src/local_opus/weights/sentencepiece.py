"""The structure check of a SentencePiece model, the tokenizer.model of many families.

Field numbers: ``src/sentencepiece_model.proto`` of google/sentencepiece at 03dad83.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from local_opus.values import Verdict
from local_opus.weights.protobuf import LENGTH, Wire
from local_opus.weights.structure import Refusal, RefusedError, corrupt

#: Bytes of a model at most; the largest vocabulary, of 262,144 pieces, has 4.7 MB.
MAX_SIZE = 64 * 1024 * 1024
_PIECES = 1
_TEXT = 1
#: Messages of the model that are not pieces.
_SPECS = range(2, 6)


@dataclass(frozen=True)
class SentencePieceInfo:
    """What a sound model says of itself."""

    pieces: int

    def summary(self) -> dict[str, int | str | bool | None]:
        """Return the facts that a manifest records."""
        return {"format": "sentencepiece", "tokens": self.pieces}


def check(stream: BinaryIO, size: int) -> SentencePieceInfo | Refusal:
    """Check the model of ``size`` bytes at the start of ``stream``.

    Raises OSError as reading does, and nothing else.
    """
    if size > MAX_SIZE:
        return Refusal(Verdict.UNSAFE, f"{size} bytes of tokenizer; at most {MAX_SIZE} are sane")
    wire, pieces = Wire(stream, size), 0
    try:
        while wire.position < size:
            number, form, length = wire.field(size)
            if number == _PIECES and form == LENGTH:
                _check_piece(wire, wire.position + length)
                pieces += 1
            elif number in _SPECS and form != LENGTH:
                raise corrupt(f"the field before byte {wire.position} should hold a message")
            elif form == LENGTH:
                wire.skip(length)
        if not pieces:
            raise corrupt("it has no pieces")
    except RefusedError as error:
        return error.refusal
    return SentencePieceInfo(pieces)


def _check_piece(wire: Wire, end: int) -> None:
    has_text = False
    while wire.position < end:
        number, form, length = wire.field(end)
        if form == LENGTH:
            has_text = has_text or (number == _TEXT and length > 0)
            wire.skip(length)
    if not has_text:
        raise corrupt(f"the piece before byte {end} is empty")
