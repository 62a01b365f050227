"""What Telegram may answer instead of what was asked: each has its behaviour, its log line, and loses nothing."""

from __future__ import annotations

import time

from demo.loopback import Fault
from demo.telegram import ALICE, BOB
from lib.english import English
from tests.house import House

english = English()


def test_a_revoked_token_is_named_and_messages_wait_at_telegram(house: House) -> None:
    house.telegram.say(ALICE, "hello")
    house.await_replies(1)
    house.telegram.faults.add(Fault("status", "getUpdates", times=2, status=401))
    update_id = house.telegram.say(ALICE, "are you there?")
    house.await_event(house.bot, "token_refused")
    assert house.telegram.pending() == [update_id]
    assert house.bot.running
    [line] = [line for line in house.bot.lines() if line["event"] == "token_refused"]
    assert line["level"] == "ERROR"
    assert "TELEGRAM_BOT_TOKEN" in line["message"]
    replies = house.await_replies(3, seconds=40)
    assert any("«are you there?»" in text for text in replies)
    assert any(text.startswith("Telegram refused my token") for text in replies)  # Alice is the owner


def test_a_malformed_token_is_named_like_a_wrong_one(house: House) -> None:
    house.telegram.faults.add(
        Fault("status", "getUpdates", status=404, body={"ok": False, "error_code": 404, "description": "Not Found"})
    )
    house.telegram.say(ALICE, "wake up")
    house.await_event(house.bot, "token_refused")


def test_another_poller_is_named_and_nothing_is_lost(house: House) -> None:
    house.telegram.faults.add(Fault("status", "getUpdates", status=409))
    house.telegram.say(ALICE, "hello")
    house.await_event(house.bot, "other_poller")
    assert "«hello»" in house.await_replies(1)[0]


def test_polling_honours_retry_after(house: House) -> None:
    house.telegram.say(ALICE, "hello")
    house.await_replies(1)
    house.telegram.faults.add(Fault("status", "getUpdates", status=429, seconds=3))
    house.telegram.say(ALICE, "again")
    house.await_event(house.bot, "asked_too_fast")
    refused_at = next(call.at for call in house.telegram.calls if call.status == 429)
    house.telegram.say(ALICE, "and again")
    house.await_replies(3)
    later = [call.at for call in house.telegram.calls if call.method == "getUpdates" and call.at > refused_at]
    assert later[0] - refused_at >= 3


def test_server_errors_and_cut_connections_are_passed_through(house: House) -> None:
    for fault in (
        Fault("status", "getUpdates", status=500),
        Fault("status", "getUpdates", status=502),
        Fault("drop", "getUpdates"),
        Fault("lose", "getUpdates"),
    ):
        house.telegram.faults.add(fault)
    house.telegram.say(ALICE, "hello")
    assert "«hello»" in house.await_replies(1, seconds=40)[0]
    assert house.bot.events().count("telegram_away") >= 3
    house.await_idle()
    assert len(house.replies()) == 1


def test_an_answer_of_telegram_that_makes_no_sense_loses_nothing(house: House) -> None:
    for body in ("<html>it works</html>", {"hello": "there"}, {"ok": True}):
        house.telegram.faults.add(Fault("status", "getUpdates", status=200, body=body))
    house.telegram.say(ALICE, "hello")
    assert "«hello»" in house.await_replies(1, seconds=40)[0]
    assert house.bot.running


def test_messages_written_while_telegram_is_away_are_answered_when_it_is_back(house: House) -> None:
    house.telegram.say(ALICE, "before")
    house.await_replies(1)
    house.telegram.stop()
    house.telegram.say(ALICE, "during")
    house.await_event(house.bot, "telegram_away", 2)
    house.telegram.start()
    assert "«during»" in house.await_replies(2)[-1]


def test_an_answer_finished_while_telegram_is_away_is_sent_once_it_is_back(house: House) -> None:
    house.claude.first_delay = 1
    house.telegram.say(ALICE, "hello")
    house.await_requests(1)
    house.telegram.stop()
    house.await_event(house.worker, "part_delayed")
    house.telegram.start()
    [answer] = house.await_replies(1)
    assert not answer.startswith(english.REPEAT_MARK.strip()), "no connection was made: it cannot have arrived"
    assert len(house.claude.requests) == 1


def test_a_reply_that_telegram_wants_later_is_sent_later_and_others_are_not_held_up(house: House) -> None:
    house.telegram.faults.add(Fault("status", "sendMessage", status=429, seconds=4))
    house.telegram.say(ALICE, "hello")
    house.await_event(house.worker, "part_delayed")
    delayed_at = time.monotonic()
    house.telegram.say(ALICE, "and another")
    house.telegram.say(BOB, "me too")
    house.await_replies(1, BOB)
    assert house.replies(ALICE) == []
    first, second = house.await_replies(2)
    assert time.monotonic() - delayed_at >= 3.5
    assert "You wrote: «hello»" in first
    assert "You wrote: «and another»" in second
    sends = [call for call in house.telegram.calls if call.method == "sendMessage"]
    assert [call.status for call in sends].count(429) == 1


def test_a_person_who_blocked_the_bot_does_not_stop_the_others(house: House) -> None:
    house.telegram.block(ALICE.id)
    house.telegram.say(ALICE, "hello")
    house.await_event(house.worker, "chat_gone")
    house.telegram.say(BOB, "hello")
    house.await_replies(1, BOB)
    assert house.query("SELECT state FROM outbox WHERE chat_id = %s", ALICE.id) == [("refused",)]
    house.telegram.unblock(ALICE.id)
    house.telegram.say(ALICE, "back again")
    assert "«back again»" in house.await_replies(1, ALICE)[0]


def test_a_refused_draft_does_not_harm_the_answer(house: House) -> None:
    house.claude.pace = 0.1
    house.telegram.faults.add(Fault("status", "sendMessageDraft", status=400, times=100))
    house.telegram.say(ALICE, "write 30 words")
    house.await_replies(1)
    drafts = [call for call in house.telegram.calls if call.method == "sendMessageDraft"]
    assert len(drafts) == 1, "after the first refusal this answer is not shown growing any more"


def test_message_text_and_parameters_never_travel_in_a_url(house: House) -> None:
    house.telegram.say(ALICE, "hello")
    house.await_replies(1)
    assert all(call.query == "" for call in house.telegram.calls)


def test_a_person_is_told_when_telegram_takes_a_message_for_no_price(house: House) -> None:
    house.telegram.faults.add(Fault("status", "sendMessage", status=400, times=2))
    house.telegram.faults.add(Fault("status", "sendDocument", status=400))
    house.telegram.say(ALICE, "hello")
    assert house.await_replies(1) == [english.NOT_TAKEN]
    house.telegram.faults.add(Fault("status", "sendMessage", status=400, times=3))
    house.telegram.faults.add(Fault("status", "sendDocument", status=400))
    house.telegram.say(ALICE, "and now?")
    house.await_event(house.worker, "part_refused", 3)
    house.await_idle()
    assert house.replies() == [english.NOT_TAKEN]


def test_a_proxys_refusal_is_not_taken_for_telegrams(house: House) -> None:
    house.telegram.faults.add(Fault("status", "sendMessage", status=403, body="<html>Forbidden by the proxy</html>"))
    house.telegram.say(ALICE, "hello")
    assert "«hello»" in house.await_replies(1)[0]
    house.await_idle()
    assert house.query("SELECT state FROM outbox") == [("sent",)]
