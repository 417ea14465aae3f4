"""The application: routes, guards, errors, and the engine's life."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from local_opus import __version__
from local_opus.runtime.engine_protocol import Load
from local_opus.server import http_errors
from local_opus.server.api import health, openai, sandbox
from local_opus.server.engine_client import EngineClient
from local_opus.server.guards import BodyLimit, HostGuard
from local_opus.server.keys import KeyGuard
from local_opus.server.keys import load as load_keys
from local_opus.server.settings import Settings
from local_opus.server.standing import Standing


def create_app(
    settings: Settings, engine: EngineClient, standing: Standing | None = None
) -> FastAPI:
    """Return the application; it starts ``engine`` when it starts, and ends it.

    Raises ProblemFoundError where the keys that clients shall have can't be read.
    """
    keys = load_keys(settings)
    known = standing or Standing()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await engine.start()
        try:
            yield
        finally:
            await engine.stop()

    # The pages of FastAPI load scripts from elsewhere.
    app = FastAPI(
        title="Local Opus", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    http_errors.install(app)
    app.include_router(openai.router(settings, engine))
    app.include_router(health.router(settings, engine, known))
    app.include_router(sandbox.router(settings, engine))
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    if keys is not None:
        app.add_middleware(KeyGuard, keys=keys)
    if settings.allowed_origins:
        # Without an answer to its preflight, a browser does not send JSON for a page.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("*",),
        )
    app.add_middleware(HostGuard, settings=settings)  # the last added is the first asked
    return app


def create_engine(
    settings: Settings, changed: Callable[[], str | None] = lambda: None
) -> EngineClient:
    """Return the client of an engine that runs the model of ``settings``.

    ``changed`` is as for ``EngineClient``.
    """
    load: Load = {
        "op": "load",
        "model": settings.model,
        "folder": settings.model_folder,
        "device": settings.device,
        "context_length": settings.context_length,
        "cache_size_gb": settings.cache_size_gb,
        "max_concurrent": settings.max_concurrent,
        "prefix_caching": settings.prefix_caching,
        "max_num_batched_tokens": settings.max_num_batched_tokens,
        "dynamic_split_fuse": settings.dynamic_split_fuse,
        "properties": dict(settings.openvino),
        "lock_memory": settings.lock_memory,
    }
    in_flight = settings.max_concurrent + settings.max_queue
    return EngineClient(load, max_in_flight=in_flight, changed=changed)
