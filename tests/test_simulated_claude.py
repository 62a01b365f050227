"""The simulated Claude, seen through the real SDK and, where shapes matter, through plain HTTP."""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import pytest
import requests

from demo.claude import MODEL, ClaudeSim, vivid_answer
from demo.loopback import Fault
from tests import samples

KEY = "sk-ant-" + "api03-" + "x" * 20
HEADERS = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
LONG = "A rule of the house that is repeated until it can be cached. " * 40  # 610 tokens


@pytest.fixture
def sim() -> Iterator[ClaudeSim]:
    with ClaudeSim(KEY) as sim:
        yield sim


@pytest.fixture
def client(sim: ClaudeSim) -> Iterator[anthropic.Anthropic]:
    with connect(sim) as client:
        yield client


@pytest.fixture(scope="module")
def shared() -> Iterator[ClaudeSim]:
    """For tests that ask one question each: a server of its own would take most of their time."""
    with ClaudeSim(KEY) as sim:
        yield sim


def connect(sim: ClaudeSim, key: str = KEY, **options: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key=key, base_url=sim.url, max_retries=0, **options)


def said(*texts: str) -> list[dict[str, Any]]:
    """A conversation in which user and assistant take turns."""
    return [{"role": ("user", "assistant")[turn % 2], "content": text} for turn, text in enumerate(texts)]


def image(data: bytes = samples.png(), media_type: str = "image/png") -> dict[str, Any]:
    return {"type": "image", "source": source(data, media_type)}


def document(data: bytes = samples.PDF, media_type: str = "application/pdf", **more: Any) -> dict[str, Any]:
    return {"type": "document", "source": source(data, media_type), **more}


def source(data: bytes, media_type: str) -> dict[str, Any]:
    return {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}


def sent(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


def stream(client: anthropic.Anthropic, messages: list[dict[str, Any]], **more: Any) -> tuple[list[str], Any]:
    """The text deltas and the final message."""
    given: Any = {"model": MODEL, "max_tokens": 1000, "messages": messages, **more}
    with client.messages.stream(**given) as events:
        return list(events.text_stream), events.get_final_message()


def until_it_breaks(client: anthropic.Anthropic) -> tuple[str, Exception]:
    """The text that arrived, and what the SDK raised then."""
    text = ""
    try:
        with client.messages.stream(model=MODEL, max_tokens=1000, messages=said("hello")) as events:  # type: ignore[arg-type]
            for delta in events.text_stream:
                text += delta
    except Exception as error:
        return text, error
    pytest.fail("nothing broke")


def post(sim: ClaudeSim, headers: dict[str, str] | None = None, **changes: Any) -> requests.Response:
    """A good request, changed; a parameter set to None is left out."""
    body = {"model": MODEL, "max_tokens": 100, "messages": said("hello"), **changes}
    body = {name: value for name, value in body.items() if value is not None}
    return requests.post(f"{sim.url}/v1/messages", json=body, headers=headers or HEADERS, timeout=5)


def events_of(answer: requests.Response) -> list[dict[str, Any]]:
    events = []
    for part in answer.text.removesuffix("\n\n").split("\n\n"):
        first, second = part.split("\n")
        event = json.loads(second.removeprefix("data: "))
        assert first == f"event: {event['type']}"
        events.append(event)
    return events


# --- A good answer


def test_a_streamed_reply_arrives_in_several_pieces_and_ends_its_turn(
    sim: ClaudeSim, client: anthropic.Anthropic
) -> None:
    deltas, message = stream(client, said("hello"))
    assert len(deltas) > 10
    assert "".join(deltas) == message.content[-1].text
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens == 2
    assert message.usage.output_tokens == -(-len("".join(deltas).encode()) // 4)
    assert [request.outcome for request in sim.requests] == [200]


def test_a_reply_that_is_not_streamed_says_the_same(client: anthropic.Anthropic) -> None:
    whole = client.messages.create(model=MODEL, max_tokens=1000, messages=said("hello"))  # type: ignore[arg-type]
    _, streamed = stream(client, said("hello"))
    assert whole.content[-1].text == streamed.content[-1].text  # type: ignore[union-attr]
    assert whole.stop_reason == "end_turn"
    assert whole.usage.output_tokens == streamed.usage.output_tokens


def test_the_events_come_in_the_order_of_the_real_service(sim: ClaudeSim) -> None:
    answer = post(sim, stream=True)
    events = events_of(answer)
    kinds = [event["type"] for event in events]
    deltas = kinds.count("content_block_delta") - 1
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["transfer-encoding"] == "chunked"
    assert kinds == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "ping",
        "content_block_start",
        *["content_block_delta"] * deltas,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[1]["content_block"] == {"type": "thinking", "thinking": "", "signature": ""}
    assert events[2]["delta"]["type"] == "signature_delta"
    assert events[-2]["delta"]["stop_reason"] == "end_turn"
    counted = {"input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"}
    assert counted <= events[0]["message"]["usage"].keys()
    assert counted <= events[-2]["usage"].keys()


def test_every_answer_carries_its_own_request_id(sim: ClaudeSim) -> None:
    good, bad = post(sim), post(sim, messages=[])
    for answer, request in zip((good, bad), sim.requests, strict=True):
        assert answer.headers["request-id"] == request.request_id
        assert request.request_id.startswith("req_")
        assert len(request.request_id) == 28
    assert bad.json()["request_id"] == bad.headers["request-id"] != good.headers["request-id"]


def test_the_text_waits_for_the_first_delay_and_then_keeps_the_pace(
    sim: ClaudeSim, client: anthropic.Anthropic
) -> None:
    sim.answer = lambda body: "one two three"
    sim.first_delay, sim.pace = 0.2, 0.1
    with client.messages.stream(model=MODEL, max_tokens=9, messages=said("count")) as events:  # type: ignore[arg-type]
        times = [time.perf_counter() - sim.requests[0].at for _ in events.text_stream]
    assert times == pytest.approx([0.2, 0.3, 0.4], abs=0.08)


def test_a_reply_ends_at_max_tokens(client: anthropic.Anthropic) -> None:
    deltas, message = stream(client, said("hello"), max_tokens=5)
    assert "".join(deltas) == "I am a simulated Cla"
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 5


def test_without_up_front_thinking_there_is_only_text(client: anthropic.Anthropic) -> None:
    _, message = stream(client, said("hello"), thinking={"type": "between_tools"})
    assert [block.type for block in message.content] == ["text"]


def test_tokens_are_counted_as_a_message_would_use_them(sim: ClaudeSim, client: anthropic.Anthropic) -> None:
    given: Any = {"model": MODEL, "messages": said("hello", "good day", "grüß dich"), "system": "Be kind."}
    count = client.messages.count_tokens(**given).input_tokens
    _, message = stream(client, **{name: value for name, value in given.items() if name != "model"})
    assert count == message.usage.input_tokens == 8
    assert [request.path for request in sim.requests] == ["/v1/messages/count_tokens", "/v1/messages"]


def test_the_model_can_be_looked_up(client: anthropic.Anthropic) -> None:
    assert client.models.retrieve(MODEL).max_tokens == 128_000
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("claude-nothing")


def test_many_requests_on_one_connection_are_answered_at_once(sim: ClaudeSim) -> None:
    body = json.dumps({"model": MODEL, "max_tokens": 100, "messages": said("hello"), "stream": True})
    connection = http.client.HTTPConnection("127.0.0.1", int(sim.url.rpartition(":")[2]))
    begin = time.perf_counter()
    for _ in range(100):
        connection.request("POST", "/v1/messages", body, HEADERS)
        assert connection.getresponse().read().endswith(b'data: {"type": "message_stop"}\n\n')
    connection.close()
    assert time.perf_counter() - begin < 1


# --- What the simulation says


@pytest.mark.parametrize(
    ("messages", "answer"),
    [
        (
            said("hello"),
            "I am a simulated Claude (no account, no network). You wrote: «hello». "
            "It is the first message I was sent in this conversation.",
        ),
        (
            said("hello", "good day", "what did I just say?"),
            "I am a simulated Claude. You wrote: «what did I just say?». Before that I find 1 earlier message of "
            "yours in what I was sent; the latest was: «hello».",
        ),
        (
            [
                *said("one", "1", "two", "2", "three"),
                {"role": "user", "content": [{"type": "text", "text": "four"}, {"type": "text", "text": "five"}]},
            ],
            "I am a simulated Claude. You wrote: «three» and «four» and «five». Before that I find 2 earlier messages "
            "of yours in what I was sent; the latest was: «two».",
        ),
        (
            sent(image(), image(), document(title="report.pdf"))["messages"],
            "I am a simulated Claude (no account, no network). You sent 2 images and 1 document. "
            "It is the first message I was sent in this conversation.",
        ),
        (
            said("a" * 201),
            f"I am a simulated Claude (no account, no network). You wrote: «{'a' * 200}…». "
            "It is the first message I was sent in this conversation.",
        ),
        (said("Please write 3 words."), "I am a simulated Claude. word 1 word 2 word 3"),
    ],
)
def test_the_simulated_answer_is_made_from_what_was_sent(
    shared: ClaudeSim, messages: list[dict[str, Any]], answer: str
) -> None:
    assert post(shared, messages=messages).json()["content"][-1]["text"] == answer


def test_the_vivid_answer_is_markdown_and_looks_at_files() -> None:
    content = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}},
        {
            "type": "document",
            "title": "report.pdf",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "AA=="},
        },
        {"type": "text", "text": "show me\ncode"},
    ]
    answer = vivid_answer({"messages": [{"role": "user", "content": content}]})
    assert answer.startswith(
        "I am a **simulated Claude** (no account, no network).\n\n"
        "- You wrote: «show me code».\n"
        "- You sent 1 image and 1 document.\n"
        "  - image/jpeg, 3 bytes\n"
        "  - `report.pdf`, application/pdf, 1 bytes\n"
    )
    assert answer.endswith("```")
    assert vivid_answer({"messages": said("write 2 words")}) == "I am a simulated Claude. word 1 word 2"


def test_a_long_reply_can_be_asked_for(client: anthropic.Anthropic) -> None:
    deltas, _ = stream(client, said("write 5000 words"), max_tokens=100_000)
    assert "".join(deltas).endswith("word 4999 word 5000")


def test_a_picture_costs_by_its_pixels_and_never_more_than_1600_tokens(shared: ClaudeSim) -> None:
    costs = []
    for files in (
        [],
        [image(samples.png(300, 250))],
        [image(samples.png(4000, 4000))],
        [image(samples.JPEG, "image/jpeg")],
    ):
        costs.append(post(shared, **sent(*files, TEXT)).json()["usage"]["input_tokens"])
    assert [cost - costs[0] for cost in costs] == [0, 100, 1600, 1600]


# --- What is refused

TEXT = {"type": "text", "text": "hi"}
AT = "messages.0.content.0."
MARKED = {**TEXT, "cache_control": {"type": "ephemeral"}}
HOUR = {**TEXT, "cache_control": {"type": "ephemeral", "ttl": "1h"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"max_tokens": "100"}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": True}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": 128_001}, "max_tokens: 128001 > 128000, which is the maximum allowed number of output tokens"),
        ({"messages": None}, "messages: Field required"),
        ({"messages": "hello"}, "messages: Input should be a valid list"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"messages": said("hello", "good day")}, "This model does not support assistant message prefill."),
        ({"messages": [{"role": "assistant", "content": "hi"}, *said("hello")]}, "messages: first message must use"),
        ({"messages": [{"role": "system", "content": "hi"}, *said("hello")]}, 'messages: Unexpected role "system"'),
        ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages.0.content: Input should be a valid string"),
        ({"messages": [{"role": "user", "content": []}]}, "messages.0: all messages must have non-empty content"),
        ({"messages": [{"role": "user", "content": "a", "id": 1}]}, "messages.0.id: Extra inputs are not permitted"),
        ({"messages": [{"role": "user", "content": [{"type": "song"}]}]}, "messages.0.content.0: Input tag 'song'"),
        (sent(image(), {"type": "text", "text": ""}), "messages: text content blocks must be non-empty"),
        (
            sent(image(samples.JPEG)),
            f"{AT}image.source.base64: The image was specified using the image/png media type, but",
        ),
        (sent(image(b"no picture")), "Could not process image"),
        (
            sent(image(media_type="image/jpg")),
            f"{AT}image.source.base64.media_type: Input should be 'image/jpeg', 'image/",
        ),
        (sent(image(samples.png(padding=3_940_000))), f"{AT}image.source.base64: image exceeds 5 MB maximum: 5253"),
        (
            sent(image(samples.png(8001, 1))),
            "At least one of the image dimensions exceed max allowed size: 8000 pixels",
        ),
        (sent(*[image(samples.png(2001, 1))] * 21), "At least one of the image dimensions exceed max allowed size for"),
        (sent(*[image()] * 101), "messages: Too many images"),
        (
            sent({"type": "image", "source": {**source(b"", "image/png"), "data": "%"}}),
            f"{AT}image.source.base64: invalid",
        ),
        (sent({"type": "image"}), f"{AT}image.source: Input tag"),
        (sent({**image(), "title": "x"}), f"{AT}image.title: Extra inputs are not permitted"),
        (sent(document(b"<html>")), f"{AT}pdf.source.base64.data: The PDF specified was not valid."),
        (sent(document(media_type="text/html")), f"{AT}document.source.base64.media_type: Input should be"),
        (sent(document(title=1)), f"{AT}document.title: Input should be a valid string"),
        ({"messages": said("")}, "messages: text content blocks must be non-empty"),
        ({"messages": said("hi", "", "hi")}, "messages: text content blocks must be non-empty"),
        ({"messages": said(" \n")}, "messages: text content blocks must contain non-whitespace text"),
        ({"system": [{"type": "text", "text": ""}]}, "system: text content blocks must be non-empty"),
        ({"system": 1}, "system: Input should be a valid string"),
        ({"temperature": 1}, "`temperature` is deprecated for this model."),
        ({"top_p": 1}, "`top_p` is deprecated for this model."),
        ({"top_k": 1}, "`top_k` is deprecated for this model."),
        ({"thinking": {"type": "disabled"}}, '"thinking.type.disabled" is not supported for this model.'),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, '"thinking.type.enabled" is not supported'),
        ({"thinking": {"type": "adaptive", "budget_tokens": 2000}}, '"thinking.type.adaptive" is not supported'),
        ({"output_config": {"effort": "huge"}}, "output_config.effort: Input should be 'low',"),
        ({"output_config": "low"}, "output_config: Input should be an object"),
        ({"tool_choice": {"type": "any"}}, "tool_choice: forcing the use of a tool"),
        ({"stream": "yes"}, "stream: Input should be a valid boolean"),
        ({"mood": "good"}, "mood: Extra inputs are not permitted"),
        ({"cache_control": {"type": "eternal"}}, "cache_control: Input should be {'type': 'ephemeral'}"),
        ({"cache_control": {"type": "ephemeral", "ttl": "2h"}}, "cache_control.ttl: Input should be '5m' or '1h'"),
        ({"system": [MARKED] * 4, "cache_control": {"type": "ephemeral"}}, "A maximum of 4 blocks with cache_control"),
        ({"system": [MARKED, HOUR]}, "cache_control.ttl: a ttl='1h' cache_control block must not come after"),
    ],
)
def test_a_bad_request_is_refused_in_the_words_of_the_real_service(
    shared: ClaudeSim, changes: dict[str, Any], message: str
) -> None:
    answer = post(shared, **changes)
    error = answer.json()
    assert error["error"]["message"].startswith(message)
    assert (answer.status_code, error["type"], error["error"]["type"]) == (400, "error", "invalid_request_error")
    assert shared.requests[-1].outcome == 400


@pytest.mark.parametrize(
    "changes",
    [
        {"system": ""},
        {"system": [MARKED] * 3 + [TEXT], "cache_control": {"type": "ephemeral"}},
        {"system": [HOUR, MARKED]},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        {"max_tokens": 128_000, "stream": False, "metadata": {"user_id": "u"}, "stop_sequences": ["x"]},
        {"messages": [*said("hi"), *said("hi", "ho", "hi")]},
        sent(
            image(samples.JPEG, "image/jpeg"), image(samples.GIF, "image/gif"), image(samples.WEBP, "image/webp"), TEXT
        ),
        sent(*[image(samples.png(8000, 1))] * 20),
        sent(document(title="report.pdf", citations={"enabled": False})),
    ],
)
def test_a_good_request_is_not_refused(shared: ClaudeSim, changes: dict[str, Any]) -> None:
    assert post(shared, **changes).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status", "kind", "message"),
    [
        ({}, 401, "authentication_error", "x-api-key header is required"),
        ({"x-api-key": "no"}, 401, "authentication_error", "invalid x-api-key"),
        ({"authorization": "Bearer no"}, 401, "authentication_error", "Invalid bearer token"),
        ({"x-api-key": KEY}, 400, "invalid_request_error", "anthropic-version: header is required"),
        ({**HEADERS, "anthropic-version": "1"}, 400, "invalid_request_error", 'anthropic-version: "1" is not a valid'),
    ],
)
def test_a_request_needs_a_key_and_a_version(
    shared: ClaudeSim, headers: dict[str, str], status: int, kind: str, message: str
) -> None:
    answer = post(shared, headers={"content-type": "application/json", **headers})
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
    assert answer.json()["error"]["message"].startswith(message)


@pytest.mark.parametrize("raw", [b"", b"{", b"[1]", b"\xff", b'{"model": "\\ud83d"}'])
def test_a_body_that_is_no_json_object_is_refused_and_still_recorded(shared: ClaudeSim, raw: bytes) -> None:
    answer = requests.post(f"{shared.url}/v1/messages", data=raw, headers=HEADERS, timeout=5)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "The request body is not valid JSON"
    assert shared.requests[-1].body == {}


def test_a_body_over_32_mb_is_too_large(sim: ClaudeSim, client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.ContentTooLargeError) as caught:
        stream(client, said("x" * (32 * 1024 * 1024)))
    assert "request_too_large" in str(caught.value)


def test_an_unknown_place_is_not_found(shared: ClaudeSim) -> None:
    answer = requests.post(f"{shared.url}/v1/complete", json={}, headers=HEADERS, timeout=5)
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")


def test_the_sdk_sends_the_key_as_a_bearer_token_and_both_ways_are_accepted(
    sim: ClaudeSim, client: anthropic.Anthropic
) -> None:
    stream(client, said("hello"))
    assert sim.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert "x-api-key" not in sim.requests[0].headers
    assert post(sim).status_code == 200


def test_the_sdk_names_a_wrong_key_a_wrong_model_and_a_bad_request(sim: ClaudeSim, client: anthropic.Anthropic) -> None:
    with connect(sim, "wrong") as stranger, pytest.raises(anthropic.AuthenticationError):
        stream(stranger, said("hello"))
    with pytest.raises(anthropic.NotFoundError, match="model: claude-nothing"):
        stream(client, said("hello"), model="claude-nothing")
    with pytest.raises(anthropic.BadRequestError) as caught:
        stream(client, said(""))
    assert caught.value.request_id == sim.requests[-1].request_id
    assert [request.outcome for request in sim.requests] == [401, 404, 400]


# --- Faults before the answer begins


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, anthropic.BadRequestError, "invalid_request_error"),
        (401, anthropic.AuthenticationError, "authentication_error"),
        (402, anthropic.PaymentRequiredError, "billing_error"),
        (403, anthropic.PermissionDeniedError, "permission_error"),
        (404, anthropic.NotFoundError, "not_found_error"),
        (413, anthropic.ContentTooLargeError, "request_too_large"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (502, anthropic.InternalServerError, "api_error"),
        (503, anthropic.ServiceUnavailableError, "api_error"),
        (504, anthropic.GatewayTimeoutError, "timeout_error"),
        (529, anthropic.OverloadedError, "overloaded_error"),
    ],
)
def test_a_status_becomes_the_right_exception_of_the_sdk(
    sim: ClaudeSim, client: anthropic.Anthropic, status: int, error: type[anthropic.APIStatusError], kind: str
) -> None:
    sim.faults.add(Fault("status", status=status))
    with pytest.raises(error) as caught:
        stream(client, said("hello"))
    assert (caught.value.status_code, caught.value.type) == (status, kind)
    assert caught.value.request_id == sim.requests[0].request_id
    assert [request.outcome for request in sim.requests] == [status]
    assert stream(client, said("hello"))[1].stop_reason == "end_turn"


def test_a_limit_says_when_to_come_back(sim: ClaudeSim, client: anthropic.Anthropic) -> None:
    reset = {"retry-after": "7999", "anthropic-ratelimit-unified-reset": "1790000000"}
    sim.faults.add(Fault("status", status=429, headers=reset))
    with pytest.raises(anthropic.RateLimitError) as caught:
        stream(client, said("hello"))
    assert reset.items() <= dict(caught.value.response.headers).items()


def test_an_error_page_of_a_proxy_can_be_given(sim: ClaudeSim, client: anthropic.Anthropic) -> None:
    sim.faults.add(Fault("status", status=502, body="<h1>Bad gateway</h1>"))
    with pytest.raises(anthropic.InternalServerError) as caught:
        stream(client, said("hello"))
    assert caught.value.type is None


@pytest.mark.parametrize("kind", ["drop", "lose"])
def test_a_connection_without_an_answer_is_a_connection_error(
    sim: ClaudeSim, client: anthropic.Anthropic, kind: str
) -> None:
    sim.faults.add(Fault(kind))
    _, error = until_it_breaks(client)
    assert type(error) is anthropic.APIConnectionError
    assert [request.outcome for request in sim.requests] == [kind]


def test_only_a_lost_answer_has_had_its_effect(sim: ClaudeSim, client: anthropic.Anthropic) -> None:
    cached: Any = {"messages": said(LONG), "cache_control": {"type": "ephemeral"}}
    for kind, read in (("drop", 0), ("lose", 610)):
        sim.cache = type(sim.cache)(time.monotonic)
        sim.faults.add(Fault(kind))
        with pytest.raises(anthropic.APIConnectionError):
            stream(client, **cached)
        assert stream(client, **cached)[1].usage.cache_read_input_tokens == read


def test_an_answer_held_back_for_too_long_is_a_timeout(sim: ClaudeSim) -> None:
    sim.faults.add(Fault("hang", seconds=5))
    with connect(sim, timeout=0.2) as client:
        _, error = until_it_breaks(client)
    assert type(error) is anthropic.APITimeoutError


def test_an_answer_held_back_for_a_while_still_comes(sim: ClaudeSim, client: anthropic.Anthropic) -> None:
    sim.faults.add(Fault("hang", seconds=0.2))
    begin = time.perf_counter()
    assert stream(client, said("hello"))[1].stop_reason == "end_turn"
    assert time.perf_counter() - begin > 0.2


def test_an_unknown_fault_is_a_mistake_of_the_test(sim: ClaudeSim) -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        sim.faults.add(Fault("overloaded"))


# --- Faults in the middle of a stream


def test_an_overload_in_mid_stream_has_status_200(sim: ClaudeSim, client: anthropic.Anthropic) -> None:
    sim.faults.add(Fault("overloaded-midway"))
    text, error = until_it_breaks(client)
    assert text.startswith("I am a simulated Claude")
    assert type(error) is anthropic.APIStatusError
    assert (error.status_code, error.type) == (200, "overloaded_error")
    assert [request.outcome for request in sim.requests] == ["overloaded-midway"]


def test_a_cut_in_mid_stream_is_a_bare_protocol_error(sim: ClaudeSim, client: anthropic.Anthropic) -> None:
    sim.faults.add(Fault("cut-midway"))
    text, error = until_it_breaks(client)
    assert text.startswith("I am a simulated Claude")
    assert type(error) is httpx2.RemoteProtocolError


def test_an_early_end_raises_nothing_and_has_no_stop_reason(sim: ClaudeSim, client: anthropic.Anthropic) -> None:
    sim.faults.add(Fault("ends-early"))
    deltas, message = stream(client, said("hello"))
    assert deltas
    assert message.stop_reason is None


def test_silence_in_mid_stream_is_a_bare_read_timeout(sim: ClaudeSim) -> None:
    sim.faults.add(Fault("stalls-midway", seconds=5))
    with connect(sim, timeout=0.3) as client:
        text, error = until_it_breaks(client)
    assert text.startswith("I am a simulated Claude")
    assert type(error) is httpx2.ReadTimeout


def test_a_stall_that_ends_leaves_the_whole_text(sim: ClaudeSim, client: anthropic.Anthropic) -> None:
    sim.faults.add(Fault("stalls-midway", seconds=0.2))
    assert "".join(stream(client, said("hello"))[0]).endswith("sent in this conversation.")


def test_a_slow_start_sends_the_headers_at_once(sim: ClaudeSim, client: anthropic.Anthropic) -> None:
    sim.faults.add(Fault("slow-start", seconds=0.3))
    begin = time.perf_counter()
    with client.messages.stream(model=MODEL, max_tokens=9, messages=said("hello")) as events:  # type: ignore[arg-type]
        headers = time.perf_counter() - begin
        next(iter(events))
        first = time.perf_counter() - begin
    assert headers < 0.2
    assert first > 0.3


@pytest.mark.parametrize(
    ("kind", "stop_reason"),
    [
        ("refusal", "refusal"),
        ("max-tokens", "max_tokens"),
        ("context-exceeded", "model_context_window_exceeded"),
    ],
)
def test_a_reply_can_stop_after_some_text_for_another_reason(
    sim: ClaudeSim, client: anthropic.Anthropic, kind: str, stop_reason: str
) -> None:
    sim.faults.add(Fault(kind))
    deltas, message = stream(client, said("hello"))
    assert message.stop_reason == stop_reason
    assert not "".join(deltas).endswith("conversation.")


def test_a_reply_can_be_empty(sim: ClaudeSim, client: anthropic.Anthropic) -> None:
    sim.faults.add(Fault("empty"))
    deltas, message = stream(client, said("hello"))
    assert deltas == []
    assert message.stop_reason == "end_turn"
    assert [block.type for block in message.content] == ["thinking"]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("overloaded-midway", anthropic.OverloadedError),
        ("cut-midway", anthropic.APIConnectionError),
        ("ends-early", anthropic.APIConnectionError),
        ("slow-start", anthropic.APITimeoutError),
        ("stalls-midway", anthropic.APITimeoutError),
    ],
)
def test_a_reply_that_is_not_streamed_fails_in_its_own_way(
    sim: ClaudeSim, kind: str, error: type[anthropic.APIError]
) -> None:
    sim.faults.add(Fault(kind, seconds=5))
    with connect(sim, timeout=0.3) as client, pytest.raises(anthropic.APIError) as caught:
        client.messages.create(model=MODEL, max_tokens=100, messages=said("hello"))  # type: ignore[arg-type]
    assert type(caught.value) is error


# --- The prompt cache


def cache_of(client: anthropic.Anthropic, messages: list[dict[str, Any]], **more: Any) -> tuple[int, int, int]:
    """Tokens read from the cache, written to it, and neither."""
    usage = stream(client, messages, **more)[1].usage
    return usage.cache_read_input_tokens, usage.cache_creation_input_tokens, usage.input_tokens


def test_a_growing_conversation_is_read_from_the_cache_up_to_the_last_turn(client: anthropic.Anthropic) -> None:
    auto = {"type": "ephemeral"}
    assert cache_of(client, said(LONG), cache_control=auto) == (0, 610, 0)
    assert cache_of(client, said(LONG, "yes. " * 8, "more"), cache_control=auto) == (610, 11, 0)
    assert cache_of(client, said(LONG, "yes. " * 8, "more", "well", "fine"), cache_control=auto) == (621, 2, 0)


def test_what_stands_behind_the_last_breakpoint_is_plain_input(client: anthropic.Anthropic) -> None:
    rules = [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    assert cache_of(client, said("hello"), system=rules) == (0, 610, 2)
    assert cache_of(client, said("something else"), system=rules) == (610, 0, 4)


def test_the_cache_knows_which_lifetime_was_written(client: anthropic.Anthropic) -> None:
    rules = [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    usage = stream(client, said("hello"), system=rules, cache_control={"type": "ephemeral"})[1].usage
    written = usage.cache_creation
    assert (written.ephemeral_1h_input_tokens, written.ephemeral_5m_input_tokens) == (610, 2)


def test_a_changed_beginning_a_short_prompt_or_no_breakpoint_is_not_read(client: anthropic.Anthropic) -> None:
    auto = {"type": "ephemeral"}
    assert cache_of(client, said("short"), cache_control=auto) == (0, 0, 2)
    assert cache_of(client, said(LONG)) == (0, 0, 610)
    assert cache_of(client, said(LONG), cache_control=auto) == (0, 610, 0)
    assert cache_of(client, said("New: " + LONG), cache_control=auto) == (0, 612, 0)
    assert cache_of(client, said(LONG)) == (0, 0, 610)


def test_a_cached_prompt_is_forgotten_five_minutes_after_its_last_use() -> None:
    now = [0.0]
    with ClaudeSim(KEY, clock=lambda: now[0]) as sim, connect(sim) as client:
        for now[0], read in ((0.0, 0), (299.0, 610), (598.0, 610), (898.0, 0)):
            assert cache_of(client, said(LONG), cache_control={"type": "ephemeral"})[0] == read


# --- A plan's token


PLAN = "sk-ant-" + "oat01-" + "y" * 20


def test_a_plan_token_without_claude_code_gets_a_429_of_one_word() -> None:
    with ClaudeSim(KEY, plan_token=PLAN) as sim:
        client = anthropic.Anthropic(
            auth_token=PLAN,
            base_url=sim.url,
            max_retries=0,
            default_headers={"anthropic-beta": "oauth-2025-04-20"},
        )
        with client, pytest.raises(anthropic.RateLimitError) as caught:
            stream(client, said("hello"))
        assert caught.value.api_message == "Error"
        headers = caught.value.response.headers
        assert not [name for name in headers if "ratelimit" in name or name == "retry-after"]


def test_a_plan_token_is_no_api_key_and_needs_the_oauth_beta() -> None:
    with ClaudeSim(KEY, plan_token=PLAN) as sim:
        as_key = post(sim, {**HEADERS, "x-api-key": PLAN})
        bare = post(sim, {"authorization": f"Bearer {PLAN}", "anthropic-version": "2023-06-01"})
    assert (as_key.status_code, bare.status_code) == (401, 401)
    assert bare.json()["error"]["message"] == "OAuth authentication is currently not supported."


def test_a_plan_token_is_unknown_where_there_is_no_plan(sim: ClaudeSim) -> None:
    assert post(sim, {"authorization": "Bearer ", "anthropic-version": "2023-06-01"}).status_code == 401


def test_a_note_of_the_system_may_stand_behind_a_message_but_not_first(sim: ClaudeSim) -> None:
    note = {"role": "system", "content": "Today is Sunday."}
    assert "«hello»" in post(sim, messages=[*said("hello"), note]).json()["content"][-1]["text"]
    assert post(sim, messages=[note, *said("hello")]).status_code == 400


# --- The server


def test_an_outage_is_refused_connections_and_then_the_same_address_again(sim: ClaudeSim) -> None:
    url = sim.url
    with connect(sim) as client:
        stream(client, said("hello"))
        sim.stop()
        assert type(until_it_breaks(client)[1]) is anthropic.APIConnectionError
        sim.start()
        assert sim.url == url
        assert stream(client, said("hello"))[1].stop_reason == "end_turn"
    assert len(sim.requests) == 2


def test_an_outage_cuts_the_streams_that_are_under_way(sim: ClaudeSim, client: anthropic.Anthropic) -> None:
    sim.pace = 0.05
    threading.Timer(0.2, sim.stop).start()
    text, error = until_it_breaks(client)
    assert text.startswith("I am")
    assert isinstance(error, httpx2.TransportError)


def test_a_test_can_wait_for_a_request(sim: ClaudeSim) -> None:
    assert not sim.wait_for(lambda: bool(sim.requests), 0.05)
    threading.Timer(0.1, post, [sim]).start()
    assert sim.wait_for(lambda: len(sim.requests) == 1, 5)
