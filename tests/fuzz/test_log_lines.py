"""Lines of the log: exactly one for whatever is logged, strict JSON, with all that a line must have."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib import log
from tests.fuzz.material import any_texts, values

SECRET = "hunter" + "2-hunter2"


class Silent:
    """A thing that cannot say what it is."""

    def __init__(self, kind: type[Exception]) -> None:
        self.kind = kind

    def __str__(self) -> str:
        raise self.kind(SECRET)


class Nameless(Silent):
    """Nor that, in a list."""

    def __repr__(self) -> str:
        raise self.kind(SECRET)


class Mute(Exception):
    """An error that cannot say what it is, nor whether it is another."""

    def __str__(self) -> str:
        raise OSError("not even this works")

    def __eq__(self, other: object) -> bool:
        raise ValueError("nor this")

    __hash__ = Exception.__hash__


class OfARow(Exception):
    pgcode = "23514"


def circle(size: int) -> list[Any]:
    """A list that contains itself several times."""
    made: list[Any] = []
    made.extend([made] * size)
    return made


def caused(errors: list[BaseException]) -> BaseException:
    """The first of them, caused by the next, and so on, the last one by the first."""
    for one, cause in zip(errors, [*errors[1:], errors[0]], strict=True):
        one.__cause__ = cause
    return errors[0]


odd_things = st.one_of(
    st.builds(Silent, st.sampled_from([ValueError, OSError, RecursionError])),
    st.builds(Nameless, st.sampled_from([ValueError, OSError, RecursionError])),
    st.builds(circle, st.integers(1, 12)),
    st.builds(pow, st.just(10), st.integers(4000, 5000)),  # Python writes no number of more than 4300 digits
    st.builds(Mute),
    st.sampled_from([b"\xff\x00", {1, 2}, object, float("nan"), 1j, range(3), SECRET]),
)
things = st.recursive(
    values | odd_things,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(any_texts | st.integers() | st.tuples(st.integers()), inner, max_size=3)
    ),
    max_leaves=6,
)
errors = st.builds(
    lambda kinds, text: caused([kind(text) for kind in kinds]),
    st.lists(st.sampled_from([ValueError, Mute, OfARow, OSError, KeyError, RecursionError]), min_size=1, max_size=8),
    any_texts | st.just(SECRET),
)
levels = st.sampled_from([logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL])


def refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def line_of(record: logging.LogRecord) -> dict[str, Any]:
    """What stands on stdout of this record, after all that holds for every line has been checked."""
    output = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(output, write_through=True))
        log._Handler("fuzz", [SECRET]).handle(record)
        text = output.getvalue().decode()
    assert text.endswith("\n")
    assert text.count("\n") == 1
    line = json.loads(text, parse_constant=refuse)
    assert isinstance(line, dict)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["ts"])
    assert line["level"] in ("INFO", "WARNING", "ERROR", "CRITICAL")
    assert line["service"] == "fuzz"
    assert isinstance(line["event"], str)
    assert isinstance(line["message"], str)
    assert SECRET not in text
    return line


def record(name: str, level: int, message: Any, args: Any = (), error: Any = None, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord(name, level, "", 0, message, args, None)
    vars(made).update(error=error, **more)
    return made


@given(levels, any_texts, st.dictionaries(any_texts, things, max_size=4), st.none() | errors, st.booleans())
@example(logging.ERROR, "x", {"value": circle(12)}, None, False)
@example(logging.ERROR, "x", {"value": 10**5000}, None, False)
@example(logging.ERROR, "x", {}, Mute(), False)
def test_a_line_of_ours_is_written_with_its_event_its_fields_and_its_error(
    level: int, message: str, fields: dict[str, Any], error: BaseException | None, private: bool
):
    line = line_of(record("steward", level, message, (), error, fields={"event": "tried", **fields}, private=private))
    assert line["event"] == fields.get("event", "tried") or "event" in fields
    assert line["message"] == message.encode("utf-8", "replace").decode()
    shown = {name.encode("utf-8", "replace").decode() for name in fields}
    assert shown - {"ts", "level", "service", "message"} <= line.keys()
    if error is not None:
        assert line["error_type"] == type(error).__name__
        assert ("error_stack" in line) is (level >= logging.ERROR)
        if private:
            assert line["error_message"].startswith("(left out")


arguments = st.one_of(
    st.lists(things, max_size=3).map(tuple), st.dictionaries(any_texts, things, max_size=2).map(lambda one: (one,))
)
messages = st.one_of(
    st.sampled_from(["%s", "%s %s", "%d", "%(x)s", "%", "%s %r", "%5c", "{}", "%*d"]), any_texts, things
)


@given(any_texts | st.just(SECRET), levels, messages, arguments, things, things)
@example("lib", logging.ERROR, "%s", (Silent(OSError),), None, None)
@example("lib", logging.ERROR, "%s", (), "no error but a text", 5)
@example(SECRET, logging.ERROR, "%d", ("x",), None, None)
def test_whatever_a_library_logs_is_one_line(name: str, level: int, message: Any, args: Any, error: Any, fields: Any):
    line_of(record(name, level, message, args, error, fields=fields))
