"""Saying things: what the bot and the worker share of it.

deliver() is the one step of lib that commits by itself: a part is marked before the request leaves and after the
answer came, each in its own transaction, or a crash in between could not be told from one that never happened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lib import alerts, audit, chats, heartbeat, log, markdown, outbox, sentences
from lib.db import Cursor, Database, Down
from lib.outbox import Part
from lib.sentences import Sentences
from lib.stop import Stop
from lib.telegram import ChatGone, FateUnknown, Moved, Refused, Telegram, TelegramError, TooFast
from lib.text import split, units

MOST_ERRORS = 3
STOP_SECONDS = 8.0  # how long after a stop a send may still wait; with db.DEADLINE it stays under 20
UNWRITABLE_SECONDS = 300.0
ANSWER_FILE = "answer.md"  # what Telegram takes in no other form
SHORTEST = 500  # UTF-16 units; a text that is too long even so is sent as a file
UNEDITABLE = ("message to edit not found", "message can't be edited", "MESSAGE_ID_INVALID")


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
            part, left = outbox.begin(cur, sender, chat_id)
        if part is None:
            return not left  # Telegram may have asked somebody else to wait meanwhile: a draft, or the other sender
        if part.gone:
            database.insist(stop, lambda cur: _give_up_all(cur, sender, chat_id))
            return True
        with log.about(correlation_id=part.correlation_id, chat_id=chat_id):
            if not _send(database, telegram, stop, sender, part):
                return False
    return False


def _send(database: Database, telegram: Telegram, stop: Stop, sender: str, part: Part) -> bool:
    """Send one part, after each refusal in a simpler form."""
    while True:
        try:
            message_id = _hand_over(telegram, stop, part)
        except ChatGone as exc:
            return _gone(database, stop, sender, part, exc)
        except Moved as exc:
            return _moved(database, stop, sender, part, exc)
        except Refused as exc:
            part = replace(part, repeat=part.repeat or exc.partly)
            simpler = _simpler(part, exc)
            if simpler is None or not _reshaped(database, stop, simpler, exc):
                return _refused(database, stop, sender, part, exc)
            part = simpler
        except TelegramError as exc:
            return _later(database, stop, part, exc)
        except Exception as exc:  # our bug: two more tries, then what comes behind it goes on
            if part.attempts < MOST_ERRORS:
                raise
            return _refused(database, stop, sender, part, exc)
        else:
            return _arrived(database, stop, part, message_id)


def _hand_over(telegram: Telegram, stop: Stop, part: Part) -> int:
    """Give the part to Telegram in its present form; the id of the message. Raises TelegramError and Stopped."""
    # An edit changes nothing the second time.
    mark = sentences.of(part.language).REPEAT_MARK if part.repeat and not part.edits else ""
    with stop.interruptible(within=STOP_SECONDS):
        if part.document:
            data = part.body.encode()
            return telegram.send_document(part.chat_id, part.document, data, mark.strip(), part.reply_to)
        text, entities = markdown.render(part.body) if part.markdown else (part.body, [])
        if part.edits:
            telegram.edit(part.chat_id, part.edits, text, entities, part.buttons)
            return part.edits
        moved = [{**entity, "offset": entity["offset"] + units(mark)} for entity in entities]
        try:
            return telegram.send(part.chat_id, mark + text, moved, part.buttons, part.reply_to)
        except Refused as exc:
            if part.markdown or "too long" not in str(exc):
                raise
    log.warning("form_refused", "Telegram finds a message too long; it goes out in smaller parts.", form="parts")
    return _in_halves(telegram, stop, part, mark + text, units(mark + text))


def _in_halves(telegram: Telegram, stop: Stop, part: Part, text: str, refused: int) -> int:
    """Send a text in about two messages instead of the one that was refused, and so on with these where need be."""
    message_id, halves = 0, split(text, refused * 3 // 5 + 1)
    for number, half in enumerate(halves, 1):
        last = number == len(halves)
        try:
            with stop.interruptible(within=STOP_SECONDS):
                message_id = telegram.send(part.chat_id, half, (), part.buttons if last else None, part.reply_to)
        except TelegramError as exc:
            if not isinstance(exc, Refused) or "too long" not in str(exc) or units(half) <= SHORTEST:
                exc.partly = number > 1
                raise
            try:
                message_id = _in_halves(telegram, stop, part, half, units(half))
            except TelegramError as inner:
                inner.partly = inner.partly or number > 1
                raise
    return message_id


def _simpler(part: Part, exc: Refused) -> Part | None:
    """The next form after a refusal, never the same again; None: there is none."""
    if part.edits and any(reason in str(exc) for reason in UNEDITABLE):
        return replace(part, edits=None)
    if part.markdown:
        return replace(part, markdown=False)
    if part.document or part.body == sentences.of(part.language).NOT_TAKEN:
        return None
    return replace(part, document=ANSWER_FILE, edits=None)


def _form(part: Part) -> str:
    return "file" if part.document else "markdown" if part.markdown else "plain"


def _reshaped(database: Database, stop: Stop, part: Part, exc: Refused) -> bool:
    """Kept before it is tried, so that after a crash, too, the refused form is not sent again."""

    def keep(cur: Cursor) -> bool:
        if not outbox.reshaped(cur, part):
            return False
        detail = {"part": part.part, "form": _form(part)}
        audit.add(cur, part.correlation_id, audit.SYSTEM, "reply.reshaped", reason="refused", detail=detail)
        return True

    kept = database.insist(stop, keep)
    log.warning("form_refused", "Telegram refused a form; the next one follows.", exc, part=part.part, form=_form(part))
    return kept


def _arrived(database: Database, stop: Stop, part: Part, message_id: int) -> bool:
    def arrived(cur: Cursor) -> None:
        if outbox.sent(cur, part, message_id) and part.part == part.parts:
            detail = {"parts": part.parts, "maybe_repeat": part.repeat, "form": _form(part)}
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


def _refused(database: Database, stop: Stop, sender: str, part: Part, exc: Exception) -> bool:
    """This one will never arrive: the next part goes on without it."""
    excuse = sentences.of(part.language).NOT_TAKEN

    def given_up(cur: Cursor) -> None:
        if outbox.refused(cur, part):
            audit.add(cur, part.correlation_id, audit.SYSTEM, "reply.sent", "failure", reason="refused")
            if part.body != excuse:
                outbox.add(cur, sender, part.chat_id, part.correlation_id, [excuse])

    database.insist(stop, given_up)
    private = not isinstance(exc, TelegramError)  # Telegram's words are safe, those of a bug may quote
    log.error("part_refused", "A message can never be sent.", exc, private=private, part=part.part)
    return True


def _gone(database: Database, stop: Stop, sender: str, part: Part, exc: ChatGone) -> bool:
    """The person blocked the bot or deleted the account, or the group put it out: nothing will arrive there."""

    def given_up(cur: Cursor) -> None:
        chats.gone(cur, part.chat_id)
        _give_up_all(cur, sender, part.chat_id)

    database.insist(stop, given_up)
    log.warning("chat_gone", "The message cannot arrive: the person has left the chat.", exc, part=part.part)
    return True


def _give_up_all(cur: Cursor, sender: str, chat_id: int) -> None:
    """Refuse whatever waits for a chat that is gone, with one audit row, under the id of the first."""
    if given_up := outbox.refuse_all(cur, sender, chat_id):
        detail = {"parts": len(given_up)}
        audit.add(cur, given_up[0], audit.SYSTEM, "reply.sent", "failure", reason="chat_gone", detail=detail)


def _moved(database: Database, stop: Stop, sender: str, part: Part, exc: Moved) -> bool:
    """The group has another id now. Who sends looks for open chats anyway, and finds the new one, with its own lock."""
    database.insist(stop, lambda cur: outbox.move(cur, sender, part.chat_id, exc.new_id))
    log.warning("chat_moved", "The group has become a supergroup; what waits goes there.", exc, new_id=exc.new_id)
    return True


def _later(database: Database, stop: Stop, part: Part, exc: TelegramError) -> bool:
    """It waits, and so does everything behind it in this chat."""
    seconds = exc.seconds if isinstance(exc, TooFast) else float(min(2**part.attempts, 60))
    unknown = isinstance(exc, FateUnknown) or exc.partly

    def put_back(cur: Cursor) -> None:
        if outbox.not_sent(cur, part, maybe_arrived=unknown):
            chats.hold(cur, part.chat_id, seconds)

    database.insist(stop, put_back)
    log.warning("part_delayed", "A message could not be sent now; it waits.", exc, part=part.part, seconds=seconds)
    return False
