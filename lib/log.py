"""The log: one JSON object per line on stdout, whatever happens, with no secret and no message text in it.

Every line has `ts` (RFC 3339, UTC), `level`, `service`, `event`
(stable snake_case) and `message`; inside `about(...)` also the correlation id and the chat and user ids.
"""

from __future__ import annotations

import contextvars
import json
import logging
import math
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, quote_plus

from pythonjsonlogger.json import JsonFormatter

_about: contextvars.ContextVar[dict[str, Any]] = contextvars.ContextVar("about", default={})  # noqa: B039
_logger = logging.getLogger("steward")

# What tokens look like when nobody told us their value: Telegram's (in a URL, also with the colon escaped), Claude's,
# Slack's, ClickUp's, Google's.
TOKEN_SHAPES = re.compile(
    r"\d{6,}(?::|%3[Aa])[A-Za-z0-9_-]{30,}|sk-ant-[A-Za-z0-9_-]{8,}|xox[a-z]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}"
    r"|pk_\d+_[A-Za-z0-9]{16,}|ya29\.[A-Za-z0-9_.-]{10,}|1//[A-Za-z0-9_-]{20,}|4/0[A-Za-z0-9_-]{20,}"
    r"|GOCSPX-[A-Za-z0-9_-]{10,}"
)
HIDDEN = "[hidden]"
MOST_BITS = 1024  # of a number: readers that make a double of it take no larger one


def setup(service: str, secrets: Iterable[str] = (), *, quiet: bool = False) -> None:
    """Send everything this process logs, warns or dies of to stdout as JSON, without the given secret values.

    `quiet`: only warnings and errors, for a script that talks with a person. Call it once the libraries are imported:
    it takes away the handlers they installed for themselves.
    """
    handler = _Handler(service, secrets)
    for name in list(logging.root.manager.loggerDict):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    # Below WARNING they log URLs and bodies.
    for name in ("urllib3", "httpx", "httpcore", "httpx2", "httpcore2", "anthropic", "TeleBot"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(logging.WARNING if quiet else logging.INFO)
    logging.captureWarnings(True)
    sys.excepthook = lambda kind, exc, tb: error("crashed", "The script ended because of an error.", exc)
    threading.excepthook = lambda args: error("thread_crashed", "A thread ended because of an error.", args.exc_value)
    sys.unraisablehook = lambda args: error("error_ignored", "Python had to ignore an error.", args.exc_value)


def hide(secrets: Iterable[str]) -> None:
    """Leave these secret values out too, from now on."""
    for handler in logging.root.handlers:
        if isinstance(handler, _Handler):
            handler.hide(secrets)


@contextmanager
def about(**ids: Any) -> Iterator[None]:
    """Add these ids (correlation_id, chat_id, user_id) to every line logged inside."""
    token = _about.set({**_about.get(), **{name: value for name, value in ids.items() if value is not None}})
    try:
        yield
    finally:
        _about.reset(token)


def info(event: str, message: str, **fields: Any) -> None:
    """Log something that happened as it should. `fields` hold ids, counts and kinds, never what a person wrote."""
    _logger.info(message, extra={"fields": {"event": event, **fields}})


def warning(event: str, message: str, error: BaseException | None = None, **fields: Any) -> None:
    """Log something that will right itself: the error's kind and text, without its traceback."""
    _logger.warning(message, extra={"fields": {"event": event, **fields}, "error": error})


def error(
    event: str, message: str, error: BaseException | None = None, *, private: bool = False, **fields: Any
) -> None:
    """Log something a person must look at. `private`: the error may quote a message, so its text is left out."""
    _logger.error(message, extra={"fields": {"event": event, **fields}, "error": error, "private": private})


def redactor(secrets: Iterable[str]) -> re.Pattern[str]:
    """A pattern of all that is to be hidden: the secrets, also as Python, JSON or a URL writes them, and TOKEN_SHAPES.

    Values under 6 characters are left alone: hiding every "1234" would hide the log.
    """
    written = {text for value in secrets if len(value) >= 6 for text in _written(value)}
    longest_first = [re.escape(text) for text in sorted(written, key=len, reverse=True)]
    # Some write %2F, some %2f.
    known = [re.sub(r"%[0-9A-F]{2}", lambda found: f"(?i:{found[0]})", text) for text in longest_first]
    return re.compile("|".join([*known, TOKEN_SHAPES.pattern]))


def _written(value: str) -> Iterator[str]:
    """A secret in all the ways in which it may get into a text."""
    data = value.encode("utf-8", "surrogatepass")
    yield value
    # Python escapes a single quote where there is a double one beside it, in the secret or around it.
    for shown in (repr, ascii):
        yield shown(value)[1:-1]
        yield shown(value + "'\"")[1:-4]
    yield repr(data)[2:-1]
    yield repr(data + b"'\"")[2:-4]
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield quote_plus(data)
    for safe in ("", "/", "!#$%&'()*+,/:;=?@[]~"):  # the last are what requests leaves as it is
        yield quote(data, safe=safe)


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes finished lines."""

    def __init__(self, service: str, secrets: Iterable[str]) -> None:
        if sys.stdout is None:  # started with stdout closed
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        # Half an emoji cannot be encoded, and jq does not take it escaped either: a question mark stands for it.
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
        super().__init__(sys.stdout)
        self._service = service
        self._secrets: set[str] = set()
        self.hide(secrets)

    def hide(self, secrets: Iterable[str]) -> None:
        self._secrets |= set(secrets)
        self.setFormatter(_Formatter(self._service, redactor(self._secrets)))

    def handleError(self, record: logging.LogRecord) -> None:
        """The line could not be written: stdout is gone, and there is nowhere left to say so."""


class _Formatter(JsonFormatter):
    """One record as one JSON object; Cyrillic stays readable.

    Secrets are hidden in each value before JSON is made of it: hidden in the finished line, a password such as 123456
    would cut a chat id in two.
    """

    def __init__(self, service: str, hide: re.Pattern[str]) -> None:
        super().__init__(json_ensure_ascii=False)
        self._service, self._hide = service, hide

    def format(self, record: logging.LogRecord) -> str:
        own = {"ts": _time(record.created), "level": record.levelname, "service": self._service}
        try:
            return self._line(record, own)
        except Exception as exc:  # a wrong format string in a library, above all
            own |= {"event": "log_failed", "message": "A log record could not be written."}
            about = {"logger": record.name, "error_type": type(exc).__name__}
            return json.dumps(own | self._plain(about), ensure_ascii=False)

    def _line(self, record: logging.LogRecord, own: dict[str, Any]) -> str:
        own["message"] = self._plain(_message(record))
        library = {} if record.name == _logger.name else {"logger": record.name}
        given = getattr(record, "fields", None)  # of a library's record these may be anything
        fields = {"event": "library_log", **library, **_about.get(), **(given if isinstance(given, dict) else {})}
        line = own | self._plain(fields) | own  # first for the order, last so that no field takes their place
        exc = getattr(record, "error", None) or (record.exc_info[1] if record.exc_info else None)
        if isinstance(exc, BaseException):
            private = getattr(record, "private", False)
            error = {"type": type(exc).__name__, "message": error_text(exc, private)}
            if record.levelno >= logging.ERROR:
                error["stack"] = _stack(exc, private)
            line |= {f"error_{name}": self._plain(text) for name, text in error.items()}
        return self.serialize_log_record(line)

    def _plain(self, value: Any, around: tuple[int, ...] = ()) -> Any:
        """The value as JSON knows it, without secrets. `around`: what it lies in."""
        if value is None or isinstance(value, bool) or (isinstance(value, float) and math.isfinite(value)):
            return value
        if isinstance(value, int) and value.bit_length() <= MOST_BITS:
            return value
        if len(around) < 8 and id(value) not in around:
            within = (*around, id(value))
            if isinstance(value, dict):
                return {self._hide.sub(HIDDEN, _text(key)): self._plain(item, within) for key, item in value.items()}
            if isinstance(value, list | tuple):
                return [self._plain(item, within) for item in value]
        return self._hide.sub(HIDDEN, _text(value))


def _text(value: object) -> str:
    """Its text; of a thing that cannot even give that, its type."""
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"


def _message(record: logging.LogRecord) -> str:
    """Its text; of a Python warning only place and kind, because pydantic's quote what they warn of."""
    text = record.getMessage()
    place = re.match(r".*?:\d+: \w+(?=:)", text) if record.name == "py.warnings" else None
    return place[0] if place else text


def error_text(exc: BaseException, private: bool = False) -> str:
    """The text of an error, unless it may quote a row or a message.

    psycopg2 puts rows into its texts ("DETAIL:  Failing row contains (1, hello, ...)"): of an error that the server
    sent (it has a pgcode) only the code is kept.
    """
    if private:
        return "(left out: it may quote a message)"
    pgcode = getattr(exc, "pgcode", None)
    if pgcode:
        return f"SQLSTATE {pgcode}"
    return _text(exc)


def _stack(exc: BaseException, private: bool) -> str:
    """The traceback of an error and of what caused it, oldest first, with no more text than error_text() gives."""
    chain: list[BaseException] = []
    link: BaseException | None = exc
    while link is not None and not any(link is one for one in chain) and len(chain) < 5:
        chain.append(link)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    lines: list[str] = []
    for link in reversed(chain):
        lines += traceback.format_tb(link.__traceback__)[-30:]
        lines.append(f"{type(link).__name__}: {error_text(link, private)}\n")
    return "".join(lines)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
