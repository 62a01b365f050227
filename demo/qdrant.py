"""Qdrant, as far as healthwatch asks it, simulated; `python -m demo.qdrant PORT` runs one until it is ended.

The answers and refusals are those of release 1.20. The key comes from QDRANT__SERVICE__API_KEY, as for the real server.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from demo.loopback import Handler, LoopbackServer

VERSION = "1.20.1"


class QdrantSim:
    """Collections by name and the number of their points. Every method is safe from any thread.

    `is_well` is asked once for each check, when /readyz is; False makes it answer 503.
    """

    def __init__(self, api_key: str, port: int = 0) -> None:
        self.api_key = api_key
        self.collections: dict[str, int] = {"memories": 3}
        self.damaged: set[str] = set()
        self.is_well: Callable[[], bool] = lambda: True
        self._server = LoopbackServer(_Endpoint, self, port)

    @property
    def url(self) -> str:
        return self._server.url

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def reply(self, path: str, authorization: str | None) -> tuple[int, Any]:
        """Status and body of an answer."""
        if path == "/readyz":  # needs no key
            return (200, "all shards are ready") if self.is_well() else (503, "some shards are not ready")
        if authorization != f"Bearer {self.api_key}":
            return 401, "Must provide an API key or an Authorization bearer token"
        if path == "/":
            return 200, {"title": "qdrant - vector search engine", "version": VERSION, "commit": "simulated"}
        if path == "/collections":
            return 200, _ok({"collections": [{"name": name} for name in self.collections]})
        name = unquote(path.removeprefix("/collections/"))
        if name not in self.collections:
            return 404, {"status": {"error": f"Not found: Collection `{name}` doesn't exist!"}, "time": 0.000003}
        status = "red" if name in self.damaged else "green"
        return 200, _ok({"status": status, "points_count": self.collections[name]})


class _Endpoint(Handler):
    server: LoopbackServer

    def do_GET(self) -> None:
        simulator: QdrantSim = self.server.simulator
        self.answer(*simulator.reply(self.path, self.headers.get("Authorization")))


def _ok(result: Any) -> dict[str, Any]:
    return {"result": result, "status": "ok", "time": 0.000003}


def main() -> None:
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before the first thread, which inherits it
    QdrantSim(os.environ["QDRANT__SERVICE__API_KEY"], int(sys.argv[1])).start()
    signal.sigwait(signals)


if __name__ == "__main__":
    main()
