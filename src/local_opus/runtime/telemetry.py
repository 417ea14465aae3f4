"""Worker: what telemetry could be sent from a process that OpenVINO runs in.

It has turned telemetry off as every worker does, and looks at what came of that.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from local_opus.runtime.worker import Emit, answer_one

_INTEL = "openvino_telemetry"


def handle(request: Mapping[str, object], emit: Emit) -> Mapping[str, object]:  # noqa: ARG001
    """Return the states of Intel's package, the hub's client, its telemetry and DO_NOT_TRACK."""
    sys.dont_write_bytecode = True  # it only looks: the environment stays as it was made
    return {
        "openvino_telemetry": _intel(),
        "hub_telemetry": _hub("HF_HUB_DISABLE_TELEMETRY"),
        "hub": _hub("HF_HUB_OFFLINE"),
        "do_not_track": os.environ.get("DO_NOT_TRACK") == "1",
    }


def _intel() -> str:
    try:
        __import__(_INTEL)
    except ImportError:
        try:
            version(_INTEL)
        except PackageNotFoundError:
            return "not installed"
        return "shut out"
    return "importable"


def _hub(switch: str) -> str:
    try:
        from huggingface_hub import constants
    except ImportError:
        return "not installed"
    return "off" if getattr(constants, switch) else "on"


if __name__ == "__main__":
    sys.exit(answer_one(handle))
