"""Table chats, and the lock of a chat: one worker at a time, and nothing sent before its time."""

from __future__ import annotations

from lib.db import Cursor


def lock(cur: Cursor, chat_id: int) -> bool:
    """Try to become the only worker of this chat. False: another one is, or nothing may be sent there yet.

    A session-level advisory lock: it ends with unlock(), or with the connection, so a killed worker holds nothing.
    """
    cur.execute(
        "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
        " WHERE NOT EXISTS (SELECT FROM chats WHERE chat_id = %s AND not_before > now())",
        (f"chat {chat_id}", chat_id),
    )
    row = cur.fetchone()
    return bool(row and row[0])


def unlock(cur: Cursor, chat_id: int) -> None:
    cur.later("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (f"chat {chat_id}",))


def hold(cur: Cursor, chat_id: int, seconds: float) -> None:
    """Send nothing to this chat for so long; a longer hold already there stays."""
    cur.later(
        "INSERT INTO chats (chat_id, not_before) VALUES (%(chat)s, now() + %(s)s * interval '1 second')"
        " ON CONFLICT (chat_id) DO UPDATE SET not_before = GREATEST(chats.not_before, EXCLUDED.not_before)",
        {"chat": chat_id, "s": min(seconds, 86400.0)},
    )


def held(cur: Cursor) -> set[int]:
    """The chats to which nothing may be sent now."""
    cur.execute("SELECT chat_id FROM chats WHERE not_before > now()")
    return {row[0] for row in cur.fetchall()}


def conversation(cur: Cursor, chat_id: int) -> int:
    """The number of the conversation that runs in this chat; 0 before the first /new."""
    cur.execute("SELECT conversation FROM chats WHERE chat_id = %s", (chat_id,))
    row = cur.fetchone()
    return int(row[0]) if row else 0


def start_conversation(cur: Cursor, chat_id: int) -> None:
    """Begin a new conversation: messages that come from now on see nothing older."""
    cur.later(
        "INSERT INTO chats (chat_id, conversation) VALUES (%s, 1)"
        " ON CONFLICT (chat_id) DO UPDATE SET conversation = chats.conversation + 1",
        (chat_id,),
    )


def spoke(cur: Cursor, chat_id: int, language: str) -> None:
    """Somebody who may write has written there, with this language code: so the chat is not gone."""
    cur.later(
        "INSERT INTO chats (chat_id, language) VALUES (%s, %s)"
        " ON CONFLICT (chat_id) DO UPDATE SET language = EXCLUDED.language, gone_at = NULL"
        " WHERE chats.language <> EXCLUDED.language OR chats.gone_at IS NOT NULL",
        (chat_id, language),
    )


def language(cur: Cursor, chat_id: int) -> str:
    """The language code of whoever wrote there last; "" when nobody has, or it is not known."""
    cur.execute("SELECT language FROM chats WHERE chat_id = %s", (chat_id,))
    row = cur.fetchone()
    return str(row[0]) if row else ""


def tell_stranger(cur: Cursor, chat_id: int) -> bool:
    """Whether this stranger is to be told now that we do not know them: True at most once in 24 hours."""
    cur.execute(
        "INSERT INTO chats (chat_id, stranger_told_at) VALUES (%s, now())"
        " ON CONFLICT (chat_id) DO UPDATE SET stranger_told_at = now()"
        " WHERE chats.stranger_told_at IS NULL OR chats.stranger_told_at <= now() - interval '24 hours'",
        (chat_id,),
    )
    return cur.rowcount == 1


def gone(cur: Cursor, chat_id: int) -> None:
    """Nothing arrives there any more: the bot was blocked or removed, until somebody writes again."""
    cur.later(
        "INSERT INTO chats (chat_id, gone_at) VALUES (%s, now())"
        " ON CONFLICT (chat_id) DO UPDATE SET gone_at = coalesce(chats.gone_at, now())",
        (chat_id,),
    )
