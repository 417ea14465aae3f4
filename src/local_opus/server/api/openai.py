"""OpenAI's chat completions and models."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from local_opus.runtime.engine_protocol import FinishReason
from local_opus.server.api.openai_schema import ChatRequest
from local_opus.server.engine_client import EngineClient
from local_opus.server.engine_errors import EngineUnavailableError, GenerationFailedError
from local_opus.server.generation import Generation
from local_opus.server.http_errors import ApiError, api_error, shown
from local_opus.server.settings import Settings

Json = dict[str, object]
#: nginx's word for "the client went away"; nobody reads the answer.
CLIENT_CLOSED_REQUEST = 499


def router(settings: Settings, engine: EngineClient) -> APIRouter:
    """Return the routes of this API."""
    routes = APIRouter(prefix="/v1")
    started_at = int(time.time())

    def card() -> Json:
        ready = engine.ready
        return {
            "id": settings.model,
            "object": "model",
            "created": started_at,
            "owned_by": "local-opus",
            "context_length": ready["context_length"] if ready else settings.context_length,
        }

    @routes.get("/models")
    async def models() -> Json:
        return {"object": "list", "data": [card()]}

    @routes.get("/models/{model_id:path}")
    async def model(model_id: str) -> Json:
        _check_model(model_id, settings.model)
        return card()

    @routes.post("/chat/completions", response_model=None)
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        _check_model(body.model, settings.model)
        if len(body.messages) > settings.max_messages:
            raise ApiError(
                400,
                f"'messages' holds {len(body.messages)} messages; this server takes "
                f"{settings.max_messages} at most.",
                code="array_above_max_length",
                param="messages",
            )
        messages = [message.for_template() for message in body.messages]
        generation = engine.submit(messages, body.sampling(settings.generation))
        answer = _Answer(settings.model, _fingerprint(settings, engine), generation)
        if not body.stream:
            return await _whole(answer, request)
        async with _cancelled_on_error(generation):
            answer.prompt_tokens = await generation.begin()
        return _EventStream(answer, include_usage=body.include_usage)

    return routes


def _check_model(wanted: str, served: str) -> None:
    if wanted != served:
        text = f"The model '{shown(wanted)}' does not exist here; this server runs '{served}'."
        raise ApiError(404, text, code="model_not_found", param="model")


def _fingerprint(settings: Settings, engine: EngineClient) -> str:
    """Return what stands for weights, runtime and device: the same seed may differ across these."""
    runtime = None if engine.ready is None else engine.ready["runtime"]
    parts = [settings.model, settings.weights_digest, settings.device, settings.openvino, runtime]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return f"fp_{digest[:10]}"


@asynccontextmanager
async def _cancelled_on_error(generation: Generation) -> AsyncIterator[None]:
    """Cancel a generation when the block raises; an answer that goes on keeps it."""
    try:
        yield
    except BaseException:
        generation.cancel()
        raise


class _Answer:
    """What all the JSON of one answer has in common."""

    def __init__(self, model: str, fingerprint: str, generation: Generation) -> None:
        self.generation = generation
        self.prompt_tokens = 0
        self._head: Json = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": fingerprint,
        }

    @property
    def usage(self) -> Json:
        finished = self.generation.finished
        completion = 0 if finished is None else finished["completion_tokens"]
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
        }

    @property
    def finish_reason(self) -> FinishReason:
        finished = self.generation.finished
        return "stop" if finished is None else finished["reason"]

    def whole(self, text: str) -> Json:
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": self.finish_reason,
        }
        head = {**self._head, "object": "chat.completion"}
        return {**head, "choices": [choice], "usage": self.usage}

    def chunk(self, delta: Json | None, reason: FinishReason | None = None) -> Json:
        """Return a chunk; ``delta`` None: without a choice, as the one that carries the usage."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        choices = [] if delta is None else [choice]
        return {**self._head, "object": "chat.completion.chunk", "choices": choices}


async def _whole(answer: _Answer, request: Request) -> Response:
    """Return the whole answer, or stop making it when the client goes."""

    async def collect() -> str:
        answer.prompt_tokens = await answer.generation.begin()
        return "".join([text async for text in answer.generation.texts()])

    async with answer.generation:
        work = asyncio.create_task(collect())
        gone = asyncio.create_task(_disconnected(request))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                return Response(status_code=CLIENT_CLOSED_REQUEST)
            return JSONResponse(answer.whole(work.result()))
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _EventStream(StreamingResponse):
    """Server-sent events of one answer. However it ends, the generation ends too."""

    def __init__(self, answer: _Answer, *, include_usage: bool) -> None:
        self._answer = answer
        self._include_usage = include_usage
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(self._events(), headers=headers, media_type="text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        async with self._answer.generation:
            await super().__call__(scope, receive, send)

    async def _events(self) -> AsyncIterator[str]:
        answer = self._answer
        yield self._event(answer.chunk({"role": "assistant", "content": "", "refusal": None}))
        try:
            async for text in answer.generation.texts():
                yield self._event(answer.chunk({"content": text}))
        except (EngineUnavailableError, GenerationFailedError) as error:
            yield _data(api_error(error).body())
            return
        yield self._event(answer.chunk({}, answer.finish_reason))
        if self._include_usage:
            yield _data({**answer.chunk(None), "usage": answer.usage})
        yield "data: [DONE]\n\n"

    def _event(self, chunk: Json) -> str:
        return _data({**chunk, "usage": None} if self._include_usage else chunk)


def _data(message: Json) -> str:
    return f"data: {json.dumps(message, ensure_ascii=False, separators=(',', ':'))}\n\n"
