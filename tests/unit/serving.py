"""The configs of a server that loads a folder of weights."""

from __future__ import annotations

import json

from local_opus.host import Host
from local_opus.locations import Locations


def serve(host: Host, places: Locations, folder: str) -> None:
    """Write what an install writes, as far as it says which weights are loaded."""
    server = {
        "schema_version": 1,
        "host": "127.0.0.1",
        "port": 8000,
        "max_queue": 1,
        **{
            f"{name}_config": f"{places.config}/{name}.json"
            for name in ("model", "generation", "openvino")
        },
    }
    model = {
        "schema_version": 1,
        **dict.fromkeys(("model", "name", "quantization", "license"), "tiny"),
        "prompt_format": None,
        "folder": folder,
        "device": "CPU",
        "context_length": None,
    }
    host.files.make_folders(places.config)
    host.files.write_atomic(places.server_config, json.dumps(server).encode())
    host.files.write_atomic(f"{places.config}/model.json", json.dumps(model).encode())
