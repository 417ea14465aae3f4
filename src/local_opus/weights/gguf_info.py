"""What a sound GGUF says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from local_opus.weights.filler import Run
from local_opus.weights.ggml_types import TYPES_BY_NAME

Scalar = int | float | str


@dataclass(frozen=True)
class Tensor:
    """One tensor: its type's name, its dims (the fastest first) and its extent in the data."""

    name: str
    type: str
    dims: tuple[int, ...]
    offset: int
    bytes: int

    @property
    def elements(self) -> int:
        """Values in the tensor."""
        count = 1
        for dim in self.dims:
            count *= dim
        return count


@dataclass(frozen=True)
class GgufInfo:
    """What a sound GGUF says of itself. ``arrays`` maps a key to its element count."""

    version: int
    values: Mapping[str, Scalar]
    arrays: Mapping[str, int]
    tensors: tuple[Tensor, ...]
    alignment: int
    data_start: int

    def text(self, key: str) -> str | None:
        """Return a key's value where it is a string."""
        value = self.values.get(key)
        return value if isinstance(value, str) else None

    def number(self, key: str) -> int | None:
        """Return a key's value where it is an integer."""
        value = self.values.get(key)
        return value if isinstance(value, int) else None

    @property
    def architecture(self) -> str | None:
        """``general.architecture``, e.g. llama."""
        return self.text("general.architecture")

    @property
    def name(self) -> str | None:
        """``general.name``."""
        return self.text("general.name")

    @property
    def context_length(self) -> int | None:
        """Tokens that the model was made for."""
        return self.number(f"{self.architecture}.context_length")

    @property
    def tokenizer_model(self) -> str | None:
        """``tokenizer.ggml.model``: gpt2 is byte-level BPE, llama is SentencePiece."""
        return self.text("tokenizer.ggml.model")

    @property
    def has_chat_template(self) -> bool:
        """Whether the file carries a chat template."""
        return bool(self.text("tokenizer.chat_template"))

    @property
    def parameters(self) -> int:
        """Values in all tensors."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def quantization(self) -> str:
        """The tensor type that holds the most bytes."""
        held: dict[str, int] = {}
        for tensor in self.tensors:
            held[tensor.type] = held.get(tensor.type, 0) + tensor.bytes
        return max(held, key=lambda name: held[name]) if held else "none"

    def runs(self) -> tuple[Run, ...]:
        """Return the floating-point numbers in the data: plain values and blocks' scales."""
        return tuple(
            Run(
                tensor.name,
                form,
                self.data_start + tensor.offset + place,
                kind.size,
                tensor.elements // kind.block,
            )
            for tensor in self.tensors
            for kind in (TYPES_BY_NAME[tensor.type],)
            for form, place in kind.floats
        )

    def summary(self) -> dict[str, int | str | bool | None]:
        """Return the facts that a manifest records."""
        return {
            "format": f"gguf v{self.version}",
            "architecture": self.architecture,
            "name": self.name,
            "context_length": self.context_length,
            "file_type": self.number("general.file_type"),
            "quantization": self.quantization,
            "tensors": len(self.tensors),
            "parameters": self.parameters,
            "chat_template": self.has_chat_template,
            "tokenizer": self.tokenizer_model,
        }
