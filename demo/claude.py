"""A simulated Claude Messages API: its refusals, event stream and prompt cache, and its ways to fail.

It refuses what the real service refuses, in the same words where they are known. The facts come from Anthropic's API
reference (errors, streaming, prompt caching), from the types in `anthropic` 2.12.0, and, for the wording of refusals,
from answers of the real service quoted in public issues. Tokens are estimated: four bytes of UTF-8 make one, and a
picture has one for 750 pixels.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import urlsplit

from demo.loopback import Fault, Faults, Handler, LoopbackServer

MODEL = "claude-sonnet-5-5"
MOST_OUTPUT = 128_000  # tokens
MOST_BYTES = 32 * 1024 * 1024  # of a request
MOST_IMAGES, MANY_IMAGES = 100, 20  # of a request; with more than the second each must be smaller
MOST_IMAGE_BYTES = 5 * 1024 * 1024  # in base64
MOST_PIXELS, MOST_PIXELS_OF_MANY = 8000, 2000  # wide or high
MOST_IMAGE_TOKENS, PDF_TOKENS = 1600, 3000  # the second is for one page, and 90 kB are taken for a page
MOST_BREAKPOINTS = 4
LEAST_CACHED = 512  # tokens; a shorter prefix is silently not cached
LIFETIMES = {"5m": 300.0, "1h": 3600.0}  # seconds
EFFORTS = ("low", "medium", "high", "xhigh", "max")

# Anthropic's API reference, "Errors", and ErrorType in the SDK.
ERRORS = {
    400: ("invalid_request_error", "Invalid request"),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "There is an issue with your billing or payment information"),
    403: ("permission_error", "Your API key does not have permission to use the specified resource"),
    404: ("not_found_error", "Not found"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your account's rate limit. Please try again later."),
    500: ("api_error", "Internal server error"),
    503: ("api_error", "Service unavailable"),
    504: ("timeout_error", "Request timed out"),
    529: ("overloaded_error", "Overloaded"),
}

# What stands in every answer to a plan's token. Undocumented; as third parties have seen it.
LIMITS = {
    "anthropic-ratelimit-unified-status": "allowed",
    "anthropic-ratelimit-unified-representative-claim": "five_hour",
    "anthropic-ratelimit-unified-5h-utilization": "0.07",
}

STOPS = {
    "refusal": "refusal",
    "max-tokens": "max_tokens",
    "context-exceeded": "model_context_window_exceeded",
}
ENDS = ("overloaded-midway", "cut-midway", "ends-early")
KINDS = ("status", "drop", "lose", "hang", "slow-start", "stalls-midway", "empty", *ENDS, *STOPS)

# The parameters of count_tokens, and those that only a message has (message_create_params.py in the SDK).
COUNTED = {"cache_control", "messages", "model", "output_config", "speed", "system", "thinking", "tool_choice", "tools"}
KNOWN = COUNTED | {"container", "diagnostics", "inference_geo", "max_tokens", "metadata", "service_tier"}
KNOWN |= {"stop_sequences", "stream"}
SAMPLING = ("temperature", "top_p", "top_k")


@dataclass(frozen=True)
class Request:
    """One request, refused or not. at: time.perf_counter() of its first line. Header names are in lower case.

    body is {} when it was no JSON object. outcome is the HTTP status, or the kind of the fault that changed it.
    """

    at: float
    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    request_id: str
    outcome: int | str


class ClaudeFaults(Faults):
    """The faults of loopback.Fault, and these of an answer that has begun (in brackets: when not streamed).

    "slow-start"         headers at once, the first event after `seconds` (the answer after `seconds`)
    "stalls-midway"      half the text, then silence for `seconds`, then the rest (the answer after `seconds`)
    "overloaded-midway"  half the text, then an error event (status 529)
    "cut-midway"         half the text, then the connection breaks inside a chunk (inside the body)
    "ends-early"         half the text, then a clean end without stop_reason and message_stop (as "cut-midway")
    "refusal", "max-tokens", "context-exceeded"  half the text and that stop_reason
    "empty"              end_turn without any text
    """

    def add(self, fault: Fault) -> None:
        """Raises ValueError for a kind that nothing here would act on."""
        if fault.kind not in KINDS:
            raise ValueError(f"unknown kind of fault: {fault.kind}")
        super().add(fault)


class ClaudeSim:
    """The simulator; usable as a context manager. `url` is set by start(), and the port stays the same from then on.

    first_delay: seconds of thought before the first text; pace: seconds after each text delta.
    answer: makes the text of a reply from the body of the request.
    clock: seconds, for the lifetime of cached prompts.
    plan_token: what `claude setup-token` would have printed; only Claude Code itself is served with it.
    accepts: whether a bearer token is a valid access token of an OAuth login.
    finished: time.perf_counter() when the last byte of a streamed answer had left, by request id.
    """

    def __init__(
        self,
        api_key: str,
        port: int = 0,
        clock: Callable[[], float] = time.monotonic,
        address: str = "127.0.0.1",
        plan_token: str = "",
    ) -> None:
        self.api_key, self.plan_token = api_key, plan_token
        self.accepts: Callable[[str], bool] = lambda token: False
        self.url = ""
        self.faults: Faults = ClaudeFaults()
        self.first_delay = 0.0
        self.pace = 0.0
        self.answer: Callable[[dict[str, Any]], str] = simulated_answer
        self.cache = PromptCache(clock)
        self._port, self._address = port, address
        self._server: LoopbackServer | None = None
        self._halt = threading.Event()
        self._news = threading.Condition()
        self._requests: list[Request] = []
        self.finished: dict[str, float] = {}

    def start(self) -> None:
        self._halt = threading.Event()
        self._server = LoopbackServer(_Exchange, self, self._port, self._address)
        self._port, self.url = self._server.port, self._server.url
        self._server.start()

    def stop(self) -> None:
        """Cut every connection and refuse new ones, until start()."""
        if self._server is not None:
            self._server.stop()
            self._server = None
        self._halt.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def requests(self) -> list[Request]:
        with self._news:
            return list(self._requests)

    def wait_for(self, predicate: Callable[[], bool], seconds: float) -> bool:
        """Whether the predicate came true in time; it is asked again after every request."""
        with self._news:
            return self._news.wait_for(predicate, seconds)

    def record(self, request: Request) -> None:
        with self._news:
            self._requests.append(request)
            self._news.notify_all()

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond stop()."""
        self._halt.wait(seconds)

    def reply_to(self, body: dict[str, Any], kind: str) -> Reply:
        """The reply to an accepted request, as `kind` of fault would have it; the prompt is cached by this."""
        text, stop = self.answer(body), "end_turn"
        room = body["max_tokens"] * 4
        if len(text.encode()) > room:
            text, stop = text.encode()[:room].decode(errors="ignore"), "max_tokens"
        if kind in STOPS:
            text, stop = "".join(_halves(text)[0]), STOPS[kind]
        if kind == "empty":
            text = ""
        thinks = (body.get("thinking") or {}).get("type") != "between_tools"
        return Reply(text, stop, thinks, self.cache.use(body))


class _Exchange(Handler):
    """One request and its answer."""

    request_id: str
    limits: dict[str, str]  # headers of a plan's answer

    def do_POST(self) -> None:
        self._serve(cast(LoopbackServer, self.server).simulator)

    def do_GET(self) -> None:
        self._serve(cast(LoopbackServer, self.server).simulator)

    def _serve(self, sim: ClaudeSim) -> None:
        self.request_id = _identifier("req")
        raw, path = self.read_body(), urlsplit(self.path).path
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = _parsed(raw)
        refusal = _refusal(f"{self.command} {path}", headers, raw, body, sim)
        fault = sim.faults.take(path) or Fault("")
        outcome = _outcome(fault, refusal)
        sim.record(Request(self.arrived, path, body or {}, headers, self.request_id, outcome))
        if fault.kind == "drop":
            self.cut()
        elif fault.kind == "status":
            self._fail(fault.status, body=fault.body, headers=fault.headers)
        elif refusal is not None:
            self._deliver(sim, fault, lambda: self._fail(refusal.status, refusal.message))
        elif path == "/v1/messages":
            reply = sim.reply_to(body or {}, fault.kind)
            self.limits = LIMITS if headers.get("authorization") == f"Bearer {sim.plan_token}" else {}
            send = self._stream if (body or {}).get("stream") else self._send
            self._deliver(sim, fault, lambda: send(sim, reply, fault))
        else:
            found = {"input_tokens": _tokens(_bytes(_prompt(body)))} if body else MODEL_INFO
            self._deliver(sim, fault, lambda: self._answer(200, found))

    def _deliver(self, sim: ClaudeSim, fault: Fault, answer: Callable[[], None]) -> None:
        if fault.kind == "lose":
            self.cut()
            return
        if fault.kind == "hang":
            sim.pause(fault.seconds)
        answer()

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        self.answer(status, body, {"request-id": self.request_id, **(headers or {})})

    def _fail(self, status: int, message: str = "", body: Any = None, headers: dict[str, str] | None = None) -> None:
        self._answer(status, body if body is not None else _error(status, message, self.request_id), headers)

    def _send(self, sim: ClaudeSim, reply: Reply, fault: Fault) -> None:
        """The whole reply as one JSON object."""
        sim.pause(sim.first_delay)
        if fault.kind in ("slow-start", "stalls-midway"):
            sim.pause(fault.seconds)
        if fault.kind == "overloaded-midway":
            self._fail(529)
        elif fault.kind in ("cut-midway", "ends-early"):
            data = json.dumps(reply.message()).encode()
            self._head("application/json", ("Content-Length", str(len(data))))
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.cut()
        else:
            self._answer(200, reply.message())

    def _stream(self, sim: ClaudeSim, reply: Reply, fault: Fault) -> None:
        """The reply as server-sent events, one chunk each; without any wait they leave together."""
        self._head("text/event-stream; charset=utf-8", ("Transfer-Encoding", "chunked"))
        if fault.kind == "slow-start":
            self._wait(sim, fault.seconds)
        self._events(reply.beginning())
        self._wait(sim, sim.first_delay)
        self._events(reply.thought())
        told, untold = _halves(reply.text)
        self._tell(sim, reply, told)
        if self._breaks_off(sim, fault):
            return
        self._tell(sim, reply, untold)
        self._events(reply.ending())
        self._finish()
        sim.finished[self.request_id] = time.perf_counter()

    def _breaks_off(self, sim: ClaudeSim, fault: Fault) -> bool:
        """Misbehave in the middle of a stream; whether that was the end of it."""
        if fault.kind == "stalls-midway":
            self._wait(sim, fault.seconds)
        elif fault.kind == "overloaded-midway":
            self._events([_error(529, "", self.request_id)])
            self._finish()
        elif fault.kind == "ends-early":
            self._finish()
        elif fault.kind == "cut-midway":
            self.wfile.write(b"400\r\nevent: content_block_delta\ndata: {")  # promises 1024 bytes
            self.wfile.flush()
            self.cut()
        return fault.kind in ENDS

    def _head(self, kind: str, length: tuple[str, str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("request-id", self.request_id)
        for name, value in self.limits.items():
            self.send_header(name, value)
        self.send_header(*length)
        self.end_headers()

    def _tell(self, sim: ClaudeSim, reply: Reply, words: Iterable[str]) -> None:
        for word in words:
            self._events([reply.delta(word)])
            self._wait(sim, sim.pace)

    def _events(self, events: Iterable[dict[str, Any]]) -> None:
        for event in events:
            data = f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _wait(self, sim: ClaudeSim, seconds: float) -> None:
        if seconds > 0:
            self.wfile.flush()
            sim.pause(seconds)

    def _finish(self) -> None:
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()


# --- What a reply looks like ---------------------------------------------------------------------------------------


@dataclass
class Reply:
    """One reply, as a message object or as the events that build it. usage: the input side, in tokens."""

    text: str
    stop_reason: str
    thinks: bool
    usage: dict[str, Any]
    id: str = field(default_factory=lambda: _identifier("msg"))

    def message(self) -> dict[str, Any]:
        content = []
        if self.thinks:
            content.append({"type": "thinking", "thinking": "", "signature": SIGNATURE})
        if self.text:
            content.append({"type": "text", "text": self.text})
        return {**self._shell(), "content": content, **self._stop(), "usage": self._usage(_tokens_of(self.text))}

    def beginning(self) -> list[dict[str, Any]]:
        """Thinking is on by default and its text is left out: only a signature arrives."""
        shell = {**self._shell(), "content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None}
        events: list[dict[str, Any]] = [{"type": "message_start", "message": {**shell, "usage": self._usage(1)}}]
        if self.thinks:
            empty = {"type": "thinking", "thinking": "", "signature": ""}
            events.append({"type": "content_block_start", "index": 0, "content_block": empty})
        return events

    def thought(self) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        if self.thinks:
            signed = {"type": "signature_delta", "signature": SIGNATURE}
            events.append({"type": "content_block_delta", "index": 0, "delta": signed})
            events.append({"type": "content_block_stop", "index": 0})
        events.append({"type": "ping"})
        if self.text:
            empty = {"type": "text", "text": ""}
            events.append({"type": "content_block_start", "index": self._place, "content_block": empty})
        return events

    def delta(self, text: str) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": self._place, "delta": {"type": "text_delta", "text": text}}

    def ending(self) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        if self.text:
            events.append({"type": "content_block_stop", "index": self._place})
        usage = {name: count for name, count in self.usage.items() if name != "cache_creation"}
        usage["output_tokens"] = _tokens_of(self.text)
        events.append({"type": "message_delta", "delta": self._stop(), "usage": usage})
        events.append({"type": "message_stop"})
        return events

    @property
    def _place(self) -> int:
        return 1 if self.thinks else 0

    def _shell(self) -> dict[str, Any]:
        return {"id": self.id, "type": "message", "role": "assistant", "model": MODEL}

    def _stop(self) -> dict[str, Any]:
        details = {"type": "refusal", "category": None, "explanation": None} if self.stop_reason == "refusal" else None
        return {"stop_reason": self.stop_reason, "stop_sequence": None, "stop_details": details}

    def _usage(self, output: int) -> dict[str, Any]:
        return {**self.usage, "output_tokens": output, "service_tier": "standard"}


SIGNATURE = "c2ltdWxhdGVkIHRob3VnaHQ="  # opaque to clients
MODEL_INFO = {
    "type": "model",
    "id": MODEL,
    "display_name": "Claude Sonnet 5.5",
    "created_at": "2026-09-28T00:00:00Z",
    "lifecycle": "active",
    "max_input_tokens": 1_000_000,
    "max_tokens": MOST_OUTPUT,
}


def _error(status: int, message: str, request_id: str) -> dict[str, Any]:
    kind, usual = ERRORS.get(status) or ERRORS[500 if status >= 500 else 400]
    return {"type": "error", "error": {"type": kind, "message": message or usual}, "request_id": request_id}


def _identifier(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex[:24]}"


def _halves(text: str) -> tuple[list[str], list[str]]:
    """The words of a text, each with the blanks around it, in two halves of which the first is never smaller."""
    words = re.findall(r"\s*\S+\s*$|\s*\S+|\s+", text)
    middle = (len(words) + 1) // 2
    return words[:middle], words[middle:]


# --- What is refused -----------------------------------------------------------------------------------------------


class Refusal(Exception):
    """The request is answered with an error."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


def _outcome(fault: Fault, refusal: Refusal | None) -> int | str:
    if fault.kind == "status":
        return fault.status
    if refusal is not None and fault.kind != "drop":
        return refusal.status
    return fault.kind or 200


def _parsed(raw: bytes) -> dict[str, Any] | None:
    """The request body, or None for anything but a JSON object in UTF-8 without lone surrogates."""
    try:
        body = json.loads(raw)
        if rb"\ud" in raw.lower():
            json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _refusal(
    wanted: str, headers: dict[str, str], raw: bytes, body: dict[str, Any] | None, sim: ClaudeSim
) -> Refusal | None:
    """Why the real service would refuse this request: size, then credential, then place, then content."""
    try:
        if len(raw) > MOST_BYTES:
            raise Refusal("Request exceeds the maximum size", 413)
        _check_headers(headers, sim)
        if wanted in ("POST /v1/messages", "POST /v1/messages/count_tokens"):
            _check_body(body, KNOWN if wanted.endswith("/messages") else COUNTED)
        elif wanted.startswith("GET /v1/models/"):
            _check_model(wanted.removeprefix("GET /v1/models/"))
        else:
            raise Refusal("Not found", 404)
    except Refusal as refusal:
        return refusal
    return None


def _check_headers(headers: dict[str, str], sim: ClaudeSim) -> None:
    """An API key may come either way; SDK 2.12 sends it as a bearer token, older ones as x-api-key."""
    api_key = sim.api_key
    key, bearer = headers.get("x-api-key"), headers.get("authorization")
    if not key and not bearer:
        raise Refusal("x-api-key header is required", 401)
    if key and key != api_key:
        raise Refusal("invalid x-api-key", 401)
    if not key and sim.plan_token and bearer == f"Bearer {sim.plan_token}":
        _check_plan(headers)
    elif not key and bearer and sim.accepts(bearer.removeprefix("Bearer ")):
        if "oauth-2025-04-20" not in headers.get("anthropic-beta", ""):
            raise Refusal("OAuth authentication is currently not supported.", 401)
    elif not key and bearer != f"Bearer {api_key}":
        raise Refusal("Invalid bearer token", 401)
    version = headers.get("anthropic-version", "")
    if not version:
        raise Refusal("anthropic-version: header is required")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", version):
        raise Refusal(f'anthropic-version: "{version}" is not a valid version')


def _check_plan(headers: dict[str, str]) -> None:
    """A plan's token serves Claude Code only. Anyone else gets a 429 of one word, without any header about limits:
    so reported of Sonnet and Opus by several (anthropics/anthropic-sdk-csharp#232)."""
    if "oauth-2025-04-20" not in headers.get("anthropic-beta", ""):
        raise Refusal("OAuth authentication is currently not supported.", 401)
    if not headers.get("user-agent", "").startswith("claude-cli/"):
        raise Refusal("Error", 429)


def _check_model(model: Any) -> None:
    if model != MODEL:
        raise Refusal(f"model: {model}", 404)


def _check_body(body: dict[str, Any] | None, known: set[str]) -> None:
    if body is None:
        raise Refusal("The request body is not valid JSON")
    for name in sorted(known & {"max_tokens", "messages", "model"}):
        if body.get(name) is None:
            raise Refusal(f"{name}: Field required")
    for name in body:
        if name in SAMPLING:
            raise Refusal(f"`{name}` is deprecated for this model.")
        if name not in known:
            raise Refusal(f"{name}: Extra inputs are not permitted")
    _check_settings(body)
    _check_messages(body["messages"])
    _check_system(body.get("system"))
    _check_cache_control(body)
    _check_model(body["model"])


def _check_settings(body: dict[str, Any]) -> None:
    if not isinstance(body.get("stream") or False, bool):
        raise Refusal("stream: Input should be a valid boolean")
    most = body.get("max_tokens", 1)
    if type(most) is not int:
        raise Refusal("max_tokens: Input should be a valid integer")
    if most < 1:
        raise Refusal("max_tokens: Input should be greater than or equal to 1")
    if most > MOST_OUTPUT:
        allowed = f"which is the maximum allowed number of output tokens for {MODEL}"
        raise Refusal(f"max_tokens: {most} > {MOST_OUTPUT}, {allowed}")
    thinking = _object(body, "thinking")
    if thinking and ("budget_tokens" in thinking or thinking.get("type") not in ("adaptive", "between_tools")):
        raise Refusal(
            f'"thinking.type.{thinking.get("type")}" is not supported for this model. Use "thinking.type.adaptive" '
            'and "output_config.effort" to control thinking behavior.'
        )
    effort = _object(body, "output_config").get("effort")
    if effort is not None and effort not in EFFORTS:
        raise Refusal("output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'")
    _listed(body.get("tools") or [], "tools")
    if _object(body, "tool_choice").get("type", "auto") not in ("auto", "none"):
        raise Refusal("tool_choice: forcing the use of a tool is not supported for this model.")


def _object(body: dict[str, Any], name: str) -> dict[str, Any]:
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise Refusal(f"{name}: Input should be an object")
    return value or {}


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list):
        raise Refusal("messages: Input should be a valid list")
    if not messages:
        raise Refusal("messages: at least one message is required")
    for place, message in enumerate(messages):
        if not isinstance(message, dict):
            raise Refusal(f"messages.{place}: Input should be an object")
        for name in ("content", "role"):
            if name not in message:
                raise Refusal(f"messages.{place}.{name}: Field required")
        for name in message.keys() - {"content", "role"}:
            raise Refusal(f"messages.{place}.{name}: Extra inputs are not permitted")
        # Claude Code puts its note on the environment behind the person's message, as one of the system.
        if message["role"] not in ("user", "assistant", "system") or (message["role"] == "system" and not place):
            raise Refusal(f'messages: Unexpected role "{message["role"]}"')
        _check_content(message["content"], f"messages.{place}")
    _check_images(messages)
    if messages[0]["role"] != "user":
        raise Refusal('messages: first message must use the "user" role')
    if messages[-1]["role"] == "assistant":
        raise Refusal(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )


def _check_content(content: Any, where: str) -> None:
    if content == []:
        raise Refusal(f"{where}: all messages must have non-empty content")
    for place, block in enumerate(_listed(content, f"{where}.content")):
        if block.get("type") not in BLOCKS:
            raise Refusal(f"{where}.content.{place}: Input tag '{block.get('type')}' does not match any expected tag")
        if block["type"] == "text":
            _check_text(block, f"{where}.content.{place}", "messages")
        elif block["type"] in ("image", "document"):
            _check_file(block, f"{where}.content.{place}")


def _check_file(block: dict[str, Any], where: str) -> None:
    """A picture or a PDF. The real service takes other sources too; nobody here sends one."""
    kind, names = block["type"], {"type", "source", "cache_control"}
    allowed = names | ({"title", "context", "citations"} if kind == "document" else set())
    for name in block.keys() - allowed:
        raise Refusal(f"{where}.{kind}.{name}: Extra inputs are not permitted")
    source = block.get("source")
    if not isinstance(source, dict) or source.get("type") != "base64":
        raise Refusal(f"{where}.{kind}.source: Input tag found does not match any of the expected tags: 'base64'")
    if not isinstance(block.get("title") or "", str):
        raise Refusal(f"{where}.document.title: Input should be a valid string")
    media_type, text = source.get("media_type"), source.get("data")
    at = f"{where}.{kind}.source.base64"
    if kind == "image" and media_type not in SIGNATURES:
        raise Refusal(f"{at}.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'")
    if kind == "document" and media_type != "application/pdf":
        raise Refusal(f"{at}.media_type: Input should be 'application/pdf'")
    try:
        data = base64.b64decode(text if isinstance(text, str) else "?", validate=True)
    except (ValueError, binascii.Error):
        raise Refusal(f"{at}: invalid base64 data") from None
    if kind == "document":
        if not data.startswith(b"%PDF-"):
            raise Refusal(f"{where}.pdf.source.base64.data: The PDF specified was not valid.")
        return
    if len(str(text)) > MOST_IMAGE_BYTES:
        raise Refusal(f"{at}: image exceeds 5 MB maximum: {len(str(text))} bytes > {MOST_IMAGE_BYTES} bytes")
    real = next((one for one, signature in SIGNATURES.items() if re.match(signature, data, re.DOTALL)), None)
    if real is None:
        raise Refusal("Could not process image")
    if real != media_type:
        said = f"The image was specified using the {media_type} media type, but the image appears to be a {real} image"
        raise Refusal(f"{at}: {said}")


def _check_images(messages: list[dict[str, Any]]) -> None:
    """How many there are, and how large each may be then; only of a PNG is that told."""
    images = [block for message in messages for block in _blocks(message["content"]) if block["type"] == "image"]
    if len(images) > MOST_IMAGES:
        raise Refusal(f"messages: Too many images: {len(images)} > {MOST_IMAGES}")
    many = len(images) > MANY_IMAGES
    most, of_many = (MOST_PIXELS_OF_MANY, " for many-image requests") if many else (MOST_PIXELS, "")
    if any(max(_pixels(block)) > most for block in images):
        raise Refusal(f"At least one of the image dimensions exceed max allowed size{of_many}: {most} pixels")


def _pixels(image: dict[str, Any]) -> tuple[int, int]:
    """Width and height of a PNG; (0, 0) for any other picture."""
    head = base64.b64decode(image["source"]["data"][:32])
    if image["source"]["media_type"] != "image/png":
        return 0, 0
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def _check_system(system: Any) -> None:
    if system is None or system == "":
        return
    for place, block in enumerate(_listed(system, "system")):
        if block.get("type") != "text":
            raise Refusal(f"system.{place}.type: Input should be 'text'")
        _check_text(block, f"system.{place}", "system")


def _check_text(block: dict[str, Any], where: str, part: str) -> None:
    text = block.get("text")
    if not isinstance(text, str):
        raise Refusal(f"{where}.text: Input should be a valid string")
    if not text:
        raise Refusal(f"{part}: text content blocks must be non-empty")
    if not text.strip():
        raise Refusal(f"{part}: text content blocks must contain non-whitespace text")


def _listed(content: Any, where: str) -> list[dict[str, Any]]:
    """Content as a list of blocks; a string is short for one text block."""
    blocks = _blocks(content)
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise Refusal(f"{where}: Input should be a valid string or a list of blocks")
    return blocks


def _check_cache_control(body: dict[str, Any]) -> None:
    """At most four breakpoints, and none of an hour behind one of five minutes."""
    controls = [block.get("cache_control") for _, block in _prompt(body)] + [body.get("cache_control")]
    for control in controls:
        if control is None:
            continue
        if not isinstance(control, dict) or control.get("type") != "ephemeral" or control.keys() - {"type", "ttl"}:
            raise Refusal("cache_control: Input should be {'type': 'ephemeral'} with at most a 'ttl'")
        if control.get("ttl", "5m") not in tuple(LIFETIMES):
            raise Refusal("cache_control.ttl: Input should be '5m' or '1h'")
    breakpoints = _breakpoints(body)
    if len(breakpoints) > MOST_BREAKPOINTS:
        raise Refusal(
            f"A maximum of {MOST_BREAKPOINTS} blocks with cache_control may be provided. Found {len(breakpoints)}."
        )
    lifetimes = [breakpoints[place] for place in sorted(breakpoints)]
    if lifetimes != sorted(lifetimes):  # "1h" sorts before "5m"
        raise Refusal("cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' block")


# --- What a prompt consists of, and what of it is cached -----------------------------------------------------------

# How a picture of each type begins.
SIGNATURES = {
    "image/jpeg": rb"\xff\xd8\xff",
    "image/png": rb"\x89PNG\r\n\x1a\n",
    "image/gif": rb"GIF8[79]a",
    "image/webp": rb"RIFF....WEBP",
}
BLOCKS = ("text", "image", "document", "search_result", "thinking", "redacted_thinking", "tool_use", "tool_result")


class PromptCache:
    """Prompt prefixes by the hash of their blocks, each kept for its lifetime since it was last used."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, float]] = {}  # hash: (kept until, lifetime)

    def use(self, body: dict[str, Any]) -> dict[str, Any]:
        """Look the prompt up, remember it up to each breakpoint, and account for every input token once.

        A read ends at the longest remembered prefix that ends at or before the last breakpoint; from there to the
        last breakpoint is written, and the rest is plain input (API reference, "Prompt caching").
        """
        ends, hashes = _prefixes(body)
        marks = {place: ttl for place, ttl in sorted(_breakpoints(body).items()) if ends[place] >= LEAST_CACHED}
        written = dict.fromkeys(LIFETIMES, 0)
        with self._lock:
            places = range(max(marks, default=-1), -1, -1)
            read = next((ends[place] for place in places if self._refresh(hashes[place])), 0)
            done = read
            for place, ttl in marks.items():
                if not self._refresh(hashes[place]):
                    self._kept[hashes[place]] = (self._clock() + LIFETIMES[ttl], LIFETIMES[ttl])
                written[ttl] += max(0, ends[place] - done)
                done = max(done, ends[place])
        return {
            "input_tokens": ends[-1] - done,
            "cache_creation_input_tokens": done - read,
            "cache_read_input_tokens": read,
            "cache_creation": {f"ephemeral_{ttl}_input_tokens": count for ttl, count in written.items()},
        }

    def _refresh(self, prefix: str) -> bool:
        """Whether the prefix is still kept; if so, its lifetime begins anew."""
        until, lifetime = self._kept.get(prefix, (0.0, 0.0))
        now = self._clock()
        if until <= now:
            return False
        self._kept[prefix] = (now + lifetime, lifetime)
        return True


def _prompt(body: dict[str, Any] | None) -> list[tuple[str, dict[str, Any]]]:
    """Every block of a request with the part it belongs to, in the order in which the API reads them."""
    body = body or {}
    blocks = [("tools", tool) for tool in body.get("tools") or []]
    blocks += [("system", block) for block in _blocks(body.get("system") or [])]
    for message in body["messages"]:
        blocks += [(message["role"], block) for block in _blocks(message["content"])]
    return blocks


def _blocks(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _breakpoints(body: dict[str, Any]) -> dict[int, str]:
    """The lifetime wanted for the prefix that ends with block n of the prompt; top-level means the last block."""
    controls = {place: block.get("cache_control") for place, (_, block) in enumerate(_prompt(body))}
    last = max(controls)
    controls[last] = controls[last] or body.get("cache_control")
    return {place: control.get("ttl", "5m") for place, control in controls.items() if control}


def _prefixes(body: dict[str, Any]) -> tuple[list[int], list[str]]:
    """For each block of the prompt: the tokens up to its end, and the hash of everything up to there."""
    ends, hashes, size, sha = [], [], 0, hashlib.sha256()
    for part, block in _prompt(body):
        size += _bytes([(part, block)])
        content = {name: value for name, value in block.items() if name != "cache_control"}
        sha.update(json.dumps([part, content], sort_keys=True).encode())
        ends.append(_tokens(size))
        hashes.append(sha.hexdigest())
    return ends, hashes


def _bytes(blocks: Iterable[tuple[str, dict[str, Any]]]) -> int:
    """The UTF-8 bytes that count: of a text block its text, of a file as many as make its tokens, of any other all
    of it."""
    return sum(_weight(block) for _, block in blocks)


def _weight(block: dict[str, Any]) -> int:
    if block.get("type") == "image":
        width, height = _pixels(block)
        return 4 * min(-(-width * height // 750) or MOST_IMAGE_TOKENS, MOST_IMAGE_TOKENS)
    if block.get("type") == "document":
        return 4 * PDF_TOKENS * (len(block["source"]["data"]) // 120_000 + 1)
    return len((block["text"] if block.get("type") == "text" else json.dumps(block)).encode())


def _tokens(size: int) -> int:
    return -(-size // 4)


def _tokens_of(text: str) -> int:
    """Of output at least one, as even an empty reply is billed."""
    return max(1, _tokens(len(text.encode())))


# --- What the simulation says --------------------------------------------------------------------------------------

QUOTED = 200  # characters
MOST_WORDS = 5000
CODE = """```python
def greet(name: str) -> None:
    print(f"Hello, {name}.")
```"""


# What the worker puts in front of a message that brings back earlier turns (lib/recollection.py).
MEMORIES = re.compile(r"<memories>.*?</memories>\s*", re.DOTALL)


def simulated_answer(body: dict[str, Any]) -> str:
    """A short answer made only from what was sent: the current user messages, and what came before them."""
    return " ".join(_sentences(body))


def vivid_answer(body: dict[str, Any]) -> str:
    """The same in Markdown, with a closer look at files: for somebody who reads it in a chat."""
    lead, *sentences = (sentence.replace("\n", " ") for sentence in _sentences(body))
    blocks = _blocks(body["messages"][-1]["content"])
    text = " ".join(block["text"] for block in blocks if block["type"] == "text")
    if _numbered_words(MEMORIES.sub("", text)):
        return " ".join([lead, *sentences])
    looks = [f"  - {_look(block)}" for block in blocks if block["type"] in ("image", "document")]
    points = [line for sentence in sentences for line in (f"- {sentence}", *looks * sentence.startswith("You sent "))]
    lines = [lead.replace("simulated Claude", "**simulated Claude**"), "", *points]
    return "\n".join([*lines, "", CODE] if re.search(r"\bcode\b", text, re.IGNORECASE) else lines)


def _sentences(body: dict[str, Any]) -> list[str]:
    messages = [message for message in body["messages"] if message["role"] != "system"]
    replies = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    begin = replies[-1] + 1 if replies else 0
    current = [block for message in messages[begin:] for block in _blocks(message["content"])]
    given = [block["text"] for block in current if block["type"] == "text"]
    texts = [text for text in (MEMORIES.sub("", text) for text in given) if text]
    recalled = sum(found.count("] Asked: ") for text in given for found in MEMORIES.findall(text))
    long_text = _numbered_words(" ".join(texts))
    if long_text:
        return ["I am a simulated Claude.", long_text]
    sentences = ["I am a simulated Claude." if begin else "I am a simulated Claude (no account, no network)."]
    if texts:
        sentences.append(f"You wrote: {' and '.join(_quote(text) for text in texts)}.")
    sentences += _attachments(current)
    if recalled:
        sentences.append(f"I was shown memories of {recalled} earlier turn{'s' * (recalled > 1)}.")
    if begin:
        sentences.append(_history([message for message in messages[:begin] if message["role"] == "user"]))
    elif len(messages) > 1:
        sentences.append("They are the first messages I was sent in this conversation.")
    else:
        sentences.append("It is the first message I was sent in this conversation.")
    return sentences


def _numbered_words(text: str) -> str:
    """What the request to "write N words" asks for: a reply long enough to be seen growing."""
    asked = re.search(r"\bwrite (\d{1,4}) words\b", text, re.IGNORECASE)
    count = min(int(asked[1]), MOST_WORDS) if asked else 0
    return " ".join(f"word {number}" for number in range(1, count + 1))


def _attachments(blocks: list[dict[str, Any]]) -> list[str]:
    counts = {kind: sum(block["type"] == kind for block in blocks) for kind in ("image", "document")}
    sent = [f"{count} {kind}{'s' * (count > 1)}" for kind, count in counts.items() if count]
    return [f"You sent {' and '.join(sent)}."] if sent else []


def _history(earlier: list[dict[str, Any]]) -> str:
    count = f"{len(earlier)} earlier message{'s' * (len(earlier) > 1)} of yours"
    texts = [block["text"] for block in _blocks(earlier[-1]["content"]) if block["type"] == "text"]
    latest = " and ".join(_quote(text) for text in texts) or "without text"
    return f"Before that I find {count} in what I was sent; the latest was: {latest}."


def _quote(text: str) -> str:
    return f"«{text if len(text) <= QUOTED else text[:QUOTED] + '…'}»"


def _look(block: dict[str, Any]) -> str:
    """What can be said of a picture or a document without understanding it."""
    source = block.get("source", {})
    title = f"`{block['title']}`, " if block.get("title") else ""
    size = len(source.get("data", "")) * 3 // 4 - source.get("data", "")[-2:].count("=")  # from base64
    return f"{title}{source.get('media_type', 'a file')}, {size} bytes"
