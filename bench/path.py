"""Our own overhead: from an update at Telegram to the first byte at Claude, and from the last byte of the answer to the
first byte of sendMessage; in an idle house, and with fifty messages a second. Beside it the floor, in turns.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bench.floor import Floor
from bench.house import WAITED, House, house
from demo.telegram import Person

PAUSE = 0.05  # seconds between two messages: everyone is asleep again by then
WORKERS = 8  # each is in Claude's hands for 0.07 s a message: fewer would be measured waiting for Claude
PACE = 0.003  # seconds between two words of Claude's, some twenty: else the last byte comes before the first is read


@dataclass
class Spans:
    """Seconds of each message. `begin` without the wait for more, in which storing and ringing happen; `retry` where
    nothing is waited for; `send` from Claude's last byte."""

    begin: list[float] = field(default_factory=list)
    retry: list[float] = field(default_factory=list)
    send: list[float] = field(default_factory=list)
    floor_begin: list[float] = field(default_factory=list)
    floor_send: list[float] = field(default_factory=list)

    def add(self, built: House, numbers: list[int]) -> None:
        """What became of these messages, all of them answered."""
        asked, sent = built.asked(), built.sent()
        self.begin += [asked[number][0] - built.said[number] - WAITED for number in numbers]
        self.send += [sent[number] - asked[number][1] for number in numbers]


def idle(built: House, floor: Floor, messages: int, people: Sequence[Person] | None = None) -> Spans:
    """One message after the other through a house that runs, each of another person, who then says /retry; and a row
    through the floor."""
    spans, numbers = Spans(), []
    for _, person in zip(range(messages), itertools.cycle(people or built.people), strict=False):
        numbers.append(built.say(person))
        built.await_answers(numbers[-1:])
        time.sleep(PAUSE)
        spans.retry.append(built.retry(person))
        time.sleep(PAUSE)
        began = time.perf_counter()
        floor.put()
        _, begun, kept = floor.take()
        spans.floor_begin.append(begun - began)
        spans.floor_send.append(kept)
        time.sleep(PAUSE)
    spans.add(built, numbers)
    return spans


def busy(built: House, floor: Floor, rate: float, seconds: float, runs: int) -> Spans:
    """So many messages a second, each of another person, whether or not the last one is answered; and as many rows."""
    spans = Spans()
    for _ in range(runs):
        numbers = [built.say() for _ in moments(rate, seconds)]
        built.await_answers(numbers)
        spans.add(built, numbers)
        put = {}
        for _ in moments(rate, seconds):
            began = time.perf_counter()
            put[floor.put()] = began
        for _ in put:
            number, begun, kept = floor.take()
            spans.floor_begin.append(begun - put[number])
            spans.floor_send.append(kept)
    return spans


def moments(rate: float, seconds: float) -> Iterator[None]:
    """The moments of a fixed timetable; who is late gets the next ones at once."""
    began = time.perf_counter()
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, began + number / rate - time.perf_counter()))
        yield


def measure(messages: int, rate: float, seconds: float, runs: int) -> tuple[Spans, Spans]:
    """The spans of the idle house, and those at `rate` messages a second."""
    with house(people=500, workers=WORKERS) as built:
        built.claude.pace = PACE
        built.start()
        floor = Floor(built)
        try:
            idle(built, floor, 20)  # warm everything up
            quiet = idle(built, floor, messages)
            return quiet, busy(built, floor, rate, seconds, runs)
        finally:
            floor.stop()
