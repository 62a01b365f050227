"""What the owner does with sealed credentials by hand: list them, remove one for good, seal all with another key."""

from __future__ import annotations

import argparse
import sys
import uuid

from lib import audit, config, console, credentials, key_check, log
from lib.config import Settings
from lib.credentials import Damaged
from lib.db import Cursor, Database, Down, running
from lib.english import English
from lib.keyring import Locked, hold_key
from lib.vault import Vault

SCRIPTS = ("bot", "worker", "healthwatch")  # they hold the old key in memory


class Quit(Exception):
    """It cannot be done; the text tells the owner why. Nothing was changed."""


class DryRun(Exception):
    """Ends the transaction of a dry run, and with it all that it did."""


def main() -> int:
    options = arguments()
    log.setup("credentials", quiet=True)
    try:
        settings = config.load()
        log.hide(settings.secrets)
        database = Database(settings.database_url, "steward-credentials")
        match options.command:
            case "list":
                show(settings, database)
            case "remove":
                remove(settings, database, options.service)
            case "reencrypt":
                reencrypt(settings, database, options.write)
    except (config.ConfigError, Locked, Quit) as exc:
        print(exc)
        return 1
    except Down as exc:
        print(console.NO_DATABASE.format(why=exc))
        return 1
    except KeyboardInterrupt:  # the transaction was rolled back
        print(console.STOPPED)
        return 1
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Looks after sealed credentials.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="what is sealed, and whether it works")
    one = commands.add_parser("remove", help="delete a credential for good")
    one.add_argument("service", help=", ".join(sorted(English.NAMES)))
    all_ = commands.add_parser("reencrypt", help="seal everything with MASTER_KEY instead of OLD_MASTER_KEY")
    all_.add_argument("--write", action="store_true", help="do it; without this it is only tried")
    return parser.parse_args()


def check_key(cur: Cursor, settings: Settings) -> None:
    """Raises Locked. A database that was never used is left so: only the scripts and setup_google.py begin one."""
    if key_check.load(cur) is not None or credentials.services(cur):
        hold_key(cur, Vault(settings.master_key))


def show(settings: Settings, database: Database) -> None:
    with database.transaction() as cur:
        check_key(cur, settings)
        rows = credentials.standings(cur)
    for row in rows:
        print(English().standing(row.service, row.account, row.problem, row.hindrance, row.checked_ago, row.ends_in))
    if not rows:
        print(console.NOTHING_SEALED)


def remove(settings: Settings, database: Database, service: str) -> None:
    """Raises Quit while the credential still stands in .env, from where the next start would take it again."""
    lines = [entry.line for entry in settings.entries if entry.service == service]
    if lines:
        raise Quit(console.STILL_IN_ENV.format(name=names([service]), lines=", ".join(lines)))
    with database.transaction() as cur:
        check_key(cur, settings)
        if not credentials.remove(cur, service):
            raise Quit(console.NOT_SEALED.format(name=names([service])))
        owner = audit.Actor("owner", settings.owner_id or None)
        detail = {"service": service}
        audit.add(cur, str(uuid.uuid4()), owner, "credential.removed", detail=detail)
    print(console.REMOVED.format(name=names([service])))


def reencrypt(settings: Settings, database: Database, write: bool) -> None:
    """Seal everything anew in one transaction; at the first row that does not open nothing is changed."""
    if settings.old_master_key is None:
        raise Quit(console.REENCRYPT_KEYS)
    old, new = Vault(settings.old_master_key), Vault(settings.master_key)
    if old.fingerprint == new.fingerprint:
        raise Quit(console.REENCRYPT_SAME)
    try:
        with database.transaction() as cur:
            if awake := [script for script in SCRIPTS if running(cur, f"steward-{script}")]:
                raise Quit(console.REENCRYPT_RUNNING.format(scripts=", ".join(f"{name}.py" for name in awake)))
            if key_check.load(cur) is None:
                raise Quit(console.NOTHING_SEALED)
            if not key_check.replace(cur, old.fingerprint, new.fingerprint):
                done = key_check.load(cur) == new.fingerprint
                raise Quit(console.REENCRYPT_DONE if done else console.REENCRYPT_WRONG_KEY)
            services = credentials.reseal(cur, old, new)
            for service in services:  # what was written opens, before the old can no longer be read
                credentials.load(cur, new, service)
            owner = audit.Actor("owner", settings.owner_id or None)
            detail = {"count": len(services), "key_id": new.key_id}
            audit.add(cur, str(uuid.uuid4()), owner, "credentials.reencrypted", detail=detail)
            if not write:
                raise DryRun
    except Damaged as exc:
        raise Quit(console.REENCRYPT_DAMAGED.format(name=names([exc.service]), service=exc.service)) from None
    except DryRun:
        print(console.REENCRYPT_TRIED.format(names=names(services)))
    else:
        print(console.REENCRYPTED.format(names=names(services)))


def names(services: list[str]) -> str:
    return ", ".join(English.NAMES.get(service, service) for service in services) or "nothing is sealed yet"


if __name__ == "__main__":
    sys.exit(main())
