"""The connection to PostgreSQL: one per script, opened when needed, opened again after it was lost.

The table files are given a cursor; the scripts decide with `transaction()` what is saved together.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import psycopg2
import psycopg2.errors
import psycopg2.extensions
from psycopg2.extensions import POLL_OK, POLL_READ, STATUS_SETUP, connection

from lib import config, heartbeat, log
from lib.secret import Secret
from lib.stop import Pauses, Stop

T = TypeVar("T")

DEADLINE = 10.0  # seconds for any one answer of the server, also when it is frozen and not dead

# The keepalives are the server's: of a machine that lost its power or its network it would otherwise keep the session,
# and with it the locks, for two hours.
OPTIONS = (
    "-c statement_timeout=8s -c lock_timeout=5s -c idle_in_transaction_session_timeout=30s"
    " -c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
)


class Down(Exception):
    """PostgreSQL is away, took too long or ended the connection: works later. Whether a commit arrived is unknown."""


class NoTables(Down):
    """PostgreSQL answers, and a table or column is missing: works once schema.sql was run."""


class Duplicate(Exception):
    """A row that may exist only once exists already; the transaction was rolled back."""


class Cursor(psycopg2.extensions.cursor):
    """A cursor that can hold statements back: a round trip costs more than most statements."""

    _held_back: tuple[bytes, ...] = ()

    def later(self, sql: str, parameters: Any = None) -> None:
        """A statement whose result nobody looks at: it travels with the next one, or with the COMMIT."""
        self._held_back += (self.mogrify(sql, parameters),)

    def execute(self, sql: Any, parameters: Any = None) -> None:
        statements = (*self._held_back, self.mogrify(sql, parameters))
        self._held_back = ()
        super().execute(b";\n".join(statements))

    def flush(self) -> None:
        """Send what is still held back."""
        if self._held_back:
            self.execute("SELECT")


class Database:
    """A connection that mends itself. Not for use by several threads."""

    def __init__(self, url: Secret, name: str) -> None:
        """`name` is what pg_stat_activity shows for this script, with something behind it that is only ours."""
        self._url, self.name = url, f"{name} {os.urandom(4).hex()}"
        self._connection: connection | None = None
        self.session = 0  # counts connections: what the last one held (advisory locks) is gone with it

    @contextmanager
    def statement(self) -> Iterator[Cursor]:
        """A cursor without a transaction: what travels together is committed together. Raises Down."""
        with self._translated(), self._cursor() as cur:
            yield cur
            cur.flush()

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        """A cursor inside BEGIN and COMMIT; an exception inside rolls back. Raises Down and Duplicate."""
        with self._translated(), self._cursor() as cur:
            cur.later("BEGIN")
            try:
                yield cur
                cur.execute("COMMIT")
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                raise
            except BaseException:
                self._roll_back()
                raise

    def insist(self, stop: Stop, work: Callable[[Cursor], T]) -> T:
        """Run `work` in a transaction, and again after each Down until it is done: for results too dear to lose.

        An earlier try may have been committed, so `work` must do nothing the second time. Look at `session`
        afterwards: locks may be gone. Raises Down only when a stop was asked for; if that try failed within a second (a
        cut connection), after one more.
        """
        pauses, final_try = Pauses(0.1, 5), False
        while True:
            began = time.monotonic()
            heartbeat.beat()
            try:
                with self.transaction() as cur:
                    return work(cur)
            except Down as exc:
                log.warning(
                    "database_away", "PostgreSQL does not answer; what is to be saved is held until it does.", exc
                )
                was_cut = time.monotonic() - began < 1
                if stop.wait(pauses.next()):
                    if final_try or not was_cut:
                        raise
                    final_try = True

    def connect(self) -> None:
        """Open the connection now, if it is not open. Raises Down."""
        with self._translated():
            self._open()

    def close(self) -> None:
        """Close the connection; the next use opens a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (
            psycopg2.OperationalError,
            psycopg2.InterfaceError,
            psycopg2.errors.ReadOnlySqlTransaction,  # what took writes so far has become a standby
        ) as exc:
            self.close()
            raise Down(_reason(exc)) from exc
        except (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn) as exc:
            raise NoTables("the tables are missing or older than the scripts: run schema.sql") from exc
        except psycopg2.errors.UniqueViolation as exc:
            raise Duplicate(exc.diag.constraint_name) from None

    def _roll_back(self) -> None:
        """Leave the transaction; a connection in which even that fails is given up."""
        if self._connection is None or self._connection.closed:
            return
        try:
            with self._cursor() as cur:
                cur.execute("ROLLBACK")
        except psycopg2.Error:
            self.close()

    def _cursor(self) -> Cursor:
        return self._open().cursor(cursor_factory=Cursor)

    def _open(self) -> connection:
        if self._connection is None or self._connection.closed:
            # Process-wide: every wait for PostgreSQL goes through _wait, which has a deadline and lets signals in.
            psycopg2.extensions.set_wait_callback(_wait)
            opened = _connected(self._url.reveal(), self.name)
            opened.autocommit = True
            self._connection = opened
            self.session += 1
            if self.session > 1:
                self._end_ghosts()
        return self._connection

    def _end_ghosts(self) -> None:
        """End our own earlier sessions: where the network swallowed a connection the server may still keep one alive,
        and we would wait for a lock that only our ghost holds."""
        with self._cursor() as cur:
            cur.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = %s AND pid <> pg_backend_pid()",
                (self.name,),
            )


def running(cur: Cursor, name: str) -> int:
    """How many scripts with this name are connected now: the server's own knowledge, which no crash leaves stale."""
    cur.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE %s",
        (f"{name} %",),
    )
    row = cur.fetchone()
    return int(row[0]) if row else 0


def server_version(cur: Cursor) -> str:
    """The server's own, such as 18.6."""
    cur.execute("SELECT split_part(current_setting('server_version'), ' ', 1)")
    row = cur.fetchone()
    return str(row[0]) if row else ""


def _connected(url: str, name: str) -> connection:
    """A connection to the first host that takes it. libpq would walk along the hosts too, but its own time limit does
    not hold while it is polled, and it would never leave a frozen one."""
    refusals = []
    for parameters in _parameters(url):
        try:
            opened: connection = psycopg2.connect(**parameters, application_name=name)
            return opened
        except psycopg2.OperationalError as exc:
            refusals.append(f"{parameters['host']}: {_reason(exc)}")
    raise psycopg2.OperationalError("; ".join(refusals))


def _parameters(url: str) -> list[dict[str, Any]]:
    """The URL as keywords, for each of its hosts: they share DEADLINE.

    Given the URL itself, psycopg2 prints it, password and all, when it cannot read it.
    """
    parts, hosts = urlsplit(url), config.hosts(url)
    given = dict(parse_qsl(parts.query))
    common: dict[str, Any] = {
        "dbname": unquote(parts.path.lstrip("/")),
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "client_encoding": "UTF8",
        "target_session_attrs": "read-write",  # a standby answers too, and nothing can be saved there
        **given,
        "options": f"{OPTIONS} {given.get('options', '')}",
        "connect_timeout": max(int(DEADLINE / len(hosts)), 1),
    }
    return [{"host": host, "port": port or 5432} | common for host, port in hosts]


def _wait(opened: connection) -> None:
    """Wait until the connection has its answer. Raises OperationalError after DEADLINE; a host has only its share."""
    patience, deadline = DEADLINE, 0.0
    if opened.status == STATUS_SETUP:  # not yet connected
        patience = float(opened.get_dsn_parameters().get("connect_timeout", DEADLINE))
    while (state := opened.poll()) != POLL_OK:
        if not deadline:
            watch, deadline = select.poll(), time.monotonic() + patience
        watch.register(opened.fileno(), select.POLLIN if state == POLL_READ else select.POLLOUT)
        if not watch.poll(max(deadline - time.monotonic(), 0) * 1000) and time.monotonic() >= deadline:
            raise psycopg2.OperationalError(f"no answer within {patience:.0f} s")


def _reason(exc: psycopg2.Error) -> str:
    """One line without row contents, such as 'Connection refused'."""
    if exc.pgcode:
        return f"SQLSTATE {exc.pgcode}"
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]
