"""The bot: takes each update from Telegram, stores it, and wakes a worker.

An update is confirmed to Telegram only after it is stored: whatever dies in between, Telegram sends it again, and the
second copy falls off. The bot answers commands itself; everything else is the worker's.
"""

from __future__ import annotations

import re
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lib import (
    audit,
    chats,
    config,
    heartbeat,
    inbox,
    log,
    offsets,
    outbox,
    processes,
    qdrant,
    reports,
    sentences,
    telegram,
)
from lib.bell import Bell, Silent
from lib.config import Settings
from lib.db import Cursor, Database, Down, Duplicate, NoTables
from lib.delivery import deliver, tell_owner
from lib.keyring import Locked, open_keyring
from lib.pulse import Pulse
from lib.sentences import Sentences
from lib.stop import Pauses, Stop, Stopped
from lib.telegram import POLL_SECONDS, BadToken, Conflict, Incoming, Telegram, TelegramError, TooFast

# "/usr/bin is full" is a question, "/new" and "/new@my_bot please" are commands.
COMMAND = re.compile(r"/([A-Za-z0-9_]{1,32})(@\w+)?(?=\s|$)")

RING_AGAIN_SECONDS = 5.0  # a frozen Redis costs 2 s for each ring: not for every message of a batch
WATCH_LOOK_SECONDS = 10.0  # between two looks whether healthwatch lives
WATCH_SECONDS = 60.0  # at least so long healthwatch may be silent
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
    bell_rings: bool = True
    ring_again_at: float = 0.0  # time.monotonic(); until then a silent Redis is left alone
    session: int = 0  # the database session that holds the right to poll
    token_refused: str = ""  # Telegram's words, while it refuses the token
    poll_seconds: int = POLL_SECONDS  # less while a notice waits, or the token is on trial
    watch_look_at: float = 0.0  # time.monotonic(); until then healthwatch is not looked at again
    watch_beats: int = -1  # its last sign of life
    watch_seen_at: float = 0.0  # time.monotonic() when that was first seen, or the database came back
    album: str = ""  # the last album seen: its pictures get one answer, not ten
    away: Pauses = field(default_factory=lambda: Pauses(1, 30))
    refused: Pauses = field(default_factory=lambda: Pauses(5, 300))


@dataclass(frozen=True)
class Verdict:
    """What an update is: the state it is stored in, its audit row, and what the person is told."""

    action: str
    state: str = "noted"
    outcome: str = "success"
    reason: str | None = None
    say: str | None = None


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
    if not settings.allowed_user_ids:
        log.warning("nobody_allowed", "ALLOWED_USER_IDS is empty: nobody is served. Write to the bot for your id.")
    elif settings.owner_id not in settings.allowed_user_ids:
        log.warning("owner_not_allowed", "OWNER_ID is not in ALLOWED_USER_IDS: the owner is not served.")
    if not settings.owner_id:
        log.warning("no_owner", "OWNER_ID is empty: nobody is told when something goes wrong.")


def take_round(bot: Bot) -> None:
    """Send what the bot itself has to say, ask Telegram, store what comes, ring, and confirm."""
    if not become_only_poller(bot):
        return
    try:
        watch_the_watch(bot)
    except Exception as exc:  # messages come first; a database that is away shows itself below
        log.warning("watch_unseen", "Whether healthwatch.py lives could not be looked up; going on.", exc)
    send_notices(bot)
    heartbeat.beat()
    with bot.database.statement() as cur:
        offset = offsets.load(cur, bot.telegram.bot_id)
    with bot.stop.interruptible():
        updates = bot.telegram.get_updates(offset, bot.poll_seconds)
    bot.pulse.polled()
    if bot.token_refused:
        tell_of_refused_token(bot)
    for update in updates:
        if bot.stop:
            return  # what is not confirmed comes again
        heartbeat.beat()
        receive(bot, update)
    if updates:
        with bot.database.statement() as cur:
            offsets.move(cur, bot.telegram.bot_id, max(int(update["update_id"]) for update in updates) + 1)


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
    if bot.session != bot.database.session:
        with bot.database.statement() as cur:
            mine = offsets.take_polling(cur)
        if not mine:
            log.warning("another_bot", "Another bot.py works on this database; waiting until it has ended.")
            bot.stop.wait(2.0)
            return False
        bot.session = bot.database.session
        bot.watch_seen_at = time.monotonic()  # without the database healthwatch could give no sign either
    return True


def receive(bot: Bot, raw: dict[str, Any]) -> None:
    """Store one update with its audit row, and ring if it is for a worker. Raises only Down."""
    correlation_id = str(uuid.uuid4())
    try:
        update = telegram.read(raw, bot.telegram.bot_id)
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
        except Exception as exc:  # the database refuses it (a number it cannot hold): it would come again for ever
            shown = {"update_id": raw["update_id"], "as_text": repr(raw)}
            park(bot, shown, correlation_id, *telegram.ids(raw), exc)


def store(bot: Bot, raw: dict[str, Any], correlation_id: str, update: Incoming) -> None:
    """Everything that follows from one update, in one transaction; then the bell."""
    actor = audit.actor_of(bot.settings, update.user_id)
    verdict = classify(update, actor, bot)
    new = True
    try:
        with bot.database.transaction() as cur:
            inbox.add(
                cur,
                bot.telegram.bot_id,
                int(raw["update_id"]),
                correlation_id,
                kind=update.kind,
                state=verdict.state,
                chat_id=update.chat_id,
                user_id=update.user_id,
                message_id=update.message_id,
                body=update.text if verdict.state == "waiting" else None,
                raw=None if actor.kind == "stranger" else raw,
            )
            detail = {"kind": update.kind, "content": update.content}
            audit.add(cur, correlation_id, actor, verdict.action, verdict.outcome, reason=verdict.reason, detail=detail)
            if actor.kind != "stranger" and update.chat_id is not None:
                chats.spoke(cur, update.chat_id, update.language)
            say = apply(cur, bot.telegram.bot_id, update, verdict)
            if say and update.chat_id is not None:
                outbox.add(cur, "bot", update.chat_id, correlation_id, [say])
    except Duplicate:
        new = False
    if update.chat_id is not None and (verdict.state == "waiting" or verdict.action == "command.retry"):
        ring(bot, update.chat_id)  # also for a second copy: the first time the bot may have died before it could
    if new:
        log.info("update_stored", "Stored an update.", action=verdict.action, kind=update.kind, outcome=verdict.outcome)
    else:
        log.info("update_again", "An update came a second time and fell off.", update_id=raw["update_id"])


def classify(update: Incoming, actor: audit.Actor, bot: Bot) -> Verdict:
    """What to make of an update. Only text in a private chat of an allowed person goes to the worker."""
    say = sentences.of(update.language)
    if update.kind == "other":
        return Verdict("update.ignored", reason="kind")
    if actor.kind == "stranger":
        return Verdict("update.received", outcome="denied", reason="not_allowed")
    if update.chat_type != "private":
        return Verdict("update.ignored", reason="group")
    if update.service:
        return Verdict("update.ignored", reason="service_message")
    if update.kind == "edited_message":
        return Verdict("message.edited" if update.text else "update.ignored")
    if not update.text:
        again, bot.album = bool(update.album) and update.album == bot.album, update.album
        return Verdict("update.received", reason="not_text", say=None if again else say.ONLY_TEXT)
    if command := COMMAND.match(update.text):
        return run_command(command[1].lower(), update.text[command.end() :].strip(), bot, actor, say)
    return Verdict("update.received", state="waiting")


def run_command(command: str, arguments: str, bot: Bot, actor: audit.Actor, say: Sentences) -> Verdict:
    owner = actor.kind == "owner"
    match command:
        case "start":
            return Verdict("command.start", say=say.START)
        case "help":
            return Verdict("command.help", say=f"{say.HELP}\n{say.OWNER_HELP}" if owner else say.HELP)
        case "status":
            return Verdict("command.status", say=looked_up(say, lambda: status(bot, actor, say)))
        case "new":
            return Verdict("command.new", say=say.NEW)
        case "retry":
            return Verdict("command.retry")
        case "audit" if owner:
            return Verdict("command.audit", say=looked_up(say, lambda: look_back(bot, arguments, say)))
    return Verdict("command.unknown", say=say.UNKNOWN_COMMAND)


def apply(cur: Cursor, bot_id: int, update: Incoming, verdict: Verdict) -> str | None:
    """Change what the verdict changes beyond the inbox; what the person is told then."""
    chat_id, message_id, say = update.chat_id or 0, update.message_id or 0, sentences.of(update.language)
    if verdict.outcome == "denied":
        told = update.kind == "message" and update.chat_type == "private" and chats.tell_stranger(cur, chat_id)
        return say.stranger(update.user_id or 0) if told else None
    match verdict.action:
        case "command.new":
            chats.start_conversation(cur, chat_id)
        case "command.retry":
            again = inbox.retry(cur, chat_id, chats.conversation(cur, chat_id))
            return say.RETRYING if again else say.NOTHING_TO_RETRY
        case "message.edited":
            return None if inbox.edit(cur, bot_id, chat_id, message_id, update.text) else say.EDIT_TOO_LATE
    return verdict.say


def park(
    bot: Bot, raw: dict[str, Any], correlation_id: str, chat_id: int | None, user_id: int | None, exc: Exception
) -> None:
    """Keep an update that could not be read, tell the person and the owner, and go on."""
    actor = audit.actor_of(bot.settings, user_id)

    def owner_text(say: Sentences) -> str:
        return say.OWNER_PARKED.format(update_id=raw["update_id"], correlation_id=correlation_id)

    known = actor.kind != "stranger" or user_id is None
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
        held = chats.held(cur)
        open_chats = outbox.open_chats(cur, "bot")
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


def status(bot: Bot, actor: audit.Actor, say: Sentences) -> str:
    """A true picture of this moment."""
    redis, memory = redis_answers(bot), None
    if bot.settings.qdrant_url:
        memory = qdrant.check(bot.settings.qdrant_url, bot.settings.qdrant_api_key)
    with bot.database.statement() as cur:
        return reports.status(cur, bot.settings, say, actor, redis, memory, watch_patience(bot.settings))


def look_back(bot: Bot, asked: str, say: Sentences) -> str:
    """What was done, of late or for one message."""
    with bot.database.statement() as cur:
        return reports.trail(cur, bot.settings, say, asked)


def looked_up(say: Sentences, look: Callable[[], str]) -> str:
    """What a command shows, or the sentence that it cannot be shown. Raises Down: then the update comes again."""
    try:
        return look()
    except Exception as exc:
        if isinstance(exc, Down) and not isinstance(exc, NoTables):
            raise
        log.error("command_failed", "What a command asks for could not be looked up.", exc, private=True)
        return say.CANNOT_LOOK


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
