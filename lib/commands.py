"""The commands and the pressed buttons: what each of them does, and what is said then.

They run in the transaction that stores their update, and ask nobody but PostgreSQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lib import allowed, chats, export, history, inbox, outbox, reports, unindexed
from lib.audit import Actor
from lib.config import Settings
from lib.db import Cursor
from lib.outbox import Saying
from lib.qdrant import Health
from lib.sentences import Sentences
from lib.telegram import Incoming

FORGET_SECONDS = 600.0  # for so long the button that forgets everything can be pressed
MOST_SHOWN = 5  # memories under one /memory
LONGEST_SHOWN = 300  # characters of each
LONGEST_NAME = 64  # characters of what the owner calls somebody
ID = re.compile(r"(-?[1-9]\d{0,15})(?:\s+(.*))?", re.DOTALL)
CHANGE_WHO = ("person.added", "person.removed", "group.added", "group.removed", "group.moved")  # who may ask


@dataclass(frozen=True)
class Outside:
    """What /status tells of other systems, as they have just been found; `patience` as for reports.status."""

    redis: bool
    memory: Health | None
    patience: float


@dataclass(frozen=True)
class Asked:
    """An update and who sent it, with what a command or a pressed button needs for its answer."""

    settings: Settings
    bot_id: int
    update_id: int
    update: Incoming
    actor: Actor
    say: Sentences
    arguments: str = ""
    outside: Outside | None = None  # for /status

    @property
    def chat_id(self) -> int:
        return self.update.chat_id or 0

    @property
    def user_id(self) -> int:
        return self.update.user_id or 0

    @property
    def group(self) -> bool:
        return self.update.chat_type != "private"


@dataclass(frozen=True)
class Done:
    """What came of an update: its audit row, and what is said."""

    action: str
    sayings: tuple[Saying, ...] = ()
    outcome: str = "success"
    reason: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    toast: str = ""  # shown to whoever has pressed a button
    turn: bool = False  # Claude is asked, as by a message


def told(action: str, text: str, reason: str | None = None) -> Done:
    """An action that says one thing; with a reason it has failed."""
    return Done(action, (Saying(text),), "failure" if reason else "success", reason)


@dataclass(frozen=True)
class Command:
    """`where` is everywhere, private or group."""

    run: Callable[[Cursor, Asked], Done]
    where: str = "everywhere"
    owner: bool = False


def run(cur: Cursor, name: str, asked: Asked) -> Done:
    """Obey a command. One that is not this person's is unknown to them."""
    command = COMMANDS.get(name)
    if command is None or (command.owner and asked.actor.kind != "owner"):
        return told("command.unknown", asked.say.UNKNOWN_COMMAND)
    if asked.group and command.where == "private":
        return told(f"command.{name}", asked.say.ONLY_PRIVATE, "only_private")
    if not asked.group and command.where == "group":
        return told(f"command.{name}", asked.say.ONLY_GROUP, "only_group")
    return command.run(cur, asked)


def press(cur: Cursor, asked: Asked) -> Done:
    """Do what a pressed button says. Only its own person can press a button: they stand in private chats."""
    match [int(part) if part.isdecimal() and len(part) <= 18 else part for part in asked.update.data.split(":")]:
        case ["forget", "yes", int(update_id)] if not asked.group:
            return _forget_all(cur, asked, update_id)
        case ["forget", "no", int()] if not asked.group:
            return _changed(asked, "button.forget_no", asked.say.FORGOT_NOTHING)
        case ["memory", int(question), int(turn)] if not asked.group:
            return _forget_memory(cur, asked, question, turn)
    return Done("button.unknown", outcome="failure", reason="unknown", toast=asked.say.BUTTON_UNKNOWN)


def stop_writing(cur: Cursor, asked: Asked) -> Done:
    """The button beside an answer that is being written: the answer itself says that it was stopped."""
    draft_id = int(asked.update.data) if asked.update.data.isdecimal() else 0
    return Done("button.stop", detail={"found": inbox.stop_draft(cur, asked.chat_id, draft_id)})


# --- For everybody --------------------------------------------------------------------------------------------------


def _start(cur: Cursor, asked: Asked) -> Done:
    return told("command.start", asked.say.START)


def _help(cur: Cursor, asked: Asked) -> Done:
    return told("command.help", asked.say.help(asked.actor.kind == "owner", asked.group))


def _new(cur: Cursor, asked: Asked) -> Done:
    chats.start_conversation(cur, asked.chat_id)
    return told("command.new", asked.say.NEW)


def _stop(cur: Cursor, asked: Asked) -> Done:
    if unsent := outbox.cut_short(cur, asked.chat_id):
        return Done("command.stop", (Saying(asked.say.CUT_OFF),), detail={"found": "unsent", "parts": unsent})
    found, message_id = inbox.stop(cur, asked.chat_id)
    text = {"begun": asked.say.STOPPING, "waiting": asked.say.STOPPED}.get(found, asked.say.NOTHING_TO_STOP)
    return Done("command.stop", (Saying(text, edits=message_id),), detail={"found": found})


def _retry(cur: Cursor, asked: Asked) -> Done:
    again = inbox.retry(cur, asked.chat_id, chats.conversation(cur, asked.chat_id))
    return Done("command.retry", (Saying(asked.say.RETRYING if again else asked.say.NOTHING_TO_RETRY),), turn=again)


def _status(cur: Cursor, asked: Asked) -> Done:
    seen = asked.outside or Outside(False, None, 0.0)
    actor = Actor("user", asked.actor.id) if asked.group else asked.actor  # a group reads nothing of the owner's
    text = reports.status(cur, asked.settings, asked.say, actor, seen.redis, seen.memory, seen.patience)
    return told("command.status", text)


# --- For everybody, in private: what is kept of them ----------------------------------------------------------------


def _memory(cur: Cursor, asked: Asked) -> Done:
    return Done("command.memory", (_memories(cur, asked),))


def _memories(cur: Cursor, asked: Asked, question: int | None = None, edits: int | None = None) -> Saying:
    """What was recalled for the chat's last answer, or for that question, with a button to delete each."""
    last = inbox.recalled(cur, asked.chat_id, question)
    number, turns = last or (0, [])
    kept = history.questions(cur, asked.user_id, turns) if turns else {}
    lines = [kept[turn] for turn in turns if turn in kept][:MOST_SHOWN]
    if not lines:
        return Saying(asked.say.NOTHING_RECALLED, edits=edits)
    shown = [f"{n}. {_day(line.at, asked)}: {_short(line.body)}" for n, line in enumerate(lines, 1)]
    buttons = [
        [(asked.say.DELETE_MEMORY.format(number=n), f"memory:{number}:{line.inbox_id}")]
        for n, line in enumerate(lines, 1)
    ]
    return Saying("\n\n".join([asked.say.RECALLED, *shown]), buttons=buttons, edits=edits)


def _forget_memory(cur: Cursor, asked: Asked, question: int, turn: int) -> Done:
    """Delete one turn, everywhere but in the audit trail."""
    gone = history.forget(cur, asked.user_id, turn)
    outbox.forget_quoted(cur, asked.chat_id)
    rest = (_memories(cur, asked, question, asked.update.message_id),)
    if not gone:
        return Done("memory.deleted", rest, "failure", "gone", toast=asked.say.MEMORY_GONE)
    outbox.forget_answers(cur, inbox.forget_turn(cur, asked.user_id, turn))
    unindexed.add_each(cur, gone)
    return Done("memory.deleted", rest, detail={"turn": turn}, toast=asked.say.MEMORY_DELETED)


def _forget(cur: Cursor, asked: Asked) -> Done:
    buttons = [
        [
            (asked.say.FORGET_YES, f"forget:yes:{asked.update_id}"),
            (asked.say.FORGET_NO, f"forget:no:{asked.update_id}"),
        ]
    ]
    return Done("command.forget", (Saying(asked.say.FORGET, buttons=buttons),))


def _forget_all(cur: Cursor, asked: Asked, update_id: int) -> Done:
    """Delete all that is kept of this person, everywhere but in the audit trail, which holds no words of theirs."""
    if not inbox.is_fresh(cur, asked.bot_id, update_id, asked.user_id, FORGET_SECONDS):
        return Done("person.forgot", (), "denied", "button_too_old", toast=asked.say.BUTTON_TOO_OLD)
    # In the order in which a worker keeps an answer: what it is just saving is there when its table's turn comes.
    messages, correlation_ids = inbox.forget(cur, asked.user_id)
    turns = history.forget(cur, asked.user_id)
    parts = outbox.forget(cur, asked.user_id, correlation_ids)
    unindexed.add_each(cur, turns)
    detail = {"messages": messages, "turns": len(turns), "parts": parts}
    return _changed(asked, "person.forgot", asked.say.FORGOT, detail)


def _export(cur: Cursor, asked: Asked) -> Done:
    lines = history.of_person(cur, asked.user_id)
    if not lines:
        return told("person.exported", asked.say.NOTHING_KEPT, "nothing_kept")
    today = datetime.now(asked.settings.timezone).date()
    groups = {id: name for id, name in allowed.load(cur).items() if id < 0}
    files = export.files(lines, asked.user_id, groups, asked.say, asked.settings.timezone, f"steward-{today}")
    sayings = tuple(Saying(text, document=name) for name, text in files)
    return Done("person.exported", sayings, detail={"lines": len(lines), "files": len(files)})


def _changed(asked: Asked, action: str, text: str, detail: Mapping[str, Any] | None = None) -> Done:
    """The message whose button was pressed says this now, without buttons."""
    return Done(action, (Saying(text, edits=asked.update.message_id),), detail=detail or {})


def _day(at: datetime, asked: Asked) -> str:
    return f"{at.astimezone(asked.settings.timezone):%Y-%m-%d}"


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= LONGEST_SHOWN else f"{flat[:LONGEST_SHOWN]}..."


# --- For the owner --------------------------------------------------------------------------------------------------


def _audit(cur: Cursor, asked: Asked) -> Done:
    return told("command.audit", reports.trail(cur, asked.settings, asked.say, asked.arguments))


def _people(cur: Cursor, asked: Asked) -> Done:
    """Who may ask. Of strangers nothing is told."""
    say, settings, by_command = asked.say, asked.settings, allowed.load(cur)
    in_file = {settings.owner_id} | settings.allowed_user_ids | settings.allowed_chat_ids
    known = {id: say.FROM_FILE for id in sorted(in_file - {0})} | {id: say.BY_COMMAND for id in by_command}
    known |= {id: say.FROM_FILE for id in in_file if id in by_command}
    known[settings.owner_id] = say.YOU
    people = [f"{id} {by_command.get(id, '')}".strip() + f": {where}" for id, where in known.items() if id > 0]
    groups = [f"{id} {by_command.get(id, '')}".strip() + f": {where}" for id, where in known.items() if id < 0]
    entries = [*people, "", say.GROUPS if groups else say.NO_GROUPS, *groups, "", say.PEOPLE_HELP]
    return told("command.people", say.listing(say.PEOPLE, entries))


def _add(cur: Cursor, asked: Asked) -> Done:
    given = ID.fullmatch(asked.arguments)
    if given is None or int(given[1]) < 0:
        return told("command.add", asked.say.ADD_HOW, "no_id")
    id, name = int(given[1]), " ".join((given[2] or "").split())[:LONGEST_NAME]
    if id in asked.settings.allowed_user_ids or id == asked.settings.owner_id:
        return told("command.add", asked.say.IN_FILE_ALREADY.format(id=id), "in_file")
    allowed.add(cur, id, name)
    text = asked.say.ADDED.format(who=f"{id} {name}".strip())
    return Done("person.added", (Saying(text),), detail={"id": id})


def _remove(cur: Cursor, asked: Asked) -> Done:
    given = ID.fullmatch(asked.arguments)
    if given is None:
        return told("command.remove", asked.say.REMOVE_HOW, "no_id")
    return _let_out(cur, asked, int(given[1]), "command.remove")


def _let_out(cur: Cursor, asked: Asked, id: int, action: str) -> Done:
    """Nobody with this id may ask any longer, and what they have asked is no longer answered."""
    settings, say = asked.settings, asked.say
    if id == settings.owner_id:
        return told(action, say.OWNER_STAYS, "owner")
    if id in settings.allowed_user_ids | settings.allowed_chat_ids:
        line = "ALLOWED_USER_IDS" if id > 0 else "ALLOWED_CHAT_IDS"
        return told(action, say.IN_FILE.format(id=id, line=line), "in_file")
    if not allowed.remove(cur, id):
        return told(action, say.NOT_LET_IN.format(id=id), "not_let_in")
    detail = {"id": id, "dismissed": inbox.dismiss(cur, id)}
    return Done(
        "person.removed" if id > 0 else "group.removed", (Saying(say.REMOVED_WHO.format(id=id)),), detail=detail
    )


def _allow(cur: Cursor, asked: Asked) -> Done:
    if asked.chat_id in asked.settings.allowed_chat_ids:
        return told("command.allow", asked.say.IN_FILE_ALREADY.format(id=asked.chat_id), "in_file")
    allowed.add(cur, asked.chat_id, asked.update.title[:LONGEST_NAME])
    return Done("group.added", (Saying(asked.say.GROUP_ADDED),), detail={"id": asked.chat_id})


def _disallow(cur: Cursor, asked: Asked) -> Done:
    return _let_out(cur, asked, asked.chat_id, "command.disallow")


COMMANDS = {
    "start": Command(_start),
    "help": Command(_help),
    "new": Command(_new),
    "retry": Command(_retry),
    "stop": Command(_stop),
    "status": Command(_status),
    "memory": Command(_memory, "private"),
    "export": Command(_export, "private"),
    "forget": Command(_forget, "private"),
    "audit": Command(_audit, "private", owner=True),
    "people": Command(_people, "private", owner=True),
    "add": Command(_add, "private", owner=True),
    "remove": Command(_remove, "private", owner=True),
    "allow": Command(_allow, "group", owner=True),
    "disallow": Command(_disallow, "group", owner=True),
}
