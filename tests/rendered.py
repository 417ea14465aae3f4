"""The node's units as an install renders them, with values of their own."""

from __future__ import annotations

from local_opus import install
from local_opus.locations import UNIT
from local_opus.planner.user_sandbox import UserSandbox
from local_opus.render import render

VALUES: dict[str, object] = {
    "python": "/opt/local opus/bin/python",
    "server_config": "/etc/local-opus/server.json",
    "scope": "system",
    "group": "local-opus",
    "state": "local-opus-server",
    "listen": "127.0.0.1:8000",
    "device": "NPU",
    "device_groups": (),
    "private_network": False,
    "trial": False,
    "posture_file": None,
    "user_sandbox": UserSandbox(),
}


def rendered(unit: str = UNIT, **values: object) -> str:
    """Return the text of a unit; what ``values`` do not say is as on a machine of the system."""
    return render(f"{unit}.j2", install.templates(), {**VALUES, **values})
