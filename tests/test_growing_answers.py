"""An answer is seen while it is written, and can be stopped; whatever happens to the show, the answer comes whole."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from demo.children import wait_until
from demo.loopback import Fault
from demo.telegram import ALICE, BOB, FRIENDS
from lib import inbox, preview
from lib.config import load
from lib.english import English
from lib.inbox import Waiting
from lib.preview import Preview
from lib.secret import Secret
from lib.stop import Cut, Stop
from lib.telegram import Telegram
from tests.house import House

english = English()
GROUP = FRIENDS.id


@pytest.fixture
def show(make_house: Callable[..., House], stop: Stop, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Preview]:
    """A preview beside a real database and a simulated Telegram, ten times as fast as usual."""
    for name in ("FIRST_SECONDS", "TICK_SECONDS", "DRAFT_AGAIN_SECONDS", "TYPING_AGAIN_SECONDS", "EDIT_SECONDS"):
        monkeypatch.setattr(preview, name, getattr(preview, name) / 10)
    house = make_house()
    house.telegram.say(ALICE, "hello")
    house.telegram.say(ALICE, "@steward_bot hello", chat=FRIENDS)
    settings = load(house.env)
    client = Telegram(Secret(house.telegram.token), settings.telegram_api_url)

    def make(chat_id: int = ALICE.id, preview_id: int | None = None) -> Preview:
        turn = Waiting(
            id=1,
            correlation_id="c",
            user_id=ALICE.id,
            message_id=0,
            chat_id=chat_id,
            conversation=0,
            body="hello",
            files=(),
            attempt=1,
            messages=1,
            stop_asked=False,
            preview_id=preview_id,
            language="en",
        )
        return Preview(settings, client, stop, turn)

    make.house = house  # type: ignore[attr-defined]
    return make


def begun(house: House, chat_id: int) -> None:
    """The turn that the preview is of, as it stands in the ledger."""
    [(number,)] = house.query(
        "INSERT INTO inbox (bot_id, update_id, correlation_id, kind, state, chat_id, attempts)"
        " VALUES (1, 1, gen_random_uuid(), 'message', 'waiting', %s, 1) RETURNING id",
        chat_id,
    )
    assert number == 1


def calls(house: House, method: str) -> int:
    return sum(call.method == method for call in house.telegram.calls)


def test_a_draft_says_that_claude_thinks_grows_and_is_shown_again_before_it_vanishes(show):
    sim = show.house.telegram
    with show() as growing:
        assert sim.wait_for(lambda sim: sim.drafts(ALICE.id) == [""], 5), "Thinking..."
        growing("Good")
        assert sim.wait_for(lambda sim: sim.drafts(ALICE.id)[-1] == "Good", 5)
        growing("Good morning")
        assert sim.wait_for(lambda sim: sim.drafts(ALICE.id)[-2:] == ["Good morning"] * 2, 10), "it would vanish"
    shown = len(sim.drafts(ALICE.id))
    time.sleep(0.3)
    assert len(sim.drafts(ALICE.id)) == shown, "the thread has ended"


def test_after_the_first_refusal_only_a_sign_of_typing_is_shown(show):
    sim = show.house.telegram
    sim.faults.add(Fault("status", "sendMessageDraft", status=400, times=99))
    with show() as growing:
        growing("Good")
        assert sim.wait_for(lambda sim: sim.actions(ALICE.id), 5)
        growing("Good morning")
        assert sim.wait_for(lambda sim: len(sim.actions(ALICE.id)) > 1, 5)
    assert calls(show.house, "sendMessageDraft") == 1


def test_told_to_wait_it_shows_nothing_more_and_nobody_sends_anything_to_that_chat(show):
    sim = show.house.telegram
    sim.faults.add(Fault("status", "sendMessageDraft", status=429, seconds=30))
    with show() as growing:
        growing("Good")
        assert sim.wait_for(lambda sim: calls(show.house, "sendMessageDraft") == 1, 5)
        time.sleep(0.5)
    assert calls(show.house, "sendMessageDraft") == 1
    assert sim.actions(ALICE.id) == []
    [(seconds,)] = show.house.query("SELECT extract(epoch FROM not_before - now()) FROM chats")
    assert 25 < seconds <= 30


def test_in_a_group_it_grows_in_one_message_that_whoever_begins_again_goes_on_with(show):
    sim = show.house.telegram
    begun(show.house, GROUP)
    with show(GROUP) as growing:
        assert sim.wait_for(lambda sim: sim.actions(GROUP), 5), "typing, before there is a text"
        growing("Good")
        assert sim.wait_for(lambda sim: sim.messages(GROUP), 5)
        growing("Good morning")
        assert sim.wait_for(lambda sim: sim.messages(GROUP)[0].text == f"Good morning{preview.MORE}", 5)
    [(kept,)] = show.house.query("SELECT preview_id FROM inbox")
    with show(GROUP, preview_id=kept) as growing:
        growing("Hello")
        assert sim.wait_for(lambda sim: sim.messages(GROUP)[0].text == f"Hello{preview.MORE}", 5)
    assert len(sim.messages(GROUP)) == 1


def test_a_wish_to_stop_cuts_what_is_done_meanwhile(show, stop):
    begun(show.house, ALICE.id)
    show.house.query("UPDATE inbox SET stop_asked = true")
    began = time.monotonic()
    with pytest.raises(Cut), show(), stop.interruptible():
        time.sleep(20)
    assert time.monotonic() - began < 5


def test_stop_ends_the_request_itself_and_what_was_written_stays(house: House) -> None:
    house.claude.pace = 0.1
    house.telegram.say(ALICE, "write 1000 words")
    assert house.telegram.wait_for(lambda sim: any("word 2" in draft for draft in sim.drafts(ALICE.id)), 20)
    house.telegram.say(ALICE, "and then another question")  # it waits its turn
    house.telegram.say(ALICE, "/stop")
    assert house.telegram.wait_for(lambda sim: english.FAILURES["stopped"] in " ".join(house.replies()), 20)
    house.claude.pace = 0
    house.await_idle()
    stopping, partial, stopped, answer = house.replies()
    assert stopping == english.STOPPING
    assert "word 2" in partial
    assert "word 1000" not in partial
    assert stopped.startswith(english.FAILURES["stopped"])
    assert "«and then another question»" in answer
    house.claude.pace = 0.1
    house.telegram.say(BOB, "write 1000 words")
    assert house.telegram.wait_for(lambda sim: any("word 2" in draft for draft in sim.drafts(BOB.id)), 20)
    house.telegram.stop_generation(BOB)
    assert house.telegram.wait_for(lambda sim: len(sim.messages(BOB.id)) == 2, 20), "the button says nothing itself"


def test_a_worker_killed_while_it_writes_into_a_group_leaves_no_message_behind(make_house) -> None:
    house = make_house(ALLOWED_CHAT_IDS=str(GROUP))
    house.start()
    house.claude.pace = 0.05
    house.telegram.say(ALICE, "@steward_bot write 200 words", chat=FRIENDS)
    kept = "SELECT 1 FROM inbox WHERE preview_id IS NOT NULL"
    assert wait_until(lambda: bool(house.query(kept)), 20), house.story()
    house.worker.kill()
    house.claude.pace = 0
    house.worker.start()
    house.await_idle()
    [answer] = house.telegram.messages(GROUP)
    assert "word 200" in answer.text


def test_what_a_group_has_seen_of_a_forgotten_persons_answer_does_not_stay_and_nobody_elses_takes_its_place(
    make_house,
) -> None:
    house = make_house(ALLOWED_CHAT_IDS=str(GROUP))
    house.start()
    house.telegram.say(BOB, "/forget")
    house.await_replies(1, BOB)
    [asked] = house.telegram.messages(BOB.id)
    house.claude.pace = 0.1
    house.telegram.say(BOB, "@steward_bot write 1000 words", chat=FRIENDS)
    assert house.telegram.wait_for(lambda sim: sim.messages(GROUP), 20), house.story()
    house.telegram.press(BOB, asked.message_id, asked.buttons[0][0][1])
    assert house.telegram.wait_for(lambda sim: sim.messages(GROUP)[0].text == english.TAKEN_BACK, 20), house.story()
    house.claude.pace = 0
    house.telegram.say(ALICE, "@steward_bot hello", chat=FRIENDS)
    assert house.telegram.wait_for(lambda sim: len(sim.messages(GROUP)) == 2, 20), house.story()
    assert house.telegram.messages(GROUP)[0].text == english.TAKEN_BACK
    assert "word" not in str(house.query("SELECT body FROM outbox UNION ALL SELECT body FROM history"))


def test_what_is_said_when_a_turn_ends_without_an_answer_takes_the_place_of_the_growing_one(make_desk):
    desk = make_desk(ALLOWED_CHAT_IDS=str(GROUP))
    chat = FRIENDS.as_chat()
    desk.mention(BOB, "hello", chat)
    desk.house.query("UPDATE inbox SET preview_id = 55")  # a worker that had to end has given it back
    [told] = desk.say(BOB, "/stop", chat)
    assert (told.body, told.edits) == (english.STOPPED, 55)
    desk.say(BOB, "/retry", chat)
    desk.mention(ALICE, "and I?", chat)
    desk.house.query("UPDATE inbox SET ready_at = NULL")
    with desk.bot.database.statement() as cur:
        bobs: Any = inbox.claim(cur, GROUP)
        assert bobs.preview_id is None, "it is not shown there any more"
        inbox.preview(cur, bobs, 56)
        inbox.release(cur, bobs)
        bobs = inbox.claim(cur, GROUP)
        assert bobs.preview_id == 56
        assert inbox.settle(cur, bobs, "set_aside")
        alices: Any = inbox.claim(cur, GROUP)
        assert alices.preview_id is None, "it is another's"
