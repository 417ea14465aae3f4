"""The JSON lines of one run: numbered, ``begin`` first, an error last; see docs/unattended.md."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TextIO

from local_opus import __version__, invocation
from local_opus.errors import ExitCode, LocalOpusError

#: Grows when an event or a field changes its meaning or goes; new ones alone do not make it grow.
SCHEMA_VERSION = 1


class JsonLines:
    """Where the lines of a ``command`` go: to ``stream``, None: to standard output."""

    def __init__(self, command: str, stream: TextIO | None = None) -> None:
        self._command = command
        self._stream = stream
        self._written = 0
        #: Whether the user asked for JSON, with whichever command.
        self.wanted = False
        #: The image that the run is about, once it was opened; None: this machine.
        self.image: str | None = None

    def write(self, event: str, data: Mapping[str, object]) -> None:
        """Write one line; the first is put in front by itself."""
        import json  # noqa: PLC0415 - `--help` loads this file and writes no line

        if not self._written and event != "begin":
            about = {"schema_version": SCHEMA_VERSION, "program": __version__}
            self.write("begin", {**about, "command": self._command})
        self._written += 1
        stream = self._stream or sys.stdout
        stream.write(json.dumps({"event": event, "seq": self._written, **data}) + "\n")
        stream.flush()

    def error(self, error: LocalOpusError, code: ExitCode) -> None:
        """Write the last line of a run that fails."""
        message, remedy, *details = map(
            invocation.as_typed, (error.message, error.remedy, *error.details)
        )
        said = {"message": message, "remedy": remedy, "details": details}
        self.write("error", {**said, "exit_code": int(code)})
