"""Fetches one model into a store, in a process of its own: what fetch_speed.py measures.

Usage: python bench/fetch_ours.py STORE FILE   (a JSON object: repo, revision, files)
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from local_opus.host import Host
from local_opus.values import CatalogFile, HubSource, License, MemoryNeed, Model
from local_opus.weights.fetch import fetch_model


def model_of(asked: dict[str, object]) -> Model:
    """Return the catalog's entry that pins these files."""
    return Model(
        id="measured",
        name="Measured",
        family="llama",
        parameters="2 B",
        format="openvino-ir",
        quantization="BF16",
        license=License(id="Apache-2.0"),
        context_length=None,
        prompt_format=None,
        devices=(),
        source=HubSource(repo=asked["repo"], revision=asked["revision"]),
        files=tuple(
            CatalogFile(path=path, size=size, sha256=sha256)
            for path, size, sha256 in asked["files"]
        ),
        memory=MemoryNeed(bytes=1, estimated=True, source="bench"),
        figures=("bench",),
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:  # noqa: PLR2004
        raise SystemExit(__doc__)
    store, asked_for = sys.argv[1:]
    model = model_of(json.loads(Path(asked_for).read_text()))
    os.makedirs(store, exist_ok=True)
    stored = fetch_model(Host("/", dict(os.environ)), store, model)
    print(f"{stored.folder}: {len(stored.manifest.files)} files, changed={stored.changed}")
