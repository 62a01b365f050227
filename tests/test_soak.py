"""The short form of `make soak`: everything breaks at random, and no promise is broken; and that the ledger would see
one that is.
"""

from __future__ import annotations

from dataclasses import replace

from demo.telegram import Sent
from tests.soak import run
from tests.soak.ledger import (
    MARK,
    Done,
    Kept,
    Ledger,
    Row,
    count_alerts,
    count_copies,
    count_messages,
    count_order,
    count_trail,
    english,
)
from tests.soak.plan import KINDS, Options, make_plan

SHORT = Options(seed=20261129, messages=40, chats=5, kills=16, workers=2, seconds=14)

FIRST, SECOND = (Kept(number, 7, number, "answered", f"own {number}", f"turn {number}") for number in (1, 2))
ANSWERS = [Row(7, f"turn {number}", f"You wrote: «message {number}».", "sent", 100 + number) for number in (1, 2)]
CHAT = [Sent(row.message_id or 0, 7, row.text, 0.0) for row in ANSWERS]


def test_a_seed_makes_the_same_plan_again_and_another_one_another() -> None:
    assert make_plan(Options(seed=1)) == make_plan(Options(seed=1))
    assert make_plan(Options(seed=1)) != make_plan(Options(seed=2))


def test_a_plan_has_every_kind_of_strike_and_every_message_once() -> None:
    plan = make_plan(Options(seed=1))
    assert {strike.kind for strike in plan.strikes} == set(KINDS)
    assert [words.number for words in plan.all_words] == list(range(310))
    assert all(words.text.startswith(f"message {words.number}") for words in plan.all_words)


def test_nothing_is_lost_while_things_break_at_random() -> None:
    plan = make_plan(SHORT)
    ledger = run(plan)
    assert not ledger.broken, "\n".join([str(ledger), *ledger.broken])
    assert ledger.answered + ledger.failed.total() + ledger.set_aside == SHORT.messages + SHORT.chats


# What the ledger would see


def counted(kept: list[Kept], rows: list[Row], chat: list[Sent]) -> Ledger:
    """What it makes of one chat in which two messages were sent."""
    ledger = Ledger()
    count_messages(ledger, [1, 2], {one.number: one for one in kept}, rows, chat)
    count_order(ledger, 7, kept, rows, chat)
    count_copies(ledger, 7, rows, chat)
    return ledger


def marked(message: Sent) -> Sent:
    return replace(message, message_id=message.message_id + 100, text=f"{MARK}\n\n{message.text}")


def test_two_messages_that_were_answered_break_no_promise() -> None:
    ledger = counted([FIRST, SECOND], ANSWERS, CHAT)
    assert not ledger.broken
    assert ledger.answered == 2


def test_a_message_that_was_never_kept_is_lost() -> None:
    assert len(counted([FIRST], ANSWERS[:1], CHAT[:1]).lost) == 1


def test_an_answer_that_is_held_to_be_sent_and_is_not_there_is_lost() -> None:
    assert counted([FIRST, SECOND], ANSWERS, CHAT[:1]).lost


def test_a_failure_without_its_sentence_is_lost() -> None:
    failed = replace(SECOND, state="failed")
    assert len(counted([FIRST, failed], ANSWERS, CHAT).lost) == 1
    told = replace(ANSWERS[1], text=f"Claude has trouble.{english.KEPT}")
    assert not counted([FIRST, failed], [ANSWERS[0], told], [CHAT[0], replace(CHAT[1], text=told.text)]).broken


def test_an_answer_before_an_earlier_one_is_disorder() -> None:
    assert counted([FIRST, SECOND], ANSWERS, CHAT[::-1]).out_of_order
    assert counted([FIRST, SECOND], ANSWERS[::-1], CHAT[::-1]).out_of_order  # also when it was saved in that order


def test_an_answer_that_stands_there_twice_needs_the_mark() -> None:
    again = replace(CHAT[0], message_id=300)
    assert counted([FIRST, SECOND], ANSWERS, [CHAT[0], again, CHAT[1]]).doubled_unmarked
    ledger = counted([FIRST, SECOND], ANSWERS, [CHAT[0], marked(CHAT[0]), CHAT[1]])
    assert not ledger.broken
    assert ledger.doubled_marked == 1


def test_the_copy_without_the_mark_may_come_last() -> None:
    assert not counted([FIRST, SECOND], ANSWERS, [marked(CHAT[0]), CHAT[1], CHAT[0]]).broken


def test_a_message_that_is_answered_twice_is_doubled() -> None:
    again = replace(ANSWERS[0], message_id=300, text=f"Once more. {ANSWERS[0].text}")
    chat = [*CHAT, replace(CHAT[0], message_id=300, text=again.text)]
    assert counted([FIRST, SECOND], [*ANSWERS, again], chat).doubled_unmarked


def without_trail(one: Kept, *trail: Done) -> bool:
    ledger = Ledger()
    count_trail(ledger, [one], list(trail))
    return bool(ledger.without_trail)


def test_an_answer_without_its_audit_rows_is_seen() -> None:
    received, asked, sent = (
        Done("own 1", "update.received", None, "success"),
        Done("turn 1", "claude.asked", None, "success"),
        Done("turn 1", "reply.sent", None, "success"),
    )
    assert not without_trail(FIRST, received, asked, sent)
    assert without_trail(FIRST, received, asked)
    assert without_trail(FIRST, received, asked, sent, sent)
    aside = Done("turn 1", "message.set_aside", "three_tries", "failure")
    assert without_trail(replace(FIRST, state="set_aside"), received, aside, sent)
    assert not without_trail(replace(FIRST, state="set_aside"), received, aside, sent, sent)  # the owner is told too


def test_an_alert_without_its_end_is_seen() -> None:
    begun = Sent(1, 1001, "Redis does not answer, since 14:05.\nMessages take longer.\nWhat to do: wait", 0.0)
    over = Sent(2, 1001, "Redis: works again since 14:06; there was trouble from 14:05, for 40 s.", 0.0)
    for chat, broken in (
        ([begun], 1),
        ([begun, over], 0),
        ([begun, over, marked(begun)], 0),
        ([begun, begun, over], 1),
    ):
        ledger = Ledger()
        count_alerts(ledger, chat, set())
        assert len(ledger.alerts_wrong) == broken
