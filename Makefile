# `make help` lists what there is. Needs Python 3.11 or newer and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Three times as many tests at once as there are processors: half of their time they wait.
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((3 * n)))
# What the app reads of its translations; compiled, and not in git.
CATALOGS := $(patsubst %.po,%.mo,$(wildcard webapp/translations/*/LC_MESSAGES/messages.po))

.DEFAULT_GOAL := help
.PHONY: help install demo run worker doctor test test-tls test-postgresql image-test check chaos scale-test list-mutants list-kills mutations bench strings lock clean

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

install: $(VENV)/app $(CATALOGS) ## install what the app needs, and start nothing

demo: $(VENV)/app $(CATALOGS) ## try it: the app and a simulated sipgate, on this machine only
	@$(BIN)/python -m webapp.demo

run: $(VENV)/app $(CATALOGS) ## the production server; settings from the environment or .env
	@$(BIN)/python -m webapp.server

worker: $(VENV)/app $(CATALOGS) ## a worker of its own, beside one or more `make run` (needs PostgreSQL)
	@$(BIN)/python -m webapp.worker

doctor: $(VENV)/app $(CATALOGS) ## look at settings, database, worker, sipgate, clock, disk and alerts once
	@$(BIN)/flask --app webapp doctor

# What each of many processes would compile anew if the environment forbade to keep it.
unexport PYTHONDONTWRITEBYTECODE

# A test commits to its database all the time, each time waiting for the disk: memory has none.
test test-tls test-postgresql chaos scale-test list-mutants list-kills mutations: export TMPDIR := $(or $(TMPDIR),$(wildcard /dev/shm),/tmp)

test: $(VENV)/dev $(CATALOGS) ## all tests; those that need a browser, npm or nginx are skipped where there is none
	$(BIN)/python -m pytest -n $(JOBS)

# What TLS can change: cookies, origins, headers, redirects, and the forms that depend on them.
TLS_TESTS := $(addprefix web/test_,access bad_input faults_pages headers members_apart questions \
		hardening used_forms) \
	$(addprefix messages/test_,attention changes reconcile releasing sending) account/test_own_number \
	signin/test_faults_login
test-tls: $(VENV)/dev $(CATALOGS) ## the tests of sign-in, forms and headers once more, with the app behind HTTPS
	TEST_PUBLIC_URL=https://sms.example $(BIN)/python -m pytest -n $(JOBS) \
		$(TLS_TESTS:%=tests/%.py) tests/browser --ignore tests/browser/test_every_page.py \
		--ignore tests/browser/test_counter.py --ignore tests/browser/test_outcomes.py \
		--ignore tests/browser/test_weight.py --ignore tests/browser/test_tasks.py \
		--ignore tests/browser/test_phone.py --ignore tests/browser/test_print.py

# What a database can change: all that stores or finds rows, and the forms and lists that show them.
# Not texts, numbers, times, headers, settings and the simulator, which know no database, and not the
# browser, which sees the same pages. What `make test` runs on both databases is not run again, nor
# tests/database, which starts a PostgreSQL itself. POSTGRESQL_TESTS=tests for all.
POSTGRESQL_TESTS ?= $(addprefix tests/,account jobs messages signin) \
	$(patsubst %,tests/web/test_%.py,export members_apart used_forms)
test-postgresql: $(VENV)/dev $(CATALOGS) ## the tests that a database can change, on a real PostgreSQL that pip brings
	TEST_DATABASE=postgresql $(BIN)/python -m pytest -n $(JOBS) -m "not npm" $(POSTGRESQL_TESTS)

image-test: ## build the Dockerfile with Debian's buildah, as root, run the image and look whether it works
	@$(PYTHON) -m tests.image

check: $(VENV)/dev $(CATALOGS) ## lint, format, types, translations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -k "test_sentences and catalog"

# SUBMISSIONS=500 KILLS=5 for a quick look.
SUBMISSIONS ?= 10000
KILLS ?= 30
SEED ?= 1
chaos: $(VENV)/dev $(CATALOGS) ## send under faults and kills, and compare with a ledger (docs/chaos.md; 25 minutes)
	@$(BIN)/python -m tests.chaos --submissions $(SUBMISSIONS) --kills $(KILLS) --seed $(SEED)

scale-test: SUBMISSIONS := 1300
scale-test: KILLS := 25
scale-test: $(VENV)/dev $(CATALOGS) ## the same with two servers, two workers and PostgreSQL (5 minutes)
	@$(BIN)/python -m tests.chaos --database postgresql --submissions $(SUBMISSIONS) --kills $(KILLS) --seed $(SEED)

list-mutants: $(VENV)/dev $(CATALOGS) ## read 2,000 spreadsheets that are damaged at random (LIST_MUTANTS; 5 minutes)
	LIST_MUTANTS=$(or $(LIST_MUTANTS),2000) $(BIN)/python -m pytest -q tests/lists/test_bombs.py -k damaged

list-kills: $(VENV)/dev $(CATALOGS) ## send a list of 5,000 through 38 kills, on both databases (LISTED; 10 minutes)
	LISTED=$(or $(LISTED),5000) $(BIN)/python -m pytest -q tests/processes/test_lists_killed.py -k rounds

mutations: $(VENV)/dev $(CATALOGS) ## remove the guards, one after the other: a test must notice each
	@$(BIN)/python -m tests.mutations

# BENCH=send,pages,lists,spreadsheet,crowd,worker,start chooses parts. On the disk, not in memory: commits wait for it.
BENCH ?=
bench: $(VENV)/dev $(CATALOGS) ## what sends, pages, crowds and long queues cost, as ratios (docs/benchmarks.md; 30 minutes)
	@$(BIN)/python -m tests.benchmarks --parts "$(BENCH)"

strings: $(VENV)/app ## bring the translations up to date with the sentences in webapp/ and templates/
	$(BIN)/pybabel --quiet extract -F pyproject.toml --no-location --sort-output -o $(VENV)/messages.pot .
	$(BIN)/pybabel --quiet update -i $(VENV)/messages.pot -d webapp/translations -w 100 --no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date

# With their extras: pip 23 takes `name[extra]`, asked for by another package, for unpinned if the lock
# has the bare name only.
lock: $(VENV)/dev ## pin the newest versions that fit requirements*.in
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras -o requirements.txt requirements.in
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras -c requirements.txt -o requirements-scale.txt requirements-scale.in
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras -c requirements-scale.txt -o requirements-dev.txt requirements-dev.in

clean: ## remove what the other targets made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache tests/npm/node_modules $(CATALOGS)

$(VENV)/app: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Team SMS needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

%.mo: %.po | $(VENV)/app
	$(BIN)/pybabel --quiet compile -i $< -o $@

$(VENV)/dev: requirements-dev.txt $(VENV)/app
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@
