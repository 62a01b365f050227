"""Table audit: who asked, what was done, by which model, with which outcome. Rows are only ever added."""

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

ABOUT_THE_MESSAGE = ("refused", "too_long", "our_bug")  # failures of one message: Claude itself answered


def actor_of(settings: Settings, user_id: int | None) -> Actor:
    """Who this Telegram user is to us."""
    if user_id not in settings.allowed_user_ids:
        return Actor("stranger", user_id)
    return Actor("owner" if user_id == settings.owner_id else "user", user_id)


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


def last_reason(cur: Cursor) -> str | None:
    """Why the last request to Claude failed; None when it did not, or there was none yet."""
    cur.execute("SELECT reason FROM audit WHERE action = 'claude.asked' ORDER BY at DESC LIMIT 1")
    row = cur.fetchone()
    return row[0] if row else None


@dataclass(frozen=True)
class ClaudeState:
    """How the last request to Claude ended. `reason` is None when it answered, else one of sentences.FAILURES."""

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
