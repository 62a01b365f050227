"""The health watch: looks at every part of the house in turn, and tells the owner in Telegram what is wrong.

It needs none of the stores for that: what it remembers is in a file, and it sends its messages itself. lib/lookout.py
says what is found of a part, lib/incidents.py what is worth a message.
"""

from __future__ import annotations

import base64
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import schedule

from lib import audit, config, heartbeat, incidents, log, lookout, processes, sentences, web
from lib.bell import Bell
from lib.caretaker import Caretaker
from lib.checks import Checks
from lib.config import Settings
from lib.db import Database, Down
from lib.diary import Diary
from lib.incidents import Finding, Incident, Letter, Rules, State
from lib.keyring import Locked, open_now
from lib.lookout import IN_POSTGRES, Ledger, Said
from lib.secret import Secret
from lib.stop import Stop, Stopped, TookTooLong
from lib.telegram import FateUnknown, Refused, Telegram, TelegramError, TooFast
from lib.vault import CannotOpen, Vault

SEND_SECONDS = 20.0  # for a message to the owner
CARE_SECONDS, MOST_CARE_SECONDS = 30, 600.0
CLEAN_SECONDS = 3600
CLEAN_ROWS = 1000  # of each table at once
UNCLEANED_SECONDS = 26 * 3600.0
SET_CLOCK_SECONDS = 20 * 3600.0  # after the clock was set by an hour or more nothing is removed: all may look old
PING_SECONDS = 60
UNTOLD_SECONDS = 300.0  # what the owner could not be told for so long, an outside monitor must tell: the pings end
NOT_TAKEN_SECONDS = 60.0  # after Telegram refused a message for good: the owner may have blocked the bot
DEPENDS = {
    **{part: ("postgres",) for part in IN_POSTGRES},
    "polling": ("postgres", "telegram", "bot"),
    "backlog": ("postgres", "telegram", "workers"),
    "disk_filling": ("disk",),
}
GENTLE = frozenset({"disk_filling", "retention", "claude"})
PLACE = ("healthwatch", "telegram", "token")  # what the token in the diary is sealed for


@dataclass
class Watch:
    """What the steps below work with."""

    settings: Settings
    stop: Stop
    vault: Vault
    rules: Rules
    diary: Diary
    checks: Checks
    timetable: schedule.Scheduler
    # Whoever may run beside others has a connection of its own.
    ledger: Ledger
    bell: Bell
    care_database: Database
    clean_database: Database
    caretaker: Caretaker
    state: State = field(default_factory=State)
    telegram: Telegram | None = None  # None as long as nobody knows the token
    sealed_token: str = ""
    opened: bool = False  # the credentials in PostgreSQL
    clock: float = 0.0  # time.time() minus time.monotonic(), when it was last looked at
    set_at: float | None = None  # time.monotonic() when the clock was last set by an hour or more
    cleaned_at: float = 0.0  # `now` of the last complete clean-up
    failures: int = 0  # to send, in a row
    held_back: int = 0  # the incident whose message has waited once for a Telegram that was just back
    said: deque[Said] = field(default_factory=lambda: deque(maxlen=100))  # not yet in the audit trail
    kept: Any = None  # what matters of what the diary holds

    @property
    def now(self) -> float:
        """Seconds since 1970, by the clock as it was last looked at: all times in `state` are on the same."""
        return time.monotonic() + self.clock


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
        diary=Diary(settings.health_file),
        checks=Checks(),
        timetable=schedule.Scheduler(),
        ledger=Ledger(settings),
        bell=Bell(settings.redis_url),
        care_database=care_database,
        clean_database=Database(url, "steward-healthwatch-clean"),
        caretaker=Caretaker(settings, care_database, vault, stop),
        clock=time.time() - time.monotonic(),
    )
    watch.diary.take(stop)
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


def remember(watch: Watch) -> None:
    """Take up what the last watch kept. If that cannot be read, begin anew."""
    watch.cleaned_at = watch.now
    try:
        kept = watch.diary.read()
        if kept is None:
            log.info("no_memory", "There is nothing kept from an earlier watch.")
            return
        watch.state = incidents.begin(incidents.load(kept["state"]), watched(watch.settings), watch.now)
        watch.ledger.language = str(kept.get("language", ""))
        watch.sealed_token, watch.cleaned_at = str(kept["token"]), min(float(kept["cleaned_at"]), watch.now)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        log.warning("memory_unreadable", "What the last watch kept cannot be read: beginning anew.", exc)


def keep(watch: Watch) -> None:
    """Write down what must outlive a restart, when it has changed: that a check went well again is no change."""
    state = incidents.dump(watch.state)
    matters = {**state, "parts": {name: (part["down"], part["since"]) for name, part in state["parts"].items()}}
    others = {"token": watch.sealed_token, "cleaned_at": watch.cleaned_at, "language": watch.ledger.language}
    kept, whole = (matters, others), {"state": state, **others}
    if kept != watch.kept and watch.diary.write(whole):
        watch.kept = kept


def watched(settings: Settings) -> set[str]:
    """The parts this house has."""
    always = {"postgres", "redis", "telegram", "keys", "disk", "disk_filling", *IN_POSTGRES}
    return always | ({"qdrant"} if settings.qdrant_url else set())


def find_token(watch: Watch) -> None:
    """Learn the token before the first check. Raises Locked when nobody could be told that something is wrong."""
    entered = next((entry.token for entry in watch.settings.entries if entry.service == "telegram"), None)
    try:
        open_credentials(watch)
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


def open_credentials(watch: Watch) -> None:
    """Take the token from PostgreSQL, and keep it, sealed, for a start without. Raises Down and Locked."""
    token = open_now(watch.settings, watch.care_database).need("telegram").token
    watch.sealed_token = base64.b64encode(watch.vault.seal(token, *PLACE)).decode()
    watch.telegram = Telegram(token, watch.settings.telegram_api_url)
    watch.opened = True


def kept_token(watch: Watch) -> Secret | None:
    """The token that the last watch kept, sealed with the master key."""
    try:
        return watch.vault.open(base64.b64decode(watch.sealed_token), *PLACE)
    except (CannotOpen, ValueError):
        return None


# Looking


def make_timetable(watch: Watch) -> None:
    """When is looked at what, for how long at most, and of which parts; everything at once to begin with."""
    often = watch.settings.health_seconds
    patience = min(lookout.ANSWER_SECONDS, max(1.5, often / 2))
    jobs: list[tuple[str, int, float, Callable[[Watch], Iterable[Finding]], tuple[str, ...]]] = [
        ("postgres", often, patience, look_into_ledger, ("postgres",)),
        ("redis", often, patience, lambda watch: lookout.redis(watch.bell), ("redis",)),
        ("qdrant", often, patience, lambda watch: lookout.vectors(watch.settings), ("qdrant",)),
        ("telegram", often, patience, lambda watch: lookout.telegram(watch.telegram), ("telegram",)),
        ("disk", often, patience, lambda watch: lookout.disks(watch.settings.disk_paths), ("disk", "disk_filling")),
        ("keys", CARE_SECONDS, MOST_CARE_SECONDS, take_care, ()),
        ("clean", CLEAN_SECONDS, CLEAN_SECONDS, clean, ()),
        ("ping", PING_SECONDS, PING_SECONDS / 2, ping, ()),
    ]
    watch.timetable.clear()
    for name, seconds, at_most, work, parts in jobs:
        watch.timetable.every(seconds).seconds.do(begin, watch, name, work, at_most, parts).tag(name)
    watch.timetable.run_all()


def begin(
    watch: Watch, name: str, work: Callable[[Watch], Iterable[Finding]], seconds: float, parts: tuple[str, ...]
) -> None:
    """Start one check. An error that left this would starve all others for ever: schedule begins with it each time."""
    try:
        watch.checks.start(name, partial(work, watch), seconds, parts)
    except Exception as exc:
        log.error("job_failed", "A check could not be begun; going on with the others.", exc, private=True, job=name)


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
        name = "postgres" if part in IN_POSTGRES else part.removesuffix("_filling")
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
    if abs(jump) >= 3600.0:
        watch.set_at = time.monotonic()
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


def look_into_ledger(watch: Watch) -> list[Finding]:
    """PostgreSQL, and what it knows. What the owner was told is in the audit trail from then on."""
    said = list(watch.said)
    found = watch.ledger.look(watch.state.parts, said, watch.now - watch.cleaned_at > UNCLEANED_SECONDS)
    if found[0].problem is None:
        while watch.said and watch.said[0] in said:
            watch.said.popleft()
    return found


# Looking after


def take_care(watch: Watch) -> list[Finding]:
    """Check the credentials that are due. What is wrong with one of them the bot tells, once."""
    try:
        if not watch.opened:
            open_credentials(watch)
        while not watch.stop and watch.caretaker.look():
            pass
    except Down:
        return []
    except Locked as exc:
        watch.opened = False  # from now on compared each time, until it is right
        log.error("locked", str(exc))
        return [Finding("keys", "wrong")]
    return [Finding("keys")]


def clean(watch: Watch) -> list[Finding]:
    """Remove what is older than AUDIT_DAYS, a little at a time."""
    if watch.set_at is not None and time.monotonic() - watch.set_at < SET_CLOCK_SECONDS:
        return []
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


def ping(watch: Watch) -> list[Finding]:
    """Tell an outside monitor that the watch lives and can be heard."""
    url, untold = watch.settings.health_ping_url, incidents.untold_since(watch.state)
    mute = watch.telegram is None or (untold is not None and watch.now - untold > UNTOLD_SECONDS)
    if url is None or mute:
        return []
    try:
        status = web.ask("GET", url.reveal()).status
    except web.NoAnswer as exc:
        log.warning("ping_failed", "HEALTH_PING_URL does not answer.", exc)
        return []
    if not 200 <= status < 300:
        log.warning("ping_refused", "HEALTH_PING_URL does not take the ping: is the address right?", status=status)
    return []


# Telling


def tell(watch: Watch) -> None:
    """Say what the owner is owed now."""
    while watch.settings.owner_id and watch.telegram is not None and not watch.stop:
        heartbeat.beat()
        now = watch.now
        write = partial(text_of, watch, now)
        letter = incidents.next_letter(watch.state, now, watch.rules, write)
        if letter is None:
            watch.state = incidents.forget(watch.state, now, watch.rules, write)
            return
        if is_just_back(watch, watch.telegram, letter):
            watch.state = incidents.held_up(
                watch.state, letter, now + 1.5 * watch.settings.health_seconds, unknown=False
            )
        else:
            send(watch, watch.telegram, letter)
        keep(watch)


def is_just_back(watch: Watch, telegram: Telegram, letter: Letter) -> bool:
    """Whether Telegram was away and answers again: in a moment its check sees that too, and then one message can say
    that it is over. Once for each incident, or a Telegram that comes and goes would keep it from the owner."""
    part = watch.state.parts.get("telegram")
    if part is None or not part.down or letter.edit is not None or watch.held_back == letter.incident:
        return False
    try:
        with watch.stop.interruptible(within=2.0, at_most=SEND_SECONDS):
            telegram.check(min(lookout.ANSWER_SECONDS, max(1.5, watch.settings.health_seconds / 2)))
    except (TelegramError, TookTooLong):
        return False  # why not, the message itself finds out
    watch.held_back = letter.incident
    return True


def text_of(watch: Watch, now: float, incident: Incident, kind: str) -> str:
    say = sentences.of(watch.ledger.language)
    write = {"bad": say.bad_news, "good": say.good_news, "reminder": say.reminder}[kind]
    return write(incident, watch.settings.timezone, datetime.fromtimestamp(now, UTC))


def send(watch: Watch, telegram: Telegram, letter: Letter) -> None:
    """Send or edit one message. It counts as said only when Telegram took it."""
    now, chat_id = watch.now, watch.settings.owner_id
    watch.state = incidents.leaving(watch.state, letter, now)
    keep(watch)
    text = sentences.of(watch.ledger.language).REPEAT_MARK + letter.text if letter.repeat else letter.text
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
        watch.said.append(Said(correlation_id, letter.incident, letter.kind, letter.edit is not None))
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
