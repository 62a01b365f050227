"""What Slack and ClickUp english of a token is understood, over real HTTP, whatever comes back and however slowly."""

from __future__ import annotations

import datetime
import gzip
import ipaddress
import json
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from demo.loopback import Fault
from demo.tokens import CLICKUP_ERRORS, RETRY_SECONDS, SLACK_ERRORS, ClickUpSim, SlackSim
from lib import clickup, slack, web
from lib.english import English
from lib.secret import Secret
from lib.text import units
from lib.web import Checked, NoAnswer, Unsendable, ask

english = English()

SLACK_TOKEN = "xoxb-" + "1" * 12 + "-" + "2" * 12 + "-" + "s" * 24
CLICKUP_TOKEN = "pk_" + "3" * 8 + "_" + "C" * 32
CHECKS = {"slack": slack.check, "clickup": clickup.check}
TOKENS = {"slack": SLACK_TOKEN, "clickup": CLICKUP_TOKEN}
SERVICES = pytest.mark.parametrize("service", CHECKS)

SLACK_LASTING = {
    *("access_denied", "accesslimited", "account_inactive", "ekm_access_denied", "enterprise_is_restricted"),
    *("invalid_auth", "is_bot", "missing_scope", "no_permission", "not_allowed_token_type", "not_authed"),
    *("token_expired", "token_revoked", "two_factor_setup_required"),
}
SLACK_PASSING = {
    *("deprecated_endpoint", "fatal_error", "internal_error", "invalid_arg_name", "invalid_arguments"),
    *("invalid_array_arg", "invalid_charset", "invalid_form_data", "invalid_json", "invalid_post_type"),
    *("json_not_object", "method_deprecated", "missing_post_type", "org_login_required", "rate_limited"),
    *("ratelimited", "request_timeout", "service_unavailable", "team_added_to_org", "unknown_method"),
    "upgrade_required",
}
CLICKUP_LASTING = {
    *("OAUTH_007", "OAUTH_010", "OAUTH_017", "OAUTH_018", "OAUTH_019", "OAUTH_021", "OAUTH_023", "OAUTH_025"),
    *("OAUTH_026", "OAUTH_027", "OAUTH_077"),
    *(f"OAUTH_{number:03}" for number in range(29, 46)),
}
CLICKUP_PASSING = {"APP_002", "OAUTH_171"}


@pytest.fixture(scope="module")
def sims() -> Iterator[dict[str, Any]]:
    made = {"slack": SlackSim(SLACK_TOKEN), "clickup": ClickUpSim(CLICKUP_TOKEN)}
    for sim in made.values():
        sim.start()
    yield made
    for sim in made.values():
        sim.stop()


@pytest.fixture
def sim(sims: dict[str, Any], request: pytest.FixtureRequest) -> Any:
    """The simulator of the test's `service`."""
    made = sims[request.node.callspec.params["service"]]
    made.error = None
    made.faults.clear()
    made.requests.clear()
    return made


def check(service: str, url: str, token: str | None = None, seconds: float = 6.0) -> Checked:
    return CHECKS[service](Secret(TOKENS[service] if token is None else token), url, seconds)


def answered(sim: Any, service: str, status: int, body: Any, headers: dict[str, str] | None = None) -> Checked:
    sim.faults.add(Fault("status", status=status, body=body, headers=headers))
    return check(service, sim.url)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    began = time.monotonic()
    return call(), time.monotonic() - began


@contextmanager
def server(answer: Callable[[socket.socket], None], wrap: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server on loopback that reads a request and then does as it is told. Gives host and port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection = listener.accept()[0]
                with wrap.wrap_socket(connection, server_side=True) if wrap else connection as stream:
                    stream.recv(65536)
                    answer(stream)
            except OSError:
                if listener.fileno() < 0:
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def raw(*parts: bytes, pause: float = 0.0, times: int = 1, stay: float = 0.0) -> Callable[[socket.socket], None]:
    """Send the parts, the last one so often, with a pause behind each; then stay silent for a while, then cut."""

    def answer(connection: socket.socket) -> None:
        for part in (*parts[:-1], *parts[-1:] * times):
            connection.sendall(part)
            time.sleep(pause)
        time.sleep(stay)

    return answer


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
GOOD = b'{"ok":true,"user":{"username":"x"}}'

DEADLINE = 0.4  # seconds; what is checked may take one more

# Ways of a service to give no whole answer; each would outlast the deadline of these tests.
TROUBLES = {
    "silence": raw(stay=4.0),
    "a cut connection": raw(),
    "no HTTP": raw(b"220 smtp.example.com ESMTP\r\n\r\n"),
    "a header that drips": raw(HEAD, b"a", pause=0.1, times=40),
    "a body that drips": raw(HEAD + b"Content-Length: 40\r\n\r\n", b" ", pause=0.1, times=40),
    "chunks that drip": raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", pause=0.1, times=40),
    "a body that stops": raw(HEAD + b"Content-Length: 40\r\n\r\n" + GOOD, stay=4.0),
    "a body that is cut": raw(HEAD + b"Content-Length: 40\r\n\r\n" + GOOD),
    "a body without end": raw(HEAD + b"\r\n", b" " * 65536, times=10_000),
    "a redirect without end": raw(
        b"HTTP/1.1 302 Found\r\nLocation: https://elsewhere.invalid/\r\n\r\n", b" " * 65536, times=10_000
    ),
    "two lengths": raw(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
}


# Good tokens


@pytest.mark.parametrize(("service", "account"), [("slack", "steward in Acme"), ("clickup", "Steward")])
def test_a_good_token_is_good_and_tells_whose_it_is(sim, service, account):
    assert check(service, sim.url) == Checked(None, True, account, 0.0)


@pytest.mark.parametrize(
    ("service", "method", "path", "authorization"),
    [("slack", "POST", "/api/auth.test", f"Bearer {SLACK_TOKEN}"), ("clickup", "GET", "/api/v2/user", CLICKUP_TOKEN)],
)
def test_the_token_travels_in_the_header_only_and_once(sim, service, method, path, authorization):
    check(service, sim.url)
    (request,) = sim.requests
    assert (request.method, request.path, request.body) == (method, path, "")
    assert request.headers["authorization"] == authorization
    assert request.headers["user-agent"] == "Steward"


@pytest.mark.parametrize(
    ("service", "body", "account"),
    [
        ("slack", {"ok": True}, ""),
        ("slack", {"ok": True, "user": None, "team": 7, "app_id": "A1", "user_id": "U1"}, ""),
        ("slack", {"ok": True, "user": None, "team": "Acme"}, "Acme"),
        ("slack", {"ok": True, "user": "a\x00b\ud83d", "team": ["x"]}, "ab?"),
        ("clickup", {"user": {}}, ""),
        ("clickup", {"user": {"username": None, "email": "a@example.com"}}, "a@example.com"),
        ("clickup", {"user": {"username": {"x": 1}, "email": 7}}, ""),
        ("clickup", {"user": {"username": "Я" * 200}}, "Я" * 100),
    ],
    ids=lambda value: str(value)[:40],
)
def test_whatever_is_said_of_the_account_can_be_kept(sim, service, body, account):
    assert answered(sim, service, 200, body) == Checked(account=account)


# Refusals


def test_the_lists_of_this_test_are_complete():
    assert set(SLACK_ERRORS) == SLACK_LASTING | SLACK_PASSING
    assert set(CLICKUP_ERRORS) == CLICKUP_LASTING | CLICKUP_PASSING
    assert not SLACK_LASTING & SLACK_PASSING
    assert not CLICKUP_LASTING & CLICKUP_PASSING


@pytest.mark.parametrize(
    ("service", "error", "lasting"),
    [
        *[("slack", error, error in SLACK_LASTING) for error in SLACK_ERRORS],
        *[("clickup", error, error in CLICKUP_LASTING) for error in CLICKUP_ERRORS],
    ],
)
def test_every_documented_refusal_is_understood_and_has_its_sentence(sim, service, error, lasting):
    sim.error = error
    found = check(service, sim.url)
    code = "ratelimited" if error == "APP_002" else error
    assert (found.problem, found.lasting, found.account) == (code, lasting, "")
    text = english.credential(service, code)
    assert text == {"slack": english.SLACK, "clickup": english.CLICKUP}[service][code]
    assert TOKENS[service] not in text


def test_there_is_a_sentence_for_each_code_and_none_is_left_over():
    ours = {"malformed", "unknown"}
    assert set(english.SLACK) == {*SLACK_ERRORS, *ours}
    assert set(english.CLICKUP) == {*CLICKUP_ERRORS, *ours, "ratelimited", "service_unavailable"} - {"APP_002"}


@pytest.mark.parametrize(
    ("service", "code"), [*(("slack", c) for c in english.SLACK), *(("clickup", c) for c in english.CLICKUP)]
)
def test_a_sentence_is_short_and_plain(service, code):
    text = english.credential(service, code)
    assert 20 < units(text) <= 200
    assert text.strip() == text
    assert text.endswith(".")
    assert code not in text
    assert english.NAMES[service] in text or f"{service.upper()}_TOKEN" in text
    assert not set("{}") & set(text)


@pytest.mark.parametrize("service", ["slack", "clickup", "google", "something new"])
def test_a_code_nobody_knows_has_a_sentence_with_the_code(service):
    text = english.credential(service, "SHARD_001")
    assert "SHARD_001" in text
    assert text.endswith(".")


@SERVICES
def test_a_wrong_token_is_refused(sim, service):
    wrong = check(service, sim.url, TOKENS[service][:-1] + "x")
    assert wrong == Checked({"slack": "invalid_auth", "clickup": "OAUTH_025"}[service])


@pytest.mark.parametrize("service", ["slack"])
def test_an_app_level_token_is_the_wrong_kind_though_slack_takes_it(sim, service):
    assert check(service, sim.url, "xapp-1-" + "A" * 20) == Checked("not_allowed_token_type")


@pytest.mark.parametrize(
    ("service", "status", "body", "found"),
    [
        ("slack", 200, {"ok": False, "error": "app_suspended"}, Checked("app_suspended")),
        ("slack", 403, {"ok": False, "error": "token_revoked"}, Checked("token_revoked")),
        ("slack", 500, {"ok": False, "error": "token_revoked"}, Checked("service_unavailable", lasting=False)),
        ("clickup", 401, {"err": "Not found", "ECODE": "ACCESS_083"}, Checked("ACCESS_083")),
        ("clickup", 403, {"err": "No plan", "ECODE": "TEAM_110"}, Checked("TEAM_110", lasting=False)),
        ("clickup", 403, {"err": "No team", "ECODE": "OAUTH_057"}, Checked("OAUTH_057")),
        ("clickup", 500, {"err": "Oops", "ECODE": "OAUTH_025"}, Checked("service_unavailable", lasting=False)),
    ],
)
def test_a_code_that_is_not_documented_is_kept_as_it_is(sim, service, status, body, found):
    assert answered(sim, service, status, body) == found


@SERVICES
@pytest.mark.parametrize("token", ["", "xoxb-1\n2", "xoxb-1\r\nX: y", "токен", "xoxb-1\x7f", "xoxb-\ud83d", " xoxb-1"])
def test_what_cannot_be_a_token_is_not_sent_and_said_to_be_none(sim, service, token):
    assert check(service, sim.url, token) == Checked("malformed")
    assert sim.requests == []


@SERVICES
def test_the_wait_that_a_service_asks_for_is_passed_on(sim, service):
    sim.error = {"slack": "ratelimited", "clickup": "APP_002"}[service]
    found = check(service, sim.url)
    assert RETRY_SECONDS - 2 <= found.wait <= RETRY_SECONDS


@pytest.mark.parametrize("service", ["clickup"])
def test_the_wait_of_clickup_counts_from_the_clock(sim, service):
    sim.faults.add(Fault("status", status=429, body={}, headers={"x-ratelimit-reset": "1700000042"}))
    assert clickup.check(Secret(CLICKUP_TOKEN), sim.url, clock=lambda: 1_700_000_000.0).wait == 42.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        *[("7", 7.0), ("0.5", 0.5), (None, 0.0), ("", 0.0), ("-5", 0.0), ("soon", 0.0), ("nan", 0.0), ("inf", 0.0)],
        *[("1e300", 86400.0), ("999999", 86400.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0)],
    ],
)
def test_a_wait_is_sensible_or_none(header, seconds):
    assert web.span(header) == seconds


# Odd answers

ODD: list[tuple[int, Any]] = [
    *[(200, "<html>Sign in to this Wi-Fi</html>"), (403, "<html>Forbidden by the proxy</html>"), (200, ""), (204, "")],
    *[(200, body) for body in ([], [{"ok": True}], None, 7, "true", {}, {"ok": "true"}, {"ok": 1}, {"user": None})],
    *[(200, {"ok": False, **error}) for error in ({}, {"error": 7}, {"error": ["x"]}, {"error": "no, really"})],
    *[(200, {"ok": False, "error": error}) for error in ("", "x" * 41, "invalid_auth\n", "ошибка", None)],
    *[(401, {"ECODE": code}) for code in (17, None, "OAUTH 025", "OAUTH_025\n", {"x": 1}, "O" * 41)],
    *[(401, {"user": []}), (401, []), (500, {}), (502, "<html>Bad gateway</html>"), (503, {"ok": True, "user": {}})],
    *[(301, {"ok": True, "user": {}}), (201, {"ok": True, "user": {}})],
    *[(200, ["x" * 2**20]), (200, "[" * 200_000), (200, "9" * 200_000)],
]


@SERVICES
@pytest.mark.parametrize(("status", "body"), ODD, ids=lambda value: str(value)[:30])
def test_an_odd_answer_says_nothing_about_the_token(sim, service, status, body):
    found = answered(sim, service, status, body)
    assert found.problem in ("unknown", "service_unavailable", "no_connection")
    assert not found.lasting
    assert len(sim.requests) == 1


@pytest.mark.parametrize("text", ["", "<html>", "{", "[" * 200_000, "9" * 200_000])
def test_what_is_no_json_gives_no_body(sims, text):
    sims["slack"].faults.clear()
    sims["slack"].faults.add(Fault("status", status=200, body=text))
    assert ask("GET", sims["slack"].url).body is None


@SERVICES
def test_a_redirect_is_not_followed_and_the_token_not_sent_there(sim, service):
    elsewhere = SlackSim(SLACK_TOKEN)
    elsewhere.start()
    for status in (301, 302, 307, 308):
        found = answered(sim, service, status, "", {"Location": f"{elsewhere.url}/auth.test"})
        assert found == Checked("service_unavailable", lasting=False)
    assert elsewhere.requests == []
    elsewhere.stop()


@SERVICES
@pytest.mark.parametrize("trouble", TROUBLES)
def test_no_trouble_takes_longer_than_the_deadline_or_counts_against_the_token(service, trouble):
    with server(TROUBLES[trouble]) as address:
        found, took = timed(lambda: check(service, f"http://{address}/api", seconds=DEADLINE))
    assert found == Checked("no_connection", lasting=False)
    assert took < DEADLINE + 1


@SERVICES
def test_a_service_that_hangs_drops_or_is_away_is_away(sim, service):
    sim.faults.add(Fault("hang", seconds=5.0))
    sim.faults.add(Fault("drop"))
    for _ in range(2):
        found, took = timed(lambda: check(service, sim.url, seconds=DEADLINE))
        assert found == Checked("no_connection", lasting=False)
        assert took < DEADLINE + 1
    assert len(sim.requests) == 2
    sim.stop()
    assert check(service, sim.url) == Checked("no_connection", lasting=False)
    sim.start()
    assert check(service, sim.url).problem is None


# The simulators


@pytest.mark.parametrize("service", ["slack"])
def test_the_simulated_slack_answers_as_documented(sim, service):
    good = {"Authorization": f"Bearer {SLACK_TOKEN}"}
    assert requests.post(f"{sim.url}/auth.test", timeout=5).json() == {"ok": False, "error": "not_authed"}
    assert requests.get(f"{sim.url}/auth.test", headers=good, timeout=5).json()["user"] == "steward"
    assert requests.post(f"{sim.url}/auth.tset", headers=good, timeout=5).json()["error"] == "unknown_method"
    sim.error = "ratelimited"
    refused = requests.post(f"{sim.url}/auth.test", headers=good, timeout=5)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, str(RETRY_SECONDS))


@pytest.mark.parametrize("service", ["clickup"])
def test_the_simulated_clickup_answers_as_documented(sim, service):
    def refused(**headers: str) -> tuple[int, Any]:
        answer = requests.get(f"{sim.url}/v2/user", headers=headers, timeout=5)
        return answer.status_code, answer.json()

    assert refused() == (400, {"err": "Authorization header required", "ECODE": "OAUTH_017"})
    assert refused(Authorization=f"Bearer {CLICKUP_TOKEN}")[1]["ECODE"] == "OAUTH_019"
    assert refused(Authorization="pk_1") == (401, {"err": "Token invalid", "ECODE": "OAUTH_025"})
    assert requests.post(f"{sim.url}/v2/user", timeout=5).status_code == 404


# What leaves the house, and what does not

FORM: dict[str, str | Secret] = {
    "grant_type": "refresh_token",
    "refresh_token": Secret("1//" + "r" * 20),
    "client_secret": Secret("GOC" * 9),
}
HIDDEN = [SLACK_TOKEN, "r" * 20, "GOC" * 9, "q" * 20, "refresh_token", "Bearer"]


def test_a_form_travels_in_the_body_and_may_hold_secrets(sims):
    sims["slack"].requests.clear()
    answer = ask("POST", f"{sims['slack'].url}/auth.test", form={"a": "1 ü", "b": Secret("x&y")})
    (request,) = sims["slack"].requests
    assert request.body == "a=1+%C3%BC&b=x%26y"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert "authorization" not in request.headers
    assert answer.headers["CONTENT-type"] == "application/json"
    assert "not_authed" not in repr(answer)


@pytest.mark.parametrize("token", [None, "mine"])
def test_netrc_is_not_asked(sims, tmp_path, monkeypatch, token):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    sim, url = sims["slack"], f"{sims['slack'].url}/auth.test"
    sim.requests.clear()
    requests.post(url, headers={"Authorization": "Bearer mine"}, timeout=5)
    assert sim.requests.pop().headers["authorization"].startswith("Basic ")  # the trap is set
    ask("POST", url, bearer=Secret(token) if token else None)
    assert sim.requests.pop().headers.get("authorization") == (f"Bearer {token}" if token else None)


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS for 127.0.0.1, and the file that makes a client trust it."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    trusted, both = folder / "trusted.pem", folder / "both.pem"
    trusted.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    encoding, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    both.write_bytes(trusted.read_bytes() + key.private_bytes(serialization.Encoding.PEM, encoding, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context, trusted


def failure(url: str, token: str = SLACK_TOKEN) -> NoAnswer:
    with pytest.raises(NoAnswer) as caught:
        ask("POST", url + "?key=" + "q" * 20, bearer=Secret(token), form=FORM, seconds=DEADLINE)
    return caught.value


def ended(before: list[threading.Thread], seconds: float) -> None:
    """Wait for the requests that were begun since."""
    for thread in threading.enumerate():
        if thread.name == "ask" and thread not in before:
            thread.join(seconds)
            assert not thread.is_alive()


def assert_silent(exc: BaseException | None, *more: str) -> None:
    """Nothing that was to stay hidden stands anywhere in the exception or in what it came from."""
    shown = "".join(traceback.format_exception(exc)) if exc else ""
    while exc:
        shown += f"{exc} {exc!r} {exc.args} {vars(exc)}"
        exc = exc.__cause__ or exc.__context__
    shown = shown.replace('"Bearer "', "")  # a line of ours
    assert not [text for text in [*HIDDEN, *more] if text and text in shown]


def test_a_request_that_was_refused_a_connection_has_not_left():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    exc = failure(f"http://127.0.0.1:{port}/")
    assert not exc.left
    assert_silent(exc)


def test_a_request_to_a_name_that_nobody_has_has_not_left(monkeypatch):
    def nobody(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    exc = failure("https://slack.example.com/api/auth.test")
    assert not exc.left
    assert_silent(exc)


def test_a_request_whose_name_was_found_too_late_has_not_left_and_never_does(sims, monkeypatch):
    found, look = threading.Event(), socket.getaddrinfo

    def slow(*args: Any, **kwargs: Any) -> Any:
        found.wait(10)
        return look(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    sims["slack"].requests.clear()
    before = threading.enumerate()
    exc, took = timed(lambda: failure(f"{sims['slack'].url}/auth.test"))
    assert not exc.left
    assert took < DEADLINE + 1
    assert_silent(exc)
    found.set()
    ended(before, 5.0)
    assert sims["slack"].requests == []


def test_a_request_that_found_no_connection_in_time_has_not_left():
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):  # one may wait to be accepted; the others are not even answered
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        exc, took = timed(lambda: failure(f"http://127.0.0.1:{full.getsockname()[1]}/"))
    assert not exc.left
    assert took < DEADLINE + 1
    assert_silent(exc)


@pytest.mark.parametrize("stay", [0.0, 4.0])
def test_a_request_whose_handshake_fails_or_hangs_has_not_left(stay):
    with server(raw(b"HTTP/1.1 400 Bad Request\r\n\r\n" if not stay else b"", stay=stay)) as address:
        exc = failure(f"https://{address}/")
    assert not exc.left
    assert_silent(exc)


def test_a_request_that_no_proxy_lets_through_has_not_left(monkeypatch):
    with server(raw(b"HTTP/1.1 403 Forbidden\r\n\r\n")) as address:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{address}")
        exc = failure("https://slack.example.com/api/auth.test")
    assert not exc.left
    assert_silent(exc)


def test_a_request_to_someone_with_a_false_certificate_has_not_left(tmp_path):
    with server(raw(HEAD + b"\r\n" + GOOD), certificate(tmp_path)[0]) as address:
        exc = failure(f"https://{address}/")
    assert not exc.left
    assert_silent(exc)


def test_over_tls_an_answer_comes_and_a_request_that_was_cut_may_have_left(tmp_path, monkeypatch):
    context, trusted = certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trusted))
    with server(raw(HEAD + b"\r\n" + GOOD), context) as address:
        assert ask("GET", f"https://{address}/").body == json.loads(GOOD)
    with server(raw(), context) as address:
        exc = failure(f"https://{address}/")
    assert exc.left
    assert_silent(exc)


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_request_that_reached_a_service_in_trouble_may_have_left(trouble):
    with server(TROUBLES[trouble]) as address:
        exc, took = timed(lambda: failure(f"http://{address}/"))
    assert exc.left
    assert took < DEADLINE + 1
    assert_silent(exc)


@pytest.mark.parametrize("url", ["slack.com/api", "http://[bad", "ftp://slack.com", "http://", "http://a..b/"])
def test_an_address_that_is_none_gets_no_answer_and_nothing_leaves(url):
    exc = failure(url)
    assert not exc.left
    assert_silent(exc)


@pytest.mark.parametrize("token", ["", "geheim\n", "geheim\r\nX: y", "ключ", "geheim\udc80"])
def test_a_token_that_fits_no_header_is_not_quoted(token):
    exc = failure("http://127.0.0.1:1/", token)
    assert isinstance(exc, Unsendable)
    assert not exc.left
    assert_silent(exc, token.strip(), "geheim", "ключ")


def test_nothing_secret_is_logged(sims, caplog):
    caplog.set_level(1)
    caplog.set_level(1, "urllib3")  # another test may have had log.setup() quiet it
    ask("POST", f"{sims['slack'].url}/auth.test", bearer=Secret(SLACK_TOKEN), form=FORM)
    assert "auth.test" in caplog.text
    assert not [text for text in HIDDEN if text in caplog.text]


def test_a_request_is_made_once():
    came: list[float] = []
    with server(lambda connection: came.append(time.monotonic())) as address:
        failure(f"http://{address}/")
    assert len(came) == 1


@pytest.mark.parametrize("status", [b"200 OK", b"302 Found"])
def test_of_an_endless_answer_little_is_read(status):
    sent, over = [0], threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 " + status + b"\r\nLocation: https://elsewhere.invalid/\r\n\r\n")
        try:
            while sent[0] < 10**9:
                sent[0] += connection.send(b" " * 65536)
        finally:
            over.set()

    with server(answer) as address:
        failure(f"http://{address}/")
        assert over.wait(5)
    assert sent[0] < 20_000_000


def test_an_answer_is_not_unpacked(sims):
    sims["slack"].requests.clear()
    ask("POST", f"{sims['slack'].url}/auth.test")
    assert sims["slack"].requests.pop().headers["accept-encoding"] == "identity"
    packed = gzip.compress(b" " * 10**7 + GOOD)
    with server(raw(HEAD + b"Content-Encoding: gzip\r\n\r\n" + packed)) as address:
        assert ask("GET", f"http://{address}/").body is None


@pytest.mark.parametrize("more", [0, 1])
def test_an_answer_is_read_up_to_its_longest(more):
    with server(raw(HEAD + b"\r\n" + b'"' + b"x" * (web.MOST_BYTES - 2 + more) + b'"')) as address:
        if more:
            assert failure(f"http://{address}/").left
        else:
            assert len(ask("GET", f"http://{address}/").body) == web.MOST_BYTES - 2


@pytest.mark.parametrize("trouble", ["a body that drips", "chunks that drip"])
def test_of_a_dripping_answer_no_more_is_read_than_until_the_deadline(trouble):
    before = threading.enumerate()
    with server(TROUBLES[trouble]) as address:
        failure(f"http://{address}/")
        ended(before, 2.0)
