# Two commands: `make run` shows Rotary at work, `make test` proves it. Both set up what they need.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
# Compiled modules are kept: otherwise each of the hundreds of processes that tests start compiles all of ours again.
unexport PYTHONDONTWRITEBYTECODE
BIN := .venv/bin
LOCK = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --quiet \
	--no-emit-package rotary --no-emit-package rotary-server

.PHONY: help run test coverage mutants faults bench screenshots check format setup lock

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: .venv/ready ## the demo: three real servers, a simulated dialer, a live monitor (Ctrl-C ends all of it)
	@$(BIN)/rotary-stack demo

test: .venv/ready ## every test, on real PostgreSQL, Redis and RabbitMQ
	@infra/in-memory $(BIN)/rotary-stack exec -- $(BIN)/pytest -m "not long" -n 5 --dist loadfile $(ARGS)

coverage: .venv/ready ## every test again, and which lines and branches of the product none of them runs (about 10 minutes)
	@$(BIN)/coverage erase
	@infra/in-memory $(BIN)/coverage run -m rotary_stack exec -- $(BIN)/pytest -m "not long" -n 5 --dist loadfile $(ARGS) || failed=$$?; \
	$(BIN)/coverage combine --quiet; $(BIN)/coverage report || failed=$${failed:-$$?}; exit $${failed:-0}

mutants: .venv/ready ## change the domain in every small way and see that a test notices (about 17 minutes)
	@cd tests && ../$(BIN)/python -m mutants $(ARGS)

faults: .venv/ready ## kill everything in turn, under load, and print what was lost: nothing (about 20 minutes)
	@$(BIN)/pytest tests/faults tests/integration/test_publisher_restart.py $(ARGS)

bench: .venv/ready ## measure against a bare server, a bare consumer, and what one writes in a day
	@cd tests && ../$(BIN)/rotary-stack exec -- ../$(BIN)/python -m benchmarks $(ARGS)

screenshots: .venv/ready ## pictures of the console's main states, into docs/screenshots (about 2 minutes)
	@cd tests && ../$(BIN)/rotary-stack exec --services -- ../$(BIN)/python -m browser.screenshots ../docs/screenshots

check: .venv/ready ## ruff, mypy --strict, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy tests
	@$(BIN)/lint-imports --no-cache

format: .venv/ready ## let ruff write the layout
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

setup: .venv/ready ## prepare .venv alone

.venv/ready: requirements.lock pyproject.toml services/pyproject.toml infra/setup
	@PYTHON=$(PYTHON) infra/setup

lock: .venv/ready ## resolve the lock files anew: ours, and what the image holds and is built with
	@$(BIN)/pip install --quiet uv
	@$(LOCK) services/pyproject.toml --extra stack --group pyproject.toml:dev --upgrade --output-file requirements.lock
	@$(LOCK) services/pyproject.toml --extra query --extra consumer --extra campaigns --extra console --extra admin \
		--constraint requirements.lock --output-file infra/images/requirements.prod.lock
	@echo hatchling | $(LOCK) - --constraint requirements.lock --output-file infra/images/requirements.build.lock
