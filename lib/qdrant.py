"""Qdrant's REST API: whether it is ready, takes our key, and can read what it keeps."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from lib.secret import Secret
from lib.web import NoAnswer, Unsendable, ask


@dataclass(frozen=True)
class Health:
    """`problem` is None when all is well, else no_answer, refused (our key) or damaged (a collection)."""

    problem: str | None = None
    points: int = 0  # in all collections
    version: str = ""


def check(url: str, api_key: Secret | None, seconds: float = 2.0) -> Health:
    """Ask whether it is ready, and count what is in each collection, within `seconds` for all of it. Never raises."""
    end = time.monotonic() + seconds
    try:
        # It answers this one without a key.
        if (status := _get(url, "/readyz", api_key, end)[0]) != 200:
            return Health("refused" if status in (401, 403) else "no_answer")
        status, listed = _get(url, "/collections", api_key, end)
        if status in (401, 403):
            return Health("refused")
        points = 0
        for collection in listed["result"]["collections"]:
            status, found = _get(url, f"/collections/{quote(collection['name'], safe='')}", api_key, end)
            if status != 404 and found["result"]["status"] == "red":  # 404: dropped meanwhile
                return Health("damaged")
            points += int((found["result"] or {}).get("points_count") or 0) if status == 200 else 0
        version = str(_get(url, "/", api_key, end)[1].get("version", ""))[:20]
    except Unsendable:
        return Health("refused")
    except (NoAnswer, KeyError, TypeError, AttributeError, ValueError):  # no answer, or not Qdrant's
        return Health("no_answer")
    return Health(None, points, version)


def _get(url: str, path: str, api_key: Secret | None, end: float) -> tuple[int, Any]:
    """Status and body. Raises NoAnswer."""
    answer = ask("GET", url + path, bearer=api_key, seconds=max(end - time.monotonic(), 0.1))
    return answer.status, answer.body
