"""The hub of the tests as a server: ranges, many clients, its end, https."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests
from raw_http import ask

from hub import Hub, Mischief
from hub.tls import make_certificate

DATA = bytes(range(256)) * 8
SIZE = len(DATA)
PLAIN = "/some/repo/resolve/main/notes.txt"


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """A client that nothing around changes."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        hub.add("some/repo", {"notes.txt": DATA})
        yield hub


RANGES = {
    None: (200, None, DATA),
    "bytes=0-": (206, f"bytes 0-{SIZE - 1}/{SIZE}", DATA),
    "bytes=5-9": (206, f"bytes 5-9/{SIZE}", DATA[5:10]),
    f"bytes=9-{SIZE + 50}": (206, f"bytes 9-{SIZE - 1}/{SIZE}", DATA[9:]),
    "bytes=-10": (206, f"bytes {SIZE - 10}-{SIZE - 1}/{SIZE}", DATA[-10:]),
    "bytes=9-5": (200, None, DATA),
    "bytes=0-1,5-6": (200, None, DATA),
    f"bytes={SIZE}-": (416, f"bytes */{SIZE}", b""),
}


@pytest.mark.parametrize(("asked", "expected"), RANGES.items())
def test_a_range_is_answered(hub, asked, expected):
    headers = {} if asked is None else {"Range": asked}
    seen = ask(hub.url + PLAIN, **headers)
    assert (seen.status, seen.headers.get("content-range"), seen.body) == expected
    assert seen.length == len(seen.body)
    (request,) = hub.requests
    assert (request.range, request.sent) == (asked, len(seen.body))


def test_a_range_of_another_etag_brings_the_whole(hub):
    etag = ask(hub.url + PLAIN, "HEAD").headers["etag"]
    assert ask(hub.url + PLAIN, Range="bytes=9-", If_Range=etag).status == 206
    assert ask(hub.url + PLAIN, Range="bytes=9-", If_Range='"another"').status == 200


def test_many_are_served_at_the_same_time_over_lasting_connections(hub):
    hub.misbehave(Mischief("hang", seconds=0.25))  # one after the other: 8 s
    bodies: list[bytes] = []

    def work() -> None:
        with requests.Session() as session:
            session.trust_env = False
            bodies.extend(session.get(hub.url + PLAIN, timeout=10).content for _ in range(2))

    threads = [threading.Thread(target=work) for _ in range(16)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bodies == [DATA] * 32
    assert time.monotonic() - begin < 6


def test_it_ends_at_once_whatever_its_clients_do(session):
    with Hub([Mischief("stall", at=1)]) as hub:
        hub.add("some/repo", {"notes.txt": DATA})
        before = threading.active_count()
        ask(hub.url + PLAIN, seconds=0.05)
        where = ("127.0.0.1", urlsplit(hub.url).port)
        with socket.create_connection(where) as idle:
            session.get(hub.url + "/api/models/some/repo", timeout=10)
            begin = time.monotonic()
            hub.stop()
            assert time.monotonic() - begin < 3
            assert idle.recv(1) == b""
    assert threading.active_count() <= before


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory):
    made = make_certificate(tmp_path_factory.mktemp("tls"))
    if made is None:
        pytest.skip("this machine has no openssl")
    return made


@pytest.mark.parametrize("cdn_tls", [True, False])
def test_it_speaks_https_and_may_lead_to_http(certificate, session, cdn_tls):
    with Hub(tls=certificate.context(), cdn_tls=cdn_tls) as hub:
        session.verify = str(certificate.path)
        hub.add("some/repo", {"tiny.gguf": DATA})
        answer = session.get(hub.url + "/some/repo/resolve/main/tiny.gguf", timeout=10)
        assert answer.content == DATA
        assert answer.url.startswith("https:" if cdn_tls else "http:")


def test_who_does_not_trust_its_certificate_gets_nothing(certificate, session):
    with Hub(tls=certificate.context()) as hub:
        with pytest.raises(requests.exceptions.SSLError):
            session.get(hub.url + PLAIN, timeout=10)
        assert hub.requests == []
