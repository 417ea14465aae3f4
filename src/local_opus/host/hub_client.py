"""Drives ``huggingface_hub`` with limits of our own.

The library follows redirects and page links wherever they lead, waits without an end and reads
bodies of any length. Here every request is looked at before it leaves, and every answer before it
is read.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from local_opus import clock
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.host.leading import is_closed_way
from local_opus.weights.structure import printable

if TYPE_CHECKING:
    import httpx2

#: Bytes of one answer: a page of 1,000 files takes 300 kB.
MAX_BODY = 32 * 1024 * 1024
#: Seconds that a hub may ask to wait (Retry-After) before the run ends and says so.
LONGEST_WAIT = 60
#: Times that a question is asked where the hub is busy or the connection breaks.
ATTEMPTS = 5
#: Times that a connection is tried which nobody takes.
CONNECTS = 3
#: Set by the installed command, whose own environment is offline: what its caller says of that.
ASKED_OFFLINE = "LOCAL_OPUS_ASKED_HF_HUB_OFFLINE"
_BUSY = frozenset({408, 429, 500, 502, 503, 504})
#: Seconds in a ``RateLimit`` header, which the library waits out as it does a Retry-After.
_RESET = re.compile(r";\s*t\s*=\s*(\d+)")
_MAX_DIGITS = 9
_T = TypeVar("_T")


@dataclass(frozen=True)
class Limits:
    """Seconds: without a byte, and for all questions together."""

    silence: float
    total: float


class Gone(Exception):  # noqa: N818 - an answer
    """The hub has no such repository, or no such ``revision``."""

    def __init__(self, *, revision: bool) -> None:
        super().__init__()
        self.revision = revision


class Refused(Exception):  # noqa: N818 - an answer
    """The hub wants a consent, or refuses the token."""

    def __init__(self, *, bad_token: bool) -> None:
        super().__init__()
        self.bad_token = bad_token


class _Stopped(Exception):  # noqa: N818 - passes through the library; never leaves this module
    def __init__(self, error: LocalOpusError) -> None:
        super().__init__(error.message)
        self.error = error


class _Gate:
    """Looks at each request and each answer."""

    def __init__(self, endpoint: str, limits: Limits) -> None:
        self._origin = _origin(endpoint)
        self._limits = limits
        self._deadline = time.monotonic() + limits.total

    def request(self, request: httpx2.Request) -> None:
        """Refuse a request that goes elsewhere, or comes too late."""
        url = str(request.url)
        self.in_time()
        if not self._ours(url):
            parts = urlsplit(url)
            raise _Stopped(
                LocalOpusError(
                    f"{self._origin[1]}: sends questions on to "
                    f"{printable(f'{parts.scheme}://{parts.netloc}')}; what a file should be is "
                    "taken from the hub itself",
                    "Set HF_ENDPOINT to the address of the hub or mirror that you trust.",
                )
            )
        silence = self._limits.silence
        request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), silence)
        request.headers["Accept-Encoding"] = "identity"

    def response(self, response: httpx2.Response) -> None:
        """Refuse an answer that can't be read within limits."""
        if response.headers.get("content-encoding", "identity") != "identity":
            raise _Stopped(self.unreadable("is packed though nobody asked for that"))
        wait = _long_wait(response.headers) if response.status_code in _BUSY else None
        if wait is not None:
            raise _Stopped(
                LocalOpusError(
                    f"{self._origin[1]}: asks to wait {printable(wait, 20)} s "
                    f"(status {response.status_code})",
                    "Run this again after that time; with HF_TOKEN set, a hub lets more through.",
                )
            )
        response.stream = self._bounded(response.stream)

    def _bounded(self, stream: Any) -> Any:  # noqa: ANN401 - a type of the library's transport
        import httpx2  # noqa: PLC0415 - comes with huggingface_hub, late

        gate = self

        class Bounded(httpx2.SyncByteStream):
            def __iter__(self) -> Iterator[bytes]:
                size = 0
                for chunk in stream:
                    size += len(chunk)
                    if size > MAX_BODY:
                        raise _Stopped(gate.unreadable(f"is longer than {MAX_BODY} bytes"))
                    gate.in_time()
                    yield chunk

            def close(self) -> None:
                stream.close()

        return Bounded()

    def in_time(self) -> None:
        """Raise when all the time is used up."""
        if time.monotonic() > self._deadline:
            raise _Stopped(
                LocalOpusError(
                    f"{self._origin[1]}: took longer than {self._limits.total:g} s to answer",
                    "Check the network and run this again.",
                )
            )

    def unreadable(self, why: str) -> LocalOpusError:
        """Return the error for an answer that is not what a hub says."""
        return LocalOpusError(
            f"{self._origin[1]}: the answer {why}",
            "Another program may answer in the hub's place (a sign-in page, a proxy): look at "
            "HF_ENDPOINT and the network.",
        )

    def _ours(self, url: str) -> bool:
        scheme, place = _origin(url)
        upgraded = (self._origin[0], scheme) == ("http", "https")
        same_name = urlsplit(url).hostname == urlsplit("//" + self._origin[1]).hostname
        return (scheme, place) == self._origin or (upgraded and same_name)


def _long_wait(headers: Mapping[str, str]) -> str | None:
    """Return the seconds that a hub asks to wait where they are too many to be waited."""
    asked = [headers.get("retry-after", "").strip(), *_RESET.findall(headers.get("ratelimit", ""))]
    seconds = [text.lstrip("0") or "0" for text in asked if text.isdecimal()]
    longest = max(seconds, key=lambda text: (len(text), text), default="0")
    return longest if len(longest) > _MAX_DIGITS or int(longest) > LONGEST_WAIT else None


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    name = parts.hostname or ""
    shown = f"[{name}]" if ":" in name else name
    return parts.scheme, f"{shown}:{port}"


class Questions:
    """The questions that are asked; made by ``asking``."""

    def __init__(self, endpoint: str, token: str | None, gate: _Gate) -> None:
        from huggingface_hub import HfApi  # noqa: PLC0415 - half a second

        self._gate = gate
        self._name = urlsplit(endpoint).netloc
        # False: a token that the library finds lying about is not sent.
        self._api = HfApi(endpoint=endpoint, token=token or False, library_name="local-opus")

    def info(self, repo: str, revision: str | None) -> Any:  # noqa: ANN401 - ModelInfo, unchecked
        """Return the library's ModelInfo, of whose fields nothing is known for sure."""
        return self._ask(lambda: self._api.model_info(repo, revision=revision))

    def tree(self, repo: str, commit: str) -> list[Any]:
        """Return the library's RepoFile of every file, over all pages."""

        def read() -> list[Any]:
            entries: Iterable[Any] = self._api.list_repo_tree(repo, recursive=True, revision=commit)
            return [entry for entry in entries if hasattr(entry, "size")]

        return self._ask(read)

    def _ask(self, question: Callable[[], _T]) -> _T:
        import httpx2  # noqa: PLC0415 - comes with huggingface_hub
        from huggingface_hub import errors  # noqa: PLC0415

        problem = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(min(0.25 * 2**attempt, 4))
                self._gate.in_time()
            try:
                return question()
            except errors.HfHubHTTPError as error:
                self._judge(error.response)
                problem = f"status {error.response.status_code}"
            except httpx2.TooManyRedirects as error:
                raise self._gate.unreadable("leads in a circle") from error
            except httpx2.HTTPError as error:
                problem = str(error).strip() or type(error).__name__
                if out_of_time := clock.blamed(problem, self._name):
                    raise out_of_time from error
                if isinstance(error, httpx2.ConnectError) and attempt + 1 == CONNECTS:
                    break
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise self._gate.unreadable("is none of a hub's") from error
        raise LocalOpusError(
            f"{self._name}: {printable(problem)}", "Check the network and run this again."
        )

    def _judge(self, response: httpx2.Response) -> None:
        """Raise what a status means; return where asking again may help."""
        status, code = response.status_code, response.headers.get("x-error-code", "")
        told = response.headers.get("x-error-message", "").lower()
        if status in _BUSY:
            return
        if code == "RevisionNotFound":
            raise Gone(revision=True)
        if code == "GatedRepo":
            raise Refused(bad_token=False)
        # Who is nobody is refused for a repository that isn't there, with a code that says so.
        if status == 401 and not code and "credentials" in told:  # noqa: PLR2004
            raise Refused(bad_token=True)
        if code == "RepoNotFound" or status in {401, 404}:
            raise Gone(revision=False)
        if status == 403:  # noqa: PLR2004
            raise Refused(bad_token=False)
        raise LocalOpusError(
            f"{self._name}: status {status}{': ' + printable(told) if told else ''}",
            "Try again later; look at HF_ENDPOINT if it is set.",
        )


@contextmanager
def asking(endpoint: str, token: str | None, limits: Limits) -> Iterator[Questions]:
    """Yield what asks the hub at ``endpoint``.

    The token goes to that hub alone, and not over plain HTTP but to this machine. Raises
    BadInputError for an address that is none, and LocalOpusError for what went wrong.
    """
    import httpx2  # noqa: PLC0415 - comes with huggingface_hub, half a second
    import huggingface_hub  # noqa: PLC0415
    from huggingface_hub import constants  # noqa: PLC0415
    from huggingface_hub.utils import _http  # noqa: PLC0415 - its own factory, to put back

    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadInputError(
            f"HF_ENDPOINT: {printable(endpoint)} is no address", "Unset it, or correct it."
        )
    gate = _Gate(endpoint, limits)

    def make_client() -> httpx2.Client:
        try:
            return httpx2.Client(
                event_hooks={"request": [gate.request], "response": [gate.response]},
                follow_redirects=True,
                timeout=limits.silence,
            )
        except (
            ImportError,
            ValueError,
            httpx2.InvalidURL,
        ) as error:
            raise _Stopped(
                BadInputError(
                    "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY: one names a proxy that is not spoken to",
                    "Set it to http://HOST:PORT; SOCKS proxies are not supported.",
                )
            ) from error

    was_offline = constants.HF_HUB_OFFLINE
    asked = os.environ.get(ASKED_OFFLINE)
    if was_offline if asked is None else asked.upper() in constants.ENV_VARS_TRUE_VALUES:
        raise LocalOpusError(
            f"{parts.netloc}: HF_HUB_OFFLINE forbids to ask it", "Unset HF_HUB_OFFLINE."
        )
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it prints each try
    # It would ask the hub for a list of programs that call it, say which of them does, and leave
    # the list in the home folder. A variable counts only before the first import.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    constants.HF_HUB_OFFLINE = False
    huggingface_hub.set_client_factory(make_client)
    try:
        yield Questions(endpoint, token if is_closed_way(endpoint) else None, gate)
    except _Stopped as stopped:
        raise stopped.error from stopped
    finally:
        constants.HF_HUB_OFFLINE = was_offline
        huggingface_hub.set_client_factory(_http.default_client_factory)
