"""Google: the sign-in of setup_google.py, and whose account a token belongs to."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import requests
from google_auth_oauthlib.flow import Flow
from oauthlib.oauth2.rfc6749.errors import OAuth2Error

from lib import web
from lib.secret import Secret
from lib.text import storable

# The names of an account; nobody can untick them.
IDENTITY = ("openid", "https://www.googleapis.com/auth/userinfo.email")
ANSWER_SECONDS = 10.0


class NotSignedIn(Exception):
    """The sign-in did not come about; the text is a code for sentences.google()."""


class NotForUs(Exception):
    """A request that has nothing to do with the sign-in: /favicon.ico, a port scan, a piece of an address."""


class WrongState(Exception):
    """An answer to another attempt than this one, or a forged one."""


@dataclass(frozen=True)
class Granted:
    """What Google gave. Seconds; None: Google did not say."""

    access_token: Secret
    refresh_token: Secret
    scopes: frozenset[str]
    expires_in: float | None
    ends_in: float | None  # of the sign-in as a whole: seven days while the consent screen is in Testing


class Google:
    """Google's addresses, or those of a simulator."""

    def __init__(self, url: str) -> None:
        self.auth_url = f"{url}/o/oauth2/v2/auth" if url else "https://accounts.google.com/o/oauth2/v2/auth"
        self.token_url = f"{url}/token" if url else "https://oauth2.googleapis.com/token"
        self.userinfo_url = f"{url}/v1/userinfo" if url else "https://openidconnect.googleapis.com/v1/userinfo"

    def account(self, token: Secret) -> str:
        """The mail address of the account. Raises NotSignedIn."""
        try:
            answer = web.ask("GET", self.userinfo_url, bearer=token, seconds=ANSWER_SECONDS)
        except web.NoAnswer:
            raise NotSignedIn("no_connection") from None
        email = answer.body.get("email") if isinstance(answer.body, dict) else None
        if answer.status != 200 or not isinstance(email, str):
            raise NotSignedIn("no_account")
        return storable(email)[:100]


class Attempt:
    """One try to sign in: `url` is where the person goes. A new try needs a new object, state and PKCE verifier."""

    def __init__(
        self, google: Google, client_id: str, client_secret: Secret, scopes: tuple[str, ...], redirect_uri: str
    ) -> None:
        client = {"client_id": client_id, "client_secret": client_secret.reveal()}
        client |= {"auth_uri": google.auth_url, "token_uri": google.token_url}
        wanted = [*IDENTITY, *(scope for scope in scopes if scope not in IDENTITY)]
        # PKCE is on by itself.
        self._flow = Flow.from_client_config({"installed": client}, wanted, redirect_uri=redirect_uri)
        # Without prompt=consent a second sign-in gets no refresh token.
        self.url, self._state = self._flow.authorization_url(access_type="offline", prompt="consent")

    def read(self, address: str) -> Secret:
        """The code out of the address that Google sent the browser to: whole, or from `?` on, with blanks or quotes
        around it. Raises NotForUs, WrongState, and NotSignedIn when the person declined."""
        written = address.strip().strip("\"'<>").partition("#")[0]
        given = parse_qs(written.partition("?")[2] or written.removeprefix("/"))
        code, error = given.get("code", [""])[0], given.get("error", [""])[0]
        if not code and not error:
            raise NotForUs
        if not hmac.compare_digest(given.get("state", [""])[0].encode(), self._state.encode()):
            raise WrongState
        if error:  # ?error=access_denied&state=...
            raise NotSignedIn(web.code(error))
        return Secret(code)

    def finish(self, code: Secret) -> Granted:
        """Exchange the code for tokens. Raises NotSignedIn."""
        try:
            token = self._flow.fetch_token(code=code.reveal(), timeout=ANSWER_SECONDS)
        except Warning as exc:  # "Scope has changed from ... to ...": somebody unticked a box, and that is allowed
            token = getattr(exc, "token", {})
        except OAuth2Error as exc:  # (invalid_grant) Malformed auth code.
            raise NotSignedIn(web.code(exc.error)) from None
        except requests.RequestException:
            raise NotSignedIn("no_connection") from None
        if not token.get("access_token"):
            raise NotSignedIn("unknown")
        if not token.get("refresh_token"):
            raise NotSignedIn("no_refresh_token")
        scopes = token.get("scope") or []
        return Granted(
            access_token=Secret(token["access_token"]),
            refresh_token=Secret(token["refresh_token"]),
            scopes=frozenset(scopes.split() if isinstance(scopes, str) else scopes),
            expires_in=_seconds(token.get("expires_in")),
            ends_in=_seconds(token.get("refresh_token_expires_in")),
        )


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 < value < 10**9 else None
