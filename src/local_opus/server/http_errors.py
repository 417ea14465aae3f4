"""Errors as HTTP answers, in the form of OpenAI's API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from local_opus.server.engine_errors import (
    EngineUnavailableError,
    GenerationFailedError,
    QueueFullError,
)

#: HTTP status of a failure that the engine reports; the rest are 500.
_STATUS = {"context_length_exceeded": 400, "invalid_request": 400, "kv_cache_exhausted": 400}
_LOWEST_SERVER_ERROR = 500
#: Characters of a client's own words that an error repeats at most.
LONGEST_ECHO = 128
#: Words of pydantic's messages that don't belong in an answer.
_NOISE = ("Value error, ", "Input should be ")


class ApiError(HTTPException):
    """An answer with an error status. ``param`` is the request's field that is at fault."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.code = code
        self.param = param
        server = status >= _LOWEST_SERVER_ERROR
        self.kind = kind or ("server_error" if server else "invalid_request_error")

    def body(self) -> dict[str, object]:
        """Return the answer's JSON."""
        error = {
            "message": self.detail,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}

    def response(self) -> JSONResponse:
        """Return the answer."""
        return JSONResponse(self.body(), self.status_code, self.headers)


def api_error(error: Exception) -> ApiError:
    """Return how an error of the engine, of validation or of routing is told to a client."""
    match error:
        case ApiError():
            return error
        case QueueFullError():
            return ApiError(
                429, str(error), code="queue_full", kind="rate_limit_error",
                headers={"Retry-After": str(error.retry_after)},
            )  # fmt: skip
        case EngineUnavailableError():
            return ApiError(
                503, str(error), code=error.code, kind="engine_unavailable",
                headers={"Retry-After": str(error.retry_after)},
            )  # fmt: skip
        case GenerationFailedError():
            code = "internal_error" if error.code == "internal" else error.code
            status = _STATUS.get(error.code, 500)
            param = "messages" if status < _LOWEST_SERVER_ERROR else None
            return ApiError(status, str(error), code=code, param=param)
        case RequestValidationError():
            return _invalid(error.errors())
        case HTTPException():
            phrase = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
            text = str(error.detail)
            return ApiError(error.status_code, text, code=phrase, headers=error.headers)
    return ApiError(500, "The server made a mistake; its log says which.", code="internal_error")


def field_path(parts: Iterable[int | str]) -> str:
    """Return a field's path as in ``messages[0].content``."""
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def shown(text: str) -> str:
    """Return a client's words as they can stand in an answer: valid UTF-8, and not too long."""
    return text[:LONGEST_ECHO].encode(errors="backslashreplace").decode()


def _invalid(errors: Sequence[Any]) -> ApiError:
    """Return the answer to a body that does not validate: its first error."""
    first = errors[0]
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", "not well-formed")
        return ApiError(400, f"The body is no JSON: {reason}", code="invalid_json")
    path = shown(field_path(first["loc"][1:]))  # without "body"
    text = first["msg"]
    for noise in _NOISE:
        text = text.removeprefix(noise)
    match first["type"]:
        case "extra_forbidden":
            code, text = "unknown_parameter", f"Unknown parameter: '{path}'."
        case "missing":
            code, text = "missing_required_parameter", f"Missing required parameter: '{path}'."
            if not path:
                text = "The body must be a JSON object, sent as application/json."
        case "value_error" if not path:
            code, text = "invalid_value", f"The body {text}."
        case _ if not path:
            code, text = "invalid_type", "The body must be a JSON object, sent as application/json."
        case _:
            code, text = "invalid_value", f"Invalid '{path}': {text}."
    if len(errors) > 1:
        text += f" ({len(errors) - 1} more errors)"
    return ApiError(400, text, code=code, param=path or None)


def install(app: FastAPI) -> None:
    """Answer every error of ``app`` in OpenAI's form."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        found = api_error(error)
        if found is not error and found.status_code == HTTPStatus.NOT_FOUND:
            found.detail = f"There is no {request.method} {shown(request.url.path)} here."
            found.code = "unknown_url"
        elif found.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            found.detail = f"{request.method} is not allowed on {shown(request.url.path)}."
        return found.response()

    for kind in (
        ApiError,
        QueueFullError,
        EngineUnavailableError,
        GenerationFailedError,
        RequestValidationError,
        HTTPException,
        Exception,
    ):
        app.add_exception_handler(kind, answer)
