"""What a worker with a login does when the world changes while a message is in its hands: nothing is lost by it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg2
import pytest

from demo.children import wait_until
from demo.loopback import Fault
from demo.oauth import OAuthSim
from demo.stack import MARKS, made_up
from demo.telegram import ALICE, BOB
from lib import audit, credentials, key_check
from lib.db import Database
from lib.english import English
from lib.secret import Secret
from lib.vault import Vault
from tests.house import House
from tests.test_oauth_login import asked, house_with

english = English()


@pytest.fixture
def logins() -> Iterator[OAuthSim]:
    sim = OAuthSim("the-owners-client")
    sim.canary = MARKS["claude oauth"]
    with sim:
        yield sim


def expire(house: House) -> None:
    """Let the access token have ended, as after a night."""
    house.query("UPDATE credentials SET expires_at = now() - interval '1 hour' WHERE service = 'claude'")


def started(house: House) -> House:
    """All scripts are ready. A login that was just entered is renewed once by healthwatch.py: nobody knows its end."""
    house.start()
    house.healthwatch.start()
    for worker in house.workers:
        house.await_event(worker, "started")
    renewed = "SELECT 1 FROM credentials WHERE service = 'claude' AND (kind <> 'oauth' OR expires_at IS NOT NULL)"
    assert wait_until(lambda: bool(house.query(renewed)), 20), house.story()
    house.healthwatch.stop()
    return house


def outcomes(house: House) -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = house.query(
        "SELECT outcome, reason FROM audit WHERE action = 'claude.asked' ORDER BY id"
    )
    return found


def test_two_workers_whose_token_has_ended_renew_it_once_between_them(make_house, logins):
    house = house_with(make_house, logins)
    house.hire()
    started(house)
    before = len(logins.refreshes)
    expire(house)
    logins.faults.add(Fault("hang", seconds=1.0))
    for person in (ALICE, BOB):
        house.telegram.say(person, "hello")
    for person in (ALICE, BOB):
        house.await_replies(1, person)
    assert [refresh.accepted for refresh in logins.refreshes[before:]] == [True]
    assert len(set(asked(house))) == 1
    assert outcomes(house) == [("success", None)] * 2


def test_without_the_token_endpoint_an_ended_token_is_not_sent_and_the_login_stays(make_house, logins):
    house = started(house_with(make_house, logins))
    expire(house)
    logins.stop()
    house.telegram.say(BOB, "hello")
    assert house.await_replies(1, BOB) == [english.failure("no_network")]
    house.await_idle()
    assert house.claude.requests == []
    assert house.query("SELECT problem, renewing FROM credentials WHERE service = 'claude'") == [(None, None)]
    assert house.replies(ALICE) == []


def test_a_stop_while_the_login_is_renewed_keeps_the_new_pair_and_the_message(make_house, logins):
    house = started(house_with(make_house, logins))
    before = len(logins.refreshes)
    expire(house)
    logins.faults.add(Fault("hang", seconds=8.0))
    house.claude.faults.add(Fault("hang", "/v1/messages", seconds=60))
    house.telegram.say(ALICE, "hello")
    mark = "SELECT 1 FROM credentials WHERE service = 'claude' AND renewing IS NOT NULL"
    assert wait_until(lambda: bool(house.query(mark)), 10)
    began = time.monotonic()
    assert house.worker.stop() == 0
    assert time.monotonic() - began < 20
    assert house.query("SELECT state, attempts FROM inbox WHERE body = 'hello'") == [("waiting", 0)]
    house.claude.faults.clear()
    house.worker.start()
    house.await_replies(1)
    assert [refresh.accepted for refresh in logins.refreshes[before:]] == [True]
    assert outcomes(house) == [("success", None)]


def test_a_database_that_fails_again_and_again_before_claude_is_asked_costs_no_message(make_house, logins):
    house = started(house_with(make_house, logins))
    expire(house)
    somebody = psycopg2.connect(house.stores.postgres.url(house.name))
    with somebody.cursor() as cur:  # holds the row, so that the worker can be met while it waits for it
        cur.execute("SELECT FROM credentials WHERE service = 'claude' FOR UPDATE")
    house.telegram.say(ALICE, "hello")
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name LIKE 'steward-worker%' AND datname = current_database() AND wait_event_type = 'Lock'"
    )
    for number in range(1, 6):
        assert wait_until(lambda: bool(house.query(end)), 15), house.story()
        house.await_event(house.worker, "database_away", number)
    somebody.close()
    assert "«hello»" in house.await_replies(1)[0]
    house.await_idle()
    assert outcomes(house) == [("success", None)]
    assert "message_set_aside" not in house.worker.events()
    assert len(house.claude.requests) == 1


def test_a_key_that_was_changed_under_a_running_worker_ends_it_and_sets_nothing_aside(make_house, logins):
    house = started(house_with(make_house, logins))
    house.telegram.say(ALICE, "first")
    house.await_replies(1)
    new = made_up("master key")
    database = Database(Secret(house.stores.postgres.url(house.name)), "owner")
    with database.transaction() as cur:  # what credentials.py reencrypt does, which only a lost connection lets through
        old_vault, new_vault = Vault(Secret(house.env["MASTER_KEY"])), Vault(Secret(new))
        assert key_check.replace(cur, old_vault.fingerprint, new_vault.fingerprint)
        credentials.reseal(cur, old_vault, new_vault)
    database.close()
    house.telegram.say(ALICE, "second")
    assert house.worker.wait(20) == 2
    assert house.worker.events()[-1] == "locked"
    assert house.query("SELECT state, attempts FROM inbox WHERE body = 'second'") == [("waiting", 0)]
    assert outcomes(house) == [("success", None)]
    for script in house.scripts:
        script.stop()
        script._env["MASTER_KEY"] = new
    house.start()
    assert "«second»" in house.await_replies(2)[1]


def test_status_has_words_for_every_way_claude_can_be(make_house):
    house: House = started(make_house(TIMEZONE="America/New_York"))
    rows = [(kind, "{}") for kind in (*english.FAILURES, "a_kind_of_tomorrow")]
    rows += [("limit", '{"until": "2020-01-01T00:00:00+00:00"}'), ("limit", '{"until": null}')]
    for told, (kind, detail) in enumerate(rows, 1):
        house.query(
            "INSERT INTO audit (correlation_id, actor_kind, action, outcome, reason, detail)"
            " VALUES (gen_random_uuid(), 'user', 'claude.asked', 'failure', %s, %s)",
            kind,
            detail,
        )
        house.telegram.say(ALICE, "/status")
        [line] = [line for line in house.await_replies(told)[-1].splitlines() if line.startswith("Claude: ")]
        answered = kind in audit.ABOUT_THE_MESSAGE
        assert line.startswith("Claude: answered" if answered else "Claude: no answers since "), (kind, line)
        assert answered or english.FAILURES.get(kind, "").format(until="") in line
        assert "None" not in line
