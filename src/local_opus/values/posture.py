"""The offline posture: what the libraries of a node's processes are told, from one place.

https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables names the hub's
and DO_NOT_TRACK, https://huggingface.co/docs/transformers/installation#offline-mode the other.
openvino_telemetry has no variable that turns it off: ``runtime.worker`` keeps it from being
imported.
"""

from __future__ import annotations

from collections.abc import Mapping

#: The file, in the folder of the configs.
NAME = "posture.env"
VARIABLES: Mapping[str, str] = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
}


def assignments(text: str) -> dict[str, str]:
    """Return what a file of variables says, as systemd reads it (EnvironmentFile=)."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith(("#", ";")):
            found[name.strip()] = value.strip().strip("\"'")
    return found
