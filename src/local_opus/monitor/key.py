"""The key that a server with keys is asked with: the node's own, or one in the environment.

The unit gets the node's key as a credential (see ``local_opus.keys``). It is shown to nobody who
does not ask for one, nor to who listens on the port without being a server of this node.
"""

from __future__ import annotations

from collections.abc import Mapping

from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.keys import node_key
from local_opus.monitor.targets import Target


def headers(host: Host, target: Target) -> Mapping[str, str]:
    """Return the headers for a server that wants a key; none where this user has no key."""
    try:
        key = node_key.find(host, target.locations, target.address, target.port)
    except (LocalOpusError, OSError):  # closed to this user, or no key at all: doctor says which
        return {}
    return {} if key is None else {"Authorization": f"Bearer {key}"}
