"""The log of a real process: whatever happens in it, every line is one JSON object, and no secret is in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from lib import log

ROOT = Path(__file__).parent.parent
JQ = shutil.which("jq")
ENVIRONMENT = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}

TOKEN = f"{123456}:{'A' * 35}"
KEY = "sk-ant-" + "k" * 24
PASSWORD = "hunter" + "2hunter2"
WEIRD = 'pä"ss\\w/ö:r d' + "'&%"

BEGIN = f"""
import json, logging, os, sys, threading, warnings
from lib import log

TOKEN, KEY, PASSWORD, WEIRD = {TOKEN!r}, {KEY!r}, {PASSWORD!r}, {WEIRD!a}
SECRETS = [TOKEN, KEY, PASSWORD, WEIRD]
library = logging.getLogger("some.library")

class Failing(Exception):
    def __str__(self):
        raise ValueError("not even this works")

class RowError(Exception):  # as psycopg2's errors are: the text quotes the row
    pgcode = "23514"
    def __str__(self):
        return 'new row violates check\\nDETAIL:  Failing row contains (1, dear diary).'

"""
SETUP = "log.setup('bot', SECRETS)\n"


def refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def strictly(output: bytes) -> list[dict[str, Any]]:
    """The lines, after everything that must hold for every line has been checked."""
    text = output.decode("utf-8")
    assert text == "" or text.endswith("\n")
    lines = [json.loads(line, parse_constant=refuse) for line in text.split("\n")[:-1]]
    for line in lines:
        assert isinstance(line, dict)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["ts"])
        assert line["level"] in ("INFO", "WARNING", "ERROR", "CRITICAL")
        assert re.fullmatch(r"[a-z_]+", line["event"])
        assert isinstance(line["message"], str)
    if JQ is not None:
        done = subprocess.run([JQ, "-c", "."], input=output, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(b"\n") == len(lines)
    return lines


def outcome(body: str, setup: str = SETUP, **environment: str) -> tuple[list[dict[str, Any]], int]:
    """The lines on stdout and stderr together, and the exit code."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + setup + body],
        env=ENVIRONMENT | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=30,
    )
    return strictly(done.stdout), done.returncode


def lines_of(body: str, setup: str = SETUP, **environment: str) -> list[dict[str, Any]]:
    lines, code = outcome(body, setup, **environment)
    assert code == 0, lines
    return lines


def line_of(body: str, setup: str = SETUP, **environment: str) -> dict[str, Any]:
    (line,) = lines_of(body, setup, **environment)
    return line


# The shape of a line.


def test_a_line_says_when_how_bad_who_and_what():
    line = line_of("log.info('started', 'The bot is ready.', bot_id=7)")
    del line["ts"]
    assert line == {
        "level": "INFO",
        "service": "bot",
        "event": "started",
        "message": "The bot is ready.",
        "bot_id": 7,
    }


def test_cyrillic_and_emoji_stay_readable_in_the_raw_line():
    code = BEGIN + SETUP + "log.info('said', 'Привет 👋', note='добрый день')"
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, timeout=30)
    assert "Привет 👋" in done.stdout.decode()
    assert "добрый день" in done.stdout.decode()


def test_the_locale_of_the_machine_does_not_matter():
    line = line_of(f"log.info('said', {'Привет 👋'!a})", LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert line["message"] == "Привет 👋"


@pytest.mark.parametrize(
    "text",
    [
        "a\nb",
        "a\r\nb",
        "\x1b[31mred\x1b[0m",
        "a\u2028b\u2029c",
        "a\x85b\x0bc\x0cd",
        "\x00\x01\x7f",
        '"\\"',
        "\ufeff",
        "",
    ],
)
def test_no_character_breaks_a_line_in_two(text):
    line = line_of(f"text = {text!r}\nlog.info('said', text, note=text)\n")
    assert line["message"] == line["note"] == text


@pytest.mark.parametrize("text", ["\ud83d", "a\ud83db", "\ud83d\ud83d"])
def test_half_an_emoji_becomes_a_question_mark(text):
    line = line_of(f"text = {text!r}\nlog.info('said', text, note=text)\nlog.setup('bot')")
    assert line["message"] == line["note"] == re.sub("[\ud800-\udfff]", "?", text)


def test_a_message_of_a_megabyte_is_one_line():
    assert line_of("log.info('said', 'x' * 1_000_000)")["message"] == "x" * 1_000_000


def test_percent_signs_in_our_own_messages_mean_nothing():
    assert line_of("log.info('said', '100 %s %d %(x)s {} %')")["message"] == "100 %s %d %(x)s {} %"


# Fields.


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("None", None),
        ("True", True),
        ("2 ** 80", 2**80),
        ("1.5", 1.5),
        ("[1, 'a', None]", [1, "a", None]),
        ("(1, 2)", [1, 2]),
        ("{'a': {'b': 1}}", {"a": {"b": 1}}),
        ("{1}", "{1}"),
        ("b'raw'", "b'raw'"),
        ("ValueError('no')", "no"),
        ("__import__('uuid').UUID(int=1)", "00000000-0000-0000-0000-000000000001"),
        ("__import__('datetime').datetime(2026, 11, 22)", "2026-11-22 00:00:00"),
        ("__import__('pathlib').PurePosixPath('a/b')", "a/b"),
        ("__import__('lib.secret').secret.Secret(PASSWORD)", "***"),
    ],
)
def test_a_field_of_any_kind_is_shown(expression, shown):
    assert line_of(f"log.info('counted', 'Counted.', value={expression})")["value"] == shown


def test_an_object_that_json_does_not_know_is_shown_as_text():
    line = line_of("class Thing:\n    pass\nlog.info('counted', 'Counted.', value=Thing(), more=[Thing()])")
    assert "Thing object at" in line["value"]
    assert "Thing object at" in line["more"][0]


@pytest.mark.parametrize("value", ["float('nan')", "float('inf')", "-float('inf')", "[1, {'a': float('nan')}]"])
def test_a_number_that_json_does_not_know_does_not_spoil_the_line(value):
    assert line_of(f"log.info('counted', 'Counted.', value={value})")["event"] == "counted"


@pytest.mark.parametrize("name", ["ts", "level", "service"])
def test_a_field_does_not_replace_what_every_line_has(name):
    plain = line_of("log.info('counted', 'Counted.')")
    line = line_of(f"log.info('counted', 'Counted.', {name}='mine')")
    assert line[name] != "mine"
    assert line["message"] == plain["message"]


@pytest.mark.parametrize("name", ["ts", "level", "service", "message"])
def test_an_id_of_the_surroundings_does_not_replace_what_every_line_has(name):
    line = line_of(f"with log.about({name}='mine'):\n    log.info('counted', 'Counted.')")
    assert line[name] != "mine"


HARD = {
    "keys that are no texts": "{(1, 2): 3}",
    "a thing whose text cannot be made": "Failing()",
    "a list that contains itself": "(lambda a: a.append(a) or a)([])",
}


@pytest.mark.parametrize("value", HARD.values(), ids=HARD.keys())
def test_a_field_that_cannot_be_written_at_all_still_gives_a_line(value):
    line = line_of(f"log.error('counted', 'Counted.', value={value})")
    assert line["level"] == "ERROR"


@pytest.mark.parametrize("value", HARD.values(), ids=HARD.keys())
def test_a_field_that_cannot_be_written_does_not_take_the_name_of_the_event_with_it(value):
    line = line_of(f"log.error('counted', 'Counted.', value={value})")
    assert "counted" in json.dumps(line)


# Errors.


def test_an_uncaught_error_is_one_line_and_the_exit_code_stays_1():
    (line,), code = outcome("def fall():\n    raise ValueError('over the edge')\nfall()")
    assert code == 1
    assert (line["event"], line["level"]) == ("crashed", "ERROR")
    assert (line["error_type"], line["error_message"]) == ("ValueError", "over the edge")
    assert "in fall" in line["error_stack"]


def test_an_exit_code_is_no_error():
    assert outcome("sys.exit(2)") == ([], 2)


def test_the_end_of_a_thread_by_an_error_is_one_line():
    line = line_of("def fall():\n    raise ValueError('over')\nt = threading.Thread(target=fall)\nt.start()\nt.join()")
    assert (line["event"], line["error_message"]) == ("thread_crashed", "over")


def test_an_error_that_python_can_only_ignore_is_one_line():
    line = line_of("class Thing:\n    def __del__(self):\n        raise ValueError('late')\nThing()\n")
    assert (line["event"], line["error_message"]) == ("error_ignored", "late")


def test_an_error_without_a_traceback_is_one_line():
    line = line_of("log.error('failed', 'It failed.', ValueError('bare'))")
    assert line["error_stack"] == "ValueError: bare\n"


CHAIN = """
def first():
    raise KeyError("the" + " first")
def second():
    try:
        first()
    except KeyError as exc:
        raise ValueError("the" + " second") {cause}
try:
    second()
except ValueError as exc:
    log.error("failed", "It failed.", exc, private={private})
"""


@pytest.mark.parametrize("cause", ["", "from exc"])
def test_what_caused_an_error_stands_before_it(cause):
    stack = line_of(CHAIN.format(cause=cause, private=False))["error_stack"]
    assert 0 < stack.index("in first") < stack.index("KeyError: 'the first'") < stack.index("ValueError: the second")


def test_a_cause_that_was_cut_off_is_not_shown():
    assert "the first" not in line_of(CHAIN.format(cause="from None", private=False))["error_stack"]


@pytest.mark.parametrize("cause", ["", "from exc"])
def test_a_private_error_leaves_out_its_text_and_that_of_its_causes(cause):
    line = line_of(CHAIN.format(cause=cause, private=True))
    assert not re.search("the (first|second)", json.dumps(line))
    assert line["error_type"] == "ValueError"
    assert line["error_message"] == "(left out: it may quote a message)"
    assert "ValueError: (left out" in line["error_stack"]
    assert "KeyError: (left out" in line["error_stack"]
    assert "in first" in line["error_stack"]


@pytest.mark.parametrize("how", ["one.__cause__ = two; two.__cause__ = one", "one.__cause__ = one", "pass"])
def test_errors_that_cause_each_other_come_to_an_end(how):
    line = line_of(f"one, two = ValueError('one'), ValueError('two')\n{how}\nlog.error('failed', 'It failed.', one)")
    assert line["error_stack"].count("ValueError: one") == 1


def test_an_error_from_the_depths_of_a_recursion_is_a_line_of_a_bearable_length():
    line = line_of(
        "def deep():\n    deep()\ntry:\n    deep()\nexcept RecursionError as exc:\n    log.error('a', 'b', exc)"
    )
    assert line["error_type"] == "RecursionError"
    assert len(line["error_stack"]) < 10_000


@pytest.mark.parametrize("raising", ["raise RowError", "raise ValueError('above') from RowError()"])
def test_of_an_error_that_quotes_a_row_only_its_code_is_kept(raising):
    (line,), _ = outcome(raising)
    assert "SQLSTATE 23514" in line["error_stack"]
    assert "dear diary" not in json.dumps(line)


def test_an_error_whose_text_cannot_be_made_is_named_all_the_same():
    (line,), code = outcome("raise Failing")
    assert code == 1
    assert line["level"] == "ERROR"
    assert "Failing" in json.dumps(line)


def test_a_group_of_errors_is_one_line():
    (line,), _ = outcome("raise ExceptionGroup('several', [ValueError('a'), KeyError('b')])")
    assert line["error_type"] == "ExceptionGroup"


# What libraries do.


def test_a_line_of_a_library_names_it():
    line = line_of("library.warning('Retrying in %d s', 3)")
    assert (line["logger"], line["event"], line["message"]) == ("some.library", "library_log", "Retrying in 3 s")


def test_details_of_libraries_stay_out():
    assert (
        lines_of("library.debug('details')\nlogging.debug('details')\nlogging.getLogger('urllib3').info('GET /')") == []
    )


def test_a_wrong_format_string_of_a_library_gives_a_line_and_no_traceback():
    body = "library.error('%d items', 'three')\nlibrary.error('one', 'too many')\nlibrary.error('%(x)s', {'y': 1})"
    lines = lines_of(body)
    assert [line["event"] for line in lines] == ["log_failed"] * 3
    assert {line["logger"] for line in lines} == {"some.library"}


def test_an_error_logged_by_a_library_has_its_stack():
    line = line_of("try:\n    1 / 0\nexcept ZeroDivisionError:\n    library.exception('failed')")
    assert (line["error_type"], line["message"]) == ("ZeroDivisionError", "failed")
    assert "1 / 0" not in line["message"]


def test_an_extra_called_fields_from_a_library_does_not_bring_the_log_down():
    lines = lines_of("library.error('mine', extra={'fields': 5})\nlibrary.error('next')")
    assert len(lines) == 2
    assert lines[1]["message"] == "next"


def test_a_warning_of_python_is_a_line():
    line = line_of("warnings.warn('old ways', DeprecationWarning, stacklevel=1)", PYTHONWARNINGS="always")
    assert (line["level"], line["logger"]) == ("WARNING", "py.warnings")
    assert line["message"].endswith("DeprecationWarning")


def test_what_a_library_set_up_for_itself_before_is_taken_away():
    before = "logging.basicConfig(level=10)\nlibrary.addHandler(logging.StreamHandler())\nlibrary.propagate = False\n"
    line = line_of("library.warning('once')", setup=before + SETUP)
    assert line["message"] == "once"


def test_a_second_setup_doubles_nothing():
    line = line_of("log.info('said', PASSWORD)", setup="log.setup('bot')\n" + SETUP)
    assert line["message"] == log.HIDDEN


def test_a_line_that_several_threads_write_at_once_stays_whole():
    body = (
        "def write(n):\n    for i in range(200):\n        log.info('said', 'x' * 500, n=n, i=i)\n"
        "threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]\n"
        "[t.start() for t in threads], [t.join() for t in threads]"
    )
    lines = lines_of(body)
    assert {(line["n"], line["i"]) for line in lines} == {(n, i) for n in range(8) for i in range(200)}


# Secrets.

PLACES = {
    "message": "log.info('said', f'with {S} inside')",
    "field": "log.info('said', 'x', value=S)",
    "field in a list": "log.info('said', 'x', value=[{'deep': S}])",
    "name of a field": "log.info('said', 'x', **{f'a{S}b': 1})",
    "id of the surroundings": "with log.about(chat_id=S):\n    log.info('said', 'x')",
    "argument": "library.error('with %s', S)",
    "error text": "log.error('said', 'x', ValueError(f'with {S} inside'))",
    "cause": "e = KeyError(1)\ne.__cause__ = ValueError(f'with {S}')\nlog.error('said', 'x', e)",
    "name of a logger": "logging.getLogger(f'a{S}').error('x')",
    "name of an error": "log.error('said', 'x', type(f'E{S}', (Exception,), {})())",
    "object": "log.info('said', 'x', value={S})",
    "bytes in ASCII": "log.info('said', 'x', value=S.encode('ascii', 'ignore'))",
}


def hidden(body: str, value: str) -> None:
    lines, _ = outcome(f"S = {value!r}\n{body}")
    raw = json.dumps(lines, ensure_ascii=False)
    assert log.HIDDEN in raw
    assert value not in raw
    for line in lines:
        for shown in line.values():
            assert value not in str(shown)


@pytest.mark.parametrize("secret", [TOKEN, KEY, PASSWORD], ids=["token", "key", "password"])
@pytest.mark.parametrize("place", PLACES)
def test_a_secret_is_hidden_wherever_it_stands(place, secret):
    hidden(PLACES[place], secret)


@pytest.mark.parametrize("place", ["message", "field", "argument", "error text", "cause", "id of the surroundings"])
def test_a_secret_of_difficult_characters_is_hidden_too(place):
    hidden(PLACES[place], WEIRD)


WRITTEN = {
    "in JSON": json.dumps(WEIRD)[1:-1],
    "in JSON with umlauts": json.dumps(WEIRD, ensure_ascii=False)[1:-1],
    "in a URL": quote(WEIRD, safe=""),
    "in a path": quote(WEIRD),
    "in a form": quote_plus(WEIRD),
    "in a URL in small letters": re.sub("%[0-9A-F]{2}", lambda m: m[0].lower(), quote(WEIRD, safe="")),
    "as Python shows it": repr(WEIRD)[1:-1],
}


@pytest.mark.parametrize("how", WRITTEN)
def test_a_secret_is_hidden_however_it_is_written(how):
    line = line_of(f"log.info('said', {'-' + WRITTEN[how] + '-'!r})")
    assert line["message"] == f"-{log.HIDDEN}-"


@pytest.mark.parametrize(
    "url",
    [
        f"https://api.telegram.org/bot{987654321}:{'B' * 35}/getMe",
        f"https://api.telegram.org/bot{987654321}%3A{'B' * 35}/getMe",
        f"https://api.telegram.org/bot{987654321}%3a{'B' * 35}/getMe",
        f"https://api.telegram.org/file/bot{987654321}:{'B' * 35}/photo.jpg",
    ],
)
def test_a_token_in_an_address_is_hidden_though_nobody_told_its_value(url):
    line = line_of(f"library.error('GET %s', {url!r})", setup="log.setup('bot')\n")
    assert log.HIDDEN in line["message"]
    assert "BBBB" not in line["message"]
    assert line["message"].startswith("GET https://api.telegram.org/")


@pytest.mark.parametrize(
    "token",
    [
        "sk-ant-" + "api03-" + "a" * 40,
        "sk-ant-" + "oat01-" + "a" * 40,
        "xoxb" + "-1234567890-" + "a" * 24,
        "xapp" + "-1-A0-" + "a" * 24,
        "pk_" + "1234567_" + "A" * 32,
        "ya29." + "a" * 60,
        "1//" + "0" + "g" * 40,
        "GOCSPX-" + "a" * 28,
    ],
)
def test_what_looks_like_a_token_is_hidden_though_nobody_told_its_value(token):
    line = line_of(f"log.info('said', '<' + {token!r} + '>')", setup="log.setup('bot')\n")
    assert line["message"] == f"<{log.HIDDEN}>"


def test_what_does_not_look_like_a_token_is_left_alone():
    text = "chat 123456789 at 12:30:00, 10:00-11:30, sk-ant, https://example.org/1//2, message 12345:67890"
    assert line_of(f"log.info('said', {text!r})")["message"] == text


def test_a_short_value_is_not_hidden_since_the_log_would_go_with_it():
    assert (
        line_of("log.info('said', 'a 1234 b')", setup="log.setup('bot', ['1234', '', 'a'])\n")["message"] == "a 1234 b"
    )


def test_a_secret_that_contains_another_is_hidden_whole():
    line = line_of(
        "log.info('said', 'secret-one-longer')", setup="log.setup('bot', ['secret-one', 'secret-one-longer'])\n"
    )
    assert line["message"] == log.HIDDEN


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("123456", "log.info('said', 'x', chat_id=9123456789)"),
        ("nopassword", "log.info('said', 'line\\nopassword')"),
        ("u001bcd", "log.info('said', '\\x1bcdx')"),
        ("abcdef" + "\\", "log.info('said', 'abcdef' + chr(34) + '!')"),
        ("true, ", "log.info('said', 'x', a=True, b=1)"),
        ('", "', "log.info('said', 'x')"),
        ('x", "chat_id": ', "log.info('said', 'x', chat_id=1)"),
    ],
)
def test_a_secret_that_looks_like_a_piece_of_json_does_not_spoil_the_line(secret, said):
    line = line_of(said, setup=f"log.setup('bot', [{secret!r}])\n")
    assert line["event"] == "said"


@pytest.mark.parametrize("secret", ["message", "service", "steward"])
def test_a_secret_that_is_a_common_word_does_not_take_the_names_of_the_fields(secret):
    line = line_of("log.info('said', 'x')", setup=f"log.setup('bot', [{secret!r}])\n")
    assert {"ts", "level", "service", "event", "message"} <= line.keys()


# Surroundings.


def test_ids_of_the_surroundings_stand_in_every_line_inside_and_in_none_outside():
    body = """
log.info("before", "x")
with log.about(correlation_id="c-1", chat_id=5, user_id=None):
    log.info("outer", "x")
    with log.about(chat_id=6, user_id=7):
        library.error("inner")
    log.info("outer_again", "x")
log.info("after", "x")
"""
    found = [
        {name: line[name] for name in ("correlation_id", "chat_id", "user_id") if name in line}
        for line in lines_of(body)
    ]
    outer = {"correlation_id": "c-1", "chat_id": 5}
    assert found == [{}, outer, {"correlation_id": "c-1", "chat_id": 6, "user_id": 7}, outer, {}]


def test_an_error_that_leaves_the_surroundings_takes_them_off():
    body = (
        "try:\n    with log.about(chat_id=5):\n        raise ValueError\nexcept ValueError:\n    log.info('after', 'x')"
    )
    assert "chat_id" not in line_of(body)


def test_a_field_of_the_line_wins_over_the_surroundings():
    assert line_of("with log.about(chat_id=5):\n    log.info('said', 'x', chat_id=6)")["chat_id"] == 6


def test_a_new_thread_begins_without_surroundings_and_keeps_its_own():
    body = """
ready, go = threading.Event(), threading.Event()
def other():
    log.info("first", "x")
    with log.about(chat_id=7):
        ready.set(); go.wait(10)
        log.info("second", "x")
with log.about(chat_id=5):
    thread = threading.Thread(target=other)
    thread.start()
    ready.wait(10)
    log.info("third", "x")
    go.set()
    thread.join()
"""
    assert [(line["event"], line.get("chat_id")) for line in lines_of(body)] == [
        ("first", None),
        ("third", 5),
        ("second", 7),
    ]


# Before the log is set up, and after nobody reads it any more.


def test_before_the_setup_nothing_of_ours_is_thrown_away_when_it_is_bad():
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + "log.error('early', 'Too early.')\n" + SETUP + "log.info('said', 'x')"],
        env=ENVIRONMENT,
        capture_output=True,
        timeout=30,
    )
    assert [line["event"] for line in strictly(done.stdout)] == ["said"]
    assert done.stderr == b"Too early.\n"  # Python's own last resort


@pytest.mark.parametrize("body", ["log.info('said', 'x')", "library.error('%d', 'x')", "raise ValueError('x')"])
def test_a_reader_that_has_gone_away_is_no_reason_to_complain(body):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + SETUP + f"print('end', file=sys.stderr)\nfor _ in range(3):\n    {body}"],
        env=ENVIRONMENT,
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=30,
    )
    os.close(writing)
    assert done.stderr == b"end\n"


def test_work_goes_on_when_nobody_reads_the_log():
    reading, writing = os.pipe()
    os.close(reading)
    body = (
        "for _ in range(100):\n    log.info('said', 'x' * 999)\n"
        "    library.error('%d', 'x')\nprint('end', file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + SETUP + body],
        env=ENVIRONMENT,
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=30,
    )
    os.close(writing)
    assert done.stderr == b"end\n"


def test_a_warning_is_told_by_place_and_kind_because_it_may_quote_a_message():
    line = line_of("warnings.warn_explicit('input was: my secret diary', UserWarning, 'some/file.py', 7)")
    assert line["message"] == "some/file.py:7: UserWarning"


def test_a_script_started_with_its_output_closed_goes_on():
    command = [
        sys.executable,
        "-c",
        "from lib import log; log.setup('bot'); log.info('said', 'x'); raise SystemExit(3)",
    ]
    shell = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *command], cwd=ROOT, capture_output=True, timeout=20, check=False
    )
    assert shell.returncode == 3
    assert shell.stderr == b""
