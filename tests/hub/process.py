"""A hub in a process of its own: it takes nothing of its client's lock and time, and outlives it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from hub.contents import Content
from hub.mischief import Mischief
from hub.repositories import Source
from hub.requests import Request
from hub.server import Hub

_FOLDER = Path(__file__).resolve().parent.parent


class HubProcess:
    """Serves such repositories until it is stopped, or the process that made it ends.

    ``facts`` are Repository's fields for each repository, ``options`` those of Hub but ``tls``.
    """

    def __init__(
        self,
        repositories: Mapping[str, Mapping[str, Source]],
        mischief: Iterable[Mischief] = (),
        *,
        facts: Mapping[str, dict[str, object]] | None = None,
        **options: object,
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-s", "-m", "hub"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(_FOLDER)},
            start_new_session=True,  # what a terminal or a campaign kills is not this
        )
        named = {
            name: {path: _as_json(source) for path, source in contents.items()}
            for name, contents in repositories.items()
        }
        started = self._ask(
            repositories=named,
            facts=facts or {},
            options=options,
            mischief=[rule.as_json() for rule in mischief],
        )
        self.url: str = started["url"]
        self.cdn_url: str = started["cdn_url"]
        #: The commit of each repository's main.
        self.heads: dict[str, str] = started["heads"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def stop(self) -> None:
        """End it; raise CalledProcessError where something went wrong inside."""
        self._process.stdin.close()
        code = self._process.wait(20)
        self._process.stdout.close()
        if code:
            raise subprocess.CalledProcessError(code, self._process.args)

    def misbehave(self, *rules: Mischief) -> None:
        """As ``Hub.misbehave``."""
        self._ask(misbehave=[rule.as_json() for rule in rules])

    def expire_cdn(self) -> None:
        """As ``Hub.expire_cdn``."""
        self._ask(expire_cdn=True)

    def forget(self) -> None:
        """As ``Hub.forget``."""
        self._ask(forget=True)

    @property
    def requests(self) -> list[Request]:
        """As ``Hub.requests``."""
        return [Request(**value) for value in self._ask(requests=True)]

    def sent(self) -> Counter[str]:
        """As ``Hub.sent``."""
        return Counter(self._ask(sent=True))

    def _ask(self, **message: object):
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._process.stdin.close()
            self._process.stdout.close()
            raise RuntimeError(f"the hub ended with {self._process.wait(20)}")
        return json.loads(line)


def serve() -> None:
    """Be the hub: a message a line on standard input, an answer a line on standard output."""
    start = json.loads(sys.stdin.readline())
    rules = [Mischief(**rule) for rule in start["mischief"]]
    with Hub(rules, **start["options"]) as hub:
        for name, contents in start["repositories"].items():
            facts = start["facts"].get(name, {})
            hub.add(name, {path: _source(value) for path, value in contents.items()}, **facts)
        heads = {name: one.head for name, one in hub.repositories.items()}
        _say({"url": hub.url, "cdn_url": hub.cdn_url, "heads": heads})
        for line in sys.stdin:
            ((what, value),) = json.loads(line).items()
            if what == "requests":
                _say([request.as_json() for request in hub.requests])
            elif what == "sent":
                _say(hub.sent())
            elif what == "misbehave":
                hub.misbehave(*(Mischief(**rule) for rule in value))
                _say(None)
            else:
                getattr(hub, what)()
                _say(None)


def _say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _as_json(source: Source) -> dict[str, str | None]:
    content = source if isinstance(source, Content) else Content(source)
    if content.data is not None:
        return {"bytes": b64encode(content.data).decode()}
    return {"path": str(content.path), "sha256": content.known_sha256}


def _source(value: dict[str, str]) -> Content:
    if "bytes" in value:
        return Content(b64decode(value["bytes"]))
    return Content(value["path"], sha256=value["sha256"])
