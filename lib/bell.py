"""The bell: a Redis list of chat ids that have something waiting.

It wakes a worker at once and holds nothing that is not in PostgreSQL too: rings may be doubled, or lost with Redis.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from lib.secret import Secret

LIST = "steward:bell"

# A chat stands in the list at most once: a hundred messages of one person are no reason to serve the others later.
RING = "if not redis.call('LPOS', KEYS[1], ARGV[1]) then redis.call('LPUSH', KEYS[1], ARGV[1]) end"


class Silent(Exception):
    """Redis is away, frozen or full: works later, and nothing is lost by it."""


class Bell:
    """A connection to the list. Rings fail fast (2 s); waiting has 3 s of patience beyond its own time.

    redis-py 8 would by itself wait 5 s and try 10 more times, and a blocking pop during a freeze then takes an item
    and loses it. So: no retries, and a patience well above the blocking time.
    """

    def __init__(self, url: Secret) -> None:
        self._ringing = _client(url, patience=2)
        self._waiting = _client(url, patience=5)
        self._ring = self._ringing.register_script(RING)

    def ring(self, chat_id: int) -> None:
        """Wake a worker for this chat, behind those that were rung for before. Raises Silent."""
        with _translated():
            self._ring(keys=[LIST], args=[chat_id])

    def wait(self, seconds: int) -> int | None:
        """The next chat rung for; None after this many whole seconds without one, or for a ring that names no chat.

        Raises Silent.
        """
        with _translated():
            rung = self._waiting.brpop([LIST], timeout=seconds)
        name = str(rung[1]) if rung else ""
        return int(name) if re.fullmatch(r"-?\d{1,18}", name) else None

    def ping(self) -> None:
        """Raises Silent when nobody answers."""
        with _translated():
            self._ringing.ping()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as exc:
        raise Silent(f"{type(exc).__name__}: {exc}") from exc


def _client(url: Secret, patience: float) -> redis.Redis:
    return redis.Redis.from_url(
        url.reveal(),
        socket_timeout=patience,
        socket_connect_timeout=2,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
        encoding_errors="replace",
    )
