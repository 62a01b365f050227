"""A part that comes and goes with any period, looked at as often as healthwatch does: told once, and once that it is
over."""

from __future__ import annotations

import pytest

from healthwatch import DEPENDS, GENTLE
from lib import incidents
from lib.incidents import Finding, Incident, Rules, State

INTERVAL = 30.0
RULES = Rules(INTERVAL, DEPENDS, GENTLE)
BEGIN = 1_800_000_000.0


class Watched:
    """A part, the clock, and what the owner has been told: (kind, whether as a new message)."""

    def __init__(self, part: str) -> None:
        self.part, self.now, self.state = part, BEGIN, State()
        self.told: list[tuple[str, bool]] = []

    def check(self, problem: str | None) -> None:
        """One check, all that is to be said for it, and the pause until the next: half as long when undecided."""
        self.state = incidents.advance(self.state, [Finding(self.part, problem)], self.now, RULES)
        pause = INTERVAL / 2 if incidents.undecided(self.state) else INTERVAL
        for _ in range(int(pause / 5)):  # the loop looks at least so often whether something is to be said
            self.say()
            self.now += 5.0

    def say(self) -> None:
        while letter := incidents.next_letter(self.state, self.now, RULES, text_of):
            self.state = incidents.leaving(self.state, letter, self.now)
            self.state = incidents.arrived(self.state, letter, 1, self.now)
            self.told.append((letter.kind, letter.edit is None))

    @property
    def news(self) -> list[str]:
        return [kind for kind, is_new in self.told if is_new]


def text_of(incident: Incident, kind: str) -> str:
    return f"{kind} {incident.outages}"


@pytest.mark.parametrize("part", ["redis", "postgres", "disk_filling"])
@pytest.mark.parametrize("good", range(1, 11))
@pytest.mark.parametrize("bad", range(1, 11))
def test_so_many_checks_bad_and_so_many_good_are_told_once(part: str, bad: int, good: int) -> None:
    watched = Watched(part)
    watched.check(None)
    for _ in range(max(2, 80 // (bad + good))):  # less than an hour: then the owner would be reminded
        for _ in range(bad):
            watched.check("no_answer")
        for _ in range(good):
            watched.check(None)
    for _ in range(20):
        watched.check(None)
    assert watched.news == ([] if bad < 3 else ["bad", "good"])
    assert all(one.closed_at is not None for one in watched.state.incidents)
