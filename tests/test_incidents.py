"""What the findings of the checks add up to: every rule, and then chance, which plays findings, Telegram and restarts.

No clock but that of these tests, and no Telegram: a person's chat, as the answers of Telegram would have made it.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass

import pytest

from healthwatch import DEPENDS, GENTLE, NOT_TAKEN_SECONDS
from lib import incidents
from lib.incidents import MOST_EDITS_PER_MINUTE, MOST_PER_MINUTE, Finding, Incident, Letter, Rules, State
from lib.lookout import IN_POSTGRES

BEGIN = 1_800_000_000.0
PARTS = ("postgres", "redis", "qdrant", "telegram", "keys", "disk", "disk_filling", *IN_POSTGRES)
ROUNDS = (  # what is found together, in this order
    ("postgres", *IN_POSTGRES),
    ("redis",),
    ("qdrant",),
    ("telegram",),
    ("keys",),
    ("disk", "disk_filling"),
)
INTERVAL = 10.0
RULES = Rules(INTERVAL, DEPENDS, GENTLE)


class Crash(Exception):
    """The watch was killed."""


@dataclass
class Said:
    """A message in the owner's chat."""

    letter: Letter
    at: float
    text: str  # as it is now
    known: bool = True  # whether Telegram's answer, with its id, was taken in
    gone: bool = False  # the owner has deleted it


def write(incident: Incident, kind: str) -> str:
    """As short as can be, and as true as the real sentences: names, whether away or well, since when, how often."""
    lines = []
    for name, one in incident.outages.items():
        if one.ended_at is None:
            lines.append(f"{name} away ({one.problem}) since {one.began_at:.0f}, {one.times}")
        elif kind != "reminder":
            lines.append(f"{name} well since {one.ended_at:.0f}, away from {one.began_at:.0f}, {one.times}")
    return "\n".join([kind, *lines])


class Watch:
    """healthwatch.py without a house. `answer` is how Telegram takes what is sent now."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.rules = rules
        self.now = BEGIN
        self.state = State()
        self.kept = json.dumps(incidents.dump(self.state))
        self.ill: dict[str, str] = {}
        self.answer: Callable[[], str] = lambda: "ok"
        self.chat: list[Said] = []
        self.failures = 0
        self.tried_at: list[float] = []
        self.unknown: Counter[tuple[int, str]] = Counter()

    # As healthwatch.py does it

    def look(self, *found: Finding) -> None:
        before = deepcopy(self.state)
        after = incidents.advance(self.state, found, self.now, self.rules)
        assert self.state == before, "advance() has changed what it was given"
        self.state = after

    def check(self, parts: Iterable[str] = PARTS) -> None:
        """Look at these parts; of most of them PostgreSQL tells."""
        away = "postgres" in self.ill
        self.look(*(self.finding(part) for part in parts if not (away and part in IN_POSTGRES)))

    def finding(self, part: str) -> Finding:
        return Finding(part, self.ill.get(part), {"since when": "long ago"})

    def tell(self) -> None:
        while True:
            letter = incidents.next_letter(self.state, self.now, self.rules, write)
            if letter is None:
                break
            self.send(letter)
            self.keep()
        self.state = incidents.forget(self.state, self.now, self.rules, write)

    def keep(self) -> None:
        self.kept = json.dumps(incidents.dump(self.state))

    def send(self, letter: Letter) -> None:
        self.state = incidents.leaving(self.state, letter, self.now)
        self.keep()
        self.tried_at.append(self.now)
        answer = self.answer()
        if answer in ("killed before", "killed after", "unknown", "unknown, but there") and letter.edit is None:
            self.unknown[letter.incident, letter.kind] += 1
        if answer == "killed before":
            raise Crash
        if answer in ("ok", "unknown, but there", "killed after"):
            message_id = self.deliver(letter, known=answer == "ok")
            if answer == "killed after":
                raise Crash
            if answer == "ok":
                self.failures = 0
                self.state = incidents.arrived(self.state, letter, message_id, self.now)
                return
        if answer == "refused" and letter.edit is not None:
            self.chat[letter.edit - 1].gone = True
            self.state = incidents.arrived(self.state, letter, letter.edit, self.now)
            return
        self.failures += answer not in ("refused", "too fast")
        pauses = {"refused": NOT_TAKEN_SECONDS, "too fast": 17.0}
        until = self.now + pauses.get(answer, min(2.0**self.failures, 60.0))
        self.state = incidents.held_up(self.state, letter, until, unknown=answer.startswith("unknown"))

    def deliver(self, letter: Letter, known: bool) -> int:
        if letter.edit is None:
            self.chat.append(Said(letter, self.now, letter.text, known))
            return len(self.chat)
        self.chat[letter.edit - 1].text = letter.text
        return letter.edit

    def restart(self, away: float = 1.0) -> None:
        """End and begin again, with what was kept."""
        self.now += away
        self.failures = 0
        self.state = incidents.begin(incidents.load(json.loads(self.kept)), PARTS, self.now)

    # For the tests

    def go(self, seconds: float, step: float = INTERVAL, parts: Iterable[str] = PARTS) -> None:
        """Time passes: every interval all is looked at, and every `step` the owner is told what is owed."""
        parts, end = tuple(parts), self.now + seconds
        next_check = self.now
        while self.now < end:
            if self.now >= next_check:
                self.check(parts)
                next_check += INTERVAL
            else:
                self.look()
            self.tell()
            self.keep()
            self.now += step

    def warmed(self) -> Watch:
        """All has been well since the watch began."""
        self.go(100.0)
        return self

    def heard(self) -> list[str]:
        """The kinds of the messages that came with a sound."""
        return [said.letter.kind for said in self.chat]


@pytest.fixture
def watch() -> Watch:
    return Watch().warmed()


# One part


def test_when_all_is_well_nothing_is_said(watch):
    watch.go(5000.0)
    assert watch.chat == []
    assert watch.state.incidents == []


@pytest.mark.parametrize("failures", [1, 2])
def test_fewer_than_three_failures_in_a_row_are_nothing(watch, failures):
    for _ in range(5):
        watch.ill = {"redis": "no_answer"}
        watch.go(failures * INTERVAL)
        watch.ill = {}
        watch.go(INTERVAL)
    assert watch.chat == []


def test_three_failures_in_a_row_are_told_with_when_the_first_of_them_was(watch):
    began_at = watch.now
    watch.ill = {"redis": "no_answer"}
    watch.go(2 * INTERVAL)
    assert watch.chat == []
    watch.go(INTERVAL)
    assert [said.text for said in watch.chat] == [f"bad\nredis away (no_answer) since {began_at:.0f}, 1"]


def test_one_success_is_no_recovery_and_two_are_told_with_when_the_first_of_them_was(watch):
    watch.ill = {"redis": "no_answer"}
    began_at = watch.now
    watch.go(100.0)
    watch.ill = {}
    ended_at = watch.now
    watch.go(INTERVAL)
    assert watch.heard() == ["bad"]
    watch.go(INTERVAL)
    assert watch.heard() == ["bad", "good"]
    assert watch.chat[1].text == f"good\nredis well since {ended_at:.0f}, away from {began_at:.0f}, 1"


def test_a_failure_after_one_success_goes_on_with_the_same_outage(watch):
    watch.ill = {"redis": "no_answer"}
    watch.go(50.0)
    for _ in range(5):
        watch.ill = {}
        watch.go(INTERVAL)
        watch.ill = {"redis": "no_answer"}
        watch.go(INTERVAL)
    assert watch.heard() == ["bad"]
    assert watch.chat[0].text.endswith(", 1")


def test_the_message_about_what_is_wrong_is_changed_when_it_is_over(watch):
    watch.ill = {"redis": "no_answer"}
    watch.go(50.0)
    watch.ill = {}
    watch.go(50.0)
    assert "redis well" in watch.chat[0].text
    assert "away (" not in watch.chat[0].text


def test_another_trouble_of_the_same_part_changes_the_message_and_makes_no_new_one(watch):
    watch.ill = {"redis": "no_answer"}
    watch.go(50.0)
    watch.ill = {"redis": "full"}
    watch.go(50.0)
    assert watch.heard() == ["bad"]
    assert "away (full)" in watch.chat[0].text


def test_an_incident_that_is_over_and_told_is_forgotten(watch):
    for _ in range(5):
        watch.ill = {"redis": "no_answer"}
        watch.go(50.0)
        watch.ill = {}
        watch.go(RULES.relapse + 100.0)
    assert watch.heard() == ["bad", "good"] * 5
    assert watch.state.incidents == []
    assert len(json.dumps(incidents.dump(watch.state))) < 10_000


# Several parts


def test_what_fails_within_half_a_minute_is_one_message(watch):
    watch.ill = {"redis": "no_answer"}
    watch.go(INTERVAL)
    watch.ill["qdrant"] = "no_answer"
    watch.go(INTERVAL)
    watch.ill["disk"] = "full"
    watch.go(100.0)
    assert watch.heard() == ["bad"]
    assert watch.chat[0].text.count("away (") == 3


def test_a_message_waits_for_what_is_about_to_be_found_but_not_longer_than_half_a_minute(watch):
    watch.ill = {"redis": "no_answer"}
    watch.go(2 * INTERVAL)
    watch.ill["qdrant"] = "no_answer"
    watch.go(INTERVAL)
    assert watch.chat == []
    for _ in range(10):  # a part that never comes to a decision
        watch.ill.pop("qdrant", None)
        watch.go(INTERVAL)
        watch.ill["qdrant"] = "no_answer"
        watch.go(INTERVAL)
    assert watch.heard() == ["bad"]
    assert watch.chat[0].at <= BEGIN + 100.0 + 2 * INTERVAL + 30.0


def test_what_fails_soon_after_the_message_is_added_to_it(watch):
    watch.ill = {"redis": "no_answer"}
    watch.go(3 * INTERVAL)
    assert watch.heard() == ["bad"]
    watch.ill["qdrant"] = "no_answer"
    watch.go(100.0)
    assert watch.heard() == ["bad"]
    assert "qdrant away" in watch.chat[0].text


def test_what_fails_later_than_half_a_minute_after_is_told_for_itself(watch):
    watch.ill = {"redis": "no_answer"}
    watch.go(70.0)
    watch.ill["qdrant"] = "no_answer"
    watch.go(50.0)
    assert watch.heard() == ["bad", "bad"]
    assert "redis" not in watch.chat[1].text


def test_the_good_news_waits_until_all_of_it_is_well_and_what_is_well_is_shown_before(watch):
    watch.ill = {"redis": "no_answer", "qdrant": "no_answer"}
    watch.go(50.0)
    del watch.ill["redis"]
    watch.go(50.0)
    assert watch.heard() == ["bad"]
    assert "redis well" in watch.chat[0].text
    assert "qdrant away" in watch.chat[0].text
    watch.ill = {}
    watch.go(50.0)
    assert watch.heard() == ["bad", "good"]


def test_what_depends_on_a_dead_store_is_not_told(watch):
    watch.ill = {"telegram": "no_answer", "polling": "no_updates", "backlog": "late"}
    watch.answer = lambda: "away"
    watch.go(600.0)
    assert set(watch.state.incidents[0].outages) == {"telegram"}


def test_one_failure_of_a_store_already_silences_what_depends_on_it(watch):
    watch.ill = {"bot": "silent"}
    watch.go(2 * INTERVAL)
    watch.look(Finding("postgres", "no_answer"))
    watch.now += INTERVAL
    watch.look(Finding("bot", "silent"))
    watch.tell()
    assert watch.chat == []


def test_what_depends_on_a_store_gets_time_when_the_store_is_back_and_is_told_if_it_stays_ill(watch):
    watch.ill = {"postgres": "no_answer", "bot": "silent"}
    watch.go(300.0)
    del watch.ill["postgres"]
    watch.go(RULES.grace)
    assert watch.heard() == ["bad", "good"]
    watch.go(50.0)
    assert watch.heard() == ["bad", "good", "bad"]
    assert "bot away" in watch.chat[2].text


def test_what_was_down_before_its_store_failed_stays_down_meanwhile(watch):
    watch.ill = {"bot": "silent"}
    watch.go(100.0)
    watch.ill["postgres"] = "no_answer"
    watch.go(300.0)
    watch.ill = {}
    watch.go(300.0)
    assert watch.heard() == ["bad", "bad", "good", "good"]


# Reminders


def test_the_owner_is_reminded_after_one_hour_and_then_every_six(watch):
    watch.ill = {"redis": "no_answer"}
    watch.go(50.0)
    told_at = watch.chat[0].at
    for _ in range(20 * 60):
        watch.check(("redis",))
        watch.tell()
        watch.now += 60.0
    hours = [round((said.at - told_at) / 3600, 1) for said in watch.chat if said.letter.kind == "reminder"]
    assert hours == [1.0, 7.0, 13.0, 19.0]


def test_of_what_does_no_harm_the_owner_is_reminded_once_a_day(watch):
    watch.ill = {"disk_filling": "filling"}
    watch.go(50.0)
    for _ in range(50):
        watch.check(("disk_filling",))
        watch.tell()
        watch.now += 3600.0
    assert watch.heard() == ["bad", "reminder", "reminder"]


def test_a_reminder_names_only_what_is_still_away(watch):
    watch.ill = {"redis": "no_answer", "qdrant": "no_answer"}
    watch.go(50.0)
    del watch.ill["redis"]
    watch.go(3700.0)
    assert watch.chat[1].letter.kind == "reminder"
    assert "redis" not in watch.chat[1].text


def test_the_hours_are_counted_over_a_restart(watch):
    watch.ill = {"redis": "no_answer"}
    watch.go(50.0)
    told_at = watch.chat[0].at
    for _ in range(8):
        watch.go(1000.0, parts=("redis",))
        watch.restart()
    assert [round((said.at - told_at) / 3600, 1) for said in watch.chat[1:]] == [1.0]


def test_a_reminder_of_unknown_fate_is_repeated_and_marked(watch):
    watch.ill = {"redis": "no_answer"}
    watch.go(50.0)
    answers = iter(["unknown, but there"])
    watch.answer = lambda: next(answers, "ok")
    watch.go(3700.0)
    assert [(said.letter.kind, said.letter.repeat) for said in watch.chat[1:]] == [
        ("reminder", False),
        ("reminder", True),
    ]


# At start


def test_what_is_not_well_when_the_watch_begins_is_told_after_a_while():
    watch = Watch()
    watch.ill = {"bot": "missing"}
    watch.go(RULES.grace)
    assert watch.chat == []
    watch.go(2 * INTERVAL)
    assert watch.heard() == ["bad"]
    assert f"since {BEGIN:.0f}" in watch.chat[0].text


def test_what_comes_up_while_the_watch_begins_is_not_told():
    watch = Watch()
    watch.ill = dict.fromkeys(PARTS, "no_answer")
    watch.go(RULES.grace - INTERVAL)
    watch.ill = {}
    watch.go(1000.0)
    assert watch.chat == []


def test_what_was_well_counts_at_once_even_while_the_watch_begins():
    watch = Watch()
    watch.go(INTERVAL)
    watch.ill = {"bot": "missing"}
    watch.go(3 * INTERVAL)
    assert watch.heard() == ["bad"]


# Restarts


@pytest.mark.parametrize("when", range(0, 200, 10))
def test_a_restart_at_any_time_neither_tells_twice_nor_forgets_the_recovery(watch, when):
    watch.ill = {"redis": "no_answer"}
    if when < 100:
        watch.go(when, step=5.0)
        watch.restart()
    watch.go(300.0 - when)
    watch.ill = {}
    if when >= 100:
        watch.go(when - 100.0, step=5.0)
        watch.restart()
    watch.go(300.0)
    assert watch.heard() == ["bad", "good"]


@pytest.mark.parametrize(("death", "copies"), [("killed before", 1), ("killed after", 2)])
@pytest.mark.parametrize("kind", ["bad", "good", "reminder"])
def test_killed_while_a_message_leaves_it_is_said_again_and_marked(watch, kind, death, copies):
    watch.ill = {"redis": "no_answer"}
    if kind != "bad":
        watch.go(50.0)
    if kind == "good":
        watch.ill = {}
    answers = iter([death])
    watch.answer = lambda: next(answers, "ok")
    with pytest.raises(Crash):
        watch.go(3700.0, parts=("redis",))
    watch.restart()
    watch.go(200.0)
    watch.ill = {}
    watch.go(200.0)
    said = [said.letter.repeat for said in watch.chat if said.letter.kind == kind]
    assert said == [False, True][-copies:]
    assert Counter(watch.heard())["good"] == (2 if (kind, copies) == ("good", 2) else 1)


def test_what_is_over_when_the_watch_is_back_is_still_told(watch):
    watch.ill = {"redis": "no_answer"}
    watch.go(50.0)
    watch.ill = {}
    watch.restart(away=5 * 3600.0)
    watch.go(50.0)
    assert watch.heard() == ["bad", "good"]


def test_a_part_that_is_no_longer_watched_is_said_to_be_over_and_then_never_named_again(watch):
    watch.ill = {"qdrant": "no_answer"}
    watch.go(50.0)
    watch.state = incidents.begin(watch.state, set(PARTS) - {"qdrant"}, watch.now)
    watch.go(5000.0, parts=set(PARTS) - {"qdrant"})
    assert watch.heard() == ["bad", "good"]
    assert "qdrant" not in watch.state.parts


@pytest.mark.parametrize("kept", [None, 3, [], {}, {"incidents": None}, {"incidents": [], "parts": []}])
def test_what_is_no_state_is_refused(kept):
    with pytest.raises((TypeError, KeyError, ValueError, AttributeError)):
        incidents.load(kept)


# Telegram


def test_only_what_telegram_took_counts_as_said(watch):
    watch.ill = {"redis": "no_answer"}
    watch.answer = lambda: "away"
    watch.go(300.0)
    assert watch.chat == []
    assert incidents.untold_since(watch.state) is not None
    watch.answer = lambda: "ok"
    watch.go(100.0)
    assert watch.heard() == ["bad"]
    assert incidents.untold_since(watch.state) is None


def test_a_message_of_unknown_fate_is_repeated_once_and_marked(watch):
    answers = iter(["unknown, but there", "too fast", "away"])
    watch.answer = lambda: next(answers, "ok")
    watch.ill = {"redis": "no_answer"}
    watch.go(300.0)
    assert [said.letter.repeat for said in watch.chat] == [False, True]


def test_a_message_that_surely_did_not_arrive_is_not_marked_as_a_repeat(watch):
    answers = iter(["away", "too fast", "away"])
    watch.answer = lambda: next(answers, "ok")
    watch.ill = {"redis": "no_answer"}
    watch.go(300.0)
    assert [said.letter.repeat for said in watch.chat] == [False]


def test_what_was_over_before_it_could_be_told_is_one_message_with_its_times(watch):
    watch.answer = lambda: "away"
    watch.ill = {"telegram": "no_answer", "redis": "no_answer"}
    began_at = watch.now
    watch.go(600.0)
    watch.ill, watch.answer = {}, lambda: "ok"
    ended_at = watch.now
    watch.go(600.0)
    assert watch.heard() == ["bad"]
    for part in ("telegram", "redis"):
        assert f"{part} well since {ended_at:.0f}, away from {began_at:.0f}" in watch.chat[0].text


def test_that_telegram_was_away_is_told_when_it_is_back_and_not_tried_before(watch):
    watch.ill, watch.answer = {"telegram": "no_answer"}, lambda: "away"
    watch.go(1000.0)
    assert watch.tried_at == []
    watch.ill, watch.answer = {}, lambda: "ok"
    watch.go(100.0)
    assert watch.heard() == ["bad"]


def test_nothing_is_tried_while_telegram_begins_to_fail(watch):
    watch.ill, watch.answer = {"redis": "no_answer"}, lambda: "away"
    watch.go(INTERVAL)
    watch.ill["telegram"] = "no_answer"
    watch.go(2 * INTERVAL)
    assert watch.tried_at == []


def test_a_telegram_that_only_seems_away_still_gets_the_news_of_others(watch):
    watch.ill = {"telegram": "no_answer"}
    watch.go(100.0)
    watch.ill["redis"] = "no_answer"
    watch.go(100.0)
    assert "redis away" in watch.chat[0].text


def test_an_edit_that_is_never_taken_is_given_up(watch):
    watch.ill = {"redis": "no_answer"}
    watch.go(50.0)
    watch.ill = {"redis": "full"}
    watch.answer = lambda: "refused"
    tried = len(watch.tried_at)
    watch.go(3000.0)
    assert len(watch.tried_at) == tried + 1


def test_an_edit_of_unknown_fate_is_made_again_even_when_all_is_as_before_it(watch):
    watch.ill = {"redis": "no_answer"}
    watch.go(50.0)
    answers = iter(["unknown, but there"])
    watch.ill, watch.answer = {"redis": "full"}, lambda: next(answers, "away")
    watch.go(50.0)
    assert "away (full)" in watch.chat[0].text
    watch.ill, watch.answer = {"redis": "no_answer"}, lambda: "ok"
    watch.go(100.0)
    assert "away (no_answer)" in watch.chat[0].text


def test_the_last_edit_is_owed_however_long_telegram_is_away(watch):
    watch.ill = {"redis": "no_answer"}
    watch.go(50.0)
    watch.ill = {}
    watch.go(2 * INTERVAL, step=5.0)
    assert watch.heard() == ["bad", "good"]
    assert "redis away" in watch.chat[0].text
    watch.answer = lambda: "away"
    watch.go(RULES.relapse + 600.0)
    watch.restart(away=3600.0)
    watch.answer = lambda: "ok"
    watch.go(100.0)
    assert "redis well" in watch.chat[0].text
    watch.go(RULES.relapse)
    assert watch.state.incidents == []


def test_six_messages_a_minute_at_most(watch):
    for part in ("redis", "qdrant", "disk", "keys", "bot", "workers", "claude", "retention"):
        watch.ill[part] = "no_answer"
        watch.go(40.0)
    watch.ill, watch.answer = {}, lambda: "away"
    watch.go(100.0)
    watch.answer = lambda: "ok"
    watch.go(300.0, step=1.0)
    assert Counter(watch.heard()) == {"bad": 8, "good": 8}
    assert most_in_a_minute([said.at for said in watch.chat]) == MOST_PER_MINUTE
    assert most_in_a_minute(watch.tried_at) == MOST_PER_MINUTE


def test_edits_count_too_and_leave_room_for_news(watch):
    for part in ("redis", "qdrant", "disk", "keys"):
        watch.ill[part] = "no_answer"
        watch.go(40.0)
    for number in range(20):
        watch.ill = {part: f"trouble {number}" for part in watch.ill}
        watch.go(INTERVAL, step=1.0)
    assert most_in_a_minute([at for at in watch.tried_at if at > watch.chat[-1].at]) == MOST_EDITS_PER_MINUTE


def most_in_a_minute(times: list[float]) -> int:
    return max((sum(0 <= other - at < 60.0 for other in times) for at in times), default=0)


def test_news_goes_before_edits(watch):
    for part in ("redis", "disk", "keys"):
        watch.ill[part] = "no_answer"
        watch.go(50.0)
    for number in range(30):  # their messages would be changed for ever
        watch.ill |= {part: f"trouble {number}" for part in watch.ill if part != "qdrant"}
        if number == 20:
            watch.ill["qdrant"] = "no_answer"
        watch.go(INTERVAL, step=1.0)
    assert "qdrant away" in watch.chat[3].text
    assert watch.chat[3].at - incidents_of(watch, "qdrant").opened_at <= 10.0


def incidents_of(watch: Watch, part: str) -> Incident:
    return next(one for one in watch.state.incidents if part in one.outages)


# Coming and going


@pytest.mark.parametrize("part", ["redis", "postgres", "telegram", "bot"])
@pytest.mark.parametrize("period", range(1, 11))
def test_what_comes_and_goes_is_told_once(watch, period, part):
    while watch.now < BEGIN + 1500.0:
        watch.ill = {part: "no_answer"}
        watch.go(period * INTERVAL, parts=(part,))
        watch.ill = {}
        watch.go(period * INTERVAL, parts=(part,))
    watch.go(300.0, parts=(part,))
    assert watch.heard() in ([], ["bad"], ["bad", "good"])
    assert (watch.heard() == []) == (period < 3)
    assert all(" away (" not in said.text for said in watch.chat)
    assert all(f", {watch.chat[0].text.split(', ')[-1]}" in said.text for said in watch.chat)


def test_a_relapse_that_lasts_is_told_aloud_and_its_end_too(watch):
    for _ in range(2):
        watch.ill = {"redis": "no_answer"}
        watch.go(100.0)
        watch.ill = {}
        watch.go(50.0)
    assert watch.heard() == ["bad", "good"]
    watch.ill = {"redis": "no_answer"}
    watch.go(RULES.lasting + 2 * INTERVAL)
    assert watch.heard() == ["bad", "good", "bad"]
    watch.ill = {}
    watch.go(100.0)
    assert watch.heard() == ["bad", "good", "bad", "good"]
    assert all(" away (" not in said.text for said in watch.chat)


def test_a_relapse_before_anything_was_told_is_told_once(watch):
    watch.answer = lambda: "away"
    for _ in range(2):
        watch.ill = {"redis": "no_answer"}
        watch.go(100.0)
        watch.ill = {}
        watch.go(50.0)
    watch.ill = {"redis": "no_answer"}
    watch.go(RULES.lasting)
    watch.answer = lambda: "ok"
    watch.go(1000.0)
    assert watch.heard() == ["bad"]


def test_a_relapse_before_the_good_news_arrived_is_no_new_alarm(watch):
    watch.ill = {"redis": "no_answer"}
    watch.go(100.0)
    watch.ill, watch.answer = {}, lambda: "away"
    watch.go(50.0)
    watch.ill = {"redis": "no_answer"}
    watch.go(100.0)
    watch.answer = lambda: "ok"
    watch.go(1000.0)
    assert watch.heard() == ["bad"]


def test_a_relapse_after_good_news_of_unknown_fate_is_told_aloud(watch):
    watch.ill = {"redis": "no_answer"}
    watch.go(100.0)
    answers = iter(["unknown, but there"])
    watch.ill, watch.answer = {}, lambda: next(answers, "away")
    watch.go(50.0)
    watch.ill = {"redis": "no_answer"}
    watch.go(100.0)
    watch.answer = lambda: "ok"
    watch.go(200.0)
    assert [(said.letter.kind, said.letter.repeat) for said in watch.chat] == [
        ("bad", False),
        ("good", False),
        ("good", True),
        ("bad", False),
    ]


def test_what_fails_beside_a_relapse_is_told_aloud():
    rules = Rules(3.0, DEPENDS, GENTLE)
    watch = Watch(rules)

    def turn(*ill: str, times: int) -> None:
        for _ in range(times):
            watch.look(*(Finding(part, "no_answer" if part in ill else None) for part in ("redis", "qdrant")))
            watch.tell()
            watch.now += 3.0

    turn(times=5)
    turn("redis", times=3)
    turn(times=2)
    assert watch.heard() == ["bad", "good"]
    turn("redis", times=3)  # a relapse, still within the half minute in which an incident gathers
    turn("redis", "qdrant", times=5)
    assert watch.heard() == ["bad", "good", "bad"]
    assert "qdrant away" in watch.chat[2].text


# Clocks


@pytest.mark.parametrize("seconds", [-86400.0, -3600.0, 3600.0, 86400.0 * 400])
def test_a_clock_that_is_set_changes_no_length(watch, seconds):
    watch.ill = {"redis": "no_answer"}
    watch.go(50.0)
    watch.state, watch.now = incidents.shifted(watch.state, seconds), watch.now + seconds
    watch.go(1000.0)
    assert watch.heard() == ["bad"]
    watch.ill = {}
    watch.go(50.0)
    outage = watch.state.incidents[0].outages["redis"]
    assert outage.ended_at is not None
    assert outage.ended_at - outage.began_at == 1050.0
    assert watch.heard() == ["bad", "good"]


def test_a_clock_that_is_set_and_set_back_leaves_nothing_behind(watch):
    watch.ill, watch.answer = {"redis": "no_answer"}, lambda: "away"
    watch.go(100.0)
    assert incidents.shifted(incidents.shifted(watch.state, 3600.0), -3600.0) == watch.state


def test_a_clock_that_was_set_back_while_nobody_watched_makes_nobody_wait(watch):
    watch.ill, watch.answer = {"redis": "no_answer"}, lambda: "away"
    watch.go(200.0)
    watch.restart(away=-86400.0)
    watch.answer = lambda: "ok"
    watch.go(100.0)
    assert watch.heard() == ["bad"]
    watch.ill = {}
    watch.go(100.0)
    assert watch.heard() == ["bad", "good"]


def test_what_is_in_doubt_is_judged_afresh(watch):
    watch.ill = {"backlog": "late"}
    watch.go(2 * INTERVAL)
    watch.state = incidents.doubt(watch.state, ("backlog", "no such part"), watch.now)
    watch.go(RULES.grace)
    assert watch.chat == []
    watch.go(2 * INTERVAL)
    assert watch.heard() == ["bad"]


def test_what_the_next_check_decides_is_known(watch):
    assert incidents.undecided(watch.state) == set()
    watch.look(Finding("redis", "no_answer"), Finding("qdrant"))
    assert incidents.undecided(watch.state) == {"redis"}
    for _ in range(2):
        watch.look(Finding("redis", "no_answer"))
    assert incidents.undecided(watch.state) == set()
    watch.look(Finding("redis"))
    assert incidents.undecided(watch.state) == {"redis"}
    watch.look(Finding("redis"))
    assert incidents.undecided(watch.state) == set()


# Chance

ANSWERS = (
    "ok",
    "ok",
    "ok",
    "away",
    "unknown",
    "unknown, but there",
    "too fast",
    "refused",
    "killed before",
    "killed after",
)
SEEDS = int(  # more of them by hand
    os.environ.get("INCIDENT_SEEDS", "5")
)


class Fate:
    """A house and a Telegram that chance plays with. With `honest`, what depends on others is ill only with them."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.interval = self.chance.choice((1.0, 3.0, 10.0, 30.0, 60.0))
        self.watch = Watch(Rules(self.interval, DEPENDS, GENTLE))
        self.watch.answer = self.answer
        self.mood: tuple[str, ...] = ("ok",)
        self.honest = self.chance.random() < 0.5
        self.dependents: set[str] = set()
        self.recovered_at: dict[str, float] = {}
        self.due = {round: BEGIN for round in ROUNDS}
        self.seen: set[int] = set()  # incidents

    def answer(self) -> str:
        return self.chance.choice(self.mood)

    def change(self) -> None:
        """Something in the world changes."""
        watch, chance = self.watch, self.chance
        part = chance.choice(PARTS)
        if self.honest and part in DEPENDS:
            return
        if chance.random() < 0.5:
            watch.ill.pop(part, None)
        else:
            watch.ill[part] = chance.choice(("no_answer", "other"))
        if chance.random() < 0.2:
            watch.ill.clear()
        if chance.random() < 0.3:
            self.mood = chance.choice((("ok",), ("away",), ("refused", "ok"), ANSWERS, ("unknown, but there", "ok")))

    def found(self, round: tuple[str, ...]) -> list[Finding]:
        """What the checks of this round say."""
        if round[0] == "postgres" and "postgres" in self.watch.ill:
            round = ("postgres",)
        findings = []
        for part in round:
            problem = self.watch.ill.get(part)
            if self.honest and self.suffers(part):
                problem = "no_answer"
            findings.append(Finding(part, problem))
        return findings

    def suffers(self, part: str) -> bool:
        """Whether it is ill with what it depends on, or was so a moment ago."""
        for other in DEPENDS.get(part, ()):
            stands = self.watch.state.parts.get(other)
            if stands is not None and (stands.failures or stands.down):
                return True
            if self.watch.now - self.recovered_at.get(other, 0.0) < 45.0:
                return True
        return False

    def look(self) -> None:
        watch = self.watch
        for round in ROUNDS:
            if watch.now >= self.due[round]:
                before = {name for name, part in watch.state.parts.items() if part.down}
                watch.look(*self.found(round))
                for name in before:
                    if not watch.state.parts[name].down:
                        self.recovered_at[name] = watch.now
                hurry = incidents.undecided(watch.state) & set(round)
                self.due[round] = watch.now + self.interval * (0.5 if hurry else 1.0)
        watch.look()

    def shift(self) -> None:
        """The clock is set."""
        seconds = self.chance.choice((-7200.0, -100.0, 100.0, 7200.0))
        watch = self.watch
        watch.state = incidents.shifted(watch.state, seconds)
        watch.now += seconds
        watch.tried_at = [at + seconds for at in watch.tried_at]
        self.due = {round: at + seconds for round, at in self.due.items()}
        self.recovered_at = {name: at + seconds for name, at in self.recovered_at.items()}
        watch.keep()

    def step(self) -> None:
        """The watch turns once, and may be killed at it."""
        watch, chance = self.watch, self.chance
        try:
            self.look()
            if chance.random() < 0.01:
                raise Crash
            watch.tell()
            watch.keep()
        except Crash:
            watch.restart(away=chance.choice((0.1, 5.0, 500.0, 10_000.0)))
            self.due = dict.fromkeys(ROUNDS, watch.now)
        self.check()
        watch.now += chance.choice((0.1, 1.0, self.interval / 2, self.interval))

    def check(self) -> None:
        """What holds at every moment."""
        state = self.watch.state
        assert incidents.load(json.loads(json.dumps(incidents.dump(state)))) == state
        if self.honest:
            for incident in state.incidents:
                assert not set(incident.outages) & set(DEPENDS)
        for incident in state.incidents:
            assert incident.outages
            is_open = any(one.ended_at is None for one in incident.outages.values())
            assert is_open == (incident.closed_at is None)
            for one in incident.outages.values():
                assert one.ended_at is None or one.ended_at >= one.began_at
            self.seen.add(incident.number)
        away = [name for one in state.incidents for name, outage in one.outages.items() if outage.ended_at is None]
        assert sorted(away) == sorted(name for name, part in state.parts.items() if part.down)


def check_chat(fate: Fate) -> None:
    """What holds in the end, when all has been well and Telegram has answered for long enough."""
    watch = fate.watch
    copies = Counter((said.letter.incident, said.letter.kind) for said in watch.chat if not said.letter.repeat)
    assert all(count == 1 for (_, kind), count in copies.items() if kind != "reminder")
    told = set()
    for said in watch.chat:
        key = (said.letter.incident, said.letter.kind)
        if said.letter.kind == "bad":
            told.add(said.letter.incident)
        assert said.letter.incident in told, "something is over, or still so, of which nobody had heard"
        assert not said.letter.repeat or watch.unknown[key], "marked as a repeat, and it is none"
        if said.known and not said.gone and said.letter.kind != "reminder":
            assert " away (" not in said.text
    summaries = {
        said.letter.incident
        for said in watch.chat
        if said.known and said.letter.kind == "bad" and " away (" not in said.letter.text
    }
    arrived = Counter((said.letter.incident, said.letter.kind) for said in watch.chat if said.known)
    for number in fate.seen:
        assert arrived[number, "bad"] == 1
        assert arrived[number, "good"] == (number not in summaries)
    assert most_in_a_minute(watch.tried_at) <= MOST_PER_MINUTE


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_happens_everything_is_told_once_and_the_chat_is_true_in_the_end(seed):
    fate = Fate(seed)
    for _ in range(fate.chance.choice((50, 300, 600))):
        if fate.chance.random() < 0.1:
            fate.change()
        if fate.chance.random() < 0.005:
            fate.shift()
        fate.step()
    fate.mood, fate.watch.ill = ("ok",), {}
    steps = 0
    while steps < 1000 and (steps < 200 or fate.watch.state.incidents):
        fate.look()
        fate.watch.tell()
        fate.watch.now += fate.interval
        fate.check()
        steps += 1
    assert fate.watch.state.incidents == []
    assert len(json.dumps(incidents.dump(fate.watch.state))) < 6000
    check_chat(fate)
