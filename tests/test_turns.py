"""What belongs together is one turn: bursts, the parts of a long paste, albums. Everything else keeps its own."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from lib import chats, inbox
from lib.db import Database, Duplicate
from lib.files import File

ALICE, BOB, CHAT = 1001, 1002, -5
NOON = 1_764_000_000  # seconds, by Telegram's clock
numbers = itertools.count(1)


@pytest.fixture
def say(database: Database) -> Callable[..., str | None]:
    """Store a message; the correlation id of the turn it joined. Nothing is ready before a minute is over."""

    def say(body: str, user_id: int = ALICE, said_at: int = NOON, wait: float = 60.0, **more: object) -> str | None:
        with database.transaction() as cur:
            given: dict[str, Any] = {
                "kind": "message",
                "state": "waiting",
                "chat_id": CHAT,
                "message_id": next(numbers),
            } | more
            correlation_id = str(uuid.uuid4())
            return inbox.add(
                cur, 7, next(numbers), correlation_id, user_id=user_id, body=body, said_at=said_at, wait=wait, **given
            )

    return say


def claim(database: Database) -> Any:  # Waiting | None
    with database.statement() as cur:
        return inbox.claim(cur, CHAT)


def pass_time(database: Database) -> None:
    """More than any wait is over."""
    with database.statement() as cur:
        cur.execute(
            "UPDATE inbox SET ready_at = ready_at - interval '1 hour', received_at = received_at - interval '1 hour'"
        )


def taken(database: Database) -> list[str]:
    """The turns as a worker gets them, one after the other, each answered."""
    pass_time(database)
    bodies = []
    while (turn := claim(database)) is not None:
        bodies.append(turn.body)
        with database.statement() as cur:
            assert inbox.settle(cur, turn, "answered")
    return bodies


def test_messages_in_quick_succession_are_one_turn_and_nobody_begins_before_it_is_complete(database, say):
    assert say("one") is None
    first = say("two")
    assert first is not None
    assert claim(database) is None
    assert say("three") == first
    with database.statement() as cur:
        seconds = inbox.ready_in(cur, CHAT)
    assert seconds is not None
    assert 59 < seconds <= 60
    pass_time(database)
    turn = claim(database)
    assert turn is not None
    assert (turn.body, turn.messages, turn.correlation_id) == ("one\ntwo\nthree", 3, first)


def test_a_turn_is_answered_failed_and_released_as_a_whole(database, say):
    say("one")
    say("two")
    pass_time(database)
    turn = claim(database)
    with database.statement() as cur:
        inbox.release(cur, turn)
    again = claim(database)
    assert (again.attempt, again.body) == (1, "one\ntwo")
    with database.statement() as cur:
        assert inbox.settle(cur, again, "answered", recalled=[3, 1])
        cur.execute("SELECT DISTINCT state, recalled FROM inbox")
        assert cur.fetchall() == [("answered", [3, 1])]
        assert not inbox.settle(cur, again, "answered"), "it is no longer ours"


def test_what_was_written_at_other_times_and_comes_at_once_after_an_outage_is_not_one_turn(database, say):
    assert say("in the morning", said_at=NOON - 3600) is None
    assert say("at noon") is None
    assert say("a second later", said_at=NOON + 1) is not None
    assert taken(database) == ["in the morning", "at noon\na second later"]


def test_a_long_paste_may_take_longer_between_its_parts(database, say):
    say("a" * 4096, wait=61.5)
    assert say("b" * 4096, said_at=NOON + 62) is not None
    assert say("c", said_at=NOON + 62 + 63) is None


def test_what_comes_too_late_is_a_turn_of_its_own(database, say):
    say("one")
    pass_time(database)
    assert say("two") is None
    assert taken(database) == ["one", "two"]


def test_who_has_begun_is_not_given_more(database, say):
    say("one", wait=0)
    assert claim(database) is not None
    with database.statement() as cur:
        cur.execute("UPDATE inbox SET ready_at = now() + interval '1 minute'")
    assert say("two") is None


def test_in_a_group_everybody_has_turns_of_their_own_in_order(database, say):
    say("A1")
    assert say("B1", user_id=BOB) is None
    assert say("A2") is None
    assert say("A3") is not None
    assert taken(database) == ["A1", "B1", "A2\nA3"]


def test_a_new_conversation_ends_the_turn_before_it(database, say):
    say("old")
    with database.transaction() as cur:
        chats.start_conversation(cur, CHAT)
    assert say("new") is None
    assert taken(database) == ["old", "new"]


def test_an_update_that_comes_twice_leaves_the_turn_as_it_was(database, say):
    say("one", message_id=1)
    with database.statement() as cur:
        cur.execute("SELECT ready_at, update_id FROM inbox")
        [(ready_at, update_id)] = cur.fetchall()
    with pytest.raises(Duplicate), database.transaction() as cur:
        inbox.add(
            cur,
            7,
            update_id,
            str(uuid.uuid4()),
            kind="message",
            state="waiting",
            chat_id=CHAT,
            user_id=ALICE,
            body="one",
            said_at=NOON,
            wait=60.0,
        )
    with database.statement() as cur:
        cur.execute("SELECT ready_at FROM inbox")
        assert cur.fetchall() == [(ready_at,)]


def test_a_turn_has_at_most_fifty_messages(database, say):
    joined = [say(str(number)) for number in range(120)]
    assert [number for number, one in enumerate(joined) if one is None] == [0, 50, 100]
    assert [body.count("\n") + 1 for body in taken(database)] == [50, 50, 20]


def test_the_files_of_an_album_come_together(database, say):
    files = [File(f"id{number}", "image", "image/jpeg", size=number) for number in range(3)]
    for number, file in enumerate(files):
        say("Our cats" if number == 0 else "", files=[file])
    pass_time(database)
    turn = claim(database)
    assert (turn.body, list(turn.files)) == ("Our cats", files)


def test_stop_ends_what_a_worker_has_begun_and_the_next_waits_its_turn(database, say):
    say("one", wait=0)
    turn = claim(database)
    say("two", wait=0)
    with database.statement() as cur:
        assert not inbox.unwanted(cur, turn)
        assert inbox.stop(cur, CHAT) == ("begun", None)
        assert inbox.unwanted(cur, turn)
        assert inbox.settle(cur, turn, "failed")
    assert taken(database) == ["two"]


def test_stop_gives_up_what_nobody_has_begun_and_retry_brings_it_back(database, say):
    say("one")
    say("and more of it")
    with database.statement() as cur:
        assert inbox.stop(cur, CHAT) == ("waiting", None)
        assert inbox.stop(cur, CHAT) == ("nothing", None)
    assert claim(database) is None
    with database.statement() as cur:
        assert inbox.retry(cur, CHAT, 0)
        assert not inbox.retry(cur, CHAT, 0), "it waits already"
    turn = claim(database)
    assert (turn.body, turn.attempt) == ("one\nand more of it", 1)


def test_retry_asks_again_for_the_last_turn_only_whatever_became_of_it(database, say):
    say("first")
    assert taken(database) == ["first"]
    say("second")
    say("and more")
    assert taken(database) == ["second\nand more"]
    with database.statement() as cur:
        assert inbox.retry(cur, CHAT, 3)
    turn = claim(database)
    assert (turn.body, turn.conversation) == ("second\nand more", 3)
