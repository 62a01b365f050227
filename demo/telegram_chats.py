"""The chats of the simulated Telegram, as people's apps show them: what people do in them, and what they see there."""

from __future__ import annotations

import json
import secrets
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from demo.telegram_checks import CAPTION_UNITS, TEXT_UNITS, Upload, units
from demo.telegram_people import ALICE, JPEG, PICTURE, Group, Person, mentioned, picture_size, quoted, written
from demo.telegram_updates import Updates

Json = dict[str, Any]
Document = tuple[bytes, str, str]  # contents, name, media type


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


@dataclass(frozen=True)
class Draft:
    """The draft that stands in a chat."""

    id: int
    can_stop: bool
    until: float  # by the clock


class Chats(Updates):
    """Private chats and groups with one bot.

    privacy    whether the bot gets only those messages of groups that are meant for it: BotFather's /setprivacy
    sent       every message of the bot
    reactions  the bot's reaction by (chat_id, message_id)
    """

    first_name = "Steward"
    username = "steward_bot"

    def __init__(self, token: str, first_update: int) -> None:
        super().__init__(first_update)
        self.token = token
        self.privacy = True
        self.sent: list[Sent] = []
        self.reactions: dict[tuple[int, int], str] = {}

        self._chats: dict[int, Json] = {}
        self._blocked: set[int] = set()
        self._left: dict[int, str] = {}  # groups the bot is not in any more, and why
        self._moved: dict[int, int] = {}  # groups that have become supergroups
        self._messages: dict[tuple[int, int], Json] = {}
        self._transcript: dict[tuple[int, int], Sent] = {}
        self._given: set[tuple[int, int]] = set()  # messages the bot was told of
        self._next_message = 1
        self._drafts: defaultdict[int, list[str]] = defaultdict(list)
        self._live: dict[int, Draft] = {}
        self._actions: defaultdict[int, list[str]] = defaultdict(list)
        self._files: dict[str, Json] = {}  # by file id; under "data" what is in it
        self._callbacks: dict[str, tuple[float, int]] = {}  # unanswered ones: when the button was pressed, and where
        self._answers: dict[str, Json] = {}
        self._commands: dict[tuple[str, str], list[Json]] = {}

    @property
    def bot_id(self) -> int:
        return int(self.token.partition(":")[0])

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
                content["reply_to_message"] = without_reply(replied)
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

    def migrate(self, group: Group, by: Person = ALICE) -> Group:
        """A group becomes a supergroup: a service message in both, and 400 for the old id from now on."""
        with self._lock:
            new = Group(-1_000_000_000_000 + group.id, group.title)
            self._push_service(by, group, {"migrate_to_chat_id": new.id})
            self._push_service(by, new, {"migrate_from_chat_id": group.id})
            self._moved[group.id] = new.id
            return new

    # What people see

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
            return self._commands.get(scope_key(scope or {"type": "default"}, language), [])

    def menu(self, person: Person) -> list[Json]:
        """The commands a person is offered in the private chat: the narrowest scope, and in it the own language."""
        with self._lock:
            for scope in ({"type": "chat", "chat_id": person.id}, {"type": "all_private_chats"}, {"type": "default"}):
                for language in (person.language, ""):
                    if found := self._commands.get(scope_key(scope, language)):
                        return found
            return []

    # How it gets there

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
        self._learn("message", message)
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

    def _push_membership(self, group: Group, by: Person, old: str, new: str) -> int:
        states = {
            status: {"user": self._me(), "status": status, **({"until_date": 0} if status == "kicked" else {})}
            for status in (old, new)
        }
        member = {"chat": group.as_chat(), "from": by.as_user(), "date": int(self.clock())}
        return self.push({"my_chat_member": {**member, "old_chat_member": states[old], "new_chat_member": states[new]}})

    def _push_service(self, by: Person, group: Group, content: Json) -> int:
        """A service message: the bot is told of it whatever the privacy mode."""
        message = {"message_id": self._new_message_id(), "from": by.as_user(), "chat": group.as_chat()}
        return self.push({"message": {**message, "date": int(self.clock()), **content}})

    def _keep(self, data: bytes, folder: str, name: str, size: int = 0) -> Json:
        """Keep a file; the fields every kind of file has in a message."""
        file_id, ending = f"{folder}-{secrets.token_urlsafe(24)}", name.rpartition(".")[2] if "." in name else ""
        path = f"{folder}/file_{len(self._files)}" + (f".{ending}" if ending else "")
        shown: Json = {"file_id": file_id, "file_unique_id": file_id[-12:], "file_size": size or len(data)}
        self._files[file_id] = {**shown, "path": path, "name": name, "data": data}
        return shown

    def _new_message_id(self) -> int:
        self._next_message += 1
        return self._next_message - 1

    def _me(self) -> Json:
        return {"id": self.bot_id, "is_bot": True, "first_name": self.first_name, "username": self.username}

    def _learn(self, kind: str, payload: Any) -> None:
        """Know the chat and the message an update speaks of: the bot may now write there."""
        if not isinstance(payload, dict):
            return
        self._learn("message", payload.get("message"))
        chat = payload.get("chat")
        if isinstance(chat, dict) and isinstance(chat.get("id"), int):
            self._chats[chat["id"]] = chat
            if isinstance(payload.get("message_id"), int):
                self._messages[chat["id"], payload["message_id"]] = payload
                self._next_message = max(self._next_message, payload["message_id"] + 1)
        if kind == "callback_query":
            place = payload.get("message", {}).get("chat", {}).get("id", 0)
            self._callbacks[str(payload["id"])] = (self.clock(), place)


def scope_key(scope: Json, language: str) -> tuple[str, str]:
    return json.dumps({key: str(scope[key]) for key in scope}, sort_keys=True), language


def without_reply(message: Json) -> Json:
    """A message as another shows that it answers it: only one level deep."""
    return {key: message[key] for key in message if key not in ("reply_to_message", "quote")}
