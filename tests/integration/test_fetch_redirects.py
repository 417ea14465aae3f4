"""Where a hub may lead this machine: to https hosts that are not private, and without its token."""

from __future__ import annotations

import ssl

import pytest
from fetching import TOKEN, host_for, hub_model, tree

from builders import gguf_bytes
from hub import Hub, Mischief
from hub.tls import Certificate, make_certificate
from local_opus.errors import ExitCode, LocalOpusError
from local_opus.host import Host
from local_opus.values import Model
from local_opus.weights.fetch import fetch_model

pytestmark = pytest.mark.usefixtures("hasty")

DATA = gguf_bytes()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    made = make_certificate(tmp_path_factory.mktemp("tls"))
    if made is None:
        pytest.skip("there is no openssl")
    return made


@pytest.fixture
def context(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.path))
    return certificate.context()


def refused(host: Host, model: Model) -> LocalOpusError:
    """Return the error, after a look at what it left: nothing."""
    with pytest.raises(LocalOpusError) as caught:
        fetch_model(host, "/models", model)
    error = caught.value
    assert error.exit_code is ExitCode.FAILED
    assert tree(host) == []
    assert "tiny.gguf" in error.message
    assert TOKEN not in error.message + error.remedy
    assert "\n" not in error.message + error.remedy
    return error


NOT_HTTPS = "which is not https"
PRIVATE = "has the private address"
#: Where the hub leads, and why this program does not go there.
TARGETS = {
    "http://10.0.0.1": NOT_HTTPS,
    "http://192.168.1.1:8080": NOT_HTTPS,
    "http://example.com": NOT_HTTPS,
    "ftp://example.com": NOT_HTTPS,
    "file:///etc/passwd": NOT_HTTPS,
    "javascript:alert(1)//": NOT_HTTPS,
    "https://10.0.0.1": PRIVATE,
    "https://172.16.0.1": PRIVATE,
    "https://192.168.1.1": PRIVATE,
    "https://100.64.0.1": PRIVATE,
    "https://169.254.169.254": PRIVATE,  # where clouds tell a machine its secrets
    "https://127.0.0.2": PRIVATE,
    "https://0.0.0.0": PRIVATE,
    "https://[::1]": PRIVATE,
    "https://[fe80::1]": PRIVATE,
    "https://[fd00::1]": PRIVATE,
    "https://[::ffff:10.0.0.1]": PRIVATE,
    "https://2130706434": PRIVATE,  # 127.0.0.2 as one number
    "https://0x7f.2": PRIVATE,
    "https://user:pass@example.com": "with a name and a password",
    "https://[": "what is no address",
    "https://": NOT_HTTPS,
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("place", ["resolve", "cdn"])
def test_a_redirect_is_not_followed(tmp_path, hub, place, target):
    model = hub_model(hub, {"tiny.gguf": DATA})
    hub.misbehave(Mischief("redirect", on=place, to=target))
    error = refused(host_for(hub, tmp_path / "root"), model)
    assert TARGETS[target] in error.message
    assert "user:pass" not in error.message
    assert len(hub.requests) == (1 if place == "resolve" else 2)


def test_a_name_that_leads_to_a_private_address(tmp_path, context):
    with Hub(tls=context) as hub:
        model = hub_model(hub, {"tiny.gguf": DATA})
        error = refused(host_for(hub, tmp_path / "root", LOCAL_OPUS_TRUSTED_HOSTS=""), model)
        assert "localhost has the private address " in error.message
        assert "LOCAL_OPUS_TRUSTED_HOSTS" in error.message
        assert hub.asked(place="cdn") == []


def test_a_private_address_that_the_user_named(tmp_path, context):
    with Hub(tls=context) as hub:
        model = hub_model(hub, {"tiny.gguf": DATA})
        assert fetch_model(host_for(hub, tmp_path / "root"), "/models", model).changed
        assert {request.token for request in hub.asked(place="cdn")} == {None}


def test_from_https_to_http_though_both_hosts_are_trusted(tmp_path, context):
    with Hub(tls=context, cdn_tls=False) as hub:
        model = hub_model(hub, {"tiny.gguf": DATA})
        error = refused(host_for(hub, tmp_path / "root"), model)
        assert "http://localhost, which is not https" in error.message
        assert hub.asked(place="cdn") == []


def test_a_certificate_that_nobody_vouches_for(tmp_path, certificate):
    with Hub(tls=certificate.context()) as hub:
        model = hub_model(hub, {"tiny.gguf": DATA})
        error = refused(host_for(hub, tmp_path / "root"), model)
        assert "certificate verify failed" in error.message
        assert hub.requests == []


def test_no_token_goes_over_plain_http_to_another_machine(tmp_path, hub, monkeypatch):
    """It is a name here that leads to this machine, as a hub in the own network would have."""
    model = hub_model(hub, {"tiny.gguf": DATA})
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", port))])
    port = int(hub.url.rpartition(":")[2])
    host = host_for(
        hub, tmp_path / "root", HF_ENDPOINT=f"http://hub.lan:{port}",
    )  # fmt: skip
    with pytest.raises(LocalOpusError):
        fetch_model(host, "/models", model)
    assert {request.token for request in hub.requests} == {None}
    assert hub.requests[0].host == f"hub.lan:{port}"
