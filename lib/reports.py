"""Reports: what /status and /audit show, put together from the tables. They ask nobody but PostgreSQL."""

from __future__ import annotations

import platform
import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from lib import allowed, audit, credentials, inbox, outbox, parts, processes, unindexed
from lib.config import VERSION, Settings
from lib.db import Cursor, running, server_version
from lib.english import Seen
from lib.parts import Shown
from lib.qdrant import Health
from lib.sentences import Sentences

CORRELATION_ID = re.compile(r"[0-9a-f]{8,32}")  # the beginning of one or the whole, without its dashes
LAST_ACTIONS = 10  # so many /audit shows, of actions and of ids that begin alike
OWN_LINES = ("bot", "postgres", "redis", "qdrant", "telegram", "workers", "claude")  # in /status


def status(
    cur: Cursor,
    settings: Settings,
    say: Sentences,
    actor: audit.Actor,
    redis: bool,
    qdrant: Health | None,
    patience: float,
) -> str:
    """Every part with its state and since when, as it is now; `redis` and `qdrant` as the caller has just found them,
    `patience` the seconds for which healthwatch.py may be silent.

    Whose accounts Steward uses, and what it runs on, is only for the owner.
    """
    silent_for, now = processes.silent_for(cur, processes.WATCH), datetime.now(UTC)
    watched = silent_for is not None and silent_for < patience
    found = parts.load(cur) if watched else {}
    workers = running(cur, "steward-worker")
    seen = [
        Seen(say.BOT, say.WORKS, _since(found, "bot")),
        Seen("PostgreSQL", say.WORKS, _since(found, "postgres")),
        Seen("Redis", say.redis_is(redis), _since(found, "redis", redis)),
    ]
    if qdrant is not None:
        seen.append(Seen("Qdrant", say.QDRANT[qdrant.problem], _since(found, "qdrant", qdrant.problem is None)))
    seen += [
        Seen("Telegram", say.WORKS, _since(found, "telegram")),
        _workers(say, found, workers, settings.timezone, now),
        Seen("Claude", _claude(say, cur, settings)),
    ]
    if actor.kind == "owner":
        seen += _others(say, found, settings.timezone, now)
    seen += [
        Seen(say.HEALTH_WATCH, say.WORKS if watched else say.NOT_WATCHED),
    ]
    text = say.status(seen, settings.timezone, now)
    lines = _for_the_owner(say, cur, settings, found, qdrant.version if qdrant else "") if actor.kind == "owner" else []
    return "\n".join([text, say.queue(*inbox.backlog(cur)), *lines])


def _since(found: dict[str, Shown], part: str, well: bool = True) -> datetime | None:
    """Since when it is so, if healthwatch.py has seen the same."""
    one = found.get(part)
    return one.since if one is not None and one.state == ("up" if well else "down") else None


def _workers(say: Sentences, found: dict[str, Shown], connected: int, zone: ZoneInfo, now: datetime) -> Seen:
    """How many are connected. That one of them hangs only healthwatch.py sees."""
    one = found.get("workers")
    if connected and one is not None and one.state == "down" and one.problem is not None:
        return Seen(say.WORKERS, say.trouble("workers", one.problem, one.detail, zone, now).what, one.since)
    return Seen(say.WORKERS, say.workers_are(connected), _since(found, "workers", connected > 0))


def _others(say: Sentences, found: dict[str, Shown], zone: ZoneInfo, now: datetime) -> list[Seen]:
    """The parts that only healthwatch.py looks at. The two marks of a disk have one name, and one line: the worse."""
    lines: dict[str, Seen] = {}
    for one in sorted(found.values(), key=lambda one: (one.state != "down", one.part)):
        name = say.PARTS.get(one.part, one.part)
        if one.part in OWN_LINES or name in lines:
            continue
        if one.state == "down" and one.problem is not None:
            lines[name] = Seen(name, say.trouble(one.part, one.problem, one.detail, zone, now).what, one.since)
        else:
            lines[name] = Seen(name, say.WORKS if one.state == "up" else say.NOT_SEEN, one.since)
    return list(lines.values())


def _for_the_owner(
    say: Sentences, cur: Cursor, settings: Settings, found: dict[str, Shown], qdrant_version: str
) -> list[str]:
    """What only the owner is shown: the last backup, what the memory lacks, the versions, the credentials."""
    made_at = audit.last_backup(cur)
    waiting = unindexed.count(cur) if settings.qdrant_url else 0
    ago = (datetime.now(UTC) - made_at).total_seconds() if made_at else None
    redis_version = found["redis"].detail.get("version", "") if "redis" in found else ""
    known = {"Steward": VERSION, "PostgreSQL": server_version(cur), "Redis": redis_version, "Qdrant": qdrant_version}
    return [
        say.backup(ago),
        *([say.UNINDEXED.format(count=waiting)] if waiting else []),
        say.versions(known | {"Python": platform.python_version()}),
        *(
            say.standing(row.service, row.account, row.problem, row.hindrance, row.checked_ago, row.ends_in)
            for row in credentials.standings(cur)
            # Telegram's works, or nobody would read this; and Claude has its own line above.
            if row.service != "telegram" and (row.service != "claude" or row.problem or row.ends_in)
        ),
    ]


def _claude(say: Sentences, cur: Cursor, settings: Settings) -> str:
    """How Claude is, as the last requests have shown: nothing is asked for this."""
    if "claude" not in credentials.services(cur):
        return say.FAILURES["no_credential"]
    state, zone = audit.claude_state(cur), settings.timezone
    if state is None:
        return say.NEVER_ASKED
    until = state.until.astimezone(zone) if state.until else None
    return say.claude_state(state.at.astimezone(zone), state.reason, state.since.astimezone(zone), until)


def trail(cur: Cursor, settings: Settings, say: Sentences, asked: str) -> str:
    """What was done lately; of a correlation id, or the beginning of one, the story."""
    digits = asked.lower().replace("-", "")
    if not asked:
        return _last_actions(say, cur, settings.timezone)
    if not CORRELATION_ID.fullmatch(digits):
        return say.AUDIT_NO_ID
    found = audit.ids(cur, digits, LAST_ACTIONS)
    if not found:
        return say.AUDIT_NOT_FOUND
    if len(found) > 1:
        return say.listing(say.AUDIT_SEVERAL, found)
    return _story(say, cur, settings, found[0])


def _last_actions(say: Sentences, cur: Cursor, zone: ZoneInfo) -> str:
    rows = audit.last(cur, LAST_ACTIONS)
    entries = [f"{_action(say, row, zone)}\n{row.correlation_id}" for row in rows]
    return say.listing(say.AUDIT_HEAD.format(zone=zone), entries) if rows else say.AUDIT_EMPTY


def _story(say: Sentences, cur: Cursor, settings: Settings, correlation_id: str) -> str:
    """All that is kept of one id in time order: from the update to what was said, without any text of it."""
    zone, owner_id = settings.timezone, settings.owner_id
    let_in = settings.allowed_user_ids | allowed.load(cur).keys()

    def who(user_id: int | None) -> str:
        if user_id is not None and user_id < 0:
            return say.person("group", user_id)
        actor = audit.actor_of(settings, user_id, user_id in let_in)
        return say.person(actor.kind, actor.id)

    updates = inbox.story(cur, correlation_id)
    events = [
        (row.at, say.received(row.at.astimezone(zone), who(row.user_id), row.kind, row.state, row.attempts))
        for row in updates
    ]
    events += [
        (row.at, _action(say, row, zone) + say.tokens(row.tokens_in, row.tokens_out, row.tokens_cached))
        for row in audit.story(cur, correlation_id)
    ]
    for said in outbox.story(cur, correlation_id):
        at, sent_at = said.at.astimezone(zone), said.sent_at.astimezone(zone) if said.sent_at else None
        to_owner = said.chat_id == owner_id
        alert = to_owner and owner_id not in [row.chat_id for row in updates]
        counts = (said.parts, said.sent, said.refused)
        events.append((said.at, say.said(at, who(said.chat_id), alert, *counts, said.repeat, sent_at)))
    events.sort(key=lambda event: event[0])  # what has the same time stays in this order: it came, was done, was said
    head = say.AUDIT_STORY.format(correlation_id=correlation_id, zone=zone)
    return say.listing(head, [line for _, line in events])


def _action(say: Sentences, row: audit.Row, zone: ZoneInfo) -> str:
    who = say.person(row.actor.kind, row.actor.id)
    at = row.at.astimezone(zone)
    return say.action(at, who, row.action, row.outcome, row.reason, row.model, row.duration_ms)
