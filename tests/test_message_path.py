"""One message through the house: stored, rung for, answered from its history, sent."""

from __future__ import annotations

import time

import redis

from demo.telegram import ALICE, BOB, CHARLIE
from lib.bell import LIST
from lib.english import English
from tests.house import House

english = English()


def test_alice_gets_an_answer_that_knows_what_she_said_before(house: House) -> None:
    house.telegram.say(ALICE, "hello")
    house.await_replies(1)
    house.telegram.say(ALICE, "what did I just say?")
    first, second = house.await_replies(2)
    assert "«hello»" in first
    assert "«what did I just say?»" in second
    assert "«hello»" in second


def test_every_step_carries_the_same_correlation_id(house: House) -> None:
    house.telegram.say(ALICE, "hello")
    house.await_replies(1)
    house.await_idle()
    [(correlation_id,)] = house.query("SELECT correlation_id::text FROM inbox")
    rows = house.query(
        "SELECT action, actor_kind, actor_id, outcome FROM audit WHERE correlation_id = %s ORDER BY id", correlation_id
    )
    assert rows == [
        ("update.received", "owner", ALICE.id, "success"),
        ("claude.asked", "owner", ALICE.id, "success"),
        ("reply.sent", "system", None, "success"),
    ]
    for script, events in ((house.bot, {"update_stored"}), (house.worker, {"claude_answered", "part_sent"})):
        lines = [line for line in script.lines() if line.get("correlation_id") == correlation_id]
        assert events <= {line["event"] for line in lines}


def test_the_audit_row_of_an_answer_names_model_tokens_and_duration(house: House) -> None:
    house.telegram.say(BOB, "hello")
    house.await_replies(1, BOB)
    [row] = house.query(
        "SELECT model, tokens_in, tokens_out, duration_ms, actor_kind FROM audit WHERE action = 'claude.asked'"
    )
    assert row[0] == "claude-sonnet-5-5"
    assert row[1] > 0
    assert row[2] > 0
    assert row[3] >= 0
    assert row[4] == "user"


def test_one_request_is_made_for_one_message(house: House) -> None:
    for number, text in enumerate(("one", "two", "three"), 1):
        house.telegram.say(ALICE, text)
        house.await_replies(number)
    assert len(house.claude.requests) == 3


def test_people_do_not_see_each_others_history(house: House) -> None:
    house.telegram.say(ALICE, "the code is 4711")
    house.await_replies(1)
    house.telegram.say(BOB, "what is the code?")
    [answer] = house.await_replies(1, BOB)
    assert "4711" not in answer
    assert "4711" not in str(house.claude.requests[-1].body)


def test_new_begins_a_conversation_without_the_old_one(house: House) -> None:
    house.telegram.say(ALICE, "the code is 4711")
    house.await_replies(1)
    house.telegram.say(ALICE, "/new")
    house.await_replies(2)
    house.telegram.say(ALICE, "what is the code?")
    house.await_replies(3)
    assert "4711" not in str(house.claude.requests[-1].body)


def test_a_message_sent_before_new_is_answered_in_the_old_conversation(house: House) -> None:
    house.claude.first_delay = 0.5
    house.telegram.say(ALICE, "first")
    house.telegram.say(ALICE, "second")
    house.telegram.say(ALICE, "/new")
    house.telegram.say(ALICE, "third")
    house.await_replies(3)
    bodies = [request.body["messages"] for request in house.claude.requests]
    assert [len(messages) for messages in bodies] == [1, 1]


def test_a_reply_is_shown_while_it_grows_and_then_sent_whole(house: House) -> None:
    house.claude.pace = 0.15
    house.telegram.say(ALICE, "write 20 words")
    [answer] = house.await_replies(1)
    drafts = house.telegram.drafts(ALICE.id)
    assert drafts
    assert all(answer.startswith(draft.strip()) for draft in drafts)
    assert len(drafts[-1]) < len(answer)


def test_a_long_reply_arrives_in_order_and_complete(house: House) -> None:
    house.telegram.say(ALICE, "write 3000 words")
    house.await_replies(2)
    house.await_idle()
    parts = house.replies()
    assert all(len(part.encode("utf-16-le")) // 2 <= 4096 for part in parts)
    [(stored,)] = house.query("SELECT body FROM history WHERE role = 'assistant'")
    assert "".join(" ".join(parts).split()) == "".join(stored.split())


def test_text_that_postgresql_cannot_keep_is_answered_all_the_same(house: House) -> None:
    house.telegram.say(ALICE, "a\x00b \ud83d c")
    [answer] = house.await_replies(1)
    assert "ab ? c" in answer


def test_a_stranger_is_told_their_id_once_a_day_and_nothing_of_theirs_is_kept(house: House) -> None:
    house.telegram.say(CHARLIE, "let me in, my secret is 0815")
    house.telegram.say(CHARLIE, "hello?")
    house.await_replies(1, CHARLIE)
    house.await_event(house.bot, "update_stored", 2)
    house.query("UPDATE chats SET stranger_told_at = now() - interval '25 hours' RETURNING 1")
    house.telegram.say(CHARLIE, "and today?")
    replies = house.await_replies(2, CHARLIE)
    assert replies == [english.stranger(CHARLIE.id)] * 2
    assert house.query("SELECT count(*) FROM audit WHERE actor_kind = 'stranger' AND outcome = 'denied'") == [(3,)]
    assert house.query("SELECT count(*) FROM inbox WHERE raw IS NOT NULL OR body IS NOT NULL") == [(0,)]
    assert house.claude.requests == []


def test_an_empty_allowlist_serves_nobody_but_the_owner(make_house) -> None:
    house = make_house(ALLOWED_USER_IDS="")
    house.start()
    house.telegram.say(BOB, "hello")
    assert house.await_replies(1, BOB) == [english.stranger(BOB.id)]
    assert house.claude.requests == []


def test_the_bots_own_commands_are_answered(house: House) -> None:
    for text in ("/start", "/help@steward_bot now", "/HELP", "/nonsense"):
        house.telegram.say(ALICE, text)
    owners_help = english.help(True, False)
    assert house.await_replies(4) == [english.START, owners_help, owners_help, english.UNKNOWN_COMMAND]


def test_a_path_at_the_start_is_a_question_and_no_command(house: House) -> None:
    house.telegram.say(ALICE, "/usr/bin is full, what now?")
    [answer] = house.await_replies(1)
    assert "/usr/bin is full" in answer


def test_status_tells_the_truth_also_without_a_worker(make_house) -> None:
    house = make_house()
    house.bot.start()
    house.telegram.say(ALICE, "hello")
    house.await_event(house.bot, "update_stored")
    house.telegram.say(ALICE, "/status")
    [text] = house.await_replies(1)
    assert "Workers: none is running" in text
    assert "Waiting messages: 1" in text
    house.worker.start()
    house.await_replies(2)
    house.telegram.say(ALICE, "/status")
    text = house.await_replies(3)[-1]
    assert "Workers: 1" in text
    assert "Waiting messages: 0" in text
    assert "Claude: answered" in text


def test_a_changed_message_is_answered_as_changed_while_it_waits(make_house) -> None:
    house = make_house()
    house.bot.start()
    update = house.telegram.update(house.telegram.say(ALICE, "what is red?"))
    house.await_event(house.bot, "update_stored")
    house.telegram.edit(ALICE, update["message"]["message_id"], "what is blue?")
    house.await_event(house.bot, "update_stored", 2)
    house.worker.start()
    [answer] = house.await_replies(1)
    assert "«what is blue?»" in answer
    assert "red" not in answer


def test_a_message_changed_after_its_answer_gets_a_word_about_it(house: House) -> None:
    update = house.telegram.update(house.telegram.say(ALICE, "what is red?"))
    house.await_replies(1)
    house.telegram.edit(ALICE, update["message"]["message_id"], "what is blue?")
    assert house.await_replies(2)[-1] == english.EDIT_TOO_LATE
    assert len(house.claude.requests) == 1


def test_an_edit_that_changes_nothing_is_passed_over(house: House) -> None:
    """Telegram reports an edit also when only a link preview has come."""
    update = house.telegram.update(house.telegram.say(ALICE, "see example.org"))
    house.await_replies(1)
    house.telegram.edit(ALICE, update["message"]["message_id"], "see example.org")
    house.await_event(house.bot, "update_stored", 2)
    house.await_idle()
    assert len(house.replies()) == 1


def test_what_is_not_text_gets_one_friendly_sentence(house: House) -> None:
    video = {"file_id": "a", "file_unique_id": "b", "width": 1, "height": 1, "duration": 1}
    message = {"date": int(time.time()), "chat": ALICE.as_chat(), "from": ALICE.as_user()}
    for number in (1, 2, 3):
        album = {"message_id": 900 + number, "media_group_id": "77", "video": video}
        house.telegram.push({"message": message | album})
    location = {"message_id": 910, "location": {"latitude": 1.0, "longitude": 2.0}}
    house.telegram.push({"message": message | location})
    house.await_event(house.bot, "update_stored", 4)
    house.await_idle()
    assert house.replies() == [english.unreadable("video"), english.unreadable("location")]


def test_service_messages_groups_and_unknown_kinds_are_noted_in_silence(house: House) -> None:
    now = int(time.time())
    group = {"id": -5005, "type": "group", "title": "Friends"}
    base = {"message_id": 1, "date": now, "from": ALICE.as_user()}
    house.telegram.push({"message": base | {"chat": group, "text": "hello all"}})
    pinned = {"message_id": 2, "date": now, "chat": ALICE.as_chat(), "text": "x"}
    house.telegram.push({"message": base | {"chat": ALICE.as_chat(), "pinned_message": pinned}})
    house.await_event(house.bot, "update_stored", 2)
    house.await_idle()
    assert house.telegram.sent == []
    assert house.query("SELECT DISTINCT state FROM inbox") == [("noted",)]
    reasons = house.query("SELECT reason FROM audit WHERE action = 'update.ignored' ORDER BY id")
    assert reasons == [("group",), ("service_message",)]


def test_a_person_with_many_messages_does_not_hold_up_the_others(house: House) -> None:
    house.telegram.say(ALICE, "hello")
    house.await_replies(1)
    house.claude.first_delay = 0.3
    for number in range(20):  # written ten seconds apart: each is a turn of its own
        house.telegram.say(ALICE, f"message {number}", date=int(time.time()) - 3600 + 10 * number)
    house.telegram.say(BOB, "only one")
    house.await_replies(1, BOB)
    assert len(house.replies(ALICE)) < 8
    house.claude.first_delay = 0
    house.await_replies(21, ALICE)
    assert [f"You wrote: «message {n}»" in text for n, text in enumerate(house.replies(ALICE)[1:])] == [True] * 20


def test_a_chat_is_rung_for_once_however_much_it_writes(make_house) -> None:
    house = make_house()
    house.bot.start()
    for number in range(30):
        house.telegram.say(ALICE if number % 3 else BOB, f"message {number}")
    house.await_event(house.bot, "update_stored", 30)
    rung = redis.Redis.from_url(house.stores.redis.url).lrange(LIST, 0, -1)
    assert sorted(map(int, rung)) == [ALICE.id, BOB.id]


def test_whoever_would_come_due_during_a_long_answer_is_rung_for_again(house: House) -> None:
    """Else an idle worker would find Bob only in its next look through the ledger."""
    house.say(ALICE, "is everybody awake?")
    house.await_replies(1)
    house.claude.first_delay = 3.0
    house.say(ALICE, "tell me a long story")
    house.say(BOB, "what time is it?")
    house.await_requests(2)
    rung = redis.Redis.from_url(house.stores.redis.url, decode_responses=True).lrange(LIST, 0, -1)
    assert rung == [str(BOB.id)]
    house.await_replies(1, BOB)
