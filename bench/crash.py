"""kill -9 in the middle of an answer: what is never answered, and how soon the interrupted one goes on.

Each queue has a house and stores of its own, and all are killed within the same seconds, because some need minutes to
notice.
"""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench.drain import OURS, QUEUES, enqueue, frozen, running, start_other, start_ours, thaw
from bench.house import House, house
from demo.children import family, send, wait_until

MESSAGES = 60  # each in a chat of its own
BEFORE = 20  # so many are answered before the kill
THOUGHT = 0.05  # seconds of Claude's for each


@dataclass
class Killed:
    """One trial: how many messages were never answered, and seconds from the restart until the interrupted one was."""

    lost: int
    back: float | None


@dataclass
class Case:
    """One queue in its house."""

    name: str
    built: House
    pids: list[int]
    numbers: list[int] = field(default_factory=list)
    interrupted: list[int] = field(default_factory=list)
    restarted: float = 0.0


def measure(trials: int, window: float) -> dict[str, list[Killed]]:
    """Each queue, `trials` times; whatever is not answered `window` seconds after the restart counts as lost."""
    found: dict[str, list[Killed]] = {name: [] for name in (OURS, *QUEUES)}
    for _ in range(trials):
        with ExitStack() as opened:
            cases = [prepare(name, opened) for name in found]
            for case in cases:
                kill(case)
            deadline = time.monotonic() + window
            while time.monotonic() < deadline and not all(done(case) for case in cases):
                time.sleep(0.2)
            for case in cases:
                found[case.name].append(judge(case))
    return found


def prepare(name: str, opened: ExitStack) -> Case:
    """Everything stored and queued, and one worker that has not begun."""
    built = opened.enter_context(house(people=MESSAGES))
    built.claude.first_delay = THOUGHT
    built.bot.start()
    case = Case(name, built, opened.enter_context(running(built, name, 1)))
    opened.enter_context(frozen(case.pids))
    case.numbers = built.take_in(MESSAGES)
    if name != OURS:
        built.redis.flushall()
        enqueue(built, name, MESSAGES)
    return case


def kill(case: Case) -> None:
    """Let it work, kill everything of it in the middle of an answer, and start it again after a second."""
    thaw(case.pids)
    claude = case.built.claude

    def in_the_middle() -> bool:
        return len(case.built.arrived) >= BEFORE and len(claude.requests) > len(claude.finished)

    if not wait_until(in_the_middle, 60):
        raise SystemExit(f"{case.name} does not work\n{case.built.last_words()}")
    members = [member for pid in case.pids for member in family(pid)]
    send(signal.SIGSTOP, members)
    send(signal.SIGKILL, members)
    time.sleep(1.0)
    asked = case.built.asked()
    case.interrupted = [number for number in case.numbers if number in asked and number not in case.built.arrived]
    start = start_ours if case.name == OURS else start_other
    case.restarted = time.perf_counter()
    case.pids.append(start(case.built, case.name, len(case.pids)))


def done(case: Case) -> bool:
    return all(number in case.built.arrived for number in case.numbers)


def judge(case: Case) -> Killed:
    arrived = case.built.arrived
    back = [arrived[number] - case.restarted for number in case.interrupted if number in arrived]
    return Killed(sum(number not in arrived for number in case.numbers), max(back, default=None))
