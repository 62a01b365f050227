"""Table key_check: which master key the database is sealed with."""

from __future__ import annotations

from lib.db import Cursor


def load(cur: Cursor) -> bytes | None:
    """The fingerprint of the key; None before the first start. Until the transaction ends nobody can change it."""
    cur.execute("SELECT fingerprint FROM key_check FOR SHARE")
    row = cur.fetchone()
    return bytes(row[0]) if row else None


def write_first(cur: Cursor, fingerprint: bytes) -> bool:
    """Keep the fingerprint if there is none yet. False: there is one."""
    cur.execute("INSERT INTO key_check (fingerprint) VALUES (%s) ON CONFLICT DO NOTHING", (fingerprint,))
    return cur.rowcount == 1


def replace(cur: Cursor, old: bytes, new: bytes) -> bool:
    """Change the fingerprint. False: `old` is not the one that is there."""
    cur.execute("UPDATE key_check SET fingerprint = %s, made_at = now() WHERE fingerprint = %s", (new, old))
    return cur.rowcount == 1
