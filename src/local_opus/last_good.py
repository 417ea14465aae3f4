"""The last settings that the server came to answer with, kept for a config that says nonsense.

They lie where the service may write, in its StateDirectory. What is there is trusted as a config
is, no further: it must have the strict form, and its weights are proven as anyone's are.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Literal

from local_opus.errors import BadInputError
from local_opus.host import Host
from local_opus.server.settings import Settings
from local_opus.validation import parse_json
from local_opus.values import Sha256, Value

NAME = "last-good.json"
#: Set by systemd (StateDirectory=), and by ``node`` for a server without it: folders, by ``:``.
VARIABLE = "STATE_DIRECTORY"


class _File(Value):
    """``last-good.json``; ``sha256`` is that of the settings as they are written here."""

    schema_version: Literal[1]
    #: The config that they were read from: another server's are none of ours.
    config: str
    settings: Settings
    sha256: Sha256


class LastGood:
    """The settings kept for the server of one config; without a state folder, none are kept."""

    def __init__(self, host: Host, config: str, folder: str | None = None) -> None:
        self._host = host
        self._config = config
        given = host.environ.get(VARIABLE, "").split(":")[0]
        self._folder = given if folder is None else folder

    @property
    def path(self) -> str:
        """Where they are kept."""
        return f"{self._folder}/{NAME}"

    def read(self) -> Settings | None:
        """Return them; None where there are none. Raises BadInputError for a file that is damaged.

        Raises PermissionError as reading does.
        """
        if not self._folder:
            return None
        try:
            text = self._host.files.read_text(self.path)
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            if isinstance(error, PermissionError):
                raise
            raise BadInputError(f"{self.path}: can't be read: {error}", "Remove it.") from error
        found = parse_json(_File, text, self.path, "Remove it: it is written anew.")
        if found.sha256 != _digest(found.settings):
            raise BadInputError(f"{self.path}: sha256: is not that of the settings", "Remove it.")
        if found.settings.port == 0:  # nobody would know where to ask
            raise BadInputError(f"{self.path}: settings.port: is 0, any free one", "Remove it.")
        return found.settings if found.config == self._config else None

    def write(self, settings: Settings) -> None:
        """Keep them, atomically, unless they are kept already. Raises OSError."""
        if not self._folder:
            return
        document = {
            "schema_version": 1,
            "config": self._config,
            "settings": settings.model_dump(mode="json"),
            "sha256": _digest(settings),
        }
        content = json.dumps(document, indent=2).encode() + b"\n"
        files = self._host.files
        if files.stat(self.path) is not None and files.read_bytes(self.path) == content:
            return
        if files.stat(self._folder, follow=True) is None:
            files.make_folder(self._folder, mode=0o700)
        files.write_atomic(self.path, content, mode=0o600)


def _digest(settings: Settings) -> str:
    text = json.dumps(settings.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()
