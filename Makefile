# Daybook: `make` or `make help` lists what there is to do.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?= -n 2 -q

# In a recipe; a relative one is below the project, as everywhere else.
HOME_DIR := $${DAYBOOK_HOME:-.daybook}

export DO_NOT_TRACK := 1
export SQL
# Each recipe's shell reads it first: .env, where there is one; what the environment or the command line
# says wins.
export BASH_ENV := $(CURDIR)/deploy/env.sh
export DBT_SEND_ANONYMOUS_USAGE_STATS := false

IN_CONTAINERS := $(addprefix compose-,up down down-volumes logs restart rebuild status psql prefect-psql exec)

.PHONY: help setup tools demo run test test-all faults coverage lint audit locks bench site up down restart status logs deploy psql reset \
    $(IN_CONTAINERS)

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 28

setup: $(VENV)/.ready $(BIN)/daybook $(if $(SPARK),$(VENV)/.spark) profiles.yml  ## all that is pinned, in .venv (SPARK=1: PySpark)

$(VENV)/.uv: requirements-setup.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	    || { echo "Daybook needs Python 3.11, 3.12 or 3.13 (dbt-core 1.11 runs on no later one):"; \
	    echo "  make setup PYTHON=/path/to/python3.13"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	    || { echo "Python's venv is missing. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# Compiled while it installs: dbt's first start costs two seconds less.
$(VENV)/.ready: requirements.lock $(VENV)/.uv
	@$(MAKE) --no-print-directory locks || true
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r $<
	@touch $@

# The command finds the project by its own place: no build, and it works from any folder. A line #! with
# this Python could have no blank, and not every length.
$(BIN)/daybook: $(VENV)/.uv Makefile
	@printf '%s\n' '#!/bin/sh' "'''exec' \"$(CURDIR)/$(BIN)/python\" \"\$$0\" \"\$$@\"" "'''" 'import sys' \
	    'sys.path.insert(0, "$(CURDIR)")' 'from flows.cli import main' 'sys.exit(main())' > $@
	@chmod +x $@

# PySpark alone: 480 MB that a day on one machine can do without. Java 17 comes from the machine.
$(VENV)/.spark: requirements-spark.lock $(VENV)/.ready
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r $<
	@touch $@

tools: $(VENV)/tools/.ready  ## tools that read what a day leaves, in a venv

$(VENV)/tools/.ready: requirements-tools.lock $(VENV)/.uv
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)/tools
	$(BIN)/uv pip install --quiet --python $(VENV)/tools/bin/python --require-hashes -r $<
	@touch $@

profiles.yml: | profiles.example.yml
	cp -n profiles.example.yml $@

demo: setup  ## three sample days through the whole flow
	$(BIN)/python -m loaders.warehouse start
	$(BIN)/python -m flows.backfill --days day1 day2 day3 --data tests/sample
	@$(MAKE) --no-print-directory site

run: setup  ## one day: make run DAY=day1 DATA=path/to/raw
	@test -n "$(DAY)" || { echo "Say which day: make run DAY=day1 DATA=path/to/raw"; exit 2; }
	$(BIN)/python -m flows.day --day "$(DAY)" $(if $(DATA),--data "$(DATA)") $(ARGS)

LEFT_OUT := browser or spark or stack or drawn or tools

test: setup  ## all but browser, spark, stack, drawn, tools: 9 min
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m "not ($(LEFT_OUT))"

# With REST=1 only those that test leaves out.
test-all: setup $(VENV)/.spark tools  ## all: needs chromium, chromium-driver, Java 17
	$(BIN)/python -m pytest $(PYTEST_ARGS) $(if $(REST),-m "$(LEFT_OUT)")

faults: setup  ## kills and cuts in chains (SEED=7 CHAINS=1: one)
	SEED="$(or $(SEED),1)" CHAINS="$(or $(CHAINS),99)" $(BIN)/python -m pytest -v tests/flow -k chain_of_faults

coverage: setup $(VENV)/.spark tools  ## which branches test-all goes through
	rm -f .coverage .coverage.*
	COVERAGE_FILE="$(CURDIR)/.coverage" $(BIN)/python -m coverage run -m pytest $(PYTEST_ARGS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --fail-under=0
	@$(BIN)/python -m coverage report --format=total

lint: setup  ## ruff, mypy, deptry, sqlfluff, and dbt's own parser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/deptry .
	@# the tests too, which may use what is for development only
	$(BIN)/deptry . --exclude '\.venv' --ignore DEP002,DEP004
	$(BIN)/sqlfluff lint --processes 2 --disable-progress-bar models
	$(BIN)/dbt --quiet parse \
	    --target-path "$${DBT_TARGET_PATH:-$(HOME_DIR)/dbt/target}" --log-path "$(HOME_DIR)/dbt/logs"

# Hashes hold what is fetched to the lock; what holds the lock is the commit.
locks:
	@! git rev-parse -q --verify HEAD >/dev/null 2>&1 || git diff --exit-code --stat HEAD -- '*.lock' \
	    || { echo "A lock is not as it was committed: look at git diff before you trust it."; exit 1; }

LOCKS = requirements.lock requirements-setup.lock $(if $(wildcard $(VENV)/.spark),requirements-spark.lock)

audit: setup locks  ## is what the locks say installed, what is newer
	$(BIN)/uv pip check --python $(BIN)/python
	@found=$$($(BIN)/uv pip sync --dry-run --require-hashes --python $(BIN)/python $(LOCKS) 2>&1); \
	    grep -q 'Would make no changes' <<< "$$found" || { echo "$$found"; \
	    echo "What is installed is not what the locks say: remove $(VENV), then make setup."; exit 1; }
	$(BIN)/uv pip list --outdated --python $(BIN)/python

bench: setup  ## ratios against plain Postgres, in one run
	$(BIN)/python -m benchmarks --record

site: setup  ## all pages; with tools also one of columns
	@$(BIN)/python -m flows.site

psql: setup  ## a prompt in the warehouse (SQL='select 1')
	@$(BIN)/python -m flows.psql $(if $(SQL),-c "$$SQL")

up:  ## warehouse, Prefect server, worker, deployments
down:  ## stop them; a run at work is ended and recorded
restart:  ## stop server and worker and start them again
logs:  ## the end of each log
up down restart logs: setup
	@$(BIN)/python -m flows.stack $@

status: setup  ## what runs, the last runs, who holds the warehouse
	@$(BIN)/python -m flows.stack status || true
	@$(BIN)/python -m flows.status

deploy: setup  ## send deployments to the server (NAME=: one)
	@$(BIN)/python -m flows.deploy $(NAME)

# DEV=1 runs this folder's code in the containers instead of the image's.
COMPOSE := docker compose -f deploy/compose.yaml $(if $(DEV),-f deploy/compose.dev.yaml)

deploy/.env:  # with passwords of its own, for its owner alone
	@umask 077; $(PYTHON) -c 'import re, secrets, sys; sys.stdout.write(re.sub(r"(?m)^(\w+_PASSWORD=)$$", \
	    lambda m: m[1] + secrets.token_hex(16), sys.stdin.read()))' < deploy/.env.example > $@

compose-up: DO = up -d  ## start the containers (DEV=1: this folder's code)
compose-down: DO = down  ## stop and remove them; the volumes stay
compose-down-volumes: DO = down --volumes  ## and throw away all that they hold (asks first)
compose-logs: DO = logs --tail 40  ## the end of each container's log
compose-restart: DO = restart prefect-server prefect-worker  ## restart Prefect's server and worker
compose-rebuild: DO = up -d --build  ## build the image anew and start what changed
compose-status: DO = ps --all  ## which containers run, and whether they are well
compose-psql: DO = exec db psql -U daybook daybook  ## a prompt in the containers' warehouse
compose-prefect-psql: DO = exec db psql -U daybook prefect  ## a prompt in Prefect's database
compose-exec: DO = exec prefect-worker $(or $(RUN),bash)  ## a command in the worker's container (RUN='…')
$(IN_CONTAINERS): BASH_ENV :=  # .env is not theirs
$(IN_CONTAINERS): deploy/.env
	@$(if $(findstring volumes,$@),$(call ASK,This deletes the containers' warehouse and Prefect's database.))
	@$(COMPOSE) $(DO)

# Asks before something is gone.
ASK = read -r -p "$(1) Type yes: " answer && [ "$$answer" = yes ] || { echo "Nothing was deleted."; exit 1; }

reset:  ## delete the embedded warehouse (asks first)
	@$(call ASK,This deletes $(HOME_DIR) with the embedded warehouse in it.)
	@test ! -x $(BIN)/python || $(BIN)/python -m flows.stack down
	@test ! -x $(BIN)/python \
	    || $(BIN)/python -c 'from loaders import server, warehouse; server.reset(warehouse.home())'
	rm -rf "$(HOME_DIR)"
