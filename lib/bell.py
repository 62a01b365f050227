"""The bell: a Redis list of chat ids that have something waiting.

It wakes a worker at once and holds nothing that is not in PostgreSQL too: rings may be doubled, or lost with Redis.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import redis
from redis.backoff import NoBackoff
from redis.exceptions import MovedError, OutOfMemoryError
from redis.retry import Retry

from lib.secret import Secret

T = TypeVar("T")

LIST = "steward:bell"
TRIAL = "steward:health"

# A chat stands in the list at most once: a hundred messages of one person are no reason to serve the others later.
RING = """
for _, chat in ipairs(ARGV) do
    if not redis.call('LPOS', KEYS[1], chat) then redis.call('LPUSH', KEYS[1], chat) end
end
"""


class Silent(Exception):
    """Redis is away, frozen or full: works later, and nothing is lost by it."""


class Full(Silent):
    """Redis answers, and takes nothing: it has reached its maxmemory."""


class Bell:
    """A connection to the list. Each step of a ring (connect, answer) has 2 s; wait() has 5 s, so ask it for 2 at most.

    redis-py 8 would by itself wait 5 s and try 10 more times, and a blocking pop during a freeze then takes an item
    and loses it. So: no retries, and a patience well above the blocking time.
    """

    def __init__(self, url: Secret) -> None:
        self._ringing = _Line(url, patience=2)
        self._waiting = _Line(url, patience=5)

    def ring(self, *chat_ids: int) -> None:
        """Wake workers for these chats, in this order, behind those that were rung for before. Raises Silent."""
        self._ringing.ask(lambda client: client.eval(RING, 1, LIST, *map(str, chat_ids)))

    def wait(self, seconds: float) -> int | None:
        """The next chat rung for; None after this many seconds without one, or for a ring that names no chat. It may
        end 0.1 s late, and takes 0.01 at least: for Redis a 0 has no end. Raises Silent.
        """
        rung = self._waiting.ask(lambda client: client.brpop([LIST], timeout=seconds))
        return _chat(rung[1] if rung else None)

    def glance(self) -> int | None:
        """The same without a wait. Raises Silent."""
        return _chat(self._waiting.ask(lambda client: client.rpop(LIST)))

    def ping(self) -> None:
        """Raises Silent when nobody answers."""
        self._ringing.ask(lambda client: client.exists(LIST))  # not PING: every member of a cluster answers that

    def try_out(self) -> str:
        """Write something that is gone again in a minute: a full Redis answers PING. Its version, if it tells.

        Raises Full and Silent.
        """
        self._ringing.ask(lambda client: client.set(TRIAL, "1", ex=60))
        try:
            return str(self._ringing.ask(lambda client: client.info("server")).get("redis_version", ""))
        except Silent:  # a managed Redis may not tell
            return ""


def _chat(rung: object) -> int | None:
    return int(rung) if isinstance(rung, str) and re.fullmatch(r"-?\d{1,18}", rung) else None


class _Line:
    """A client that finds the list in a cluster too: another member than the one that keeps it answers MOVED.

    redis-py's own cluster client asks every member in turn when one is silent: 25 s if all are frozen.
    """

    def __init__(self, url: Secret, patience: float) -> None:
        self._home = self._client = redis.Redis.from_url(
            url.reveal(),
            socket_timeout=patience,
            socket_connect_timeout=2,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
            encoding_errors="replace",
        )

    def ask(self, work: Callable[[redis.Redis], T]) -> T:
        """Raises Silent; then the next one begins again at the URL's address."""
        try:
            try:
                return work(self._client)
            except MovedError as moved:
                self._client = self._at(moved.host, moved.port)
                return work(self._client)
        except OutOfMemoryError as exc:  # "command not allowed when used memory > 'maxmemory'."
            raise Full(f"{type(exc).__name__}: {exc}") from exc
        except redis.RedisError as exc:
            self._client = self._home
            raise Silent(f"{type(exc).__name__}: {exc}") from exc

    def _at(self, host: str, port: int) -> redis.Redis:
        """The same client at another address; a cluster that leaves the host out means this one."""
        pool = self._home.connection_pool
        place = {"host": host or pool.connection_kwargs.get("host"), "port": port}
        settings = pool.connection_kwargs | place
        return redis.Redis.from_pool(redis.ConnectionPool(pool.connection_class, **settings))
