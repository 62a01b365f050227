"""`python credentials.py`: lists, removes, and seals everything with another key, all or nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from demo.children import Argument
from demo.stack import ROOT, made_up
from demo.telegram import ALICE
from lib import config, console, credentials
from lib.credentials import Login
from lib.db import Database
from lib.keyring import open_now
from lib.secret import Secret
from lib.vault import Vault
from tests import forks
from tests.house import House

MakeHouse = Callable[..., House]
SERVICES = ["claude", "clickup", "google", "slack", "telegram"]


@pytest.fixture
def sealed(make_house: MakeHouse) -> House:
    """A house that does not run, with five sealed credentials, one of them a sign-in."""
    house = make_house()
    database = Database(Secret(house.database_url), "test")
    vault = open_now(config.load(house.env), database).vault
    login = Login(Secret(made_up("google client")), "client", Secret("secret"), "https://login.example/token")
    with database.transaction() as cur:
        credentials.enter(cur, vault, "google", "oauth", Secret("access"), login, expires_in=3600)
    database.close()
    return house


def run(house: House, *arguments: str, **settings: str) -> tuple[int, str]:
    command: list[Argument] = [sys.executable, ROOT / "credentials.py", *arguments]
    done = forks.run(command, env=house.env | settings, timeout=30)
    assert not done.stderr or done.returncode == 2, "only argparse speaks there"
    return done.returncode, done.stdout + done.stderr


def rows(house: House) -> list[tuple[object, ...]]:
    found = house.query("SELECT service, token::text, login::text, entered::text FROM credentials ORDER BY service")
    return found + house.query("SELECT fingerprint::text FROM key_check")


def opened(house: House, key: str) -> dict[str, str]:
    """Every token, opened with this key."""
    vault = Vault(Secret(key))
    found = house.query("SELECT service, token FROM credentials")
    return {service: vault.open(bytes(token), "steward", service, "token").reveal() for service, token in found}


def test_the_list_names_what_is_sealed_and_no_value(sealed: House) -> None:
    code, output = run(sealed, "list")
    assert code == 0
    assert len(output.splitlines()) == 5
    assert "Slack: not checked yet" in output
    assert not [value for value in opened(sealed, sealed.env["MASTER_KEY"]).values() if value in output]


def test_a_credential_is_not_removed_while_its_line_stands_in_env(sealed: House) -> None:
    before = rows(sealed)
    code, output = run(sealed, "remove", "slack")
    assert code == 1
    assert output.strip() == console.STILL_IN_ENV.format(name="Slack", lines="SLACK_TOKEN")
    assert rows(sealed) == before


def test_a_removed_credential_is_gone_for_good_and_audited(sealed: House) -> None:
    code, output = run(sealed, "remove", "slack", SLACK_TOKEN="")
    assert (code, output.strip()) == (0, console.REMOVED.format(name="Slack"))
    assert "slack" not in opened(sealed, sealed.env["MASTER_KEY"])
    audit = "SELECT actor_kind, actor_id, detail FROM audit WHERE action = 'credential.removed'"
    assert sealed.query(audit) == [("owner", ALICE.id, {"service": "slack"})]
    code, output = run(sealed, "remove", "slack", SLACK_TOKEN="")
    assert (code, output.strip()) == (1, console.NOT_SEALED.format(name="Slack"))


def test_a_service_that_there_is_not_is_refused_and_the_help_names_those_that_there_are(sealed: House) -> None:
    code, output = run(sealed, "remove", "twitter")
    assert (code, output.strip()) == (1, console.NOT_SEALED.format(name="twitter"))
    assert all(service in run(sealed, "remove", "--help")[1] for service in SERVICES)


def test_a_service_of_a_later_version_stops_nothing(sealed: House) -> None:
    old, new = sealed.env["MASTER_KEY"], made_up("master key")
    vault = Vault(Secret(old))
    token, entered = (vault.seal(Secret("x"), "steward", "foo", field) for field in ("token", "entered"))
    sealed.query(
        "INSERT INTO credentials (owner, service, kind, token, entered) VALUES ('steward', 'foo', 'token', %s, %s)",
        token,
        entered,
    )
    assert "foo: sealed" in run(sealed, "list")[1]
    assert run(sealed, "reencrypt", "--write", OLD_MASTER_KEY=old, MASTER_KEY=new)[0] == 0
    assert run(sealed, "remove", "foo", MASTER_KEY=new)[0] == 0


@pytest.mark.parametrize("column", ["token", "login", "entered"])
def test_an_empty_envelope_is_a_damaged_one(sealed: House, column: str) -> None:
    sealed.query(f"UPDATE credentials SET {column} = '' WHERE service = 'google'")
    keys = {"OLD_MASTER_KEY": sealed.env["MASTER_KEY"], "MASTER_KEY": made_up("master key")}
    code, output = run(sealed, "reencrypt", "--write", **keys)
    assert (code, output.strip()) == (1, console.REENCRYPT_DAMAGED.format(name="Google", service="google"))


def test_a_dry_run_changes_nothing_and_the_real_one_everything(sealed: House) -> None:
    old, new = sealed.env["MASTER_KEY"], made_up("master key")
    keys = {"OLD_MASTER_KEY": old, "MASTER_KEY": new}
    before, values = rows(sealed), opened(sealed, old)
    code, output = run(sealed, "reencrypt", **keys)
    assert code == 0
    assert "Claude, ClickUp, Google, Slack, Telegram" in output
    assert "Nothing was changed" in output
    assert rows(sealed) == before
    code, output = run(sealed, "reencrypt", "--write", **keys)
    assert code == 0
    assert opened(sealed, new) == values
    assert not {text for row in before for text in row[1:] if text} & {text for row in rows(sealed) for text in row[1:]}
    audit = sealed.query("SELECT actor_kind, detail->>'count' FROM audit WHERE action = 'credentials.reencrypted'")
    assert audit == [("owner", "5")]


def test_after_reencryption_the_scripts_start_with_the_new_key_only_and_enter_nothing_twice(sealed: House) -> None:
    old, new = sealed.env["MASTER_KEY"], made_up("master key")
    assert run(sealed, "reencrypt", "--write", OLD_MASTER_KEY=old, MASTER_KEY=new)[0] == 0
    sealed.telegram.say(ALICE, "hello")
    sealed.env["MASTER_KEY"] = new
    for script in sealed.scripts:
        script._env = sealed.env
    before = rows(sealed)
    sealed.start()
    sealed.await_replies(1)
    assert rows(sealed) == before
    code, output = run(sealed, "list", MASTER_KEY=old)
    assert (code, output.strip()) == (1, console.WRONG_KEY)


def test_running_it_twice_says_that_it_is_done(sealed: House) -> None:
    keys = {"OLD_MASTER_KEY": sealed.env["MASTER_KEY"], "MASTER_KEY": made_up("master key")}
    assert run(sealed, "reencrypt", "--write", **keys)[0] == 0
    code, output = run(sealed, "reencrypt", "--write", **keys)
    assert (code, output.strip()) == (1, console.REENCRYPT_DONE)


@pytest.mark.parametrize("column", ["token", "login", "entered"])
def test_at_the_first_row_that_does_not_open_nothing_is_changed(sealed: House, column: str) -> None:
    sealed.query(f"UPDATE credentials SET {column} = set_byte({column}, 14, 7) WHERE service = 'google'")
    before = rows(sealed)
    keys = {"OLD_MASTER_KEY": sealed.env["MASTER_KEY"], "MASTER_KEY": made_up("master key")}
    for arguments in (["reencrypt"], ["reencrypt", "--write"]):
        code, output = run(sealed, *arguments, **keys)
        assert (code, output.strip()) == (1, console.REENCRYPT_DAMAGED.format(name="Google", service="google"))
        assert rows(sealed) == before


@pytest.mark.parametrize(
    ("old", "said"), [("", console.REENCRYPT_KEYS), ("0" * 64, console.REENCRYPT_WRONG_KEY)], ids=["none", "wrong"]
)
def test_the_old_key_is_wanted_and_must_be_the_one(sealed: House, old: str, said: str) -> None:
    before = rows(sealed)
    code, output = run(sealed, "reencrypt", "--write", OLD_MASTER_KEY=old, MASTER_KEY=made_up("master key"))
    assert (code, output.strip()) == (1, said)
    assert rows(sealed) == before


def test_while_a_script_runs_nothing_is_sealed_anew(house: House) -> None:
    house.telegram.say(ALICE, "hello")
    house.await_replies(1)
    before = rows(house)
    keys = {"OLD_MASTER_KEY": house.env["MASTER_KEY"], "MASTER_KEY": made_up("master key")}
    code, output = run(house, "reencrypt", "--write", **keys)
    assert (code, output.strip()) == (1, console.REENCRYPT_RUNNING.format(scripts="bot.py, worker.py"))
    assert rows(house) == before


def test_nor_while_healthwatch_does_which_holds_the_key_too(make_house: MakeHouse) -> None:
    house = make_house(watch=True)
    house.healthwatch.start()
    house.await_event(house.healthwatch, "started")
    before = rows(house)
    keys = {"OLD_MASTER_KEY": house.env["MASTER_KEY"], "MASTER_KEY": made_up("master key")}
    code, output = run(house, "reencrypt", "--write", **keys)
    assert (code, output.strip()) == (1, console.REENCRYPT_RUNNING.format(scripts="healthwatch.py"))
    assert house.healthwatch.stop() == 0
    assert rows(house) == before
    assert run(house, "reencrypt", "--write", **keys)[0] == 0


def test_the_same_key_twice_is_not_called_another_one(sealed: House) -> None:
    before = rows(sealed)
    code, output = run(sealed, "reencrypt", "--write", OLD_MASTER_KEY=sealed.env["MASTER_KEY"].upper())
    assert (code, output.strip()) == (1, console.REENCRYPT_SAME)
    assert rows(sealed) == before


@pytest.mark.parametrize("arguments", ["list", "remove google", "reencrypt --write"])
def test_a_database_that_was_never_used_is_not_begun_by_looking_at_it(make_house: MakeHouse, arguments: str) -> None:
    house = make_house()
    _, output = run(house, *arguments.split(), OLD_MASTER_KEY=made_up("master key"))
    said = (console.NOTHING_SEALED, console.NOT_SEALED.format(name="Google"))
    assert output.strip() in said
    assert house.query("SELECT * FROM key_check") == []


@pytest.mark.parametrize("arguments", [["list"], ["remove", "google"], ["reencrypt"]])
def test_without_a_database_it_says_so_at_once(sealed: House, arguments: list[str]) -> None:
    away = {"DATABASE_URL": "postgresql://u:wordpass1@127.0.0.1:1/db", "OLD_MASTER_KEY": "0" * 64}
    code, output = run(sealed, *arguments, **away)
    assert code == 1
    assert output == console.NO_DATABASE.format(why="127.0.0.1: Connection refused") + "\n"
    assert "wordpass1" not in output
