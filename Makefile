# Two commands: `make run` shows Rotary at work, `make test` proves it. Both set up what they need.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help run test check format setup lock

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: .venv/ready ## the demo: three real servers, a simulated dialer, a live monitor (Ctrl-C ends all of it)
	@$(BIN)/rotary-stack demo

test: .venv/ready ## every test, on real PostgreSQL, Redis and RabbitMQ
	@$(BIN)/rotary-stack exec -- $(BIN)/pytest $(ARGS)

check: .venv/ready ## ruff, mypy --strict, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: .venv/ready ## let ruff write the layout
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

setup: .venv/ready ## prepare .venv alone

.venv/ready: requirements.lock pyproject.toml infra/setup
	@PYTHON=$(PYTHON) infra/setup

lock: .venv/ready ## resolve requirements.lock anew
	@$(BIN)/pip install --quiet uv
	@$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --extra stack --group dev \
		--generate-hashes --no-emit-index-url --no-header --quiet --upgrade --output-file requirements.lock
