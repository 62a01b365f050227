"""Every sentence is there in every language, and each person gets them in the own one."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import healthwatch
from demo.loopback import Fault
from demo.telegram import ALICE, BOB
from lib import incidents, sentences
from lib.diary import Diary
from lib.english import English, Seen
from lib.incidents import Incident, Outage, State
from lib.russian import Russian
from lib.text import LONGEST, units
from tests.house import House
from tests.test_unreadable_and_poison import unreadable

ROOT = Path(__file__).parent.parent
ENGLISH, RUSSIAN = English(), Russian()
PUBLIC = {name: value for name, value in vars(English).items() if not name.startswith("_")}
WORDLESS = {"DAY", "NAMES"}  # without words, or only names of products
METHODS = {name for name, value in PUBLIC.items() if callable(value)}
SPOKEN = sorted(PUBLIC.keys() - METHODS - WORDLESS)
PRODUCTS = {"PostgreSQL", "Redis", "Qdrant", "Telegram", "Claude", "Steward"}
CYRILLIC = re.compile("[а-яё]", re.IGNORECASE)
# What may stand in a Russian sentence in Latin letters: names, commands, settings, codes, words of other programs.
ENGLISH_WORDS = re.compile(r"\b(the|is|are|was|and|not|of|to|it|for|again|with|since|works?|sent)\b")


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Each text of a constant, in whatever it is wrapped, and the way to it."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from leaves(part, f"{path}[{key}]")
    elif isinstance(value, tuple):
        for number, part in enumerate(value):
            yield from leaves(part, f"{path}[{number}]")


def gaps(text: str) -> list[str]:
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


def commands(text: str) -> set[str]:
    """What must stand the same in every language: commands, settings, and what is typed into a terminal."""
    return set(re.findall(r"(?<![\w.])/[a-z]{3,}\b|\b[A-Z]+_[A-Z_]+\b|`[^`]+`|\b\w+\.py\b", text))


def pairs(names: list[str]) -> list[tuple[str, str, str]]:
    english, russian = (dict(leaves({name: getattr(say, name) for name in names})) for say in (ENGLISH, RUSSIAN))
    return [(path, text, russian.get(path, "")) for path, text in english.items()]


def test_russian_has_every_sentence_of_english_and_none_of_its_own():
    own = {name for name in vars(Russian) if not name.startswith("_")}
    assert set(SPOKEN) - own == set(), "missing in lib/russian.py"
    assert own - set(SPOKEN) == set(), "only in lib/russian.py, or without words"


def test_every_list_of_sentences_has_the_same_keys():
    for name in SPOKEN:
        found = ([path for path, _ in leaves({name: getattr(say, name)})] for say in (ENGLISH, RUSSIAN))
        english, russian = map(set, found)
        assert english == russian, name


@pytest.mark.parametrize("name", SPOKEN)
def test_a_russian_sentence_is_russian_and_has_the_gaps_of_the_english_one(name):
    for path, english, russian in pairs([name]):
        assert gaps(english) == gaps(russian), path
        if russian in PRODUCTS:
            continue
        assert russian.strip(), path
        assert russian != english, path
        assert CYRILLIC.search(russian), path
        assert not ENGLISH_WORDS.search(re.sub(r"`[^`]+`|{\w+}", "", russian)), path
        assert units(russian) <= max(1.6 * units(english), units(english) + 25), path


@pytest.mark.parametrize("name", SPOKEN)
def test_a_russian_sentence_names_the_same_commands_and_begins_and_ends_the_same_way(name):
    for path, english, russian in pairs([name]):
        assert commands(english) == commands(russian), path
        for end in (0, -1):
            if english[end] in " \n.,;:)":
                assert russian[end] in english[end] + ";", path
        if path.startswith("[TROUBLES]"):
            assert (english[0].islower() or english[0] == "`") == (russian[0].islower() or russian[0] == "`"), path


def test_what_the_owner_has_to_do_is_cut_off_where_the_owner_reads_it():
    for say in (ENGLISH, RUSSIAN):
        found = {kind for kind, text in say.FAILURES.items() if say.OWNERS_TURN in text}
        assert found == {kind for kind, text in ENGLISH.FAILURES.items() if "my owner has" in text}
        for kind in found:
            assert say.OWNERS_TURN not in say.trouble("claude", kind, {}, UTC, datetime.now(UTC)).means


@pytest.mark.parametrize(
    ("code", "language"),
    [
        *[(code, Russian) for code in ("ru", "ru-RU", "RU", "ru-latn")],
        *[(code, English) for code in ("en", "en-GB", "", "de", "uk", "rue", "runic", "-", "pt-br")],
    ],
)
def test_a_language_is_found_by_its_code(code, language):
    assert type(sentences.of(code)) is language


def everything(say: English, at: datetime) -> list[str]:
    """What the methods put together, as much of it as there is."""
    now, began = at + timedelta(days=2), at.timestamp()
    texts = [say.failure(kind, until) for kind in say.FAILURES for until in (None, now, now + timedelta(days=40))]
    services = (*say.NAMES, "another")
    texts += [say.credential(service, code) for service in services for code in (*say.CREDENTIALS, "SHARD_001")]
    for span in (0.0, 100.0, 8000.0, 90000.0, 9e6):
        texts += [say.ends_soon("claude", span), say.queue(2, span), say.backup(span), say.watch_back(span)]
        texts.append(say.standing("slack", "Acme", None, None, span, span))
    texts += [say.standing("claude", "", None, "no_connection", None, None), say.backup(None), say.stranger(1003)]
    texts += [say.status([Seen(say.BOT, say.WORKS, at), Seen("Redis", say.redis_is(False), at)], UTC, now)]
    texts += [
        say.workers_are(0),
        say.redis_is(True),
        say.claude_state(at, "limit", at, now),
        say.versions({"Redis": "8"}),
    ]
    texts += [say.claude_state(at, None, at, None)]
    problems = [(part, problem) for part, found in say.TROUBLES.items() for problem in found]
    problems += [("claude", kind) for kind in say.FAILURES] + [("disk", "of tomorrow")]
    for part, problem in problems:
        away, back = Outage(problem, {}, began), Outage(problem, {}, began, began + 900)
        often = Outage(problem, {}, began, began + 90000, 3)
        for one in (away, back, often):
            incident = Incident(1, began, {part: one})
            texts += [write(incident, UTC, now) for write in (say.bad_news, say.good_news, say.reminder)]
        texts.append(say.bad_news(Incident(1, began, {part: back}, closed_at=began), UTC, now))
    for who in (say.person("owner", 1), say.person("user", 1002), say.person("stranger", None)):
        texts.append(say.action(at, who, "claude.asked", "failure", "no_network", "claude-sonnet-5-5", 1200))
        texts += [say.received(at, who, kind, state, 2) for kind in say.KINDS for state in say.STATES]
        for sent, refused in ((3, 0), (0, 3), (1, 1), (0, 0)):
            texts.append(say.said(at, who, True, 3, sent, refused, True, at))
    return [*texts, say.tokens(1, 2, 3), say.listing(say.AUDIT_SEVERAL, ["x" * 100] * 100)]


def test_whatever_is_put_together_in_russian_is_russian_throughout():
    english = everything(ENGLISH, datetime(2026, 3, 1, 9, 30, tzinfo=UTC))
    russian = everything(RUSSIAN, datetime(2026, 3, 1, 9, 30, tzinfo=UTC))
    assert len(english) == len(russian)
    for text in russian:
        assert CYRILLIC.search(text), text
        assert not ENGLISH_WORDS.search(re.sub(r"`[^`]+`", "", text)), text
        assert not set("{}") & set(text), text
        assert ".." not in text.replace("...", ""), text
        assert units(text) <= LONGEST, text
    assert not [month for text in russian for month in ENGLISH.MONTHS if month in text]


def test_every_state_of_an_update_has_its_word():
    allowed = re.search(r"state +text NOT NULL CHECK \(state IN \((.*)\)\)", (ROOT / "schema.sql").read_text())
    assert allowed is not None
    assert set(re.findall(r"\w+", allowed[1])) == set(ENGLISH.STATES)


@pytest.mark.parametrize(("kept", "say"), [({"language": "ru"}, RUSSIAN), ({}, ENGLISH)], ids=["ru", "an older watch"])
def test_the_health_watch_remembers_the_owners_language_without_postgresql(tmp_path, kept, say):
    diary, settings = Diary(str(tmp_path / "diary")), SimpleNamespace(qdrant_url="", timezone=UTC)
    diary.write({"state": incidents.dump(State()), "token": "", "cleaned_at": 0.0, **kept})
    ledger = SimpleNamespace(language="")
    watch: Any = SimpleNamespace(settings=settings, diary=diary, ledger=ledger, state=State(), now=1.0, kept=None)
    healthwatch.remember(watch)
    healthwatch.keep(watch)
    assert diary.read()["language"] == kept.get("language", "")
    text = healthwatch.text_of(watch, 100.0, Incident(1, 40.0, {"redis": Outage("no_answer", {}, 40.0)}), "bad")
    assert text.startswith(say.TROUBLES["redis"]["no_answer"].what)


def test_each_person_gets_the_own_language_and_alerts_come_in_the_owners(house: House) -> None:
    alisa = replace(ALICE, language="ru-RU")
    house.telegram.say(alisa, "/start")
    house.telegram.say(BOB, "/start")
    assert house.await_replies(1) == [RUSSIAN.START]
    assert house.await_replies(1, BOB) == [ENGLISH.START]
    house.telegram.say(alisa, "/status")
    assert f"{RUSSIAN.BOT}: {RUSSIAN.WORKS}" in house.await_replies(2)[1]
    for _ in range(2):
        house.claude.faults.add(Fault("status", "/v1/messages", status=529))
    house.telegram.say(alisa, "привет")
    house.telegram.say(BOB, "hello")
    assert house.await_replies(3)[2] == RUSSIAN.failure("overloaded")
    assert house.await_replies(2, BOB)[1] == ENGLISH.failure("overloaded")
    house.telegram.push(unreadable(BOB))
    assert house.await_replies(3, BOB)[2] == ENGLISH.CANNOT_READ
    assert house.await_replies(4)[3].startswith(RUSSIAN.OWNER_PARKED.partition("(")[0])
