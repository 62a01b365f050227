"""Who may talk to Steward: the owner's commands, what strangers hear, and how much anybody may ask."""

from __future__ import annotations

import pytest

from demo.telegram import ALICE, BOB, CHARLIE
from lib import sentences
from lib.allowance import Allowance
from tests.desk import FRIENDS, Desk

say = sentences.of("")


def test_the_owner_lets_a_person_in_and_out_by_command_and_both_are_audited(desk: Desk) -> None:
    [told] = desk.say(CHARLIE, "hello")
    assert told.body == say.stranger(CHARLIE.id)
    [told] = desk.say(ALICE, f"/add {CHARLIE.id} Charlie Brown")
    assert told.body == say.ADDED.format(who=f"{CHARLIE.id} Charlie Brown")
    assert desk.say(CHARLIE, "what is red?") == []
    assert desk.waiting() == ["what is red?"]
    [told] = desk.say(ALICE, f"/remove {CHARLIE.id}")
    assert told.body == say.REMOVED_WHO.format(id=CHARLIE.id)
    assert desk.waiting() == [], "what waited is no longer answered"
    desk.say(CHARLIE, "still there?")
    assert desk.waiting() == []
    assert [row for row in desk.audit() if row[1].startswith("person")] == [
        ("owner", "person.added", "success", None),
        ("owner", "person.removed", "success", None),
    ]
    details = desk.house.query("SELECT detail FROM audit WHERE action LIKE 'person.%' ORDER BY id")
    assert [detail["id"] for (detail,) in details] == [CHARLIE.id] * 2
    assert details[1][0]["dismissed"] == 1


def test_a_bot_that_starts_again_knows_whom_the_owner_has_let_in(desk: Desk) -> None:
    desk.say(ALICE, f"/add {CHARLIE.id}")
    desk.bot.let_in = frozenset()
    desk.start_again()
    desk.say(CHARLIE, "hello")
    assert desk.waiting() == ["hello"]


def test_who_may_talk_is_listed_with_where_it_comes_from(desk: Desk) -> None:
    desk.say(ALICE, f"/add {CHARLIE.id} Charlie")
    desk.say(ALICE, "/allow", FRIENDS)
    [told] = desk.say(ALICE, "/people")
    assert f"{ALICE.id}: {say.YOU}\n{BOB.id}: {say.FROM_FILE}\n{CHARLIE.id} Charlie: {say.BY_COMMAND}\n" in told.body
    assert f"{say.GROUPS}\n-5005 Friends: {say.BY_COMMAND}\n" in told.body


def test_of_strangers_the_list_says_nothing(desk: Desk) -> None:
    desk.say(CHARLIE, "let me in")
    [told] = desk.say(ALICE, "/people")
    assert str(CHARLIE.id) not in told.body
    assert say.NO_GROUPS in told.body


def test_to_everybody_else_the_owners_commands_are_unknown(desk: Desk) -> None:
    for command in ("/people", "/add 5", "/remove 5", "/audit", "/allow", "/disallow"):
        [told] = desk.say(BOB, command)
        assert told.body == say.UNKNOWN_COMMAND
    assert desk.house.query("SELECT count(*) FROM allowed") == [(0,)]


def test_whoever_stands_in_the_file_is_not_removed_by_command(desk: Desk) -> None:
    [told] = desk.say(ALICE, f"/remove {BOB.id}")
    assert told.body == say.IN_FILE.format(id=BOB.id, line="ALLOWED_USER_IDS")
    [told] = desk.say(ALICE, f"/remove {ALICE.id}")
    assert told.body == say.OWNER_STAYS
    [told] = desk.say(ALICE, f"/add {BOB.id}")
    assert told.body == say.IN_FILE_ALREADY.format(id=BOB.id)
    [told] = desk.say(ALICE, "/remove 4711")
    assert told.body == say.NOT_LET_IN.format(id=4711)
    assert [row[1:] for row in desk.audit()] == [
        ("command.remove", "failure", "in_file"),
        ("command.remove", "failure", "owner"),
        ("command.add", "failure", "in_file"),
        ("command.remove", "failure", "not_let_in"),
    ]


def test_a_command_with_an_odd_id_says_how_it_is_meant(desk: Desk) -> None:
    for arguments in ("", "Bob", "-5005", "0", "12345678901234567", "5;5"):
        [told] = desk.say(ALICE, f"/add {arguments}")
        assert told.body == say.ADD_HOW
    assert desk.house.query("SELECT count(*) FROM allowed") == [(0,)]


def test_the_owner_is_let_in_without_standing_on_the_list(make_desk) -> None:
    desk = make_desk(ALLOWED_USER_IDS="")
    desk.say(ALICE, "hello")
    assert desk.waiting() == ["hello"]


def test_each_person_has_a_history_of_their_own(desk: Desk) -> None:
    desk.say(ALICE, "mine")
    desk.say(BOB, "yours")
    desk.answer(ALICE.id)
    desk.answer(BOB.id)
    rows = desk.house.query("SELECT chat_id, user_id, body FROM history WHERE role = 'user' ORDER BY id")
    assert rows == [(ALICE.id, ALICE.id, "mine"), (BOB.id, BOB.id, "yours")]


def test_whoever_asks_too_much_is_told_until_when_to_wait_and_is_heard_again_then(make_desk) -> None:
    desk = make_desk(TURNS_PER_HOUR="4")
    for text in ("one", "two"):
        assert desk.say(BOB, text) == []
        desk.house.query("UPDATE inbox SET ready_at = now() - interval '1 minute'")
    [told] = desk.say(BOB, "three")
    assert "did not take this message up" in told.body
    assert "at " in told.body
    assert desk.say(BOB, "four") == [], "not again within a minute"
    assert desk.waiting() == ["one", "two"]
    assert desk.audit()[2:] == [("user", "update.received", "denied", "rate_limited")] * 2
    assert desk.house.query("SELECT count(*) FROM inbox WHERE state = 'noted' AND body IS NULL") == [(2,)]
    desk.clock += 900
    assert desk.say(BOB, "five") == []
    assert desk.waiting()[2:] == ["five"]


def test_the_owner_and_the_commands_have_no_limit(make_desk) -> None:
    desk = make_desk(TURNS_PER_HOUR="1")
    for number in range(5):
        desk.say(ALICE, f"message {number}")
        desk.house.query("UPDATE inbox SET ready_at = now() - interval '1 minute'")
        [told] = desk.say(BOB, "/help")
        assert told.body == say.help(False, False)
    assert len(desk.waiting()) == 5


def test_what_belongs_to_one_turn_counts_once(make_desk) -> None:
    desk = make_desk(TURNS_PER_HOUR="1")
    for number in range(4):
        desk.say(BOB, f"{number}" * 4000)
    assert len(desk.waiting()) == 4
    assert desk.house.query("SELECT count(DISTINCT coalesce(turn, id)) FROM inbox") == [(1,)]


def test_to_ask_again_is_a_turn_too(make_desk) -> None:
    desk = make_desk(TURNS_PER_HOUR="1")
    desk.say(BOB, "hello")
    desk.answer(BOB.id)
    [told] = desk.say(BOB, "/retry")
    assert "did not take this message up" in told.body
    assert desk.waiting() == []


def test_a_bucket_fills_up_slowly_to_half_of_an_hours_turns() -> None:
    now = [0.0]
    allowance = Allowance(60, clock=lambda: now[0])
    for _ in range(30):
        assert allowance.wait(1) == 0
        allowance.take(1)
    assert allowance.wait(1) == pytest.approx(60)
    assert allowance.wait(2) == 0
    now[0] = 30.0
    assert allowance.wait(1) == pytest.approx(30)
    now[0] = 86_400.0
    for _ in range(30):
        allowance.take(1)
    assert allowance.wait(1) == pytest.approx(60)
    assert [allowance.tell(1), allowance.tell(1)] == [True, False]
    now[0] += 61
    assert allowance.tell(1)
