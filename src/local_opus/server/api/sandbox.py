"""What the server's own sandbox lets it do, as a child of it finds out."""

from __future__ import annotations

from fastapi import APIRouter

from local_opus.server.engine_client import EngineClient
from local_opus.server.http_errors import ApiError
from local_opus.server.sandbox import ProbeFailedError, SandboxProbe
from local_opus.server.settings import Settings


def router(settings: Settings, engine: EngineClient) -> APIRouter:
    """Return ``/sandbox``: 200 with a SandboxReport, 503 where none could be made."""
    routes = APIRouter()
    probe = SandboxProbe(settings, engine)

    @routes.get("/sandbox")
    async def sandbox() -> dict[str, object]:
        try:
            report = await probe.report()
        except ProbeFailedError as error:
            text = f"The sandbox could not be looked at: {error}."
            raise ApiError(503, text, code="sandbox_probe_failed") from error
        return report.model_dump(mode="json")

    return routes
