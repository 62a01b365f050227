"""One bad update or message never stops the others."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bot import UNSEEN
from demo.loopback import Fault
from demo.telegram import ALICE, BOB, CHARLIE, Person
from lib.english import English
from tests.desk import Desk
from tests.house import House

english = English()


def unreadable(person: Person) -> dict[str, Any]:
    """A message with a forward origin that no library knows yet: pyTelegramBotAPI raises for it."""
    return {
        "message": {
            "message_id": 4000,
            "date": int(time.time()),
            "chat": person.as_chat(),
            "from": person.as_user(),
            "text": "forwarded from the moon",
            "forward_origin": {"type": "moon", "date": int(time.time())},
        }
    }


def test_an_update_that_cannot_be_read_is_parked_and_reported_and_the_next_one_is_answered(house: House) -> None:
    house.telegram.say(ALICE, "/help")  # a bot may only write to those who wrote to it
    house.await_replies(1)
    house.telegram.push(unreadable(BOB))
    house.telegram.say(BOB, "and this?")
    replies = house.await_replies(2, BOB)
    assert english.CANNOT_READ in replies
    assert any("«and this?»" in text for text in replies)
    to_owner = house.await_replies(2, ALICE)[-1]
    assert to_owner.startswith("Telegram sent an update that I cannot read")
    house.await_idle()
    assert house.telegram.pending() == []
    [(raw,)] = house.query("SELECT raw FROM inbox WHERE state = 'parked'")
    assert raw["message"]["text"] == "forwarded from the moon"
    assert house.query("SELECT kind FROM alerts") == [("update_parked",)]
    [line] = [line for line in house.bot.lines() if line["event"] == "update_parked"]
    assert line["level"] == "ERROR"
    assert "moon" not in str(line), "the log holds nothing that a person wrote"


def test_an_unreadable_update_of_a_stranger_rings_nobodys_phone(house: House) -> None:
    house.telegram.push(unreadable(CHARLIE))
    house.telegram.say(ALICE, "hello")
    house.await_replies(1)
    house.await_idle()
    assert len(house.telegram.sent) == 1
    assert house.query("SELECT raw FROM inbox WHERE state = 'parked'") == [(None,)]


def test_odd_updates_of_every_shape_do_not_stop_the_polling(house: House) -> None:
    shapes: tuple[dict[str, Any], ...] = (
        {"message": None},
        {"message": {}},
        {"message": []},
        {"message": {"chat": 5, "from": "x"}},
        {"message": {"message_id": "x", "date": "y", "chat": {"id": "z"}, "from": {"id": None}}},
        {"edited_message": {"message_id": 1}},
        {},
        {"callback_query": {"id": "1"}, "something_new": {}},
        {"message": {"message_id": 1, "date": 1, "chat": {"id": 2**70, "type": "private"}, "text": "x"}},
    )
    for odd in shapes:
        house.telegram.push(odd)
    house.telegram.say(ALICE, "still there?")
    house.await_event(house.bot, "update_stored")
    house.await_idle()
    assert any("«still there?»" in text for text in house.replies())
    assert house.bot.running
    assert house.telegram.pending() == []


@pytest.mark.parametrize("odd", [{"date": float("inf")}, {"text": "[" * 6000}])
def test_what_postgresql_may_not_take_as_json_is_kept_as_text(desk: Desk, odd: dict[str, Any]) -> None:
    desk.take({"message": desk.message(ALICE, "hello") | odd})
    assert desk.waiting() == [odd.get("text", "hello")]
    [(raw,)] = desk.house.query("SELECT raw ->> 'as_text' FROM inbox")
    assert '"message_id"' in raw


def test_a_message_that_kills_its_worker_three_times_is_set_aside_and_the_next_goes_on(house: House) -> None:
    house.telegram.say(ALICE, "/help")
    house.await_replies(1)
    house.claude.faults.add(Fault("hang", "/v1/messages", times=3, seconds=30))
    house.say(BOB, "poison")
    house.say(BOB, "harmless")
    for attempts in (1, 2, 3):
        house.await_requests(attempts)
        house.worker.kill()
        house.worker.start()
    first, second = house.await_replies(2, BOB)
    assert first == english.SET_ASIDE
    assert "«harmless»" in second
    assert house.query("SELECT state FROM inbox WHERE user_id = %s ORDER BY id", BOB.id) == [
        ("set_aside",),
        ("answered",),
    ]
    assert house.query("SELECT kind FROM alerts") == [("message_set_aside",)]
    to_owner = house.await_replies(2, ALICE)[-1]
    assert to_owner.startswith("A message was put aside")


def test_a_message_whose_handling_raises_three_times_is_set_aside(house: House) -> None:
    """A history row that the database refuses (here by a trigger) is a bug of ours that no kind of error foresees."""
    house.query(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF NEW.body LIKE '%poison%' THEN RAISE EXCEPTION 'no: %', NEW.body; END IF; RETURN NEW; END $$;"
        " CREATE TRIGGER refuse BEFORE INSERT ON history FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    house.say(BOB, "poison")
    house.say(BOB, "harmless")
    first, second = house.await_replies(2, BOB, 40)
    assert first == english.SET_ASIDE
    assert "«harmless»" in second
    assert house.worker.events().count("unit_failed") == 3
    assert "poison" not in house.worker.log.read_text()


def test_a_part_that_cannot_be_marked_as_sent_is_not_sent_again_and_again(house: House) -> None:
    house.query(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF NEW.state = 'sent' THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW; END $$;"
        " CREATE TRIGGER refuse BEFORE UPDATE ON outbox FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    house.telegram.say(BOB, "hello")
    house.await_event(house.worker, "sent_not_kept")
    house.telegram.say(ALICE, "/help")
    house.await_event(house.bot, "sent_not_kept")
    house.worker.stop()  # the next worker looks through the ledger at once
    house.worker.start()
    house.await_event(house.worker, "started", 2)
    house.query("DROP TRIGGER refuse ON outbox")
    house.query("UPDATE chats SET not_before = NULL")
    house.await_idle()
    assert [text.startswith(english.REPEAT_MARK) for text in house.replies(BOB)] == [False, True]
    assert [text.startswith(english.REPEAT_MARK) for text in house.replies(ALICE)] == [False, True]
    assert house.bot.running


VIDEO: dict[str, Any] = {"video": {"file_id": "v", "file_unique_id": "v", "width": 9, "height": 9, "duration": 3}}
PHOTO: dict[str, Any] = {"photo": [{"file_id": "p", "file_unique_id": "p", "width": 9, "height": 9, "file_size": 9}]}
HUGE: dict[str, Any] = {
    "document": {"file_id": "d", "file_unique_id": "d", "file_name": "all.pdf", "file_size": 30_000_000}
}
ZIP: dict[str, Any] = {"document": {"file_id": "z", "file_unique_id": "z", "file_name": "all.zip", "file_size": 9}}


def send(desk: Desk, **content: Any) -> list[str]:
    """Bob sends something that is no text; what is said then."""
    message = desk.message(BOB, "")
    del message["text"]
    return [said.body for said in desk.take({"message": message | content})]


@pytest.mark.parametrize(("content", "reason"), [(VIDEO, ""), (HUGE, "too_large"), (ZIP, "type")])
def test_of_what_it_cannot_be_shown_claude_is_told_with_the_words_that_came_with_it(
    desk: Desk, content: dict[str, Any], reason: str
) -> None:
    assert send(desk, caption="What is this?", **content) == []
    assert desk.waiting() == [f"{UNSEEN[reason]}\nWhat is this?"]


@pytest.mark.parametrize("order", [(PHOTO, VIDEO, VIDEO), (VIDEO, VIDEO, PHOTO), (PHOTO, VIDEO, PHOTO, VIDEO)])
def test_what_cannot_be_read_in_an_album_is_said_once_wherever_it_stands(
    desk: Desk, order: tuple[dict[str, Any], ...]
) -> None:
    said = [text for content in order for text in send(desk, media_group_id="77", **content)]
    assert said == [english.UNREADABLE["video"]]
