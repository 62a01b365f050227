"""Plain HTTPS requests to services: one try, a deadline, a capped answer."""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from lib.secret import Secret
from lib.text import storable

CONNECT_SECONDS = 5.0
MOST_BYTES = 256 * 1024  # of an answer
HEADERS = {"User-Agent": "Steward", "Accept-Encoding": "identity"}  # packed, a small answer could become a huge one
LONGEST_WAIT = 86400.0  # seconds


class NoAnswer(Exception):
    """No answer came. `left`: the request may have arrived (time-out while waiting, cut connection); False: it never
    left (refused, no name, connect time-out). The text never holds the URL's query, a token or a header."""

    def __init__(self, text: str, left: bool) -> None:
        super().__init__(text)
        self.left = left


class Unsendable(NoAnswer):
    """The token is empty or has characters that cannot stand in a header: no service has given it out like this."""


@dataclass(frozen=True)
class Answer:
    """`headers` can be asked for in any case; `body` is the parsed JSON, None when it is none."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: Any = field(repr=False)  # may hold tokens


@dataclass(frozen=True)
class Checked:
    """What a service said of a token.

    problem  None when it is good, else the service's own code: see `code`
    lasting  False when it says nothing about the token (the service is away, or busy)
    account  whose it is, in the service's words: see `account`
    wait     seconds the service asks us to leave it alone, if any: see `span`
    """

    problem: str | None = None
    lasting: bool = True
    account: str = ""
    wait: float = 0.0


def ask(
    method: str,
    url: str,
    *,
    bearer: Secret | None = None,
    authorization: Secret | None = None,
    form: Mapping[str, str | Secret] | None = None,
    seconds: float = 10.0,
) -> Answer:
    """Make one request and wait so many seconds for the whole answer, whatever its status; redirects are not followed.

    `bearer` is sent behind "Bearer ", `authorization` as the whole header. Raises NoAnswer; what has not left by the
    deadline never will.
    """
    secret = bearer or authorization
    if secret and not re.fullmatch(r"[!-~][ -~]*", secret.reveal()):
        raise Unsendable("the token has characters that cannot be sent", left=False)
    header = None if secret is None else ("Bearer " if bearer else "") + secret.reveal()
    door, came = _Door(), list[Answer | NoAnswer]()

    def work() -> None:
        came.append(_ask(method, url, header, form, seconds, door))

    # The time-outs of requests begin anew with every byte and address, and looking up a name has none at all.
    thread = threading.Thread(target=work, name="ask", daemon=True)
    thread.start()
    thread.join(seconds + 0.5)
    answer = came[0] if came else NoAnswer("no answer in time", left=door.shut())
    if isinstance(answer, NoAnswer):
        raise answer
    return answer


def unheard(exc: NoAnswer) -> Checked:
    """What a check finds when there was no answer."""
    return Checked("malformed") if isinstance(exc, Unsendable) else Checked("no_connection", lasting=False)


def code(said: Any) -> str:
    """A service's error code as it may be kept and shown: 1 to 40 letters, digits and _; all else is "unknown"."""
    return said if isinstance(said, str) and re.fullmatch(r"[A-Za-z0-9_]{1,40}", said) else "unknown"


def account(*names: Any) -> str:
    """The names that are texts, as "steward in Acme": one line of at most 100 characters that can be shown."""
    whole = " in ".join(name for name in names if isinstance(name, str) and name)
    shown = "".join(character if character.isprintable() else " " for character in storable(whole))
    return " ".join(shown.split())[:100]


def span(header: str | None, since: float = 0.0) -> float:
    """The seconds a header asks for, from `since` on, within a day; 0 when it makes no sense."""
    try:
        seconds = float(header or 0) - since
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), LONGEST_WAIT) if math.isfinite(seconds) else 0.0


class _Door:
    """Between connecting and sending: either the request is through before the deadline, or it stays."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shut = self.left = False

    def leave(self) -> None:
        with self._lock:
            if self._shut:
                raise TimeoutError
            self.left = True

    def shut(self) -> bool:
        """Let nothing leave any more. Whether it has."""
        with self._lock:
            self._shut = True
            return self.left


class _Adapter(HTTPAdapter):
    """Sends once, and only through the door. Names, refusals, proxies and TLS are all dealt with in connect(); types
    and texts of errors do not tell it: a handshake that hangs is a ReadTimeout, like an answer that does not come."""

    def __init__(self, door: _Door) -> None:
        super().__init__(max_retries=0)
        self._door = door

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        plain: Any = pool.ConnectionCls
        door = self._door

        class Connection(plain):  # type: ignore[misc]
            def connect(self) -> None:
                super().connect()
                door.leave()

        pool.ConnectionCls = Connection
        return pool


class _Session(requests.Session):
    """requests reads the body of a redirect to its end, however long, even when it is not to follow it."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


class _Authorization(AuthBase):
    """Sets the header, or none. Without such an object requests would take one from ~/.netrc, over one set by hand."""

    def __init__(self, header: str | None) -> None:
        self._header = header

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._header is not None:
            r.headers["Authorization"] = self._header
        return r


def _ask(
    method: str, url: str, header: str | None, form: Mapping[str, str | Secret] | None, seconds: float, door: _Door
) -> Answer | NoAnswer:
    end = time.monotonic() + seconds
    data = {name: value.reveal() if isinstance(value, Secret) else value for name, value in (form or {}).items()}
    try:
        with _Session() as session:
            session.mount("https://", _Adapter(door))
            session.mount("http://", _Adapter(door))
            with session.request(
                method,
                url,
                data=data,
                headers=HEADERS,
                auth=_Authorization(header),
                timeout=(min(CONNECT_SECONDS, seconds), seconds),
                allow_redirects=False,
                stream=True,
            ) as response:
                body = b""
                while chunk := response.raw.read1(65536, decode_content=False):
                    body += chunk
                    if len(body) > MOST_BYTES or time.monotonic() > end:
                        return NoAnswer("the answer is too long, or too slow", left=True)
                return Answer(response.status_code, response.headers, _parsed(body))
    except Exception as exc:  # requests, urllib3 and http.client put URLs, headers and bodies into their errors
        return NoAnswer(f"no answer ({type(exc).__name__})", left=door.left)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
