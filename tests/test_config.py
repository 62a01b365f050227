"""The settings: everything wrong is named at once, without its value, and no secret shows itself."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import os
import pickle
import re
from urllib.parse import unquote

import pytest

from lib import config
from lib.config import LINES, ConfigError, Entry, Settings, load
from lib.secret import Secret

TOKEN = f"{123456}:{'A' * 35}"
PASSWORD = "hunter" + "2hunter2"
KEY = "0123456789abcdef" * 4
GOOD = {
    "MASTER_KEY": KEY,
    "TELEGRAM_BOT_TOKEN": TOKEN,
    "OWNER_ID": "1001",
    "ALLOWED_USER_IDS": "1001,1002",
    "DATABASE_URL": f"postgresql://steward_app:{PASSWORD}@db:5432/steward",
    "REDIS_URL": f"redis://:{PASSWORD}@redis:6379/0",
    "ANTHROPIC_API_KEY": "sk-ant-" + "k" * 20,
}
OPTIONAL = ["TELEGRAM_BOT_TOKEN", "OWNER_ID", "ALLOWED_USER_IDS", "ANTHROPIC_API_KEY"]
REQUIRED = [name for name in GOOD if name not in OPTIONAL]


def problems(**changes: str) -> str:
    """What load() says about settings that are good but for these."""
    with pytest.raises(ConfigError) as caught:
        load(GOOD | changes)
    return str(caught.value)


@pytest.fixture
def env_file(tmp_path, monkeypatch):
    """A file with the good settings that load() reads, and an environment in which none of them is set."""
    for name in LINES:
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "settings"
    path.write_text("".join(f"{name}={value}\n" for name, value in GOOD.items()))
    monkeypatch.setenv("STEWARD_ENV_FILE", str(path))
    return path


def test_good_settings_arrive_as_they_are():
    settings = load(GOOD)
    assert settings.master_key.reveal() == KEY
    assert settings.entries == (
        Entry("TELEGRAM_BOT_TOKEN", "telegram", "token", Secret(TOKEN)),
        Entry("ANTHROPIC_API_KEY", "claude", "api_key", Secret(GOOD["ANTHROPIC_API_KEY"])),
    )
    assert settings.owner_id == 1001
    assert settings.allowed_user_ids == {1001, 1002}
    assert settings.database_url.reveal() == GOOD["DATABASE_URL"]
    assert settings.redis_url.reveal() == GOOD["REDIS_URL"]


def test_what_is_not_said_has_a_default():
    settings = load(GOOD)
    assert settings.telegram_api_url == "https://api.telegram.org"
    assert settings.anthropic_base_url == "https://api.anthropic.com"
    assert settings.claude_model.startswith("claude-sonnet")
    assert settings.history_tokens == 60_000


def test_an_empty_line_is_the_same_as_none():
    assert load(GOOD | {"HISTORY_TOKENS": " ", "CLAUDE_MODEL": "", "TELEGRAM_API_URL": "\t"}) == load(GOOD)


def test_the_owner_may_be_missing_and_nobody_is_told_of_alerts():
    assert load(GOOD | {"OWNER_ID": ""}).owner_id == 0
    assert load({name: value for name, value in GOOD.items() if name != "OWNER_ID"}).owner_id == 0


def test_the_list_of_allowed_people_may_be_empty_and_lets_nobody_in():
    assert load(GOOD | {"ALLOWED_USER_IDS": ""}).allowed_user_ids == frozenset()
    assert load(GOOD | {"ALLOWED_USER_IDS": " , ,"}).allowed_user_ids == frozenset()


@pytest.mark.parametrize("written", ["1,2,3", "1, 2, 3", " 1 2  3 ", "1,,2,3,", "3,2,1,1"])
def test_the_list_of_allowed_people_is_read_however_it_is_written(written):
    assert load(GOOD | {"ALLOWED_USER_IDS": written}).allowed_user_ids == {1, 2, 3}


def test_groups_are_named_by_ids_below_0_and_a_person_may_ask_120_times_an_hour_unless_said_otherwise():
    assert (load(GOOD).allowed_chat_ids, load(GOOD).turns_per_hour) == (frozenset(), 120)
    settings = load(GOOD | {"ALLOWED_CHAT_IDS": "-5005, -1001234567890", "TURNS_PER_HOUR": "10"})
    assert settings.allowed_chat_ids == {-5005, -1001234567890}
    assert settings.turns_per_hour == 10


def test_without_any_token_the_house_may_start_all_the_same_for_they_may_be_sealed():
    assert load(GOOD | {"ANTHROPIC_API_KEY": "", "TELEGRAM_BOT_TOKEN": ""}).entries == ()


CLAUDE = {
    "ANTHROPIC_API_KEY": {"ANTHROPIC_API_KEY": GOOD["ANTHROPIC_API_KEY"]},
    "CLAUDE_CODE_OAUTH_TOKEN": {"CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-" + "oat01-" + "p" * 30},
    "ANTHROPIC_OAUTH": {
        "ANTHROPIC_OAUTH_ACCESS_TOKEN": "access-" + "a" * 20,
        "ANTHROPIC_OAUTH_REFRESH_TOKEN": "refresh-" + "r" * 20,
        "ANTHROPIC_OAUTH_CLIENT_ID": "the-client",
        "ANTHROPIC_OAUTH_TOKEN_URL": "https://login.example/token",
    },
}
NO_CLAUDE = {name: value for name, value in GOOD.items() if name != "ANTHROPIC_API_KEY"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("ANTHROPIC_API_KEY", "api_key"), ("CLAUDE_CODE_OAUTH_TOKEN", "plan_token"), ("ANTHROPIC_OAUTH", "oauth")],
)
def test_the_claude_credential_is_of_the_kind_its_lines_say(name, kind):
    entry = load(NO_CLAUDE | CLAUDE[name]).entries[-1]
    assert (entry.service, entry.kind) == ("claude", kind)
    assert [entry.token.reveal(), *([entry.refresh_token.reveal()] if entry.refresh_token else [])] == list(
        CLAUDE[name].values()
    )[: 2 if kind == "oauth" else 1]


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(CLAUDE, 2)))
def test_two_ways_to_claude_are_an_error_that_names_both(one, other):
    with pytest.raises(ConfigError) as caught:
        load(NO_CLAUDE | CLAUDE[one] | CLAUDE[other])
    assert re.search(rf"{one}\S* and {other}\S* are 2 ways to Claude", str(caught.value))


@pytest.mark.parametrize("name", CLAUDE["ANTHROPIC_OAUTH"])
def test_of_an_oauth_login_every_line_must_be_there(name):
    with pytest.raises(ConfigError) as caught:
        load(NO_CLAUDE | CLAUDE["ANTHROPIC_OAUTH"] | {name: ""})
    assert f"{name} is missing" in str(caught.value)
    assert str(caught.value).count("is missing") == 1


@pytest.mark.parametrize("url", ["http://login.example/token", "ftp://login.example", "http://127.0.0.1.evil.example/"])
def test_a_refresh_token_is_not_sent_unencrypted_to_another_machine(url):
    with pytest.raises(ConfigError) as caught:
        load(NO_CLAUDE | CLAUDE["ANTHROPIC_OAUTH"] | {"ANTHROPIC_OAUTH_TOKEN_URL": url})
    assert "ANTHROPIC_OAUTH_TOKEN_URL does not look right" in str(caught.value)


def test_a_plan_token_in_the_line_of_the_api_key_is_sent_to_its_own_line():
    text = problems(ANTHROPIC_API_KEY="sk-ant-" + "oat01-" + "p" * 30)
    assert "ANTHROPIC_API_KEY does not look right" in text
    assert "CLAUDE_CODE_OAUTH_TOKEN" in text


def test_google_gets_read_only_scopes_unless_others_are_named():
    assert all(scope.endswith(".readonly") for scope in load(GOOD).google_scopes)
    assert load(GOOD | {"GOOGLE_SCOPES": "https://a.example/x  openid"}).google_scopes == (
        "https://a.example/x",
        "openid",
    )


def test_everything_missing_is_named_at_once():
    with pytest.raises(ConfigError) as caught:
        load({})
    assert [name for name in GOOD if f"{name} is missing" in str(caught.value)] == REQUIRED


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_line_is_named_alone(name):
    text = problems(**{name: ""})
    assert f"{name} is missing" in text
    assert not [other for other in GOOD if other != name and other in text]


WRONG = {
    "MASTER_KEY": [
        "short-value",
        KEY[:-1],
        KEY + "0",
        KEY[:-1] + "g",
        f"0x{KEY[2:]}",
        "a 32 character string as value!!",
    ],
    "OLD_MASTER_KEY": [KEY[:-1]],
    "TELEGRAM_BOT_TOKEN": ["wrong-value", "123456", f"{'A' * 35}", f"x{TOKEN}", f"{TOKEN}!", f"{123456}:short-value"],
    "OWNER_ID": ["@alice-value", "0", "-1001", "1001,1002", "1.5", "9" * 17],
    "ALLOWED_USER_IDS": ["@bob-value", "1001;1002", "-5", "1001,bob"],
    "ALLOWED_CHAT_IDS": ["@friends-value", "-1001;-1002", "5", "-1001,friends"],
    "TURNS_PER_HOUR": ["many-value", "0", "-5", "100000"],
    "DATABASE_URL": ["wrong-value", "mysql://u:value@h/d", "postgresql://wrong-value", "postgresql://u:value@h/"],
    "REDIS_URL": ["wrong-value", "http://wrong-value", "redis:///0-value"],
    "ANTHROPIC_API_KEY": ["short", "with a blank in it", "ключ-ключ-ключ"],
    "CLAUDE_CODE_OAUTH_TOKEN": ["wrong-value", "sk-ant-" + "api03-" + "value" * 5],
    "SLACK_TOKEN": ["wrong-value", "xapp-" + "1-value-value", "xoxe." + "xoxb-1-value-value"],
    "CLICKUP_TOKEN": ["wrong-value", "pk_value_" + "A" * 32],
    "GOOGLE_CLIENT_ID": ["wrong-value", "value@gmail.com"],
    "GOOGLE_CLIENT_SECRET": ["short-value", "with a blank in the value"],
    "TELEGRAM_API_URL": ["wrong-value", "ftp://wrong-value"],
    "ANTHROPIC_BASE_URL": ["wrong-value", "ftp://wrong-value"],
    "CLAUDE_MODEL": ["Wrong Value", "wrong_value"],
    "HISTORY_TOKENS": ["999", "0", "-5000", "12345678", "lots-of-value", "6e4"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_line_is_named_without_its_value(name, value):
    alone = {"ANTHROPIC_API_KEY": ""} if name == "CLAUDE_CODE_OAUTH_TOKEN" else {}
    text = problems(**alone | {name: value})
    assert f"{name} does not look right" in text
    assert text.count("does not look right") == 1
    if len(value) > 4:
        assert value not in text
    assert "value" not in text


def test_everything_wrong_is_named_at_once_without_any_value():
    text = problems(**{name: values[0] for name, values in WRONG.items()})
    assert [name for name in WRONG if f"{name} does not look right" in text] == list(WRONG)
    assert not [values[0] for values in WRONG.values() if values[0] in text]


def test_missing_and_wrong_lines_are_named_together():
    text = problems(REDIS_URL="", OWNER_ID="alice")
    assert "REDIS_URL is missing" in text
    assert "OWNER_ID does not look right" in text
    assert ".env" in text


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://steward_app:se#cret-value@db:5432/steward",
        "postgresql://steward_app:se?cret-value@db:5432/steward",
        "postgresql://steward_app:[cret-value@db:5432/steward",
        "postgresql://steward_app:cret-value@db:0/steward",
        "postgresql://steward_app:cret-value@db:99999/steward",
        "postgresql://steward_app:cret-value@db:port/steward",
        "postgresql://12#cret-value@db:5432/steward",
        "postgresql://steward_app:12#cret-value@db:5432/steward",
    ],
)
def test_a_password_that_breaks_the_url_is_found_at_start_and_not_shown(url):
    text = problems(DATABASE_URL=url)
    assert "DATABASE_URL does not look right" in text
    assert "cret-value" not in text


@pytest.mark.parametrize(
    "password", ["p%40ss%2Fw%23rd%3F", "a:b:c-secret", "p@ss-word", "%D0%BF%D0%B0%D1%80%D0%BE%D0%BB"]
)
def test_a_password_with_special_characters_is_hidden_as_written_and_as_meant(password):
    url = f"postgresql://u:{password}@db/steward"
    hidden = load(GOOD | {"DATABASE_URL": url}).secrets
    assert {url, password, unquote(password)} <= set(hidden)


def test_a_database_address_may_ask_for_encryption():
    url = GOOD["DATABASE_URL"] + "?sslmode=require"
    assert load(GOOD | {"DATABASE_URL": url}).database_url.reveal() == url


def test_a_database_on_an_ipv6_address_is_understood():
    assert load(GOOD | {"DATABASE_URL": "postgresql://u:p@[::1]:5432/steward"})


def test_every_secret_is_on_the_list_of_what_logs_must_hide():
    secrets = load(GOOD).secrets
    for value in (TOKEN, GOOD["ANTHROPIC_API_KEY"], GOOD["DATABASE_URL"], GOOD["REDIS_URL"], PASSWORD):
        assert value in secrets


def test_nothing_empty_is_on_the_list_of_what_logs_must_hide():
    bare = GOOD | {"ANTHROPIC_API_KEY": "", "DATABASE_URL": "postgresql://u@db/steward", "REDIS_URL": "redis://r"}
    assert all(load(bare).secrets)


def test_every_kind_of_secret_is_on_that_list():
    named = CLAUDE["ANTHROPIC_OAUTH"] | {
        "OLD_MASTER_KEY": "f" * 64,
        "SLACK_TOKEN": "xoxb-" + "1" * 20,
        "CLICKUP_TOKEN": "pk_1_" + "A" * 32,
        "GOOGLE_CLIENT_SECRET": "s" * 24,
    }
    secrets = load(NO_CLAUDE | named).secrets
    assert KEY in secrets
    assert [name for name, value in named.items() if value not in secrets] == [
        "ANTHROPIC_OAUTH_CLIENT_ID",
        "ANTHROPIC_OAUTH_TOKEN_URL",
    ]


def test_a_slash_at_the_end_of_an_address_is_taken_off():
    settings = load(GOOD | {"TELEGRAM_API_URL": "http://localhost:1/", "ANTHROPIC_BASE_URL": "http://localhost:2//"})
    assert (settings.telegram_api_url, settings.anthropic_base_url) == ("http://localhost:1", "http://localhost:2")


def test_whitespace_around_a_value_is_taken_off():
    assert load({name: f"  {value}\t" for name, value in GOOD.items()}) == load(GOOD)


@pytest.mark.parametrize("show", [repr, str, "{}".format, lambda s: f"{vars(s)}"])
def test_printing_the_settings_shows_no_secret(show):
    shown = show(load(GOOD))
    assert "1001" in shown
    for secret in load(GOOD).secrets:
        assert secret not in shown


def test_settings_cannot_be_changed_afterwards():
    settings = load(GOOD)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.owner_id = 1003  # type: ignore[misc]


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{:>20}".format, "%s".__mod__, lambda s: repr([s, {"a": s}])])
def test_a_secret_prints_as_stars(show):
    assert "***" in show(Secret(PASSWORD))
    assert PASSWORD not in show(Secret(PASSWORD))


def test_json_never_holds_a_secret():
    with pytest.raises(TypeError) as caught:
        json.dumps({"token": Secret(PASSWORD)})
    assert PASSWORD not in str(caught.value)
    assert json.dumps({"token": Secret(PASSWORD)}, default=str) == '{"token": "***"}'


def test_a_secret_gives_out_its_value_only_when_asked():
    assert Secret(PASSWORD).reveal() == PASSWORD


def test_secrets_are_equal_when_their_values_are():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


@pytest.mark.parametrize("copying", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_is_not_copied_out_of_the_process(copying):
    with pytest.raises(TypeError, match="not pickled"):
        copying(Secret(PASSWORD))


def test_settings_come_from_the_file(env_file):
    assert load() == load(GOOD)


def test_the_environment_wins_over_the_file(env_file, monkeypatch):
    monkeypatch.setenv("OWNER_ID", "1002")
    assert load().owner_id == 1002
    assert load().entries[0].token.reveal() == TOKEN


def test_the_environment_alone_is_enough(env_file, monkeypatch):
    monkeypatch.setenv("STEWARD_ENV_FILE", os.devnull)
    with pytest.raises(ConfigError):
        load()
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    assert load() == load(GOOD)


def test_without_another_name_the_file_is_env_beside_the_scripts(env_file, monkeypatch):
    monkeypatch.setattr(config, "ENV_FILE", env_file)
    monkeypatch.setenv("STEWARD_ENV_FILE", "")
    assert load() == load(GOOD)
    monkeypatch.undo()
    assert config.ENV_FILE.name == ".env"
    assert (config.ENV_FILE.parent / "bot.py").is_file()


def test_the_file_is_read_with_quotes_comments_and_dollar_signs(env_file):
    env_file.write_text(
        "# a comment\n"
        f"MASTER_KEY={KEY}\n"
        f"TELEGRAM_BOT_TOKEN='{TOKEN}'  # the bot\n"
        'OWNER_ID="1001"\n'
        "export ALLOWED_USER_IDS=1001,1002\n"
        "DATABASE_URL=postgresql://u:pa$OWNER_ID${HOME}@db/steward\n"
        f"REDIS_URL={GOOD['REDIS_URL']}\r\n"
        "NO_VALUE\n"
    )
    settings = load()
    assert settings.entries[0].token.reveal() == TOKEN
    assert settings.owner_id == 1001
    assert settings.allowed_user_ids == {1001, 1002}
    assert settings.database_url.reveal() == "postgresql://u:pa$OWNER_ID${HOME}@db/steward"
    assert settings.redis_url.reveal() == GOOD["REDIS_URL"]


def test_reading_the_settings_changes_no_environment(env_file):
    before = dict(os.environ)
    load()
    assert dict(os.environ) == before


def test_every_setting_is_told_from_outside():
    assert {field.name for field in dataclasses.fields(Settings)} == set(vars(load(GOOD)))


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "Europe", "../etc/passwd", "Europe/Berlin!", "/etc/localtime"])
def test_a_time_zone_that_does_not_exist_is_named_once(zone):
    with pytest.raises(ConfigError) as caught:
        load(GOOD | {"TIMEZONE": zone})
    assert str(caught.value).count("TIMEZONE") == 1


def test_times_are_told_in_utc_unless_a_zone_is_named():
    assert str(load(GOOD).timezone) == "UTC"
    assert str(load(GOOD | {"TIMEZONE": "Asia/Kolkata"}).timezone) == "Asia/Kolkata"
