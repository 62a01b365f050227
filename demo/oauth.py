"""A simulated OAuth authorization server on 127.0.0.1, as Anthropic's with single-use refresh tokens or as Google's.

It refuses what the real services refuse, in the same words where they are known. The facts come from Google's pages
(identity/protocols/oauth2/native-app, resources/loopback-migration) and from answers of both services quoted in
public issues. Where a text is ours it says so; the body of a "status" fault without one of its own is also ours: HTML,
as of a server in front of the real one. Left out: id_token, which Google sends along when openid was granted;
include_granted_scopes; the limit of 100 refresh tokens for each account.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import http.client
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal, NamedTuple, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from demo.loopback import Fault, Faults, Handler, LoopbackServer

Json = dict[str, Any]

TESTING_SECONDS = 604_799  # what refresh_token_expires_in says while the consent screen is in Testing mode
USERINFO = "https://www.googleapis.com/auth/userinfo."
FULL_NAMES = {"email": USERINFO + "email", "profile": USERINFO + "profile"}
IDENTITY = {"openid", *FULL_NAMES.values()}
OOB = "urn:ietf:wg:oauth:2.0:oob"
OOB_BLOCKED = (
    "The out-of-band (OOB) flow has been blocked in order to keep users secure. Follow the Out-of-Band (OOB) flow "
    "migration guide linked in the developer docs below to migrate your app to an alternative method."
)
POLICY = "You can't sign in to this app because it doesn't comply with Google's OAuth 2.0 policy."
NO_CREDENTIAL = (
    "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other "
    "valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
)


class Refresh(NamedTuple):
    """One request to refresh. accepted: new tokens were made, whether or not they arrived."""

    at: float  # time.monotonic()
    token: str
    accepted: bool


class Blocked(Exception):
    """The authorization page showed an error instead of sending the browser back; the text is the page."""


@dataclass
class _Grant:
    """What a person agreed to once. `refresh` is the one good refresh token, the rest of this grant's are spent."""

    scope: str
    refresh: str = ""
    ends: float = float("inf")  # of that token, by the clock
    revoked: bool = False


@dataclass
class _Access:
    grant: _Grant
    scope: str
    ends: float


@dataclass
class _Code:
    asked: dict[str, str]  # the query of the authorization page
    scope: str
    renewable: bool  # a refresh token comes with it
    ends: float


@dataclass(frozen=True)
class _Request:
    route: str  # "POST /token"
    query: dict[str, str]
    form: dict[str, str]
    authorization: str


class _Reply(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str] | None = None


class _Refusal(Exception):
    def __init__(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        self.reply = _Reply(status, body, headers)


def _refused(error: str, description: str, status: int = 400) -> _Refusal:
    """As RFC 6749 has it."""
    return _Refusal(status, {"error": error, "error_description": description})


class OAuthSim:
    """Anthropic's token endpoint: a public client, JSON or a form, and every refresh ends the refresh token it used.

    clock               seconds, for every lifetime
    expires_in          seconds an access token lives
    refresh_expires_in  seconds a refresh token lives, told as refresh_token_expires_in; None for no limit, not told
    single_use          a refresh brings a new refresh token, and the old one is dead at once
    reuse_revokes       a spent refresh token that comes again ends the whole login. Reports of the real service
                        differ: uwuclxdy/clauth#52 and ericjypark/codex-island#53 saw that, others recovered
    on_refresh          called with the new tokens after they took effect and before they are sent
    canary              is part of every token and code made from then on
    refreshes           every request to refresh, in order, those that a fault answered too
    """

    starts = ("sk-ant-" + "oat01-", "sk-ant-" + "ort01-")  # of access and refresh tokens
    unknown = dead = "Refresh token not found or invalid"  # what a refresh token is: Wei-Shaw/sub2api#1035
    endpoint = "/v1/oauth/token"
    scope = "user:inference user:profile"  # of login()

    def __init__(self, client_id: str, port: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.client_id = client_id
        self.clock = clock
        self.url = self.token_url = ""
        self.expires_in = 28_800
        self.refresh_expires_in: int | None = None
        self.single_use = True
        self.reuse_revokes = True
        self.on_refresh: Callable[[Json], None] | None = None
        self.canary = ""
        self.faults = Faults()
        self.refreshes: list[Refresh] = []
        self._routes: dict[str, Callable[[_Request], _Reply]] = {f"POST {self.endpoint}": self._token}
        self._port = port
        self._server: LoopbackServer | None = None
        self._halt = threading.Event()
        self._lock = threading.Lock()
        self._grants: dict[str, _Grant] = {}  # by every refresh token there ever was
        self._accesses: dict[str, _Access] = {}

    def start(self) -> None:
        """Serve. This sets `url` and `token_url`, and the port stays the same from then on."""
        self._halt = threading.Event()
        self._server = LoopbackServer(_Exchange, self, self._port)
        self._port, self.url = self._server.port, self._server.url
        self.token_url = self.url + self.endpoint
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

    def __exit__(self, *error: object) -> None:
        self.stop()

    def login(self, scope: str = "") -> Json:
        """A first pair of tokens, as the answer to an authorization code would hold them."""
        with self._lock:
            return self._issue(_Grant(scope or self.scope), renewable=True)

    def accepts(self, access_token: str) -> bool:
        """Whether a service would serve the bearer of this token now."""
        return self._access(access_token) is not None

    def revoke(self, refresh_token: str) -> None:
        """End the login this refresh token came from, spent or not, with all its tokens."""
        self._grants[refresh_token].revoked = True

    def revoke_access(self, access_token: str) -> None:
        del self._accesses[access_token]

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond stop()."""
        self._halt.wait(seconds)

    def serve(self, request: _Request, fault: Fault) -> _Reply:
        """The reply, after the request had its effect."""
        at = time.monotonic()
        try:
            if fault.kind in ("drop", "status"):
                body = HTTPStatus(fault.status).phrase if fault.body is None else fault.body
                raise _Refusal(fault.status, body, fault.headers)
            handle = self._routes.get(request.route)
            reply, accepted = handle(request) if handle else _Reply(404, "Not found"), True
        except _Refusal as refusal:
            reply, accepted = refusal.reply, False
        if request.form.get("grant_type") == "refresh_token":
            self.refreshes.append(Refresh(at, request.form.get("refresh_token", ""), accepted))
            if accepted and self.on_refresh is not None:
                self.on_refresh(dict(reply.body))
        return reply

    def _token(self, request: _Request) -> _Reply:
        self._check(request)
        return _Reply(200, self._refresh(request.form))

    def _check(self, request: _Request) -> None:
        """The words: nanocoai/nanoclaw#1724 and askalf/dario#26; that of a strange grant type is ours."""
        kind, client, refresh = (request.form.get(name) for name in ("grant_type", "client_id", "refresh_token"))
        if kind and kind != "refresh_token":
            raise _refused("unsupported_grant_type", f"Unsupported grant type: {kind}")
        whole = kind and client and refresh
        if not whole or client != self.client_id:
            message = f"Client with id {client} not found" if whole else "Invalid request format"
            raise _Refusal(400, {"type": "error", "error": {"type": "invalid_request_error", "message": message}})

    def _refresh(self, form: dict[str, str]) -> Json:
        with self._lock:
            grant = self._grants.get(form["refresh_token"])
            if grant is None:
                raise _refused("invalid_grant", self.unknown)
            spent = form["refresh_token"] != grant.refresh
            grant.revoked = grant.revoked or (spent and self.reuse_revokes)
            if spent or grant.revoked or self.clock() >= grant.ends:
                raise _refused("invalid_grant", self.dead)
            return self._issue(grant, renewable=self.single_use, scope=self._narrowed(form, grant))

    def _narrowed(self, form: dict[str, str], grant: _Grant) -> str:
        """The scope of the new access token; Claude Code sends its own with every refresh, to no effect here."""
        return grant.scope

    def _issue(self, grant: _Grant, renewable: bool, scope: str = "") -> Json:
        """New tokens, under the lock. A new refresh token ends the grant's last one."""
        access, refresh = (start + self.canary + secrets.token_urlsafe(72) for start in self.starts)
        scope, now = scope or grant.scope, self.clock()
        self._accesses[access] = _Access(grant, scope, now + self.expires_in)
        tokens: Json = {"access_token": access, "expires_in": self.expires_in, "scope": scope, "token_type": "Bearer"}
        if renewable:
            grant.refresh = tokens["refresh_token"] = refresh
            self._grants[refresh] = grant
            if self.refresh_expires_in is not None:
                grant.ends = now + self.refresh_expires_in
                tokens["refresh_token_expires_in"] = self.refresh_expires_in
        return tokens

    def _access(self, token: str) -> _Access | None:
        with self._lock:
            access = self._accesses.get(token)
            return access if access and not access.grant.revoked and self.clock() < access.ends else None


class GoogleSim(OAuthSim):
    """Google's authorization page, token endpoint and userinfo under one address, for a client of type Desktop.

    person         what the one person here does on the authorization page
    unticked       scopes whose box they clear there; the scopes of identity (openid, email, profile) have no box
    code_lifetime  seconds an authorization code can be used
    testing_mode   refresh tokens die after 7 days. refresh_expires_in = 15_551_999 is what a person gets who does
                   not tick "ongoing access" (google/GoogleSignIn-iOS#565)
    """

    starts = ("ya29" + ".a0", "1/" + "/0")
    unknown, dead = "Bad Request", "Token has been expired or revoked."  # AppAuth-iOS#526, GeneralTask#997
    endpoint = "/token"
    scope = f"openid {FULL_NAMES['email']}"

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        port: int = 0,
        clock: Callable[[], float] = time.monotonic,
        testing_mode: bool = False,
    ) -> None:
        super().__init__(client_id, port, clock)
        self.client_secret = client_secret
        self.expires_in = 3599
        self.refresh_expires_in = TESTING_SECONDS if testing_mode else None
        self.single_use = self.reuse_revokes = False
        self.person: Literal["consents", "denies"] = "consents"
        self.unticked: set[str] = set()
        self.code_lifetime = 600.0
        self.email = "alice@example.com"
        self.sub = "1" + f"{secrets.randbelow(10**20):020}"
        self._codes: dict[str, _Code] = {}
        self._consented = False
        for path in ("/o/oauth2/v2/auth", "/o/oauth2/auth"):  # the second stands in the files Google hands out
            self._routes[f"GET {path}"] = self._authorize
        self._routes["GET /v1/userinfo"] = self._userinfo

    def client_config(self) -> Json:
        """The client as the file that Google's console hands out."""
        client = {"client_id": self.client_id, "project_id": "steward", "client_secret": self.client_secret}
        places = {"auth_uri": self.url + "/o/oauth2/auth", "token_uri": self.token_url}
        return {"installed": {**client, **places, "redirect_uris": ["http://localhost"]}}

    def visit(self, auth_url: str) -> str:
        """The address a browser is sent to, for one who pastes it. Raises Blocked for an error page."""
        status, location, page = _get(auth_url)
        if status != 302:
            raise Blocked(page)
        return location

    def browse(self, auth_url: str) -> str:
        """What the client's own server shows in the end, to a browser that asks it for a /favicon.ico before.

        Raises Blocked for an error page, OSError or HTTPException when that server does not answer.
        """
        location = self.visit(auth_url)
        place = urlsplit(location)
        try:
            _get(f"{place.scheme}://{place.netloc}/favicon.ico")
        except (OSError, http.client.HTTPException):
            pass  # a browser does not care
        return _get(location)[2]

    def _authorize(self, request: _Request) -> _Reply:
        asked = request.query
        _check_page(asked, self.client_id)
        wanted = asked["scope"].split()
        full = [FULL_NAMES.get(scope, scope) for scope in wanted]
        granted = [scope for scope in full if scope in IDENTITY or scope not in self.unticked]
        back = {"state": asked["state"]} if "state" in asked else {}
        if self.person == "denies" or not granted:
            return _redirect(asked, {"error": "access_denied", **back})
        if IDENTITY & {*granted}:
            granted.append("openid")  # asked for or not
        scope = " ".join(dict.fromkeys(granted))
        prompt = asked.get("prompt", "")
        renewable = asked.get("access_type") == "offline" and ("consent" in prompt.split() or not self._consented)
        self._consented = True
        code = "4/" + "0A" + self.canary + secrets.token_urlsafe(50)
        self._codes[code] = _Code(asked, scope, renewable, self.clock() + self.code_lifetime)
        short = [name for name in wanted if name in FULL_NAMES]
        back |= {"iss": "https://accounts.google.com", "code": code, "scope": " ".join([*short, scope])}
        return _redirect(asked, {**back, "authuser": "0", "prompt": prompt or "consent"})

    def _token(self, request: _Request) -> _Reply:
        if request.form.get("grant_type") != "authorization_code":
            return super()._token(request)
        self._check(request)
        return _Reply(200, self._exchange(request.form))

    def _check(self, request: _Request) -> None:
        """Sources, in order: tsdav#130, AppAuth-iOS#226, email-oauth2-proxy#362, google-api-nodejs-client#3089.

        A wrong secret used to be "Unauthorized"; the words here are those of 2026.
        """
        form, kind = request.form, request.form.get("grant_type", "")
        if kind not in ("authorization_code", "refresh_token"):
            raise _refused("unsupported_grant_type", f"Invalid grant_type: {kind}")
        client, secret = _basic(request.authorization) or (form.get("client_id"), form.get("client_secret"))
        if not client:
            raise _refused("invalid_request", "Could not determine client ID from request.")
        if client != self.client_id:
            raise _refused("invalid_client", "The OAuth client was not found.", 401)
        if not secret:
            raise _refused("invalid_request", "client_secret is missing.")
        if not hmac.compare_digest(secret.encode(), self.client_secret.encode()):
            raise _refused("invalid_client", "The provided client secret is invalid.", 401)
        for name in ("refresh_token",) if kind == "refresh_token" else ("code", "redirect_uri"):
            if not form.get(name):
                raise _refused("invalid_request", f"Missing required parameter: {name}")

    def _narrowed(self, form: dict[str, str], grant: _Grant) -> str:
        """google-auth asks for its scopes with every refresh; one that was not granted: AminForou/mcp-gsc#56."""
        wanted = [FULL_NAMES.get(scope, scope) for scope in form.get("scope", "").split()]
        if not {*wanted} <= {*grant.scope.split()}:
            raise _refused("invalid_scope", "Bad Request")
        return " ".join(wanted)

    def _exchange(self, form: dict[str, str]) -> Json:
        """Tokens for an authorization code; it survives a refusal (ours: what Google does is not known)."""
        with self._lock:
            code = self._codes.get(form["code"])
            if not form["code"].startswith("4/"):  # "4%2F0A...", encoded once too often, is the usual case
                raise _refused("invalid_grant", "Malformed auth code.")
            if code is None or self.clock() >= code.ends:
                raise _refused("invalid_grant", "Bad Request")
            if form["redirect_uri"] != code.asked["redirect_uri"]:
                raise _refused("redirect_uri_mismatch", "Bad Request")  # prasmussen/gdrive#665
            _check_verifier(form.get("code_verifier", ""), code.asked)
            del self._codes[form["code"]]
            return self._issue(_Grant(code.scope), code.renewable)

    def _userinfo(self, request: _Request) -> _Reply:
        kind, _, token = request.authorization.partition(" ")
        access = self._access(token)
        if kind == "Bearer" and access is None:
            raise _refused("invalid_request", "Invalid Credentials", 401)
        scopes = access.scope.split() if access else []
        if not IDENTITY & {*scopes}:
            raise _Refusal(401, {"error": {"code": 401, "message": NO_CREDENTIAL, "status": "UNAUTHENTICATED"}})
        person = {"email": self.email, "email_verified": True} if FULL_NAMES["email"] in scopes else {}
        return _Reply(200, {"sub": self.sub, **person})


class _Exchange(Handler):
    """One request and its answer."""

    server: LoopbackServer

    def do_GET(self) -> None:
        sim: OAuthSim = self.server.simulator
        place = urlsplit(self.path)
        form = _form(self.headers.get("Content-Type", ""), self.read_body())
        query = dict(parse_qsl(place.query, keep_blank_values=True))
        request = _Request(f"{self.command} {place.path}", query, form, self.headers.get("Authorization", ""))
        fault = sim.faults.take(place.path) or Fault("")
        reply = sim.serve(request, fault)
        if fault.kind in ("drop", "lose"):
            self.cut()
            return
        if fault.kind == "hang":
            sim.pause(fault.seconds)
        self.answer(*reply)

    do_POST = do_GET


def _check_page(asked: dict[str, str], client_id: str) -> None:
    """Refuse what the authorization page refuses; it shows a person the error and sends the browser nowhere."""
    for name in ("client_id", "redirect_uri", "response_type", "scope"):
        if not asked.get(name, "").strip():
            raise _page("invalid_request", f"Missing required parameter: {name}")
    if asked["client_id"] != client_id:
        raise _page("invalid_client", "The OAuth client was not found.", 401)
    if asked["redirect_uri"] == OOB:
        raise _page("invalid_request", f"{OOB_BLOCKED} Request details: redirect_uri={OOB}")
    place = urlsplit(asked["redirect_uri"])
    if place.scheme != "http" or place.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise _page("redirect_uri_mismatch", f"{POLICY} Request details: redirect_uri={asked['redirect_uri']}")
    if asked["response_type"] != "code":
        raise _page("unsupported_response_type", f"Invalid response_type: {asked['response_type']}")
    known = {"access_type": {"online", "offline"}, "code_challenge_method": {"S256", "plain"}}
    for name, values in {**known, "prompt": {"none", "consent", "select_account"}}.items():
        for value in asked.get(name, "").split():
            if value not in values:  # googleapis/google-api-php-client#2444
                raise _page("invalid_request", f"Invalid parameter value for {name}: Invalid {name}: {value}")


def _check_verifier(verifier: str, asked: dict[str, str]) -> None:
    """PKCE, RFC 7636; the words: jan-janssen/gmailsorter#402, pocketbase#2475, google-auth-library-nodejs#2028."""
    challenge = asked.get("code_challenge", "")
    if verifier and not challenge:
        raise _refused("invalid_grant", "code_verifier or verifier is not needed.")
    if not challenge:
        return
    if not verifier:
        raise _refused("invalid_grant", "Missing code verifier.")
    if asked.get("code_challenge_method") == "S256":
        verifier = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    if verifier != challenge:
        raise _refused("invalid_grant", "Invalid code verifier.")


def _page(error: str, text: str, status: int = 400) -> _Refusal:
    """Google's page in short: the line "Error 400: ..." and the text are its own."""
    return _Refusal(status, f"<h1>Access blocked</h1><p>Error {status}: {error}</p><p>{html.escape(text, False)}</p>")


def _redirect(asked: dict[str, str], answer: dict[str, str]) -> _Reply:
    place = urlsplit(asked["redirect_uri"])
    query = "&".join(part for part in (place.query, urlencode(answer, safe="/:")) if part)
    return _Reply(302, "", {"Location": place._replace(path=place.path or "/", query=query).geturl()})


def _form(kind: str, raw: bytes) -> dict[str, str]:
    """The parameters in the body, as a form or as JSON; {} for anything else."""
    try:
        if kind.startswith("application/json"):
            found = json.loads(raw)
            return {name: str(value) for name, value in found.items()} if isinstance(found, dict) else {}
        return dict(parse_qsl(raw.decode()))
    except ValueError:
        return {}


def _basic(authorization: str) -> tuple[str, str] | None:
    """The client's name and secret out of the header; google-auth-oauthlib sends them there, not in the form."""
    kind, _, value = authorization.partition(" ")
    try:
        name, colon, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:
        return None
    return (name, secret) if kind == "Basic" and colon else None


def _get(url: str) -> tuple[int, str, str]:
    """Status, Location and text of one GET that follows no redirect."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
    try:
        connection.request("GET", place._replace(scheme="", netloc="", fragment="").geturl() or "/")
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Location", ""), answer.read().decode()
    finally:
        connection.close()
