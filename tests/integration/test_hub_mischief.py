"""What the hub of the tests does when it is told to misbehave, seen byte by byte."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests
from raw_http import ask

from hub import Hub, Mischief

DATA = bytes(range(256)) * 8
OTHER = DATA[::-1]
SIZE = len(DATA)
HALF = {"Range": f"bytes={SIZE // 2}-"}
PLAIN = "/some/repo/resolve/main/notes.txt"


@pytest.fixture(scope="module")
def served() -> Iterator[Hub]:
    with Hub() as hub:
        repository = hub.add("some/repo", {"notes.txt": OTHER, "tiny.gguf": OTHER})
        repository.tags["old"] = repository.head
        repository.commit({"notes.txt": DATA, "tiny.gguf": DATA})
        yield hub


@pytest.fixture
def hub(served: Hub) -> Iterator[Hub]:
    served.forget()
    yield served
    served.misbehave()


WHOLE = {"status": 200, "length": SIZE, "body": DATA}
REST = {"status": 206, "length": SIZE // 2, "body": DATA[SIZE // 2 :]}
TOLD = {
    "truncated": (Mischief("truncate", at=700), {}, WHOLE | {"body": DATA[:700]}),
    "truncated at once": (Mischief("truncate"), {}, WHOLE | {"body": b""}),
    "no length": (Mischief("no_length"), {}, WHOLE | {"length": None}),
    "chunked": (
        Mischief("no_length", framing="chunked"),
        {},
        WHOLE | {"length": None, "body": b"800\r\n" + DATA + b"\r\n0\r\n\r\n"},
    ),
    "too long": (Mischief("wrong_length", by=9), {}, WHOLE | {"length": SIZE + 9}),
    "too short": (Mischief("wrong_length", by=-9), {}, WHOLE | {"length": SIZE - 9}),
    "flipped": (
        Mischief("flip", at=3),
        {},
        WHOLE | {"body": DATA[:3] + b"\xfc" + DATA[4:]},
    ),
    "flipped in a range": (
        Mischief("flip", at=SIZE // 2),
        HALF,
        REST | {"body": b"\xff" + DATA[SIZE // 2 + 1 :]},
    ),
    "not flipped outside of the range": (Mischief("flip", at=3), HALF, REST),
    "range ignored": (Mischief("ignore_range"), HALF, WHOLE | {"range": None}),
    "range shifted": (
        Mischief("shift_range", by=-8),
        HALF,
        REST
        | {
            "body": DATA[SIZE // 2 - 8 : -8],
            "range": f"bytes {SIZE // 2 - 8}-{SIZE - 9}/{SIZE}",
        },
    ),
    "another start": (
        Mischief("wrong_range", by=8),
        HALF,
        REST | {"range": f"bytes {SIZE // 2 + 8}-{SIZE + 7}/{SIZE}"},
    ),
    "another total": (
        Mischief("wrong_range", by=0, total=1),
        HALF,
        REST | {"range": f"bytes {SIZE // 2}-{SIZE - 1}/{SIZE + 1}"},
    ),
    "416": (
        Mischief("status", status=416),
        HALF,
        {"status": 416, "body": b"", "range": f"bytes */{SIZE}"},
    ),
    "429": (
        Mischief("status", status=429, retry_after=7),
        {},
        {"status": 429, "retry-after": "7"},
    ),
    "408": (Mischief("status", status=408), {}, {"status": 408}),
    "500": (Mischief("status"), {}, {"status": 500, "body": b""}),
    "another etag": (Mischief("etag", text="other"), {}, WHOLE | {"etag": '"other"'}),
    "another commit": (
        Mischief("commit", text="ab" * 20),
        {},
        WHOLE | {"x-repo-commit": "ab" * 20},
    ),
    "another etag in the middle": (
        Mischief("etag", text="other", ranged=True),
        HALF,
        REST | {"etag": '"other"'},
    ),
    "no etag": (Mischief("no_header", text="ETag"), {}, WHOLE | {"etag": None}),
    "a header": (Mischief("header", text="X-Own: 1"), {}, WHOLE | {"x-own": "1"}),
    "redirect": (
        Mischief("redirect", to="http://192.168.1.1"),
        {},
        {"status": 302, "location": "http://192.168.1.1" + PLAIN},
    ),
    "redirect elsewhere": (
        Mischief("redirect", to="http://example.org/x", keep_path=False),
        {},
        {"status": 302, "location": "http://example.org/x"},
    ),
    "page": (
        Mischief("page", status=200, text="{]", content_type="application/json"),
        {},
        {"status": 200, "body": b"{]", "content-type": "application/json"},
    ),
    "expired": (Mischief("expire"), {}, {"status": 403}),
    "another revision": (Mischief("other_revision", revision="old"), {}, WHOLE | {"body": OTHER}),
    "part of another revision": (
        Mischief("other_revision", revision="old"),
        HALF,
        REST | {"body": OTHER[SIZE // 2 :]},
    ),
    "not for others": (Mischief("status", path="*.gguf"), {}, WHOLE),
    "not for the cdn alone": (Mischief("status", on="cdn"), {}, WHOLE),
    "not for HEAD alone": (Mischief("status", method="HEAD"), {}, WHOLE),
    "not without a range": (Mischief("status", ranged=True), {}, WHOLE),
    "not with a range": (Mischief("status", ranged=False), HALF, REST),
}


@pytest.mark.parametrize(("rule", "headers", "expected"), TOLD.values(), ids=TOLD.keys())
def test_it_does_as_it_is_told(hub, rule, headers, expected):
    hub.misbehave(rule)
    seen = ask(hub.url + PLAIN, **headers)
    found = {"status": seen.status, "length": seen.length, "body": seen.body}
    found["range"] = seen.headers.get("content-range")
    assert {name: found.get(name, seen.headers.get(name)) for name in expected} == expected
    untouched = expected in (WHOLE, REST)
    assert hub.requests[0].mischief == ([] if untouched else [rule.kind])


def test_a_loop_leads_back(hub):
    hub.misbehave(Mischief("loop"))
    assert ask(hub.url + PLAIN).headers["location"] == hub.url + PLAIN


def test_a_portal_is_a_page_with_status_200(hub):
    hub.misbehave(Mischief("portal"))
    for path in (PLAIN, "/api/models/some/repo"):
        seen = ask(hub.url + path)
        assert (seen.status, seen.body[:15]) == (200, b"<!DOCTYPE html>")


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_is_dropped_without_an_answer(hub, reset):
    hub.misbehave(Mischief("drop", reset=reset))
    assert ask(hub.url + PLAIN) is None


@pytest.mark.parametrize("framing", ["close", "chunked", "length"])
def test_an_endless_body_has_no_end(hub, framing):
    hub.misbehave(Mischief("endless", framing=framing))
    seen = ask(hub.url + PLAIN, most=1 << 20)
    assert len(seen.body) > 10 * SIZE
    assert (seen.length or 0) in {0, 2**62}


def test_a_slow_body_comes_at_its_rate(hub):
    hub.misbehave(Mischief("slow", rate=SIZE * 5))
    begin = time.monotonic()
    assert ask(hub.url + PLAIN).body == DATA
    assert time.monotonic() - begin >= 0.2


def test_a_stalled_body_pauses(hub):
    hub.misbehave(Mischief("stall", at=100, seconds=0.3))
    assert ask(hub.url + PLAIN, seconds=0.1).body == DATA[:100]
    assert ask(hub.url + PLAIN).body == DATA


def test_a_hanging_answer_comes_late(hub):
    hub.misbehave(Mischief("hang", seconds=0.2))
    assert ask(hub.url + PLAIN, seconds=0.05) is None
    assert ask(hub.url + PLAIN).body == DATA


def test_text_is_packed_for_who_accepts_it(hub):
    hub.misbehave(Mischief("gzip"))
    assert ask(hub.url + PLAIN, **HALF).status == 206
    packed = requests.get(hub.url + PLAIN, headers=HALF, timeout=10)
    assert (packed.status_code, packed.headers["Content-Encoding"]) == (200, "gzip")
    assert packed.content == DATA


def test_a_rule_strikes_the_first_requests_alone(hub):
    hub.misbehave(Mischief("status", skip=1, first=2))
    assert [ask(hub.url + PLAIN).status for _ in range(5)] == [200, 500, 500, 200, 200]


def test_a_rule_for_bodies_does_not_count_redirects(hub):
    hub.misbehave(Mischief("truncate", at=1, first=1))
    got = hub.url + "/some/repo/resolve/main/tiny.gguf"
    location = ask(got).headers["location"]
    assert urlsplit(location).netloc == urlsplit(hub.cdn_url).netloc
    assert ask(location).body == DATA[:1]
    assert ask(location).body == DATA
    assert ask(location.replace("Signature=", "Signature=0")).status == 403


def test_half_of_all_requests_are_the_same_half_each_time(hub):
    outcomes = []
    for _ in range(2):
        hub.misbehave(Mischief("status", status=503, probability=0.5, seed=4))
        outcomes.append([ask(hub.url + PLAIN).status for _ in range(40)])
    assert outcomes[0] == outcomes[1]
    assert 8 < outcomes[0].count(503) < 32


def test_an_unknown_mischief_is_refused():
    with pytest.raises(ValueError, match="no such mischief: sing"):
        Mischief("sing")
