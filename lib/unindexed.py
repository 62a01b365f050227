"""Table unindexed: turns whose place in Qdrant has to be brought up to date."""

from __future__ import annotations

from lib.db import Cursor


def add(cur: Cursor, inbox_id: int) -> None:
    """This turn is new, changed or gone."""
    cur.later("INSERT INTO unindexed (inbox_id) VALUES (%s)", (inbox_id,))
