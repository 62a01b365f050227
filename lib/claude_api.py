"""Claude through the Messages API, with an API key or an OAuth login.

Only the worker imports this file: `import anthropic` takes seconds and 80 MB.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, cast

import anthropic
import httpx2
from anthropic.lib.credentials import AccessToken
from anthropic.types import Message, MessageParam

from lib.claude import (
    EFFORT,
    MAX_TOKENS,
    SILENCE_SECONDS,
    SYSTEM,
    Reply,
    Unavailable,
    blocks,
    moment,
)
from lib.history import Turn
from lib.secret import Secret
from lib.text import storable

CONNECT_SECONDS = 5.0
KEEP_ALIVE_SECONDS = 120.0  # the SDK's 5 would cost nearly every chat turn a new TLS handshake


# The login's access token; given one that was refused, a renewed one.
Login = Callable[[Secret | None], Secret]


class ApiDoor:
    """The Messages API with an API key from the Claude Console, or with an OAuth login, or with neither of them.

    One request per answer, never a silent retry.
    """

    def __init__(self, credential: Secret | Login | None, base_url: str, model: str) -> None:
        self.model = model
        self._login = None if credential is None or isinstance(credential, Secret) else credential
        self._token: Secret | None = None  # the login's, from the last prepare()
        self._refused: Secret | None = None  # answered with a 401
        self._client: anthropic.Anthropic | None = None
        if credential is not None:
            self._client = anthropic.Anthropic(
                api_key=credential.reveal() if isinstance(credential, Secret) else None,
                credentials=self._provide if self._login else None,
                base_url=base_url,
                max_retries=0,
                timeout=httpx2.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS),
                http_client=anthropic.DefaultHttpxClient(
                    follow_redirects=False,  # it would send the conversation again, to an address nobody entered
                    limits=httpx2.Limits(keepalive_expiry=KEEP_ALIVE_SECONDS),
                ),
            )

    def prepare(self) -> None:
        """See Door. Renewing is not done in _provide(): that runs where a stop may cut it between answer and commit."""
        if self._login is not None:
            self._token, self._refused = self._login(self._refused), None

    def _provide(self, *, force_refresh: bool = False) -> AccessToken:
        """What the SDK asks for before every request, because of the 0."""
        if self._token is None:
            raise RuntimeError("answer() without prepare()")
        return AccessToken(self._token.reveal(), expires_at=0)

    def answer(self, turns: Sequence[Turn], on_text: Callable[[str], None]) -> Reply:
        """Ask once. `turns` ends with the message to answer; `on_text` is given the whole text so far as it grows.

        Raises Unavailable. Waits SILENCE_SECONDS for each next piece; how long the whole may take is the caller's.
        """
        if self._client is None:
            raise Unavailable("no_credential")
        began, text, request_id = time.monotonic(), "", None
        try:
            with self._client.messages.stream(
                model=self.model,
                max_tokens=MAX_TOKENS,
                system=SYSTEM,
                messages=_messages(turns),
                cache_control={"type": "ephemeral"},
                output_config={"effort": EFFORT},
            ) as stream:
                request_id = stream.request_id
                for piece in stream.text_stream:
                    text += piece
                    on_text(text)
                final = stream.get_final_message()
            return _reply(final, storable(text), request_id, began)
        except (anthropic.APIError, httpx2.HTTPError) as exc:
            failure = _failure(exc, text, request_id, plan=self._login is not None)
            if self._login is not None and isinstance(exc, anthropic.AuthenticationError):
                self._refused, failure.again = self._token, True
            raise failure from exc
        except Unavailable:
            raise
        except Exception as exc:  # a stream that is none: AssertionError, IndexError, ValueError ...
            raise Unavailable("broken", type(exc).__name__, partial=text, request_id=request_id) from exc


def _messages(turns: Sequence[Turn]) -> list[MessageParam]:
    """What begins the last message may not stand there the next time: then the prompt cache is to keep what stands
    before it, too."""
    messages = [_message(turn) for turn in turns]
    if len(messages) > 1 and turns[-1].fleeting:
        content = cast("Any", messages[-2]["content"])
        found = [{"type": "text", "text": content}] if isinstance(content, str) else content
        marked = [*found[:-1], {**found[-1], "cache_control": {"type": "ephemeral"}}]
        messages[-2] = cast("MessageParam", {**messages[-2], "content": marked})
    return messages


def _message(turn: Turn) -> MessageParam:
    """Pictures come before words: Anthropic's documentation ("Vision") says they are understood better so."""
    words = [{"type": "text", "text": turn.body}] if turn.body else []  # an empty block would be refused
    content = [*blocks(turn.files), *words] if turn.files else turn.body
    return cast("MessageParam", {"role": turn.role, "content": content})


def _reply(final: Message, text: str, request_id: str | None, began: float) -> Reply:
    _check(final.stop_reason, text, request_id)
    cached = final.usage.cache_read_input_tokens or 0
    return Reply(
        text=text,
        model=storable(final.model),
        tokens_in=final.usage.input_tokens + cached + (final.usage.cache_creation_input_tokens or 0),
        tokens_out=int(final.usage.output_tokens),
        tokens_cached=cached,
        stop_reason=final.stop_reason or "",
        request_id=request_id,
        duration_ms=round((time.monotonic() - began) * 1000),
    )


def _check(stop_reason: str | None, text: str, request_id: str | None) -> None:
    """Refuse what came without an error and still is no answer."""
    kind = {None: "early_end", "refusal": "refused", "model_context_window_exceeded": "too_long"}.get(stop_reason)
    if kind is None and not text.strip():
        kind = "empty"
    if kind is not None:
        raise Unavailable(kind, f"stop_reason {stop_reason}", partial=text, request_id=request_id)


# The kinds by HTTP status, each with a real sample of Anthropic's words.
STATUS_KINDS = {
    400: "our_bug",  # invalid_request_error "messages: first message must use the user role"
    401: "sign_in",  # authentication_error "invalid x-api-key"
    402: "no_credit",  # billing_error
    403: "sign_in",  # permission_error "Your API key does not have permission to use the specified resource."
    404: "no_model",  # not_found_error "model: claude-sonnet-9"
    413: "too_long",  # request_too_large "Request exceeds the maximum size"
    429: "limit",  # rate_limit_error "This request would exceed your account's rate limit."
    504: "timed_out",  # timeout_error
}
# A 400 about a picture or a PDF: "Could not process image", "Could not process PDF", "A maximum of 100 PDF pages may be
# provided.", "messages.0.content.0.pdf.source.base64.data: The PDF specified was not valid."
FILE_REFUSED = re.compile(r"process (image|PDF)|image dimensions|PDF pages|\.source\.base64")
TYPE_KINDS = {
    "overloaded_error": "overloaded",  # also in mid-answer, where the HTTP status says 200
    "rate_limit_error": "limit",
    "authentication_error": "sign_in",
    "timeout_error": "timed_out",
}


def _failure(exc: Exception, partial: str, request_id: str | None, *, plan: bool) -> Unavailable:
    """Any error of the SDK as one kind. A response's words are kept out: they may quote the request.

    `plan`: it was asked with an OAuth login, which may be one that a plan pays for.
    """
    until = None
    if isinstance(exc, anthropic.APITimeoutError | httpx2.TimeoutException):
        kind = "timed_out"
    elif isinstance(exc, anthropic.APIStatusError):
        request_id = exc.request_id or request_id
        until = _until(exc.response)
        if exc.status_code == 400 and "prompt is too long" in (exc.api_message or ""):
            kind = "too_long"
        elif exc.status_code == 400 and "credit balance is too low" in (exc.api_message or ""):
            kind = "no_credit"
        elif exc.status_code == 400 and FILE_REFUSED.search(exc.api_message or ""):
            kind = "file_refused"
        elif plan and _refuses_plan(exc):
            kind = "plan_refused"
        else:
            kind = TYPE_KINDS.get(exc.type or "") or STATUS_KINDS.get(exc.status_code) or "overloaded"
    elif isinstance(exc, anthropic.APIConnectionError) and not partial:
        kind = "no_network"
    else:
        kind = "broken"  # httpx2.RemoteProtocolError: the connection was cut in mid-answer
    return Unavailable(kind, type(exc).__name__, until=until, partial=partial, request_id=request_id)


def _refuses_plan(exc: anthropic.APIStatusError) -> bool:
    """Plans pay for Anthropic's own programs. To anybody else the API says, as several have reported: 400 "Third-party
    apps now draw from your extra usage, not your plan limits", 400 "You're out of extra usage", or a 429 with the one
    word "Error" and nothing about limits in its headers."""
    if exc.status_code == 400:
        return "extra usage" in (exc.api_message or "")
    about_limits = any(name.startswith("anthropic-ratelimit-") for name in exc.response.headers)
    return exc.status_code == 429 and exc.api_message == "Error" and not about_limits


def _until(response: httpx2.Response) -> datetime | None:
    """When it will work again: `anthropic-ratelimit-unified-reset` (epoch seconds) or `retry-after` (seconds)."""
    if reset := response.headers.get("anthropic-ratelimit-unified-reset"):
        return moment(reset)
    try:
        return moment(time.time() + float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None  # none, or an HTTP date, which Anthropic never sends
