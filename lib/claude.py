"""Claude: what one answer is, and what it means when there is none.

The face of every door is Door: prepare(), then answer(). lib/claude_api.py is the door to the Messages API,
lib/claude_code.py the one for a Max plan. Only the worker opens one.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from lib.files import File
from lib.history import Turn
from lib.text import storable

SYSTEM = (
    "You are Steward, a personal assistant who talks with a person in Telegram. Answer in the language of the message,"
    " in short paragraphs that read well on a phone. Markdown is shown: use lists, bold and code blocks with their"
    " language where they help; tables only when they are narrow, headings only when they are asked for. In a group"
    " each message begins with the name of who wrote it. Say so when you do not know something."
)
BROKEN_OFF = "[The answer broke off here.]"  # in the history, after half an answer
MAX_TOKENS = 16_000  # of one answer, thinking included
EFFORT: Final = "low"  # how deep to think: a chat wants an answer soon
SILENCE_SECONDS = 60.0  # the longest wait for the next piece of an answer
YEAR_SECONDS = 365 * 86400.0
# The kinds of failure of which nothing rights itself.
NEEDS_OWNER = ("no_credential", "sign_in", "plan_refused", "no_program", "no_credit", "no_model", "our_bug")
# Failures whose message must not go into the history: every later request would fail like this one.
SPOILING = ("our_bug", "too_long", "file_refused")


@dataclass(frozen=True)
class Reply:
    """A finished answer. Tokens are Claude's own count; `tokens_cached` is the part of `tokens_in` the cache served."""

    text: str
    model: str
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    stop_reason: str
    request_id: str | None
    duration_ms: int


class Unavailable(Exception):
    """Claude gave no whole answer. `kind` is one of English.FAILURES; `partial` is what had come by then."""

    def __init__(
        self,
        kind: str,
        text: str = "",
        *,
        until: datetime | None = None,
        partial: str = "",
        request_id: str | None = None,
        again: bool = False,
    ) -> None:
        """`again`: after prepare() it may be asked once more."""
        super().__init__(f"{kind}: {text}" if text else kind)
        self.kind, self.until, self.request_id, self.again = kind, until, request_id, again
        self.partial = storable(partial).strip()


def blocks(files: Sequence[File]) -> list[dict[str, Any]]:
    """Pictures and PDFs as the Messages API takes them; they need their contents."""
    return [_block(file, base64.b64encode(file.data).decode()) for file in files if file.data is not None]


def _block(file: File, data: str) -> dict[str, Any]:
    source = {"type": "base64", "media_type": file.media_type, "data": data}
    if file.kind == "image":
        return {"type": "image", "source": source}
    return {"type": "document", "source": source} | ({"title": file.name} if file.name else {})


def moment(epoch: object) -> datetime | None:
    """When it will work again, from epoch seconds. What is no number, or a year off, is no date: there are moments that
    no time zone can show."""
    try:
        seconds = float(str(epoch))
    except ValueError:
        return None
    return datetime.fromtimestamp(seconds, UTC) if abs(seconds - time.time()) < YEAR_SECONDS else None


class Door(Protocol):
    """A way to Claude. One request per answer, never a silent retry."""

    model: str

    def prepare(self) -> None:
        """Get ready to ask: a login may have to be renewed for it. Call it outside stop.interruptible().

        Raises Unavailable, and whatever renewing a login raises (lib/refresh.py).
        """

    def answer(self, turns: Sequence[Turn], on_text: Callable[[str], None]) -> Reply:
        """Ask once. `turns` ends with the message to answer; `on_text` is given the whole text so far as it grows.

        Raises Unavailable. Waits SILENCE_SECONDS for each next piece; how long the whole may take is the caller's: an
        exception that a signal raises in here ends the request and leaves nothing behind.
        """
