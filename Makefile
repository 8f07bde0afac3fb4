# Works with GNU make 3.81. PYTHON= names the interpreter to start from, VENV= the folder to make.

VENV ?= .venv
PY = "$(VENV)/bin/python"
PYTEST = $(PY) -m pytest -q -p tests.no_grammars
PARTS = lint unit engines notebooks browser
export VENV
unexport PYTHONPATH
# Images for containers set it. Then every kernel and every test worker compiles the package anew.
unexport PYTHONDONTWRITEBYTECODE

ifndef PYTHON
PYTHON := $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& echo $$name && break; done)
endif
ifeq ($(PYTHON),)
PYTHON := python3
endif

.PHONY: help lab test lint unit engines notebooks twice solved mutants soak browser build protos bench crash
.PHONY: away sagas nights updates platforms random-mutants clean venv dev

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

lab: venv ## open your own copy in JupyterLab (ARGS=--tracked the repository's; others go on to it)
	@exec $(PY) -m labsvc lab $(ARGS)

test: dev ## run every check, as CI does, and say how long each part took
	@report=; failed=; \
	for part in $(PARTS); do \
		began=$$(date +%s); verdict=passed; \
		$(MAKE) --no-print-directory $$part || { verdict=FAILED; failed=1; }; \
		report="$$report$$(printf '\n  %-10s %4d s  %s' $$part $$(($$(date +%s) - began)) $$verdict)"; \
	done; \
	echo "$$report"; test -z "$$failed"

lint: dev ## style, format, types and the direction of imports
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	"$(VENV)/bin/lint-imports"

unit: dev ## the tests of the package, one wrong answer in three (ARGS=--all tries each)
	$(PY) tests/once_more.py unit $(ARGS)

engines: dev ## our broker and a real RabbitMQ held to one behaviour suite; calls through an nginx
	$(PY) tests/once_more.py engines

notebooks: dev ## run every notebook and compare its outputs with the stored ones
	$(PYTEST) -p no:cacheprovider -p no:hypothesispytest -n 5 --dist loadscope --nbval notebooks/*.ipynb \
		--nbval-sanitize-with tests/nbval.cfg --nbval-current-env --nbval-cell-timeout 60

twice: dev ## run every cell of every solution twice: both times as the stored output has it
	$(PY) tests/nbval_twice.py

mutants: dev ## take each fix out, one at a time: a notebook or a test must fail (ARGS= names some)
	$(PY) -m tests.mutations.run $(ARGS)

solved: dev ## check each solution in one kernel: all are solved, and nothing is left behind
	$(PY) -m tests.checks_in_a_row 1

soak: dev ## run all notebooks 20 times, every second time with both cores busy, and all checks 7 times
	$(PY) tests/soak.py
	$(PY) -m tests.checks_in_a_row

browser: dev ## the course in a real browser; skipped where there is no Chromium
	$(PY) tests/once_more.py browser

build: dev ## make the notebooks from notebooks/source
	$(PY) notebooks/build.py

protos: dev ## generate the stubs from protos/
	$(PY) protos/generate.py

bench: dev ## measure what the package costs, against the bare libraries (ARGS= names parts)
	$(PY) -m tests.bench.run $(ARGS)

crash: dev ## kill the broker 200 times under load, and look for what it lost
	CRASH_ROUNDS=200 $(PY) -m pytest -q tests/amqp/test_crash.py

away: dev ## strike etcd 50 times and release 20 times under load, and look for calls that failed
	FAULT_ROUNDS=50 $(PYTEST) tests/discovery/test_under_load.py
	RELEASES=20 $(PYTEST) tests/rpc/test_balance.py -k rolling_release

sagas: dev ## kill a saga's orchestrator and services 200 times under load: is an order half done?
	SAGA_ROUNDS=200 $(PYTEST) -s tests/delivery/test_saga_kills.py

nights: dev ## let each incident of the shop happen 10 times: is it seen, and can it be mended?
	NIGHTS=10 $(PYTEST) tests/incidents -k seen_and_mended

updates: dev ## kill the update of a learner's copy 200 times: is every answer still there?
	UPDATE_KILLS=200 $(PYTEST) tests/course -k killed_at_any_moment

random-mutants: dev ## put COUNT=60 faults into PACKAGE=rpc at random places: do the tests notice?
	$(PY) -m tests.mutations.random_mutants $(PACKAGE) --count $(or $(COUNT),60) \
		$(if $(SEED),--seed $(SEED))

platforms: dev ## resolve the lock from wheels alone, for every platform that the course knows
	$(PY) tests/platforms.py

clean: ## remove .venv and every cache
	rm -rf .venv .venv.lock build dist .mypy_cache .pytest_cache .ruff_cache
	rm -rf .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name .ipynb_checkpoints -type d -prune -exec rm -rf {} +

venv dev:
	@command -v "$(PYTHON)" >/dev/null || { \
		echo "Python 3.11 or later is needed, and PATH has no $(PYTHON)." >&2; \
		echo "Get it from https://www.python.org/downloads/ or name it: make lab PYTHON=..." >&2; \
		exit 1; }
	@"$(PYTHON)" bootstrap.py --quiet $(if $(filter dev,$@),--dev)
