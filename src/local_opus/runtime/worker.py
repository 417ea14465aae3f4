"""What every worker that answers one request has in common.

A worker reads one request frame from its standard input, emits any number of event frames
(``{"event": ...}``) and ends with one frame ``{"result": {...}}`` or ``{"error": {...}}``.
Its frames go to a private copy of standard output; whatever a native library prints goes to
standard error, so it can't break a frame.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Mapping
from typing import BinaryIO

from local_opus.children import die_with_parent
from local_opus.runtime import protocol

#: Sends an event to the parent; safe to call from any thread.
Emit = Callable[[Mapping[str, object]], None]
#: OpenVINO's trail of source lines and checks; it tells a user nothing.
_TRAIL = re.compile(r"(Exception from|Check '.*' failed at) src/\S+:\d+:\s*")
_MAX_TEXT = 500
Handler = Callable[[protocol.Message, Emit], Mapping[str, object]]


def go_offline() -> None:
    """Have the libraries ask no hub, whatever the caller's environment says.

    What a worker needs is on the disk; one that is to fetch says so.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_OFFLINE"] = "1"


def turn_telemetry_off() -> None:
    """Keep openvino_telemetry and huggingface_hub from writing to the home folder or sending.

    OpenVINO imports its telemetry package when it is itself imported and falls back to a stub
    when that fails; there is no setting for it that does not need a file in the home folder.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["DO_NOT_TRACK"] = "1"


def plain(error: BaseException) -> str:
    """Return what OpenVINO says of an error in one line, without the places in its source."""
    lines = [_TRAIL.sub("", line).strip() for line in str(error).splitlines()]
    return " ".join(line for line in lines if line)[:_MAX_TEXT] or type(error).__name__


def last_line(error: BaseException) -> str:
    """Return the last line of what OpenVINO says: those before it trail its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:_MAX_TEXT] if lines else type(error).__name__


def take_standard_output() -> BinaryIO:
    """Return a private stream on standard output and point descriptor 1 at standard error."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "wb")


def answer_one(handler: Handler, *, fetches: bool = False) -> int:
    """Serve one request with ``handler``; return the process's exit code.

    Only one that ``fetches`` may ask a hub: a user has asked it to.

    The handler's exception becomes an error frame with its type and text: the parent decides
    what to tell the user.
    """
    # The end of standard input tells the same, but native code that runs for minutes reads nothing.
    die_with_parent()
    turn_telemetry_off()
    if not fetches:
        go_offline()
    out = take_standard_output()
    request = protocol.read(sys.stdin.buffer)
    if request is None:
        return 2
    lock = threading.Lock()

    def emit(event: Mapping[str, object]) -> None:
        with lock:
            protocol.write(out, event)

    try:
        result = handler(request, emit)
    except Exception as error:  # noqa: BLE001 - a stranger's code may raise anything
        protocol.write(out, {"error": {"type": type(error).__name__, "text": str(error)}})
        return 1
    protocol.write(out, {"result": result})
    return 0
