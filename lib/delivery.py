"""Saying things: what the bot and the worker share of it.

deliver() is the one step of lib that commits by itself: a part is marked before the request leaves and after the
answer came, each in its own transaction, or a crash in between could not be told from one that never happened.
"""

from __future__ import annotations

from collections.abc import Callable

from lib import alerts, audit, chats, heartbeat, log, outbox, sentences
from lib.db import Cursor, Database, Down
from lib.sentences import Sentences
from lib.stop import Stop
from lib.telegram import ChatGone, FateUnknown, Refused, Telegram, TelegramError, TooFast

MOST_ERRORS = 3
STOP_SECONDS = 8.0  # how long after a stop a send may still wait; with db.DEADLINE it stays under 20
UNWRITABLE_SECONDS = 300.0


def tell_owner(
    cur: Cursor, owner_id: int, sender: str, correlation_id: str, kind: str, words: Callable[[Sentences], str]
) -> None:
    """Keep an alert, and have `sender` say it to the owner in the owner's language. Committed by the caller, with what
    it is about."""
    text = words(sentences.of(chats.language(cur, owner_id)))  # of a private chat the id is that of the person
    alerts.add(cur, correlation_id, kind, text)
    if owner_id:
        outbox.add(cur, sender, owner_id, correlation_id, [text])


def deliver(database: Database, telegram: Telegram, stop: Stop, sender: str, chat_id: int) -> bool:
    """Send the chat's open parts in order. True: all are done. False: they must wait (chats.hold says how long), or a
    stop was asked for, or the connection that held the lock was lost.

    Raises db.Down, and Stopped in mid-send; the part's fate is then unknown, and the next try carries the mark.
    """
    session = database.session
    while not stop and database.session == session:
        heartbeat.beat()
        with database.statement() as cur:
            part = outbox.begin(cur, sender, chat_id)
        if part is None:
            return True
        with log.about(correlation_id=part.correlation_id, chat_id=chat_id):
            if not _send(database, telegram, stop, sender, part):
                return False
    return False


def _send(database: Database, telegram: Telegram, stop: Stop, sender: str, part: outbox.Part) -> bool:
    body = sentences.of(part.language).REPEAT_MARK + part.body if part.repeat else part.body
    try:
        with stop.interruptible(within=STOP_SECONDS):
            message_id = telegram.send(part.chat_id, body)
    except Refused as exc:
        return _refused(database, stop, sender, part, exc)
    except TelegramError as exc:
        return _later(database, stop, part, exc)
    except Exception as exc:  # our bug: two more tries, then what comes behind it goes on
        if part.attempts < MOST_ERRORS:
            raise
        return _refused(database, stop, sender, part, exc)

    def arrived(cur: Cursor) -> None:
        if outbox.sent(cur, part, message_id) and part.part == part.parts:
            detail = {"parts": part.parts, "maybe_repeat": part.repeat}
            audit.add(cur, part.correlation_id, audit.SYSTEM, "reply.sent", detail=detail)

    try:
        database.insist(stop, arrived)
    except Down:
        raise
    except Exception as exc:  # our bug: it would be sent again and again, so seldom at least
        log.error("sent_not_kept", "A message was sent, and that could not be written down.", exc, private=True)
        with database.statement() as cur:
            chats.hold(cur, part.chat_id, UNWRITABLE_SECONDS)
        return False
    log.info("part_sent", "Sent a message.", part=part.part, parts=part.parts, maybe_repeat=part.repeat)
    return True


def _refused(database: Database, stop: Stop, sender: str, part: outbox.Part, exc: Exception) -> bool:
    """This one will never arrive: the next part goes on without it."""
    reason, excuse = "chat_gone" if isinstance(exc, ChatGone) else "refused", sentences.of(part.language).NOT_TAKEN

    def given_up(cur: Cursor) -> None:
        if outbox.refused(cur, part):
            audit.add(cur, part.correlation_id, audit.SYSTEM, "reply.sent", "failure", reason=reason)
            if reason == "refused" and part.body != excuse:
                outbox.add(cur, sender, part.chat_id, part.correlation_id, [excuse])

    database.insist(stop, given_up)
    if reason == "chat_gone":  # the person blocked the bot, or deleted the account
        log.warning("chat_gone", "The message cannot arrive: the person has left the chat.", exc, part=part.part)
    else:
        private = not isinstance(exc, TelegramError)  # Telegram's words are safe, those of a bug may quote
        log.error("part_refused", "A message can never be sent.", exc, private=private, part=part.part)
    return True


def _later(database: Database, stop: Stop, part: outbox.Part, exc: TelegramError) -> bool:
    """It waits, and so does everything behind it in this chat."""
    seconds = exc.seconds if isinstance(exc, TooFast) else float(min(2**part.attempts, 60))
    unknown = isinstance(exc, FateUnknown)

    def put_back(cur: Cursor) -> None:
        if outbox.not_sent(cur, part, maybe_arrived=unknown):
            chats.hold(cur, part.chat_id, seconds)

    database.insist(stop, put_back)
    log.warning("part_delayed", "A message could not be sent now; it waits.", exc, part=part.part, seconds=seconds)
    return False
