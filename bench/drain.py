"""Throughput: a backlog of stored messages, an instant Claude, and one, two or four workers.

Beside ours other queues call bench/work.py for the same rows, on the same Redis and PostgreSQL, in turns. All workers
are frozen until everything is queued, so that nobody's start or enqueuing is measured.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.house import House, cpu_seconds, house, settle
from demo.children import child, family, send
from demo.stack import ROOT, Script

OURS = "Steward"
FLOOR = "a bare list"
QUEUES = {FLOOR: "on_nothing", "RQ": "on_rq", "Dramatiq": "on_dramatiq", "Celery": "on_celery", "Huey": "on_huey"}


@dataclass(frozen=True)
class Drained:
    """One run: messages a second from the first to the last, and milliseconds of processor the workers took each."""

    rate: float
    cpu_ms: float


def measure(messages: int, workers: Sequence[int], runs: int) -> dict[tuple[str, int], list[Drained]]:
    """Each queue with each number of workers, `runs` times in turns."""
    found: dict[tuple[str, int], list[Drained]] = {}
    with house(people=messages) as built:
        built.bot.start()
        for _ in range(runs):
            for count in workers:
                for name in (OURS, *QUEUES):
                    found.setdefault((name, count), []).append(once(built, name, count, messages))
    return found


def once(built: House, name: str, workers: int, messages: int) -> Drained:
    built.clear()
    with running(built, name, workers) as pids, frozen(pids):
        numbers = built.take_in(messages)
        if name != OURS:
            built.redis.flushall()
            enqueue(built, name, messages)
        before = sum(map(cpu_seconds, pids))
        thaw(pids)
        built.await_answers(numbers, 300.0)
        computed = sum(map(cpu_seconds, pids)) - before
    times = sorted(built.arrived[number] for number in numbers)
    return Drained((messages - 1) / (times[-1] - times[0]), computed * 1000 / messages)


@contextmanager
def running(built: House, name: str, workers: int) -> Iterator[list[int]]:
    """So many worker processes, ours or another queue's, ready and idle; their ids."""
    start = start_ours if name == OURS else start_other
    processes = [start(built, name, number) for number in range(workers)]
    try:
        settle(processes)
        yield processes
    finally:
        for process in processes:
            send(signal.SIGKILL, family(process))


def start_ours(built: House, name: str, number: int) -> int:
    worker = Script("worker", built.env, built.bot.log.parent, 100 + number)
    worker.start()
    return worker.pid


def start_other(built: House, name: str, number: int) -> int:
    module = f"bench.queues.{QUEUES[name]}"
    code = f"import os, {module} as queue; os.execv(queue.WORKER[0], queue.WORKER)"
    with (built.bot.log.parent / f"{QUEUES[name]}.log").open("ab") as log:
        return child([sys.executable, "-c", code], env=environment(built), stdout=log, stderr=log, cwd=ROOT).pid


def enqueue(built: House, name: str, messages: int) -> None:
    """Put every chat into the queue, by a process of its own, in which nothing else is set up."""
    code = f"import sys; from bench.queues.{QUEUES[name]} import put; [put(int(line)) for line in sys.stdin]"
    chats = "\n".join(str(person.id) for person in built.people[:messages])
    command = [sys.executable, "-c", code]
    subprocess.run(command, env=environment(built), input=chats.encode(), cwd=ROOT, check=True, timeout=120)


def environment(built: House) -> dict[str, str]:
    return built.env | {"PATH": os.environ["PATH"]}


@contextmanager
def frozen(pids: Sequence[int]) -> Iterator[None]:
    """Stop these processes where they stand, until thaw()."""
    send(signal.SIGSTOP, [member for pid in pids for member in family(pid)])
    try:
        yield
    finally:
        thaw(pids)


def thaw(pids: Sequence[int]) -> None:
    send(signal.SIGCONT, [member for pid in pids for member in family(pid)])
