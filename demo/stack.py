"""Steward's real scripts as processes, and the settings that point them at stores and simulators on this machine."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg2

from demo.children import Argument, child
from demo.claude import ClaudeSim
from demo.oauth import GoogleSim
from demo.servers import Postgres
from demo.telegram import ALICE, BOB, TelegramSim
from demo.tokens import ClickUpSim, SlackSim

ROOT = Path(__file__).parent.parent
SCHEMA = ROOT / "schema.sql"

# In every secret made up here stands the mark of its kind, new with every start: the tests hunt for these marks in
# whatever was written, and no scanner finds a fixed token in our files.
MARKS = {
    kind: os.urandom(10).hex()
    for kind in (
        *("master key", "database password", "telegram", "slack", "clickup", "claude key", "claude plan"),
        *("claude oauth", "google client", "google tokens"),
    )
}
APP_PASSWORD = f"demo-only-{MARKS['database password']}"  # for servers that end with us


def made_up(kind: str) -> str:
    """A secret that looks like a real one of its kind, another one each time."""
    mark, chance = MARKS[kind], os.urandom(24).hex()
    shapes = {
        "master key": mark + chance[:44],
        "telegram": f"{random.randrange(10**8, 10**9)}:{chance[:15]}{mark}",
        "slack": f"xoxb-{random.randrange(10**11, 10**12)}-{chance}{mark}",
        "clickup": f"pk_{random.randrange(10**7, 10**8)}_{chance[:12]}{mark}".upper().replace("PK_", "pk_"),
        "claude key": f"sk-ant-api03-{chance}{mark}",
        "claude plan": f"sk-ant-oat01-{chance}{mark}",
        "claude oauth": f"sk-ant-ort01-{chance}{mark}",
        "google client": f"GOCSPX-{chance[:8]}{mark}",
    }
    return shapes[kind]


def make_database(postgres: Postgres, name: str, template: str | None = None) -> str:
    """A database with Steward's tables; its URL for the application role. `template`: a database made here before."""
    postgres.create_database(name, template)
    if template is None:
        postgres.run_sql_file(SCHEMA, name)
        connection = psycopg2.connect(postgres.url(name))
        with connection, connection.cursor() as cur:
            cur.execute("ALTER ROLE steward_app PASSWORD %s", (APP_PASSWORD,))
        connection.close()
    return postgres.url(name, "steward_app", APP_PASSWORD)


def environment(**settings: str) -> dict[str, str]:
    """An environment with these settings and nothing of the caller's: no proxy, no token, no `.env`."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {"STEWARD_ENV_FILE": os.devnull, "PYTHONDONTWRITEBYTECODE": "1"} | settings


class Script:
    """One of the scripts: bot.py, worker.py or healthwatch.py. Its log goes to a file, one JSON object per line."""

    def __init__(self, name: str, env: dict[str, str], folder: Path, number: int = 1) -> None:
        self.name = name
        self.log = folder / f"{name}-{number}.log"
        self.command: list[Argument] = [sys.executable, ROOT / f"{name}.py"]
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._started().pid

    def start(self) -> None:
        """Start it, from the main thread; returns at once."""
        with self.log.open("ab") as log:
            self._process = child(self.command, env=self._env, stdout=log, stderr=log)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        if self._process is not None and self.running:
            self._process.kill()
            self._process.wait()

    def stop(self, seconds: float = 25.0) -> int | None:
        """SIGTERM, then its exit code; None when it had to be killed after so many seconds."""
        if self._process is None:
            return None
        self._process.terminate()
        return self.wait(seconds)

    def wait(self, seconds: float) -> int | None:
        """Its exit code once it has ended; None when it had to be killed after so many seconds."""
        try:
            return self._started().wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._process

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged. Raises ValueError for a line that is not JSON: there must never be one."""
        if not self.log.exists():
            return []
        text = self.log.read_text()
        whole = text[: text.rfind("\n") + 1]  # it may be writing the last one just now
        return [json.loads(line) for line in whole.splitlines()]

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines()]


class Stack:
    """The world outside as simulators, one bot, some workers and with `watch` a healthwatch, around a database and a
    Redis that run already.

    Alice is the owner, Bob is allowed, Charlie is a stranger. With `anthropic_api_key` the workers ask the real
    Claude, and `claude` idles.
    """

    def __init__(
        self,
        folder: Path,
        database_url: str,
        redis_url: str,
        workers: int = 1,
        anthropic_api_key: str = "",
        settings: dict[str, str] | None = None,
        watch: bool = False,
    ) -> None:
        self.database_url = database_url
        self.telegram = TelegramSim(made_up("telegram"))
        self.claude = ClaudeSim(made_up("claude key"))
        self.slack = SlackSim(made_up("slack"))
        self.clickup = ClickUpSim(made_up("clickup"))
        self.google = GoogleSim(f"{os.urandom(6).hex()}.apps.googleusercontent.com", made_up("google client"))
        self.google.canary = MARKS["google tokens"]
        for simulator in self.simulators:
            simulator.start()
        self.env = environment(
            MASTER_KEY=made_up("master key"),
            TELEGRAM_BOT_TOKEN=self.telegram.token,
            TELEGRAM_API_URL=self.telegram.url,
            OWNER_ID=str(ALICE.id),
            ALLOWED_USER_IDS=f"{ALICE.id},{BOB.id}",
            DATABASE_URL=database_url,
            REDIS_URL=redis_url,
            ANTHROPIC_API_KEY=anthropic_api_key or self.claude.api_key,
            ANTHROPIC_BASE_URL="https://api.anthropic.com" if anthropic_api_key else self.claude.url,
            SLACK_TOKEN=self.slack.token,
            SLACK_API_URL=self.slack.url,
            CLICKUP_TOKEN=self.clickup.token,
            CLICKUP_API_URL=self.clickup.url,
            GOOGLE_URL=self.google.url,
            GOOGLE_CLIENT_ID=self.google.client_id,
            GOOGLE_CLIENT_SECRET=self.google.client_secret,
            OAUTHLIB_INSECURE_TRANSPORT="1",  # the simulator speaks plain HTTP
            HEALTH_SECONDS="30" if watch else "999",  # so long the bot does not miss a healthwatch that is not there
            TURNS_PER_HOUR="9999",  # tests are in a hurry
            HEALTH_FILE=str(folder / "health.json"),
            DISK_PATHS=str(folder),
        ) | (settings or {})
        self.bot = Script("bot", self.env, folder)
        self.workers = [Script("worker", self.env, folder, number) for number in range(1, workers + 1)]
        self.healthwatch = Script("healthwatch", self.env, folder)
        self._watch = watch

    @property
    def simulators(self) -> list[TelegramSim | ClaudeSim | SlackSim | ClickUpSim | GoogleSim]:
        return [self.telegram, self.claude, self.slack, self.clickup, self.google]

    @property
    def scripts(self) -> list[Script]:
        return [self.bot, *self.workers, *([self.healthwatch] if self._watch else [])]

    def start(self) -> None:
        for script in self.scripts:
            script.start()

    def stop(self) -> None:
        """End the scripts politely, all at once, and then the simulators."""
        for script in self.scripts:
            if script.running:
                script.signal(signal.SIGTERM)
        for script in self.scripts:
            script.stop()
        for simulator in self.simulators:
            simulator.stop()

    def idle(self) -> bool:
        """Whether all that anyone wrote is stored, answered and sent. Raises OperationalError without a database."""
        if self.telegram.pending():
            return False
        connection = psycopg2.connect(self.database_url, connect_timeout=5)
        try:
            with connection.cursor() as cur:
                cur.execute(
                    "SELECT NOT EXISTS (SELECT FROM inbox WHERE state = 'waiting')"
                    " AND NOT EXISTS (SELECT FROM outbox WHERE state IN ('pending', 'sending'))"
                )
                return bool((cur.fetchone() or [False])[0])
        finally:
            connection.close()
