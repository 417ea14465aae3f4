"""What a look at one file found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from local_opus.values import Verdict
from local_opus.weights.classify import Kind
from local_opus.weights.structure import Refusal, printable

Summary = dict[str, int | str | bool | None]
#: Facts that one line of evidence shows.
_SHOWN = ("architecture", "quantization", "producer", "tensors", "layers", "dtypes", "members",
          "tokens")  # fmt: skip


class Info(Protocol):
    """What a structure check answers of a sound file."""

    def summary(self) -> Summary:
        """Return the facts that a manifest records."""


@dataclass(frozen=True)
class Finding:
    """What was found in one file: a verdict where it fails, or the facts of its structure.

    ``note`` is said beside them, ``info`` is what the structure check answered.
    """

    kind: Kind
    refusal: Refusal | None
    summary: Summary | None = None
    note: str = ""
    info: Info | None = None

    @property
    def text(self) -> str:
        """One line for a verdict's evidence."""
        if self.refusal is not None:
            return self.refusal.reason
        words = [str(self.kind)]
        if self.summary is not None:
            words = [str(self.summary.get("format", self.kind))]
            for key in _SHOWN:
                value = self.summary.get(key)
                if value is not None and value != "":
                    words.append(str(value) if isinstance(value, str) else f"{value} {key}")
        return ", ".join(printable(word, 60) for word in words) + self.note


def finding(kind: Kind, answer: Info | Refusal | None, note: str = "") -> Finding:
    """Return the finding that a structure check's answer makes; None: there is nothing to check."""
    if answer is None or isinstance(answer, Refusal):
        return Finding(kind, answer)
    return Finding(kind, None, answer.summary(), note, answer)


def placeholder(kind: Kind, reason: str | None) -> Finding | None:
    """Return the finding of a file that stands in for another, where there is a reason."""
    return Finding(kind, Refusal(Verdict.PLACEHOLDER, reason)) if reason is not None else None
