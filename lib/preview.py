"""The preview: shows an answer while it is being written, and looks whether it is still wanted.

A thread does both, so that Claude is never kept waiting for Telegram, and a sign of life also goes out while Claude
thinks. In a private chat the answer grows in a draft, in a group in a message that the finished answer replaces.
The first refusal ends the show for this answer, never the answer.
"""

from __future__ import annotations

import signal
import threading
import time
from types import TracebackType
from typing import Self

from lib import chats, inbox, log
from lib.config import Settings
from lib.db import Database, Down
from lib.inbox import Waiting
from lib.stop import Stop, Stopped
from lib.telegram import DRAFT_SECONDS, Refused, Telegram, TelegramError, TooFast
from lib.text import split, storable

FIRST_SECONDS = 0.4  # an answer that is there sooner needs no preview
TICK_SECONDS = 1.0  # Telegram allows 40 drafts and signs of typing in 30 s to one chat
DRAFT_AGAIN_SECONDS = 20.0  # a draft vanishes after 30
TYPING_AGAIN_SECONDS = 4.5  # a sign of typing after 5
EDIT_SECONDS = 3.5  # Telegram allows 20 messages a minute in a group, and counts edits
END_SECONDS = 5.0  # longer than Telegram is given here, or what was shown could come after the answer itself
MORE = " …"


class Preview:
    """The growing text of one answer. It runs as long as the `with` block; call it with the whole text so far.

    When the person asks to stop, `stop.cut()` ends what the block does.
    """

    def __init__(self, settings: Settings, telegram: Telegram, stop: Stop, turn: Waiting) -> None:
        self.text = ""
        self.message_id = turn.preview_id  # of the message in which it grows, in a group
        self._telegram, self._stop, self._turn = telegram, stop, turn
        self._database = Database(settings.database_url, "steward-preview")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="preview", daemon=True)
        self._shown: str | None = None
        self._shown_at = 0.0
        self._ways = ["draft" if turn.chat_id > 0 else "message", "typing"]  # what has not been refused yet

    def __call__(self, text: str) -> None:
        self.text = text

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        if kind is not Stopped:  # then the process ends, and the thread with it
            self._thread.join(END_SECONDS)

    def _run(self) -> None:
        # A signal must cut short what the main thread waits for, and nothing here.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGALRM})
        seconds = FIRST_SECONDS
        with log.about(correlation_id=self._turn.correlation_id, chat_id=self._turn.chat_id):
            while not self._ended.wait(seconds):
                seconds = TICK_SECONDS
                try:
                    self._tick()
                except Down:
                    pass  # the loop says so
                except Exception as exc:
                    self._ways.clear()
                    log.error("preview_failed", "The growing answer cannot be shown; going on.", exc, private=True)
        self._database.close()

    def _tick(self) -> None:
        with self._database.statement() as cur:
            unwanted = inbox.unwanted(cur, self._turn)
            held = self._turn.chat_id in chats.held(cur)
        if unwanted:
            self._stop.cut()
        elif self._ways and not held and not self._ended.is_set():
            try:
                self._show(self._ways[0])
            except TelegramError as exc:
                self._refused(exc)

    def _show(self, way: str) -> None:
        chat_id, text = self._turn.chat_id, storable(self.text)
        ago = time.monotonic() - self._shown_at
        if way == "draft":
            shown = (split(text) or [""])[-1]  # of a long answer the part that grows; at first nothing: "Thinking…"
            if shown != self._shown or ago > DRAFT_AGAIN_SECONDS:
                self._telegram.draft(chat_id, self._turn.draft_id, shown)
                self._shown, self._shown_at = shown, time.monotonic()
        elif way == "typing" or not text.strip():
            if ago > TYPING_AGAIN_SECONDS:
                self._telegram.typing(chat_id)
                self._shown_at = time.monotonic()
        elif ago > EDIT_SECONDS or self._shown is None:
            self._grow(split(text)[0] + MORE)

    def _grow(self, shown: str) -> None:
        """The message of a group: sent at first, and then changed."""
        if shown == self._shown:
            return
        if self.message_id is None:
            reply_to = self._turn.message_id or None
            self.message_id = self._telegram.send(self._turn.chat_id, shown, reply_to=reply_to, patience=DRAFT_SECONDS)
            with self._database.statement() as cur:
                inbox.preview(cur, self._turn, self.message_id)
        else:
            self._telegram.edit(self._turn.chat_id, self.message_id, shown, patience=DRAFT_SECONDS)
        self._shown, self._shown_at = shown, time.monotonic()

    def _refused(self, exc: TelegramError) -> None:
        """What was refused is not tried again for this answer. Who is not let show the text may still show a sign."""
        self._ways = self._ways[1:] if isinstance(exc, Refused) else []
        if isinstance(exc, TooFast):  # asking again earlier makes the penalty longer, whatever is asked
            with self._database.statement() as cur:
                chats.hold(cur, self._turn.chat_id, exc.seconds)
        log.warning("preview_refused", "The growing answer cannot be shown; the answer itself will come.", exc)
