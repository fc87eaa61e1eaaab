# The tasks of the project. `make` alone lists them. Each sees to what it needs: the virtual environment, the
# dependencies, the compiled copy; what is up to date is left alone.
#
#   VENV=.venv         the virtual environment     PYTHON=...         the Python to make it with
#   LOAD_VENV=.venv-load  that of locust and of servers to compare with
#   BUILD=build        where builds go             EXTRA_MYPYC=auto   1: insist on compiling, 0: do not compile
#   ARGS=...           passed on: make run ARGS="--port 9000", make test ARGS="-k cursor"

VENV ?= .venv
LOAD_VENV ?= .venv-load
BUILD ?= build
EXTRA_MYPYC ?= auto
ARGS ?=
export EXTRA_MYPYC

BIN := $(VENV)/bin
# A Python that is asked for has a stamp of its own, so that another one in the environment is noticed.
READY := $(VENV)/.ready$(if $(PYTHON),-$(subst /,-,$(PYTHON)))
LOAD_READY := $(LOAD_VENV)/.ready
COPY := $(if $(filter /%,$(BUILD)),$(BUILD),$(CURDIR)/$(BUILD))/compiled

# PYTHONSAFEPATH keeps `python -m`, here and in the processes that tests start, from taking the sources first.
FROM_SOURCES := PYTHONSAFEPATH=1 PYTHONPATH=
FROM_COPY := PYTHONSAFEPATH=1 PYTHONPATH="$(COPY)"
ifeq ($(filter auto 0 1,$(EXTRA_MYPYC)),)
$(error EXTRA_MYPYC is '$(EXTRA_MYPYC)': it takes auto, 1 or 0)
endif
ifeq ($(EXTRA_MYPYC),0)
AS_BUILT := $(FROM_SOURCES)
BUILT := $(READY)
else
AS_BUILT := $(FROM_COPY)
BUILT := compiled
endif

.DEFAULT_GOAL := help
.PHONY: help
help: ## list the tasks
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): pyproject.toml scripts/make_venv.sh
	@sh scripts/make_venv.sh "$(VENV)" "$(PYTHON)"
	@touch "$@"

.PHONY: setup
setup: $(READY) ## make the virtual environment and install what is needed

.PHONY: compiled
compiled: $(READY) ## bring the compiled copy in build/compiled up to date
	@$(FROM_SOURCES) $(BIN)/python scripts/compiled_copy.py "$(COPY)"

.PHONY: run
run: $(BUILT) ## start the broker: compiled where that can be done
	@$(AS_BUILT) exec $(BIN)/extra-broker $(ARGS)

.PHONY: test
test: $(BUILT) ## run the tests on what `make run` would run
	@$(AS_BUILT) $(BIN)/pytest $(ARGS)

.PHONY: test-interpreted
test-interpreted: $(READY) ## run the tests on the sources; without those that drive a browser
	@$(FROM_SOURCES) EXTRA_EXPECT=interpreted $(BIN)/pytest -m "not browser" $(ARGS)

.PHONY: test-compiled
test-compiled: ## run the tests on the compiled copy, which must compile; without those that drive a browser
	@$(MAKE) --no-print-directory compiled EXTRA_MYPYC=1
	@$(FROM_COPY) EXTRA_EXPECT=compiled $(BIN)/pytest -m "not browser" $(ARGS)

.PHONY: conformance
conformance: $(BUILT) ## run the tests of specifications, engines and endpoints
	@$(AS_BUILT) $(BIN)/pytest tests/conformance $(ARGS)

.PHONY: e2e
e2e: $(BUILT) ## run the tests that start a real extra-broker
	@$(AS_BUILT) $(BIN)/pytest -m "e2e and not browser" $(ARGS)

.PHONY: browser
browser: $(BUILT) ## run the tests that drive a real Chromium
	@$(AS_BUILT) $(BIN)/pytest -m browser $(ARGS)

.PHONY: coverage-own
coverage-own: $(READY) ## print how much of each module its own test file covers
	@$(FROM_SOURCES) $(BIN)/python scripts/coverage_own.py $(ARGS)

.PHONY: fmt
fmt: $(READY) ## format, and mend what can be mended
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

.PHONY: check check-format check-lint check-types
check: check-format check-lint check-types ## check format, lint and types
check-format: $(READY)
	@$(BIN)/ruff format --check
check-lint: $(READY)
	@$(BIN)/ruff check
check-types: $(READY)
	@$(FROM_SOURCES) $(BIN)/mypy
	@$(FROM_SOURCES) $(BIN)/pyright --pythonpath $(BIN)/python

$(LOAD_READY): pyproject.toml scripts/make_venv.sh
	@sh scripts/make_venv.sh "$(LOAD_VENV)" "$(PYTHON)" load
	@touch "$@"

.PHONY: bench
bench: $(BUILT) $(LOAD_READY) ## measure what the broker costs, beside others
	@$(AS_BUILT) EXTRA_LOAD_PYTHON="$(abspath $(LOAD_VENV))/bin/python" $(BIN)/python -m loadtest.bench $(ARGS)

.PHONY: loadtest
loadtest: $(BUILT) $(LOAD_READY) ## let users come and go for a minute, and see that nothing is lost
	@$(AS_BUILT) EXTRA_LOAD_PYTHON="$(abspath $(LOAD_VENV))/bin/python" $(BIN)/python -m loadtest.swarm $(ARGS)

.PHONY: clean
clean: ## remove what was built; the virtual environment stays
	@rm -rf $(BUILD) dist *.egg-info *.so .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage __pycache__
	@find broker extra scripts tests '(' -name '*.so' -o -name __pycache__ ')' -prune -exec rm -rf {} +
