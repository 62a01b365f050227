"""Table processes: each running script and its last sign of life."""

from __future__ import annotations

from dataclasses import dataclass

from lib.db import Cursor

WATCH = "healthwatch"
FORGET_SECONDS = 86400.0  # a process that ended badly, and whose place nobody has taken


@dataclass(frozen=True)
class Process:
    """One row. `beats` counts up while it lives; the spans are seconds."""

    name: str
    service: str
    beats: int
    promised: float  # until its loop means to be back; below 0: it should have been
    polled_ago: float | None
    trouble: str | None


def take_place(cur: Cursor, service: str, silent_for: float) -> bool:
    """Take over from one process of this service that ended without a word, and was silent for so many seconds: so the
    number of rows stays the number of scripts there should be. False: there is none, or the server still holds it for
    connected."""
    cur.execute(
        "DELETE FROM processes WHERE name = (SELECT name FROM processes WHERE service = %s"
        " AND beat_at <= now() - %s * interval '1 second'"
        " AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = name)"
        " ORDER BY beat_at LIMIT 1 FOR UPDATE SKIP LOCKED)",
        (service, silent_for),
    )
    return cur.rowcount == 1


def beat(
    cur: Cursor,
    name: str,
    service: str,
    *,
    promised: float = 0.0,
    polled_ago: float | None = None,
    trouble: str | None = None,
) -> None:
    """A sign of life. `name`: the application name of this connection."""
    # Nobody needs it after a crash of the server, so nobody waits for the disk.
    cur.later("SELECT set_config('synchronous_commit', 'off', true)")
    cur.later(
        "INSERT INTO processes (name, service, beats, promised, polled_ago, trouble)"
        " VALUES (%s, %s, 1, %s, %s, %s)"
        " ON CONFLICT (name) DO UPDATE SET beats = processes.beats + 1, beat_at = now(), promised = EXCLUDED.promised,"
        " polled_ago = EXCLUDED.polled_ago, trouble = EXCLUDED.trouble",
        (name, service, promised, polled_ago, trouble),
    )


def leave(cur: Cursor, name: str) -> None:
    """It ends as it should, and nobody is to miss it."""
    cur.execute("DELETE FROM processes WHERE name = %s", (name,))


def load(cur: Cursor) -> list[Process]:
    """All of them, by service and age."""
    cur.execute("SELECT name, service, beats, promised, polled_ago, trouble FROM processes ORDER BY service, beat_at")
    return [Process(*row) for row in cur.fetchall()]


def beats(cur: Cursor, name: str) -> int:
    """How often this one has given a sign of life; 0 when it never did."""
    cur.execute("SELECT beats FROM processes WHERE name = %s", (name,))
    row = cur.fetchone()
    return int(row[0]) if row else 0


def silent_for(cur: Cursor, name: str) -> float | None:
    """Seconds since its last sign of life; None when it never gave one."""
    cur.execute("SELECT extract(epoch FROM now() - beat_at) FROM processes WHERE name = %s AND beats > 0", (name,))
    row = cur.fetchone()
    return float(row[0]) if row else None


def forget(cur: Cursor) -> None:
    """Drop those that were silent for FORGET_SECONDS."""
    cur.execute(
        "DELETE FROM processes WHERE service <> %s AND beat_at < now() - %s * interval '1 second'",
        (WATCH, FORGET_SECONDS),
    )


def first_missed(cur: Cursor) -> bool:
    """Whether the owner is to be told now that healthwatch is silent: True once, until it is back."""
    cur.execute(
        "INSERT INTO processes (name, service, told_at) VALUES (%(watch)s, %(watch)s, now())"
        " ON CONFLICT (name) DO UPDATE SET told_at = now() WHERE processes.told_at IS NULL",
        {"watch": WATCH},
    )
    return cur.rowcount == 1


def first_back(cur: Cursor) -> float | None:
    """For how many seconds the owner has known that healthwatch is silent, if that is to be taken back now."""
    cur.execute(
        "WITH told AS (SELECT told_at FROM processes WHERE name = %(watch)s AND told_at IS NOT NULL FOR UPDATE)"
        " UPDATE processes SET told_at = NULL FROM told WHERE name = %(watch)s"
        " RETURNING extract(epoch FROM now() - told.told_at)",
        {"watch": WATCH},
    )
    row = cur.fetchone()
    return float(row[0]) if row else None
