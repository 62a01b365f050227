"""Updates: whatever comes is either read, with every field as promised, or refused; and either way it is kept, once."""

from __future__ import annotations

import copy
import typing
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from bot import receive
from demo.telegram import ALICE, BOB, CHARLIE
from lib.files import File
from lib.telegram import KINDS, LATEST, MOST_BYTES, Incoming, ids, read
from lib.text import storable
from tests.desk import FRIENDS, NAME, Desk
from tests.fuzz.material import Deep, any_texts, numbers, sent, values
from tests.test_reading_updates import OTHERS, SIZES, document

BOT = 700
KNOWN = {*KINDS, "other"}
TYPES = typing.get_type_hints(Incoming)

people = st.sampled_from([ALICE, BOB, CHARLIE])
words = any_texts | st.sampled_from(["hello", "x" * 4096, "/start", "/status", "/new", "/retry", "/x"])
words |= st.sampled_from(["/stop", "/allow", f"@{NAME} hi", "/add 5", f"/audit@{NAME}", "/forget", "/help"])
marks = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["mention", "bot_command", "bold"]), "offset": numbers, "length": numbers},
        optional={"user": st.just({"id": BOT, "is_bot": True, "first_name": "S"})},
    ),
    max_size=3,
)
CONTENTS: dict[str, Any] = {**OTHERS, "photo": SIZES, "document": document("a.pdf", "application/pdf")}
CONTENTS |= {
    "migrate_to_chat_id": -1_000_000_000_020,
    "pinned_message": {"message_id": 2, "date": 1, "chat": FRIENDS, "text": "x"},
    "new_chat_title": "t",
}
ORIGINS: list[Any] = [
    {"type": "hidden_user", "date": 1, "sender_user_name": "Bob"},
    {"type": "user", "date": 1, "sender_user": BOB.as_user()},
    {"type": "channel", "date": 1, "chat": {"id": -7, "type": "channel", "title": "News"}, "message_id": 3},
]


@st.composite
def messages(draw: st.DrawFn, depth: int = 1) -> dict[str, Any]:
    """A message as Telegram sends it."""
    person = draw(people)
    chat = draw(st.sampled_from([person.as_chat(), FRIENDS, {"id": -9, "type": "supergroup", "title": "Family"}]))
    made = {"message_id": draw(st.integers(1, 2**31)), "date": 1_800_000_000, "chat": chat, "from": person.as_user()}
    made |= draw(st.fixed_dictionaries({}, optional={"text": words, "entities": marks, "caption": words}))
    for content in draw(st.lists(st.sampled_from(sorted(CONTENTS)), max_size=2)):
        made[content] = CONTENTS[content]
    if draw(st.booleans()):
        made["forward_origin"] = draw(st.sampled_from(ORIGINS))
        made["quote"] = {"text": draw(words), "position": 0}
    if depth and draw(st.booleans()):
        made["reply_to_message"] = draw(messages(depth - 1))
    if draw(st.booleans()):
        made["media_group_id"] = "77"
    return made


presses = st.builds(
    lambda message, data: {"id": "9", "from": message["from"], "message": message, "data": data, "chat_instance": "1"},
    messages(),
    st.sampled_from(["forget:yes", "retry", "stop:5", "", "x"]) | any_texts,
)
stops = st.builds(lambda message, draft: {"chat": message["chat"], "draft_id": draft}, messages(), numbers)
whole = st.one_of(
    st.fixed_dictionaries({"message": messages()}),
    st.fixed_dictionaries({"edited_message": messages()}),
    st.fixed_dictionaries({"callback_query": presses}),
    st.fixed_dictionaries({"stopped_message_generation": stops}),
)
odd = values | numbers | st.sampled_from([True, [], {}, "5", float("inf")]) | st.builds(Deep, st.integers(2, 700))


@st.composite
def bent(draw: st.DrawFn) -> dict[str, Any]:
    """An update in which some places hold something else, or nothing."""
    made: dict[str, Any] = copy.deepcopy(draw(whole))
    for _ in range(draw(st.integers(0, 3))):
        inner: Any = made
        while True:
            keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            key = draw(st.sampled_from(keys))
            if not (isinstance(inner[key], dict | list) and inner[key]) or draw(st.integers(0, 3)) == 0:
                break
            inner = inner[key]
        if draw(st.booleans()):
            inner[key] = draw(odd)
        else:
            del inner[key]
        if not made:
            break
    return made


anything = st.dictionaries(st.sampled_from(sorted(KNOWN)) | any_texts, values, max_size=3)


def is_as_promised(update: Incoming) -> None:
    assert update.kind in KNOWN
    for name, kind in TYPES.items():
        value = getattr(update, name)
        if kind is str:
            assert type(value) is str, name
            assert value == storable(value), name
        elif kind is bool:
            assert type(value) is bool, name
        elif kind is int or (value is not None and name != "files"):
            assert type(value) is int, name
            assert abs(value) < 2**53, name
    assert 0 <= update.said_at <= LATEST
    assert len(update.context) <= 3 * 600
    assert update.unfit in ("", "type", "too_large")
    for file in update.files:
        assert isinstance(file, File)
        assert file.file_id == storable(file.file_id)
        assert 0 <= file.size <= MOST_BYTES[file.kind]
        assert len(file.name) <= 103
        assert "\n" not in file.name
    if update.kind in ("message", "edited_message"):
        assert update.chat_id is not None
        assert update.message_id is not None


@given(bent() | anything)
@example({"callback_query": {"id": "9", "message": {"chat": {"id": "5"}, "message_id": 1}, "data": ""}})
@example({"stopped_message_generation": {"chat": {"id": [5]}}})
@example({"message": {"message_id": 1, "date": 2**52, "chat": {"id": 5, "type": "private"}, "text": "x"}})
@example({"message": {"message_id": 1, "date": 1, "chat": {"id": True, "type": "private"}, "text": "x"}})
def test_what_is_read_is_as_promised_and_all_else_is_refused(raw: dict[str, Any]):
    try:
        update = read(sent({"update_id": 1, **raw}), BOT, NAME)
    except Exception:
        return  # what bot.receive() catches
    is_as_promised(update)


@given(bent() | anything)
def test_the_ids_of_what_cannot_be_read_are_made_out_or_not(raw: dict[str, Any]):
    for found in ids(sent(raw)):
        assert found is None or (type(found) is int and abs(found) < 2**53)


@given(whole)
def test_what_telegram_sends_is_read(raw: dict[str, Any]):
    [(kind, given_part)] = raw.items()
    update = read({"update_id": 1, **raw}, BOT, NAME)
    is_as_promised(update)
    assert update.kind == kind
    message = given_part.get("message", given_part)
    assert update.chat_id == message["chat"]["id"]
    if "message_id" in message:
        assert (update.user_id, update.message_id) == (message["from"]["id"], message["message_id"])
    if "message_id" in given_part:
        assert update.text == (storable(given_part.get("text", "")) or storable(given_part.get("caption", "")))


@given(update=bent())
@example(update={"message": {"date": float("inf"), "text": 5}})
@example(update={"message": Deep(700)})
def test_whatever_comes_is_kept_once_and_does_not_come_back(desk: Desk, update: dict[str, Any]):
    raw = sent({"update_id": desk.update_id(), **update})
    for _ in range(2):
        receive(desk.bot, raw)  # it raises nothing
        found = desk.house.query("SELECT state FROM inbox WHERE update_id = %s", raw["update_id"])
        assert len(found) == 1
        assert found[0][0] in ("waiting", "noted", "parked")
