"""The Telegram Bot API, simulated: what a bot can ask of it over HTTP, and every refusal the real service makes.

The oracle is the source of tdlib's own server, telegram-bot-api 10.0 (`Client.cpp`, `ClientManager.cpp`), and for what
only Telegram's core decides (budgets, reactions, lengths) the documents at core.telegram.org/bots/api.
"""

from __future__ import annotations

import re
import socket
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from demo.loopback import Fault, Faults, Handler, LoopbackServer
from demo.telegram_chats import Chats, Document, Draft, Sent, scope_key, without_reply
from demo.telegram_checks import (
    ACTIONS,
    BLOCKED,
    NOT_MODIFIED,
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
)
from demo.telegram_people import (
    ALICE,
    BOB,
    CHARLIE,
    CONTACT,
    FRIENDS,
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
)
from demo.telegram_updates import DAY, Gone

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

KEPT = 20_000  # calls
DRAFT_BUDGET = ((20, 5.0), (40, 30.0))  # (calls, seconds) per chat, drafts and chat actions together: api/bots/ai
DRAFT_SECONDS = 30.0  # for which a draft stands
DOWNLOAD_BYTES, UPLOAD_BYTES = 20 << 20, 50 << 20  # the largest file a bot can fetch, and send
LINK_SECONDS = 3_600.0  # for which a file path of getFile is valid
DOWNLOAD = "downloadFile"  # what a download is called in `calls` and faults; it is no method
QUERY_SECONDS = 60.0  # in which a pressed button can be answered; the documents do not say how long it really is


@dataclass
class Call:
    """One request; every parameter as the text that came in. `status` is 0 while there is no answer."""

    method: str
    params: Params
    at: float  # time.perf_counter() when it arrived
    query: str = ""  # what stood in the URL, where proxies and logs would see it
    status: int = 0


class _Endpoint(Handler):
    server: LoopbackServer

    def do_GET(self) -> None:
        simulator: TelegramSim = self.server.simulator
        simulator.serve(self)

    do_POST = do_GET


class TelegramSim(Chats):
    """Telegram with one bot. Every method is safe from any thread; the state outlives stop() and start().

    first_update    the id of the first update; higher after a restart, or the bot takes new messages for old ones
    flood_per_chat  (messages, seconds) a private chat takes, edits and files included; None for no limit
    flood_per_group the same for a group
    on_event        called as (kind, chat_id, text) after a draft, message, edit, action, change of the buttons or
                    answer to a pressed button took effect
    """

    def __init__(self, token: str, port: int = 0, address: str = "127.0.0.1", first_update: int = 824_000_001) -> None:
        super().__init__(token, first_update)
        self.faults = Faults()
        self.flood_per_chat: tuple[int, float] | None = None
        self.flood_per_group: tuple[int, float] | None = (20, 60.0)
        self.on_event: Callable[[str, int, str], None] | None = None

        self._address = address
        self._server = LoopbackServer(_Endpoint, self, port, address)
        self._held: socket.socket | None = None  # keeps the port ours during an outage
        self._serving = False

        self._calls: deque[Call] = deque(maxlen=KEPT)
        self._revoked: set[str] = set()
        self._draft_calls: defaultdict[int, list[float]] = defaultdict(list)
        self._message_calls: defaultdict[int, list[float]] = defaultdict(list)
        self._links: dict[str, tuple[str, float]] = {}  # file id and end of validity, by file path
        self._events: deque[tuple[str, int, str]] = deque()

    # Coming and going

    @property
    def url(self) -> str:
        return self._server.url

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

    def revoke(self) -> None:
        """The token is dead: 401 from now on, until `token` is another one. A waiting poll ends empty."""
        with self._lock:
            self._revoked.add(self.token)
            if self._poll:
                self._poll.until = 0.0
            self._news.notify_all()

    @property
    def calls(self) -> list[Call]:
        with self._lock:
            return list(self._calls)

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
        except Gone:
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
            message["reply_to_message"] = without_reply(self._messages[chat_id, reply_to])
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
        self._live[chat_id] = Draft(integer(params, "draft_id"), true(params.get("can_stop", "")), until)
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

    # Checks on the state

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
        return scope_key(scope, language)


_METHODS = {name[4:].lower(): name[4:] for name in dir(TelegramSim) if name.startswith("_on_")}
