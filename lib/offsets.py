"""Table offsets: up to where this bot has confirmed Telegram's updates."""

from __future__ import annotations

from lib.db import Cursor


def load(cur: Cursor, bot_id: int) -> int | None:
    """Where to ask from, or None: then ask without an offset, and Telegram gives all that was never confirmed."""
    cur.execute("SELECT next_offset FROM offsets WHERE bot_id = %s", (bot_id,))
    row = cur.fetchone()
    return int(row[0]) if row else None


def move(cur: Cursor, bot_id: int, next_offset: int) -> None:
    """Confirm everything below `next_offset`. Never compared with the old one: ids may start anew anywhere."""
    cur.execute(
        "INSERT INTO offsets (bot_id, next_offset) VALUES (%s, %s)"
        " ON CONFLICT (bot_id) DO UPDATE SET next_offset = EXCLUDED.next_offset, moved_at = now()",
        (bot_id, next_offset),
    )


def take_polling(cur: Cursor) -> bool:
    """Become the only bot of this database, until the connection ends. False: another one is."""
    cur.execute("SELECT pg_try_advisory_lock(hashtextextended('the bot', 0))")
    row = cur.fetchone()
    return bool(row and row[0])
