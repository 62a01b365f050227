"""`make backup`: the file, and the audit row that tells of it.

Docker is played by a script that runs PostgreSQL's programs here; `make compose-test` does the same with a real one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2.extensions
import pytest

from demo.servers import Stores, find_postgres
from demo.stack import make_database
from lib import audit
from lib.db import Database
from lib.secret import Secret

ROOT = Path(__file__).parent.parent
DOCKER = """#!/bin/sh
shift 4  # compose exec -T postgres
[ "$1" != "$BROKEN" ] || { echo "$1 is broken" >&2; exit 1; }
PATH=$POSTGRES:$PATH exec "$@"
"""


@dataclass
class Place:
    """A clone of the repository, as far as docker/backup looks at it, and the database it is about."""

    folder: Path
    stores: Stores
    database: Database

    def backup(self, broken: str = "") -> subprocess.CompletedProcess[str]:
        postgres = self.stores.postgres
        environment = {
            "PATH": f"{self.folder / 'bin'}:{os.defpath}",
            "POSTGRES": str(find_postgres()),
            "BROKEN": broken,
            "PGHOST": "127.0.0.1",
            "PGPORT": str(postgres.port),
            "PGUSER": "postgres",
            "PGPASSWORD": postgres.password,
        }
        command = ["sh", "docker/backup", "a.dump"]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=60)

    def told(self) -> list[audit.Row]:
        with self.database.statement() as cur:
            return audit.last(cur, 10)


@pytest.fixture
def place(stores: Stores, tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "docker").mkdir()
    for name in ("backup", "common"):
        shutil.copy(ROOT / "docker" / name, tmp_path / "docker")
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin" / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    database = Database(Secret(make_database(stores.postgres, "steward")), "test")
    yield Place(tmp_path, stores, database)
    database.close()
    psycopg2.extensions.set_wait_callback(None)  # the scripts' deadline is not for the tests' own connections
    stores.postgres.drop_database("steward")


def test_a_backup_is_told_of_with_its_size(place: Place) -> None:
    with place.database.statement() as cur:
        assert audit.last_backup(cur) is None
    done = place.backup()
    assert done.returncode == 0, done.stderr
    [row] = place.told()
    assert (row.actor, row.action, row.outcome) == (audit.SYSTEM, "backup.made", "success")
    with place.database.statement() as cur:
        cur.execute("SELECT detail FROM audit")
        assert cur.fetchall() == [({"bytes": (place.folder / "a.dump").stat().st_size},)]
        made = audit.last_backup(cur)
    assert made is not None
    assert abs(datetime.now(UTC) - made) < timedelta(minutes=1)


def test_a_backup_that_cannot_be_told_of_is_a_backup_all_the_same(place: Place) -> None:
    done = place.backup(broken="psql")
    assert done.returncode == 0
    assert done.stdout.startswith("Wrote a.dump")
    assert "The backup is made, but Steward could not be told of it" in done.stderr
    assert (place.folder / "a.dump").stat().st_size > 1000
    assert place.told() == []


def test_a_backup_that_failed_is_not_told_of(place: Place) -> None:
    assert place.backup(broken="pg_restore").returncode == 1
    assert sorted(path.name for path in place.folder.iterdir()) == ["bin", "docker"]
    assert place.told() == []
