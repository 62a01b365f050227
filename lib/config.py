"""The settings, and the only place that reads the environment.

Values come from the environment and from the file `.env` beside the scripts; the environment wins.
`.env.example` explains every line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dotenv import dotenv_values

from lib.secret import Secret

ENV_FILE = Path(__file__).parent.parent / ".env"


class ConfigError(Exception):
    """The settings are not usable. The text names every line that is wrong and holds no value of any of them."""


@dataclass(frozen=True)
class Settings:
    """Everything the scripts are told from outside. Printing it shows no secret."""

    telegram_token: Secret
    telegram_api_url: str
    owner_id: int
    allowed_user_ids: frozenset[int]
    database_url: Secret
    redis_url: Secret
    anthropic_api_key: Secret | None
    anthropic_base_url: str
    claude_model: str
    history_tokens: int

    @property
    def bot_id(self) -> int:
        """Telegram's id of this bot: the digits before the colon of its token."""
        return int(self.telegram_token.reveal().split(":")[0])

    @property
    def secrets(self) -> list[str]:
        """Every value that must not appear in a log: the tokens, and the passwords inside the URLs."""
        values = [self.telegram_token.reveal()]
        if self.anthropic_api_key:
            values.append(self.anthropic_api_key.reveal())
        for url in (self.database_url, self.redis_url):
            values += [url.reveal(), *_passwords(url.reveal())]
        return values


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Read and check all settings.

    Raises ConfigError that names everything missing or wrong at once, so that one look at the log is enough.
    """
    values = _environment() if environment is None else environment
    problems: list[str] = []

    def take(name: str, shape: str, meaning: str, default: str | None = None) -> str:
        value = values.get(name, "").strip() or default or ""
        if not value and default is None:
            problems.append(f"{name} is missing: {meaning}")
        elif value and not re.fullmatch(shape, value):
            problems.append(f"{name} does not look right: {meaning}")
            return ""
        return value

    token = take("TELEGRAM_BOT_TOKEN", r"\d+:[A-Za-z0-9_-]{30,}", "the token @BotFather gave you, digits:letters")
    owner = take("OWNER_ID", r"[1-9]\d{0,15}", "your Telegram user id, a number (the bot tells it to you)", "")
    allowed = take("ALLOWED_USER_IDS", r"[,\s]*(\d{1,16}([,\s]+|$))*", "user ids with commas between them", default="")
    database = take("DATABASE_URL", r"postgres(ql)?://[^\s/]+/[^\s/]+", "postgresql://user:password@host:port/database")
    redis = take("REDIS_URL", r"rediss?://\S+", "redis://:password@host:port/0")
    key = take("ANTHROPIC_API_KEY", r"[\x21-\x7e]{8,}", "a key from the Claude Console", default="")
    telegram_url = take("TELEGRAM_API_URL", r"https?://\S+", "an http(s) address", "https://api.telegram.org")
    claude_url = take("ANTHROPIC_BASE_URL", r"https?://\S+", "an http(s) address", "https://api.anthropic.com")
    model = take("CLAUDE_MODEL", r"[a-z0-9.-]+", "the id of a Claude model", "claude-sonnet-5-5")
    tokens = take("HISTORY_TOKENS", r"[1-9]\d{3,6}", "a number of tokens from 1000", "60000")
    for name, url in (("DATABASE_URL", database), ("REDIS_URL", redis)):
        if url and not _readable(url):
            problems.append(f"{name} does not look right: write special characters of the password as %XX")
    if problems:
        raise ConfigError(
            "; ".join(problems) + ". Mend these lines in .env (.env.example explains each) and start again."
        )
    return Settings(
        telegram_token=Secret(token),
        telegram_api_url=telegram_url.rstrip("/"),
        owner_id=int(owner or 0),
        allowed_user_ids=frozenset(int(i) for i in allowed.replace(",", " ").split()),
        database_url=Secret(database),
        redis_url=Secret(redis),
        anthropic_api_key=Secret(key) if key else None,
        anthropic_base_url=claude_url.rstrip("/"),
        claude_model=model,
        history_tokens=int(tokens),
    )


def _environment() -> dict[str, str]:
    """The environment over `.env`. STEWARD_ENV_FILE names another file: the demo and the tests must not read yours."""
    path = os.environ.get("STEWARD_ENV_FILE") or str(ENV_FILE)
    try:
        from_file = {name: value for name, value in dotenv_values(path, interpolate=False).items() if value is not None}
    except UnicodeDecodeError:
        raise ConfigError(f"{Path(path).name} is not UTF-8 text. Save it as UTF-8 and start again.") from None
    return {**from_file, **os.environ}


def _passwords(url: str) -> list[str]:
    """The password of a URL as written there and as it is after decoding."""
    password = urlsplit(url).password
    return [password, unquote(password)] if password else []


def _readable(url: str) -> bool:
    """Whether host and port can be taken from the URL: `/`, `?` or `#` in a password end the host too early."""
    try:
        parts = urlsplit(url)
        early = "@" in parts.path + parts.query + parts.fragment or bool(parts.fragment)
        return bool(parts.hostname) and not early and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
