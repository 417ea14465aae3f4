"""How the server stands: what its settings are worth, and what is known of its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from local_opus.server.settings import Settings
from local_opus.server.signals import Signals


@dataclass(frozen=True)
class Proven:
    """Settings whose weights were proven.

    ``changed`` says which of the weights are no longer those that were proven; None: all are.
    """

    settings: Settings
    changed: Callable[[], str | None] = field(compare=False, default=lambda: None)


@dataclass
class Standing:
    """What holds across several engines and settings of one process."""

    #: Why the config is not what is served, in one line; None: it is.
    config_problem: str | None = None
    #: Which file of the weights is no longer the one that was proven; None: all were, lately.
    weights_changed: str | None = None
    #: Whether the settings that are being served have come to answer.
    served: bool = False
    #: What this process was asked by signals, and has not done yet.
    signals: Signals = field(default_factory=Signals)

    def status(self, words: str) -> str:
        """Return ``words`` for systemd's STATUS=, with the config's problem where there is one."""
        return words if self.config_problem is None else f"{words}; {self.config_problem}"
