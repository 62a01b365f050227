"""Table inbox: every update once, which of them belong together, and which still wait for an answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lib.db import Cursor
from lib.files import File, dump, load

MOST_ATTEMPTS = 3
DRAFTS = 2**31
MOST_MESSAGES = 50  # in one turn
MOST_BRACKETS = 5000  # PostgreSQL's stack is deep enough for twice as many
LATEST = 100_000  # so many rows story() looks through, some tenths of a second at most


@dataclass(frozen=True)
class Waiting:
    """A turn in a worker's hands: one message, or several that belong together. `attempt` counts from 1, and is the
    proof that it is still ours."""

    id: int  # of its first message, as are the next three
    correlation_id: str
    user_id: int
    message_id: int
    chat_id: int
    conversation: int
    body: str
    files: tuple[File, ...]
    attempt: int
    messages: int
    stop_asked: bool
    preview_id: int | None  # where an answer that was broken off has begun to grow, in a group
    language: str  # of the chat

    @property
    def draft_id(self) -> int:
        """For Telegram, which wants a 32-bit number that is not zero."""
        return self.id % DRAFTS or 1


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
    files: Sequence[File] = (),
    said_at: int = 0,
    wait: float = 0.0,
) -> str | None:
    """Store an update, in the conversation that runs in its chat.

    One that waits for an answer is given `wait` seconds for more to come. It joins the turn before it, whose
    correlation id is returned, if that is of the same person, nobody has begun with it, and it still waits for more.
    By `said_at` (Telegram's clock, whole seconds) they must have been written together too: what comes all at once
    after an outage is not one turn.

    Raises db.Duplicate, now or at the COMMIT, when it was stored before: all that follows from it was done then.
    """
    values = {
        **{"bot": bot_id, "update": update_id, "id": correlation_id, "kind": kind, "state": state, "chat": chat_id},
        **{"user": user_id, "message": message_id, "body": body, "raw": _as_json(raw) if raw else None},
        "files": json.dumps(dump(files)) if files else None,
        "said": said_at or None,
        "wait": wait,
        "most": MOST_MESSAGES,
    }
    # Later, or now when the answer is needed.
    (cur.execute if state == "waiting" else cur.later)(
        # chats is read here, and not by its owner: this is the way to Claude, and a round trip more would be felt.
        # Locked, so that no worker begins with the turn meanwhile; one that had to wait for this finds it not ready.
        "WITH joined AS (SELECT coalesce(turn, id) AS first FROM inbox WHERE %(state)s = 'waiting' AND id ="
        " (SELECT id FROM inbox WHERE chat_id = %(chat)s AND body IS NOT NULL ORDER BY id DESC LIMIT 1)"
        " AND state = 'waiting' AND attempts = 0 AND NOT stop_asked AND user_id = %(user)s AND bot_id = %(bot)s"
        " AND conversation = coalesce((SELECT conversation FROM chats WHERE chat_id = %(chat)s), 0)"
        " AND ready_at >= now()"
        " AND abs(extract(epoch FROM said_at) - %(said)s) <= 1 + floor(extract(epoch FROM ready_at - received_at))"
        " FOR UPDATE),"
        " joins AS (SELECT first FROM joined WHERE (SELECT count(*) FROM inbox WHERE chat_id = %(chat)s"
        " AND state = 'waiting' AND coalesce(turn, id) = first) < %(most)s),"
        " longer AS (UPDATE inbox SET ready_at = now() + %(wait)s * interval '1 second' WHERE chat_id = %(chat)s"
        " AND state = 'waiting' AND coalesce(turn, id) = (SELECT first FROM joins) RETURNING id, correlation_id),"
        " added AS (INSERT INTO inbox (bot_id, update_id, correlation_id, kind, state, chat_id, user_id, message_id,"
        " body, raw, files, said_at, conversation, turn, ready_at) SELECT %(bot)s, %(update)s, %(id)s, %(kind)s,"
        " %(state)s, %(chat)s, %(user)s, %(message)s, %(body)s, %(raw)s::json, %(files)s::json, to_timestamp(%(said)s),"
        " coalesce((SELECT conversation FROM chats WHERE chat_id = %(chat)s), 0), (SELECT first FROM joins),"
        " now() + %(wait)s * interval '1 second' RETURNING turn)"
        " SELECT longer.correlation_id FROM longer JOIN added ON longer.id = added.turn",
        values,
    )
    if state != "waiting":
        return None
    row = cur.fetchone()
    return str(row[0]) if row else None


def _as_json(raw: dict[str, Any]) -> str:
    """An update as the table takes it. Python reads more than that as JSON, such as the number 1e999, or what is nested
    so deeply that PostgreSQL gives up: that is kept as text."""
    try:
        written = json.dumps(raw, allow_nan=False)
    except ValueError:
        written = ""
    is_taken = written and written.count("[") + written.count("{") < MOST_BRACKETS
    return written if is_taken else json.dumps({"as_text": json.dumps(raw)})


def claim(cur: Cursor, chat_id: int) -> Waiting | None:
    """The chat's oldest waiting turn, its attempt counted; None while it is not ready, and also while an earlier
    answer is not sent yet.

    Committed by the statement itself, before anyone works on it. Needs the chat's lock.
    """
    # This commit does not wait for the disk. It outlives a kill of ours all the same; a crash of PostgreSQL may forget
    # that an attempt was begun, and then it is begun again.
    cur.later("SELECT set_config('synchronous_commit', 'off', true)")
    cur.execute(
        "UPDATE inbox SET attempts = attempts + 1 WHERE chat_id = %(chat)s AND state = 'waiting'"
        " AND coalesce(turn, id) = (SELECT coalesce(turn, id) FROM inbox WHERE chat_id = %(chat)s"
        " AND state = 'waiting' ORDER BY id LIMIT 1)"
        " AND (ready_at IS NULL OR ready_at <= now())"
        # outbox is read here, and not by its owner, for the same reason as chats above.
        " AND NOT EXISTS (SELECT FROM outbox WHERE sender = 'worker' AND chat_id = %(chat)s"
        " AND state IN ('pending', 'sending'))"
        " RETURNING id, correlation_id, user_id, message_id, conversation, body, files, attempts, stop_asked,"
        " coalesce((SELECT language FROM chats WHERE chat_id = %(chat)s), ''), preview_id",
        {"chat": chat_id},
    )
    rows = sorted(cur.fetchall())
    if not rows:
        return None
    number, correlation_id, user_id, message_id, conversation, _, _, attempt, _, language, preview_id = rows[0]
    return Waiting(
        id=number,
        correlation_id=correlation_id,
        user_id=user_id,
        message_id=message_id or 0,
        chat_id=chat_id,
        conversation=conversation,
        body="\n".join(row[5] for row in rows if row[5]),
        files=tuple(one for row in rows for one in load(row[6])),
        attempt=attempt,
        messages=len(rows),
        stop_asked=any(row[8] for row in rows),
        language=language,
        preview_id=preview_id,
    )


def settle(cur: Cursor, turn: Waiting, state: str, recalled: Sequence[int] = ()) -> bool:
    """Mark it answered, failed or set_aside. False: it is no longer ours (another worker took it meanwhile).

    `recalled`: the turns that were recalled for the answer, best first.
    """
    cur.execute(
        "UPDATE inbox SET state = %(state)s, recalled = %(recalled)s, preview_id = NULL"
        " WHERE chat_id = %(chat)s AND state = 'waiting' AND coalesce(turn, id) = %(id)s AND attempts = %(attempt)s",
        _ours(turn) | {"state": state, "recalled": list(recalled) or None},
    )
    return cur.rowcount > 0


def release(cur: Cursor, turn: Waiting) -> None:
    """Give an untouched turn back, if it is still ours: this attempt does not count."""
    cur.execute(
        "UPDATE inbox SET attempts = attempts - 1 WHERE chat_id = %(chat)s AND state = 'waiting'"
        " AND coalesce(turn, id) = %(id)s AND attempts = %(attempt)s",
        _ours(turn),
    )


def unwanted(cur: Cursor, turn: Waiting) -> bool:
    """Whether nobody wants more of the answer to this turn: its person, or who has forgotten or dismissed it."""
    cur.execute("SELECT EXISTS (SELECT FROM inbox WHERE id = %s AND (stop_asked OR state = 'noted'))", (turn.id,))
    row = cur.fetchone()
    return bool(row and row[0])


def preview(cur: Cursor, turn: Waiting, message_id: int) -> None:
    """Remember in which message of a group the answer to this turn grows: whoever has to begin again goes on in it."""
    cur.later(
        "UPDATE inbox SET preview_id = %(message)s WHERE id = %(id)s AND state IN ('waiting', 'noted')"
        " AND attempts = %(attempt)s",
        _ours(turn) | {"message": message_id},
    )


def left_behind(cur: Cursor, turn: Waiting) -> int | None:
    """The message in which the answer had begun to grow, if this turn was forgotten or dismissed; told only once."""
    cur.execute(
        "WITH found AS (SELECT id, preview_id FROM inbox WHERE id = %s AND state = 'noted' FOR UPDATE)"
        " UPDATE inbox SET preview_id = NULL FROM found WHERE inbox.id = found.id RETURNING found.preview_id",
        (turn.id,),
    )
    row = cur.fetchone()
    return row[0] if row else None


def _ours(turn: Waiting) -> dict[str, Any]:
    return {"chat": turn.chat_id, "id": turn.id, "attempt": turn.attempt}


def stop(cur: Cursor, chat_id: int) -> tuple[str, int | None]:
    """End the answer that is being written in this chat, or else give up the turn that is next.

    "begun": a worker ends it, and says so; "waiting": nobody is at it, it is given up now; "nothing" was there. With
    "waiting" comes the message, if there is one, in which a worker that had to end had let the answer grow.
    """
    chat = {"chat": chat_id}
    begun = "UPDATE inbox SET stop_asked = true WHERE chat_id = %(chat)s AND state = 'waiting' AND attempts > 0"
    waiting = (
        "UPDATE inbox SET state = 'failed' WHERE chat_id = %(chat)s AND state = 'waiting' AND attempts = 0"
        " AND coalesce(turn, id) = (SELECT coalesce(turn, id) FROM inbox WHERE chat_id = %(chat)s"
        " AND state = 'waiting' ORDER BY id LIMIT 1)"
    )
    returning = " RETURNING preview_id"
    # The third: a worker has begun between the first two.
    for sql, found in ((begun, "begun"), (waiting, "waiting"), (begun, "begun")):
        cur.execute(sql + returning, chat)
        if rows := cur.fetchall():
            shown = next((row[0] for row in rows if row[0] is not None), None)
            return found, shown if found == "waiting" else None
    return "nothing", None


def stop_draft(cur: Cursor, chat_id: int, draft_id: int) -> bool:
    """End the answer that is shown in this draft. False: it is no longer being written."""
    cur.execute(
        "UPDATE inbox SET stop_asked = true WHERE chat_id = %s AND state = 'waiting' AND attempts > 0"
        " AND greatest(coalesce(turn, id) %% %s, 1) = %s",
        (chat_id, DRAFTS, draft_id),
    )
    return cur.rowcount > 0


def retry(cur: Cursor, chat_id: int, conversation: int) -> bool:
    """Let the chat's last turn wait again, in this conversation, whatever became of it. False: there is none, or it
    waits already."""
    cur.execute(
        "UPDATE inbox SET state = 'waiting', attempts = 0, stop_asked = false, ready_at = NULL,"
        " preview_id = NULL, conversation = %(conversation)s WHERE chat_id = %(chat)s AND body IS NOT NULL"
        " AND state IN ('answered', 'failed', 'set_aside') AND id >= (SELECT coalesce(turn, id) FROM inbox"
        " WHERE chat_id = %(chat)s AND body IS NOT NULL ORDER BY id DESC LIMIT 1)"
        " AND coalesce(turn, id) = (SELECT coalesce(turn, id) FROM inbox"
        " WHERE chat_id = %(chat)s AND body IS NOT NULL ORDER BY id DESC LIMIT 1)",
        {"chat": chat_id, "conversation": conversation},
    )
    return cur.rowcount > 0


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


def ready_in(cur: Cursor, chat_id: int) -> float | None:
    """In how many seconds the chat's oldest waiting turn may be begun; 0 or less: now; None: nothing waits."""
    cur.execute(
        "SELECT coalesce(extract(epoch FROM ready_at - now()), 0) FROM inbox"
        " WHERE chat_id = %s AND state = 'waiting' ORDER BY id LIMIT 1",
        (chat_id,),
    )
    row = cur.fetchone()
    return float(row[0]) if row else None


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


def dismiss(cur: Cursor, chat_id: int) -> int:
    """What waits in this chat is no longer answered; how many messages that are. A private chat has its person's id."""
    cur.execute("UPDATE inbox SET state = 'noted' WHERE chat_id = %s AND state = 'waiting'", (chat_id,))
    return cur.rowcount


def is_fresh(cur: Cursor, bot_id: int, update_id: int, user_id: int, seconds: float) -> bool:
    """Whether this update came from this person, and not longer ago than so many seconds."""
    cur.execute(
        "SELECT EXISTS (SELECT FROM inbox WHERE bot_id = %s AND update_id = %s AND user_id = %s"
        " AND received_at > now() - %s * interval '1 second')",
        (bot_id, update_id, user_id, seconds),
    )
    row = cur.fetchone()
    return bool(row and row[0])


def recalled(cur: Cursor, chat_id: int, asked: int | None = None) -> tuple[int, list[int]] | None:
    """The chat's last answered turn, or the one named, and the turns that were recalled for it, best first."""
    cur.execute(
        "SELECT id, coalesce(recalled, '{}') FROM inbox WHERE chat_id = %(chat)s AND body IS NOT NULL"
        " AND state = 'answered' AND turn IS NULL AND id = coalesce(%(asked)s, id) ORDER BY id DESC LIMIT 1",
        {"chat": chat_id, "asked": asked},
    )
    row = cur.fetchone()
    return (int(row[0]), list(row[1])) if row else None


def forget(cur: Cursor, user_id: int) -> tuple[int, list[str]]:
    """Nothing stays of what this person wrote, and what of it waits is no longer answered.

    How many messages had something in them, and the correlation ids of those in groups.
    """
    cur.execute(
        "UPDATE inbox SET body = NULL, raw = NULL, files = NULL, recalled = NULL,"
        " state = CASE state WHEN 'waiting' THEN 'noted' ELSE state END"
        " WHERE (user_id = %(user)s OR chat_id = %(user)s)"
        " AND (body IS NOT NULL OR raw IS NOT NULL OR files IS NOT NULL OR recalled IS NOT NULL OR state = 'waiting')"
        " RETURNING chat_id, correlation_id",
        {"user": user_id},
    )
    rows = cur.fetchall()
    return len(rows), [found for chat_id, found in rows if chat_id is not None and chat_id < 0]


def forget_turn(cur: Cursor, user_id: int, turn: int) -> list[str]:
    """Nothing stays of the messages of this person's turn; their correlation ids."""
    cur.execute(
        "UPDATE inbox SET body = NULL, raw = NULL, files = NULL, recalled = NULL"
        " WHERE (id = %(turn)s OR turn = %(turn)s) AND user_id = %(user)s AND state <> 'waiting'"
        " RETURNING correlation_id",
        {"turn": turn, "user": user_id},
    )
    return [row[0] for row in cur.fetchall()]
