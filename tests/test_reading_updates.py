"""What is read from an update of each kind, with nothing of it trusted to be there."""

from __future__ import annotations

from typing import Any

import pytest

from lib.english import English
from lib.files import File
from lib.russian import Russian
from lib.telegram import KINDS, MOST_BYTES, Incoming, read, without_mention

BOT, NAME = 700, "Steward_Bot"
ALICE = {"id": 10, "is_bot": False, "first_name": "Alice", "last_name": "Ash", "language_code": "ru"}
STEWARD = {"id": BOT, "is_bot": True, "first_name": "Steward", "username": NAME}
PRIVATE = {"id": 10, "type": "private", "first_name": "Alice"}
GROUP = {"id": -20, "type": "supergroup", "title": "Family"}


def message(chat: dict[str, Any] = PRIVATE, **content: Any) -> dict[str, Any]:
    return {"message_id": 5, "date": 1_800_000_000, "chat": chat, "from": ALICE, **content}


def got(chat: dict[str, Any] = PRIVATE, **content: Any) -> Incoming:
    return read({"update_id": 1, "message": message(chat, **content)}, BOT, NAME)


def test_a_text_with_everything_around_it():
    assert got(GROUP, text="hello") == Incoming(
        kind="message",
        chat_id=-20,
        chat_type="supergroup",
        user_id=10,
        message_id=5,
        content="text",
        text="hello",
        language="ru",
        name="Alice",
        title="Family",
        said_at=1_800_000_000,
    )


@pytest.mark.parametrize(
    "text",
    ["  two\n\nlines  ", "مرحبا بالعالم", "שלום \u200f(עולם)", "👩‍👩‍👧‍👦 hi", "/start now", "x" * 4096],
)
def test_a_text_is_taken_as_written(text: str):
    assert got(text=text).text == text


def test_what_no_table_can_keep_is_taken_out_of_every_text():
    odd = got(
        {**GROUP, "title": "a\x00b"},
        caption="half \ud83d emoji\x00",
        photo=[],
        **{"from": {**ALICE, "first_name": "\x00"}},
    )
    assert (odd.text, odd.title, odd.name) == ("half ? emoji", "ab", "")


def test_a_changed_caption_is_an_edit_with_its_text():
    edited = read({"update_id": 1, "edited_message": message(photo=[], caption="better")}, BOT)
    assert (edited.kind, edited.text) == ("edited_message", "better")


# --- Files

SIZES = [
    {"file_id": "small", "file_unique_id": "1", "width": 90, "height": 60, "file_size": 1000},
    {"file_id": "large", "file_unique_id": "3", "width": 1280, "height": 853, "file_size": 200_000},
    {"file_id": "middle", "file_unique_id": "2", "width": 320, "height": 213, "file_size": 20_000},
]


def document(name: str, mime: str, size: int = 100) -> dict[str, Any]:
    return {"file_id": "doc", "file_unique_id": "d", "file_name": name, "mime_type": mime, "file_size": size}


def test_of_a_photo_the_largest_size_is_taken_with_caption_and_album():
    photo = got(photo=SIZES, caption="look", media_group_id="77")
    assert photo.files == (File("large", "image", "image/jpeg", "", 200_000),)
    assert (photo.content, photo.text, photo.album, photo.unfit) == ("photo", "look", "77", "")


def test_of_a_photo_too_large_for_claude_a_smaller_size_is_taken():
    sizes = [{**SIZES[1], "file_size": 3_932_161}, SIZES[2]]
    assert [file.file_id for file in got(photo=sizes).files] == ["middle"]
    assert got(photo=sizes[:1]).unfit == "too_large"


@pytest.mark.parametrize(
    ("name", "mime", "kind", "media_type"),
    [
        ("a.png", "image/png", "image", "image/png"),
        ("a.JPG", "application/octet-stream", "image", "image/jpeg"),
        ("a.jpg", "image/jpg", "image", "image/jpeg"),
        ("a.webp", "", "image", "image/webp"),
        ("report.pdf", "application/pdf", "pdf", "application/pdf"),
        ("report.PDF", "application/octet-stream", "pdf", "application/pdf"),
        ("notes.txt", "text/plain; charset=windows-1251", "text", "text/plain"),
        ("table.csv", "application/vnd.ms-excel", "text", "text/plain"),
        ("main.ts", "video/mp2t", "text", "text/plain"),
        ("main.rs", "application/octet-stream", "text", "text/plain"),
        ("Makefile", "text/x-makefile", "text", "text/plain"),
        ("Makefile", "", "text", "text/plain"),
        ("a", "application/geo+json", "text", "text/plain"),
        ("config.yaml", "application/x-yaml", "text", "text/plain"),
        ("picture.svg", "image/svg+xml", "text", "text/plain"),
    ],
)
def test_a_document_is_known_by_its_type_or_its_name(name: str, mime: str, kind: str, media_type: str):
    given = got(document=document(name, mime))
    assert given.files == (File("doc", kind, media_type, name, 100),)
    assert (given.content, given.unfit) == ("document", "")


@pytest.mark.parametrize(
    ("name", "mime"),
    [
        ("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("a.heic", "image/heic"),
        ("a.rtf", "text/rtf"),
        ("a.zip", "application/zip"),
        ("noname", "application/octet-stream"),
        ("film.mp4", "video/mp4"),
        ("", ""),
    ],
)
def test_a_document_that_claude_cannot_read_is_told_as_such(name: str, mime: str):
    given = got(document=document(name, mime), caption="what is this?")
    assert (given.files, given.unfit, given.text) == ((), "type", "what is this?")


@pytest.mark.parametrize(
    ("name", "mime", "kind"),
    [("a.png", "image/png", "image"), ("a.pdf", "application/pdf", "pdf"), ("a.txt", "text/plain", "text")],
)
def test_a_document_above_its_cap_is_told_as_such(name: str, mime: str, kind: str):
    assert got(document=document(name, mime, MOST_BYTES[kind])).unfit == ""
    over = got(document=document(name, mime, MOST_BYTES[kind] + 1))
    assert (over.files, over.unfit) == ((), "too_large")


def test_a_document_with_nothing_known_of_it_is_no_reason_to_fail():
    given = got(document={"file_id": "doc", "file_unique_id": "d", "file_size": "many"})
    assert (given.content, given.unfit) == ("document", "type")
    long = got(document=document("line\nbreak[x]" + "y" * 300 + ".pdf", "application/pdf"))
    assert "\n" not in long.files[0].name
    assert len(long.files[0].name) < 110


MEDIA = {"file_id": "m", "file_unique_id": "m", "duration": 3, "width": 1, "height": 1, "length": 1}
OTHERS: dict[str, Any] = {
    "voice": MEDIA,
    "audio": MEDIA,
    "video": MEDIA,
    "video_note": MEDIA,
    "animation": MEDIA,
    "sticker": {**MEDIA, "type": "regular", "is_animated": False, "is_video": False},
    "location": {"latitude": 1.5, "longitude": 2.5},
    "contact": {"phone_number": "1", "first_name": "Bob"},
    "dice": {"emoji": "🎲", "value": 3},
    "story": {"id": 1, "chat": GROUP},
    "paid_media": {"star_count": 1, "paid_media": []},
    "game": {"title": "g", "description": "d", "photo": []},
}


@pytest.mark.parametrize("content", OTHERS)
def test_what_claude_cannot_read_is_named(content: str):
    extra = {"document": document("a.gif", "video/mp4")} if content == "animation" else {}
    given = got(**{content: OTHERS[content]}, **extra)
    assert (given.content, given.files, given.unfit, given.service) == (content, (), "", False)


def test_a_venue_is_not_only_a_location_and_what_is_new_has_no_name():
    place = OTHERS["location"]
    venue = {"location": place, "title": "t", "address": "a"}
    assert got(venue=venue, location=place).content == "venue"
    assert got(something_of_tomorrow={"x": 1}).content == ""


# --- Context


@pytest.mark.parametrize(
    ("origin", "name"),
    [
        ({"type": "user", "date": 1, "sender_user": {**ALICE, "first_name": "Боб"}}, "Боб Ash"),
        ({"type": "hidden_user", "date": 1, "sender_user_name": "Some One"}, "Some One"),
        ({"type": "chat", "date": 1, "sender_chat": GROUP, "author_signature": "x"}, "Family"),
        (
            {"type": "channel", "date": 1, "chat": {**GROUP, "type": "channel", "title": "News"}, "message_id": 3},
            "News",
        ),
        ({"type": "hidden_user", "date": 1, "sender_user_name": 'a]\n["b'}, "a) ('b"),
        ({"type": "hidden_user", "date": 1, "sender_user_name": ""}, "somebody"),
    ],
)
def test_a_forwarded_message_says_where_it_is_from(origin: dict[str, Any], name: str):
    forwarded = got(text="news", forward_origin=origin)
    assert forwarded.forwarded
    assert forwarded.context == f"[Forwarded from {name}]"
    assert forwarded.text == "news"


def test_a_reply_brings_what_it_replies_to():
    bob = {**ALICE, "id": 11, "first_name": "Bob"}
    replied = {**message(GROUP, text='say "yes"\nor no ' + "x" * 600), "from": bob}
    context = got(GROUP, text="why?", reply_to_message=replied).context
    assert context.startswith("[In reply to Bob Ash: \"say 'yes' or no xxx")
    assert context.endswith('xxx..."]')
    assert len(context) < 550


def test_a_reply_to_the_bot_says_you_and_addresses_it():
    replied = {**message(text="my answer"), "from": STEWARD}
    given = got(GROUP, text="really?", reply_to_message=replied)
    assert given.context == '[In reply to you: "my answer"]'
    assert given.addressed
    assert not got(GROUP, text="really?", reply_to_message=message(text="mine")).addressed


def test_a_reply_to_a_part_brings_only_that_part():
    replied = {**message(text="one two three"), "from": STEWARD}
    quoted = got(text="?", reply_to_message=replied, quote={"text": "two", "position": 4, "is_manual": True})
    assert quoted.context == '[In reply to you: "two"]'


def test_a_reply_to_a_message_in_another_chat_brings_the_quote():
    origin = {"type": "channel", "date": 1, "chat": {**GROUP, "type": "channel", "title": "News"}, "message_id": 3}
    quoted = got(text="?", external_reply={"origin": origin}, quote={"text": "so it is", "position": 0})
    assert quoted.context == '[In reply to News: "so it is"]'


def test_a_reply_to_a_caption_counts_and_one_to_something_without_words_says_nothing():
    assert '"a caption"' in got(text="?", reply_to_message=message(photo=SIZES, caption="a caption")).context
    assert got(text="?", reply_to_message=message(sticker=OTHERS["sticker"])).context == ""


def test_what_is_replied_to_needs_not_be_understood():
    moon = message(text="old", forward_origin={"type": "moon"})
    assert got(text="new", reply_to_message=moon).context == '[In reply to Alice Ash: "old"]'
    assert got(text="new", reply_to_message={"text": "old"}).context == '[In reply to somebody: "old"]'


def test_in_a_group_a_question_about_a_picture_brings_the_picture():
    assert [file.file_id for file in got(GROUP, text="who is it?", reply_to_message=message(photo=SIZES)).files] == [
        "large"
    ]
    assert got(text="who is it?", reply_to_message=message(photo=SIZES)).files == (), "in private it was shown before"


def test_a_forwarded_reply_has_both_lines():
    origin = {"type": "hidden_user", "date": 1, "sender_user_name": "Bob"}
    both = got(text="x", forward_origin=origin, reply_to_message=message(text="y")).context
    assert both == '[Forwarded from Bob]\n[In reply to Alice Ash: "y"]'


# --- To whom it is addressed


def marked(text: str, part: str, kind: str = "mention", **more: Any) -> dict[str, Any]:
    """The text with this part marked, in UTF-16 units as Telegram counts."""
    offset = len(text[: text.index(part)].encode("utf-16-le")) // 2
    return {"text": text, "entities": [{"type": kind, "offset": offset, "length": len(part), **more}]}


@pytest.mark.parametrize(
    "content",
    [
        marked("@Steward_Bot hello", "@Steward_Bot"),
        marked("👩‍👩‍👧‍👦🇩🇪 hi @steward_bot!", "@steward_bot"),
        marked("שלום @STEWARD_BOT", "@STEWARD_BOT"),
        marked("hey Steward", "Steward", "text_mention", user=STEWARD),
        marked("/status@Steward_Bot", "/status@Steward_Bot", "bot_command"),
    ],
)
def test_in_a_group_the_bot_is_addressed_by_its_name(content: dict[str, Any]):
    assert got(GROUP, **content).addressed
    caption = {"photo": SIZES, "caption": content["text"], "caption_entities": content["entities"]}
    assert got(GROUP, **caption).addressed


@pytest.mark.parametrize(
    "content",
    [
        {"text": "@Steward_Bot without a mark"},
        marked("@Steward_Bot2 hello", "@Steward_Bot2"),
        marked("hey Alice", "Alice", "text_mention", user=ALICE),
        marked("/status", "/status", "bot_command"),
        marked("/status@other_bot", "/status@other_bot", "bot_command"),
        {"text": "x", "entities": [{"type": "mention", "offset": 500, "length": 12}]},
        {"text": "x", "entities": [{"type": "mention", "offset": -5, "length": -12}]},
    ],
)
def test_in_a_group_what_names_somebody_else_is_not_for_the_bot(content: dict[str, Any]):
    assert not got(GROUP, **content).addressed


def test_without_a_username_no_mention_is_found():
    raw = {"update_id": 1, "message": message(GROUP, **marked("@ hello", "@"))}
    assert not read(raw, BOT).addressed


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("@Steward_Bot, what is it?", "what is it?"),
        ("@steward_bot: hi", "hi"),
        ("what is it, @Steward_Bot", "what is it,"),
        ("what does @Steward_Bot do?", "what does @Steward_Bot do?"),
        ("@Steward_Bot2 hi", "@Steward_Bot2 hi"),
        ("mail me@Steward_Bot", "mail me@Steward_Bot"),
        ("@Steward_Bot", ""),
        ("@Steward_Bot\nline\n\nline", "line\n\nline"),
    ],
)
def test_the_mention_that_only_says_for_whom_it_is_can_be_left_out(text: str, left: str):
    assert without_mention(text, NAME) == left
    assert without_mention(text, "") == text


# --- Other updates


def test_a_pressed_button():
    query = {"id": "99", "from": ALICE, "message": message(GROUP), "chat_instance": "1", "data": "stop:5"}
    pressed = read({"update_id": 1, "callback_query": query}, BOT)
    assert (pressed.kind, pressed.press, pressed.data) == ("callback_query", "99", "stop:5")
    assert (pressed.chat_id, pressed.chat_type, pressed.message_id) == (-20, "supergroup", 5)
    assert (pressed.user_id, pressed.language, pressed.name) == (10, "ru", "Alice")


def test_a_button_on_a_message_too_old_to_be_told_of():
    old = {"chat": PRIVATE, "message_id": 5, "date": 0}
    pressed = read({"update_id": 1, "callback_query": {"id": "99", "from": ALICE, "message": old}}, BOT)
    assert (pressed.chat_id, pressed.message_id, pressed.data) == (10, 5, "")


def test_a_stop_of_the_draft_names_the_chat_and_nobody():
    stopped = read({"update_id": 1, "stopped_message_generation": {"chat": PRIVATE, "draft_id": 12}}, BOT)
    assert (stopped.kind, stopped.chat_id, stopped.chat_type) == ("stopped_message_generation", 10, "private")
    assert (stopped.user_id, stopped.data) == (None, "12")


def test_a_group_that_has_moved():
    moved = got(GROUP, migrate_to_chat_id=-1_000_000_000_020)
    assert (moved.moved_to, moved.service, moved.content) == (-1_000_000_000_020, True, "migrate_to_chat_id")


@pytest.mark.parametrize(
    "raw", [{"my_chat_member": {}}, {"poll": None}, {"something_new": 5}, {"channel_post": message()}, {}]
)
def test_an_update_of_another_kind_is_other(raw: dict[str, Any]):
    assert read({"update_id": 1, **raw}, BOT) == Incoming(kind="other")


@pytest.mark.parametrize("kind", KINDS[2:])
@pytest.mark.parametrize("odd", [None, [], "x", 5, {}, {"chat": 5, "from": "x", "message": []}])
def test_presses_and_stops_with_nothing_in_them_are_read_all_the_same(kind: str, odd: Any):
    assert read({"update_id": 1, kind: odd}, BOT).kind == kind


@pytest.mark.parametrize(
    "odd",
    [
        {"reply_to_message": []},
        {"quote": {"text": 5, "position": 0}},
        {"from": {"id": 10, "is_bot": False, "first_name": 7, "language_code": []}},
        {"media_group_id": 7},
        {"migrate_to_chat_id": "far"},
        {"photo": []},
    ],
)
def test_fields_of_another_shape_stop_no_text(odd: dict[str, Any]):
    assert got(text="hello", **odd).text == "hello"


# --- What a person is told of it


@pytest.mark.parametrize("say", [English(), Russian()], ids=["English", "Russian"])
def test_whatever_cannot_be_read_has_a_sentence_in_every_language(say: English):
    assert set(say.UNREADABLE) == set(English.UNREADABLE) >= {*OTHERS, "too_large", "type", ""}
    assert all(text.strip() for text in say.UNREADABLE.values())
    assert say.unreadable("document", "type") == say.UNREADABLE["type"]
    assert say.unreadable("something_of_tomorrow") == say.UNREADABLE[""]
