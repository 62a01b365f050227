"""Steward in groups: silent unless it is called, in groups the owner has let in, with a history for each."""

from __future__ import annotations

from typing import Any

from demo.telegram import ALICE, BOB, CHARLIE
from lib import sentences
from tests.desk import FRIENDS, NAME, Desk

say = sentences.of("")
OTHERS = {"id": -6006, "type": "supergroup", "title": "Others"}


def texts_kept(desk: Desk) -> list[tuple[Any, ...]]:
    return desk.house.query("SELECT body, raw::text FROM inbox WHERE body IS NOT NULL OR raw IS NOT NULL")


def test_in_a_group_that_is_let_in_it_answers_whoever_calls_it_and_keeps_nothing_else(make_desk) -> None:
    desk = make_desk(ALLOWED_CHAT_IDS="-5005")
    assert desk.say(BOB, "my secret is 0815", FRIENDS) == []
    assert desk.say(CHARLIE, "/weather tomorrow", FRIENDS) == []
    assert desk.say(CHARLIE, "/help@weather_bot", FRIENDS) == []
    assert texts_kept(desk) == []
    assert {row[1:] for row in desk.audit()} == {("update.ignored", "success", "group")}
    assert desk.mention(CHARLIE, "what is red?") == []
    assert desk.waiting() == ["Charlie: what is red?"]
    assert desk.audit()[-1] == ("user", "update.received", "success", None)


def test_a_reply_to_one_of_its_messages_is_for_it(make_desk) -> None:
    desk = make_desk(ALLOWED_CHAT_IDS="-5005")
    ours = {"id": desk.bot.telegram.bot_id, "is_bot": True, "first_name": "Steward"}
    answered = {"message_id": 5, "date": 1, "chat": FRIENDS, "from": ours, "text": "Red is a colour."}
    desk.say(BOB, "and blue?", FRIENDS, reply_to_message=answered)
    [body] = desk.waiting()
    assert body.startswith("Bob: ")
    assert "Red is a colour." in body
    assert body.endswith("and blue?")


def test_elsewhere_it_is_silent_also_when_it_is_called(desk: Desk) -> None:
    assert desk.mention(BOB, "hello", OTHERS) == []
    assert desk.say(BOB, "/help", OTHERS) == []
    assert desk.say(ALICE, "hello all", OTHERS) == []
    assert texts_kept(desk) == []
    assert {row[1:] for row in desk.audit()} == {("update.ignored", "success", "group")}


def test_the_owner_lets_a_group_in_and_out_there(desk: Desk) -> None:
    [told] = desk.mention(ALICE, "are you there?")
    assert told.body == say.GROUP_NOT_LET_IN
    assert texts_kept(desk) == []
    [told] = desk.say(ALICE, f"/allow@{NAME}", FRIENDS)
    assert (told.chat_id, told.body) == (-5005, say.GROUP_ADDED)
    assert told.reply_to is not None
    desk.mention(CHARLIE, "hello")
    assert desk.waiting() == ["Charlie: hello"]
    assert desk.house.query("SELECT id, name FROM allowed") == [(-5005, "Friends")]
    [told] = desk.say(BOB, "/disallow", FRIENDS)
    assert told.body == say.UNKNOWN_COMMAND
    desk.say(ALICE, "/disallow", FRIENDS)
    assert desk.waiting() == []
    assert desk.mention(CHARLIE, "hello?") == []
    desk.say(ALICE, "/allow", FRIENDS)
    desk.say(ALICE, "/remove -5005")
    assert desk.mention(CHARLIE, "hello?") == []
    done = [row[1] for row in desk.audit() if row[1].startswith("group.")]
    assert done == ["group.added", "group.removed", "group.added", "group.removed"]


def test_a_group_of_the_file_is_not_removed_by_command(make_desk) -> None:
    desk = make_desk(ALLOWED_CHAT_IDS="-5005, -6006")
    [told] = desk.say(ALICE, "/disallow", FRIENDS)
    assert told.body == say.IN_FILE.format(id=-5005, line="ALLOWED_CHAT_IDS")
    [told] = desk.say(ALICE, "/allow", FRIENDS)
    assert told.body == say.IN_FILE_ALREADY.format(id=-5005)


def test_each_group_has_a_history_of_its_own(make_desk) -> None:
    desk = make_desk(ALLOWED_CHAT_IDS="-5005, -6006")
    desk.mention(BOB, "one")
    desk.mention(BOB, "two", OTHERS)
    desk.say(BOB, "three")
    for chat_id in (-5005, -6006, BOB.id):
        desk.answer(chat_id)
    rows = desk.house.query("SELECT chat_id, user_id, body FROM history WHERE role = 'user' ORDER BY id")
    assert rows == [(-5005, BOB.id, "Bob: one"), (-6006, BOB.id, "Bob: two"), (BOB.id, BOB.id, "three")]
    desk.say(BOB, f"/new@{NAME}", FRIENDS)
    assert desk.house.query("SELECT chat_id, conversation FROM chats WHERE conversation > 0") == [(-5005, 1)]


def test_in_a_group_only_the_commands_for_all_are_obeyed(make_desk) -> None:
    desk = make_desk(ALLOWED_CHAT_IDS="-5005")
    for command in ("/memory", "/export", "/forget"):
        [told] = desk.say(CHARLIE, command, FRIENDS)
        assert told.body == say.ONLY_PRIVATE
    for command in ("/people", "/add 5", "/remove 5", "/audit"):
        [told] = desk.say(ALICE, command, FRIENDS)
        assert told.body == say.ONLY_PRIVATE
    [told] = desk.say(ALICE, "/allow")
    assert told.body == say.ONLY_GROUP
    [told] = desk.say(ALICE, f"/nonsense@{NAME}", FRIENDS)
    assert told.body == say.UNKNOWN_COMMAND
    [told] = desk.say(ALICE, "/help", FRIENDS)
    assert told.body == say.help(True, True)
    assert "/people" not in told.body


def test_the_status_in_a_group_tells_nothing_of_the_owners_accounts(make_desk) -> None:
    desk = make_desk(ALLOWED_CHAT_IDS="-5005")
    [told] = desk.say(ALICE, "/status", FRIENDS)
    assert "Claude" in told.body
    assert "Versions" not in told.body
    [told] = desk.say(ALICE, "/status")
    assert "Versions" in told.body


def test_a_changed_message_in_a_group_is_a_matter_of_ours_only_if_it_calls_us(make_desk) -> None:
    desk = make_desk(ALLOWED_CHAT_IDS="-5005")
    silent = desk.message(BOB, "my secret is 0815", FRIENDS)
    desk.take({"message": silent})
    assert desk.take({"edited_message": silent | {"text": "my secret is 0816"}}) == []
    assert texts_kept(desk) == []
    mark = [{"type": "mention", "offset": 0, "length": 12}]
    asked = desk.message(BOB, f"@{NAME} red?", FRIENDS) | {"entities": mark}
    desk.take({"message": asked})
    desk.take({"edited_message": asked | {"text": f"@{NAME} blue?"}})
    assert desk.waiting() == ["Bob: blue?"]


def test_a_group_that_becomes_a_supergroup_stays_let_in(make_desk) -> None:
    desk = make_desk(ALLOWED_CHAT_IDS="-5005")
    moved = {key: value for key, value in desk.message(BOB, "", FRIENDS).items() if key != "text"}
    desk.take({"message": moved | {"migrate_to_chat_id": -100777}})
    desk.mention(CHARLIE, "hello", {"id": -100777, "type": "supergroup", "title": "Friends"})
    assert desk.waiting() == ["Charlie: hello"]
    assert desk.house.query("SELECT id, name FROM allowed") == [(-100777, "Friends")]
    assert desk.audit()[0][1] == "group.moved"
    stranger = FRIENDS | {"id": -7007}
    desk.take({"message": moved | {"chat": stranger, "migrate_to_chat_id": -100888}})
    assert desk.house.query("SELECT count(*) FROM allowed") == [(1,)]


def test_an_update_from_a_group_that_cannot_be_read_is_kept_without_its_words(make_desk) -> None:
    desk = make_desk(ALLOWED_CHAT_IDS="-5005")
    odd = {"type": "moon", "date": 1}
    assert desk.say(BOB, "my secret is 0815", FRIENDS, forward_origin=odd) == []
    assert texts_kept(desk) == []
    assert desk.audit()[-1][1:3] == ("update.parked", "failure")
