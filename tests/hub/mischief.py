"""What a hub can be told to do wrong, as data.

A rule says to which requests it applies and what happens then. Kinds that change a file's body
(``BODY_KINDS``) apply to answers with a file's bytes alone: a redirect or an error doesn't use up
a rule's ``first``.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase

BODY_KINDS = frozenset(
    {
        "truncate",  # at: bytes of the body after which the connection closes; reset: by a RST
        "no_length",  # framing: "close" or "chunked"
        "wrong_length",  # by: what is added to Content-Length; the body stays as it is
        "flip",  # at: offset in the file of the byte whose bits are turned
        "ignore_range",  # status 200 and the whole file
        "shift_range",  # by: the range begins there instead, and the answer says so
        "wrong_range",  # by, total: added to start and to total of Content-Range; right bytes
        "slow",  # rate: bytes a second
        "stall",  # at: bytes of the body after which nothing comes for seconds
        "endless",  # framing: "close", "chunked", or "length" with a Content-Length of 2^62
        "other_revision",  # revision: whose bytes come, under the headers of the asked one
        "gzip",  # as the hub does to text for clients that accept it: chunked, no range
    }
)
HEAD_KINDS = frozenset(
    {
        "etag",  # text: another ETag (and X-Linked-Etag), default: 64 times "0"
        "commit",  # text: another X-Repo-Commit
        "no_header",  # text: the name of a header that is left out
        "header",  # text: "Name: value", set
    }
)
WHOLE_KINDS = frozenset(
    {
        "status",  # status, and retry_after in seconds
        "redirect",  # to: an address; path: whether the path asked for is added
        "loop",  # a redirect to the address asked for
        "portal",  # status 200 and a page of HTML
        "page",  # status, text: another body, content_type
        "drop",  # the connection closes without an answer
        "hang",  # nothing comes for seconds, then the right answer
        "expire",  # the CDN's answer to an address whose time is over
    }
)
KINDS = BODY_KINDS | HEAD_KINDS | WHOLE_KINDS
#: Where a request arrives: the hub's interface, a file's address on the hub, the CDN.
PLACES = {
    "all": {"api", "resolve", "cdn"},
    "hub": {"api", "resolve"},
    "files": {"resolve", "cdn"},
    "api": {"api"},
    "resolve": {"resolve"},
    "cdn": {"cdn"},
}


@dataclass(frozen=True)
class Mischief:
    """One rule. What the fields after ``seed`` mean is said beside each kind above."""

    kind: str
    on: str = "all"
    #: A pattern (fnmatch) of the file's path in its repository, or of the path of the address.
    path: str = "*"
    method: str | None = None
    #: True: requests with a Range alone; False: without one alone.
    ranged: bool | None = None
    #: Of the matching requests: leave so many out first, and end after so many.
    skip: int = 0
    first: int | None = None
    probability: float = 1.0
    seed: int = 0

    at: int = 0
    by: int = 1
    total: int = 0
    rate: float = 1.0
    seconds: float = 3600.0
    status: int = 500
    retry_after: int | None = None
    text: str | None = None
    content_type: str = "text/html; charset=utf-8"
    to: str = ""
    keep_path: bool = True
    revision: str = ""
    framing: str = "close"
    reset: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.on not in PLACES:
            raise ValueError(f"no such mischief: {self.kind} on {self.on}")

    def as_json(self) -> dict[str, object]:
        """Return a value from which ``Mischief(**value)`` is made again."""
        return asdict(self)

    def concerns(
        self, place: str, method: str, paths: Iterable[str], requested: str | None
    ) -> bool:
        """Whether it is meant for a request there, with this Range header."""
        return (
            place in PLACES[self.on]
            and self.method in {None, method}
            and self.ranged in {None, requested is not None}
            and any(fnmatchcase(path, self.path) for path in paths)
        )


class Rules:
    """The rules of a hub, and how many requests each has met."""

    def __init__(self, rules: Iterable[Mischief] = ()) -> None:
        self.all = tuple(rules)
        self._lock = threading.Lock()
        self._met = [0] * len(self.all)

    def strikes(self, number: int) -> bool:
        """Count a request that the rule of this number concerns; tell whether it strikes it."""
        rule = self.all[number]
        with self._lock:
            met = self._met[number]
            self._met[number] += 1
        if met < rule.skip or (rule.first is not None and met >= rule.skip + rule.first):
            return False
        # Of the count, not of the order in which threads come here.
        return random.Random(f"{rule.seed} {met}").random() < rule.probability
