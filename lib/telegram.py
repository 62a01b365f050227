"""Telegram's Bot API: what we ask of it, and what its refusals mean.

Calls go through pyTelegramBotAPI's `apihelper`, one request each, raw dictionaries back. Its polling loops are not
used: they confirm updates before anyone has stored them.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

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
DOCUMENT_SECONDS, PRESS_SECONDS = 30.0, 4.0
POLL_SECONDS = 25  # the server allows up to 50
# The updates we ask for: with a list, these are all that come.
KINDS = ["message", "edited_message", "callback_query", "stopped_message_generation"]
FETCH_SECONDS = 30.0  # for a whole file
LATEST = 2**32  # no message is from later; PostgreSQL has no date for much more
QUOTED = 500  # characters of a message that is replied to
NO_PREVIEW = telebot.types.LinkPreviewOptions(is_disabled=True)
Buttons = Sequence[Sequence[tuple[str, str]]]  # rows of (label, callback data)


class TelegramError(Exception):
    """Telegram did not do what we asked. The subclass says what that means; the text never holds the token."""

    partly = False  # of a text in several messages, the first ones have arrived


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


class TooLarge(Refused):
    """A file is larger than we want, or than Telegram gives to bots."""


class ChatGone(Refused):
    """403, or a chat that does not exist: nothing will arrive there until the person writes again."""


class Moved(Refused):
    """400: the group has become a supergroup, with the id `new_id`. Nothing was done."""

    def __init__(self, text: str, new_id: int) -> None:
        super().__init__(text)
        self.new_id = new_id


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
    data: str = ""  # what the pressed button carries; of stopped_message_generation the id of the draft
    moved_to: int | None = None  # the group has become a supergroup with this id


class _Session(requests.Session):
    """requests reads the body of a redirect to its end, however long, even when it is not to follow it."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


class _Patience(threading.local):
    """Seconds for an answer, for each thread its own: a check may ask while a message is sent."""

    seconds = ANSWER_SECONDS


class Telegram:
    """The Bot API for one token. pyTelegramBotAPI keeps address and sender in module globals: one per process."""

    def __init__(self, token: Secret, api_url: str) -> None:
        self._token = token
        self.bot_id = int(token.reveal().split(":")[0])  # Telegram's id of this bot
        self._session = _Session()
        self._session.mount("https://", HTTPAdapter(max_retries=0))
        self._session.mount("http://", HTTPAdapter(max_retries=0))
        self._file_url = f"{api_url}/file/bot{{0}}/{{1}}"
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

    def send(
        self,
        chat_id: int,
        text: str,
        entities: Sequence[dict[str, Any]] = (),
        buttons: Buttons | None = None,
        reply_to: int | None = None,
        patience: float = ANSWER_SECONDS,
    ) -> int:
        """Send 1 to 4096 UTF-16 units of text, formatted by `entities` alone; the id of the new message.

        `buttons` are rows of (label, callback data). A message to reply to that is gone is no error.
        """
        sent = self._ask(
            lambda token: apihelper.send_message(
                token,
                chat_id,
                text,
                entities=list(entities),
                reply_markup=_keyboard(buttons),
                reply_parameters=_reply(reply_to),
                link_preview_options=NO_PREVIEW,
            ),
            patience,
        )
        return int(sent["message_id"])

    def edit(
        self,
        chat_id: int,
        message_id: int,
        text: str,
        entities: Sequence[dict[str, Any]] = (),
        buttons: Buttons | None = None,
        patience: float = ANSWER_SECONDS,
    ) -> None:
        """Change a message of ours; buttons it had are gone without new ones. It is no error when it reads like this
        already."""
        try:
            self._ask(
                lambda token: apihelper.edit_message_text(
                    token,
                    text,
                    chat_id=chat_id,
                    message_id=message_id,
                    entities=list(entities),
                    reply_markup=_keyboard(buttons),
                    link_preview_options=NO_PREVIEW,
                ),
                patience,
            )
        except Refused as exc:
            # "Bad Request: message is not modified: specified new message content and reply markup are exactly ..."
            if "message is not modified" not in str(exc):
                raise

    def send_document(
        self, chat_id: int, name: str, data: bytes, caption: str = "", reply_to: int | None = None
    ) -> int:
        """Send a file of at most 50 MB, with a caption of at most 1024 UTF-16 units; the id of the new message."""
        sent = self._ask(
            lambda token: apihelper.send_data(
                token,
                chat_id,
                data,
                "document",
                caption=caption,
                visible_file_name=name,
                disable_content_type_detection=True,
                reply_parameters=_reply(reply_to),
            ),
            DOCUMENT_SECONDS,
        )
        return int(sent["message_id"])

    def answer_press(self, press_id: str, text: str = "") -> None:
        """End the waiting sign on a pressed button, with up to 200 characters over the chat."""
        self._ask(lambda token: apihelper.answer_callback_query(token, press_id, text), PRESS_SECONDS)

    def set_commands(self, commands: Sequence[tuple[str, str]], language: str = "", chat_id: int | None = None) -> None:
        """The menu of (command, description): for people whose Telegram speaks `language` (two letters; none: everyone
        else), in one chat or in all private ones."""
        private = telebot.types.BotCommandScopeAllPrivateChats()
        scope = private if chat_id is None else telebot.types.BotCommandScopeChat(chat_id)
        menu = [telebot.types.BotCommand(command, description) for command, description in commands]
        self._ask(lambda token: apihelper.set_my_commands(token, menu, scope, language))

    def check(self, seconds: float) -> None:
        """Ask who we are, within `seconds`: costs nothing, and shows that Telegram answers and knows the token.

        Raises TelegramError.
        """
        self._ask(apihelper.get_me, seconds)

    def username(self) -> str:
        """The username of this bot, without @. Raises TelegramError."""
        return str(self._ask(apihelper.get_me).get("username") or "")

    def fetch(self, file: File, most: int, seconds: float = FETCH_SECONDS) -> bytes:
        """The contents of a file, of `most` bytes or fewer, within about so many seconds.

        Telegram gives bots files of up to 20 MB. Raises TelegramError: TooLarge, or Refused when the file is gone.
        A name server or a proxy can hold it up for longer: whoever cannot wait sets an alarm (Stop.interruptible).
        """
        end = time.monotonic() + seconds
        try:
            told = self._ask(lambda token: apihelper.get_file(token, file.file_id), min(seconds, ANSWER_SECONDS))
        except Refused as exc:
            if "file is too big" in str(exc):  # "Bad Request: file is too big"
                raise TooLarge(str(exc)) from None
            raise
        path = told.get("file_path") if isinstance(told, dict) else None
        if not isinstance(path, str) or not path:
            raise Refused("a file without a path")
        url = self._file_url.format(self._token.reveal(), quote(path))
        try:
            return self._download(url, most, end)
        except TelegramError:
            raise
        except Exception as exc:  # requests, urllib3 and http.client put the URL, and with it the token, into theirs
            raise FateUnknown(f"the file broke off ({type(exc).__name__})") from None

    def _download(self, url: str, most: int, end: float) -> bytes:
        """The body of the answer, read up to `most` bytes and until `end` (time.monotonic()): what is stated about its
        size is not trusted, nor that it ends."""
        left = max(end - time.monotonic(), 0.1)
        body = bytearray()
        with self._session.get(
            url,
            headers={"Accept-Encoding": "identity"},  # packed, a small file could become a huge one
            timeout=(min(CONNECT_SECONDS, left), min(ANSWER_SECONDS, left)),
            allow_redirects=False,
            stream=True,
        ) as response:
            if response.status_code != 200:
                raise _kind(response.status_code, "for the file", None)
            while chunk := response.raw.read1(65536, decode_content=False):
                body += chunk
                if len(body) > most:
                    raise TooLarge(f"a file of more than {most} bytes")
                if time.monotonic() > end:
                    raise FateUnknown("the file came too slowly")
            stated = response.headers.get("Content-Length", "")
        if stated.isdigit() and len(body) != int(stated):
            raise FateUnknown("the file broke off")
        return bytes(body)

    def draft(self, chat_id: int, draft_id: int, text: str) -> None:
        """Show `text` as the answer being written, with a button to stop it (an update stopped_message_generation):
        private chats only, gone after 30 s unless shown again."""
        self._ask(
            lambda token: apihelper.send_message_draft(token, chat_id, draft_id, text, can_stop=True), DRAFT_SECONDS
        )

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


def read(raw: dict[str, Any], bot_id: int, username: str = "") -> Incoming:
    """Understand one raw update, as the bot of this id and username (without @).

    Raises whatever pyTelegramBotAPI raises for a message it does not know (ValueError, TypeError, KeyError ...), and
    ValueError for one that could not be answered: so only call it where one bad update cannot stop the others.
    """
    kind = next((name for name in raw if name != "update_id"), "other")
    if kind == "callback_query":
        return _press(_dict(raw[kind]))
    if kind == "stopped_message_generation":  # it names no user
        stopped = _dict(raw[kind])
        return Incoming(kind, data=str(stopped.get("draft_id") or ""), **_chat(stopped))
    if kind not in KINDS:
        return Incoming(kind="other")
    given = raw[kind]
    # What it replies to comes along whole, and needs not be understood for it.
    known = {name: value for name, value in given.items() if name not in ("reply_to_message", "external_reply")}
    message = telebot.types.Message.de_json(known)
    if _id(message.chat.id) is None or _id(message.message_id) is None:
        raise ValueError("a message without a number, or in no chat")
    files, unfit = _files(given)
    replied = _dict(given.get("reply_to_message"))
    if message.chat.type != "private" and not files and not unfit:
        files, _ = _files(replied)  # somebody asks about a picture that another has sent
    return Incoming(
        kind=kind,
        **_chat(given),
        **_user(given),
        message_id=message.message_id,
        content=message.content_type or next((name for name in UNTOLD if name in given), ""),
        service=message.content_type in telebot.util.content_type_service,
        album=_text(given, "media_group_id"),
        text=_text(given, "text") or _text(given, "caption"),
        said_at=min(_count(given, "date"), LATEST),
        forwarded="forward_origin" in given,
        context=_context(given, bot_id),
        addressed=_addressed(given, bot_id, username) or _id(_dict(replied.get("from")).get("id")) == bot_id,
        files=files,
        unfit=unfit,
        moved_to=_id(given.get("migrate_to_chat_id")),
    )


UNTOLD = ("paid_media", "checklist", "suggested_post_info")  # for these pyTelegramBotAPI names no content_type


def _press(query: dict[str, Any]) -> Incoming:
    """A pressed button. Of a message that is too old Telegram tells no more than chat and id."""
    message = _dict(query.get("message"))
    return Incoming(
        "callback_query",
        **_chat(message),
        **_user(query),
        message_id=_id(message.get("message_id")),
        press=_text(query, "id"),
        data=_text(query, "data"),
    )


def _chat(given: dict[str, Any]) -> dict[str, Any]:
    chat = _dict(given.get("chat"))
    return {"chat_id": _id(chat.get("id")), "chat_type": _text(chat, "type"), "title": _text(chat, "title")}


def _user(given: dict[str, Any]) -> dict[str, Any]:
    user = _dict(given.get("from"))
    return {"user_id": _id(user.get("id")), "language": _text(user, "language_code"), "name": _text(user, "first_name")}


def _context(message: dict[str, Any], bot_id: int) -> str:
    """For Claude, a line each: where the message was forwarded from, and what it replies to."""
    lines = []
    if origin := _dict(message.get("forward_origin")):
        lines.append(f"[Forwarded from {_origin(origin)}]")
    replied, elsewhere = _dict(message.get("reply_to_message")), _dict(message.get("external_reply"))
    said = _text(_dict(message.get("quote")), "text") or _text(replied, "text") or _text(replied, "caption")
    if said:
        sender = _dict(replied.get("from"))
        if replied:
            who = "you" if sender.get("id") == bot_id else _called(_dict(replied.get("sender_chat")) or sender)
        else:
            who = _origin(_dict(elsewhere.get("origin")))
        lines.append(f'[In reply to {who}: "{_line(said, QUOTED)}"]')
    return "\n".join(lines)


def _origin(origin: dict[str, Any]) -> str:
    """Who wrote a message first. The four kinds of MessageOrigin differ in where they say it."""
    hidden = _text(origin, "sender_user_name")
    known = (_dict(origin.get(name)) for name in ("sender_user", "sender_chat", "chat"))
    return _line(hidden, 100) or _called(next((one for one in known if one), {}))


def _called(whom: dict[str, Any]) -> str:
    """The name of a user or a chat."""
    full = " ".join(filter(None, (_text(whom, "first_name"), _text(whom, "last_name"))))
    return _line(_text(whom, "title") or full or _text(whom, "username"), 100) or "somebody"


def _line(text: str, most: int) -> str:
    """A text within one line, so that it cannot end the bracket or the quotes it stands in."""
    flat = " ".join(text.translate({ord("["): "(", ord("]"): ")", ord('"'): "'"}).split())
    return flat if len(flat) <= most else f"{flat[:most]}..."


def _addressed(message: dict[str, Any], bot_id: int, username: str) -> bool:
    """Whether the text names the bot: as @username, alone or behind a command, or by a link to it."""
    name = f"@{username}".casefold() if username else None
    for text, marks in (("text", "entities"), ("caption", "caption_entities")):
        said = str(message.get(text) or "").encode("utf-16-le", "surrogatepass")
        for mark in map(_dict, message.get(marks) or ()):
            begin, length = _id(mark.get("offset")) or 0, _id(mark.get("length")) or 0  # in UTF-16 units
            marked = said[begin * 2 : (begin + length) * 2].decode("utf-16-le", "replace").casefold()
            if name and mark.get("type") == "mention" and marked == name:
                return True
            if name and mark.get("type") == "bot_command" and marked.endswith(name):
                return True
            if mark.get("type") == "text_mention" and _dict(mark.get("user")).get("id") == bot_id:
                return True
    return False


def without_mention(text: str, username: str) -> str:
    """The text without the @username at its beginning or end: it says whom it is for, and nothing else."""
    if not username:
        return text
    name = rf"@{re.escape(username)}(?!\w)"
    return re.sub(rf"^\s*{name}[\s,:]*|\s*(?<!\w){name}\s*$", "", text, flags=re.IGNORECASE)


# --- What came with a message --------------------------------------------------------------------------------------

# Claude reads these pictures (Anthropic's documentation, "Vision").
IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
# Its 5 MB for one picture are counted in base64, as the API's own refusals show ("image exceeds 5 MB maximum: 6405384
# bytes" was a file of 4804036): three quarters of that. Of a PDF as much as Telegram gives to bots.
MOST_BYTES = {"image": 5 * 1024 * 1024 * 3 // 4, "pdf": 20_000_000, "text": 200_000}
TEXTS = re.compile(r"text/(?!rtf).+|application/(.+\+)?(json|xml|yaml|x-yaml|javascript|x-sh|sql|toml|x-python|x-tex)")
SUFFIXES = re.compile(
    r"asm|awk|bash|bat|c|cc|cfg|clj|cmake|conf|cpp|cs|css|csv|cue|dart|diff|dockerfile|elm|env|erl|ex|exs|fish|fs"
    r"|go|gql|gradle|graphql|h|hpp|hs|htm|html|ics|ini|ipynb|java|jl|js|json|jsonl|jsx|kt|less|lisp|log|lua|m|make|makefile"
    r"|md|mjs|ml|nim|patch|php|pl|plist|po|properties|proto|ps1|py|r|rb|rs|rst|sass|scala|scss|sh|sol|sql|srt"
    r"|svelte|svg|swift|tcl|tex|tf|toml|ts|tsv|tsx|txt|vb|vcf|vtt|vue|xml|yaml|yml|zig|zsh"
)


def _files(message: dict[str, Any]) -> tuple[tuple[File, ...], str]:
    """What Claude can read of a message; else why not: too_large, type, or nothing when no file came with it."""
    if "animation" in message:  # it comes as a document too
        return (), ""
    if photo := [_dict(size) for size in message.get("photo") or ()]:
        # The same picture in several sizes, always as JPEG.
        numbers = ("width", "height", "file_size")
        sizes = sorted(photo, key=lambda size: [_count(size, name) for name in numbers], reverse=True)
        fitting = (size for size in sizes if _count(size, "file_size") <= MOST_BYTES["image"])
        return _fit(next(fitting, sizes[0]), "image", "image/jpeg")
    if document := _dict(message.get("document")):
        name = _line(_text(document, "file_name"), 100)
        kind, media_type = _type(_text(document, "mime_type").lower().partition(";")[0], name)
        return _fit(document, kind, media_type, name) if kind else ((), "type")
    return (), ""


def _fit(given: dict[str, Any], kind: str, media_type: str, name: str = "") -> tuple[tuple[File, ...], str]:
    file = File(_text(given, "file_id"), kind, media_type, name, _count(given, "file_size"))
    return ((), "too_large") if file.size > MOST_BYTES[kind] else ((file,), "")


def _type(mime: str, name: str) -> tuple[str, str]:
    """The kind of a document (image, pdf, text, or nothing) and its media type. What it says of itself is the word of
    the sender's device, which calls program text by many names, and some files by none."""
    suffix = name.rpartition(".")[2].lower()
    by_suffix = {"jpg": "image/jpeg", "pdf": "application/pdf"} | {one.partition("/")[2]: one for one in IMAGES}
    if mime in ("", "application/octet-stream", "image/jpg"):
        mime = by_suffix.get(suffix, mime)
    if mime in IMAGES:
        return "image", mime
    if mime == "application/pdf":
        return "pdf", mime
    return ("text", "text/plain") if SUFFIXES.fullmatch(suffix) or TEXTS.fullmatch(mime) else ("", mime)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(given: dict[str, Any], name: str) -> str:
    value = given.get(name)
    return storable(value) if isinstance(value, str) else ""


def _count(given: dict[str, Any], name: str) -> int:
    return max(_id(given.get(name)) or 0, 0)


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
    return value if type(value) is int and abs(value) < 2**53 else None  # True is an int, too


def _keyboard(buttons: Buttons | None) -> Any:
    """As telebot wants it."""
    if not buttons:
        return None
    made = [[telebot.types.InlineKeyboardButton(label, callback_data=data) for label, data in row] for row in buttons]
    return telebot.types.InlineKeyboardMarkup(made)


def _reply(message_id: int | None) -> Any:
    """As telebot wants it."""
    if message_id is None:
        return None
    return telebot.types.ReplyParameters(message_id, allow_sending_without_reply=True)


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
    if isinstance(new_id := (parameters or {}).get("migrate_to_chat_id"), int):
        return Moved(text, new_id)  # "Bad Request: group chat was upgraded to a supergroup chat"
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
