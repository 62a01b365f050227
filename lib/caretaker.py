"""The caretaker: asks each service once a day whether its credential still works, and tells the owner when not.

Sign-ins are renewed by it even when nobody uses them, because an unused one ends one day.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from lib import audit, clickup, credentials, log, slack
from lib.config import Settings
from lib.credentials import DAY, Credential, Damaged, Standing
from lib.db import Cursor, Database
from lib.delivery import tell_owner
from lib.keyring import load_credential, report
from lib.refresh import NotNow, SignedOut, Tokens
from lib.stop import Stop
from lib.vault import Vault
from lib.web import Checked

LOOK_SECONDS = 30.0  # between two looks for what is due
AGAIN_SECONDS = 3600.0  # when a service could not be asked
REMIND_DAYS = (1, 3, 14)


class Caretaker:
    """Looks after all credentials; run it in one process."""

    def __init__(self, settings: Settings, database: Database, vault: Vault, stop: Stop) -> None:
        self._settings, self._database, self._vault = settings, database, vault
        self._tokens = Tokens(settings, database, vault, stop)
        self._look_at = 0.0  # time.monotonic()

    def look(self) -> bool:
        """Check one credential that is due: some seconds, unless another process is renewing it. True: one was, and
        another may be. Raises Down, Stopped and keyring.Locked."""
        if time.monotonic() < self._look_at:
            return False
        with self._database.statement() as cur:
            due = credentials.take_due(cur)
        if due is None:
            self._look_at = time.monotonic() + LOOK_SECONDS
            return False
        found = self._check(due)
        with self._database.transaction() as cur:
            self._keep(cur, due, found)
        write = log.info if found.problem is None else log.warning
        write("credential_checked", "Asked whether a credential works.", credential=due.service, problem=found.problem)
        return True

    def _check(self, due: Standing) -> Checked:
        """What the service says of its credential."""
        try:
            with self._database.statement() as cur:
                current = load_credential(cur, self._vault, due.service)
        except Damaged:
            return Checked("damaged")
        if current is None:
            return Checked()
        if current.kind == "oauth":
            return self._renew(current)
        if due.service == "slack":
            return slack.check(current.token, self._settings.slack_api_url)
        if due.service == "clickup":
            return clickup.check(current.token, self._settings.clickup_api_url)
        # A plan token: nobody can be asked, and its end is known.
        return Checked("ended" if due.ends_in is not None and due.ends_in <= 0 else None)

    def _renew(self, current: Credential) -> Checked:
        """A sign-in works when it can be renewed. One whose end nobody knows is renewed each time."""
        try:
            self._tokens.get(current.service, refused=current.token if current.seconds_left is None else None)
        except SignedOut as exc:
            return Checked(str(exc))
        except NotNow:
            return Checked("no_connection", lasting=False)
        return Checked()

    def _keep(self, cur: Cursor, due: Standing, found: Checked) -> None:
        """Save what was found. The service's own trouble says nothing about the credential."""
        kept_by_refresh = due.kind == "oauth" and found.problem != "damaged"  # and told by it
        if not found.lasting:
            ours = credentials.put_off(cur, due, found.problem, max(found.wait, AGAIN_SECONDS))
        elif kept_by_refresh:
            ours = credentials.put_off(cur, due, None, DAY)
        else:
            ours = credentials.checked(cur, due, found.problem, found.account)
        if not ours:  # another credential has been entered meanwhile
            return
        if found.problem is None:
            self._remind(cur, due)
        elif found.lasting and not kept_by_refresh:
            report(cur, self._settings, due.service, found.problem)
        if due.kind == "plan_token" and found.problem is None:
            return  # nobody was asked
        outcome = "success" if found.problem is None else "failure"
        about: dict[str, Any] = {"reason": found.problem, "detail": {"service": due.service}}
        audit.add(cur, str(uuid.uuid4()), audit.SYSTEM, "credential.checked", outcome, **about)

    def _remind(self, cur: Cursor, due: Standing) -> None:
        """Tell the owner 14, 3 and 1 days before a credential ends, each once."""
        if due.ends_in is None or due.ends_in <= 0 or not self._settings.owner_id:
            return
        days = next((days for days in REMIND_DAYS if due.ends_in <= days * DAY), None)
        if days is not None and credentials.first_reminded(cur, due.service, days):
            service, ends_in, owner_id = due.service, due.ends_in, self._settings.owner_id
            kind = f"{service}_ends_soon"
            tell_owner(cur, owner_id, "bot", str(uuid.uuid4()), kind, lambda say: say.ends_soon(service, ends_in))
