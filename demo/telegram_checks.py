"""What the simulated Telegram makes of a request before it looks at its own state: parameters, texts, entities,
buttons, limits, and refusals in the real service's words.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from email import message_from_string
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from demo.loopback import Fault

Json = dict[str, Any]

TEXT_UNITS, CAPTION_UNITS = 4_096, 1_024  # UTF-16 code units in a message, and under a picture or file
TEXT_BYTES = 1 << 15  # UTF-8 bytes of raw text, before anything else is looked at
SPACE = " \n\r\t"
BUTTON_BYTES, MOST_BUTTONS = 64, 100
BUTTON_KINDS = ("url", "callback_data", "callback_game", "pay", "login_url", "web_app", "copy_text")

OTHER_POLL = "terminated by other getUpdates request; make sure that only one bot instance is running"
NEW_WEBHOOK = "terminated by setWebhook request"
WEBHOOK_ACTIVE = "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
NOT_MODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the same as a current "
    "content and reply markup of the message"
)
BLOCKED = "bot was blocked by the user"


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ENTITY_TYPES = words(
    "bold italic underline strikethrough spoiler code pre text_link text_mention custom_emoji blockquote "
    "expandable_blockquote date_time"
)
FOUND_BY_THE_SERVER = words("mention hashtag cashtag bot_command url email phone_number bank_card_number")
ACTIONS = words(
    "cancel typing record_video upload_video record_audio record_voice upload_audio upload_voice upload_photo "
    "upload_document choose_sticker pick_up_location find_location record_video_note upload_video_note"
)
REACTIONS = words(
    "❤ 👍 👎 🔥 🥰 👏 😁 🤔 🤯 😱 🤬 😢 🎉 🤩 🤮 💩 🙏 👌 🕊 🤡 🥱 🥴 😍 🐳 ❤‍🔥 🌚 🌭 "
    "💯 🤣 ⚡ 🍌 🏆 💔 🤨 😐 🍓 🍾 💋 🖕 😈 😴 😭 🤓 "
    "👻 👨‍💻 👀 🎃 🙈 😇 😨 🤝 ✍ 🤗 🫡 🎅 🎄 ☃ 💅 🤪 🗿 🆒 💘 🙉 🦄 😘 💊 🙊 😎 👾 🤷‍♂ 🤷 🤷‍♀ 😡"
)


@dataclass
class Reply:
    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Upload:
    """A file as it came in, or went out."""

    name: str
    data: bytes = field(repr=False)


class Refusal(Exception):
    """An answer with ok=false; the description gets the prefix the real server gives to its status."""

    def __init__(self, status: int, description: str = "", retry_after: int = 0, moved_to: int = 0) -> None:
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
        if moved_to:
            body["parameters"] = {"migrate_to_chat_id": moved_to}
        self.reply = Reply(status, body, headers)


# Reading a request


def route(path: str) -> tuple[str, str]:
    """Token and method of /bot<token>/<method>."""
    found = re.fullmatch(r"/bot([^/]*)/(.*)", path)
    return (found[1], found[2]) if found else ("", path)


def file_route(path: str) -> tuple[str, str] | None:
    """Token and file path of /file/bot<token>/<path>."""
    found = re.fullmatch(r"/file/bot([^/]*)/(.*)", path)
    return (found[1], found[2]) if found else None


class Params(dict[str, str]):
    """The parameters of a call as text, and the files that came with them."""

    files: dict[str, Upload]


def parameters(query: str, kind: str, body: bytes) -> Params | None:
    """Parameters from the query string and a form or JSON body; the first of a name counts. None: unreadable JSON.

    `kind` is the whole Content-Type.

    Bytes that are no UTF-8 stay as lone surrogates, for the text check to find.
    """
    given = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    files: dict[str, Upload] = {}
    if kind.startswith("multipart/form-data"):
        form, files = multipart(kind, body)
        given += form.items()
    elif kind.startswith("application/json") and body.strip():
        fields = parsed(body.decode("utf-8", "surrogateescape"))
        if not isinstance(fields, dict):
            return None
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
        given += [(name, text) for name, text in texts.items() if text != "null"]
    else:
        text = body.decode("utf-8", "surrogateescape")
        given += parse_qsl(text, keep_blank_values=True, errors="surrogateescape")
    params = Params(reversed(given))
    params.files = files
    return params


def multipart(kind: str, body: bytes) -> tuple[dict[str, str], dict[str, Upload]]:
    """Fields and files of a multipart/form-data body; `kind` is the whole Content-Type."""
    fields: dict[str, str] = {}
    files: dict[str, Upload] = {}
    boundary = message_from_string(f"Content-Type: {kind}\n\n").get_param("boundary")
    for part in body.split(f"--{boundary}".encode())[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        header = message_from_string(head.decode("utf-8", "replace").strip())
        name = str(header.get_param("name", "", "content-disposition"))
        if (file_name := header.get_filename()) is None:
            fields[name] = content[:-2].decode("utf-8", "surrogateescape")
        else:
            files[name] = Upload(file_name, content[:-2])
    return fields, files


def parsed(text: str) -> Any:
    """The JSON value, None if it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def integer(params: dict[str, str], name: str, default: int = 0) -> int:
    """td::to_integer: the leading digits, 0 if there are none."""
    text = params.get(name, "")
    found = re.match(r"-?\d{1,19}", text, re.ASCII)
    return int(found[0]) if found else (0 if text else default)


def true(text: str) -> bool:
    return text.strip().lower() in ("true", "yes", "1")


def read_object(text: str, name: str) -> Json:
    value = parsed(text)
    if value is None:
        raise Refusal(400, f"can't parse {name} JSON object")
    if not isinstance(value, dict):
        raise Refusal(400, f"object expected as {name}")
    return value


def read_list(params: dict[str, str], name: str, unreadable: str, kind: str) -> list[Any]:
    if not params.get(name):
        return []
    value = parsed(params[name])
    if value is None:
        raise Refusal(400, unreadable)
    if not isinstance(value, list):
        raise Refusal(400, f"expected an Array of {kind}")
    return value


def read_preview(params: dict[str, str]) -> Json:
    given = params.get("link_preview_options")
    return {"link_preview_options": read_object(given, "link preview options")} if given else {}


def read_markup(params: dict[str, str]) -> Json:
    """Only an inline keyboard comes back in the message."""
    given = params.get("reply_markup")
    markup = read_object(given, "reply keyboard markup") if given else {}
    rows = markup.get("inline_keyboard", [])
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise Refusal(400, 'field "inline_keyboard" of the InlineKeyboardMarkup must be an Array of Arrays')
    # As TDLib: a button without a label is left out, and so is a row without a button.
    kept = [[button for button in map(read_button, row) if button["text"]] for row in rows]
    kept = [row for row in kept if row]
    if sum(map(len, kept)) > MOST_BUTTONS:
        raise Refusal(400, "reply markup is too long")
    return {"reply_markup": {"inline_keyboard": kept}} if kept else {}


def read_button(button: Any) -> Json:
    """A button with a link or with callback data; the other kinds are taken as they come."""
    problem = ""
    if not isinstance(button, dict):
        problem = "InlineKeyboardButton must be an Object"
    elif not isinstance(button.get("text"), str):
        problem = 'Can\'t find field "text"'
    elif not any(button.get(name) for name in BUTTON_KINDS):
        problem = "Text buttons are unallowed in the inline keyboard"
    if problem:
        raise Refusal(400, f"can't parse inline keyboard button: {problem}")
    if len(str(button.get("callback_data", "")).encode()) > BUTTON_BYTES:
        raise Refusal(400, "BUTTON_DATA_INVALID")
    return dict(button)


def data_of(markup: Json) -> list[list[tuple[str, str]]]:
    """The buttons of a message, row by row: label and callback data."""
    rows = markup.get("inline_keyboard", [])
    return [[(button["text"], button.get("callback_data", "")) for button in row] for row in rows]


def number(fields: Json, name: str) -> int:
    if name not in fields:
        raise Refusal(400, f'can\'t find field "{name}"')
    try:
        return int(str(fields[name]))
    except ValueError:
        raise Refusal(400, f'field "{name}" must be a valid Number') from None


def read_command(command: Any) -> Json:
    if not isinstance(command, dict):
        raise Refusal(400, "can't parse BotCommand: expected an Object")
    for name in ("command", "description"):
        if not isinstance(command.get(name), str):
            raise Refusal(400, f"can't parse BotCommand: Can't find field \"{name}\"")
    word, description = command["command"].strip().removeprefix("/"), command["description"].strip()
    if not re.fullmatch(r"[a-z0-9_]{1,32}", word):
        raise Refusal(400, "BOT_COMMAND_INVALID")
    if not 1 <= len(description) <= 256:
        raise Refusal(400, "BOT_COMMAND_DESCRIPTION_INVALID")
    return {"command": word, "description": description}


def read_reaction(reaction: Any) -> str:
    if not isinstance(reaction, dict):
        raise Refusal(400, "can't parse ReactionType: expected an Object")
    kind = reaction.get("type")
    if kind not in ("emoji", "custom_emoji"):
        raise Refusal(400, "can't parse ReactionType: invalid reaction type specified")
    mark = str(reaction.get(kind if kind == "emoji" else "custom_emoji_id", ""))
    if kind == "emoji" and mark.replace("\ufe0f", "") not in REACTIONS:
        raise Refusal(400, "REACTION_INVALID")
    return mark


# Text and its entities: get_formatted_text, and what TDLib does with the outcome


def units(text: str) -> int:
    """Length in UTF-16 code units, the measure of every limit and offset."""
    return len(text) + sum(character > "\uffff" for character in text)


def read_text(params: dict[str, str], may_be_empty: bool = False, field: str = "text") -> tuple[str, list[Json]]:
    """Text and entities as given. With a parse_mode the entities are not looked at; the markup itself is not parsed."""
    text = params.get(field, "")
    if not text and not may_be_empty:
        raise Refusal(400, "message text is empty")
    if len(text.encode("utf-8", "surrogatepass")) > TEXT_BYTES:
        raise Refusal(400, "text is too long")
    mode = params.get("parse_mode", "").lower()
    if text and mode not in ("", "none"):
        if mode not in ("markdown", "markdownv2", "html"):
            raise Refusal(400, "unsupported parse_mode")
        return text, []
    given = parsed(params.get("entities" if field == "text" else f"{field}_entities", ""))
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
        raise Refusal(400, f"can't parse MessageEntity: {problem}") from None


def settle(
    text: str, entities: list[Json], may_be_empty: bool = False, caption: bool = False
) -> tuple[str, list[Json]]:
    """The text as it is stored: entities in range, no space around it, at most 4096 units (a caption: 1024)."""
    if not is_utf8(text) or not is_utf8(json.dumps(entities, ensure_ascii=False)):
        raise Refusal(400, "strings must be encoded in UTF-8")
    _check_ranges(text, entities)
    entities = sorted((entity for entity in entities if entity["length"]), key=lambda entity: int(entity["offset"]))
    text = text.rstrip(SPACE)
    if not text.strip() and not may_be_empty:
        raise Refusal(400, "message text is empty")
    # Leading space goes too, but not where the first entity already covers it.
    lead = len(text) - len(text.lstrip(SPACE))
    if entities:
        lead = min(lead, int(entities[0]["offset"]))
    text = text[lead:]
    end = units(text)
    if end > (CAPTION_UNITS if caption else TEXT_UNITS):
        raise Refusal(400, "message caption is too long" if caption else "message is too long")
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
        end += units(character)
        edges.add(end)
    for entity in entities:
        first, length = entity["offset"], entity["length"]
        last = first + length
        if not 0 <= first <= 1_000_000:
            raise Refusal(400, f"receive an entity with incorrect offset {first}")
        if not 0 <= length <= 1_000_000:
            raise Refusal(400, f"receive an entity with incorrect length {length}")
        if length and first > end:
            raise Refusal(400, f"entity begins after the end of the text at UTF-16 offset {first}")
        if length and last > end:
            raise Refusal(
                400,
                f"entity beginning at UTF-16 offset {first} ends after the end of the text at UTF-16 offset {last}",
            )
        if length and (first not in edges or last not in edges):
            place = "begins" if first not in edges else "ends"
            raise Refusal(400, f"entity {place} in a middle of a UTF-16 symbol")


def is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# Limits and faults


def spend(times: list[float], limits: tuple[tuple[int, float], ...], now: float) -> None:
    """Note one more use, or refuse it with the seconds until every (count, seconds) limit has room again."""
    longest = max(seconds for _, seconds in limits)
    times[:] = [moment for moment in times if now - moment < longest]
    waits = [0.0]
    for count, seconds in limits:
        recent = [moment for moment in times if now - moment < seconds]
        if len(recent) >= count:
            waits.append(recent[-count] + seconds - now)
    if max(waits) > 0:
        raise Refusal(429, retry_after=math.ceil(max(waits)))
    times.append(now)


def as_told(fault: Fault) -> Reply:
    """The answer of a "status" fault: its own body, or what the real service says with that status."""
    usual = {403: BLOCKED, 409: OTHER_POLL}
    if fault.body is not None:
        reply = Reply(fault.status, fault.body)
    elif fault.status in (502, 503, 504):  # from the nginx in front
        title = f"{fault.status} {HTTPStatus(fault.status).phrase}"
        head = f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        reply = Reply(fault.status, f"{head}<hr><center>nginx/1.18.0</center>\r\n</body>\r\n</html>\r\n")
    elif fault.status == 429:
        reply = Refusal(429, retry_after=max(math.ceil(fault.seconds), 1)).reply
    else:
        reply = Refusal(fault.status, usual.get(fault.status, "")).reply
    return Reply(reply.status, reply.body, {**reply.headers, **(fault.headers or {})})
