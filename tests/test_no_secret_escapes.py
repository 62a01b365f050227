"""No exception tells a secret, whatever goes wrong; and the hunt after every test would find one that was planted.

What every other test leaves behind (logs, dumps, files of the servers) is searched in conftest.py.
"""

from __future__ import annotations

import base64
import copy
import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from demo import servers
from demo.loopback import Fault
from demo.oauth import OAuthSim
from demo.servers import Stores
from demo.stack import MARKS, made_up
from demo.telegram import ALICE
from lib import clickup, config, credentials, slack, web
from lib.bell import Bell
from lib.claude_api import ApiDoor
from lib.credentials import Login
from lib.db import Database
from lib.google import Attempt, Google
from lib.history import Turn
from lib.keyring import open_now
from lib.refresh import Tokens
from lib.secret import Secret
from lib.stop import Stop
from lib.telegram import Telegram
from lib.vault import Vault
from tests.house import House, hunt_house, hunt_stores
from tests.hunt import Hunt, exception_texts

MakeHouse = Callable[..., House]


def texts_of(work: Callable[..., Any], *arguments: Any, **keywords: Any) -> str:
    """All that the exception of `work` tells, with its causes; fails if there is none."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        work(*arguments, **keywords)
    return "\n".join(exception_texts(caught.value))


def telegram_faults() -> Iterator[Fault]:
    yield Fault("status", status=401, body={"ok": False, "error_code": 401, "description": "Unauthorized"})
    yield Fault("status", status=502, body="<html>bad gateway</html>")
    yield Fault("status", status=200, body="no json")
    yield Fault("status", status=302, headers={"Location": "http://127.0.0.1:1/elsewhere"}, body={"ok": False})
    yield Fault("drop")
    yield Fault("lose")


@pytest.mark.parametrize("fault", list(telegram_faults()), ids=lambda fault: f"{fault.kind} {fault.status}")
def test_no_error_of_telegram_tells_the_token(make_house: MakeHouse, fault: Fault) -> None:
    house = make_house()
    house.telegram.faults.add(fault)
    telegram = Telegram(Secret(house.telegram.token), house.telegram.url)
    assert_clean(texts_of(telegram.send, ALICE.id, "hello"))


def assert_clean(texts: str) -> None:
    assert texts.strip()
    assert not Hunt(MARKS.items()).search("the exception", texts.encode())


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "https://127.0.0.1:1", "http://no-such-host.invalid"])
def test_no_error_of_the_network_tells_a_token(address: str) -> None:
    token = Secret(made_up("telegram"))
    assert_clean(texts_of(Telegram(token, address).get_updates, None, 0))
    for send in ({"bearer": token}, {"authorization": token}, {"form": {"refresh_token": token}}):
        assert_clean(texts_of(web.ask, "POST", f"{address}/x", seconds=3, **send))


def test_no_error_of_the_database_tells_the_password(make_house: MakeHouse) -> None:
    url = make_house().database_url
    for wrong in (
        url.replace("steward_app", "nobody"),
        url.rpartition("/")[0] + "/nowhere",
        url.replace("127.0.0.1", "127.0.0.1.invalid"),
        url.replace("@", "x@"),
        url + "?sslmode=require",
        url + "?no_such_option=1",
    ):
        assert_clean(texts_of(Database(Secret(wrong), "test").connect))


def test_no_error_of_the_bell_tells_the_password(stores: Stores) -> None:
    for url in (stores.redis.url.replace("@", "x@"), stores.redis.url.replace("127.0.0.1", "127.0.0.1.invalid")):
        texts = texts_of(Bell(Secret(url)).ping)
        assert not Hunt([("Redis password", stores.redis.password)]).search("the exception", texts.encode())


SECRET_LINES = {
    "MASTER_KEY": made_up("master key") + "0",
    "OLD_MASTER_KEY": made_up("master key") + "0",
    "TELEGRAM_BOT_TOKEN": made_up("telegram") + "!",
    "SLACK_TOKEN": made_up("slack") + "!",
    "CLICKUP_TOKEN": made_up("clickup") + "!",
    "ANTHROPIC_API_KEY": made_up("claude key") + " !",
    "CLAUDE_CODE_OAUTH_TOKEN": made_up("claude plan") + " !",
    "ANTHROPIC_OAUTH_REFRESH_TOKEN": made_up("claude oauth") + " !",
    "GOOGLE_CLIENT_SECRET": made_up("google client") + " !",
    "DATABASE_URL": f"postgresql://u:{MARKS['database password']}#@h/d",
    "REDIS_URL": f"http://:{MARKS['database password']}@h/0",
}


@pytest.mark.parametrize("name", SECRET_LINES)
def test_no_error_of_the_settings_tells_a_value(make_house: MakeHouse, name: str) -> None:
    environment = make_house().env | {name: SECRET_LINES[name]}
    texts = texts_of(config.load, environment)
    assert name in texts
    assert_clean(texts)


def test_no_error_of_the_vault_tells_a_secret_or_the_key() -> None:
    key = made_up("master key")
    vault = Vault(Secret(key))
    sealed = vault.seal(Secret(made_up("slack")), "steward", "slack", "token")
    assert_clean(texts_of(vault.open, sealed, "steward", "clickup", "token"))
    assert_clean(texts_of(vault.open, sealed[:-1], "steward", "slack", "token"))
    assert_clean(texts_of(Vault, Secret(key[:-1])))


@pytest.mark.parametrize("copying", [pickle.dumps, copy.deepcopy, json.dumps, "{:d}".format, int, len])
def test_no_misuse_of_a_secret_tells_it(copying: Callable[[Any], Any]) -> None:
    secret = Secret(made_up("claude key"))
    try:
        assert_clean(str(copying(secret)))
    except TypeError as exc:
        assert_clean("\n".join(exception_texts(exc)))


def test_no_failure_of_claude_tells_the_key(make_house: MakeHouse) -> None:
    house = make_house()
    for fault in (None, Fault("status", status=429), Fault("drop"), Fault("overloaded-midway"), Fault("cut-midway")):
        key = Secret(house.claude.api_key if fault else made_up("claude key"))
        if fault:
            house.claude.faults.add(fault)
        door = ApiDoor(key, house.claude.url, "claude-sonnet-5-5")
        assert_clean(texts_of(door.answer, [Turn("user", "hello")], print))
    unreachable = ApiDoor(Secret(house.claude.api_key), "http://127.0.0.1:1", "claude-sonnet-5-5")
    assert_clean(texts_of(unreachable.answer, [Turn("user", "hello")], print))


def test_no_check_of_a_token_tells_it(make_house: MakeHouse) -> None:
    house = make_house()
    wrong = [slack.check(Secret(made_up("slack")), house.slack.url)]
    wrong += [clickup.check(Secret(made_up("clickup")), house.clickup.url)]
    wrong += [slack.check(Secret(made_up("slack") + "\n"), house.slack.url)]
    wrong += [clickup.check(Secret(made_up("clickup")), "http://127.0.0.1:1")]
    assert all(each.problem for each in wrong)
    assert_clean(repr(wrong))


def test_no_failure_of_a_renewal_tells_a_token(make_house: MakeHouse, stop: Stop) -> None:
    house = make_house()
    settings = config.load(house.env)
    database = Database(Secret(house.database_url), "test")
    vault = open_now(settings, database).vault
    with OAuthSim("the-client") as sim:
        sim.canary = MARKS["claude oauth"]
        for fault in (Fault("status", status=503, body="<p>away</p>"), Fault("lose"), None):
            first = sim.login()
            if fault:
                sim.faults.add(fault)
            else:
                sim.revoke(first["refresh_token"])
            login = Login(Secret(first["refresh_token"]), "the-client", None, sim.token_url)
            with database.transaction() as cur:
                credentials.enter(
                    cur, vault, "claude", "oauth", Secret(first["access_token"]), login, expires_in=0, single_use=True
                )
            assert_clean(texts_of(Tokens(settings, database, vault, stop).get, "claude"))
            with database.statement() as cur:
                assert_clean(repr(credentials.load(cur, vault, "claude")))
    house.query("UPDATE credentials SET token = substr(token, 2)")
    with database.statement() as cur:
        assert_clean(texts_of(credentials.load, cur, vault, "claude"))
    database.close()


def test_no_failure_of_the_sign_in_tells_a_secret(make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    house = make_house()
    google = Google(house.google.url)
    for fault in (Fault("status", "/token", status=500, body="<p>away</p>"), Fault("drop", "/token"), None):
        secret = Secret(house.google.client_secret if fault else made_up("google client"))
        attempt = Attempt(google, house.google.client_id, secret, ("openid",), "http://127.0.0.1:8085/")
        code = attempt.read(house.google.visit(attempt.url))
        if fault:
            house.google.faults.add(fault)
        texts = texts_of(attempt.finish, code)
        assert code.reveal() not in texts
        assert_clean(texts)
    assert_clean(texts_of(google.account, Secret(f"ya29.{MARKS['google tokens']}")))


def test_a_secret_in_a_log_is_found_after_the_test(make_house: MakeHouse) -> None:
    house = make_house()
    house.bot.log.write_text(json.dumps({"message": f"the token is {house.telegram.token}"}))
    found = hunt_house(house)
    house.bot.log.unlink()
    assert [(find.kind, find.where) for find in found] == [("telegram", str(house.bot.log))]


def test_a_secret_in_a_store_is_found_after_the_test_and_at_the_end(make_house: MakeHouse) -> None:
    with servers.stores() as own:
        house = make_house(own_stores=own)
        assert hunt_house(house) == []
        alert = "INSERT INTO alerts (correlation_id, kind, body) VALUES (gen_random_uuid(), 'x', %s)"
        house.query(alert, f"Bearer {house.slack.token}")
        found = hunt_house(house)
        assert [(find.kind, find.encoding, find.where) for find in found] == [
            ("slack", "plain", f"the dump of {house.name}")
        ]
        house.query("DELETE FROM alerts")
        redis.Redis.from_url(own.redis.url).set("canary", base64.b64encode(house.env["MASTER_KEY"].encode()))
        places = {find.kind: find.where for find in hunt_stores(own)}
    assert places.keys() == {"slack", "master key"}
    assert "pg_wal" in places["slack"] or "base" in places["slack"], "deleted rows stay in the files"
    assert "appendonly" in places["master key"]
