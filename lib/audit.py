"""Table audit: who asked, what was done, by which model, with which outcome.

Rows are only ever added. Old ones go through a function of the database, which leaves 30 days whatever it is asked.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lib.config import Settings
from lib.db import Cursor


@dataclass(frozen=True)
class Actor:
    """Who asked. `kind` is owner, user, stranger or system."""

    kind: str
    id: int | None = None


SYSTEM = Actor("system")

# Failures of one message: Claude itself answered, or it was never asked, because a file could not be had.
ABOUT_THE_MESSAGE = (
    *("refused", "too_long", "our_bug", "stopped", "file_refused"),
    *("file_gone", "file_unreachable", "file_too_large", "file_damaged", "too_many_files"),
)


def actor_of(settings: Settings, user_id: int | None, let_in: bool) -> Actor:
    """Who this Telegram user is to us. `let_in`: they are on a list, or write in a group that is."""
    if user_id is None:
        return Actor("stranger")
    if user_id == settings.owner_id:
        return Actor("owner", user_id)
    return Actor("user" if let_in else "stranger", user_id)


def add(
    cur: Cursor,
    correlation_id: str,
    actor: Actor,
    action: str,
    outcome: str = "success",
    *,
    reason: str | None = None,
    model: str | None = None,
    tokens_in: int | None = None,
    tokens_out: int | None = None,
    tokens_cached: int | None = None,
    duration_ms: int | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Write one row, in the transaction of what it tells of. `detail` takes ids, kinds and counts, never texts."""
    cur.later(
        "INSERT INTO audit (correlation_id, actor_kind, actor_id, action, outcome, reason, model, tokens_in,"
        " tokens_out, tokens_cached, duration_ms, detail) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            *(correlation_id, actor.kind, actor.id, action, outcome, reason, model),
            *(tokens_in, tokens_out, tokens_cached, duration_ms, json.dumps(detail or {})),
        ),
    )


@dataclass(frozen=True)
class ClaudeState:
    """How the last request to Claude ended. `reason` is None when it answered, else one of English.FAILURES."""

    at: datetime
    reason: str | None
    since: datetime  # the first failure after the last answer; `at` when it answered
    until: datetime | None  # when it will work again, if Claude said so


def claude_state(cur: Cursor) -> ClaudeState | None:
    """Claude's state as real requests have shown it; None when there was none yet.

    A message that Claude declined, or could not make sense of, says nothing about Claude: it answered.
    """
    # Backwards by index: the last, then up to the last answer.
    cur.execute(
        "WITH asked AS NOT MATERIALIZED ("
        "SELECT at, detail, CASE WHEN outcome = 'failure' AND reason <> ALL (%s) THEN reason END AS why"
        " FROM audit WHERE action = 'claude.asked'),"
        " last AS MATERIALIZED (SELECT * FROM asked ORDER BY at DESC LIMIT 1),"
        " before AS (SELECT asked.at FROM asked WHERE asked.why IS NULL"
        " ORDER BY asked.at DESC LIMIT 1)"
        " SELECT at, why, detail ->> 'until', CASE WHEN why IS NULL THEN at ELSE (SELECT min(asked.at) FROM asked"
        " WHERE asked.at > coalesce((SELECT at FROM before), '-infinity')) END FROM last",
        (list(ABOUT_THE_MESSAGE),),
    )
    row = cur.fetchone()
    if row is None:
        return None
    return ClaudeState(row[0], row[1], row[3], datetime.fromisoformat(row[2]) if row[2] else None)


@dataclass(frozen=True)
class Row:
    """One action, as it was kept."""

    at: datetime
    correlation_id: str
    actor: Actor
    action: str
    outcome: str
    reason: str | None
    model: str | None
    tokens_in: int | None
    tokens_out: int | None
    tokens_cached: int | None
    duration_ms: int | None


def last(cur: Cursor, count: int) -> list[Row]:
    """The last actions, the newest last."""
    cur.execute(
        "SELECT at, correlation_id, actor_kind, actor_id, action, outcome, reason, model, tokens_in, tokens_out,"
        " tokens_cached, duration_ms FROM audit ORDER BY id DESC LIMIT %s",
        (count,),
    )
    return [_row(found) for found in reversed(cur.fetchall())]


def story(cur: Cursor, correlation_id: str) -> list[Row]:
    """Every action with this id, in time order."""
    cur.execute(
        "SELECT at, correlation_id, actor_kind, actor_id, action, outcome, reason, model, tokens_in, tokens_out,"
        " tokens_cached, duration_ms FROM audit WHERE correlation_id = %s ORDER BY at, id",
        (correlation_id,),
    )
    return [_row(found) for found in cur.fetchall()]


def ids(cur: Cursor, digits: str, most: int) -> list[str]:
    """Up to so many correlation ids that begin with these 1 to 32 hexadecimal digits. By index."""
    cur.execute(
        "SELECT DISTINCT correlation_id FROM audit WHERE correlation_id BETWEEN %s AND %s ORDER BY 1 LIMIT %s",
        (digits.ljust(32, "0"), digits.ljust(32, "f"), most),
    )
    return [row[0] for row in cur.fetchall()]


def _row(found: tuple[Any, ...]) -> Row:
    at, correlation_id, kind, actor_id, *rest = found
    return Row(at, correlation_id, Actor(kind, actor_id), *rest)


def last_backup(cur: Cursor) -> datetime | None:
    """When docker/backup last wrote one; None when it never did, or so long ago that the row is gone."""
    cur.execute("SELECT at FROM audit WHERE action = 'backup.made' ORDER BY at DESC LIMIT 1")
    row = cur.fetchone()
    return row[0] if row else None


def oldest(cur: Cursor) -> float | None:
    """How many seconds ago the oldest row was written; None when there is none. By index."""
    # No age can be told of a row from '-infinity', which nobody writes.
    cur.execute("SELECT extract(epoch FROM now() - at) FROM audit WHERE isfinite(at) ORDER BY at LIMIT 1")
    row = cur.fetchone()
    return float(row[0]) if row else None


@dataclass(frozen=True)
class Removed:
    """How many rows one call of remove_old() took away: of the audit, of the inbox, of the outbox."""

    audit_rows: int
    updates: int
    parts: int


def remove_old(cur: Cursor, days: int, most: int) -> Removed:
    """Remove rows older than so many days, at most `most` (1 to 5000) of each table: call it until nothing goes.

    With the audit rows go updates that wait no longer and parts that are sent or refused: it is one function of the
    database, the audit is what it is about, and so its call stands here for all three. It keeps 30 days in any case,
    waits for nobody, and never looks beyond the lowest `most` ids of inbox and outbox.
    """
    cur.execute("SELECT audit_rows, updates, parts FROM remove_old(%s, %s)", (days, most))
    row = cur.fetchone()
    return Removed(*row) if row else Removed(0, 0, 0)
