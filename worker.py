"""The worker: takes a chat that has something waiting, asks Claude, and answers.

Run as many as you like, on any number of machines: a chat is only ever in one worker's hands. PostgreSQL says what is
to be done; the bell in Redis only says where to look first.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from lib import alerts, audit, chats, config, history, inbox, log, outbox, sentences
from lib.bell import Bell, Silent
from lib.claude import ApiDoor, Reply, Unavailable
from lib.config import Settings
from lib.db import Cursor, Database, Down
from lib.delivery import deliver
from lib.history import Turn
from lib.inbox import Waiting
from lib.stop import Pauses, Stop, Stopped, TookTooLong
from lib.telegram import Telegram, TelegramError
from lib.text import split, storable

LISTEN_SECONDS = 2  # a wait for the bell; after one without a ring the ledger is looked through
LISTEN_AGAIN_SECONDS = 5.0
SWEEP_SECONDS = 15.0  # however busy, the ledger is looked through this often
ASK_SECONDS = 300.0  # for a whole answer
ASK_STOP_SECONDS = 12.0  # how long after a stop Claude may still finish an answer
DRAFT_EVERY = 1.0  # seconds: Telegram allows 40 drafts in 30 s to one chat


@dataclass
class House:
    """What the steps below work with."""

    settings: Settings
    stop: Stop
    database: Database
    bell: Bell
    telegram: Telegram
    claude: ApiDoor
    bell_rings: bool = True
    listen_again_at: float = 0.0  # time.monotonic(); until then a silent Redis is left alone
    swept_at: float = 0.0  # time.monotonic() of the last whole look through the ledger
    idle: bool = True  # the last look found nothing to do


def main() -> int:
    log.setup("worker")
    try:
        settings = config.load()
    except config.ConfigError as exc:
        log.error("settings_wrong", str(exc))
        return 2
    log.setup("worker", settings.secrets)
    house = House(
        settings=settings,
        stop=Stop(),
        database=Database(settings.database_url, "steward-worker"),
        bell=Bell(settings.redis_url),
        telegram=Telegram(settings.telegram_token, settings.telegram_api_url),
        claude=ApiDoor(settings.anthropic_api_key, settings.anthropic_base_url, settings.claude_model),
    )
    log.info("started", "The worker is ready.", model=settings.claude_model)
    pauses = Pauses(0.2, 5)
    while not house.stop:
        try:
            work(house)
            pauses.reset()
        except Down as exc:
            log.warning("database_away", "PostgreSQL does not answer; trying again.", exc)
            house.stop.wait(pauses.next())
        except Stopped:
            break
    house.database.close()
    log.info("stopped", "The worker has ended.")
    return 0


def work(house: House) -> None:
    """One round: whoever rings, and when nobody does or it is time, whatever the ledger shows. Raises Down."""
    house.database.connect()
    if time.monotonic() - house.swept_at > SWEEP_SECONDS:
        sweep(house)
    chat_id = listen(house)
    if chat_id is not None:
        serve(house, chat_id)
    else:
        sweep(house)


def listen(house: House) -> int | None:
    """The chat that rings next, or None after a quiet while. Without Redis the ledger alone tells, once a second."""
    if time.monotonic() < house.listen_again_at:
        house.stop.wait(1.0 if house.idle else 0.0)
        return None
    try:
        with house.stop.interruptible():  # a ring lost by it is found in the ledger
            chat_id = house.bell.wait(LISTEN_SECONDS)
    except Silent as exc:
        if house.bell_rings:
            log.warning("redis_away", "Redis does not answer; looking into PostgreSQL instead.", exc)
        house.bell_rings = False
        house.listen_again_at = time.monotonic() + LISTEN_AGAIN_SECONDS
        return None
    if not house.bell_rings:
        log.info("redis_back", "Redis answers again.")
    house.bell_rings = True
    return chat_id


def sweep(house: House) -> None:
    """Serve every chat with something unfinished: rings can be lost, and workers die."""
    with house.database.statement() as cur:
        held = chats.held(cur)
        unfinished = dict.fromkeys(outbox.open_chats(cur, "worker") + inbox.waiting_chats(cur))
    house.idle = True
    for chat_id in unfinished:
        if house.stop:
            return
        if chat_id not in held:
            serve(house, chat_id)
    house.swept_at = time.monotonic()


def serve(house: House, chat_id: int) -> None:
    """One message of a chat, if no other worker has the chat and something may be sent there.

    Only one: a chat with a thousand messages would hold up all the others. It goes to the end of the line.
    """
    with house.database.statement() as cur:
        if not chats.lock(cur, chat_id):
            return
    session = house.database.session
    try:
        take_turn(house, chat_id)
    except (Down, Stopped):
        raise
    except Exception as exc:
        # Its attempt is counted: after three the message is set aside, and the next one goes on.
        log.error("unit_failed", "Work on a chat failed; trying again.", exc, private=True, chat_id=chat_id)
        with house.database.statement() as cur:
            chats.hold(cur, chat_id, 2.0)
    with house.database.statement() as cur:
        if house.database.session == session:
            chats.unlock(cur, chat_id)
        # Also who rang while we had the lock, and was turned away, is found here.
        more = inbox.has_waiting(cur, chat_id)
    if more:
        try:
            house.bell.ring(chat_id)
        except Silent:
            pass  # the next look into the ledger finds it


def take_turn(house: House, chat_id: int) -> None:
    """What is still to be sent, or else the next message and its answer."""
    session = house.database.session
    with house.database.statement() as cur:
        message = inbox.claim(cur, chat_id)
    if message is not None:
        house.idle = False
        with log.about(correlation_id=message.correlation_id, chat_id=chat_id, user_id=message.user_id):
            if message.attempt > inbox.MOST_ATTEMPTS:
                set_aside(house, message)
            else:
                answer(house, message)
    if house.database.session == session:  # or the connection was lost meanwhile, and the lock with it
        deliver(house.database, house.telegram, house.stop, "worker", chat_id)


def answer(house: House, message: Waiting) -> None:
    """Ask Claude and keep what comes of it. Sending is the next step's work."""
    with house.database.statement() as cur:
        past = history.load(
            cur, message.chat_id, message.conversation, house.settings.history_tokens, except_inbox_id=message.id
        )
    began, growing = time.monotonic(), Growing(house, message)
    try:
        with house.stop.interruptible(within=ASK_STOP_SECONDS, at_most=ASK_SECONDS):
            reply = house.claude.answer([*past, Turn("user", message.body)], growing)
    except Stopped:
        with house.database.statement() as cur:
            inbox.release(cur, message)
        log.info("message_released", "Stopping: the message is left to the next worker.")
        raise
    except TookTooLong:
        late = Unavailable("timed_out", "the answer did not end", partial=growing.text)
        keep_failure(house, message, late, duration_ms=round(ASK_SECONDS * 1000))
    except Unavailable as exc:
        keep_failure(house, message, exc, duration_ms=round((time.monotonic() - began) * 1000))
    else:
        keep_answer(house, message, reply)


def keep_answer(house: House, message: Waiting, reply: Reply) -> None:
    """Save the answer, its history and its audit row together, before anything is sent."""
    text = storable(reply.text)
    bodies = split(text)
    if reply.stop_reason == "max_tokens":
        bodies.append(sentences.CUT_SHORT)

    def keep(cur: Cursor) -> bool:
        if not inbox.settle(cur, message, "answered"):
            return False
        turns = [Turn("user", message.body), Turn("assistant", text)]
        history.add(cur, message.chat_id, message.conversation, message.id, turns)
        outbox.add(cur, "worker", message.chat_id, message.correlation_id, bodies)
        audit.add(
            cur,
            message.correlation_id,
            actor(house, message.user_id),
            "claude.asked",
            model=reply.model,
            tokens_in=reply.tokens_in,
            tokens_out=reply.tokens_out,
            tokens_cached=reply.tokens_cached,
            duration_ms=reply.duration_ms,
            detail={"request_id": reply.request_id, "stop_reason": reply.stop_reason},
        )
        return True

    kept = house.database.insist(house.stop, keep)
    log.info(
        "claude_answered",
        "Claude answered." if kept else "Claude answered a message that was settled meanwhile: not saved again.",
        outcome="success" if kept else "settled_before",
        model=reply.model,
        tokens_in=reply.tokens_in,
        tokens_out=reply.tokens_out,
        tokens_cached=reply.tokens_cached,
        duration_ms=reply.duration_ms,
    )


def keep_failure(house: House, message: Waiting, exc: Unavailable, duration_ms: int) -> None:
    """Keep the question for /retry, with the half answer if there is one, and tell the person why."""
    partial = storable(exc.partial)
    bodies = [*split(partial), sentences.failure(exc.kind, exc.until)]
    turns = [Turn("user", message.body)]
    if partial:
        turns.append(Turn("assistant", f"{partial}\n\n{sentences.BROKEN_OFF}"))

    def keep(cur: Cursor) -> None:
        if inbox.settle(cur, message, "failed"):
            history.add(cur, message.chat_id, message.conversation, message.id, turns)
            outbox.add(cur, "worker", message.chat_id, message.correlation_id, bodies)
            audit.add(
                cur,
                message.correlation_id,
                actor(house, message.user_id),
                "claude.asked",
                "failure",
                reason=exc.kind,
                model=house.claude.model,
                duration_ms=duration_ms,
                detail={"request_id": exc.request_id},
            )

    house.database.insist(house.stop, keep)
    log.warning(
        "claude_unavailable",
        "Claude did not answer; the person is told why.",
        exc,
        outcome="failure",
        reason=exc.kind,
        duration_ms=duration_ms,
    )


def set_aside(house: House, message: Waiting) -> None:
    """Three tries failed: say so to the person and the owner, and let the next message go on."""
    owner_text = sentences.OWNER_SET_ASIDE.format(correlation_id=message.correlation_id)

    def keep(cur: Cursor) -> None:
        if inbox.settle(cur, message, "set_aside"):
            outbox.add(cur, "worker", message.chat_id, message.correlation_id, [sentences.SET_ASIDE])
            alerts.add(cur, message.correlation_id, "message_set_aside", owner_text)
            if house.settings.owner_id:
                outbox.add(cur, "worker", house.settings.owner_id, message.correlation_id, [owner_text])
            audit.add(cur, message.correlation_id, audit.SYSTEM, "message.set_aside", "failure", reason="three_tries")

    house.database.insist(house.stop, keep)
    log.error("message_set_aside", "A message was set aside after three failed tries.", inbox_id=message.id)


class Growing:
    """Shows an answer while it is being written. The first refusal ends the show for this answer, never the answer."""

    def __init__(self, house: House, message: Waiting) -> None:
        self._house, self._message = house, message
        self.text = ""
        self._shown_at = 0.0
        self._on = message.chat_id > 0  # groups have negative ids, and no drafts

    def __call__(self, text: str) -> None:
        self.text = text
        now = time.monotonic()
        if not self._on or now - self._shown_at < DRAFT_EVERY or not text.strip():
            return
        self._shown_at = now
        shown = storable(split(text)[-1])  # of a long answer the part that grows
        try:
            self._house.telegram.draft(self._message.chat_id, self._message.id % 2**31 or 1, shown)
        except TelegramError as exc:
            self._on = False
            log.warning("draft_refused", "The growing answer cannot be shown; the answer itself will come.", exc)


def actor(house: House, user_id: int) -> audit.Actor:
    return audit.Actor("owner" if user_id == house.settings.owner_id else "user", user_id)


if __name__ == "__main__":
    sys.exit(main())
