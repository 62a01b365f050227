"""Signs Steward in to Google, once: you open a page, and what Google gives is sealed in PostgreSQL.

The answer comes back by itself where the browser runs on this machine or behind an SSH tunnel; else you paste it. In a
container say `--listen 0.0.0.0`, and publish the port on 127.0.0.1 only.
"""

from __future__ import annotations

import argparse
import os
import select
import sys
import threading
import time
import uuid
import webbrowser
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, SimpleQueue
from typing import Any

from lib import audit, config, credentials, log, sentences
from lib.config import Settings
from lib.credentials import Damaged, Login
from lib.db import Cursor, Database, Down
from lib.google import Attempt, Google, Granted, NotForUs, NotSignedIn, WrongState
from lib.keyring import Locked, hold_key, open_now
from lib.secret import Secret
from lib.stop import Stop
from lib.vault import Vault

PORT = 8085
MINUTES = 10  # to sign in
TICK = 0.2  # seconds between two looks at browser and terminal
DAY = 86400.0  # seconds


class Quit(Exception):
    """It cannot go on; the text tells the owner why."""


def main() -> int:
    options = arguments()
    log.setup("setup_google", quiet=True)
    try:
        settings = config.load()
        log.hide(settings.secrets)
        sign_in(settings, options.listen, options.port)
    except (config.ConfigError, Locked, Quit) as exc:
        say(str(exc))
    except NotSignedIn as exc:
        say(sentences.google(str(exc)))
    except Down as exc:
        say(sentences.NO_DATABASE.format(why=exc))
    else:
        return 0
    return 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Signs Steward in to Google.")
    parser.add_argument("--port", type=int, default=PORT, help=f"where the browser is sent back to (default {PORT})")
    parser.add_argument("--listen", default="127.0.0.1", help="0.0.0.0 in a container, else leave it out")
    return parser.parse_args()


def sign_in(settings: Settings, listen: str, port: int) -> None:
    """All of it, in order. Raises Quit, Locked, NotSignedIn and Down."""
    stop, database = Stop(), Database(settings.database_url, "steward-setup")
    vault = open_now(settings, database).vault  # whatever is wrong here is found before anybody signs in
    google = Google(settings.google_url)
    client_id, client_secret = client(settings, database, vault)
    receiver = Receiver(listen, port)
    try:
        attempt = Attempt(google, client_id, client_secret, settings.google_scopes, receiver.redirect_uri)
        receiver.begin(attempt)
        invite(attempt, receiver.port)
        code = await_code(attempt, receiver, stop, MINUTES * 60)
    finally:
        receiver.end()
    granted = attempt.finish(code)
    log.hide([granted.access_token.reveal(), granted.refresh_token.reveal()])
    login = Login(granted.refresh_token, client_id, client_secret, google.token_url)
    keep(settings, database, vault, stop, login, granted)
    tell(settings, database, google, granted)


def client(settings: Settings, database: Database, vault: Vault) -> tuple[str, Secret]:
    """Id and secret of the OAuth client: from .env, or those of the last sign-in. Raises Quit."""
    if settings.google_client_id and settings.google_client_secret:
        return settings.google_client_id, settings.google_client_secret
    try:
        with database.statement() as cur:
            before = credentials.load(cur, vault, "google")
    except Damaged:
        before = None
    if before is None or before.login is None or before.login.client_secret is None:
        raise Quit(sentences.GOOGLE_CLIENT)
    return before.login.client_id, before.login.client_secret


class Receiver:
    """Waits on a port for the browser that Google sends back. Other requests get an answer and change nothing."""

    def __init__(self, listen: str, port: int) -> None:
        """Raises Quit."""
        try:
            self._server = ThreadingHTTPServer((listen, port), Visit)
        except (OSError, OverflowError) as exc:
            raise Quit(sentences.GOOGLE_PORT.format(port=port, why=exc)) from None
        self.port: int = self._server.server_address[1]
        self.redirect_uri = f"http://127.0.0.1:{self.port}/"
        self._came: SimpleQueue[Secret | NotSignedIn] = SimpleQueue()

    def begin(self, attempt: Attempt) -> None:
        vars(self._server).update(attempt=attempt, came=self._came)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": TICK}, daemon=True).start()

    def take(self, seconds: float) -> Secret | None:
        """The code, if it comes within so many seconds. Raises NotSignedIn when Google said no."""
        try:
            came = self._came.get(timeout=seconds)
        except Empty:
            return None
        if isinstance(came, NotSignedIn):
            raise came
        return came

    def end(self) -> None:
        """Free the port. Only after begin()."""
        self._server.shutdown()
        self._server.server_close()


class Visit(BaseHTTPRequestHandler):
    """One request to the port."""

    timeout = 10.0  # browsers open connections that they never use

    def do_GET(self) -> None:
        server: Any = self.server
        try:
            server.came.put(server.attempt.read(self.path))
            self._page(200, sentences.GOOGLE_PAGE)
        except NotSignedIn as exc:
            server.came.put(exc)
            self._page(200, sentences.GOOGLE_PAGE_DECLINED)
        except WrongState:
            self._page(400, sentences.GOOGLE_PAGE_STATE)
        except NotForUs:
            self._page(404, "")

    def _page(self, status: int, text: str) -> None:
        data = f"<!doctype html><meta charset=utf-8><title>Steward</title><p>{text}</p>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Not printed: the address holds the code."""


def invite(attempt: Attempt, port: int) -> None:
    """Open the page where there is a browser; say how else in any case."""
    say(sentences.GOOGLE_INVITATION.format(url=attempt.url, port=port, minutes=MINUTES))
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return
    if type(browser) is not webbrowser.GenericBrowser:  # that would be lynx or w3m, which takes over the terminal
        browser.open(attempt.url)


def await_code(attempt: Attempt, receiver: Receiver, stop: Stop, seconds: float) -> Secret:
    """The code, from the browser or from whoever pastes the address. Raises Quit and NotSignedIn."""
    terminal, deadline = Terminal(), time.monotonic() + seconds
    while time.monotonic() < deadline:
        if stop:
            raise Quit(sentences.GOOGLE_STOPPED)
        if code := receiver.take(TICK):
            return code
        for line in terminal.lines():
            try:
                return attempt.read(line)
            except NotForUs:
                if line.strip():
                    say(sentences.GOOGLE_NOT_ADDRESS)
            except WrongState:
                say(sentences.GOOGLE_WRONG_STATE)
    raise Quit(sentences.GOOGLE_TOO_LATE.format(minutes=MINUTES))


class Terminal:
    """Lines typed or piped in, without waiting for one."""

    def __init__(self) -> None:
        self._rest = b""
        self._open = sys.stdin is not None

    def lines(self) -> Iterator[str]:
        while self._open and select.select([sys.stdin], [], [], 0)[0]:
            data = os.read(sys.stdin.fileno(), 65536)
            self._open = bool(data)
            *whole, self._rest = (self._rest + data).split(b"\n")
            if not data:  # the end of the input ends a line, too
                whole, self._rest = [*whole, self._rest], b""
            for line in whole:
                yield line.decode(errors="replace")


def keep(settings: Settings, database: Database, vault: Vault, stop: Stop, login: Login, granted: Granted) -> None:
    """Seal the sign-in, in place of an earlier one."""

    def save(cur: Cursor) -> None:
        hold_key(cur, vault)
        new = credentials.enter(
            cur,
            vault,
            "google",
            "oauth",
            granted.access_token,
            login,
            scopes=" ".join(sorted(granted.scopes)),
            expires_in=granted.expires_in,
            ends_in=granted.ends_in,
        )
        if new:
            owner = audit.Actor("owner", settings.owner_id or None)
            detail = {"service": "google", "kind": "oauth"}
            audit.add(cur, str(uuid.uuid4()), owner, "credential.entered", detail=detail)

    database.insist(stop, save)


def tell(settings: Settings, database: Database, google: Google, granted: Granted) -> None:
    """Ask Google whose account it is, and say what Steward may do there."""
    allowed = [sentences.google_scope(scope) for scope in settings.google_scopes if scope in granted.scopes]
    unticked = [sentences.google_scope(scope) for scope in settings.google_scopes if scope not in granted.scopes]
    try:
        account = google.account(granted.access_token)
    except NotSignedIn as exc:
        say(sentences.GOOGLE_KEPT_UNSEEN.format(why=sentences.google(str(exc))))
    else:
        with database.statement() as cur:
            credentials.set_account(cur, "google", account)
        say(sentences.GOOGLE_KEPT.format(account=account, granted=", ".join(allowed) or "nothing"))
    if unticked:
        say(sentences.GOOGLE_UNTICKED.format(unticked=", ".join(unticked)))
    if granted.ends_in is not None:
        days = max(round(granted.ends_in / DAY), 1)  # 604799 seconds while the consent screen is in Testing
        say((sentences.GOOGLE_ENDS_TESTING if days <= 7 else sentences.GOOGLE_ENDS).format(days=days))


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
