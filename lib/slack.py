"""Slack's Web API: whose a token is, and what a refusal of it means."""

from __future__ import annotations

from lib.secret import Secret
from lib.web import Checked, NoAnswer, account, ask, code, span, unheard

# What says nothing about the token ...
PASSING = {
    *("fatal_error", "internal_error", "request_timeout", "service_unavailable", "ratelimited", "rate_limited"),
    *("org_login_required", "team_added_to_org"),  # the workspace is being moved
    *("deprecated_endpoint", "method_deprecated", "unknown_method", "upgrade_required"),  # we are too old
    *("invalid_arg_name", "invalid_arguments", "invalid_array_arg", "invalid_charset", "invalid_form_data"),
    *("invalid_json", "invalid_post_type", "json_not_object", "missing_post_type"),  # we asked badly
    "unknown",
}


def check(token: Secret, api_url: str, seconds: float = 6.0) -> Checked:
    """Ask Slack whose the token is. A code that is not known here counts as one about the token."""
    try:
        answer = ask("POST", f"{api_url}/auth.test", bearer=token, seconds=seconds)
    except NoAnswer as exc:
        return unheard(exc)
    said = answer.body if isinstance(answer.body, dict) else {}
    wait = span(answer.headers.get("Retry-After"))
    if answer.status == 429:
        return Checked("ratelimited", lasting=False, wait=wait)
    if answer.status == 200 and said.get("ok") is True:
        if "app_id" in said and "user_id" not in said:
            # An app-level token: {"ok":true,"app_id":"A0123456789","app_name":"Steward"}. It can open a socket only.
            return Checked("not_allowed_token_type")
        return Checked(account=account(said.get("user"), said.get("team")))
    if answer.status < 500 and said.get("ok") is False:  # {"ok":false,"error":"invalid_auth"}, with status 200
        problem = code(said.get("error"))
        return Checked(problem, lasting=problem not in PASSING, wait=wait)
    return Checked("service_unavailable", lasting=False, wait=wait)
