"""OAuth sign-ins that keep themselves alive: the one place that gives out access tokens, and renews them.

A refresh token may be good for one use only. So one process at a time renews, it says so in the row before it sends
the refresh token, and it saves the new pair before anybody uses it. Whoever then finds the mark of a process that died
in between never sends that token again: the owner has to sign in.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from datetime import datetime

from lib import audit, credentials, log, web
from lib.config import Settings
from lib.credentials import Credential, Damaged, Login
from lib.db import Cursor, Database
from lib.keyring import hold_key, report
from lib.secret import Secret
from lib.stop import Stop, Stopped
from lib.vault import Vault

EARLY_SECONDS = 300.0  # a token with less left is renewed
ANSWER_SECONDS = 10.0  # for the service's answer; others wait for it
TURN_SECONDS = 30.0  # for the process whose turn it is
PAUSE_SECONDS = 30.0  # after a renewal that did not come about


class SignedOut(Exception):
    """There is no sign-in, or it has ended: only the owner can mend it, and was told. The text is the code for it."""


class NotNow(Exception):
    """No valid token, because the service cannot be asked just now: works later."""


class Tokens:
    """Access tokens of all OAuth sign-ins, for one process."""

    def __init__(self, settings: Settings, database: Database, vault: Vault, stop: Stop) -> None:
        self._settings, self._database, self._vault, self._stop = settings, database, vault, stop
        self._not_before: dict[str, float] = {}  # time.monotonic() of the next try, by service

    def get(self, service: str, refused: Secret | None = None) -> Secret:
        """An access token with at least EARLY_SECONDS left, where that can be had; renewed first if it must be.

        `refused`: the token that the service has just answered with a 401, so that it is renewed whatever its age.
        Call it outside stop.interruptible(), which might cut it between answer and commit, and with no transaction
        open. Raises SignedOut, NotNow, db.Down, keyring.Locked, and Stopped before anything was sent.
        """
        with self._database.statement() as cur:
            current = self._load(cur, service)
        if _good(current, refused) or time.monotonic() < self._not_before.get(service, 0):
            return _usable(current, refused)
        self._await_turn(service)
        session = self._database.session
        try:
            return self._renew(service, refused)
        finally:
            if self._database.session == session:  # or the turn ended with the connection
                with self._database.statement() as cur:
                    credentials.leave_turn(cur, service)

    def _load(self, cur: Cursor, service: str, *, lock: bool = False) -> Credential:
        try:
            found = credentials.load(cur, self._vault, service, lock=lock)
        except Damaged:
            raise SignedOut("damaged") from None
        if found is None or found.login is None:
            raise SignedOut("missing")
        if found.problem is not None:
            raise SignedOut(found.problem)
        return found

    def _await_turn(self, service: str) -> None:
        """Wait until no other process renews this sign-in."""
        deadline = time.monotonic() + TURN_SECONDS
        while not self._stop:
            with self._database.statement() as cur:
                if credentials.take_turn(cur, service):
                    return
            if time.monotonic() > deadline:
                raise NotNow("another process takes too long to renew it")
            self._stop.wait(0.1)
        raise Stopped

    def _renew(self, service: str, refused: Secret | None) -> Secret:
        with self._database.transaction() as cur:
            hold_key(cur, self._vault)
            current = self._load(cur, service, lock=True)
            if _good(current, refused):  # somebody else was faster
                return current.token
            died = current.single_use and current.refresh_began_at is not None
            if died:
                report(cur, self._settings, service, "refresh_interrupted")
            else:
                mark = credentials.begin_refresh(cur, service)
        if died:
            raise SignedOut("refresh_interrupted")
        return self._send(current, mark, refused)

    def _send(self, current: Credential, mark: datetime, refused: Secret | None) -> Secret:
        """Send the refresh token, and save what comes back. No transaction is open meanwhile."""
        assert current.login is not None  # noqa: S101  # _load saw to it
        try:
            answer = web.ask("POST", current.login.token_url, form=_form(current.login), seconds=ANSWER_SECONDS)
        except web.NoAnswer as exc:
            if current.single_use and exc.left:
                return self._lost(current, mark, "answer_lost")
            return self._later(current, mark, refused, str(exc), PAUSE_SECONDS)
        body = answer.body if isinstance(answer.body, dict) else {}
        if answer.status == 200 and isinstance(body.get("access_token"), str):
            return self._keep(current, mark, body)
        if answer.status == 200:  # whatever it was, the refresh token may be used up by it
            code = "answer_lost" if current.single_use else None
        elif body.get("error") == "invalid_grant":  # with "error_description": "Token has been expired or revoked."
            code = "invalid_grant"
        else:  # {"error": "invalid_client", ...}; the service's own words, not a proxy's page
            code = "client_refused" if answer.status in (400, 401) and "error" in body else None
        if code:
            return self._lost(current, mark, code)
        pause = max(web.span(answer.headers.get("Retry-After")), PAUSE_SECONDS)
        return self._later(current, mark, refused, f"HTTP {answer.status}", pause)

    def _keep(self, current: Credential, mark: datetime, body: dict[str, object]) -> Secret:
        assert current.login is not None  # noqa: S101
        token, given = Secret(str(body["access_token"])), body.get("refresh_token")
        rotated = isinstance(given, str) and given != current.login.refresh_token.reveal()
        login = replace(current.login, refresh_token=Secret(str(given))) if rotated else current.login
        log.hide([token.reveal(), login.refresh_token.reveal()])
        lasts = body.get("expires_in")
        expires_in = float(lasts) if isinstance(lasts, int | float) and 0 < lasts < 10**9 else None

        def keep(cur: Cursor) -> bool:
            hold_key(cur, self._vault)
            service, vault = current.service, self._vault
            kept = credentials.keep_refreshed(
                cur, vault, service, mark, token, login, expires_in=expires_in, rotated=rotated
            )
            if kept:
                detail = {"service": service, "rotated": rotated}
                audit.add(cur, str(uuid.uuid4()), audit.SYSTEM, "credential.refreshed", detail=detail)
            return kept

        kept = self._database.insist(self._stop, keep)
        log.info("credential_refreshed", "Renewed a sign-in.", of=current.service, rotated=rotated, kept=kept)
        return token

    def _lost(self, current: Credential, mark: datetime, problem: str) -> Secret:
        """The sign-in has ended, unless somebody has signed in anew while we asked: read once more."""

        def end(cur: Cursor) -> Secret | None:
            now = self._load(cur, current.service, lock=True)
            if now.refresh_began_at != mark:
                return now.token
            report(cur, self._settings, current.service, problem)
            return None

        if newer := self._database.insist(self._stop, end):
            return newer
        log.error("signed_out", "A sign-in has ended; the owner is told.", of=current.service, reason=problem)
        raise SignedOut(problem)

    def _later(self, current: Credential, mark: datetime, refused: Secret | None, why: str, seconds: float) -> Secret:
        """Nothing was used up: as long as the token is valid it goes on as before."""

        def put_back(cur: Cursor) -> None:
            credentials.end_refresh(cur, current.service, mark)

        self._database.insist(self._stop, put_back)
        self._not_before[current.service] = time.monotonic() + seconds
        log.warning("refresh_delayed", "A sign-in could not be renewed now.", of=current.service, reason=why)
        return _usable(current, refused)


def _good(current: Credential, refused: Secret | None) -> bool:
    """Whether the token can be used without renewing it."""
    return current.token != refused and (current.seconds_left is None or current.seconds_left > EARLY_SECONDS)


def _usable(current: Credential, refused: Secret | None) -> Secret:
    """The token, if it is valid at all. Raises NotNow."""
    if current.token == refused or (current.seconds_left is not None and current.seconds_left <= 0):
        raise NotNow("the service that renews it cannot be asked just now")
    return current.token


def _form(login: Login) -> dict[str, str | Secret]:
    form: dict[str, str | Secret] = {
        "grant_type": "refresh_token",
        "refresh_token": login.refresh_token,
        "client_id": login.client_id,
    }
    return form | ({"client_secret": login.client_secret} if login.client_secret else {})
