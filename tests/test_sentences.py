"""What Steward says: a sentence for everything that can happen, ready to be sent as it is."""

from __future__ import annotations

import ast
import re
import string
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from lib import console
from lib.commands import COMMANDS
from lib.english import NOT_AGAIN, English, Seen
from lib.text import LONGEST, units

ROOT = Path(__file__).parent.parent
DOORS = [*sorted((ROOT / "lib").glob("claude*.py")), ROOT / "lib/attachments.py", ROOT / "worker.py"]
english = English()
PLACES = {**vars(console), **vars(English)}
SAID = {name: text for name, text in PLACES.items() if name.isupper() and isinstance(text, str)}


def kinds_raised() -> set[str]:
    """Every kind of failure that a door to Claude, or the worker behind it, can name, as their code shows them."""
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
    assert kinds_raised() == set(english.FAILURES)


NOW = datetime(2026, 11, 22, 13, 55, tzinfo=ZoneInfo("Europe/Berlin"))


@pytest.mark.parametrize("until", [None, NOW])
@pytest.mark.parametrize("kind", english.FAILURES)
def test_a_failure_is_told_in_one_message_without_a_brace(kind, until):
    text = english.failure(kind, until)
    assert text.strip() == text
    assert 20 < units(text) <= 400
    assert not set("{}") & set(text)
    assert text.endswith(".")
    assert kind not in text or "_" not in kind


@pytest.mark.parametrize("kind", english.FAILURES)
def test_a_failure_says_how_to_ask_again_unless_asking_again_is_no_use(kind):
    assert ("/retry" in english.failure(kind, None)) == (kind not in NOT_AGAIN)


@pytest.mark.parametrize("kind", ["limit", "overloaded"])
def test_a_failure_says_when_it_will_be_over_if_that_is_known(kind):
    assert "again at 14:00." in english.failure(kind, NOW + timedelta(seconds=290), NOW)
    assert "again at 13:55." in english.failure(kind, NOW - timedelta(days=1), NOW)
    assert "again on 23 November at 00:00." in english.failure(kind, NOW.replace(hour=23, minute=59, second=1), NOW)
    assert "again at 12:55 UTC." in english.failure(kind, NOW.astimezone(UTC), NOW)
    assert "again" not in english.failure(kind).removesuffix(english.KEPT)


@pytest.mark.parametrize("name", SAID)
def test_a_sentence_is_there_and_fits_into_one_message(name):
    assert SAID[name].strip()
    assert units(SAID[name]) < 1200


@pytest.mark.parametrize("name", [name for name in SAID if name not in ("KEPT", "REPEAT_MARK", "OFTEN")])
def test_a_sentence_begins_and_ends_without_a_blank(name):
    assert SAID[name] == SAID[name].strip()


def gaps_filled() -> dict[str, set[str]]:
    """The gaps of each sentence that the code fills, wherever it says `.format(...)`."""
    found: dict[str, set[str]] = {}
    for path in [*ROOT.glob("*.py"), *(ROOT / "lib").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
                names = [getattr(part, "attr", getattr(part, "id", "")) for part in ast.walk(node.func.value)]
                for name in filter(str.isupper, names):
                    found.setdefault(name, set()).update(keyword.arg or "" for keyword in node.keywords)
    return found


FILLED = gaps_filled()


@pytest.mark.parametrize("name", SAID)
def test_a_sentence_has_only_the_gaps_that_are_filled(name):
    assert fields(SAID[name]) <= FILLED.get(name, set())


def test_the_mark_of_a_repeat_and_the_longest_part_fit_into_one_message():
    assert units(english.REPEAT_MARK) + LONGEST <= 4096


def test_no_sentence_names_a_command_that_there_is_not():
    named = {
        command
        for text in [*SAID.values(), *english.FAILURES.values()]
        for command in re.findall(r"(?:^|\s)/(\w+)", text)
    }
    assert named <= set(COMMANDS)


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
    text = english.stranger(1003)
    assert re.findall(r"\d+", text) == ["1003"]
    assert "Steward" not in text


def test_the_status_has_a_line_for_each_part_with_its_state_and_since_when():
    zone, now = ZoneInfo("Europe/Berlin"), datetime(2026, 11, 22, 14, 0, tzinfo=UTC)
    seen = [
        Seen("Bot", "works", datetime(2026, 11, 22, 13, 5, tzinfo=UTC)),
        Seen("Redis", english.redis_is(False), datetime(2026, 11, 21, 13, 5, tzinfo=UTC)),
        Seen("Workers", english.workers_are(2)),
    ]
    assert english.status(seen, zone, now).splitlines() == [
        "Bot: works, since 14:05",
        "Redis: does not answer (messages only take a little longer), since 21 November 14:05",
        "Workers: 2",
    ]


def test_without_workers_the_status_says_what_becomes_of_messages():
    assert "none is running; messages are kept" in english.workers_are(0)


def test_messages_that_wait_are_counted_and_the_oldest_is_timed():
    assert english.queue(3, 300.0) == "Waiting messages: 3, the oldest for 5 min"
    assert "oldest" not in english.queue(0, 300.0)


def test_the_last_backup_and_the_versions_are_told():
    assert english.backup(None) == "Last backup: none known"
    assert english.backup(7300.0) == "Last backup: 2 h ago"
    assert (
        english.versions({"Steward": "0.1", "Qdrant": "", "Redis": "8.10.2"}) == "Versions: Steward 0.1, Redis 8.10.2"
    )


@pytest.mark.parametrize("kind", english.FAILURES)
def test_the_last_failure_of_claude_is_told_in_words(kind):
    ago = datetime.now(UTC) - timedelta(hours=2)
    last = english.claude_state(ago, kind, ago.replace(2026, 3, 1, 9, 30, 0), ago)
    assert last == f"no answers since 1 March 09:30 UTC. {english.FAILURES[kind].replace('{until}', '')}"


def test_a_limit_that_will_end_is_told_with_its_end():
    now = datetime.now(UTC)
    assert "; it should work again " in english.claude_state(now, "limit", now, now + timedelta(hours=1))


def test_a_failure_of_no_known_kind_is_told_without_a_reason():
    ago = datetime(2026, 3, 1, tzinfo=UTC)
    assert english.claude_state(ago, "a kind of an older version", ago, None).endswith("1 March 00:00 UTC.")


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
    assert english.claude_state(at, None, at, None) == f"answered {told} ago"


@pytest.mark.parametrize("service", english.NAMES)
@pytest.mark.parametrize("code", [*english.CREDENTIALS, "some_other_code"])
def test_every_trouble_of_a_credential_is_one_sentence_or_two_that_name_the_service(service, code):
    text = english.credential(service, code)
    assert english.NAMES[service] in text
    assert text.endswith((".", ")"))
    assert not set("{}") & set(text)
    assert units(text) <= 400


def test_every_service_has_its_name_and_its_way_in():
    assert english.NAMES.keys() == english.ENTER.keys()


@pytest.mark.parametrize("code", [*console.GOOGLE, "some_other_code"])
def test_whatever_google_refuses_is_a_sentence_for_people(code):
    text = console.google(code)
    assert text.endswith(".")
    assert not set("{}") & set(text)


def test_an_end_that_is_known_in_advance_is_told_with_what_to_do():
    day = 86400.0
    assert english.ends_soon("claude", 13.99 * day).startswith("Your sign-in to Claude ends in 14 days.")
    assert "ends in 7 days." in english.ends_soon("google", 6.96 * day)
    assert "ends in a day." in english.ends_soon("google", 0.9 * day)
    assert "ends in a few hours." in english.ends_soon("google", 0.2 * day)
    assert "setup_google.py" in english.ends_soon("google", 3 * day)


def test_how_a_credential_stands_is_one_line():
    assert english.standing("slack", "steward in Acme", None, None, 7200.0, None) == (
        "Slack (steward in Acme): worked 2 h ago"
    )
    assert english.standing("slack", "", None, None, None, None) == "Slack: not checked yet"
    assert english.standing("claude", "", None, None, 5.0, 86400.0 * 20) == (
        "Claude: sealed; whether it works is seen when it is used; ends in 20 days"
    )
    assert "revoked" in english.standing("slack", "", "token_revoked", None, 5.0, None)
    away = english.standing("google", "a@example.com", None, "no_connection", 7200.0, None)
    assert away.startswith("Google (a@example.com): worked 2 h ago; Google cannot be asked")
