"""What every request passes before a route sees it: its Host, its Origin, its body's size."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local_opus.server.http_errors import ApiError, shown
from local_opus.server.settings import Settings


class HostGuard:
    """Refuses requests that name another host, or come from another site's page.

    A page whose name was rebound to 127.0.0.1 reaches a local server, but the browser still sends
    that name as Host. A page of another site can send simple requests here; its browser names it
    in Origin.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        names = ("localhost", settings.host, *settings.allowed_hosts)
        self._names = frozenset(name.casefold().rstrip(".") for name in names)
        self._origins = frozenset(origin.casefold() for origin in settings.allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or pass the request on."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            error = self._problem(headers.getlist("host"), headers.getlist("origin"))
            if error is not None:
                await error.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _problem(self, hosts: list[str], origins: list[str]) -> ApiError | None:
        host = hosts[0] if len(hosts) == 1 else ""
        if not self._is_ours(host):
            text = (
                f"This server does not answer under the name {shown(host)!r}. "
                "If it shall, add the name to allowed_hosts in the server's config."
            )
            return ApiError(403, text, code="host_not_allowed")
        if all(self._is_same_site(origin, host) for origin in origins):
            return None
        text = (
            f"Pages of {shown(origins[0])!r} may not call this server. "
            "If they shall, add the origin to allowed_origins in the server's config."
        )
        return ApiError(403, text, code="origin_not_allowed")

    def _is_ours(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        return name in self._names or _is_loopback(name)

    def _is_same_site(self, origin: str, host: str) -> bool:
        if origin.casefold() in self._origins:
            return True
        scheme, _, rest = origin.casefold().partition("://")
        return scheme in {"http", "https"} and rest == host.casefold()


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


class BodyLimit:
    """Refuses a body that is longer than ``limit`` bytes, before it is in memory."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 413, or pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        stated = Headers(scope=scope).get("content-length", "0")
        if stated.isdecimal() and int(stated) > self._limit:
            await self._error().response()(scope, receive, send)
            return
        await self._app(scope, self._counted(receive), send)

    def _counted(self, receive: Receive) -> Receive:
        left = self._limit

        async def counted() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise self._error()
            return message

        return counted

    def _error(self) -> ApiError:
        text = f"The body is longer than {self._limit} bytes."
        return ApiError(413, text, code="request_too_large", headers={"Connection": "close"})
