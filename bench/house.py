"""The house that is measured: real stores, the real scripts, simulators outside, and clocks where messages pass."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Condition
from typing import Any

import psycopg2
import redis

from demo.children import family, wait_until
from demo.servers import Qdrant, Stores, stores
from demo.stack import Stack, make_database
from demo.telegram import Person

WAIT = 60.0
WAITED = 0.3  # seconds a worker waits after a message for more of the same turn: bot.py, wait_for_more()
TICKS = os.sysconf("SC_CLK_TCK")
WORDS = "a message of ordinary length, such as people write to an assistant " * 6  # 400 characters
NUMBER = re.compile(r"message (\d+):")


class House(Stack):
    """The stack with as many people as are needed. Each message has a number, which stands in the answer too."""

    def __init__(self, both: Stores, people: int = 1, workers: int = 1, memory: Qdrant | None = None) -> None:
        self.people = [Person(10_000 + number, f"Person {number}") for number in range(people)]
        allowed = ",".join(str(person.id) for person in self.people)
        url, settings = make_database(both.postgres, "bench"), {"ALLOWED_USER_IDS": allowed}
        if memory is not None:
            settings |= {"QDRANT_URL": memory.url, "QDRANT_API_KEY": memory.password}
        super().__init__(both.folder, url, both.redis.url, workers, settings=settings, watch=memory is not None)
        self.stores = both
        self.claude.answer = lambda body: f"An answer to {_last(body)[:120]}"
        self.telegram.on_event = self._seen
        self.said: dict[int, float] = {}  # time.perf_counter() by number
        self.arrived: dict[int, float] = {}
        self.answers = 0
        self._news = Condition()

    def say(self, person: Person | None = None) -> int:
        """Somebody writes; the number of the message."""
        number = len(self.said)
        self.said[number] = time.perf_counter()
        self.telegram.say(person or self.people[number % len(self.people)], f"message {number}: {WORDS}")
        return number

    def await_answers(self, numbers: Sequence[int], seconds: float = WAIT) -> None:
        """Asleep until all have arrived: a look now and then would hold up the simulators, which live in here."""
        with self._news:
            if not self._news.wait_for(lambda: all(number in self.arrived for number in numbers), seconds):
                missing = [number for number in numbers if number not in self.arrived]
                raise SystemExit(f"no answer came to {len(missing)} of {len(numbers)} messages\n{self.last_words()}")

    def retry(self, person: Person) -> float:
        """The person says /retry, for which no worker waits; seconds until Claude is asked. Ends with the answer."""
        asked, answers, began = len(self.claude.requests), self.answers, time.perf_counter()
        self.telegram.say(person, "/retry")
        if not self.claude.wait_for(lambda: len(self.claude.requests) > asked, WAIT):
            raise SystemExit(f"/retry asks nobody\n{self.last_words()}")
        with self._news:
            self._news.wait_for(lambda: self.answers > answers, WAIT)
        return self.claude.requests[asked].at - began

    def await_most(self, numbers: Sequence[int], most: int, seconds: float = WAIT) -> None:
        """Asleep until so many of them have arrived."""
        with self._news:
            if not self._news.wait_for(lambda: sum(number in self.arrived for number in numbers) >= most, seconds):
                raise SystemExit(f"{most} answers did not come\n{self.last_words()}")

    def take_in(self, count: int) -> list[int]:
        """Have the bot store one message of each of so many people, and wait until it has."""
        numbers = [self.say(person) for person in self.people[:count]]
        if not wait_until(lambda: not self.telegram.pending(), WAIT + count / 20):
            raise SystemExit(f"the bot does not store what came\n{self.last_words()}")
        time.sleep(WAITED)  # from now on none waits for more of the same turn
        return numbers

    def asked(self) -> dict[int, tuple[float, float]]:
        """When the first byte of the first request arrived at Claude, and when the last of its answer had left."""
        seen: dict[int, tuple[float, float]] = {}
        for request in self.claude.requests:
            if found := NUMBER.search(_last(request.body)):
                seen.setdefault(int(found[1]), (request.at, self.claude.finished.get(request.request_id, 0.0)))
        return seen

    def sent(self) -> dict[int, float]:
        """When the first byte of the first sendMessage arrived at Telegram."""
        calls = [call for call in reversed(self.telegram.calls) if call.method == "sendMessage"]
        return {int(found[1]): call.at for call in calls if (found := NUMBER.search(call.params.get("text", "")))}

    def sql(self, statement: str, parameters: Sequence[Any] | dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """As the superuser, beside the scripts."""
        connection = psycopg2.connect(self.admin_url)
        try:
            connection.autocommit = True
            with connection.cursor() as cur:
                cur.execute(statement, parameters)
                return list(cur.fetchall()) if cur.description else []
        finally:
            connection.close()

    def clear(self) -> None:
        """Nobody has ever written: the same beginning for each run."""
        self.sql("TRUNCATE inbox, outbox, history, audit, unindexed")
        self.redis.flushall()

    @property
    def admin_url(self) -> str:
        return self.stores.postgres.url("bench")

    @property
    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.stores.redis.url)

    def last_words(self) -> str:
        """The end of every log, for whoever wonders why nothing came."""
        logs = sorted(self.bot.log.parent.glob("*.log"))
        return "\n".join(f"{log.name}:\n{log.read_text(errors='replace')[-1500:]}" for log in logs)

    def _seen(self, kind: str, chat_id: int, text: str) -> None:
        if kind == "message" and (found := NUMBER.search(text)):
            with self._news:
                self.arrived.setdefault(int(found[1]), time.perf_counter())
                self.answers += 1
                self._news.notify_all()


def _last(body: dict[str, Any]) -> str:
    """The text of the message that is to be answered."""
    messages = body.get("messages") or [{"content": ""}]
    content = messages[-1]["content"]
    return content if isinstance(content, str) else " ".join(str(block.get("text", "")) for block in content)


@contextmanager
def house(people: int = 1, workers: int = 1, memory: bool = False) -> Iterator[House]:
    """A house of its own, with stores of its own; with `memory` also a Qdrant and a healthwatch. Nothing is started but
    the simulators."""
    with stores() as both:
        qdrant = Qdrant(both.folder / "qdrant") if memory else None
        if qdrant:
            qdrant.start()
        built = House(both, people, workers, qdrant)
        try:
            yield built
        finally:
            built.stop()
            if qdrant:
                qdrant.stop()


def cpu_seconds(pid: int) -> float:
    """What a process and its living descendants have computed so far, in user and system time."""
    return sum(map(_ticks, family(pid))) / TICKS


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0
    return sum(int(field) for field in fields[11:15])


def megabytes(pid: int) -> float:
    """Resident memory of a process, in MB of 2**20 bytes."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def settle(pids: Sequence[int], seconds: float = 60.0) -> None:
    """Wait until these processes have nothing left to do: together they compute less than 3 % of the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        before = sum(map(cpu_seconds, pids))
        time.sleep(1.0)
        if sum(map(cpu_seconds, pids)) - before <= 0.03 * len(pids):
            return
    raise SystemExit("the processes do not come to rest")


def percentile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]
