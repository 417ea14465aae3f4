"""What can go wrong between the server and its engine."""

from __future__ import annotations

from local_opus.runtime.engine_protocol import FailureCode


class EngineUnavailableError(Exception):
    """The engine is loading, has crashed or is ending; ``retry_after`` is in seconds."""

    def __init__(self, text: str, *, code: str, retry_after: int) -> None:
        super().__init__(text)
        self.code = code
        self.retry_after = retry_after


class QueueFullError(Exception):
    """As many requests are in flight as may be; ``retry_after`` is in seconds."""

    def __init__(self, text: str, *, retry_after: int) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class GenerationFailedError(Exception):
    """The engine refused or failed one request; ``code`` says why."""

    def __init__(self, code: FailureCode, text: str) -> None:
        super().__init__(text)
        self.code: FailureCode = code
