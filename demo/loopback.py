"""A small HTTP server, on 127.0.0.1 unless told otherwise: what every simulator stands on, and its faults."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Fault:
    """One way to misbehave, for the next `times` requests whose path ends in `where`.

    kind: "status"  answer `status` with `body` (a dict goes out as JSON, a string as HTML) and `headers`
          "drop"    cut the connection before the request has any effect
          "lose"    let the request have its effect, then cut the connection instead of answering
          "hang"    hold the answer back for `seconds`, then do as normal
          anything else is for the simulator itself to understand
    """

    kind: str
    where: str = ""
    times: int = 1
    status: int = 500
    body: Any = None
    headers: dict[str, str] | None = None
    seconds: float = 0.0


class Faults:
    """The faults still to come, in order; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._waiting.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()

    def take(self, path: str) -> Fault | None:
        """The first fault meant for this path, used up by one."""
        with self._lock:
            for fault in self._waiting:
                if path.endswith(fault.where):
                    fault.times -= 1
                    if fault.times <= 0:
                        self._waiting.remove(fault)
                    return fault
        return None


class Handler(BaseHTTPRequestHandler):
    """Keep-alive requests; an answer leaves in one packet, or Nagle's algorithm would add 40 ms to each."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    arrived: float  # time.perf_counter() when the first line of the request was there

    def parse_request(self) -> bool:
        self.arrived = time.perf_counter()
        return super().parse_request()

    def log_message(self, format: str, *args: Any) -> None:
        """Silence: what matters is kept by the simulator."""

    def read_body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        """Send one answer: a dict or list as JSON, a string as HTML, bytes as a file. `headers` may promise another
        Content-Length, for an answer that breaks off.
        """
        if isinstance(body, bytes):
            kind, data = "application/octet-stream", body
        elif isinstance(body, str):
            kind, data = "text/html", body.encode()
        else:
            kind, data = "application/json", json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def cut(self) -> None:
        """End the connection with no answer, as a dying network does."""
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class LoopbackServer(ThreadingHTTPServer):
    """A threaded server; `handler` reaches the simulator as `self.server.simulator`.

    Port 0 means a free one. Only the container of demo/outside.py has an `address` that others can reach.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, handler: type[Handler], simulator: Any, port: int = 0, address: str = "127.0.0.1") -> None:
        super().__init__((address, port), handler)
        self.simulator = simulator
        self.port: int = self.server_address[1]
        self.url = f"http://{address}:{self.port}"
        self._open: set[socket.socket] = set()

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        """Stop serving and cut every connection still open."""
        self.shutdown()
        self.server_close()
        for connection in self._copy():
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed in mid-request is what these servers are for."""

    def _copy(self) -> Iterable[socket.socket]:
        return list(self._open)
