"""Telegram's Bot API: what we ask of it, and what its refusals mean.

Calls go through pyTelegramBotAPI's `apihelper`, one request each, raw dictionaries back. Its polling loops are not
used: they confirm updates before anyone has stored them.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import requests
import telebot.types
import telebot.util
from requests.adapters import HTTPAdapter
from telebot import apihelper

from lib.files import File
from lib.secret import Secret
from lib.text import storable

T = TypeVar("T")

CONNECT_SECONDS = 5.0
ANSWER_SECONDS, DRAFT_SECONDS = 15.0, 4.0  # how long an answer may take; a draft is not worth a longer wait
POLL_SECONDS = 25  # the server allows up to 50
KINDS = ["message", "edited_message"]  # the updates we ask for


class TelegramError(Exception):
    """Telegram did not do what we asked. The subclass says what that means; the text never holds the token."""


class BadToken(TelegramError):
    """401 or 404: the token is wrong or was revoked. Works again only when the owner mends it."""


class Conflict(TelegramError):
    """409: someone else polls with the same token, or a webhook is set."""


class TooFast(TelegramError):
    """429: works after `seconds`; asking earlier makes the penalty longer."""

    def __init__(self, text: str, seconds: float) -> None:
        super().__init__(text)
        self.seconds = seconds


class Refused(TelegramError):
    """400: this request will never work. Nothing was done."""


class ChatGone(Refused):
    """403, or a chat that does not exist: nothing will arrive there until the person writes again."""


class Unreachable(TelegramError):
    """No connection came about: nothing was done, works later."""


class FateUnknown(TelegramError):
    """The request left, and no clear answer came (time-out, cut connection, 5xx): it may have been done."""


@dataclass(frozen=True)
class Incoming:
    """An update as far as we understand it. `kind` is message, edited_message, callback_query,
    stopped_message_generation or other."""

    kind: str
    chat_id: int | None = None
    chat_type: str = ""
    user_id: int | None = None
    message_id: int | None = None
    content: str = ""  # pyTelegramBotAPI's content_type: text, photo, voice, pinned_message ...
    service: bool = False  # Telegram's own note of an event, not something a person wrote
    album: str = ""  # the same for all pictures that were sent together
    text: str = ""  # what was written, or the caption
    language: str = ""  # the language code of the person's Telegram, such as en or ru
    name: str = ""  # the person's first name
    title: str = ""  # the group's
    said_at: int = 0  # seconds since 1970, by Telegram's clock
    forwarded: bool = False
    context: str = ""  # for Claude, before the text: where it was forwarded from, what it replies to
    addressed: bool = False  # in a group: the bot is mentioned, or it is a reply to one of its messages
    files: tuple[File, ...] = ()  # what Claude can read of it
    unfit: str = ""  # why a file cannot be read: too_large or type
    press: str = ""  # the id of a pressed button (callback_query), to be answered
    data: str = ""  # what the pressed button carries
    moved_to: int | None = None  # the group has become a supergroup with this id


class _Patience(threading.local):
    """Seconds for an answer, for each thread its own: a check may ask while a message is sent."""

    seconds = ANSWER_SECONDS


class Telegram:
    """The Bot API for one token. pyTelegramBotAPI keeps address and sender in module globals: one per process."""

    def __init__(self, token: Secret, api_url: str) -> None:
        self._token = token
        self.bot_id = int(token.reveal().split(":")[0])  # Telegram's id of this bot
        self._session = requests.Session()
        self._session.mount("https://", HTTPAdapter(max_retries=0))
        self._session.mount("http://", HTTPAdapter(max_retries=0))
        vars(apihelper).update(API_URL=api_url + "/bot{0}/{1}", CUSTOM_REQUEST_SENDER=self._post)
        self._patience = _Patience()

    def get_updates(self, offset: int | None, seconds: int) -> list[dict[str, Any]]:
        """Raw updates from `offset` on, after waiting so long for the first. This confirms all below `offset`."""
        return list(
            self._ask(
                lambda token: apihelper.get_updates(
                    token, offset=offset, limit=100, long_polling_timeout=seconds, allowed_updates=KINDS
                ),
                patience=seconds + ANSWER_SECONDS,
            )
        )

    def send(self, chat_id: int, text: str) -> int:
        """Send 1 to 4096 UTF-16 units of plain text; the id of the new message."""
        return int(self._ask(lambda token: apihelper.send_message(token, chat_id, text))["message_id"])

    def edit(self, chat_id: int, message_id: int, text: str) -> None:
        """Change a message of ours. It is no error when it reads like this already."""
        try:
            self._ask(lambda token: apihelper.edit_message_text(token, text, chat_id=chat_id, message_id=message_id))
        except Refused as exc:
            # "Bad Request: message is not modified: specified new message content and reply markup are exactly ..."
            if "message is not modified" not in str(exc):
                raise

    def check(self, seconds: float) -> None:
        """Ask who we are, within `seconds`: costs nothing, and shows that Telegram answers and knows the token.

        Raises TelegramError.
        """
        self._ask(apihelper.get_me, seconds)

    def draft(self, chat_id: int, draft_id: int, text: str) -> None:
        """Show `text` as the answer being written: private chats only, gone after 30 s unless shown again."""
        self._ask(lambda token: apihelper.send_message_draft(token, chat_id, draft_id, text), DRAFT_SECONDS)

    def typing(self, chat_id: int) -> None:
        """Show for 5 s that we are writing."""
        self._ask(lambda token: apihelper.send_chat_action(token, chat_id, "typing"), DRAFT_SECONDS)

    def _ask(self, call: Callable[[str], T], patience: float = ANSWER_SECONDS) -> T:
        self._patience.seconds = patience
        # `from None`: requests puts the URL, and with it the token, into its errors.
        try:
            return call(self._token.reveal())
        except apihelper.ApiTelegramException as exc:
            raise _kind(exc.error_code, str(exc.description), exc.result_json.get("parameters")) from None
        except apihelper.ApiHTTPException as exc:
            # HTML is a proxy's or a gateway's word, never the Bot API's: its 403 says nothing about the chat.
            raise FateUnknown(f"{exc.result.status_code}, an answer that is not the Bot API's") from None
        except (apihelper.ApiInvalidJSONException, KeyError, TypeError):
            raise FateUnknown("an answer that is not the Bot API's") from None
        except requests.RequestException as exc:
            raise _network(exc) from None

    def _post(self, method: str, url: str, **kwargs: Any) -> requests.Response:
        """One request with its parameters in the body: by default they would travel, and be logged, in the URL."""
        deadlines = (min(CONNECT_SECONDS, self._patience.seconds), self._patience.seconds)
        return self._session.post(
            url, data=kwargs["params"], files=kwargs["files"], timeout=deadlines, allow_redirects=False
        )


def read(raw: dict[str, Any]) -> Incoming:
    """Understand one raw update. Raises whatever pyTelegramBotAPI raises for what it does not know (ValueError,
    TypeError, KeyError ...): so only call it where one bad update cannot stop the others."""
    kind = next((name for name in raw if name != "update_id"), "other")
    if kind not in KINDS:
        return Incoming(kind="other")
    message = telebot.types.Message.de_json(raw[kind])
    return Incoming(
        kind=kind,
        chat_id=message.chat.id,
        chat_type=message.chat.type,
        user_id=message.from_user.id if message.from_user else None,
        message_id=message.message_id,
        content=message.content_type or "",
        service=message.content_type in telebot.util.content_type_service,
        album=message.media_group_id or "",
        text=storable(message.text or ""),
        language=storable((message.from_user.language_code or "") if message.from_user else ""),
    )


def ids(raw: dict[str, Any]) -> tuple[int | None, int | None]:
    """Chat id and user id of an update that could not be read, as far as they can be made out."""
    for part in raw.values():
        if isinstance(part, dict):
            chat, user = part.get("chat"), part.get("from")
            chat_id = chat.get("id") if isinstance(chat, dict) else None
            user_id = user.get("id") if isinstance(user, dict) else None
            return _id(chat_id), _id(user_id)
    return None, None


def _id(value: Any) -> int | None:
    """The value if it can be an id: Telegram promises at most 52 bits."""
    return value if isinstance(value, int) and abs(value) < 2**53 else None


def _kind(code: int, description: str, parameters: Any) -> TelegramError:
    text = f"{code} {description}"
    if code == 429:  # {"ok":false,"error_code":429,"description":"Too Many Requests: retry after 7",
        #               "parameters":{"retry_after":7}}
        asked = (parameters or {}).get("retry_after")
        return TooFast(text, float(asked) if isinstance(asked, int | float) and math.isfinite(asked) else 5.0)
    if code == 401 or (code == 404 and description == "Not Found"):
        return BadToken(text)  # "Unauthorized"; "Not Found" is what a malformed token gives
    if code == 409:
        return Conflict(text)  # "Conflict: terminated by other getUpdates request; make sure that only one ..."
    if code == 403 or "chat not found" in description or "user is deactivated" in description:
        return ChatGone(text)  # "Forbidden: bot was blocked by the user"
    if 400 <= code < 500:
        return Refused(text)
    return FateUnknown(text)


def _network(exc: requests.RequestException) -> TelegramError:
    """Whether the request can have left: not when no connection was made (refused, no name, connect time-out)."""
    text = str(exc)
    if isinstance(exc, requests.ConnectTimeout) or "NewConnectionError" in text or "NameResolutionError" in text:
        return Unreachable("no connection to Telegram")
    return FateUnknown(f"no answer from Telegram ({type(exc).__name__})")
