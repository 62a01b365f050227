"""The plan of a soak: who says what when, and what breaks when. It is made from a seed before anything starts, as plain
data: the same seed gives the same plan, whatever the machine's timing is afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from demo.loopback import Fault

LONGEST_FREEZE = 16.0  # the scripts give PostgreSQL 10 s and Telegram 15
TURN_SHAPES = {"single": 16, "burst": 4, "long": 1}  # how often
CUT = 4050  # units: what the apps have cut is nearly as long as Telegram allows
KINDS = {  # how often
    **{"kill bot": 5, "kill worker": 8, "kill workers": 5, "kill healthwatch": 3},
    **{"freeze bot": 3, "freeze worker": 4, "freeze workers": 2, "freeze redis": 3, "freeze postgres": 4},
    **{"flush redis": 3, "kill redis": 3, "restart redis": 2, "kill postgres": 3, "restart postgres": 2},
    **{"telegram 429": 2, "telegram 500": 1, "telegram 502": 1, "telegram drop": 2, "telegram lose": 3},
    **{"telegram hang": 3, "telegram away": 2},
    **{"claude 529": 1, "claude 429": 1, "claude 500": 1, "claude drop": 1, "claude lose": 1, "claude hang": 1},
    **{"claude overloaded-midway": 1, "claude cut-midway": 1, "claude ends-early": 1, "claude stalls-midway": 1},
}


@dataclass(frozen=True)
class Options:
    """What a soak is made from."""

    seed: int
    messages: int = 300
    chats: int = 10
    kills: int = 90  # strikes of all kinds
    workers: int = 3
    seconds: float = 160.0  # over which messages and strikes are spread


@dataclass(frozen=True)
class Words:
    """One message: its number stands in it. `person` counts from 0."""

    at: float
    person: int
    number: int
    text: str


@dataclass(frozen=True)
class Strike:
    """One thing that breaks. `moment`: it waits a little until a message is just being fetched, asked or sent;
    `seconds`: for so long, if it has a length; `worker` counts from 0."""

    at: float
    kind: str
    moment: str = ""
    seconds: float = 0.0
    worker: int = 0
    fault: Fault | None = None


@dataclass(frozen=True)
class Plan:
    """All of it. `last_words` are said when nothing breaks any more: one message of everybody, to be answered."""

    options: Options
    words: tuple[Words, ...]
    strikes: tuple[Strike, ...]
    last_words: tuple[Words, ...]

    @property
    def all_words(self) -> tuple[Words, ...]:
        return self.words + self.last_words


def make_plan(options: Options) -> Plan:
    chance = random.Random(options.seed)
    strikes = sorted(_strikes(chance, options), key=lambda strike: strike.at)
    words = _words(chance, options, [strike.at for strike in strikes])
    last = options.seconds
    last_words = [
        Words(last, person, len(words) + person, f"message {len(words) + person}") for person in range(options.chats)
    ]
    return Plan(options, tuple(words), tuple(strikes), tuple(last_words))


def _words(chance: random.Random, options: Options, struck: list[float]) -> list[Words]:
    """Most messages come alone, some as a quick burst, some so long that the person's app has cut them in two. Half of
    them come just before something breaks, so that somebody is in the middle of them."""
    said: list[tuple[float, int, bool]] = []  # when, by whom, and whether it goes on in the next
    while len(said) < options.messages:
        shape = chance.choices(list(TURN_SHAPES), list(TURN_SHAPES.values()))[0]
        count = {"single": 1, "burst": chance.randint(2, 4), "long": 2}[shape]
        at, person = chance.uniform(0, options.seconds), chance.randrange(options.chats)
        if struck and chance.random() < 0.5:
            at = max(chance.choice(struck) - chance.choice([0.01, 0.4]) * chance.random(), 0.0)
        for place in range(count):
            said.append((at, person, shape == "long" and place == 0))
            at += chance.uniform(0.01, 0.15)
    return [
        Words(at, person, number, f"message {number}{_filling(is_cut)}")
        for number, (at, person, is_cut) in enumerate(sorted(said[: options.messages]))
    ]


def _filling(is_cut: bool) -> str:
    return (" and so on" * CUT)[: CUT - 20] if is_cut else ""


def _strikes(chance: random.Random, options: Options) -> list[Strike]:
    """Of each kind one, if there are enough, the others as often as it says above. Every third comes soon after another
    one, while that still hurts."""
    kinds = chance.sample(list(KINDS), len(KINDS)) if options.kills >= len(KINDS) else []
    kinds += chance.choices(list(KINDS), list(KINDS.values()), k=options.kills - len(kinds))
    strikes: list[Strike] = []
    for kind in kinds:
        at = chance.uniform(0, options.seconds)
        if strikes and chance.random() < 1 / 3:
            at = min(chance.choice(strikes).at + chance.uniform(0, 3), options.seconds)
        strikes.append(_strike(chance, options, at, kind))
    return strikes


def _strike(chance: random.Random, options: Options, at: float, kind: str) -> Strike:
    what, whom = kind.split()
    longest = min(LONGEST_FREEZE, options.seconds / 6)
    if what in ("telegram", "claude") and whom != "away":
        return Strike(at, kind, fault=_fault(chance, longest, what, whom))
    moments = {
        "bot": ["fetching", "fetching", ""],
        "worker": ["asking", "sending", ""],
        "workers": ["asking", "sending"],
    }
    return Strike(
        at,
        kind,
        moment=chance.choice(moments.get(whom, ["asking", "sending", "", ""])),
        seconds=_span(chance, longest) if what == "freeze" or whom == "away" else 0.0,
        worker=chance.randrange(options.workers),
    )


def _span(chance: random.Random, longest: float) -> float:
    """Half of them are short, and half longer than most deadlines of the scripts."""
    return chance.uniform(0.3, longest / 4) if chance.random() < 0.5 else chance.uniform(longest * 0.65, longest)


def _fault(chance: random.Random, longest: float, whose: str, how: str) -> Fault:
    make: Callable[..., Fault] = Fault
    where = chance.choice(["sendMessage", "sendMessage", "getUpdates"]) if whose == "telegram" else ""
    times = chance.randint(1, 3 if whose == "telegram" else 2)
    if how.isdecimal():
        seconds = float(chance.randint(1, 5))  # Telegram's retry_after
        return make("status", where, times, status=int(how), seconds=seconds)
    seconds = chance.uniform(1, longest * 1.2) if whose == "telegram" else chance.uniform(1, 5)
    return make(how, where, times, seconds=seconds)
