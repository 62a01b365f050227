"""The commands in the chat: each does what the menu says, and what is none gets a hint."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bot import introduce, wait_for_more
from demo.telegram import ALICE, BOB, CHARLIE
from lib import sentences
from lib.commands import COMMANDS
from lib.english import GROUP_MENU
from lib.telegram import Incoming
from tests.desk import Desk
from tests.house import House

say = sentences.of("")


@pytest.mark.parametrize("language", sentences.CODES)
def test_the_menu_and_the_help_show_every_command_and_no_other(language: str) -> None:
    words = sentences.of(language)
    elsewhere = {"start", "allow", "disallow"}  # the first is Telegram's own, the others are for groups
    assert {*words.MENU, *words.OWNER_MENU} == set(COMMANDS) - elsewhere
    assert {name for name in words.MENU if not COMMANDS[name].owner} == set(words.MENU)
    assert all(COMMANDS[name].where == "everywhere" for name in GROUP_MENU)
    assert all(f"/{name} - " in words.help(True, False) for name in [*words.MENU, *words.OWNER_MENU])
    assert not [name for name in words.OWNER_MENU if f"/{name}" in words.help(False, False)]
    assert all(1 <= len(text) <= 256 for text in [*words.MENU.values(), *words.OWNER_MENU.values()])


def test_what_is_no_command_gets_a_hint_and_is_not_asked(desk: Desk) -> None:
    [told] = desk.say(BOB, "/nonsense now")
    assert told.body == say.UNKNOWN_COMMAND
    assert desk.audit() == [("user", "command.unknown", "success", None)]
    assert desk.waiting() == []


def test_a_command_is_answered_in_the_language_of_whoever_sends_it(desk: Desk) -> None:
    person: dict[str, Any] = BOB.as_user() | {"language_code": "ru"}
    [told] = desk.say(BOB, "/help", **{"from": person})
    assert told.body == sentences.of("ru").help(False, False)


def test_stop_gives_up_what_waits_and_marks_what_is_being_answered(desk: Desk) -> None:
    assert [told.body for told in desk.say(BOB, "/stop")] == [say.NOTHING_TO_STOP]
    desk.say(BOB, "write a book")
    assert [told.body for told in desk.say(BOB, "/stop")] == [say.STOPPED]
    assert desk.waiting() == []
    [told] = desk.say(BOB, "/retry")
    assert told.body == say.RETRYING
    assert desk.waiting() == ["write a book"]
    desk.house.query("UPDATE inbox SET attempts = 1 WHERE state = 'waiting'")
    assert [told.body for told in desk.say(BOB, "/stop")] == [say.STOPPING]
    assert desk.house.query("SELECT stop_asked FROM inbox WHERE state = 'waiting'") == [(True,)]


def test_stop_while_a_long_answer_is_being_sent_ends_that_and_leaves_what_waits(desk: Desk) -> None:
    desk.say(BOB, "the next question")
    desk.house.query(
        "INSERT INTO outbox (sender, chat_id, correlation_id, part, parts, body, state)"
        " VALUES ('worker', %s, gen_random_uuid(), 2, 3, 'two', 'sending'),"
        " ('worker', %s, gen_random_uuid(), 3, 3, 'three', 'pending')",
        BOB.id,
        BOB.id,
    )
    assert desk.say(BOB, "/stop")[-1].body == say.CUT_OFF
    assert desk.house.query("SELECT state FROM outbox WHERE sender = 'worker' ORDER BY part") == [
        ("sending",),
        ("refused",),
    ]
    assert desk.waiting() == ["the next question"]


def test_the_button_under_a_growing_answer_stops_it_without_a_word(desk: Desk) -> None:
    desk.say(BOB, "write a book")
    [(number,)] = desk.house.query("UPDATE inbox SET attempts = 1 RETURNING id")
    for draft_id, stopped in ((number + 1, False), (number, True)):  # the first is of another answer
        assert desk.take({"stopped_message_generation": {"chat": BOB.as_chat(), "draft_id": draft_id}}) == []
        assert desk.house.query("SELECT stop_asked FROM inbox WHERE body IS NOT NULL") == [(stopped,)]
    assert desk.audit()[-1] == ("user", "button.stop", "success", None)
    desk.take({"stopped_message_generation": {"chat": CHARLIE.as_chat(), "draft_id": 7}})
    assert desk.audit()[-1] == ("stranger", "update.received", "denied", "not_allowed")


def test_a_command_that_fails_says_so_and_the_update_is_stored_once(desk: Desk) -> None:
    desk.house.query("ALTER TABLE history RENAME TO elsewhere")
    [told] = desk.say(BOB, "/export")
    assert told.body == say.CANNOT_LOOK
    assert desk.audit() == [("user", "command.failed", "failure", "NoTables")]
    assert desk.house.query("SELECT state FROM inbox") == [("noted",)]
    desk.house.query("ALTER TABLE elsewhere RENAME TO history")


def test_a_command_that_comes_a_second_time_does_nothing_again(desk: Desk) -> None:
    update = {"update_id": 900_000, "message": desk.message(BOB, "/new")}
    assert len(desk.take(update)) == 1
    assert desk.take(update) == []
    assert desk.house.query("SELECT conversation FROM chats") == [(1,)]


def test_what_looks_like_a_command_and_is_forwarded_is_read_and_not_obeyed(desk: Desk) -> None:
    origin = {"type": "user", "date": 1, "sender_user": ALICE.as_user()}
    desk.say(BOB, "/new", forward_origin=origin)
    [body] = desk.waiting()
    assert body.endswith("/new")
    assert desk.house.query("SELECT conversation FROM chats") == [(0,)]


def test_more_is_waited_for_when_more_is_likely() -> None:
    assert wait_for_more(Incoming("message", text="hello")) == 0.3
    assert wait_for_more(Incoming("message", text="\U0001f600" * 2000)) == 1.5
    assert wait_for_more(Incoming("message", text="hello", forwarded=True)) == 0.5
    assert wait_for_more(Incoming("message", text="hello", album="77")) == 0.5


def test_telegram_is_given_the_menu_once_in_each_language_and_the_owners_in_the_owners_chat(desk: Desk) -> None:
    desk.bot.username = ""
    desk.house.telegram.say(ALICE, "hello")  # a bot knows only chats that have written to it
    introduce(desk.bot)
    introduce(desk.bot)
    assert desk.bot.username == "steward_bot"
    given = [call.params for call in desk.house.telegram.calls if call.method == "setMyCommands"]
    assert [(call.get("language_code", ""), "chat_id" in call["scope"]) for call in given] == [
        *(("", False), ("ru", False), ("", True), ("ru", True))
    ]
    assert ["people" in call["commands"] for call in given] == [False, False, True, True]


def test_the_owners_menu_is_shown_as_soon_as_the_owner_has_written_for_the_first_time(house: House) -> None:
    house.await_event(house.scripts[0], "owner_is_new")
    assert house.telegram.menu(BOB)[0]["command"] == "new"
    house.telegram.say(ALICE, "hello")
    assert house.telegram.wait_for(lambda sim: "people" in str(sim.menu(ALICE)), 20), house.story()


def test_a_telegram_that_is_away_keeps_nobody_waiting_for_its_menu(desk: Desk) -> None:
    desk.house.telegram.stop()
    desk.bot.username = ""
    began = time.monotonic()
    introduce(desk.bot)
    assert time.monotonic() - began < 5
    assert desk.bot.menu_at <= time.monotonic()


def test_a_person_says_retry_and_forget_in_a_running_house(house: House) -> None:
    house.telegram.say(BOB, "hello")
    house.await_replies(1, BOB)
    house.telegram.say(BOB, "/retry")
    assert say.RETRYING in house.await_replies(3, BOB)
    house.await_idle()
    house.telegram.say(BOB, "/forget")
    house.await_replies(4, BOB)
    [(buttons,)] = house.query("SELECT buttons FROM outbox WHERE buttons IS NOT NULL")
    message = house.telegram.messages(BOB.id)[-1]
    query = {"id": "5", "from": BOB.as_user(), "data": buttons[0][0][1], "chat_instance": "1"}
    shown = {"message_id": message.message_id, "date": 1, "chat": BOB.as_chat(), "text": message.text}
    house.telegram.push({"callback_query": query | {"message": shown}})
    house.await_event(house.bot, "update_stored", 4)
    house.await_idle()
    assert house.telegram.messages(BOB.id)[-1].text == say.FORGOT
    assert house.query("SELECT count(*) FROM history") == [(0,)]
    assert [call.method for call in house.telegram.calls].count("answerCallbackQuery") == 1
