"""Incidents: what the findings of the checks add up to, and which messages the owner is owed for it.

Pure: a state and the time go in, a new state comes out. Nothing is asked, sent, written or kept here. Times are seconds
since 1970, on whatever clock the caller has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import Any

FAILURES = 3  # in a row: down
SUCCESSES = 2  # in a row: up again
GROUP_SECONDS = 30.0  # what fails within this time is one incident
GRACE_SECONDS = 60.0  # for what was not seen well yet: everything starts together
REMIND_SECONDS = (3600.0, 6 * 3600.0)  # the first reminder, and between the later ones
GENTLE_SECONDS = 86400.0  # between reminders of what does no harm yet
MOST_PER_MINUTE = 6  # messages and edits
MOST_EDITS_PER_MINUTE = 4  # an edit leaves room for news
EDIT_SECONDS = 10.0  # between two edits of one incident's messages


@dataclass(frozen=True)
class Rules:
    """How the house hangs together: who depends on whom, and how often is looked."""

    interval: float  # seconds between two checks of a part
    depends: Mapping[str, tuple[str, ...]]  # a part, and whom it needs: while one of these fails it is not judged
    gentle: frozenset[str] = frozenset()  # parts whose trouble does no harm yet, or was only so when it was last tried

    @property
    def grace(self) -> float:
        """How long a part may fail that has not been well since the watch began."""
        return GRACE_SECONDS + 2 * self.interval

    @property
    def relapse(self) -> float:
        """A part that fails again within this time comes and goes: it is the same incident, told without a sound."""
        return 15 * self.interval

    @property
    def lasting(self) -> float:
        """A relapse that lasts so long is an incident of its own, told aloud."""
        return 12 * self.interval


@dataclass(frozen=True)
class Finding:
    """What one check found of one part. `problem` is a word for lib/english.py, None when all is well."""

    part: str
    problem: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Part:
    """One part as it stands. `since`: when it came up or went down, by the first check that showed it."""

    down: bool = False
    since: float | None = None  # None: not known yet
    judged_at: float = 0.0  # since when it can be judged: the grace counts from here, until it is found well
    failures: int = 0  # in a row
    successes: int = 0
    streak_at: float = 0.0  # the first of them
    problem: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    checked_at: float = 0.0

    def judge_afresh(self, now: float) -> None:
        """Forget that it was well and how it failed: from now on it has its grace."""
        self.failures, self.since, self.judged_at = 0, None, now


@dataclass
class Outage:
    """One part of an incident. It may come back and relapse: `times` counts how often it went down.

    The last three belong together: a relapse after the owner read that it was over is told by edits only; if it
    lasts, it is taken out of this outage and becomes an incident of its own (_part_ways).
    """

    problem: str
    detail: dict[str, Any]
    began_at: float
    ended_at: float | None = None
    times: int = 1
    relapsed_at: float | None = None  # when it went down again after it was said to be over
    was_well_at: float | None = None  # when it had come back before that


@dataclass
class Message:
    """A message of ours in the owner's chat."""

    id: int | None = None
    text: str = ""  # as it stands there; empty while that is not known
    unknown: bool = False  # it left, and no answer came: it may be there


@dataclass
class Incident:
    """Parts that failed together, from the first failure until the last of them is well."""

    number: int
    opened_at: float  # when it was declared, some checks after the first failure
    outages: dict[str, Outage] = field(default_factory=dict)
    closed_at: float | None = None
    told_at: float | None = None
    summary: bool = False  # it was over before it could be told: one message, with its times
    bad: Message = field(default_factory=Message)  # says what is wrong
    good: Message = field(default_factory=Message)  # says that it is over
    reminders: int = 0
    reminded_at: float = 0.0
    reminder_unknown: bool = False
    edited_at: float = 0.0

    @property
    def all_said(self) -> bool:
        """Whether the owner has read that it began, and if it is over, that too."""
        return self.told_at is not None and (self.summary or self.good.id is not None)

    @property
    def thought_over(self) -> bool:
        """Whether the owner may have read that it is over."""
        return self.all_said or self.good.unknown

    def close_if_over(self, now: float) -> None:
        if self.closed_at is None and all(outage.ended_at is not None for outage in self.outages.values()):
            self.closed_at = now


@dataclass
class State:
    """All that must outlive a restart."""

    parts: dict[str, Part] = field(default_factory=dict)
    incidents: list[Incident] = field(default_factory=list)
    count: int = 0  # of incidents so far
    sent_at: list[float] = field(default_factory=list)  # the last minute's messages and edits
    wait_until: float = 0.0  # nothing is sent before: Telegram asked for it, or the last try failed


@dataclass(frozen=True)
class Letter:
    """Something to be said now. `kind`: bad, good or reminder; `edit`: the message to change, None for a new one."""

    incident: int
    kind: str
    text: str
    edit: int | None = None
    repeat: bool = False  # an earlier try may have arrived


Write = Callable[[Incident, str], str]  # the text of an incident's message of this kind; of absolute times only


def advance(state: State, findings: Iterable[Finding], now: float, rules: Rules) -> State:
    """The state after these findings. What others depend on comes first among them."""
    state = deepcopy(state)
    for finding in findings:
        part = state.parts.setdefault(finding.part, Part(judged_at=now))
        part.checked_at = now
        if _blocked(state, finding.part, rules):
            part.failures = part.successes = 0
            if not part.down:
                part.judge_afresh(now)
        elif finding.problem is None:
            _well(state, finding, part, now, rules)
        else:
            _ill(state, finding, part, now, rules)
    _part_ways(state, now, rules)
    return state


def next_letter(state: State, now: float, rules: Rules, write: Write) -> Letter | None:
    """What is to be said to the owner now, if anything."""
    sent = len([at for at in state.sent_at if now - at < 60.0])
    if now < state.wait_until or sent >= MOST_PER_MINUTE:
        return None
    owed = [_letter(state, one, now, rules, write) for one in state.incidents if _can_leave(state, one, now, rules)]
    news = [letter for letter in owed if letter is not None and letter.edit is None]
    edits = [letter for letter in owed if letter is not None and letter.edit is not None]
    return next(iter(news + edits if sent < MOST_EDITS_PER_MINUTE else news), None)


def forget(state: State, now: float, rules: Rules, write: Write) -> State:
    """Without what is over and told, stands in the chat as it ended, and was too long ago for a relapse."""

    def is_done(incident: Incident) -> bool:
        is_old = incident.closed_at is not None and now - incident.closed_at > rules.relapse
        return is_old and incident.all_said and _edit(incident, write) is None

    if not any(is_done(incident) for incident in state.incidents):
        return state
    state = deepcopy(state)
    state.incidents = [incident for incident in state.incidents if not is_done(incident)]
    return state


def leaving(state: State, letter: Letter, now: float) -> State:
    """Keep this state before the letter is sent: should we die now, its fate is unknown."""
    state = deepcopy(state)
    state.sent_at = [at for at in state.sent_at if now - at < 60.0] + [now]
    _mark(state, letter, unknown=True)
    return state


def arrived(state: State, letter: Letter, message_id: int, now: float) -> State:
    """Telegram took it. Only now it counts as said."""
    state = deepcopy(state)
    incident = _mark(state, letter, unknown=False)
    if incident is None:
        return state
    if letter.kind == "reminder":
        incident.reminders, incident.reminded_at = incident.reminders + 1, now
        return state
    message = incident.bad if letter.kind == "bad" else incident.good
    message.id, message.text = message_id, letter.text
    incident.edited_at = now
    if incident.told_at is None:
        incident.told_at, incident.summary = now, incident.closed_at is not None
    return state


def held_up(state: State, letter: Letter, until: float, *, unknown: bool) -> State:
    """It was not taken now; nothing is sent before `until`. `unknown`: it may have arrived all the same."""
    state = deepcopy(state)
    state.wait_until = until
    if not unknown and not letter.repeat:
        _mark(state, letter, unknown=False)
    return state


def untold_since(state: State) -> float | None:
    """When the oldest incident was opened that the owner does not know of yet; None when there is none."""
    return min((incident.opened_at for incident in state.incidents if incident.told_at is None), default=None)


def undecided(state: State) -> set[str]:
    """Parts of which the next check decides something: look again soon."""
    return {
        name
        for name, part in state.parts.items()
        if (part.down and 0 < part.successes < SUCCESSES) or (not part.down and 0 < part.failures < FAILURES)
    }


def begin(state: State, watched: Iterable[str], now: float) -> State:
    """A state that was kept, as a new watch takes it up: what is down stays down, all else is looked at afresh. Of a
    part that is no longer watched nothing more is said than that."""
    latest = max([*state.sent_at, *(part.checked_at for part in state.parts.values())], default=now)
    state = shifted(state, min(now - latest, 0.0))  # the clock was set back meanwhile
    watched = set(watched)
    state.parts = {name: part for name, part in state.parts.items() if name in watched}
    for part in state.parts.values():
        part.failures = part.successes = 0
        if not part.down:
            part.judge_afresh(now)
    for incident in state.incidents:
        for name, outage in incident.outages.items():
            if name not in watched and outage.ended_at is None:
                outage.ended_at = now
        incident.close_if_over(now)
    return state


def shifted(state: State, seconds: float) -> State:
    """The same moments on a clock that was moved by so many seconds."""

    def move(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: move(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [move(item, key) for item in value]
        is_time = key.endswith("_at") or key in ("since", "wait_until")
        return value + seconds if is_time and isinstance(value, float | int) and value else value

    return load(move(dump(state)))


def doubt(state: State, names: Iterable[str], now: float) -> State:
    """Judge these parts afresh, unless they are down: what was measured of them may be wrong."""
    state = deepcopy(state)
    for name in names:
        if (part := state.parts.get(name)) is not None and not part.down:
            part.judge_afresh(now)
    return state


def dump(state: State) -> dict[str, Any]:
    """The state as JSON knows it."""
    return asdict(state)


def load(kept: Mapping[str, Any]) -> State:
    """What dump() made. Raises TypeError, KeyError, ValueError or AttributeError for anything else."""
    incidents = []
    for fields in kept["incidents"]:
        outages = {name: Outage(**outage) for name, outage in fields["outages"].items()}
        messages = {name: Message(**fields[name]) for name in ("bad", "good")}
        incidents.append(Incident(**{**fields, "outages": outages, **messages}))
    parts = {name: Part(**part) for name, part in kept["parts"].items()}
    return State(**{**kept, "parts": parts, "incidents": incidents})


# The steps of advance()


def _blocked(state: State, name: str, rules: Rules) -> bool:
    """Whether something it depends on fails: then its own trouble says nothing."""
    needed = [state.parts[other] for other in rules.depends.get(name, ()) if other in state.parts]
    return any(part.down or part.failures for part in needed)


def _well(state: State, finding: Finding, part: Part, now: float, rules: Rules) -> None:
    if not part.successes:
        part.streak_at = now
    part.failures, part.successes = 0, part.successes + 1
    if part.down and part.successes < SUCCESSES:
        return
    part.detail = dict(finding.detail)
    part.problem = None
    if part.down:
        part.down, part.since = False, part.streak_at
        _end_outage(state, finding.part, part.streak_at, now)
        for name, needed in rules.depends.items():  # they need a moment to find their feet
            if finding.part in needed and name in state.parts and not state.parts[name].down:
                state.parts[name].judge_afresh(now)
    elif part.since is None:
        part.since = part.streak_at


def _ill(state: State, finding: Finding, part: Part, now: float, rules: Rules) -> None:
    assert finding.problem is not None  # noqa: S101  # advance() saw to it
    if not part.failures:
        part.streak_at = now
    part.successes, part.failures = 0, part.failures + 1
    part.problem, part.detail = finding.problem, dict(finding.detail)
    if part.down:
        for outage in _open_outages(state, finding.part):
            outage.problem, outage.detail = part.problem, part.detail
        return
    if part.failures >= FAILURES and _counts(part, now, rules):
        part.down, part.since = True, part.streak_at
        _begin_outage(state, finding.part, part, now, rules)


def _counts(part: Part, now: float, rules: Rules) -> bool:
    """Whether its failures count: it was well before, or has had its time."""
    return part.since is not None or now - part.judged_at >= rules.grace


def _begin_outage(state: State, name: str, part: Part, now: float, rules: Rules) -> None:
    if _relapse(state, name, part, now, rules):
        return
    together = [one for one in state.incidents if name not in one.outages and _still_gathers(one, now)]
    if not together:
        state.count += 1
        together = [Incident(state.count, opened_at=now)]
        state.incidents += together
    together[-1].outages[name] = Outage(part.problem or "", part.detail, part.streak_at)
    together[-1].closed_at = None


def _relapse(state: State, name: str, part: Part, now: float, rules: Rules) -> bool:
    """Take up an outage of this part that has just ended, or that nobody was told of yet. False: there is none."""
    for incident in reversed(state.incidents):
        outage = incident.outages.get(name)
        if outage is None or outage.ended_at is None:
            continue
        if incident.told_at is None or now - outage.ended_at <= rules.relapse:
            outage.relapsed_at = part.streak_at if incident.thought_over else None
            outage.was_well_at, outage.ended_at, outage.times = outage.ended_at, None, outage.times + 1
            outage.problem, outage.detail = part.problem or "", part.detail
            incident.closed_at = None
            return True
    return False


def _still_gathers(incident: Incident, now: float) -> bool:
    """Whether what goes down now is told with it. When it was said to be over, an edit would not be heard."""
    is_young = incident.closed_at is None and now - incident.opened_at <= GROUP_SECONDS
    return incident.told_at is None or (is_young and not incident.thought_over)


def _open_outages(state: State, name: str) -> list[Outage]:
    found = [incident.outages[name] for incident in state.incidents if name in incident.outages]
    return [outage for outage in found if outage.ended_at is None]


def _end_outage(state: State, name: str, at: float, now: float) -> None:
    for outage in _open_outages(state, name):
        outage.ended_at = at
    for incident in state.incidents:
        incident.close_if_over(now)


def _part_ways(state: State, now: float, rules: Rules) -> None:
    """A relapse was told without a sound. If it lasts, it becomes an incident that is told aloud."""
    for incident in list(state.incidents):
        for name, outage in incident.outages.items():
            if outage.relapsed_at is None or outage.ended_at is not None or now - outage.relapsed_at < rules.lasting:
                continue
            state.count += 1
            own = Incident(state.count, opened_at=now)
            own.outages[name] = Outage(outage.problem, outage.detail, outage.relapsed_at)
            state.incidents.append(own)
            outage.ended_at, outage.relapsed_at = outage.was_well_at, None
            outage.times -= 1
        incident.close_if_over(now)


# The steps of next_letter()


def _letter(state: State, incident: Incident, now: float, rules: Rules, write: Write) -> Letter | None:
    number, bad, good = incident.number, incident.bad, incident.good
    if incident.told_at is None:
        if incident.closed_at is None and now - incident.opened_at < GROUP_SECONDS and _more_to_come(state, now, rules):
            return None
        return Letter(number, "bad", write(incident, "bad"), repeat=bad.unknown)
    if incident.closed_at is not None and not incident.summary and good.id is None:
        return Letter(number, "good", write(incident, "good"), repeat=good.unknown)
    if _is_still_so(state, incident) and now >= _remind_at(incident, rules):
        return Letter(number, "reminder", write(incident, "reminder"), repeat=incident.reminder_unknown)
    return _edit(incident, write) if now - incident.edited_at >= EDIT_SECONDS else None


def _edit(incident: Incident, write: Write) -> Letter | None:
    """The next of its messages that no longer says how it is."""
    for kind, message in (("bad", incident.bad), ("good", incident.good)):
        if message.id is not None and (text := write(incident, kind)) != message.text:
            return Letter(incident.number, kind, text, edit=message.id)
    return None


def _more_to_come(state: State, now: float, rules: Rules) -> bool:
    """Whether something else is about to be found down: it may belong to this."""
    return any(
        part.failures and not part.down and _counts(part, now, rules) and not _blocked(state, name, rules)
        for name, part in state.parts.items()
    )


def _is_still_so(state: State, incident: Incident) -> bool:
    """Whether something of it was found failing by the last check: not so just after a restart, or before it is up."""
    is_open = [state.parts.get(name) for name, outage in incident.outages.items() if outage.ended_at is None]
    return any(part is not None and part.failures > 0 for part in is_open)


def _remind_at(incident: Incident, rules: Rules) -> float:
    is_open = {name for name, outage in incident.outages.items() if outage.ended_at is None}
    first, later = (GENTLE_SECONDS, GENTLE_SECONDS) if is_open <= rules.gentle else REMIND_SECONDS
    return incident.reminded_at + later if incident.reminders else (incident.told_at or 0.0) + first


def _can_leave(state: State, incident: Incident, now: float, rules: Rules) -> bool:
    """Whether Telegram seems to take it. That it was away is only worth telling once it is back."""
    telegram = state.parts.get("telegram")
    if telegram is None or not (telegram.down or telegram.failures):
        return True
    if not telegram.down or telegram.successes or set(incident.outages) == {"telegram"}:
        return False
    return now - max(state.sent_at, default=0.0) >= 4 * rules.interval  # slow, perhaps, and not dead


def _mark(state: State, letter: Letter, *, unknown: bool) -> Incident | None:
    incident = next((one for one in state.incidents if one.number == letter.incident), None)
    if incident is None:
        return None
    message = incident.bad if letter.kind == "bad" else incident.good
    if letter.edit is not None:  # it may be said twice, but nobody knows what stands there until it is taken
        message.text = ""
    elif letter.kind == "reminder":
        incident.reminder_unknown = unknown
    else:
        message.unknown = unknown
    return incident
