"""What the owner reads when something is wrong: for every trouble what it is, since when, what it means, what to do."""

from __future__ import annotations

import ast
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from lib.claude import NEEDS_OWNER
from lib.english import English
from lib.incidents import Incident, Outage
from lib.text import LONGEST, units

english = English()

ROOT = Path(__file__).parent.parent
BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 22, 14, 20, 0, tzinfo=BERLIN)
BEGAN = NOW - timedelta(minutes=15)
DETAIL = {
    "silent": 1,
    "of": 3,
    "waiting": 4,
    "until": "2026-11-22T16:00:00+01:00",
    "disks": {"/": "(91 %)", "/var/lib/docker": "(95 %)"},
}
KNOWN = [(part, problem) for part, found in english.TROUBLES.items() for problem in found]
KNOWN += [("claude", kind) for kind in english.FAILURES]
UNKNOWN = [(part, problem) for part in [*english.PARTS, "a newer part"] for problem in ("check_failed", "", "a word")]


def outage(problem: str, began: datetime = BEGAN, ended: datetime | None = None, times: int = 1) -> Outage:
    return Outage(problem, dict(DETAIL), began.timestamp(), ended.timestamp() if ended else None, times)


def incident(**outages: Outage) -> Incident:
    closed = all(one.ended_at is not None for one in outages.values())
    return Incident(1, BEGAN.timestamp(), outages, closed_at=NOW.timestamp() if closed else None)


@pytest.mark.parametrize("detail", [DETAIL, {}, {"disks": None, "until": None}])
@pytest.mark.parametrize(("part", "problem"), KNOWN + UNKNOWN)
def test_every_trouble_says_what_it_is_what_it_means_and_what_to_do(part, problem, detail):
    what, means, do = english.trouble(part, problem, detail, BERLIN, NOW)
    for text in (what, means, do):
        assert text == text.strip()
        assert len(text) > 7
        assert not set("{}") & set(text)
        assert "None" not in text
        assert " ," not in text
        assert ".." not in text
        assert "_" not in re.sub(r"`[^`]*`|[A-Z_]{5,}", "", text)
    assert what[0].isupper() or part not in english.PARTS
    assert not what.endswith(".")  # since when comes behind it
    assert means.endswith(".")
    assert do.endswith(".")
    assert do[0].islower() or do[0] in "`/"  # it continues "What to do: "


@pytest.mark.parametrize(("part", "problem"), KNOWN + UNKNOWN)
def test_every_message_about_one_trouble_is_short_and_ends_in_a_full_stop(part, problem):
    open_one = incident(**{part: outage(problem)})
    over = incident(**{part: outage(problem, ended=NOW)})
    for text in (
        english.bad_news(open_one, BERLIN, NOW),
        english.reminder(open_one, BERLIN, NOW),
        english.good_news(open_one, BERLIN, NOW),
        english.bad_news(over, BERLIN, NOW),
        english.good_news(over, BERLIN, NOW),
    ):
        assert text.endswith(".")
        assert text == text.strip()
        assert units(text) < 600
        assert "14:05" in text


def test_every_part_has_its_name_and_every_word_of_the_watch_its_sentence():
    tree = ast.parse((ROOT / "healthwatch.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for call in [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Finding"]:
        texts = [
            [
                part.value
                for part in ast.walk(argument)
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            ]
            for argument in call.args[:2]
        ]
        for part in texts[0]:
            assert part in english.PARTS
            for problem in texts[1] if len(texts) > 1 else []:
                assert part == "polling" or problem in ("workers", *english.TROUBLES[part])
    for part in ("bot", "workers"):
        assert {"missing", "silent"} <= set(english.TROUBLES[part])
    assert set(english.TROUBLES) | {"claude"} == set(english.PARTS)
    assert set(english.WELL_AGAIN) <= set(english.PARTS)


def test_a_check_that_hung_has_its_sentence():
    for part in ("postgres", "redis", "qdrant", "telegram"):
        assert "no_answer" in english.TROUBLES[part]


def test_what_only_the_owner_can_mend_about_claude_is_told_with_how():
    assert set(english.CLAUDE_DO) == set(NEEDS_OWNER)


@pytest.mark.parametrize("kind", english.FAILURES)
def test_the_owner_is_not_spoken_of_as_somebody_else(kind):
    assert "my owner has" not in english.bad_news(incident(claude=outage(kind)), BERLIN, NOW)


def test_a_word_for_why_the_bot_gets_nothing_may_be_any():
    for word in ("Unreachable", "TooFast", "BadToken"):
        assert "gets nothing" in english.trouble("polling", word, {}, BERLIN, NOW).what
    assert "Another program" in english.trouble("polling", "Conflict", {}, BERLIN, NOW).what


def test_one_worker_of_several_is_counted():
    assert english.trouble("workers", "some_silent", DETAIL, BERLIN, NOW).what.endswith(": 1 of 3")


def test_a_disk_is_named_with_its_share_and_a_folder_without():
    full = english.trouble("disk", "full", DETAIL, BERLIN, NOW)
    assert full.what.endswith(": / (91 %), /var/lib/docker (95 %)")
    gone = english.trouble("disk", "no_folder", {"disks": {"/backup": ""}}, BERLIN, NOW)
    assert gone.what.endswith(": /backup")


def test_the_whole_message_as_it_is_read():
    assert english.bad_news(incident(redis=outage("no_answer")), BERLIN, NOW) == (
        "Redis does not answer, since 14:05.\n"
        "Messages are still answered, some seconds later. Nothing is lost.\n"
        "What to do: look at `docker compose ps` and `docker compose logs redis`; `docker compose restart redis` often"
        " helps."
    )
    assert english.good_news(incident(redis=outage("no_answer", ended=NOW)), BERLIN, NOW) == (
        "Redis: works again since 14:20; there was trouble from 14:05, for 15 min."
    )


def test_what_was_over_before_it_could_be_told_says_so():
    late = incident(redis=outage("no_answer", ended=NOW))
    assert english.bad_news(late, BERLIN, NOW).startswith("I could not tell you in time: it is over.\nRedis: works")
    late.told_at = NOW.timestamp()
    assert english.bad_news(late, BERLIN, NOW).startswith("It is over.\n")
    late.summary = True
    assert english.bad_news(late, BERLIN, NOW).startswith("I could not tell you in time")


def test_what_is_still_wrong_stands_before_what_is_well_again():
    text = english.bad_news(incident(redis=outage("no_answer", ended=NOW), qdrant=outage("no_answer")), BERLIN, NOW)
    assert text.index("Qdrant") < text.index("Redis")


def test_a_reminder_says_that_it_is_one_and_names_only_what_is_still_wrong():
    both = incident(redis=outage("no_answer", ended=NOW), qdrant=outage("no_answer"))
    text = english.reminder(both, BERLIN, NOW)
    assert text.startswith("It is still so.\n\nQdrant does not answer, since 14:05.")
    assert "Redis" not in text


def test_what_comes_and_goes_is_counted_and_no_length_is_made_up():
    assert "It comes and goes: 3 times by now." in english.bad_news(
        incident(redis=outage("no_answer", times=3)), BERLIN, NOW
    )
    assert english.good_news(incident(redis=outage("no_answer", ended=NOW, times=3)), BERLIN, NOW) == (
        "Redis: works again since 14:20; there was trouble 3 times from 14:05 on."
    )


def test_good_news_that_did_not_last_is_taken_back():
    again = incident(redis=outage("no_answer", times=2))
    again.outages["redis"].relapsed_at = NOW.timestamp()
    assert english.good_news(again, BERLIN, NOW) == (
        "Redis: trouble again since 14:20. I write once more if it stays so."
    )


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (7199, "1 h 59 min"),
        (86399, "23 h 59 min"),
        (86400, "1 d"),
        (90000, "1 d 1 h"),
        (86400 * 400 + 59, "400 d"),
    ],
)
def test_how_long_it_was_is_told_in_two_units_at_most(seconds, told):
    ended = BEGAN + timedelta(seconds=seconds)
    text = english.good_news(incident(redis=outage("no_answer", ended=ended)), BERLIN, ended)
    assert text.endswith(f", for {told}.")


def test_a_time_is_the_owners_and_has_its_date_on_another_day_and_its_zone_in_utc():
    told = incident(redis=outage("no_answer"))
    assert "since 14:05." in english.bad_news(told, BERLIN, NOW)
    assert "since 22 November 14:05." in english.bad_news(told, BERLIN, NOW + timedelta(days=1))
    assert "since 13:05 UTC." in english.bad_news(told, UTC, NOW)
    assert "since 18:35." in english.bad_news(told, ZoneInfo("Asia/Kolkata"), NOW)
    limit = incident(claude=outage("limit"))
    assert "it should work again at 16:00." in english.bad_news(limit, BERLIN, NOW)
    assert "it should work again at 15:00 UTC." in english.bad_news(limit, UTC, NOW)


@pytest.mark.parametrize("write", [english.bad_news, english.good_news, english.reminder])
@pytest.mark.parametrize("ended", [None, NOW])
@pytest.mark.parametrize("zone", [BERLIN, UTC])
def test_a_text_stays_as_it_is_while_time_passes_and_changes_once_at_midnight(write, ended, zone):
    wrong = dict(KNOWN) | {"claude": "limit"}
    one = incident(**{part: outage(problem, ended=ended) for part, problem in wrong.items()})
    texts = [write(one, zone, NOW + timedelta(minutes=minutes)) for minutes in range(0, 3 * 1440, 7)]
    changes = sum(before != after for before, after in pairwise(texts))
    assert changes <= 1
    assert len({write(one, zone, NOW + timedelta(minutes=minutes)) for minutes in range(60)}) == 1


def test_all_parts_at_once_fit_into_one_message():
    for problems in (0, -1):
        worst = {part: outage(list(found)[problems], times=12345) for part, found in english.TROUBLES.items()}
        for kind in english.FAILURES:
            one = incident(**worst, claude=outage(kind, times=12345))
            for write in (english.bad_news, english.reminder, english.good_news):
                assert units(write(one, UTC, NOW + timedelta(days=10))) <= LONGEST
