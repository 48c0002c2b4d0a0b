"""Connections that ask nothing are closed, and nobody else's."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import uvicorn

from rain.deploy import patience
from rain.deploy.patience import Patient

HEAD = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """It answers when it has the whole body, and 0.6 seconds later at /slow."""
    if scope["path"] == "/slow":
        await asyncio.sleep(0.6)
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def talk(client: Talk) -> None:
    """Let a client talk to a server of whose connections each head has 0.4 seconds."""

    async def run() -> None:
        config = uvicorn.Config(app, port=0, http=Patient, ws="none", lifespan="off", log_level="critical")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.wait_for(client(reader, writer), 10)
        finally:
            writer.close()
            server.should_exit = True
            await serving

    asyncio.run(run())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "HEAD_SECONDS", 0.4)


async def answered(reader: asyncio.StreamReader) -> bool:
    return (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("beginning", [b"", b"GET / HTTP/1.1\r\nhost:"])
def test_who_sends_no_head_is_hung_up_on(beginning: bytes) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(beginning)
        assert await reader.read() == b""

    talk(client)


def test_who_sends_a_head_byte_by_byte_has_no_more_time() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def drip() -> None:
            for byte in b"GET / HTTP/1.1\r\nx-header: " + b"x" * 500:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        with suppress(ConnectionResetError):  # as a byte that comes later is answered
            assert await reader.read() == b""
        assert not dripping.done()
        dripping.cancel()

    talk(client)


def test_the_head_of_a_later_request_has_the_same_time() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        assert await answered(reader)
        writer.write(HEAD[:9])
        assert await reader.read() == b""

    talk(client)


def test_slow_answers_slow_bodies_and_later_requests_are_left_alone() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD.replace(b"/ ", b"/slow "))
        assert await answered(reader)
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nx")
        await asyncio.sleep(0.6)
        writer.write(b"y")
        assert await answered(reader)
        await asyncio.sleep(0.5)  # nothing of the next request is there: uvicorn's own timer counts
        writer.write(HEAD[:9])
        await asyncio.sleep(0.05)
        writer.write(HEAD[9:])
        assert await answered(reader)

    talk(client)
