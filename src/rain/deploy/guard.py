"""What every request meets first: limits, the secret, headers for browsers. Never imports torch."""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from rain.deploy.settings import Settings

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/", "/page.css", "/page.js", "/health", "/ready")
"""What may be asked without the secret: it says nothing of the model or of who asks it."""

GONE = 499
"""The status of a request whose client hung up, as servers count it: nobody is told."""

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


class Guard:
    """An ASGI application before another one.

    Args:
        app: the other one.
        settings: of the service: body, time and secret.
        note: told of each request when it is over: path, status, seconds.
    """

    def __init__(self, app: App, settings: Settings, note: Callable[[str, int, float], None]):
        self.app, self.settings, self.note = app, settings, note

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, as far as it keeps to the limits."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.monotonic(), 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = {name for name, _ in message["headers"]}
                headers = [*message["headers"], *(pair for pair in HEADERS if pair[0] not in own)]
                if status in (408, 413):
                    headers.append((b"connection", b"close"))  # the rest of the body is not read
                message = {**message, "headers": headers}
            await send(message)

        try:
            refusal = self._refusal(scope)
            if refusal:
                await refusal(scope, receive, answer)
            else:
                await self.app(scope, self._limited(receive), answer)
        except ClientDisconnect:
            status = GONE
        finally:
            self.note(scope["path"], status, time.monotonic() - start)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = dict(scope["headers"])
        if self.settings.token and scope["path"] not in OPEN:
            expected = f"Bearer {self.settings.token}".encode()
            if not hmac.compare_digest(headers.get(b"authorization", b""), expected):
                what = {"detail": "the header Authorization: Bearer TOKEN is missing, or of another token"}
                return JSONResponse(what, 401, {"www-authenticate": "Bearer"})
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.settings.max_bytes:
            return JSONResponse({"detail": self._too_large()}, 413)
        return None

    def _limited(self, receive: Receive) -> Receive:
        """Receive a body, as long as it is not too large, nor too slow."""
        end = time.monotonic() + self.settings.timeout_seconds
        size = 0
        whole = False

        async def limited() -> Message:
            nonlocal size, whole
            if whole:
                return await receive()  # that the client is gone
            try:
                message = await asyncio.wait_for(receive(), max(0.0, end - time.monotonic()))
            except TimeoutError:
                limit = f"{self.settings.timeout_seconds:g} seconds"
                raise HTTPException(408, f"the request did not arrive within {limit}") from None
            size += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if size > self.settings.max_bytes:
                raise HTTPException(413, self._too_large())
            return message

        return limited

    def _too_large(self) -> str:
        return (
            f"the request is larger than {self.settings.max_megabytes:g} MiB: send fewer or smaller pictures"
        )
