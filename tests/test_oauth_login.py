"""Claude by an OAuth login: a refused token is renewed once. And how Claude is, told in the owner's time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from demo.loopback import Fault
from demo.oauth import OAuthSim
from demo.stack import MARKS
from demo.telegram import ALICE
from lib.english import English
from tests.house import House

english = English()


@pytest.fixture
def logins() -> Iterator[OAuthSim]:
    sim = OAuthSim("the-owners-client")
    sim.canary = MARKS["claude oauth"]
    with sim:
        yield sim


def house_with(make_house: Any, logins: OAuthSim, **tokens: Any) -> House:
    """A house whose only way to Claude is a login that was just made."""
    made = logins.login() | tokens
    house: House = make_house(
        ANTHROPIC_API_KEY="",
        ANTHROPIC_OAUTH_ACCESS_TOKEN=made["access_token"],
        ANTHROPIC_OAUTH_REFRESH_TOKEN=made["refresh_token"],
        ANTHROPIC_OAUTH_CLIENT_ID=logins.client_id,
        ANTHROPIC_OAUTH_TOKEN_URL=logins.token_url,
    )
    house.claude.accepts = logins.accepts
    return house


def asked(house: House) -> list[str]:
    """The bearer tokens of all requests for an answer."""
    return [request.headers["authorization"] for request in house.claude.requests]


def test_a_login_answers_and_one_token_serves_many_requests(make_house, logins):
    house = house_with(make_house, logins)
    house.start()
    for number in range(1, 4):
        house.telegram.say(ALICE, f"question {number}")
        house.await_replies(number)
    assert len(set(asked(house))) == 1
    assert all("oauth-2025-04-20" in request.headers["anthropic-beta"] for request in house.claude.requests)
    assert house.query("SELECT count(*) FROM audit WHERE action = 'claude.asked' AND outcome = 'success'") == [(3,)]


def test_a_token_that_claude_refuses_is_renewed_once_and_the_person_notices_nothing(make_house, logins):
    house = house_with(make_house, logins)
    house.start()
    house.telegram.say(ALICE, "first")
    house.await_replies(1)
    logins.revoke_access(asked(house)[-1].removeprefix("Bearer "))
    house.telegram.say(ALICE, "second")
    assert "«second»" in house.await_replies(2)[1]
    tokens = asked(house)
    assert len(tokens) == 3  # the answer to "first", the refusal, the answer to "second"
    assert tokens[2] != tokens[1]
    assert all(refresh.accepted for refresh in logins.refreshes)


def test_a_fresh_token_that_is_refused_too_is_not_tried_a_third_time(make_house, logins):
    house = house_with(make_house, logins)
    house.claude.accepts = lambda token: False
    house.start()
    house.telegram.say(ALICE, "hello")
    assert house.await_replies(1) == [english.failure("sign_in")]
    house.await_idle()
    assert len(house.claude.requests) == 2


@pytest.mark.parametrize("status", [403, 429, 500, 529])
def test_nothing_but_a_401_is_asked_twice(make_house, logins, status):
    house = house_with(make_house, logins)
    house.claude.faults.add(Fault("status", status=status))
    house.start()
    house.telegram.say(ALICE, "hello")
    house.await_replies(1)
    house.await_idle()
    assert len(house.claude.requests) == 1


def test_a_login_that_has_ended_asks_nobody_and_says_who_must_act(make_house, logins):
    house = house_with(make_house, logins)
    house.start()
    house.telegram.say(ALICE, "first")
    house.await_replies(1)
    logins.revoke(house_refresh_token(logins))
    logins.revoke_access(asked(house)[-1].removeprefix("Bearer "))
    requests = len(house.claude.requests)
    house.telegram.say(ALICE, "second")
    house.await_replies(3)
    assert english.failure("sign_in") in house.replies()
    assert len(house.claude.requests) == requests + 1  # the one whose token was refused


def house_refresh_token(logins: OAuthSim) -> str:
    return list(logins._grants)[-1]


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", status=429, body={"type": "error", "error": {"type": "rate_limit_error", "message": "Error"}}),
        Fault(
            "status",
            status=400,
            body={
                "type": "error",
                "error": {
                    "type": "invalid_request_error",
                    "message": "Third-party apps now draw from your extra usage, not your plan limits.",
                },
            },
        ),
    ],
)
def test_a_plan_that_does_not_pay_for_us_is_told_from_a_limit(make_house, logins, fault):
    house = house_with(make_house, logins)
    house.claude.faults.add(fault)
    house.start()
    house.telegram.say(ALICE, "hello")
    assert house.await_replies(1) == [english.failure("plan_refused")]
    house.await_idle()
    assert len(house.claude.requests) == 1


def test_without_any_credential_the_worker_stays_up_and_everybody_is_told(make_house):
    house: House = make_house(ANTHROPIC_API_KEY="")
    house.start()
    house.telegram.say(ALICE, "hello")
    assert house.await_replies(1) == [english.failure("no_credential")]
    house.telegram.say(ALICE, "/status")
    assert f"Claude: {english.FAILURES['no_credential']}" in house.await_replies(2)[1]
    assert house.worker.running
    assert house.claude.requests == []


def test_status_tells_since_when_and_until_when_in_the_owners_time(make_house):
    house: House = make_house(TIMEZONE="Asia/Kolkata")  # half an hour beside the others
    reset = int(time.time()) // 3600 * 3600 + 86400  # on the hour in UTC, on the half hour there
    headers = {"anthropic-ratelimit-unified-reset": str(reset)}
    house.claude.faults.add(Fault("status", status=429, headers=headers))
    house.start()
    house.telegram.say(ALICE, "hello")
    assert ":30." in house.await_replies(1)[0]
    house.telegram.say(ALICE, "/status")
    told = house.await_replies(2)[1]
    assert "Claude: no answers since " in told
    assert ":30." in told
    house.telegram.say(ALICE, "/retry")
    house.await_replies(4)
    house.telegram.say(ALICE, "/status")
    assert "Claude: answered" in house.await_replies(5)[4]


def test_a_message_that_claude_declines_does_not_make_claude_unavailable(make_house):
    house: House = make_house()
    house.claude.faults.add(Fault("refusal"))
    house.start()
    house.telegram.say(ALICE, "hello")
    house.await_idle()
    before = len(house.replies())
    house.telegram.say(ALICE, "/status")
    assert "Claude: answered" in house.await_replies(before + 1)[-1]
