"""Our own overhead: from an update's arrival at Telegram to the first byte of the request at Claude.

Beside it the floor, the least that durable work through PostgreSQL and Redis can cost: one INSERT with its commit and
one LPUSH here, a blocking pop and one UPDATE with its commit in another process. Both take turns in the same idle
house, so that a slow moment of the machine falls on both.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psycopg2
import redis

from demo.children import child
from demo.servers import stores
from demo.stack import Stack, make_database
from demo.telegram import ALICE

PAUSE = 0.05  # seconds between two messages: everyone is asleep again by then
WAIT = 20.0
FLOOR_TABLE = "CREATE TABLE floor (id bigserial PRIMARY KEY, body text NOT NULL, state text NOT NULL DEFAULT 'new')"
TEXT = "a message of ordinary length, such as people write to an assistant " * 6  # 400 characters


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=300)
    parser.add_argument("--floor-worker", nargs=2, metavar=("DATABASE", "REDIS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.floor_worker:
        return floor_worker(*arguments.floor_worker)
    ours, floor = measure(arguments.messages)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()};")
    print(f"idle house, {arguments.messages} messages each, in turns\n")
    print(f"{'':42}{'median ms':>10}{'p99 ms':>9}")
    for name, spans in (
        ("update at Telegram -> request at Claude", ours),
        ("floor (INSERT, LPUSH, BRPOP, UPDATE)", floor),
    ):
        print(f"{name:42}{statistics.median(spans) * 1e3:>10.2f}{percentile(spans, 99) * 1e3:>9.2f}")
    print(f"{'ratio of the medians':42}{statistics.median(ours) / statistics.median(floor):>10.2f}")
    return 0


def measure(messages: int) -> tuple[list[float], list[float]]:
    """Seconds of each message through the house, and of each row through the floor."""
    stack, floor_process = None, None
    with stores() as both:
        url, admin_url = make_database(both.postgres, "bench"), both.postgres.url("bench")
        try:
            stack = Stack(both.folder, url, both.redis.url)
            stack.start()
            floor = Floor(admin_url, both.redis.url)
            floor_process = start_floor_worker(admin_url, both.redis.url)
            for _ in range(20):  # warm both up
                through_the_house(stack)
                floor.once()
            ours, theirs = [], []
            for number in range(messages):
                if number % 10 == 0:
                    begin_anew(stack)
                ours.append(through_the_house(stack))
                time.sleep(PAUSE)
                theirs.append(floor.once())
                time.sleep(PAUSE)
            return ours, theirs
        finally:
            if floor_process:
                floor_process.kill()
            if stack:
                stack.stop()


def through_the_house(stack: Stack) -> float:
    """Seconds from say() to the first line of the HTTP request; returns once the answer is sent."""
    asked, sent = len(stack.claude.requests), len(stack.telegram.messages(ALICE.id))
    began = time.perf_counter()
    stack.telegram.say(ALICE, TEXT)
    # Asleep until then: a look at the transcript would hold up the simulators, which live in this process.
    if not stack.claude.wait_for(lambda: len(stack.claude.requests) > asked, WAIT):
        raise SystemExit("no request came: " + stack.bot.log.read_text()[-2000:])
    await_reply(stack, sent)
    return stack.claude.requests[asked].at - began


def begin_anew(stack: Stack) -> None:
    """A prompt of a few turns: its size is not ours to answer for."""
    sent = len(stack.telegram.messages(ALICE.id))
    stack.telegram.say(ALICE, "/new")
    await_reply(stack, sent)


def await_reply(stack: Stack, sent: int) -> None:
    if not stack.telegram.wait_for(lambda sim: len(sim.messages(ALICE.id)) > sent, WAIT):
        raise SystemExit("no answer came: " + stack.bot.log.read_text()[-2000:])


class Floor:
    """One row there, one time-stamp back."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        connection = psycopg2.connect(database_url)
        connection.autocommit = True
        self._cursor = connection.cursor()
        self._cursor.execute(FLOOR_TABLE)
        self._redis = redis.Redis.from_url(redis_url)

    def once(self) -> float:
        """Seconds until the other process has committed its UPDATE."""
        began = time.perf_counter()
        self._cursor.execute("INSERT INTO floor (body) VALUES (%s) RETURNING id", (TEXT,))
        row = self._cursor.fetchone()
        self._redis.lpush("floor", row[0] if row else 0)
        back = self._redis.brpop(["floor:back"], timeout=int(WAIT))
        if back is None:
            raise SystemExit("the floor does not answer")
        return float(back[1]) - began


def floor_worker(database_url: str, redis_url: str) -> int:
    """The other process. time.perf_counter() is the machine's monotonic clock, the same in all processes."""
    connection = psycopg2.connect(database_url)
    connection.autocommit = True
    cursor, bell = connection.cursor(), redis.Redis.from_url(redis_url)
    while True:
        rung = bell.brpop(["floor"], timeout=2)
        if rung:
            cursor.execute("UPDATE floor SET state = 'done' WHERE id = %s", (int(rung[1]),))
            bell.lpush("floor:back", repr(time.perf_counter()))


def start_floor_worker(database_url: str, redis_url: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bench", "--floor-worker", database_url, redis_url]
    root = Path(__file__).parent.parent
    return child(command, env=dict(os.environ), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=root)


def percentile(spans: list[float], percent: int) -> float:
    return sorted(spans)[min(len(spans) - 1, len(spans) * percent // 100)]


if __name__ == "__main__":
    sys.exit(main())
