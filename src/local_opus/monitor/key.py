"""The node's own key, where servers ask for one: systemd hands it to the unit as a credential."""

from __future__ import annotations

from collections.abc import Mapping

from local_opus.host import Host

#: The credential's name in the unit; systemd.exec(5) has the folder.
CREDENTIAL = "node-key"
_FOLDER = "CREDENTIALS_DIRECTORY"


def headers(host: Host) -> Mapping[str, str]:
    """Return the headers that a server with keys asks for; none where there is no key here."""
    folder = host.environ.get(_FOLDER, "")
    if not folder.startswith("/"):
        return {}
    try:
        key = host.files.read_text(f"{folder}/{CREDENTIAL}", 4096).strip()
    except OSError:
        return {}
    return {"Authorization": f"Bearer {key}"} if key and key.isprintable() else {}
