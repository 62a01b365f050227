"""setup_google.py as its owner meets it, against a simulated Google: three ways in, and all that can go wrong."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg2.extensions
import pytest

import setup_google
from demo.children import is_free, wait_until
from demo.loopback import Fault
from demo.oauth import TESTING_SECONDS, GoogleSim
from demo.servers import Stores
from demo.stack import MARKS, ROOT, made_up
from demo.telegram import ALICE
from lib import config, console, credentials, google
from lib.db import Database
from lib.google import Attempt, Google, NotForUs, NotSignedIn, Receiver, WrongState
from lib.refresh import Tokens
from lib.secret import Secret
from lib.stop import Stop, Stopped
from lib.vault import Vault
from tests import forks
from tests.house import House
from tests.hunt import Hunt

CALENDAR = "https://www.googleapis.com/auth/calendar.readonly"
MAIL = "https://www.googleapis.com/auth/gmail.readonly"
SECONDS = 20.0  # for anything to happen
TICKED = "Steward may: read your calendars, read your mail."
SECRETS = Hunt(MARKS.items())


class Run:
    """The script as a process. `stdin`: "pipe", "terminal", "unreadable" or "nothing"."""

    def __init__(self, house: House, *arguments: str, stdin: str = "pipe", **settings: str) -> None:
        self.google = house.google
        client = {"GOOGLE_CLIENT_ID": self.google.client_id, "GOOGLE_CLIENT_SECRET": self.google.client_secret}
        env = house.env | client | {"OAUTHLIB_INSECURE_TRANSPORT": "1"} | settings
        self._folder = house.worker.log.parent
        self._number = len(list(self._folder.glob("*.stdout")))
        self._input, theirs = inputs(stdin)
        with self._file("stdout").open("wb") as stdout, self._file("stderr").open("wb") as stderr:
            self.process = forks.child(
                [sys.executable, ROOT / "setup_google.py", *(arguments or ("--port", "0"))],
                env={name: value for name, value in env.items() if value},
                stdin=subprocess.DEVNULL if theirs is None else theirs,
                stdout=stdout,
                stderr=stderr,
            )
        if theirs is not None:
            os.close(theirs)

    def _file(self, name: str) -> Path:
        return self._folder / f"{self._number}.{name}"

    @property
    def text(self) -> str:
        return self._file("stdout").read_text()

    @property
    def url(self) -> str:
        """The address to open, once the script waits."""
        assert self.sees("Ctrl-C ends it."), self.text
        return str(re.findall(r"^  (http\S+)$", self.text, re.MULTILINE)[0])

    @property
    def port(self) -> int:
        return int(urlsplit(parse_qs(urlsplit(self.url).query)["redirect_uri"][0]).port or 0)

    def sees(self, words: str, times: int = 1) -> bool:
        return wait_until(lambda: self.text.count(words) >= times or self.process.poll() is not None, SECONDS) and (
            self.text.count(words) >= times
        )

    def type(self, text: str) -> None:
        assert self._input is not None
        os.write(self._input, text.encode())

    def hang_up(self) -> None:
        """Close its input."""
        if self._input is not None:
            os.close(self._input)
            self._input = None

    def ask(self, path: str, method: str = "GET", host: str = "127.0.0.1") -> tuple[int, str]:
        """Status and text of one request to its port."""
        connection = HTTPConnection(host, self.port, timeout=10)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def end(self) -> int:
        """Its exit code, when it has ended by itself."""
        return self.process.wait(SECONDS)

    def succeeds(self) -> None:
        assert self.end() == 0, self.text
        assert f"Signed in to Google as {self.google.email}; the tokens are sealed in PostgreSQL." in self.text

    def fails(self, words: str) -> None:
        """It ended with this one sentence behind the invitation, if it came so far."""
        assert self.end() == 1, self.text
        assert words in self.text.rpartition("Ctrl-C ends it.\n")[2]

    def close(self) -> None:
        """No secret, no traceback and no line for machines that is not JSON was ever printed."""
        self.hang_up()
        self.process.kill()
        self.process.wait()
        assert self._file("stderr").read_text() == ""
        for line in self.text.splitlines():
            assert not line.startswith("{") or "Traceback" not in json.loads(line).get("error_stack", "")
        assert "Traceback" not in self.text
        assert not SECRETS.search_file(self._file("stdout"))


def inputs(kind: str) -> tuple[int | None, int | None]:
    """Our end and the script's."""
    if kind == "terminal":
        return pty.openpty()
    if kind == "unreadable":
        return None, os.open(os.devnull, os.O_WRONLY)
    return os.pipe()[::-1] if kind == "pipe" else (None, None)


Start = Callable[..., Run]


@pytest.fixture
def start() -> Iterator[Start]:
    """Run the script in this house, once or more often."""
    with ExitStack() as runs:

        def make(house: House, *arguments: str, stdin: str = "pipe", **settings: str) -> Run:
            run = Run(house, *arguments, stdin=stdin, **settings)
            runs.callback(run.close)
            return run

        yield make


@pytest.fixture
def house(make_house: Callable[..., House]) -> House:
    """Nothing of it runs but the simulators."""
    return make_house()


def program(folder: Path, name: str) -> Path:
    """A browser that opens the page, goes where it is sent, keeps what it sees there, and is noisy."""
    path = folder / name
    path.write_text(
        f"#!{sys.executable}\n"
        "import sys, urllib.request\n"
        "print('noise'); print('noise', file=sys.stderr)\n"
        "page = urllib.request.urlopen(sys.argv[1], timeout=10).read()\n"
        f"open({str(folder / 'seen')!r}, 'wb').write(page)\n"
    )
    path.chmod(0o755)
    return path


def kept(house: House) -> bool:
    return bool(house.query("SELECT 1 FROM credentials WHERE service = 'google'"))


# --- The browser way


@pytest.mark.parametrize("browser", ["{path} %s &", "{path}", "xdg-open", "firefox"])
def test_a_browser_is_opened_by_itself_and_brings_the_answer(
    house: House, start: Start, tmp_path: Path, browser: str
) -> None:
    path = program(tmp_path, browser if browser in ("xdg-open", "firefox") else "some-browser")
    settings = {"BROWSER": browser.format(path=path)}
    if path.name == browser:  # as on a desktop
        settings = {"DISPLAY": ":0", "PATH": str(tmp_path)}
    run = start(house, stdin="nothing", **settings)
    run.succeeds()
    assert console.GOOGLE_PAGE in (tmp_path / "seen").read_text()
    assert "noise" not in run.text
    assert kept(house)


def test_a_text_browser_would_take_over_the_terminal_and_is_not_started(
    house: House, start: Start, tmp_path: Path
) -> None:
    for name in ("www-browser", "links", "elinks", "lynx", "w3m"):
        program(tmp_path, name)
    path = f"{tmp_path}:{os.environ['PATH']}"
    for browser in ("", str(tmp_path / "w3m"), "elinks"):
        run = start(house, PATH=path, TERM="xterm", BROWSER=browser)
        run.type(house.google.visit(run.url) + "\n")
        run.succeeds()
    assert not (tmp_path / "seen").exists()


def test_without_a_browser_that_works_the_address_is_enough(house: House, start: Start) -> None:
    for browser in ("", "/nonexistent/browser", '"%s'):
        run = start(house, stdin="nothing", BROWSER=browser)
        assert console.GOOGLE_PAGE in house.google.browse(run.url)
        run.succeeds()


def test_what_is_asked_for_is_pkce_offline_consent_and_read_only(house: House, start: Start) -> None:
    asked = parse_qs(urlsplit(start(house).url).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert len(asked["code_challenge"][0]) == 43
    assert (asked["access_type"], asked["prompt"]) == (["offline"], ["consent"])
    assert asked["scope"][0].split() == [*google.IDENTITY, CALENDAR, MAIL]
    assert len(asked["state"][0]) >= 22
    assert asked["redirect_uri"][0].startswith("http://127.0.0.1:")


# --- The tunnel way


class Tunnel:
    """What `ssh -L` does: a port on another computer whose connections come out at a port of this one."""

    def __init__(self, port: int) -> None:
        self._far, self._door = port, socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near = self._door.accept()[0]
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._far))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()


def test_a_browser_behind_an_ssh_tunnel_brings_the_answer(
    house: House, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(house, stdin="nothing")
    assert f"ssh -N -L {run.port}:127.0.0.1:{run.port} USER@THIS-SERVER" in run.text
    tunnel, visit = Tunnel(run.port), house.google.visit
    # The browser's 127.0.0.1 is another computer's: there the tunnel has the port.
    monkeypatch.setattr(house.google, "visit", lambda url: visit(url).replace(f":{run.port}/", f":{tunnel.port}/"))
    try:
        assert console.GOOGLE_PAGE in house.google.browse(run.url)
        run.succeeds()
    finally:
        tunnel.close()


# --- The paste way


@pytest.mark.parametrize(
    ("stdin", "shape"),
    [("pipe", "{}\n"), ("pipe", "'{}#'\r\n"), ("terminal", "{}\n"), ("terminal", '  "{}" \r')],  # \r: the return key
)
def test_a_pasted_address_brings_the_answer(house: House, start: Start, stdin: str, shape: str) -> None:
    run = start(house, stdin=stdin)
    run.type(shape.format(house.google.visit(run.url)))
    run.succeeds()
    assert TICKED in run.text
    assert kept(house)


def test_a_piped_address_needs_no_line_end(house: House, start: Start) -> None:
    run = start(house)
    run.type(house.google.visit(run.url))
    run.hang_up()
    run.succeeds()


def test_an_address_that_comes_in_pieces_is_put_together(house: House, start: Start) -> None:
    run = start(house)
    address = house.google.visit(run.url)
    run.type("nonsense\n" + address[:40])
    assert run.sees(console.GOOGLE_NOT_ADDRESS)
    run.type(address[40:] + "\nmore\n")
    run.succeeds()


def test_what_is_not_the_address_is_told_and_the_waiting_goes_on(house: House, start: Start) -> None:
    run = start(house)
    address = house.google.visit(run.url)
    state, code = (parse_qs(urlsplit(address).query)[name][0] for name in ("state", "code"))
    wrong = ["what?", code, address.split("code=")[0], address.replace("state=", "st="), run.url]
    wrong += [f"{run.google.url}/?error=access_denied", "\x1b[A\x00\udcff".encode(errors="replace").decode()]
    for line in wrong:
        run.type(f"\n  \n{line}\n")
    assert run.sees(console.GOOGLE_NOT_ADDRESS, len(wrong))
    earlier = address.replace(state, state[::-1])
    run.type(earlier + "\n" + f"http://127.0.0.1/?error=access_denied&state={state[::-1]}\n")
    assert run.sees(console.GOOGLE_WRONG_STATE, 2)
    assert run.text.count(console.GOOGLE_NOT_ADDRESS) == len(wrong), "an empty line is not worth a word"
    run.type(address + "\n")
    run.succeeds()


def test_an_endless_stream_of_nonsense_keeps_nobody_out(house: House, start: Start) -> None:
    run = start(house)

    def pour() -> None:
        try:
            while True:
                run.type("y" * 65_535 + "\n")
        except OSError:  # it has ended
            pass

    url = run.url
    thread = threading.Thread(target=pour, daemon=True)
    thread.start()
    assert run.sees(console.GOOGLE_NOT_ADDRESS, 3)
    assert console.GOOGLE_PAGE in house.google.browse(url)
    run.succeeds()
    thread.join()


def test_without_input_the_browser_way_stays_open_and_that_is_said(house: House, start: Start) -> None:
    for stdin in ("nothing", "pipe", "terminal", "unreadable"):
        run = start(house, stdin=stdin)
        assert run.url
        run.hang_up()
        assert run.sees(console.GOOGLE_NO_INPUT)
        assert console.GOOGLE_PAGE in house.google.browse(run.url)
        run.succeeds()
        assert run.text.count(console.GOOGLE_NO_INPUT) == 1
        assert console.GOOGLE_NOT_ADDRESS not in run.text


# --- No


@pytest.mark.parametrize("way", ["browser", "paste"])
def test_who_declines_is_told_so_and_nothing_is_changed(house: House, start: Start, way: str) -> None:
    house.google.person = "denies"
    run = start(house)
    if way == "browser":
        assert console.GOOGLE_PAGE_DECLINED in house.google.browse(run.url)
    else:
        run.type(house.google.visit(run.url) + "\n")
    run.fails("You declined, so Google gave nothing. Nothing was changed")
    assert not kept(house)


# --- Whoever else knocks at the port


def test_an_answer_with_a_wrong_state_changes_nothing_and_the_page_says_so(house: House, start: Start) -> None:
    run = start(house)
    earlier, forged = start(house), "/?code=4/0Aforged&state=forged"
    for path in (forged, "/?error=access_denied&state=forged", urlsplit(house.google.visit(earlier.url)).query):
        status, page = run.ask(path if path.startswith("/") else f"/?{path}")
        assert status == 400
        assert console.GOOGLE_PAGE_STATE in page
    for path in ("/?code=4/0Aforged", "/?code=4/0Aforged&state=", "/?error=access_denied"):
        status, page = run.ask(path)
        assert status == 404
        assert console.GOOGLE_PAGE_OTHER in page
    assert console.GOOGLE_PAGE in house.google.browse(run.url)
    run.succeeds()


def test_strays_scans_and_broken_connections_do_not_end_it(house: House, start: Start) -> None:
    run = start(house)
    place = "127.0.0.1", run.port
    for path in ("/", "/favicon.ico", "/robots.txt", "/?", "/%ff?%ff=%00", "/" + "a" * 70_000):
        assert run.ask(path)[0] in (404, 414)
    for method in ("POST", "HEAD", "PUT", "OPTIONS", "BREW"):
        assert run.ask(f"/?{urlsplit(house.google.visit(run.url)).query}", method)[0] == 501
    half_open = [socket.create_connection(place) for _ in range(150)]
    for number, connection in enumerate(half_open[:50]):
        connection.sendall((b"GET /?code=", b"\x16\x03\x01\x02\x00\x01\xff", b"GET\r\n\r\n", b"\r\n" * 100)[number % 4])
    for connection in half_open[50:100]:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()  # with a reset
    assert console.GOOGLE_PAGE in house.google.browse(run.url)
    run.succeeds()
    for connection in half_open:
        connection.close()


# --- What Google says of the code


def test_an_answer_that_came_too_late_is_told(house: House, start: Start) -> None:
    house.google.code_lifetime = 0
    run = start(house)
    house.google.browse(run.url)
    run.fails("Google says that this answer is too old or was used before. Nothing was changed")
    assert not kept(house)


def test_an_answer_that_was_used_before_is_told(house: House, start: Start) -> None:
    house.google.faults.add(Fault("lose", "/token"))  # the first time
    run = start(house)
    address = house.google.visit(run.url)
    run.type(address + "\n")
    run.fails("Google cannot be reached from here, or does not answer. Nothing was changed; try again later.")
    again = start(house)
    old, new = (parse_qs(urlsplit(each).query) for each in (address, house.google.visit(again.url)))
    again.type(f"?code={old['code'][0]}&state={new['state'][0]}\n")
    again.fails("too old or was used before")
    assert not kept(house)


def test_a_wrong_client_secret_is_told(house: House, start: Start) -> None:
    run = start(house, GOOGLE_CLIENT_SECRET=made_up("google client"))
    house.google.browse(run.url)
    run.fails("GOOGLE_CLIENT_SECRET is not its secret. Nothing was changed; mend these lines in .env")
    assert not kept(house)


def test_without_a_refresh_token_nothing_is_kept(house: House, start: Start) -> None:
    run = start(house)
    house.google.browse(run.url.replace("access_type=offline", "access_type=online"))
    run.fails("nothing was kept. Take Steward's access away at https://myaccount.google.com/connections")
    assert not kept(house)


def test_a_sign_in_that_ends_by_itself_is_told_with_its_day(house: House, start: Start) -> None:
    left = (
        "SELECT round(extract(epoch FROM ends_at - now()) / 86400)::integer FROM credentials WHERE service = 'google'"
    )
    for lasts, days, told in (
        (TESTING_SECONDS, 7, "This sign-in ends in 7 days, because the app's consent screen is in Testing."),
        (15_551_999, 180, "This sign-in ends in 180 days, because it was given for a time only."),
        (None, None, ""),
    ):
        house.google.refresh_expires_in = lasts
        run = start(house)
        house.google.browse(run.url)
        run.succeeds()
        assert told in run.text
        assert ("ends in" in run.text) == bool(told)
        assert house.query(left) == [(days,)]


def test_what_was_not_ticked_is_named_in_plain_words(house: House, start: Start) -> None:
    house.google.unticked = {MAIL}
    run = start(house)
    house.google.browse(run.url)
    run.succeeds()
    assert "Steward may: read your calendars.\nNot ticked: read your mail. Steward works without" in run.text
    house.google.unticked = {MAIL, CALENDAR}
    run = start(house)
    house.google.browse(run.url)
    run.succeeds()
    assert "Steward may: nothing.\nNot ticked: read your calendars, read your mail." in run.text


def test_scopes_of_the_owners_own_are_asked_for_and_named(house: House, start: Start) -> None:
    tasks = "https://www.googleapis.com/auth/tasks"
    house.google.unticked = {tasks}
    run = start(house, GOOGLE_SCOPES=f"email profile {CALENDAR} {tasks}")
    house.google.browse(run.url)
    run.succeeds()
    assert "Steward may: userinfo.profile, read your calendars.\nNot ticked: tasks." in run.text


# --- Google's own trouble


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault("drop"), "Google cannot be reached from here, or does not answer. Nothing was changed"),
        (Fault("status", status=503, body="<h1>Error 503</h1>a=b&c=d"), "Google has trouble of its own right now."),
        (Fault("status", status=200, body="5"), "Google has trouble of its own right now."),
    ],
    ids=["drop", "page", "number"],
)
def test_when_google_fails_at_the_exchange_nothing_is_kept(house: House, start: Start, fault: Fault, told: str) -> None:
    fault.where = "/token"
    house.google.faults.add(fault)
    run = start(house)
    house.google.browse(run.url)
    run.fails(told)
    assert not kept(house)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (500, {"error": "internal_failure"}, "internal_failure"),
        (500, {"error": {"code": 500, "message": "..."}}, "unknown"),
        (400, {"error": "a sentence, not a code"}, "unknown"),
        (200, "null", "missing_token"),
        (200, ["access_token"], "missing_token"),
        (200, {"access_token": ""}, "missing_token"),
        (200, {"access_token": "a", "scope": 5}, "missing_token"),
        (200, {"access_token": "a", "refresh_token": ""}, "no_refresh_token"),
    ],
)
def test_no_answer_to_the_code_is_too_odd(
    monkeypatch: pytest.MonkeyPatch, status: int, body: object, code: str
) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    with GoogleSim("client", "secret") as sim:
        sim.faults.add(Fault("status", status=status, body=body))
        with pytest.raises(NotSignedIn, match=f"^{code}$"):
            new_attempt(Google(sim.url)).finish(Secret("4/0A"))


def test_scopes_that_google_does_not_mention_are_those_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    with GoogleSim("client", "secret") as sim:
        sim.faults.add(Fault("status", status=200, body={"access_token": "a", "refresh_token": "r"}))
        granted = new_attempt(Google(sim.url)).finish(Secret("4/0A"))
    assert (granted.allowed, granted.unticked) == ((CALENDAR,), ())
    assert (granted.expires_in, granted.ends_in) == (None, None)


@pytest.mark.parametrize("drip", [False, True])
def test_the_exchange_has_an_end_even_if_google_does_not_end(monkeypatch: pytest.MonkeyPatch, drip: bool) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setattr(google, "ANSWER_SECONDS", 1.0)
    enough = threading.Event()

    def serve() -> None:
        with door.accept()[0] as connection:
            while not enough.wait(0.1):
                if drip:
                    connection.sendall(b"H")

    with socket.create_server(("127.0.0.1", 0)) as door:
        threading.Thread(target=serve, daemon=True).start()
        attempt = new_attempt(Google(f"http://127.0.0.1:{door.getsockname()[1]}"))
        began = time.monotonic()
        with pytest.raises(NotSignedIn, match="no_connection"):
            attempt.finish(Secret("4/0A"))
        assert time.monotonic() - began < 3
        enough.set()


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault("drop"), "Google does not answer just now."),
        (Fault("status", status=503), "Google's answer held no mail address."),
        (Fault("status", status=200, body={"sub": "1"}), "Google's answer held no mail address."),
    ],
    ids=str,
)
def test_when_google_does_not_say_whose_account_it_is_the_sign_in_is_kept(
    house: House, start: Start, fault: Fault, told: str
) -> None:
    fault.where = "/userinfo"
    house.google.faults.add(fault)
    house.google.unticked = {MAIL}
    run = start(house)
    house.google.browse(run.url)
    assert run.end() == 0
    why = told.removesuffix(".")
    assert console.GOOGLE_KEPT_UNSEEN.format(granted="read your calendars", why=why) in run.text
    assert "Nothing was changed" not in run.text
    assert "Not ticked: read your mail." in run.text
    assert kept(house)


# --- Deadline, signals, port


def new_attempt(at: Google, redirect_uri: str = "http://127.0.0.1:1/") -> Attempt:
    return Attempt(at, "client", Secret("secret"), (CALENDAR,), redirect_uri)


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch, stop: Stop) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as in a process started with it closed
    receiver = Receiver("127.0.0.1", 0)
    attempt = new_attempt(Google(""), receiver.redirect_uri)
    receiver.begin(attempt)
    try:
        with pytest.raises(setup_google.Quit, match=r"Nobody signed in within 10 minutes\. Nothing was changed"):
            setup_google.await_code(attempt, receiver, stop, 0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped):
            setup_google.await_code(attempt, receiver, stop, 30)
    finally:
        receiver.end()
    assert is_free(receiver.port)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_waits_ends_it_with_one_sentence(house: House, start: Start, number: signal.Signals) -> None:
    run = start(house)
    port = run.port
    run.process.send_signal(number)
    run.fails("Stopped. Nothing was changed.")
    assert is_free(port)
    assert not kept(house)


def test_a_signal_while_google_is_asked_ends_it_at_once(house: House, start: Start) -> None:
    house.google.faults.add(Fault("hang", "/token", seconds=60))
    run = start(house)
    run.type(house.google.visit(run.url) + "\n")
    assert wait_until(lambda: is_free(run.port), SECONDS), "it no longer waits for the code"
    began = time.monotonic()
    run.process.send_signal(signal.SIGINT)
    run.fails("Stopped. Nothing was changed.")
    assert time.monotonic() - began < 5
    assert not kept(house)


def test_a_port_that_cannot_be_had_is_one_sentence(house: House, start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = str(other.getsockname()[1])
        for arguments, told in (
            (("--port", taken), f"Port {taken} cannot be used here (Address already in use). Name another;"),
            (("--port", "70000"), "Port 70000 cannot be used here ("),
            (("--listen", "no.such.name.invalid"), "Port 8085 cannot be used here ("),
        ):
            run = start(house, *arguments)
            run.fails(told)
            assert run.text.count("\n") == 1


def test_only_in_a_container_it_listens_to_the_world(house: House, start: Start) -> None:
    usual, container = start(house), start(house, "--port", "0", "--listen", "0.0.0.0")
    with pytest.raises(ConnectionRefusedError):
        usual.ask("/", host="127.0.0.2")
    assert container.ask("/", host="127.0.0.2")[0] == 404
    assert console.GOOGLE_PAGE in house.google.browse(container.url)
    container.succeeds()


# --- Before anybody signs in


def test_without_a_client_it_says_how_to_make_one(house: House, start: Start) -> None:
    for missing in (("GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"), ("GOOGLE_CLIENT_ID",)):
        start(house, **dict.fromkeys(missing, "")).fails(console.GOOGLE_CLIENT)
    assert "type Desktop app" in console.GOOGLE_CLIENT


def test_another_master_key_is_one_sentence_and_changes_nothing(house: House, start: Start) -> None:
    run = start(house)
    house.google.browse(run.url)
    run.succeeds()
    before = house.query("SELECT service, token, entered_at FROM credentials ORDER BY service")
    run = start(house, MASTER_KEY=made_up("master key"))
    run.fails(console.WRONG_KEY)
    assert run.text.count("\n") == 1
    assert house.query("SELECT service, token, entered_at FROM credentials ORDER BY service") == before


def test_what_is_wrong_from_the_start_is_said_at_once(house: House, start: Start) -> None:
    for settings, told in (
        ({"DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d"}, "PostgreSQL cannot be used: "),
        ({"GOOGLE_CLIENT_ID": "me@example.com"}, "GOOGLE_CLIENT_ID does not look right"),
        ({"OAUTHLIB_INSECURE_TRANSPORT": ""}, "GOOGLE_URL is plain http"),
    ):
        run = start(house, **settings)
        run.fails(told)
        assert run.text.count("\n") == 1


# --- Afterwards


def test_the_sign_in_is_sealed_told_to_the_audit_and_can_be_used(house: House, start: Start, stop: Stop) -> None:
    run = start(house)
    house.google.visit(run.url)
    assert (
        house.query("SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'steward-setup%'") == []
    )
    house.google.browse(run.url)
    run.succeeds()
    assert house.query(
        "SELECT kind, account, problem, ends_at, checked_at IS NOT NULL FROM credentials WHERE service = 'google'"
    ) == [("oauth", house.google.email, None, None, True)]
    assert house.query(
        "SELECT actor_kind, actor_id, outcome, detail FROM audit WHERE action = 'credential.entered'"
        " AND detail->>'service' = 'google'"
    ) == [("owner", ALICE.id, "success", {"service": "google", "kind": "oauth"})]
    assert SECRETS.search("dump", house.stores.postgres.dump(house.name)) == []
    settings = config.load(house.env)
    database, vault = Database(settings.database_url, "test"), Vault(settings.master_key)
    tokens = Tokens(settings, database, vault, stop)
    try:
        first = tokens.get("google")
        assert house.google.accepts(first.reveal())
        second = tokens.get("google", refused=first)
        assert second != first
        assert house.google.accepts(second.reveal())
    finally:
        database.close()
        psycopg2.extensions.set_wait_callback(None)  # the scripts' deadline is not for the tests' own connections


def test_a_second_sign_in_replaces_the_first_and_needs_no_client_in_env(house: House, start: Start) -> None:
    first = start(house)
    house.google.browse(first.url)
    first.succeeds()
    before = house.query("SELECT token, login FROM credentials WHERE service = 'google'")
    house.query("UPDATE credentials SET problem = 'invalid_grant' WHERE service = 'google'")
    house.google.email = "bob@example.com"
    second = start(house, GOOGLE_CLIENT_ID="", GOOGLE_CLIENT_SECRET="")
    house.google.browse(second.url)
    second.succeeds()
    after = house.query("SELECT token, login FROM credentials WHERE service = 'google'")
    assert len(after) == 1
    assert not {bytes(value) for value in before[0]} & {bytes(value) for value in after[0]}
    assert house.query("SELECT account, problem FROM credentials WHERE service = 'google'") == [
        ("bob@example.com", None)
    ]
    half = start(house, GOOGLE_CLIENT_SECRET="")
    half.fails(console.GOOGLE_CLIENT)


def test_a_damaged_sign_in_is_replaced(house: House, start: Start) -> None:
    run = start(house)
    house.google.browse(run.url)
    run.succeeds()
    house.query("UPDATE credentials SET token = '\\x00', login = '\\x00', entered = '\\x00' WHERE service = 'google'")
    run = start(house)
    house.google.browse(run.url)
    run.succeeds()
    settings = config.load(house.env)
    database = Database(settings.database_url, "test")
    with database.statement() as cur:
        found = credentials.load(cur, Vault(settings.master_key), "google")
    database.close()
    psycopg2.extensions.set_wait_callback(None)
    assert found is not None
    assert house.google.accepts(found.token.reveal())
    assert found.problem is None


def test_a_database_that_is_away_when_google_answers_is_waited_for(
    make_house: Callable[..., House], own_stores: Stores, start: Start
) -> None:
    house = make_house(own_stores=own_stores)
    run = start(house)
    assert run.url
    own_stores.postgres.kill()
    house.google.browse(run.url)
    assert run.sees("database_away")
    own_stores.postgres.start()
    run.succeeds()
    assert kept(house)
    again = start(house)
    assert again.url
    own_stores.postgres.kill()
    house.google.browse(again.url)
    assert again.sees("database_away")
    again.process.send_signal(signal.SIGINT)
    assert again.end() == 1
    assert "PostgreSQL cannot be used: " in again.text.splitlines()[-1]


# --- The address, without a process


@pytest.fixture
def attempt(monkeypatch: pytest.MonkeyPatch) -> Attempt:
    monkeypatch.delenv("OAUTHLIB_INSECURE_TRANSPORT", raising=False)
    return new_attempt(Google(""))


def test_every_attempt_has_a_state_and_a_verifier_of_its_own(attempt: Attempt) -> None:
    first, second = (parse_qs(urlsplit(each.url).query) for each in (attempt, new_attempt(Google(""))))
    assert first["state"] != second["state"]
    assert first["code_challenge"] != second["code_challenge"]
    assert attempt.url.startswith("https://accounts.google.com/o/oauth2/v2/auth?")


@pytest.mark.parametrize(
    "shape",
    [
        "http://127.0.0.1:1/?state={state}&code={code}&scope=a%20b",
        "  'http://127.0.0.1:1/?code={code}&state={state}#_=_' ",
        '"127.0.0.1:1/?iss=https://accounts.google.com&code={code}&state={state}"\r',
        "<https://localhost/?code={code}&state={state}>#",
        "?code={code}&state={state}",
        "/?code={code}&state={state}",
        "code={code}&state={state}",
        "http://127.0.0.1:1/?state={state}& co de={code}\t",  # from a narrow window
    ],
)
@pytest.mark.parametrize("code", ["4/0Abc", "4%2F0Abc"])
def test_an_address_is_read_however_it_was_copied(attempt: Attempt, shape: str, code: str) -> None:
    state = parse_qs(urlsplit(attempt.url).query)["state"][0]
    assert attempt.read(shape.format(code=code, state=state)).reveal() == "4/0Abc"
    with pytest.raises(WrongState):
        attempt.read(shape.format(code=code, state=f"x{state}"))
    with pytest.raises(NotForUs):
        attempt.read(shape.format(code=code, state=""))
    with pytest.raises(NotForUs):
        attempt.read(shape.format(code="", state=state))


def test_a_refusal_is_only_believed_with_the_state(attempt: Attempt) -> None:
    state = parse_qs(urlsplit(attempt.url).query)["state"][0]
    with pytest.raises(NotSignedIn, match="access_denied"):
        attempt.read(f"http://127.0.0.1:1/?error=access_denied&state={state}")
    with pytest.raises(NotSignedIn, match="unknown"):
        attempt.read(f"?error=<script>&state={state}")
    with pytest.raises(WrongState):
        attempt.read(f"?error=access_denied&state={state[:-1]}")
    with pytest.raises(NotForUs):
        attempt.read("?error=access_denied")
