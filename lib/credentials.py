"""Table credentials: every token and sign-in Steward is trusted with. It leaves this file sealed or as a Secret."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lib.db import Cursor
from lib.secret import Secret
from lib.vault import CannotOpen, Vault

OWNER = "steward"
DAY = 86400.0  # seconds


class Damaged(Exception):
    """The row of this service does not open. The others may."""

    def __init__(self, service: str) -> None:
        super().__init__(f"the {service} credential cannot be opened")
        self.service = service


@dataclass(frozen=True)
class Login:
    """What an access token is renewed with."""

    refresh_token: Secret
    client_id: str
    client_secret: Secret | None
    token_url: str


@dataclass(frozen=True)
class Credential:
    """An opened row. `seconds_left` of the access token, None when nobody said."""

    service: str
    kind: str  # token, api_key, plan_token or oauth
    token: Secret
    login: Login | None
    seconds_left: float | None
    single_use: bool
    renewing: str | None  # the mark of whoever was about to send the refresh token
    problem: str | None

    @property
    def secrets(self) -> list[str]:
        """Every value of it that must not appear in a log."""
        login = [self.login.refresh_token, self.login.client_secret] if self.login else []
        return [secret.reveal() for secret in [self.token, *login] if secret]


@dataclass(frozen=True)
class Standing:
    """What may be shown of a row. Spans are seconds; None: never, or not known."""

    service: str
    kind: str
    account: str
    problem: str | None
    hindrance: str | None  # why the service could not be asked the last time
    entered_at: datetime
    checked_ago: float | None
    ends_in: float | None
    reminded: int | None  # days before the end


def enter(
    cur: Cursor,
    vault: Vault,
    service: str,
    kind: str,
    token: Secret,
    login: Login | None = None,
    *,
    account: str = "",
    expires_in: float | None = None,
    ends_in: float | None = None,
    single_use: bool = False,
    by_hand: bool = False,
) -> bool:
    """Seal a credential in place of the service's old one. False: the very same was entered before, and is kept as it
    is now. `by_hand`: it was made just now, and takes the place of whatever is damaged. `expires_in`: seconds of the
    access token; `ends_in`: of the whole credential."""
    cur.execute("SELECT pg_advisory_xact_lock(hashtextextended('enter', 0))")  # two scripts start at the same time
    digest = _digest(service, kind, token, login)
    if _entered_before(cur, vault, service, kind, digest, by_hand):
        return False
    cur.execute("DELETE FROM credentials WHERE owner = %s AND service = %s", (OWNER, service))
    cur.execute(
        "INSERT INTO credentials (owner, service, kind, token, login, entered, account, single_use, expires_at,"
        " ends_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s,"
        " now() + %s * interval '1 second', now() + %s * interval '1 second')",
        (
            *(OWNER, service, kind, vault.seal(token, OWNER, service, "token")),
            *(_sealed(vault, service, login), vault.seal(digest, OWNER, service, "entered")),
            *(account, single_use, expires_in, ends_in),
        ),
    )
    return True


def _entered_before(cur: Cursor, vault: Vault, service: str, kind: str, digest: Secret, by_hand: bool) -> bool:
    """Whether the row comes from the same lines. A damaged one is entered again, but for a login from `.env`: its
    refresh token may have been used since."""
    cur.execute("SELECT entered FROM credentials WHERE owner = %s AND service = %s FOR UPDATE", (OWNER, service))
    row = cur.fetchone()
    if row is None:
        return False
    try:
        same = vault.open(bytes(row[0]), OWNER, service, "entered") == digest
        if same and kind != "oauth":
            load(cur, vault, service)
        return same
    except (CannotOpen, Damaged):
        return kind == "oauth" and not by_hand


LOAD = (
    "SELECT kind, token, login, extract(epoch FROM expires_at - now()), single_use, renewing, problem"
    " FROM credentials WHERE owner = %s AND service = %s"
)


def load(cur: Cursor, vault: Vault, service: str, *, lock: bool = False) -> Credential | None:
    """The opened row, None if there is none. `lock`: nobody else may change it until the transaction ends.

    Raises Damaged.
    """
    cur.execute(LOAD + " FOR UPDATE" if lock else LOAD, (OWNER, service))
    row = cur.fetchone()
    if row is None:
        return None
    kind, token, login, seconds_left, *rest = row
    try:
        opened = vault.open(bytes(token), OWNER, service, "token")
        read = _read(vault.open(bytes(login), OWNER, service, "login")) if login is not None else None
    except CannotOpen:
        raise Damaged(service) from None
    if kind == "oauth" and read is None:
        raise Damaged(service)
    return Credential(service, kind, opened, read, _seconds(seconds_left), *rest)


def services(cur: Cursor) -> list[str]:
    """The services there is a row for."""
    cur.execute("SELECT service FROM credentials WHERE owner = %s ORDER BY service", (OWNER,))
    return [row[0] for row in cur.fetchall()]


def standings(cur: Cursor) -> list[Standing]:
    """All rows as far as they may be shown."""
    cur.execute(
        "SELECT service, kind, account, problem, hindrance, entered_at, extract(epoch FROM now() - checked_at),"
        " extract(epoch FROM ends_at - now()), reminded FROM credentials WHERE owner = %s ORDER BY service",
        (OWNER,),
    )
    found = []
    for service, kind, account, problem, hindrance, entered_at, ago, ends_in, reminded in cur.fetchall():
        spans = _seconds(ago), _seconds(ends_in)
        found.append(Standing(service, kind, account, problem, hindrance, entered_at, *spans, reminded))
    return found


def remove(cur: Cursor, service: str) -> bool:
    """Delete the row for good. False: there is none."""
    cur.execute("DELETE FROM credentials WHERE owner = %s AND service = %s", (OWNER, service))
    return cur.rowcount == 1


def take_due(cur: Cursor) -> Standing | None:
    """A row whose service should be asked now, the longest due first; it is due again in an hour, should the check die.

    Telegram's token and Claude's key are not among them: whether these work is seen when they are used.
    """
    cur.execute(
        "UPDATE credentials SET due_at = now() + interval '1 hour' WHERE owner = %(owner)s AND service ="
        " (SELECT service FROM credentials WHERE owner = %(owner)s AND service <> 'telegram' AND kind <> 'api_key'"
        # The clock may have been wrong when it was set.
        " AND (due_at <= now() OR due_at > now() + interval '2 days') ORDER BY due_at LIMIT 1) RETURNING service",
        {"owner": OWNER},
    )
    row = cur.fetchone()
    return next((standing for standing in standings(cur) if standing.service == row[0]), None) if row else None


def checked(cur: Cursor, due: Standing, problem: str | None, account: str) -> bool:
    """Keep what a check found, and ask again in a day. False: another credential has taken the place of this one."""
    cur.execute(
        "UPDATE credentials SET problem = %(problem)s, hindrance = NULL, checked_at = now(),"
        " account = coalesce(nullif(%(account)s, ''), account),"
        " told = CASE WHEN %(problem)s IS NULL THEN NULL ELSE told END, due_at = now() + interval '1 day'"
        " WHERE owner = %(owner)s AND service = %(service)s AND entered_at = %(entered_at)s",
        {
            "problem": problem,
            "account": account,
            "owner": OWNER,
            "service": due.service,
            "entered_at": due.entered_at,
        },
    )
    return cur.rowcount == 1


def put_off(cur: Cursor, due: Standing, hindrance: str | None, again_in: float) -> bool:
    """Ask again after so many seconds. `hindrance`: why that could not be done now. False: as for checked()."""
    cur.execute(
        "UPDATE credentials SET hindrance = %s, due_at = now() + %s * interval '1 second'"
        " WHERE owner = %s AND service = %s AND entered_at = %s",
        (hindrance, again_in, OWNER, due.service, due.entered_at),
    )
    return cur.rowcount == 1


def set_problem(cur: Cursor, service: str, problem: str | None) -> None:
    """It does not work; or, with None, it does."""
    cur.execute(
        "UPDATE credentials SET problem = %(problem)s, told = CASE WHEN %(problem)s IS NULL THEN NULL ELSE told END"
        " WHERE owner = %(owner)s AND service = %(service)s",
        {"problem": problem, "owner": OWNER, "service": service},
    )


def set_account(cur: Cursor, service: str, account: str) -> None:
    """Whose account it is, and that it works."""
    cur.execute(
        "UPDATE credentials SET account = %s, checked_at = now(), due_at = now() + interval '1 day'"
        " WHERE owner = %s AND service = %s",
        (account, OWNER, service),
    )


def first_told(cur: Cursor, service: str, problem: str) -> bool:
    """Whether the owner is to be told now: True once for each problem."""
    cur.execute(
        "UPDATE credentials SET told = %(problem)s"
        " WHERE owner = %(owner)s AND service = %(service)s AND told IS DISTINCT FROM %(problem)s",
        {"problem": problem, "owner": OWNER, "service": service},
    )
    return cur.rowcount == 1


def first_reminded(cur: Cursor, service: str, days: int) -> bool:
    """Whether the owner is to be reminded now, so many days before the end: True once for each number of days."""
    cur.execute(
        "UPDATE credentials SET reminded = %(days)s"
        " WHERE owner = %(owner)s AND service = %(service)s AND reminded IS DISTINCT FROM %(days)s",
        {"days": days, "owner": OWNER, "service": service},
    )
    return cur.rowcount == 1


# Refreshing. Two locks: one outlives transactions and ends with the process, so that no transaction is open while the
# service is asked; the row's own keeps out everybody else who writes.


def take_turn(cur: Cursor, service: str) -> bool:
    """Become the only process that refreshes this credential, until leave_turn() or the end of the connection."""
    cur.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (f"refresh {service}",))
    row = cur.fetchone()
    return bool(row and row[0])


def leave_turn(cur: Cursor, service: str) -> None:
    cur.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (f"refresh {service}",))


def begin_refresh(cur: Cursor, service: str, mark: str) -> None:
    """Mark that the refresh token is about to be sent. Commit before sending it."""
    cur.execute("UPDATE credentials SET renewing = %s WHERE owner = %s AND service = %s", (mark, OWNER, service))


def keep_refreshed(
    cur: Cursor,
    vault: Vault,
    service: str,
    mark: str,
    token: Secret,
    login: Login,
    *,
    expires_in: float | None,
    rotated: bool,
) -> bool:
    """Save the new pair. `rotated`: the refresh token is another one now, so the service's are for single use.

    False: the mark is no longer there, another sign-in has taken this one's place."""
    cur.execute(
        "UPDATE credentials SET token = %(token)s, login = %(login)s, renewing = NULL, problem = NULL,"
        " told = NULL, expires_at = now() + %(expires_in)s * interval '1 second',"
        " single_use = single_use OR %(rotated)s, checked_at = now(), due_at = now() + interval '1 day'"
        " WHERE owner = %(owner)s AND service = %(service)s AND renewing = %(mark)s",
        {
            "token": vault.seal(token, OWNER, service, "token"),
            "login": _sealed(vault, service, login),
            "expires_in": expires_in,
            "rotated": rotated,
            "owner": OWNER,
            "service": service,
            "mark": mark,
        },
    )
    return cur.rowcount == 1


def end_refresh(cur: Cursor, service: str, mark: str) -> None:
    """The refresh token was not used up: take the mark away, and what others made of it meanwhile."""
    cur.execute(
        "UPDATE credentials SET renewing = NULL, problem = nullif(problem, 'refresh_interrupted'),"
        " told = nullif(told, 'refresh_interrupted') WHERE owner = %s AND service = %s AND renewing = %s",
        (OWNER, service, mark),
    )


def reseal(cur: Cursor, old: Vault, new: Vault) -> list[str]:
    """Seal every row anew; the services. Raises Damaged at the first that does not open: then roll back."""
    cur.execute("SELECT owner, service, token, login, entered FROM credentials ORDER BY owner, service FOR UPDATE")
    rows = cur.fetchall()
    for owner, service, *envelopes in rows:
        fields = dict(zip(("token", "login", "entered"), envelopes, strict=True))
        try:
            opened = {
                name: old.open(bytes(value), owner, service, name)
                for name, value in fields.items()
                if value is not None
            }
        except CannotOpen:
            raise Damaged(service) from None
        sealed = {name: new.seal(secret, owner, service, name) for name, secret in opened.items()}
        cur.execute(
            "UPDATE credentials SET token = %s, login = %s, entered = %s WHERE owner = %s AND service = %s",
            (sealed["token"], sealed.get("login"), sealed["entered"], owner, service),
        )
    return [row[1] for row in rows]


def _digest(service: str, kind: str, token: Secret, login: Login | None) -> Secret:
    """What tells the same lines from others: SHA-256, sealed like the rest."""
    texts = [service, kind, token.reveal(), _written(login) if login else ""]
    return Secret(hashlib.sha256(json.dumps(texts).encode()).hexdigest())


def _sealed(vault: Vault, service: str, login: Login | None) -> bytes | None:
    return vault.seal(Secret(_written(login)), OWNER, service, "login") if login else None


def _seconds(span: Any) -> float | None:
    return None if span is None else float(span)


def _written(login: Login) -> str:
    secret = login.client_secret.reveal() if login.client_secret else None
    return json.dumps([login.refresh_token.reveal(), login.client_id, secret, login.token_url])


def _read(written: Secret) -> Login:
    refresh_token, client_id, client_secret, token_url = json.loads(written.reveal())
    return Login(Secret(refresh_token), client_id, Secret(client_secret) if client_secret else None, token_url)
