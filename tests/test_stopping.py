"""SIGTERM: the bot ends its poll, the worker finishes or hands back what it holds, and nothing is lost or doubled."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from demo.loopback import Fault
from demo.servers import Stores
from demo.telegram import ALICE
from tests.house import House


def test_an_idle_bot_and_worker_end_at_once(house: House) -> None:
    house.telegram.say(ALICE, "hello")
    house.await_replies(1)
    house.await_idle()
    for script in house.scripts:
        began = time.monotonic()
        assert script.stop() == 0
        assert time.monotonic() - began < 2
        assert script.events()[-1] == "stopped"


def test_a_worker_finishes_an_answer_that_comes_soon(house: House) -> None:
    house.claude.first_delay = 2
    house.telegram.say(ALICE, "hello")
    house.await_requests(1)
    assert house.worker.stop() == 0
    assert len(house.replies()) == 0 or "«hello»" in house.replies()[0]
    assert house.query("SELECT state FROM inbox") == [("answered",)]
    house.worker.start()
    house.await_replies(1)
    house.await_idle()
    assert len(house.claude.requests) == 1
    assert len(house.replies()) == 1


def test_a_worker_hands_back_a_message_whose_answer_takes_too_long(house: House) -> None:
    house.claude.first_delay = 60
    house.telegram.say(ALICE, "hello")
    house.await_requests(1)
    began = time.monotonic()
    assert house.worker.stop() == 0
    assert time.monotonic() - began < 20
    assert house.query("SELECT state, attempts FROM inbox") == [("waiting", 0)]
    house.claude.first_delay = 0
    house.worker.start()
    house.await_replies(1)


def test_a_worker_stopped_while_telegram_hangs_ends_within_twenty_seconds(house: House) -> None:
    house.telegram.faults.add(Fault("hang", "sendMessage", seconds=60))
    house.telegram.say(ALICE, "hello")
    assert house.telegram.wait_for(lambda sim: any(call.method == "sendMessage" for call in sim.calls), 20)
    began = time.monotonic()
    assert house.worker.stop() == 0
    assert time.monotonic() - began < 20


def test_a_second_signal_corrupts_nothing(house: House) -> None:
    house.claude.first_delay = 1.5
    house.telegram.say(ALICE, "hello")
    house.await_requests(1)
    for script in house.scripts:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            script.signal(number)
    assert [script.wait(20) for script in house.scripts] == [0, 0]
    house.start()
    house.await_replies(1)
    house.await_idle()
    assert len(house.replies()) == 1
    assert len(house.claude.requests) == 1


def test_a_bot_stopped_in_mid_batch_loses_nothing(house: House) -> None:
    for number in range(40):
        house.say(ALICE, f"message {number}")
    house.await_event(house.bot, "update_stored", 5)
    house.bot.stop()
    house.bot.start()
    house.await_replies(40, seconds=60)
    house.await_idle()
    assert [f"You wrote: «message {n}»" in text for n, text in enumerate(house.replies())] == [True] * 40


def test_a_bot_stopped_while_redis_is_frozen_and_everybody_asks_ends_within_twenty_seconds(
    make_house: Callable[..., House], own_stores: Stores
) -> None:
    house = make_house(own_stores=own_stores)
    house.bot.start()
    house.telegram.say(ALICE, "/status")
    house.await_replies(1)
    own_stores.redis.freeze()
    try:
        for _ in range(30):
            house.telegram.say(ALICE, "/status")
        house.await_event(house.bot, "update_stored", 3)
        began = time.monotonic()
        assert house.bot.stop() == 0
        assert time.monotonic() - began < 10
    finally:
        own_stores.redis.thaw()


def test_a_worker_stopped_while_postgresql_is_frozen_ends_within_twenty_seconds(
    make_house: Callable[..., House], own_stores: Stores
) -> None:
    house = make_house(own_stores=own_stores)
    house.claude.first_delay = 60
    house.start()
    house.telegram.say(ALICE, "hello")
    house.await_requests(1)
    own_stores.postgres.freeze()
    try:
        began = time.monotonic()
        for script in house.scripts:
            script.signal(signal.SIGTERM)
        assert [script.wait(25) for script in house.scripts] == [0, 0]
        assert time.monotonic() - began < 20
    finally:
        own_stores.postgres.thaw()
