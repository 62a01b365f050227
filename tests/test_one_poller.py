"""Two bots on one database: whoever has lost the session, and with it the right to poll, touches nothing any more."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
import pytest

from bot import take_round
from demo.telegram import ALICE
from lib import outbox
from lib.db import Down
from tests.desk import Desk


@contextmanager
def another_bot_takes_over(desk: Desk) -> Iterator[None]:
    """Our session ends, as in an outage of the network, and another bot is faster than we are."""
    desk.house.query(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s",
        desk.bot.database.name,
    )
    other = psycopg2.connect(desk.house.database_url)
    with other.cursor() as cur:
        cur.execute("SELECT pg_advisory_lock(hashtextextended('the bot', 0))")
    yield
    with other.cursor() as cur:
        cur.execute("SELECT pg_advisory_unlock(hashtextextended('the bot', 0))")  # a closed session ends a moment later
    other.close()


def polls(desk: Desk) -> int:
    return sum(call.method == "getUpdates" for call in desk.house.telegram.calls)


@pytest.fixture
def polling(desk: Desk) -> Desk:
    """A bot that has polled once, and found a message."""
    desk.house.telegram.say(ALICE, "hello")
    take_round(desk.bot)
    assert polls(desk) == 1
    desk.house.telegram.say(ALICE, "is anybody there?")
    return desk


def test_a_session_lost_while_the_watch_is_looked_at_ends_the_round(polling: Desk) -> None:
    polling.bot.watch_look_at = 0.0
    with another_bot_takes_over(polling), pytest.raises(Down):
        take_round(polling.bot)
    assert polls(polling) == 1


def test_a_session_lost_and_replaced_while_a_notice_is_sent_ends_the_round(
    polling: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = polling.bot
    bot.watch_look_at = math.inf
    with bot.database.transaction() as cur:
        outbox.add(cur, "bot", ALICE.id, "00000000-0000-0000-0000-000000000001", ["a notice"])
    send, taken = bot.telegram.send, []

    def send_and_lose_the_session(*given, **named) -> int:
        message_id = send(*given, **named)
        taken.append(another_bot_takes_over(polling))
        taken[0].__enter__()
        return message_id

    monkeypatch.setattr(bot.telegram, "send", send_and_lose_the_session)
    take_round(bot)
    take_round(bot)  # it still is the other one's
    taken[0].__exit__(None, None, None)
    assert polls(polling) == 1
    monkeypatch.undo()
    take_round(bot)
    assert polling.waiting() == ["hello", "is anybody there?"]
