"""Table audit: who asked, what was done, by which model, with which outcome. Rows are only ever added."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from lib.config import Settings
from lib.db import Cursor


@dataclass(frozen=True)
class Actor:
    """Who asked. `kind` is owner, user, stranger or system."""

    kind: str
    id: int | None = None


SYSTEM = Actor("system")


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


def last_of_claude(cur: Cursor) -> tuple[str, str | None, float] | None:
    """Outcome, reason and age in seconds of the last request to Claude; None when there was none yet."""
    cur.execute(
        "SELECT outcome, reason, extract(epoch FROM now() - at) FROM audit"
        " WHERE action = 'claude.asked' ORDER BY at DESC LIMIT 1"
    )
    row = cur.fetchone()
    return (row[0], row[1], float(row[2])) if row else None
