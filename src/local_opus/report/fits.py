"""What a model takes of a machine, in one line of sum each, and as JSON holds it."""

from __future__ import annotations

from pydantic import JsonValue

from local_opus.units import size_text
from local_opus.values import DiskFit, MemoryFit

#: Parts that are told as one: nobody can change them.
_OVERHEAD = frozenset({"buffers", "programs"})


def memory_text(fit: MemoryFit) -> str:
    """Return ``weights 4.9 GiB + KV cache 1 GiB (...) + overhead 0.3 GiB = 6.2 GiB of 15 GiB``."""
    words = []
    overhead = 0
    for part in fit.parts:
        if part.name in _OVERHEAD:
            overhead += part.bytes
            continue
        detail = f" ({part.detail})" if part.detail else ""
        words.append(f"{part.name} {size_text(part.bytes)}{detail}")
    words.append(f"overhead {size_text(overhead)}")
    about = "about " if fit.estimated else ""
    have = "" if fit.usable is None else f" of {size_text(fit.usable)} usable"
    whose = f" {fit.whose}" if fit.whose else ""
    return f"{' + '.join(words)} = {about}{size_text(fit.bytes)}{have}{whose}"


def disk_text(fit: DiskFit) -> str:
    """Return ``fetched 4.9 GiB + converted 5.8 GiB = 11.2 GiB of 76 GiB free``."""
    if not fit.bytes:
        return "nothing: it is in the store"
    named = (
        ("fetched", fit.fetched),
        ("converted", fit.converted),
        ("environment", fit.environment),
        ("margin", fit.margin),
    )
    words = [f"{name} {size_text(size)}" for name, size in named if size]
    return f"{' + '.join(words)} = {size_text(fit.bytes)} of {size_text(fit.free)} free"


def memory_json(fit: MemoryFit) -> dict[str, JsonValue]:
    """Return the parts, their sum, and whether it fits."""
    return fit.model_dump(mode="json") | {"fits": fit.fits}


def disk_json(fit: DiskFit) -> dict[str, JsonValue]:
    """Return the parts, their sum, and whether it fits."""
    return fit.model_dump(mode="json") | {"fits": fit.fits}
