"""The worker: takes a chat that has something waiting, asks Claude, and answers.

Run as many as you like, on any number of machines: a chat is only ever in one worker's hands. PostgreSQL says what is
to be done; the bell in Redis only says where to look first.
"""

from __future__ import annotations

import math
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from lib import audit, chats, config, heartbeat, history, inbox, log, markdown, outbox, sentences, unindexed
from lib.attachments import WITHIN_SECONDS, Cache, attach, without_earlier
from lib.bell import Bell, Silent
from lib.claude import BROKEN_OFF, NEEDS_OWNER, SPOILING, Door, Reply, Unavailable
from lib.claude_api import ApiDoor
from lib.claude_code import PlanDoor
from lib.config import Settings
from lib.credentials import Credential
from lib.db import Cursor, Database, Down
from lib.delivery import deliver, tell_owner
from lib.history import Turn
from lib.inbox import Waiting
from lib.keyring import Locked, open_keyring
from lib.outbox import Saying
from lib.preview import Preview
from lib.pulse import Pulse
from lib.recollection import Recalled, Recollection, open_memory
from lib.refresh import NotNow, SignedOut, Tokens
from lib.sentences import Sentences
from lib.stop import Cut, Pauses, Stop, Stopped, TookTooLong
from lib.telegram import Telegram

LISTEN_SECONDS = 2  # a wait for the bell; after one without a ring the ledger is looked through
REDIS_TICK_SECONDS = 0.1  # so late Redis may end a wait: so long before a chat is due, the bell is only glanced at
SHORTEST_WAIT_SECONDS = 0.01  # for Redis, which takes 0 for no end
GLANCE_SECONDS = 0.03  # between two glances
LISTEN_AGAIN_SECONDS = 5.0  # a silent Redis is left alone for so long
SWEEP_SECONDS = 15.0  # however much rings, between two messages the ledger is looked through this often
ASK_SECONDS = 300.0  # for a whole answer
ASK_STOP_SECONDS = 7.0  # how long after a stop Claude may still finish an answer; with db.DEADLINE under 20


@dataclass
class Worker:
    """What the steps below work with."""

    settings: Settings
    stop: Stop
    database: Database
    bell: Bell
    telegram: Telegram
    claude: Door
    recollection: Recollection
    cache: Cache = field(default_factory=Cache)  # of what people have sent
    bell_rings: bool = True
    listen_again_at: float = 0.0  # time.monotonic(); until then a silent Redis is left alone
    swept_at: float = -math.inf  # time.monotonic() of the last whole look through the ledger
    soon: dict[int, float] = field(default_factory=dict)  # chats where more may come, until time.monotonic()
    idle: bool = True  # the last look found nothing to do


def main() -> int:
    log.setup("worker")
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
    log.info("stopped", "The worker has ended.")
    return 0


def run() -> None:
    """Open what is needed, then work until a stop is asked for. Raises ConfigError, Locked and Stopped."""
    settings = config.load()
    log.hide(settings.secrets)
    heartbeat.keep(settings.heartbeat_file)
    stop, database = Stop(), Database(settings.database_url, "steward-worker")
    keyring = open_keyring(settings, database, stop)
    worker = Worker(
        settings=settings,
        stop=stop,
        database=database,
        bell=Bell(settings.redis_url),
        telegram=Telegram(keyring.need("telegram").token, settings.telegram_api_url),
        recollection=Recollection(database, open_memory(settings), settings.timezone),
        claude=open_door(settings, keyring.get("claude"), Tokens(settings, database, keyring.vault, stop)),
    )
    pulse = Pulse(settings, "worker")
    pulse.start()
    log.info("started", "The worker is ready.", model=settings.claude_model)
    try:
        keep_working(worker)
    finally:
        pulse.end()


def keep_working(worker: Worker) -> None:
    """Round after round, until a stop is asked for. Raises Locked and Stopped."""
    pauses = Pauses(0.2, 5)
    while not worker.stop:
        heartbeat.beat()
        try:
            work(worker)
            pauses.reset()
        except Locked:
            raise
        except Down as exc:
            log.warning("database_away", "PostgreSQL does not answer; trying again.", exc)
            worker.stop.wait(pauses.next())
        except Exception as exc:
            log.error("round_failed", "A round of work failed; going on.", exc, private=True)
            worker.stop.wait(pauses.next())


def open_door(settings: Settings, credential: Credential | None, tokens: Tokens) -> Door:
    """The way to Claude for this kind of credential."""
    url, model = settings.anthropic_base_url, settings.claude_model
    if credential is not None and credential.kind == "plan_token":
        return PlanDoor(credential.token, url, model)
    if credential is not None and credential.kind == "oauth":
        return ApiDoor(partial(tokens.get, credential.service), url, model)
    return ApiDoor(credential.token if credential is not None else None, url, model)


def work(worker: Worker) -> None:
    """One round: who is due or rings, and when nobody does or it is time, whatever the ledger shows. Raises Down."""
    worker.database.connect()
    if time.monotonic() - worker.swept_at > SWEEP_SECONDS:
        sweep(worker)
    if (chat_id := due(worker)) is not None:
        serve(worker, chat_id)  # if more has come meanwhile, it waits again
    elif (chat_id := listen(worker)) is not None:
        if not postpone(worker, chat_id):
            serve(worker, chat_id)
    elif not worker.soon or not worker.bell_rings or time.monotonic() - worker.swept_at > LISTEN_SECONDS:
        sweep(worker)


def due(worker: Worker) -> int | None:
    """A chat in which nothing more is waited for."""
    now = time.monotonic()
    chat_id = next((chat_id for chat_id, at in worker.soon.items() if at <= now), None)
    if chat_id is not None:
        del worker.soon[chat_id]
    return chat_id


def postpone(worker: Worker, chat_id: int) -> bool:
    """Whether more may come that belongs to the turn which is next in this chat: then it is looked at again."""
    with worker.database.statement() as cur:
        seconds = inbox.ready_in(cur, chat_id)
    if seconds is None or seconds <= 0:
        return False
    wait_for_more(worker, chat_id, seconds)
    return True


def wait_for_more(worker: Worker, chat_id: int, seconds: float) -> None:
    """Look at this chat again in so many seconds; not much later, should PostgreSQL's clock be set meanwhile."""
    worker.soon[chat_id] = time.monotonic() + min(seconds, LISTEN_SECONDS)


def listen(worker: Worker) -> int | None:
    """The chat that rings next, or None after a quiet while. While Redis is silent, None every second."""
    if time.monotonic() < worker.listen_again_at:
        worker.stop.wait(min(until_due(worker), 1.0) if worker.idle or worker.soon else 0.0)
        return None
    seconds = min(until_due(worker) - REDIS_TICK_SECONDS, LISTEN_SECONDS)
    glancing = seconds < SHORTEST_WAIT_SECONDS
    try:
        with worker.stop.interruptible():  # a ring lost by it is found in the ledger
            chat_id = worker.bell.glance() if glancing else worker.bell.wait(seconds)
    except Silent as exc:
        leave_alone(worker, exc)
        return None
    if not worker.bell_rings:
        log.info("redis_back", "Redis answers again.")
    worker.bell_rings = True
    if chat_id is None and glancing:
        worker.stop.wait(min(until_due(worker), GLANCE_SECONDS))
    return chat_id


def until_due(worker: Worker) -> float:
    """In how many seconds the first of the chats is due in which more may come; endless when there is none."""
    return min(worker.soon.values(), default=math.inf) - time.monotonic()


def sweep(worker: Worker) -> None:
    """One turn for every chat with something unfinished: rings can be lost, and workers die."""
    with worker.database.statement() as cur:
        unfinished = dict.fromkeys(outbox.open_chats(cur, "worker") + inbox.waiting_chats(cur))
        held = chats.held(cur) if unfinished else set()
    worker.idle = True
    for chat_id in unfinished:
        if worker.stop:
            return
        heartbeat.beat()
        if chat_id not in held:
            serve(worker, chat_id)
    worker.recollection.catch_up()
    worker.swept_at = time.monotonic()


def serve(worker: Worker, chat_id: int) -> None:
    """One turn of a chat, if no other worker has the chat and something may be sent there.

    Only one: a chat with a thousand messages would hold up all the others. It goes to the end of the line.
    """
    with worker.database.statement() as cur:
        if not chats.lock(cur, chat_id):
            return
    session = worker.database.session
    try:
        take_turn(worker, chat_id)
    except (Down, Stopped, Locked):
        raise
    except Exception as exc:
        # Its attempt is counted: after three the message is set aside, and the next one goes on.
        log.error("unit_failed", "Work on a chat failed; trying again.", exc, private=True, chat_id=chat_id)
        with worker.database.statement() as cur:
            chats.hold(cur, chat_id, 2.0)
    with worker.database.statement() as cur:
        if worker.database.session == session:
            chats.unlock(cur, chat_id)
        # Also who rang while we had the lock, and was turned away, is found here.
        seconds = inbox.ready_in(cur, chat_id)
    if seconds is None:
        worker.recollection.catch_up()  # now that nobody waits for it
    elif seconds > 0:
        wait_for_more(worker, chat_id, seconds)
    else:
        ring(worker, chat_id)


def take_turn(worker: Worker, chat_id: int) -> None:
    """What is still to be sent, or else the next turn and its answer."""
    session = worker.database.session
    with worker.database.statement() as cur:
        turn = inbox.claim(cur, chat_id)
    if turn is not None:
        worker.idle = False
        with log.about(correlation_id=turn.correlation_id, chat_id=chat_id, user_id=turn.user_id):
            if turn.attempt > inbox.MOST_ATTEMPTS:
                set_aside(worker, turn)
            else:
                hand_over(worker)
                answer(worker, turn)
    if worker.database.session == session:  # or the connection was lost meanwhile, and the lock with it
        deliver(worker.database, worker.telegram, worker.stop, "worker", chat_id)


def hand_over(worker: Worker) -> None:
    """Chats that would soon be due here are rung for again: another worker may be idle, and this one is about to wait
    for Claude."""
    if worker.soon and ring(worker, *sorted(worker.soon, key=worker.soon.__getitem__)):
        worker.soon.clear()


def ring(worker: Worker, *chat_ids: int) -> bool:
    """Wake whoever is idle for these chats. False: Redis is silent, and the next look into the ledger finds them."""
    if time.monotonic() < worker.listen_again_at:
        return False
    try:
        worker.bell.ring(*chat_ids)
    except Silent as exc:
        leave_alone(worker, exc)
        return False
    return True


def leave_alone(worker: Worker, exc: Silent) -> None:
    """Redis is silent, and each question to it would cost two seconds: ask again in a while."""
    if worker.bell_rings:
        log.warning("redis_away", "Redis does not answer; looking into PostgreSQL instead.", exc)
    worker.bell_rings = False
    worker.listen_again_at = time.monotonic() + LISTEN_AGAIN_SECONDS


def answer(worker: Worker, turn: Waiting) -> None:
    """Ask Claude and keep what comes of it. Sending is the next step's work."""
    began, preview = time.monotonic(), Preview(worker.settings, worker.telegram, worker.stop, turn)
    recalled = Recalled()
    try:
        if turn.stop_asked:
            raise Cut
        with preview:
            past = read_back(worker, turn)
            shown = [turn.id, *(line.id for line in past if line.id)]  # the first: asked again, it is kept already
            recalled = worker.recollection.remember(turn.chat_id, turn.body, shown)
            words = recalled.block + turn.body
            turns = [*past, Turn("user", words, turn.files, fleeting=bool(recalled.block))]
            heartbeat.beat(WITHIN_SECONDS)
            with worker.stop.interruptible():
                turns = attach(worker.telegram, turns, worker.cache)
            reply = ask_with_files(worker, turn, turns, preview)
    except (Stopped, Down, Locked):  # nothing the turn could be blamed for
        with suppress(Down), worker.database.statement() as cur:
            inbox.release(cur, turn)
            log.info("turn_released", "Claude has not answered: the turn waits again, as if it was not touched.")
        raise
    except (Cut, TookTooLong, Unavailable) as exc:
        failure = exc if isinstance(exc, Unavailable) else given_up(exc, preview.text)
        keep_failure(worker, turn, preview, failure, duration_ms=round((time.monotonic() - began) * 1000))
    else:
        keep_answer(worker, turn, preview, recalled, reply)


def read_back(worker: Worker, turn: Waiting) -> list[Turn]:
    """The conversation before this turn, as much of it as fits."""
    with worker.database.statement() as cur:
        budget = worker.settings.history_tokens
        return history.load(cur, turn.chat_id, turn.conversation, budget, except_inbox_id=turn.id)


def given_up(exc: Cut | TookTooLong, partial: str) -> Unavailable:
    """A failure whose reason is not Claude."""
    if isinstance(exc, Cut):
        return Unavailable("stopped", "the person asked to stop", partial=partial)
    return Unavailable("timed_out", "the answer did not end", partial=partial)


def ask_with_files(worker: Worker, turn: Waiting, turns: list[Turn], preview: Preview) -> Reply:
    """Ask; when a file is refused once more, without those of earlier turns. One that came while Claude was away was
    never looked at, and would have every later turn refused. Raises as ask() does."""
    try:
        return ask(worker, turns, preview)
    except Unavailable as exc:
        if exc.kind != "file_refused" or not any(earlier.files for earlier in turns[:-1]):
            raise
        log.warning("files_refused", "Claude refuses a file; asking again without those of earlier turns.", exc)
    reply = ask(worker, without_earlier(turns), preview)
    with suppress(Down), worker.database.statement() as cur:  # else the next turn finds out the same way
        history.let_go(cur, turn.chat_id, turn.conversation)
    return reply


def ask(worker: Worker, turns: list[Turn], preview: Preview) -> Reply:
    """One request; a second one only with a login renewed because its token was refused, so before any answer began.

    Raises Unavailable, Stopped and TookTooLong; Down and Locked before Claude was asked, or once a token was refused.
    """
    for again in (False, True):
        try:
            worker.claude.prepare()
        except SignedOut as exc:
            raise Unavailable("sign_in", str(exc)) from exc
        except NotNow as exc:
            raise Unavailable("no_network", str(exc)) from exc
        heartbeat.beat(ASK_SECONDS)
        try:
            with worker.stop.interruptible(within=ASK_STOP_SECONDS, at_most=ASK_SECONDS):
                return worker.claude.answer(turns, preview)
        except Unavailable as exc:
            if again or not exc.again:
                raise
    raise AssertionError  # the second time returns or raises


def keep_answer(worker: Worker, turn: Waiting, preview: Preview, recalled: Recalled, reply: Reply) -> None:
    """Save the answer, its history and its audit row together, before anything is sent."""
    sayings = [Saying(piece, markdown=True) for piece in markdown.pieces(reply.text)]
    if reply.stop_reason == "max_tokens":
        sayings.append(Saying(sentences.of(turn.language).CUT_SHORT))

    def keep(cur: Cursor) -> bool:
        if not inbox.settle(cur, turn, "answered", recalled.ids):
            take_back(cur, turn)
            return False
        turns = [Turn("user", turn.body, turn.files), Turn("assistant", reply.text)]
        history.add(cur, turn.chat_id, turn.conversation, turn.id, turns, turn.user_id)
        unindexed.add(cur, turn.id)
        say(cur, turn, preview.message_id, sayings)
        audit.add(
            cur,
            turn.correlation_id,
            audit.actor_of(worker.settings, turn.user_id, let_in=True),
            "claude.asked",
            model=reply.model,
            tokens_in=reply.tokens_in,
            tokens_out=reply.tokens_out,
            tokens_cached=reply.tokens_cached,
            duration_ms=reply.duration_ms,
            detail={
                "request_id": reply.request_id,
                "stop_reason": reply.stop_reason,
                "messages": turn.messages,
            },
        )
        return True

    kept = worker.database.insist(worker.stop, keep)
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


def keep_failure(worker: Worker, turn: Waiting, preview: Preview, exc: Unavailable, duration_ms: int) -> None:
    """Keep the question for /retry, with the half answer if there is one, and tell the person why."""
    until = exc.until.astimezone(worker.settings.timezone) if exc.until else None
    sayings = [Saying(piece, markdown=True) for piece in markdown.pieces(exc.partial)]
    sayings.append(Saying(sentences.of(turn.language).failure(exc.kind, until)))
    turns = [Turn("user", turn.body, turn.files)]
    if exc.partial:
        turns.append(Turn("assistant", f"{exc.partial}\n\n{BROKEN_OFF}"))
    if exc.kind in SPOILING:
        turns = []  # kept in the history it would make every later request fail like this one

    def keep(cur: Cursor) -> bool:
        if not inbox.settle(cur, turn, "failed"):
            take_back(cur, turn)
            return False
        history.add(cur, turn.chat_id, turn.conversation, turn.id, turns, turn.user_id)
        say(cur, turn, preview.message_id, sayings)
        audit.add(
            cur,
            turn.correlation_id,
            audit.actor_of(worker.settings, turn.user_id, let_in=True),
            "claude.asked",
            "failure",
            reason=exc.kind,
            model=worker.claude.model,
            duration_ms=duration_ms,
            detail={"request_id": exc.request_id} | ({"until": exc.until.isoformat()} if exc.until else {}),
        )
        return True

    if not worker.database.insist(worker.stop, keep):
        log.info("turn_given_up", "The turn was given up, or settled by another worker: nothing is kept of it.")
        return
    write = log.error if exc.kind in NEEDS_OWNER else log.warning
    write(
        "claude_unavailable",
        "Claude did not answer; the person is told why.",
        exc,
        outcome="failure",
        reason=exc.kind,
        duration_ms=duration_ms,
    )


def say(cur: Cursor, turn: Waiting, message_id: int | None, sayings: list[Saying]) -> None:
    """Keep what the person is told. In a group it takes the place of the message in which the answer grew."""
    if turn.chat_id < 0:
        sayings = [replace(sayings[0], edits=message_id, reply_to=turn.message_id or None), *sayings[1:]]
    outbox.add(cur, "worker", turn.chat_id, turn.correlation_id, sayings)


def take_back(cur: Cursor, turn: Waiting) -> None:
    """What a group has seen of the answer to a turn that was forgotten or dismissed meanwhile does not stay there."""
    if message_id := inbox.left_behind(cur, turn):
        say(cur, turn, message_id, [Saying(sentences.of(turn.language).TAKEN_BACK)])


def set_aside(worker: Worker, turn: Waiting) -> None:
    """Three tries failed: say so to the person and the owner, and let the next message go on."""
    correlation_id = turn.correlation_id

    def owner_text(words: Sentences) -> str:
        return words.OWNER_SET_ASIDE.format(correlation_id=correlation_id)

    def keep(cur: Cursor) -> None:
        if inbox.settle(cur, turn, "set_aside"):
            words, owner_id = sentences.of(turn.language), worker.settings.owner_id
            say(cur, turn, turn.preview_id, [Saying(words.SET_ASIDE)])
            tell_owner(cur, owner_id, "worker", correlation_id, "message_set_aside", owner_text)
            audit.add(cur, correlation_id, audit.SYSTEM, "message.set_aside", "failure", reason="three_tries")

    worker.database.insist(worker.stop, keep)
    log.error("message_set_aside", "A message was set aside after three failed tries.", inbox_id=turn.id)


if __name__ == "__main__":
    sys.exit(main())
