"""Table allowed: people and groups that the owner has let in by command, beside those in .env."""

from __future__ import annotations

from lib.db import Cursor


def load(cur: Cursor) -> dict[int, str]:
    """The ids that the owner has let in, with their names: above 0 people, below 0 groups."""
    cur.execute("SELECT id, name FROM allowed ORDER BY added_at, id")
    return dict(cur.fetchall())


def add(cur: Cursor, id: int, name: str) -> None:
    """Let them in; the name is the new one when they were in already."""
    cur.later(
        "INSERT INTO allowed (id, name) VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name", (id, name)
    )


def remove(cur: Cursor, id: int) -> bool:
    """Let them in no longer. False: they were not in."""
    cur.execute("DELETE FROM allowed WHERE id = %s", (id,))
    return cur.rowcount == 1


def move(cur: Cursor, old_id: int, new_id: int, name: str) -> None:
    """A group has a new id now: it stays let in, and under the old one nobody is."""
    cur.later("DELETE FROM allowed WHERE id = %s", (old_id,))
    add(cur, new_id, name)
