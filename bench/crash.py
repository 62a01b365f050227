"""kill -9 in the middle of an answer: what is never answered, and how soon the interrupted one goes on.

Each queue has a house and stores of its own, and all of them have their time at once.
"""

from __future__ import annotations

import math
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

    def over(self, window: float) -> bool:
        """Whether all is answered, or its time is up."""
        is_done = all(number in self.built.arrived for number in self.numbers)
        return is_done or time.perf_counter() > self.restarted + window

    def judge(self, window: float) -> Killed:
        took = {number: self.built.arrived.get(number, math.inf) - self.restarted for number in self.numbers}
        slowest = max(took[number] for number in self.interrupted)  # ValueError: it was not in the middle of anything
        return Killed(sum(took[number] > window for number in self.numbers), slowest if slowest <= window else None)


def measure(trials: int, window: float) -> dict[str, list[Killed]]:
    """Each queue, `trials` times; what is not answered `window` seconds after its restart counts as lost."""
    found: dict[str, list[Killed]] = {name: [] for name in (OURS, *QUEUES)}
    for _ in range(trials):
        with ExitStack() as opened:
            cases = [prepare(name, opened) for name in found]
            for case in cases:
                kill(case)
            while any(not case.over(window) for case in cases):
                time.sleep(0.2)
            for case in cases:
                found[case.name].append(case.judge(window))
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
    if not wait_until(lambda: len(case.built.arrived) >= BEFORE, 60):
        raise SystemExit(f"{case.name} does not work\n{case.built.last_words()}")
    members = [member for pid in case.pids for member in family(pid)]
    before = len(claude.requests)
    claude.wait_for(lambda: len(claude.requests) > before, 10)
    send(signal.SIGSTOP, members)
    send(signal.SIGKILL, members)
    time.sleep(1.0)
    asked = case.built.asked()
    case.interrupted = [number for number in case.numbers if number in asked and number not in case.built.arrived]
    start = start_ours if case.name == OURS else start_other
    case.restarted = time.perf_counter()
    case.pids.append(start(case.built, case.name, len(case.pids)))  # running() ends it, too
