"""The worker that keeps a core busy: what a scheduling priority is measured beside.

It answers its first message, and then calculates until it is ended or its parent dies.
"""

from __future__ import annotations

import sys
from typing import cast

from local_opus.children import die_with_parent
from local_opus.runtime import protocol, worker


def main() -> int:
    """Answer once, and be busy."""
    die_with_parent()
    out = worker.take_standard_output()
    if protocol.read(sys.stdin.buffer) is None:
        return 0
    protocol.write(out, cast("protocol.Message", {"busy": True}))
    number = 1
    while True:
        number = number * 6364136223846793005 + 1442695040888963407 & 0xFFFFFFFFFFFFFFFF


if __name__ == "__main__":
    raise SystemExit(main())
