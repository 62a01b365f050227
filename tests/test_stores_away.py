"""Redis and PostgreSQL emptied, restarted, frozen or dead: messages are late by seconds, and none is lost."""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg2
import redis

from demo.children import wait_until
from demo.servers import Stores
from demo.telegram import ALICE, BOB
from lib.english import English
from tests.house import House

english = English()

MakeHouse = Callable[..., House]


def test_messages_are_found_when_redis_was_emptied(house: House) -> None:
    house.worker.kill()
    house.telegram.say(ALICE, "one")
    house.telegram.say(BOB, "two")
    house.await_event(house.bot, "update_stored", 2)
    redis.Redis.from_url(house.stores.redis.url).flushall()
    house.worker.start()
    house.await_replies(1, ALICE)
    house.await_replies(1, BOB)


def test_an_idle_worker_finds_a_message_whose_ring_was_lost(house: House) -> None:
    house.telegram.say(ALICE, "one")
    house.await_replies(1)
    house.await_idle()
    house.query(
        "INSERT INTO inbox (bot_id, update_id, correlation_id, kind, chat_id, user_id, body, state)"
        " VALUES (1, 1, gen_random_uuid(), 'message', %s, %s, 'nobody rang for me', 'waiting')",
        *(ALICE.id, ALICE.id),
    )
    began = time.monotonic()
    assert "nobody rang for me" in house.await_replies(2)[-1]
    assert time.monotonic() - began < 5


def test_messages_go_on_while_redis_is_dead_and_after_it_is_back(make_house: MakeHouse, own_stores: Stores) -> None:
    house = make_house(own_stores=own_stores)
    house.start()
    house.telegram.say(ALICE, "before")
    house.await_replies(1)
    own_stores.redis.kill()
    house.telegram.say(ALICE, "during")
    house.await_replies(2)
    house.telegram.say(ALICE, "/status")
    assert "Redis: does not answer" in house.await_replies(3)[-1]
    own_stores.redis.start()
    house.telegram.say(ALICE, "after")
    house.await_replies(4)
    house.await_event(house.worker, "redis_back")
    assert house.bot.events().count("redis_away") == 1
    assert house.worker.events().count("redis_away") == 1


def test_messages_go_on_while_redis_is_frozen(make_house: MakeHouse, own_stores: Stores) -> None:
    house = make_house(own_stores=own_stores)
    house.start()
    house.telegram.say(ALICE, "before")
    house.await_replies(1)
    own_stores.redis.freeze()
    try:
        house.telegram.say(ALICE, "during")
        house.await_replies(2)
    finally:
        own_stores.redis.thaw()
    house.telegram.say(ALICE, "after")
    assert "«after»" in house.await_replies(3)[-1]
    house.await_idle()
    assert len(house.replies()) == 3


def test_a_full_redis_delays_nothing_but_the_ring(make_house: MakeHouse, own_stores: Stores) -> None:
    house = make_house(own_stores=own_stores)
    redis.Redis.from_url(own_stores.redis.url).config_set("maxmemory", "1000")
    house.start()
    house.telegram.say(ALICE, "hello")
    house.await_replies(1)
    assert "redis_away" in house.bot.events()


def test_nothing_is_lost_when_postgresql_restarts_under_load(make_house: MakeHouse, own_stores: Stores) -> None:
    house = make_house(own_stores=own_stores, workers=2)
    house.start()
    house.claude.first_delay = 0.05
    for number in range(30):
        house.say(ALICE if number % 2 else BOB, f"message {number}")
        if number in (8, 16, 24):
            own_stores.postgres.kill() if number == 16 else own_stores.postgres.stop()
            own_stores.postgres.start()
    house.await_replies(15, ALICE, 60)
    house.await_replies(15, BOB, 60)
    house.await_idle()
    for person, first in ((ALICE, 1), (BOB, 0)):
        answers = [text for text in house.replies(person) if "You wrote" in text]
        asked = [text.split("You wrote: «")[1].split("»")[0] for text in answers]
        assert list(dict.fromkeys(asked)) == [f"message {n}" for n in range(first, 30, 2)]
        unmarked = [text for text in answers if not text.startswith(english.REPEAT_MARK)]
        assert len(unmarked) == len(set(unmarked))


def test_an_answer_in_hand_is_kept_when_postgresql_comes_back(make_house: MakeHouse, own_stores: Stores) -> None:
    house = make_house(own_stores=own_stores)
    house.start()
    house.claude.first_delay = 3
    house.telegram.say(ALICE, "hello")
    house.await_requests(1)
    own_stores.postgres.stop()
    house.await_event(house.worker, "database_away")  # said when the answer has come and cannot be saved
    own_stores.postgres.start()
    house.await_replies(1)
    house.await_idle()
    assert len(house.claude.requests) == 1
    assert len(house.replies()) == 1


def test_the_scripts_wait_for_a_database_that_comes_up_late(make_house: MakeHouse, own_stores: Stores) -> None:
    house = make_house(own_stores=own_stores)
    own_stores.postgres.stop()
    own_stores.redis.stop()
    house.start()
    house.telegram.say(ALICE, "hello")
    house.await_event(house.bot, "database_away", 2)
    house.await_event(house.worker, "database_away", 2)
    own_stores.redis.start()
    own_stores.postgres.start()
    house.await_replies(1)


def test_a_frozen_postgresql_is_left_after_ten_seconds_and_used_again(
    make_house: MakeHouse, own_stores: Stores
) -> None:
    house = make_house(own_stores=own_stores)
    house.start()
    house.telegram.say(ALICE, "before")
    house.await_replies(1)
    own_stores.postgres.freeze()
    try:
        house.telegram.say(ALICE, "during")
        house.await_event(house.bot, "database_away")
    finally:
        own_stores.postgres.thaw()
    assert "«during»" in house.await_replies(2)[-1]


def test_a_second_bot_on_the_same_database_waits_its_turn(house: House) -> None:
    from demo.stack import Script

    house.telegram.say(ALICE, "hello")
    house.await_replies(1)
    second = Script("bot", house.env, house.bot.log.parent, 2)
    second.start()
    try:
        house.await_event(second, "another_bot")
        assert 409 not in [call.status for call in house.telegram.calls]
        house.bot.kill()
        house.telegram.say(ALICE, "and now?")
        house.await_replies(2)
    finally:
        second.stop()


def test_a_session_that_the_network_swallowed_does_not_keep_the_bot_from_its_lock(house: House) -> None:
    """PostgreSQL still believes in the old session, which holds the lock; only its owner knows that it is a ghost."""
    house.telegram.say(ALICE, "before")
    house.await_replies(1)
    [(name, pid)] = house.query(
        "SELECT application_name, pid FROM pg_stat_activity WHERE application_name LIKE 'steward-bot %'"
    )
    ghost = psycopg2.connect(house.database_url, application_name=name)
    with ghost.cursor() as cur:
        cur.execute("SELECT pg_advisory_lock_shared(1)")
        house.query("SELECT pg_terminate_backend(%s, 5000)", pid)
        cur.execute("SELECT pg_advisory_lock(hashtextextended('the bot', 0))")
    house.telegram.say(ALICE, "after")
    assert "«after»" in house.await_replies(2)[-1]
    ghost.close()


def test_signs_of_life_that_a_crash_of_the_server_has_wiped_out_are_not_missed(make_house: MakeHouse) -> None:
    house = make_house(watch=True, HEALTH_SECONDS="1")
    house.start()
    assert wait_until(lambda: bool(house.query("SELECT 1 FROM parts WHERE part = 'bot' AND state = 'up'")), 20), (
        house.story()
    )
    house.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'steward-healthwatch %'"
    )
    house.query("TRUNCATE processes")  # it is UNLOGGED
    time.sleep(8)  # the next sign of life comes within five seconds
    assert house.query("SELECT service FROM processes ORDER BY 1") == [("bot",), ("healthwatch",), ("worker",)]
    assert "part_down" not in house.healthwatch.events()
    assert house.replies() == []


def test_a_table_that_only_the_watching_needs_stops_no_message(make_house: MakeHouse) -> None:
    house = make_house(watch=True, HEALTH_SECONDS="1")
    house.start()
    house.telegram.say(ALICE, "before")
    house.await_replies(1)
    assert wait_until(lambda: bool(house.query("SELECT 1 FROM parts WHERE state = 'up'")), 20), house.story()
    house.query("ALTER TABLE processes RENAME TO elsewhere")
    assert "Tables are missing in PostgreSQL" in house.await_replies(2)[1]
    house.telegram.say(ALICE, "meanwhile")
    assert "«meanwhile»" in house.await_replies(3)[2]
    house.telegram.say(ALICE, "/status")
    assert house.await_replies(4)[3] == english.CANNOT_LOOK
    house.query("ALTER TABLE elsewhere RENAME TO processes")
    assert "PostgreSQL: works again" in house.await_replies(5)[4]
    house.telegram.say(ALICE, "/status")
    assert "PostgreSQL: works" in house.await_replies(6)[5]
    assert house.query("SELECT count(*) FROM inbox WHERE state = 'parked'") == [(0,)]
