"""Table unindexed: turns whose place in Qdrant has to be brought up to date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lib.db import Cursor

LOCK = "unindexed"


@dataclass(frozen=True)
class Due:
    """A row, and the turn it is about."""

    id: int
    inbox_id: int


def add(cur: Cursor, inbox_id: int) -> None:
    """This turn is new, changed or gone."""
    cur.later("INSERT INTO unindexed (inbox_id) VALUES (%s)", (inbox_id,))


def add_each(cur: Cursor, inbox_ids: Sequence[int]) -> None:
    """These turns are changed or gone. Also those that are queued: who has read one may yet write the old words."""
    cur.later("INSERT INTO unindexed (inbox_id) SELECT unnest(%s::bigint[])", (list(inbox_ids),))


def add_all(cur: Cursor, inbox_ids: Sequence[int]) -> None:
    """Queue all of these that are not queued yet, whatever became of them."""
    cur.later(
        "INSERT INTO unindexed (inbox_id) SELECT id FROM unnest(%s::bigint[]) AS id"
        " WHERE id NOT IN (SELECT inbox_id FROM unindexed) ORDER BY id",
        (list(inbox_ids),),
    )


def lock(cur: Cursor) -> bool:
    """Try to become the only one who works on the queue: of two, the slower could write what is out of date by then.

    Until unlock(), or until the connection ends.
    """
    cur.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (LOCK,))
    row = cur.fetchone()
    return bool(row and row[0])


def unlock(cur: Cursor) -> None:
    cur.later("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (LOCK,))


def next(cur: Cursor, most: int) -> list[Due]:
    """The oldest rows."""
    cur.execute("SELECT id, inbox_id FROM unindexed ORDER BY id LIMIT %s", (most,))
    return [Due(*row) for row in cur.fetchall()]


def done(cur: Cursor, rows: Sequence[Due]) -> None:
    """Qdrant has what these say. A turn that changed meanwhile has another row by now, which stays."""
    cur.later("DELETE FROM unindexed WHERE id = ANY (%s)", ([row.id for row in rows],))


def count(cur: Cursor) -> int:
    cur.execute("SELECT count(*) FROM unindexed")
    row = cur.fetchone()
    return int(row[0]) if row else 0
