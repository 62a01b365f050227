"""The simulated Telegram keeps the real one's promises and makes its refusals, over real HTTP."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from demo.loopback import Fault
from demo.telegram import ALICE, BOB, Call, Person, TelegramSim

TOKEN = f"{123456}:{'A' * 35}"


@pytest.fixture
def sim():
    simulator = TelegramSim(TOKEN)
    simulator.start()
    yield simulator
    threading.Thread(target=simulator.__exit__).start()  # a stop takes 50 ms, and there are many tests


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as executor:
        yield executor


@pytest.fixture
def chat(sim):
    """Alice has written, so the bot may write to her."""
    sim.say(ALICE, "hello")
    return ALICE.id


def call(sim, method, token=TOKEN, **params):
    params = {k: json.dumps(v) if isinstance(v, list | dict | bool) else v for k, v in params.items()}
    return requests.post(f"{sim.url}/bot{token}/{method}", data=params, timeout=10)


def result(sim, method, **params):
    answer = call(sim, method, **params).json()
    assert answer["ok"], answer
    return answer["result"]


def refusal(sim, method, **params):
    response = call(sim, method, **params)
    answer = response.json()
    assert answer["ok"] is False
    assert answer["error_code"] == response.status_code
    return response.status_code, answer["description"]


def ids(updates):
    return [update["update_id"] for update in updates]


def waiting(sim, polls=1):
    """True once so many getUpdates are held open."""
    return sim.wait_for(lambda s: sum(c.method == "getUpdates" and not c.status for c in s.calls) == polls, 3)


# Updates


def test_a_message_looks_as_telegram_sends_it(sim):
    update_id = sim.say(ALICE, "🎉 /start now, not/this", date=int(time.time()) - 5)
    (update,) = result(sim, "getUpdates")
    assert update["update_id"] == update_id
    message = update["message"]
    assert message["from"] == {
        "id": 1001,
        "is_bot": False,
        "first_name": "Alice",
        "username": "alice",
        "language_code": "en",
    }
    assert message["chat"] == {"id": 1001, "first_name": "Alice", "type": "private", "username": "alice"}
    assert message["entities"] == [{"offset": 3, "length": 6, "type": "bot_command"}]
    assert 4 <= time.time() - message["date"] <= 7


def test_an_update_comes_again_until_a_later_offset_confirms_it(sim):
    first, second, third = (sim.say(ALICE, text) for text in "abc")
    assert ids(result(sim, "getUpdates", timeout=1)) == [first, second, third]
    assert ids(result(sim, "getUpdates", offset=first)) == [first, second, third]
    assert sim.pending() == [first, second, third]
    assert ids(result(sim, "getUpdates", offset=third, limit=1)) == [third]
    assert sim.pending() == [third]
    assert ids(result(sim, "getUpdates", offset=third + 1)) == []
    assert sim.pending() == []


def test_asking_the_same_again_within_half_a_second_brings_one_update(sim):
    first, _ = sim.say(ALICE, "a"), sim.say(ALICE, "b")
    assert len(result(sim, "getUpdates")) == 2
    assert ids(result(sim, "getUpdates")) == [first]


def test_asking_for_nothing_twice_takes_three_seconds(sim):
    assert result(sim, "getUpdates", offset=7) == []
    begin = time.monotonic()
    assert result(sim, "getUpdates", offset=7) == []
    assert 2.9 < time.monotonic() - begin < 3.5


def test_a_negative_offset_forgets_the_older_ones(sim):
    *_, last = (sim.say(ALICE, text) for text in "abc")
    assert ids(result(sim, "getUpdates", offset=-1, timeout=1)) == [last]
    assert sim.pending() == [last]


@pytest.mark.parametrize("away", [11, 1_500_000_000, -200_000])
def test_a_senseless_offset_means_the_head(sim, away):
    first = sim.say(ALICE, "a")
    assert ids(result(sim, "getUpdates", offset=first + 1 + away)) == [first]


def test_an_offset_a_little_ahead_confirms_everything(sim):
    first = sim.say(ALICE, "a")
    assert result(sim, "getUpdates", offset=first + 11) == []
    assert sim.pending() == []


def test_limit_stays_between_one_and_a_hundred(sim):
    for number in range(120):
        sim.say(ALICE, str(number))
    assert len(result(sim, "getUpdates", limit=1000)) == 100
    assert len(result(sim, "getUpdates", offset=-120, limit=-5)) == 1


def test_ids_may_jump_ahead(sim):
    first = sim.say(ALICE, "a")
    assert sim.push({"update_id": first + 500, "poll": {"id": "1"}}) == first + 500
    with pytest.raises(ValueError, match="not new"):
        sim.push({"update_id": first, "poll": {"id": "1"}})
    assert ids(result(sim, "getUpdates")) == [first, first + 500]


def test_a_long_poll_wakes_at_once(sim, pool):
    poll = pool.submit(result, sim, "getUpdates", timeout=20)
    assert waiting(sim)
    begin = time.perf_counter()
    update_id = sim.say(ALICE, "hello")
    assert ids(poll.result(3)) == [update_id]
    assert time.perf_counter() - begin < 0.2


def test_a_long_poll_ends_empty_after_its_timeout(sim):
    begin = time.monotonic()
    assert result(sim, "getUpdates", timeout=1) == []
    assert 0.9 < time.monotonic() - begin < 1.5


def test_a_second_poll_ends_the_older_one(sim, pool):
    old = pool.submit(refusal, sim, "getUpdates", timeout=20)
    assert waiting(sim)
    new = pool.submit(result, sim, "getUpdates", timeout=20)
    assert old.result(2) == (
        409,
        "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
    )
    update_id = sim.say(ALICE, "hello")
    assert ids(new.result(2)) == [update_id]


def test_further_conflicts_are_told_three_seconds_late(sim, pool):
    first = pool.submit(refusal, sim, "getUpdates", timeout=20)
    assert waiting(sim)
    second = pool.submit(refusal, sim, "getUpdates", timeout=20)
    assert first.result(2)[0] == 409
    assert waiting(sim)
    begin = time.monotonic()
    third = pool.submit(result, sim, "getUpdates", timeout=20)
    assert waiting(sim, polls=2)
    sim.say(ALICE, "hello")
    assert len(third.result(2)) == 1
    assert second.result(5)[0] == 409
    assert 2.8 < time.monotonic() - begin < 3.6


def test_a_poller_that_died_swallows_nothing_and_keeps_nobody_out(sim, pool):
    dead = socket.create_connection(("127.0.0.1", int(sim.url.rpartition(":")[2])))
    dead.sendall(f"GET /bot{TOKEN}/getUpdates?timeout=20 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert waiting(sim)
    dead.close()
    first = sim.say(ALICE, "hello")
    assert ids(result(sim, "getUpdates", offset=first)) == [first]
    new = pool.submit(result, sim, "getUpdates", offset=first + 1, timeout=20)
    assert waiting(sim)
    second = sim.say(ALICE, "still there?")
    assert ids(new.result(2)) == [second]


def test_a_webhook_forbids_polling(sim, pool):
    poll = pool.submit(refusal, sim, "getUpdates", timeout=20)
    assert waiting(sim)
    sim.webhook = "https://example.org/hook"
    assert poll.result(2) == (409, "Conflict: terminated by setWebhook request")
    assert result(sim, "getWebhookInfo")["url"] == "https://example.org/hook"
    assert result(sim, "deleteWebhook") is True
    assert result(sim, "getUpdates", offset=1) == []


def test_polling_with_a_webhook_set_is_a_conflict(sim):
    sim.webhook = "https://example.org/hook"
    status, text = refusal(sim, "getUpdates")
    assert status == 409
    assert text.startswith("Conflict: can't use getUpdates method while webhook is active")


def test_an_update_is_dropped_after_a_day(sim):
    sim.clock = lambda: 1_000_000.0
    old = sim.say(ALICE, "old")
    sim.clock = lambda: 1_000_000.0 + 80_000
    young = sim.say(ALICE, "young")
    assert ids(result(sim, "getUpdates", timeout=1)) == [old, young]
    sim.clock = lambda: 1_000_000.0 + 86_401
    assert ids(result(sim, "getUpdates", offset=old)) == [young]


def test_allowed_updates_last_until_they_are_changed(sim):
    reaction = {"message_reaction": {"chat": ALICE.as_chat(), "message_id": 1}}
    assert sim.push(reaction) == 0
    result(sim, "getUpdates", allowed_updates=["message_reaction"])
    assert sim.say(ALICE, "not asked for") == 0
    wanted = sim.push(reaction)
    assert ids(result(sim, "getUpdates", offset=1)) == [wanted]
    result(sim, "getUpdates", offset=2, allowed_updates=[])
    assert sim.push(reaction) == 0
    assert sim.say(ALICE, "asked for") > wanted


def test_a_confirmed_update_can_be_sent_again(sim, pool):
    first, second = sim.say(ALICE, "a"), sim.say(ALICE, "b")
    with pytest.raises(ValueError, match="not confirmed"):
        sim.redeliver(first)
    assert result(sim, "getUpdates", offset=second + 1) == []
    poll = pool.submit(result, sim, "getUpdates", offset=second + 1, timeout=20)
    assert waiting(sim)
    sim.redeliver(first)
    assert ids(poll.result(2)) == [first]
    assert sim.pending() == []


def test_an_edit_is_an_update_of_its_own(sim):
    message = sim.update(sim.say(ALICE, "/start"))["message"]
    sim.edit(ALICE, message["message_id"], "never mind")
    edited = result(sim, "getUpdates")[1]["edited_message"]
    assert edited["message_id"] == message["message_id"]
    assert edited["text"] == "never mind"
    assert "entities" not in edited
    assert edited["edit_date"] >= edited["date"]


def test_ten_thousand_updates_are_no_burden(sim):
    session, got, offset = requests.Session(), 0, 0
    begin = time.monotonic()
    for number in range(10_000):
        sim.say(ALICE, f"message {number}")
    while updates := session.get(f"{sim.url}/bot{TOKEN}/getUpdates", params={"offset": offset}, timeout=5).json():
        if not updates["result"]:
            break
        got += len(updates["result"])
        offset = updates["result"][-1]["update_id"] + 1
    assert got == 10_000
    assert time.monotonic() - begin < 3


# Who may call, and how


def test_parameters_come_by_query_form_or_json(sim, chat):
    address = f"{sim.url}/bot{TOKEN}/SENDmessage"
    plain = {"chat_id": chat, "text": "ä"}
    for response in (
        requests.post(address, params=plain, timeout=5),
        requests.post(address, data=plain, timeout=5),
        requests.post(address, json={**plain, "entities": [{"type": "bold", "offset": 0, "length": 1}]}, timeout=5),
    ):
        assert response.json()["result"]["text"] == "ä"
    assert requests.get(address, params=plain, timeout=5).ok
    assert {c.method for c in sim.calls} == {"sendMessage"}
    assert sim.messages(chat)[2].entities == [{"type": "bold", "offset": 0, "length": 1}]


def test_a_wrong_token_is_unauthorized_and_a_malformed_one_not_found(sim):
    assert call(sim, "getMe").json()["result"]["id"] == sim.bot_id == 123456
    assert refusal(sim, "getMe", token=TOKEN + "x") == (401, "Unauthorized")
    assert refusal(sim, "getMe", token="nonsense") == (404, "Not Found")
    assert requests.get(sim.url, timeout=5).json() == {"ok": False, "error_code": 404, "description": "Not Found"}


def test_an_unknown_method_is_not_found(sim):
    assert refusal(sim, "makeCoffee") == (404, "Not Found: method not found")


def test_a_revoked_token_is_dead_until_there_is_a_new_one(sim, pool):
    poll = pool.submit(result, sim, "getUpdates", timeout=20)
    assert waiting(sim)
    sim.revoke()
    assert poll.result(2) == []
    assert refusal(sim, "getUpdates") == (401, "Unauthorized")
    sim.token = f"{123456}:{'B' * 35}"
    assert refusal(sim, "getMe") == (401, "Unauthorized")
    assert call(sim, "getMe", token=sim.token).ok


# Messages


def test_a_message_is_stored_trimmed_and_told_to_the_listener(sim, chat):
    heard = []
    sim.on_event = lambda *event: heard.append(event)
    message = result(
        sim, "sendMessage", chat_id=chat, text="\n  x hi  ", entities=[{"type": "bold", "offset": 5, "length": 4}]
    )
    assert message["text"] == "x hi"
    assert message["entities"] == [{"type": "bold", "offset": 2, "length": 2}]
    assert message["from"]["is_bot"] is True
    (sent,) = sim.messages(chat)
    assert (sent.message_id, sent.text) == (message["message_id"], "x hi")
    assert heard == [("message", chat, "x hi")]


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("", "message text is empty"),
        (" \n ", "message text is empty"),
        ("a" * 4097, "message is too long"),
        ("🎉" * 2049, "message is too long"),
        ("ж" * 16385, "text is too long"),
        (b"\xff", "strings must be encoded in UTF-8"),
    ],
)
def test_a_bad_text_is_refused(sim, chat, text, description):
    assert refusal(sim, "sendMessage", chat_id=chat, text=text) == (400, f"Bad Request: {description}")
    assert sim.sent == []


def test_half_a_surrogate_pair_is_not_utf_8(sim, chat):
    body = f'{{"chat_id": {chat}, "text": "\\ud83d"}}'
    address = f"{sim.url}/bot{TOKEN}/sendMessage"
    response = requests.post(address, data=body, headers={"Content-Type": "application/json"}, timeout=5)
    assert response.json()["description"] == "Bad Request: strings must be encoded in UTF-8"


def test_the_longest_text_passes(sim, chat):
    assert result(sim, "sendMessage", chat_id=chat, text=" " + "🎉" * 2048)["text"] == "🎉" * 2048


@pytest.mark.parametrize(
    ("entity", "description"),
    [
        ({"offset": 0, "length": 1}, "can't parse MessageEntity: Can't find field \"type\""),
        ({"type": "bold", "length": 1}, "can't parse MessageEntity: Can't find field \"offset\""),
        (
            {"type": "bold", "offset": 0, "length": None},
            'can\'t parse MessageEntity: Field "length" must be of type Number',
        ),
        ({"type": "sparkle", "offset": 0, "length": 1}, "can't parse MessageEntity: Unsupported type specified"),
        ({"type": "text_link", "offset": 0, "length": 1}, "can't parse MessageEntity: Can't find field \"url\""),
        ("bold", "can't parse MessageEntity: expected an Object"),
        ({"type": "bold", "offset": -1, "length": 1}, "receive an entity with incorrect offset -1"),
        ({"type": "bold", "offset": 0, "length": -1}, "receive an entity with incorrect length -1"),
        (
            {"type": "bold", "offset": 1, "length": 4},
            "entity beginning at UTF-16 offset 1 ends after the end of the text at UTF-16 offset 5",
        ),
        ({"type": "bold", "offset": 0, "length": 3}, "entity ends in a middle of a UTF-16 symbol"),
        ({"type": "bold", "offset": 9, "length": 1}, "entity begins after the end of the text at UTF-16 offset 9"),
    ],
)
def test_a_bad_entity_is_refused(sim, chat, entity, description):
    answer = refusal(sim, "sendMessage", chat_id=chat, text="ab🎉", entities=[entity])
    assert answer == (400, f"Bad Request: {description}")


def test_entities_the_server_finds_itself_are_ignored(sim, chat):
    given = [{"type": "url", "offset": 0, "length": 2}, {"type": "code", "offset": 0, "length": 4}]
    assert result(sim, "sendMessage", chat_id=chat, text="ab🎉", entities=given)["entities"] == given[1:]


def test_only_known_parse_modes_are_taken(sim, chat):
    for mode in ("HTML", "Markdown", "MarkdownV2"):
        assert result(sim, "sendMessage", chat_id=chat, text="x", parse_mode=mode)
    assert refusal(sim, "sendMessage", chat_id=chat, text="x", parse_mode="BBCode") == (
        400,
        "Bad Request: unsupported parse_mode",
    )


def test_the_bot_writes_only_to_who_wrote_first(sim):
    assert refusal(sim, "sendMessage", chat_id=BOB.id, text="x") == (400, "Bad Request: chat not found")
    assert refusal(sim, "sendMessage", text="x") == (400, "Bad Request: chat_id is empty")


def test_a_blocked_bot_is_forbidden(sim, chat):
    sent = result(sim, "sendMessage", chat_id=chat, text="x")
    sim.block(chat)
    blocked = (403, "Forbidden: bot was blocked by the user")
    assert refusal(sim, "sendMessage", chat_id=chat, text="x") == blocked
    assert refusal(sim, "sendChatAction", chat_id=chat, action="typing") == blocked
    assert refusal(sim, "sendMessageDraft", chat_id=chat, draft_id=1, text="x") == blocked
    assert refusal(sim, "editMessageText", chat_id=chat, message_id=sent["message_id"], text="y") == blocked
    sim.unblock(chat)
    assert result(sim, "sendMessage", chat_id=chat, text="x")


def test_a_reply_needs_its_message_unless_told_otherwise(sim, chat):
    asked = sim.update(sim.pending()[0])["message"]["message_id"]
    reply = result(sim, "sendMessage", chat_id=chat, text="x", reply_parameters={"message_id": asked})
    assert reply["reply_to_message"]["text"] == "hello"
    assert sim.messages(chat)[0].reply_to == asked
    assert refusal(sim, "sendMessage", chat_id=chat, text="x", reply_parameters={"message_id": 999}) == (
        400,
        "Bad Request: message to be replied not found",
    )
    lenient = {"message_id": 999, "allow_sending_without_reply": True}
    assert "reply_to_message" not in result(sim, "sendMessage", chat_id=chat, text="x", reply_parameters=lenient)
    assert refusal(sim, "sendMessage", chat_id=chat, text="x", reply_parameters="{")[1] == (
        "Bad Request: can't parse reply parameters JSON object"
    )


def test_an_edit_changes_the_message_and_is_refused_without_a_change(sim, chat):
    message_id = result(sim, "sendMessage", chat_id=chat, text="one")["message_id"]
    edited = result(sim, "editMessageText", chat_id=chat, message_id=message_id, text="two")
    assert (edited["text"], edited["message_id"]) == ("two", message_id)
    assert (sim.sent[0].text, sim.sent[0].edits) == ("two", ["one"])
    status, text = refusal(sim, "editMessageText", chat_id=chat, message_id=message_id, text="two ")
    assert status == 400
    assert text.startswith("Bad Request: message is not modified: specified new message content")
    assert refusal(sim, "editMessageText", chat_id=chat, message_id=999, text="x") == (
        400,
        "Bad Request: message to edit not found",
    )
    assert refusal(sim, "editMessageText", chat_id=chat, message_id=message_id - 1, text="x") == (
        400,
        "Bad Request: message can't be edited",
    )


def test_a_message_is_deleted_once(sim, chat):
    message_id = result(sim, "sendMessage", chat_id=chat, text="one")["message_id"]
    assert result(sim, "deleteMessage", chat_id=chat, message_id=message_id) is True
    assert sim.sent[0].deleted
    assert refusal(sim, "deleteMessage", chat_id=chat, message_id=message_id) == (
        400,
        "Bad Request: message to delete not found",
    )


def test_a_reaction_comes_from_the_list(sim, chat):
    asked = sim.update(sim.pending()[0])["message"]["message_id"]
    assert result(
        sim, "setMessageReaction", chat_id=chat, message_id=asked, reaction=[{"type": "emoji", "emoji": "👀"}]
    )
    assert sim.reactions == {(chat, asked): "👀"}
    odd = [{"type": "emoji", "emoji": "✅"}]
    assert refusal(sim, "setMessageReaction", chat_id=chat, message_id=asked, reaction=odd) == (
        400,
        "Bad Request: REACTION_INVALID",
    )
    assert result(sim, "setMessageReaction", chat_id=chat, message_id=asked, reaction=[])
    assert sim.reactions == {}


def test_commands_are_kept_by_scope(sim, chat):
    commands = [{"command": "start", "description": "Begin"}]
    scope = {"type": "chat", "chat_id": chat}
    assert result(sim, "setMyCommands", commands=commands, scope=scope) is True
    assert result(sim, "getMyCommands") == []
    assert result(sim, "getMyCommands", scope=scope) == commands
    assert refusal(sim, "setMyCommands", commands=[{"command": "No!", "description": "x"}])[0] == 400
    assert refusal(sim, "setMyCommands", scope={"type": "chat", "chat_id": 5})[1] == "Bad Request: chat not found"


def test_a_callback_query_is_answered_once(sim, chat):
    sim.push({"callback_query": {"id": "77", "from": ALICE.as_user(), "data": "stop"}})
    assert result(sim, "answerCallbackQuery", callback_query_id=77) is True
    assert refusal(sim, "answerCallbackQuery", callback_query_id=77)[1].startswith("Bad Request: query is too old")


# Limits


def test_drafts_and_actions_share_one_budget(sim, chat):
    sim.clock = lambda: 100.0
    for number in range(10):
        assert result(sim, "sendMessageDraft", chat_id=chat, draft_id=1, text="." * number) is True
        assert result(sim, "sendChatAction", chat_id=chat, action="typing") is True
    response = call(sim, "sendMessageDraft", chat_id=chat, draft_id=1, text="more")
    assert response.json() == {
        "ok": False,
        "error_code": 429,
        "description": "Too Many Requests: retry after 5",
        "parameters": {"retry_after": 5},
    }
    assert response.headers["Retry-After"] == "5"
    assert sim.drafts(chat)[-1] == "." * 9
    sim.clock = lambda: 105.0
    for _ in range(20):
        assert result(sim, "sendChatAction", chat_id=chat, action="typing")
    sim.clock = lambda: 111.0
    assert refusal(sim, "sendChatAction", chat_id=chat, action="typing") == (429, "Too Many Requests: retry after 19")


def test_a_draft_needs_an_id_and_a_private_chat(sim, chat):
    assert refusal(sim, "sendMessageDraft", chat_id=chat, text="x")[0] == 400
    assert refusal(sim, "sendMessageDraft", chat_id=chat, draft_id=0, text="x")[0] == 400
    assert refusal(sim, "sendMessageDraft", chat_id=chat, draft_id=1, text="a" * 4097)[0] == 400
    assert result(sim, "sendMessageDraft", chat_id=chat, draft_id=1, text="") is True
    sim.push({"message": {"message_id": 9, "chat": {"id": -5, "type": "group"}, "date": 1}})
    assert refusal(sim, "sendMessageDraft", chat_id=-5, draft_id=1, text="x")[0] == 400


def test_flood_control_can_be_switched_on(sim, chat):
    sim.flood_per_chat = (2, 7)
    sim.clock = lambda: 100.0
    sim.say(BOB, "hello")
    for text in "ab":
        assert result(sim, "sendMessage", chat_id=chat, text=text)
    assert refusal(sim, "sendMessage", chat_id=chat, text="c") == (429, "Too Many Requests: retry after 7")
    assert result(sim, "sendMessage", chat_id=BOB.id, text="c")
    sim.clock = lambda: 107.0
    assert result(sim, "sendMessage", chat_id=chat, text="c")


def test_nobody_can_say_more_than_an_app_can_send(sim):
    with pytest.raises(ValueError, match="4096"):
        sim.say(Person(5, "Eve"), "🎉" * 2049)


# Faults


@pytest.mark.parametrize("status", [400, 401, 403, 409, 500])
def test_a_status_fault_answers_as_telegram_would(sim, chat, status):
    sim.faults.add(Fault("status", "sendMessage", status=status))
    assert refusal(sim, "sendMessage", chat_id=chat, text="x")[0] == status
    assert sim.sent == []
    assert result(sim, "sendMessage", chat_id=chat, text="x")
    assert [c.status for c in sim.calls] == [status, 200]


def test_a_429_fault_says_when_to_come_back(sim, chat):
    sim.faults.add(Fault("status", "sendMessage", status=429, seconds=4))
    response = call(sim, "sendmessage", chat_id=chat, text="x")
    assert response.status_code == 429
    assert response.headers["Retry-After"] == "4"
    assert response.json()["parameters"] == {"retry_after": 4}


def test_a_bad_gateway_is_a_page_of_html(sim):
    sim.faults.add(Fault("status", "getUpdates", status=502))
    response = call(sim, "getUpdates")
    assert response.status_code == 502
    assert response.headers["Content-Type"] == "text/html"
    assert "502 Bad Gateway" in response.text


def test_a_fault_can_carry_its_own_body(sim):
    sim.faults.add(Fault("status", status=400, body={"ok": False}, headers={"X-Test": "1"}))
    response = call(sim, "getMe")
    assert (response.json(), response.headers["X-Test"]) == ({"ok": False}, "1")


def test_drop_has_no_effect_and_lose_has(sim, chat):
    for kind, effect in (("drop", []), ("lose", ["x"])):
        sim.faults.add(Fault(kind, "sendMessage"))
        with pytest.raises(requests.ConnectionError):
            call(sim, "sendMessage", chat_id=chat, text="x")
        assert [sent.text for sent in sim.sent] == effect
    assert [c.status for c in sim.calls] == [0, 0]


def test_a_lost_answer_to_getupdates_loses_no_update(sim, chat):
    sim.faults.add(Fault("lose", "getUpdates"))
    with pytest.raises(requests.ConnectionError):
        call(sim, "getUpdates")
    assert len(result(sim, "getUpdates", timeout=1)) == 1


def test_a_hanging_call_takes_its_time_and_only_its_own(sim, chat, pool):
    sim.faults.add(Fault("hang", "sendMessage", seconds=0.4))
    begin = time.monotonic()
    slow = pool.submit(result, sim, "sendMessage", chat_id=chat, text="slow")
    assert sim.wait_for(lambda s: len(s.calls) == 1, 2)
    assert result(sim, "getMe")["is_bot"]
    assert time.monotonic() - begin < 0.3
    assert slow.result(2)["text"] == "slow"
    assert 0.4 <= time.monotonic() - begin < 0.8


# An outage


def test_telegram_goes_away_and_comes_back_with_everything(sim, chat, pool):
    poll = pool.submit(call, sim, "getUpdates", offset=-1, timeout=20)
    assert ids(poll.result(2).json()["result"]) == sim.pending()
    poll = pool.submit(call, sim, "getUpdates", offset=sim.pending()[0] + 1, timeout=20)
    assert waiting(sim)
    url = sim.url
    sim.stop()
    sim.stop()
    with pytest.raises(requests.ConnectionError):
        poll.result(2)
    with pytest.raises(requests.ConnectionError):
        call(sim, "getMe")
    meanwhile = sim.say(ALICE, "are you there?")
    sim.start()
    sim.start()
    assert sim.url == url
    assert ids(result(sim, "getUpdates", timeout=1)) == [meanwhile]
    assert result(sim, "sendMessage", chat_id=chat, text="yes")


def test_an_outage_can_come_again_and_again_under_a_kept_connection(sim):
    session = requests.Session()
    for _ in range(3):
        assert session.get(f"{sim.url}/bot{TOKEN}/getMe", timeout=5).ok
        sim.stop()
        with pytest.raises(requests.ConnectionError):
            session.get(f"{sim.url}/bot{TOKEN}/getMe", timeout=5)
        sim.start()


# Watching


def test_wait_for_wakes_on_a_message_and_gives_up_in_time(sim, chat):
    assert not sim.wait_for(lambda s: s.sent, 0.05)
    threading.Timer(0.05, call, (sim, "sendMessage"), {"chat_id": chat, "text": "x"}).start()
    assert sim.wait_for(lambda s: s.messages(chat), 3)


def test_every_call_is_written_down(sim):
    before = time.perf_counter()
    call(sim, "getMe", flag=True)
    (seen,) = sim.calls
    assert (seen.method, seen.params, seen.status) == ("getMe", {"flag": "true"}, 200)
    assert before < seen.at < time.perf_counter()
    assert isinstance(seen, Call)
