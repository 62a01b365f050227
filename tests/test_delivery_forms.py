"""How a message goes out: formatted, and after each refusal simpler; as an edit, as a file; or not at all any more."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from demo.loopback import Fault
from demo.telegram import ALICE, Group, TelegramSim, Upload
from lib import chats, outbox
from lib.db import Database
from lib.delivery import ANSWER_FILE, deliver
from lib.english import English
from lib.outbox import Saying
from lib.secret import Secret
from lib.stop import Stop
from lib.telegram import Telegram
from lib.text import units
from tests.house import House

english = English()
BOLD = "Some **bold** text"
TOO_LONG = {"ok": False, "error_code": 400, "description": "Bad Request: message is too long"}
US = Group(-500, "Us")


class Post:
    """A house without its scripts: what is put into the outbox, delivered here and now."""

    def __init__(self, house: House, database: Database, stop: Stop) -> None:
        self.house, self.database, self.stop = house, database, stop
        self.sim: TelegramSim = house.telegram
        self.telegram = Telegram(Secret(self.sim.token), self.sim.url)
        self.sim.say(ALICE, "hello")  # or the bot may not write to her

    def say(self, *sayings: str | Saying, chat_id: int = ALICE.id, sender: str = "worker") -> bool:
        """Put it into the outbox, and deliver the chat."""
        with self.database.transaction() as cur:
            outbox.add(cur, sender, chat_id, str(uuid.uuid4()), sayings)
        return self.deliver(chat_id, sender)

    def deliver(self, chat_id: int = ALICE.id, sender: str = "worker") -> bool:
        return deliver(self.database, self.telegram, self.stop, sender, chat_id)

    def wait(self) -> None:
        """Let the time come before which nothing may be sent."""
        self.house.query("UPDATE chats SET not_before = now()")

    def refuse(self, method: str, times: int = 1, body: dict[str, Any] | None = None) -> None:
        self.sim.faults.add(Fault("status", method, times=times, status=400, body=body))

    @property
    def asked(self) -> list[str]:
        return [call.method for call in self.sim.calls]

    @property
    def texts(self) -> list[str]:
        return [message.text for message in self.sim.messages(ALICE.id)]

    def states(self) -> list[str]:
        return [state for (state,) in self.house.query("SELECT state FROM outbox ORDER BY id")]

    def audit(self) -> list[tuple[Any, ...]]:
        return self.house.query("SELECT action, outcome, reason, detail FROM audit ORDER BY id")


@pytest.fixture
def post(make_house: Callable[..., House], stop: Stop) -> Any:
    house = make_house()
    database = Database(Secret(house.database_url), "test")
    yield Post(house, database, stop)
    database.close()


def test_markdown_goes_out_as_text_and_entities_and_nothing_is_left_to_parse(post: Post) -> None:
    assert post.say(Saying(BOLD, markdown=True))
    [message] = post.sim.messages(ALICE.id)
    assert message.text == "Some bold text"
    assert message.entities == [{"type": "bold", "offset": 5, "length": 4}]
    assert "parse_mode" not in post.sim.calls[-1].params
    assert json.loads(post.sim.calls[-1].params["link_preview_options"]) == {"is_disabled": True}
    assert post.audit()[-1][3] == {"parts": 1, "maybe_repeat": False, "form": "markdown"}


def test_a_notice_is_said_as_it_is(post: Post) -> None:
    post.say("2 * 3 * 4 and _this_")
    assert post.texts == ["2 * 3 * 4 and _this_"]
    assert "entities" not in post.sim.calls[-1].params


def test_a_refused_form_is_followed_by_the_plain_original_at_once(post: Post) -> None:
    post.refuse("sendMessage")
    assert post.say(Saying(BOLD, markdown=True))
    assert post.texts == [BOLD]
    assert post.asked == ["sendMessage", "sendMessage"]
    assert post.audit() == [
        ("reply.reshaped", "success", "refused", {"part": 1, "form": "plain"}),
        ("reply.sent", "success", None, {"parts": 1, "maybe_repeat": False, "form": "plain"}),
    ]


def test_a_plain_text_that_is_too_long_goes_out_in_halves(post: Post) -> None:
    post.refuse("sendMessage", 2, TOO_LONG)
    text = "**One** sentence more. " * 100
    assert post.say(Saying(text, markdown=True))
    assert len(post.texts) == 2
    assert "".join("".join(post.texts).split()) == "".join(text.split())
    assert post.states() == ["sent"]


def test_halves_that_are_too_long_are_halved_again_and_keep_their_order(post: Post) -> None:
    post.refuse("sendMessage", 3, TOO_LONG)
    text = " ".join(f"word{number}" for number in range(400))
    assert post.say(Saying(text, markdown=True))
    assert len(post.texts) == 3
    assert " ".join(post.texts).split() == text.split()


def test_what_telegram_takes_in_no_form_goes_out_as_a_file(post: Post) -> None:
    post.refuse("sendMessage", 2)
    assert post.say(Saying(BOLD, markdown=True))
    assert post.asked == ["sendMessage", "sendMessage", "sendDocument"]
    [message] = post.sim.messages(ALICE.id)
    assert message.document == Upload(ANSWER_FILE, BOLD.encode())
    assert post.states() == ["sent"]
    assert [row[3].get("form") for row in post.audit()] == ["plain", "file", "file"]


def test_a_message_that_is_refused_in_every_form_is_given_up_and_the_person_is_told(post: Post) -> None:
    post.refuse("sendMessage", 2)
    post.refuse("sendDocument")
    assert post.say(Saying(BOLD, markdown=True), "and on")
    assert post.texts == ["and on", english.NOT_TAKEN]
    assert post.states() == ["refused", "sent", "sent"]


def test_no_form_is_sent_again_once_it_was_refused_not_even_after_a_pause(post: Post) -> None:
    post.refuse("sendMessage")
    post.sim.faults.add(Fault("status", "sendMessage", status=429, seconds=5))
    assert not post.say(Saying(BOLD, markdown=True))
    with post.database.statement() as cur:
        assert chats.held(cur) == {ALICE.id}
    post.wait()
    assert post.deliver()
    assert post.texts == [BOLD]
    with_entities = [call for call in post.sim.calls if "entities" in call.params]
    assert len(with_entities) == 1


def test_a_repeated_message_carries_the_mark_in_front_and_its_entities_move(post: Post) -> None:
    post.sim.faults.add(Fault("lose", "sendMessage"))
    assert not post.say(Saying(BOLD, markdown=True))
    post.wait()
    assert post.deliver()
    _, message = post.sim.messages(ALICE.id)
    assert message.text == english.REPEAT_MARK + "Some bold text"
    assert message.entities == [{"type": "bold", "offset": units(english.REPEAT_MARK) + 5, "length": 4}]


def test_a_file_goes_out_under_its_name_and_a_repeat_is_marked_in_its_caption(post: Post) -> None:
    post.sim.faults.add(Fault("lose", "sendDocument"))
    assert not post.say(Saying("# Всё, what was said", document="chat.md"))
    post.wait()
    assert post.deliver()
    first, second = post.sim.messages(ALICE.id)
    assert first.document == second.document == Upload("chat.md", "# Всё, what was said".encode())
    assert (first.text, second.text) == ("", english.REPEAT_MARK.strip())


def test_an_edit_changes_the_message_and_the_same_again_is_no_error(post: Post) -> None:
    post.say("Writing ...")
    [message] = post.sim.messages(ALICE.id)
    for _ in range(2):
        assert post.say(Saying(BOLD, markdown=True, edits=message.message_id))
    assert post.texts == ["Some bold text"]
    assert post.states() == ["sent"] * 3
    assert [call.status for call in post.sim.calls] == [200, 200, 400]


def test_what_can_no_longer_be_edited_is_said_anew(post: Post) -> None:
    assert post.say(Saying(BOLD, markdown=True, edits=999))
    assert post.asked == ["editMessageText", "sendMessage"]
    assert post.sim.messages(ALICE.id)[0].entities


def test_buttons_stand_under_a_message_and_a_reply_needs_no_message_to_reply_to(post: Post) -> None:
    assert post.say(Saying("Choose", buttons=[[("Yes", "y:1"), ("No", "n:1")], [("Later", "l")]], reply_to=4711))
    params = post.sim.calls[-1].params
    rows = json.loads(params["reply_markup"])["inline_keyboard"]
    assert [[(one["text"], one["callback_data"]) for one in row] for row in rows] == [
        [("Yes", "y:1"), ("No", "n:1")],
        [("Later", "l")],
    ]
    assert json.loads(params["reply_parameters"]) == {"message_id": 4711, "allow_sending_without_reply": True}
    assert post.texts == ["Choose"]


def test_a_person_who_blocked_the_bot_is_asked_once_and_everything_for_them_is_given_up(post: Post) -> None:
    post.sim.block(ALICE.id)
    assert post.say(Saying(BOLD, markdown=True), "second", "third")
    assert post.asked == ["sendMessage"]
    assert post.states() == ["refused"] * 3
    assert post.audit() == [("reply.sent", "failure", "chat_gone", {"parts": 3})]
    assert post.say("and what comes later", sender="bot")
    assert post.asked == ["sendMessage"], "nobody is asked for a chat that is gone"
    assert post.states() == ["refused"] * 4
    assert post.house.query("SELECT gone_at IS NULL FROM chats WHERE chat_id = %s", ALICE.id) == [(False,)]


def test_a_group_that_has_become_a_supergroup_gets_its_messages_there(post: Post) -> None:
    post.sim.add_bot(US)
    new = post.sim.migrate(US)
    assert post.say(Saying(BOLD, markdown=True, reply_to=5), "second", chat_id=US.id)
    assert post.deliver(new.id)
    assert [message.text for message in post.sim.messages(new.id)] == ["Some bold text", "second"]
    assert post.sim.messages(US.id) == []
    assert post.asked == ["sendMessage"] * 3


def test_a_group_that_put_the_bot_out_gets_nothing_more(post: Post) -> None:
    post.sim.add_bot(US)
    post.sim.remove_bot(US)
    assert post.say("hello", "all", chat_id=US.id)
    assert post.states() == ["refused", "refused"]
    assert post.asked == ["sendMessage"]


def test_the_menu_of_commands_is_set_for_a_language_and_for_one_chat(post: Post) -> None:
    post.telegram.set_commands([("new", "Start afresh")], "de")
    post.telegram.set_commands([("audit", "Look back")], chat_id=ALICE.id)
    first, second = (call.params for call in post.sim.calls)
    assert json.loads(first["commands"]) == [{"command": "new", "description": "Start afresh"}]
    assert json.loads(first["scope"]) == {"type": "all_private_chats"}
    assert first["language_code"] == "de"
    assert json.loads(second["scope"]) == {"type": "chat", "chat_id": ALICE.id}
    assert "language_code" not in second


def test_a_press_of_a_button_is_answered(post: Post) -> None:
    post.sim.push({"callback_query": {"id": "press-1", "from": ALICE.as_user(), "data": "y:1"}})
    post.telegram.answer_press("press-1", "Done")
    assert post.sim.calls[-1].params == {"callback_query_id": "press-1", "text": "Done"}


TOO_FAST = {"ok": False, "error_code": 429, "description": "Too Many Requests: retry after 1"}


@pytest.mark.parametrize(("status", "body"), [(429, TOO_FAST), (400, None)], ids=["later", "as a file"])
def test_what_comes_once_more_after_one_of_its_halves_is_marked_as_a_repeat(
    post: Post, status: int, body: dict[str, Any] | None
) -> None:
    post.refuse("sendMessage", 2, TOO_LONG)
    text = "One sentence more. " * 100
    post.sim.faults.add(Fault("hang", "sendMessage"))  # the first half arrives
    post.sim.faults.add(Fault("status", "sendMessage", status=status, body=body))
    delivered = post.say(Saying(text, markdown=True))
    assert delivered is (status == 400)
    if not delivered:
        post.house.query("UPDATE chats SET not_before = NULL")
        assert post.deliver()
    assert len(post.texts) == 2
    assert text.startswith(post.texts[0])
    assert post.texts[1].startswith(english.REPEAT_MARK.strip())


def test_nothing_is_sent_to_a_chat_before_its_time_whoever_was_told_to_wait(post: Post) -> None:
    with post.database.statement() as cur:
        chats.hold(cur, ALICE.id, 60)  # as when the draft of this answer was refused
    assert not post.say("An answer")
    assert "sendMessage" not in post.asked
    assert post.states() == ["pending"]
    post.wait()
    assert post.deliver()
    assert post.texts == ["An answer"]
