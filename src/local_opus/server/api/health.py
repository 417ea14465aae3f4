"""Whether the process lives, and whether it can answer."""

from __future__ import annotations

import time

from fastapi import APIRouter

from local_opus.server.engine_client import EngineClient
from local_opus.server.settings import Settings
from local_opus.server.standing import Standing


def router(settings: Settings, engine: EngineClient, standing: Standing) -> APIRouter:
    """Return ``/health`` (always 200) and ``/ready`` (200 only with a loaded model)."""
    routes = APIRouter()
    started = time.monotonic()

    @routes.get("/health")
    async def health() -> dict[str, object]:
        return {
            "status": "ok",
            "uptime_seconds": round(time.monotonic() - started, 3),
            "config_problem": standing.config_problem,
            "weights": {
                "digest": settings.weights_digest,
                "changed": standing.weights_changed,
            },
            "engine": {
                "state": engine.state,
                "reason": engine.reason,
                "pid": engine.pid,
                "restarts": engine.restarts,
                "last_end": engine.last_end,
                "requests_in_flight": engine.in_flight,
                "turn_age": round(engine.turns.age, 3),
                "longest_turn": round(engine.turns.longest, 3),
                "turn_limit": round(engine.turns.limit, 3),
                "warm_up": None if engine.ready is None else engine.ready["warm_up"],
                "memory_lock": None if engine.ready is None else engine.ready["memory_lock"],
                "metrics": engine.metrics,
            },
        }

    @routes.get("/ready")
    async def ready() -> dict[str, object]:
        if engine.state != "ready" or engine.ready is None:
            raise engine.unavailable()
        loaded = engine.ready
        return {
            "status": "ready",
            "model": settings.model,
            "device": loaded["device"],
            "device_name": loaded["device_name"],
            "context_length": loaded["context_length"],
            "runtime": loaded["runtime"],
            "load_seconds": loaded["load_seconds"],
            "config_problem": standing.config_problem,
            "engine_last_end": engine.last_end,
        }

    return routes
