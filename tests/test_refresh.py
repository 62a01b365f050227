"""A sign-in renews itself: no refresh token is sent twice, no new pair is lost, and the owner is told once."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest

from demo.children import wait_until
from demo.loopback import Fault
from demo.oauth import GoogleSim, OAuthSim
from demo.servers import Stores
from demo.stack import MARKS, made_up, make_database
from demo.telegram import ALICE
from lib import config, console, credentials, db, key_check, refresh, web
from lib.caretaker import Caretaker
from lib.credentials import Credential, Login
from lib.db import Cursor, Database, Down
from lib.english import English
from lib.keyring import Locked, compare_key
from lib.refresh import NotNow, SignedOut, Tokens
from lib.secret import Secret
from lib.stop import Stop, Stopped
from lib.vault import Vault
from tests.house import House, hunt_house
from tests.hunt import Hunt, exception_texts

english = English()

MakeHouse = Callable[..., House]
Patch = pytest.MonkeyPatch
ROOT = Path(__file__).parent.parent
BOTH = pytest.mark.parametrize("service", ["claude", "google"])

# A process of its own. One line of its input is one call of Tokens.get(); what came of it is one line of its output.
CLIENT = """
import hashlib, json, sys
from lib import config, log
from lib.db import Database
from lib.refresh import Tokens
from lib.secret import Secret
from lib.stop import Stop
from lib.vault import Vault

stop, case, database = Stop(), 0, None
for line in sys.stdin:
    job = json.loads(line)
    if job["case"] != case:
        if database:
            database.close()
        case, settings = job["case"], config.load(job["env"])
        log.setup("client", settings.secrets)
        database = Database(settings.database_url, "client")
        tokens = Tokens(settings, database, Vault(settings.master_key), stop)
    try:
        token = tokens.get(job["service"], Secret(job["refused"]) if job["refused"] else None)
        result = hashlib.sha256(token.reveal().encode()).hexdigest()
    except BaseException as exc:
        result = f"{type(exc).__name__}: {exc}"
    log.info("result", "It has come.", result=result)
    sys.stdout.flush()
"""
TABLES = ("credentials", "key_check", "audit", "alerts", "outbox")
numbers = itertools.count(1)


class Client:
    """One such process."""

    def __init__(self) -> None:
        env = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLIENT],
            env=env,
            stdin=subprocess.PIPE,  # it ends with us, whatever ends us
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.said: list[str] = []
        self.busy = False
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def begin(self, case: Case, refused: Secret | None = None) -> Client:
        """Have it ask for a token."""
        job: dict[str, Any] = {"case": case.number, "env": case.house.env, "service": case.service}
        job["refused"] = refused.reveal() if refused else None
        case.clients.add(self)
        self.busy = True
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return self

    def result(self, seconds: float = 30.0) -> str:
        """Digest of the token it was given, or its error."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._lines.get(timeout=max(deadline - time.monotonic(), 0))
            except queue.Empty:
                raise AssertionError(f"no result; it said {self.said}") from None
            self.said.append(line)
            if '"event": "result"' in line:
                self.busy = False
                return str(json.loads(line)["result"])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()


class Crew:
    """Processes to be had at once: they are asked in many tests, because starting one takes half a second."""

    def __init__(self) -> None:
        self._clients: list[Client] = []

    def hire(self, count: int = 1) -> list[Client]:
        self._clients = [client for client in self._clients if client.process.poll() is None]
        while len(self._clients) < count:
            self._clients.append(Client())
        return self._clients[:count]

    def end(self) -> None:
        for client in self._clients:
            client.end()


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    made = Crew()
    yield made
    made.end()


class Case:
    """A sign-in, the server that renews it, and what a test wants to know of both."""

    def __init__(self, house: House, service: str, stop: Stop) -> None:
        self.house, self.service, self.stop, self.number = house, service, stop, next(numbers)
        self.sim = (
            OAuthSim("client of the tests") if service == "claude" else GoogleSim("client", made_up("google client"))
        )
        self.sim.canary = MARKS["claude oauth" if service == "claude" else "google tokens"]
        self.sim.start()
        self.settings = config.load(house.env)
        self.vault = Vault(self.settings.master_key)
        self.clients: set[Client] = set()
        self.errors: list[BaseException] = []
        self._opened: list[Database] = []
        self._entering = self.connect("owner")
        self._entering.insist(stop, lambda cur: compare_key(cur, self.vault))
        self.sign_in()
        self.database = self.connect()
        self.tokens = self.another(self.database)

    def connect(self, name: str = "test") -> Database:
        self._opened.append(Database(self.settings.database_url, name))
        return self._opened[-1]

    def another(self, database: Database | None = None) -> Tokens:
        """Tokens as another process has them."""
        return Tokens(self.settings, database or self.connect(), self.vault, self.stop)

    def sign_in(self, left: float | None = 3600.0) -> Credential:
        """What setup_google.py or the lines in .env bring about."""
        pair = self.sim.login()
        secret = Secret(self.sim.client_secret) if isinstance(self.sim, GoogleSim) else None
        login = Login(Secret(pair["refresh_token"]), self.sim.client_id, secret, self.sim.token_url)
        token, once = Secret(pair["access_token"]), self.service == "claude"

        def enter(cur: Cursor) -> None:
            credentials.enter(cur, self.vault, self.service, "oauth", token, login, expires_in=left, single_use=once)

        self._entering.insist(self.stop, enter)
        return self.opened()

    def opened(self) -> Credential:
        found = self._entering.insist(self.stop, lambda cur: credentials.load(cur, self.vault, self.service))
        assert found is not None
        return found

    @property
    def pair(self) -> tuple[str, str]:
        """Access and refresh token as they stand in the row."""
        found = self.opened()
        assert found.login is not None
        return found.token.reveal(), found.login.refresh_token.reveal()

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.pair[0].encode()).hexdigest()

    def left(self, seconds: float | None) -> None:
        """Let the time come at which the token has so many seconds left."""
        self.house.query(
            "UPDATE credentials SET expires_at = now() + %s * interval '1 second' WHERE service = %s",
            *(seconds, self.service),
        )

    def column(self, name: str) -> Any:
        [(value,)] = self.house.query(f"SELECT {name} FROM credentials WHERE service = %s", self.service)
        return value

    @property
    def sent(self) -> list[str]:
        """The refresh tokens that arrived at the server."""
        return [refreshed.token for refreshed in self.sim.refreshes]

    @property
    def accepted(self) -> list[bool]:
        return [refreshed.accepted for refreshed in self.sim.refreshes]

    def get(self, refused: Secret | None = None) -> str:
        return self.tokens.get(self.service, refused).reveal()

    def fails(self, kind: type[BaseException], tokens: Tokens | None = None, refused: Secret | None = None) -> str:
        """The text of the error that comes instead of a token."""
        with pytest.raises(kind) as caught:
            (tokens or self.tokens).get(self.service, refused)
        self.errors.append(caught.value)
        return str(caught.value)

    def audited(self, action: str) -> list[tuple[Any, ...]]:
        return self.house.query(
            "SELECT outcome, reason, detail FROM audit WHERE action = %s AND detail->>'service' = %s ORDER BY id",
            *(action, self.service),
        )

    @property
    def told(self) -> list[str]:
        """What the owner was told: an alert, and the same as a message from the bot."""
        alerts = self.house.query("SELECT kind, body FROM alerts ORDER BY id")
        messages = self.house.query("SELECT sender, chat_id, body FROM outbox ORDER BY id")
        assert messages == [("bot", ALICE.id, body) for _, body in alerts]
        return [body for kind, body in alerts if kind == f"{self.service}_credential"]

    def assert_ended(self, problem: str, times: int = 1) -> None:
        """The sign-in is marked, and the owner was told so and what to do."""
        assert self.column("problem") == problem
        text = english.credential(self.service, problem)
        assert english.ENTER[self.service] in text
        assert self.told == [text] * times
        failure = ("failure", problem, {"service": self.service})
        assert self.audited("credential.failed") == [failure] * times

    def assert_works(self) -> None:
        """The pair in the row is the living one."""
        assert self.column("problem") is None
        assert self.column("renewing") is None
        before = self.opened().token
        assert self.sim.accepts(before.reveal())
        assert self.another().get(self.service, before) != before
        assert self.sim.accepts(self.pair[0])

    def cut(self, name: str) -> None:
        """End a script's connection."""
        self.house.query(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE %s || ' %%'",
            name,
        )

    def await_turns(self, count: int) -> None:
        """Wait until so many clients stand in line."""
        line = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name LIKE 'client %' AND query LIKE '%pg_try_advisory_lock%'"
        )
        assert wait_until(lambda: bool(self.house.query(line)[0][0] >= count), 20)

    def end(self, records: list[logging.LogRecord]) -> None:
        """What holds after every test."""
        self.sim.on_refresh = None
        for client in self.clients:
            if client.busy:
                client.kill()
        for database in self._opened:
            database.close()
        spent: set[str] = set()
        for refreshed in self.sim.refreshes:
            assert not self.sim.single_use or refreshed.token not in spent, "a refresh token was sent twice"
            spent |= {refreshed.token} if refreshed.accepted else set()
        rows = " UNION ALL ".join(f"SELECT t::text FROM {table} t" for table in TABLES)
        texts = {"database": str(self.house.query(rows))}
        texts["clients"] = "".join(line for client in self.clients for line in client.said)
        errors = self.errors + [error for record in records if (error := getattr(record, "error", None))]
        texts["errors"] = "\n".join(text for error in errors for text in exception_texts(error))
        texts["log"] = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in records)
        hunt = Hunt(MARKS.items())
        assert [find for name, text in texts.items() for find in hunt.search(name, text.encode())] == []


class Home(House):
    """A house for all these tests, asked over one connection: new ones each time would take most of the time."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._lock = threading.Lock()
        self._connection: Any = None

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            if self._connection is None:
                self._connection = psycopg2.connect(self.stores.postgres.url(self.name))
                self._connection.autocommit = True
            with self._connection.cursor() as cur:
                cur.execute(sql, parameters or None)
                return cur.fetchall() if cur.description else []


@pytest.fixture(scope="module")
def home(stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    name = "refresh"
    url = make_database(stores.postgres, name, "steward_template")
    made = Home(tmp_path_factory.mktemp(name), url, stores.redis.url)
    made.stores, made.name = stores, name
    yield made
    made.stop()
    finds = hunt_house(made)
    stores.postgres.drop_database(name)
    assert not finds


@pytest.fixture
def make_case(home: House, stop: Stop, caplog: pytest.LogCaptureFixture) -> Iterator[Callable[..., Case]]:
    """Sign in to a service, in an empty database; or in another house."""
    cases: list[Case] = []
    caplog.set_level(logging.INFO)
    home.query("; ".join(f"DELETE FROM {table}" for table in TABLES))

    def make(service: str, house: House = home) -> Case:
        cases.append(Case(house, service, stop))
        return cases[-1]

    yield make
    with ExitStack() as at_last:
        at_last.callback(psycopg2.extensions.set_wait_callback, None)  # the scripts' deadline is not for the tests
        for case in cases:
            at_last.callback(case.sim.stop)
            at_last.callback(case.end, caplog.get_records("call"))


@pytest.fixture
def claude(make_case: Callable[..., Case]) -> Case:
    """A sign-in whose refresh tokens are good for one use."""
    return make_case("claude")


@pytest.fixture
def google(make_case: Callable[..., Case]) -> Case:
    """A sign-in whose refresh token stays the same."""
    return make_case("google")


@pytest.fixture
def later(monkeypatch: Patch) -> Callable[[float], None]:
    """Let so many seconds go by for the pauses."""
    ahead = [0.0]
    clock = {**vars(time), "monotonic": lambda: time.monotonic() + ahead[0]}
    monkeypatch.setattr(refresh, "time", SimpleNamespace(**clock))

    def pass_by(seconds: float) -> None:
        ahead[0] += seconds

    return pass_by


@contextmanager
def while_asking(action: Callable[[], Any]) -> Iterator[None]:
    """Do this once, when the server has answered and nobody has looked at the answer yet."""
    ask, waiting = web.ask, [action]

    def asked(*args: Any, **kwargs: Any) -> web.Answer:
        try:
            return ask(*args, **kwargs)
        finally:
            if waiting:
                waiting.pop()()

    with Patch.context() as patch:
        patch.setattr(web, "ask", asked)
        yield


def away(case: Case, trouble: str) -> None:
    """Have the server not renew anything, this once."""
    if trouble == "refused port":
        case.sim.stop()
    elif trouble == "cut":
        case.sim.faults.add(Fault("drop"))
    else:
        status, body, headers = AWAY[trouble]
        case.sim.faults.add(Fault("status", status=status, body=body, headers=headers))


AWAY: dict[str, tuple[int, Any, dict[str, str] | None]] = {
    "429": (429, {"error": {"type": "rate_limit_error", "message": "Rate limited."}}, {"Retry-After": "120"}),
    "503": (503, {"error": "temporarily_unavailable"}, None),
    "502 in HTML": (502, "<html><h1>502 Bad Gateway</h1></html>", None),
    "403 in HTML": (403, "<html><title>Just a moment...</title></html>", None),
    "redirect": (302, "<html>Sign in to this network</html>", {"Location": "http://127.0.0.1:9/portal"}),
}


# When it is renewed.


@BOTH
def test_a_token_with_more_than_five_minutes_left_is_given_out_as_it_is(
    make_case: Callable[..., Case], service: str
) -> None:
    case = make_case(service)
    for left in (28_800, 3600, 302):
        case.left(left)
        assert case.get() == case.pair[0]
    assert case.sent == []


@BOTH
def test_a_token_with_less_than_five_minutes_left_is_renewed_and_saved_before_it_is_given_out(
    make_case: Callable[..., Case], service: str
) -> None:
    case = make_case(service)
    old = case.pair
    case.left(299)
    given = case.get()
    assert case.sent == [old[1]]
    assert case.pair[0] == given != old[0]
    assert case.sim.accepts(given)
    assert (case.pair[1] != old[1]) == case.sim.single_use
    assert case.opened().seconds_left == pytest.approx(case.sim.expires_in, abs=5)
    assert case.column("renewing") is None
    detail = {"service": service, "rotated": case.sim.single_use}
    assert case.audited("credential.refreshed") == [("success", None, detail)]
    assert case.get() == given
    assert len(case.sent) == 1
    assert case.told == []


def test_the_old_refresh_token_is_never_sent_again(claude: Case) -> None:
    chain = []
    for _ in range(4):
        chain.append(claude.pair[1])
        claude.left(10)
        claude.get()
    assert claude.sent == chain
    assert len({*chain}) == 4
    assert claude.accepted == [True] * 4


@BOTH
def test_a_token_whose_end_nobody_knows_is_renewed_only_when_it_was_refused(
    make_case: Callable[..., Case], service: str
) -> None:
    case = make_case(service)
    case.left(None)
    old = case.get()
    assert case.sent == []
    given = case.get(refused=Secret(old))
    assert case.pair[0] == given != old
    assert len(case.sent) == 1


def test_a_refused_token_is_renewed_whatever_its_age(claude: Case) -> None:
    old = claude.pair[0]
    assert claude.get(refused=Secret(old)) == claude.pair[0] != old
    assert claude.accepted == [True]


def test_a_refused_token_that_somebody_has_replaced_is_not_renewed_again(claude: Case) -> None:
    old = claude.pair[0]
    new = claude.another().get("claude", Secret(old)).reveal()
    assert claude.get(refused=Secret(old)) == new != old
    assert len(claude.sent) == 1


def test_two_services_do_not_wait_for_each_other(google: Case) -> None:
    google.left(10)
    google.database.connect()
    other = google.connect()
    with other.statement() as cur:
        assert credentials.take_turn(cur, "claude")
        began = time.monotonic()
        google.get()
    assert time.monotonic() - began < 2


def test_no_transaction_is_open_and_no_row_locked_while_the_server_is_asked(claude: Case) -> None:
    seen: list[Any] = []

    def look(tokens: dict[str, Any]) -> None:
        seen.extend(
            claude.house.query(
                "SELECT state, backend_xmin IS NULL FROM pg_stat_activity"
                " WHERE datname = current_database() AND usename = 'steward_app'"
            )
        )
        claude.house.query("SELECT FROM credentials, key_check FOR UPDATE NOWAIT")
        seen.append(claude.column("renewing") is not None)

    claude.sim.on_refresh = look
    claude.left(10)
    claude.get()
    assert seen == [("idle", True)] * (len(seen) - 1) + [True]
    assert len(seen) == 3


def test_the_new_pair_is_saved_sealed(claude: Case) -> None:
    claude.left(10)
    claude.get()
    row = bytes(claude.column("token")) + bytes(claude.column("login"))
    assert not any(secret.encode() in row for secret in claude.pair)
    dump = claude.house.stores.postgres.dump(claude.house.name)
    assert Hunt([("access", claude.pair[0]), ("refresh", claude.pair[1])]).search("dump", dump) == []


def test_nobody_holds_the_turn_afterwards(claude: Case) -> None:
    def held() -> list[tuple[Any, ...]]:
        return claude.house.query(
            "SELECT objid FROM pg_locks WHERE locktype = 'advisory'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )

    claude.left(10)
    claude.get()
    assert held() == []
    claude.left(10)
    away(claude, "503")
    claude.get()
    assert held() == []
    claude.sim.revoke(claude.pair[1])
    claude.fails(SignedOut, claude.another(claude.database), claude.opened().token)
    assert held() == []


# Many processes.


@pytest.mark.parametrize("seconds", [0, 2], ids=["quick", "slow"])
def test_twelve_processes_renew_a_single_use_token_once(claude: Case, crew: Crew, seconds: float) -> None:
    clients = crew.hire(12)
    if seconds:
        claude.sim.faults.add(Fault("hang", seconds=seconds))
    old = claude.pair
    claude.left(10)
    for client in clients:
        client.begin(claude)
    assert {client.result() for client in clients} == {claude.digest}
    assert claude.sent == [old[1]]
    assert claude.accepted == [True]
    assert len(claude.audited("credential.refreshed")) == 1
    assert claude.told == []
    claude.assert_works()


def test_twelve_processes_renew_once_in_each_of_many_rounds(claude: Case, crew: Crew) -> None:
    clients = crew.hire(12)
    for number in range(4):
        refused = claude.opened().token if number % 2 else None
        claude.left(3600 if refused else 10)
        for client in clients:
            client.begin(claude, refused)
        assert {client.result() for client in clients} == {claude.digest}
        assert claude.accepted == [True] * (number + 1)
    assert len({*claude.sent}) == 4


def test_twelve_processes_renew_once_also_when_the_new_token_has_less_than_five_minutes(
    claude: Case, crew: Crew
) -> None:
    clients = crew.hire(12)
    claude.sim.expires_in = 200
    for number in range(3):
        first = threading.Lock()

        def hold(tokens: dict[str, Any], first: threading.Lock = first) -> None:
            if first.acquire(blocking=False):
                claude.await_turns(11)  # all of them have seen the old token

        claude.sim.on_refresh = hold
        for client in clients:
            client.begin(claude, claude.opened().token if number == 0 else None)
        assert {client.result() for client in clients} == {claude.digest}
        assert claude.accepted == [True] * (number + 1)


def test_twelve_processes_ask_google_once(google: Case, crew: Crew) -> None:
    clients = crew.hire(12)
    google.left(10)
    google.sim.faults.add(Fault("hang", seconds=0.5))
    for client in clients:
        client.begin(google)
    assert {client.result() for client in clients} == {google.digest}
    assert google.accepted == [True]


@BOTH
def test_of_twelve_processes_one_hears_that_the_sign_in_has_ended_and_the_owner_is_told_once(
    make_case: Callable[..., Case], crew: Crew, service: str
) -> None:
    case = make_case(service)
    clients = crew.hire(12)
    case.sim.revoke(case.pair[1])
    case.left(10)
    for client in clients:
        client.begin(case)
    assert {client.result() for client in clients} == {"SignedOut: invalid_grant"}
    assert case.accepted == [False]
    case.assert_ended("invalid_grant")


def test_twelve_processes_keep_the_valid_token_while_the_server_is_away(claude: Case, crew: Crew) -> None:
    clients = crew.hire(12)
    claude.sim.faults.add(Fault("status", times=100, status=503))
    old = claude.digest
    claude.left(100)
    for client in clients:
        client.begin(claude)
    assert {client.result() for client in clients} == {old}
    assert len(claude.sent) <= 12
    assert claude.told == []
    claude.sim.faults.clear()
    claude.assert_works()


# Death in between.


def test_a_process_killed_before_the_answer_leaves_sign_in_again_and_never_a_replay(claude: Case, crew: Crew) -> None:
    [client] = crew.hire()
    claude.sim.on_refresh = lambda tokens: client.kill()
    claude.left(10)
    client.begin(claude).process.wait(20)
    assert claude.accepted == [True]
    assert claude.fails(SignedOut) == "refresh_interrupted"
    claude.assert_ended("refresh_interrupted")
    assert claude.fails(SignedOut, claude.another()) == "refresh_interrupted"
    assert crew.hire()[0].begin(claude, claude.opened().token).result() == "SignedOut: refresh_interrupted"
    assert len(claude.sent) == 1
    claude.assert_ended("refresh_interrupted")


def test_a_process_killed_between_answer_and_commit_leaves_sign_in_again_and_never_a_replay(
    claude: Case, crew: Crew
) -> None:
    [client] = crew.hire()
    locker = psycopg2.connect(claude.house.stores.postgres.url(claude.house.name))

    def lock(tokens: dict[str, Any]) -> None:
        locker.cursor().execute("SELECT FROM credentials WHERE service = 'claude' FOR UPDATE")

    claude.sim.on_refresh = lock
    claude.left(10)
    client.begin(claude)
    stuck = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'client %' AND wait_event_type = 'Lock'"
    assert wait_until(lambda: bool(claude.house.query(stuck)), 20)
    client.kill()
    locker.rollback()
    locker.close()
    assert claude.fails(SignedOut) == "refresh_interrupted"
    assert claude.fails(SignedOut, claude.another()) == "refresh_interrupted"
    assert claude.accepted == [True]
    claude.assert_ended("refresh_interrupted")


def test_eleven_that_wait_for_one_that_is_killed_hear_of_it_and_the_owner_is_told_once(
    claude: Case, crew: Crew
) -> None:
    clients = crew.hire(12)

    def kill(tokens: dict[str, Any]) -> None:
        claude.await_turns(11)
        [(port,)] = claude.house.query(
            "SELECT client_port FROM pg_stat_activity JOIN pg_locks USING (pid)"
            " WHERE locktype = 'advisory' AND granted AND datname = current_database()"
        )
        for client in clients:
            if has_port(client.process.pid, port):
                client.kill()

    claude.sim.on_refresh = kill
    claude.left(100)
    for client in clients:
        client.begin(claude)
    assert wait_until(lambda: len([client for client in clients if client.process.poll() is None]) == 11, 30)
    living = [client for client in clients if client.process.poll() is None]
    assert {client.result() for client in living} == {"SignedOut: refresh_interrupted"}
    assert claude.accepted == [True]
    claude.assert_ended("refresh_interrupted")


def has_port(pid: int, port: int) -> bool:
    """Whether this process has a connection that begins at this port."""
    lines = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{fields[9]}]" for fields in lines if int(fields[1].rpartition(":")[2], 16) == port}
    return any(os.readlink(link) in sockets for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink())


def test_google_is_simply_asked_again_after_a_process_was_killed(google: Case, crew: Crew) -> None:
    [client] = crew.hire()
    google.sim.on_refresh = lambda tokens: client.kill()
    google.left(10)
    client.begin(google).process.wait(20)
    google.sim.on_refresh = None
    assert google.get() == google.pair[0]
    assert google.accepted == [True, True]
    assert google.told == []
    google.assert_works()


def test_a_new_sign_in_works_after_one_that_was_interrupted_and_its_own_end_is_told_again(claude: Case) -> None:
    for times in (1, 2):
        claude.left(10)
        claude.house.query("UPDATE credentials SET renewing = now() WHERE service = 'claude'")
        assert claude.fails(SignedOut) == "refresh_interrupted"
        claude.assert_ended("refresh_interrupted", times)
        claude.sign_in(left=10)
        assert claude.get() == claude.pair[0]
    assert claude.accepted == [True, True]


def test_a_process_asked_to_stop_while_it_asks_saves_the_new_pair_first(claude: Case, crew: Crew) -> None:
    [client] = crew.hire()
    claude.sim.on_refresh = lambda tokens: client.process.send_signal(signal.SIGTERM)
    claude.left(10)
    assert client.begin(claude).result() == claude.digest
    client.kill()  # it is told to stop from now on
    claude.assert_works()


def test_a_process_asked_to_stop_sends_nothing_any_more(claude: Case, stop: Stop) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    claude.left(10)
    claude.fails(Stopped)
    assert claude.sent == []
    assert claude.column("renewing") is None


def test_a_process_that_stands_still_while_it_renews_is_waited_for_and_loses_nothing(
    claude: Case, crew: Crew, monkeypatch: Patch
) -> None:
    [client] = crew.hire()
    claude.sim.on_refresh = lambda tokens: os.kill(client.process.pid, signal.SIGSTOP)
    claude.left(-1)
    client.begin(claude)
    assert wait_until(lambda: len(claude.sent) == 1, 20)
    monkeypatch.setattr(refresh, "TURN_SECONDS", 0.5)
    claude.fails(NotNow)
    os.kill(client.process.pid, signal.SIGCONT)
    assert client.result() == claude.digest
    claude.sim.on_refresh = None
    assert len(claude.sent) == 1
    assert claude.told == []
    claude.assert_works()


@pytest.mark.parametrize("left", [100, None])
def test_a_valid_token_is_given_out_when_the_process_whose_turn_it_is_takes_too_long(
    claude: Case, monkeypatch: Patch, left: float | None
) -> None:
    monkeypatch.setattr(refresh, "TURN_SECONDS", 0.3)
    other = claude.connect()
    with other.statement() as cur:
        assert credentials.take_turn(cur, "claude")
    claude.left(left)
    assert claude.get() == claude.pair[0]
    claude.left(-1)
    claude.fails(NotNow)
    assert claude.sent == []


# The server says no.


@BOTH
def test_a_sign_in_that_has_ended_is_marked_and_the_owner_told_once(
    make_case: Callable[..., Case], crew: Crew, service: str
) -> None:
    case = make_case(service)
    case.sim.revoke(case.pair[1])
    case.left(100)
    assert case.fails(SignedOut) == "invalid_grant"
    case.assert_ended("invalid_grant")
    assert case.fails(SignedOut) == "invalid_grant"
    assert case.fails(SignedOut, case.another(), case.opened().token) == "invalid_grant"
    assert crew.hire()[0].begin(case).result() == "SignedOut: invalid_grant"
    case.assert_ended("invalid_grant")
    assert case.accepted == [False]
    assert "Sign in again" in case.told[0]


@BOTH
@pytest.mark.parametrize("refused", [False, True])
def test_a_sign_in_entered_while_the_old_one_was_being_refused_is_used(
    make_case: Callable[..., Case], service: str, refused: bool
) -> None:
    case = make_case(service)
    case.sim.revoke(case.pair[1])
    case.left(10)
    with while_asking(case.sign_in):
        given = case.get(case.opened().token if refused else None)
    assert given == case.pair[0]
    assert case.sim.accepts(given)
    assert case.accepted == [False]
    assert case.told == []
    case.assert_works()


def test_a_sign_in_entered_while_the_old_one_is_renewed_stays_as_it_is(claude: Case) -> None:
    claude.left(10)
    new: list[Credential] = []
    with while_asking(lambda: new.append(claude.sign_in())):
        claude.get()
    assert (claude.opened().token, claude.opened().login) == (new[0].token, new[0].login)
    assert claude.told == []
    assert claude.audited("credential.refreshed") == []
    claude.assert_works()


def test_a_sign_in_entered_while_the_old_one_is_renewed_is_given_out(claude: Case) -> None:
    claude.left(10)
    with while_asking(claude.sign_in):
        given = claude.get()
    assert given == claude.pair[0]


def test_a_sign_in_entered_while_the_server_is_away_is_given_out(claude: Case) -> None:
    claude.left(-1)
    away(claude, "503")
    with while_asking(claude.sign_in):
        given = claude.get()
    assert given == claude.pair[0]


def test_a_sign_in_removed_while_it_was_being_refused_is_not_missed(claude: Case) -> None:
    claude.sim.revoke(claude.pair[1])
    claude.left(10)
    with while_asking(lambda: claude.house.query("DELETE FROM credentials WHERE service = 'claude'")):
        assert claude.fails(SignedOut) == "missing"
    assert claude.told == []


def test_a_token_that_has_ended_is_not_given_out_because_another_process_asks_too(google: Case) -> None:
    google.sim.revoke(google.pair[1])
    google.left(-1)

    def begin_elsewhere() -> None:
        google.cut("test")
        google.house.query("UPDATE credentials SET renewing = 'another' WHERE service = 'google'")

    with while_asking(begin_elsewhere), pytest.raises((NotNow, SignedOut)):
        google.get()


def test_a_client_that_is_not_known_is_told_once(make_case: Callable[..., Case], crew: Crew) -> None:
    for case in (make_case("google"), make_case("claude")):
        case.sim.client_id = "another client"
        case.left(10)
        assert case.fails(SignedOut) == "client_refused"
        assert case.fails(SignedOut, case.another()) == "client_refused"
        assert crew.hire()[0].begin(case).result() == "SignedOut: client_refused"
        case.assert_ended("client_refused")
        assert case.accepted == [False]


# The server is away.


@BOTH
@pytest.mark.parametrize("trouble", [*AWAY, "refused port"])
def test_a_valid_token_is_used_on_while_the_server_is_away(
    make_case: Callable[..., Case], later: Callable[[float], None], service: str, trouble: str
) -> None:
    case = make_case(service)
    old = case.pair
    case.left(100)
    away(case, trouble)
    arrived = int(trouble != "refused port")
    assert case.get() == old[0]
    assert len(case.sent) == arrived
    assert case.column("renewing") is None
    case.sim.start() if not arrived else None
    pause = 120 if trouble == "429" else refresh.PAUSE_SECONDS
    later(pause - 1)
    assert case.get() == old[0]
    assert len(case.sent) == arrived, "asked again too early"
    later(2)
    assert case.get() == case.pair[0] != old[0]
    assert len(case.sent) == arrived + 1
    assert case.told == []
    case.assert_works()


@BOTH
@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("trouble", ["429", "503", "refused port"])
def test_without_a_valid_token_it_works_later(
    make_case: Callable[..., Case], later: Callable[[float], None], service: str, trouble: str, refused: bool
) -> None:
    case = make_case(service)
    token = case.opened().token if refused else None
    case.left(3600 if refused else -1)
    away(case, trouble)
    case.fails(NotNow, refused=token)
    case.sim.start() if trouble == "refused port" else None
    asked = len(case.sent)
    case.fails(NotNow, refused=token)
    assert len(case.sent) == asked
    assert case.told == []
    later(121)
    assert case.get(token) == case.pair[0]
    case.assert_works()


def test_a_token_that_ended_while_the_server_was_asked_is_not_given_out(claude: Case) -> None:
    claude.left(5)
    away(claude, "503")
    with while_asking(lambda: claude.left(-5)):
        claude.fails(NotNow)


@pytest.mark.parametrize("trouble", ["lose", "drop", "hang"])
@pytest.mark.parametrize("left", [100, -1])
def test_a_single_use_token_is_not_sent_again_when_the_answer_was_lost(
    claude: Case, crew: Crew, monkeypatch: Patch, later: Callable[[float], None], trouble: str, left: float
) -> None:
    monkeypatch.setattr(refresh, "ANSWER_SECONDS", 0.3)
    claude.sim.faults.add(Fault(trouble, seconds=2))
    claude.left(left)
    assert claude.fails(SignedOut) == "answer_lost"
    later(10_000)
    assert claude.fails(SignedOut) == "answer_lost"
    assert claude.fails(SignedOut, claude.another(), claude.opened().token) == "answer_lost"
    assert crew.hire()[0].begin(claude).result() == "SignedOut: answer_lost"
    assert len(claude.sent) == 1
    claude.assert_ended("answer_lost")


@pytest.mark.parametrize("trouble", ["lose", "drop", "hang"])
def test_google_is_asked_again_when_the_answer_was_lost(
    google: Case, monkeypatch: Patch, later: Callable[[float], None], trouble: str
) -> None:
    monkeypatch.setattr(refresh, "ANSWER_SECONDS", 0.3)
    google.sim.faults.add(Fault(trouble, times=2, seconds=2))
    old = google.pair[0]
    google.left(100)
    assert google.get() == old
    google.left(-1)
    google.fails(NotNow)
    assert len(google.sent) == 1
    later(31)
    google.fails(NotNow)
    assert len(google.sent) == 2
    later(31)
    assert google.get() == google.pair[0] != old
    assert google.told == []
    google.assert_works()


# Odd answers.

GOOD = {"access_token": "an access token " + "a" * 20, "refresh_token": "a refresh token " + "b" * 20}
ODD: dict[str, Any] = {
    "HTML": "<html>Welcome</html>",
    "nothing": "",
    "a list": [GOOD],
    "no access token": {"expires_in": 3600, "token_type": "Bearer"},
    "null as access token": {**GOOD, "access_token": None},
    "a number as access token": {**GOOD, "access_token": 12345678},
    "an empty access token": {**GOOD, "access_token": ""},
    "an access token with a line end": {**GOOD, "access_token": "a\r\nb"},
    "half an emoji as access token": {**GOOD, "access_token": "a" * 20 + "\ud83d"},
    "an error": {"ok": False, "error": "invalid_refresh_token"},
}


@pytest.mark.parametrize("odd", ODD)
def test_an_answer_without_a_usable_token_ends_a_single_use_sign_in(claude: Case, crew: Crew, odd: str) -> None:
    claude.sim.faults.add(Fault("status", status=200, body=ODD[odd]))
    claude.left(100)
    assert crew.hire()[0].begin(claude).result() == "SignedOut: answer_lost"
    assert claude.fails(SignedOut) == "answer_lost"
    assert len(claude.sent) == 1
    claude.assert_ended("answer_lost")


@pytest.mark.parametrize("odd", ODD)
def test_an_answer_without_a_usable_token_changes_nothing_for_google(google: Case, odd: str) -> None:
    google.sim.faults.add(Fault("status", status=200, body=ODD[odd]))
    old = google.pair
    google.left(100)
    assert google.get() == old[0]
    assert google.pair == old
    assert google.told == []
    google.assert_works()


@pytest.mark.parametrize(
    "expires_in",
    [float("nan"), float("inf"), -1, 0, 10**12, 10**400, "3600", [3600]],
    ids=lambda value: repr(value)[:9],
)
def test_a_token_is_kept_also_when_its_end_is_told_in_an_odd_way(claude: Case, expires_in: Any) -> None:
    answer = claude.sim.login() | {"expires_in": expires_in}
    claude.sim.faults.add(Fault("status", status=200, body=answer))
    claude.left(10)
    assert claude.get() == answer["access_token"]
    assert claude.pair == (answer["access_token"], answer["refresh_token"])
    assert claude.opened().seconds_left is None
    claude.assert_works()


@BOTH
@pytest.mark.parametrize("given", [None, "", 12345678, "a\r\nb", "half \ud83d"], ids=repr)
def test_a_refresh_token_that_is_none_does_not_take_the_place_of_the_good_one(
    make_case: Callable[..., Case], service: str, given: Any
) -> None:
    case = make_case(service)
    case.sim.single_use = False
    old = case.pair
    answer = case.sim.login() | {"refresh_token": given}
    case.sim.faults.add(Fault("status", status=200, body=answer))
    case.left(10)
    assert case.get() == answer["access_token"]
    assert case.pair == (answer["access_token"], old[1])
    assert case.column("single_use") == (service == "claude")
    case.assert_works()


def test_a_service_that_gives_a_new_refresh_token_is_known_as_single_use_from_then_on(google: Case) -> None:
    google.sim.single_use = True
    assert not google.column("single_use")
    google.left(10)
    google.get()
    assert google.column("single_use")
    google.sim.faults.add(Fault("lose"))
    google.left(10)
    assert google.fails(SignedOut) == "answer_lost"
    assert google.accepted == [True, True]
    google.assert_ended("answer_lost")


@pytest.mark.parametrize("status", [201, 202, 204, 206])
def test_a_single_use_token_is_not_sent_again_after_any_kind_of_yes(
    claude: Case, later: Callable[[float], None], status: int
) -> None:
    claude.sim.faults.add(Fault("status", status=status, body={"access_token": ""} if status != 204 else ""))
    claude.left(100)
    old = claude.pair[1]
    for _ in range(2):
        try:
            claude.get()
        except SignedOut:
            pass
        later(31)
    assert claude.sent.count(old) == 1


# The database.


def test_nothing_is_sent_while_the_database_is_away(
    own_stores: Stores, make_house: MakeHouse, make_case: Callable[..., Case]
) -> None:
    case = make_case("claude", make_house(own_stores=own_stores))
    case.left(10)
    own_stores.postgres.stop()
    case.fails(Down)
    assert case.sent == []
    own_stores.postgres.start()
    case.assert_works()


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_new_pair_is_saved_although_postgresql_died_while_the_server_was_asked(
    own_stores: Stores, make_house: MakeHouse, make_case: Callable[..., Case], crew: Crew, how: str
) -> None:
    case = make_case("claude", make_house(own_stores=own_stores))
    [client] = crew.hire()
    case.sim.on_refresh = lambda tokens: own_stores.postgres.kill() if how == "kill" else own_stores.postgres.stop()
    case.left(10)
    client.begin(case)
    assert wait_until(lambda: bool(case.sent) and not own_stores.postgres.running, 20)
    own_stores.postgres.start()
    case.sim.on_refresh = None
    assert client.result() == case.digest
    assert any("database_away" in line for line in client.said)
    assert len(case.audited("credential.refreshed")) == 1
    assert case.told == []
    case.assert_works()
    assert case.accepted == [True, True]


def test_a_pair_saved_late_does_not_live_longer_for_that(claude: Case, monkeypatch: Patch) -> None:
    refused, transaction = [0], claude.database.transaction

    def away_for_a_while() -> Any:
        if claude.sent and refused[0] < 4:  # after pauses of 0.1, 0.2, 0.4 and 0.8 seconds
            refused[0] += 1
            raise Down("away")
        return transaction()

    monkeypatch.setattr(claude.database, "transaction", away_for_a_while)
    claude.left(10)
    claude.get()
    left = claude.opened().seconds_left
    assert left is not None
    assert left <= claude.sim.expires_in - 1.4


def lose_commit(patch: Patch, number: int, *, arrives: bool = True) -> None:
    """Cut the connection at this COMMIT of ours: it arrives, and its answer does not; or not even that."""
    execute, seen = Cursor.execute, [0]

    def executed(self: Cursor, sql: Any, parameters: Any = None) -> None:
        seen[0] += sql == "COMMIT"
        lost = sql == "COMMIT" and seen[0] == number
        if arrives or not lost:
            execute(self, sql, parameters)
        if lost:
            raise psycopg2.OperationalError("server closed the connection unexpectedly")

    patch.setattr(db.Cursor, "execute", executed)


def test_a_new_pair_is_kept_once_when_nobody_heard_that_it_was_saved(claude: Case, monkeypatch: Patch) -> None:
    claude.left(10)
    lose_commit(monkeypatch, 2)
    given = claude.get()
    assert given == claude.pair[0]
    assert len(claude.audited("credential.refreshed")) == 1
    claude.assert_works()


def test_the_owner_is_told_once_when_nobody_heard_that_it_was_saved(claude: Case, monkeypatch: Patch) -> None:
    claude.left(10)
    claude.sim.revoke(claude.pair[1])
    lose_commit(monkeypatch, 2)
    assert claude.fails(SignedOut) == "invalid_grant"
    claude.assert_ended("invalid_grant")


def test_a_sign_in_is_not_lost_by_a_mark_without_a_request(claude: Case, monkeypatch: Patch) -> None:
    claude.left(10)
    lose_commit(monkeypatch, 1)
    try:
        claude.get()
    except Down:
        assert claude.sent == []
    assert claude.get() == claude.pair[0]
    assert claude.told == []
    claude.assert_works()


def test_a_sign_in_is_not_lost_by_two_such_marks_in_a_row(claude: Case) -> None:
    claude.left(10)
    with Patch.context() as patch:
        lose_commit(patch, 1)
        claude.fails(Down)
    with Patch.context() as patch:
        lose_commit(patch, 1, arrives=False)
        claude.fails(Down)
    assert claude.sent == []
    assert claude.get() == claude.pair[0]
    assert claude.told == []
    claude.assert_works()


@pytest.mark.parametrize("arrives", [True, False])
def test_the_owner_is_told_once_of_an_interruption_although_the_connection_was_cut_meanwhile(
    claude: Case, arrives: bool
) -> None:
    claude.left(10)
    claude.house.query("UPDATE credentials SET renewing = 'somebody' WHERE service = 'claude'")
    with Patch.context() as patch:
        lose_commit(patch, 1, arrives=arrives)
        claude.fails(Down)
    assert claude.fails(SignedOut) == "refresh_interrupted"
    claude.assert_ended("refresh_interrupted")
    assert claude.sent == []


def test_a_process_asked_to_stop_while_its_connection_is_cut_saves_the_new_pair_over_another_one(claude: Case) -> None:
    def cut_and_stop() -> None:
        claude.cut("test")
        os.kill(os.getpid(), signal.SIGTERM)

    claude.left(10)
    with while_asking(cut_and_stop):
        given = claude.get()
    assert claude.pair[0] == given
    assert claude.sim.accepts(given)
    assert claude.column("renewing") is None


def cut_and_conclude(case: Case, other: Client) -> None:
    """End the connection of the process that asks, and have another one believe that it died."""
    case.cut("test")
    assert other.begin(case).result() == "SignedOut: refresh_interrupted"


def test_a_pair_that_comes_after_another_process_gave_it_up_is_kept(claude: Case, crew: Crew) -> None:
    [other] = crew.hire()
    claude.left(10)
    with while_asking(lambda: cut_and_conclude(claude, other)):
        given = claude.get()
    assert claude.pair[0] == given
    assert claude.column("problem") is None
    assert claude.column("told") is None
    assert other.begin(claude).result() == claude.digest
    assert claude.accepted == [True]
    assert len(claude.told) == 1
    claude.assert_works()


def test_a_sign_in_whose_token_was_not_used_up_works_after_another_process_gave_it_up(claude: Case, crew: Crew) -> None:
    [other] = crew.hire()
    old = claude.pair[0]
    claude.left(100)
    away(claude, "503")
    with while_asking(lambda: cut_and_conclude(claude, other)):
        assert claude.get() == old
    claude.assert_works()


def test_google_keeps_one_of_two_pairs_when_a_connection_was_cut(google: Case, crew: Crew) -> None:
    [other] = crew.hire()
    google.left(10)

    def ask_elsewhere() -> None:
        google.cut("test")
        assert other.begin(google).result() == google.digest

    with while_asking(ask_elsewhere):
        given = google.get()
    assert google.sim.accepts(given)
    assert google.told == []
    google.assert_works()


# The master key.


def test_nothing_is_sent_when_the_database_is_sealed_with_another_key_by_now(claude: Case) -> None:
    [(fingerprint,)] = claude.house.query("SELECT fingerprint FROM key_check")
    claude.house.query("UPDATE key_check SET fingerprint = %s", b"another")
    claude.left(10)
    assert claude.fails(Locked) == console.WRONG_KEY
    assert claude.sent == []
    assert claude.column("renewing") is None
    assert claude.told == []
    claude.house.query("UPDATE key_check SET fingerprint = %s", fingerprint)
    claude.assert_works()


def test_a_process_with_the_key_of_yesterday_is_locked_out_and_calls_nothing_damaged(claude: Case) -> None:
    new = Vault(Secret(os.urandom(32).hex()))
    with claude.connect().transaction() as cur:
        credentials.reseal(cur, claude.vault, new)
        assert key_check.replace(cur, claude.vault.fingerprint, new.fingerprint)
    old, claude.vault = claude.vault, new
    claude.left(10)
    tokens = Tokens(claude.settings, claude.connect(), old, claude.stop)
    assert claude.fails(Locked, tokens) == console.WRONG_KEY
    assert claude.sent == []
    claude.house.query("UPDATE credentials SET due_at = now() WHERE service = 'claude'")
    with pytest.raises(Locked):
        Caretaker(claude.settings, claude.connect(), old, claude.stop).look()
    assert claude.told == []
    claude.assert_works()


def test_a_pair_that_comes_after_the_key_was_changed_is_not_sealed_with_the_old_one(claude: Case) -> None:
    new = Vault(Secret(os.urandom(32).hex()))

    def change() -> None:
        with claude.connect("owner").transaction() as cur:
            credentials.reseal(cur, claude.vault, new)
            assert key_check.replace(cur, claude.vault.fingerprint, new.fingerprint)

    claude.left(10)
    with while_asking(change):
        claude.fails(Locked)
    claude.vault = new
    assert claude.fails(SignedOut, claude.another()) == "refresh_interrupted"
    assert len(claude.sent) == 1
    claude.assert_ended("refresh_interrupted")


# The caretaker, which asks too.


def look(case: Case, meanwhile: Callable[[], Any]) -> None:
    """Have the caretaker look at the sign-in; `meanwhile` happens when it knows, and before it has kept that."""
    case.house.query("UPDATE credentials SET due_at = now() WHERE service = %s", case.service)
    caretaker = Caretaker(case.settings, case.connect(), case.vault, case.stop)
    check = caretaker._check

    def checked(due: credentials.Standing) -> web.Checked:
        found = check(due)
        meanwhile()
        return found

    with Patch.context() as patch:
        patch.setattr(caretaker, "_check", checked)
        assert caretaker.look()


def test_the_caretaker_renews_what_nobody_uses(claude: Case) -> None:
    claude.left(None)
    look(claude, lambda: None)
    assert claude.accepted == [True]
    claude.assert_works()


@BOTH
def test_the_caretaker_and_the_others_tell_the_owner_once(make_case: Callable[..., Case], service: str) -> None:
    case = make_case(service)
    case.sim.revoke(case.pair[1])
    case.left(10)
    for _ in range(2):
        look(case, lambda: None)
        assert case.fails(SignedOut) == "invalid_grant"
    case.assert_ended("invalid_grant")
    assert len(case.sent) == 1


@BOTH
def test_the_caretaker_does_not_wipe_away_what_another_process_finds_meanwhile(
    make_case: Callable[..., Case], service: str
) -> None:
    case = make_case(service)

    def end() -> None:
        case.sim.revoke(case.pair[1])
        assert case.fails(SignedOut, refused=case.opened().token) == "invalid_grant"

    look(case, end)
    case.left(10)
    assert case.fails(SignedOut, case.another()) == "invalid_grant"
    assert len(case.sent) == 1
    case.assert_ended("invalid_grant")


def test_the_caretaker_does_not_end_a_sign_in_that_another_process_saves_meanwhile(claude: Case, crew: Crew) -> None:
    [client] = crew.hire()
    asked, go = threading.Event(), threading.Event()

    def cut(tokens: dict[str, Any]) -> None:
        claude.cut("client")
        asked.set()
        go.wait(20)

    def answer() -> None:
        go.set()
        assert client.result() == claude.digest

    claude.sim.on_refresh = cut
    claude.left(10)
    client.begin(claude)
    assert asked.wait(20)
    look(claude, answer)
    claude.sim.on_refresh = None
    claude.assert_works()


# Whatever comes.


def test_processes_killed_at_any_moment_never_send_a_token_twice_and_never_leave_the_owner_in_the_dark(
    claude: Case, crew: Crew
) -> None:
    clients, told = crew.hire(12), 0
    for number, client in enumerate(clients):
        claude.left(10)
        client.begin(claude)
        time.sleep(number * 0.003 + random.random() * 0.003)
        client.kill()
        try:
            given = claude.get()
        except SignedOut:
            assert claude.column("problem") == "refresh_interrupted"
            told += 1
            claude.sign_in()
        else:
            assert given == claude.pair[0]
            assert claude.sim.accepts(given)
        assert len(claude.told) == told
    assert all(claude.accepted)
    assert len({*claude.sent}) == len(claude.sent)
    claude.assert_works()
