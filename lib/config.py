"""The settings, and the only place that reads the environment.

Values come from the environment and from the file `.env` beside the scripts; the environment wins.
`.env.example` explains every line but HEARTBEAT_FILE and HEALTH_FILE, which docker-compose.yml sets.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dotenv import dotenv_values

from lib.secret import Secret

VERSION = "0.1"  # of Steward; CHANGELOG.md tells what is in it

ENV_FILE = Path(__file__).parent.parent / ".env"

KEY_ADVICE = "the one this installation began with; only for a new one make it with: openssl rand -hex 32"
SAFE_URL = r"https://\S+|http://(127\.0\.0\.1|localhost|\[::1\])[:/]\S*"  # a refresh token goes there

# Every line there is: its shape, what it is, and its default (None: it must be given).
LINES: dict[str, tuple[str, str, str | None]] = {
    "MASTER_KEY": (r"[0-9a-fA-F]{64}", f"64 hex characters, {KEY_ADVICE}", None),
    "OLD_MASTER_KEY": (r"[0-9a-fA-F]{64}", "64 hex characters", ""),
    "TELEGRAM_BOT_TOKEN": (r"[0-9]{1,16}:[A-Za-z0-9_-]{30,}", "the token @BotFather gave you, digits:letters", ""),
    "OWNER_ID": (r"[1-9]\d{0,15}", "your Telegram user id, a number (the bot tells it to you)", ""),
    "ALLOWED_USER_IDS": (r"[,\s]*(\d{1,16}([,\s]+|$))*", "user ids with commas between them", ""),
    "ALLOWED_CHAT_IDS": (r"[,\s]*(-\d{1,16}([,\s]+|$))*", "ids of groups (below 0) with commas between them", ""),
    "TURNS_PER_HOUR": (r"[1-9]\d{0,4}", "a number of messages from 1", "120"),
    "DATABASE_URL": (
        r"postgres(ql)?://[^\s/]+/[^\s/?]+(\?\S+)?",
        "postgresql://user:password@host:port/database",
        None,
    ),
    "REDIS_URL": (r"rediss?://(\S*@)?[^\s@,]+", "redis://:password@host:port/0", None),
    "QDRANT_URL": (r"https?://\S+", "http://host:6333", ""),
    "QDRANT_API_KEY": (r"[\x21-\x7e]+", "the API key Qdrant was started with", ""),
    "TIMEZONE": (r"[A-Za-z0-9+_/-]+", "the name of a time zone, such as Europe/Berlin", "UTC"),
    "HEALTH_SECONDS": (r"[1-9]\d{0,2}", "a number of seconds, 1 to 999", "30"),
    "HEALTH_PING_URL": (r"https?://\S+", "the address that an outside monitor gave you", ""),
    "DISK_PATHS": (r"/\S*(\s+/\S*)*", "folders with blanks between them, each beginning with /", "/"),
    "AUDIT_DAYS": (r"[3-9]\d|[1-9]\d{2,3}", "a number of days, 30 or more", "30"),
    "CLAUDE_MODEL": (r"[a-z0-9.-]+", "the id of a Claude model", "claude-sonnet-5-5"),
    "HISTORY_TOKENS": (r"[1-9]\d{3,6}", "a number of tokens from 1000", "60000"),
    "ANTHROPIC_API_KEY": (
        r"(?!sk-ant-o[a-z]t)[\x21-\x7e]{8,}",
        "a key from the Claude Console (what `claude setup-token` prints goes into CLAUDE_CODE_OAUTH_TOKEN)",
        "",
    ),
    "CLAUDE_CODE_OAUTH_TOKEN": (r"sk-ant-oat[\x21-\x7e]{16,}", "what `claude setup-token` prints, sk-ant-oat...", ""),
    "ANTHROPIC_OAUTH_ACCESS_TOKEN": (r"[\x21-\x7e]{8,}", "the access token of an OAuth login", ""),
    "ANTHROPIC_OAUTH_REFRESH_TOKEN": (r"[\x21-\x7e]{8,}", "the refresh token of an OAuth login", ""),
    "ANTHROPIC_OAUTH_CLIENT_ID": (r"[\x21-\x7e]+", "the client id of an OAuth login", ""),
    "ANTHROPIC_OAUTH_TOKEN_URL": (SAFE_URL, "the https address that renews the login", ""),
    "SLACK_TOKEN": (r"xox[bp]-[A-Za-z0-9-]{10,}", "a bot or user token, xoxb-... or xoxp-...", ""),
    "CLICKUP_TOKEN": (r"pk_\d+_[A-Za-z0-9]{16,}", "a personal API token, pk_...", ""),
    "GOOGLE_CLIENT_ID": (r"[\w.-]+\.apps\.googleusercontent\.com", "the id of a Desktop client", ""),
    "GOOGLE_CLIENT_SECRET": (r"[A-Za-z0-9_-]{20,}", "the secret of the Desktop client", ""),
    "GOOGLE_SCOPES": (
        r"[\x21-\x7e]+(\s+[\x21-\x7e]+)*",
        "scopes with blanks between them",
        "https://www.googleapis.com/auth/calendar.readonly https://www.googleapis.com/auth/gmail.readonly",
    ),
    "TELEGRAM_API_URL": (r"https?://\S+", "an http(s) address", "https://api.telegram.org"),
    "ANTHROPIC_BASE_URL": (r"https?://\S+", "an http(s) address", "https://api.anthropic.com"),
    "SLACK_API_URL": (r"https?://\S+", "an http(s) address", "https://slack.com/api"),
    "CLICKUP_API_URL": (r"https?://\S+", "an http(s) address", "https://api.clickup.com/api"),
    "GOOGLE_URL": (r"https?://\S+", "an http(s) address", ""),
    "HEARTBEAT_FILE": (r"/.+", "the path of a file", ""),
    "HEALTH_FILE": (r"/.+", "the path of a file", str(ENV_FILE.parent / "healthwatch.json")),
}
LOGIN = [name for name in LINES if name.startswith("ANTHROPIC_OAUTH_")]


class ConfigError(Exception):
    """The settings are not usable. The text names every line that is wrong and holds no value of any of them."""


@dataclass(frozen=True)
class Entry:
    """A credential as it stands in `.env`, on its way to being sealed. `kind`: token, api_key, plan_token or oauth."""

    line: str  # where it stands
    service: str
    kind: str
    token: Secret
    refresh_token: Secret | None = None  # these three only for oauth
    client_id: str = ""
    token_url: str = ""


@dataclass(frozen=True)
class Settings:
    """Everything the scripts are told from outside. Printing it shows no secret."""

    master_key: Secret
    old_master_key: Secret | None
    entries: tuple[Entry, ...]
    owner_id: int
    allowed_user_ids: frozenset[int]
    allowed_chat_ids: frozenset[int]  # groups, below 0
    turns_per_hour: int  # for each person but the owner
    database_url: Secret
    redis_url: Secret
    qdrant_url: str  # empty: there is none
    qdrant_api_key: Secret | None
    timezone: ZoneInfo  # the owner's: times are told in it
    health_seconds: int  # between two checks of the same part
    health_ping_url: Secret | None  # whoever knows the address can send pings in our name
    disk_paths: tuple[str, ...]  # the disks they are on are watched
    audit_days: int  # how long audit rows and what Telegram sent are kept
    claude_model: str
    history_tokens: int
    google_client_id: str
    google_client_secret: Secret | None
    google_scopes: tuple[str, ...]
    telegram_api_url: str
    anthropic_base_url: str
    slack_api_url: str
    clickup_api_url: str
    google_url: str  # empty: Google's own addresses
    heartbeat_file: str  # empty: none is kept
    health_file: str

    @property
    def secrets(self) -> list[str]:
        """Every value that must not appear in a log: keys, tokens, and the passwords inside the URLs."""
        known = [self.master_key, self.old_master_key, self.google_client_secret, self.qdrant_api_key]
        known.append(self.health_ping_url)
        for entry in self.entries:
            known += [entry.token, entry.refresh_token]
        values = [secret.reveal() for secret in known if secret]
        for url in (self.database_url, self.redis_url):
            values += [url.reveal(), *_passwords(url.reveal())]
        return values


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Read and check all settings.

    Raises ConfigError that names everything missing or wrong at once, so that one look at the log is enough.
    """
    given = _environment() if environment is None else environment
    values, problems = _checked(given)
    entries = _entries(values)
    doors = [entry.line for entry in entries if entry.service == "claude"]
    if len(doors) > 1:
        problems.append(f"{' and '.join(doors)} are {len(doors)} ways to Claude: keep the one you mean")
    if problems:
        raise ConfigError(
            "; ".join(problems) + ". Mend these lines in .env (.env.example explains each) and start again."
        )
    return Settings(
        master_key=Secret(values["MASTER_KEY"]),
        old_master_key=_secret(values["OLD_MASTER_KEY"]),
        entries=tuple(entries),
        owner_id=int(values["OWNER_ID"] or 0),
        allowed_user_ids=_ids(values["ALLOWED_USER_IDS"]),
        allowed_chat_ids=_ids(values["ALLOWED_CHAT_IDS"]),
        turns_per_hour=int(values["TURNS_PER_HOUR"]),
        database_url=Secret(values["DATABASE_URL"]),
        redis_url=Secret(values["REDIS_URL"]),
        qdrant_url=values["QDRANT_URL"].rstrip("/"),
        qdrant_api_key=_secret(values["QDRANT_API_KEY"]),
        timezone=ZoneInfo(values["TIMEZONE"]),
        health_seconds=int(values["HEALTH_SECONDS"]),
        health_ping_url=_secret(values["HEALTH_PING_URL"]),
        disk_paths=tuple(values["DISK_PATHS"].split()),
        audit_days=int(values["AUDIT_DAYS"]),
        claude_model=values["CLAUDE_MODEL"],
        history_tokens=int(values["HISTORY_TOKENS"]),
        google_client_id=values["GOOGLE_CLIENT_ID"],
        google_client_secret=_secret(values["GOOGLE_CLIENT_SECRET"]),
        google_scopes=tuple(values["GOOGLE_SCOPES"].split()),
        telegram_api_url=values["TELEGRAM_API_URL"].rstrip("/"),
        anthropic_base_url=values["ANTHROPIC_BASE_URL"].rstrip("/"),
        slack_api_url=values["SLACK_API_URL"].rstrip("/"),
        clickup_api_url=values["CLICKUP_API_URL"].rstrip("/"),
        google_url=values["GOOGLE_URL"].rstrip("/"),
        heartbeat_file=values["HEARTBEAT_FILE"],
        health_file=values["HEALTH_FILE"],
    )


def _checked(given: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Every line's value or default, and what is wrong, without any value."""
    values: dict[str, str] = {}
    problems: list[str] = []
    for name, (shape, meaning, default) in LINES.items():
        values[name] = given.get(name, "").strip() or default or ""
        fits = bool(re.fullmatch(shape, values[name])) and (name != "TIMEZONE" or _is_zone(values[name]))
        if not values[name] and default is None:
            problems.append(f"{name} is missing: {meaning}")
        elif values[name] and not fits:
            problems.append(f"{name} does not look right: {meaning}")
        elif name in ("DATABASE_URL", "REDIS_URL") and not _readable(values[name]):
            problems.append(f"{name} does not look right: write special characters of the password as %XX")
    if any(values[name] for name in LOGIN):
        lacking = [name for name in LOGIN if not values[name]]
        problems += [f"{name} is missing: the four ANTHROPIC_OAUTH lines belong together" for name in lacking]
    return values, problems


def _entries(values: Mapping[str, str]) -> list[Entry]:
    """The credentials that stand in `.env`."""
    entries = [
        Entry(name, service, kind, Secret(values[name]))
        for name, service, kind in (
            ("TELEGRAM_BOT_TOKEN", "telegram", "token"),
            ("SLACK_TOKEN", "slack", "token"),
            ("CLICKUP_TOKEN", "clickup", "token"),
            ("ANTHROPIC_API_KEY", "claude", "api_key"),
            ("CLAUDE_CODE_OAUTH_TOKEN", "claude", "plan_token"),
        )
        if values[name]
    ]
    if any(values[name] for name in LOGIN):
        access, refresh, client_id, token_url = (values[name] for name in LOGIN)
        line = "ANTHROPIC_OAUTH_*"
        entries.append(Entry(line, "claude", "oauth", Secret(access), Secret(refresh), client_id, token_url))
    return entries


def _secret(value: str) -> Secret | None:
    return Secret(value) if value else None


def _ids(value: str) -> frozenset[int]:
    return frozenset(int(one) for one in value.replace(",", " ").split())


def _environment() -> dict[str, str]:
    """The environment over `.env`. STEWARD_ENV_FILE names another file: the demo and the tests must not read yours."""
    path = os.environ.get("STEWARD_ENV_FILE") or str(ENV_FILE)
    try:
        from_file = {name: value for name, value in dotenv_values(path, interpolate=False).items() if value is not None}
    except UnicodeDecodeError:
        raise ConfigError(f"{Path(path).name} is not UTF-8 text. Save it as UTF-8 and start again.") from None
    return {**from_file, **os.environ}


def hosts(url: str) -> list[tuple[str, int | None]]:
    """The host and port of a URL, or several with commas between them. Raises ValueError."""
    places = urlsplit(url).netloc.rpartition("@")[2].split(",")
    return [(parts.hostname or "", parts.port) for parts in (urlsplit(f"//{place}") for place in places)]


def _passwords(url: str) -> list[str]:
    """The passwords of a URL as written there and as they are after decoding; `?sslpassword=` is one too."""
    parts = urlsplit(url)
    password = parts.password or ""
    asked = [value for name, value in parse_qsl(parts.query) if name.endswith("password")]
    return [value for value in (password, unquote(password), *asked) if value]


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError):  # it is looked for as a file
        return False
    return True


def _readable(url: str) -> bool:
    """Whether host and port can be taken from the URL: `/`, `?` or `#` in a password end the host too early."""
    try:
        parts = urlsplit(url)
        early = "@" in parts.path + parts.query + parts.fragment or bool(parts.fragment)
        return not early and all(host and port != 0 for host, port in hosts(url))
    except ValueError:
        return False
