# `make help` lists what there is. Needs Python 3.11 or newer and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two processes by default: enough to hide waiting, and what a small machine has.
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo run worker test test-tls check lock clean

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/app ## try it: the app and a simulated sipgate, on this machine only
	@$(BIN)/python -m webapp.demo

run: $(VENV)/app ## the production server; settings from the environment or .env
	@$(BIN)/python -m webapp.server

worker: $(VENV)/app ## a worker of its own, beside one or more `make run` (needs REDIS_URL)
	@$(BIN)/python -m webapp.worker

test: $(VENV)/dev ## all tests; those that need a browser or npm are skipped where there is none
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup

test-tls: $(VENV)/dev ## the tests once more, with the app behind HTTPS
	TEST_PUBLIC_URL=https://sms.example $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m "not npm"

check: $(VENV)/dev ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock: $(VENV)/dev ## pin the newest versions that fit requirements*.in
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url -o requirements.txt requirements.in
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url -c requirements.txt -o requirements-dev.txt requirements-dev.in

clean: ## remove what the other targets made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache tests/npm/node_modules

$(VENV)/app: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Team SMS needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

$(VENV)/dev: requirements-dev.txt $(VENV)/app
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@
