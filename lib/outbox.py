"""Table outbox: everything Steward has to say, part by part, and whether it arrived."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from lib.db import Cursor

LATEST = 100_000  # so many rows story() looks through, some tenths of a second at most

Buttons = Sequence[Sequence[tuple[str, str]]]  # rows of (label, callback data)


@dataclass(frozen=True)
class Saying:
    """What is to be said in one message: plain text, Markdown of at most lib/text.py's LONGEST, or a file."""

    body: str
    markdown: bool = False
    document: str | None = None  # the name of the file that the body is sent as
    buttons: Buttons | None = None
    edits: int | None = None  # the message of ours that this one replaces
    reply_to: int | None = None


@dataclass(frozen=True)
class Part:
    """One message to be sent. `repeat`: an earlier try may have arrived."""

    id: int
    correlation_id: str
    chat_id: int
    part: int
    parts: int
    body: str
    attempts: int
    repeat: bool
    language: str  # of the chat
    gone: bool  # nothing arrives in the chat
    markdown: bool = False
    document: str | None = None
    buttons: Buttons | None = None
    edits: int | None = None
    reply_to: int | None = None


def add(cur: Cursor, sender: str, chat_id: int, correlation_id: str, sayings: Sequence[str | Saying]) -> None:
    """Have `sender` (bot or worker) say this to the chat, in one message each. A string is said as plain text."""
    for number, given in enumerate(sayings, 1):
        saying = given if isinstance(given, Saying) else Saying(given)
        buttons = json.dumps(saying.buttons) if saying.buttons else None
        cur.later(
            "INSERT INTO outbox (sender, chat_id, correlation_id, part, parts, body,"
            " markdown, document, buttons, edits, reply_to) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                *(sender, chat_id, correlation_id, number, len(sayings), saying.body),
                *(saying.markdown, saying.document, buttons, saying.edits, saying.reply_to),
            ),
        )


class Begun(NamedTuple):
    """What is to be sent now, and whether something is left to be sent, now or later."""

    part: Part | None
    left: bool


def begin(cur: Cursor, sender: str, chat_id: int) -> Begun:
    """The chat's oldest open part, marked as being sent; none while nothing may be sent there. Commit before sending.

    Only one process may call this for a sender and chat at a time (the worker's lock of the chat; the one polling
    bot): so a part that is found marked already was in the hands of one that died, and its fate is unknown.
    """
    cur.execute(
        # chats is read here, and not by its owner: a round trip more for each message would be felt.
        "WITH oldest AS (SELECT id FROM outbox WHERE sender = %(sender)s AND chat_id = %(chat)s"
        " AND state IN ('pending', 'sending') ORDER BY id LIMIT 1),"
        " begun AS (UPDATE outbox"
        " SET state = 'sending', attempts = attempts + 1, maybe_repeat = maybe_repeat OR state = 'sending'"
        " WHERE id = (SELECT id FROM oldest)"
        " AND NOT EXISTS (SELECT FROM chats WHERE chat_id = %(chat)s AND not_before > now())"
        " RETURNING id, correlation_id, chat_id, part, parts, body, attempts, maybe_repeat,"
        " coalesce((SELECT language FROM chats WHERE chats.chat_id = outbox.chat_id), ''),"
        " EXISTS (SELECT FROM chats WHERE chats.chat_id = outbox.chat_id AND gone_at IS NOT NULL),"
        " markdown, document, buttons, edits, reply_to)"
        " SELECT begun.* FROM oldest LEFT JOIN begun ON true",
        {"sender": sender, "chat": chat_id},
    )
    row = cur.fetchone()
    return Begun(Part(*row) if row and row[0] is not None else None, row is not None)


def sent(cur: Cursor, part: Part, message_id: int) -> bool:
    """It arrived. False: the part is no longer ours."""
    cur.execute(
        "UPDATE outbox SET state = 'sent', message_id = %s, sent_at = now()"
        " WHERE id = %s AND state = 'sending' AND attempts = %s",
        (message_id, part.id, part.attempts),
    )
    return cur.rowcount == 1


def not_sent(cur: Cursor, part: Part, *, maybe_arrived: bool) -> bool:
    """It waits for another try. False: the part is no longer ours."""
    cur.execute(
        "UPDATE outbox SET state = 'pending', maybe_repeat = maybe_repeat OR %s"
        " WHERE id = %s AND state = 'sending' AND attempts = %s",
        (maybe_arrived, part.id, part.attempts),
    )
    return cur.rowcount == 1


def refused(cur: Cursor, part: Part) -> bool:
    """Telegram will never take it. False: the part is no longer ours."""
    cur.execute(
        "UPDATE outbox SET state = 'refused' WHERE id = %s AND state = 'sending' AND attempts = %s",
        (part.id, part.attempts),
    )
    return cur.rowcount == 1


def reshaped(cur: Cursor, part: Part) -> bool:
    """From now on it is sent as `part` says: another form, no longer as an edit, as a repeat. False: it is no longer
    ours."""
    cur.execute(
        "UPDATE outbox SET markdown = %s, document = %s, edits = %s, maybe_repeat = %s"
        " WHERE id = %s AND state = 'sending' AND attempts = %s",
        (part.markdown, part.document, part.edits, part.repeat, part.id, part.attempts),
    )
    return cur.rowcount == 1


def refuse_all(cur: Cursor, sender: str, chat_id: int) -> list[str]:
    """Nothing that `sender` still has to say will ever reach this chat. The correlation ids of the parts, in order."""
    cur.execute(
        "WITH given_up AS (UPDATE outbox SET state = 'refused' WHERE sender = %s AND chat_id = %s"
        " AND state IN ('pending', 'sending') RETURNING id, correlation_id)"
        " SELECT correlation_id FROM given_up ORDER BY id",
        (sender, chat_id),
    )
    return [str(row[0]) for row in cur.fetchall()]


def cut_short(cur: Cursor, chat_id: int) -> int:
    """What the worker has not yet sent to this chat is not sent at all, but for a part that is on its way; how many
    parts that were."""
    cur.execute(
        "UPDATE outbox SET state = 'refused' WHERE sender = 'worker' AND chat_id = %s AND state = 'pending'", (chat_id,)
    )
    return cur.rowcount


def move(cur: Cursor, sender: str, chat_id: int, new_id: int) -> None:
    """What `sender` still has to say to this group goes to the supergroup it has become, where the messages have other
    ids. Nothing of it may be on its way."""
    cur.execute(
        "UPDATE outbox SET chat_id = %s, state = 'pending', edits = NULL, reply_to = NULL"
        " WHERE sender = %s AND chat_id = %s AND state IN ('pending', 'sending')",
        (new_id, sender, chat_id),
    )


def open_chats(cur: Cursor, sender: str) -> list[int]:
    """Chats with something left to be sent, the longest waiting first."""
    cur.execute(
        "SELECT chat_id FROM outbox WHERE sender = %s AND state IN ('pending', 'sending')"
        " GROUP BY chat_id ORDER BY min(id)",
        (sender,),
    )
    return [row[0] for row in cur.fetchall()]


def oldest(cur: Cursor) -> float:
    """For how many seconds the oldest part has waited to be sent; 0 when none does."""
    cur.execute(
        "SELECT coalesce(extract(epoch FROM now() - min(made_at)), 0) FROM outbox WHERE state IN ('pending', 'sending')"
    )
    row = cur.fetchone()
    return float(row[0]) if row else 0.0


@dataclass(frozen=True)
class Said:
    """What was said to a chat in one go, without what it was: how its parts fared."""

    at: datetime
    chat_id: int
    parts: int
    sent: int
    refused: int
    repeat: bool  # one of them may have arrived twice
    sent_at: datetime | None  # the last one


def story(cur: Cursor, correlation_id: str) -> list[Said]:
    """What was said with this id, in time order, if it is among the latest: as in lib/inbox.py no index is paid for."""
    cur.execute(
        "SELECT min(made_at), min(chat_id), count(*), count(*) FILTER (WHERE state = 'sent'),"
        " count(*) FILTER (WHERE state = 'refused'), bool_or(maybe_repeat), max(sent_at) FROM"
        " (SELECT *, count(*) FILTER (WHERE part = 1) OVER (ORDER BY id) AS saying FROM"
        " (SELECT * FROM outbox ORDER BY id DESC LIMIT %s) AS latest WHERE correlation_id = %s) AS said"
        " GROUP BY saying ORDER BY saying",
        (LATEST, correlation_id),
    )
    return [Said(*row) for row in cur.fetchall()]


def forget(cur: Cursor, user_id: int, correlation_ids: Sequence[str]) -> int:
    """Nothing stays of what was said in the private chat of this person, and with these ids in groups; what of it is
    not sent yet never will be. How many parts."""
    cur.execute(
        "UPDATE outbox SET body = '-', document = NULL, buttons = NULL,"
        " state = CASE WHEN state IN ('pending', 'sending') THEN 'refused' ELSE state END"
        " WHERE chat_id = %s OR (chat_id < 0 AND correlation_id = ANY (%s::uuid[]))",
        (user_id, list(correlation_ids)),
    )
    return cur.rowcount


def forget_answers(cur: Cursor, correlation_ids: Sequence[str]) -> None:
    """Nothing stays of what was answered with these ids."""
    cur.later(
        "UPDATE outbox SET body = '-' WHERE sender = 'worker' AND correlation_id = ANY (%s::uuid[])"
        " AND state IN ('sent', 'refused')",
        (list(correlation_ids),),
    )


def forget_quoted(cur: Cursor, chat_id: int) -> None:
    """Nothing stays of the messages in which the bot quoted what this chat's person has said: lists of memories, which
    have buttons, and files."""
    cur.later(
        "UPDATE outbox SET body = '-' WHERE chat_id = %s AND sender = 'bot' AND state IN ('sent', 'refused')"
        " AND (buttons IS NOT NULL OR document IS NOT NULL)",
        (chat_id,),
    )
