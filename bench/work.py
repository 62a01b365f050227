"""The work of one message, written plainly: what every queue beside ours does for it, and ours does too.

Count the attempt and commit, read the conversation, ask Claude, keep answer, history and audit together, mark the part
before it is sent and after. It is lib's own code in worker.py's order, without what makes a crash harmless: no lock of
the chat, no second look, no deadline, nothing shown meanwhile.
"""

from __future__ import annotations

import threading

from lib import audit, config, history, inbox, markdown, outbox, unindexed
from lib.claude_api import ApiDoor
from lib.db import Database
from lib.history import Turn
from lib.inbox import Waiting
from lib.outbox import Saying
from lib.telegram import Telegram

_mine = threading.local()  # a connection serves one thread


def answer(chat_id: int) -> None:
    """Answer what waits in this chat. What a queue calls."""
    if not hasattr(_mine, "work"):
        _mine.work = Work()
    _mine.work.answer(chat_id)


class Work:
    """What one process (or thread) keeps open."""

    def __init__(self) -> None:
        settings = config.load()
        secrets = {entry.service: entry.token for entry in settings.entries}
        self._settings, self._database = settings, Database(settings.database_url, "bench")
        self._telegram = Telegram(secrets["telegram"], settings.telegram_api_url)
        self._claude = ApiDoor(secrets["claude"], settings.anthropic_base_url, settings.claude_model)

    def answer(self, chat_id: int) -> None:
        with self._database.statement() as cur:
            turn = inbox.claim(cur, chat_id)
        if turn is not None:
            self._ask(turn)
        with self._database.statement() as cur:
            part, _ = outbox.begin(cur, "worker", chat_id)
        if part is not None:
            message_id = self._telegram.send(chat_id, *markdown.render(part.body))
            with self._database.transaction() as cur:
                outbox.sent(cur, part, message_id)
                audit.add(cur, part.correlation_id, audit.SYSTEM, "reply.sent", detail={"parts": part.parts})

    def _ask(self, turn: Waiting) -> None:
        with self._database.statement() as cur:
            budget = self._settings.history_tokens
            past = history.load(cur, turn.chat_id, turn.conversation, budget, except_inbox_id=turn.id)
        reply = self._claude.answer([*past, Turn("user", turn.body)], lambda text: None)
        sayings = [Saying(piece, markdown=True) for piece in markdown.pieces(reply.text)]
        with self._database.transaction() as cur:
            inbox.settle(cur, turn, "answered")
            turns = [Turn("user", turn.body), Turn("assistant", reply.text)]
            history.add(cur, turn.chat_id, turn.conversation, turn.id, turns, turn.user_id)
            unindexed.add(cur, turn.id)
            outbox.add(cur, "worker", turn.chat_id, turn.correlation_id, sayings)
            audit.add(cur, turn.correlation_id, audit.SYSTEM, "claude.asked", model=reply.model)
