"""The keyring: at the start of a script it compares the master key, seals what is new in `.env`, and opens the rest.

From then on tokens come from PostgreSQL: the lines in `.env` may be deleted.
"""

from __future__ import annotations

import uuid

from lib import audit, console, credentials, heartbeat, key_check, log
from lib.config import Entry, Settings
from lib.credentials import Credential, Damaged, Login
from lib.db import Cursor, Database, Down
from lib.delivery import tell_owner
from lib.english import English
from lib.stop import Pauses, Stop, Stopped
from lib.vault import Vault

PLAN_DAYS = 365  # `claude setup-token` makes tokens for one year, and nobody tells the day


class Locked(Exception):
    """The script cannot start; the text says in one sentence what the owner has to do."""


class Keyring:
    """The opened vault, and each credential as it was at the start of the script."""

    def __init__(self, vault: Vault, opened: dict[str, Credential], damaged: set[str]) -> None:
        self.vault = vault
        self._opened, self._damaged = opened, damaged

    def get(self, service: str) -> Credential | None:
        """The service's credential; None when there is none, or it cannot be opened."""
        return self._opened.get(service)

    def need(self, service: str) -> Credential:
        """The same for what the script cannot do without. Raises Locked."""
        if service not in self._opened:
            raise Locked(English().credential(service, "damaged" if service in self._damaged else "missing"))
        return self._opened[service]


def open_keyring(settings: Settings, database: Database, stop: Stop) -> Keyring:
    """Wait for the database, however long it takes, and open everything. Raises Locked and Stopped."""
    pauses = Pauses(0.5, 5)
    while not stop:
        heartbeat.beat()
        try:
            return open_now(settings, database)
        except Down as exc:
            log.warning("database_away", "PostgreSQL does not answer; waiting for it.", exc)
            stop.wait(pauses.next())
    raise Stopped


def open_now(settings: Settings, database: Database) -> Keyring:
    """Compare the master key, seal what is new in `.env`, open everything.

    Raises Locked when the master key is not the one; nothing is changed then. Raises Down.
    """
    vault = Vault(settings.master_key)
    with database.transaction() as cur:
        first = compare_key(cur, vault)
        entered = [entry.service for entry in settings.entries if _enter(cur, vault, entry)]
        keyring = _open_all(cur, vault, settings)
    if first:
        log.info("master_key_first_used", "From now on this database opens only with this MASTER_KEY: keep a copy.")
    for service in entered:
        log.info("credential_entered", "Sealed a credential from .env: it may be deleted there.", credential=service)
    return keyring


def hold_key(cur: Cursor, vault: Vault) -> None:
    """Make sure, until the transaction ends, that the database is sealed with this key. Raises Locked."""
    if key_check.load(cur) != vault.fingerprint:
        raise Locked(console.WRONG_KEY)


def load_credential(cur: Cursor, vault: Vault, service: str, *, lock: bool = False) -> Credential | None:
    """As credentials.load(), but with another key than the database's nothing is damaged: raises Locked then."""
    try:
        return credentials.load(cur, vault, service, lock=lock)
    except Damaged:
        hold_key(cur, vault)
        raise


def report(cur: Cursor, settings: Settings, service: str, problem: str) -> None:
    """Keep what is wrong with a credential, and tell the owner, once for each problem (and not before there is one)."""
    credentials.set_problem(cur, service, problem)
    if settings.owner_id and credentials.first_told(cur, service, problem):
        correlation_id, detail = str(uuid.uuid4()), {"service": service}
        kind = f"{service}_credential"
        tell_owner(cur, settings.owner_id, "bot", correlation_id, kind, lambda say: say.credential(service, problem))
        audit.add(cur, correlation_id, audit.SYSTEM, "credential.failed", "failure", reason=problem, detail=detail)


def compare_key(cur: Cursor, vault: Vault) -> bool:
    """The first key there ever was is kept (True); from then on it must be that one. Raises Locked."""
    first = False
    if key_check.load(cur) is None:
        # Read once more: another script may have entered the key and the first credentials just now.
        if credentials.services(cur) and key_check.load(cur) is None:
            raise Locked(console.NO_KEY_CHECK)
        first = key_check.write_first(cur, vault.fingerprint)
    hold_key(cur, vault)
    if first:
        audit.add(cur, str(uuid.uuid4()), audit.SYSTEM, "master_key.first_used", detail={"key_id": vault.key_id})
    return first


def _enter(cur: Cursor, vault: Vault, entry: Entry) -> bool:
    """Seal a credential from `.env`. False: it is the one that was entered before."""
    login = None
    if entry.refresh_token is not None:
        login = Login(entry.refresh_token, entry.client_id, None, entry.token_url)
    new = credentials.enter(
        cur,
        vault,
        entry.service,
        entry.kind,
        entry.token,
        login,
        ends_in=PLAN_DAYS * credentials.DAY if entry.kind == "plan_token" else None,
        single_use=entry.kind == "oauth",
    )
    if new:
        detail = {"service": entry.service, "kind": entry.kind}
        audit.add(cur, str(uuid.uuid4()), audit.SYSTEM, "credential.entered", detail=detail)
    return new


def _open_all(cur: Cursor, vault: Vault, settings: Settings) -> Keyring:
    """All that can be opened. What cannot is reported, and the others work."""
    opened, damaged = {}, set()
    for service in credentials.services(cur):
        try:
            credential = credentials.load(cur, vault, service)
        except Damaged as exc:
            damaged.add(service)
            log.error("credential_damaged", English().credential(service, "damaged"), exc, credential=service)
            if service != "telegram":  # the owner could not be told
                report(cur, settings, service, "damaged")
            continue
        if credential is not None:
            opened[service] = credential
            log.hide(credential.secrets)
            if credential.problem == "damaged":  # a backup was put back
                credentials.set_problem(cur, service, None)
    return Keyring(vault, opened, damaged)
