"""Table history: the conversation as Claude sees it, and the cut that keeps it within a budget of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lib.db import Cursor
from lib.files import File


@dataclass(frozen=True)
class Turn:
    """One line of the conversation."""

    role: Literal["user", "assistant"]
    body: str
    files: tuple[File, ...] = ()


def tokens(text: str) -> int:
    """An estimate of tokens that errs on the high side: a third of the UTF-8 bytes, plus a little for each turn."""
    return len(text.encode("utf-8", "replace")) // 3 + 4


def load(cur: Cursor, chat_id: int, conversation: int, budget: int, except_inbox_id: int) -> list[Turn]:
    """The recent turns that fit into `budget` tokens, oldest first, without those of `except_inbox_id`.

    The beginning moves in steps of half the budget: from turn to turn the prompt only grows at its end, so that
    Claude's prompt cache serves it, and once in a while a whole half falls away.
    """
    cur.execute(
        "WITH newest AS (SELECT total FROM history WHERE chat_id = %(chat)s AND conversation = %(conversation)s"
        " ORDER BY total DESC LIMIT 1)"
        " SELECT role, body FROM history"
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
    turns = [Turn(role, body) for role, body in cur.fetchall()]
    while turns and turns[0].role != "user":  # Claude refuses a conversation that begins with its own words
        turns.pop(0)
    return turns


def add(cur: Cursor, chat_id: int, conversation: int, inbox_id: int, turns: list[Turn]) -> None:
    """Put the turns of one message at the end, in place of any that an earlier try left. Needs the chat's lock."""
    cur.later("DELETE FROM history WHERE inbox_id = %s", (inbox_id,))
    for turn in turns:
        cur.later(
            "INSERT INTO history (chat_id, conversation, inbox_id, role, body, total)"
            " SELECT %(chat)s, %(conversation)s, %(inbox)s, %(role)s, %(body)s, %(tokens)s + coalesce(max(total), 0)"
            " FROM history WHERE chat_id = %(chat)s AND conversation = %(conversation)s",
            {
                "chat": chat_id,
                "conversation": conversation,
                "inbox": inbox_id,
                "role": turn.role,
                "body": turn.body,
                "tokens": tokens(turn.body),
            },
        )
