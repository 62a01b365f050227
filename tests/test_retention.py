"""What is old goes: the right rows, in small batches, in nobody's way, and never anything of the last 30 days."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg2
import psycopg2.extensions
import pytest

from lib import audit, inbox, outbox
from lib.audit import SYSTEM, Removed
from lib.db import Database, Down
from lib.secret import Secret
from tests.house import House
from tests.test_upgrade import RIGHTS, ROWS

MakeHouse = Callable[..., House]

INT_MAX = 2**31 - 1


@pytest.fixture
def house(make_house: MakeHouse) -> Iterator[House]:
    """A house in which nothing is started; its database is what counts."""
    yield make_house()
    psycopg2.extensions.set_wait_callback(None)  # the scripts' deadline is not for the tests' own connections


@pytest.fixture
def app(house: House) -> Iterator[Database]:
    """A connection to it such as the scripts have."""
    opened = Database(Secret(house.database_url), "test")
    yield opened
    opened.close()


@contextmanager
def held_by_another(house: House, sql: str) -> Iterator[None]:
    """Somebody else's open transaction, in which this was done; rolled back afterwards."""
    other = psycopg2.connect(house.stores.postgres.url(house.name))
    try:
        with other.cursor() as cur:
            cur.execute(sql)
            yield
        other.rollback()
    finally:
        other.close()


def remove(app: Database, days: int, most: int = 1000) -> Removed:
    with app.transaction() as cur:
        return audit.remove_old(cur, days, most)


def fill(house: House, *, ages: list[float]) -> None:
    """One row in each of the three tables for each age in days, named by it; in every state that is not open."""
    for number, age in enumerate(ages):
        at, name = f"now() - interval '{age * 24} hours'", f"age {age:g}"
        state = ("answered", "failed", "set_aside", "noted", "parked")[number % 5]
        house.query(
            f"""
            INSERT INTO audit (at, correlation_id, actor_kind, action, outcome)
                VALUES ({at}, gen_random_uuid(), 'system', '{name}', 'success');
            INSERT INTO inbox (received_at, bot_id, update_id, correlation_id, kind, state, raw)
                VALUES ({at}, 1, {number}, gen_random_uuid(), '{name}', '{state}', '{{"text": "secret"}}');
            INSERT INTO outbox (made_at, correlation_id, sender, chat_id, part, parts, body, state)
                VALUES ({at}, gen_random_uuid(), 'bot', 1, 1, 1, '{name}', '{("sent", "refused")[number % 2]}');
            """
        )


def kept(house: House) -> list[list[str]]:
    """The names of what is left: of the audit, of the inbox, of the outbox."""
    asked = ("SELECT action FROM audit", "SELECT kind FROM inbox", "SELECT body FROM outbox")
    return [[name for (name,) in house.query(f"{sql} ORDER BY id")] for sql in asked]


def test_exactly_what_is_older_goes(house: House, app: Database) -> None:
    fill(house, ages=[400, 90.1, 89.9, 31, 1, 0, -5, 91, 92, 93, 94])
    assert remove(app, 90) == Removed(6, 6, 6)
    assert kept(house) == [["age 89.9", "age 31", "age 1", "age 0", "age -5"]] * 3
    assert remove(app, 90) == Removed(0, 0, 0)


def test_thirty_days_stay_whatever_is_asked(house: House, app: Database) -> None:
    fill(house, ages=[30.01, 29.99, 29.6, 0])
    odd = ["NULL", "0", "-1", f"{-INT_MAX - 1}", "(SELECT 1 WHERE false)"]
    for days in ("29", "1", "30", *odd):
        for most in ("5000", f"{INT_MAX}", *odd):
            with app.statement() as cur:
                cur.execute(f"SELECT remove_old({days}, {most})")
    assert kept(house) == [["age 29.99", "age 29.6", "age 0"]] * 3


def test_thirty_days_are_720_hours_whatever_the_callers_clock_does(house: House, app: Database) -> None:
    """In this time zone the clock went forward by 12 hours some days ago: "30 days ago" is 12 hours later there."""
    fill(house, ages=[29.99, 29.6, 0])
    today = datetime.now(UTC).timetuple().tm_yday - 1
    with app.transaction() as cur:
        cur.execute("SET LOCAL TimeZone = %s", (f"AAA0BBB-12,{max(today - 10, 0)},{min(today + 100, 365)}",))
        cur.execute("SELECT now() - interval '30 days' > now() - interval '719 hours'")
        assert cur.fetchone() == (True,), "a clock that proves nothing"
        assert audit.remove_old(cur, 30, 1000) == Removed(0, 0, 0)


@pytest.mark.parametrize("days", [36500, 36501, INT_MAX])
def test_a_huge_number_of_days_removes_nothing_and_is_no_error(house: House, app: Database, days: int) -> None:
    fill(house, ages=[400, 36000])
    assert remove(app, days) == Removed(0, 0, 0)


def test_what_is_dated_at_the_ends_of_time_is_old_or_stays(house: House, app: Database) -> None:
    house.query(ROWS)
    house.query("UPDATE audit SET at = '-infinity' WHERE action = 'claude.asked'")
    for days in (30, INT_MAX):
        remove(app, days)
    assert house.query("SELECT at::text FROM audit") == [("infinity",)]
    assert house.query("SELECT count(*) FROM inbox WHERE received_at = '-infinity'") == [(0,)]
    assert house.query("SELECT count(*) FROM outbox WHERE made_at = 'infinity'") == [(1,)]
    with app.statement() as cur:
        assert audit.oldest(cur) is None


def test_what_still_waits_or_is_to_be_sent_stays_however_old(house: House, app: Database) -> None:
    fill(house, ages=[100, 200, 300])
    house.query("UPDATE inbox SET state = 'waiting' WHERE kind = 'age 200'")
    house.query("UPDATE outbox SET state = 'pending' WHERE body = 'age 100'")
    house.query("UPDATE outbox SET state = 'sending' WHERE body = 'age 300'")
    assert remove(app, 30) == Removed(3, 2, 1)
    assert kept(house) == [[], ["age 200"], ["age 100", "age 300"]]


def test_a_batch_takes_no_more_than_it_is_allowed_and_the_oldest_first(house: House, app: Database) -> None:
    fill(house, ages=[60, 50, 70, 40, 80])
    assert remove(app, 30, most=2) == Removed(2, 2, 2)
    assert kept(house) == [
        ["age 60", "age 50", "age 40"],
        ["age 70", "age 40", "age 80"],
        ["age 70", "age 40", "age 80"],
    ]
    for most in (0, -1):  # one, at least
        assert remove(app, 30, most) == Removed(1, 1, 1)
    assert remove(app, 30, most=INT_MAX) == Removed(1, 1, 1)


def test_no_batch_is_larger_than_5000(house: House, app: Database) -> None:
    house.query(
        "INSERT INTO audit (at, correlation_id, actor_kind, action, outcome)"
        " SELECT now() - interval '90 days', gen_random_uuid(), 'system', 'test.done', 'success'"
        " FROM generate_series(1, 5001)"
    )
    assert remove(app, 30, INT_MAX) == Removed(5000, 0, 0)
    assert remove(app, 30, INT_MAX) == Removed(1, 0, 0)


def test_the_application_removes_old_rows_in_this_way_only(house: House, app: Database) -> None:
    assert ("audit", "DELETE") not in house.query(RIGHTS)
    may = "SELECT has_function_privilege(%s, 'remove_old(integer, integer)', 'EXECUTE')"
    assert house.query(may, "steward_app") == [(True,)]
    assert house.query(may, "pg_monitor") == [(False,)]  # as everybody who is not named
    fill(house, ages=[90])
    for table in ("audit", "inbox", "outbox"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege), app.transaction() as cur:
            cur.execute(f"DELETE FROM {table}")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege), app.transaction() as cur:
        cur.execute("CREATE OR REPLACE FUNCTION remove_old(integer, integer) RETURNS void LANGUAGE sql AS ''")


def test_nothing_that_the_caller_puts_before_it_leads_it_astray(house: House, app: Database) -> None:
    """A function with its owner's rights names everything in full, and its search path is its own."""
    fill(house, ages=[90, 0])
    later = "FUNCTION mine.now() RETURNS timestamptz LANGUAGE sql AS $$SELECT timestamptz '3000-01-01'$$"
    house.query(f"CREATE SCHEMA mine; CREATE {later}; GRANT USAGE ON SCHEMA mine TO PUBLIC")
    with app.transaction() as cur:
        cur.execute("CREATE TEMP TABLE audit (id bigint, at timestamptz)")
        cur.execute("SET LOCAL search_path = mine, pg_temp, public, pg_catalog")
        cur.execute("SELECT * FROM remove_old(30, 10)")
        assert cur.fetchone() == (1, 1, 1)
    assert kept(house) == [["age 0"]] * 3


def test_what_somebody_else_works_on_is_left_for_the_next_time_and_not_waited_for(house: House, app: Database) -> None:
    fill(house, ages=[100, 90, 80])
    touched = (
        "UPDATE inbox SET state = 'waiting' WHERE kind = 'age 90';"
        " UPDATE outbox SET attempts = 9 WHERE body = 'age 80';"
        " SELECT FROM audit WHERE action = 'age 100' FOR UPDATE"
    )
    with held_by_another(house, touched):
        began = time.monotonic()
        assert remove(app, 30) == Removed(2, 2, 2)
        assert time.monotonic() - began < 2
        assert kept(house) == [["age 100"], ["age 90"], ["age 80"]]
    assert remove(app, 30) == Removed(1, 1, 1)


def test_two_that_remove_at_once_share_the_rows(house: House, app: Database) -> None:
    fill(house, ages=[100, 90, 80])
    with held_by_another(house, "SELECT remove_old(30, 2)"):  # not committed yet
        began = time.monotonic()
        assert remove(app, 30) == Removed(1, 1, 1)
        assert time.monotonic() - began < 2


def test_a_table_that_is_locked_as_a_whole_is_given_up_within_seconds(house: House, app: Database) -> None:
    """As by an upgrade of schema.sql. The connection's own limit ends the wait."""
    with held_by_another(house, "LOCK TABLE audit"), pytest.raises(Down):
        remove(app, 30)


def test_rows_go_while_others_write(house: House, app: Database, note: Callable[[str], None]) -> None:
    house.query(
        "INSERT INTO audit (at, correlation_id, actor_kind, action, outcome)"
        " SELECT now() - interval '90 days', gen_random_uuid(), 'system', 'test.old', 'success'"
        " FROM generate_series(1, 20000)"
    )
    ending = threading.Event()

    def write() -> list[float]:
        database, took = Database(Secret(house.database_url), "writer"), []
        while not ending.is_set():
            began, told = time.monotonic(), str(uuid.uuid4())
            with database.transaction() as cur:
                audit.add(cur, told, SYSTEM, "test.new")
                inbox.add(cur, 1, uuid.uuid4().int >> 66, told, kind="message", state="noted")
                outbox.add(cur, "bot", 1, told, ["A notice"])
            took.append(time.monotonic() - began)
        database.close()
        return took

    with ThreadPoolExecutor() as pool:
        writers = [pool.submit(write) for _ in range(3)]
        try:
            removed: list[int] = []
            while not removed or removed[-1]:
                removed.append(remove(app, 30, 500).audit_rows)
        finally:
            ending.set()
        took = [seconds for writer in writers for seconds in writer.result()]
    assert sum(removed) == 20000
    assert house.query("SELECT action, count(*) FROM audit GROUP BY action") == [("test.new", len(took))]
    assert house.query("SELECT count(*) FROM inbox") == house.query("SELECT count(*) FROM outbox") == [(len(took),)]
    note(f"removing 20000 audit rows beside {len(took)} transactions: {max(took):.3f} s for the longest of them")


def test_the_age_of_the_oldest_row_is_told_by_index(house: House, app: Database) -> None:
    with app.statement() as cur:
        assert audit.oldest(cur) is None
    fill(house, ages=[3, 12.5, 0])
    with app.statement() as cur:
        assert audit.oldest(cur) == pytest.approx(12.5 * 86400, abs=60)
        cur.execute("SET enable_seqscan = off")
        cur.execute("EXPLAIN SELECT extract(epoch FROM now() - at) FROM audit WHERE isfinite(at) ORDER BY at LIMIT 1")
        assert "audit_age" in str(cur.fetchall())
        cur.execute("EXPLAIN SELECT at FROM audit WHERE action = 'backup.made' ORDER BY at DESC LIMIT 1")
        assert "audit_backup" in str(cur.fetchall())
