"""The bot: takes each update from Telegram, stores it, and wakes a worker.

An update is confirmed to Telegram only after it is stored: whatever dies in between, Telegram sends it again, and the
second copy falls off. The bot answers commands itself; everything else is the worker's.
"""

from __future__ import annotations

import math
import re
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from lib import (
    allowed,
    audit,
    chats,
    commands,
    config,
    heartbeat,
    inbox,
    log,
    offsets,
    outbox,
    processes,
    qdrant,
    sentences,
    telegram,
)
from lib.allowance import Allowance
from lib.bell import Bell, Silent
from lib.commands import Asked, Done, Outside, told
from lib.config import Settings
from lib.db import Cursor, Database, Down, Duplicate, NoTables
from lib.delivery import deliver, tell_owner
from lib.keyring import Locked, open_keyring
from lib.outbox import Saying
from lib.pulse import Pulse
from lib.sentences import Sentences
from lib.stop import Pauses, Stop, Stopped
from lib.telegram import POLL_SECONDS, BadToken, ChatGone, Conflict, Incoming, Refused, Telegram, TelegramError, TooFast
from lib.text import units

# "/usr/bin is full" is a question, "/new" and "/new@my_bot please" are commands.
COMMAND = re.compile(r"/([A-Za-z0-9_]{1,32})(@\w+)?(?=\s|$)")

# For Claude, before the words that came with something else, by why it is not shown (lib/telegram.py).
UNSEEN = {
    "": "[Something that you cannot be shown came with this, such as a video]",
    "type": "[A file of a kind that you cannot read came with this]",
    "too_large": "[A file that is too large for you to read came with this]",
}

RING_AGAIN_SECONDS = 5.0  # a frozen Redis costs 2 s for each ring: not for every message of a batch
WATCH_LOOK_SECONDS = 10.0  # between two looks whether healthwatch lives
WATCH_SECONDS = 60.0  # at least so long healthwatch may be silent
INTRODUCE_SECONDS = 60.0  # six requests
INTRODUCE_AGAIN_SECONDS = 600.0
IMPATIENT_POLL_SECONDS = 3  # the Bot API server makes a shorter repeat of the same offset wait that long anyway


@dataclass
class Bot:
    """What the steps below work with."""

    settings: Settings
    stop: Stop
    database: Database
    bell: Bell
    telegram: Telegram
    pulse: Pulse
    allowance: Allowance
    bell_rings: bool = True
    ring_again_at: float = 0.0  # time.monotonic(); until then a silent Redis is left alone
    session: int = 0  # the database session that holds the right to poll; with it the next two are read
    offset: int | None = None
    let_in: frozenset[int] = frozenset()  # people and groups, by command
    token_refused: str = ""  # Telegram's words, while it refuses the token
    poll_seconds: int = POLL_SECONDS  # less while a notice waits, or the token is on trial
    watch_look_at: float = 0.0  # time.monotonic(); until then healthwatch is not looked at again
    watch_beats: int = -1  # its last sign of life
    watch_seen_at: float = 0.0  # time.monotonic() when that was first seen, or the database came back
    album: str = ""  # the last one with something unreadable in it: it is said once for all of them
    username: str = ""  # ours, without @; empty until Telegram has told it
    menu_at: float = 0.0  # time.monotonic(); until then Telegram is not given the list of commands
    owner_is_new: bool = False  # and so nothing can be shown in that chat yet
    away: Pauses = field(default_factory=lambda: Pauses(1, 30))
    refused: Pauses = field(default_factory=lambda: Pauses(5, 300))


@dataclass(frozen=True)
class Plan:
    """What to make of an update: what is done in the transaction that stores it, and what is kept of it."""

    do: Callable[[Cursor], Done]
    body: str | None = None  # what Claude is asked
    keep: bool = True  # the update as it came
    command: bool = False  # if it fails, the update is stored all the same


class TooMany(Exception):
    """This person has no turn left for now."""


def main() -> int:
    log.setup("bot")
    try:
        run()
    except config.ConfigError as exc:
        log.error("settings_wrong", str(exc))
        return 2
    except Locked as exc:
        log.error("locked", str(exc))
        return 2
    except Stopped:
        pass
    log.info("stopped", "The bot has ended.")
    return 0


def run() -> None:
    """Open what is needed, then poll until a stop is asked for. Raises ConfigError, Locked and Stopped."""
    settings = config.load()
    log.hide(settings.secrets)
    heartbeat.keep(settings.heartbeat_file)
    stop, database = Stop(), Database(settings.database_url, "steward-bot")
    keyring = open_keyring(settings, database, stop)
    bot = Bot(
        settings=settings,
        stop=stop,
        database=database,
        bell=Bell(settings.redis_url),
        telegram=Telegram(keyring.need("telegram").token, settings.telegram_api_url),
        pulse=Pulse(settings, "bot"),
        allowance=Allowance(settings.turns_per_hour),
    )
    bot.pulse.start()
    log.info("started", "The bot is ready.", bot_id=bot.telegram.bot_id, allowed_users=len(settings.allowed_user_ids))
    warn_of_gaps(settings)
    try:
        keep_polling(bot)
    finally:
        bot.pulse.end()


def keep_polling(bot: Bot) -> None:
    """Round after round, until a stop is asked for. Raises Locked and Stopped."""
    while not bot.stop:
        pause = 0.0
        try:
            take_round(bot)
            bot.away.reset()
            bot.refused.reset()
        except Locked:
            raise
        except Down as exc:
            log.warning("database_away", "PostgreSQL does not answer; Telegram keeps the messages for 24 hours.", exc)
            pause = min(bot.away.next(), 5.0)
        except TelegramError as exc:
            pause = explain(bot, exc)
        except Exception as exc:
            log.error("round_failed", "A round of polling failed; going on.", exc, private=True)
            pause = bot.away.next()
        heartbeat.beat(pause)
        bot.stop.wait(pause)


def warn_of_gaps(settings: Settings) -> None:
    """Settings that are allowed, and seldom meant."""
    if not settings.owner_id:
        log.warning("no_owner", "OWNER_ID is empty: nobody is told when something goes wrong.")
        if not settings.allowed_user_ids:
            log.warning("nobody_allowed", "Nor is anybody allowed: nobody is served. Write to the bot for your id.")


def take_round(bot: Bot) -> None:
    """Send what the bot itself has to say, ask Telegram, store what comes, ring, and confirm."""
    if not become_only_poller(bot):
        return
    try:
        watch_the_watch(bot)
    except Down:
        raise
    except Exception as exc:  # messages come first
        log.warning("watch_unseen", "Whether healthwatch.py lives could not be looked up; going on.", exc)
    send_notices(bot)
    introduce(bot)
    heartbeat.beat()
    if not is_only_poller(bot):
        return
    with bot.stop.interruptible():
        updates = bot.telegram.get_updates(bot.offset, bot.poll_seconds)
    bot.pulse.polled()
    if bot.token_refused:
        tell_of_refused_token(bot)
    for update in updates:
        if bot.stop or not is_only_poller(bot):
            return  # what is not confirmed comes again
        heartbeat.beat()
        receive(bot, update)
    if updates and is_only_poller(bot):
        offset = max(int(update["update_id"]) for update in updates) + 1
        with bot.database.statement() as cur:
            offsets.move(cur, bot.telegram.bot_id, offset)
        bot.offset = offset


def introduce(bot: Bot) -> None:
    """After a start: learn the name by which groups call us, and give Telegram the list of commands it shows."""
    now = time.monotonic()
    if now < bot.menu_at:
        return
    heartbeat.beat(INTRODUCE_SECONDS)
    owner_id, languages = bot.settings.owner_id, [(code, sentences.of(code)) for code in sentences.CODES]
    try:
        with bot.stop.interruptible():
            bot.username = bot.telegram.username()
            for code, say in languages:
                bot.telegram.set_commands(list(say.MENU.items()), code)
            for code, say in languages if owner_id else []:
                bot.telegram.set_commands([*say.MENU.items(), *say.OWNER_MENU.items()], code, owner_id)
    except ChatGone:
        bot.menu_at, bot.owner_is_new = math.inf, True
        log.info("owner_is_new", "The owner's own commands are shown once the owner has written to the bot.")
    except TelegramError as exc:
        again = INTRODUCE_AGAIN_SECONDS if bot.username else 0.0
        bot.menu_at = math.inf if isinstance(exc, Refused) else now + again
        log.warning("not_introduced", "Telegram did not take the list of commands.", exc)
    else:
        bot.menu_at = math.inf


def watch_the_watch(bot: Bot) -> None:
    """Tell the owner, once, when healthwatch.py gives no sign of life, and once more when it is back."""
    now, owner_id, correlation_id = time.monotonic(), bot.settings.owner_id, str(uuid.uuid4())
    if now < bot.watch_look_at:
        return
    if now - bot.watch_look_at > WATCH_SECONDS:  # we were frozen ourselves, and so was healthwatch perhaps
        bot.watch_seen_at = now
    bot.watch_look_at = now + WATCH_LOOK_SECONDS
    with bot.database.statement() as cur:
        beats = processes.beats(cur, processes.WATCH)
    if beats != bot.watch_beats:
        with bot.database.transaction() as cur:
            silent_for = processes.first_back(cur) if bot.watch_beats >= 0 else None
            if silent_for is not None:
                away = silent_for
                tell_owner(cur, owner_id, "bot", correlation_id, "healthwatch_back", lambda say: say.watch_back(away))
        bot.watch_beats, bot.watch_seen_at = beats, now
    elif now - bot.watch_seen_at > watch_patience(bot.settings):
        with bot.database.transaction() as cur:
            if processes.first_missed(cur):
                log.error("healthwatch_silent", "healthwatch.py gives no sign of life; the owner is told.")
                tell_owner(cur, owner_id, "bot", correlation_id, "healthwatch_silent", lambda say: say.WATCH_SILENT)


def watch_patience(settings: Settings) -> float:
    """Seconds for which healthwatch.py may be silent."""
    return max(WATCH_SECONDS, 4.0 * settings.health_seconds)


def become_only_poller(bot: Bot) -> bool:
    """Two bots on one database would send each other's notices: the second waits until the first has gone."""
    bot.database.connect()
    if not is_only_poller(bot):
        with bot.database.statement() as cur:
            mine = offsets.take_polling(cur)
        if not mine:
            log.warning("another_bot", "Another bot.py works on this database; waiting until it has ended.")
            bot.stop.wait(2.0)
            return False
        with bot.database.statement() as cur:
            bot.offset = offsets.load(cur, bot.telegram.bot_id)
            bot.let_in = frozenset(allowed.load(cur))
        bot.session = bot.database.session
        bot.watch_seen_at = time.monotonic()  # without the database healthwatch could give no sign either
    return True


def is_only_poller(bot: Bot) -> bool:
    """Whether that right is still ours: it ended with the session, if that was lost and replaced in this round."""
    return bot.session == bot.database.session


def receive(bot: Bot, raw: dict[str, Any]) -> None:
    """Store one update with its audit row, and ring if it is for a worker. Raises only Down."""
    correlation_id = str(uuid.uuid4())
    try:
        update = telegram.read(raw, bot.telegram.bot_id, bot.username)
    except Exception as exc:  # pyTelegramBotAPI raises whatever it likes, and one bad update must not stop the others
        chat_id, user_id = telegram.ids(raw)
        with log.about(correlation_id=correlation_id, chat_id=chat_id, user_id=user_id):
            park(bot, raw, correlation_id, chat_id, user_id, exc)
        return
    with log.about(correlation_id=correlation_id, chat_id=update.chat_id, user_id=update.user_id):
        try:
            store(bot, raw, correlation_id, update)
        except Down:
            raise
        except Exception as exc:  # whatever it is: it would come again for ever
            park(bot, raw, correlation_id, *telegram.ids(raw), exc)


def store(bot: Bot, raw: dict[str, Any], correlation_id: str, update: Incoming) -> None:
    """Everything that follows from one update, in one transaction; then the bell, and the button's own answer."""
    asked = Asked(
        settings=bot.settings,
        bot_id=bot.telegram.bot_id,
        update_id=int(raw["update_id"]),
        update=update,
        actor=who_asks(bot, update),
        say=sentences.of(update.language),
    )
    plan = classify(bot, asked)
    done = None
    with suppress(Duplicate):
        done = carry_out(bot, raw, correlation_id, asked, plan)
    if update.chat_id is not None and (done is None or done.turn):
        ring(bot, update.chat_id)  # also for a second copy: the first time the bot may have died before it could
    if done is None:
        log.info("update_again", "An update came a second time and fell off.", update_id=raw["update_id"])
        return
    log.info("update_stored", "Stored an update.", action=done.action, kind=update.kind, outcome=done.outcome)
    if done.action in commands.CHANGE_WHO:
        with bot.database.statement() as cur:
            bot.let_in = frozenset(allowed.load(cur))
    if bot.owner_is_new and asked.actor.kind == "owner":
        bot.menu_at, bot.owner_is_new = 0.0, False
    if update.press:
        answer_press(bot, update.press, done.toast)


def who_asks(bot: Bot, update: Incoming) -> audit.Actor:
    """Who this is to us. Whoever writes in a group that is let in may ask; a private chat has its person's id."""
    user_id = update.user_id or (update.chat_id if update.chat_type == "private" else None)
    return audit.actor_of(bot.settings, user_id, may_ask(bot, user_id) or may_ask(bot, update.chat_id))


def may_ask(bot: Bot, id: int | None) -> bool:
    """Whether this person or group is let in."""
    return id in bot.let_in or id in bot.settings.allowed_user_ids or id in bot.settings.allowed_chat_ids


def carry_out(bot: Bot, raw: dict[str, Any], correlation_id: str, asked: Asked, plan: Plan) -> Done:
    """Keep an update and do what follows; if that may not or cannot be, keep that. Raises Down and Duplicate."""
    try:
        return keep(bot, raw, correlation_id, asked, plan)
    except TooMany:
        return keep(bot, raw, correlation_id, asked, Plan(partial(turn_down, bot, asked)))
    except (Down, Duplicate) as exc:
        if not plan.command or not isinstance(exc, NoTables):
            raise
        failed: Exception = exc
    except Exception as exc:
        if not plan.command:
            raise
        failed = exc
    log.error("command_failed", "A command could not be obeyed.", failed, private=True)
    done = told("command.failed", asked.say.CANNOT_LOOK, type(failed).__name__)
    return keep(bot, raw, correlation_id, asked, Plan(lambda cur: done))


def keep(bot: Bot, raw: dict[str, Any], correlation_id: str, asked: Asked, plan: Plan) -> Done:
    """One transaction: the update, what it changes, its audit row, and what is said. Raises TooMany, and then nothing
    is kept."""
    update, actor = asked.update, asked.actor
    with bot.database.transaction() as cur:
        joined = inbox.add(
            cur,
            asked.bot_id,
            asked.update_id,
            correlation_id,
            kind=update.kind,
            state="noted" if plan.body is None else "waiting",
            chat_id=update.chat_id,
            user_id=update.user_id,
            message_id=update.message_id,
            body=plan.body,
            raw=raw if plan.keep else None,
            files=update.files if plan.body is not None else (),
            said_at=update.said_at,
            wait=wait_for_more(update),
        )
        if plan.keep and update.chat_id is not None:
            chats.spoke(cur, update.chat_id, update.language)
        done = plan.do(cur)
        if plan.body is not None:
            done = replace(done, turn=True)
        if done.turn and not joined and actor.kind == "user" and bot.allowance.wait(asked.user_id):
            raise TooMany
        detail = {"kind": update.kind, "content": update.content, **done.detail}
        audit.add(cur, correlation_id, actor, done.action, done.outcome, reason=done.reason, detail=detail)
        if done.sayings and update.chat_id is not None:
            reply_to = update.message_id if asked.group else None
            said = [replace(saying, reply_to=reply_to) for saying in done.sayings]
            outbox.add(cur, "bot", update.chat_id, correlation_id, said)
    if done.turn and not joined:
        bot.allowance.take(asked.user_id)
    return done


def classify(bot: Bot, asked: Asked) -> Plan:
    """What to make of an update. Of strangers nothing is kept, and in groups nothing that is not for us."""
    update = asked.update
    if update.kind == "other":
        return silently("kind")
    if update.chat_type in ("group", "supergroup"):
        return in_group(bot, asked)
    if asked.actor.kind == "stranger":
        return Plan(partial(turn_away, asked), keep=False)
    if update.kind == "callback_query":
        return Plan(partial(commands.press, asked=asked), keep=False, command=True)
    if update.kind == "stopped_message_generation":
        return Plan(partial(commands.stop_writing, asked=asked))
    if update.chat_type != "private":
        return silently("chat_type", keep=False)
    return written(bot, asked)


def in_group(bot: Bot, asked: Asked) -> Plan:
    """Only who calls us is heard, and only in groups that are let in; elsewhere the owner, who can let a group in."""
    update, let_in = asked.update, may_ask(bot, asked.update.chat_id)
    if update.moved_to is not None and let_in:
        return Plan(partial(move_group, asked), keep=False)
    if update.kind == "callback_query" and let_in:
        return Plan(partial(commands.press, asked=asked), keep=False, command=True)
    command = command_in(bot, asked)
    if update.service or not (update.addressed or command) or not (let_in or asked.actor.kind == "owner"):
        return silently("group", keep=False)
    if let_in or (command and command[0] == "allow"):
        return written(bot, asked)
    return Plan(lambda cur: told("update.ignored", asked.say.GROUP_NOT_LET_IN, "group_not_let_in"), keep=False)


def written(bot: Bot, asked: Asked) -> Plan:
    """What somebody has written to us who may ask."""
    update = asked.update
    if update.service:
        return silently("service_message")
    if update.kind == "edited_message":
        return Plan(partial(change, bot, asked)) if update.text else silently("edit_without_text")
    if command := command_in(bot, asked):
        return obey(bot, asked, *command)
    if cannot_see(update):
        again, bot.album = bool(update.album) and update.album == bot.album, update.album
        if not update.text:
            return Plan(lambda cur: unreadable(asked, again))
    return Plan(lambda cur: Done("update.received"), body=body_of(bot, update))


def command_in(bot: Bot, asked: Asked) -> tuple[str, str] | None:
    """The command, if this is one and meant for us, and what stands behind it. In a group others may have the same."""
    update = asked.update
    found = COMMAND.match(update.text)
    if found is None or update.kind != "message" or update.files or update.forwarded:
        return None
    name, addressee = found[1].lower(), (found[2] or "")[1:].lower()
    if asked.group and addressee != bot.username.lower() and (addressee or name not in commands.COMMANDS):
        return None
    return name, update.text[found.end() :].strip()


def obey(bot: Bot, asked: Asked, name: str, arguments: str) -> Plan:
    """A command. What it needs from outside is asked before anything is opened."""
    outside = look_outside(bot) if name == "status" else None
    asked = replace(asked, arguments=arguments, outside=outside)
    return Plan(partial(commands.run, name=name, asked=asked), command=True)


def cannot_see(update: Incoming) -> bool:
    """Whether something came that Claude cannot be shown, alone or with words."""
    return not update.files and update.content != "text"


def body_of(bot: Bot, update: Incoming) -> str:
    """What Claude reads of a message; in a group, in which several speak, with the name of who has written it."""
    private = update.chat_type == "private"
    text = update.text if private else telegram.without_mention(update.text, bot.username)
    unseen = UNSEEN[update.unfit] if cannot_see(update) else ""
    body = "\n".join(filter(None, (update.context, unseen, text)))
    return body if private else f"{' '.join(update.name.split()) or update.user_id}: {body}"


def wait_for_more(update: Incoming) -> float:
    """For how many seconds more may come that belongs to it: clients cut a long text at 4096 units."""
    if units(update.text) >= 4000:
        return 1.5
    return 0.5 if update.forwarded or update.album else 0.3


def silently(reason: str, keep: bool = True) -> Plan:
    done = Done("update.ignored", reason=reason)
    return Plan(lambda cur: done, keep=keep)


def turn_away(asked: Asked, cur: Cursor) -> Done:
    """A stranger; told so once a day."""
    update = asked.update
    tell = update.kind == "message" and update.chat_type == "private" and chats.tell_stranger(cur, asked.chat_id)
    sayings = (Saying(asked.say.stranger(update.user_id or 0)),) if tell else ()
    return Done("update.received", sayings, "denied", "not_allowed")


def turn_down(bot: Bot, asked: Asked, cur: Cursor) -> Done:
    """Somebody who may ask has asked too much."""
    now = datetime.now(bot.settings.timezone)
    until = now + timedelta(seconds=bot.allowance.wait(asked.user_id))
    sayings = (Saying(asked.say.too_many(until, now)),) if bot.allowance.tell(asked.user_id) else ()
    return Done("update.received", sayings, "denied", "rate_limited")


def unreadable(asked: Asked, again: bool) -> Done:
    """Nothing in it that Claude can read; said once for a whole album."""
    sayings = () if again else (Saying(asked.say.unreadable(asked.update.content, asked.update.unfit)),)
    return Done("update.received", sayings, reason="not_text")


def change(bot: Bot, asked: Asked, cur: Cursor) -> Done:
    """A message was changed after it was sent."""
    in_time = inbox.edit(cur, asked.bot_id, asked.chat_id, asked.update.message_id or 0, body_of(bot, asked.update))
    return Done("message.edited", () if in_time else (Saying(asked.say.EDIT_TOO_LATE),))


def move_group(asked: Asked, cur: Cursor) -> Done:
    """A group has become a supergroup, with another id: it stays let in."""
    new_id = asked.update.moved_to or 0
    allowed.move(cur, asked.chat_id, new_id, asked.update.title[: commands.LONGEST_NAME])
    return Done("group.moved", detail={"id": asked.chat_id, "new_id": new_id})


def park(
    bot: Bot, raw: dict[str, Any], correlation_id: str, chat_id: int | None, user_id: int | None, exc: Exception
) -> None:
    """Keep an update that could not be read or stored, tell the person and the owner, and go on."""
    actor = audit.actor_of(bot.settings, user_id, may_ask(bot, user_id))
    group = chat_id is not None and chat_id < 0  # where it may have been for somebody else

    def owner_text(say: Sentences) -> str:
        return say.OWNER_PARKED.format(update_id=raw["update_id"], correlation_id=correlation_id)

    known = not group and (actor.kind != "stranger" or user_id is None)
    try:
        with bot.database.transaction() as cur:
            inbox.add(
                cur,
                bot.telegram.bot_id,
                int(raw["update_id"]),
                correlation_id,
                kind="unreadable",
                state="parked",
                chat_id=chat_id,
                user_id=user_id,
                raw=raw if known else None,
            )
            audit.add(cur, correlation_id, actor, "update.parked", "failure", reason=type(exc).__name__)
            if known:  # not for a stranger, or anyone could make the owner's phone ring
                owner_id = bot.settings.owner_id
                tell_owner(cur, owner_id, "bot", correlation_id, "update_parked", owner_text)
                if chat_id is not None and chat_id == user_id:  # in a private chat the two are the same
                    say = sentences.of(chats.language(cur, chat_id))
                    outbox.add(cur, "bot", chat_id, correlation_id, [say.CANNOT_READ])
    except Duplicate:
        return
    log.error(
        "update_parked", "An update could not be read; it is kept.", exc, private=True, update_id=raw["update_id"]
    )


def ring(bot: Bot, chat_id: int) -> None:
    """Wake a worker. Without Redis they find the message in PostgreSQL, a second or two later."""
    if time.monotonic() < bot.ring_again_at:
        return
    try:
        bot.bell.ring(chat_id)
    except Silent as exc:
        bot.ring_again_at = time.monotonic() + RING_AGAIN_SECONDS
        if bot.bell_rings:
            log.warning("redis_away", "Redis does not answer; workers look into PostgreSQL instead.", exc)
        bot.bell_rings = False
        return
    if not bot.bell_rings:
        log.info("redis_back", "Redis answers again.")
    bot.bell_rings = True


def send_notices(bot: Bot) -> None:
    """Send the bot's own notices: answers to commands, words to strangers, alerts to the owner.

    Ends at the first that does not get through, because Telegram may be hanging and updates want to be fetched.
    """
    with bot.database.statement() as cur:
        open_chats = outbox.open_chats(cur, "bot")
        held = chats.held(cur) if open_chats else set()
    waiting = not held.isdisjoint(open_chats) or bool(bot.token_refused)
    for chat_id in open_chats:
        heartbeat.beat()
        if chat_id not in held and not send_notice(bot, chat_id):
            waiting = True
            break
    bot.poll_seconds = IMPATIENT_POLL_SECONDS if waiting else POLL_SECONDS


def send_notice(bot: Bot, chat_id: int) -> bool:
    """Send what waits for this chat. False: something still waits."""
    try:
        return deliver(bot.database, bot.telegram, bot.stop, "bot", chat_id)
    except Down:
        raise
    except Exception as exc:
        log.error("unit_failed", "A notice could not be sent; trying again.", exc, private=True, chat_id=chat_id)
        with bot.database.statement() as cur:
            chats.hold(cur, chat_id, 2.0)
        return False


def look_outside(bot: Bot) -> Outside:
    """What /status tells of Redis and Qdrant, as they are at this moment."""
    memory = None
    if bot.settings.qdrant_url:
        memory = qdrant.check(bot.settings.qdrant_url, bot.settings.qdrant_api_key)
    return Outside(redis_answers(bot), memory, watch_patience(bot.settings))


def answer_press(bot: Bot, press: str, text: str) -> None:
    """End the waiting that Telegram shows on a pressed button. It is no loss if that fails."""
    try:
        with bot.stop.interruptible():
            bot.telegram.answer_press(press, text)
    except TelegramError as exc:  # one that is too old is refused
        log.warning("press_unanswered", "Telegram did not take the answer to a pressed button.", exc)


def redis_answers(bot: Bot) -> bool:
    """A silent Redis costs 2 s: not again for each /status."""
    if time.monotonic() < bot.ring_again_at:
        return False
    try:
        bot.bell.ping()
    except Silent:
        bot.ring_again_at = time.monotonic() + RING_AGAIN_SECONDS
        return False
    return True


def explain(bot: Bot, exc: TelegramError) -> float:
    """Log what Telegram's refusal means, and say how many seconds to leave it alone. Telegram keeps the updates."""
    bot.pulse.troubled(type(exc).__name__)
    match exc:
        case BadToken():
            if not bot.token_refused:
                log.error("token_refused", "Telegram does not know this TELEGRAM_BOT_TOKEN: put the right one.", exc)
            bot.token_refused = str(exc)
            return bot.refused.next()
        case Conflict():
            log.error("other_poller", "Another program polls with this token, or a webhook is set. End it.", exc)
            return 3.0
        case TooFast():
            log.warning("asked_too_fast", "Telegram asks us to wait.", exc, seconds=exc.seconds)
            return exc.seconds
    log.warning("telegram_away", "Telegram does not answer; trying again.", exc)
    return bot.away.next()


def tell_of_refused_token(bot: Bot) -> None:
    """The token works again: now the owner can be told that it did not."""
    log.info("token_accepted", "Telegram takes the token again.")
    correlation_id, why = str(uuid.uuid4()), bot.token_refused
    with bot.database.transaction() as cur:
        owner_id = bot.settings.owner_id
        tell_owner(
            cur, owner_id, "bot", correlation_id, "token_refused", lambda say: say.OWNER_REFUSED.format(text=why)
        )
    bot.token_refused = ""


if __name__ == "__main__":
    sys.exit(main())
