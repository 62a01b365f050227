"""What Steward says: a sentence for everything that can happen, ready to be sent as it is."""

from __future__ import annotations

import ast
import re
import string
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from lib import sentences
from lib.sentences import Seen
from lib.text import LONGEST, units

ROOT = Path(__file__).parent.parent
DOORS = sorted((ROOT / "lib").glob("claude*.py"))
SAID = {name: text for name, text in vars(sentences).items() if name.isupper() and isinstance(text, str)}


def kinds_raised() -> set[str]:
    """Every kind of failure that a door to Claude can name, as its code shows them."""
    found: set[str] = set()
    for node in [node for path in DOORS for node in ast.walk(ast.parse(path.read_text()))]:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Unavailable":
            found |= texts(node.args[0])
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name, value = node.targets[0].id, node.value
            if name.endswith("_KINDS") and isinstance(value, ast.Dict):
                found |= {text for item in value.values for text in texts(item)}
            elif name == "kind" and isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
                found |= texts(value.args[1]) if len(value.args) > 1 else set()
                if isinstance(value.func.value, ast.Dict):  # or one of the tables with _KINDS
                    found |= {text for item in value.func.value.values for text in texts(item)}
            elif name == "kind":
                found |= {text for text in texts(value) if re.fullmatch("[a-z_]+", text)}
    return found


def texts(node: ast.AST) -> set[str]:
    return {part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)}


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_every_kind_of_failure_has_its_sentence_and_no_sentence_is_left_over():
    assert kinds_raised() == set(sentences.FAILURES)


NOW = datetime(2026, 11, 22, 13, 55, tzinfo=ZoneInfo("Europe/Berlin"))


@pytest.mark.parametrize("until", [None, NOW])
@pytest.mark.parametrize("kind", sentences.FAILURES)
def test_a_failure_is_told_in_one_message_without_a_brace(kind, until):
    text = sentences.failure(kind, until)
    assert text.strip() == text
    assert 20 < units(text) <= 400
    assert not set("{}") & set(text)
    assert text.endswith(".")
    assert kind not in text or "_" not in kind


@pytest.mark.parametrize("kind", sentences.FAILURES)
def test_a_failure_says_how_to_ask_again_unless_asking_again_is_no_use(kind):
    assert ("/retry" in sentences.failure(kind, None)) == (kind not in ("refused", "too_long"))


@pytest.mark.parametrize("kind", ["limit", "overloaded"])
def test_a_failure_says_when_it_will_be_over_if_that_is_known(kind):
    assert "again at 14:00." in sentences.failure(kind, NOW + timedelta(seconds=290), NOW)
    assert "again at 13:55." in sentences.failure(kind, NOW - timedelta(days=1), NOW)
    assert "again on 23 November at 00:00." in sentences.failure(kind, NOW.replace(hour=23, minute=59, second=1), NOW)
    assert "again at 12:55 UTC." in sentences.failure(kind, NOW.astimezone(UTC), NOW)
    assert "again" not in sentences.failure(kind).removesuffix(sentences.KEPT)


@pytest.mark.parametrize("name", SAID)
def test_a_sentence_is_there_and_fits_into_one_message(name):
    assert SAID[name].strip()
    assert units(SAID[name]) < 1200


@pytest.mark.parametrize("name", [name for name in SAID if name not in ("KEPT", "REPEAT_MARK")])
def test_a_sentence_begins_and_ends_without_a_blank(name):
    assert SAID[name] == SAID[name].strip()


# The gaps that the scripts fill.
GAPS = {
    "OWNER_SET_ASIDE": {"correlation_id"},
    "OWNER_PARKED": {"update_id", "correlation_id"},
    "OWNER_REFUSED": {"text"},
    "NO_DATABASE": {"why"},
    "LOGS": {"service"},
    "STILL_IN_ENV": {"name", "lines"},
    "NOT_SEALED": {"name"},
    "REMOVED": {"name"},
    "REENCRYPT_RUNNING": {"scripts"},
    "REENCRYPT_DAMAGED": {"name", "service"},
    "REENCRYPT_TRIED": {"names"},
    "REENCRYPTED": {"names"},
    "GOOGLE_PORT": {"port", "why"},
    "GOOGLE_INVITATION": {"url", "port", "minutes"},
    "GOOGLE_TOO_LATE": {"minutes"},
    "GOOGLE_KEPT": {"account", "granted"},
    "GOOGLE_KEPT_UNSEEN": {"granted", "why"},
    "GOOGLE_UNTICKED": {"unticked"},
    "GOOGLE_ENDS_TESTING": {"days"},
    "GOOGLE_ENDS": {"days"},
    "AUDIT_HEAD": {"zone"},
    "AUDIT_STORY": {"correlation_id", "zone"},
    "AUDIT_MORE": {"count"},
}


@pytest.mark.parametrize("name", SAID)
def test_a_sentence_has_only_the_gaps_that_are_filled(name):
    assert fields(SAID[name]) == GAPS.get(name, set())
    filled = SAID[name].format(**{gap: "{some text}" for gap in GAPS.get(name, [])})
    assert "{" not in filled.replace("{some text}", "")


def test_the_mark_of_a_repeat_and_the_longest_part_fit_into_one_message():
    assert units(sentences.REPEAT_MARK) + LONGEST <= 4096


def test_the_help_names_every_command_that_the_bot_obeys():
    obeyed = set()
    for node in ast.walk(ast.parse((ROOT / "bot.py").read_text())):
        if isinstance(node, ast.FunctionDef) and node.name == "run_command":
            obeyed = {text for case in ast.walk(node) if isinstance(case, ast.MatchValue) for text in texts(case)}
    assert obeyed >= {"start", "help", "new", "retry", "status"}
    named = set(re.findall(r"^/(\w+) - ", f"{sentences.HELP}\n{sentences.OWNER_HELP}", re.MULTILINE))
    assert named == obeyed - {"start"}
    assert "audit" not in sentences.HELP


def test_no_sentence_names_a_command_that_there_is_not():
    named = {
        command
        for text in [*SAID.values(), *sentences.FAILURES.values()]
        for command in re.findall(r"(?:^|\s)/(\w+)", text)
    }
    assert named == {"new", "retry", "status", "help", "audit"}


@pytest.mark.parametrize("name", SAID)
def test_every_sentence_is_said_somewhere(name):
    said = "".join(path.read_text() for path in [*ROOT.glob("*.py"), *(ROOT / "lib").glob("*.py")])
    assert len(re.findall(rf"\b{name}\b", said)) > 1


def test_no_sentence_is_said_beside_this_file():
    """What goes to a person has a blank in it; the scripts hand such texts only to the log."""
    for script in ("bot", "worker", "lib/delivery"):
        for node in ast.walk(ast.parse((ROOT / f"{script}.py").read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            if owner in ("outbox", "alerts"):
                spoken = [text for argument in node.args for text in texts(argument) if " " in text]
                assert not spoken, f"{script}:{node.lineno}"


def test_a_stranger_is_told_only_the_own_id():
    text = sentences.stranger(1003)
    assert re.findall(r"\d+", text) == ["1003"]
    assert "Steward" not in text


def test_the_status_has_a_line_for_each_part_with_its_state_and_since_when():
    zone, now = ZoneInfo("Europe/Berlin"), datetime(2026, 11, 22, 14, 0, tzinfo=UTC)
    seen = [
        Seen("Bot", "works", datetime(2026, 11, 22, 13, 5, tzinfo=UTC)),
        Seen("Redis", sentences.redis_is(False), datetime(2026, 11, 21, 13, 5, tzinfo=UTC)),
        Seen("Workers", sentences.workers_are(2)),
    ]
    assert sentences.status(seen, zone, now).splitlines() == [
        "Bot: works, since 14:05",
        "Redis: does not answer (messages only take a little longer), since 21 November 14:05",
        "Workers: 2",
    ]


def test_without_workers_the_status_says_what_becomes_of_messages():
    assert "none is running; messages are kept" in sentences.workers_are(0)


def test_messages_that_wait_are_counted_and_the_oldest_is_timed():
    assert sentences.queue(3, 300.0) == "Waiting messages: 3, the oldest for 5 min"
    assert "oldest" not in sentences.queue(0, 300.0)


def test_the_last_backup_and_the_versions_are_told():
    assert sentences.backup(None) == "Last backup: none known"
    assert sentences.backup(7300.0) == "Last backup: 2 h ago"
    assert (
        sentences.versions({"Steward": "0.1", "Qdrant": "", "Redis": "8.10.2"}) == "Versions: Steward 0.1, Redis 8.10.2"
    )


@pytest.mark.parametrize("kind", sentences.FAILURES)
def test_the_last_failure_of_claude_is_told_in_words(kind):
    ago = datetime.now(UTC) - timedelta(hours=2)
    last = sentences.claude_state(ago, kind, ago.replace(2026, 3, 1, 9, 30, 0), ago)
    assert last == f"no answers since 1 March at 09:30 UTC. {sentences.FAILURES[kind].replace('{until}', '')}"


def test_a_limit_that_will_end_is_told_with_its_end():
    now = datetime.now(UTC)
    assert "; it should work again " in sentences.claude_state(now, "limit", now, now + timedelta(hours=1))


def test_a_failure_of_no_known_kind_is_told_without_a_reason():
    ago = datetime(2026, 3, 1, tzinfo=UTC)
    assert sentences.claude_state(ago, "a kind of an older version", ago, None).endswith("1 March at 00:00 UTC.")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        *[
            (-0.5, "0 s"),
            (0.0, "0 s"),
            (0.4, "0 s"),
            (59.0, "59 s"),
            (60.0, "1 min"),
            (150.1, "2 min"),
            (3599.0, "59 min"),
        ],
        *[(3600.0, "1 h"), (86400.0, "1 d"), (86400.0 * 400, "400 d")],
    ],
)
def test_an_age_is_told_in_one_unit(seconds, told):
    at = datetime.now(UTC) - timedelta(seconds=seconds + 0.01)
    assert sentences.claude_state(at, None, at, None) == f"answered {told} ago"


@pytest.mark.parametrize("service", sentences.NAMES)
@pytest.mark.parametrize("code", [*sentences.CREDENTIALS, "some_other_code"])
def test_every_trouble_of_a_credential_is_one_sentence_or_two_that_name_the_service(service, code):
    text = sentences.credential(service, code)
    assert sentences.NAMES[service] in text
    assert text.endswith((".", ")"))
    assert not set("{}") & set(text)
    assert units(text) <= 400


def test_every_service_has_its_name_and_its_way_in():
    assert sentences.NAMES.keys() == sentences.ENTER.keys()


@pytest.mark.parametrize("code", [*sentences.GOOGLE, "some_other_code"])
def test_whatever_google_refuses_is_a_sentence_for_people(code):
    text = sentences.google(code)
    assert text.endswith(".")
    assert not set("{}") & set(text)


def test_an_end_that_is_known_in_advance_is_told_with_what_to_do():
    day = 86400.0
    assert sentences.ends_soon("claude", 13.99 * day).startswith("Your sign-in to Claude ends in 14 days.")
    assert "ends in 7 days." in sentences.ends_soon("google", 6.96 * day)
    assert "ends in a day." in sentences.ends_soon("google", 0.9 * day)
    assert "ends in a few hours." in sentences.ends_soon("google", 0.2 * day)
    assert "setup_google.py" in sentences.ends_soon("google", 3 * day)


def test_how_a_credential_stands_is_one_line():
    assert sentences.standing("slack", "steward in Acme", None, None, 7200.0, None) == (
        "Slack (steward in Acme): worked 2 h ago"
    )
    assert sentences.standing("slack", "", None, None, None, None) == "Slack: not checked yet"
    assert sentences.standing("claude", "", None, None, 5.0, 86400.0 * 20) == (
        "Claude: sealed; whether it works is seen when it is used; ends in 20 days"
    )
    assert "revoked" in sentences.standing("slack", "", "token_revoked", None, 5.0, None)
    away = sentences.standing("google", "a@example.com", None, "no_connection", 7200.0, None)
    assert away.startswith("Google (a@example.com): worked 2 h ago; Google cannot be asked")
