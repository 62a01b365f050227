"""Signs Steward in to Google, once: you open a page, and what Google gives is sealed in PostgreSQL.

The answer comes back by itself where the browser runs on this machine or behind an SSH tunnel; else you paste it. In a
container say `--listen 0.0.0.0`, and publish the port on 127.0.0.1 only.
"""

from __future__ import annotations

import argparse
import os
import select
import subprocess
import sys
import time
import uuid
import webbrowser
from collections.abc import Iterator
from contextlib import suppress

from lib import audit, config, console, credentials, log
from lib.config import Settings
from lib.credentials import Damaged, Login
from lib.db import Cursor, Database, Down
from lib.google import Attempt, Google, Granted, NotForUs, NotSaid, NotSignedIn, Receiver, WrongState
from lib.keyring import Locked, hold_key, open_now
from lib.secret import Secret
from lib.stop import Stop, Stopped
from lib.vault import Vault

PORT = 8085
MINUTES = 10  # to sign in
TICK = 0.2  # seconds between two looks at the terminal
TEXT_BROWSERS = ("www-browser", "links", "links2", "elinks", "lynx", "w3m")


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
        say(console.google(str(exc)))
    except Down as exc:
        say(console.NO_DATABASE.format(why=exc))
    except Stopped:
        say(console.STOPPED)
    else:
        return 0
    return 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Signs Steward in to Google.")
    parser.add_argument("--port", type=int, default=PORT, help=f"where the browser is sent back to (default {PORT})")
    parser.add_argument("--listen", default="127.0.0.1", help="0.0.0.0 in a container, else leave it out")
    return parser.parse_args()


def sign_in(settings: Settings, listen: str, port: int) -> None:
    """All of it, in order. Raises Quit, Locked, NotSignedIn and Stopped, all before the sign-in was saved, and Down."""
    stop, database = Stop(), Database(settings.database_url, "steward-setup")
    vault = open_now(settings, database).vault  # whatever is wrong here is found before anybody signs in
    google = Google(settings.google_url)
    client_id, client_secret = client(settings, database, vault)
    database.close()  # it would only idle until somebody has signed in
    try:
        receiver = Receiver(listen, port)
    except (OSError, OverflowError) as exc:
        raise Quit(console.GOOGLE_PORT.format(port=port, why=getattr(exc, "strerror", None) or exc)) from None
    attempt = Attempt(google, client_id, client_secret, settings.google_scopes, receiver.redirect_uri)
    receiver.begin(attempt)
    try:
        say(console.GOOGLE_INVITATION.format(url=attempt.url, port=receiver.port, minutes=MINUTES))
        open_browser(attempt.url)
        code = await_code(attempt, receiver, stop, MINUTES * 60)
    finally:
        receiver.end()
    with stop.interruptible():
        granted = attempt.finish(code)
    log.hide([granted.access_token.reveal(), granted.refresh_token.reveal()])
    login = Login(granted.refresh_token, client_id, client_secret, google.token_url)
    keep(settings, database, vault, stop, login, granted)
    tell(database, google, granted)


def client(settings: Settings, database: Database, vault: Vault) -> tuple[str, Secret]:
    """Id and secret of the OAuth client: from .env, or those of the last sign-in. Raises Quit."""
    if settings.google_client_id and settings.google_client_secret:
        return settings.google_client_id, settings.google_client_secret
    if settings.google_client_id or settings.google_client_secret:  # half of another client than the last
        raise Quit(console.GOOGLE_CLIENT)
    try:
        with database.statement() as cur:
            before = credentials.load(cur, vault, "google")
    except Damaged:
        before = None
    if before is None or before.login is None or before.login.client_secret is None:
        raise Quit(console.GOOGLE_CLIENT)
    return before.login.client_id, before.login.client_secret


def open_browser(url: str) -> None:
    """Open the page where there is a browser, but for those that would take over the terminal."""
    with suppress(Exception):  # whatever ails a browser, the address is printed
        browser = webbrowser.get()
        if getattr(browser, "basename", "") in TEXT_BROWSERS:
            return
        if not isinstance(browser, webbrowser.GenericBrowser):
            browser.open(url)
            return
        # From $BROWSER, or xdg-open: left to webbrowser it would share our terminal, or be waited for.
        command = [browser.name, *(part.replace("%s", url) for part in browser.args)]
        quiet = subprocess.DEVNULL
        subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)


def await_code(attempt: Attempt, receiver: Receiver, stop: Stop, seconds: float) -> Secret:
    """The code, from the browser or from whoever pastes the address. Raises Quit, NotSignedIn and Stopped."""
    terminal, deadline = Terminal(), time.monotonic() + seconds
    while time.monotonic() < deadline:
        if stop:
            raise Stopped
        if code := receiver.take(TICK):
            return code
        for line in terminal.lines():
            try:
                return attempt.read(line)
            except NotForUs:
                if line.strip():
                    say(console.GOOGLE_NOT_ADDRESS)
            except WrongState:
                say(console.GOOGLE_WRONG_STATE)
    raise Quit(console.GOOGLE_TOO_LATE.format(minutes=MINUTES))


class Terminal:
    """Lines typed or piped in, without waiting for one."""

    def __init__(self) -> None:
        self._rest = b""
        self._open = sys.stdin is not None

    def lines(self) -> Iterator[str]:
        if not self._open or not select.select([sys.stdin], [], [], 0)[0]:
            return
        try:
            data = os.read(sys.stdin.fileno(), 65536)
        except OSError:  # the terminal is gone
            data = b""
        *whole, self._rest = (self._rest + (data or b"\n")).split(b"\n")  # the end of the input ends a line, too
        for line in whole:
            yield line.decode(errors="replace")
        if not data:
            self._open = False
            say(console.GOOGLE_NO_INPUT)


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
            expires_in=granted.expires_in,
            ends_in=granted.ends_in,
            by_hand=True,
        )
        if new:
            owner = audit.Actor("owner", settings.owner_id or None)
            detail = {"service": "google", "kind": "oauth"}
            audit.add(cur, str(uuid.uuid4()), owner, "credential.entered", detail=detail)

    database.insist(stop, save)


def tell(database: Database, google: Google, granted: Granted) -> None:
    """Ask Google whose account it is, and say what Steward may do there."""
    allowed, unticked = (", ".join(map(console.google_scope, scopes)) for scopes in (granted.allowed, granted.unticked))
    try:
        account = google.account(granted.access_token)
    except NotSaid as exc:
        why = console.GOOGLE_UNSEEN[str(exc)]
        say(console.GOOGLE_KEPT_UNSEEN.format(granted=allowed or "nothing", why=why))
    else:
        with suppress(Down), database.statement() as cur:  # it would only be missing in /status
            credentials.set_account(cur, "google", account)
        say(console.GOOGLE_KEPT.format(account=account, granted=allowed or "nothing"))
    if unticked:
        say(console.GOOGLE_UNTICKED.format(unticked=unticked))
    if granted.ends_in is not None:
        days = max(round(granted.ends_in / credentials.DAY), 1)  # 604799 seconds while the consent screen is in Testing
        say((console.GOOGLE_ENDS_TESTING if days <= 7 else console.GOOGLE_ENDS).format(days=days))


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
