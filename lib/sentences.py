"""Everything Steward says in its own words. No sentence of its own stands anywhere else."""

from __future__ import annotations

from datetime import datetime

START = (
    "Hello! I am Steward, your assistant. Write to me as you would to a person; I think with Claude and remember"
    " our conversation. /help shows what else I can do."
)
HELP = (
    "Just write, and I answer.\n\n"
    "/new - begin a new conversation\n"
    "/retry - ask Claude again when it was not there\n"
    "/status - how I am\n"
    "/help - this list"
)
NEW = "A new conversation begins. What we said before is set aside."
UNKNOWN_COMMAND = "I do not know this command. /help shows the ones I know."
RETRYING = "I am asking again."
NOTHING_TO_RETRY = "There is nothing to ask again: your last message was answered, or is about to be."
ONLY_TEXT = "So far I can only read text. Please write it to me in words."
CANNOT_READ = "Telegram sent me something I cannot read. Please say it in plain text."
EDIT_TOO_LATE = "I saw that you changed your message, but I had already begun with it. Please send it once more."
REPEAT_MARK = "(This may be a repeat.)\n\n"
CUT_SHORT = '(My answer reached its longest length here. Say "go on" and I continue.)'
SET_ASIDE = (
    "I tried three times to answer your message and failed each time, so I have set it aside. I am sorry."
    " The owner has been told. Please try to say it another way."
)
OWNER_SET_ASIDE = "A message was set aside after three failed tries (correlation id {correlation_id})."
OWNER_PARKED = (
    "Telegram sent an update that I cannot read (update {update_id}, correlation id {correlation_id})."
    " I kept it and went on."
)
OWNER_REFUSED = "Telegram refused my token for a while ({text}). Messages of that time were kept by Telegram."

# What a person reads when Claude did not answer, by the kind of failure (lib/claude.py).
FAILURES = {
    "no_credential": "I am not connected to Claude yet: its key is missing in my settings.",
    "sign_in": "Claude does not accept my key any more: my owner has to renew it.",
    "no_credit": "The Claude account I use has run out of credit.",
    "limit": "Claude's limit is used up for now{until}.",
    "overloaded": "Claude is overloaded right now{until}.",
    "refused": "Claude declined to answer this message.",
    "too_long": "This is too long for Claude. /new begins a fresh conversation; a shorter message may help too.",
    "no_network": "I cannot reach Claude: there is no connection.",
    "timed_out": "Claude took too long to answer.",
    "broken": "Claude's answer broke off in the middle.",
    "early_end": "Claude's answer ended too early.",
    "empty": "Claude sent an empty answer.",
    "our_bug": "Claude could not make sense of my question. That is my mistake, not yours.",
}
KEPT = " Your message is kept; /retry asks again."
BROKEN_OFF = "[The answer broke off here.]"


def stranger(user_id: int) -> str:
    """All that somebody who is not on the list is ever told."""
    return f"I only talk to people my owner has let in. Your Telegram id is {user_id}."


def failure(kind: str, until: datetime | None) -> str:
    """Why there is no answer, and what to do. `until` is when it will work again, if Claude said so."""
    again = f"; it should work again on {until.day} {until:%B at %H:%M} UTC" if until else ""
    return FAILURES[kind].format(until=again) + ("" if kind in ("refused", "too_long") else KEPT)


def status(
    bell: int | None, workers: int, waiting: int, oldest: float, claude: tuple[str, str | None, float] | None
) -> str:
    """The state of the services, as it was found a moment ago. `bell` None: Redis did not answer."""
    lines = ["Bot: running", "Database: answers"]
    lines.append(
        "Redis: answers" if bell is not None else "Redis: does not answer (messages only take a little longer)"
    )
    if workers:
        lines.append(f"Workers: {workers}")
    else:
        lines.append("Workers: none is running; messages are kept and will be answered")
    lines.append(f"Waiting messages: {waiting}" + (f", the oldest for {_ago(oldest)}" if waiting else ""))
    if claude is None:
        lines.append("Claude: not asked yet")
    elif claude[0] == "success":
        lines.append(f"Claude: answered {_ago(claude[2])} ago")
    else:
        lines.append(f"Claude: failed {_ago(claude[2])} ago ({(claude[1] or 'unknown').replace('_', ' ')})")
    return "\n".join(lines)


def _ago(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds / size)} {unit}"
    return f"{int(max(seconds, 0))} s"
