"""What a long life costs: no query of a message or a command goes through a table, and the round trips are counted."""

from __future__ import annotations

from bench import costs, growth
from demo.children import wait_until
from demo.telegram import ALICE, BOB
from tests.house import House

STORED = 20_000
COMMANDS = ["/status", "/retry", "/memory", "/audit", "/people", "/new", "/stop", "/help", "/export"]
GROWING = ["inbox", "history", "outbox", "audit", "chats"]


def rows_scanned(house: House) -> dict[str, int]:
    """Rows that were read by going through whole tables, as PostgreSQL counts them."""
    sql = "SELECT relname, seq_tup_read FROM pg_stat_user_tables WHERE relname = ANY (%s)"
    return dict(house.query(sql, GROWING))


def test_no_message_and_no_command_reads_through_a_table_that_grows(make_house) -> None:
    house = make_house(watch=True, HEALTH_SECONDS="2")
    growth.fill(house.stores.postgres.url(house.name), [ALICE.id, BOB.id], 1, STORED)
    house.query("INSERT INTO chats (chat_id) SELECT number FROM generate_series(1, %s) AS number", STORED)
    house.query("ANALYZE chats")
    before = rows_scanned(house)
    house.start()
    house.await_event(house.healthwatch, "old_rows_removed")
    for person in (ALICE, BOB):
        for number, text in enumerate(["hello", *COMMANDS], 1):
            house.telegram.say(person, text)
            house.await_replies(number, person)
    assert wait_until(house.idle, 20), house.story()
    for script in house.scripts:
        script.stop()
    # What a session has not reported yet, it reports before it is gone.
    sessions = "SELECT FROM pg_stat_activity WHERE datname = %s AND application_name LIKE 'steward-%%'"
    assert wait_until(lambda: not house.query(sessions, house.name), 20)
    read = {table: count - before[table] for table, count in rows_scanned(house).items()}
    assert {table: count for table, count in read.items() if count >= STORED} == {}


def test_a_message_costs_about_15_round_trips_to_postgresql_and_5_to_redis() -> None:
    trips = costs.trips(10)
    # What comes on top are looks into the ledger, one in two seconds: the more of them, the slower the machine is.
    assert 4 <= trips["bot"] < 6
    assert 11 <= trips["worker"] < 18
    assert 4 <= trips["redis"] < 8
