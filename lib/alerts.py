"""Table alerts: what the owner has to know."""

from __future__ import annotations

from lib.db import Cursor


def add(cur: Cursor, correlation_id: str, kind: str, body: str) -> None:
    """Keep an alert. `kind` is a stable snake_case word, `body` the sentence the owner is told."""
    cur.later("INSERT INTO alerts (correlation_id, kind, body) VALUES (%s, %s, %s)", (correlation_id, kind, body))
