"""What demo and tests count on: real servers that start, survive a crash, freeze, and never outlive their parent."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from demo import servers
from demo.children import alive, child, family, free_port, wait_until
from demo.servers import Postgres, Redis, ServerError, temporary_folder

ROOT = Path(__file__).parent.parent

PARENT = """
import json, sys, time
from pathlib import Path
from demo.children import family
from demo.servers import Postgres, Redis

folder, other, note = map(Path, sys.argv[1:])
servers = Postgres(folder), Redis(other)
for server in servers:
    server.start()
note.with_suffix(".new").write_text(json.dumps([pid for server in servers for pid in family(server.pid)]))
note.with_suffix(".new").rename(note)
time.sleep(60)
"""


@contextmanager
def scratch() -> Iterator[Path]:
    folder = temporary_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch() as folder:
        yield folder


@pytest.fixture
def second_folder() -> Iterator[Path]:
    with scratch() as folder:
        yield folder


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with scratch() as folder:
        server = Postgres(folder)
        server.start()
        server.create_database("steward")
        yield server
        server.stop()


@pytest.fixture(scope="module")
def store() -> Iterator[Redis]:
    with scratch() as folder:
        server = Redis(folder)
        server.start()
        yield server
        server.stop()


def test_postgres_answers_in_utf8_with_durable_commits(postgres: Postgres) -> None:
    assert ask(postgres, "SHOW server_encoding") == "UTF8"
    assert ask(postgres, "SHOW fsync") == "on"
    assert ask(postgres, "SHOW synchronous_commit") == "on"
    assert ask(postgres, "SELECT lower('ПРИВЕТ')") == "привет"


def test_postgres_wants_the_password(postgres: Postgres) -> None:
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(postgres.url(password="guess"), connect_timeout=5)


def test_redis_answers_and_wants_the_password(store: Redis) -> None:
    with client(store) as ours, redis.Redis(port=store.port, retry=Retry(NoBackoff(), 0)) as stranger:
        assert ours.ping()
        with pytest.raises(redis.AuthenticationError):
            stranger.ping()


def test_a_committed_row_survives_kill_and_start_on_the_same_port(postgres: Postgres) -> None:
    port = postgres.port
    ask(postgres, "CREATE TABLE kept (word text); INSERT INTO kept VALUES ('here') RETURNING 1")
    postgres.kill()
    postgres.start()
    assert postgres.port == port
    assert ask(postgres, "SELECT word FROM kept") == "here"


def test_a_redis_key_survives_kill_and_start_on_the_same_port(store: Redis) -> None:
    port = store.port
    with client(store) as ours:
        ours.set("kept", "here")
    store.kill()
    store.start()
    assert store.port == port
    with client(store) as ours:
        assert ours.get("kept") == b"here"


def test_kill_leaves_no_process_lock_file_or_shared_memory_behind(postgres: Postgres) -> None:
    members = family(postgres.pid)
    memory = int((postgres.data / "postmaster.pid").read_text().splitlines()[6].split()[1])
    assert memory in shared_memory()
    postgres.kill()
    assert not any(map(alive, members))
    assert not (postgres.data / "postmaster.pid").exists()
    assert memory not in shared_memory()
    postgres.start()


def test_stop_leaves_no_process_behind_even_when_frozen(postgres: Postgres, store: Redis) -> None:
    members = family(postgres.pid) + family(store.pid)
    assert len(members) > 2
    postgres.freeze()
    store.freeze()
    postgres.stop()
    store.stop()
    assert not any(map(alive, members))
    postgres.start()
    store.start()


def test_restart_keeps_port_and_password(postgres: Postgres, store: Redis) -> None:
    before = postgres.url(), store.url
    postgres.restart()
    store.restart()
    assert (postgres.url(), store.url) == before
    assert ask(postgres, "SELECT 1") == 1


def test_frozen_servers_hang_and_thawed_ones_go_on_with_the_same_connection(postgres: Postgres, store: Redis) -> None:
    connection = psycopg2.connect(postgres.url(), connect_timeout=5)
    with client(store) as ours, connection.cursor() as cursor:
        ours.ping()
        postgres.freeze()
        store.freeze()
        with pytest.raises(redis.TimeoutError):
            ours.ping()
        with pytest.raises(psycopg2.OperationalError, match=r"timeout expired|no answer within"):
            psycopg2.connect(postgres.url(), connect_timeout=2)
        postgres.thaw()
        store.thaw()
        assert ours.ping()
        cursor.execute("SELECT 1")
    connection.close()


def test_both_die_when_their_parent_is_killed(folder: Path, second_folder: Path) -> None:
    data, note = second_folder, folder / "pids"
    parent = child(
        [sys.executable, "-c", PARENT, data, folder, note],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert wait_until(note.exists, 30)
    pids = json.loads(note.read_text())
    assert len(pids) > 2
    assert all(map(alive, pids))
    parent.send_signal(signal.SIGKILL)
    parent.wait(10)
    assert wait_until(lambda: not any(map(alive, pids)), 10)
    assert not (data / "data" / "postmaster.pid").exists(), "PostgreSQL did not shut down in good order"


def test_a_sql_file_runs_up_to_its_first_error_and_raises_psqls_own_words(postgres: Postgres, folder: Path) -> None:
    file = folder / "schema.sql"
    file.write_text(
        "CREATE TABLE first (id int);\nCREATE TABLE IF NOT EXISTS first (id int);\nSELECT nonsense;\nSELECT 1;"
    )
    with pytest.raises(ServerError) as caught:
        postgres.run_sql_file(file, "steward")
    assert f'{file}:3: ERROR:  column "nonsense" does not exist' in str(caught.value)
    assert postgres.password not in str(caught.value)
    assert ask(postgres, "SELECT count(*) FROM first") == 0


def test_a_database_can_be_copied_dumped_and_dropped_while_in_use(postgres: Postgres) -> None:
    postgres.create_database("source")
    ask(postgres, "CREATE TABLE things (name text); INSERT INTO things VALUES ('a teapot') RETURNING 1", "source")
    postgres.create_database("copy", template="source")
    assert b"a teapot" in postgres.dump("copy")
    connection = psycopg2.connect(postgres.url("copy"), connect_timeout=5)
    for database in ("source", "copy"):
        postgres.drop_database(database)
    connection.close()
    with pytest.raises(ServerError, match='database "copy" does not exist'):
        postgres.dump("copy")


def test_rows_do_not_get_into_the_server_log(postgres: Postgres) -> None:
    ask(postgres, "CREATE TABLE diary (line text PRIMARY KEY); INSERT INTO diary VALUES ('very private') RETURNING 1")
    with pytest.raises(psycopg2.IntegrityError):
        ask(postgres, "INSERT INTO diary VALUES ('very private') RETURNING 1")
    log = postgres.log.read_text()
    assert "duplicate key" in log
    assert "private" not in log


def test_no_password_shows_in_the_process_list(postgres: Postgres, store: Redis) -> None:
    for server in (postgres, store):
        for pid in family(server.pid):
            assert server.password.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_picked_port_that_was_snatched_is_replaced_and_a_given_one_is_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(ServerError, match="Address already in use"):
            Redis(folder, port=taken).start()
        free = free_port()
        monkeypatch.setattr(servers, "free_port", iter([taken, free]).__next__)
        store = Redis(folder)
        store.start()
        assert store.port == free
        store.stop()


def test_a_missing_redis_is_one_sentence_with_both_ways_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_package_folders", lambda name: [])
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ServerError, match=r"requirements-dev.txt .* package redis-server"):
        servers.find_redis()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root steps down to another user")
def test_root_can_use_binaries_that_postgres_itself_could_not_reach(
    folder: Path, second_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = servers.find_postgres()
    package = original.parent.parent
    shutil.copytree(original.parent, folder / package.name / original.parent.name, symlinks=True)
    if package.with_suffix(".libs").is_dir():
        shutil.copytree(package.with_suffix(".libs"), folder / f"{package.name}.libs")
    folder.chmod(0o700)
    monkeypatch.setattr(servers, "find_postgres", lambda: folder / package.name / original.parent.name / "bin")
    server = Postgres(second_folder)
    server.start()
    assert Path(f"/proc/{server.pid}/exe").resolve().is_relative_to(server.folder)
    server.run_sql_file(Path(os.devnull), "postgres")
    server.restart()
    server.stop()


def client(store: Redis) -> redis.Redis:
    return redis.Redis.from_url(store.url, socket_timeout=0.5, retry=Retry(NoBackoff(), 0))


def ask(postgres: Postgres, statement: str, database: str = "steward") -> object:
    """The first value of the answer, committed."""
    connection = psycopg2.connect(postgres.url(database), connect_timeout=5)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            row = cursor.fetchone()
            return row[0] if row else None
    finally:
        connection.close()


def shared_memory() -> set[int]:
    """The ids of the machine's System V segments."""
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return {int(line.split()[1]) for line in lines}
