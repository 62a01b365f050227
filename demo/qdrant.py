"""Qdrant, simulated: REST in front of the official client's local mode; `python -m demo.qdrant PORT FOLDER` runs one.

Only what Steward asks of it, with the answers and refusals of release 1.20. Its data stay in FOLDER. The key comes from
QDRANT__SERVICE__API_KEY, as for the real server.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ValidationError
from qdrant_client import QdrantClient, models

from demo.loopback import Handler, LoopbackServer

Model = TypeVar("Model", bound=BaseModel)

VERSION = "1.20.1"
COLLECTION = re.compile(r"/collections/([^/]+)(/.+)?")


class Refused(Exception):
    """The answer is this status, with the text as its error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class QdrantSim:
    """Collections of points, in memory or in a folder. Every method is safe from any thread.

    `is_well` is asked once for each check, when /readyz is; False makes it answer 503. What stands in `damaged` it
    cannot read.
    """

    def __init__(self, api_key: str, port: int = 0, folder: Path | None = None) -> None:
        self.api_key = api_key
        self.damaged: set[str] = set()
        self.is_well: Callable[[], bool] = lambda: True
        place: dict[str, Any] = {"path": str(folder)} if folder else {"location": ":memory:"}
        self._data = QdrantClient(**place, force_disable_check_same_thread=True)
        self._lock = threading.Lock()
        self._server = LoopbackServer(_Endpoint, self, port)

    @property
    def url(self) -> str:
        return self._server.url

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()
        with self._lock:
            self._data.close()

    def fill(self, name: str, points: int) -> None:
        """Put so many points into a collection, which is made for them."""
        with self._lock:
            self._data.create_collection(name, vectors_config={})
            self._data.upsert(name, [models.PointStruct(id=number, vector={}) for number in range(points)])

    def reply(self, method: str, path: str, key: str | None, body: bytes) -> tuple[int, Any]:
        """Status and body of an answer."""
        if path == "/readyz":  # needs no key
            return (200, "all shards are ready") if self.is_well() else (503, "some shards are not ready")
        if key is None:
            return 401, "Must provide an API key or an Authorization bearer token"
        if key != self.api_key:
            return 401, "Invalid API key or JWT"
        if path == "/":
            return 200, {"title": "qdrant - vector search engine", "version": VERSION, "commit": "simulated"}
        try:
            with self._lock:
                result = self._work(method, path, body)
        except Refused as exc:
            return exc.status, {"status": {"error": str(exc)}, "time": 0.000003}
        except (ValueError, NotImplementedError) as exc:  # local mode's own refusals, in the server's words
            return 400, {"status": {"error": f"Wrong input: {exc}"}, "time": 0.000003}
        return 200, {"result": _plain(result), "status": "ok", "time": 0.000003}

    def _work(self, method: str, path: str, body: bytes) -> Any:
        data = self._data
        if (method, path) == ("GET", "/collections"):
            return data.get_collections()
        found = COLLECTION.fullmatch(path)
        if not found:
            raise Refused(404, "")
        name, what = unquote(found[1]), f"{method} {found[2] or ''}".strip()
        if what == "DELETE":
            return data.delete_collection(name)
        if data.collection_exists(name) == (what == "PUT"):
            absent = Refused(404, f"Not found: Collection `{name}` doesn't exist!")
            raise Refused(409, f"Wrong input: Collection `{name}` already exists!") if what == "PUT" else absent
        match what:
            case "GET":
                return _plain(data.get_collection(name)) | {"status": "red" if name in self.damaged else "green"}
            case "PUT":
                return data.create_collection(name, _read(models.CreateCollection, body).vectors or {})
            case "PUT /index":
                field = _read(models.CreateFieldIndex, body)
                with warnings.catch_warnings(action="ignore"):  # most indexes have no effect in local mode
                    return data.create_payload_index(name, field.field_name, field.field_schema)
            case "PUT /points":
                return data.upsert(name, _read(models.PointsList, body).points)
            case "POST /points/delete":
                return data.delete(name, _read(models.PointIdsList, body).points)
            case "POST /points/count":
                return data.count(name, _read(models.CountRequest, body).filter)
            case "POST /points/query":
                asked = _read(models.QueryRequest, body)
                return data.query_points(
                    name,
                    query=asked.query,
                    using=asked.using,
                    query_filter=asked.filter,
                    limit=asked.limit or 10,
                    score_threshold=asked.score_threshold,
                    with_payload=asked.with_payload or False,
                )
        raise Refused(405, "")


class _Endpoint(Handler):
    server: LoopbackServer

    def _serve(self) -> None:
        simulator: QdrantSim = self.server.simulator
        key = self.headers.get("api-key") or (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self.answer(*simulator.reply(self.command, urlsplit(self.path).path, key, self.read_body()))

    do_GET = do_PUT = do_POST = do_DELETE = _serve


def _read(kind: type[Model], body: bytes) -> Model:
    try:
        return kind.model_validate_json(body)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Refused(400, f"Format error in JSON body: {where}: {first['msg']}") from None


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json", exclude_none=True) if isinstance(value, BaseModel) else value


def main() -> None:
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before the first thread, which inherits it
    sim = QdrantSim(os.environ["QDRANT__SERVICE__API_KEY"], int(sys.argv[1]), Path(sys.argv[2]))
    sim.start()
    signal.sigwait(signals)
    sim.stop()


if __name__ == "__main__":
    main()
