"""OAuth sign-ins that keep themselves alive: the one place that gives out access tokens, and renews them.

A refresh token may be good for one use only. So one process at a time renews, it says so in the row before it sends
the refresh token, and it saves the new pair before anybody uses it. Whoever then finds the mark of a process that died
in between never sends that token again: the owner has to sign in.
"""

from __future__ import annotations

import re
import time
import uuid
from contextlib import suppress
from dataclasses import replace
from typing import Any

from lib import audit, credentials, log, web
from lib.config import Settings
from lib.credentials import Credential, Damaged, Login
from lib.db import Cursor, Database, Down
from lib.keyring import hold_key, load_credential, report
from lib.secret import Secret
from lib.stop import Stop, Stopped
from lib.vault import Vault

EARLY_SECONDS = 300.0  # a token with less left is renewed
ANSWER_SECONDS = 10.0  # for the service's answer; others wait for it
TURN_SECONDS = 30.0  # for the process whose turn it is
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 30.0, 3600.0  # after a renewal that did not come about


class SignedOut(Exception):
    """There is no sign-in, or it has ended: only the owner can mend it, and was told. The text is the code for it."""


class NotNow(Exception):
    """No valid token, because the service cannot be asked just now: works later."""


class Tokens:
    """Access tokens of all OAuth sign-ins, for one process."""

    def __init__(self, settings: Settings, database: Database, vault: Vault, stop: Stop) -> None:
        self._settings, self._database, self._vault, self._stop = settings, database, vault, stop
        self._not_before: dict[str, float] = {}  # time.monotonic() of the next try, by service
        self._unsent: dict[str, str] = {}  # our mark by service, until the refresh token leaves

    def get(self, service: str, refused: Secret | None = None) -> Secret:
        """An access token with at least EARLY_SECONDS left, where that can be had; renewed first if it must be.

        `refused`: the token that the service has just answered with a 401, so that it is renewed whatever its age.
        Call it outside stop.interruptible(), which might cut it between answer and commit, and with no transaction
        open. Raises SignedOut, NotNow, db.Down, keyring.Locked, and Stopped before anything was sent.
        """
        current = self._now(service)
        if _lasts(current, refused, EARLY_SECONDS) or time.monotonic() < self._not_before.get(service, 0):
            return _usable(current, refused)
        if not self._await_turn(service):
            return _usable(self._now(service), refused)
        session = self._database.session
        try:
            return self._renew(current, refused)
        finally:
            if self._database.session == session:  # or the turn ended with the connection
                with suppress(Down), self._database.statement() as cur:
                    credentials.leave_turn(cur, service)

    def _now(self, service: str) -> Credential:
        """The sign-in as it is at this moment. Raises SignedOut when it does not work."""
        with self._database.statement() as cur:
            return self._load(cur, service)

    def _load(self, cur: Cursor, service: str, *, lock: bool = False) -> Credential:
        try:
            found = load_credential(cur, self._vault, service, lock=lock)
        except Damaged:
            raise SignedOut("damaged") from None
        if found is None or found.login is None:
            raise SignedOut("missing")
        if found.problem is not None:
            raise SignedOut(found.problem)
        return found

    def _await_turn(self, service: str) -> bool:
        """Wait until no other process renews this sign-in. False: that takes too long."""
        deadline = time.monotonic() + TURN_SECONDS
        while not self._stop:
            with self._database.statement() as cur:
                if credentials.take_turn(cur, service):
                    return True
            if time.monotonic() > deadline:
                return False
            self._stop.wait(0.1)
        raise Stopped

    def _renew(self, before: Credential, refused: Secret | None) -> Secret:
        """Look again now that nobody else renews, mark the row, and go on. `before`: as it was before the wait."""
        service = before.service
        with self._database.transaction() as cur:
            hold_key(cur, self._vault)
            current = self._load(cur, service, lock=True)
            if _lasts(current, refused, EARLY_SECONDS) or (current.token != before.token and _lasts(current, refused)):
                return current.token  # somebody else was faster
            died = current.single_use and current.renewing not in (None, self._unsent.get(service))
            if died:
                report(cur, self._settings, service, "refresh_interrupted")
            else:
                mark = self._unsent.setdefault(service, uuid.uuid4().hex)
                credentials.begin_refresh(cur, service, mark)
        if died:
            raise SignedOut("refresh_interrupted")
        del self._unsent[service]
        return self._send(current, mark, refused)

    def _send(self, current: Credential, mark: str, refused: Secret | None) -> Secret:
        """Send the refresh token, and save what comes back. No transaction is open meanwhile."""
        assert current.login is not None  # noqa: S101  # _load saw to it
        asked_at = time.monotonic()
        try:
            answer = web.ask("POST", current.login.token_url, form=_form(current.login), seconds=ANSWER_SECONDS)
        except web.NoAnswer as exc:
            if current.single_use and exc.left:
                return self._lost(current, mark, refused, "answer_lost")
            return self._later(current, mark, refused, str(exc), PAUSE_SECONDS)
        body = answer.body if isinstance(answer.body, dict) else {}
        granted, error = 200 <= answer.status < 300, body.get("error")
        if granted and _is_token(body.get("access_token")):
            return self._keep(current, mark, refused, body, asked_at)
        if granted and current.single_use:  # whatever it was, the refresh token may be used up by it
            return self._lost(current, mark, refused, "answer_lost")
        if error == "invalid_grant":  # with "error_description": "Token has been expired or revoked."
            return self._lost(current, mark, refused, "invalid_grant")
        if answer.status in (400, 401) and error:  # {"error": "invalid_client", ...}; a proxy's page has no such word
            return self._lost(current, mark, refused, "client_refused")
        pause = min(max(web.span(answer.headers.get("Retry-After")), PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
        return self._later(current, mark, refused, f"HTTP {answer.status}", pause)

    def _keep(
        self, current: Credential, mark: str, refused: Secret | None, body: dict[str, Any], asked_at: float
    ) -> Secret:
        """Save the new pair before anybody uses it."""
        assert current.login is not None  # noqa: S101
        token, given, lasts = Secret(body["access_token"]), body.get("refresh_token"), body.get("expires_in")
        login = replace(current.login, refresh_token=Secret(str(given))) if _is_token(given) else current.login
        rotated = login != current.login
        log.hide([token.reveal(), login.refresh_token.reveal()])

        def keep(cur: Cursor) -> bool:
            hold_key(cur, self._vault)
            expires_in = None
            if isinstance(lasts, int | float) and 0 < lasts < 10**9:
                expires_in = lasts - (time.monotonic() - asked_at)  # the database may have been away for long
            service, vault = current.service, self._vault
            if not credentials.keep_refreshed(
                cur, vault, service, mark, token, login, expires_in=expires_in, rotated=rotated
            ):
                return False
            detail = {"service": service, "rotated": rotated}
            audit.add(cur, str(uuid.uuid4()), audit.SYSTEM, "credential.refreshed", detail=detail)
            return True

        kept = self._database.insist(self._stop, keep)
        log.info("credential_refreshed", "Renewed a sign-in.", credential=current.service, rotated=rotated, kept=kept)
        # Not kept: another sign-in has taken the place of this one, or an earlier try of ours was committed.
        return token if kept else _usable(self._now(current.service), refused)

    def _lost(self, current: Credential, mark: str, refused: Secret | None, problem: str) -> Secret:
        """The sign-in has ended, unless somebody has signed in anew while we asked: read once more."""

        def end(cur: Cursor) -> bool:
            now = self._load(cur, current.service, lock=True)
            if now.renewing != mark:
                return False
            report(cur, self._settings, current.service, problem)
            return True

        if not self._database.insist(self._stop, end):
            return _usable(self._now(current.service), refused)
        log.error("signed_out", "A sign-in has ended; the owner is told.", credential=current.service, reason=problem)
        raise SignedOut(problem)

    def _later(self, current: Credential, mark: str, refused: Secret | None, why: str, seconds: float) -> Secret:
        """Nothing was used up: as long as the token is valid it goes on as before."""

        def put_back(cur: Cursor) -> None:
            credentials.end_refresh(cur, current.service, mark)

        self._database.insist(self._stop, put_back)
        self._not_before[current.service] = time.monotonic() + seconds
        log.warning("refresh_delayed", "A sign-in could not be renewed now.", credential=current.service, reason=why)
        return _usable(self._now(current.service), refused)


def _is_token(value: object) -> bool:
    """Whether it can be sent as one."""
    return isinstance(value, str) and re.fullmatch(r"[!-~]+", value) is not None


def _lasts(current: Credential, refused: Secret | None, seconds: float = 0.0) -> bool:
    """Whether the token is valid for longer than so many seconds, as far as anybody knows."""
    return current.token != refused and (current.seconds_left is None or current.seconds_left > seconds)


def _usable(current: Credential, refused: Secret | None) -> Secret:
    """The token, if it is valid at all. Raises NotNow."""
    if not _lasts(current, refused):
        raise NotNow("the service that renews it cannot be asked just now")
    return current.token


def _form(login: Login) -> dict[str, str | Secret]:
    form: dict[str, str | Secret] = {
        "grant_type": "refresh_token",
        "refresh_token": login.refresh_token,
        "client_id": login.client_id,
    }
    return form | ({"client_secret": login.client_secret} if login.client_secret else {})
