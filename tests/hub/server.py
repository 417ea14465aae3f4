"""The hub: repositories behind two doors, one of them the CDN's, and a record of what was asked."""

from __future__ import annotations

import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Self

from hub import interface, misdeeds
from hub.answers import Answer
from hub.cdn import Cdn
from hub.doors import Door
from hub.mischief import Mischief, Rules
from hub.repositories import Repository, Source
from hub.requests import Request
from hub.routes import Routes
from hub.sending import Sender


class Hub:
    """A hub on loopback. Use it in a ``with``, or call ``stop``.

    ``url`` is the hub's address (127.0.0.1), ``cdn_url`` the CDN's (localhost: another host).
    ``tls`` encrypts the hub's door, and the CDN's too unless ``cdn_tls`` is False.
    ``plain_redirect``: small files come by a redirect to another path of the hub, as they do since
    2025, and not directly. ``page_size``: entries of a tree on one page. ``cdn_lifetime``: seconds.
    """

    def __init__(
        self,
        mischief: Iterable[Mischief] = (),
        *,
        page_size: int = interface.PAGE,
        cdn_lifetime: float = 3600.0,
        plain_redirect: bool = False,
        tls: ssl.SSLContext | None = None,
        cdn_tls: bool = True,
    ) -> None:
        self._rules = Rules(mischief)
        self._cdn = Cdn(cdn_lifetime)
        self._routes = Routes(self._cdn, page_size=page_size, plain_redirect=plain_redirect)
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._running = 0
        self._door = Door(self._at_hub, tls)
        self._cdn_door = Door(self._at_cdn, tls if cdn_tls else None)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._door.port}"
        self.cdn_url = f"{'https' if tls and cdn_tls else 'http'}://localhost:{self._cdn_door.port}"
        self._routes.url, self._cdn.url = self.url, self.cdn_url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close both doors; raise what went wrong inside the hub."""
        self._door.stop()
        self._cdn_door.stop()
        failures = self._door.failures + self._cdn_door.failures
        if failures:
            raise failures[0]

    # What it holds and how it behaves.

    @property
    def repositories(self) -> dict[str, Repository]:
        """The repositories by their names."""
        return self._routes.repositories

    def add(
        self, name: str, contents: Mapping[str, Source], *, commit: str | None = None, **facts
    ) -> Repository:
        """Make a repository with one commit on main; ``facts`` are Repository's fields."""
        repository = self.repositories[name] = Repository(name, **facts)
        repository.commit(contents, commit=commit)
        return repository

    def misbehave(self, *rules: Mischief) -> None:
        """Go by these rules from now on, and by no earlier ones; without any: behave."""
        self._rules = Rules(rules)

    def expire_cdn(self) -> None:
        """Let the addresses of the CDN that were given out so far be refused."""
        self._cdn.expire()

    # What was asked.

    @property
    def requests(self) -> list[Request]:
        """All requests so far, in the order of their arrival; those that run are waited for."""
        self.idle()
        with self._lock:
            return list(self._requests)

    def asked(
        self, path: str = "*", *, method: str | None = None, place: str | None = None
    ) -> list[Request]:
        """Return the requests for files (or else addresses) that match the pattern ``path``."""
        return [
            request
            for request in self.requests
            if method in {None, request.method}
            and place in {None, request.place}
            and fnmatchcase(request.file or request.path, path)
        ]

    def sent(self) -> Counter[str]:
        """Return how many bytes of each file were sent, over all requests.

        A client that left early has not read all of them: some lay in the kernel's buffers.
        """
        count: Counter[str] = Counter()
        for request in self.requests:
            if request.file is not None and request.status in {200, 206}:
                count[request.file] += request.sent
        return count

    def forget(self) -> None:
        """Begin a new record."""
        self.idle()
        with self._lock:
            self._requests = []

    def idle(self, seconds: float = 2.0) -> bool:
        """Wait until no request runs, but not longer than this; tell whether none does."""
        end = time.monotonic() + seconds
        while self._running:
            if time.monotonic() > end:
                return False
            time.sleep(0.001)
        return True

    # Answering.

    def _at_hub(self, request: Request, sender: Sender) -> bool:
        request.place = "api" if request.path.startswith("/api/") else "resolve"
        return self._serve(request, sender)

    def _at_cdn(self, request: Request, sender: Sender) -> bool:
        request.place = "cdn"
        return self._serve(request, sender)

    def _serve(self, request: Request, sender: Sender) -> bool:
        with self._lock:
            self._requests.append(request)
            self._running += 1
        try:
            room = self._cdn if request.place == "cdn" else self._routes
            return sender.send(request, self._spoilt(request, room.answer(request)))
        finally:
            with self._lock:
                self._running -= 1

    def _spoilt(self, request: Request, answer: Answer) -> Answer:
        """Return what the rules make of an honest answer."""
        here = self.cdn_url if request.place == "cdn" else self.url
        rules = self._rules
        for number, rule in enumerate(rules.all):
            if (
                rule.concerns(request.place, request.method, request.paths, request.range)
                and misdeeds.fits(rule, request, answer)
                and rules.strikes(number)
            ):
                request.mischief.append(rule.kind)
                answer = misdeeds.done(
                    rule, request, answer, here=here, repositories=self.repositories.values()
                )
        return answer
