"""The server as a process: how it starts, tells systemd, and ends."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading

import httpx
import pytest
from servers import RealServer, free_port, is_ready, wait_for

from local_opus.server.listening import bind
from models import CHECKOUT


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "local_opus.server", *arguments],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def config(folder, **fields) -> str:
    document = {"schema_version": 1, "model": "m", "model_folder": "/m", "context_length": 99}
    path = folder / "server.json"
    path.write_text(json.dumps({**document, **fields}))
    return str(path)


def test_a_taken_port_is_one_line_and_exit_code_2(tmp_path):
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        done = run("--config", config(tmp_path, port=port))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"port {port} on 127.0.0.1 is taken" in line


def test_an_address_of_another_machine_is_exit_code_4(tmp_path):
    done = run("--config", config(tmp_path, host="192.0.2.1"))
    assert done.returncode == 4
    assert "192.0.2.1:8000" in done.stderr


def test_a_bad_config_names_file_and_field(tmp_path):
    path = config(tmp_path, prot=1)
    done = run("--config", path)
    assert done.returncode == 2
    assert f"{path}: prot: no such field." in done.stderr


def test_weights_that_cannot_be_loaded_end_it(tmp_path):
    done = run("--config", config(tmp_path, port=free_port(), model_folder=str(tmp_path)))
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "m on CPU: the engine failed" in last
    assert str(tmp_path) in last


@pytest.fixture
def told(tmp_path, monkeypatch):
    """What systemd is told. It reads at once: ten messages that wait would hold up the server."""
    messages: queue.Queue[str] = queue.Queue()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        def listen() -> None:
            while message := sock.recv(4096):
                messages.put(message.decode())

        reader = threading.Thread(target=listen)
        reader.start()
        yield messages
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(tmp_path / "notify"))
        reader.join(10)


def test_systemd_is_told_of_loading_readiness_and_the_end(
    told, tmp_path, model_folder, monkeypatch
):
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    with RealServer(tmp_path, model_folder) as server:
        first = [told.get(timeout=60)]
        while "READY=1" not in first[-1]:
            assert server.process.poll() is None
            first.append(told.get(timeout=60))
        assert is_ready(server.url)
        assert any("STATUS=Loading smollm2-135m" in line for line in first)
        assert any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in first)
        assert "STATUS=Serving smollm2-135m on CPU" in first[-1]
        assert "WATCHDOG=1" in [told.get(timeout=60) for _ in range(3)]
        engine = server.engine_pid()
        body = {"model": "smollm2-135m", "messages": [{"role": "user", "content": "Tell me all."}]}
        with httpx.stream(
            "POST", f"{server.url}/v1/chat/completions", json={**body, "stream": True}, timeout=20
        ) as response:
            assert next(response.iter_text())
            assert server.stop() == 0  # within 10 s, though a client reads
        assert not os.path.exists(f"/proc/{engine}")
        while (last := told.get(timeout=1)) != "STOPPING=1":
            assert last == "WATCHDOG=1"


def test_it_ends_while_it_loads(tmp_path, model_folder):
    with RealServer(tmp_path, model_folder) as server:
        wait_for(lambda: "serving" in server.log.read_text())
        assert server.stop() == 0


def test_a_killed_server_takes_its_engine_with_it(tmp_path, model_folder):
    with RealServer(tmp_path, model_folder) as server:
        wait_for(lambda: is_ready(server.url), 60)
        engine = server.engine_pid()
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        wait_for(lambda: not os.path.exists(f"/proc/{engine}"), 5)
