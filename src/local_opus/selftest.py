"""The self-test that gates an install: what was installed is seen to work, or it has failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from pydantic import JsonValue

from local_opus import node, node_settings
from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.values import CanaryBand, FileVerdict, Verdict
from local_opus.weights import manifest
from local_opus.weights.seen import Seen, changed_since, look
from local_opus.weights.verify import SEVERITY, verify_folder

#: Tells what is being tested.
Tell = Callable[[str], None]

#: What no install repairs: it removes no file that it did not bring.
_NOT_OURS = {Verdict.UNEXPECTED, Verdict.UNPROVEN, Verdict.UNSAFE}
_QUESTION = "Write a short story about a lighthouse."
_TOKENS = 64
_CANARY_SECONDS = 300.0
_PROGRAM_SECONDS = 60.0


def program(host: Host, python: str) -> dict[str, JsonValue]:
    """Start the installed program; return its version. Raises LocalOpusError when it can't."""
    done = host.processes.run(
        [python, "-s", "-P", "-m", "local_opus", "--version"], timeout=_PROGRAM_SECONDS
    )
    if done.code != 0:
        raise LocalOpusError(
            f"{python}: the installed program does not start: {done.last_line}",
            "Install again; the environment is then made anew.",
        )
    return {"program": done.out.strip()}


def weights(
    host: Host, folders: tuple[str, ...], said: Callable[[str], str | None] = lambda _folder: None
) -> dict[str, JsonValue]:
    """Verify every file of the folders against their manifests.

    ``said`` returns the digest that the receipt holds of a folder's manifest, None where it holds
    none.
    """
    verdicts: list[FileVerdict] = []
    for folder in folders:
        found = verify_folder(host, folder, manifest_sha256=said(folder))
        if not found:
            raise LocalOpusError(f"{folder}: holds no files", "Run the install again.")
        verdicts += [item for item in found if item.path != manifest.NAME]
        bad = min(found, key=lambda item: SEVERITY.index(item.verdict))
        if bad.verdict is Verdict.REAL:
            continue
        path = f"{folder}/{bad.path}"
        # An install believes a file that looks untouched, and a manifest that fits its files; this
        # one it must look at anew.
        host.files.discard(f"{folder}/{manifest.STAT_NAME}")
        if (bad.path, bad.verdict) == (manifest.NAME, Verdict.CORRUPT):
            host.files.discard(path)
        raise LocalOpusError(
            f"{path}: {bad.verdict.value}: {bad.evidence}",
            f"Move {path} away, and run the install again."
            if bad.verdict in _NOT_OURS
            else "Run the install again; it repairs the weights.",
        )
    trusts = sorted({verdict.trust.value for verdict in verdicts if verdict.trust})
    return {"files": len(verdicts), "trust": [*trusts]}


def canary(
    host: Host, folder: str, device: str, band: CanaryBand | None, seen: Seen | None = None
) -> dict[str, JsonValue]:
    """Force the model's canary text through it; its mean log-probability must lie in the band.

    ``device`` is OpenVINO's name of it, such as GPU.1. A model of the catalog without a measured
    band is not tested this way, and the result says so. ``seen`` is what was verified; a file that
    is another one afterwards fails the test.
    """
    if band is None:
        return {"canary": None}
    before = look(host, folder) if seen is None else seen
    answer = host.processes.worker(
        "canary",
        {"folder": host.files.real_path(folder), "device": device, "text": band.text},
        timeout=_CANARY_SECONDS,
    )
    if (changed := changed_since(host, folder, before)) is not None:
        raise LocalOpusError(
            f"{folder}/{changed} while the canary was asked: what answered may not be what was "
            "verified",
            "Find out who writes there, then run `local-opus verify`.",
        )
    mean = answer.get("mean_log_probability")
    if not isinstance(mean, int | float) or not band.low <= mean <= band.high:
        raise LocalOpusError(
            f"canary: mean log-probability {mean} is outside of {band.low} to {band.high}: "
            "this model does not think as it should",
            "Remove the model (`local-opus uninstall --purge`) and install it again.",
        )
    return {"canary": round(float(mean), 4), "canary_band": [band.low, band.high]}


def _has_content(event: Mapping[str, object]) -> bool:
    """Whether an event of the stream holds text; the first holds the role alone."""
    choices = event.get("choices")
    if not isinstance(choices, list) or not choices:
        return False
    return bool(choices[0].get("delta", {}).get("content"))


def server(host: Host, locations: Locations, model: str) -> dict[str, JsonValue]:
    """Ask the running server over HTTP; return the model's name and the measured tokens/s.

    The rate is that of decoding: tokens after the first, over the time since the first.
    """
    where = node_settings.settings(host, locations)
    ready = node.ask_ready(host, where.host, where.port)
    if ready is None:
        raise LocalOpusError(
            f"http://{where.host}:{where.port}/ready: not ready", "See `local-opus logs`."
        )
    status, models = host.network.request_json(where.host, where.port, "/v1/models")
    data = models.get("data")
    served = [str(entry["id"]) for entry in data] if isinstance(data, list) else []
    if status != 200 or served != [model]:  # noqa: PLR2004 - HTTP OK
        raise LocalOpusError(
            f"the server on port {where.port} serves {served or 'nothing'}, not {model}",
            "End the program that holds the port, or choose another with --port.",
        )
    payload = {
        "model": model,
        "messages": [{"role": "user", "content": _QUESTION}],
        "max_tokens": _TOKENS,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    first = last = 0.0
    tokens = 0
    begin = time.perf_counter()
    for event in host.network.stream_events(
        where.host, where.port, "/v1/chat/completions", payload=payload
    ):
        usage = event.get("usage")
        if isinstance(usage, dict):
            tokens = int(usage.get("completion_tokens", 0))
        elif _has_content(event):
            last = time.perf_counter()
            first = first or last
    if tokens < 2 or last <= first:  # noqa: PLR2004 - a rate needs two tokens
        raise LocalOpusError(f"the server answered with {tokens} tokens", "See `local-opus logs`.")
    return {
        "url": f"http://{where.host}:{where.port}",
        "model": model,
        "tokens_per_second": round((tokens - 1) / (last - first), 1),
        "first_token_seconds": round(first - begin, 3),
        "tokens": tokens,
    }
