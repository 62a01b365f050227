"""The health watch: looks at every part of the house in turn, and tells the owner in Telegram what is wrong.

It needs none of the stores for that: what it remembers is in a file, and it sends its messages itself. lib/incidents.py
decides what is worth a message.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import json
import os
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import schedule

from lib import audit, config, heartbeat, inbox, incidents, log, outbox, parts, processes, qdrant, sentences, web
from lib.bell import Bell, Full, Silent
from lib.caretaker import Caretaker
from lib.checks import Checks
from lib.config import VERSION, Settings
from lib.db import Cursor, Database, Down, server_version
from lib.incidents import Finding, Incident, Letter, Rules, State
from lib.keyring import Locked, open_now
from lib.parts import Shown
from lib.processes import Process
from lib.secret import Secret
from lib.stop import Stop, Stopped, TookTooLong
from lib.telegram import BadToken, FateUnknown, Refused, Telegram, TelegramError, TooFast
from lib.vault import CannotOpen, Vault

ANSWER_SECONDS = 5.0  # at most, for whatever is asked how it is
SEND_SECONDS = 20.0  # for a message to the owner
SILENT_SECONDS = 15.0  # three signs of life that did not come
BROKEN_SECONDS = 30.0  # a promise of a loop, broken by so much
POLL_SECONDS = 90.0  # without a completed getUpdates: three long polls
LATE_SECONDS = 600.0  # without an answer
FILLING, FULL = 80.0, 90.0  # per cent of a disk
CARE_SECONDS = 30
CLEAN_SECONDS = 3600
CLEAN_MISSED_SECONDS = 26 * 3600.0
CLEAN_ROWS = 1000  # of each table at once
PING_SECONDS = 60
UNTOLD_SECONDS = 300.0  # what the owner could not be told for so long, an outside monitor must tell: the pings end
NOT_TAKEN_SECONDS = 600.0  # after Telegram refused a message for good: the owner may have blocked the bot
SAVED_BY_POSTGRES = ("bot", "workers", "polling", "backlog", "claude", "retention")
DEPENDS = {
    **{part: ("postgres",) for part in SAVED_BY_POSTGRES},
    "polling": ("postgres", "telegram", "bot"),
    "backlog": ("postgres", "telegram", "workers"),
    "disk_filling": ("disk",),
}
GENTLE = frozenset({"disk_filling", "retention"})


@dataclass
class Sight:
    """When each process was last seen to move, by name: its count, and time.monotonic(). So no clocks are compared."""

    moved: dict[str, tuple[int, float]] = field(default_factory=dict)
    session: int = 0  # of the database; while it was away nobody could move


@dataclass
class Watch:
    """What the steps below work with."""

    settings: Settings
    stop: Stop
    vault: Vault
    rules: Rules
    bell: Bell
    checks: Checks
    timetable: schedule.Scheduler
    # One for each check that may run beside others.
    database: Database
    care_database: Database
    clean_database: Database
    caretaker: Caretaker
    state: State = field(default_factory=State)
    sight: Sight = field(default_factory=Sight)
    telegram: Telegram | None = None  # None as long as nobody knows the token
    sealed_token: str = ""
    opened: bool = False  # the credentials in PostgreSQL
    cleaned_at: float = 0.0  # `now` of the last complete clean-up
    jumped_at: float = -CLEAN_MISSED_SECONDS  # time.monotonic() when the clock was last set
    clock: float = 0.0  # time.time() minus time.monotonic()
    failures: int = 0  # to send, in a row
    said: deque[tuple[str, Letter]] = field(default_factory=lambda: deque(maxlen=100))  # not yet in the audit trail
    kept: str = ""  # what the file holds

    @property
    def now(self) -> float:
        """Seconds since 1970, by the clock as it was last looked at: all times in `state` are on the same."""
        return time.monotonic() + self.clock

    @property
    def patience(self) -> float:
        """Seconds for an answer."""
        return min(ANSWER_SECONDS, float(self.settings.health_seconds))


def main() -> int:
    log.setup("healthwatch")
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
    log.info("stopped", "The health watch has ended.")
    return 0


def run() -> None:
    """Open what is needed, then look and tell until a stop is asked for. Raises ConfigError, Locked and Stopped."""
    settings = config.load()
    log.hide(settings.secrets)
    heartbeat.keep(settings.heartbeat_file)
    stop, vault, url = Stop(), Vault(settings.master_key), settings.database_url
    care_database = Database(url, "steward-healthwatch-care")
    watch = Watch(
        settings=settings,
        stop=stop,
        vault=vault,
        rules=Rules(settings.health_seconds, DEPENDS, GENTLE),
        bell=Bell(settings.redis_url),
        checks=Checks(),
        timetable=schedule.Scheduler(),
        database=Database(url, "steward-healthwatch"),
        care_database=care_database,
        clean_database=Database(url, "steward-healthwatch-clean"),
        caretaker=Caretaker(settings, care_database, vault, stop),
        clock=time.time() - time.monotonic(),
    )
    become_only_watch(watch)
    remember(watch)
    find_token(watch)
    if not settings.owner_id:
        log.warning("no_owner", "OWNER_ID is empty: nobody is told when something goes wrong.")
    make_timetable(watch)
    log.info("started", "The health watch is ready.", seconds=settings.health_seconds)
    try:
        while not watch.stop:
            heartbeat.beat()
            try:
                look(watch)
                tell(watch)
            except Exception as exc:
                log.error("round_failed", "A round of watching failed; going on.", exc, private=True)
                watch.stop.wait(5.0)
            keep(watch)
            watch.stop.wait(0.1 if watch.checks.busy else min(max(watch.timetable.idle_seconds or 0.0, 0.1), 5.0))
    finally:
        watch.checks.join(15.0)  # a sign-in that is being renewed must not be lost
        keep(watch)


# What it remembers


def become_only_watch(watch: Watch) -> None:
    """Two watches with one memory would tell everything twice: the second waits until the first has gone."""
    try:
        folder = os.open(Path(watch.settings.health_file).parent, os.O_RDONLY)
    except OSError as exc:
        log.warning("no_folder", "The folder of HEALTH_FILE cannot be opened: watching without a memory.", exc)
        return
    while not watch.stop:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            log.warning("another_watch", "Another healthwatch.py uses HEALTH_FILE; waiting until it has ended.")
        heartbeat.beat()
        watch.stop.wait(5.0)
    raise Stopped


def remember(watch: Watch) -> None:
    """Take up what the last watch kept. If that cannot be read, begin anew."""
    path = Path(watch.settings.health_file)
    watch.cleaned_at = now = watch.now
    try:
        kept = json.loads(path.read_text())
        watch.state = incidents.begin(incidents.load(kept["state"]), watched(watch.settings), now)
        watch.sealed_token, watch.cleaned_at = str(kept["token"]), min(float(kept["cleaned_at"]), now)
    except FileNotFoundError:
        log.info("no_memory", "There is nothing kept from an earlier watch.")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        log.warning("memory_unreadable", "What the last watch kept cannot be read: beginning anew.", exc)


def keep(watch: Watch) -> None:
    """Write down what must outlive a restart, when it has changed. Without room for it the watch goes on."""
    state = {"state": incidents.dump(watch.state), "token": watch.sealed_token, "cleaned_at": watch.cleaned_at}
    kept = json.dumps(state)
    if kept == watch.kept:
        return
    path = Path(watch.settings.health_file)
    new = path.with_name(path.name + ".new")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(kept)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as exc:
        log.warning("not_kept", "HEALTH_FILE cannot be written: a restart would forget what was told.", exc)
    watch.kept = kept


def watched(settings: Settings) -> set[str]:
    """The parts this house has."""
    parts_here = {"postgres", "redis", "telegram", "keys", "disk", "disk_filling", *SAVED_BY_POSTGRES}
    return parts_here | ({"qdrant"} if settings.qdrant_url else set())


def find_token(watch: Watch) -> None:
    """Learn the token before the first check. Raises Locked when nobody could be told that something is wrong."""
    entered = next((entry.token for entry in watch.settings.entries if entry.service == "telegram"), None)
    try:
        open_credentials(watch, watch.database)
        return
    except Down as exc:
        log.warning("database_away", "PostgreSQL does not answer; watching without it.", exc)
        token = entered or kept_token(watch)
    except Locked as exc:
        if entered is None:
            raise
        log.error("locked", str(exc))
        token = entered
    if token is None:
        log.warning("no_token", "Nobody can be told anything yet: only PostgreSQL knows the token.")
    else:
        log.hide([token.reveal()])
        watch.telegram = Telegram(token, watch.settings.telegram_api_url)


def open_credentials(watch: Watch, database: Database) -> None:
    """Take the token from PostgreSQL, and keep it, sealed, for a start without. Raises Down and Locked."""
    token = open_now(watch.settings, database).need("telegram").token
    sealed = watch.vault.seal(token, "healthwatch", "telegram", "token")
    watch.sealed_token = base64.b64encode(sealed).decode()
    watch.telegram = Telegram(token, watch.settings.telegram_api_url)
    watch.opened = True


def kept_token(watch: Watch) -> Secret | None:
    """The token that the last watch kept, sealed with the master key."""
    try:
        return watch.vault.open(base64.b64decode(watch.sealed_token), "healthwatch", "telegram", "token")
    except (CannotOpen, binascii.Error):
        return None


# Looking


def make_timetable(watch: Watch) -> None:
    """When is looked at what; everything at once to begin with."""
    watch.timetable.clear()
    for name, seconds, begin in (
        ("postgres", watch.settings.health_seconds, begin_postgres),
        ("redis", watch.settings.health_seconds, begin_redis),
        ("qdrant", watch.settings.health_seconds, begin_qdrant),
        ("telegram", watch.settings.health_seconds, begin_telegram),
        ("disk", watch.settings.health_seconds, begin_disk),
        ("keys", CARE_SECONDS, begin_care),
        ("clean", CLEAN_SECONDS, begin_clean),
        ("ping", PING_SECONDS, begin_ping),
    ):
        watch.timetable.every(seconds).seconds.do(shielded, name, begin, watch).tag(name)
    watch.timetable.run_all()


def shielded(name: str, begin: Callable[[Watch], None], watch: Watch) -> None:
    """An error that leaves a job would starve all the others for ever: schedule begins with it again each time."""
    try:
        begin(watch)
    except Exception as exc:
        log.error("job_failed", "A check could not be begun; going on with the others.", exc, job=name)


def look(watch: Watch) -> None:
    """Begin what is due, and take in what was found."""
    mind_the_clock(watch)
    watch.timetable.run_pending()
    found = sorted(watch.checks.collect(), key=lambda finding: finding.part in DEPENDS)  # the others come first
    if not found:
        watch.state = incidents.advance(watch.state, [], watch.now, watch.rules)
        return
    before = watch.state
    watch.state = incidents.advance(before, found, watch.now, watch.rules)
    report(before, watch.state)
    # What the next check decides is not left waiting for its turn.
    now, pause = datetime.now(), timedelta(seconds=watch.settings.health_seconds / 2)  # naive, as schedule has it
    for part in incidents.undecided(watch.state):
        name = "postgres" if part in SAVED_BY_POSTGRES else part.removesuffix("_filling")
        for job in watch.timetable.get_jobs(name):
            soon = max(job.last_run or now, now - pause) + pause  # it may have waited long for its answer
            job.next_run = min(job.next_run or soon, soon)


def mind_the_clock(watch: Watch) -> None:
    """When the clock is set, all that is remembered moves along with `watch.now`; and schedule, which goes by local
    time, begins anew: else an hour set back (also by summer time) would be an hour without a check."""
    clock = time.time() - time.monotonic()
    jump, watch.clock = clock - watch.clock, clock
    if abs(jump) > 2.0:
        log.warning("clock_set", "The clock was set.", seconds=round(jump))
        watch.state = incidents.shifted(watch.state, jump)
        watch.state = incidents.doubt(watch.state, ("backlog", "retention"), watch.now)
        watch.cleaned_at += jump
        watch.jumped_at = time.monotonic()
    if abs(jump) > 2.0 or (watch.timetable.idle_seconds or 0.0) > max(watch.settings.health_seconds, CARE_SECONDS) + 1:
        make_timetable(watch)


def report(before: State, after: State) -> None:
    """Log what has changed."""
    for name, part in after.parts.items():
        was_down = name in before.parts and before.parts[name].down
        if part.down and not was_down:
            log.error("part_down", "A part of the house does not work.", part=name, problem=part.problem)
        elif was_down and not part.down:
            log.info("part_up", "A part of the house works again.", part=name)


def begin_postgres(watch: Watch) -> None:
    shown = [
        Shown(
            name,
            "down" if part.down else "unknown" if part.since is None else "up",
            datetime.fromtimestamp(part.since, UTC) if part.since is not None else None,
            part.problem if part.down else None,
            part.detail,
        )
        for name, part in watch.state.parts.items()
    ]
    watch.checks.start("postgres", partial(check_postgres, watch, shown), watch.patience, ("postgres",))


def check_postgres(watch: Watch, shown: list[Shown]) -> list[Finding]:
    """Write down how everything stands, which is the trial of PostgreSQL; and read there how the scripts are."""
    said = list(watch.said)
    try:
        with watch.database.transaction() as cur:
            parts.keep(cur, shown)
            for correlation_id, letter in said:
                detail = {"incident": letter.incident, "kind": letter.kind, "edited": letter.edit is not None}
                audit.add(cur, correlation_id, audit.SYSTEM, "alert.sent", detail=detail)
            found = [Finding("postgres", None, {"version": server_version(cur)}), *read_ledger(cur, watch)]
        with watch.database.statement() as cur:
            processes.beat(cur, processes.WATCH, processes.WATCH, VERSION)
    except Down as exc:
        log.warning("database_away", "PostgreSQL does not answer.", exc)
        return [Finding("postgres", "no_answer")]
    for _ in said:
        watch.said.popleft()
    return found


def read_ledger(cur: Cursor, watch: Watch) -> list[Finding]:
    """What PostgreSQL tells of the others."""
    seen = processes.load(cur)
    bots, workers = (living(seen, service, watch) for service in ("bot", "worker"))
    waiting, oldest = inbox.backlog(cur)
    late = max(oldest, outbox.oldest(cur)) > LATE_SECONDS
    asked, now = audit.claude_state(cur), datetime.now(UTC)
    until = asked.until if asked else None
    silent_claude = asked is not None and asked.reason is not None and not (until and until <= now)
    age = audit.oldest(cur) or 0.0
    dirty = age > (watch.settings.audit_days + 1) * 86400 or watch.now - watch.cleaned_at > CLEAN_MISSED_SECONDS
    return [
        found_of("bot", bots),
        found_of("workers", workers),
        polling(bots),
        Finding("backlog", "late" if late else None, {"waiting": waiting}),
        Finding("claude", asked.reason, {"until": until.isoformat() if until else None})
        if asked and silent_claude
        else Finding("claude"),
        Finding("retention", "late" if dirty else None),
    ]


def living(seen: list[Process], service: str, watch: Watch) -> list[tuple[Process, bool]]:
    """The processes of this service, and whether each lives and its loop keeps its promises."""
    sight, now = watch.sight, time.monotonic()
    if sight.session != watch.database.session:
        sight.session, sight.moved = watch.database.session, {}
    found = []
    for process in seen:
        if process.service == service:
            if sight.moved.get(process.name, (-1, 0.0))[0] != process.beats:
                sight.moved[process.name] = (process.beats, now)
            moves = now - sight.moved[process.name][1] <= SILENT_SECONDS
            found.append((process, moves and process.promised > -BROKEN_SECONDS))
    return found


def found_of(part: str, found: list[tuple[Process, bool]]) -> Finding:
    silent = sum(not lives for _, lives in found)
    detail = {"silent": silent, "of": len(found), "version": found[0][0].version if found else ""}
    if not found:
        return Finding(part, "missing", detail)
    if silent == len(found):
        return Finding(part, "silent", detail)
    return Finding(part, "some_silent" if silent and part == "workers" else None, detail)


def polling(bots: list[tuple[Process, bool]]) -> Finding:
    """Whether the bot, which lives, also gets what people write."""
    ages = [(bot.polled_ago or 0.0, bot.trouble) for bot, lives in bots if lives]
    age, why = min(ages, key=lambda one: one[0], default=(0.0, None))
    return Finding("polling", (why or "no_updates") if age > POLL_SECONDS else None)


def begin_redis(watch: Watch) -> None:
    watch.checks.start("redis", partial(check_redis, watch.bell), watch.patience, ("redis",))


def check_redis(bell: Bell) -> list[Finding]:
    try:
        return [Finding("redis", None, {"version": bell.try_out()})]
    except Full:
        return [Finding("redis", "full")]
    except Silent:
        return [Finding("redis", "no_answer")]


def begin_qdrant(watch: Watch) -> None:
    if watch.settings.qdrant_url:
        watch.checks.start("qdrant", partial(check_qdrant, watch.settings), watch.patience, ("qdrant",))


def check_qdrant(settings: Settings) -> list[Finding]:
    health = qdrant.check(settings.qdrant_url, settings.qdrant_api_key, ANSWER_SECONDS)
    return [Finding("qdrant", health.problem, {"version": health.version, "points": health.points})]


def begin_telegram(watch: Watch) -> None:
    if watch.telegram is not None:
        watch.checks.start("telegram", partial(check_telegram, watch.telegram), watch.patience, ("telegram",))


def check_telegram(telegram: Telegram) -> list[Finding]:
    try:
        telegram.check(ANSWER_SECONDS)
    except BadToken:
        return [Finding("telegram", "refused")]
    except TooFast:
        pass  # it answers
    except TelegramError:
        return [Finding("telegram", "no_answer")]
    return [Finding("telegram")]


def begin_disk(watch: Watch) -> None:
    paths = watch.settings.disk_paths
    watch.checks.start("disk", partial(check_disks, paths), watch.patience, ("disk", "disk_filling"))


def check_disks(paths: tuple[str, ...]) -> list[Finding]:
    """How full each disk is on which one of these folders is; a disk with several of them counts once."""
    shares: dict[int, tuple[str, float]] = {}
    for path in paths:
        try:
            shares.setdefault(os.stat(path).st_dev, (path, share_used(path)))
        except OSError:
            return [Finding("disk", "no_folder", {"disks": {path: ""}})]
    over = [
        {path: f"({share:.0f} %)" for path, share in shares.values() if share >= limit} for limit in (FULL, FILLING)
    ]
    return [
        Finding("disk", "full" if over[0] else None, {"disks": over[0]}),
        Finding("disk_filling", "filling" if over[1] else None, {"disks": over[1]}),
    ]


def share_used(path: str) -> float:
    """Per cent of the room, or of the number of files, that is used: as df counts, without what only root may use."""
    disk = os.statvfs(path)
    room, files = disk.f_blocks - disk.f_bfree + disk.f_bavail, disk.f_files - disk.f_ffree + disk.f_favail
    return max(100.0 * (1 - disk.f_bavail / room) if room else 0.0, 100.0 * (1 - disk.f_favail / files) if files else 0)


# Looking after


def begin_care(watch: Watch) -> None:
    watch.checks.start("keys", partial(take_care, watch), 600.0)


def take_care(watch: Watch) -> list[Finding]:
    """Check the credentials that are due. What is wrong with one of them the bot tells, once."""
    try:
        if not watch.opened:
            open_credentials(watch, watch.care_database)
        while not watch.stop and watch.caretaker.look():
            pass
    except Down:
        return []
    except Locked as exc:
        log.error("locked", str(exc))
        return [Finding("keys", "wrong")]
    return [Finding("keys")]


def begin_clean(watch: Watch) -> None:
    if time.monotonic() - watch.jumped_at > CLEAN_MISSED_SECONDS:  # by a wrong clock everything may look old
        watch.checks.start("clean", partial(clean, watch), 3600.0)


def clean(watch: Watch) -> list[Finding]:
    """Remove what is older than AUDIT_DAYS, a little at a time."""
    counts, database = {"audit_rows": 0, "updates": 0, "parts": 0}, watch.clean_database
    try:
        while not watch.stop:
            began = time.monotonic()
            with database.statement() as cur:
                removed = asdict(audit.remove_old(cur, watch.settings.audit_days, CLEAN_ROWS))
            if not any(removed.values()):
                break
            counts = {name: counts[name] + removed[name] for name in counts}
            # Half of the time is for the others; beside a backup that runs, a batch may take a second.
            watch.stop.wait(max(time.monotonic() - began, 0.02))
        with database.transaction() as cur:
            processes.forget(cur)
            if any(counts.values()):
                audit.add(cur, str(uuid.uuid4()), audit.SYSTEM, "retention.removed", detail=counts)
    except Down as exc:
        log.warning("database_away", "PostgreSQL does not answer; old rows are removed later.", exc)
        return []
    log.info("old_rows_removed", "Removed what is older than AUDIT_DAYS.", **counts)
    watch.cleaned_at = watch.now
    return []


def begin_ping(watch: Watch) -> None:
    """Tell an outside monitor that the watch lives and can be heard."""
    url, untold = watch.settings.health_ping_url, incidents.untold_since(watch.state)
    mute = watch.telegram is None or (untold is not None and watch.now - untold > UNTOLD_SECONDS)
    if url is not None and not mute:
        watch.checks.start("ping", partial(ping, url), 15.0)


def ping(url: Secret) -> list[Finding]:
    try:
        status = web.ask("GET", url.reveal()).status
    except web.NoAnswer as exc:
        log.warning("ping_failed", "HEALTH_PING_URL does not answer.", exc)
        return []
    if status >= 400:
        log.warning("ping_refused", "HEALTH_PING_URL does not take the ping: is the address right?", status=status)
    return []


# Telling


def tell(watch: Watch) -> None:
    """Say what the owner is owed now."""
    while watch.settings.owner_id and watch.telegram is not None and not watch.stop:
        now = watch.now
        write = partial(text_of, watch.settings, now)
        letter = incidents.next_letter(watch.state, now, watch.rules, write)
        if letter is None:
            watch.state = incidents.forget(watch.state, now, watch.rules, write)
            return
        send(watch, watch.telegram, letter)
        keep(watch)


def text_of(settings: Settings, now: float, incident: Incident, kind: str) -> str:
    write = {"bad": sentences.bad_news, "good": sentences.good_news, "reminder": sentences.reminder}[kind]
    return write(incident, settings.timezone, datetime.fromtimestamp(now, UTC))


def send(watch: Watch, telegram: Telegram, letter: Letter) -> None:
    """Send or edit one message. It counts as said only when Telegram took it."""
    now, chat_id = watch.now, watch.settings.owner_id
    watch.state = incidents.leaving(watch.state, letter, now)
    keep(watch)
    text = sentences.REPEAT_MARK + letter.text if letter.repeat else letter.text
    correlation_id = str(uuid.uuid4())
    with log.about(correlation_id=correlation_id):
        try:
            with watch.stop.interruptible(within=2.0, at_most=SEND_SECONDS):
                if letter.edit is None:
                    message_id = telegram.send(chat_id, text)
                else:
                    message_id = letter.edit
                    telegram.edit(chat_id, message_id, text)
        except (TelegramError, TookTooLong) as exc:
            not_sent(watch, letter, exc)
            return
        watch.failures = 0
        watch.state = incidents.arrived(watch.state, letter, message_id, watch.now)
        watch.said.append((correlation_id, letter))
        log.info("owner_told", "Told the owner.", incident=letter.incident, kind=letter.kind)


def not_sent(watch: Watch, letter: Letter, exc: TelegramError | TookTooLong) -> None:
    """It waits. Only an edit that Telegram will never take is given up: the message is gone."""
    now, edit = watch.now, letter.edit
    if isinstance(exc, Refused) and edit is not None:
        watch.state = incidents.arrived(watch.state, letter, edit, now)
        return
    if isinstance(exc, Refused):  # the owner has blocked the bot, or never written to it
        seconds = NOT_TAKEN_SECONDS
    elif isinstance(exc, TooFast):
        seconds = exc.seconds
    else:
        watch.failures += 1
        seconds = min(2.0**watch.failures, 60.0)
    unknown = isinstance(exc, FateUnknown | TookTooLong)
    watch.state = incidents.held_up(watch.state, letter, now + seconds, unknown=unknown)
    log.warning("owner_not_told", "The owner could not be told; it waits.", exc, seconds=seconds, kind=letter.kind)


if __name__ == "__main__":
    sys.exit(main())
