"""Fetching from a hub that misbehaves: the model is stored and proven, or an error says why not.

Pieces are small and requests short here, so that a file of 90 kB has 22 pieces, and 11 requests of
four connections bring it.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from email.utils import formatdate

import pytest
from fetching import (
    HASTY,
    REPO,
    SMALL,
    STUBBORN,
    TOKEN,
    count_received,
    hub_model,
    pinned,
    small_pieces,
    tree,
)

from builders import gguf_bytes
from hub import Hub, Mischief
from local_opus.errors import ExitCode, LocalOpusError
from local_opus.host import Host
from local_opus.values import Model
from local_opus.weights.fetch import fetch_model
from local_opus.weights.patience import Patience
from local_opus.weights.sources import single, web
from local_opus.weights.verify import is_proven, verify_folder

LARGE = gguf_bytes(tensors=[("token_embd.weight", (22_000,), 0)])
SOUND = gguf_bytes()
CONTENTS = {"large": LARGE, "sound": SOUND}
STORED = [
    "tiny/gguf-q4_1/tiny.gguf",
    "tiny/gguf-q4_1/weights.json",
    "tiny/gguf-q4_1/weights.stat.json",
]
#: Connections that may be in the midst of something.
CONNECTIONS = 4
#: What is read from a connection at once, at most.
CHUNK = 256 * 1024


@dataclass(frozen=True)
class Case:
    """What a hub does, and what comes of it: an error with these words, or the model.

    ``again``: bytes that the client may read more than the file has. ``kept``: whether an error
    leaves pieces to go on with. ``size``: a file of many requests, or one of a single request.
    ``connections``: one makes the order of requests certain.
    """

    rules: tuple[Mischief, ...]
    error: str | None = None
    kept: bool = False
    again: int = 0
    size: str = "large"
    patience: Patience = HASTY
    connections: int = CONNECTIONS


def at_cdn(kind: str, **how: object) -> Mischief:
    return Mischief(kind, on="cdn", **how)


def whole(rule: Mischief, error: str | None = None, **more: object) -> Case:
    """A case of a file that comes with one request, without a range."""
    return Case((rule,), error, size="sound", **more)


WRONG = "not the pinned file"
ENDED = "the connection ended"
GONE = Patience(attempts=2, first_wait=0.01, stall=0.2)
SLOW = replace(HASTY, stall=3.0, slow_window=1.1, slow_windows=1)
CASES = {
    # Bodies that end early, or late.
    "cut": Case((at_cdn("truncate", at=5000, first=5),)),
    "cut by a reset": Case((at_cdn("truncate", at=5000, first=5, reset=True),), again=5 * 8192),
    "cut in a single request": whole(at_cdn("truncate", at=400, first=2)),
    "cut every time": Case((at_cdn("truncate", at=5000),)),
    "cut before the first byte": Case((at_cdn("truncate"),), ENDED),
    "cut after some": Case((at_cdn("truncate", skip=6),), ENDED, kept=True),
    "no length": Case((at_cdn("no_length"),)),
    "no length, in chunks": Case((at_cdn("no_length", framing="chunked"),)),
    "no length and cut": Case((at_cdn("no_length"), at_cdn("truncate", at=5000, first=5))),
    "chunks that are cut": Case(
        (at_cdn("no_length", framing="chunked"), at_cdn("truncate", at=5000, first=5))
    ),
    "a length too long": Case((at_cdn("wrong_length", by=1000),)),
    "a length too short": Case((at_cdn("wrong_length", by=-1000),), ENDED, kept=True),
    "a length too short at first": Case((at_cdn("wrong_length", by=-1000, first=6),)),
    "a whole length too long": whole(
        at_cdn("wrong_length", by=1000), f"expected {len(SOUND)} bytes, got {len(SOUND) + 1000}"
    ),
    "a whole length too short": whole(
        at_cdn("wrong_length", by=-7), f"expected {len(SOUND)} bytes, got {len(SOUND) - 7}"
    ),
    "endless": Case((at_cdn("endless"),), again=11 * CHUNK),
    "endless and whole": whole(at_cdn("endless"), again=CHUNK),
    "endless chunks": whole(at_cdn("endless", framing="chunked")),
    "endless by its length": whole(at_cdn("endless", framing="length"), f"got {2**62}"),
    # Bytes that are not the file's.
    "a byte flipped once": Case((at_cdn("flip", at=50_000, first=1),), again=len(LARGE)),
    "a byte flipped always": Case((at_cdn("flip", at=50_000),), WRONG, again=len(LARGE)),
    "the last byte flipped": Case((at_cdn("flip", at=len(LARGE) - 1),), WRONG),
    "another revision's bytes": Case((at_cdn("other_revision", revision="old"),), WRONG),
    "packed": whole(at_cdn("header", text="Content-Encoding: gzip")),
    # Ranges.
    "no ranges": Case((at_cdn("ignore_range"),)),
    "no ranges and cut": Case(
        (at_cdn("ignore_range"), at_cdn("truncate", at=50_000, first=6)), again=6 * 50_000
    ),
    "ranges ignored once": Case((at_cdn("ignore_range", skip=4, first=1),), again=len(LARGE)),
    "another range, as it says": Case((at_cdn("shift_range", by=SMALL),), "it answers with bytes"),
    "another range once": Case((at_cdn("shift_range", by=SMALL, first=1),)),
    "a wrong start of the range": Case((at_cdn("wrong_range", by=5),), "it answers with bytes"),
    "a wrong total of the range": Case(
        (at_cdn("wrong_range", by=0, total=1),), f"expected {len(LARGE)} bytes, got {len(LARGE) + 1}"
    ),
    "no Content-Range": Case((at_cdn("no_header", text="Content-Range"),), "does not say which"),
    "416": Case((at_cdn("status", status=416), at_cdn("header", text=f"Content-Range: bytes */{len(LARGE)}")), "status 416"),
    "416 of another length": Case((at_cdn("status", status=416),), WRONG),
    "416 once": Case((at_cdn("status", status=416, first=1), at_cdn("no_header", text="Content-Range", first=1))),
    # The file changes while it comes.
    "another ETag": Case((at_cdn("etag", skip=6),), "changed while it came", kept=True),
    "another commit": Case((Mischief("commit", on="resolve", skip=1), at_cdn("expire", skip=3)), "expected commit", kept=True, connections=1),
    "another digest": Case((Mischief("etag", on="resolve"),), "expected sha256"),
    # Servers that are ill.
    "500": Case((at_cdn("status", status=500),), "status 500"),
    "500 after some": Case((Mischief("status", on="files", status=500, skip=7),), "status 500", kept=True),
    "429, to be asked later": Case((at_cdn("status", status=429, retry_after=0, first=3),)),
    "429, to be asked tomorrow": Case(
        (Mischief("status", status=429, retry_after=86_400, skip=8),), "asks to wait 86400 s", kept=True
    ),
    "no answer": Case((at_cdn("drop"),), "closed"),
    "no answer now and then": Case((at_cdn("drop", probability=0.5, reset=True),), patience=STUBBORN),
    "expired in the midst": Case((at_cdn("expire", skip=6, first=1),), patience=replace(HASTY, attempts=1), connections=1),
    "never valid": Case((at_cdn("expire"),), "where it leads to, refuses (status 403)"),
    # Redirects.
    "a loop": Case((Mischief("loop", on="resolve"),), "redirects more than 5 times"),
    "a loop at the CDN": Case((at_cdn("loop"),), "redirects more than 5 times"),
    # Networks that want a person to sign in.
    "a portal": Case((Mischief("portal", on="resolve"),), "a web page"),
    "a portal at the CDN": Case((at_cdn("portal"),), "a web page"),
    "a portal after some": Case((at_cdn("portal", skip=6),), "a web page", kept=True),
    "a portal without a length": Case((Mischief("portal"), Mischief("no_length")), "a web page"),
    # Slow ones.
    "slow always": Case((at_cdn("slow", rate=20),), "bytes a second"),
    "a byte a second, whole": whole(at_cdn("slow", rate=1), "it brings 1 bytes a second", patience=SLOW),
    "a byte and no more": Case((at_cdn("slow", rate=1),), "timed out", patience=GONE),
    "little each time": Case((at_cdn("truncate", at=60),), ENDED, patience=replace(HASTY, slow_rate=10_000)),
    "slow once": Case((at_cdn("slow", rate=1, first=2),)),
    "stalls once": Case((at_cdn("stall", at=5000, first=2),), again=2 * SMALL),
    "stalls always": Case((at_cdn("stall"),), "timed out", patience=GONE),
    "hangs": Case((at_cdn("hang"),), "timed out", patience=GONE),
}  # fmt: skip
#: Half of all requests fail; each rule strikes a fifth of those that are left.
ILL = [(429, 0), (500, None), (408, None)]


@pytest.fixture(autouse=True)
def received(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    monkeypatch.setenv("NO_PROXY", "*")
    small_pieces(monkeypatch)
    return count_received(monkeypatch)


def is_stored(host: Host, model: Model) -> None:
    stored = fetch_model(host, "/models", model)
    assert stored.changed
    assert tree(host) == STORED
    assert is_proven(verify_folder(host, stored.folder, catalog_files=model.files))


def fails(host: Host, hub: Hub, model: Model, words: str) -> None:
    with pytest.raises(LocalOpusError) as caught:
        fetch_model(host, "/models", model)
    error = caught.value
    assert error.exit_code is ExitCode.FAILED
    assert words in error.message
    assert "tiny.gguf" in error.message
    assert hub.url.removeprefix("http://") in error.message
    assert error.remedy
    assert TOKEN not in error.message + error.remedy
    assert "\n" not in error.message + error.remedy


@pytest.mark.parametrize("name", CASES)
def test_it_is_stored_and_proven_or_told(name, host, hub, received, monkeypatch):
    case = CASES[name]
    data = CONTENTS[case.size]
    hub.add(REPO, {"tiny.gguf": data[::-1]})
    hub.repositories[REPO].tags["old"] = hub.repositories[REPO].head
    head = hub.repositories[REPO].commit({"tiny.gguf": data})
    model = pinned({"tiny.gguf": data}, head)
    monkeypatch.setattr(web, "PATIENT", case.patience)
    monkeypatch.setattr(web, "CONNECTIONS", case.connections)
    hub.misbehave(*case.rules)
    if case.error is None:
        is_stored(host, model)
        assert received.total() - len(data) <= case.again
        return
    fails(host, hub, model, case.error)
    left = [path for path in tree(host) if not path.startswith("tiny/.partial/gguf-q4_1/")]
    assert left == []
    assert (tree(host) != []) is case.kept
    # With the hub well again: what was kept does not come again.
    hub.misbehave()
    before = received.total()
    is_stored(host, model)
    again = received.total() - before
    assert again < len(data) if case.kept else again == len(data)


@pytest.mark.parametrize("seed", range(6))
def test_half_of_all_requests_fail(host, hub, received, monkeypatch, seed):
    model = hub_model(hub, {"tiny.gguf": LARGE, "sound.gguf": SOUND})
    monkeypatch.setattr(web, "PATIENT", STUBBORN)
    hub.misbehave(
        *(
            Mischief(
                "status", status=status, retry_after=wait, probability=0.206, seed=10 * seed + n
            )
            for n, (status, wait) in enumerate(ILL)
        )
    )
    assert fetch_model(host, "/models", model).changed
    assert received.total() == len(LARGE) + len(SOUND)
    answers = Counter(request.status for request in hub.requests)
    failed = answers[429] + answers[500] + answers[408]
    assert failed > answers.total() / 5, answers


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


RETRY_AFTER = {"seconds": lambda: "1", "date": lambda: formatdate(time.time() + 2, usegmt=True)}


@pytest.mark.parametrize("form", RETRY_AFTER)
def test_a_server_is_asked_again_when_it_said(host, hub, monkeypatch, form):
    model = hub_model(hub, {"tiny.gguf": SOUND})
    monkeypatch.setattr(web, "PATIENT", replace(HASTY, longest_retry_after=3))
    told = RETRY_AFTER[form]()
    hub.misbehave(
        Mischief("status", status=429, first=1),
        Mischief("header", text=f"Retry-After: {told}", first=1),
    )
    begin = time.monotonic()
    is_stored(host, model)
    assert 0.9 < time.monotonic() - begin < 3


def test_a_whole_partial_file_is_not_asked_for(host, hub, monkeypatch):
    """A server would answer 416: nothing is left to ask for."""
    model = hub_model(hub, {"tiny.gguf": LARGE})
    with monkeypatch.context() as patch:
        patch.setattr(single, "settle", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch_model(host, "/models", model)
    hub.forget()
    hub.misbehave(Mischief("status", status=416))
    is_stored(host, model)
    assert hub.requests == []
