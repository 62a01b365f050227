# The front doors. What is Python runs from .venv, which makes itself; up, backup and restore need Docker only.

PYTHON ?= python3
VENV := .venv/bin/python
PIP := $(VENV) -m pip install -qq --no-input --disable-pip-version-check --root-user-action=ignore

.PHONY: help demo test lint up backup restore compose-test bench fuzz recall soak

help:
	@echo "make demo    talk to the whole house here, without accounts or Docker"
	@echo "make test    run the tests, against real PostgreSQL and Redis"
	@echo "make lint    check style, format and types"
	@echo "make up      bring the whole house up with Docker, for real"
	@echo "make backup  write the database into a file; make restore FILE=... puts it back"
	@echo "make bench   measure what a message costs, beside its floors and other queues, in half an hour"
	@echo "make fuzz    feed eight readers of foreign input what nobody would write, a minute each"
	@echo "make recall  measure how well earlier turns are found again, in several languages"
	@echo "make soak    break everything at random for three minutes, and count"
	@echo "make compose-test  bring the house up with Docker and simulators, break it, and look into every container"

demo: .venv/installed
	@$(VENV) -m demo

# Most of the tests wait for something most of the time: several at once, whatever the number of cores.
test: .venv/installed
	@$(VENV) -m pytest -n 4

lint: .venv/installed
	@$(VENV) -m ruff check .
	@$(VENV) -m ruff format --check .
	@$(VENV) -m mypy .

up:
	@sh docker/up

backup:
	@sh docker/backup "$(FILE)"

restore:
	@sh docker/restore "$(FILE)"

compose-test: .venv/installed
	@$(VENV) -m tests.compose $(COMPOSE_TEST)

bench: .venv/bench-installed
	@$(VENV) -m bench $(BENCH)

fuzz: .venv/bench-installed
	@$(VENV) -m tests.fuzz $(FUZZ)

recall: .venv/installed
	@$(VENV) -m tests.recall $(RECALL)

soak: .venv/installed
	@$(VENV) -m tests.soak $(SOAK)

# Progress goes to stderr, and pip gets no stdin: both of the others belong to the demo.
.venv/installed: requirements.txt requirements-claude-code.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "Python 3.11 or newer is needed, '$(PYTHON)' is not; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "'$(PYTHON)' cannot make virtual environments; on Debian: apt install python3-venv" >&2; exit 1; }
	@echo "Setting up .venv, about a minute the first time:" >&2
	@echo "  1/2 virtual environment" >&2
	@$(PYTHON) -m venv .venv </dev/null >&2
	@echo "  2/2 packages of requirements-dev.txt" >&2
	@$(PIP) -r requirements-dev.txt </dev/null >&2
	@touch $@
	@echo "  done" >&2

.venv/bench-installed: .venv/installed requirements-bench.txt
	@echo "Adding the packages of requirements-bench.txt" >&2
	@$(PIP) -r requirements-bench.txt </dev/null >&2
	@touch $@
