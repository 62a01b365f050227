"""How well memories are found: the hit rate at 5 in several languages, on turns and questions made for it.

Each language is a file here: turns as "question | answer"; below a turn, after ">", what somebody might ask months
later to get at it, in other words or other forms of them; at the end, after "!", what no turn has to do with. All
languages are one person's: they stand in one chat, each in the way of the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

from demo.qdrant import QdrantSim
from lib import terms
from lib.history import Exchange
from lib.memory import Memory
from lib.secret import Secret

FILES = sorted(Path(__file__).parent.glob("*.txt"))
KEY, CHAT, MOST = "k" * 40, 1, 5


@dataclass
class Language:
    """What came of one file. `hits`: questions whose turn was among the five; `first`: whose turn was the first."""

    name: str
    turns: int = 0
    asked: int = 0
    hits: int = 0
    first: int = 0
    unrelated: int = 0
    disturbed: int = 0  # questions with nothing to find that brought something back all the same
    missed: list[str] = field(default_factory=list)


def measure() -> list[Language]:
    """Every file in one chat of one simulated Qdrant."""
    sim = QdrantSim(KEY)
    sim.start()
    try:
        memory = Memory(sim.url, Secret(KEY))
        memory.make()
        turns: list[Exchange] = []
        questions: list[tuple[Language, str, int]] = []
        languages = []
        for path in FILES:
            languages.append(language := Language(path.stem))
            for line in path.read_text().splitlines():
                if line.startswith((">", "!")):
                    questions.append((language, line[2:], len(turns) if line[0] == ">" else 0))
                else:
                    question, answer = line.split(" | ")
                    turns.append(
                        Exchange(len(turns) + 1, CHAT, CHAT, datetime(2026, 3, 2, tzinfo=UTC), question, answer)
                    )
                    language.turns += 1
        memory.keep(turns)
        for language, question, wanted in questions:
            found = memory.recall(CHAT, question, most=MOST)
            if not wanted:
                language.unrelated += 1
                language.disturbed += bool(found)
                continue
            language.asked += 1
            language.hits += wanted in found
            language.first += found[:1] == [wanted]
            language.missed += [] if wanted in found else [question]
        return languages
    finally:
        sim.stop()


@contextmanager
def without_stemming() -> Iterator[None]:
    with mock.patch.object(terms, "_stems", lambda word: (terms._bare(word),)):
        yield
