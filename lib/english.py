"""Everything Steward says in Telegram in its own words, in English: the pattern for the other languages.

A new sentence is a constant here (or a method, when it needs more than filling gaps), and the same name with the same
gaps in lib/russian.py: tests/test_languages.py finds what is missing. What holds no words is done here, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, NamedTuple

from lib.incidents import Incident, Outage
from lib.text import LONGEST, units

# The failures after which asking Claude the same again would not help.
NOT_AGAIN = ("refused", "too_long", "file_refused", "file_damaged", "file_gone", "file_too_large", "too_many_files")
LONGEST_WORD = 40  # characters of a word that came from elsewhere: a model, a reason


GROUP_MENU = ("new", "retry", "stop", "status", "help")  # the other commands are for private chats


class Trouble(NamedTuple):
    """One thing that can be wrong with a part. `do` continues "What to do: "."""

    what: str
    means: str
    do: str


@dataclass(frozen=True)
class Seen:
    """One part as /status shows it: what is said of it, and since when, if healthwatch.py knows."""

    name: str
    said: str
    since: datetime | None = None


class English:
    """What Steward says, and how it puts together what has no fixed wording."""

    START = (
        "Hello! I am Steward, your assistant. Write to me as you would to a person; I think with Claude and remember"
        " our conversation. /help shows what else I can do."
    )
    NEW = "A new conversation begins; I no longer look at what we said before."
    UNKNOWN_COMMAND = "I do not know this command. /help shows the ones I know."
    RETRYING = "I am asking Claude again."
    NOTHING_TO_RETRY = "There is nothing to ask again: I am at your last message already, or there is none."
    CANNOT_LOOK = "That did not work just now, by a mistake that is not yours. My owner finds the reason in my log."
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
    OWNER_REFUSED = (
        "Telegram refused my token for a while ({text}). It keeps messages for 24 hours; older ones are gone."
    )
    # What a person reads who sent something that I cannot read, by Telegram's name for it ("" for what has none here).
    # Of a document: "too_large", or "type" when Claude does not know its kind.
    UNREADABLE: Mapping[str, str] = {
        "voice": "I cannot listen to voice messages yet. Please write it to me.",
        "audio": "I cannot listen to music or recordings yet. Please write to me what it is about.",
        "video": "I cannot watch videos yet. A screenshot of it I can look at.",
        "video_note": "I cannot watch video messages yet. Please write it to me.",
        "animation": "I cannot watch animations yet. A screenshot of it I can look at.",
        "live_photo": "I cannot look at live photos yet. Please send it as an ordinary photo.",
        "sticker": "A nice one! I understand words better, though.",
        "location": "I cannot look at maps yet. Please write me the address, or the name of the place.",
        "venue": "I cannot look at maps yet. Please write me the address, or the name of the place.",
        "contact": "I cannot take in contacts yet. Please write me what matters of it.",
        "poll": "I cannot take part in polls. Please write me the question.",
        "checklist": "I cannot read checklists yet. Please send it to me as text.",
        "dice": "Well rolled! With words I can do more.",
        "game": "I cannot play games. With words I can do more.",
        "story": "I cannot see stories. A screenshot of it I can look at.",
        "paid_media": "I cannot see paid media. Please write me what it is about.",
        "too_large": (
            "This file is too large for me: I can take pictures of up to 3.9 MB (those sent as photos always fit), PDFs"
            " of up to 20 MB and text files of up to 200 KB. Please send a smaller one, or a part of it."
        ),
        "type": "I cannot open files of this kind. I can read pictures (JPEG, PNG, GIF, WebP), PDFs and text files.",
        "": "I cannot read this kind of message yet. Please write it to me in words.",
    }
    STRANGER = "I only talk to people my owner has let in. Your Telegram id is {user_id}."

    # What a person reads when Claude did not answer, by the kind of failure (lib/claude.py and its doors).
    FAILURES: Mapping[str, str] = {
        "no_credential": "I am not connected to Claude yet: my owner has to put its key into my settings.",
        "sign_in": "Claude does not accept my key: my owner has to renew it.",
        "plan_refused": (
            "Claude does not serve my owner's plan this way: my owner has to enter another Claude credential."
        ),
        "no_program": "I lack the program that reaches Claude on my owner's plan: my owner has to install it.",
        "no_credit": "The Claude account I use has run out of credit: my owner has to top it up.",
        "no_model": "The Claude model in my settings does not exist: my owner has to change it.",
        "limit": "Claude's limit is used up for now{until}.",
        "overloaded": "Claude has trouble answering right now{until}.",
        "refused": "Claude declined to answer this message.",
        "too_long": "This is too long for Claude. /new begins a fresh conversation; a shorter message may help too.",
        "no_network": "I cannot reach Claude: there is no connection.",
        "timed_out": "Claude took too long to answer.",
        "broken": "Claude's answer broke off.",
        "stopped": "I have stopped.",
        "early_end": "Claude's answer ended too early.",
        "empty": "Claude sent an empty answer.",
        "our_bug": "Claude could not make sense of my question. That is my mistake, not yours.",
        "file_refused": "Claude could not open a file that came with this. Please send it in another form.",
        "file_damaged": "A file that came with this is not what its name says, or it is damaged. Please send it again.",
        "file_gone": "Telegram no longer has a file that came with this. Please send it again.",
        "file_unreachable": "Telegram did not give me a file that came with this.",
        "file_too_large": "A file that came with this is too large for me. Please send a smaller one, or a part of it.",
        "too_many_files": "These are more files than I can look at together. Please send up to 20 at once.",
    }
    OWNERS_TURN = ": my owner"  # what follows it in FAILURES the owner is told in other words, those of CLAUDE_DO
    KEPT = " Your message is kept; /retry asks again."

    # The commands, in the order in which they are shown: setMyCommands and /help have them from here.
    MENU: Mapping[str, str] = {
        "new": "begin a new conversation",
        "retry": "ask Claude again about your last message",
        "stop": "stop the answer that is being written",
        "status": "whether everything works",
        "memory": "what I remembered for my last answer",
        "export": "your history with me, as a file",
        "forget": "delete your messages and memories",
        "help": "this list",
    }
    OWNER_MENU: Mapping[str, str] = {
        "people": "who may talk to me",
        "add": "let a person in: /add ID NAME",
        "remove": "let a person or a group in no longer: /remove ID",
        "audit": "what was done lately",
    }
    HELP = "Just write, and I answer."
    GROUP_HELP = "In a group I answer when you mention me or reply to me. Here I know:"
    OWNER_HELP = "For you as my owner:"
    OWNER_GROUPS = "In a group, /allow lets it in and /disallow ends that."
    ONLY_PRIVATE = "This is only for our private chat: please send it to me there."
    ONLY_GROUP = "This is for groups: send it in the group that it is about."
    STOPPING = "I am stopping."
    CUT_OFF = "I send no more of this answer."
    STOPPED = "Stopped: I do not answer this one. /retry asks again."
    TAKEN_BACK = "This answer was taken back."
    NOTHING_TO_STOP = "There is nothing to stop: I am not writing anything."
    NOTHING_RECALLED = "For my last answer I remembered nothing from earlier conversations."
    RECALLED = "For my last answer I remembered that you once wrote:"
    DELETE_MEMORY = "Delete {number}"
    MEMORY_DELETED = "Deleted."
    MEMORY_GONE = "This was deleted before."
    FORGET = (
        "Shall I delete everything you have ever written to me, here and in groups, with my answers and all memories of"
        " it? It cannot be undone; /export gives you a copy first. The audit trail keeps that you wrote and when, but"
        " no word of it, and backups keep what they hold until they are replaced. What Telegram itself shows you delete"
        " there."
    )
    FORGET_YES = "Yes, delete everything"
    FORGET_NO = "No, keep it"
    FORGOT = "Everything of yours is deleted: messages, answers and memories."
    FORGOT_NOTHING = "Nothing was deleted."
    BUTTON_UNKNOWN = "This button no longer does anything."
    BUTTON_TOO_OLD = "This button is too old. Send /forget again."
    NOTHING_KEPT = "I keep nothing of yours: there is no history."
    EXPORT_HEAD = "Your history with Steward"
    EXPORT_ZONE = "Times: {zone}"
    EXPORT_CONVERSATION = "Conversation {number}"
    EXPORT_YOU = "You"
    PEOPLE = "Who may talk to me:"
    YOU = "you, my owner"
    FROM_FILE = "from .env"
    BY_COMMAND = "by command"
    GROUPS = "Groups in which anybody may:"
    NO_GROUPS = "No groups. /allow, sent in a group, lets it in."
    PEOPLE_HELP = "/add ID NAME lets a person in, /remove ID a person or a group no longer."
    ADD_HOW = (
        "Send /add with the person's Telegram id and a name, such as /add 12345678 Bob. I tell the id to whoever writes"
        " to me."
    )
    ADDED = "{who} may talk to me now."
    REMOVE_HOW = "Send /remove with the id that /people shows, such as /remove 12345678."
    REMOVED_WHO = "{id} may not talk to me any more; what waited from there is no longer answered."
    IN_FILE_ALREADY = "{id} is let in already, by .env."
    IN_FILE = "{id} stands in .env and cannot be removed by command: take it out of {line} there and run `make up`."
    NOT_LET_IN = "{id} is not let in. /people shows who is."
    OWNER_STAYS = "You are my owner; you stay."
    GROUP_ADDED = "I answer in this group now, to everybody who mentions me or replies to me."
    GROUP_NOT_LET_IN = "I do not answer in this group. /allow lets it in."
    TOO_MANY = "That was a lot at once, so I did not take this message up. Please send it again {moment}."

    def help(self, owner: bool, group: bool) -> str:
        """What /help answers. The owner's own commands are not shown in a group."""
        if group:
            return "\n".join([self.GROUP_HELP, "", *(self._command(name) for name in GROUP_MENU)])
        lines = [self.HELP, "", *(self._command(name) for name in self.MENU)]
        if owner:
            lines += ["", self.OWNER_HELP, *(self._command(name) for name in self.OWNER_MENU), self.OWNER_GROUPS]
        return "\n".join(lines)

    def _command(self, name: str) -> str:
        return f"/{name} - {self.MENU.get(name) or self.OWNER_MENU[name]}"

    def too_many(self, until: datetime, now: datetime) -> str:
        """This person has asked too much in too short a time."""
        return self.TOO_MANY.format(moment=self.moment(until, now))

    def unreadable(self, content: str, unfit: str = "") -> str:
        """What is said to something that cannot be read: `content` and `unfit` as in lib/telegram.py."""
        return self.UNREADABLE.get(unfit or content) or self.UNREADABLE[""]

    def stranger(self, user_id: int) -> str:
        """All that somebody who is not on the list is ever told."""
        return self.STRANGER.format(user_id=user_id)

    def failure(self, kind: str, until: datetime | None = None, now: datetime | None = None) -> str:
        """Why there is no answer, and what to do. `until`: when it will work again, if Claude said so; `now` for
        tests."""
        again = ""
        if until is not None:
            now = (now or datetime.now(UTC)).astimezone(until.tzinfo)
            again = self.AGAIN.format(moment=self.moment(max(until, now), now))
        return self.FAILURES[kind].format(until=again) + ("" if kind in NOT_AGAIN else self.KEPT)

    # Times. The words for them are as short as can be, so that no language has to count.

    MONTHS = (
        *("January", "February", "March", "April", "May", "June"),
        *("July", "August", "September", "October", "November", "December"),
    )
    DAY = "{day} {month}"
    AT = "at {time}"
    ON = "on {day} at {time}"
    AGAIN = "; it should work again {moment}"
    D, H, MIN, S = "d", "h", "min", "s"
    DAYS, ONE_DAY, HOURS = "{days} days", "a day", "a few hours"

    def moment(self, at: datetime, now: datetime) -> str:
        """A moment in the time zone it comes with, rounded up to the minute: "at 14:05", "on 3 December at 14:05"."""
        shown = at + timedelta(seconds=59)
        time = f"{shown:%H:%M}{_utc(shown)}"
        if shown.date() == now.astimezone(at.tzinfo).date():
            return self.AT.format(time=time)
        return self.ON.format(day=self._day(shown), time=time)

    def _day(self, at: datetime) -> str:
        return self.DAY.format(day=at.day, month=self.MONTHS[at.month - 1])

    def _when(self, at: float, zone: tzinfo, now: datetime) -> str:
        """A moment that has been: "14:05", or "21 November 14:05" when it was on another day."""
        shown = datetime.fromtimestamp(at, zone)
        day = "" if shown.date() == now.astimezone(zone).date() else f"{self._day(shown)} "
        return f"{day}{shown:%H:%M}{_utc(shown)}"

    def _time(self, at: datetime) -> str:
        """Hour, minute and second; the day too when it is not today."""
        month = self.MONTHS[at.month - 1][:3]
        today = at.date() == datetime.now(at.tzinfo).date()
        return f"{'' if today else f'{self.DAY.format(day=at.day, month=month)} '}{at:%H:%M:%S}"

    def _length(self, seconds: float) -> str:
        """How long something lasted: "40 s", "15 min", "1 h 59 min", "2 d 3 h"."""
        for unit, size, smaller, part in ((self.D, 86400, self.H, 3600), (self.H, 3600, self.MIN, 60)):
            if seconds >= size:
                rest = int(seconds % size / part)
                return f"{int(seconds / size)} {unit}" + (f" {rest} {smaller}" if rest else "")
        return self._span(seconds)

    def _span(self, seconds: float) -> str:
        for unit, size in ((self.D, 86400), (self.H, 3600), (self.MIN, 60)):
            if seconds >= size:
                return f"{int(seconds / size)} {unit}"
        return f"{int(max(seconds, 0))} {self.S}"

    def _days(self, seconds: float) -> str:
        days = round(seconds / 86400)
        return self.DAYS.format(days=days) if days > 1 else self.ONE_DAY if days else self.HOURS

    # Credentials.

    # How each credential is entered, as the end of a sentence.
    ENTER: Mapping[str, str] = {
        "telegram": "put TELEGRAM_BOT_TOKEN, the token @BotFather gave you, into .env and run `make up`",
        "slack": "put SLACK_TOKEN into .env and run `make up`",
        "clickup": "put CLICKUP_TOKEN into .env and run `make up`",
        "claude": "put a Claude credential into .env (.env.example says which there are) and run `make up`",
        "google": "run setup_google.py (the README says how)",
    }
    ENTER_AGAIN = "enter it again"
    NAMES: Mapping[str, str] = {
        "telegram": "Telegram",
        "slack": "Slack",
        "clickup": "ClickUp",
        "claude": "Claude",
        "google": "Google",
    }

    # Why a credential does not work, by code; those that Slack and ClickUp give have their own lists at the end.
    CREDENTIALS: Mapping[str, str] = {
        "missing": "There is no {name} token: {enter}.",
        "damaged": (
            "The {name} token cannot be opened; enter it again: {enter}."
            " If it stays so, run `credentials.py remove {service}` first."
        ),
        "invalid_grant": "{name} no longer accepts Steward's sign-in. Sign in again: {enter}.",
        "refresh_interrupted": (
            "Steward was stopped just while {name}'s sign-in was being renewed, and a renewal works only once."
            " Sign in again: {enter}."
        ),
        "answer_lost": (
            "{name}'s answer was lost while the sign-in was being renewed, and a renewal works only once."
            " Sign in again: {enter}."
        ),
        "client_refused": (
            "{name} does not accept the client that Steward signs in as. Check its id (and secret), then {enter}."
        ),
        "no_connection": "{name} cannot be asked just now; I try again later.",
        "ended": "The sign-in to {name} has ended, as announced. Sign in again: {enter}.",
    }
    REFUSED_QUESTION = "{name} refuses my question about its token and calls it {code}. Look at it in .env."
    ENDS_SOON = "Your sign-in to {name} ends in {days}. To go on without a break, {enter}."
    NOT_CHECKED = "not checked yet"
    WORKED = "worked {span} ago"
    SEALED = "sealed; whether it works is seen when it is used"
    ENDS_IN = "ends in {days}"

    def credential(self, service: str, code: str) -> str:
        """Why this credential does not work, and what to do."""
        own = {"slack": self.SLACK, "clickup": self.CLICKUP}.get(service, {})
        said = self.CREDENTIALS.get(code) or own.get(code)
        name, enter = self.NAMES.get(service, service), self.ENTER.get(service, self.ENTER_AGAIN)
        return (said or self.REFUSED_QUESTION).format(service=service, name=name, enter=enter, code=code)

    def standing(
        self,
        service: str,
        account: str,
        problem: str | None,
        hindrance: str | None,
        checked_ago: float | None,
        ends_in: float | None,
    ) -> str:
        """How one credential stands, as a line of /status. Spans in seconds."""
        if problem is not None:
            parts = [self.credential(service, problem)]
        elif service in ("slack", "clickup", "google"):
            parts = [self.NOT_CHECKED if checked_ago is None else self.WORKED.format(span=self._span(checked_ago))]
        else:  # whether these work is seen when they are used
            parts = [self.SEALED]
        if hindrance is not None:
            parts.append(self.credential(service, hindrance))
        if ends_in is not None and ends_in > 0:
            parts.append(self.ENDS_IN.format(days=self._days(ends_in)))
        said = "; ".join(part.rstrip(".") for part in parts)
        return f"{self.NAMES.get(service, service)}{f' ({account})' if account else ''}: {said}"

    def ends_soon(self, service: str, seconds: float) -> str:
        """A credential whose end is known in advance."""
        name, enter = self.NAMES.get(service, service), self.ENTER.get(service, self.ENTER_AGAIN)
        return self.ENDS_SOON.format(name=name, days=self._days(seconds), enter=enter)

    # /status.

    BOT, WORKERS, HEALTH_WATCH = "Bot", "Workers", "Health watch"
    WORKS = "works"
    REDIS_ANSWERS, REDIS_SILENT = "answers", "does not answer (messages only take a little longer)"
    NO_WORKERS = "none is running; messages are kept and will be answered"
    QDRANT: Mapping[str | None, str] = {
        None: "answers",
        "refused": "refuses QDRANT_API_KEY (answers go on without memories)",
        "no_answer": "does not answer (answers go on without memories)",
        "damaged": "cannot read a collection (answers go on without memories)",
    }
    NOT_WATCHED = "silent, so nobody would tell you if something broke; `make up` starts it"
    NOT_SEEN = "not looked at yet"
    NEVER_ASKED = "no answer yet"
    ANSWERED = "answered {span} ago"
    NO_ANSWERS = "no answers since {since}. {why}"
    SINCE = "{said}, since {since}"
    QUEUE, OLDEST = "Waiting messages: {count}", ", the oldest for {span}"
    UNINDEXED = "Answers not yet in the memory: {count}"
    LAST_BACKUP, NO_BACKUP = "Last backup: {span} ago", "Last backup: none known"
    VERSIONS = "Versions: {versions}"

    def status(self, seen: Iterable[Seen], zone: tzinfo, now: datetime) -> str:
        """Every part with its state and since when, one line each."""
        lines = []
        for one in seen:
            said = one.said
            if one.since is not None:
                said = self.SINCE.format(said=said, since=self._when(one.since.timestamp(), zone, now))
            lines.append(f"{one.name}: {said}")
        return "\n".join(lines)

    def redis_is(self, answers: bool) -> str:
        return self.REDIS_ANSWERS if answers else self.REDIS_SILENT

    def workers_are(self, count: int) -> str:
        return str(count) if count else self.NO_WORKERS

    def queue(self, waiting: int, oldest: float) -> str:
        """How many messages wait, and for how many seconds the oldest has."""
        return self.QUEUE.format(count=waiting) + (self.OLDEST.format(span=self._span(oldest)) if waiting else "")

    def backup(self, ago: float | None) -> str:
        """When `make backup` last wrote one, as far back as the audit trail goes."""
        return self.LAST_BACKUP.format(span=self._span(ago)) if ago is not None else self.NO_BACKUP

    def versions(self, known: Mapping[str, str]) -> str:
        shown = ", ".join(f"{name} {version}" for name, version in known.items() if version)
        return self.VERSIONS.format(versions=shown)

    def claude_state(self, at: datetime, reason: str | None, since: datetime, until: datetime | None) -> str:
        """How Claude was when it was last asked. The times come in the zone they are shown in."""
        now = datetime.now(at.tzinfo)
        if reason is None:
            return self.ANSWERED.format(span=self._span((now - at).total_seconds()))
        again = self.AGAIN.format(moment=self.moment(until, now)) if until is not None and until > now else ""
        why = self.FAILURES.get(reason, "").format(until=again)
        began = self._when(since.timestamp(), since.tzinfo or UTC, now)
        return self.NO_ANSWERS.format(since=began, why=why).rstrip()

    # What healthwatch.py tells the owner (lib/incidents.py decides when): what is wrong, what it means, what to do.

    PARTS: Mapping[str, str] = {
        "postgres": "PostgreSQL",
        "redis": "Redis",
        "qdrant": "Qdrant",
        "telegram": "Telegram",
        "keys": "Master key",
        "bot": "The bot",
        "workers": "The workers",
        "polling": "Fetching messages",
        "backlog": "Answering",
        "claude": "Claude",
        "disk": "Disk space",
        "disk_filling": "Disk space",
        "retention": "Cleaning up",
    }
    # How a part is said to be well again, when that is not "works again".
    WELL_AGAIN: Mapping[str, str] = {
        "keys": "is the right one again",
        "workers": "all work again",
        "backlog": "is in time again",
        "disk": "is enough again",
        "disk_filling": "is enough again",
    }
    WORKS_AGAIN = "works again"
    NO_MEMORIES = "Answers go on without memories of earlier conversations. Nothing is lost."
    LOGS = (
        "look at `docker compose ps` and `docker compose logs {service}`;"
        " `docker compose restart {service}` often helps."
    )
    _WORKERS = "Messages are taken and kept, and answered when a worker is back."
    _FREE = (
        "make room, for instance with `docker system prune`, by moving old backups away, or with a larger disk;"
        " `docker system df -v` shows what takes it."
    )
    TROUBLES: Mapping[str, Mapping[str, Trouble]] = {
        "postgres": {
            "no_tables": Trouble(
                "Tables are missing in PostgreSQL, or are older than the scripts",
                "Some of what you write cannot be taken or answered until they are there. Telegram keeps it for 24"
                " hours.",
                "`make up` brings them up to date.",
            ),
            "no_answer": Trouble(
                "PostgreSQL does not answer, or cannot write",
                "Nothing can be taken or answered until it is back. Telegram keeps new messages for 24 hours; then they"
                " are answered.",
                LOGS.format(service="postgres"),
            ),
        },
        "redis": {
            "no_answer": Trouble(
                "Redis does not answer",
                "Messages are still answered, some seconds later. Nothing is lost.",
                LOGS.format(service="redis"),
            ),
            "full": Trouble(
                "Redis is full and takes nothing more",
                "Messages are still answered, some seconds later. Nothing is lost.",
                "nothing of value is kept there: `docker compose exec redis redis-cli flushall` empties it.",
            ),
        },
        "qdrant": {
            "no_answer": Trouble("Qdrant does not answer", NO_MEMORIES, LOGS.format(service="qdrant")),
            "refused": Trouble(
                "Qdrant refuses QDRANT_API_KEY",
                NO_MEMORIES,
                "put the key it was started with into .env, and run `make up`.",
            ),
            "damaged": Trouble("Qdrant cannot read a collection", NO_MEMORIES, LOGS.format(service="qdrant")),
        },
        "telegram": {
            "no_answer": Trouble(
                "Telegram does not answer, or not in time",
                "Messages come and go late. Telegram keeps yours for 24 hours, and I keep the answers.",
                "see whether the server has a connection to the internet; if it has, wait.",
            ),
            "refused": Trouble(
                "Telegram refuses the bot's token",
                "Nobody can reach me.",
                "get a new token from @BotFather, put it into TELEGRAM_BOT_TOKEN in .env, and run `make up`.",
            ),
        },
        "keys": {
            "wrong": Trouble(
                "What is sealed in the database cannot be opened with MASTER_KEY",
                "Bot and workers could not start again. Nothing was changed.",
                "put the right key back (it is in your backup of .env), and run `make up`. If the key is right,"
                " `docker compose logs healthwatch` says what is missing.",
            ),
        },
        "bot": {
            "missing": Trouble(
                "The bot does not run",
                "Nobody's messages are taken. Telegram keeps them for 24 hours; then they are answered.",
                "`docker logs bot | tail` says why it ended; `make up` starts it.",
            ),
            "silent": Trouble(
                "The bot is dead, or hangs",
                "Nobody's messages are taken. Telegram keeps them for 24 hours; then they are answered.",
                "look at `docker logs bot | tail`; `docker compose restart bot` often helps.",
            ),
        },
        "workers": {
            "missing": Trouble(
                "No worker runs", _WORKERS, "`docker compose logs worker` says why it ended; `make up` starts it."
            ),
            "silent": Trouble("All workers are dead, or hang", _WORKERS, LOGS.format(service="worker")),
            "some_silent": Trouble(
                "Workers that are dead, or hang: {silent} of {of}",
                "The others go on; one person's message may wait until the dead worker is gone or back.",
                LOGS.format(service="worker"),
            ),
        },
        "polling": {
            "no_updates": Trouble(
                "The bot lives, but gets nothing from Telegram",
                "Telegram keeps new messages for 24 hours; then they are answered.",
                "look at `docker logs bot | tail`.",
            ),
            "Conflict": Trouble(
                "Another program takes the bot's messages from Telegram, or a webhook is set",
                "What the other program takes never reaches me.",
                "end the other program that uses this bot's token; or get a new token from @BotFather, put it into"
                " TELEGRAM_BOT_TOKEN in .env, and run `make up`.",
            ),
        },
        "backlog": {
            "late": Trouble(
                "Answers take more than ten minutes",
                "What you write is kept, and will be answered.",
                "/status shows how many wait; look at `docker compose logs worker`.",
            ),
        },
        "disk": {
            "full": Trouble(
                "Almost no room is left on the disk: {disks}", "When it is full, nothing can be kept any more.", _FREE
            ),
            "no_folder": Trouble(
                "A folder that DISK_PATHS names cannot be looked at: {disks}",
                "I do not see whether its disk fills.",
                "with Docker run `make up`; without, mend DISK_PATHS in .env and start healthwatch.py again.",
            ),
        },
        "disk_filling": {
            "filling": Trouble("The disk fills up: {disks}", "Everything still works.", _FREE),
        },
        "retention": {
            "late": Trouble(
                "Old entries of the audit trail are not removed",
                "Everything works; the database grows.",
                "look at `docker compose logs healthwatch`.",
            ),
        },
    }
    CLAUDE_TROUBLE = Trouble(
        "Claude did not answer when it was last asked",
        "Messages are kept; /retry asks again.",
        "nothing, if it passes; /status shows how it is.",
    )
    # What the owner can do about Claude; about all else only wait.
    CLAUDE_DO: Mapping[str, str] = {
        "no_credential": f"{ENTER['claude']}.",
        "sign_in": f"{ENTER['claude']}.",
        "plan_refused": f"{ENTER['claude']}.",
        "no_program": "delete CLAUDE_CODE=0 from .env, and run `make up` (without Docker: install Claude Code).",
        "no_credit": "top up the Claude account.",
        "no_model": "put a model that exists into CLAUDE_MODEL in .env, and run `make up`.",
        "our_bug": "see if there is a newer Steward; `docker compose logs worker` says more.",
    }
    CANNOT_SEE = Trouble(
        "{name}: I cannot see how it is, because of a mistake of mine",
        "It may work all the same.",
        "look at `docker compose logs healthwatch`.",
    )
    SOME, ALL, UNKNOWN = "some", "all", "unknown"
    AWAY = "{what}, since {since}.{often}\n{means}\nWhat to do: {do}"
    OFTEN = " It comes and goes: {times} times by now."
    WAS_AWAY = "{name}: {well} since {end}; there was trouble from {began}, for {length}."
    WAS_AWAY_OFTEN = "{name}: {well} since {end}; there was trouble {times} times from {began} on."
    RELAPSED = "{name}: trouble again since {since}. I write once more if it stays so."
    LATE_NEWS, OVER, STILL_SO = "I could not tell you in time: it is over.", "It is over.", "It is still so."
    WATCH_SILENT = (
        "healthwatch.py gives no sign of life: nobody watches over me.\nI go on answering, but you would not hear of it"
        " if something broke, and sign-ins are no longer renewed.\nWhat to do: `docker compose logs healthwatch`"
        " says why; `make up` starts it."
    )
    WATCH_BACK = "healthwatch.py watches over me again, {span} after I told you that it was silent."

    def trouble(self, part: str, problem: str, detail: Mapping[str, Any], zone: tzinfo, now: datetime) -> Trouble:
        """What is wrong with a part, what that means, and what to do."""
        if part == "claude":
            until = datetime.fromisoformat(detail["until"]).astimezone(zone) if detail.get("until") else None
            again = self.AGAIN.format(moment=self.moment(until, now)) if until else ""
            why = self.FAILURES.get(problem, "").format(until=again).partition(self.OWNERS_TURN)[0].rstrip(".")
            what, kept, wait = self.CLAUDE_TROUBLE
            return Trouble(what, f"{why}. {kept}" if why else kept, self.CLAUDE_DO.get(problem, wait))
        known = self.TROUBLES.get(part, {})
        found = known.get(problem) or (known.get("no_updates") if part == "polling" else None)
        if found is None:
            return self.CANNOT_SEE._replace(what=self.CANNOT_SEE.what.format(name=self.PARTS.get(part, part)))
        disks = ", ".join(f"{path} {share}".strip() for path, share in sorted(dict(detail.get("disks") or {}).items()))
        known_here = {"silent": self.SOME, "of": self.ALL, **detail, "disks": disks or self.UNKNOWN}
        return found._replace(what=found.what.format(**known_here))

    def bad_news(self, incident: Incident, zone: tzinfo, now: datetime) -> str:
        """The message about an incident: sent when it begins, or when it is over if it could not be sent before."""
        outages = incident.outages.items()
        if incident.closed_at is not None:
            late = incident.summary or incident.told_at is None
            beginning = self.LATE_NEWS if late else self.OVER
            return "\n".join([beginning, *(self._was_away(name, one, zone, now) for name, one in outages)])
        blocks = [
            self._is_away(name, one, zone, now) if one.ended_at is None else self._was_away(name, one, zone, now)
            for name, one in sorted(outages, key=lambda item: item[1].ended_at is not None)
        ]
        return "\n\n".join(blocks)

    def good_news(self, incident: Incident, zone: tzinfo, now: datetime) -> str:
        """The message that it is over; changed when a part fails again soon after."""
        lines = []
        for name, one in incident.outages.items():
            if one.ended_at is not None:
                lines.append(self._was_away(name, one, zone, now))
            else:
                since = self._when(one.relapsed_at or one.began_at, zone, now)
                lines.append(self.RELAPSED.format(name=self.PARTS.get(name, name), since=since))
        return "\n".join(lines)

    def reminder(self, incident: Incident, zone: tzinfo, now: datetime) -> str:
        """Said again after an hour, and then every six."""
        blocks = [self._is_away(name, one, zone, now) for name, one in incident.outages.items() if one.ended_at is None]
        return "\n\n".join([self.STILL_SO, *blocks])

    def _is_away(self, name: str, outage: Outage, zone: tzinfo, now: datetime) -> str:
        what, means, do = self.trouble(name, outage.problem, outage.detail, zone, now)
        often = self.OFTEN.format(times=outage.times) if outage.times > 1 else ""
        since = self._when(outage.began_at, zone, now)
        return self.AWAY.format(what=what, since=since, often=often, means=means, do=do)

    def _was_away(self, name: str, outage: Outage, zone: tzinfo, now: datetime) -> str:
        ended = outage.ended_at if outage.ended_at is not None else now.timestamp()
        # When there was trouble several times, it was well between them: the whole length would be no outage's.
        return (self.WAS_AWAY_OFTEN if outage.times > 1 else self.WAS_AWAY).format(
            name=self.PARTS.get(name, name),
            well=self.WELL_AGAIN.get(name, self.WORKS_AGAIN),
            began=self._when(outage.began_at, zone, now),
            end=self._when(ended, zone, now),
            times=outage.times,
            length=self._length(ended - outage.began_at),
        )

    def watch_back(self, seconds: float) -> str:
        """healthwatch.py is there again."""
        return self.WATCH_BACK.format(span=self._span(seconds))

    # /audit, which only the owner may ask for. The times come in the zone they are shown in.

    AUDIT_HEAD = "The last actions (times: {zone}). /audit and an id, or the first 8 characters of it, tells its story."
    AUDIT_EMPTY = "Nothing has been done yet, or it was so long ago that it is no longer kept."
    AUDIT_NO_ID = (
        "This is no id. Send /audit, a blank and an id as /audit shows it, or at least the first 8 characters of"
        " one; they are the digits 0-9 and the letters a-f."
    )
    AUDIT_NOT_FOUND = (
        "Nothing is kept under this id. Compare it with the one you have (/audit shows the last ones); what was done"
        " long ago is removed."
    )
    AUDIT_SEVERAL = "Several ids begin like this. Send more of the one you mean:"
    AUDIT_STORY = "The story of {correlation_id} (times: {zone}):"
    AUDIT_MORE = "... and {count} more"
    PERSONS: Mapping[str, str] = {
        "owner": "you",
        "system": "Steward",
        "user": "user {id}",
        "stranger": "stranger {id}",
        "group": "group {id}",
    }
    KINDS: Mapping[str, str] = {
        "message": "message",
        "edited_message": "edited message",
        "callback_query": "pressed button",
        "stopped_message_generation": "wish to stop the answer",
        "unreadable": "unreadable update",
        "other": "other update",
    }
    STATES: Mapping[str, str] = {
        "waiting": "waiting",
        "answered": "answered",
        "failed": "failed",
        "set_aside": "set aside",
        "noted": "noted",
        "parked": "parked",
    }
    NO_ID = "unknown"
    TOKENS = "; {into} tokens in ({cached} of them cached), {out} out"
    RECEIVED = "{kind} from {who}; now {state}"
    ATTEMPT, ATTEMPTS = ", 1 attempt", ", {count} attempts"
    SAID, ALERTED = "reply to {who}: {found}", "alert to {who}: {found}"
    PART, PARTS_SAID = "1 part", "{count} parts"
    SENT, SOME_SENT = "sent", "{count} sent"
    REFUSED, SOME_REFUSED = "refused", "{count} refused"
    UNSENT, SOME_UNSENT = "not sent yet", "{count} not sent yet"
    MAYBE_REPEAT = "may be a repeat"

    def person(self, kind: str, user_id: int | None) -> str:
        """Who did something, to the owner. `kind` is that of audit.Actor."""
        return self.PERSONS.get(kind, kind).format(id=self.NO_ID if user_id is None else user_id)

    def action(
        self,
        at: datetime,
        who: str,
        action: str,
        outcome: str,
        reason: str | None,
        model: str | None,
        duration_ms: int | None,
    ) -> str:
        """One action in a line, as short as a phone wants it."""
        parts = [f"{outcome} ({_word(reason)})" if reason else outcome]
        if model:
            parts.append(_word(model))
        if duration_ms is not None:
            parts.append(f"{duration_ms / 1000:.1f} {self.S}")
        return f"{self._time(at)} {who}: {_word(action)}, {', '.join(parts)}"

    def tokens(self, into: int | None, out: int | None, cached: int | None) -> str:
        """The tokens of one request, behind its action; empty when they were not counted."""
        if into is None and out is None:
            return ""
        return self.TOKENS.format(into=into or 0, out=out or 0, cached=cached or 0)

    def received(self, at: datetime, who: str, kind: str, state: str, attempts: int) -> str:
        """An update, and what became of it: in a line of its story."""
        tries = (self.ATTEMPT if attempts == 1 else self.ATTEMPTS).format(count=attempts) if attempts else ""
        came = self.RECEIVED.format(kind=self.KINDS.get(kind, kind), who=who, state=self.STATES.get(state, state))
        return f"{self._time(at)} {came}{tries}"

    def said(
        self,
        at: datetime,
        to: str,
        alert: bool,
        parts: int,
        sent: int,
        refused: int,
        repeat: bool,
        sent_at: datetime | None,
    ) -> str:
        """What Steward said, and whether it arrived: in a line of a story."""
        found = [(self.PART if parts == 1 else self.PARTS_SAID).format(count=parts)]
        if sent:
            some = self.SENT if sent == parts else self.SOME_SENT.format(count=sent)
            found.append(f"{some} {self._time(sent_at)}" if sent_at else some)
        if refused:
            found.append(self.REFUSED if refused == parts else self.SOME_REFUSED.format(count=refused))
        if unsent := max(parts - sent - refused, 0):
            found.append(self.UNSENT if unsent == parts else self.SOME_UNSENT.format(count=unsent))
        if repeat:
            found.append(self.MAYBE_REPEAT)
        shown = (self.ALERTED if alert else self.SAID).format(who=to, found=", ".join(found))
        return f"{self._time(at)} {shown}"

    def listing(self, head: str, entries: Sequence[str]) -> str:
        """A head and as many entries as fit into one message; how many do not is said at its end."""
        text = head
        for number, entry in enumerate(entries):
            if units(text) + units(entry) > LONGEST - 30:  # room for the last line
                return f"{text}\n{self.AUDIT_MORE.format(count=len(entries) - number)}"
            text += f"\n{entry}"
        return text

    # What the owner reads about a token that was checked, by the service's code (lib/slack.py, lib/clickup.py); the
    # codes malformed and unknown are ours.
    _SLACK_NEW = "Make a new one on the app's OAuth page, put it into SLACK_TOKEN in .env and run `make up`."
    _SLACK_COPY = "Copy the bot token from the app's OAuth page into SLACK_TOKEN in .env and run `make up`."
    _SLACK_ADMIN = "Ask an administrator of your Slack workspace."
    _SLACK_MOVE = (
        "Slack is moving this workspace into a larger organisation. There is nothing to do: I ask again later."
    )
    _SLACK_AWAY = "Slack has trouble of its own right now. There is nothing to do: I ask again later."
    _SLACK_BUSY = "Slack asks me to wait a while. There is nothing to do: I ask again later."
    _SLACK_OURS = "Slack did not understand my question. That is my mistake: see if there is a newer Steward."
    _SLACK_OLD = "Slack no longer answers the way I ask. See if there is a newer Steward."
    _SLACK_RIGHTS = (
        "The Slack app lacks a permission. Add it on the app's OAuth page, install the app again, put the token into"
        " SLACK_TOKEN in .env and run `make up`."
    )
    SLACK: Mapping[str, str] = {
        "access_denied": f"Slack keeps this token from what I asked for. {_SLACK_ADMIN}",
        "accesslimited": f"Slack may not be used from the network I run in. {_SLACK_ADMIN}",
        "account_inactive": f"The Slack account or workspace of this token is gone. {_SLACK_NEW}",
        "ekm_access_denied": f"The administrators have suspended the use of this Slack workspace. {_SLACK_ADMIN}",
        "enterprise_is_restricted": (
            f"This Slack token is for a whole organisation, and I need one workspace. {_SLACK_NEW}"
        ),
        "invalid_auth": f"Slack does not accept this token, or not from where I run. {_SLACK_COPY}",
        "is_bot": f"Slack no longer lets this old kind of bot in. Make a new Slack app. {_SLACK_COPY}",
        "malformed": f"What stands in SLACK_TOKEN cannot be a token. {_SLACK_COPY}",
        "missing_scope": _SLACK_RIGHTS,
        "no_permission": _SLACK_RIGHTS,
        "not_allowed_token_type": (
            f"This is the wrong kind of Slack token: xoxb or xoxp has to come first. {_SLACK_COPY}"
        ),
        "not_authed": f"Slack found no token in my question. {_SLACK_COPY}",
        "token_expired": f"The time of this Slack token is over. {_SLACK_NEW}",
        "token_revoked": f"Slack says this token was revoked. {_SLACK_NEW}",
        "two_factor_setup_required": "Slack wants this account to have a second way to sign in. Set it up in Slack.",
        "org_login_required": _SLACK_MOVE,
        "team_added_to_org": _SLACK_MOVE,
        "deprecated_endpoint": _SLACK_OLD,
        "method_deprecated": _SLACK_OLD,
        "upgrade_required": _SLACK_OLD,
        "unknown_method": (
            "Slack does not know what I asked for. Look at SLACK_API_URL in .env, or for a newer Steward."
        ),
        "invalid_arg_name": _SLACK_OURS,
        "invalid_arguments": _SLACK_OURS,
        "invalid_array_arg": _SLACK_OURS,
        "invalid_charset": _SLACK_OURS,
        "invalid_form_data": _SLACK_OURS,
        "invalid_json": _SLACK_OURS,
        "invalid_post_type": _SLACK_OURS,
        "json_not_object": _SLACK_OURS,
        "missing_post_type": _SLACK_OURS,
        "fatal_error": _SLACK_AWAY,
        "internal_error": _SLACK_AWAY,
        "request_timeout": _SLACK_AWAY,
        "service_unavailable": _SLACK_AWAY,
        "rate_limited": _SLACK_BUSY,
        "ratelimited": _SLACK_BUSY,
        "unknown": "Slack answered something I do not understand. I ask again later.",
    }
    _CLICKUP_NEW = (
        "Make a new one in ClickUp under Settings, Apps, put it into CLICKUP_TOKEN in .env and run `make up`."
    )
    _CLICKUP_COPY = "Copy it from ClickUp, under Settings, Apps, into CLICKUP_TOKEN in .env and run `make up`."
    _CLICKUP_GONE = f"ClickUp does not know this token; it may have been replaced or revoked. {_CLICKUP_NEW}"
    _CLICKUP_TEAM = f"This token may not see your ClickUp workspace. Sign in there as one of its people. {_CLICKUP_NEW}"
    CLICKUP: Mapping[str, str] = {
        "OAUTH_007": (
            "The ClickUp app sends people back to another address than it is set up with. Correct it in ClickUp."
        ),
        "OAUTH_010": f"The ClickUp app of this token is gone or was not set up right. {_CLICKUP_NEW}",
        "OAUTH_017": f"ClickUp found no token in my question. {_CLICKUP_COPY}",
        **dict.fromkeys(("OAUTH_018", "OAUTH_019", "OAUTH_021", "OAUTH_025", "OAUTH_077"), _CLICKUP_GONE),
        **dict.fromkeys(("OAUTH_023", "OAUTH_026", "OAUTH_027"), _CLICKUP_TEAM),
        **dict.fromkeys((f"OAUTH_{number:03}" for number in range(29, 46)), _CLICKUP_TEAM),
        "OAUTH_171": "ClickUp already has what I asked it to set up. There is nothing to do.",
        "malformed": f"What stands in CLICKUP_TOKEN cannot be a token. {_CLICKUP_COPY}",
        "ratelimited": "ClickUp asks me to wait a while. There is nothing to do: I ask again later.",
        "service_unavailable": "ClickUp has trouble of its own right now. There is nothing to do: I ask again later.",
        "unknown": "ClickUp answered something I do not understand. I ask again later.",
    }


def _utc(at: datetime) -> str:
    return " UTC" if at.utcoffset() == timedelta(0) else ""


def _word(text: str) -> str:
    return text if len(text) <= LONGEST_WORD else f"{text[:LONGEST_WORD]}..."
