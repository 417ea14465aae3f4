"""Runs in a virtual machine: commands come in by a virtio port, what they left goes out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress

PORTS = "/sys/class/virtio-ports"


def main() -> None:
    """Answer one line of JSON with another, for ever."""
    port = os.open(f"/dev/{os.listdir(PORTS)[0]}", os.O_RDWR)
    path = os.environ["PATH"]
    answer(port, 0, b"", b"")
    while True:
        asked = json.loads(line(port))
        answer(port, *run(asked, path))


def run(asked: dict[str, object], path: str) -> tuple[int, bytes, bytes]:
    """Run one command to its end, or end it with all that it started."""
    command = [str(word) for word in as_list(asked["command"])]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={"PATH": path, **as_dict(asked["environ"])}, cwd=str(asked["folder"]),
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        return 127, b"", f"{command[0]}: {error.strerror}\n".encode()
    try:
        out, err = process.communicate(timeout=float(str(asked["timeout"])))
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
    return process.returncode, out, err


def as_list(value: object) -> list[object]:
    """Return a list of JSON as one."""
    assert isinstance(value, list)
    return value


def as_dict(value: object) -> dict[str, str]:
    """Return an object of JSON as one."""
    assert isinstance(value, dict)
    return value


def answer(port: int, code: int, out: bytes, err: bytes) -> None:
    """Tell what a command left."""
    texts = [text.decode(errors="replace") for text in (out, err)]
    data = json.dumps([code, *texts]).encode() + b"\n"
    while data:
        data = data[os.write(port, data) :]


def line(port: int) -> bytes:
    """Wait for a line; nothing is ever sent before the one before it was answered."""
    got = b""
    while not got.endswith(b"\n"):
        more = os.read(port, 1 << 16)
        if not more:  # nobody is at the other end
            time.sleep(0.1)
        got += more
    return got


if __name__ == "__main__":
    main()
