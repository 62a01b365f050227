"""The floor of a message's way: the least that durable work through PostgreSQL and Redis can cost.

One INSERT with its commit and one LPUSH here; in another process a blocking pop and one UPDATE with its commit, then
the request to Claude could leave; and to keep an answer and to mark it before it is sent, one INSERT and one UPDATE
with their commits.
"""

from __future__ import annotations

import os
import subprocess
import sys
from time import perf_counter

import psycopg2
import redis

from bench.house import WORDS, House
from demo.children import child
from demo.stack import ROOT

TABLE = "CREATE TABLE floor (id bigserial PRIMARY KEY, body text NOT NULL, state text NOT NULL DEFAULT 'new')"


class Floor:
    """One row there, two time-stamps back. Ends with the process that made it."""

    def __init__(self, built: House) -> None:
        connection = psycopg2.connect(built.admin_url)
        connection.autocommit = True
        self._cursor, self._redis = connection.cursor(), built.redis
        self._cursor.execute("DROP TABLE IF EXISTS floor")
        self._cursor.execute(TABLE)
        self._worker = start(built)

    def put(self) -> int:
        """A row is stored and rung for; its number."""
        self._cursor.execute("INSERT INTO floor (body) VALUES (%s) RETURNING id", (WORDS,))
        row = self._cursor.fetchone()
        number = int(row[0]) if row else 0
        self._redis.lpush("floor", number)
        return number

    def take(self) -> tuple[int, float, float]:
        """The next that is done: its number, time.perf_counter() when it was begun, and seconds to keep its answer."""
        back = self._redis.brpop(["floor:back"], timeout=20)
        if back is None:
            raise SystemExit("the floor does not answer")
        number, begun, kept = back[1].split()
        return int(number), float(begun), float(kept)

    def stop(self) -> None:
        self._worker.kill()
        self._worker.wait()


def start(built: House) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bench.floor", built.admin_url, built.stores.redis.url]
    return child(command, env=dict(os.environ), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)


def work(database_url: str, redis_url: str) -> None:
    """The other process. time.perf_counter() is the machine's monotonic clock, the same in all processes."""
    connection = psycopg2.connect(database_url)
    connection.autocommit = True
    cursor, bell = connection.cursor(), redis.Redis.from_url(redis_url)
    while True:
        if rung := bell.brpop(["floor"], timeout=2):
            number = int(rung[1])
            cursor.execute("UPDATE floor SET state = 'begun' WHERE id = %s", (number,))
            begun = perf_counter()
            cursor.execute("INSERT INTO floor (body, state) VALUES (%s, 'answer') RETURNING id", (WORDS,))
            cursor.execute("UPDATE floor SET state = 'sending' WHERE id = %s", (cursor.fetchone() or (0,)))
            bell.lpush("floor:back", f"{number} {begun!r} {perf_counter() - begun!r}")


if __name__ == "__main__":
    work(*sys.argv[1:])
