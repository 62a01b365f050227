"""The people of the simulated Telegram, their groups, and what their apps make of what they write and attach."""

from __future__ import annotations

import base64
import re
import struct
from dataclasses import dataclass
from typing import Any

from demo.telegram_checks import units

Json = dict[str, Any]

COMMAND = re.compile(r"(?<![\w/<>])/[A-Za-z0-9_]{1,64}(?:@[A-Za-z0-9_]{3,32})?(?![\w/<>])")
MENTION = re.compile(r"(?<![\w@/])@[A-Za-z][A-Za-z0-9_]{2,31}(?!\w)")
JPEG = b"\xff\xd8\xff"
# One white pixel.
PICTURE = base64.b64decode(
    "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP//////////////////////////////////////////////////////////////////////////////////"
    "////wAALCAABAAEBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAA//EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AN//Z"
)

# What else can come, each the content of one message: for send_other().
VOICE: Json = {
    "voice": {"file_id": "voice-1", "file_unique_id": "v1", "duration": 3, "mime_type": "audio/ogg", "file_size": 9_000}
}
STICKER: Json = {
    "sticker": {
        "file_id": "sticker-1",
        "file_unique_id": "s1",
        "type": "regular",
        "width": 512,
        "height": 512,
        "is_animated": False,
        "is_video": False,
        "emoji": "👍",
    }
}
LOCATION: Json = {"location": {"latitude": 48.2, "longitude": 16.37}}
CONTACT: Json = {"contact": {"phone_number": "+4311234567", "first_name": "Dora"}}
VIDEO: Json = {
    "video": {
        "file_id": "video-1",
        "file_unique_id": "m1",
        "width": 640,
        "height": 360,
        "duration": 5,
        "file_size": 10**6,
    }
}


@dataclass(frozen=True)
class Person:
    """Someone with a Telegram account; the id is also that of the private chat with the bot."""

    id: int
    first_name: str
    username: str | None = None
    language: str = "en"  # the language code of the app

    def as_user(self) -> Json:
        user: Json = {"id": self.id, "is_bot": False, "first_name": self.first_name}
        if self.username:
            user["username"] = self.username
        return {**user, "language_code": self.language}

    def as_chat(self) -> Json:
        chat: Json = {"id": self.id, "first_name": self.first_name, "type": "private"}
        return {**chat, "username": self.username} if self.username else chat


ALICE = Person(1001, "Alice", "alice")
BOB = Person(1002, "Bob", "bob")
CHARLIE = Person(1003, "Charlie")
OLGA = Person(1004, "Ольга", "olga", "ru")


@dataclass(frozen=True)
class Group:
    """A group that the bot can be in. `kind` is supergroup, or group for one that has not become a supergroup."""

    id: int  # below 0
    title: str
    kind: str = "supergroup"

    def as_chat(self) -> Json:
        return {"id": self.id, "title": self.title, "type": self.kind}


FRIENDS = Group(-1_001_000_000_001, "Friends")


# Where a forwarded message came from: the `forward_origin` of say()


def from_user(person: Person, date: int = 1) -> Json:
    return {"type": "user", "sender_user": person.as_user(), "date": date}


def from_hidden_user(name: str, date: int = 1) -> Json:
    """Someone whose account is not linked in forwards."""
    return {"type": "hidden_user", "sender_user_name": name, "date": date}


def from_chat(group: Group, date: int = 1) -> Json:
    """An anonymous administrator of a group."""
    return {"type": "chat", "sender_chat": group.as_chat(), "date": date}


def from_channel(title: str, date: int = 1) -> Json:
    chat = {"id": -1_001_999_999_999, "title": title, "type": "channel"}
    return {"type": "channel", "chat": chat, "message_id": 7, "date": date}


# What an app sends


def written(text: str, field: str = "text") -> Json:
    """The text (or with field="caption" the caption) of a message; Telegram marks commands and mentions in it."""
    found = [(match, "bot_command") for match in COMMAND.finditer(text)]
    found += [(match, "mention") for match in MENTION.finditer(text)]
    entities = [
        {"offset": units(text[: match.start()]), "length": units(match[0]), "type": kind}
        for match, kind in sorted(found, key=lambda one: one[0].start())
    ]
    if not text:
        return {}
    name = "entities" if field == "text" else "caption_entities"
    return {field: text, **({name: entities} if entities else {})}


def mentioned(text: str, username: str) -> bool:
    """Whether the text mentions this username; in a command (/help@name) it addresses it as well."""
    return re.search(rf"@{username}(?!\w)", text, re.IGNORECASE) is not None


def quoted(message: Json, quote: str) -> Json:
    """The `quote` field for a part of an earlier message. ValueError for what does not stand there."""
    text = message.get("text") or message.get("caption") or ""
    begin = text.find(quote)
    if begin < 0 or units(quote) > 1024:
        raise ValueError("only up to 1024 UTF-16 units that stand in the message can be quoted")
    return {"quote": {"text": quote, "position": units(text[:begin]), "is_manual": True}}


def picture_size(data: bytes) -> tuple[int, int]:
    """Width and height of a JPEG, from its frame header; (1, 1) when it has none."""
    found = re.search(rb"\xff[\xc0-\xc2]\x00.\x08(.{4})", data, re.DOTALL)
    height, width = struct.unpack(">HH", found[1]) if found else (1, 1)
    return width, height
