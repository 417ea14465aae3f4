"""What an install leaves for the service: a folder with its manifest, configs, the program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
from servers import is_ready, wait_for

from local_opus.host import Host
from local_opus.values import Trust
from local_opus.weights import manifest as manifests
from local_opus.weights.digest import Hasher
from models import CHECKOUT


def listed(folder: Path) -> None:
    """Write the manifest of a folder."""
    entries = []
    for path in sorted(folder.iterdir()):
        hasher = Hasher()
        hasher.update(path.read_bytes())
        digests = hasher.result()
        entries.append(
            manifests.ManifestFile(
                path=path.name,
                size=digests.size,
                sha256=str(digests.sha256),
                blake3=str(digests.blake3),
                origin=manifests.WheelOrigin(requirement="a==1", member="a"),
                trust=Trust.PINNED,
            )
        )
    manifest = manifests.Manifest(
        model="m", variant="v", created_by="t", context_length=8192, files=tuple(entries)
    )
    manifests.write(Host(), str(folder), manifest)


def config(folder: Path, model: Path, port: int) -> Path:
    """Write the four files of an install."""
    files = {
        "model": {"model": "m", "name": "M", "quantization": "Q4_1", "license": "MIT",
                  "prompt_format": None, "folder": str(model), "device": "CPU",
                  "context_length": None},
        "generation": {"temperature": 0.7, "top_p": 0.95, "max_tokens": 99},
        "openvino": {"cache_size_gb": 1, "properties": {}},
        "server": {"host": "127.0.0.1", "port": port, "max_queue": 9,
                   **{f"{name}_config": f"{folder}/{name}.json"
                      for name in ("model", "generation", "openvino")}},
    }  # fmt: skip
    for name, document in files.items():
        (folder / f"{name}.json").write_text(json.dumps({"schema_version": 1, **document}))
    return folder / "server.json"


#: Seconds that a start may take here, where other tests run at the same time.
LOAD = 150
COMMAND = (sys.executable, "-s", "-P", "-m", "local_opus.serve", "--config")


class Service:
    """``local_opus.serve`` as a service runs it."""

    def __init__(self, path: Path, port: int, **environ: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [*COMMAND, str(path)],
            env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src"), **environ},
            stderr=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> None:
        """Wait until it answers."""
        wait_for(lambda: is_ready(self.url) or self.process.poll() is not None, LOAD)
        assert self.process.poll() is None, self.process.communicate()[1]

    def health(self) -> dict[str, object]:
        return httpx.get(f"{self.url}/health").json()

    def stop(self) -> str:
        """End it; return what it said."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.communicate(timeout=20)[1]
        finally:
            self.process.kill()

    def end(self) -> tuple[int, str]:
        """Wait for its end; return the exit code and what it said."""
        said = self.process.communicate(timeout=LOAD)[1]
        return self.process.returncode, said

    def engine(self) -> int | None:
        try:
            return httpx.get(f"{self.url}/health").json()["engine"]["pid"]
        except httpx.TransportError:
            return None
