# The desk's commands. PYTHON=python3.11 names the interpreter, PORT=8001 (or any setting) goes to the desk.
VENV ?= .venv
export VENV
# Where it is set (many images do), each process compiles all that it imports again: three times the CPU of a start.
unexport PYTHONDONTWRITEBYTECODE
BIN := $(VENV)/bin
INSTALL := $(or $(PYTHON),python3) requirements/install.py $(if $(PYTHON),--this-python)

.DEFAULT_GOAL := help
.PHONY: help run setup test test-all soak lint bench lock schema

help: ## these lines
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

run: ## install what is missing, prepare the database, serve on 127.0.0.1:8000
	@$(INSTALL) base
	@exec $(BIN)/python manage.py serve --prepare

setup: ## .venv with everything that tests, linters and benchmarks need
	@$(INSTALL) base dev

# A module is one worker's: it may share a desk. conftest.py says which begin first.
WORKERS := --dist loadfile --no-loadscope-reorder
# What no database can change: pages, the store, the model of the protocol, the words of answers and how good they are.
SAME_EVERYWHERE := browser model $(patsubst %,sessions_app/test_%.py,cache contract data faults lua many_servers memory \
	original_code redis_store stateful tls) $(patsubst %,supportdesk/test_%.py,fresh_clone readme schema settings \
	telemetry websockets without_model) $(patsubst %,agent_app/test_%.py,adding_a_tool agent backends desk_protocol \
	escalation evaluate gate injection knowledge language_model languages markdown model_turns protocol_document \
	shop_questions simulate tool_registry translations)

test: setup ## the suite but for the slow tests, on SQLite and a real Valkey
	$(BIN)/python -m pytest -n 3 $(WORKERS) -m "not slow"

test-all: setup ## every test, also in a browser, then on PostgreSQL; a test that cannot run fails
	REQUIRE_ALL=1 $(BIN)/python -m pytest -n 2 $(WORKERS)
	REQUIRE_ALL=1 tests/postgres.sh $(BIN)/python -m pytest -n 2 $(WORKERS) $(SAME_EVERYWHERE:%=--ignore=tests/%)

soak: setup ## faults over two instances, for SECONDS=600; SEED=… DATABASE=postgres
	$(BIN)/python -m tests.faults.driver --seconds $(or $(SECONDS),600) --database $(or $(DATABASE),sqlite) $(if $(SEED),--seed $(SEED))

lint: setup ## format, rules, types, import contracts, Django's checks, the API schema
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py check --fail-level WARNING
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py spectacular --validate --fail-on-warn --file /dev/null

BENCHMARKS := cleanup desk chat
bench: setup ## the benchmarks, one table each
	@for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name || exit 1; done

schema: setup ## print the API's OpenAPI schema
	@$(BIN)/python manage.py spectacular --validate --fail-on-warn

LOCK := $(abspath $(BIN))/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"
lock: setup ## renew the locks from requirements/*.in
	cd requirements && $(LOCK) base.in -o base.txt
	cd requirements && for name in $(filter-out base,$(basename $(notdir $(wildcard requirements/*.in)))); do \
		$(LOCK) -c base.txt $$name.in -o $$name.txt || exit 1; done
