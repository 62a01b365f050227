"""An older database becomes today's by running schema.sql: nothing is lost, and nobody waits who need not."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import psycopg2.extensions
import pytest

from demo import servers
from demo.stack import APP_PASSWORD, SCHEMA
from demo.telegram import ALICE, BOB
from lib import audit, history, inbox, offsets, outbox
from lib.db import Cursor, Database, NoTables
from lib.history import Turn
from lib.secret import Secret
from tests.house import House
from tests.test_schema import without_key

OLDER = sorted((Path(__file__).parent / "schemas").glob("*.sql"))
MakeHouse = Callable[..., House]

# At least one row in every table of every older schema: the largest and smallest values, every NULL that may be, odd
# texts. Alice's message waits for an answer, and Bob's was tried as often as a smallint can count.
ROWS = r"""
INSERT INTO offsets VALUES
    (9223372036854775807, -9223372036854775808, 'infinity'),
    (0, 0, '2026-11-22 12:34:56.789012+00');
INSERT INTO chats VALUES
    (-9223372036854775808, 2147483647, 'infinity', '-infinity'),
    (1001, 0, NULL, NULL);
INSERT INTO inbox (bot_id, update_id, correlation_id, received_at, kind, chat_id, user_id, message_id, conversation,
        body, raw, state, attempts) VALUES
    (9223372036854775807, 1, 'ffffffff-ffff-ffff-ffff-ffffffffffff', '2026-11-22 12:34:56.789012+00', 'message', -1, 1,
        9223372036854775807, 2147483647, E'🦉 „ä“\t\\N \\. \n''', '{"b":1, "b" : 2.50,"a":"\u0000 \ud83d"}',
        'set_aside', 32767),
    (1, 1, '00000000-0000-0000-0000-000000000000', '-infinity', '', NULL, NULL, NULL, -2147483648, NULL, NULL, 'parked',
        -32768),
    (1, 2, '00000000-0000-0000-0000-000000000001', '2026-11-22 12:34:57+00', 'message', 1001, 1001, 10, 0,
        'It waited 🦉', '{}', 'waiting', 0);
INSERT INTO history (chat_id, conversation, inbox_id, at, role, body, total) VALUES
    (1001, 0, 9223372036854775806, '2026-11-22 12:00:00+00', 'user', 'An old question 🦉', 10),
    (1001, 0, 9223372036854775806, '2026-11-22 12:00:01+00', 'assistant', 'An old answer', 20),
    (-1, -1, -1, 'infinity', 'user', ' ', 9223372036854775807);
INSERT INTO outbox (correlation_id, made_at, sender, chat_id, part, parts, body, state, maybe_repeat, attempts,
        message_id, sent_at) VALUES
    ('00000000-0000-0000-0000-000000000002', '2026-11-22 12:34:58+00', 'worker', 1002, 1, 1, 'Tried again and again',
        'pending', false, 32767, NULL, NULL),
    ('00000000-0000-0000-0000-000000000003', 'infinity', 'bot', -1, 32767, -32768, '\N', 'refused', true, -32768,
        9223372036854775807, 'infinity');
INSERT INTO audit (at, correlation_id, actor_kind, actor_id, action, outcome, reason, model, tokens_in, tokens_out,
        tokens_cached, duration_ms, detail) VALUES
    ('2026-11-22 12:34:59+00', '00000000-0000-0000-0000-000000000004', 'owner', -1, 'claude.asked', 'success', '', '🦉',
        2147483647, -2147483648, 0, 2147483647, '{"n": [1.50, null, "🦉"]}'),
    ('infinity', '00000000-0000-0000-0000-000000000005', 'system', NULL, '', 'denied', NULL, NULL, NULL, NULL, NULL,
        NULL, '{}');
INSERT INTO alerts (at, correlation_id, kind, body) VALUES
    ('2026-11-22 12:35:00+00', '00000000-0000-0000-0000-000000000006', '', '🦉');
"""

RIGHTS = """
SELECT relname, privilege FROM pg_class, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES',
    'TRIGGER']) AS privilege
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND has_table_privilege('steward_app', pg_class.oid,
    privilege) ORDER BY relname, privilege
"""


def old_house(make_house: MakeHouse, schema: Path) -> House:
    """A house whose database was made by this older schema.sql, with ROWS in it. Nothing is started."""
    house = make_house()
    postgres = house.stores.postgres
    postgres.drop_database(house.name)
    postgres.create_database(house.name)
    postgres.run_sql_file(schema, house.name)
    house.query(ROWS)
    return house


def upgrade(house: House) -> None:
    house.stores.postgres.run_sql_file(SCHEMA, house.name)


Columns = dict[str, str]  # of each table, with commas between them


def columns(house: House) -> Columns:
    return dict(
        house.query(
            "SELECT relname, string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_class JOIN pg_attribute"
            " ON attrelid = pg_class.oid WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0"
            " AND NOT attisdropped GROUP BY relname"
        )
    )


def contents(house: House, of: Columns) -> dict[str, list[tuple[str]]]:
    """Every row in these columns, as PostgreSQL writes it."""
    return {
        table: house.query(f'SELECT t::text FROM (SELECT {names} FROM "{table}") t ORDER BY 1')
        for table, names in of.items()
    }


@pytest.fixture(params=OLDER, ids=lambda path: path.stem)
def old(request: pytest.FixtureRequest, make_house: MakeHouse) -> House:
    return old_house(make_house, request.param)


def test_an_older_database_becomes_the_same_as_a_fresh_one_and_keeps_every_value(
    old: House, make_house: MakeHouse
) -> None:
    of = columns(old)
    before = contents(old, of)
    assert all(rows for table, rows in before.items() if f"INTO {table} " in ROWS), (
        "a table without rows proves nothing"
    )
    fresh = make_house()
    fresh.query(ROWS)
    for _ in range(2):
        upgrade(old)
        assert contents(old, of) == before
        dumps = [without_key(house.stores.postgres.dump(house.name)) for house in (old, fresh)]
        assert dumps[0] == dumps[1]
        assert old.query(RIGHTS) == fresh.query(RIGHTS)


def test_what_waited_in_an_older_database_is_answered_and_sent(old: House) -> None:
    upgrade(old)
    for person in (ALICE, BOB):
        old.telegram.say(person, "A new one")
    old.start()
    old.await_idle()
    first, second = old.replies()
    assert "It waited 🦉" in first
    assert "A new one" in second
    assert old.replies(BOB)[0] == "Tried again and again"
    assert len(old.replies(BOB)) == 2
    asked = [[message["content"] for message in request.body["messages"]] for request in old.claude.requests]
    assert ["An old question 🦉", "An old answer", "It waited 🦉"] in asked


def test_scripts_that_were_started_too_early_wait_for_schema_sql(make_house: MakeHouse) -> None:
    house = old_house(make_house, OLDER[0])
    house.telegram.say(ALICE, "A new one")
    house.start()
    for script in house.scripts:
        house.await_event(script, "database_away")
    upgrade(house)
    first, second = house.await_replies(2)
    assert "It waited 🦉" in first
    assert "A new one" in second


def test_on_a_database_that_is_up_to_date_schema_sql_waits_for_no_writer_and_no_writer_for_it(
    make_house: MakeHouse,
) -> None:
    house = make_house()
    writer = psycopg2.connect(house.stores.postgres.url(house.name))
    try:
        with writer.cursor() as cur:
            cur.execute("SELECT string_agg(tablename, ', ') FROM pg_tables WHERE schemaname = 'public'")
            (tables,) = cur.fetchone() or ("",)
            cur.execute(f"LOCK TABLE {tables} IN ROW EXCLUSIVE MODE")  # as INSERT, UPDATE and DELETE do
            upgrade(house)  # would wait for ever, and end with TimeoutExpired
    finally:
        writer.close()


@pytest.fixture
def ending() -> Iterator[threading.Event]:
    """Tells the threads of a test to end; whatever the test did, they do."""
    event = threading.Event()
    yield event
    event.set()
    psycopg2.extensions.set_wait_callback(None)  # the scripts' deadline is not for the tests' own connections


def be_busy(url: str, chat_id: int, ending: threading.Event) -> tuple[int, list[float]]:
    """What bot and worker write for one message after the other; how many, and how long each transaction took."""
    database, took, number = Database(Secret(url), "busy"), [0.0], 0

    @contextmanager
    def transaction() -> Iterator[Cursor]:
        began = time.monotonic()
        with database.transaction() as cur:
            yield cur
        took.append(time.monotonic() - began)

    while not ending.is_set():
        number += 1
        told = str(uuid.uuid4())
        try:
            with transaction() as cur:
                inbox.add(
                    cur, chat_id, number, told, kind="message", state="waiting", chat_id=chat_id, user_id=1, body="?"
                )
                audit.add(cur, told, audit.SYSTEM, "update.received")
                outbox.add(cur, "bot", chat_id, told, ["A notice"])
        except NoTables:  # schema.sql has not run yet
            number -= 1
            time.sleep(0.01)
            continue
        with transaction() as cur:
            turn = inbox.claim(cur, chat_id)
        assert turn is not None
        with transaction() as cur:
            assert inbox.settle(cur, turn, "answered")
            history.add(cur, chat_id, 0, turn.id, [Turn("user", "?"), Turn("assistant", "!")])
            outbox.add(cur, "worker", chat_id, told, ["!"])
            audit.add(cur, told, audit.SYSTEM, "claude.asked")
        for sender in ("bot", "worker"):
            with transaction() as cur:
                part, _ = outbox.begin(cur, sender, chat_id)
            assert part is not None
            with transaction() as cur:
                assert outbox.sent(cur, part, 1)
                audit.add(cur, told, audit.SYSTEM, "reply.sent")
        with transaction() as cur:
            offsets.move(cur, chat_id, number)
    database.close()
    return number, took


def test_schema_sql_runs_again_and_again_while_everybody_writes(
    old: House, ending: threading.Event, note: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, seconds = 20, []
    monkeypatch.setattr(servers, "ENVIRONMENT", servers.ENVIRONMENT | {"STEWARD_APP_PASSWORD": APP_PASSWORD})

    def run_it() -> None:
        for _ in range(runs):
            began = time.monotonic()
            upgrade(old)  # raises when psql fails, for example as the victim of a deadlock
            seconds.append(time.monotonic() - began)

    with ThreadPoolExecutor() as pool:
        busy = [pool.submit(be_busy, old.database_url, chat_id, ending) for chat_id in range(5001, 5005)]
        try:
            time.sleep(0.5)
            for run in [pool.submit(run_it) for _ in range(2)]:  # two at once, as from two machines
                run.result()
        finally:
            ending.set()
        results = [future.result() for future in busy]
    written = sum(number for number, _ in results)
    assert old.query("SELECT count(*) FROM inbox WHERE state = 'answered'") == [(written,)]
    worst = max(max(took) for _, took in results)
    note(
        f"schema.sql {2 * runs} times over {written} messages: {max(seconds):.2f} s for the longest run,"
        f" {worst:.2f} s for the longest transaction of the others"
    )
