"""Table parts: what healthwatch.py last found of each part of the house."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lib.db import Cursor


@dataclass(frozen=True)
class Shown:
    """One part as /status shows it. `state` is up, down or unknown; `problem` a word for lib/english.py."""

    part: str
    state: str
    since: datetime | None
    problem: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)


def keep(cur: Cursor, shown: Iterable[Shown]) -> None:
    """Write down how all parts stand now; parts that are not among them are forgotten."""
    shown = list(shown)
    for one in shown:
        cur.later(
            "INSERT INTO parts (part, state, since, problem, detail) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT (part) DO UPDATE SET state = EXCLUDED.state, since = EXCLUDED.since,"
            " problem = EXCLUDED.problem, detail = EXCLUDED.detail, checked_at = now()",
            (one.part, one.state, one.since, one.problem, json.dumps(one.detail)),
        )
    cur.later("DELETE FROM parts WHERE part <> ALL (%s)", ([one.part for one in shown],))


def load(cur: Cursor) -> dict[str, Shown]:
    """All parts as they were last found."""
    cur.execute("SELECT part, state, since, problem, detail FROM parts ORDER BY part")
    return {row[0]: Shown(*row) for row in cur.fetchall()}
