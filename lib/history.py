"""Table history: the conversation as Claude sees it, and the cut that keeps it within a budget of tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from lib import files
from lib.db import Cursor
from lib.files import File


@dataclass(frozen=True)
class Turn:
    """One line of the conversation: what one side said in a turn, so that a question and its answer are two of these.
    The body is empty when only files were sent; `id` is the inbox_id of that turn, where it comes from the table.
    `fleeting`: the body begins with what is not kept."""

    role: Literal["user", "assistant"]
    body: str
    files: tuple[File, ...] = ()
    id: int | None = field(default=None, compare=False)
    fleeting: bool = field(default=False, compare=False)


def tokens(text: str, sent: Sequence[File] = ()) -> int:
    """An estimate of tokens that errs on the high side: a third of the UTF-8 bytes, plus a little for each turn, and
    what the files cost."""
    return len(text.encode("utf-8", "replace")) // 3 + 4 + sum(map(_tokens_of, sent))


def _tokens_of(file: File) -> int:
    """Anthropic's documentation ("Vision", "PDF support"): a picture takes width * height / 750 tokens, some 1600 at
    most, as larger ones are scaled down; a page of a PDF up to 3000 for its text and one picture of itself. Pages are
    told by the size of the PDF, 90 kB each: for one of nothing but text that is too few, for a scanned one too many.
    """
    if file.kind == "image":
        return 1600
    if file.kind == "pdf":
        return (file.size // 90_000 + 1) * 4600
    return file.size // 3 + 30


def load(cur: Cursor, chat_id: int, conversation: int, budget: int, except_inbox_id: int) -> list[Turn]:
    """The recent turns that fit into `budget` tokens, oldest first, without those of `except_inbox_id`.

    The beginning moves in steps of half the budget: from turn to turn the prompt only grows at its end, so that
    Claude's prompt cache serves it, and once in a while a whole half falls away.
    """
    cur.execute(
        "WITH newest AS (SELECT total FROM history WHERE chat_id = %(chat)s AND conversation = %(conversation)s"
        " ORDER BY total DESC LIMIT 1)"
        " SELECT role, body, files, inbox_id FROM history"
        " WHERE chat_id = %(chat)s AND conversation = %(conversation)s AND inbox_id <> %(except)s AND total >"
        " (SELECT (ceil(greatest(total - %(budget)s, 0)::numeric / %(step)s) * %(step)s)::bigint FROM newest)"
        " ORDER BY total",
        {
            "chat": chat_id,
            "conversation": conversation,
            "budget": budget,
            "step": max(budget // 2, 1),
            "except": except_inbox_id,
        },
    )
    turns = [_turn(role, body, files.load(sent), number) for role, body, sent, number in cur.fetchall()]
    while turns and turns[0].role != "user":  # Claude refuses a conversation that begins with its own words
        turns.pop(0)
    return turns


@dataclass(frozen=True)
class Exchange:
    """A question and its answer, which is empty when none came. `id` is the turn's inbox_id."""

    id: int
    chat_id: int
    user_id: int | None
    at: datetime
    question: str
    answer: str


def exchanges(cur: Cursor, ids: Sequence[int], longest: int) -> dict[int, Exchange]:
    """These turns by their ids, as far as they are here; of each text the first `longest` characters."""
    cur.execute(
        "SELECT inbox_id, min(chat_id), min(user_id), min(at),"
        " coalesce(min(left(body, %(longest)s)) FILTER (WHERE role = 'user'), ''),"
        " coalesce(min(left(body, %(longest)s)) FILTER (WHERE role = 'assistant'), '')"
        " FROM history WHERE inbox_id = ANY (%(ids)s) GROUP BY inbox_id",
        {"ids": list(ids), "longest": longest},
    )
    return {row[0]: Exchange(*row) for row in cur.fetchall()}


def ids(cur: Cursor, after: int, most: int) -> list[int]:
    """The ids of the turns of all chats above `after`, lowest first."""
    cur.execute(
        "SELECT DISTINCT inbox_id FROM history WHERE inbox_id > %s ORDER BY inbox_id LIMIT %s",
        (after, most),
    )
    return [row[0] for row in cur.fetchall()]


def _turn(role: Literal["user", "assistant"], body: str, sent: tuple[File, ...], number: int) -> Turn:
    return Turn(role, "" if sent and body == files.described(sent) else body, sent, number)


def add(
    cur: Cursor, chat_id: int, conversation: int, inbox_id: int, turns: list[Turn], user_id: int | None = None
) -> None:
    """Put the turns of one message at the end, in place of any that an earlier try left. Needs the chat's lock.

    `user_id` is who asked. The contents of files are not kept, only where they are.
    """
    cur.later("DELETE FROM history WHERE inbox_id = %s", (inbox_id,))
    for turn in turns:
        cur.later(
            "INSERT INTO history (chat_id, conversation, inbox_id, user_id, role, body, files, total)"
            " SELECT %(chat)s, %(conversation)s, %(inbox)s, %(user)s, %(role)s, %(body)s, %(files)s,"
            " %(tokens)s + coalesce(max(total), 0)"
            " FROM history WHERE chat_id = %(chat)s AND conversation = %(conversation)s",
            {
                "chat": chat_id,
                "conversation": conversation,
                "inbox": inbox_id,
                "user": user_id,
                "role": turn.role,
                "body": turn.body or files.described(turn.files),
                "files": json.dumps(kept) if (kept := files.dump(turn.files)) else None,
                "tokens": tokens(turn.body, turn.files),
            },
        )


def let_go(cur: Cursor, chat_id: int, conversation: int) -> None:
    """The files of this conversation are not shown again; its words stay."""
    cur.later(
        "UPDATE history SET files = NULL WHERE chat_id = %s AND conversation = %s AND files IS NOT NULL",
        (chat_id, conversation),
    )


@dataclass(frozen=True)
class Line:
    """One line of a conversation as its person may read it."""

    at: datetime
    chat_id: int
    conversation: int
    inbox_id: int
    role: Literal["user", "assistant"]
    body: str


def of_person(cur: Cursor, user_id: int) -> list[Line]:
    """All that is kept of this person: their private chat, and what they asked elsewhere; by conversation and time."""
    cur.execute(
        # A private chat has its person's id: user_id needs asking only in groups, where an index has it.
        "SELECT at, chat_id, conversation, inbox_id, role, body FROM history"
        " WHERE chat_id = %(user)s OR (chat_id < 0 AND user_id = %(user)s)"
        " ORDER BY chat_id <> %(user)s, chat_id, conversation, total",
        {"user": user_id},
    )
    return [Line(*row) for row in cur.fetchall()]


def questions(cur: Cursor, user_id: int, turns: Sequence[int]) -> dict[int, Line]:
    """What this person asked in these turns, by turn; without those that are not theirs or no longer kept."""
    cur.execute(
        "SELECT at, chat_id, conversation, inbox_id, role, body FROM history WHERE inbox_id = ANY (%(turns)s)"
        " AND role = 'user' AND (chat_id = %(user)s OR (chat_id < 0 AND user_id = %(user)s))",
        {"turns": list(turns), "user": user_id},
    )
    return {row[3]: Line(*row) for row in cur.fetchall()}


def forget(cur: Cursor, user_id: int, turn: int | None = None) -> list[int]:
    """Delete what is kept of this person, or one turn of it; the turns that are gone now."""
    cur.execute(
        "DELETE FROM history WHERE (chat_id = %(user)s OR (chat_id < 0 AND user_id = %(user)s))"
        " AND inbox_id = coalesce(%(turn)s, inbox_id) RETURNING inbox_id",
        {"user": user_id, "turn": turn},
    )
    return sorted({row[0] for row in cur.fetchall()})
