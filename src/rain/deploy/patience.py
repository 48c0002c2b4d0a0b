"""Connections whose request does not begin, or never ends its head, are closed. Never imports torch.

uvicorn times a connection only between an answer and the next request, and ``Guard`` is called when a head
is complete. Without more, idle connections would take all the places that there are.
"""

import asyncio

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEAD_SECONDS = 10.0
"""For a head to arrive: from the connection on, or from the first byte of a later request."""


class Patient(AutoHTTPProtocol):  # type: ignore[valid-type, misc]
    """uvicorn's protocol of one connection, with a timer."""

    head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Wait no longer where a head is complete; begin where it is the next one's first piece."""
        last = self.cycle
        super().data_received(data)
        is_between = self.cycle is None or self.cycle.response_complete
        if self.cycle is not last or not is_between:
            self._stop_timer()
        elif self.head_timer is None:
            self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing."""
        self._stop_timer()
        super().connection_lost(exc)

    def _start_timer(self) -> None:
        self.head_timer = asyncio.get_running_loop().call_later(HEAD_SECONDS, self.transport.close)

    def _stop_timer(self) -> None:
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None
