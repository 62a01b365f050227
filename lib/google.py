"""Google: the sign-in of setup_google.py, and whose account a token belongs to."""

from __future__ import annotations

import hmac
import re
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from queue import Empty, SimpleQueue
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import parse_qs

import requests
from google_auth_oauthlib.flow import Flow
from oauthlib.oauth2.rfc6749.errors import OAuth2Error

from lib import console, log, web
from lib.secret import Secret

# Whose account it is; nobody can untick that.
IDENTITY = ("openid", "https://www.googleapis.com/auth/userinfo.email")
# Asked for by their short names, these are granted by their long ones.
LONG_NAMES = {name: f"https://www.googleapis.com/auth/userinfo.{name}" for name in ("email", "profile")}
ANSWER_SECONDS = 10.0
POLL_SECONDS = 0.1
NOT_IN_A_URL = re.compile(r"[^\x21-\x7e]")


class NotSignedIn(Exception):
    """The sign-in did not come about; the text is a code for console.google()."""


class NotSaid(Exception):
    """Google did not say whose account it is; the text is a code for console.GOOGLE_UNSEEN."""


class NotForUs(Exception):
    """A request that has nothing to do with the sign-in: /favicon.ico, a port scan, a piece of an address."""


class WrongState(Exception):
    """An answer to another attempt than this one, or a forged one."""


@dataclass(frozen=True)
class Granted:
    """What Google gave. Seconds; None: Google did not say."""

    access_token: Secret
    refresh_token: Secret
    allowed: tuple[str, ...]  # of the scopes asked for, in that order, without those of IDENTITY
    unticked: tuple[str, ...]
    expires_in: float | None
    ends_in: float | None  # of the sign-in as a whole: seven days while the consent screen is in Testing


class Google:
    """Google's addresses, or those of a simulator."""

    def __init__(self, url: str) -> None:
        self.auth_url = f"{url}/o/oauth2/v2/auth" if url else "https://accounts.google.com/o/oauth2/v2/auth"
        self.token_url = f"{url}/token" if url else "https://oauth2.googleapis.com/token"
        self.userinfo_url = f"{url}/v1/userinfo" if url else "https://openidconnect.googleapis.com/v1/userinfo"

    def account(self, token: Secret) -> str:
        """The mail address of the account. Raises NotSaid."""
        try:
            answer = web.ask("GET", self.userinfo_url, bearer=token, seconds=ANSWER_SECONDS)
        except web.NoAnswer:
            raise NotSaid("no_connection") from None
        email = answer.body.get("email") if isinstance(answer.body, dict) else None
        if answer.status != 200 or not isinstance(email, str):
            raise NotSaid("no_account")
        return web.account(email)


class Attempt:
    """One try to sign in: `url` is where the person goes. A new try needs a new object, state and PKCE verifier."""

    def __init__(
        self, google: Google, client_id: str, client_secret: Secret, scopes: tuple[str, ...], redirect_uri: str
    ) -> None:
        """Raises NotSignedIn when Google's address is plain http."""
        client = {"client_id": client_id, "client_secret": client_secret.reveal()}
        client |= {"auth_uri": google.auth_url, "token_uri": google.token_url}
        wanted = dict.fromkeys([*IDENTITY, *(LONG_NAMES.get(scope, scope) for scope in scopes)])
        self._asked = [scope for scope in wanted if scope not in IDENTITY]
        # PKCE is on by itself.
        self._flow = Flow.from_client_config({"installed": client}, [*wanted], redirect_uri=redirect_uri)
        try:  # without prompt=consent a second sign-in gets no refresh token
            self.url, self._state = self._flow.authorization_url(access_type="offline", prompt="consent")
        except OAuth2Error as exc:
            raise NotSignedIn(web.code(exc.error)) from None

    def read(self, address: str) -> Secret:
        """The code out of the address that Google sent the browser to: whole, or from `?` on, with blanks anywhere, and
        with the quotes, brackets and stops around it that it had where it was copied.

        Raises NotForUs, WrongState, and NotSignedIn when the person declined.
        """
        written = NOT_IN_A_URL.sub("", address).partition("#")[0].strip("\"'`<>()[]*.,;")
        given = parse_qs(written.partition("?")[2] or written.removeprefix("/"))
        code, error, state = (given.get(name, [""])[0] for name in ("code", "error", "state"))
        if not state or not (code or error):
            raise NotForUs
        if not hmac.compare_digest(state.encode(), self._state.encode()):
            raise WrongState
        if error:  # ?error=access_denied&state=...
            raise NotSignedIn(web.code(error))
        return Secret(code)

    def finish(self, code: Secret) -> Granted:
        """Exchange the code for tokens, within ANSWER_SECONDS. Raises NotSignedIn."""
        came: list[Granted | NotSignedIn] = []
        # The time-outs of requests begin anew with every byte, and looking up a name has none at all.
        thread = threading.Thread(target=lambda: came.append(self._exchange(code)), daemon=True)
        thread.start()
        thread.join(ANSWER_SECONDS)
        answer = came[0] if came else NotSignedIn("no_connection")
        if isinstance(answer, NotSignedIn):
            raise answer
        return answer

    def _exchange(self, code: Secret) -> Granted | NotSignedIn:
        try:
            token = self._flow.fetch_token(code=code.reveal(), timeout=ANSWER_SECONDS)
        except Warning as exc:  # "Scope has changed from ... to ...": somebody unticked a box, and that is allowed
            token = getattr(exc, "token", {})
        except OAuth2Error as exc:  # (invalid_grant) Malformed auth code.
            return NotSignedIn(web.code(exc.error))
        except requests.RequestException:
            return NotSignedIn("no_connection")
        except Exception:  # the libraries stumble over JSON that is no object
            return NotSignedIn("missing_token")
        if not token.get("access_token"):
            return NotSignedIn("missing_token")
        if not token.get("refresh_token"):
            return NotSignedIn("no_refresh_token")
        scopes = frozenset(token.scopes)  # what was asked for, if Google does not say
        return Granted(
            access_token=Secret(token["access_token"]),
            refresh_token=Secret(token["refresh_token"]),
            allowed=tuple(scope for scope in self._asked if scope in scopes),
            unticked=tuple(scope for scope in self._asked if scope not in scopes),
            expires_in=_seconds(token.get("expires_in")),
            ends_in=_seconds(token.get("refresh_token_expires_in")),
        )


class Receiver(ThreadingTCPServer):
    """Waits on a port for the browser that Google sends back. Other requests get an answer and change nothing."""

    allow_reuse_address = daemon_threads = True
    request_queue_size = 128
    attempt: Attempt

    def __init__(self, listen: str, port: int) -> None:
        """`port` 0: any that is free. Raises OSError and OverflowError."""
        super().__init__((listen, port), Visit)
        self.port: int = self.server_address[1]
        self.redirect_uri = f"http://127.0.0.1:{self.port}/"
        self.came: SimpleQueue[Secret | NotSignedIn] = SimpleQueue()

    def begin(self, attempt: Attempt) -> None:
        self.attempt = attempt
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": POLL_SECONDS}, daemon=True).start()

    def take(self, seconds: float) -> Secret | None:
        """The code, if it comes within so many seconds. Raises NotSignedIn when Google said no."""
        try:
            came = self.came.get(timeout=seconds)
        except Empty:
            return None
        if isinstance(came, NotSignedIn):
            raise came
        return came

    def end(self) -> None:
        """Free the port. Only after begin()."""
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Somebody hung up; anything else is our mistake."""
        if not isinstance(exc := sys.exc_info()[1], OSError):
            log.error("visit_failed", "A request to the port could not be answered.", exc, private=True)


class Visit(BaseHTTPRequestHandler):
    """One request to the port."""

    server: Receiver
    timeout = 10.0  # browsers open connections that they never use

    def do_GET(self) -> None:
        came: Secret | NotSignedIn | None = None
        status, page = 200, console.GOOGLE_PAGE
        try:
            came = self.server.attempt.read(self.path)
        except NotSignedIn as exc:
            came, page = exc, console.GOOGLE_PAGE_DECLINED
        except WrongState:
            status, page = 400, console.GOOGLE_PAGE_STATE
        except NotForUs:
            status, page = 404, console.GOOGLE_PAGE_OTHER
        try:
            self._show(status, page)
        finally:  # not before: this script may end soon after
            if came:
                self.server.came.put(came)

    def _show(self, status: int, text: str) -> None:
        data = f"<!doctype html><meta charset=utf-8><title>Steward</title><p>{text}</p>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Not printed: the address holds the code."""


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 < value < 10**9 else None
