"""What a long life costs: the overhead of a message beside 1 thousand to 1 million stored ones, and the time for each
beside 10 to 10,000 that wait; and the clean-up of what is too old.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg2

from bench import path
from bench.drain import OURS, frozen, running, thaw
from bench.floor import Floor
from bench.house import House, house
from lib import audit
from lib.db import Database
from lib.secret import Secret

STEP = 20_000
TABLES = ("inbox", "history", "outbox", "audit")
SHORT = "a message that somebody has written some time ago, about this and that; of ordinary length, one hundred"
RAW = json.dumps({"update_id": 1, "message": {"message_id": 1, "text": SHORT, "from": "about as long as it is" * 12}})
# Half of them are of the chats that are measured, one conversation each; half of a thousand others.
FILL = """
WITH numbers AS (
    SELECT number, now() - CASE WHEN number <= %(old)s THEN interval '40 days' ELSE interval '1 day' END AS at,
        CASE WHEN number %% 2 = 0 THEN (%(chats)s)[1 + number / 2 %% cardinality(%(chats)s)]
            ELSE 1000000 + number %% 1000 END AS chat,
        80 * CASE WHEN number %% 2 = 0 THEN number / 2 / cardinality(%(chats)s) ELSE number / 1000 END AS total
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS number
), updates AS (
    INSERT INTO inbox (bot_id, update_id, correlation_id, received_at, kind, chat_id, user_id, message_id, body, raw,
        state, attempts, ready_at, said_at)
    SELECT 1, number, gen_random_uuid(), at, 'message', chat, chat, number, %(body)s, %(raw)s, 'answered', 1, at, at
    FROM numbers RETURNING id, correlation_id, chat_id, received_at, update_id
), turns AS (
    SELECT id, chat_id, received_at, total FROM updates JOIN numbers ON number = update_id
), questions AS (
    INSERT INTO history (chat_id, conversation, inbox_id, at, role, body, total, user_id)
    SELECT chat_id, 0, id, received_at, 'user', %(body)s, total, chat_id FROM turns
), answers AS (
    INSERT INTO history (chat_id, conversation, inbox_id, at, role, body, total, user_id)
    SELECT chat_id, 0, id, received_at, 'assistant', %(body)s, total + 40, chat_id FROM turns
), parts AS (
    INSERT INTO outbox (correlation_id, made_at, sender, chat_id, part, parts, body, state, attempts, message_id,
        sent_at)
    SELECT correlation_id, received_at, 'worker', chat_id, 1, 1, %(body)s, 'sent', 1, id, received_at FROM updates
)
INSERT INTO audit (at, correlation_id, actor_kind, actor_id, action, outcome, model, tokens_in, tokens_out, detail)
SELECT received_at, correlation_id, 'user', chat_id, action, 'success', 'claude-sonnet-5-5', 100, 100, '{"parts": 1}'
FROM updates, unnest(ARRAY['update.received', 'claude.asked', 'reply.sent']) AS action
"""


@dataclass(frozen=True)
class Stored:
    """What a message costs beside so many stored ones: one that begins a conversation, and one in a conversation as
    long as it is by then, up to what Claude may be shown."""

    messages: int
    new: path.Spans
    long: path.Spans


@dataclass(frozen=True)
class Queued:
    """Milliseconds for each message beside so many waiting ones, of the first of them, with one worker."""

    waiting: int
    ms: list[float]


@dataclass(frozen=True)
class Removed:
    """The clean-up: rows of the audit and of the other tables, seconds in all, of the longest batch, and of one plain
    DELETE of the same audit rows."""

    audit_rows: int
    others: int
    seconds: float
    longest: float
    plain: float


def fill(database_url: str, chats: Sequence[int], first: int, last: int, old: int = 0) -> None:
    """Messages number `first` to `last` were received, answered and sent, half of them in these chats; those up to
    `old` 40 days ago. `database_url` is the superuser's."""
    connection = psycopg2.connect(database_url)
    connection.autocommit = True
    with connection.cursor() as cur:
        cur.execute("SET synchronous_commit = off")
        for begin in range(first, last + 1, STEP):
            values = {"first": begin, "last": min(begin + STEP - 1, last), "old": old, "chats": list(chats)}
            cur.execute(FILL, values | {"body": SHORT, "raw": RAW})
        cur.execute("VACUUM ANALYZE inbox, history, outbox, audit")
        cur.execute("CHECKPOINT")
    connection.close()


def stored(sizes: Sequence[int], messages: int) -> tuple[list[Stored], int, Removed]:
    """The overhead in an idle house at each of these sizes; at the last one how many rows were read without an index,
    and the clean-up."""
    found, size = [], 0
    with house(people=20 + len(sizes) * messages) as built:
        talkers, others = built.people[:20], built.people[20:]
        built.claude.pace = path.PACE
        built.start()
        floor = Floor(built)
        try:
            path.idle(built, floor, 10, talkers)
            for target in sizes:
                # What was said meanwhile: else a conversation would go on in the middle of it.
                built.sql("DELETE FROM history WHERE inbox_id IN (SELECT id FROM inbox WHERE bot_id <> 1)")
                fill(built.admin_url, [one.id for one in talkers], size + 1, target, max(sizes) // 3)
                built.sql("INSERT INTO floor (body) SELECT %s FROM generate_series(%s, %s)", (SHORT, size + 1, target))
                size = target
                path.idle(built, floor, 5, talkers)
                before = scanned(built) if target == max(sizes) else 0
                new = path.idle(built, floor, messages, [others.pop() for _ in range(messages)])
                found.append(Stored(target, new, path.idle(built, floor, messages, talkers)))
            read = scanned(built) - before
        finally:
            floor.stop()
        return found, read, clean_up(built)


def scanned(built: House) -> int:
    """Rows read so far by going through a whole table of those that grow."""
    time.sleep(12)  # a session that is idle may report ten seconds late
    [(rows,)] = built.sql("SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE relname = ANY (%s)", (list(TABLES),))
    return int(rows)


def clean_up(built: House) -> Removed:
    """As healthwatch.py does it, a thousand of each table at a time, without its pauses; beside one plain DELETE."""
    built.sql(
        "CREATE TABLE plain (LIKE audit INCLUDING ALL); INSERT INTO plain OVERRIDING SYSTEM VALUE SELECT * FROM audit"
    )
    built.sql("VACUUM ANALYZE plain")
    began = time.perf_counter()
    built.sql("DELETE FROM plain WHERE at < now() - interval '30 days'")
    plain = time.perf_counter() - began
    database = Database(Secret(built.database_url), "bench")
    rows, others, batches = 0, 0, []
    while True:
        began = time.perf_counter()
        with database.statement() as cur:
            removed = audit.remove_old(cur, 30, 1000)
        batches.append(time.perf_counter() - began)
        rows, others = rows + removed.audit_rows, others + removed.updates + removed.parts
        if not (removed.audit_rows or removed.updates or removed.parts):
            database.close()
            return Removed(rows, others, sum(batches), max(batches), plain)


def queued(sizes: Sequence[int], counted: int, runs: int) -> list[Queued]:
    """How long each of the first messages takes while so many wait, each in a chat of its own, with one worker."""
    found = []
    with house(people=max(sizes)) as built:
        built.bot.start()
        for size in sizes:
            times = []
            for _ in range(runs):
                built.clear()
                with running(built, OURS, 1) as pids, frozen(pids):
                    numbers = built.take_in(size)
                    thaw(pids)
                    built.await_most(numbers, min(size, counted), 120.0)
                    first, *others = sorted(built.arrived[one] for one in numbers if one in built.arrived)
                    times.append((others[-1] - first) * 1000 / len(others))
            found.append(Queued(size, times))
    return found
