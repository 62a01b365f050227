"""/audit: what was done lately, and the story of one message. For the owner only, and without any message text."""

from __future__ import annotations

import re
import time
import uuid
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from demo.loopback import Fault
from demo.telegram import ALICE, BOB, CHARLIE
from lib.english import English
from lib.reports import LAST_ACTIONS
from lib.text import LONGEST, units
from tests.house import House

english = English()

ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
TIME = r"\d\d:\d\d:\d\d"
SECRET = "the code is 4711"


def audit(house: House, asked: str = "") -> str:
    """What Alice reads when she sends /audit."""
    house.await_idle()
    before = len(house.replies())
    house.telegram.say(ALICE, f"/audit {asked}".strip())
    return house.await_replies(before + 1)[-1]


def lines(pattern: str, text: str) -> list[str]:
    return re.findall(f"^{pattern}$", text, re.MULTILINE)


def correlation_id(house: House, kind: str = "message") -> str:
    """The id of the last such update."""
    [(found,)] = house.query("SELECT correlation_id::text FROM inbox WHERE kind = %s ORDER BY id DESC LIMIT 1", kind)
    return str(found)


def put(house: House, told: str, action: str = "test.done", count: int = 1) -> None:
    """Rows of the audit with this id."""
    house.query(
        "INSERT INTO audit (correlation_id, actor_kind, action, outcome)"
        " SELECT %s, 'system', %s, 'success' FROM generate_series(1, %s)",
        *(told, action, count),
    )


def test_the_last_actions_are_told_in_two_lines_each_with_the_newest_last(make_house) -> None:
    house = make_house(TIMEZONE="Asia/Tokyo")
    house.start()
    house.telegram.say(BOB, SECRET)
    house.await_replies(1, BOB)
    house.await_idle()
    house.telegram.say(CHARLIE, SECRET)
    house.await_replies(1, CHARLIE)
    text = audit(house)
    assert text.startswith("The last actions (times: Asia/Tokyo).")
    assert len(lines(ID, text)) == min(LAST_ACTIONS, len(text.splitlines()) // 2)
    told = [line for line in lines(rf"{TIME} (.*)", text) if "credential" not in line]
    assert told[-5:-2] == [
        "user 1002: update.received, success",
        lines(rf"{TIME} (user 1002: claude.asked, success, claude-sonnet-5-5, \d+\.\d s)", text)[0],
        "Steward: reply.sent, success",
    ]
    assert told[-2:] == ["stranger 1003: update.received, denied (not_allowed)", "Steward: reply.sent, success"]
    assert "4711" not in text
    [(now,)] = house.query(
        "SELECT to_char(max(at) AT TIME ZONE 'Asia/Tokyo', 'HH24:MI:SS') FROM audit WHERE actor_id = 1003"
    )
    assert f"{now} stranger 1003" in text
    assert units(text) <= 4096


def test_the_command_is_an_action_itself(house: House) -> None:
    assert "command.audit" not in audit(house)
    assert lines(rf"{TIME} you: command.audit, success", audit(house))
    assert house.query("SELECT DISTINCT actor_id, outcome FROM audit WHERE action = 'command.audit'") == [
        (ALICE.id, "success")
    ]


def test_an_action_of_another_day_is_told_with_its_day(house: House) -> None:
    put(house, str(uuid.uuid4()))
    house.query("UPDATE audit SET at = '2026-03-01 09:30:05+00' WHERE action = 'test.done'")
    assert "1 Mar 09:30:05 Steward: test.done, success" in audit(house)


def test_the_story_of_a_message_is_told_from_its_arrival_to_its_answer(house: House) -> None:
    house.telegram.say(BOB, SECRET)
    house.await_replies(1, BOB)
    house.await_idle()
    told = correlation_id(house)
    text = audit(house, told)
    head, *story = text.splitlines()
    assert head == f"The story of {told} (times: UTC):"
    for line, pattern in zip(
        story,
        [
            "message from user 1002; now answered, 1 attempt",
            "user 1002: update.received, success",
            r"user 1002: claude.asked, success, claude-sonnet-5-5, \d+\.\d s;"
            r" \d+ tokens in \(\d+ of them cached\), \d+ out",
            rf"reply to user 1002: 1 part, sent {TIME}",
            "Steward: reply.sent, success",
        ],
        strict=True,
    ):
        assert re.fullmatch(f"{TIME} {pattern}", line), line
    assert "4711" not in text


def test_a_story_with_trouble_tells_attempts_reasons_repeats_and_alerts(house: House) -> None:
    audit(house)  # a bot may only write to those who wrote to it
    house.claude.faults.add(Fault("status", "/v1/messages", status=401))
    house.telegram.faults.add(Fault("drop", "sendMessage"))
    house.telegram.say(BOB, SECRET)
    house.await_event(house.worker, "claude_unavailable")
    house.query(
        "INSERT INTO outbox (correlation_id, sender, chat_id, part, parts, body) VALUES (%s, 'bot', %s, 1, 1, 'told')",
        *(correlation_id(house), ALICE.id),
    )
    house.await_idle()
    text = audit(house, correlation_id(house))
    assert "from user 1002; now failed, 1 attempt" in text
    assert lines(rf"{TIME} user 1002: claude.asked, failure \(sign_in\), claude-sonnet-5-5, \d+\.\d s", text)
    assert lines(rf"{TIME} reply to user 1002: 1 part, sent {TIME}(?:, may be a repeat)?", text)
    assert lines(rf"{TIME} alert to you: 1 part, sent {TIME}(?:, may be a repeat)?", text)
    assert "may be a repeat" in text


def test_the_beginning_of_an_id_is_enough_and_large_letters_do(house: House) -> None:
    house.telegram.say(ALICE, "hello")
    house.await_replies(1)
    told = correlation_id(house)
    for asked in (told[:8], told[:9], told[:20], told.upper(), told.replace("-", "")):
        assert audit(house, asked).startswith(f"The story of {told} "), asked


def test_what_cannot_be_told_is_said_in_a_clear_sentence(house: House) -> None:
    alike = ["12345678-0000-4000-8000-000000000000", "12345678-ffff-4fff-bfff-ffffffffffff"]
    for told in alike:
        put(house, told)
    assert audit(house, "12345678").splitlines() == [english.AUDIT_SEVERAL, *alike]
    assert audit(house, "12345678-0").startswith(f"The story of {alike[0]} ")
    assert audit(house, "12345677") == audit(house, str(uuid.uuid4())) == english.AUDIT_NOT_FOUND
    for asked in (
        "1234567",
        "yesterday",
        "12345678 0000",
        "12345678%",
        f"{alike[0]}0",
        "1" * 3000,
        "'; --",
        "\u0661" * 8,
    ):
        assert audit(house, asked) == english.AUDIT_NO_ID, asked


def test_a_long_story_is_cut_to_one_message_and_says_so(house: House) -> None:
    told = str(uuid.uuid4())
    put(house, told, action="🦉" * 50, count=120)
    text = audit(house, told)
    assert units(text) <= LONGEST
    shown = len(lines(f"{TIME} Steward: (?:🦉)+\\.\\.\\., success", text))
    assert text.splitlines()[-1] == f"... and {120 - shown} more"
    assert len(audit(house)) <= LONGEST


@pytest.mark.parametrize("person", [BOB, CHARLIE], ids=lambda person: person.first_name)
def test_for_everybody_else_there_is_no_such_command(house: House, person) -> None:
    for text in ("/nonsense", "/audit", "/audit 12345678"):
        house.telegram.say(person, text)
    house.await_event(house.bot, "update_stored", 3)
    house.await_idle()
    assert set(house.replies(person)) <= {english.UNKNOWN_COMMAND, english.stranger(person.id)}
    rows = house.query("SELECT DISTINCT action, outcome, reason FROM audit WHERE actor_id = %s", person.id)
    assert len(rows) == 1


def test_only_the_owners_help_names_it(house: House) -> None:
    for person in (ALICE, BOB):
        house.telegram.say(person, "/help")
    assert house.await_replies(1)[0] == english.help(owner=True, group=False)
    assert house.await_replies(1, BOB)[0] == english.help(owner=False, group=False)


def test_in_a_group_that_is_not_let_in_nothing_of_it_is_told(house: House) -> None:
    group = {"id": -5005, "type": "group", "title": "Friends"}
    message = {"message_id": 1, "date": int(time.time()), "from": ALICE.as_user(), "chat": group, "text": "/audit"}
    house.telegram.push({"message": message})
    house.await_event(house.bot, "update_stored")
    house.await_idle()
    assert [sent.text for sent in house.telegram.sent] == [english.GROUP_NOT_LET_IN]


NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ((1, 1, 0, False, NOW), rf"1 part, sent {TIME}"),
        ((3, 3, 0, True, NOW), rf"3 parts, sent {TIME}, may be a repeat"),
        ((3, 1, 1, False, NOW), rf"3 parts, 1 sent {TIME}, 1 refused, 1 not sent yet"),
        ((2, 0, 0, False, None), "2 parts, not sent yet"),
        ((2, 0, 2, False, None), "2 parts, refused"),
    ],
)
def test_how_an_answer_fared_is_told_in_a_line(counts, told) -> None:
    line = english.said(NOW, "you", False, *counts)
    assert re.fullmatch(rf"{TIME} reply to you: {told}", line), line


def test_times_are_told_in_the_zone_they_come_with() -> None:
    today = datetime.now(ZoneInfo("Asia/Tokyo")).replace(hour=0, minute=0, second=1)
    assert english.received(today, "you", "edited_message", "set_aside", 3) == (
        "00:00:01 edited message from you; now set aside, 3 attempts"
    )
    before = today - timedelta(seconds=2)
    line = english.action(before, english.person("stranger", None), "a.b", "success", None, None, None)
    assert line == f"{before.day} {before:%b} 23:59:59 stranger unknown: a.b, success"
