"""A real server with the real model that runs without systemd: what it is given, and what shows."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from servers import free_port, wait_for

from local_opus import node
from local_opus.errors import KeyNeededError
from local_opus.host import Host
from local_opus.keys import node_key, ring
from local_opus.locations import Locations, locate
from local_opus.node import Serving
from local_opus.values import Scope
from models import CHECKOUT

USERS = "sk-lo-" + "u" * 40


class Detached:
    """A node of a user's own, in a home of its own."""

    def __init__(self, folder: Path, model: Path) -> None:
        environ = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "LOCAL_OPUS_API_KEY": USERS}
        self.host = Host("/", environ)
        self.places: Locations = locate(Scope.USER, environ)
        self.keys = ring.add(self.host, self.places, ["agent"]).keys
        ring.add(self.host, self.places, ["user"], USERS)
        self.port = free_port()
        config = folder / "server.json"
        config.write_text(
            json.dumps(
                {
                    "schema_version": 1,
                    "port": self.port,
                    "model": "smollm2-135m",
                    "model_folder": str(model),
                    "context_length": 8192,
                    "keys": "required",
                }
            )
        )
        self.command = ["/usr/bin/env", f"PYTHONPATH={CHECKOUT / 'src'}", sys.executable, "-P", "-m",
                        "local_opus.server", "--config", str(config)]  # fmt: skip
        self.running: Serving = node.start_detached(self.host, self.places, self.command)

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", headers=headers)

    def is_up(self) -> bool:
        try:
            return self.get("/ready", **{"x-api-key": USERS}).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def detached(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Iterator[Detached]:
    made = Detached(tmp_path_factory.mktemp("home"), model_folder)
    try:
        wait_for(made.is_up, 60)
        yield made
    finally:
        node.stop_detached(made.host, made.places, made.running)


def test_it_wants_a_key(detached: Detached) -> None:
    assert detached.get("/health").status_code == 401
    assert detached.get("/health", authorization=f"Bearer {detached.keys['agent']}").is_success


def test_its_owners_tools_ask_with_the_nodes_key_and_a_users_with_his(detached: Detached) -> None:
    for environ in (detached.host.environ, {"HOME": detached.host.environ["HOME"]}):
        host = Host("/", environ)
        with pytest.raises(KeyNeededError):
            node.ask_ready(host, "127.0.0.1", detached.port)
        host = Host("/", environ)
        node_key.use(host, detached.places)
        found = node.ask_ready(host, "127.0.0.1", detached.port)
        assert found is not None
        assert found["model"] == "smollm2-135m"


def test_no_process_of_the_node_shows_a_key(detached: Detached) -> None:
    engine = int(detached.get("/health", **{"x-api-key": USERS}).json()["engine"]["pid"])
    own = node_key.read(Host("/", {"HOME": "/nowhere"}), detached.places)
    assert own is not None
    words = [*detached.keys.values(), USERS, own]
    for pid in (detached.running.pid, engine):
        said = b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("environ", "cmdline"))
        assert not [word for word in words if word.encode() in said]
        assert (b"CREDENTIALS_DIRECTORY=" in said) is (pid != engine)
    # Nor does its log, or any file of the home.
    for path in Path(str(detached.host.environ["HOME"])).rglob("*"):
        if path.is_file() and path.name != "node-key":
            assert not [word for word in words if word.encode() in path.read_bytes()], path


def test_what_it_was_given_goes_with_it(detached: Detached) -> None:
    folder = Path(detached.places.runtime) / "credentials"
    assert [path.name for path in folder.iterdir()] == ["api-keys"]
    node.stop_detached(detached.host, detached.places, detached.running)
    assert not folder.exists()


def test_a_damaged_credential_keeps_it_from_serving(detached: Detached) -> None:
    kept = Path(detached.places.credentials) / "api-keys"
    sound = kept.read_bytes()
    kept.write_bytes(sound[:-40])
    try:
        running = node.start_detached(detached.host, detached.places, detached.command)
        wait_for(lambda: node.serving(detached.host, detached.places) is None)
        log = Path(detached.places.server_log).read_text()
        assert "api-keys: the credential: is no JSON" in log
        assert "Traceback" not in log
        node.stop_detached(detached.host, detached.places, running)
    finally:
        kept.write_bytes(sound)
