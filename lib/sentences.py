"""Everything Steward says in its own words. No sentence of its own stands anywhere else."""

from __future__ import annotations

START = (
    "Hello! I am Steward, your assistant. Write to me as you would to a person; I think with Claude and remember"
    " our conversation. /help shows what else I can do."
)
HELP = (
    "Just write, and I answer.\n\n"
    "/new - begin a new conversation\n"
    "/retry - ask Claude again about your last message, if it failed\n"
    "/status - whether everything works\n"
    "/help - this list"
)
NEW = "A new conversation begins; I no longer look at what we said before."
UNKNOWN_COMMAND = "I do not know this command. /help shows the ones I know."
RETRYING = "I am asking Claude again."
NOTHING_TO_RETRY = "There is nothing to ask again: /retry is for a last message that Claude could not answer."
ONLY_TEXT = "So far I can only read text. Please write it to me in words."
CANNOT_READ = "Telegram sent me something I cannot read. Please say it in plain text."
EDIT_TOO_LATE = "You changed a message that I had already taken up. Please send it again as a new one."
REPEAT_MARK = "(This may be a repeat.)\n\n"
CUT_SHORT = '(This is as long as one answer can be. Say "go on" and I continue.)'
NOT_TAKEN = "Telegram would not take a message of mine, so something is missing here. Please ask me another way."
SET_ASIDE = (
    "I tried three times to answer your message and something broke each time, so I have put it aside. I am sorry."
    " Please try to say it another way."
)
OWNER_SET_ASIDE = "A message was put aside after three failed tries (correlation id {correlation_id})."
OWNER_PARKED = (
    "Telegram sent an update that I cannot read (update {update_id}, correlation id {correlation_id})."
    " I kept it and went on."
)
OWNER_REFUSED = "Telegram refused my token for a while ({text}). It keeps messages for 24 hours; older ones are gone."
OWNER_CLAUDE = "Nobody gets an answer at the moment. {reason}"

# What a person reads when Claude did not answer, by the kind of failure (lib/claude.py).
FAILURES = {
    "no_credential": "I am not connected to Claude yet: my owner has to put its key into my settings.",
    "sign_in": "Claude does not accept my key: my owner has to renew it.",
    "no_credit": "The Claude account I use has run out of credit: my owner has to top it up.",
    "no_model": "The Claude model in my settings does not exist: my owner has to change it.",
    "limit": "Claude's limit is used up for now{until}.",
    "overloaded": "Claude has trouble answering right now{until}.",
    "refused": "Claude declined to answer this message.",
    "too_long": "This is too long for Claude. /new begins a fresh conversation; a shorter message may help too.",
    "no_network": "I cannot reach Claude: there is no connection.",
    "timed_out": "Claude took too long to answer.",
    "broken": "Claude's answer broke off.",
    "early_end": "Claude's answer ended too early.",
    "empty": "Claude sent an empty answer.",
    "our_bug": "Claude could not make sense of my question. That is my mistake, not yours.",
}
NEEDS_OWNER = ("no_credential", "sign_in", "no_credit", "no_model", "our_bug")  # nothing of it rights itself
KEPT = " Your message is kept; /retry asks again."
BROKEN_OFF = "[The answer broke off here.]"


def stranger(user_id: int) -> str:
    """All that somebody who is not on the list is ever told."""
    return f"I only talk to people my owner has let in. Your Telegram id is {user_id}."


def failure(kind: str, seconds: float | None) -> str:
    """Why there is no answer, and what to do. `seconds` until it will work again, if Claude said so."""
    again = f"; it should work again in about {_span(seconds + 60)}" if seconds is not None else ""
    return FAILURES[kind].format(until=again) + ("" if kind in ("refused", "too_long") else KEPT)


def status(redis: bool, workers: int, waiting: int, oldest: float, claude: tuple[str, str | None, float] | None) -> str:
    """The state of the services, as it was found a moment ago: that this could be asked shows bot and database."""
    lines = ["Bot and database: working"]
    lines.append("Redis: answers" if redis else "Redis: does not answer (messages only take a little longer)")
    if workers:
        lines.append(f"Workers: {workers}")
    else:
        lines.append("Workers: none is running; messages are kept and will be answered")
    lines.append(f"Waiting messages: {waiting}" + (f", the oldest for {_span(oldest)}" if waiting else ""))
    if claude is None:
        lines.append("Claude: no answer yet")
    elif claude[0] == "success":
        lines.append(f"Claude: answered {_span(claude[2])} ago")
    else:
        why = FAILURES.get(claude[1] or "", "").format(until="")
        lines.append(f"Claude: failed {_span(claude[2])} ago. {why}".rstrip())
    return "\n".join(lines)


def _span(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds / size)} {unit}"
    return f"{int(max(seconds, 0))} s"
