"""/forget, /memory and /export: what is kept of a person is theirs to delete, one by one or all, and to take along."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from demo.telegram import ALICE, BOB
from lib import export, sentences
from lib.history import Line
from tests.desk import FRIENDS, Desk
from tests.house import House

say = sentences.of("")


def rows_with(house: House, text: str) -> list[str]:
    """The tables in which this text stands, in whatever column, by name."""
    tables = house.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    return [name for (name,) in tables if text in json.dumps(house.query(f"SELECT to_jsonb(t)::text FROM {name} t"))]


def a_past(desk: Desk) -> None:
    """Bob has told a secret everywhere: in private, in a group, with an answer, and not answered yet."""
    desk.say(BOB, "my secret is 0815")
    desk.answer(BOB.id, "so it is 0815")
    desk.mention(BOB, "the secret is 0815")
    desk.answer(-5005, "0815, then")
    desk.say(ALICE, "I am Alice")
    desk.answer(ALICE.id, "you are Alice")
    desk.say(BOB, "/nonsense 0815")
    desk.say(BOB, "0815 once more")
    desk.house.query("DELETE FROM unindexed")


def asked_to_forget(desk: Desk) -> dict[str, str]:
    """What the two buttons under /forget carry."""
    [told] = desk.say(BOB, "/forget")
    assert told.body == say.FORGET
    assert told.buttons is not None
    return {label: data for row in told.buttons for label, data in row}


def test_nothing_of_a_forgotten_person_is_left_in_any_table(make_desk) -> None:
    desk = make_desk(ALLOWED_CHAT_IDS="-5005")
    a_past(desk)
    assert rows_with(desk.house, "0815") == ["history", "inbox", "outbox"]
    turns = desk.house.query("SELECT DISTINCT inbox_id FROM history WHERE user_id = %s ORDER BY 1", BOB.id)
    [told] = desk.press(BOB, asked_to_forget(desk)[say.FORGET_YES], message_id=71)
    assert (told.body, told.edits, told.buttons) == (say.FORGOT, 71, None)
    assert rows_with(desk.house, "0815") == []
    assert desk.waiting() == []
    assert desk.house.query("SELECT inbox_id FROM unindexed ORDER BY 1") == turns
    assert desk.audit()[-1] == ("user", "person.forgot", "success", None)
    [(detail,)] = desk.house.query("SELECT detail FROM audit WHERE action = 'person.forgot'")
    assert {name: detail[name] for name in ("messages", "turns")} == {"messages": 5, "turns": 2}
    assert desk.house.query("SELECT body FROM history") == [("I am Alice",), ("you are Alice",)]


def test_what_was_said_to_others_and_is_to_be_said_yet_stays(make_desk) -> None:
    desk = make_desk(ALLOWED_CHAT_IDS="-5005")
    a_past(desk)
    desk.say(ALICE, "/help")
    desk.press(BOB, asked_to_forget(desk)[say.FORGET_YES])
    to_alice = desk.house.query("SELECT state FROM outbox WHERE chat_id = %s ORDER BY id", ALICE.id)
    assert to_alice == [("sent",), ("pending",)]
    to_bob = desk.house.query("SELECT body, state FROM outbox WHERE chat_id = %s ORDER BY id", BOB.id)
    assert to_bob == [("-", "sent"), ("-", "refused"), ("-", "refused"), (say.FORGOT, "pending")]


def test_an_answer_that_is_being_written_meanwhile_is_not_kept(desk: Desk) -> None:
    desk.say(BOB, "my secret is 0815")
    desk.house.query("UPDATE inbox SET attempts = 1, ready_at = now()")
    desk.press(BOB, asked_to_forget(desk)[say.FORGET_YES])
    assert desk.house.query("SELECT state FROM inbox WHERE attempts = 1") == [("noted",)]


def test_nothing_is_forgotten_without_the_right_button(make_desk) -> None:
    desk = make_desk(ALLOWED_CHAT_IDS="-5005")
    a_past(desk)
    buttons = asked_to_forget(desk)
    yes, no = buttons[say.FORGET_YES], buttons[say.FORGET_NO]
    [told] = desk.press(BOB, no)
    assert told.body == say.FORGOT_NOTHING
    assert desk.press(ALICE, yes) == [], "somebody else's"
    assert desk.press(BOB, "forget:yes:999999") == [], "of no /forget"
    assert desk.press(BOB, yes, FRIENDS) == [], "in a group"
    desk.house.query("UPDATE inbox SET received_at = now() - interval '11 minutes'")
    assert desk.press(BOB, yes) == [], "too old"
    for odd in ("", "forget", "forget:yes:x", "forget:yes:" + "9" * 40, "memory:1", "dance:1:2", ":::"):
        assert desk.press(BOB, odd) == []
    assert rows_with(desk.house, "0815") == ["history", "inbox", "outbox"]
    assert desk.waiting() == ["0815 once more"]
    assert "person.forgot" not in [action for _, action, outcome, _ in desk.audit() if outcome == "success"]
    assert desk.house.query("SELECT count(*) FROM inbox WHERE state = 'parked'") == [(0,)]


def test_what_was_recalled_is_shown_and_one_memory_deleted(desk: Desk) -> None:
    desk.say(BOB, "my cat is called Momo")
    cat = desk.answer(BOB.id, "a nice name, Momo")
    desk.say(BOB, "I live in " + "Oslo " * 100)
    home = desk.answer(BOB.id)
    desk.say(ALICE, "I am Alice")
    hers = desk.answer(ALICE.id)
    desk.say(BOB, "what is my cat called?")
    question = desk.answer(BOB.id, "ask me", recalled=(cat, hers, home))
    desk.say(BOB, "/memory")
    desk.say(BOB, "/export")
    desk.house.query("UPDATE outbox SET state = 'sent', message_id = id")
    [told] = desk.say(BOB, "/memory")
    today = datetime.now(UTC).date()
    assert f"1. {today}: my cat is called Momo\n\n2. {today}: I live in Oslo" in told.body
    assert "Alice" not in told.body, "only what is one's own"
    assert len(told.body) < 600
    assert [data for row in told.buttons or () for _, data in row] == [
        f"memory:{question}:{one}" for one in (cat, home)
    ]
    desk.house.query("UPDATE outbox SET state = 'sent', message_id = 72 WHERE body LIKE '%1.%'")
    desk.house.query("DELETE FROM unindexed")
    [told] = desk.press(BOB, f"memory:{question}:{cat}", message_id=72)
    assert told.edits == 72
    assert f"1. {today}: I live in Oslo" in told.body
    assert rows_with(desk.house, "Momo") == []
    assert desk.house.query("SELECT inbox_id FROM unindexed") == [(cat,)]
    assert desk.audit()[-1] == ("user", "memory.deleted", "success", None)
    desk.press(BOB, f"memory:{question}:{cat}", message_id=72)
    assert desk.audit()[-1] == ("user", "memory.deleted", "failure", "gone")
    desk.press(BOB, f"memory:{question}:{hers}")
    assert rows_with(desk.house, "I am Alice") == ["history", "inbox"], "nobody deletes what is another's"
    [told] = desk.press(BOB, f"memory:{question}:{home}", message_id=72)
    assert told.body == say.NOTHING_RECALLED


def test_when_nothing_was_recalled_the_command_says_so(desk: Desk) -> None:
    assert [told.body for told in desk.say(BOB, "/memory")] == [say.NOTHING_RECALLED]
    desk.say(BOB, "hello")
    desk.answer(BOB.id)
    assert [told.body for told in desk.say(BOB, "/memory")] == [say.NOTHING_RECALLED]


def test_the_own_history_comes_as_a_file(make_desk) -> None:
    desk = make_desk(ALLOWED_CHAT_IDS="-5005", TIMEZONE="Asia/Tokyo")
    a_past(desk)
    desk.say(ALICE, "/allow", FRIENDS)
    desk.house.query("UPDATE history SET at = '2026-11-22 23:30:00+00'")
    [told] = desk.say(BOB, "/export")
    assert told.document == f"steward-{datetime.now(ZoneInfo('Asia/Tokyo')).date()}.md"
    assert told.body == (
        "# Your history with Steward\n\nTimes: Asia/Tokyo\n"
        "\n## Conversation 1\n"
        "\n**You, 2026-11-23 08:30**\n\nmy secret is 0815\n"
        "\n**Steward, 2026-11-23 08:30**\n\nso it is 0815\n"
        "\n## Conversation 1 (-5005)\n"
        "\n**You, 2026-11-23 08:30**\n\nBob: the secret is 0815\n"
        "\n**Steward, 2026-11-23 08:30**\n\n0815, then\n"
    )
    assert desk.audit()[-1] == ("user", "person.exported", "success", None)
    desk.house.query("DELETE FROM history")
    [told] = desk.say(BOB, "/export")
    assert (told.body, told.document) == (say.NOTHING_KEPT, None)


@pytest.mark.parametrize("language", sentences.CODES)
def test_a_long_history_comes_in_several_files_and_nothing_of_it_is_missing(language: str) -> None:
    at = datetime(2026, 11, 22, tzinfo=UTC)
    lines = [Line(at, 5, number // 7, number, "user", f"message {number} {'ä' * number}") for number in range(100)]
    words = sentences.of(language)
    files = export.files(lines, 5, {}, words, ZoneInfo("UTC"), "steward", longest=2000)
    assert [name for name, _ in files[:2]] == ["steward-1.md", "steward-2.md"]
    assert all(len(text.encode()) <= 2000 for _, text in files)
    [(_, whole)] = export.files(lines, 5, {}, words, ZoneInfo("UTC"), "steward")
    assert "".join(text for _, text in files) == whole
    assert all(line.body in whole for line in lines)
