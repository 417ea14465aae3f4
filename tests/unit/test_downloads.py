"""What an answer's headers say, and which hosts a fetch may be led to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from email.utils import formatdate
from time import time
from urllib.parse import urlsplit

import pytest

from local_opus.host.downloads import Answer, DownloadError, get
from local_opus.host.leading import RefusedHostError, TrustedHosts, is_public


def answer(**headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(200, named, iter(()), "https://host/", {})


NUMBERS = {"0": 0, "17": 17, "": None, "-1": None, "+1": None, "1.5": None, "1_0": None, "٣": None,
           "5, 5": None, "0x10": None, "9" * 19: 10**19 - 1, "9" * 20: None}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), NUMBERS.items())
def test_a_number_is_plain_or_none(text, expected):
    assert answer(content_length=text).number("content-length") == expected
    assert answer().number("content-length") is None


def at(seconds: float) -> str:
    return formatdate(time() + seconds, usegmt=True)


#: What a server sends, and the seconds it means. Dates are made when they are asked for.
WAITS: dict[str, tuple[str | Callable[[], str], float | None]] = {
    "none": ("", None),
    "zero": ("0", 0),
    "seconds": (" 120 ", 120),
    "a day": ("86400", 86_400),
    "negative": ("-5", None),
    "not a whole number": ("1.5", None),
    "more than a number has": ("9" * 30, None),
    "words": ("in a while", None),
    "a date": (lambda: at(100), 100),
    "a date that is over": (lambda: at(-100), 0),
    "a date of the old form": (lambda: formatdate(time() + 100).removesuffix(" -0000"), 100),
    "a date without a zone": (lambda: formatdate(time() + 100), 100),
    "no such date": ("Mon, 99 Foo 2030 25:61:61 GMT", None),
    "a date beyond all": ("Mon, 01 Jan 99999 00:00:00 GMT", None),
}


@pytest.mark.parametrize("name", WAITS)
def test_how_long_a_server_asks_to_wait(name):
    text, expected = WAITS[name]
    found = answer(retry_after=text() if callable(text) else text).retry_after
    assert found is expected or found == pytest.approx(expected, abs=5)


def test_no_word_of_waiting():
    assert answer().retry_after is None


ADDRESSES = {
    "8.8.8.8": True, "2606:4700::1111": True,
    "10.1.2.3": False, "172.31.0.1": False, "192.168.0.1": False, "127.0.0.1": False,
    "169.254.169.254": False, "100.64.0.1": False, "0.0.0.0": False, "255.255.255.255": False,
    "::1": False, "::": False, "fe80::1%eth0": False, "fd12::1": False, "::ffff:10.0.0.1": False,
    "::ffff:8.8.8.8": True, "2001:db8::1": False,
}  # fmt: skip


@pytest.mark.parametrize(("address", "public"), ADDRESSES.items())
def test_which_addresses_are_public(address, public):
    assert is_public(address) is public


#: The address that was asked, what it answers as Location, and where that leads; None: nowhere.
REDIRECTS = {
    "https to https": ("https://a/x", "https://b/y", "https://b/y"),
    "to another path": ("https://a/x/z", "/y", "https://a/y"),
    "without a scheme": ("https://a/x", "//b/y", "https://b/y"),
    "https to http": ("https://a/x", "http://b/y", None),
    "https to http, both trusted": ("https://own/x", "http://cdn/y", None),
    "http to http, both trusted": ("http://own/x", "http://cdn/y", "http://cdn/y"),
    "whatever the case": ("http://own/x", "http://CDN/y", "http://CDN/y"),
    "http to http, one trusted": ("http://own/x", "http://b/y", None),
    "http to http, none trusted": ("http://a/x", "http://cdn/y", None),
    "http to https": ("http://own/x", "https://b/y", "https://b/y"),
    "with a name": ("https://a/x", "https://me@b/y", None),
    "with a password": ("https://a/x", "https://me:it@b/y", None),
    "another scheme": ("https://a/x", "ftp://b/y", None),
    "a file": ("https://a/x", "file:///etc/shadow", None),
    "no host, so the same": ("https://a/x", "https:///y", "https://a/y"),
    "no host of another scheme": ("http://a/x", "https:///y", None),
    "no address": ("https://a/x", "https://[/y", None),
}


@pytest.mark.parametrize("name", REDIRECTS)
def test_where_a_redirect_may_lead(name):
    url, location, expected = REDIRECTS[name]
    trusted = TrustedHosts(["own", "CDN"])
    if expected is not None:
        assert trusted.allowed(url, location, urlsplit(url)) == expected
        return
    with pytest.raises(RefusedHostError, match="it redirects to"):
        trusted.allowed(url, location, urlsplit(url))


@pytest.mark.parametrize(("url", "told"), [("http://own/x", True), ("https://own/x", False)])
def test_a_redirect_that_the_user_may_allow_says_how(url, told):
    with pytest.raises(RefusedHostError) as caught:
        TrustedHosts(["own"]).allowed(url, "http://cdn/y", urlsplit(url))
    assert ("LOCAL_OPUS_TRUSTED_HOSTS" in str(caught.value)) is told


def test_a_connection_that_ends_is_told_in_words():
    """Not as the objects that requests puts around it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def hang_up() -> None:
            connection, _ = server.accept()
            connection.recv(65536)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(DownloadError) as caught, get(f"http://127.0.0.1:{port}/x"):
            pass
        thread.join()
    assert str(caught.value) == "Remote end closed connection without response"
