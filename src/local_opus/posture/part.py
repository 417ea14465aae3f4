"""A part of the posture and how it stands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a part stands."""

    APPLIED = "applied"
    NOT_APPLICABLE = "not applicable"
    DRIFTED = "drifted"


@dataclass(frozen=True)
class Part:
    """One part of the posture, how it stands, and the evidence in one line."""

    id: str
    state: State
    evidence: str
