"""Credentials: sealed at start, read from PostgreSQL from then on, and nothing works with another master key."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from demo.children import Argument, wait_until
from demo.stack import ROOT, made_up
from demo.telegram import ALICE, BOB
from lib import console
from lib.english import English
from lib.secret import Secret
from lib.vault import CannotOpen, Vault
from tests import forks
from tests.house import House

english = English()

MakeHouse = Callable[..., House]

TOKENS = ("TELEGRAM_BOT_TOKEN", "ANTHROPIC_API_KEY", "SLACK_TOKEN", "CLICKUP_TOKEN")


def entered(house: House) -> list[str]:
    """The services of which the audit says that a credential was entered, in order."""
    rows = house.query("SELECT detail->>'service' FROM audit WHERE action = 'credential.entered' ORDER BY id")
    return [row[0] for row in rows]


def everything(house: House) -> list[Any]:
    """All rows of all tables, to see that nothing was changed."""
    tables = [row[0] for row in house.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")]
    return [sorted(house.query(f"SELECT t::text FROM {table} t")) for table in tables]


def restart(house: House, **settings: str) -> None:
    """End the scripts and start them again with other lines in `.env`."""
    for script in house.scripts:
        script.stop()
        script.log.unlink()
    house.env |= settings
    for script in house.scripts:
        script._env = house.env
    for script in house.scripts:
        script.start()


def run_once(house: House, script: str, *arguments: str, **settings: str) -> tuple[int, str]:
    """Exit code and output of a script that ends by itself."""
    command: list[Argument] = [sys.executable, ROOT / f"{script}.py", *arguments]
    done = forks.run(command, env=house.env | settings, timeout=30)
    return done.returncode, done.stdout + done.stderr


def ask(house: House, text: str) -> str:
    """Say it as Alice; the answer."""
    before = len(house.replies())
    house.telegram.say(ALICE, text)
    return house.await_replies(before + 1)[-1]


def test_tokens_from_env_are_sealed_at_start_and_audited_by_name_only(house: House) -> None:
    ask(house, "hello")
    rows = house.query("SELECT service, kind, token, login, entered FROM credentials ORDER BY service")
    assert [row[:2] for row in rows] == [
        ("claude", "api_key"),
        ("clickup", "token"),
        ("slack", "token"),
        ("telegram", "token"),
    ]
    for service, _, token, login, _ in rows:
        name = {"claude": "ANTHROPIC_API_KEY", "telegram": "TELEGRAM_BOT_TOKEN"}.get(
            service, f"{service.upper()}_TOKEN"
        )
        assert len(bytes(token)) == 29 + len(house.env[name])
        assert bytes(token)[0] == 1
        assert login is None
    assert sorted(entered(house)) == ["claude", "clickup", "slack", "telegram"], "two scripts, but once each"
    audit = str(house.query("SELECT * FROM audit"))
    assert not [name for name in TOKENS if house.env[name] in audit]


def test_the_tokens_may_be_deleted_from_env_once_they_are_sealed(house: House) -> None:
    ask(house, "hello")
    restart(house, **dict.fromkeys(TOKENS, ""))
    assert "hello" in ask(house, "what did I just say?")
    assert len(entered(house)) == 4


def test_a_start_with_the_same_lines_changes_no_row(house: House) -> None:
    ask(house, "hello")
    before = house.query("SELECT service, token, entered FROM credentials ORDER BY service")
    restart(house)
    ask(house, "hello again")
    assert house.query("SELECT service, token, entered FROM credentials ORDER BY service") == before
    assert len(entered(house)) == 4


def test_a_changed_line_is_sealed_anew(house: House) -> None:
    ask(house, "hello")
    before = dict(house.query("SELECT service, token FROM credentials"))
    house.slack.token = made_up("slack")
    restart(house, SLACK_TOKEN=house.slack.token)
    ask(house, "hello again")
    after = dict(house.query("SELECT service, token FROM credentials"))
    assert [service for service in after if bytes(after[service]) != bytes(before[service])] == ["slack"]
    assert entered(house).count("slack") == 2


def test_another_kind_of_claude_credential_takes_the_place_of_the_first(house: House) -> None:
    ask(house, "hello")
    restart(house, ANTHROPIC_API_KEY="", CLAUDE_CODE_OAUTH_TOKEN=made_up("claude plan"))
    house.await_event(house.worker, "started")
    rows = house.query("SELECT kind, extract(day FROM ends_at - now()) FROM credentials WHERE service = 'claude'")
    assert [(kind, int(days)) for kind, days in rows] == [("plan_token", 364)]


def test_with_a_wrong_master_key_every_script_says_what_to_do_and_changes_nothing(house: House) -> None:
    ask(house, "hello")
    for script in house.scripts:
        script.stop()
    before = everything(house)
    wrong = {"MASTER_KEY": made_up("master key"), "SLACK_TOKEN": made_up("slack")}
    for command in (
        ["bot"],
        ["worker"],
        ["setup_google"],
        ["credentials", "list"],
        ["credentials", "remove", "google"],
    ):
        code, output = run_once(house, *command, **wrong)
        assert code != 0
        assert console.WRONG_KEY in output
        assert len(output.splitlines()) == 1
        assert everything(house) == before


@pytest.mark.parametrize("key", ["", "short", "g" * 64, "0" * 63, "a 32 character text as the key!!"])
def test_without_a_usable_master_key_a_script_says_what_to_do(make_house: MakeHouse, key: str) -> None:
    house = make_house()
    before = everything(house)
    code, output = run_once(house, "bot", MASTER_KEY=key)
    assert code == 2
    assert "MASTER_KEY" in output
    assert "openssl rand -hex 32" in output
    assert len(output.splitlines()) == 1
    assert everything(house) == before


def test_no_script_ever_makes_a_key_or_writes_a_check_over_sealed_rows(house: House) -> None:
    ask(house, "hello")
    for script in house.scripts:
        script.stop()
    house.query("DELETE FROM key_check")
    before = everything(house)
    for key in (house.env["MASTER_KEY"], made_up("master key")):
        code, output = run_once(house, "worker", MASTER_KEY=key)
        assert code == 2
        assert console.NO_KEY_CHECK in output
    assert everything(house) == before


def test_a_missing_telegram_token_is_said_in_one_sentence(make_house: MakeHouse) -> None:
    house = make_house()
    for script in ("bot", "worker"):
        code, output = run_once(house, script, TELEGRAM_BOT_TOKEN="")
        assert code == 2
        assert english.credential("telegram", "missing") in output


def test_a_damaged_row_is_named_and_the_others_work(house: House) -> None:
    ask(house, "hello")
    house.query("UPDATE credentials SET token = set_byte(token, 20, get_byte(token, 20) # 1) WHERE service = 'slack'")
    restart(house, SLACK_TOKEN="")
    assert wait_until(lambda: english.credential("slack", "damaged") in house.replies(), 20), house.story()
    assert "Slack token cannot be opened; enter it again" in english.credential("slack", "damaged")
    ask(house, "are you there?")
    assert "Slack token cannot be opened" in ask(house, "/status")
    restart(house)
    ask(house, "and now?")
    assert house.replies().count(english.credential("slack", "damaged")) == 1, "told once"


def test_a_damaged_row_is_sealed_anew_while_its_line_stands_in_env(house: House) -> None:
    ask(house, "hello")
    house.query("UPDATE credentials SET token = set_byte(token, 5, get_byte(token, 5) # 128) WHERE service = 'slack'")
    restart(house)
    ask(house, "hello again")
    assert entered(house).count("slack") == 2
    assert house.query("SELECT problem FROM credentials WHERE service = 'slack'") == [(None,)]


def test_a_damaged_telegram_token_is_the_end_in_one_sentence(house: House) -> None:
    ask(house, "hello")
    for script in house.scripts:
        script.stop()
    house.query("UPDATE credentials SET token = substr(token, 1, 20) WHERE service = 'telegram'")
    code, output = run_once(house, "bot", TELEGRAM_BOT_TOKEN="")
    assert code == 2
    assert english.credential("telegram", "damaged") in output


@pytest.mark.parametrize("column", ["token", "entered"])
def test_an_envelope_moved_to_another_row_does_not_open(house: House, column: str) -> None:
    ask(house, "hello")
    house.query(
        f"UPDATE credentials SET {column} = (SELECT {column} FROM credentials WHERE service = 'slack')"
        " WHERE service = 'clickup'"
    )
    restart(house, **({"CLICKUP_TOKEN": ""} if column == "token" else {}))
    ask(house, "hello again")
    if column == "token":
        assert "ClickUp token cannot be opened" in ask(house, "/status")
    else:
        assert entered(house).count("clickup") == 2
    assert house.query("SELECT problem FROM credentials WHERE service = 'slack'") == [(None,)]


def test_a_token_moved_to_another_owner_does_not_open(house: House) -> None:
    ask(house, "hello")
    for script in house.scripts:
        script.stop()
    house.query("UPDATE credentials SET owner = 'alice' WHERE service = 'slack'")
    vault = Vault(Secret(house.env["MASTER_KEY"]))
    token = bytes(house.query("SELECT token FROM credentials WHERE service = 'slack'")[0][0])
    assert vault.open(token, "steward", "slack", "token").reveal() == house.slack.token
    with pytest.raises(CannotOpen):
        vault.open(token, "alice", "slack", "token")


def test_what_slack_says_against_a_token_reaches_the_owner_once_and_stands_in_the_status(make_house: MakeHouse) -> None:
    house = make_house(watch=True)
    house.slack.error = "token_revoked"
    house.telegram.say(ALICE, "hello")
    house.start()
    told = english.credential("slack", "token_revoked")
    assert wait_until(lambda: told in house.replies(), 30), house.story()
    assert told.rstrip(".") in ask(house, "/status")
    assert house.query("SELECT kind FROM alerts") == [("slack_credential",)]
    house.slack.error = None
    house.query("UPDATE credentials SET due_at = now() WHERE service = 'slack'")
    restart(house)
    house.await_event(house.healthwatch, "credential_checked")
    assert re.search(r"Slack \(steward in Acme\): worked \d+ s ago", ask(house, "/status"))
    assert house.replies().count(told) == 1


def test_whose_accounts_steward_uses_is_shown_to_the_owner_only(make_house: MakeHouse) -> None:
    house = make_house(watch=True)
    house.start()
    house.await_event(house.healthwatch, "credential_checked", 2)
    assert "Slack (steward in Acme)" in ask(house, "/status")
    house.telegram.say(BOB, "/status")
    assert "Slack" not in house.await_replies(1, BOB)[-1]


def test_a_row_that_nobody_understands_stops_neither_messages_nor_the_others(make_house: MakeHouse) -> None:
    house = make_house(watch=True)
    house.query(
        "INSERT INTO credentials (owner, service, kind, token, entered, due_at)"
        " VALUES ('steward', 'foo', 'token', 'x', 'x', now() - interval '1 hour')"
    )
    house.query("INSERT INTO key_check (fingerprint) VALUES (%s)", Vault(Secret(house.env["MASTER_KEY"])).fingerprint)
    house.telegram.say(ALICE, "hello")
    house.start()
    house.await_event(house.healthwatch, "credential_checked", 3)
    assert wait_until(lambda: english.credential("foo", "damaged") in house.replies(), 20), house.story()
    shown = ask(house, "/status")
    assert "Slack (steward in Acme): worked" in shown
    assert "foo token cannot be opened" in shown


def test_what_was_found_before_there_was_an_owner_is_told_once_there_is_one(make_house: MakeHouse) -> None:
    house = make_house(watch=True, OWNER_ID="")
    house.slack.error = "token_revoked"
    house.telegram.say(ALICE, "hello")
    house.start()
    house.await_event(house.healthwatch, "credential_checked", 2)
    house.query("UPDATE credentials SET due_at = now()")
    restart(house, OWNER_ID=str(ALICE.id))
    told = english.credential("slack", "token_revoked")
    assert wait_until(lambda: house.replies().count(told) == 1, 30), house.story()


def test_a_second_damage_is_told_again_after_the_first_was_mended(house: House) -> None:
    ask(house, "hello")
    good = bytes(house.query("SELECT token FROM credentials WHERE service = 'clickup'")[0][0])

    def times_told(times: int) -> bool:
        return house.replies().count(english.credential("clickup", "damaged")) == times

    for times in (1, 2):
        house.query("UPDATE credentials SET token = substr(token, 2) WHERE service = 'clickup'")
        restart(house, CLICKUP_TOKEN="")
        assert wait_until(partial(times_told, times), 20), house.story()
        house.query("UPDATE credentials SET token = %s WHERE service = 'clickup'", good)
        restart(house)
        house.await_event(house.bot, "started")
