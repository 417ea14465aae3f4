"""Whether the process lives, and whether it can answer."""

from __future__ import annotations

import time

from fastapi import APIRouter

from local_opus.server.engine_client import EngineClient
from local_opus.server.settings import Settings


def router(settings: Settings, engine: EngineClient) -> APIRouter:
    """Return ``/health`` (always 200) and ``/ready`` (200 only with a loaded model)."""
    routes = APIRouter()
    started = time.monotonic()

    @routes.get("/health")
    async def health() -> dict[str, object]:
        return {
            "status": "ok",
            "uptime_seconds": round(time.monotonic() - started, 3),
            "engine": {
                "state": engine.state,
                "reason": engine.reason,
                "pid": engine.pid,
                "restarts": engine.restarts,
                "requests_in_flight": engine.in_flight,
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
        }

    return routes
