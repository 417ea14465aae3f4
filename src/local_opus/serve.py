"""``python -m local_opus.serve --config FILE``: what the service runs.

It tells systemd that it starts before it imports what takes long; ``serving`` does the rest.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from local_opus.server.notify import extend


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server; return its exit code."""
    parser = argparse.ArgumentParser(prog="local_opus.serve", description=__doc__)
    parser.add_argument("--config", required=True, help="the server's settings, a JSON file")
    parser.add_argument(
        "--check", action="store_true", help="say whether the settings are sound, and end"
    )
    given = parser.parse_args(arguments)
    if not given.check:
        # The config is yet to be read; `serving` takes this from then on.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        extend("Starting")
    from local_opus import log_rotation, node_settings, serving
    from local_opus.errors import LocalOpusError, MachineCannotError
    from local_opus.host import Host
    from local_opus.report import errors

    host = Host()
    try:
        if given.check:
            node_settings.read_settings(host, given.config)
            return 0
        log_rotation.begin()
        return serving.serve(host, given.config)
    except (LocalOpusError, PermissionError) as caught:
        denied = caught if isinstance(caught, PermissionError) else caught.__cause__
        if isinstance(caught, LocalOpusError) and not isinstance(denied, PermissionError):
            error = caught
        else:  # the next start would end the same way
            error = MachineCannotError(
                f"{getattr(denied, 'filename', None)}: permission denied",
                "Install again: it sets the modes that the service needs.",
            )
        errors.tell(error)
        return int(error.exit_code)


if __name__ == "__main__":
    sys.exit(main())
