"""``python -m local_opus.serve --config FILE``: what the service runs.

Puts the server together: its config files, and the gate that no unproven weights pass. The server
room itself knows neither the host nor where configs lie.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from local_opus import node
from local_opus.errors import LocalOpusError, ProblemFoundError
from local_opus.host import Host
from local_opus.report import errors
from local_opus.server.main import run
from local_opus.server.settings import Settings
from local_opus.weights.seen import Seen, changed_since
from local_opus.weights.verify import examine, is_proven


def require_proven(host: Host, folder: str) -> Seen:
    """Return what was seen of the files; raise ProblemFoundError unless every one is real.

    Files whose size, inode and times are as they were when they were hashed are believed; the
    others are hashed again, so a copied or touched file costs time, not trust.
    """
    examined = examine(host, folder, quick=True)
    verdicts = examined.verdicts
    if not is_proven(verdicts):
        bad = next((item for item in verdicts if item.verdict != "real"), None)
        what = f"{bad.path}: {bad.verdict.value}: {bad.evidence}" if bad else "no files"
        raise ProblemFoundError(
            f"{folder}: {what}",
            "The server loads proven weights alone: install again to repair them.",
        )
    return examined.seen


def prove(host: Host, config: str) -> tuple[Settings, Callable[[], str | None]]:
    """Return the settings at ``config``, and what says which weights are no longer those proven.

    The engine opens files by their names, later than they are verified here, and again when it is
    started anew: each time it says that they are loaded, that is asked. Raises ProblemFoundError
    as ``require_proven`` does.
    """
    folder = node.read_settings(host, config).model_folder
    seen = require_proven(host, folder)
    # Again: what they say of the weights is from a manifest that was not verified yet.
    settings = node.read_settings(host, config)
    if settings.model_folder != folder:
        raise ProblemFoundError(
            f"{config}: was changed while the weights were verified", "Start the server again."
        )
    return settings, lambda: changed_since(host, folder, seen)


def _denied(error: PermissionError) -> LocalOpusError:
    return LocalOpusError(
        f"{error.filename}: permission denied",
        "Install again: it sets the modes that the service needs.",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server; return its exit code."""
    parser = argparse.ArgumentParser(prog="local_opus.serve", description=__doc__)
    parser.add_argument("--config", required=True, help="the server's settings, a JSON file")
    path = parser.parse_args(arguments).config
    host = Host()
    try:
        return run(*prove(host, path))
    except (LocalOpusError, PermissionError) as caught:
        error = caught if isinstance(caught, LocalOpusError) else _denied(caught)
        errors.tell(error)
        return int(error.exit_code)


if __name__ == "__main__":
    sys.exit(main())
