"""Table inbox: every update once, and which of them still wait for an answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lib.db import Cursor

MOST_ATTEMPTS = 3
LATEST = 100_000  # so many rows story() looks through, some tenths of a second at most


@dataclass(frozen=True)
class Waiting:
    """A message in a worker's hands. `attempt` counts from 1, and is the proof that it is still ours."""

    id: int
    correlation_id: str
    chat_id: int
    user_id: int
    conversation: int
    body: str
    attempt: int


def add(
    cur: Cursor,
    bot_id: int,
    update_id: int,
    correlation_id: str,
    *,
    kind: str,
    state: str,
    chat_id: int | None = None,
    user_id: int | None = None,
    message_id: int | None = None,
    body: str | None = None,
    raw: dict[str, Any] | None = None,
) -> None:
    """Store an update, in the conversation that runs in its chat.

    Raises db.Duplicate, now or at the COMMIT, when it was stored before: all that follows from it was done then.
    """
    cur.later(
        # chats is read here, and not by its owner: this is the way to Claude, and a round trip more would be felt.
        "INSERT INTO inbox (bot_id, update_id, correlation_id, kind, state, chat_id, user_id, message_id, body, raw,"
        " conversation) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s,"
        " coalesce((SELECT conversation FROM chats WHERE chat_id = %s), 0))",
        (
            *(bot_id, update_id, correlation_id, kind, state, chat_id, user_id, message_id, body),
            json.dumps(raw) if raw else None,
            chat_id,
        ),
    )


def claim(cur: Cursor, chat_id: int) -> Waiting | None:
    """The chat's oldest waiting message, its attempt counted; None also while an earlier answer is not sent yet.

    Committed by the statement itself, before anyone works on it. Needs the chat's lock.
    """
    # This commit does not wait for the disk. It outlives a kill of ours all the same; a crash of PostgreSQL may forget
    # that an attempt was begun, and then it is begun again.
    cur.later("SELECT set_config('synchronous_commit', 'off', true)")
    cur.execute(
        "UPDATE inbox SET attempts = attempts + 1 WHERE state = 'waiting' AND id ="
        " (SELECT id FROM inbox WHERE chat_id = %(chat)s AND state = 'waiting' ORDER BY id LIMIT 1)"
        # outbox is read here, and not by its owner, for the same reason as chats above.
        " AND NOT EXISTS (SELECT FROM outbox WHERE sender = 'worker' AND chat_id = %(chat)s"
        " AND state IN ('pending', 'sending'))"
        " RETURNING id, correlation_id, chat_id, user_id, conversation, body, attempts",
        {"chat": chat_id},
    )
    row = cur.fetchone()
    return Waiting(*row) if row else None


def settle(cur: Cursor, message: Waiting, state: str) -> bool:
    """Mark it answered, failed or set_aside. False: it is no longer ours (another worker took it meanwhile)."""
    cur.execute(
        "UPDATE inbox SET state = %s WHERE id = %s AND state = 'waiting' AND attempts = %s",
        (state, message.id, message.attempt),
    )
    return cur.rowcount == 1


def release(cur: Cursor, message: Waiting) -> None:
    """Give an untouched message back, if it is still ours: this attempt does not count."""
    cur.execute(
        "UPDATE inbox SET attempts = attempts - 1 WHERE id = %s AND state = 'waiting' AND attempts = %s",
        (message.id, message.attempt),
    )


def retry(cur: Cursor, chat_id: int, conversation: int) -> bool:
    """Let the chat's last message wait again, in this conversation. False: it has not failed."""
    cur.execute(
        "UPDATE inbox SET state = 'waiting', attempts = 0, conversation = %s WHERE state = 'failed' AND id ="
        " (SELECT id FROM inbox WHERE chat_id = %s AND body IS NOT NULL ORDER BY id DESC LIMIT 1)",
        (conversation, chat_id),
    )
    return cur.rowcount == 1


def edit(cur: Cursor, bot_id: int, chat_id: int, message_id: int, body: str) -> bool:
    """Take over an edited text. False: too late, somebody has begun with the old one."""
    message = {"bot": bot_id, "chat": chat_id, "message": message_id, "body": body}
    cur.execute(
        "UPDATE inbox SET body = %(body)s WHERE bot_id = %(bot)s AND chat_id = %(chat)s AND message_id = %(message)s"
        " AND body IS NOT NULL AND state = 'waiting' AND attempts = 0",
        message,
    )
    if cur.rowcount:
        return True
    # Telegram reports an edit also when only a link preview has come: then the text is the same.
    cur.execute(
        "SELECT EXISTS (SELECT FROM inbox WHERE bot_id = %(bot)s AND chat_id = %(chat)s"
        " AND message_id = %(message)s AND body = %(body)s)",
        message,
    )
    row = cur.fetchone()
    return bool(row and row[0])


def waiting_chats(cur: Cursor) -> list[int]:
    """Chats with something waiting: first those where somebody had begun, then the longest waiting."""
    cur.execute(
        "SELECT chat_id FROM inbox WHERE state = 'waiting' GROUP BY chat_id ORDER BY max(attempts) > 0 DESC, min(id)"
    )
    return [row[0] for row in cur.fetchall()]


def has_waiting(cur: Cursor, chat_id: int) -> bool:
    cur.execute("SELECT EXISTS (SELECT FROM inbox WHERE chat_id = %s AND state = 'waiting')", (chat_id,))
    row = cur.fetchone()
    return bool(row and row[0])


def backlog(cur: Cursor) -> tuple[int, float]:
    """How many messages wait, and for how many seconds the oldest has."""
    cur.execute(
        "SELECT count(*), coalesce(extract(epoch FROM now() - min(received_at)), 0) FROM inbox WHERE state = 'waiting'"
    )
    row = cur.fetchone()
    return (int(row[0]), float(row[1])) if row else (0, 0.0)


@dataclass(frozen=True)
class Received:
    """An update, without what was in it."""

    at: datetime
    kind: str
    chat_id: int | None
    user_id: int | None
    state: str
    attempts: int


def story(cur: Cursor, correlation_id: str) -> list[Received]:
    """The update with this id, if it is among the latest: no message pays for an index that only its owner asks for."""
    cur.execute(
        "SELECT received_at, kind, chat_id, user_id, state, attempts FROM"
        " (SELECT * FROM inbox ORDER BY id DESC LIMIT %s) AS latest WHERE correlation_id = %s",
        (LATEST, correlation_id),
    )
    return [Received(*row) for row in cur.fetchall()]
