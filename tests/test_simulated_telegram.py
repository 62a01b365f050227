"""The simulated Telegram keeps the real one's promises and makes its refusals, over real HTTP."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import telebot.types

from demo.loopback import Fault
from demo.telegram import (
    ALICE,
    BOB,
    CONTACT,
    FRIENDS,
    LOCATION,
    OLGA,
    PICTURE,
    STICKER,
    VIDEO,
    VOICE,
    Call,
    Group,
    Person,
    TelegramSim,
    from_channel,
    from_chat,
    from_hidden_user,
    from_user,
)

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


# What people send


def fetch(sim, file_id):
    path = result(sim, "getFile", file_id=file_id)["file_path"]
    return requests.get(f"{sim.url}/file/bot{TOKEN}/{path}", timeout=5)


def test_a_picture_comes_in_two_sizes_with_its_caption(sim):
    message = sim.update(sim.send_photo(ALICE, PICTURE + b"more", "look @bob"))["message"]
    assert message["caption"] == "look @bob"
    assert message["caption_entities"] == [{"offset": 5, "length": 4, "type": "mention"}]
    assert "text" not in message
    small, large = message["photo"]
    assert fetch(sim, large["file_id"]).content == PICTURE + b"more"
    assert fetch(sim, small["file_id"]).content == PICTURE
    assert telebot.types.Message.de_json(message).content_type == "photo"
    with pytest.raises(ValueError, match="JPEG"):
        sim.send_photo(ALICE, b"\x89PNG")


def test_a_document_can_be_fetched_for_an_hour(sim):
    sim.clock = lambda: 1_000_000.0
    message = sim.update(sim.send_document(ALICE, b"a,b\r\n", "table.csv", "text/csv"))["message"]
    assert message["document"]["file_name"] == "table.csv"
    assert message["document"]["mime_type"] == "text/csv"
    path = result(sim, "getFile", file_id=message["document"]["file_id"])["file_path"]
    link = f"{sim.url}/file/bot{TOKEN}/{path}"
    assert requests.get(link, timeout=5).content == b"a,b\r\n"
    assert requests.get(link.replace("AAA", "BBB"), timeout=5).status_code == 401
    assert requests.get(link + "x", timeout=5).json()["description"] == "Not Found"
    sim.clock = lambda: 1_003_600.0
    assert requests.get(link, timeout=5).status_code == 404
    assert {call.method for call in sim.calls} == {"getFile", "downloadFile"}


def test_files_too_large_or_unknown_cannot_be_fetched(sim):
    document = sim.update(sim.send_document(ALICE, b"x", "a.zip", "application/zip", size=(20 << 20) + 1))["message"]
    assert refusal(sim, "getFile", file_id=document["document"]["file_id"]) == (400, "Bad Request: file is too big")
    assert refusal(sim, "getFile", file_id="nonsense") == (400, "Bad Request: invalid file_id")


def test_a_download_breaks_as_told(sim):
    file_id = sim.update(sim.send_document(ALICE, b"0123456789", "a.txt", "text/plain"))["message"]["document"][
        "file_id"
    ]
    sim.faults.add(Fault("breaks-midway", "downloadFile"))
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        fetch(sim, file_id)
    sim.faults.add(Fault("status", "downloadFile", status=502))
    assert fetch(sim, file_id).status_code == 502
    assert fetch(sim, file_id).content == b"0123456789"


def test_an_album_is_several_messages_with_one_id_and_one_caption(sim):
    messages = [sim.update(number)["message"] for number in sim.send_album(ALICE, [PICTURE] * 3, "holiday")]
    assert len({message["media_group_id"] for message in messages}) == 1
    assert [message.get("caption") for message in messages] == ["holiday", None, None]
    files = [(b"1", "a.txt", "text/plain"), (b"2", "b.txt", "text/plain")]
    messages = [sim.update(number)["message"] for number in sim.send_album(ALICE, files, "read these")]
    assert [message.get("caption") for message in messages] == [None, "read these"]
    for wrong in ([PICTURE], [PICTURE] * 11, [PICTURE, files[0]]):
        with pytest.raises(ValueError, match="album"):
            sim.send_album(ALICE, wrong)


@pytest.mark.parametrize(
    ("content", "kind"),
    [(VOICE, "voice"), (STICKER, "sticker"), (LOCATION, "location"), (CONTACT, "contact"), (VIDEO, "video")],
)
def test_other_things_look_as_the_library_reads_them(sim, content, kind):
    assert telebot.types.Message.de_json(sim.update(sim.send_other(ALICE, content))["message"]).content_type == kind


@pytest.mark.parametrize(
    "origin",
    [from_user(BOB), from_hidden_user("Zoe"), from_chat(FRIENDS), from_channel("News")],
    ids=lambda o: o["type"],
)
def test_forwards_look_as_the_library_reads_them(sim, origin):
    message = sim.update(sim.say(ALICE, "see", forward_origin=origin))["message"]
    assert telebot.types.Message.de_json(message).forward_origin.type == origin["type"]


def test_a_reply_carries_the_message_it_answers_and_the_part_it_quotes(sim, chat):
    sent = result(sim, "sendMessage", chat_id=chat, text="🎉 one two")
    message = sim.update(sim.say(ALICE, "why?", reply_to=sent["message_id"], quote="two"))["message"]
    assert message["reply_to_message"]["text"] == "🎉 one two"
    assert message["quote"] == {"text": "two", "position": 7, "is_manual": True}
    deeper = sim.update(sim.say(ALICE, "and?", reply_to=message["message_id"]))["message"]
    assert "reply_to_message" not in deeper["reply_to_message"]
    with pytest.raises(ValueError, match="quoted"):
        sim.say(ALICE, "why?", reply_to=sent["message_id"], quote="three")


def test_commands_and_mentions_are_marked_in_utf_16_units(sim):
    message = sim.update(sim.say(ALICE, "🎉 @steward_bot /help@steward_bot me@example.org"))["message"]
    assert message["entities"] == [
        {"offset": 3, "length": 12, "type": "mention"},
        {"offset": 16, "length": 17, "type": "bot_command"},
    ]


# Buttons


def keyboard(*rows):
    return {
        "inline_keyboard": [[{"text": label, "callback_data": data} for label, data in row.items()] for row in rows]
    }


def test_a_pressed_button_is_answered_in_time_and_once(sim, chat):
    sim.clock = lambda: 1000.0
    sent = result(sim, "sendMessage", chat_id=chat, text="sure?", reply_markup=keyboard({"Yes": "y", "No": "n"}))
    assert sim.messages(chat)[0].buttons == [[("Yes", "y"), ("No", "n")]]
    update_id = sim.press(ALICE, sent["message_id"], "y")
    query = sim.update(update_id)["callback_query"]
    assert (query["data"], query["message"]["text"], query["from"]["id"]) == ("y", "sure?", ALICE.id)
    assert telebot.types.CallbackQuery.de_json(query).message.message_id == sent["message_id"]
    assert sim.answer_to(update_id) is None
    assert result(sim, "answerCallbackQuery", callback_query_id=query["id"], text="Done") is True
    assert sim.answer_to(update_id) == {"text": "Done", "show_alert": False}
    late = sim.update(sim.press(ALICE, sent["message_id"], "n"))["callback_query"]["id"]
    sim.clock = lambda: 1060.0
    assert refusal(sim, "answerCallbackQuery", callback_query_id=late)[1].startswith("Bad Request: query is too old")
    with pytest.raises(ValueError, match="no button"):
        sim.press(ALICE, sent["message_id"], "maybe")


def test_buttons_go_with_an_edit_that_does_not_repeat_them(sim, chat):
    buttons = keyboard({"Yes": "y"})
    message_id = result(sim, "sendMessage", chat_id=chat, text="sure?", reply_markup=buttons)["message_id"]
    edited = result(sim, "editMessageText", chat_id=chat, message_id=message_id, text="sure!", reply_markup=buttons)
    assert edited["reply_markup"] == buttons
    assert result(sim, "editMessageReplyMarkup", chat_id=chat, message_id=message_id)["text"] == "sure!"
    assert sim.sent[0].buttons == []
    assert refusal(sim, "editMessageReplyMarkup", chat_id=chat, message_id=message_id)[1].startswith(
        "Bad Request: message is not modified"
    )
    result(sim, "editMessageReplyMarkup", chat_id=chat, message_id=message_id, reply_markup=buttons)
    assert sim.sent[0].buttons == [[("Yes", "y")]]
    result(sim, "editMessageText", chat_id=chat, message_id=message_id, text="done")
    assert sim.sent[0].buttons == []


@pytest.mark.parametrize(
    ("markup", "description"),
    [
        (keyboard({"Yes": "ж" * 33}), "BUTTON_DATA_INVALID"),
        (
            keyboard({"Yes": ""}),
            "can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard",
        ),
        (
            {"inline_keyboard": [[{"callback_data": "y"}]]},
            "can't parse inline keyboard button: Can't find field \"text\"",
        ),
        (
            {"inline_keyboard": [{"text": "Yes"}]},
            'field "inline_keyboard" of the InlineKeyboardMarkup must be an Array of Arrays',
        ),
        (keyboard({str(number): "y" for number in range(101)}), "reply markup is too long"),
    ],
)
def test_bad_buttons_are_refused(sim, chat, markup, description):
    answer = refusal(sim, "sendMessage", chat_id=chat, text="x", reply_markup=markup)
    assert answer == (400, f"Bad Request: {description}")


# Drafts that can be stopped


def test_only_a_standing_draft_with_a_stop_button_can_be_stopped(sim, chat):
    sim.clock = lambda: 1000.0
    with pytest.raises(ValueError, match="no draft"):
        sim.stop_generation(ALICE)
    result(sim, "sendMessageDraft", chat_id=chat, draft_id=5, text="one")
    with pytest.raises(ValueError, match="no draft"):
        sim.stop_generation(ALICE)
    result(sim, "sendMessageDraft", chat_id=chat, draft_id=6, text="", can_stop=True)
    stopped = sim.update(sim.stop_generation(ALICE))["stopped_message_generation"]
    assert stopped == {"chat": ALICE.as_chat(), "draft_id": 6}
    assert telebot.types.MessageGenerationStopped.de_json(stopped).draft_id == 6
    result(sim, "sendMessageDraft", chat_id=chat, draft_id=7, text="two", can_stop=True)
    result(sim, "sendMessage", chat_id=chat, text="two")
    with pytest.raises(ValueError, match="no draft"):
        sim.stop_generation(ALICE)
    result(sim, "sendMessageDraft", chat_id=chat, draft_id=8, text="three", can_stop=True)
    sim.clock = lambda: 1030.0
    with pytest.raises(ValueError, match="no draft"):
        sim.stop_generation(ALICE)


# Documents of the bot


def send_document(sim, name="answer.md", data=b"# Title\r\n", **params):
    params = {k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in params.items()}
    address = f"{sim.url}/bot{TOKEN}/sendDocument"
    return requests.post(address, data=params, files={"document": (name, data)}, timeout=5).json()


def test_a_document_of_the_bot_arrives_with_its_bytes(sim, chat):
    data = bytes(range(256)) + b"\r\n--\r\n"
    answer = send_document(sim, "Ответ ä.md", data, chat_id=chat, caption="here ")
    assert answer["result"]["document"]["file_name"] == "Ответ ä.md"
    (sent,) = sim.messages(chat)
    assert (sent.document.name, sent.document.data, sent.text) == ("Ответ ä.md", data, "here")
    again = result(sim, "sendDocument", chat_id=chat, document=answer["result"]["document"]["file_id"])
    assert again["document"]["file_size"] == len(data)


def test_a_bad_document_is_refused(sim, chat):
    assert send_document(sim, chat_id=chat, caption="a" * 1025)["description"] == (
        "Bad Request: message caption is too long"
    )
    assert send_document(sim, data=b"", chat_id=chat)["description"] == "Bad Request: file must be non-empty"
    assert send_document(sim, chat_id=5)["description"] == "Bad Request: chat not found"
    assert refusal(sim, "sendDocument", chat_id=chat)[1] == "Bad Request: there is no document in the request"
    assert sim.sent == []


# Groups


def test_in_a_group_the_bot_is_told_only_what_is_meant_for_it(sim):
    assert sim.say(ALICE, "hello all", chat=FRIENDS) == 0
    assert sim.say(ALICE, "/help@another_bot", chat=FRIENDS) == 0
    assert sim.send_photo(BOB, PICTURE, "nice", chat=FRIENDS) == 0
    mine = [
        sim.say(BOB, "what do you think, @Steward_bot?", chat=FRIENDS),
        sim.say(BOB, "/help", chat=FRIENDS),
        sim.say(BOB, "/new@steward_bot", chat=FRIENDS),
        sim.send_photo(BOB, PICTURE, "@steward_bot what is it?", chat=FRIENDS),
    ]
    assert 0 not in mine
    assert sim.update(mine[0])["message"]["chat"] == {"id": FRIENDS.id, "title": "Friends", "type": "supergroup"}
    answer = result(sim, "sendMessage", chat_id=FRIENDS.id, text="a bird")
    assert sim.say(ALICE, "sure?", chat=FRIENDS, reply_to=answer["message_id"])
    first = sim.story(FRIENDS.id)[0]
    assert first["text"] == "hello all"
    assert sim.say(BOB, "hello Alice", chat=FRIENDS, reply_to=first["message_id"]) == 0
    sim.privacy = False
    assert sim.say(ALICE, "hello all", chat=FRIENDS)
    assert result(sim, "getMe")["can_read_all_group_messages"] is True


def test_a_bot_thrown_out_is_forbidden_until_it_is_taken_in_again(sim):
    sim.add_bot(FRIENDS)
    assert result(sim, "sendMessage", chat_id=FRIENDS.id, text="hello")
    change = sim.update(sim.remove_bot(FRIENDS, BOB))["my_chat_member"]
    assert telebot.types.ChatMemberUpdated.de_json(change).new_chat_member.status == "kicked"
    assert refusal(sim, "sendMessage", chat_id=FRIENDS.id, text="x") == (
        403,
        "Forbidden: bot was kicked from the supergroup chat",
    )
    assert sim.say(ALICE, "/help", chat=FRIENDS) == 0
    sim.add_bot(FRIENDS)
    assert result(sim, "leaveChat", chat_id=FRIENDS.id) is True
    assert refusal(sim, "sendMessage", chat_id=FRIENDS.id, text="x")[1] == (
        "Forbidden: bot is not a member of the supergroup chat"
    )


def test_a_group_that_became_a_supergroup_says_where_it_went(sim):
    old = Group(-77, "Old", "group")
    sim.say(ALICE, "/help", chat=old)
    new = sim.migrate(old)
    assert new.id == -1_000_000_000_077
    assert call(sim, "sendMessage", chat_id=old.id, text="x").json() == {
        "ok": False,
        "error_code": 400,
        "description": "Bad Request: group chat was upgraded to a supergroup chat",
        "parameters": {"migrate_to_chat_id": new.id},
    }
    assert result(sim, "sendMessage", chat_id=new.id, text="x")["chat"]["type"] == "supergroup"
    assert [message.get("migrate_to_chat_id") for message in sim.story(old.id)] == [None, new.id]
    with pytest.raises(ValueError, match="supergroup"):
        sim.say(ALICE, "/help", chat=old)


def test_a_group_takes_twenty_messages_a_minute(sim):
    sim.clock = lambda: 100.0
    sim.add_bot(FRIENDS)
    sent = result(sim, "sendMessage", chat_id=FRIENDS.id, text="0")
    for number in range(19):
        result(sim, "editMessageText", chat_id=FRIENDS.id, message_id=sent["message_id"], text=f"1{number}")
    assert refusal(sim, "sendMessage", chat_id=FRIENDS.id, text="x") == (429, "Too Many Requests: retry after 60")
    assert send_document(sim, chat_id=FRIENDS.id)["parameters"] == {"retry_after": 60}
    sim.clock = lambda: 160.0
    assert result(sim, "sendMessage", chat_id=FRIENDS.id, text="x")


def test_people_are_offered_the_narrowest_commands_in_their_language(sim, chat):
    english, russian = ([{"command": "help", "description": text}] for text in ("Help", "Помощь"))
    own = [{"command": "audit", "description": "Look back"}]
    result(sim, "setMyCommands", commands=english)
    result(sim, "setMyCommands", commands=russian, language_code="ru")
    result(sim, "setMyCommands", commands=own, scope={"type": "chat", "chat_id": chat})
    assert (sim.menu(ALICE), sim.menu(BOB), sim.menu(OLGA)) == (own, english, russian)
    assert sim.commands(language="ru") == russian
    assert sim.commands({"type": "chat", "chat_id": chat}) == own
    assert result(sim, "deleteMyCommands", scope={"type": "chat", "chat_id": chat}) is True
    assert sim.menu(ALICE) == english
    assert refusal(sim, "setMyCommands", commands=english, language_code="rus")[1] == (
        "Bad Request: invalid language code specified"
    )


def test_what_the_bot_does_visibly_is_written_down(sim, chat):
    result(sim, "sendChatAction", chat_id=chat, action="typing")
    result(sim, "sendMessageDraft", chat_id=chat, draft_id=1, text="")
    assert (sim.actions(chat), sim.drafts(chat)) == (["typing"], [""])
