"""kill -9 at every step of a message: nothing is lost, and nothing is doubled without its mark.

To kill at a known step, the test takes a lock on the table the script is about to touch, or has a simulator hold its
answer back, and kills once the script stands still there.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2

from demo.children import wait_until
from demo.loopback import Fault
from demo.telegram import ALICE, BOB, Person
from lib import inbox
from lib.db import Database
from lib.english import English
from tests.house import House

english = English()


@contextmanager
def locked(house: House, table: str, mode: str = "ACCESS EXCLUSIVE") -> Iterator[None]:
    """Hold this lock, and come back inside only when wanted; the scripts block on the table until the end."""
    for script in house.scripts:
        if script.running:
            house.await_event(script, "started")
    connection = psycopg2.connect(house.stores.postgres.url(house.name))
    try:
        with connection.cursor() as cur:
            cur.execute(f"LOCK TABLE {table} IN {mode} MODE")
            yield
    finally:
        connection.rollback()
        connection.close()


def stuck(house: House, name: str) -> bool:
    """Whether a session of this script waits for a table or a row; while they start they may wait for one another."""
    return bool(
        house.query(
            "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE %s || ' %%' AND wait_event_type = 'Lock'"
            " AND wait_event <> 'advisory'",
            name,
        )
    )


def await_stuck(house: House, name: str) -> None:
    assert wait_until(lambda: stuck(house, name), 20), house.story()


def cut_off(house: House, name: str) -> None:
    """End the dead script's session: PostgreSQL would finish the statement it was left with, as if nothing happened."""
    house.query(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE %s || ' %%'", name
    )


def restart_worker(house: House) -> None:
    house.worker.kill()
    house.worker.start()


def test_a_message_survives_a_worker_killed_before_it_asked(house: House) -> None:
    with locked(house, "history"):
        house.telegram.say(ALICE, "hello")
        await_stuck(house, "steward-worker")
        assert house.query("SELECT state, attempts FROM inbox") == [("waiting", 1)]
        house.worker.kill()
        cut_off(house, "steward-worker")
    assert house.claude.requests == []
    house.worker.start()
    house.await_replies(1)
    house.await_idle()
    assert len(house.replies()) == 1


def test_a_message_survives_a_worker_killed_mid_answer(house: House) -> None:
    house.claude.pace = 0.2
    house.telegram.say(ALICE, "write 30 words")
    assert house.telegram.wait_for(lambda sim: sim.drafts(ALICE.id), 20), house.story()
    house.worker.kill()
    house.claude.pace = 0
    house.worker.start()
    [answer] = house.await_replies(1)
    assert "30" in answer
    assert not answer.startswith(english.REPEAT_MARK)
    assert len(house.claude.requests) == 2


def test_a_message_survives_a_worker_killed_with_the_answer_in_hand(house: House) -> None:
    with locked(house, "history", "EXCLUSIVE"):  # may be read, not written: the answer cannot be saved
        house.telegram.say(ALICE, "hello")
        await_stuck(house, "steward-worker")
        assert len(house.claude.requests) == 1
        house.worker.kill()
        cut_off(house, "steward-worker")
    assert house.query("SELECT state FROM inbox") == [("waiting",)]
    house.worker.start()
    house.await_replies(1)
    house.await_idle()
    assert len(house.replies()) == 1
    assert len(house.claude.requests) == 2
    assert house.query("SELECT role FROM history ORDER BY id") == [("user",), ("assistant",)]


def test_a_saved_answer_is_sent_by_the_next_worker_without_asking_again(house: House) -> None:
    house.telegram.say(ALICE, "hello")
    house.telegram.faults.add(Fault("drop", "sendMessage", times=1000))
    house.await_event(house.worker, "part_delayed")
    house.worker.kill()
    house.telegram.faults.clear()
    house.worker.start()
    house.await_replies(1)
    house.await_idle()
    assert len(house.claude.requests) == 1


def test_a_part_of_unknown_fate_is_sent_again_with_the_mark(house: House) -> None:
    house.telegram.faults.add(Fault("hang", "sendMessage", seconds=3))
    house.telegram.say(ALICE, "hello")
    assert wait_until(lambda: bool(house.query("SELECT 1 FROM outbox WHERE state = 'sending'")), 20), house.story()
    restart_worker(house)
    house.await_idle()
    replies = [text for text in house.replies() if not text.startswith(english.REPEAT_MARK.strip())]
    marked = [text for text in house.replies() if text.startswith(english.REPEAT_MARK.strip())]
    assert len(replies) <= 1
    assert len(marked) == 1
    assert "«hello»" in marked[0]
    assert len(house.claude.requests) == 1


def test_an_answer_lost_on_the_way_back_from_telegram_is_repeated_with_the_mark(house: House) -> None:
    house.telegram.faults.add(Fault("lose", "sendMessage"))  # it arrives, and we never hear of it
    house.telegram.say(ALICE, "hello")
    first, second = house.await_replies(2)
    house.await_idle()
    assert second == (english.REPEAT_MARK + first).strip()
    assert len(house.claude.requests) == 1


def test_a_worker_killed_between_the_parts_of_a_reply_sends_only_the_rest(house: House) -> None:
    house.telegram.faults.add(Fault("status", "sendMessage", status=429, seconds=2, times=1))
    house.telegram.say(ALICE, "write 3000 words")
    house.await_event(house.worker, "part_delayed")
    assert wait_until(lambda: len(house.replies()) >= 1, 20), house.story()
    restart_worker(house)
    house.await_idle()
    [(parts,)] = house.query("SELECT max(parts) FROM outbox")
    assert parts > 2
    unmarked = [text for text in house.replies() if not text.startswith(english.REPEAT_MARK.strip())]
    texts = [text.removeprefix(english.REPEAT_MARK) for text in house.replies()]
    assert list(dict.fromkeys(texts)) == [body for (body,) in house.query("SELECT body FROM outbox ORDER BY id")]
    assert len(unmarked) == len(set(unmarked))
    assert len(house.claude.requests) == 1


def test_an_update_survives_a_bot_killed_before_it_stored_it(house: House) -> None:
    with locked(house, "inbox"):
        house.telegram.say(ALICE, "hello")
        await_stuck(house, "steward-bot")
        house.bot.kill()
        cut_off(house, "steward-bot")
    house.bot.start()
    house.await_replies(1)
    house.await_idle()
    assert len(house.replies()) == 1


def test_an_update_is_stored_once_when_the_bot_dies_between_store_and_offset(house: House) -> None:
    house.telegram.say(BOB, "settle the offset")
    house.await_replies(1, BOB)
    house.await_idle()
    with locked(house, "offsets", "EXCLUSIVE"):  # may be read, not written
        update_id = house.telegram.say(ALICE, "hello")
        await_stuck(house, "steward-bot")
        assert house.telegram.pending() == [update_id]
        house.bot.kill()
        cut_off(house, "steward-bot")
    house.bot.start()
    house.await_event(house.bot, "update_again")
    house.await_replies(1)
    house.await_idle()
    assert len(house.replies()) == 1
    assert house.query("SELECT count(*) FROM inbox WHERE user_id = %s", ALICE.id) == [(1,)]
    assert house.query("SELECT count(*) FROM audit WHERE action = 'update.received'") == [(2,)]


def test_the_same_update_delivered_twice_is_answered_once(house: House) -> None:
    update_id = house.telegram.say(ALICE, "hello")
    house.await_replies(1)
    house.telegram.redeliver(update_id)
    house.await_event(house.bot, "update_again")
    house.await_idle()
    assert len(house.replies()) == 1


def test_a_notice_of_a_killed_bot_is_sent_by_the_next_one(house: House) -> None:
    house.telegram.faults.add(Fault("status", "sendMessage", status=429, seconds=2))
    house.telegram.say(ALICE, "/help")
    house.await_event(house.bot, "part_delayed")
    house.bot.kill()
    house.bot.start()
    assert house.await_replies(1) == [english.help(owner=True, group=False)]


def test_an_interrupted_message_is_answered_before_later_ones(house: House) -> None:
    house.claude.first_delay = 30
    house.telegram.say(ALICE, "first")
    house.await_requests(1)
    house.telegram.say(ALICE, "second")
    house.worker.kill()
    house.claude.first_delay = 0
    house.worker.start()
    first, second = house.await_replies(2)
    assert "You wrote: «first»" in first
    assert "You wrote: «second»" in second


def test_two_workers_keep_every_chat_in_order(make_house) -> None:
    house = make_house(workers=2, ALLOWED_USER_IDS=",".join(str(2000 + n) for n in range(8)))
    people = [Person(2000 + n, f"Person {n}") for n in range(8)]
    house.start()
    house.claude.first_delay = 0.02
    for number in range(6):
        for person in people:
            house.say(person, f"message {number}")
    for person in people:
        house.await_replies(6, person, 60)
    house.await_idle()
    for person in people:
        assert [f"You wrote: «message {n}»" in text for n, text in enumerate(house.replies(person))] == [True] * 6
    assert len(house.claude.requests) == 48
    asked = [script.events().count("claude_answered") for script in house.workers]
    assert min(asked) > 0, f"one worker did it all: {asked}"


def test_an_answer_is_discarded_when_another_worker_took_the_message_meanwhile(make_house) -> None:
    """The first worker loses its connection, and with it the chat's lock, while Claude thinks."""
    house = make_house(workers=1)
    house.start()
    house.claude.first_delay = 6
    house.telegram.say(ALICE, "hello")
    house.await_requests(1)
    house.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'steward-worker %'")
    house.claude.first_delay = 0
    house.hire().start()
    house.await_replies(1)
    house.await_event(house.worker, "claude_answered")
    house.await_idle()
    assert len(house.replies()) == 1
    [line] = [line for line in house.worker.lines() if line["event"] == "claude_answered"]
    assert line["outcome"] == "settled_before"


def test_a_frozen_worker_does_not_hold_up_other_chats(house: House) -> None:
    house.claude.first_delay = 3
    house.telegram.say(ALICE, "hello")
    house.await_requests(1)
    house.claude.first_delay = 0
    house.worker.signal(signal.SIGSTOP)
    try:
        house.hire().start()
        house.telegram.say(BOB, "and me?")
        house.await_replies(1, BOB)
        assert house.replies(ALICE) == []
    finally:
        house.worker.signal(signal.SIGCONT)
    house.await_replies(1, ALICE)


def test_only_the_count_of_attempts_is_committed_without_waiting_for_the_disk(database: Database) -> None:
    with database.statement() as cur:
        inbox.claim(cur, ALICE.id)
        cur.execute("SHOW synchronous_commit")
        assert cur.fetchone() == ("on",)
