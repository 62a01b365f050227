"""Slack and ClickUp, simulated as far as it takes to check a token: one valid token each, and every refusal.

Slack's facts come from docs.slack.dev (auth.test, rate limits), from its OpenAPI file, which has auth.test as a GET,
and from api.slack.com/methods/auth.test, which says that app-level tokens are taken too; how the answer to one of those
looks is ours, put together from the fields in the reference. ClickUp's come from developer.clickup.com (common errors,
rate limits, Get Authorized User). Statuses and texts of OAUTH_017, 018, 019, 023, 025 and 171 and of the 429 are those
that public sources quote from the real service; the other statuses and texts, and the page of the 404, are ours.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from demo.loopback import Faults, Handler, LoopbackServer

RETRY_SECONDS = 30  # what both ask for when there were too many requests

# Errors of auth.test at docs.slack.dev with those of its older pages and of the archived OpenAPI file.
SLACK_ERRORS = (
    *("access_denied", "accesslimited", "account_inactive", "deprecated_endpoint", "ekm_access_denied"),
    *("enterprise_is_restricted", "fatal_error", "internal_error", "invalid_arg_name", "invalid_arguments"),
    *("invalid_array_arg", "invalid_auth", "invalid_charset", "invalid_form_data", "invalid_json"),
    *("invalid_post_type", "is_bot", "json_not_object", "method_deprecated", "missing_post_type", "missing_scope"),
    *("no_permission", "not_allowed_token_type", "not_authed", "org_login_required", "rate_limited", "ratelimited"),
    *("request_timeout", "service_unavailable", "team_added_to_org", "token_expired", "token_revoked"),
    *("two_factor_setup_required", "unknown_method", "upgrade_required"),
)

# HTTP status and text by ECODE. APP_002 is the 429; OAUTH_018 is not documented, but common.
CLICKUP_ERRORS = {
    "APP_002": (429, "Rate limit reached"),
    "OAUTH_007": (400, "Redirect URI does not match"),
    "OAUTH_010": (400, "Client not found"),
    "OAUTH_017": (400, "Authorization header required"),
    **{f"OAUTH_{number:03}": (401, "Team not authorized") for number in (23, 26, 27, *range(29, 46))},
    **{f"OAUTH_{number:03}": (401, "Oauth token not found") for number in (18, 19, 21, 77)},
    "OAUTH_025": (401, "Token invalid"),
    "OAUTH_171": (400, "Webhook configuration already exists"),
}


@dataclass(frozen=True)
class Request:
    """One request, refused or not. Header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: str


Reply = tuple[int, Any, dict[str, str]]  # status, body and headers


class _Endpoint(Handler):
    server: LoopbackServer

    def do_GET(self) -> None:
        simulator: _Service = self.server.simulator
        simulator.serve(self)

    do_POST = do_PUT = do_DELETE = do_GET


class _Service:
    """What both have. After stop() nobody listens; start() takes the same port again."""

    def __init__(self, token: str, port: int = 0, address: str = "127.0.0.1") -> None:
        self.token = token
        self.faults = Faults()
        self.error: str | None = None  # from now on the answer to whatever is asked
        self.requests: list[Request] = []
        self._port, self._address = port, address
        self._server: LoopbackServer | None = None
        self._stopped = threading.Event()

    @property
    def url(self) -> str:
        """The base address, once it was started."""
        return f"http://{self._address}:{self._port}/api"

    def start(self) -> None:
        self._stopped.clear()
        self._server = LoopbackServer(_Endpoint, self, self._port, self._address)
        self._port = self._server.port
        self._server.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._server:
            self._server.stop()
            self._server = None

    def serve(self, handler: Handler) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = Request(handler.command, handler.path, headers, handler.read_body().decode("utf-8", "replace"))
        self.requests.append(request)
        fault = self.faults.take(request.path)
        kind = fault.kind if fault else ""
        if fault and kind == "hang":
            self._stopped.wait(fault.seconds)
        if kind in ("drop", "lose"):
            handler.cut()
        elif fault and kind == "status":
            handler.answer(fault.status, fault.body, fault.headers)
        else:
            handler.answer(*self.reply(request))

    def reply(self, request: Request) -> Reply:
        raise NotImplementedError


class SlackSim(_Service):
    """slack.com/api with one user of one workspace. `error` is one of SLACK_ERRORS."""

    def __init__(
        self, token: str, user: str = "steward", team: str = "Acme", port: int = 0, address: str = "127.0.0.1"
    ) -> None:
        super().__init__(token, port, address)
        self.user, self.team = user, team

    def reply(self, request: Request) -> Reply:
        method = request.path.removeprefix("/api/").partition("?")[0]
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if method != "auth.test":
            return 200, {"ok": False, "error": "unknown_method", "req_method": method}, {}
        if self.error == "ratelimited":
            return 429, {"ok": False, "error": "ratelimited"}, {"Retry-After": str(RETRY_SECONDS)}
        if self.error:
            return 200, {"ok": False, "error": self.error}, {}
        if scheme != "Bearer" or not token:
            return 200, {"ok": False, "error": "not_authed"}, {}
        if token.startswith("xapp-"):
            return 200, {"ok": True, "app_id": "A0123456789", "app_name": "Steward"}, {}
        if token != self.token:
            return 200, {"ok": False, "error": "invalid_auth"}, {}
        who = {"team": self.team, "user": self.user, "team_id": "T0123456789", "user_id": "U0123456789"}
        whose = {"bot_id": "B0123456789", "is_enterprise_install": False}
        return 200, {"ok": True, "url": "https://acme.slack.com/", **who, **whose}, {}


class ClickUpSim(_Service):
    """api.clickup.com/api with one user. `error` is one of CLICKUP_ERRORS."""

    def __init__(
        self,
        token: str,
        username: str = "Steward",
        email: str = "steward@example.com",
        port: int = 0,
        address: str = "127.0.0.1",
    ) -> None:
        super().__init__(token, port, address)
        self.username, self.email = username, email

    def reply(self, request: Request) -> Reply:
        authorization = request.headers.get("authorization", "")
        if (request.method, request.path) != ("GET", "/api/v2/user"):
            return 404, "<!DOCTYPE html><title>Error</title><pre>Cannot answer</pre>", {}
        if self.error:
            return self._refusal(self.error)
        if not authorization:
            return self._refusal("OAUTH_017")
        if authorization.startswith("Bearer "):  # only for tokens from an OAuth sign-in, which this one is not
            return self._refusal("OAUTH_019")
        if authorization != self.token:
            return self._refusal("OAUTH_025")
        user = {"id": 123, "username": self.username, "email": self.email, "color": "#000000", "profilePicture": None}
        return 200, {"user": user}, {}

    def _refusal(self, code: str) -> Reply:
        status, text = CLICKUP_ERRORS[code]
        headers = {}
        if status == 429:
            reset = str(int(time.time()) + RETRY_SECONDS)
            headers = {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
        return status, {"err": text, "ECODE": code}, headers
