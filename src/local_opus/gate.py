"""The gate that no unproven weights pass: what the server's config names, verified."""

from __future__ import annotations

from local_opus import node_settings
from local_opus.errors import ProblemFoundError
from local_opus.host import Host
from local_opus.server.settings import Settings
from local_opus.server.standing import Proven
from local_opus.weights import manifest as manifests
from local_opus.weights.door import Progress
from local_opus.weights.seen import Seen, changed_since
from local_opus.weights.verify import examine, is_proven


def require_proven(host: Host, folder: str, progress: Progress | None = None) -> Seen:
    """Return what was seen of the files; raise ProblemFoundError unless every one is real.

    Files whose size, inode and times are as they were when they were hashed are believed; the
    others are hashed again, so a copied or touched file costs time, not trust.
    """
    examined = examine(host, folder, quick=True, progress=progress)
    verdicts = examined.verdicts
    if not is_proven(verdicts):
        bad = next((item for item in verdicts if item.verdict != "real"), None)
        what = f"{bad.path}: {bad.verdict.value}: {bad.evidence}" if bad else "no files"
        raise ProblemFoundError(
            f"{folder}: {what}",
            "The server loads proven weights alone: install again to repair them.",
        )
    return examined.seen


def prove(host: Host, config: str, progress: Progress | None = None) -> Proven:
    """Return the settings at ``config``, and what says which weights are no longer those proven.

    The engine opens files by their names, later than they are verified here, and again when it is
    started anew: each time it says that they are loaded, that is asked. Raises ProblemFoundError
    as ``require_proven`` does, BadInputError and PermissionError as ``read_settings``.
    """
    folder = node_settings.read_settings(host, config).model_folder
    seen = require_proven(host, folder, progress)
    # Again: what they say of the weights is from a manifest that was not verified yet.
    settings = node_settings.read_settings(host, config)
    if settings.model_folder != folder:
        raise ProblemFoundError(
            f"{config}: was changed while the weights were verified", "Start the server again."
        )
    return Proven(settings, lambda: changed_since(host, folder, seen))


def prove_settings(host: Host, settings: Settings, progress: Progress | None = None) -> Proven:
    """Return ``settings`` with what the weights in their folder say now, proven as in ``prove``."""
    folder = settings.model_folder
    seen = require_proven(host, folder, progress)
    found, digest = manifests.read_with_digest(host, folder)
    tokens = min(settings.context_length, found.context_length or settings.context_length)
    now = settings.model_copy(update={"weights_digest": digest, "context_length": tokens})
    return Proven(now, lambda: changed_since(host, folder, seen))
