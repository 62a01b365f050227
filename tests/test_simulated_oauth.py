"""The simulated authorization servers, seen through plain HTTP and through Google's own libraries."""

import http.client
import threading
import time
import webbrowser
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from urllib.parse import parse_qs, urlencode, urlsplit

import oauthlib.oauth2
import pytest
import requests
from google.auth import _exponential_backoff
from google.auth.exceptions import RefreshError, TransportError
from google.auth.transport.requests import Request
from google.oauth2.credentials import Credentials
from google_auth_oauthlib.flow import InstalledAppFlow, WSGITimeoutError

from demo.loopback import Fault
from demo.oauth import TESTING_SECONDS, Blocked, GoogleSim, OAuthSim

CLIENT = "steward-test"
SECRET = "not-a-" + "secret"
CALENDAR = "https://www.googleapis.com/auth/calendar"
EMAIL = "https://www.googleapis.com/auth/userinfo.email"
SCOPES = [CALENDAR, "openid", EMAIL]
HOME = "http://127.0.0.1:8765/"  # nothing answers there
DEAD = {"error": "invalid_grant", "error_description": "Refresh token not found or invalid"}
GOOGLE_DEAD = {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sim(clock):
    simulator = OAuthSim(CLIENT, clock=clock)
    simulator.start()
    yield simulator
    threading.Thread(target=simulator.stop).start()  # a stop takes 50 ms, and there are many tests


@pytest.fixture
def google(clock):
    simulator = GoogleSim(CLIENT, SECRET, clock=clock)
    simulator.start()
    yield simulator
    threading.Thread(target=simulator.stop).start()


@pytest.fixture
def http_allowed(monkeypatch):
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")


def post(sim, json=False, **changes):
    """A good refresh but for the changes; a parameter set to None is left out."""
    form = {"grant_type": "refresh_token", "client_id": CLIENT}
    if isinstance(sim, GoogleSim):
        form["client_secret"] = SECRET
    form = {name: value for name, value in {**form, **changes}.items() if value is not None}
    return requests.post(sim.token_url, data=None if json else form, json=form if json else None, timeout=5)


def page(sim, **changes):
    """The address of the authorization page for a good request but for the changes."""
    asked = {"client_id": CLIENT, "redirect_uri": HOME, "response_type": "code", "scope": " ".join(SCOPES)}
    asked |= {"state": "s1", "access_type": "offline", "prompt": "consent", **changes}
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    return f"{sim.url}/o/oauth2/v2/auth?{query}"


def answer_of(address):
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


def code_of(sim, **changes):
    return answer_of(sim.visit(page(sim, **changes)))["code"]


def exchange(sim, code, **changes):
    return post(sim, **{"grant_type": "authorization_code", "code": code, "redirect_uri": HOME, **changes})


def userinfo(sim, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.get(f"{sim.url}/v1/userinfo", headers=headers, timeout=5)


def refused(answer, status, error, description):
    return (answer.status_code, answer.json()) == (status, {"error": error, "error_description": description})


# --- Single-use refresh tokens


@pytest.mark.parametrize("json", [False, True])
def test_a_refresh_brings_a_new_pair(sim, json):
    first = sim.login()
    answer = post(sim, json=json, refresh_token=first["refresh_token"])
    second = answer.json()
    assert answer.status_code == 200
    assert second.keys() == {"access_token", "refresh_token", "expires_in", "scope", "token_type"}
    assert (second["expires_in"], second["token_type"], second["scope"]) == (28_800, "Bearer", first["scope"])
    assert not {second["access_token"], second["refresh_token"]} & {first["access_token"], first["refresh_token"]}
    assert sim.accepts(second["access_token"])
    assert post(sim, refresh_token=second["refresh_token"]).status_code == 200


@pytest.mark.parametrize("reuse_revokes", [True, False])
def test_a_spent_refresh_token_is_refused_and_may_end_the_login(sim, reuse_revokes):
    sim.reuse_revokes = reuse_revokes
    first = sim.login()
    second = post(sim, refresh_token=first["refresh_token"]).json()
    again = post(sim, refresh_token=first["refresh_token"])
    assert (again.status_code, again.json()) == (400, DEAD)
    assert sim.accepts(second["access_token"]) is not reuse_revokes
    assert (post(sim, refresh_token=second["refresh_token"]).status_code == 200) is not reuse_revokes


@pytest.mark.parametrize("reuse_revokes", [True, False])
def test_of_twelve_who_refresh_at_once_exactly_one_is_answered(sim, reuse_revokes):
    sim.reuse_revokes = reuse_revokes
    token = sim.login()["refresh_token"]
    together = threading.Barrier(12)

    def refresh(_):
        together.wait()
        return post(sim, refresh_token=token)

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(refresh, range(12)))
    good = [answer.json() for answer in answers if answer.status_code == 200]
    assert len(good) == 1
    assert [answer.json() for answer in answers if answer.status_code == 400] == [DEAD] * 11
    assert sorted(refresh.accepted for refresh in sim.refreshes) == [False] * 11 + [True]
    assert sim.accepts(good[0]["access_token"]) is not reuse_revokes


def test_another_login_is_untouched_by_a_reuse(sim):
    first, other = sim.login(), sim.login()
    for _ in range(2):
        post(sim, refresh_token=first["refresh_token"])
    assert sim.accepts(other["access_token"])
    assert post(sim, refresh_token=other["refresh_token"]).status_code == 200


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"client_id": None}, "Invalid request format"),
        ({"refresh_token": None}, "Invalid request format"),
        ({"grant_type": None}, "Invalid request format"),
        ({"client_id": "someone"}, "Client with id someone not found"),
    ],
)
def test_a_request_that_is_not_whole_is_refused_before_the_token_is_spent(sim, changes, message):
    token = sim.login()["refresh_token"]
    answer = post(sim, **{"refresh_token": token, **changes})
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    assert (answer.status_code, answer.json()) == (400, body)
    assert post(sim, refresh_token=token).status_code == 200


def test_other_grants_and_made_up_tokens_are_refused(sim):
    assert post(sim, grant_type="password", refresh_token="x").json()["error"] == "unsupported_grant_type"
    made_up = post(sim, refresh_token="made-up")
    assert (made_up.status_code, made_up.json()) == (400, DEAD)


@pytest.mark.parametrize(
    ("kind", "body"), [("application/json", "[1"), ("application/json", "[]"), ("text/plain", "é")]
)
def test_a_body_that_is_nothing_is_refused(sim, kind, body):
    headers = {"Content-Type": kind}
    answer = requests.post(sim.token_url, data=body.encode("latin-1"), headers=headers, timeout=5)
    assert answer.json()["error"]["message"] == "Invalid request format"


def test_each_server_knows_its_own_paths_only(sim, google):
    for address in (sim.url + "/token", sim.url + "/favicon.ico", google.url + "/v1/oauth/token"):
        assert requests.post(address, timeout=5).status_code == 404
    assert requests.get(google.token_url, timeout=5).status_code == 404


def test_between_the_rotation_and_the_answer_a_test_can_step_in(sim):
    first = sim.login()
    seen = []
    sim.on_refresh = lambda tokens: seen.append((tokens, list(sim.refreshes), sim.accepts(tokens["access_token"])))
    second = post(sim, refresh_token=first["refresh_token"]).json()
    sim.on_refresh = None
    [(tokens, refreshes, accepted)] = seen
    assert tokens == second
    assert accepted
    assert [refresh[1:] for refresh in refreshes] == [(first["refresh_token"], True)]


def test_tokens_die_when_their_time_is_over(sim, clock):
    sim.expires_in, sim.refresh_expires_in = 100, 1000
    first = sim.login()
    assert first["refresh_token_expires_in"] == 1000
    clock.now += 99
    assert sim.accepts(first["access_token"])
    clock.now += 1
    assert not sim.accepts(first["access_token"])
    second = post(sim, refresh_token=first["refresh_token"]).json()
    clock.now += 999
    third = post(sim, refresh_token=second["refresh_token"]).json()
    clock.now += 1000
    assert post(sim, refresh_token=third["refresh_token"]).json() == DEAD


def test_revoking_ends_a_login_or_only_one_access_token(sim):
    first = sim.login()
    second = post(sim, refresh_token=first["refresh_token"]).json()
    sim.revoke_access(second["access_token"])
    assert not sim.accepts(second["access_token"])
    assert sim.accepts(first["access_token"])
    sim.revoke(second["refresh_token"])
    assert not sim.accepts(first["access_token"])
    assert post(sim, refresh_token=second["refresh_token"]).json() == DEAD
    assert not sim.accepts("made-up")


def test_every_token_and_code_carries_the_canary(sim, google):
    sim.canary = google.canary = "canary-4711"
    tokens = [sim.login(), google.login()]
    tokens += [post(sim, refresh_token=tokens[0]["refresh_token"]).json()]
    code = code_of(google)
    tokens += [exchange(google, code).json()]
    found = [pair[name] for pair in tokens for name in ("access_token", "refresh_token")] + [code]
    assert all("canary-4711" in token for token in found)
    assert len(set(found)) == 9


def test_tokens_begin_as_the_real_ones(sim, google):
    mine, theirs = sim.login(), google.login()
    assert mine["access_token"].startswith("sk-ant-" + "oat01-")
    assert mine["refresh_token"].startswith("sk-ant-" + "ort01-")
    assert theirs["access_token"].startswith("ya29" + ".")
    assert theirs["refresh_token"].startswith("1/" + "/0")
    assert code_of(google).startswith("4/" + "0A")


def test_a_stop_loses_no_token(sim):
    first = sim.login()
    url = sim.url
    sim.stop()
    with pytest.raises(requests.ConnectionError):
        post(sim, refresh_token=first["refresh_token"])
    sim.start()
    assert sim.url == url
    assert post(sim, refresh_token=first["refresh_token"]).status_code == 200


# --- Faults


def test_a_refusal_by_fault_spends_no_token(sim):
    token = sim.login()["refresh_token"]
    sim.faults.add(Fault("status", "/token", status=429, body={"error": "slow down"}, headers={"Retry-After": "7"}))
    sim.faults.add(Fault("status", status=503))
    busy, down = (post(sim, refresh_token=token) for _ in range(2))
    assert (busy.status_code, busy.headers["Retry-After"], busy.json()) == (429, "7", {"error": "slow down"})
    assert (down.status_code, down.text) == (503, "Service Unavailable")
    assert post(sim, refresh_token=token).status_code == 200
    assert [refresh[1:] for refresh in sim.refreshes] == [(token, False), (token, False), (token, True)]


def test_a_dropped_request_spends_no_token_and_a_lost_answer_does(sim):
    sim.reuse_revokes = False
    token = sim.login()["refresh_token"]
    for kind in ("drop", "lose"):
        sim.faults.add(Fault(kind))
        with pytest.raises(requests.ConnectionError):
            post(sim, refresh_token=token)
    assert [refresh.accepted for refresh in sim.refreshes] == [False, True]
    assert post(sim, refresh_token=token).json() == DEAD


def test_a_hanging_answer_comes_late(sim):
    sim.faults.add(Fault("hang", seconds=0.1))
    begun = time.monotonic()
    assert post(sim, refresh_token=sim.login()["refresh_token"]).status_code == 200
    assert 0.1 <= time.monotonic() - begun < 5
    assert begun <= sim.refreshes[0].at < begun + 0.1


# --- Google's token endpoint


@pytest.mark.parametrize("json", [False, True])
def test_a_refresh_at_google_leaves_the_refresh_token_as_it_is(google, json):
    token = google.login()["refresh_token"]
    for _ in range(2):
        tokens = post(google, json=json, refresh_token=token).json()
        assert tokens.keys() == {"access_token", "expires_in", "scope", "token_type"}
        assert tokens["expires_in"] == 3599
        assert google.accepts(tokens["access_token"])


def test_google_takes_the_client_from_the_header_too(google):
    form = {"grant_type": "refresh_token", "refresh_token": google.login()["refresh_token"]}
    assert requests.post(google.token_url, form, auth=(CLIENT, SECRET), timeout=5).status_code == 200
    wrong = requests.post(google.token_url, form, auth=(CLIENT, "wrong"), timeout=5)
    assert refused(wrong, 401, "invalid_client", "The provided client secret is invalid.")
    nonsense = requests.post(google.token_url, form, headers={"Authorization": "Basic é".encode()}, timeout=5)
    assert refused(nonsense, 400, "invalid_request", "Could not determine client ID from request.")


@pytest.mark.parametrize(
    ("changes", "status", "error", "description"),
    [
        ({"grant_type": None}, 400, "unsupported_grant_type", "Invalid grant_type: "),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", "Invalid grant_type: password"),
        ({"client_id": None}, 400, "invalid_request", "Could not determine client ID from request."),
        ({"client_id": "someone"}, 401, "invalid_client", "The OAuth client was not found."),
        ({"client_secret": None}, 400, "invalid_request", "client_secret is missing."),
        ({"client_secret": "wrong"}, 401, "invalid_client", "The provided client secret is invalid."),
        ({"refresh_token": None}, 400, "invalid_request", "Missing required parameter: refresh_token"),
        ({"refresh_token": "made-up"}, 400, "invalid_grant", "Bad Request"),
        ({"scope": CALENDAR}, 400, "invalid_scope", "Bad Request"),
    ],
)
def test_google_refuses_a_refresh_in_its_own_words(google, changes, status, error, description):
    answer = post(google, **{"refresh_token": google.login()["refresh_token"], **changes})
    assert refused(answer, status, error, description)


def test_a_refresh_can_ask_for_less_than_was_granted(google):
    token = google.login(" ".join(SCOPES))["refresh_token"]
    less = post(google, refresh_token=token, scope=CALENDAR).json()
    assert less["scope"] == CALENDAR
    assert userinfo(google, less["access_token"]).status_code == 401
    assert post(google, refresh_token=token, scope="email").json()["scope"] == EMAIL
    assert post(google, refresh_token=token).json()["scope"] == " ".join(SCOPES)


def test_a_revoked_refresh_token_is_refused_by_google(google):
    tokens = google.login()
    google.revoke(tokens["refresh_token"])
    answer = post(google, refresh_token=tokens["refresh_token"])
    assert (answer.status_code, answer.json()) == (400, GOOGLE_DEAD)
    assert not google.accepts(tokens["access_token"])


def test_in_testing_mode_a_refresh_token_lives_for_seven_days(clock):
    with GoogleSim(CLIENT, SECRET, clock=clock, testing_mode=True) as google:
        tokens = exchange(google, code_of(google)).json()
        assert tokens["refresh_token_expires_in"] == TESTING_SECONDS
        clock.now += 7 * 86_400 - 2
        assert "refresh_token_expires_in" not in post(google, refresh_token=tokens["refresh_token"]).json()
        clock.now += 2
        assert post(google, refresh_token=tokens["refresh_token"]).json() == GOOGLE_DEAD


# --- Google's authorization page


def test_consent_sends_the_browser_back_with_a_code(google):
    address = google.visit(page(google))
    assert address.startswith(HOME + "?state=s1&iss=https://accounts.google.com&code=4/")
    answer = answer_of(address)
    assert answer["scope"] == " ".join(SCOPES)
    assert (answer["authuser"], answer["prompt"]) == ("0", "consent")


@pytest.mark.parametrize(
    "home", ["http://127.0.0.1:1/any/where?x=1", "http://localhost:8080", "http://localhost", "http://[::1]:9/"]
)
def test_any_port_and_path_of_this_machine_will_do(google, home):
    place, asked = urlsplit(google.visit(page(google, redirect_uri=home))), urlsplit(home)
    assert (place.netloc, place.path) == (asked.netloc, asked.path or "/")
    assert place.query.startswith(asked.query)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"client_id": None}, "Error 400: invalid_request</p><p>Missing required parameter: client_id"),
        ({"client_id": "someone"}, "Error 401: invalid_client</p><p>The OAuth client was not found."),
        ({"redirect_uri": None}, "Missing required parameter: redirect_uri"),
        ({"redirect_uri": "https://example.com/"}, "Error 400: redirect_uri_mismatch"),
        ({"redirect_uri": "https://localhost/"}, "Error 400: redirect_uri_mismatch"),
        ({"redirect_uri": "http://127.0.0.1.example.com/"}, "Error 400: redirect_uri_mismatch"),
        ({"redirect_uri": "urn:ietf:wg:oauth:2.0:oob"}, "The out-of-band (OOB) flow has been blocked"),
        ({"response_type": None}, "Missing required parameter: response_type"),
        ({"response_type": "token"}, "Error 400: unsupported_response_type"),
        ({"scope": None}, "Missing required parameter: scope"),
        ({"prompt": "force"}, "Invalid parameter value for prompt: Invalid prompt: force"),
        ({"access_type": "always"}, "Invalid access_type: always"),
        ({"code_challenge": "x", "code_challenge_method": "S512"}, "Invalid code_challenge_method: S512"),
    ],
)
def test_a_bad_request_is_shown_to_the_person_and_sends_the_browser_nowhere(google, changes, words):
    with pytest.raises(Blocked) as blocked:
        google.visit(page(google, **changes))
    assert words in str(blocked.value)
    assert requests.get(page(google, **changes), timeout=5).status_code == (401 if "401" in words else 400)


def test_a_denial_comes_back_with_the_state(google):
    google.person = "denies"
    assert google.visit(page(google)) == HOME + "?error=access_denied&state=s1"
    assert google.visit(page(google, state=None)) == HOME + "?error=access_denied"


def test_the_person_can_untick_scopes_but_not_their_identity(google):
    google.unticked = {CALENDAR, EMAIL}
    address = google.visit(page(google))
    assert answer_of(address)["scope"] == f"openid {EMAIL}"
    assert exchange(google, answer_of(address)["code"]).json()["scope"] == f"openid {EMAIL}"
    assert answer_of(google.visit(page(google, scope=CALENDAR)))["error"] == "access_denied"


def test_short_names_of_scopes_come_back_in_full(google):
    answer = answer_of(google.visit(page(google, scope="email")))
    assert answer["scope"] == f"email {EMAIL} openid"
    assert exchange(google, answer["code"]).json()["scope"] == f"{EMAIL} openid"


def test_a_refresh_token_comes_with_offline_access_and_the_first_or_a_forced_consent(google):
    def renewable(**changes):
        return "refresh_token" in exchange(google, code_of(google, **changes)).json()

    assert not renewable(access_type="online")
    assert not renewable(prompt=None)
    assert renewable()
    assert renewable(prompt="select_account consent")
    with GoogleSim(CLIENT, SECRET) as fresh:
        assert ["refresh_token" in exchange(fresh, code_of(fresh, prompt=None)).json() for _ in range(2)] == [
            True,
            False,
        ]


# --- The authorization code


def test_a_code_is_good_once(google):
    code = code_of(google)
    tokens = exchange(google, code).json()
    assert tokens.keys() == {"access_token", "refresh_token", "expires_in", "scope", "token_type"}
    assert google.accepts(tokens["access_token"])
    assert refused(exchange(google, code), 400, "invalid_grant", "Bad Request")


def test_a_code_is_good_for_ten_minutes(google, clock):
    code = code_of(google)
    clock.now += 600
    assert refused(exchange(google, code), 400, "invalid_grant", "Bad Request")


@pytest.mark.parametrize(
    ("changes", "error", "description"),
    [
        ({"code": None}, "invalid_request", "Missing required parameter: code"),
        ({"code": "4%2F0A"}, "invalid_grant", "Malformed auth code."),
        ({"code": "4/0A"}, "invalid_grant", "Bad Request"),
        ({"redirect_uri": None}, "invalid_request", "Missing required parameter: redirect_uri"),
        ({"redirect_uri": HOME + "x"}, "redirect_uri_mismatch", "Bad Request"),
        ({"code_verifier": "v" * 43}, "invalid_grant", "code_verifier or verifier is not needed."),
    ],
)
def test_a_bad_exchange_is_refused_and_the_code_stays_good(google, changes, error, description):
    code = code_of(google)
    assert refused(exchange(google, **{"code": code, **changes}), 400, error, description)
    assert exchange(google, code).status_code == 200


# The pair of RFC 7636, appendix B, and the same without a hash.
@pytest.mark.parametrize(
    ("method", "challenge"),
    [
        ("S256", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
        ("plain", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
        (None, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
    ],
)
def test_a_challenge_is_met_by_its_verifier_only(google, method, challenge):
    code = code_of(google, code_challenge=challenge, code_challenge_method=method)
    assert refused(exchange(google, code), 400, "invalid_grant", "Missing code verifier.")
    assert refused(exchange(google, code, code_verifier="v" * 43), 400, "invalid_grant", "Invalid code verifier.")
    good = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert exchange(google, code, code_verifier=good).status_code == 200


def test_userinfo_says_who_the_person_is_as_far_as_the_scopes_allow(google):
    whole = userinfo(google, google.login()["access_token"])
    assert whole.json() == {"sub": google.sub, "email": "alice@example.com", "email_verified": True}
    assert len(google.sub) == 21
    assert userinfo(google, google.login("openid")["access_token"]).json() == {"sub": google.sub}
    for token in (None, google.login(CALENDAR)["access_token"]):
        answer = userinfo(google, token)
        assert answer.status_code == 401
        assert answer.json()["error"]["status"] == "UNAUTHENTICATED"
    assert refused(userinfo(google, "made-up"), 401, "invalid_request", "Invalid Credentials")


# --- Google's own libraries


def new_flow(google, scopes=SCOPES, home=HOME):
    """A flow and the address of its authorization page."""
    flow = InstalledAppFlow.from_client_config(google.client_config(), scopes=scopes)
    flow.redirect_uri = home
    return flow, flow.authorization_url(prompt="consent")[0]


def credentials(google, refresh_token):
    client = {"token_uri": google.token_url, "client_id": CLIENT, "client_secret": SECRET}
    return Credentials(None, refresh_token=refresh_token, **client)


@pytest.fixture
def patient(monkeypatch):
    """google-auth tries three times; without its waits of one and two seconds."""
    monkeypatch.setattr(_exponential_backoff, "time", SimpleNamespace(sleep=lambda seconds: None))


@pytest.mark.usefixtures("http_allowed")
def test_a_pasted_address_gives_credentials_that_refresh(google):
    flow, address = new_flow(google)
    assert "code_challenge_method=S256" in address
    flow.fetch_token(authorization_response=google.visit(address))
    found = flow.credentials
    assert sorted(found.granted_scopes) == sorted(SCOPES)
    before, refresh_token = found.token, found.refresh_token
    found.refresh(Request())
    assert found.token != before
    assert found.refresh_token == refresh_token
    assert google.accepts(found.token)


def test_without_the_switch_the_library_refuses_plain_http(google, monkeypatch):
    monkeypatch.delenv("OAUTHLIB_INSECURE_TRANSPORT", raising=False)
    with pytest.raises(oauthlib.oauth2.InsecureTransportError):
        new_flow(google)


@pytest.mark.usefixtures("http_allowed")
def test_the_library_tells_a_denial_from_a_wrong_state(google):
    google.person = "denies"
    flow, address = new_flow(google)
    denial = google.visit(address)
    with pytest.raises(oauthlib.oauth2.AccessDeniedError):
        flow.fetch_token(authorization_response=denial)
    other, _ = new_flow(google)
    with pytest.raises(oauthlib.oauth2.MismatchingStateError):
        other.fetch_token(authorization_response=denial)


@pytest.mark.usefixtures("http_allowed")
def test_the_library_raises_a_bare_warning_when_the_scopes_differ(google):
    google.unticked = {CALENDAR}
    flow, address = new_flow(google)
    with pytest.raises(Warning, match="Scope has changed") as raised:
        flow.fetch_token(authorization_response=google.visit(address))
    assert not isinstance(raised.value, oauthlib.oauth2.OAuth2Error)
    assert sorted(raised.value.new_scope) == sorted(["openid", EMAIL])  # type: ignore[attr-defined]
    flow, address = new_flow(google, scopes=["email"])  # nothing unticked: Google's full names are enough
    with pytest.raises(Warning, match="Scope has changed"):
        flow.fetch_token(authorization_response=google.visit(address))


@pytest.mark.usefixtures("http_allowed")
def test_credentials_with_an_unticked_scope_cannot_refresh_until_it_is_forgotten(google, monkeypatch):
    monkeypatch.setenv("OAUTHLIB_RELAX_TOKEN_SCOPE", "1")
    google.unticked = {CALENDAR}
    flow, address = new_flow(google)
    flow.fetch_token(authorization_response=google.visit(address))
    with pytest.raises(RefreshError, match="invalid_scope: Bad Request"):
        flow.credentials.refresh(Request())
    credentials(google, flow.credentials.refresh_token).refresh(Request())


@pytest.mark.usefixtures("http_allowed")
def test_the_library_names_what_is_wrong_with_an_exchange(google):
    flow, address = new_flow(google)
    back = google.visit(address)
    flow.redirect_uri = HOME + "x"
    with pytest.raises(oauthlib.oauth2.OAuth2Error, match="redirect_uri_mismatch"):
        flow.fetch_token(authorization_response=back)
    flow.redirect_uri, verifier, flow.code_verifier = HOME, flow.code_verifier, "v" * 43
    with pytest.raises(oauthlib.oauth2.InvalidGrantError, match="Invalid code verifier"):
        flow.fetch_token(authorization_response=back)
    flow.code_verifier = verifier
    google.faults.add(Fault("status", "/token", status=503))
    with pytest.raises(oauthlib.oauth2.MissingTokenError):  # misleading, and all that it says
        flow.fetch_token(authorization_response=back)
    flow.fetch_token(authorization_response=back)
    with pytest.raises(oauthlib.oauth2.InvalidGrantError, match="Bad Request"):
        flow.fetch_token(authorization_response=back)


def test_a_dead_refresh_token_costs_the_library_one_call(google):
    tokens = google.login()
    google.revoke(tokens["refresh_token"])
    with pytest.raises(RefreshError, match="invalid_grant: Token has been expired or revoked") as raised:
        credentials(google, tokens["refresh_token"]).refresh(Request())
    assert not raised.value.retryable
    assert len(google.refreshes) == 1


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("body", [{"error": {"code": 503}}, None])
def test_a_troubled_server_is_asked_three_times(google, status, body):
    google.faults.add(Fault("status", times=3, status=status, body=body, headers={"Retry-After": "600"}))
    found = credentials(google, google.login()["refresh_token"])
    with pytest.raises(RefreshError) as raised:
        found.refresh(Request())
    assert raised.value.retryable is (body is not None)  # an answer in HTML counts as final
    assert len(google.refreshes) == 3
    found.refresh(Request())


@pytest.mark.parametrize("kind", ["drop", "lose"])
def test_a_broken_connection_costs_the_library_one_call(google, kind):
    google.faults.add(Fault(kind))
    with pytest.raises(TransportError):
        credentials(google, google.login()["refresh_token"]).refresh(Request())
    assert len(google.refreshes) == 1


def run_locally(google, monkeypatch, use):
    """The library's own receiver; `use` is what the browser does with the address. Its result, and the browser's."""
    with ThreadPoolExecutor(1) as browser:
        visits = []

        class Browser:
            def open(self, address, **_):
                visits.append(browser.submit(use, address))

        monkeypatch.setattr(webbrowser, "get", lambda name: Browser())
        flow = InstalledAppFlow.from_client_config(google.client_config(), scopes=SCOPES)
        try:
            found = flow.run_local_server(
                host="127.0.0.1", port=0, timeout_seconds=5, authorization_prompt_message=None, prompt="consent"
            )
        except Exception as error:
            found = error
        return found, visits[0]


@pytest.mark.usefixtures("http_allowed")
def test_the_receiver_of_the_library_takes_the_first_request_for_the_answer(google, monkeypatch):
    found, visit = run_locally(google, monkeypatch, lambda url: requests.get(google.visit(url), timeout=5).text)
    assert visit.result() == "The authentication flow has completed. You may close this window."
    assert google.accepts(found.token)
    found, visit = run_locally(google, monkeypatch, google.browse)
    assert isinstance(found, oauthlib.oauth2.MismatchingStateError)
    assert isinstance(visit.exception(), OSError | http.client.HTTPException)


@pytest.mark.usefixtures("http_allowed")
def test_the_receiver_of_the_library_gives_up_after_its_timeout(google):
    flow, _ = new_flow(google)
    with pytest.raises(WSGITimeoutError):
        flow.run_local_server("127.0.0.1", port=0, open_browser=False, timeout_seconds=0.05)
