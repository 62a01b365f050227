"""The house as its code shows it: every arrow points down, and every outside thing has one owner."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(path.stem for path in ROOT.glob("*.py"))
MODULES = sorted(f"lib.{path.stem}" for path in (ROOT / "lib").glob("*.py") if path.stem != "__init__")
TABLES = ["offsets", "chats", "inbox", "history", "outbox", "audit", "alerts"]
TABLES += ["key_check", "credentials", "processes", "parts", "allowed", "unindexed"]
DOORS = ["claude_api", "claude_code"]  # ways to Claude, behind one face: lib/claude.py
OUTSIDE = ["telegram", "claude", *DOORS, "bell", "slack", "clickup", "google", "qdrant", "memory"]
# Steps that several scripts share: they stand above tables and outside systems, and commit around what they ask.
SHARED = ["preview", "attachments", "delivery", "keyring", "refresh", "caretaker", "pulse", "reports", "lookout"]
SHARED += ["recollection", "commands"]
TALKING = ["setup_google", "credentials", "memory"]  # scripts that a person runs in a terminal

# What each outside package is to us, and the one file that may know it.
OWNERS = {
    "psycopg2": ["lib.db"],
    "requests": ["lib.google", "lib.telegram", "lib.web"],
    "telebot": ["lib.telegram"],
    "telegramify_markdown": ["lib.markdown"],
    "pyromark": ["lib.markdown"],
    "redis": ["lib.bell"],
    "Crypto": ["lib.vault"],
    "google_auth_oauthlib": ["lib.google"],
    "oauthlib": ["lib.google"],
    "anthropic": ["lib.claude_api"],
    "httpx2": ["lib.claude_api"],
    "claude_agent_sdk": ["lib.claude_program"],
    "dotenv": ["lib.config"],
    "pythonjsonlogger": ["lib.log"],
    "schedule": ["healthwatch"],
    "qdrant_client": ["lib.memory"],
    "snowballstemmer": ["lib.terms"],
}
SQL = re.compile(
    r"\s*(SELECT\b|INSERT\s+INTO\b|UPDATE\s+\w+\s+SET\b|DELETE\s+FROM\b|WITH\s+\w+\s+AS\b|CREATE\s|ALTER\s|DROP\s|BEGIN$"
    r"|COMMIT$|ROLLBACK$)"
)


def path_of(module: str) -> Path:
    return ROOT / (module.replace(".", "/") + ".py")


def tree_of(module: str) -> ast.Module:
    return ast.parse(path_of(module).read_text(), module)


def names_imported(module: str) -> set[str]:
    """Everything a module imports, wherever in it; for lib its files: `from lib import log` is lib.log."""
    found = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            if node.module == "lib":
                found |= {f"lib.{alias.name}" for alias in node.names}
            else:
                found.add(node.module or "")
    return found


def ours(module: str) -> set[str]:
    return {name for name in names_imported(module) if name.startswith("lib.") or name in SCRIPTS}


def below(module: str) -> set[str]:
    """All of our files that importing this module loads."""
    found: set[str] = set()
    open_ends = [module]
    while open_ends:
        for name in ours(open_ends.pop()) - found:
            found.add(name)
            open_ends.append(name)
    return found


def texts(module: str) -> list[str]:
    """Its text constants, without the docstrings."""
    tree = tree_of(module)
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value if isinstance(node.value, str) else node.value.decode("latin-1")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and id(node) not in docs
    ]


def test_the_house_is_where_these_tests_look():
    assert {"bot", "worker", "healthwatch", *TALKING} <= set(SCRIPTS)
    assert {f"lib.{name}" for name in TABLES + OUTSIDE} <= set(MODULES)
    assert len(MODULES) >= 17


@pytest.mark.parametrize("module", SCRIPTS + MODULES)
def test_no_file_imports_a_script(module):
    assert not names_imported(module) & set(SCRIPTS)


@pytest.mark.parametrize("module", SCRIPTS + MODULES)
def test_nothing_is_imported_by_a_star_or_by_its_name_in_a_string(module):
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ImportFrom):
            assert "*" not in [alias.name for alias in node.names]
        if isinstance(node, ast.Name):
            assert node.id != "__import__"
    assert "importlib" not in names_imported(module)


@pytest.mark.parametrize("module", SCRIPTS + MODULES)
def test_whatever_of_ours_is_imported_exists(module):
    assert not [name for name in ours(module) if not path_of(name).is_file()]


@pytest.mark.parametrize("table", TABLES)
def test_a_table_file_knows_neither_its_neighbours_nor_the_world_outside(table):
    neighbours = {f"lib.{name}" for name in TABLES + OUTSIDE if name != table}
    assert not below(f"lib.{table}") & neighbours


@pytest.mark.parametrize("module", [module for module in MODULES if module.removeprefix("lib.") not in SHARED])
def test_only_scripts_and_shared_steps_know_the_shared_steps(module):
    assert not below(module) & {f"lib.{name}" for name in SHARED}


@pytest.mark.parametrize("outside", OUTSIDE)
def test_an_outside_file_knows_no_table_and_no_other_outside(outside):
    others = {f"lib.{name}" for name in TABLES + OUTSIDE if name != outside}
    allowed = {
        "claude": {"lib.history"},
        "memory": {"lib.history"},
        **{key: {"lib.history", "lib.claude"} for key in DOORS},
    }
    assert below(f"lib.{outside}") & others <= allowed.get(outside, set())


@pytest.mark.parametrize("module", ["lib.claude", *(f"lib.{door}" for door in DOORS)])
def test_of_the_history_claude_takes_only_what_a_turn_is(module):
    taken = [
        alias.name
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.ImportFrom) and node.module == "lib.history"
        for alias in node.names
    ]
    assert set(taken) <= {"Turn"}


@pytest.mark.parametrize("module", MODULES)
def test_there_are_no_circles(module):
    assert module not in below(module)


@pytest.mark.parametrize("package", OWNERS)
def test_an_outside_package_has_one_owner(package):
    users = [
        module
        for module in SCRIPTS + MODULES
        if any(name == package or name.startswith(package + ".") for name in names_imported(module))
    ]
    assert users == OWNERS[package]


def test_only_the_worker_pays_for_claude():
    for name in ("lib.claude", *(f"lib.{door}" for door in DOORS)):
        users = {module for module in SCRIPTS + MODULES if name in names_imported(module)}
        # lib.claude_program is no part of any script: the door to a plan runs it as a process of its own.
        assert users - {f"lib.{door}" for door in DOORS} - {"lib.claude_program", "lib.attachments"} == {"worker"}
        assert [script for script in SCRIPTS if name in below(script)] == ["worker"]
    assert not [module for module in SCRIPTS + MODULES if "lib.claude_program" in below(module)]


def test_qdrant_is_loaded_only_where_something_is_remembered():
    users = {module for module in SCRIPTS + MODULES if "lib.memory" in names_imported(module)}
    assert users == {"lib.recollection"}
    assert {script for script in SCRIPTS if "lib.recollection" in below(script)} <= {"worker", "memory"}


def test_every_package_used_is_named_in_the_requirements():
    needed = {
        name.split(".")[0]
        for module in SCRIPTS + MODULES
        for name in names_imported(module)
        if name.split(".")[0] not in sys.stdlib_module_names | {"lib", *SCRIPTS}
    }
    assert needed == set(OWNERS)


def test_only_the_settings_read_the_environment():
    readers = []
    for module in SCRIPTS + MODULES:
        for node in ast.walk(tree_of(module)):
            used = node.attr if isinstance(node, ast.Attribute) else node.name if isinstance(node, ast.alias) else ""
            if used in (
                "environ",
                "environb",
                "getenv",
                "getenvb",
                "putenv",
                "unsetenv",
                "dotenv_values",
                "load_dotenv",
            ):
                readers.append(module)
    assert set(readers) == {"lib.config"}


def test_sql_stands_only_in_the_table_files_and_beside_the_connection():
    allowed = {"lib.db", *(f"lib.{table}" for table in TABLES)}
    speaking = {module for module in SCRIPTS + MODULES if any(SQL.match(text) for text in texts(module))}
    assert speaking - allowed == set()
    assert speaking == allowed, "an owner without SQL: is the pattern still right?"


@pytest.mark.parametrize("module", SCRIPTS + MODULES)
def test_no_sql_is_put_together_from_values(module):
    """Values travel as parameters: no f-string, no format(), no % and no + makes a statement."""
    for node in ast.walk(tree_of(module)):
        pieces: list[ast.expr] = []
        if isinstance(node, ast.JoinedStr):
            pieces = node.values[:1]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add):
            pieces = [node.left]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
            pieces = [node.func.value]
        for piece in pieces:
            if isinstance(piece, ast.Constant) and isinstance(piece.value, str):
                assert not SQL.match(piece.value), f"{module}:{piece.lineno}"


@pytest.mark.parametrize("table", TABLES)
def test_a_table_has_one_owner(table):
    """Whoever names a table in SQL is its file; only inbox and outbox may read others, on the way to Claude."""
    writing, reading = rf"\b(INTO|UPDATE|DELETE\s+FROM)\s+{table}\b", rf"\b(FROM|JOIN)\s+{table}\b"

    readers = {"chats": {"lib.inbox", "lib.outbox"}, "outbox": {"lib.inbox"}}

    def users(pattern: str) -> set[str]:
        return {name for name in SCRIPTS + MODULES if any(re.search(pattern, text) for text in texts(name))}

    assert users(writing) == {f"lib.{table}"}
    assert users(reading) - {f"lib.{table}"} == readers.get(table, set())


def test_every_table_of_the_schema_has_its_file():
    made = re.findall(
        r"^CREATE (?:UNLOGGED )?TABLE IF NOT EXISTS (\w+)", (ROOT / "schema.sql").read_text(), re.MULTILINE
    )
    assert sorted(made) == sorted(TABLES)


@pytest.mark.parametrize("module", SCRIPTS + MODULES)
def test_no_file_of_lib_commits_but_the_connection_and_the_shared_steps(module):
    calls = {
        node.func.attr
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    if module.startswith("lib.") and module not in ("lib.db", *(f"lib.{name}" for name in SHARED)):
        assert not calls & {"commit", "transaction", "statement", "insist"}
    printing = "print" in [node.id for node in ast.walk(tree_of(module)) if isinstance(node, ast.Name)]
    assert not printing or module in ("lib.log", *TALKING)


@pytest.mark.parametrize("module", ["lib", *SCRIPTS, *MODULES])
def test_every_file_says_what_it_is_for(module):
    path = ROOT / "lib" / "__init__.py" if module == "lib" else path_of(module)
    doc = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert len(doc.splitlines()[0]) > 20
    assert doc.rstrip().endswith(".")


@pytest.mark.parametrize("module", SCRIPTS)
def test_a_script_runs_only_when_it_is_the_program(module):
    last = tree_of(module).body[-1]
    assert isinstance(last, ast.If)
    assert ast.unparse(last) == "if __name__ == '__main__':\n    sys.exit(main())"


# What Python itself does while it imports is not ours: reading files, making none.
IMPORT = """
import json, logging, os, signal, sys, threading

seen = []
def watch(event, args):
    if event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        seen.append(f"open {args[0]}")
    elif event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.fork", "os.putenv"):
        seen.append(event)
    elif event in ("os.remove", "os.rename", "os.mkdir", "os.system"):
        seen.append(event)

before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)]
hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
environment = dict(os.environ)
sys.addaudithook(watch)
__import__(sys.argv[1])
print(json.dumps({
    "seen": seen,
    "threads": threading.active_count(),
    "handlers": len(logging.root.handlers),
    "level": logging.root.level,
    "signals": before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)],
    "hooks": hooks == (sys.excepthook, threading.excepthook, sys.unraisablehook),
    "environment": environment == dict(os.environ),
    "claude": "anthropic" in sys.modules,
}))
"""


def after_import(module: str, folder: Path) -> tuple[dict[str, object], str]:
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, module], env=environment, cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    *printed, found = done.stdout.splitlines()
    assert printed == []
    return json.loads(found), done.stderr


@pytest.mark.parametrize("module", SCRIPTS + MODULES)
def test_importing_a_file_only_defines_things(module, tmp_path):
    found, stderr = after_import(module, tmp_path)
    assert stderr == ""
    assert list(tmp_path.iterdir()) == []
    assert found == {
        "seen": ["os.putenv"] if module == "lib.memory" else [],  # numpy's, which takes it back at once
        "threads": 1,
        "handlers": 0,
        "level": 30,
        "signals": True,
        "hooks": True,
        "environment": True,
        "claude": module in ("worker", "lib.claude_api"),
    }
