"""Everything Steward says in its own words. No sentence of its own stands anywhere else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, NamedTuple

from lib.incidents import Incident, Outage
from lib.text import LONGEST, units

START = (
    "Hello! I am Steward, your assistant. Write to me as you would to a person; I think with Claude and remember"
    " our conversation. /help shows what else I can do."
)
HELP = (
    "Just write, and I answer.\n\n"
    "/new - begin a new conversation\n"
    "/retry - ask Claude again about your last message\n"
    "/status - whether everything works\n"
    "/help - this list"
)
OWNER_HELP = "/audit - what was done lately"
NEW = "A new conversation begins; I no longer look at what we said before."
UNKNOWN_COMMAND = "I do not know this command. /help shows the ones I know."
RETRYING = "I am asking Claude again."
NOTHING_TO_RETRY = "There is nothing to ask again: I am at your last message already, or there is none."
ONLY_TEXT = "So far I can only read text. Please write it to me in words."
CANNOT_LOOK = "I cannot look this up just now, by a mistake that is not yours. My owner finds the reason in my log."
CANNOT_READ = "Telegram sent me something I cannot read. Please say it in plain text."
EDIT_TOO_LATE = "You changed a message that I had already taken up. Please send it again as a new one."
REPEAT_MARK = "(This may be a repeat.)\n\n"
CUT_SHORT = '(This is as long as one answer can be. Say "go on" and I continue.)'
NOT_TAKEN = "Telegram would not take a message of mine, so something is missing here. Please ask me another way."
SET_ASIDE = (
    "I tried three times to answer your message and something broke each time, so I have put it aside. I am sorry."
    " Please try to say it another way."
)
OWNER_SET_ASIDE = "A message was put aside after three failed tries (correlation id {correlation_id})."
OWNER_PARKED = (
    "Telegram sent an update that I cannot read (update {update_id}, correlation id {correlation_id})."
    " I kept it and went on."
)
OWNER_REFUSED = "Telegram refused my token for a while ({text}). It keeps messages for 24 hours; older ones are gone."

# What a person reads when Claude did not answer, by the kind of failure (lib/claude.py and its doors).
FAILURES = {
    "no_credential": "I am not connected to Claude yet: my owner has to put its key into my settings.",
    "sign_in": "Claude does not accept my key: my owner has to renew it.",
    "plan_refused": "Claude does not serve my owner's plan this way: my owner has to enter another Claude credential.",
    "no_program": "I lack the program that reaches Claude on my owner's plan: my owner has to install it.",
    "no_credit": "The Claude account I use has run out of credit: my owner has to top it up.",
    "no_model": "The Claude model in my settings does not exist: my owner has to change it.",
    "limit": "Claude's limit is used up for now{until}.",
    "overloaded": "Claude has trouble answering right now{until}.",
    "refused": "Claude declined to answer this message.",
    "too_long": "This is too long for Claude. /new begins a fresh conversation; a shorter message may help too.",
    "no_network": "I cannot reach Claude: there is no connection.",
    "timed_out": "Claude took too long to answer.",
    "broken": "Claude's answer broke off.",
    "stopped": "I have stopped.",
    "early_end": "Claude's answer ended too early.",
    "empty": "Claude sent an empty answer.",
    "our_bug": "Claude could not make sense of my question. That is my mistake, not yours.",
}
# Nothing of it rights itself.
NEEDS_OWNER = ("no_credential", "sign_in", "plan_refused", "no_program", "no_credit", "no_model", "our_bug")
KEPT = " Your message is kept; /retry asks again."
BROKEN_OFF = "[The answer broke off here.]"


WRONG_KEY = (
    "MASTER_KEY in .env is not the key that this database is sealed with: put the right one back"
    " (it is in your backup of .env) and run `make up` (without Docker: start again). Nothing was changed."
)
NO_KEY_CHECK = (
    "The database holds sealed credentials, but no longer says with which key: restore the table key_check from a"
    " backup, or empty the table credentials and enter everything again. Nothing was changed."
)

# How each credential is entered, as the end of a sentence.
ENTER = {
    "telegram": "put TELEGRAM_BOT_TOKEN, the token @BotFather gave you, into .env and run `make up`",
    "slack": "put SLACK_TOKEN into .env and run `make up`",
    "clickup": "put CLICKUP_TOKEN into .env and run `make up`",
    "claude": "put a Claude credential into .env (.env.example says which there are) and run `make up`",
    "google": "run setup_google.py (the README says how)",
}
NAMES = {"telegram": "Telegram", "slack": "Slack", "clickup": "ClickUp", "claude": "Claude", "google": "Google"}

# Why a credential does not work, by code; those that Slack and ClickUp give have their own lists at the end.
CREDENTIALS = {
    "missing": "There is no {name} token: {enter}.",
    "damaged": (
        "The {name} token cannot be opened; enter it again: {enter}."
        " If it stays so, run `credentials.py remove {service}` first."
    ),
    "invalid_grant": "{name} no longer accepts Steward's sign-in. Sign in again: {enter}.",
    "refresh_interrupted": (
        "Steward was stopped just while {name}'s sign-in was being renewed, and a renewal works only once."
        " Sign in again: {enter}."
    ),
    "answer_lost": (
        "{name}'s answer was lost while the sign-in was being renewed, and a renewal works only once."
        " Sign in again: {enter}."
    ),
    "client_refused": (
        "{name} does not accept the client that Steward signs in as. Check its id (and secret), then {enter}."
    ),
    "no_connection": "{name} cannot be asked just now; I try again later.",
    "ended": "The sign-in to {name} has ended, as announced. Sign in again: {enter}.",
}


def credential(service: str, code: str) -> str:
    """Why this credential does not work, and what to do."""
    said = CREDENTIALS.get(code) or {"slack": SLACK, "clickup": CLICKUP}.get(service, {}).get(code)
    if said is None:
        said = "{name} refuses my question about its token and calls it {code}. Look at it in .env."
    return said.format(
        service=service, name=NAMES.get(service, service), enter=ENTER.get(service, "enter it again"), code=code
    )


NO_DATABASE = "PostgreSQL cannot be used: {why}. Mend that, then try again."

# credentials.py, which speaks in a terminal, to the owner.
NOTHING_SEALED = "Nothing is sealed yet: put tokens into .env and start the bot, or run setup_google.py."
STILL_IN_ENV = (
    "The {name} credential still stands in .env or the environment ({lines}), and the next start would seal it again."
    " Delete that first, then run this again. Nothing was changed."
)
NOT_SEALED = "There is no sealed credential for {name}. Nothing was changed."
REMOVED = (
    "The {name} credential is deleted here for good. Restart bot.py, worker.py and healthwatch.py, which may still hold"
    " it in memory."
    " At {name} it stays valid until you revoke it there."
)
REENCRYPT_KEYS = (
    "OLD_MASTER_KEY is missing: put the key used until now there, and the new one (openssl rand -hex 32) into"
    " MASTER_KEY. Nothing was changed."
)
REENCRYPT_RUNNING = "{scripts} must be stopped first: what they seal would not open any more. Nothing was changed."
REENCRYPT_SAME = (
    "OLD_MASTER_KEY and MASTER_KEY are the same key: put a new one (openssl rand -hex 32) into MASTER_KEY."
    " Nothing was changed."
)
REENCRYPT_WRONG_KEY = "OLD_MASTER_KEY is not the key that this database is sealed with. Nothing was changed."
REENCRYPT_DONE = "Everything is sealed with MASTER_KEY already. Nothing was changed; delete OLD_MASTER_KEY from .env."
REENCRYPT_DAMAGED = (
    "The {name} credential does not open with OLD_MASTER_KEY, so nothing was changed. Enter it again, or remove it with"
    " `credentials.py remove {service}`, both with the old key in MASTER_KEY; then try again."
)
REENCRYPT_TRIED = "Tried: everything opens and can be sealed anew ({names}). Nothing was changed; add --write to do it."
REENCRYPTED = (
    "Sealed anew with MASTER_KEY: {names}. Delete OLD_MASTER_KEY from .env, keep the old key with the backups that are"
    " older than this, and start Steward."
)

# setup_google.py. It speaks in a terminal, to the owner.
GOOGLE_CLIENT = """GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET are not both in .env. They are made once:
  1. https://console.cloud.google.com/apis/library - make a project, enable "Google Calendar API" and "Gmail API".
  2. https://console.cloud.google.com/auth/audience - choose External, then "Publish app": what somebody signs in to
     while it is in Testing ends after seven days.
  3. https://console.cloud.google.com/auth/clients - Create client, type Desktop app.
Put the id and the secret of that client into .env, then run setup_google.py again."""
GOOGLE_PORT = "Port {port} cannot be used here ({why}). Name another; --port 0 takes any that is free."
GOOGLE_INVITATION = """Open this address in a browser, choose the account and tick what Steward may see:

  {url}

No browser on this machine? Two ways, whichever you like; both work now:
  1. On the computer with the browser, open this tunnel and leave it open, then open the address above there:
       ssh -N -L {port}:127.0.0.1:{port} USER@THIS-SERVER
  2. Open the address above anywhere. At the end the browser shows that it cannot connect: that is as it should be.
     Copy the whole address of that page (http://127.0.0.1:{port}/?...), paste it here and press Enter.

"Google hasn't verified this app"? It is your own: choose Advanced, then "Go to ...".
Another error page of Google? In .env there must be a client of type Desktop app, and the app must be published.

Waiting for {minutes} minutes; Ctrl-C ends it."""
GOOGLE_PAGE = "Google's answer has arrived. You may close this page; the terminal says what came of it."
GOOGLE_PAGE_DECLINED = "Google says that it was not allowed. You may close this page and look at the terminal."
GOOGLE_PAGE_STATE = "This answer belongs to another attempt. Open the newest address that the terminal shows."
GOOGLE_PAGE_OTHER = "Steward waits here for Google's answer. Open the address that the terminal shows."
GOOGLE_NOT_ADDRESS = (
    "This is not the address of that page: it must hold state= and code=. Copy the whole line from the browser's"
    " address field and paste it here."
)
GOOGLE_WRONG_STATE = (
    "This address belongs to another attempt (its state is not the one of this run). Open the address above, and paste"
    " what comes of it."
)
GOOGLE_NO_INPUT = (
    "Nothing more can be pasted, because the input has ended (in Docker it needs -it); still waiting for the browser."
)
GOOGLE_TOO_LATE = "Nobody signed in within {minutes} minutes. Nothing was changed; run setup_google.py again."
STOPPED = "Stopped. Nothing was changed."
GOOGLE_KEPT = "Signed in to Google as {account}; the tokens are sealed in PostgreSQL. Steward may: {granted}."
GOOGLE_KEPT_UNSEEN = (
    "Signed in to Google; the tokens are sealed in PostgreSQL. Steward may: {granted}. Only whose account it is could"
    " not be asked: {why}."
)
GOOGLE_UNSEEN = {
    "no_connection": "Google does not answer just now",
    "no_account": "Google's answer held no mail address",
}
GOOGLE_UNTICKED = "Not ticked: {unticked}. Steward works without; to allow it, run setup_google.py again."
GOOGLE_ENDS = "This sign-in ends in {days} days, because it was given for a time only. Steward will remind you."
GOOGLE_ENDS_TESTING = (
    "This sign-in ends in {days} days, because the app's consent screen is in Testing. Publish the app at"
    " https://console.cloud.google.com/auth/audience and run setup_google.py again."
)
GOOGLE_SCOPES = {
    "https://www.googleapis.com/auth/calendar.readonly": "read your calendars",
    "https://www.googleapis.com/auth/gmail.readonly": "read your mail",
}
_GOOGLE_AWAY = "Google has trouble of its own right now. Nothing was changed; run setup_google.py again later."
GOOGLE = {
    "access_denied": "You declined, so Google gave nothing. Nothing was changed; run setup_google.py again to sign in.",
    "invalid_grant": (
        "Google says that this answer is too old or was used before. Nothing was changed; run setup_google.py again."
    ),
    "invalid_client": (
        "Google does not know GOOGLE_CLIENT_ID, or GOOGLE_CLIENT_SECRET is not its secret. Nothing was changed; mend"
        " these lines in .env and run setup_google.py again."
    ),
    "redirect_uri_mismatch": (
        "Google does not accept the client: it must be of type Desktop app. Nothing was changed; put such a client into"
        " .env and run setup_google.py again."
    ),
    "admin_policy_enforced": (
        "The administrator of this Google account does not allow it. Nothing was changed; use another account."
    ),
    "no_refresh_token": (
        "Google gave no refresh token, so the sign-in would end within the hour; nothing was kept. Take Steward's"
        " access away at https://myaccount.google.com/connections and run setup_google.py again."
    ),
    "missing_token": _GOOGLE_AWAY,  # an answer that is none
    "internal_failure": _GOOGLE_AWAY,
    "server_error": _GOOGLE_AWAY,
    "temporarily_unavailable": _GOOGLE_AWAY,
    "no_connection": "Google cannot be reached from here, or does not answer. Nothing was changed; try again later.",
    "insecure_transport": (
        "GOOGLE_URL is plain http, which only tests may use: they set OAUTHLIB_INSECURE_TRANSPORT=1. Nothing was"
        " changed; delete that line from .env."
    ),
}


def google(code: str) -> str:
    """Why the sign-in to Google did not come about."""
    return GOOGLE.get(code) or f"Google refused the sign-in ({code}). Nothing was changed; run setup_google.py again."


def google_scope(scope: str) -> str:
    """What a scope allows, for people."""
    return GOOGLE_SCOPES.get(scope) or scope.removeprefix("https://www.googleapis.com/auth/")


def standing(
    service: str,
    account: str,
    problem: str | None,
    hindrance: str | None,
    checked_ago: float | None,
    ends_in: float | None,
) -> str:
    """How one credential stands, as a line of /status. Spans in seconds."""
    if problem is not None:
        parts = [credential(service, problem)]
    elif service in ("slack", "clickup", "google"):
        parts = ["not checked yet" if checked_ago is None else f"worked {_span(checked_ago)} ago"]
    else:  # whether these work is seen when they are used
        parts = ["sealed; whether it works is seen when it is used"]
    if hindrance is not None:
        parts.append(credential(service, hindrance))
    if ends_in is not None and ends_in > 0:
        parts.append(f"ends in {_days(ends_in)}")
    said = "; ".join(part.rstrip(".") for part in parts)
    return f"{NAMES.get(service, service)}{f' ({account})' if account else ''}: {said}"


def ends_soon(service: str, seconds: float) -> str:
    """A credential whose end is known in advance."""
    name, enter = NAMES.get(service, service), ENTER.get(service, "enter it again")
    return f"Your sign-in to {name} ends in {_days(seconds)}. To go on without a break, {enter}."


def stranger(user_id: int) -> str:
    """All that somebody who is not on the list is ever told."""
    return f"I only talk to people my owner has let in. Your Telegram id is {user_id}."


def failure(kind: str, until: datetime | None = None, now: datetime | None = None) -> str:
    """Why there is no answer, and what to do. `until`: when it will work again, if Claude said so; `now` for tests."""
    again = ""
    if until is not None:
        now = (now or datetime.now(UTC)).astimezone(until.tzinfo)
        again = f"; it should work again {moment(max(until, now), now)}"
    return FAILURES[kind].format(until=again) + ("" if kind in ("refused", "too_long") else KEPT)


def moment(at: datetime, now: datetime) -> str:
    """A moment in the time zone it comes with, rounded up to the minute: "at 14:05", "on 3 December at 14:05"."""
    shown = at + timedelta(seconds=59)
    zone = " UTC" if shown.utcoffset() == timedelta(0) else ""
    day = "" if shown.date() == now.astimezone(at.tzinfo).date() else f"on {shown.day} {MONTHS[shown.month - 1]} "
    return f"{day}at {shown:%H:%M}{zone}"


MONTHS = "January February March April May June July August September October November December".split()  # noqa: SIM905

QDRANT = {
    None: "answers",
    "refused": "refuses QDRANT_API_KEY (nothing depends on it yet)",
    "no_answer": "does not answer (nothing depends on it yet)",
    "damaged": "cannot read a collection (nothing depends on it yet)",
}
NOT_WATCHED = "silent, so nobody would tell you if something broke; `make up` starts it"
NOT_SEEN = "not looked at yet"


@dataclass(frozen=True)
class Seen:
    """One part as /status shows it: what is said of it, and since when, if healthwatch.py knows."""

    name: str
    said: str
    since: datetime | None = None


def status(seen: Iterable[Seen], zone: tzinfo, now: datetime) -> str:
    """Every part with its state and since when, one line each."""
    lines = []
    for one in seen:
        since = f", since {_when(one.since.timestamp(), zone, now)}" if one.since is not None else ""
        lines.append(f"{one.name}: {one.said}{since}")
    return "\n".join(lines)


def redis_is(answers: bool) -> str:
    return "answers" if answers else "does not answer (messages only take a little longer)"


def workers_are(count: int) -> str:
    return str(count) if count else "none is running; messages are kept and will be answered"


def queue(waiting: int, oldest: float) -> str:
    """How many messages wait, and for how many seconds the oldest has."""
    return f"Waiting messages: {waiting}" + (f", the oldest for {_span(oldest)}" if waiting else "")


def backup(ago: float | None) -> str:
    """When `make backup` last wrote one, as far back as the audit trail goes."""
    return f"Last backup: {_span(ago)} ago" if ago is not None else "Last backup: none known"


def versions(known: Mapping[str, str]) -> str:
    return "Versions: " + ", ".join(f"{name} {version}" for name, version in known.items() if version)


NEVER_ASKED = "no answer yet"


def claude_state(at: datetime, reason: str | None, since: datetime, until: datetime | None) -> str:
    """How Claude was when it was last asked. The times come in the zone they are shown in."""
    now = datetime.now(at.tzinfo)
    if reason is None:
        return f"answered {_span((now - at).total_seconds())} ago"
    again = f"; it should work again {moment(until, now)}" if until is not None and until > now else ""
    why = FAILURES.get(reason, "").format(until=again)
    return f"no answers since {moment(since, now).removeprefix('at ').removeprefix('on ')}. {why}".rstrip()


# What healthwatch.py tells the owner (lib/incidents.py decides when): what is wrong, what it means, what to do.
LOGS = (
    "look at `docker compose ps` and `docker compose logs {service}`; `docker compose restart {service}` often helps."
)


class Trouble(NamedTuple):
    """One thing that can be wrong with a part. `do` continues "What to do: "."""

    what: str
    means: str
    do: str


PARTS = {
    "postgres": "PostgreSQL",
    "redis": "Redis",
    "qdrant": "Qdrant",
    "telegram": "Telegram",
    "keys": "Master key",
    "bot": "The bot",
    "workers": "The workers",
    "polling": "Fetching messages",
    "backlog": "Answering",
    "claude": "Claude",
    "disk": "Disk space",
    "disk_filling": "Disk space",
    "retention": "Cleaning up",
}
# How a part is said to be well again, when that is not "works again".
WELL_AGAIN = {
    "keys": "is the right one again",
    "workers": "all work again",
    "backlog": "is in time again",
    "disk": "is enough again",
    "disk_filling": "is enough again",
}
_WORKERS = "Messages are taken and kept, and answered when a worker is back."
_FREE = (
    "make room, for instance with `docker system prune`, by moving old backups away, or with a larger disk;"
    " `docker system df -v` shows what takes it."
)
TROUBLES: dict[str, dict[str, Trouble]] = {
    "postgres": {
        "no_tables": Trouble(
            "Tables are missing in PostgreSQL, or are older than the scripts",
            "Some of what you write cannot be taken or answered until they are there. Telegram keeps it for 24 hours.",
            "`make up` brings them up to date.",
        ),
        "no_answer": Trouble(
            "PostgreSQL does not answer, or cannot write",
            "Nothing can be taken or answered until it is back. Telegram keeps new messages for 24 hours; then they"
            " are answered.",
            LOGS.format(service="postgres"),
        ),
    },
    "redis": {
        "no_answer": Trouble(
            "Redis does not answer",
            "Messages are still answered, some seconds later. Nothing is lost.",
            LOGS.format(service="redis"),
        ),
        "full": Trouble(
            "Redis is full and takes nothing more",
            "Messages are still answered, some seconds later. Nothing is lost.",
            "nothing of value is kept there: `docker compose exec redis redis-cli flushall` empties it.",
        ),
    },
    "qdrant": {
        "no_answer": Trouble("Qdrant does not answer", "Nothing depends on it yet.", LOGS.format(service="qdrant")),
        "refused": Trouble(
            "Qdrant refuses QDRANT_API_KEY",
            "Nothing depends on it yet.",
            "put the key it was started with into .env, and run `make up`.",
        ),
        "damaged": Trouble(
            "Qdrant cannot read a collection", "Nothing depends on it yet.", LOGS.format(service="qdrant")
        ),
    },
    "telegram": {
        "no_answer": Trouble(
            "Telegram does not answer, or not in time",
            "Messages come and go late. Telegram keeps yours for 24 hours, and I keep the answers.",
            "see whether the server has a connection to the internet; if it has, wait.",
        ),
        "refused": Trouble(
            "Telegram refuses the bot's token",
            "Nobody can reach me.",
            "get a new token from @BotFather, put it into TELEGRAM_BOT_TOKEN in .env, and run `make up`.",
        ),
    },
    "keys": {
        "wrong": Trouble(
            "What is sealed in the database cannot be opened with MASTER_KEY",
            "Bot and workers could not start again. Nothing was changed.",
            "put the right key back (it is in your backup of .env), and run `make up`. If the key is right,"
            " `docker compose logs healthwatch` says what is missing.",
        ),
    },
    "bot": {
        "missing": Trouble(
            "The bot does not run",
            "Nobody's messages are taken. Telegram keeps them for 24 hours; then they are answered.",
            "`docker logs bot | tail` says why it ended; `make up` starts it.",
        ),
        "silent": Trouble(
            "The bot is dead, or hangs",
            "Nobody's messages are taken. Telegram keeps them for 24 hours; then they are answered.",
            "look at `docker logs bot | tail`; `docker compose restart bot` often helps.",
        ),
    },
    "workers": {
        "missing": Trouble(
            "No worker runs", _WORKERS, "`docker compose logs worker` says why it ended; `make up` starts it."
        ),
        "silent": Trouble("All workers are dead, or hang", _WORKERS, LOGS.format(service="worker")),
        "some_silent": Trouble(
            "Workers that are dead, or hang: {silent} of {of}",
            "The others go on; one person's message may wait until the dead worker is gone or back.",
            LOGS.format(service="worker"),
        ),
    },
    "polling": {
        "no_updates": Trouble(
            "The bot lives, but gets nothing from Telegram",
            "Telegram keeps new messages for 24 hours; then they are answered.",
            "look at `docker logs bot | tail`.",
        ),
        "Conflict": Trouble(
            "Another program takes the bot's messages from Telegram, or a webhook is set",
            "What the other program takes never reaches me.",
            "end the other program that uses this bot's token; or get a new token from @BotFather, put it into"
            " TELEGRAM_BOT_TOKEN in .env, and run `make up`.",
        ),
    },
    "backlog": {
        "late": Trouble(
            "Answers take more than ten minutes",
            "What you write is kept, and will be answered.",
            "/status shows how many wait; look at `docker compose logs worker`.",
        ),
    },
    "disk": {
        "full": Trouble(
            "Almost no room is left on the disk: {disks}", "When it is full, nothing can be kept any more.", _FREE
        ),
        "no_folder": Trouble(
            "A folder that DISK_PATHS names cannot be looked at: {disks}",
            "I do not see whether its disk fills.",
            "with Docker run `make up`; without, mend DISK_PATHS in .env and start healthwatch.py again.",
        ),
    },
    "disk_filling": {
        "filling": Trouble("The disk fills up: {disks}", "Everything still works.", _FREE),
    },
    "retention": {
        "late": Trouble(
            "Old entries of the audit trail are not removed",
            "Everything works; the database grows.",
            "look at `docker compose logs healthwatch`.",
        ),
    },
}


# What the owner can do about Claude; about all else only wait.
CLAUDE_DO = {
    "no_credential": f"{ENTER['claude']}.",
    "sign_in": f"{ENTER['claude']}.",
    "plan_refused": f"{ENTER['claude']}.",
    "no_program": "delete CLAUDE_CODE=0 from .env, and run `make up` (without Docker: install Claude Code).",
    "no_credit": "top up the Claude account.",
    "no_model": "put a model that exists into CLAUDE_MODEL in .env, and run `make up`.",
    "our_bug": "see if there is a newer Steward; `docker compose logs worker` says more.",
}


def trouble(part: str, problem: str, detail: Mapping[str, Any], zone: tzinfo, now: datetime) -> Trouble:
    """What is wrong with a part, what that means, and what to do."""
    if part == "claude":
        until = datetime.fromisoformat(detail["until"]).astimezone(zone) if detail.get("until") else None
        again = f"; it should work again {moment(until, now)}" if until else ""
        why = FAILURES.get(problem, "").format(until=again).partition(": my owner")[0].rstrip(".")
        do = CLAUDE_DO.get(problem, "nothing, if it passes; /status shows how it is.")
        kept = "Messages are kept; /retry asks again."
        return Trouble("Claude did not answer when it was last asked", f"{why}. {kept}" if why else kept, do)
    known = TROUBLES.get(part, {})
    found = known.get(problem) or (known.get("no_updates") if part == "polling" else None)
    if found is None:
        name = PARTS.get(part, part)
        what = f"{name}: I cannot see how it is, because of a mistake of mine"
        return Trouble(what, "It may work all the same.", "look at `docker compose logs healthwatch`.")
    disks = ", ".join(f"{path} {share}".strip() for path, share in sorted(dict(detail.get("disks") or {}).items()))
    known_here = {"silent": "some", "of": "all", **detail, "disks": disks or "unknown"}
    return found._replace(what=found.what.format(**known_here))


def bad_news(incident: Incident, zone: tzinfo, now: datetime) -> str:
    """The message about an incident: sent when it begins, or when it is over if it could not be sent before."""
    if incident.closed_at is not None:
        late = incident.summary or incident.told_at is None
        beginning = "I could not tell you in time: it is over." if late else "It is over."
        return "\n".join([beginning, *(_was_away(name, one, zone, now) for name, one in incident.outages.items())])
    blocks = [
        _is_away(name, one, zone, now) if one.ended_at is None else _was_away(name, one, zone, now)
        for name, one in sorted(incident.outages.items(), key=lambda item: item[1].ended_at is not None)
    ]
    return "\n\n".join(blocks)


def good_news(incident: Incident, zone: tzinfo, now: datetime) -> str:
    """The message that it is over; changed when a part fails again soon after."""
    lines = []
    for name, one in incident.outages.items():
        if one.ended_at is not None:
            lines.append(_was_away(name, one, zone, now))
        else:
            away = _when(one.relapsed_at or one.began_at, zone, now)
            lines.append(f"{PARTS.get(name, name)}: trouble again since {away}. I write once more if it stays so.")
    return "\n".join(lines)


def reminder(incident: Incident, zone: tzinfo, now: datetime) -> str:
    """Said again after an hour, and then every six."""
    blocks = [_is_away(name, one, zone, now) for name, one in incident.outages.items() if one.ended_at is None]
    return "It is still so.\n\n" + "\n\n".join(blocks)


def _is_away(name: str, outage: Outage, zone: tzinfo, now: datetime) -> str:
    what, means, do = trouble(name, outage.problem, outage.detail, zone, now)
    often = f" It comes and goes: {outage.times} times by now." if outage.times > 1 else ""
    return f"{what}, since {_when(outage.began_at, zone, now)}.{often}\n{means}\nWhat to do: {do}"


def _was_away(name: str, outage: Outage, zone: tzinfo, now: datetime) -> str:
    ended = outage.ended_at if outage.ended_at is not None else now.timestamp()
    began, end = (_when(at, zone, now) for at in (outage.began_at, ended))
    subject, well = PARTS.get(name, name), WELL_AGAIN.get(name, "works again")
    if outage.times > 1:  # between them it was well: the whole length would be no outage's
        return f"{subject}: {well} since {end}; there was trouble {outage.times} times from {began} on."
    return f"{subject}: {well} since {end}; there was trouble from {began}, for {_length(ended - outage.began_at)}."


def _when(at: float, zone: tzinfo, now: datetime) -> str:
    """A moment that has been: "14:05", or "21 November 14:05" when it was on another day."""
    shown = datetime.fromtimestamp(at, zone)
    day = "" if shown.date() == now.astimezone(zone).date() else f"{shown.day} {MONTHS[shown.month - 1]} "
    return f"{day}{shown:%H:%M}{' UTC' if shown.utcoffset() == timedelta(0) else ''}"


def _length(seconds: float) -> str:
    """How long something lasted: "40 s", "15 min", "1 h 59 min", "2 d 3 h"."""
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60)):
        if seconds >= size:
            rest = int(seconds % size / part)
            return f"{int(seconds / size)} {unit}" + (f" {rest} {smaller}" if rest else "")
    return _span(seconds)


WATCH_SILENT = (
    "healthwatch.py gives no sign of life: nobody watches over me.\nI go on answering, but you would not hear of it if"
    " something broke, and sign-ins are no longer renewed.\nWhat to do: `docker compose logs healthwatch` says why;"
    " `make up` starts it."
)


def watch_back(seconds: float) -> str:
    """healthwatch.py is there again."""
    return f"healthwatch.py watches over me again, {_span(seconds)} after I told you that it was silent."


# /audit, which only the owner may ask for. The times come in the zone they are shown in.
AUDIT_HEAD = "The last actions (times: {zone}). /audit and an id, or the first 8 characters of it, tells its story."
AUDIT_EMPTY = "Nothing has been done yet, or it was so long ago that it is no longer kept."
AUDIT_NO_ID = (
    "This is no id. Send /audit, a blank and an id as /audit shows it, or at least the first 8 characters of one; they"
    " are the digits 0-9 and the letters a-f."
)
AUDIT_NOT_FOUND = (
    "Nothing is kept under this id. Compare it with the one you have (/audit shows the last ones); what was done long"
    " ago is removed."
)
AUDIT_SEVERAL = "Several ids begin like this. Send more of the one you mean:"
AUDIT_STORY = "The story of {correlation_id} (times: {zone}):"
AUDIT_MORE = "... and {count} more"
LONGEST_WORD = 40  # characters of a word that came from elsewhere: a model, a reason


def person(kind: str, user_id: int | None) -> str:
    """Who did something, to the owner. `kind` is that of audit.Actor."""
    if kind == "owner":
        return "you"
    return "Steward" if kind == "system" else f"{kind} {'unknown' if user_id is None else user_id}"


def action(
    at: datetime, who: str, action: str, outcome: str, reason: str | None, model: str | None, duration_ms: int | None
) -> str:
    """One action in a line, as short as a phone wants it."""
    parts = [f"{outcome} ({_word(reason)})" if reason else outcome]
    if model:
        parts.append(_word(model))
    if duration_ms is not None:
        parts.append(f"{duration_ms / 1000:.1f} s")
    return f"{_time(at)} {who}: {_word(action)}, {', '.join(parts)}"


def tokens(into: int | None, out: int | None, cached: int | None) -> str:
    """The tokens of one request, behind its action; empty when they were not counted."""
    if into is None and out is None:
        return ""
    return f"; {into or 0} tokens in ({cached or 0} of them cached), {out or 0} out"


def received(at: datetime, who: str, kind: str, state: str, attempts: int) -> str:
    """An update, and what became of it: in a line of its story."""
    tries = f", {attempts} attempt{'s' if attempts != 1 else ''}" if attempts else ""
    return f"{_time(at)} {kind.replace('_', ' ')} from {who}; now {state.replace('_', ' ')}{tries}"


def said(
    at: datetime, to: str, alert: bool, parts: int, sent: int, refused: int, repeat: bool, sent_at: datetime | None
) -> str:
    """What Steward said, and whether it arrived: in a line of a story."""
    found = [f"{parts} part{'s' if parts != 1 else ''}"]
    if sent:
        found.append(("sent" if sent == parts else f"{sent} sent") + (f" {_time(sent_at)}" if sent_at else ""))
    if refused:
        found.append("refused" if refused == parts else f"{refused} refused")
    if sent + refused < parts:
        found.append("not sent yet" if not sent + refused else f"{parts - sent - refused} not sent yet")
    if repeat:
        found.append("may be a repeat")
    return f"{_time(at)} {'alert' if alert else 'reply'} to {to}: {', '.join(found)}"


def listing(head: str, entries: Sequence[str]) -> str:
    """A head and as many entries as fit into one message; how many do not is said at its end."""
    text = head
    for number, entry in enumerate(entries):
        if units(text) + units(entry) > LONGEST - 30:  # room for the last line
            return f"{text}\n{AUDIT_MORE.format(count=len(entries) - number)}"
        text += f"\n{entry}"
    return text


def _word(text: str) -> str:
    return text if len(text) <= LONGEST_WORD else f"{text[:LONGEST_WORD]}..."


def _time(at: datetime) -> str:
    """Hour, minute and second; the day too when it is not today."""
    day = "" if at.date() == datetime.now(at.tzinfo).date() else f"{at.day} {MONTHS[at.month - 1][:3]} "
    return f"{day}{at:%H:%M:%S}"


def _days(seconds: float) -> str:
    days = round(seconds / 86400)
    return f"{days} days" if days > 1 else "a day" if days else "a few hours"


def _span(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds / size)} {unit}"
    return f"{int(max(seconds, 0))} s"


# What the owner reads about a token that was checked, by the service's code (lib/slack.py, lib/clickup.py); the codes
# malformed and unknown are ours.
_SLACK_NEW = "Make a new one on the app's OAuth page, put it into SLACK_TOKEN in .env and run `make up`."
_SLACK_COPY = "Copy the bot token from the app's OAuth page into SLACK_TOKEN in .env and run `make up`."
_SLACK_ADMIN = "Ask an administrator of your Slack workspace."
_SLACK_MOVE = "Slack is moving this workspace into a larger organisation. There is nothing to do: I ask again later."
_SLACK_AWAY = "Slack has trouble of its own right now. There is nothing to do: I ask again later."
_SLACK_BUSY = "Slack asks me to wait a while. There is nothing to do: I ask again later."
_SLACK_OURS = "Slack did not understand my question. That is my mistake: see if there is a newer Steward."
_SLACK_OLD = "Slack no longer answers the way I ask. See if there is a newer Steward."
_SLACK_RIGHTS = (
    "The Slack app lacks a permission. Add it on the app's OAuth page, install the app again, put the token into"
    " SLACK_TOKEN in .env and run `make up`."
)
SLACK: dict[str, str] = {
    "access_denied": f"Slack keeps this token from what I asked for. {_SLACK_ADMIN}",
    "accesslimited": f"Slack may not be used from the network I run in. {_SLACK_ADMIN}",
    "account_inactive": f"The Slack account or workspace of this token is gone. {_SLACK_NEW}",
    "ekm_access_denied": f"The administrators have suspended the use of this Slack workspace. {_SLACK_ADMIN}",
    "enterprise_is_restricted": f"This Slack token is for a whole organisation, and I need one workspace. {_SLACK_NEW}",
    "invalid_auth": f"Slack does not accept this token, or not from where I run. {_SLACK_COPY}",
    "is_bot": f"Slack no longer lets this old kind of bot in. Make a new Slack app. {_SLACK_COPY}",
    "malformed": f"What stands in SLACK_TOKEN cannot be a token. {_SLACK_COPY}",
    "missing_scope": _SLACK_RIGHTS,
    "no_permission": _SLACK_RIGHTS,
    "not_allowed_token_type": f"This is the wrong kind of Slack token: xoxb or xoxp has to come first. {_SLACK_COPY}",
    "not_authed": f"Slack found no token in my question. {_SLACK_COPY}",
    "token_expired": f"The time of this Slack token is over. {_SLACK_NEW}",
    "token_revoked": f"Slack says this token was revoked. {_SLACK_NEW}",
    "two_factor_setup_required": "Slack wants this account to have a second way to sign in. Set it up in Slack.",
    "org_login_required": _SLACK_MOVE,
    "team_added_to_org": _SLACK_MOVE,
    "deprecated_endpoint": _SLACK_OLD,
    "method_deprecated": _SLACK_OLD,
    "upgrade_required": _SLACK_OLD,
    "unknown_method": "Slack does not know what I asked for. Look at SLACK_API_URL in .env, or for a newer Steward.",
    "invalid_arg_name": _SLACK_OURS,
    "invalid_arguments": _SLACK_OURS,
    "invalid_array_arg": _SLACK_OURS,
    "invalid_charset": _SLACK_OURS,
    "invalid_form_data": _SLACK_OURS,
    "invalid_json": _SLACK_OURS,
    "invalid_post_type": _SLACK_OURS,
    "json_not_object": _SLACK_OURS,
    "missing_post_type": _SLACK_OURS,
    "fatal_error": _SLACK_AWAY,
    "internal_error": _SLACK_AWAY,
    "request_timeout": _SLACK_AWAY,
    "service_unavailable": _SLACK_AWAY,
    "rate_limited": _SLACK_BUSY,
    "ratelimited": _SLACK_BUSY,
    "unknown": "Slack answered something I do not understand. I ask again later.",
}
_CLICKUP_NEW = "Make a new one in ClickUp under Settings, Apps, put it into CLICKUP_TOKEN in .env and run `make up`."
_CLICKUP_COPY = "Copy it from ClickUp, under Settings, Apps, into CLICKUP_TOKEN in .env and run `make up`."
_CLICKUP_GONE = f"ClickUp does not know this token; it may have been replaced or revoked. {_CLICKUP_NEW}"
_CLICKUP_TEAM = f"This token may not see your ClickUp workspace. Sign in there as one of its people. {_CLICKUP_NEW}"
CLICKUP: dict[str, str] = {
    "OAUTH_007": "The ClickUp app sends people back to another address than it is set up with. Correct it in ClickUp.",
    "OAUTH_010": f"The ClickUp app of this token is gone or was not set up right. {_CLICKUP_NEW}",
    "OAUTH_017": f"ClickUp found no token in my question. {_CLICKUP_COPY}",
    **dict.fromkeys(("OAUTH_018", "OAUTH_019", "OAUTH_021", "OAUTH_025", "OAUTH_077"), _CLICKUP_GONE),
    **dict.fromkeys(("OAUTH_023", "OAUTH_026", "OAUTH_027"), _CLICKUP_TEAM),
    **{f"OAUTH_{number:03}": _CLICKUP_TEAM for number in range(29, 46)},
    "OAUTH_171": "ClickUp already has what I asked it to set up. There is nothing to do.",
    "malformed": f"What stands in CLICKUP_TOKEN cannot be a token. {_CLICKUP_COPY}",
    "ratelimited": "ClickUp asks me to wait a while. There is nothing to do: I ask again later.",
    "service_unavailable": "ClickUp has trouble of its own right now. There is nothing to do: I ask again later.",
    "unknown": "ClickUp answered something I do not understand. I ask again later.",
}
