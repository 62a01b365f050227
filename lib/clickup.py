"""ClickUp's API: whose a token is, and what a refusal of it means."""

from __future__ import annotations

import time
from collections.abc import Callable

from lib.secret import Secret
from lib.web import Checked, NoAnswer, account, ask, code, span, unheard


def check(token: Secret, api_url: str, seconds: float = 6.0, clock: Callable[[], float] = time.time) -> Checked:
    """Ask ClickUp whose the token is. `clock`: seconds since 1970."""
    try:
        answer = ask("GET", f"{api_url}/v2/user", authorization=token, seconds=seconds)
    except NoAnswer as exc:
        return unheard(exc)
    said = answer.body if isinstance(answer.body, dict) else {}
    user = said.get("user")
    if answer.status == 200 and isinstance(user, dict):
        return Checked(account=account(user.get("username") or user.get("email")))
    if answer.status == 429:
        return Checked("ratelimited", lasting=False, wait=span(answer.headers.get("X-RateLimit-Reset"), clock()))
    if 400 <= answer.status < 500 and said:  # {"err":"Token invalid","ECODE":"OAUTH_025"}, with status 401
        problem = code(said.get("ECODE"))
        return Checked(problem, lasting=_lasting(answer.status, problem))
    return Checked("service_unavailable", lasting=False)


def _lasting(status: int, problem: str) -> bool:
    """Whether it is about the token: a missing one is a 400, so the status alone does not tell."""
    if problem in ("unknown", "OAUTH_171"):  # OAUTH_171: a webhook exists already
        return False
    return status == 401 or problem.startswith("OAUTH_")
