"""When Claude fails: one request, one friendly sentence by kind, the message kept, and /retry asks again."""

from __future__ import annotations

import itertools
import json
import time
from datetime import UTC, datetime

from demo.loopback import Fault
from demo.telegram import ALICE, BOB
from lib.claude import BROKEN_OFF
from lib.english import English
from tests.house import House
from tests.samples import JPEG

english = English()

BY_STATUS = {
    400: "our_bug",
    401: "sign_in",
    402: "no_credit",
    403: "sign_in",
    404: "no_model",
    413: "too_long",
    429: "limit",
    500: "overloaded",
    503: "overloaded",
    504: "timed_out",
    529: "overloaded",
}
BY_FAULT = {
    "drop": "no_network",
    "overloaded-midway": "overloaded",
    "cut-midway": "broken",
    "ends-early": "early_end",
    "refusal": "refused",
    "context-exceeded": "too_long",
    "empty": "empty",
}


def test_every_failure_gives_one_sentence_of_its_kind_after_one_request(house: House) -> None:
    faults = [(Fault("status", "/v1/messages", status=status), kind) for status, kind in BY_STATUS.items()]
    faults += [(Fault(name, "/v1/messages"), kind) for name, kind in BY_FAULT.items()]
    for number, (fault, kind) in enumerate(faults, 1):
        house.claude.faults.add(fault)
        house.telegram.say(BOB, "/new")
        house.await_event(house.bot, "part_sent", number)
        house.telegram.say(BOB, f"question {number}")
        house.await_event(house.worker, "claude_unavailable", number)
        house.await_idle()
        assert house.replies(BOB)[-1] == english.failure(kind, None), (fault, house.replies(BOB)[-1])
        assert len(house.claude.requests) == number
        asked = house.query("SELECT outcome, reason FROM audit WHERE action = 'claude.asked' ORDER BY id DESC LIMIT 1")
        assert asked == [("failure", kind)]


def test_what_only_the_owner_can_mend_is_told_to_the_owner_once(make_house) -> None:
    house = make_house(watch=True, HEALTH_SECONDS="1")
    house.start()
    house.telegram.say(ALICE, "/help")  # a bot may only write to those who wrote to it
    house.await_replies(1)
    house.claude.faults.add(Fault("status", "/v1/messages", status=401, times=3))
    for number in (1, 2, 3):
        house.say(BOB, f"question {number}")
    house.await_replies(3, BOB)
    assert "Claude does not accept my key" in house.await_replies(2)[1]
    house.telegram.say(BOB, "question 4")
    house.await_replies(4, BOB)
    assert "Claude: works again since" in house.await_replies(3)[2]
    house.await_idle()
    assert len(house.replies()) == 3


def test_the_time_claude_names_is_passed_on(house: House) -> None:
    reset = int(time.time()) + 7150
    headers = {"anthropic-ratelimit-unified-reset": str(reset)}
    house.claude.faults.add(Fault("status", "/v1/messages", status=429, headers=headers))
    house.telegram.say(ALICE, "hello")
    assert house.await_replies(1) == [english.failure("limit", datetime.fromtimestamp(reset, UTC))]


def test_a_time_that_cannot_be_true_is_not_passed_on_and_costs_no_second_request(make_house) -> None:
    house = make_house(TIMEZONE="Asia/Kolkata")
    house.start()
    for number, reset in enumerate(("253402300799", "-62135596800", "1e300", "nan", "soon"), 1):
        headers = {"anthropic-ratelimit-unified-reset": reset}
        house.claude.faults.add(Fault("status", "/v1/messages", status=429, headers=headers))
        house.telegram.say(ALICE, f"question {number}")
        assert house.await_replies(number)[-1] == english.failure("limit")
    assert len(house.claude.requests) == number


def test_half_an_answer_is_kept_and_marked_as_broken(house: House) -> None:
    house.claude.faults.add(Fault("cut-midway", "/v1/messages"))
    house.telegram.say(ALICE, "write 30 words")
    half, why = house.await_replies(2)
    assert "word" in half
    assert why == english.failure("broken", None)
    [(kept,)] = house.query("SELECT body FROM history WHERE role = 'assistant'")
    assert kept.endswith(BROKEN_OFF)


def test_retry_asks_again_and_leaves_no_trace_of_the_failure(house: House) -> None:
    house.claude.faults.add(Fault("overloaded-midway", "/v1/messages"))
    house.telegram.say(ALICE, "what is red?")
    house.await_event(house.worker, "claude_unavailable")
    house.await_idle()
    before = len(house.replies())
    house.telegram.say(ALICE, "/retry")
    house.await_replies(before + 2)
    house.await_idle()
    assert "«what is red?»" in house.replies()[-1] + house.replies()[-2]
    house.telegram.say(ALICE, "/retry")  # an answer that came may be asked for again too
    house.await_replies(before + 4)
    house.await_idle()
    assert [role for (role,) in house.query("SELECT role FROM history ORDER BY total")] == ["user", "assistant"]


def test_there_is_nothing_to_retry_before_the_first_message(house: House) -> None:
    house.telegram.say(ALICE, "/retry")
    assert house.await_replies(1) == [english.NOTHING_TO_RETRY]


def test_a_failed_message_stays_in_the_conversation(house: House) -> None:
    house.claude.faults.add(Fault("status", "/v1/messages", status=529))
    house.telegram.say(ALICE, "my name is Alice")
    house.await_replies(1)
    house.telegram.say(ALICE, "what is my name?")
    house.await_replies(2)
    assert "my name is Alice" in str(house.claude.requests[-1].body["messages"])


def test_without_a_key_people_are_told_in_one_sentence(make_house) -> None:
    house = make_house(ANTHROPIC_API_KEY="")
    house.start()
    house.telegram.say(BOB, "hello")
    assert house.await_replies(1, BOB) == [english.failure("no_credential", None)]
    assert house.worker.running


def test_a_redirect_is_not_followed_with_the_conversation(house: House) -> None:
    headers = {"location": f"{house.claude.url}/elsewhere"}
    house.claude.faults.add(Fault("status", "/v1/messages", status=307, headers=headers))
    house.telegram.say(BOB, "hello")
    assert house.await_replies(1, BOB) == [english.failure("overloaded")]
    assert [request.path for request in house.claude.requests] == ["/v1/messages"]


def test_a_claude_that_is_not_there_is_said_to_be_unreachable(house: House) -> None:
    house.claude.stop()
    house.telegram.say(ALICE, "hello")
    assert house.await_replies(1) == [english.failure("no_network", None)]
    house.claude.start()
    house.telegram.say(ALICE, "/retry")
    assert "«hello»" in house.await_replies(3)[-1] + house.replies()[1]


def test_an_answer_cut_at_its_longest_says_so(house: House) -> None:
    house.claude.faults.add(Fault("max-tokens", "/v1/messages"))
    house.telegram.say(ALICE, "write 30 words")
    assert house.await_replies(2)[-1] == english.CUT_SHORT


def test_the_prompt_only_grows_at_its_end(house: House) -> None:
    for number, line in enumerate(("hello", "what did I say?", "and before that?"), 1):
        house.telegram.say(ALICE, line)
        house.await_replies(number)
    bodies = [request.body for request in house.claude.requests]
    for earlier, later in itertools.pairwise(bodies):
        assert later["messages"][: len(earlier["messages"])] == earlier["messages"]
        assert later["system"] == earlier["system"]
        assert later["cache_control"] == {"type": "ephemeral"}


def test_a_message_that_claude_cannot_take_does_not_spoil_the_ones_after_it(house: House) -> None:
    house.claude.faults.add(Fault("status", "/v1/messages", status=400))
    house.telegram.say(BOB, "something odd")
    house.await_replies(1, BOB)
    house.telegram.say(BOB, "hello")
    house.await_replies(2, BOB)
    assert "something odd" not in str(house.claude.requests[-1].body["messages"])


def test_an_answer_of_nothing_that_can_be_kept_counts_as_empty(house: House) -> None:
    for told, text in enumerate(("\x00 \n", "\x00\x00"), 1):
        house.claude.answer = lambda body, text=text: text  # type: ignore[misc]
        house.say(BOB, "hello")
        assert house.await_replies(told, BOB)[-1] == english.failure("empty", None)
    assert len(house.claude.requests) == 2


def test_a_picture_kept_while_claude_was_away_does_not_have_every_later_message_refused(house: House) -> None:
    words = "messages.0.content.0.image.source.base64: Could not process image"
    refusal = {"type": "error", "error": {"type": "invalid_request_error", "message": words}}
    house.claude.faults.add(Fault("status", "/v1/messages", status=529))
    house.telegram.send_photo(ALICE, JPEG, "what is this?")
    assert house.await_replies(1) == [english.failure("overloaded")]
    house.claude.faults.add(Fault("status", "/v1/messages", status=400, body=refusal))
    house.telegram.say(ALICE, "hello")
    assert "hello" in house.await_replies(2)[-1]
    house.telegram.say(ALICE, "and again")
    assert "and again" in house.await_replies(3)[-1]
    assert [request.outcome for request in house.claude.requests] == [529, 400, 200, 200]
    assert "what is this?" in str(house.claude.requests[-1].body["messages"][0]["content"])
    assert '"image"' not in json.dumps(house.claude.requests[-1].body)
