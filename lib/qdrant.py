"""Qdrant's REST API: whether it answers, and takes our key."""

from __future__ import annotations

from lib.secret import Secret
from lib.web import Checked, NoAnswer, ask, unheard


def check(url: str, api_key: Secret | None, seconds: float = 2.0) -> Checked:
    """Ask for the list of collections: /readyz would answer without a key."""
    try:
        answer = ask("GET", f"{url}/collections", bearer=api_key, seconds=seconds)
    except NoAnswer as exc:
        return unheard(exc)
    if answer.status in (401, 403):
        return Checked("refused")
    return Checked() if answer.status == 200 else Checked("no_connection", lasting=False)
