"""The whole house in Docker, beside simulators: brought up, talked to, looked into, broken, restored, and taken down.

Run it with `make compose-test`, or `python -m tests.compose --only kills,networks`. It needs a Docker engine, and some
minutes. Every line says what was seen; the program ends with 1 when one of them says FAILED.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from demo.children import wait_until
from lib.english import English

say = English()

Json = dict[str, Any]

ROOT = Path(__file__).parent.parent
PROJECT = "steward-test"
MAIN, DEMO = "docker-compose.yml", "demo/docker-compose.yml"
STORES = {"postgres": 5432, "redis": 6379, "qdrant": 6333}  # and the port each listens on
SCRIPTS = ("bot", "worker", "healthwatch")
VOLUMES = {"redis": ["redis"], "qdrant": ["qdrant", "qdrant-snapshots"]}  # what may be lost
HOUSE = (*STORES, *SCRIPTS, "outside")
SECRETS = ("MASTER_KEY", "POSTGRES_PASSWORD", "STEWARD_APP_PASSWORD", "REDIS_PASSWORD", "QDRANT_API_KEY")
PACKAGES = ("requirements.txt", "requirements-claude-code.txt")
PIECES = ("Dockerfile", ".dockerignore", ".env.example", *PACKAGES, "schema.sql", "lib", "docker")
PATIENCE = 1200.0  # seconds for everything; every call of Docker ends before
PRIVATE = "aardvark"  # in everything that people write here: it must be in no log
MARK = say.REPEAT_MARK.strip()
# What healthwatch and the bot say to the owner by themselves: a word of it, and what it is.
ALERTS = {
    say.WATCH_SILENT.partition("\n")[0]: "watch silent",
    "watches over me again": "watch back",
    "It is still so.": "reminder",
    "I could not tell you in time": "told late",
    "What to do:": "bad",
    "works again since": "good",
    "work again since": "good",
}
# Which services are taken away together, how, and the part that the owner reads of.
DRILLS = (
    (("redis",), "pause", ("Redis",)),
    (("bot",), "kill", ("bot",)),
    (("postgres",), "kill", ("PostgreSQL",)),
    (("worker",), "pause", ("worker",)),
    (tuple(STORES), "kill", ("PostgreSQL", "Redis", "Qdrant")),
)
AWAY = {"pause": "unpause", "kill": "start"}  # how, and back; after `docker kill` Docker starts nothing by itself


class Failed(Exception):
    """A step cannot go on; the text says why."""


class House:
    """The containers of this program, through the `docker` command, and the lines it has printed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failures = 0
        self._ends_at = time.monotonic() + PATIENCE
        settings = {"COMPOSE_PROJECT_NAME": PROJECT, "COMPOSE_FILE": f"{MAIN}:{DEMO}", "COMPOSE_PATH_SEPARATOR": ":"}
        settings |= {"COMPOSE_ENV_FILES": str(folder / ".env"), "COMPOSE_PROGRESS": "quiet"}
        example = re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
        # What stands in our environment would win over the made-up values.
        self.env = {name: value for name, value in os.environ.items() if name not in example} | settings

    def see(self, holds: object, what: str, seen: object) -> None:
        self.failures += not holds
        print(f"ok   {what} ({seen})" if holds else f"FAILED {what}: {seen}", flush=True)

    def run(self, *command: str, **options: Any) -> str:
        """What a command printed; with the options of attempt(). Raises Failed."""
        done, printed = self.attempt(*command, **options)
        if done != 0:
            raise Failed(f"{' '.join(command)[:100]} ended with {done}: {printed.strip()[-300:]}")
        return printed

    def attempt(
        self, *command: str, seconds: float = 60, text: str = "", env: Json | None = None, cwd: Path = ROOT
    ) -> tuple[int, str]:
        """Its exit code and what it printed. In a session of its own: Ctrl-C must not end it in the middle."""
        streams: Json = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        given = self.env | (env or {})
        process = subprocess.Popen(command, env=given, cwd=cwd, text=True, start_new_session=True, **streams)
        try:
            printed, _ = process.communicate(text, min(seconds, max(self._ends_at - time.monotonic(), 1)))
        except subprocess.TimeoutExpired:
            raise Failed(f"{' '.join(command)[:100]} did not end in time") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return process.returncode, printed

    def compose(self, *words: str, seconds: float = 120) -> str:
        return self.run("docker", "compose", *words, seconds=seconds)

    def up(self, *words: str) -> float:
        began = time.monotonic()
        self.compose("up", "--detach", "--wait", "--wait-timeout", "120", *words, seconds=180)
        return time.monotonic() - began

    def inside(self, service: str, *command: str, text: str = "") -> str:
        return self.run("docker", "compose", "exec", "-T", service, *command, text=text)

    def shell(self, service: str, script: str) -> str:
        """What a script of bash prints there, whatever its exit code."""
        return self.attempt("docker", "compose", "exec", "-T", service, "bash", "-c", script)[1].strip()

    def containers(self) -> dict[str, list[Json]]:
        """What `docker inspect` tells of each service."""
        found: dict[str, list[Json]] = {}
        for container in json.loads(self.run("docker", "inspect", *self.compose("ps", "--all", "--quiet").split())):
            found.setdefault(container["Config"]["Labels"]["com.docker.compose.service"], []).append(container)
        return found

    def container(self, service: str) -> Json:
        return self.containers()[service][0]

    def ill(self) -> list[str]:
        """The services that are not running and healthy."""
        found = self.containers()
        health = {name: {c["State"].get("Health", {}).get("Status") for c in found.get(name, [])} for name in HOUSE}
        return [f"{name} {' '.join(map(str, states))}" for name, states in health.items() if states != {"healthy"}]

    def looked_well(self, service: str, since: float) -> bool:
        """Whether Docker has looked at its health since then, and was content each time."""
        health = self.container(service)["State"]["Health"]
        codes = [
            look["ExitCode"]
            for look in health["Log"]
            if datetime.fromisoformat(re.sub(r"\.\d+", "", look["Start"])).timestamp() > since
        ]
        return bool(codes) and not any(codes) and health["Status"] == "healthy"

    def logs(self) -> dict[str, str]:
        """Of every container, by its name."""
        return {
            container["Name"]: self.run("docker", "logs", container["Id"])
            for containers in self.containers().values()
            for container in containers
        }

    def sql(self, statement: str, database: str = "steward") -> str:
        return self.inside("postgres", "psql", "-qAt", "-d", database, "-f", "-", text=statement).strip()

    def ledger(self) -> Json:
        found: Json = json.loads(self.inside("outside", "python", "-m", "demo.say", "--ledger"))
        return found

    def has_asked_claude(self, before: int) -> bool:
        """More often than before."""
        asked: int = self.ledger()["claude_requests"]
        return asked > before

    def say(self, name: str, *texts: str, slow: float = 0) -> None:
        """Write all of them at once; with `slow`, Claude's next answer stalls in the middle."""
        lines = [f"python -m demo.say --claude-slow {slow}"] * bool(slow)
        lines += [f"python -m demo.say --no-wait --as {name} '{text} {PRIVATE}'" for text in texts]
        self.inside("outside", "sh", "-ec", "\n".join(lines))

    def answers(self, name: str, texts: tuple[str, ...], seconds: float = 60) -> dict[str, list[bool]]:
        """For each text that was answered, in the order of the answers: had each copy the mark of a repeat?"""
        found: dict[str, list[bool]] = {}

        def look() -> bool:
            found.clear()
            for sent in self.ledger()["people"][name]["received"]:
                for turn in re.findall(rf"You wrote: «(.+? {PRIVATE})»", sent["text"], re.DOTALL):
                    for text in turn.split(PRIVATE)[:-1]:  # one message or several
                        found.setdefault(text.strip(), []).append(sent["text"].startswith(MARK))
            return set(texts) <= set(found)

        wait_until(look, seconds)
        return {text: marks for text, marks in found.items() if text in texts}

    def expect(self, what: str, name: str, *texts: str) -> None:
        """Each is answered, in order, and once: a second copy only with the mark."""
        began = time.monotonic()
        found = self.answers(name, texts)
        right = list(found) == list(texts) and all(marks.count(False) < 2 for marks in found.values())
        repeats = sum(len(marks) > 1 for marks in found.values())
        in_time = f"{len(found)} of {len(texts)} in {time.monotonic() - began:.1f} s, {repeats} of them twice"
        self.see(right, what, in_time if right else f"{in_time}: {found}")

    def alerts(self) -> list[tuple[str, Json]]:
        """The messages to the owner that nobody asked for, each with what it is."""
        found = []
        for sent in self.ledger()["people"]["alice"]["received"]:
            kind = next((kind for word, kind in ALERTS.items() if word in sent["text"]), "")
            if kind and "You wrote:" not in sent["text"]:
                found.append((kind, sent))
        return found

    def ids(self, *services: str) -> list[str]:
        """Of their containers."""
        return [container["Id"] for name in services for container in self.containers()[name]]

    def talk(self, what: str, *texts: str) -> None:
        self.say("alice", *texts)
        self.expect(what, "alice", *texts)

    def take_down(self) -> None:
        """Whatever became of the rest, and however much time is left."""
        self._ends_at = time.monotonic() + 120
        self.compose("down", "--volumes", "--timeout", "10")
        made = self.run("docker", "images", "--quiet", "--filter", f"reference={PROJECT}-*").split()
        if made:
            self.run("docker", "rmi", "--force", *set(made))
        left = self.run("docker", "ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}")
        left += self.run("docker", "volume", "ls", "--quiet", "--filter", f"name={PROJECT}_")
        self.see(not left, "everything is taken down", left or "no container and no volume is left")


def comes_up(house: House) -> None:
    """From nothing, again, and after a change of code."""
    took = house.up("--build")
    schema = house.container("schema")
    house.see(not house.ill(), "the house comes up from nothing, all healthy", house.ill() or f"{took:.1f} s")
    house.see(schema["State"]["ExitCode"] == 0, "the schema is loaded", f"exit code {schema['State']['ExitCode']}")
    before = {c["Id"]: c["State"]["StartedAt"] for containers in house.containers().values() for c in containers}
    took = house.up("--build")
    after = {c["Id"]: c["State"]["StartedAt"] for containers in house.containers().values() for c in containers}
    again = [identity for identity in after if after[identity] != before.get(identity)]
    right = set(before) == set(after) and again == [schema["Id"]]
    house.see(right, "a second time only the schema runs again", f"{len(again)} started, {took:.1f} s")
    named = json.loads(house.compose("--file", MAIN, "config", "--format", "json"))["services"]["bot"]
    house.see(named.get("container_name") == "bot", "the bot's container is named", named.get("container_name"))
    with (house.folder / "bot.py").open("a") as file:
        file.write("# changed\n")
    began = time.monotonic()
    try:
        house.run("docker", "build", "--quiet", "--target=scripts", f"--tag={PROJECT}-changed", str(house.folder))
    finally:
        house.attempt("docker", "rmi", f"{PROJECT}-changed")
    took = time.monotonic() - began
    house.see(took < 15, "after a change of code an image is built from the cache", f"{took:.1f} s")


def chats(house: House) -> None:
    house.talk("Alice is answered", "hello")
    house.say("bob", "and I")
    house.expect("Bob is answered", "bob", "and I")
    refusal = house.inside("outside", "python", "-m", "demo.say", "--as", "charlie", "let me in").strip()
    house.see(refusal.endswith(" 1003."), "Charlie is a stranger", refusal)
    status = house.inside("outside", "python", "-m", "demo.say", "/status").strip()
    house.see("ClickUp" in status, "/status tells how things are", " / ".join(status.splitlines()))
    house.talk("six messages at once are answered in order", *(f"no. {number}" for number in range(6)))


def is_closed(house: House) -> None:
    """Every container: its user, its rights, its file system, its limits."""
    script = "touch /x 2>&1; touch /etc/x 2>&1; touch /tmp/x && echo writable; rm -f /tmp/x"
    facts = "cat /proc/1/comm; grep -hE '^(Uid|Gid|CapEff|CapBnd|NoNewPrivs):' /proc/[0-9]*/status 2> /dev/null"
    for service in HOUSE:
        first, *lines = house.shell(service, facts).splitlines()
        rights = {tuple(line.split()) for line in lines}
        users = sorted({part for name, *ids in rights if name in ("Uid:", "Gid:") for part in ids}, key=int)
        rest = {" ".join(line) for line in rights if line[0] not in ("Uid:", "Gid:")}
        wanted = {"CapEff: 0000000000000000", "CapBnd: 0000000000000000", "NoNewPrivs: 1"}
        right = "init" in first and users and "0" not in users and rest == wanted
        seen = f"pid 1 {first}, users and groups {' '.join(users)}, {len(rest)} rights"
        house.see(right, f"{service}: no process is root or can become it", seen if right else f"{seen}: {rest}")
        wrote = house.shell(service, script)
        right = wrote.count("Read-only file system") == 2 and wrote.endswith("writable")
        house.see(right, f"{service}: only /tmp can be written", "as it should" if right else wrote)
    for service, (container, *_) in house.containers().items():
        host, log = container["HostConfig"], container["HostConfig"]["LogConfig"]
        limits = [host[name] or 0 for name in ("Memory", "NanoCpus", "PidsLimit")]
        right = all(limit > 0 for limit in limits) and bool(host["ReadonlyRootfs"] and host["Init"])
        right = right and host["CapDrop"] == ["ALL"] and not host["CapAdd"] and not host["Privileged"]
        right = right and log["Type"] == "json-file" and log["Config"] == {"max-size": "10m", "max-file": "3"}
        seen = f"{limits[0] >> 20} MB, {limits[1] / 1e9} CPUs, {limits[2]} processes, log {log['Config']}"
        house.see(right, f"{service}: limits are set", seen)
        ports = [*host["PortBindings"], *(port for port, to in container["NetworkSettings"]["Ports"].items() if to)]
        house.see(not ports, f"{service}: no port is open on this machine", ports or "none")


def networks(house: House) -> None:
    """Who reaches whom. Addresses only of our own containers, and of the bridges that Docker made here."""
    shown = json.loads(house.run("docker", "network", "inspect", f"{PROJECT}_stores", f"{PROJECT}_outside", "bridge"))
    given = [config.get("Gateway", "") for network in shown for config in network["IPAM"]["Config"]]
    gateways = [place for place in given if "." in place]
    found = house.containers()
    image = found["bot"][0]["Config"]["Image"]
    inner, outer = (address(found[name][0], net) for name, net in (("postgres", "stores"), ("outside", "outside")))
    stores = [(address(found[name][0], "stores"), port) for name, port in STORES.items()]
    for service in SCRIPTS:
        seen = house.shell(service, reach([*stores, (outer, 8081)]))
        house.see(seen.count("open") == 4, f"{service} reaches the stores and outside", seen.replace("\n", ", "))
    for service in STORES:
        with listening(gateways) as here:
            seen = house.shell(service, reach([(outer, 8081), *here]))
        house.see("open" not in seen, f"{service} reaches nothing outside", seen.replace("\n", ", "))
    ways = house.run("docker", "run", "--rm", "--network", "host", image, "cat", "/proc/net/route")
    if f"br-{shown[0]['Id'][:12]}" not in ways:  # a connection from another network would leave this machine
        house.see(True, "from other networks no store is reached", "the engine itself has no way to them")
        return
    for network in ("bridge", f"{PROJECT}_outside"):
        seen = house.run("docker", "run", "--rm", "--network", network, image, "bash", "-c", reach(stores))
        seen = seen.strip().replace("\n", ", ")
        house.see(inner in seen and "open" not in seen, f"from network {network} no store is reached", seen)


def address(container: Json, network: str) -> str:
    found: str = container["NetworkSettings"]["Networks"][f"{PROJECT}_{network}"]["IPAddress"]
    return found


def reach(places: list[tuple[str, int]]) -> str:
    """A script for bash: what becomes of a connection to each of these places, within three seconds."""
    one = "timeout 3 bash -c '</dev/tcp/{0}/{1}' 2>/dev/null && echo {0}:{1} open || echo {0}:{1} shut"
    return "\n".join([*(f"( {one.format(*place)} ) &" for place in places), "wait"])


@contextmanager
def listening(addresses: list[str]) -> Iterator[list[tuple[str, int]]]:
    """Servers on this machine's side of the bridges: without them a refused connection would prove nothing."""
    with ExitStack() as opened:
        places = []
        for place in addresses:
            with suppress(OSError):  # an isolated bridge has no address here
                server = opened.enter_context(socket.create_server((place, 0)))
                places.append((place, server.getsockname()[1]))
        yield places


def passwords(house: House) -> None:
    """No store opens without its password, and PostgreSQL's log tells nothing of what people wrote."""
    for name, given in (("without", "-u REDISCLI_AUTH"), ("with a wrong", "REDISCLI_AUTH=wrong")):
        seen = house.shell("redis", f"env {given} redis-cli -h 127.0.0.1 get x 2>&1")
        seen = " ".join(seen.split())
        house.see("NOAUTH Authentication required" in seen, f"Redis refuses {name} password", seen)
    wrong = "PGPASSWORD=wrong psql -h 127.0.0.1 -U steward_app -d steward -c 'SELECT 1' 2>&1"
    seen = house.shell("postgres", wrong)
    right = "password authentication failed" in seen
    house.see(right, "PostgreSQL refuses a wrong password", seen.splitlines()[-1].partition("FATAL:  ")[2])
    rules = house.sql("SELECT DISTINCT type, auth_method FROM pg_hba_file_rules ORDER BY 1, 2").splitlines()
    house.see(set(rules) == {"host|scram-sha-256", "local|peer"}, "its rules: scram, and peer inside", " ".join(rules))
    kinds = house.sql("SELECT DISTINCT left(rolpassword, 13) FROM pg_authid WHERE rolpassword IS NOT NULL")
    house.see(kinds == "SCRAM-SHA-256", "passwords are kept as", kinds)
    ask = "import os, sys, urllib.request as r; q = r.Request('http://qdrant:6333/collections')\n"
    ask += "if sys.argv[1:]: q.add_header('api-key', os.environ['QDRANT_API_KEY'])\nprint(r.urlopen(q).status)"
    refused = house.shell("bot", f'python -c "{ask}" 2>&1 | tail -n 1')
    taken = house.shell("bot", f'python -c "{ask}" key 2>&1 | tail -n 1')
    right = bool(re.search(r"\b40[13]\b", refused)) and taken == "200"
    house.see(right, "Qdrant refuses who has no key", f"{refused}; with the key {taken}")
    columns = "correlation_id, sender, chat_id, part, parts, body, state"
    statements = (
        f"SET ROLE steward_app; INSERT INTO outbox (body) VALUES ('{PRIVATE}')",
        f"INSERT INTO outbox ({columns}) VALUES (gen_random_uuid(), 'bot', 1, 1, 1, '{PRIVATE}', 'nowhere')",
        f"INSERT INTO inbox (raw) VALUES ('{{\"{PRIVATE}\": }}')",
    )
    for statement in statements:
        house.attempt("docker", "compose", "exec", "-T", "postgres", "psql", "-d", "steward", text=statement)
    log = house.run("docker", "logs", house.container("postgres")["Id"])
    told = [line for line in log.splitlines() if "ERROR" in line]
    bare = not any(word in log for word in ("DETAIL", "STATEMENT", "Failing row"))
    house.see(len(told) >= 3 and bare, "failing statements are logged without their rows", f"{len(told)} in the log")
    wanted = {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "password_encryption": "scram-sha-256",
    }
    have = {name: house.sql(f"SHOW {name}") for name in wanted}
    house.see(have == wanted, "PostgreSQL keeps what it confirmed", have)
    wanted = {"appendonly": "yes", "maxmemory-policy": "noeviction", "maxmemory": str(128 << 20)}
    have = {name: house.shell("redis", f"redis-cli config get {name} | tail -n 1") for name in wanted}
    house.see(have == wanted, "Redis is set up", have)


def kills(house: House) -> None:
    """Each dies at once, with a message under way, and Docker starts it again."""
    for service in (*SCRIPTS, "redis", "postgres", "qdrant"):
        asked = house.ledger()["claude_requests"]
        house.say("alice", f"{service} dies", slow=0 if service == "bot" else 3)
        if service != "bot":  # for the bot the message itself is still on its way
            wait_until(partial(house.has_asked_claude, asked), 20)
        before = house.container(service)["RestartCount"]
        # All processes but the first, which then ends too. `docker kill` would count as wanted, and start nothing.
        house.shell(service, "kill -9 -1")
        began = time.monotonic()
        house.expect(f"{service} is killed, and the message is answered", "alice", f"{service} dies")
        wait_until(lambda: not house.ill(), 60)
        restarts = house.container(service)["RestartCount"] - before
        ill = house.ill()
        seen = f"{time.monotonic() - began:.1f} s, restarted {restarts} times"
        house.see(not ill and restarts == 1, "all are healthy again", ill or seen)
    told = [sent["text"].partition("\n")[0] for _, sent in house.alerts()]  # a store may need longer than three checks
    wrong = [text for text in told if re.search("bot|worker|watch", text)]
    house.see(not wrong, "a script that Docker starts again at once is no news for the owner", wrong or told)


def any_order(house: House) -> None:
    """The scripts start before there are stores, and stay healthy while they wait."""
    ids = {name: house.container(name)["Id"] for name in (*STORES, *SCRIPTS)}
    house.compose("stop", *STORES, *SCRIPTS)
    began = time.time()
    house.run("docker", "start", *(ids[name] for name in SCRIPTS))
    for name in SCRIPTS:
        right = wait_until(partial(house.looked_well, name, began + 10), 45)
        seen = f"Docker looked after {time.time() - began:.0f} s"
        house.see(right, f"{name} is healthy without any store", seen)
    house.say("alice", "no store yet")
    for name in ("redis", "qdrant", "postgres"):
        house.run("docker", "start", ids[name])
        time.sleep(2)
    house.expect("the stores come last, and the message is answered", "alice", "no store yet")
    wait_until(lambda: not house.ill(), 30)
    restarts = sum(house.container(name)["RestartCount"] for name in SCRIPTS)
    house.see(
        not house.ill(), "all are healthy without a hand", house.ill() or f"{restarts} restarts of the scripts so far"
    )
    for name in SCRIPTS:
        check = house.container(name)["Config"]["Healthcheck"]["Test"][1]
        codes = house.shell(name, f"({check}); echo $?; touch -d '1 minute ago' /tmp/heartbeat; ({check}); echo $?")
        house.see(
            codes.split() == ["0", "1"],
            f"{name}: a heartbeat in the past is not healthy",
            f"exit codes {codes.split()}",
        )


def watch_sees(house: House) -> None:
    """What healthwatch sees of the volumes: how full each disk is, and as little else as the stores let it."""
    see = 'for place in $DISK_PATHS; do touch "$place/x" 2> /dev/null && rm "$place/x" && echo "$place"; done'
    wrote = house.shell("healthwatch", see).split()
    house.see(wrote == ["/var/lib/steward"], "healthwatch writes only into its own volume", " ".join(wrote))
    owner = house.shell("healthwatch", "stat -c '%u:%g %a' /var/lib/steward /var/lib/steward/*")
    house.see(owner.split("\n")[0] == "10001:10001 700", "which is its own", owner.replace("\n", ", "))
    shares = house.shell("healthwatch", "stat -f -c '%b %a' $DISK_PATHS").splitlines()
    house.see(len(shares) == 5 and all(map(str.strip, shares)), "it sees every disk", f"{len(shares)} volumes")
    for name in ("postgres", "redis"):
        files = house.shell("healthwatch", f"find /volumes/{name} -type f -readable 2> /dev/null | wc -l")
        house.see(files == "0", f"it can read no file of {name}", f"{files} files")


def outages(house: House) -> None:
    """Each part is away, and comes back: the owner reads one message each time, and one when it is over.

    A message may wait for its turn: there are at most six in a minute, edits among them.
    """
    wait_until(lambda: not house.ill(), 60)
    time.sleep(15)  # all has been seen to be well
    for services, how, names in DRILLS:
        told, ids, called = len(house.alerts()), house.ids(*services), " and ".join(services)
        with ExitStack() as mend:
            began = time.monotonic()
            house.run("docker", how, *ids)
            mend.callback(house.run, "docker", AWAY[how], *ids)
            wait_until(partial(has_more_alerts, house, told), 60)
            took = time.monotonic() - began
        began = time.monotonic()
        wait_until(partial(has_more_alerts, house, told + 1), 60)
        see_alerts(house, f"{called}: {how}, told once and once when it is back", told, ["bad", "good"], *names)
        house.see(True, f"{called}: how fast", f"told after {took:.1f} s, and after {time.monotonic() - began:.1f} s")
    told, ids = len(house.alerts()), house.ids("redis")
    house.run("docker", "pause", *ids)
    wait_until(partial(has_more_alerts, house, told), 60)
    house.run("docker", "restart", *house.ids("healthwatch"))
    time.sleep(10)
    house.compose("up", "--detach", "--no-deps", "--force-recreate", "healthwatch")
    time.sleep(10)
    house.run("docker", "unpause", *ids)
    wait_until(partial(has_more_alerts, house, told + 1), 60)
    see_alerts(house, "healthwatch, restarted and made anew meanwhile, remembers", told, ["bad", "good"], "Redis")
    told, ids = len(house.alerts()), house.ids("outside")
    house.run("docker", "pause", *ids)
    time.sleep(25)
    house.run("docker", "unpause", *ids)
    wait_until(partial(has_more_alerts, house, told), 60)
    see_alerts(house, "Telegram was away, which is told once it is back", told, ["told late"], "Telegram")
    told, ids = len(house.alerts()), house.ids("healthwatch")
    house.run("docker", "pause", *ids)
    began = time.monotonic()
    wait_until(partial(has_more_alerts, house, told), 120)
    took = time.monotonic() - began
    house.run("docker", "unpause", *ids)
    wait_until(partial(has_more_alerts, house, told + 1), 60)
    seen = ["watch silent", "watch back"]
    see_alerts(house, f"healthwatch is frozen, and the bot says so (after {took:.0f} s)", told, seen, "healthwatch.py")
    house.compose("stop", "healthwatch")
    run = ("docker", "compose", "run", "--detach", "--no-deps", "--env", "OWNER_ID=", "healthwatch")
    unowned = house.run(*run).strip().splitlines()[-1]
    try:
        right = wait_until(partial(is_healthy, house, unowned), 40)
        house.see(right, "without an OWNER_ID it is healthy", "as it should")
        began = time.monotonic()
        house.run("docker", "stop", unowned)
        took, code = time.monotonic() - began, inspected(house, unowned)["State"]["ExitCode"]
        house.see(code == 0 and took < 20, "and ends when asked to", f"{took:.1f} s, exit code {code}")
    finally:
        house.run("docker", "rm", "--force", unowned)
    house.run("docker", "start", *house.ids("healthwatch"))
    house.talk("messages go on", "after the outages")


def inspected(house: House, container: str) -> Json:
    found: Json = json.loads(house.run("docker", "inspect", container))[0]
    return found


def is_healthy(house: House, container: str) -> bool:
    return bool(inspected(house, container)["State"]["Health"]["Status"] == "healthy")


def has_more_alerts(house: House, told: int) -> bool:
    return len(house.alerts()) > told


def see_alerts(house: House, what: str, told: int, kinds: list[str], *names: str) -> None:
    """These are all that came since, and each names what it is about. What comes too much comes soon."""
    time.sleep(4)
    found = house.alerts()[told:]
    right = [kind for kind, _ in found] == kinds and all(name in sent["text"] for _, sent in found for name in names)
    edits = sum(sent["edits"] for _, sent in found)
    seen = f"{', '.join(kind for kind, _ in found)}; {edits} edits"
    house.see(right, what, seen if right else [(kind, sent["text"]) for kind, sent in found])


def stores_lost(house: House) -> None:
    """Redis and Qdrant lose all they have: nothing that anyone wrote was there."""
    for service, volumes in VOLUMES.items():
        house.compose("rm", "--stop", "--force", service, "healthwatch")  # which looks at their volumes
        house.run("docker", "volume", "rm", *(f"{PROJECT}_{volume}" for volume in volumes))
        house.talk(f"{service} is gone with its data, and a message is answered", f"{service} is gone")
        took = house.up()
        house.see(not house.ill(), f"{service} comes back empty", house.ill() or f"{took:.1f} s")
        house.talk("messages go on", f"{service} is back")


def backups(house: House) -> None:
    """A backup, more messages, the backup put back; on this machine, on a new one, and with another key."""
    count, dump = "SELECT count(*) FROM inbox WHERE body IS NOT NULL", house.folder / "house.dump"
    house.run("sh", "docker/backup", str(dump))
    before, mode = len(house.alerts()), dump.stat().st_mode & 0o777
    house.see(mode == 0o600, "a backup is written for nobody else", f"{dump.stat().st_size >> 10} kB, mode {mode:o}")
    old = house.sql(count)
    house.talk("messages after the backup", "newer one", "newer two")
    began = time.monotonic()
    house.run("sh", "docker/restore", str(dump), seconds=120)
    took = time.monotonic() - began
    now, aside = house.sql(count), house.sql(count, "steward_before_restore")
    right = int(now) == int(old) == int(aside) - 2
    house.see(right, "the backup is put back", f"{old} messages then, {now} now, {aside} aside, {took:.1f} s")
    house.talk("chat goes on after it", "after restore")
    told = [sent["text"] for _, sent in house.alerts()[before:]]
    house.see(not told, "a restore is no news for the owner", told or "nothing told")
    house.compose("down", "--volumes")
    house.run("sh", "docker/restore", str(dump), seconds=120)
    now, sealed = house.sql(count), house.inside("bot", "python", "credentials.py", "list").strip()
    right = now == old and "Telegram" in sealed and not house.ill()
    house.see(right, "and on a new machine", f"{now} messages; {sealed.splitlines()[0]}")
    house.talk("where chat goes on", "on a new machine")
    other = house.folder / "other.env"
    other.touch(0o600)
    other.write_text(re.sub("(?m)^MASTER_KEY=.*", f"MASTER_KEY={'5eed' * 16}", (house.folder / ".env").read_text()))
    run = ("docker", "compose", "run", "--rm", "-T", "--no-deps", "bot")
    code, seen = house.attempt(*run, env={"COMPOSE_ENV_FILES": str(other)})
    lines = [line for line in seen.splitlines() if line.startswith("{")]
    said = [json.loads(line)["message"] for line in lines if json.loads(line)["level"] == "ERROR"]
    house.see(
        code == 2 and len(said) == 1, "with another master key the bot says so and ends", f"{code}, {said or seen}"
    )


def three_workers(house: House) -> None:
    took = house.up("--no-recreate", "--scale", "worker=3")
    number = len(house.containers()["worker"])
    house.see(number == 3 and not house.ill(), "three workers are healthy", house.ill() or f"{number}, {took:.1f} s")
    texts = [f"one of twelve, {number}" for number in range(12)]
    for first in range(0, 12, 2):
        house.say("alice", texts[first])
        house.say("bob", texts[first + 1])
    house.expect("Alice's six are answered in order", "alice", *texts[::2])
    house.expect("Bob's six are answered in order", "bob", *texts[1::2])


def tells_nothing(house: House) -> None:
    """No secret and nothing private in a log or a command line, and every line of the scripts is JSON."""
    kept = dict(re.findall(r"(?m)^(\w+)=(.+)$", (house.folder / ".env").read_text()))
    hidden = [kept[name] for name in SECRETS] + re.findall("made-?up[-\\w]+", (ROOT / DEMO).read_text(), re.IGNORECASE)
    logs = house.logs()
    for name in SCRIPTS:
        lines = [line for called, log in logs.items() if re.search(rf"\b{name}\b", called) for line in log.splitlines()]
        whole = [line for line in lines if isinstance(json.loads(line), dict)]  # or ValueError, which is a failure too
        house.see(lines and whole == lines, f"{name}: every line of the log is JSON", f"{len(lines)} lines")
    image = house.container("bot")["Config"]["Image"]
    shown = {"process list": house.compose("top"), "image": house.run("docker", "history", "--no-trunc", image)}
    for containers in house.containers().values():
        for found in containers:
            config = {name: value for name, value in found["Config"].items() if name != "Env"}
            shown[f"inspect {found['Name']}"] = json.dumps([config, found["Path"], found["Args"]])
    told = [place for place, text in {**logs, **shown}.items() if any(secret in text for secret in hidden)]
    size = sum(len(text) for text in logs.values()) >> 10
    house.see(
        not told, "no secret in a log, a command line or the image", told or f"{len(hidden)} secrets, {size} kB of logs"
    )
    told = [place for place, text in logs.items() if PRIVATE in text]
    house.see(not told, "nothing that people wrote is in a log", told or f"{len(logs)} logs")


def sizes(house: House) -> None:
    size = int(
        house.run("docker", "image", "inspect", "--format", "{{.Size}}", house.container("bot")["Config"]["Image"])
    )
    house.see(size < 800e6, "the image of the scripts, Claude Code in it", f"{size / 1e6:.0f} MB")
    form = "{{.Name}} {{.MemUsage}}"
    for line in house.compose("stats", "--no-stream", "--format", form).splitlines():
        name, used, _, limit = line.split()
        house.see(True, f"memory of {name}", f"{used} of {limit}")


def stops(house: House) -> None:
    began = time.monotonic()
    house.compose("stop")
    took = time.monotonic() - began
    codes = {name: [c["State"]["ExitCode"] for c in found] for name, found in house.containers().items()}
    right = not any(any(codes[name]) for name in (*SCRIPTS, "postgres", "redis"))
    right = right and not any(137 in found for found in codes.values()) and took < 25
    house.see(right, "the house stops", f"{took:.1f} s, exit codes {codes}")


STEPS: tuple[Callable[[House], None], ...] = (
    comes_up,
    chats,
    is_closed,
    networks,
    passwords,
    watch_sees,
    kills,
    any_order,
    outages,
    stores_lost,
    tells_nothing,
    backups,
    three_workers,
    sizes,
    tells_nothing,
    stops,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(dict.fromkeys(step.__name__ for step in STEPS))
    parser.add_argument("--only", default="", help=f"with commas between them: {', '.join(names[1:])}")
    wanted = {*filter(None, parser.parse_args().only.split(",")), "comes_up"}
    if unknown := wanted - {*names}:
        parser.error(f"there is no step {', '.join(unknown)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="steward-test-") as folder:
        house = House(Path(folder))
        try:
            prepare(house)
        except (Failed, OSError) as exc:
            print(exc)
            return 1
        return work_through(house, [step for step in STEPS if len(wanted) == 1 or step.__name__ in wanted])


def prepare(house: House) -> None:
    """A copy of what images are made of, and in it the .env that docker/up makes. Raises Failed."""
    if not shutil.which("docker"):
        raise Failed("There is no docker here: https://docs.docker.com/engine/install/")
    if house.attempt("docker", "info")[0] != 0 or house.attempt("docker", "compose", "version")[0] != 0:
        raise Failed("Docker does not answer, or has no Compose: there is nothing to test with.")
    for piece in (*PIECES, *(path.name for path in ROOT.glob("*.py"))):
        copy = shutil.copytree if (ROOT / piece).is_dir() else shutil.copy
        copy(ROOT / piece, house.folder / piece)
    house.run("sh", "docker/up", cwd=house.folder)
    mode = (house.folder / ".env").stat().st_mode & 0o777
    house.see(mode == 0o600, "docker/up writes an .env that only its owner can read", f"mode {mode:o}")
    services = json.loads(house.compose("config", "--format", "json"))["services"]
    name = services["bot"].get("container_name", f"{PROJECT}-bot-1")
    if house.attempt("docker", "container", "inspect", name)[0] == 0:
        raise Failed(f"There is a container {name} already; it is left alone, and nothing was started.")


def work_through(house: House, steps: list[Callable[[House], None]]) -> int:
    """All of them, whatever fails; then nothing of it is left."""
    began = time.monotonic()
    try:
        for step in steps:
            print(f"-- {step.__name__} (after {time.monotonic() - began:.0f} s)", flush=True)
            try:
                step(house)
            except (Failed, LookupError, ValueError) as exc:
                house.see(False, step.__name__, exc)
    except KeyboardInterrupt:
        house.see(False, "stopped from outside", "taking everything down")
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        house.take_down()
    seconds = f"{time.monotonic() - began:.0f} s"
    print(f"{house.failures} failed, {seconds}" if house.failures else f"all as it should be, {seconds}")
    return 1 if house.failures else 0


if __name__ == "__main__":
    sys.exit(main())
