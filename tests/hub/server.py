"""The hub: repositories behind two doors, one of them the CDN's, and a record of what was asked."""

from __future__ import annotations

import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Self
from urllib.parse import quote, urlencode

from hub import files, interface
from hub.answers import Answer, refusal
from hub.doors import Door
from hub.mischief import Mischief, Rules
from hub.misdeeds import done, fits
from hub.repositories import Entry, Repository, Source
from hub.requests import Request
from hub.sending import Sender

#: Where the name of a repository ends in an address.
_AFTER_NAME = ("resolve", "revision", "tree", "paths-info", "refs")


@dataclass(frozen=True)
class Signed:
    """What an address of the CDN gives access to, until a moment of ``time.monotonic``."""

    entry: Entry
    until: float


class Hub:
    """A hub on loopback. Use it in a ``with``, or call ``stop``.

    ``url`` is the hub's address (127.0.0.1), ``cdn_url`` the CDN's (localhost: another host).
    ``tls`` encrypts the hub's door, and the CDN's too unless ``cdn_tls`` is False.
    ``plain_redirect``: small files come by a redirect to another path of the hub, as they do since
    2025, and not directly.
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
        self.repositories: dict[str, Repository] = {}
        self.page_size = page_size
        self.cdn_lifetime = cdn_lifetime
        self.plain_redirect = plain_redirect
        self._rules = Rules(mischief)
        self._signed: dict[str, Signed] = {}
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._running = 0
        self._door = Door(self._at_hub, tls)
        self._cdn_door = Door(self._at_cdn, tls if cdn_tls else None)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._door.port}"
        self.cdn_url = f"{'https' if tls and cdn_tls else 'http'}://localhost:{self._cdn_door.port}"

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
        with self._lock:
            self._signed.clear()

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
        """Return how many bytes of each file were sent, over all requests."""
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
            answer = self._cdn(request) if request.place == "cdn" else self._hub(request)
            return sender.send(request, self._spoilt(request, answer))
        finally:
            with self._lock:
                self._running -= 1

    def _spoilt(self, request: Request, answer: Answer) -> Answer:
        """Return what the rules make of an honest answer."""
        paths = [path for path in (request.file, request.path) if path is not None]
        for counted in self._rules:
            rule = counted[0]
            if (
                rule.concerns(request.place, request.method, paths, request.range is not None)
                and fits(rule, request, answer)
                and self._rules.strikes(counted)
            ):
                request.mischief.append(rule.kind)
                if rule.kind == "other_revision":
                    answer = self._other_revision(rule, request, answer)
                else:
                    answer = done(rule, request, answer, self._target)
        return answer

    def _target(self, rule: Mischief, request: Request) -> str:
        """Return where a redirect leads."""
        if rule.kind == "redirect":
            return rule.to + (request.target if rule.keep_path else "")
        here = self.cdn_url if request.place == "cdn" else self.url
        return here + request.target

    def _other_revision(self, rule: Mischief, request: Request, answer: Answer) -> Answer:
        span = answer.pieces[0]
        for repository in self.repositories.values():
            commit = repository.resolve(rule.revision)
            if commit is not None and request.file in repository.commits[commit]:
                other = repository.commits[commit][request.file].content
                answer.pieces = [
                    files.Span(other, min(span.start, other.size), min(span.stop, other.size))
                ]
        return answer

    def _cdn(self, request: Request) -> Answer:
        with self._lock:
            signed = self._signed.get(request.query.get("Signature", ""))
        if signed is None or time.monotonic() > signed.until:
            return files.expired()
        request.file = signed.entry.path
        if request.segments[-1] != signed.entry.etag:
            return files.expired()
        name = files.disposition(signed.entry)
        etag = signed.entry.etag
        return files.content(request, signed.entry, etag, **{"Content-Disposition": name})

    def _hub(self, request: Request) -> Answer:
        parts = request.segments
        if request.place == "api":
            parts = parts[1:]
            if parts == ["whoami-v2"]:
                return interface.whoami(request, self._tokens)
            if parts[:2] == ["resolve-cache", "models"]:
                return self._resolve_cache(request, parts[2:])
            if parts[0] != "models":
                return refusal(404, None, "Sorry, we can't find the page you are looking for.")
            parts = parts[1:]
        end = next((n for n, part in enumerate(parts[:3]) if n and part in _AFTER_NAME), 2)
        name, rest = "/".join(parts[:end]), parts[end:]
        repository = self.repositories.get(name)
        if repository is None or (repository.private and not repository.is_open_to(request.token)):
            return self._no_repository(request)
        if request.place == "api":
            return self._interface(request, repository, rest)
        if len(rest) < 3 or rest[0] != "resolve" or request.method not in {"GET", "HEAD"}:
            return refusal(404, None, "Sorry, we can't find the page you are looking for.")
        return self._resolve(request, repository, rest[1], "/".join(rest[2:]))

    def _no_repository(self, request: Request) -> Answer:
        # Who is not known is not told whether there is such a repository.
        if request.token is None or request.token not in self._tokens():
            return refusal(401, "RepoNotFound", "Invalid username or password.")
        return refusal(404, "RepoNotFound", "Repository not found")

    def _tokens(self) -> set[str]:
        return {token for one in self.repositories.values() for token in one.tokens}

    def _interface(self, request: Request, repository: Repository, rest: list[str]) -> Answer:
        what = rest[0] if rest else "revision"
        if what == "refs":
            return interface.refs(repository)
        revision = rest[1] if len(rest) > 1 else "main"
        commit = repository.resolve(revision)
        if commit is None:
            return refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        entries = repository.commits[commit]
        if what == "revision":
            return interface.model_info(request, repository, commit)
        if what == "tree":
            below = "/".join(rest[2:])
            return interface.tree(request, entries, commit, below, self.url, self.page_size)
        if what == "paths-info" and request.method == "POST":
            return interface.paths_info(request, entries, commit)
        return refusal(404, None, "Sorry, we can't find the page you are looking for.")

    def _resolve(
        self, request: Request, repository: Repository, revision: str, path: str
    ) -> Answer:
        request.file = path
        if not repository.is_open_to(request.token):
            return files.not_allowed(repository, request.token)
        commit = repository.resolve(revision)
        if commit is None:
            return refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        entry = repository.commits[commit].get(path)
        if entry is None:
            return refusal(404, "EntryNotFound", "Entry not found", X_Repo_Commit=commit)
        if entry.lfs:
            return files.redirect(302, self._signed_address(repository, entry), files.linked(entry))
        if self.plain_redirect:
            way = f"/api/resolve-cache/models/{repository.name}/{commit}/{quote(path)}"
            query = urlencode({request.path: "", "etag": f'"{entry.etag}"'})
            return files.redirect(307, f"{way}?{query}", files.linked(entry))
        return self._plain(request, entry)

    def _resolve_cache(self, request: Request, parts: list[str]) -> Answer:
        """Answer at the address that small files are redirected to."""
        request.place = "resolve"
        for name, repository in self.repositories.items():
            start = name.split("/")
            commit, path = parts[len(start) : len(start) + 1], parts[len(start) + 1 :]
            if parts[: len(start)] == start and commit and commit[0] in repository.commits:
                entry = repository.commits[commit[0]].get("/".join(path))
                if entry is not None:
                    request.file = entry.path
                    if repository.is_open_to(request.token):
                        return self._plain(request, entry)
                    return files.not_allowed(repository, request.token)
        return refusal(404, "EntryNotFound", "Entry not found")

    def _plain(self, request: Request, entry: Entry) -> Answer:
        headers = {**files.names(entry), "Content-Disposition": files.disposition(entry)}
        return files.content(request, entry, entry.etag, **headers)

    def _signed_address(self, repository: Repository, entry: Entry) -> str:
        with self._lock:
            number = f"{self._door.port} {len(self._signed)} {time.monotonic_ns()}"
            signature = sha256(number.encode()).hexdigest()
            self._signed[signature] = Signed(entry, time.monotonic() + self.cdn_lifetime)
        query = urlencode(
            {
                "response-content-disposition": files.disposition(entry),
                "Expires": str(int(time.time() + self.cdn_lifetime)),
                "Policy": sha256(entry.path.encode()).hexdigest()[:32],
                "Signature": signature,
                "Key-Pair-Id": "K2FPYV99P2N66Q",
            }
        )
        return f"{self.cdn_url}/repos/{quote(repository.name)}/{entry.etag}?{query}"
