"""The caretaker: every credential is asked about once a day, and the owner hears of each trouble once."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from demo.loopback import Fault
from demo.oauth import OAuthSim
from demo.stack import MARKS, made_up
from lib import config, credentials
from lib.caretaker import Caretaker
from lib.credentials import DAY, Login
from lib.db import Database
from lib.english import English
from lib.keyring import Keyring, open_now
from lib.secret import Secret
from lib.stop import Stop
from tests.house import House

english = English()


@dataclass
class Care:
    """A caretaker in this process, and what it did."""

    house: House
    database: Database
    keyring: Keyring
    caretaker: Caretaker

    def look(self) -> None:
        """Let it check all that is due."""
        self.caretaker._look_at = 0.0
        while self.caretaker.look():
            pass

    def make_due(self, service: str) -> None:
        self.house.query("UPDATE credentials SET due_at = now() WHERE service = %s", service)

    def told(self) -> list[str]:
        return [row[0] for row in self.house.query("SELECT body FROM outbox WHERE sender = 'bot' ORDER BY id")]

    def row(self, service: str, columns: str) -> tuple[object, ...]:
        return self.house.query(f"SELECT {columns} FROM credentials WHERE service = %s", service)[0]

    def checks(self) -> list[tuple[object, ...]]:
        return self.house.query(
            "SELECT detail->>'service', outcome, reason FROM audit WHERE action = 'credential.checked' ORDER BY id"
        )


@pytest.fixture
def care(make_house: Callable[..., House], database: Database, stop: Stop) -> Care:
    house = make_house()
    settings = config.load(house.env)
    own = Database(Secret(house.database_url), "test")
    keyring = open_now(settings, own)
    return Care(house, own, keyring, Caretaker(settings, own, keyring.vault, stop))


def test_a_new_token_is_asked_about_at_once_and_then_once_a_day(care: Care) -> None:
    care.look()
    assert sorted(care.checks()) == [("clickup", "success", None), ("slack", "success", None)]
    care.look()
    assert len(care.house.slack.requests) == len(care.house.clickup.requests) == 1
    assert care.row("slack", "account, due_at - checked_at = interval '1 day'") == ("steward in Acme", True)
    care.make_due("slack")
    care.look()
    assert len(care.house.slack.requests) == 2
    assert care.told() == []


def test_nothing_is_asked_about_what_is_seen_when_it_is_used(care: Care) -> None:
    care.look()
    assert not [check for check in care.checks() if check[0] in ("telegram", "claude")]
    assert care.house.claude.requests == []


def test_a_trouble_is_told_once_and_again_only_after_it_was_over(care: Care) -> None:
    care.house.slack.error = "account_inactive"
    for _ in range(3):
        care.make_due("slack")
        care.look()
    said = english.credential("slack", "account_inactive")
    assert care.told() == [said]
    care.house.slack.error = "token_revoked"
    care.make_due("slack")
    care.look()
    assert care.told() == [said, english.credential("slack", "token_revoked")]
    for error in (None, "account_inactive"):
        care.house.slack.error = error
        care.make_due("slack")
        care.look()
    assert care.told()[2:] == [said]


def test_trouble_of_the_service_itself_is_shown_and_not_told_and_asked_again_in_an_hour(care: Care) -> None:
    care.look()
    for error, fault in (("internal_error", None), (None, Fault("status", status=502, body="<p>bad gateway</p>"))):
        care.house.slack.error = error
        if fault:
            care.house.slack.faults.add(fault)
        care.make_due("slack")
        care.look()
        problem, hindrance, minutes = care.row(
            "slack", "problem, hindrance, round(extract(epoch FROM due_at - now()) / 60)"
        )
        assert problem is None
        assert hindrance in ("internal_error", "service_unavailable")
        assert minutes == 60
    assert care.told() == []
    care.make_due("slack")
    care.look()
    assert care.row("slack", "hindrance") == (None,)


def test_trouble_of_the_service_does_not_make_a_bad_token_good(care: Care) -> None:
    for error in ("token_revoked", "internal_error", "token_revoked"):
        care.house.slack.error = error
        care.make_due("slack")
        care.look()
        assert care.row("slack", "problem") == ("token_revoked",)
    assert len(care.told()) == 1


def test_what_was_found_about_a_token_is_not_held_against_its_successor(care: Care) -> None:
    old, sim = care.house.slack.token, care.house.slack
    sim.token = made_up("slack")

    def reply(request, answer=sim.reply):
        with Database(Secret(care.house.database_url), "test").transaction() as cur:
            credentials.enter(cur, care.keyring.vault, "slack", "token", Secret(sim.token))
        return answer(request)

    sim.reply = reply  # type: ignore[method-assign]
    care.caretaker._look_at = 0.0
    while care.row("slack", "due_at > now()") == (False,) and not sim.requests:
        care.caretaker.look()
    assert f"Bearer {old}" in str(sim.requests[0].headers)
    assert care.row("slack", "problem, checked_at") == (None, None)
    assert care.told() == []
    care.look()
    assert care.row("slack", "account") == ("steward in Acme",)


def test_the_owner_is_reminded_14_3_and_1_days_before_a_plan_token_ends(care: Care) -> None:
    with care.database.transaction() as cur:
        plan = Secret(made_up("claude plan"))
        credentials.enter(cur, care.keyring.vault, "claude", "plan_token", plan, ends_in=365 * DAY)
    told: list[str] = []
    for days in (364.0, 20.0, 14.1, 14.0, 13.0, 3.5, 3.0, 2.0, 1.0, 0.5):
        ends = "UPDATE credentials SET ends_at = now() + %s * interval '1 day', due_at = now() WHERE service = 'claude'"
        care.house.query(ends, days)
        care.look()
        if len(care.told()) > len(told):
            told = care.told()
            assert days in (14.0, 3.0, 1.0), days
    assert [re.findall(r"ends in ([^.]+)\.", text) for text in told] == [["14 days"], ["3 days"], ["a day"]]
    care.house.query("UPDATE credentials SET ends_at = now(), due_at = now() WHERE service = 'claude'")
    care.look()
    assert care.told()[3:] == [english.credential("claude", "ended")]
    assert care.house.query("SELECT count(*) FROM alerts") == [(4,)]


def test_after_days_without_a_bot_only_the_nearest_reminder_comes(care: Care) -> None:
    with care.database.transaction() as cur:
        plan = Secret(made_up("claude plan"))
        credentials.enter(cur, care.keyring.vault, "claude", "plan_token", plan, ends_in=2.5 * DAY)
    care.look()
    assert care.told() == [english.ends_soon("claude", 2.5 * DAY - 1)]
    assert "ends in 2 days" in care.told()[0]


@pytest.fixture
def login(care: Care):
    """A Claude sign-in with single-use refresh tokens, whose end nobody has told yet."""
    with OAuthSim("the-client") as sim:
        sim.canary = MARKS["claude oauth"]
        first = sim.login()
        sealed = Login(Secret(first["refresh_token"]), "the-client", None, sim.token_url)
        with care.database.transaction() as cur:
            credentials.enter(
                cur, care.keyring.vault, "claude", "oauth", Secret(first["access_token"]), sealed, single_use=True
            )
        yield sim


def test_a_sign_in_is_renewed_at_entry_and_kept_alive_when_nobody_uses_it(care: Care, login: OAuthSim) -> None:
    care.look()
    assert [refresh.accepted for refresh in login.refreshes] == [True]
    assert care.row("claude", "expires_at > now() + interval '1 hour', problem") == (True, None)
    care.house.query("UPDATE credentials SET expires_at = now() - interval '16 hours' WHERE service = 'claude'")
    care.make_due("claude")
    care.look()
    assert [refresh.accepted for refresh in login.refreshes] == [True, True]


def test_a_sign_in_that_was_taken_away_is_told_with_what_to_do(care: Care, login: OAuthSim) -> None:
    login.revoke(login.login()["refresh_token"])
    with care.database.statement() as cur:
        current = credentials.load(cur, care.keyring.vault, "claude")
    assert current is not None
    assert current.login is not None
    login.revoke(current.login.refresh_token.reveal())
    for _ in range(3):
        care.make_due("claude")
        care.look()
    assert care.told() == [english.credential("claude", "invalid_grant")]
    assert len(login.refreshes) == 1


def test_a_sign_in_that_cannot_be_renewed_now_is_tried_again_later(care: Care, login: OAuthSim) -> None:
    login.faults.add(Fault("status", status=503, body={"error": "temporarily_unavailable"}))
    care.look()
    assert care.told() == []
    problem, hindrance = care.row("claude", "problem, hindrance")
    assert (problem, hindrance) == (None, "no_connection")


def test_a_damaged_row_does_not_stop_the_others(care: Care) -> None:
    care.house.query("UPDATE credentials SET token = substr(token, 2) WHERE service = 'clickup'")
    care.look()
    assert care.row("slack", "problem") == (None,)
    assert care.row("clickup", "problem") == ("damaged",)
    assert care.told() == [english.credential("clickup", "damaged")]
