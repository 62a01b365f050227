"""The lookout: one look at each part of the house, and what was found. It runs in threads, each with what it needs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from lib import audit, chats, inbox, log, outbox, parts, processes, qdrant
from lib.bell import Bell, Full, Silent
from lib.config import Settings
from lib.db import Cursor, Database, Down, NoTables
from lib.incidents import Finding, Part
from lib.parts import Shown
from lib.processes import Process
from lib.telegram import BadToken, Telegram, TelegramError, TooFast

ANSWER_SECONDS = 5.0  # at most, for any one look
SILENT_SECONDS = 15.0  # three signs of life that did not come
BEGINNING_SECONDS = 60.0  # who dies and begins anew for longer than this is as good as dead
BROKEN_SECONDS = 30.0  # a promise of a loop, broken by so much
UNPOLLED_SECONDS = 90.0  # without a completed getUpdates: more than three long polls
LATE_SECONDS = 600.0  # without an answer
FILLING, FULL = 80.0, 90.0  # per cent of a disk
IN_POSTGRES = ("bot", "workers", "polling", "backlog", "claude", "retention")  # what is only known from there


@dataclass(frozen=True)
class Said:
    """A message of the health watch that the owner got."""

    correlation_id: str
    incident: int
    kind: str
    edited: bool


class Ledger:
    """What PostgreSQL shows. Writing down there how everything stands is at the same time its own trial."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.language = ""  # the owner's, as it was last read
        self._database = Database(settings.database_url, "steward-healthwatch")
        self._session, self._session_at = 0, 0.0  # the connection, and since when by time.monotonic()
        self._pulses: dict[str, _Pulse] = {}  # by name
        self._alive_at: dict[str, float] = {}  # by part: when one of them was last seen to live

    def look(self, stands: dict[str, Part], said: Iterable[Said], uncleaned: bool) -> list[Finding]:
        """Keep how all parts stand and what was said, then read how the scripts are. `uncleaned`: old rows should have
        been removed, and were not."""
        try:
            with self._database.statement() as cur:  # apart: it does not wait for the disk, and the trial must
                processes.beat(cur, processes.WATCH, processes.WATCH)
            with self._database.transaction() as cur:
                parts.keep(cur, [_shown(name, part) for name, part in stands.items()])
                for one in said:
                    detail = {"incident": one.incident, "kind": one.kind, "edited": one.edited}
                    audit.add(cur, one.correlation_id, audit.SYSTEM, "alert.sent", detail=detail)
                return [Finding("postgres"), *self._read(cur, uncleaned)]
        except NoTables as exc:
            log.error("no_tables", "The tables are not those of these scripts: run schema.sql.", exc)
            return [Finding("postgres", "no_tables")]
        except Down as exc:
            log.warning("database_away", "PostgreSQL does not answer.", exc)
            return [Finding("postgres", "no_answer")]

    def _read(self, cur: Cursor, uncleaned: bool) -> list[Finding]:
        seen = processes.load(cur)
        self.language = chats.language(cur, self._settings.owner_id)
        bots, workers = (self._living(seen, service) for service in ("bot", "worker"))
        late = max(inbox.backlog(cur)[1], outbox.oldest(cur)) > LATE_SECONDS
        too_old = (audit.oldest(cur) or 0.0) > (self._settings.audit_days + 1) * 86400
        return [
            *self._alive("bot", bots),
            *self._alive("workers", workers),
            _polling(bots),
            Finding("backlog", "late" if late else None),
            _claude(audit.claude_state(cur)),
            Finding("retention", "late" if too_old or uncleaned else None),
        ]

    def _living(self, seen: list[Process], service: str) -> list[tuple[Process, bool | None]]:
        """The processes of this service, and whether each lives and its loop keeps its promises; None: too early to
        say."""
        now = time.monotonic()
        if self._session != self._database.session:  # while the database was away nobody could move
            self._session, self._session_at, self._pulses = self._database.session, now, {}
        found: list[tuple[Process, bool | None]] = []
        for process in seen:
            if process.service == service:
                pulse = self._pulses.setdefault(process.name, _Pulse(process.beats, now))
                lives = pulse.moves(process.beats, now)
                found.append((process, lives and process.promised > -BROKEN_SECONDS))
        return found

    def _alive(self, part: str, found: list[tuple[Process, bool | None]]) -> list[Finding]:
        """Whether all of them live. Who has just begun is given a moment, but not again and again."""
        now = time.monotonic()
        patient = now - max(self._alive_at.get(part, 0.0), self._session_at) <= BEGINNING_SECONDS
        # A crash of PostgreSQL wipes them out, and they need a moment to write again.
        wiped_out = not found and now - self._session_at <= SILENT_SECONDS
        if wiped_out or (patient and any(lives is None for _, lives in found)):
            return []
        silent = sum(not lives for _, lives in found)
        if silent == len(found):
            return [Finding(part, "silent" if found else "missing")]
        self._alive_at[part] = now
        some = "some_silent" if silent and part == "workers" else None
        return [Finding(part, some, {"silent": silent, "of": len(found)})]


class _Pulse:
    """When one process was last seen to move, by our own clock: those who are watched may have another."""

    def __init__(self, beats: int, now: float) -> None:
        self._beats, self._at, self._has_moved = beats, now, False

    def moves(self, beats: int, now: float) -> bool | None:
        """None: it was seen for the first time less than SILENT_SECONDS ago, and has not moved since."""
        if beats != self._beats:
            self._beats, self._at, self._has_moved = beats, now, True
        if now - self._at > SILENT_SECONDS:
            return False
        return True if self._has_moved else None


def redis(bell: Bell) -> list[Finding]:
    try:
        return [Finding("redis", None, {"version": bell.try_out()})]
    except Full:
        return [Finding("redis", "full")]
    except Silent:
        return [Finding("redis", "no_answer")]


def vectors(settings: Settings) -> list[Finding]:
    """Qdrant, where there is one."""
    if not settings.qdrant_url:
        return []
    health = qdrant.check(settings.qdrant_url, settings.qdrant_api_key, ANSWER_SECONDS)
    return [Finding("qdrant", health.problem, {"version": health.version, "points": health.points})]


def telegram(client: Telegram | None) -> list[Finding]:
    """None as long as nobody knows the token."""
    if client is None:
        return []
    try:
        client.check(ANSWER_SECONDS)
    except BadToken:
        return [Finding("telegram", "refused")]
    except TooFast:
        pass  # it answers
    except TelegramError:
        return [Finding("telegram", "no_answer")]
    return [Finding("telegram")]


def disks(paths: tuple[str, ...]) -> list[Finding]:
    """How full each disk is on which one of these folders is; a disk with several of them counts once."""
    shares: dict[int, tuple[str, float]] = {}
    for path in paths:
        try:
            shares.setdefault(os.stat(path).st_dev, (path, _share_used(path)))
        except OSError:
            return [Finding("disk", "no_folder", {"disks": {path: ""}})]
    full, filling = (
        {path: f"({share:.0f} %)" for path, share in shares.values() if share >= limit} for limit in (FULL, FILLING)
    )
    return [
        Finding("disk", "full" if full else None, {"disks": full}),
        Finding("disk_filling", "filling" if filling else None, {"disks": filling}),
    ]


def _shown(name: str, part: Part) -> Shown:
    state = "down" if part.down else "unknown" if part.since is None else "up"
    since = datetime.fromtimestamp(part.since, UTC) if part.since is not None else None
    return Shown(name, state, since, part.problem if part.down else None, part.detail)


def _polling(bots: list[tuple[Process, bool | None]]) -> Finding:
    """Whether the bot, which lives, also gets what people write."""
    ages = [(bot.polled_ago or 0.0, bot.trouble) for bot, lives in bots if lives]
    age, why = min(ages, key=lambda one: one[0], default=(0.0, None))
    return Finding("polling", (why or "no_updates") if age > UNPOLLED_SECONDS else None)


def _claude(last: audit.ClaudeState | None) -> Finding:
    """How the last real request ended. Once the time is over that Claude itself named, it counts as well."""
    if last is None or last.reason is None or (last.until is not None and last.until <= datetime.now(UTC)):
        return Finding("claude")
    return Finding("claude", last.reason, {"until": last.until.isoformat() if last.until else None})


def _share_used(path: str) -> float:
    """Per cent of the room, or of the number of files, that is used: as df counts, without what only root may use."""
    disk = os.statvfs(path)
    room, files = disk.f_blocks - disk.f_bfree + disk.f_bavail, disk.f_files - disk.f_ffree + disk.f_favail
    return max(100.0 * (1 - disk.f_bavail / room) if room else 0.0, 100.0 * (1 - disk.f_favail / files) if files else 0)
