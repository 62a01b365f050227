"""The Telegram Bot API, simulated: one bot, the people who write to it, and every refusal the real service makes.

The oracle is the source of tdlib's own server, telegram-bot-api 10.0 (`Client.cpp`, `ClientManager.cpp`), and for what
only Telegram's core decides (budgets, reactions, lengths) the documents at core.telegram.org/bots/api.
"""

from __future__ import annotations

import json
import math
import re
import socket
import threading
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import islice
from typing import Any, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

from demo.loopback import Fault, Faults, Handler, LoopbackServer

Json = dict[str, Any]

KEPT = 20_000  # calls, and updates that can still be redelivered
DAY = 86_400
TEXT_UNITS = 4_096  # UTF-16 code units in a message
TEXT_BYTES = 1 << 15  # UTF-8 bytes of raw text, before anything else is looked at
DRAFT_BUDGET = ((20, 5.0), (40, 30.0))  # (calls, seconds) per chat, drafts and chat actions together: api/bots/ai
SPACE = " \n\r\t"

OTHER_POLL = "terminated by other getUpdates request; make sure that only one bot instance is running"
NEW_WEBHOOK = "terminated by setWebhook request"
WEBHOOK_ACTIVE = "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
NOT_MODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the same as a current "
    "content and reply markup of the message"
)
BLOCKED = "bot was blocked by the user"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ENTITY_TYPES = _words(
    "bold italic underline strikethrough spoiler code pre text_link text_mention custom_emoji blockquote "
    "expandable_blockquote date_time"
)
FOUND_BY_THE_SERVER = _words("mention hashtag cashtag bot_command url email phone_number bank_card_number")
ACTIONS = _words(
    "cancel typing record_video upload_video record_audio record_voice upload_audio upload_voice upload_photo "
    "upload_document choose_sticker pick_up_location find_location record_video_note upload_video_note"
)
REACTIONS = _words(
    "❤ 👍 👎 🔥 🥰 👏 😁 🤔 🤯 😱 🤬 😢 🎉 🤩 🤮 💩 🙏 👌 🕊 🤡 🥱 🥴 😍 🐳 ❤‍🔥 🌚 🌭 "
    "💯 🤣 ⚡ 🍌 🏆 💔 🤨 😐 🍓 🍾 💋 🖕 😈 😴 😭 🤓 "
    "👻 👨‍💻 👀 🎃 🙈 😇 😨 🤝 ✍ 🤗 🫡 🎅 🎄 ☃ 💅 🤪 🗿 🆒 💘 🙉 🦄 😘 💊 🙊 😎 👾 🤷‍♂ 🤷 🤷‍♀ 😡"
)
UPDATE_KINDS = _words(
    "message edited_message channel_post edited_channel_post inline_query chosen_inline_result callback_query "
    "custom_event custom_query shipping_query pre_checkout_query poll poll_answer my_chat_member chat_member "
    "chat_join_request chat_boost removed_chat_boost message_reaction message_reaction_count business_connection "
    "business_message edited_business_message deleted_business_messages purchased_paid_media managed_bot guest_message "
    "stopped_message_generation"
)
ONLY_ON_REQUEST = frozenset({"chat_member", "message_reaction", "message_reaction_count"})
COMMAND = re.compile(r"(?<![\w/<>])/[A-Za-z0-9_]{1,64}(?:@[A-Za-z0-9_]{3,32})?(?![\w/<>])")


@dataclass(frozen=True)
class Person:
    """Someone with a Telegram account; the id is also that of the private chat with the bot."""

    id: int
    first_name: str
    username: str | None = None
    language_code: str = "en"

    def as_user(self) -> Json:
        user: Json = {"id": self.id, "is_bot": False, "first_name": self.first_name}
        if self.username:
            user["username"] = self.username
        return {**user, "language_code": self.language_code}

    def as_chat(self) -> Json:
        chat: Json = {"id": self.id, "first_name": self.first_name, "type": "private"}
        return {**chat, "username": self.username} if self.username else chat


ALICE = Person(1001, "Alice", "alice")
BOB = Person(1002, "Bob", "bob")
CHARLIE = Person(1003, "Charlie")


@dataclass
class Sent:
    """A message of the bot as it stands in the chat now; `edits` holds its earlier texts, oldest first."""

    message_id: int
    chat_id: int
    text: str
    at: float  # time.time()
    edits: list[str] = field(default_factory=list)
    entities: list[Json] = field(default_factory=list)
    reply_to: int | None = None
    deleted: bool = False


@dataclass
class Call:
    """One request; every parameter as the text that came in. `status` is 0 while there is no answer."""

    method: str
    params: dict[str, str]
    at: float  # time.perf_counter() when it arrived
    query: str = ""  # what stood in the URL, where proxies and logs would see it
    status: int = 0


@dataclass
class _Reply:
    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class _Queued:
    update: Json
    expires: float  # by TelegramSim.clock

    @property
    def id(self) -> int:
        return int(self.update["update_id"])


@dataclass
class _Poll:
    """A getUpdates that waits. `ended` says why another request ended it and how many seconds that is held back."""

    until: float  # time.monotonic()
    ended: tuple[str, float] | None = None


class _Refusal(Exception):
    """An answer with ok=false; the description gets the prefix the real server gives to its status."""

    def __init__(self, status: int, description: str = "", retry_after: int = 0) -> None:
        super().__init__(description)
        if retry_after:
            description = f"retry after {retry_after}"
        phrase = HTTPStatus(status).phrase
        body: Json = {"ok": False, "error_code": status}
        body["description"] = f"{phrase}: {description}" if description else phrase
        headers = {}
        if retry_after:
            body["parameters"] = {"retry_after": retry_after}
            headers["Retry-After"] = str(retry_after)
        self.reply = _Reply(status, body, headers)


class _Gone(Exception):
    """The simulator was stopped while the request waited."""


class _Endpoint(Handler):
    server: LoopbackServer

    def do_GET(self) -> None:
        simulator: TelegramSim = self.server.simulator
        simulator.serve(self)

    do_POST = do_GET


class TelegramSim:
    """Telegram with one bot. Every method is safe from any thread; the state outlives stop() and start().

    webhook         a URL set here makes getUpdates answer 409
    first_update    the id of the first update; higher after a restart, or the bot takes new messages for old ones
    clock           seconds since 1970, for message dates, the 24 hours of an update and the budgets
    flood_per_chat  (messages, seconds) one chat takes from sendMessage and editMessageText; None for no limit
    on_event        called as (kind, chat_id, text) after a draft, message, edit or action took effect
    reactions       the bot's reaction by (chat_id, message_id)
    """

    first_name = "Steward"
    username = "steward_bot"

    def __init__(self, token: str, port: int = 0, address: str = "127.0.0.1", first_update: int = 824_000_001) -> None:
        self.token = token
        self.faults = Faults()
        self.clock: Callable[[], float] = time.time
        self.flood_per_chat: tuple[int, float] | None = None
        self.on_event: Callable[[str, int, str], None] | None = None
        self.sent: list[Sent] = []
        self.reactions: dict[tuple[int, int], str] = {}

        self._lock = threading.RLock()
        self._news = threading.Condition(self._lock)  # for requests that wait
        self._changed = threading.Condition(self._lock)  # for wait_for()
        self._address = address
        self._server = LoopbackServer(_Endpoint, self, port, address)
        self._held: socket.socket | None = None  # keeps the port ours during an outage
        self._serving = False
        self._epoch = 0  # grows with every stop()

        self._calls: deque[Call] = deque(maxlen=KEPT)
        self._revoked: set[str] = set()
        self._webhook = ""
        self._queue: deque[_Queued] = deque()
        self._again: list[Json] = []
        self._history: OrderedDict[int, Json] = OrderedDict()
        self._next_update = first_update
        self._allowed: frozenset[str] | None = None  # None is the default set
        self._poll: _Poll | None = None
        self._last_poll = (-1, -100.0)  # offset and time.monotonic() of the last getUpdates
        self._next_conflict = -100.0

        self._chats: dict[int, Json] = {}
        self._blocked: set[int] = set()
        self._messages: dict[tuple[int, int], Json] = {}
        self._transcript: dict[tuple[int, int], Sent] = {}
        self._next_message = 1
        self._drafts: defaultdict[int, list[str]] = defaultdict(list)
        self._draft_calls: defaultdict[int, list[float]] = defaultdict(list)
        self._message_calls: defaultdict[int, list[float]] = defaultdict(list)
        self._callbacks: set[str] = set()
        self._commands: dict[tuple[str, str], list[Json]] = {}
        self._events: deque[tuple[str, int, str]] = deque()

    # Coming and going

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def bot_id(self) -> int:
        return int(self.token.partition(":")[0])

    def start(self) -> None:
        """Serve, on the same port as before if this ends an outage."""
        with self._lock:
            if self._serving:
                return
            if self._epoch:
                self._server = LoopbackServer(_Endpoint, self, self._server.port, self._address)
                self._let_go()
            self._server.start()
            self._serving = True

    def stop(self) -> None:
        """Be unreachable: connections are cut, new ones refused, and nothing is forgotten."""
        with self._lock:
            if not self._serving:
                return
            self._serving = False
            self._epoch += 1
            self._poll = None
            self._news.notify_all()
            self._server.stop()
            # Bound but not listening: clients are refused, and no other socket can be given the port meanwhile.
            self._held = socket.socket()
            self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._held.bind((self._address, self._server.port))

    def _let_go(self) -> None:
        if self._held:
            self._held.close()
            self._held = None

    def __enter__(self) -> TelegramSim:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._let_go()

    # What people do

    def say(self, person: Person, text: str, **extra: Any) -> int:
        """Someone writes to the bot in private: the update id, or 0 if the bot does not take messages.

        `extra` fields go into the message, e.g. photo=[...]; an empty text is left out. The apps split a long text
        themselves, so more than 4096 UTF-16 units is a ValueError.
        """
        if _units(text) > TEXT_UNITS:
            raise ValueError(f"no app sends more than {TEXT_UNITS} UTF-16 units in one message")
        with self._lock:
            message: Json = {
                "message_id": self._new_message_id(),
                "from": person.as_user(),
                "chat": person.as_chat(),
                "date": int(self.clock()),
                **_written(text),
                **extra,
            }
            return self.push({"message": message})

    def edit(self, person: Person, message_id: int, text: str) -> int:
        """Someone changes an own message; KeyError if there is no such message."""
        with self._lock:
            message = {**self._messages[person.id, message_id], "edit_date": int(self.clock())}
            message.pop("entities", None)
            return self.push({"edited_message": {**message, **_written(text)}})

    def push(self, update: Json) -> int:
        """Queue an update as it is; its id is filled in if missing. 0 if the bot asked not to get that kind.

        An id may jump ahead but not back: a ValueError, use redeliver().
        """
        with self._lock:
            number = int(update.get("update_id", self._next_update))
            if number < self._next_update:
                raise ValueError(f"update {number} is not new")
            update = {"update_id": number, **update}
            kind = next((key for key in update if key != "update_id"), "")
            self._learn(update.get(kind))
            if kind == "callback_query":
                self._callbacks.add(str(update[kind]["id"]))
            if not self._takes(kind):
                return 0
            self._next_update = number + 1
            self._queue.append(_Queued(update, self._born(update.get(kind)) + DAY))
            self._history[number] = update
            if len(self._history) > KEPT:
                self._history.popitem(last=False)
            self._news.notify_all()
            self._changed.notify_all()
            return number

    def redeliver(self, update_id: int) -> None:
        """Send a confirmed update once more, with the next answer, whatever its offset. ValueError if it is pending."""
        with self._lock:
            if update_id in self.pending():
                raise ValueError(f"update {update_id} was not confirmed yet")
            self._again.append(self._history[update_id])
            self._news.notify_all()
            self._changed.notify_all()

    def block(self, user_id: int) -> None:
        with self._lock:
            self._blocked.add(user_id)

    def unblock(self, user_id: int) -> None:
        with self._lock:
            self._blocked.discard(user_id)

    def revoke(self) -> None:
        """The token is dead: 401 from now on, until `token` is another one. A waiting poll ends empty."""
        with self._lock:
            self._revoked.add(self.token)
            if self._poll:
                self._poll.until = 0.0
            self._news.notify_all()

    # What tests look at

    @property
    def calls(self) -> list[Call]:
        with self._lock:
            return list(self._calls)

    @property
    def webhook(self) -> str:
        return self._webhook

    @webhook.setter
    def webhook(self, url: str) -> None:
        with self._lock:
            self._webhook = url
            if url:
                self._end_poll(NEW_WEBHOOK)

    def update(self, update_id: int) -> Json:
        """An update as it was queued; KeyError for one that never was (or is long gone)."""
        with self._lock:
            return self._history[update_id]

    def pending(self) -> list[int]:
        """Ids of the updates not yet confirmed."""
        with self._lock:
            return [int(update["update_id"]) for update in self._again] + [queued.id for queued in self._queue]

    def messages(self, chat_id: int) -> list[Sent]:
        with self._lock:
            return [sent for sent in self.sent if sent.chat_id == chat_id]

    def drafts(self, chat_id: int) -> list[str]:
        with self._lock:
            return list(self._drafts[chat_id])

    def wait_for(self, predicate: Callable[[TelegramSim], object], seconds: float) -> bool:
        """Wait until predicate(sim) is true; it is asked again after every change."""
        with self._changed:
            return bool(self._changed.wait_for(lambda: predicate(self), seconds))

    # One request

    def serve(self, request: Handler) -> None:
        """Answer one HTTP request, or misbehave as the next fault says."""
        body = request.read_body()
        address = urlsplit(request.path)
        token, method = _route(unquote(address.path))
        params = _parameters(address.query, request.headers.get_content_type(), body)
        call = Call(method, params or {}, request.arrived, address.query)
        fault = self.faults.take(method)
        with self._lock:
            self._calls.append(call)
            self._changed.notify_all()
            reply = self._reply(token, call, fault, readable=params is not None)
            call.status = reply.status if reply else 0
            self._changed.notify_all()
        self._tell()
        if reply:
            request.answer(reply.status, reply.body, reply.headers)
        else:
            request.cut()

    def _reply(self, token: str, call: Call, fault: Fault | None, readable: bool) -> _Reply | None:
        """The answer to a call; None to cut the connection."""
        kind = fault.kind if fault else ""
        if not self._serving or kind == "drop":
            return None
        if fault and kind == "status":
            return _as_told(fault)
        try:
            if fault and kind == "hang":
                self._sleep(fault.seconds)
            self._check_token(token)
            if not readable:
                raise _Refusal(400, "can't parse JSON object")
            if call.method not in _METHODS.values():
                raise _Refusal(404, "method not found")
            reply = _Reply(200, {"ok": True, "result": getattr(self, f"_on_{call.method}")(call.params)})
        except _Refusal as refusal:
            reply = refusal.reply
        except _Gone:
            return None
        return None if kind == "lose" else reply

    def _check_token(self, token: str) -> None:
        if not re.fullmatch(r"\d+:[\w-]+", token, re.ASCII):
            raise _Refusal(404)
        if token != self.token or token in self._revoked:
            raise _Refusal(401)

    def _tell(self) -> None:
        """Report what happened, outside the lock: the listener may take its time."""
        while True:
            try:
                event = self._events.popleft()
            except IndexError:  # another thread may have told it
                return
            if self.on_event:
                self.on_event(*event)

    def _sleep(self, seconds: float) -> None:
        epoch, until = self._epoch, time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._news.wait(left)
            if self._epoch != epoch:
                raise _Gone

    # Updates: process_get_updates_query, do_get_updates and the TQueue under them

    def _on_getUpdates(self, params: dict[str, str]) -> list[Json]:
        if self._webhook:
            self._conflict(WEBHOOK_ACTIVE, self._conflict_delay())
        offset = _integer(params, "offset")
        limit = min(max(_integer(params, "limit", 100), 1), 100)
        timeout = min(max(_integer(params, "timeout"), 0), 50)
        self._choose_kinds(params.get("allowed_updates", ""))

        now = time.monotonic()
        last_offset, last_time = self._last_poll
        if offset == last_offset and now < last_time + 3:
            timeout = max(timeout, 3)  # a client that asks the same again is slowed down
        if offset == last_offset and now < last_time + 0.5:
            limit = 1
        self._last_poll = (offset, now)

        if offset < 0:
            while len(self._queue) > -offset:
                self._queue.popleft()
        if offset <= 0:
            offset = self._head()
        found = self._take(offset, limit)
        if found or not timeout:
            return found
        return self._wait_for_updates(offset, limit, now + timeout)

    def _wait_for_updates(self, offset: int, limit: int, until: float) -> list[Json]:
        """The long poll. There is one at most: a new one ends the older one, whose client may be dead anyway.

        The real server waits 1 to 2 ms more for further updates; here they leave at once.
        """
        self._end_poll(OTHER_POLL)
        poll = self._poll = _Poll(until)
        epoch = self._epoch
        while True:
            self._news.wait(max(poll.until - time.monotonic(), 0))
            if self._epoch != epoch:
                raise _Gone
            if poll.ended:
                self._conflict(*poll.ended)
            found = self._take(offset, limit)
            if found or time.monotonic() >= poll.until:
                self._poll = None
                return found

    def _take(self, offset: int, limit: int) -> list[Json]:
        """Forget what is below the offset, return up to `limit` of the rest. A senseless offset means the head."""
        head = self._head()
        if not head - 100_000 <= offset <= self._next_update + 10:
            offset = head
        while self._queue and self._queue[0].id < offset:
            self._queue.popleft()
        now = self.clock()
        if any(queued.expires < now for queued in islice(self._queue, limit)):
            self._queue = deque(queued for queued in self._queue if queued.expires >= now)
        again, self._again = self._again[:limit], self._again[limit:]
        return again + [queued.update for queued in islice(self._queue, limit - len(again))]

    def _head(self) -> int:
        return self._queue[0].id if self._queue else self._next_update

    def _end_poll(self, reason: str) -> None:
        if self._poll:
            self._poll.ended = (reason, self._conflict_delay())
            self._poll = None
            self._news.notify_all()

    def _conflict_delay(self) -> float:
        """fail_query_conflict: one conflict is told at once, those in the 3 seconds after it 3 seconds late."""
        if time.monotonic() < self._next_conflict:
            return 3.0
        self._next_conflict = time.monotonic() + 3.0
        return 0.0

    def _conflict(self, reason: str, delay: float) -> NoReturn:
        self._sleep(delay)
        raise _Refusal(409, reason)

    def _choose_kinds(self, wanted: str) -> None:
        """get_allowed_update_types: what cannot be read changes nothing, a list without known names is the default."""
        kinds = _parsed(wanted)
        if isinstance(kinds, list) and all(isinstance(kind, str) for kind in kinds):
            self._allowed = UPDATE_KINDS.intersection(kind.lower() for kind in kinds) or None

    def _takes(self, kind: str) -> bool:
        return kind not in ONLY_ON_REQUEST if self._allowed is None else kind in self._allowed

    def _born(self, payload: Any) -> float:
        """An update lives a day from the date of its message, any other kind from now (add_message_update)."""
        if isinstance(payload, dict) and "message_id" in payload:
            date = payload.get("edit_date") or payload.get("date")
            return float(date) if isinstance(date, int) else self.clock()
        return self.clock()

    def _learn(self, payload: Any) -> None:
        """Know the chat and the message an update speaks of: the bot may now write there."""
        if not isinstance(payload, dict):
            return
        self._learn(payload.get("message"))
        chat = payload.get("chat")
        if isinstance(chat, dict) and isinstance(chat.get("id"), int):
            self._chats[chat["id"]] = chat
            if isinstance(payload.get("message_id"), int):
                self._messages[chat["id"], payload["message_id"]] = payload
                self._next_message = max(self._next_message, payload["message_id"] + 1)

    def _new_message_id(self) -> int:
        self._next_message += 1
        return self._next_message - 1

    # Messages

    def _on_sendMessage(self, params: dict[str, str]) -> Json:
        text, entities = _read_text(params)
        look = {**_read_preview(params), **_read_markup(params)}
        chat_id = self._chat(params)
        reply_to = self._replied_to(chat_id, params)
        text, entities = _settle(text, entities)
        self._allow(chat_id)
        self._spend_message(chat_id)
        sent = Sent(self._new_message_id(), chat_id, text, time.time(), [], entities, reply_to)
        message: Json = {
            "message_id": sent.message_id,
            "from": self._me(),
            "chat": self._chats[chat_id],
            "date": int(self.clock()),
            "text": text,
            **({"entities": entities} if entities else {}),
            **look,
        }
        if reply_to is not None:
            replied = self._messages[chat_id, reply_to]
            message["reply_to_message"] = {key: replied[key] for key in replied if key != "reply_to_message"}
        self.sent.append(sent)
        self._transcript[chat_id, sent.message_id] = sent
        self._messages[chat_id, sent.message_id] = message
        self._events.append(("message", chat_id, text))
        return message

    def _on_editMessageText(self, params: dict[str, str]) -> Json:
        text, entities = _read_text(params)
        look = {**_read_preview(params), **_read_markup(params)}
        if not params.get("chat_id") and not params.get("message_id"):
            raise _Refusal(400, "message identifier is not specified")
        chat_id = self._chat(params)
        old = self._message(chat_id, _integer(params, "message_id"), "message to edit")
        sent = self._transcript.get((chat_id, old["message_id"]))
        if sent is None:
            raise _Refusal(400, "message can't be edited")
        text, entities = _settle(text, entities)
        if (text, entities, look.get("reply_markup")) == (sent.text, sent.entities, old.get("reply_markup")):
            raise _Refusal(400, NOT_MODIFIED)
        self._allow(chat_id)
        self._spend_message(chat_id)
        kept = {key: old[key] for key in old if key not in ("entities", "reply_markup", "link_preview_options")}
        message: Json = {**kept, "edit_date": int(self.clock()), "text": text, **look}
        if entities:
            message["entities"] = entities
        self._messages[chat_id, sent.message_id] = message
        sent.edits.append(sent.text)
        sent.text, sent.entities = text, entities
        self._events.append(("edit", chat_id, text))
        return message

    def _on_deleteMessage(self, params: dict[str, str]) -> bool:
        if not params.get("chat_id"):
            raise _Refusal(400, "chat identifier is not specified")
        if _integer(params, "message_id") <= 0:
            raise _Refusal(400, "message identifier is not specified")
        chat_id = self._chat(params)
        message = self._message(chat_id, _integer(params, "message_id"), "message to delete")
        if self.clock() - message.get("date", self.clock()) > 2 * DAY:
            raise _Refusal(400, "message can't be deleted for everyone")
        del self._messages[chat_id, message["message_id"]]
        if sent := self._transcript.get((chat_id, message["message_id"])):
            sent.deleted = True
        return True

    def _on_sendMessageDraft(self, params: dict[str, str]) -> bool:
        """Only private chats, a draft id that is not 0 (the wording of that refusal is ours)."""
        text, entities = _read_text(params, may_be_empty=True)
        chat_id = self._chat(params)
        if self._chats[chat_id].get("type") != "private":
            raise _Refusal(400, "TEXTDRAFT_PEER_INVALID")
        if _integer(params, "draft_id") == 0:
            raise _Refusal(400, "invalid draft identifier specified")
        text, _ = _settle(text, entities, may_be_empty=True)
        self._allow(chat_id)
        _spend(self._draft_calls[chat_id], DRAFT_BUDGET, self.clock())
        self._drafts[chat_id].append(text)
        self._events.append(("draft", chat_id, text))
        return True

    def _on_sendChatAction(self, params: dict[str, str]) -> bool:
        action = params.get("action", "").lower()
        if action not in ACTIONS:
            raise _Refusal(400, "wrong parameter action in request")
        chat_id = self._chat(params)
        self._allow(chat_id)
        _spend(self._draft_calls[chat_id], DRAFT_BUDGET, self.clock())
        self._events.append(("action", chat_id, action))
        return True

    def _on_setMessageReaction(self, params: dict[str, str]) -> bool:
        """One reaction at most, out of the documented list; none takes the reaction back."""
        wanted = _read_list(params, "reaction", "can't parse reaction types JSON object", "ReactionType")
        marks = [_reaction(reaction) for reaction in wanted]
        chat_id = self._chat(params)
        message = self._message(chat_id, _integer(params, "message_id"), "message to react")
        if len(marks) > 1:
            raise _Refusal(400, "REACTIONS_TOO_MANY")
        self._allow(chat_id)
        self.reactions.pop((chat_id, message["message_id"]), None)
        for mark in marks:
            self.reactions[chat_id, message["message_id"]] = mark
        return True

    # The bot itself

    def _on_getMe(self, _: dict[str, str]) -> Json:
        cannot = "can_join_groups can_read_all_group_messages supports_inline_queries supports_guest_queries "
        cannot += "can_connect_to_business has_main_web_app has_topics_enabled allows_users_to_create_topics "
        cannot += "can_manage_bots"
        return {**self._me(), **dict.fromkeys(cannot.split(), False)}

    def _on_setMyCommands(self, params: dict[str, str]) -> bool:
        commands = _read_list(params, "commands", "can't parse commands JSON object", "BotCommand")
        read = [_command(command) for command in commands]
        if len(read) > 100:
            raise _Refusal(400, "BOT_COMMANDS_TOO_MUCH")
        self._commands[self._scope(params)] = read
        return True

    def _on_getMyCommands(self, params: dict[str, str]) -> list[Json]:
        return self._commands.get(self._scope(params), [])

    def _on_deleteWebhook(self, params: dict[str, str]) -> bool:
        self._webhook = ""
        if _true(params.get("drop_pending_updates", "")):
            self._queue.clear()
            self._again.clear()
        return True

    def _on_getWebhookInfo(self, _: dict[str, str]) -> Json:
        info: Json = {"url": self._webhook, "has_custom_certificate": False, "pending_update_count": len(self._queue)}
        return info if self._allowed is None else {**info, "allowed_updates": sorted(self._allowed)}

    def _on_answerCallbackQuery(self, params: dict[str, str]) -> bool:
        query = params.get("callback_query_id", "")
        if query not in self._callbacks:
            raise _Refusal(400, "query is too old and response timeout expired or query ID is invalid")
        self._callbacks.discard(query)
        return True

    # Checks on the state

    def _me(self) -> Json:
        return {"id": self.bot_id, "is_bot": True, "first_name": self.first_name, "username": self.username}

    def _chat(self, params: dict[str, str]) -> int:
        if not params.get("chat_id"):
            raise _Refusal(400, "chat_id is empty")
        chat_id = _integer(params, "chat_id")
        if chat_id not in self._chats:
            raise _Refusal(400, "chat not found")
        return chat_id

    def _message(self, chat_id: int, message_id: int, role: str) -> Json:
        if (chat_id, message_id) not in self._messages:
            raise _Refusal(400, f"{role} not found")
        return self._messages[chat_id, message_id]

    def _replied_to(self, chat_id: int, params: dict[str, str]) -> int | None:
        """The message this one answers; None if it answers none, or one that is gone and need not be there."""
        if params.get("reply_parameters"):
            wish = _read_object(params["reply_parameters"], "reply parameters")
            message_id = _number(wish, "message_id") if wish else 0
            optional = bool(wish.get("allow_sending_without_reply"))
        else:
            message_id = _integer(params, "reply_to_message_id")
            optional = _true(params.get("allow_sending_without_reply", ""))
        if message_id <= 0:
            return None
        if (chat_id, message_id) in self._messages:
            return message_id
        if optional:
            return None
        raise _Refusal(400, "message to be replied not found")

    def _allow(self, chat_id: int) -> None:
        if chat_id in self._blocked:
            raise _Refusal(403, BLOCKED)

    def _spend_message(self, chat_id: int) -> None:
        if self.flood_per_chat:
            _spend(self._message_calls[chat_id], (self.flood_per_chat,), self.clock())

    def _scope(self, params: dict[str, str]) -> tuple[str, str]:
        """What a list of commands is kept under."""
        scope: Json = {"type": "default"}
        if params.get("scope"):
            scope = _read_object(params["scope"], "BotCommandScope")
        kind = scope.get("type")
        if kind in ("chat", "chat_administrators", "chat_member"):
            self._chat({"chat_id": str(scope.get("chat_id", ""))})
        elif kind not in ("default", "all_private_chats", "all_group_chats", "all_chat_administrators"):
            raise _Refusal(400, "can't parse BotCommandScope: Unsupported type specified")
        return json.dumps(scope, sort_keys=True), params.get("language_code", "")


_METHODS = {name[4:].lower(): name[4:] for name in vars(TelegramSim) if name.startswith("_on_")}


# Reading a request


def _route(path: str) -> tuple[str, str]:
    """Token and method of /bot<token>/<method>; the method, whatever its letter case, as the documents spell it."""
    found = re.fullmatch(r"/bot([^/]*)/(.*)", path)
    if not found:
        return "", path
    return found[1], _METHODS.get(found[2].lower(), found[2])


def _parameters(query: str, kind: str, body: bytes) -> dict[str, str] | None:
    """Parameters from the query string and a form or JSON body; the first of a name counts. None: unreadable JSON.

    Bytes that are no UTF-8 stay as lone surrogates, for the text check to find.
    """
    given = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    if kind == "application/json" and body.strip():
        fields = _parsed(body.decode("utf-8", "surrogateescape"))
        if not isinstance(fields, dict):
            return None
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
        given += [(name, text) for name, text in texts.items() if text != "null"]
    else:
        form = body.decode("utf-8", "surrogateescape")
        given += parse_qsl(form, keep_blank_values=True, errors="surrogateescape")
    return dict(reversed(given))


def _parsed(text: str) -> Any:
    """The JSON value, None if it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _integer(params: dict[str, str], name: str, default: int = 0) -> int:
    """td::to_integer: the leading digits, 0 if there are none."""
    text = params.get(name, "")
    found = re.match(r"-?\d{1,19}", text, re.ASCII)
    return int(found[0]) if found else (0 if text else default)


def _true(text: str) -> bool:
    return text.strip().lower() in ("true", "yes", "1")


def _read_object(text: str, name: str) -> Json:
    value = _parsed(text)
    if value is None:
        raise _Refusal(400, f"can't parse {name} JSON object")
    if not isinstance(value, dict):
        raise _Refusal(400, f"object expected as {name}")
    return value


def _read_list(params: dict[str, str], name: str, unreadable: str, kind: str) -> list[Any]:
    if not params.get(name):
        return []
    value = _parsed(params[name])
    if value is None:
        raise _Refusal(400, unreadable)
    if not isinstance(value, list):
        raise _Refusal(400, f"expected an Array of {kind}")
    return value


def _read_preview(params: dict[str, str]) -> Json:
    given = params.get("link_preview_options")
    return {"link_preview_options": _read_object(given, "link preview options")} if given else {}


def _read_markup(params: dict[str, str]) -> Json:
    """Only an inline keyboard comes back in the message."""
    given = params.get("reply_markup")
    markup = _read_object(given, "reply keyboard markup") if given else {}
    return {"reply_markup": markup} if "inline_keyboard" in markup else {}


def _number(fields: Json, name: str) -> int:
    if name not in fields:
        raise _Refusal(400, f'can\'t find field "{name}"')
    try:
        return int(str(fields[name]))
    except ValueError:
        raise _Refusal(400, f'field "{name}" must be a valid Number') from None


def _command(command: Any) -> Json:
    if not isinstance(command, dict):
        raise _Refusal(400, "can't parse BotCommand: expected an Object")
    for name in ("command", "description"):
        if not isinstance(command.get(name), str):
            raise _Refusal(400, f"can't parse BotCommand: Can't find field \"{name}\"")
    word, description = command["command"].strip().removeprefix("/"), command["description"].strip()
    if not re.fullmatch(r"[a-z0-9_]{1,32}", word):
        raise _Refusal(400, "BOT_COMMAND_INVALID")
    if not 1 <= len(description) <= 256:
        raise _Refusal(400, "BOT_COMMAND_DESCRIPTION_INVALID")
    return {"command": word, "description": description}


def _reaction(reaction: Any) -> str:
    if not isinstance(reaction, dict):
        raise _Refusal(400, "can't parse ReactionType: expected an Object")
    kind = reaction.get("type")
    if kind not in ("emoji", "custom_emoji"):
        raise _Refusal(400, "can't parse ReactionType: invalid reaction type specified")
    mark = str(reaction.get(kind if kind == "emoji" else "custom_emoji_id", ""))
    if kind == "emoji" and mark.replace("\ufe0f", "") not in REACTIONS:
        raise _Refusal(400, "REACTION_INVALID")
    return mark


# Text and its entities: get_formatted_text, and what TDLib does with the outcome


def _units(text: str) -> int:
    """Length in UTF-16 code units, the measure of every limit and offset."""
    return len(text) + sum(character > "\uffff" for character in text)


def _written(text: str) -> Json:
    """Text fields of a message from a person; Telegram marks the bot commands in it."""
    commands = [
        {"offset": _units(text[: found.start()]), "length": _units(found[0]), "type": "bot_command"}
        for found in COMMAND.finditer(text)
    ]
    return {"text": text, **({"entities": commands} if commands else {})} if text else {}


def _read_text(params: dict[str, str], may_be_empty: bool = False) -> tuple[str, list[Json]]:
    """Text and entities as given. With a parse_mode the entities are not looked at; the markup itself is not parsed."""
    text = params.get("text", "")
    if not text and not may_be_empty:
        raise _Refusal(400, "message text is empty")
    if len(text.encode("utf-8", "surrogatepass")) > TEXT_BYTES:
        raise _Refusal(400, "text is too long")
    mode = params.get("parse_mode", "").lower()
    if text and mode not in ("", "none"):
        if mode not in ("markdown", "markdownv2", "html"):
            raise _Refusal(400, "unsupported parse_mode")
        return text, []
    given = _parsed(params.get("entities", ""))
    entities = [_entity(value) for value in given] if isinstance(given, list) else []
    return text, [entity for entity in entities if entity["type"] in ENTITY_TYPES]


def _entity(value: Any) -> Json:
    """get_text_entity: a type the server finds by itself is accepted (and later ignored), an unknown one refused."""
    try:
        if not isinstance(value, dict):
            raise ValueError("expected an Object")
        for name, kinds in (("offset", (int, str)), ("length", (int, str)), ("type", (str,))):
            if name not in value:
                raise ValueError(f'Can\'t find field "{name}"')
            if not isinstance(value[name], kinds) or isinstance(value[name], bool):
                raise ValueError(f'Field "{name}" must be of type {"String" if name == "type" else "Number"}')
        if value["type"] not in ENTITY_TYPES | FOUND_BY_THE_SERVER:
            raise ValueError("Unsupported type specified" if value["type"] else "Type is not specified")
        needed = {"text_link": "url", "text_mention": "user", "custom_emoji": "custom_emoji_id"}.get(value["type"])
        if needed and needed not in value:
            raise ValueError(f'Can\'t find field "{needed}"')
        return {**value, "offset": int(value["offset"]), "length": int(value["length"])}
    except ValueError as problem:
        raise _Refusal(400, f"can't parse MessageEntity: {problem}") from None


def _settle(text: str, entities: list[Json], may_be_empty: bool = False) -> tuple[str, list[Json]]:
    """The text as it is stored: entities in range, no space around it, at most 4096 units."""
    if not _is_utf8(text) or not _is_utf8(json.dumps(entities, ensure_ascii=False)):
        raise _Refusal(400, "strings must be encoded in UTF-8")
    _check_ranges(text, entities)
    entities = sorted((entity for entity in entities if entity["length"]), key=lambda entity: int(entity["offset"]))
    text = text.rstrip(SPACE)
    if not text.strip() and not may_be_empty:
        raise _Refusal(400, "message text is empty")
    # Leading space goes too, but not where the first entity already covers it.
    lead = len(text) - len(text.lstrip(SPACE))
    if entities:
        lead = min(lead, int(entities[0]["offset"]))
    text = text[lead:]
    end = _units(text)
    if end > TEXT_UNITS:
        raise _Refusal(400, "message is too long")
    moved = [{**entity, "offset": entity["offset"] - lead} for entity in entities]
    clipped = [{**entity, "length": min(entity["length"], end - entity["offset"])} for entity in moved]
    return text, [entity for entity in clipped if entity["length"] > 0]


def _check_ranges(text: str, entities: list[Json]) -> None:
    """Every entity lies inside the text and cuts no surrogate pair."""
    if not entities:
        return
    edges = {0}  # UTF-16 offsets between two characters
    end = 0
    for character in text:
        end += _units(character)
        edges.add(end)
    for entity in entities:
        first, length = entity["offset"], entity["length"]
        last = first + length
        if not 0 <= first <= 1_000_000:
            raise _Refusal(400, f"receive an entity with incorrect offset {first}")
        if not 0 <= length <= 1_000_000:
            raise _Refusal(400, f"receive an entity with incorrect length {length}")
        if length and first > end:
            raise _Refusal(400, f"entity begins after the end of the text at UTF-16 offset {first}")
        if length and last > end:
            raise _Refusal(
                400,
                f"entity beginning at UTF-16 offset {first} ends after the end of the text at UTF-16 offset {last}",
            )
        if length and (first not in edges or last not in edges):
            place = "begins" if first not in edges else "ends"
            raise _Refusal(400, f"entity {place} in a middle of a UTF-16 symbol")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# Limits and faults


def _spend(times: list[float], limits: tuple[tuple[int, float], ...], now: float) -> None:
    """Note one more use, or refuse it with the seconds until every (count, seconds) limit has room again."""
    longest = max(seconds for _, seconds in limits)
    times[:] = [moment for moment in times if now - moment < longest]
    waits = [0.0]
    for count, seconds in limits:
        recent = [moment for moment in times if now - moment < seconds]
        if len(recent) >= count:
            waits.append(recent[-count] + seconds - now)
    if max(waits) > 0:
        raise _Refusal(429, retry_after=math.ceil(max(waits)))
    times.append(now)


def _as_told(fault: Fault) -> _Reply:
    """The answer of a "status" fault: its own body, or what the real service says with that status."""
    usual = {403: BLOCKED, 409: OTHER_POLL}
    if fault.body is not None:
        reply = _Reply(fault.status, fault.body)
    elif fault.status in (502, 503, 504):  # from the nginx in front
        title = f"{fault.status} {HTTPStatus(fault.status).phrase}"
        head = f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        reply = _Reply(fault.status, f"{head}<hr><center>nginx/1.18.0</center>\r\n</body>\r\n</html>\r\n")
    elif fault.status == 429:
        reply = _Refusal(429, retry_after=max(math.ceil(fault.seconds), 1)).reply
    else:
        reply = _Refusal(fault.status, usual.get(fault.status, "")).reply
    return _Reply(reply.status, reply.body, {**reply.headers, **(fault.headers or {})})
