"""The ledger of a soak: what became of every message, and of every promise that goes with it.

What a person was told is read in the simulated chats, what Steward holds to have said and done in its database: each
must agree with the other, and with what was planned.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2

from demo.stack import Stack
from demo.telegram import ALICE, Sent
from lib import incidents, markdown
from lib.english import English
from lib.incidents import State
from tests.soak.plan import Plan
from tests.soak.strikes import Scene

english = English()
MARK = english.REPEAT_MARK.strip()
NUMBER = re.compile(r"message (\d+)")
# A turn: one message or several. What stands before it was written earlier, and is not answered yet.
QUOTED = re.compile(r"You wrote: (?:«[^»]*» and )*«([^»]*)»\.")
TRAIL: dict[str, Counter[tuple[str, str]]] = {  # of the turn, by the state of its messages: action and outcome
    "answered": Counter([("claude.asked", "success"), ("reply.sent", "success")]),
    "failed": Counter([("claude.asked", "failure"), ("reply.sent", "success")]),
    # The person and the owner are told.
    "set_aside": Counter([("message.set_aside", "failure"), *[("reply.sent", "success")] * 2]),
}


@dataclass
class Ledger:
    """The figures, and each broken promise as a line."""

    sent: int = 0
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)  # why, as the audit trail has it
    set_aside: int = 0
    lost: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    doubled_unmarked: list[str] = field(default_factory=list)
    doubled_marked: int = 0
    asked_again: int = 0
    without_trail: list[str] = field(default_factory=list)
    incidents: int = 0
    incidents_over: int = 0
    alerts: int = 0
    alert_edits: int = 0
    alerts_wrong: list[str] = field(default_factory=list)
    scripts_wrong: list[str] = field(default_factory=list)
    restless: list[str] = field(default_factory=list)  # what did not come to rest
    strikes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def broken(self) -> list[str]:
        """Every broken promise."""
        named = {
            **{"lost": self.lost, "out of order": self.out_of_order, "doubled without mark": self.doubled_unmarked},
            **{"no audit trail": self.without_trail, "alert": self.alerts_wrong, "script": self.scripts_wrong},
            "did not come to rest": self.restless,
        }
        return [f"{name}: {line}" for name, lines in named.items() for line in lines]

    def __str__(self) -> str:
        failed = ", ".join(f"{count} {why}" for why, count in sorted(self.failed.items()))
        strikes = ", ".join(f"{count} {kind}" for kind, count in sorted(self.strikes.items()))
        lines = {
            "messages sent": self.sent,
            "answered": self.answered,
            "failed, with a sentence": f"{self.failed.total()} ({failed})" if failed else 0,
            "set aside after three tries": self.set_aside,
            "lost": len(self.lost),
            "out of order": len(self.out_of_order),
            "doubled without mark": len(self.doubled_unmarked),
            "doubled with mark": self.doubled_marked,
            "asked again of Claude": self.asked_again,
            "without audit trail": len(self.without_trail),
            "incidents told": self.incidents,
            "incidents told to be over": self.incidents_over,
            "alert messages": f"{self.alerts} (edited {self.alert_edits} times)",
            "broken alerts, scripts, rest": len(self.alerts_wrong) + len(self.scripts_wrong) + len(self.restless),
            "strikes": f"{self.strikes.total()} ({strikes})",
            "seconds": round(self.seconds),
        }
        return "\n".join(f"{name:<30}{value}" for name, value in lines.items())


@dataclass(frozen=True)
class Kept:
    """One message as Steward kept it."""

    number: int
    chat_id: int
    turn: int
    state: str
    own_id: str
    turn_id: str


@dataclass(frozen=True)
class Row:
    """One part that Steward had to say; `text` as it would be shown."""

    chat_id: int
    correlation_id: str
    text: str
    state: str
    message_id: int | None


class Done(NamedTuple):
    """One row of the audit trail."""

    about: str
    action: str
    reason: str | None
    outcome: str


def count(plan: Plan, scene: Scene) -> Ledger:
    """Compare what was planned, what everybody was sent, and what Steward holds to be true."""
    ledger = Ledger(sent=len(plan.all_words), strikes=Counter(strike.kind for strike in plan.strikes))
    kept, rows, trail = read_back(scene)
    for place, person in enumerate(scene.people):
        planned = [words.number for words in plan.all_words if words.person == place]
        chat = scene.stack.telegram.messages(person.id)
        here = [row for row in rows if row.chat_id == person.id]
        count_messages(ledger, planned, kept, here, chat)
        count_order(ledger, person.id, [kept[number] for number in planned if number in kept], here, chat)
        count_copies(ledger, person.id, here, chat)
    count_trail(ledger, list(kept.values()), trail)
    contents = Counter(json.dumps(request.body["messages"][-1]) for request in scene.stack.claude.requests)
    ledger.asked_again = contents.total() - len(contents)
    others = {row.text for row in rows if row.chat_id == ALICE.id}
    count_alerts(ledger, scene.stack.telegram.messages(ALICE.id), others)
    ledger.alerts_wrong += [f"not told: {line}" for line in unsettled(scene.stack)]
    ended = [f"{script.log.stem} does not run" for script in scene.stack.scripts if not script.running]
    ledger.scripts_wrong += scene.ended + ended
    return ledger


def read_back(scene: Scene) -> tuple[dict[int, Kept], list[Row], list[Done]]:
    """The messages by number, all that was said, and the audit trail."""
    connection = psycopg2.connect(scene.postgres.url("soak"))
    try:
        with connection, connection.cursor() as cur:
            cur.execute(
                "SELECT one.body, one.chat_id, first.id, one.state, one.correlation_id, first.correlation_id"
                " FROM inbox one JOIN inbox first ON first.id = coalesce(one.turn, one.id)"
                " WHERE one.body LIKE 'message %' ORDER BY one.id"
            )
            messages = [Kept(number_in(body), *others) for body, *others in cur.fetchall()]
            cur.execute("SELECT chat_id, correlation_id, body, markdown, state, message_id FROM outbox ORDER BY id")
            rows = [
                Row(chat_id, about, (markdown.render(body)[0] if formatted else body).strip(), state, message_id)
                for chat_id, about, body, formatted, state, message_id in cur.fetchall()
            ]
            cur.execute("SELECT correlation_id, action, reason, outcome FROM audit")
            trail = [Done(*row) for row in cur.fetchall()]
    finally:
        connection.close()
    return {one.number: one for one in messages}, rows, trail


def number_in(text: str) -> int:
    found = NUMBER.match(text)
    assert found, text
    return int(found[1])


def echoed(text: str) -> list[int]:
    """The numbers of the messages that this answer quotes."""
    return [int(number) for turn in QUOTED.findall(text) for number in NUMBER.findall(turn)]


def bare(message: Sent) -> str:
    """What was said, without the mark of a repeat."""
    return as_sent(message).removeprefix(MARK).strip()


def as_sent(message: Sent) -> str:
    """Its text before it was edited."""
    return [*message.edits, message.text][0]


def count_messages(
    ledger: Ledger, planned: list[int], kept: dict[int, Kept], rows: list[Row], chat: list[Sent]
) -> None:
    """Each message came to an end, and the person was told of it."""
    shown = {message.message_id: bare(message) for message in chat}
    arrived = [row for row in rows if row.state == "sent" and shown.get(row.message_id or 0) == row.text]
    ledger.lost += [f"said, and not there: {row}" for row in rows if row not in arrived]
    for number in planned:
        one = kept.get(number)
        told = [row.text for row in arrived if one and row.correlation_id == one.turn_id]
        if one and one.state == "answered" and any(number in echoed(text) for text in told):
            ledger.answered += 1
        elif one and one.state == "failed" and any(text.endswith(english.KEPT) for text in told):
            pass  # counted with its reason in count_trail()
        elif one and one.state == "set_aside" and english.SET_ASIDE in told:
            ledger.set_aside += 1
        else:
            ledger.lost.append(f"message {number}: {one or 'never kept'}, told {[text[:80] for text in told]}")
        answers = sum(number in echoed(row.text) for row in rows)
        ledger.doubled_unmarked += [f"message {number}: {answers} answers"] if answers > 1 else []


def count_order(ledger: Ledger, chat_id: int, kept: list[Kept], rows: list[Row], chat: list[Sent]) -> None:
    """Turns were kept in the order in which they were written, and all that was said first came in that order.

    Of a repeat only the first copy counts, whichever it is: Telegram may have had the other one in hand.
    """
    turns = [one.turn for one in kept]
    if turns != sorted(turns):
        ledger.out_of_order.append(f"chat {chat_id}: kept as {[(one.number, one.turn) for one in kept]}")
    places: dict[str, int] = {}
    for place, message in enumerate(chat):
        places.setdefault(bare(message), place)
    by_id = {message.message_id: place for place, message in enumerate(chat)}
    turn_of = {one.turn_id: one.turn for one in kept}
    came = []
    for row in sorted(rows, key=lambda row: turn_of.get(row.correlation_id, 0)):
        at = by_id.get(row.message_id or 0)
        # A sentence such as "Claude has trouble" is said to many turns: of these only the copy that is known counts.
        unique = sum(other.text == row.text for other in rows) == 1
        if at is not None:
            came.append(min(at, places.get(row.text, at)) if unique else at)
    if came != sorted(came):
        ledger.out_of_order.append(f"chat {chat_id}: {[(echoed(bare(one)), one.text[:40]) for one in chat]}")


def count_copies(ledger: Ledger, chat_id: int, rows: list[Row], chat: list[Sent]) -> None:
    """Each part stands there without a mark once at most; more often only with it."""
    due = Counter(row.text for row in rows)
    unmarked = Counter(bare(message) for message in chat if not as_sent(message).startswith(MARK))
    ledger.doubled_unmarked += [f"chat {chat_id}: {times} x {text[:200]}" for text, times in (unmarked - due).items()]
    copies = Counter(bare(message) for message in chat)
    ledger.doubled_marked += sum((copies - due - (unmarked - due)).values())


def count_trail(ledger: Ledger, kept: list[Kept], trail: list[Done]) -> None:
    """Of each message: that it was received, and how its turn ended, neither missing nor twice."""
    reasons = {row.about: row.reason for row in trail if row.action == "claude.asked" and row.reason}
    done = Counter((row.about, row.action, row.outcome) for row in trail)
    for one in kept:
        if one.state == "failed":
            ledger.failed[reasons.get(one.turn_id, "?")] += 1
        wanted = {(one.own_id, "update.received", "success"): 1}
        wanted |= {(one.turn_id, *row): times for row, times in TRAIL.get(one.state, Counter()).items()}
        wrong = {row: done[row] for row, times in wanted.items() if done[row] != times}
        ledger.without_trail += [f"{one}: {wrong}"] if wrong else []


def count_alerts(ledger: Ledger, chat: list[Sent], others: set[str]) -> None:
    """What the health watch has told the owner: of each beginning also the end. `others`: what was not its word."""
    found = [message for message in chat if bare(message) not in others]
    ledger.alerts, ledger.alert_edits = len(found), sum(len(message.edits) for message in found)
    unmarked = [bare(message) for message in found if not as_sent(message).startswith(MARK)]
    # What is marked as a repeat counts if nothing else like it is there.
    texts = unmarked + [bare(one) for one in found if as_sent(one).startswith(MARK) and bare(one) not in unmarked]
    news = [text for text in texts if not text.startswith(english.STILL_SO)]
    late = [text for text in news if text.startswith(english.LATE_NEWS)]  # beginning and end in one
    begun = sum("What to do: " in text for text in news)
    over = len(news) - begun
    # One that is marked may be the end of what was told, when nobody knew whether it had been.
    alone = sum(text in unmarked for text in late)
    ledger.incidents, ledger.incidents_over = max(begun + alone, over), over
    if begun + alone > over:
        told = "\n".join(f"    {message.text}" for message in found)
        ledger.alerts_wrong.append(f"{begun} beginnings, {over} ends:\n{told}")


def state_of_watch(stack: Stack) -> State:
    """What the health watch remembers."""
    return incidents.load(json.loads(Path(stack.env["HEALTH_FILE"]).read_text())["state"])


def unsettled(stack: Stack) -> list[str]:
    """Parts that are held to be down, and incidents that are not over or not told to be."""
    state = state_of_watch(stack)
    down = [f"{name} is down: {part}" for name, part in state.parts.items() if part.down]
    return down + [str(one) for one in state.incidents if one.closed_at is None or not one.all_said]


def count_lines(ledger: Ledger, stack: Stack) -> None:
    """Each line that the scripts wrote is JSON, whatever was killed. They have ended."""
    for script in stack.scripts:
        try:
            script.lines()
        except ValueError as exc:
            ledger.scripts_wrong.append(f"{script.log.stem}: a line is not JSON: {exc}")


def shortened(body: dict[str, Any]) -> dict[str, Any]:
    """A request whose words are cut line by line, so that the simulated Claude quotes the beginning of each message."""
    text = json.dumps(body["messages"])
    return {**body, "messages": json.loads(re.sub(r"(message \d+)( and so on)+[ a-z]*", r"\1", text))}
