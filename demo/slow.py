"""A TCP proxy on 127.0.0.1 that is as fast as a cable, until it is told to hold answers back."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

FROZEN = 86_400.0  # seconds: nothing comes back before this is taken away


class SlowProxy:
    """Forwards to a port of 127.0.0.1. Every piece that comes back from there is `seconds` late."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._seconds = 0.0
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._spawn(self._accept)

    @property
    def seconds(self) -> float:
        return self._seconds

    @seconds.setter
    def seconds(self, seconds: float) -> None:
        """Also for what is held back already."""
        with self._changed:
            self._seconds = seconds
            self._changed.notify_all()

    def stop(self) -> None:
        """Take no more connections, and cut those there are."""
        self.seconds = 0.0
        for one in (self._listener, *list(self._open)):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:  # stopped
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:  # as if we were it: refused, nearly
                client.close()
                continue
            self._open |= {client, server}
            self._spawn(self._forward, client, server, False)
            self._spawn(self._forward, server, client, True)

    def _forward(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(65_536):
                if is_answer:
                    self._hold_back()
                sink.sendall(piece)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
            self._open.discard(one)

    def _hold_back(self) -> None:
        arrived = time.monotonic()
        with self._changed:
            while (left := arrived + self._seconds - time.monotonic()) > 0:
                self._changed.wait(left)

    def _spawn(self, work: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=work, args=arguments, daemon=True).start()
