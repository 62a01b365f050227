"""The Telegram Bot API, simulated: one bot, the people who write to it, and every refusal the real service makes.

The oracle is the source of tdlib's own server, telegram-bot-api 10.0 (`Client.cpp`, `ClientManager.cpp`), and for what
only Telegram's core decides (budgets, reactions, lengths) the documents at core.telegram.org/bots/api.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import threading
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

from demo.loopback import Fault, Faults, Handler, LoopbackServer
from demo.telegram_checks import (
    ACTIONS,
    BLOCKED,
    CAPTION_UNITS,
    NEW_WEBHOOK,
    NOT_MODIFIED,
    OTHER_POLL,
    TEXT_UNITS,
    WEBHOOK_ACTIVE,
    Params,
    Refusal,
    Reply,
    Upload,
    as_told,
    data_of,
    file_route,
    integer,
    number,
    parameters,
    parsed,
    read_command,
    read_list,
    read_markup,
    read_object,
    read_preview,
    read_reaction,
    read_text,
    route,
    settle,
    spend,
    true,
    units,
    words,
)
from demo.telegram_people import (
    ALICE,
    BOB,
    CHARLIE,
    CONTACT,
    FRIENDS,
    JPEG,
    LOCATION,
    OLGA,
    PICTURE,
    STICKER,
    VIDEO,
    VOICE,
    Group,
    Person,
    from_channel,
    from_chat,
    from_hidden_user,
    from_user,
    mentioned,
    picture_size,
    quoted,
    written,
)

# Whoever uses the simulator finds its people here.
__all__ = [
    "ALICE",
    "BOB",
    "CHARLIE",
    "CONTACT",
    "FRIENDS",
    "LOCATION",
    "OLGA",
    "PICTURE",
    "STICKER",
    "VIDEO",
    "VOICE",
    "Call",
    "Document",
    "Group",
    "Person",
    "Sent",
    "TelegramSim",
    "Upload",
    "from_channel",
    "from_chat",
    "from_hidden_user",
    "from_user",
]

Json = dict[str, Any]
Document = tuple[bytes, str, str]  # contents, name, media type

KEPT = 20_000  # calls, and updates that can still be redelivered
DAY = 86_400
DRAFT_BUDGET = ((20, 5.0), (40, 30.0))  # (calls, seconds) per chat, drafts and chat actions together: api/bots/ai
DRAFT_SECONDS = 30.0  # for which a draft stands
DOWNLOAD_BYTES, UPLOAD_BYTES = 20 << 20, 50 << 20  # the largest file a bot can fetch, and send
LINK_SECONDS = 3_600.0  # for which a file path of getFile is valid
QUERY_SECONDS = 60.0  # in which a pressed button can be answered; the documents do not say how long it really is

UPDATE_KINDS = words(
    "message edited_message channel_post edited_channel_post inline_query chosen_inline_result callback_query "
    "custom_event custom_query shipping_query pre_checkout_query poll poll_answer my_chat_member chat_member "
    "chat_join_request chat_boost removed_chat_boost message_reaction message_reaction_count business_connection "
    "business_message edited_business_message deleted_business_messages purchased_paid_media managed_bot guest_message "
    "stopped_message_generation"
)
ONLY_ON_REQUEST = frozenset({"chat_member", "message_reaction", "message_reaction_count"})


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
    buttons: list[list[tuple[str, str]]] = field(default_factory=list)  # rows of (label, callback data)
    document: Upload | None = None  # `text` is its caption then


@dataclass
class Call:
    """One request; every parameter as the text that came in. `status` is 0 while there is no answer."""

    method: str
    params: Params
    at: float  # time.perf_counter() when it arrived
    query: str = ""  # what stood in the URL, where proxies and logs would see it
    status: int = 0


@dataclass
class _Queued:
    update: Json
    expires: float  # by TelegramSim.clock

    @property
    def id(self) -> int:
        return int(self.update["update_id"])


@dataclass(frozen=True)
class _Draft:
    """The draft that stands in a chat."""

    id: int
    can_stop: bool
    until: float  # by TelegramSim.clock


@dataclass
class _Poll:
    """A getUpdates that waits. `ended` says why another request ended it and how many seconds that is held back."""

    until: float  # time.monotonic()
    ended: tuple[str, float] | None = None


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
    flood_per_chat  (messages, seconds) a private chat takes, edits and files included; None for no limit
    flood_per_group the same for a group
    privacy         whether the bot gets only those messages of groups that are meant for it: BotFather's /setprivacy
    on_event        called as (kind, chat_id, text) after a draft, message, edit, action, change of the buttons or
                    answer to a pressed button took effect
    reactions       the bot's reaction by (chat_id, message_id)
    """

    first_name = "Steward"
    username = "steward_bot"

    def __init__(self, token: str, port: int = 0, address: str = "127.0.0.1", first_update: int = 824_000_001) -> None:
        self.token = token
        self.faults = Faults()
        self.clock: Callable[[], float] = time.time
        self.flood_per_chat: tuple[int, float] | None = None
        self.flood_per_group: tuple[int, float] | None = (20, 60.0)
        self.privacy = True
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
        self._actions: defaultdict[int, list[str]] = defaultdict(list)
        self._live: dict[int, _Draft] = {}
        self._left: dict[int, str] = {}  # groups the bot is not in any more, and why
        self._moved: dict[int, int] = {}  # groups that have become supergroups
        self._given: set[tuple[int, int]] = set()  # messages the bot was told of
        self._files: dict[str, Json] = {}  # by file id; under "data" what is in it
        self._links: dict[str, tuple[str, float]] = {}  # file id and end of validity, by file path
        self._callbacks: dict[str, tuple[float, int]] = {}  # unanswered ones: when the button was pressed, and where
        self._answers: dict[str, Json] = {}
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

    def say(
        self,
        person: Person,
        text: str,
        chat: Group | None = None,
        reply_to: int = 0,
        quote: str = "",
        forward_origin: Json | None = None,
        **extra: Any,
    ) -> int:
        """Someone writes to the bot in private, or into a group: the update id, or 0 if the bot is not told of it.

        `reply_to` is the id of a message in the same chat (KeyError if there is none), `quote` a part of its text,
        `forward_origin` comes from from_user() and the like. `extra` fields go into the message; an empty text is left
        out. The apps split a long text themselves, so more than 4096 UTF-16 units is a ValueError.
        """
        if units(text) > TEXT_UNITS:
            raise ValueError(f"no app sends more than {TEXT_UNITS} UTF-16 units in one message")
        with self._lock:
            place = self._place(person, chat)
            content = written(text)
            if reply_to:
                replied = self._messages[place["id"], reply_to]
                content["reply_to_message"] = _without_reply(replied)
                content |= quoted(replied, quote) if quote else {}
            if forward_origin:
                content["forward_origin"] = forward_origin
            return self._write(person, place, {**content, **extra})

    def send_photo(
        self, person: Person, data: bytes, caption: str = "", album: str = "", chat: Group | None = None, **extra: Any
    ) -> int:
        """Someone sends a picture; as say(). The apps make a JPEG of every picture, so other data is a ValueError."""
        if not data.startswith(JPEG):
            raise ValueError("the apps send pictures as JPEG, and others as documents")
        width, height = picture_size(data)
        with self._lock:
            small, large = self._keep(PICTURE, "thumbnails", ".jpg"), self._keep(data, "photos", ".jpg")
            sizes = [
                {**small, "width": min(width, 90), "height": min(height, 90)},
                {**large, "width": width, "height": height},
            ]
            return self._attach(person, chat, {"photo": sizes, **extra}, caption, album)

    def send_document(
        self,
        person: Person,
        data: bytes,
        name: str,
        mime: str,
        caption: str = "",
        album: str = "",
        chat: Group | None = None,
        size: int = 0,
        **extra: Any,
    ) -> int:
        """Someone sends a file; as say(). `size` is told instead of the real one, for files too large for a test."""
        with self._lock:
            document = {**self._keep(data, "documents", name, size), "file_name": name, "mime_type": mime}
            return self._attach(person, chat, {"document": document, **extra}, caption, album)

    def send_album(
        self, person: Person, items: Sequence[bytes | Document], caption: str = "", chat: Group | None = None
    ) -> list[int]:
        """Someone sends 2 to 10 pictures, or 2 to 10 documents, at once: as many updates with one media_group_id.

        The caption stands under the first picture, or under the last document.
        """
        pictures = [item for item in items if isinstance(item, bytes)]
        if not 2 <= len(items) <= 10 or len(pictures) not in (0, len(items)):
            raise ValueError("an album holds 2 to 10 pictures, or 2 to 10 documents")
        album = str(secrets.randbelow(10**17))
        updates = []
        for place, item in enumerate(items):
            if isinstance(item, bytes):
                updates.append(self.send_photo(person, item, caption if place == 0 else "", album, chat))
            else:
                words = caption if place == len(items) - 1 else ""
                updates.append(self.send_document(person, *item, words, album, chat))
        return updates

    def send_other(self, person: Person, content: Json, chat: Group | None = None, **extra: Any) -> int:
        """Someone sends a voice message, a sticker, a location ..., such as VOICE; as say()."""
        with self._lock:
            return self._write(person, self._place(person, chat), {**content, **extra})

    def edit(self, person: Person, message_id: int, text: str, chat: Group | None = None) -> int:
        """Someone changes an own message, or its caption; KeyError if there is no such message."""
        with self._lock:
            place = self._place(person, chat)
            message = {**self._messages[place["id"], message_id], "edit_date": int(self.clock())}
            field = "text" if "text" in message else "caption"
            for gone in (field, "entities", "caption_entities"):
                message.pop(gone, None)
            edited = {**message, **written(text, field)}
            self._messages[place["id"], message_id] = edited
            return self.push({"edited_message": edited}) if self._is_given(edited) else 0

    def press(self, person: Person, message_id: int, data: str, chat: Group | None = None) -> int:
        """Someone presses a button under a message of the bot; as say(). ValueError if there is no such button."""
        with self._lock:
            place = self._place(person, chat)
            sent = self._transcript.get((place["id"], message_id))
            if sent is None or sent.deleted or data not in [found for row in sent.buttons for _, found in row]:
                raise ValueError(f"no button {data!r} under message {message_id}")
            query = {
                "id": str(secrets.randbelow(10**18)),
                "from": person.as_user(),
                "message": self._messages[place["id"], message_id],
                "chat_instance": str(place["id"]),
                "data": data,
            }
            return self.push({"callback_query": query})

    def stop_generation(self, person: Person) -> int:
        """Someone presses Stop beside the draft that stands in the private chat; as say(). ValueError if none does that
        can be stopped.
        """
        with self._lock:
            draft = self._live.get(person.id)
            if draft is None or not draft.can_stop or self.clock() >= draft.until:
                raise ValueError("no draft stands there that can be stopped")
            del self._live[person.id]
            return self.push({"stopped_message_generation": {"chat": person.as_chat(), "draft_id": draft.id}})

    def _place(self, person: Person, chat: Group | None) -> Json:
        """The chat someone writes in; the private one if there is no group."""
        if chat is None:
            return person.as_chat()
        if chat.id in self._moved:
            raise ValueError("nobody can write into a group that has become a supergroup")
        return chat.as_chat()

    def _attach(self, person: Person, chat: Group | None, content: Json, caption: str, album: str) -> int:
        if units(caption) > CAPTION_UNITS:
            raise ValueError(f"no app sends more than {CAPTION_UNITS} UTF-16 units as a caption")
        grouped = {"media_group_id": album} if album else {}
        return self._write(person, self._place(person, chat), {**content, **grouped, **written(caption, "caption")})

    def _write(self, person: Person, place: Json, content: Json) -> int:
        """Put a message into the chat, and tell the bot of it if it is to know."""
        message: Json = {
            "message_id": self._new_message_id(),
            "from": person.as_user(),
            "chat": place,
            "date": int(self.clock()),
            **content,
        }
        if self._is_given(message):
            self._given.add((place["id"], message["message_id"]))
            return self.push({"message": message})
        self._learn(message)
        return 0

    def _is_given(self, message: Json) -> bool:
        """Whether the bot is told of a message. In a group in privacy mode these are commands that are not for another
        bot, mentions, and replies to what it sent or was told of: core.telegram.org/bots/features#privacy-mode
        """
        chat_id = message["chat"]["id"]
        if chat_id in self._left:
            return False
        if chat_id > 0 or not self.privacy:
            return True
        text = message.get("text") or message.get("caption") or ""
        if mentioned(text, self.username):
            return True
        if text.startswith("/") and "@" not in text.split()[0]:
            return True
        replied = message.get("reply_to_message", {}).get("message_id", 0)
        return (chat_id, replied) in self._transcript or (chat_id, replied) in self._given

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
                place = update[kind].get("message", {}).get("chat", {}).get("id", 0)
                self._callbacks[str(update[kind]["id"])] = (self.clock(), place)
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

    def add_bot(self, group: Group, by: Person = ALICE) -> int:
        """Someone takes the bot into a group: the id of the service message about it."""
        with self._lock:
            was = "kicked" if self._left.pop(group.id, "") else "left"
            self._push_membership(group, by, was, "member")
            return self._push_service(by, group, {"new_chat_members": [self._me()]})

    def remove_bot(self, group: Group, by: Person = ALICE) -> int:
        """Someone throws the bot out of a group: 403 from now on."""
        with self._lock:
            update_id = self._push_membership(group, by, "member", "kicked")
            self._left[group.id] = "bot was kicked from"
            return update_id

    def _push_membership(self, group: Group, by: Person, old: str, new: str) -> int:
        states = {
            status: {"user": self._me(), "status": status, **({"until_date": 0} if status == "kicked" else {})}
            for status in (old, new)
        }
        member = {"chat": group.as_chat(), "from": by.as_user(), "date": int(self.clock())}
        return self.push({"my_chat_member": {**member, "old_chat_member": states[old], "new_chat_member": states[new]}})

    def migrate(self, group: Group, by: Person = ALICE) -> Group:
        """A group becomes a supergroup: a service message in both, and 400 for the old id from now on."""
        with self._lock:
            new = Group(-1_000_000_000_000 + group.id, group.title)
            self._push_service(by, group, {"migrate_to_chat_id": new.id})
            self._push_service(by, new, {"migrate_from_chat_id": group.id})
            self._moved[group.id] = new.id
            return new

    def _push_service(self, by: Person, group: Group, content: Json) -> int:
        """A service message: the bot is told of it whatever the privacy mode."""
        message = {"message_id": self._new_message_id(), "from": by.as_user(), "chat": group.as_chat()}
        return self.push({"message": {**message, "date": int(self.clock()), **content}})

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
        """What was shown of answers while they were written, oldest first."""
        with self._lock:
            return list(self._drafts[chat_id])

    def actions(self, chat_id: int) -> list[str]:
        """The chat actions, such as typing, oldest first."""
        with self._lock:
            return list(self._actions[chat_id])

    def story(self, chat_id: int) -> list[Json]:
        """Every message of the chat, whoever wrote it, as it stands now, oldest first."""
        with self._lock:
            return [message for (chat, _), message in sorted(self._messages.items()) if chat == chat_id]

    def answer_to(self, update_id: int) -> Json | None:
        """What the person who pressed the button was told: text and show_alert. None: nothing yet."""
        with self._lock:
            return self._answers.get(self._history[update_id]["callback_query"]["id"])

    def commands(self, scope: Json | None = None, language: str = "") -> list[Json]:
        """The commands set for exactly this scope and language; the default scope when there is none."""
        with self._lock:
            return self._commands.get(_scope_key(scope or {"type": "default"}, language), [])

    def menu(self, person: Person) -> list[Json]:
        """The commands a person is offered in the private chat: the narrowest scope, and in it the own language."""
        with self._lock:
            for scope in ({"type": "chat", "chat_id": person.id}, {"type": "all_private_chats"}, {"type": "default"}):
                for language in (person.language, ""):
                    if found := self._commands.get(_scope_key(scope, language)):
                        return found
            return []

    def wait_for(self, predicate: Callable[[TelegramSim], object], seconds: float) -> bool:
        """Wait until predicate(sim) is true; it is asked again after every change."""
        with self._changed:
            return bool(self._changed.wait_for(lambda: predicate(self), seconds))

    # One request

    def serve(self, request: Handler) -> None:
        """Answer one HTTP request, or misbehave as the next fault says."""
        body = request.read_body()
        address = urlsplit(request.path)
        place = unquote(address.path)
        download = file_route(place)
        token, method = route(place)
        params = parameters(address.query, request.headers.get("Content-Type", ""), body)
        if download:
            token, method, params = download[0], DOWNLOAD, Params(path=download[1])
        method = _METHODS.get(method.lower(), method)
        call = Call(method, params if params is not None else Params(), request.arrived, address.query)
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
        if not reply or (fault and fault.kind == "breaks-midway"):
            request.cut()

    def _reply(self, token: str, call: Call, fault: Fault | None, readable: bool) -> Reply | None:
        """The answer to a call; None to cut the connection."""
        kind = fault.kind if fault else ""
        if not self._serving or kind == "drop":
            return None
        if fault and kind == "status":
            return as_told(fault)
        try:
            if fault and kind == "hang":
                self._sleep(fault.seconds)
            self._check_token(token)
            if not readable:
                raise Refusal(400, "can't parse JSON object")
            if call.method == DOWNLOAD:
                reply = self._download(call.params["path"], half=kind == "breaks-midway")
            elif call.method in _METHODS.values():
                reply = Reply(200, {"ok": True, "result": getattr(self, f"_on_{call.method}")(call.params)})
            else:
                raise Refusal(404, "method not found")
        except Refusal as refusal:
            reply = refusal.reply
        except _Gone:
            return None
        return None if kind == "lose" else reply

    def _check_token(self, token: str) -> None:
        if not re.fullmatch(r"\d+:[\w-]+", token, re.ASCII):
            raise Refusal(404)
        if token != self.token or token in self._revoked:
            raise Refusal(401)

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

    def _on_getUpdates(self, params: Params) -> list[Json]:
        if self._webhook:
            self._conflict(WEBHOOK_ACTIVE, self._conflict_delay())
        offset = integer(params, "offset")
        limit = min(max(integer(params, "limit", 100), 1), 100)
        timeout = min(max(integer(params, "timeout"), 0), 50)
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
        raise Refusal(409, reason)

    def _choose_kinds(self, wanted: str) -> None:
        """get_allowed_update_types: what cannot be read changes nothing, a list without known names is the default."""
        kinds = parsed(wanted)
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

    def _on_sendMessage(self, params: Params) -> Json:
        text, entities = read_text(params)
        look = {**read_preview(params), **read_markup(params)}
        chat_id = self._chat(params)
        reply_to = self._replied_to(chat_id, params)
        text, entities = settle(text, entities)
        content = {"text": text, **({"entities": entities} if entities else {})}
        return self._send(chat_id, text, entities, {**content, **look}, reply_to)

    def _on_sendDocument(self, params: Params) -> Json:
        """A new file, or by its id one that was here before."""
        file_id = params.get("document", "")
        if "document" not in params.files and not file_id:
            raise Refusal(400, "there is no document in the request")
        if file_id and file_id not in self._files:
            raise Refusal(400, "wrong file identifier/HTTP URL specified")
        upload = params.files.get("document") or Upload(self._files[file_id]["name"], self._files[file_id]["data"])
        if not upload.data:
            raise Refusal(400, "file must be non-empty")
        if len(upload.data) > UPLOAD_BYTES:
            raise Refusal(413)
        text, entities = read_text(params, may_be_empty=True, field="caption")
        look = read_markup(params)
        chat_id = self._chat(params)
        reply_to = self._replied_to(chat_id, params)
        text, entities = settle(text, entities, may_be_empty=True, caption=True)
        content: Json = {"document": {**self._keep(upload.data, "documents", upload.name), "file_name": upload.name}}
        if text:
            content |= {"caption": text} | ({"caption_entities": entities} if entities else {})
        return self._send(chat_id, text, entities, {**content, **look}, reply_to, upload)

    def _send(
        self,
        chat_id: int,
        text: str,
        entities: list[Json],
        content: Json,
        reply_to: int | None,
        document: Upload | None = None,
    ) -> Json:
        """Put a message of the bot into the chat. The draft that stood there is gone then."""
        self._allow(chat_id)
        self._spend_message(chat_id)
        buttons = data_of(content.get("reply_markup", {}))
        sent = Sent(self._new_message_id(), chat_id, text, time.time(), [], entities, reply_to)
        sent.buttons, sent.document = buttons, document
        message: Json = {
            "message_id": sent.message_id,
            "from": self._me(),
            "chat": self._chats[chat_id],
            "date": int(self.clock()),
            **content,
        }
        if reply_to is not None:
            message["reply_to_message"] = _without_reply(self._messages[chat_id, reply_to])
        self._live.pop(chat_id, None)
        self.sent.append(sent)
        self._transcript[chat_id, sent.message_id] = sent
        self._messages[chat_id, sent.message_id] = message
        self._events.append(("message", chat_id, text))
        return message

    def _on_editMessageText(self, params: Params) -> Json:
        text, entities = read_text(params)
        look = {**read_preview(params), **read_markup(params)}
        old, sent = self._mine(params)
        if sent.document:
            raise Refusal(400, "there is no text in the message to edit")
        text, entities = settle(text, entities)
        if (text, entities, look.get("reply_markup")) == (sent.text, sent.entities, old.get("reply_markup")):
            raise Refusal(400, NOT_MODIFIED)
        kept = {key: old[key] for key in old if key not in ("entities", "reply_markup", "link_preview_options")}
        content = {"text": text, **({"entities": entities} if entities else {}), **look}
        self._change(sent, {**kept, **content})
        sent.edits.append(sent.text)
        sent.text, sent.entities = text, entities
        self._events.append(("edit", sent.chat_id, text))
        return self._messages[sent.chat_id, sent.message_id]

    def _on_editMessageReplyMarkup(self, params: Params) -> Json:
        """New buttons, or none; the text stays."""
        look = read_markup(params)
        old, sent = self._mine(params)
        if look.get("reply_markup") == old.get("reply_markup"):
            raise Refusal(400, NOT_MODIFIED)
        self._change(sent, {**{key: old[key] for key in old if key != "reply_markup"}, **look})
        self._events.append(("buttons", sent.chat_id, sent.text))
        return self._messages[sent.chat_id, sent.message_id]

    def _mine(self, params: Params) -> tuple[Json, Sent]:
        """The message of the bot that is to be edited."""
        if not params.get("chat_id") and not params.get("message_id"):
            raise Refusal(400, "message identifier is not specified")
        chat_id = self._chat(params)
        old = self._message(chat_id, integer(params, "message_id"), "message to edit")
        sent = self._transcript.get((chat_id, old["message_id"]))
        if sent is None:
            raise Refusal(400, "message can't be edited")
        return old, sent

    def _change(self, sent: Sent, message: Json) -> None:
        self._allow(sent.chat_id)
        self._spend_message(sent.chat_id)
        self._messages[sent.chat_id, sent.message_id] = {**message, "edit_date": int(self.clock())}
        sent.buttons = data_of(message.get("reply_markup", {}))

    def _on_deleteMessage(self, params: Params) -> bool:
        if not params.get("chat_id"):
            raise Refusal(400, "chat identifier is not specified")
        if integer(params, "message_id") <= 0:
            raise Refusal(400, "message identifier is not specified")
        chat_id = self._chat(params)
        message = self._message(chat_id, integer(params, "message_id"), "message to delete")
        if self.clock() - message.get("date", self.clock()) > 2 * DAY:
            raise Refusal(400, "message can't be deleted for everyone")
        del self._messages[chat_id, message["message_id"]]
        if sent := self._transcript.get((chat_id, message["message_id"])):
            sent.deleted = True
        return True

    def _on_sendMessageDraft(self, params: Params) -> bool:
        """Only private chats, a draft id that is not 0 (the wording of that refusal is ours). It stands for 30 seconds;
        with can_stop the person can end it.
        """
        text, entities = read_text(params, may_be_empty=True)
        chat_id = self._chat(params)
        if self._chats[chat_id].get("type") != "private":
            raise Refusal(400, "TEXTDRAFT_PEER_INVALID")
        if integer(params, "draft_id") == 0:
            raise Refusal(400, "invalid draft identifier specified")
        text, _ = settle(text, entities, may_be_empty=True)
        self._allow(chat_id)
        spend(self._draft_calls[chat_id], DRAFT_BUDGET, self.clock())
        until = self.clock() + DRAFT_SECONDS
        self._live[chat_id] = _Draft(integer(params, "draft_id"), true(params.get("can_stop", "")), until)
        self._drafts[chat_id].append(text)
        self._events.append(("draft", chat_id, text))
        return True

    def _on_sendChatAction(self, params: Params) -> bool:
        action = params.get("action", "").lower()
        if action not in ACTIONS:
            raise Refusal(400, "wrong parameter action in request")
        chat_id = self._chat(params)
        self._allow(chat_id)
        spend(self._draft_calls[chat_id], DRAFT_BUDGET, self.clock())
        self._actions[chat_id].append(action)
        self._events.append(("action", chat_id, action))
        return True

    def _on_setMessageReaction(self, params: Params) -> bool:
        """One reaction at most, out of the documented list; none takes the reaction back."""
        wanted = read_list(params, "reaction", "can't parse reaction types JSON object", "ReactionType")
        marks = [read_reaction(reaction) for reaction in wanted]
        chat_id = self._chat(params)
        message = self._message(chat_id, integer(params, "message_id"), "message to react")
        if len(marks) > 1:
            raise Refusal(400, "REACTIONS_TOO_MANY")
        self._allow(chat_id)
        self.reactions.pop((chat_id, message["message_id"]), None)
        for mark in marks:
            self.reactions[chat_id, message["message_id"]] = mark
        return True

    # The bot itself

    def _on_getMe(self, _: Params) -> Json:
        cannot = "supports_inline_queries supports_guest_queries can_connect_to_business has_main_web_app "
        cannot += "has_topics_enabled allows_users_to_create_topics can_manage_bots"
        groups = {"can_join_groups": True, "can_read_all_group_messages": not self.privacy}
        return {**self._me(), **groups, **dict.fromkeys(cannot.split(), False)}

    def _on_setMyCommands(self, params: Params) -> bool:
        commands = read_list(params, "commands", "can't parse commands JSON object", "BotCommand")
        read = [read_command(command) for command in commands]
        if len(read) > 100:
            raise Refusal(400, "BOT_COMMANDS_TOO_MUCH")
        self._commands[self._scope(params)] = read
        return True

    def _on_getMyCommands(self, params: Params) -> list[Json]:
        return self._commands.get(self._scope(params), [])

    def _on_deleteMyCommands(self, params: Params) -> bool:
        self._commands.pop(self._scope(params), None)
        return True

    def _on_leaveChat(self, params: Params) -> bool:
        chat_id = self._chat(params)
        if chat_id > 0:
            raise Refusal(400, "chat member status can't be changed in private chats")
        self._left[chat_id] = "bot is not a member of"
        return True

    def _on_deleteWebhook(self, params: Params) -> bool:
        self._webhook = ""
        if true(params.get("drop_pending_updates", "")):
            self._queue.clear()
            self._again.clear()
        return True

    def _on_getWebhookInfo(self, _: Params) -> Json:
        info: Json = {"url": self._webhook, "has_custom_certificate": False, "pending_update_count": len(self._queue)}
        return info if self._allowed is None else {**info, "allowed_updates": sorted(self._allowed)}

    def _on_answerCallbackQuery(self, params: Params) -> bool:
        query = params.get("callback_query_id", "")
        pressed_at, chat_id = self._callbacks.get(query, (-QUERY_SECONDS, 0))
        if self.clock() - pressed_at >= QUERY_SECONDS:
            raise Refusal(400, "query is too old and response timeout expired or query ID is invalid")
        if units(params.get("text", "")) > 200:
            raise Refusal(400, "MESSAGE_TOO_LONG")
        del self._callbacks[query]
        self._answers[query] = {"text": params.get("text", ""), "show_alert": true(params.get("show_alert", ""))}
        self._events.append(("answer", chat_id, params.get("text", "")))
        return True

    # Files

    def _on_getFile(self, params: Params) -> Json:
        kept = self._files.get(params.get("file_id", ""))
        if kept is None:
            raise Refusal(400, "invalid file_id")
        if kept["file_size"] > DOWNLOAD_BYTES:
            raise Refusal(400, "file is too big")
        self._links[kept["path"]] = (kept["file_id"], self.clock() + LINK_SECONDS)
        shown = {key: kept[key] for key in ("file_id", "file_unique_id", "file_size")}
        return {**shown, "file_path": kept["path"]}

    def _download(self, path: str, half: bool) -> Reply:
        file_id, until = self._links.get(path, ("", 0.0))
        if self.clock() >= until:
            raise Refusal(404)
        data: bytes = self._files[file_id]["data"]
        if half:
            return Reply(200, data[: len(data) // 2], {"Content-Length": str(len(data))})
        return Reply(200, data)

    def _keep(self, data: bytes, folder: str, name: str, size: int = 0) -> Json:
        """Keep a file; the fields every kind of file has in a message."""
        file_id, ending = f"{folder}-{secrets.token_urlsafe(24)}", name.rpartition(".")[2] if "." in name else ""
        path = f"{folder}/file_{len(self._files)}" + (f".{ending}" if ending else "")
        shown: Json = {"file_id": file_id, "file_unique_id": file_id[-12:], "file_size": size or len(data)}
        self._files[file_id] = {**shown, "path": path, "name": name, "data": data}
        return shown

    # Checks on the state

    def _me(self) -> Json:
        return {"id": self.bot_id, "is_bot": True, "first_name": self.first_name, "username": self.username}

    def _chat(self, params: Params) -> int:
        if not params.get("chat_id"):
            raise Refusal(400, "chat_id is empty")
        chat_id = integer(params, "chat_id")
        if chat_id not in self._chats:
            raise Refusal(400, "chat not found")
        if moved_to := self._moved.get(chat_id):
            raise Refusal(400, "group chat was upgraded to a supergroup chat", moved_to=moved_to)
        if chat_id in self._left:
            raise Refusal(403, f"{self._left[chat_id]} the {self._chats[chat_id]['type']} chat")
        return chat_id

    def _message(self, chat_id: int, message_id: int, role: str) -> Json:
        if (chat_id, message_id) not in self._messages:
            raise Refusal(400, f"{role} not found")
        return self._messages[chat_id, message_id]

    def _replied_to(self, chat_id: int, params: Params) -> int | None:
        """The message this one answers; None if it answers none, or one that is gone and need not be there."""
        if params.get("reply_parameters"):
            wish = read_object(params["reply_parameters"], "reply parameters")
            message_id = number(wish, "message_id") if wish else 0
            optional = bool(wish.get("allow_sending_without_reply"))
        else:
            message_id = integer(params, "reply_to_message_id")
            optional = true(params.get("allow_sending_without_reply", ""))
        if message_id <= 0:
            return None
        if (chat_id, message_id) in self._messages:
            return message_id
        if optional:
            return None
        raise Refusal(400, "message to be replied not found")

    def _allow(self, chat_id: int) -> None:
        if chat_id in self._blocked:
            raise Refusal(403, BLOCKED)

    def _spend_message(self, chat_id: int) -> None:
        if limit := self.flood_per_chat if chat_id > 0 else self.flood_per_group:
            spend(self._message_calls[chat_id], (limit,), self.clock())

    def _scope(self, params: Params) -> tuple[str, str]:
        """What a list of commands is kept under."""
        scope: Json = {"type": "default"}
        if params.get("scope"):
            scope = read_object(params["scope"], "BotCommandScope")
        kind = scope.get("type")
        if kind in ("chat", "chat_administrators", "chat_member"):
            self._chat(Params(chat_id=str(scope.get("chat_id", ""))))
        elif kind not in ("default", "all_private_chats", "all_group_chats", "all_chat_administrators"):
            raise Refusal(400, "can't parse BotCommandScope: Unsupported type specified")
        language = params.get("language_code", "")
        if not re.fullmatch(r"([a-z]{2})?", language):
            raise Refusal(400, "invalid language code specified")
        return _scope_key(scope, language)


def _scope_key(scope: Json, language: str) -> tuple[str, str]:
    return json.dumps({key: str(scope[key]) for key in scope}, sort_keys=True), language


def _without_reply(message: Json) -> Json:
    """A message as another shows that it answers it: only one level deep."""
    return {key: message[key] for key in message if key not in ("reply_to_message", "quote")}


DOWNLOAD = "downloadFile"  # what a download is called in `calls` and faults; it is no method
_METHODS = {name[4:].lower(): name[4:] for name in vars(TelegramSim) if name.startswith("_on_")}
