SHELL := /bin/bash
.DEFAULT_GOAL := help

UV_VERSION := 0.13.8
LABEL_STUDIO_VENV := .venv-label-studio
export PYTHONDONTWRITEBYTECODE :=
export TF_CPP_MIN_LOG_LEVEL ?= 2
PYTHON := .venv/bin/python
DATA ?=

.PHONY: help setup demo up down status clean test test-fast bench lint format pictures lock

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/.installed $(LABEL_STUDIO_VENV)/.installed ## install everything into the project folder

demo: setup ## turn the loop from nothing to several promoted models (DATA=PATH: on real DeepPCB boards)
	@$(PYTHON) -m demo $(if $(DATA),--data "$(DATA)")

up: setup ## start everything and print where it is and how to log in
	@$(PYTHON) -m services up

down: ## stop exactly what was started
	@if test -x $(PYTHON); then $(PYTHON) -m services down; else echo "nothing was ever started here"; fi

status: ## what runs, and what each job does
	@if test -x $(PYTHON); then $(PYTHON) -m services status; else echo "nothing was ever started here"; fi

clean: down ## stop everything and forget all data; the installed environments stay
	@test ! -x $(PYTHON) || $(PYTHON) -m services clean

test: setup ## every test, with real servers
	@$(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: setup ## the tests that need no server
	@$(PYTHON) -m pytest -m "not slow" -n 2

bench: setup ## a short version of every benchmark, and what the full ones reached (DATA=PATH: a clone of DeepPCB)
	@$(PYTHON) -m benchmarks $(if $(DATA),"$(DATA)")

lint: setup ## style, formatting, types, the direction of imports
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && \
	PYTHONPATH=plugins .venv/bin/lint-imports --no-logo --cache-dir .cache/import-linter

format: setup ## put the code into form
	@.venv/bin/ruff check --fix . ; .venv/bin/ruff format .

pictures: setup ## draw the pictures of docs/ again; those of a loop from a running deployment (make demo)
	@$(PYTHON) -m demo.pictures

lock: ## resolve the dependencies anew
	@uv=$$(bin/find-uv $(UV_VERSION)) && options="--universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-header --quiet" && \
	$$uv pip compile pyproject.toml --extra dev --extra cluster $$options --output-file requirements.lock && \
	$$uv pip compile docker/label-studio/requirements.in $$options --output-file docker/label-studio/requirements.lock && \
	$$uv pip compile benchmarks/requirements.in --constraint requirements.lock $$options --output-file benchmarks/requirements.lock

.venv/.installed: requirements.lock pyproject.toml
	@uv=$$(bin/find-uv $(UV_VERSION)) && python=$$(bin/find-python) && echo "Installing Ratchet's environment into .venv (once) ..." && \
	$$uv venv --quiet --allow-existing --python $$python .venv && \
	$$uv pip sync --quiet --python $(PYTHON) --compile-bytecode --require-hashes requirements.lock && \
	$$uv pip install --quiet --python $(PYTHON) --no-deps --no-build-isolation --editable . && touch $@

$(LABEL_STUDIO_VENV)/.installed: docker/label-studio/requirements.lock
	@uv=$$(bin/find-uv $(UV_VERSION)) && python=$$(bin/find-python) && echo "Installing Label Studio into an environment of its own (once) ..." && \
	$$uv venv --quiet --allow-existing --python $$python $(LABEL_STUDIO_VENV) && \
	$$uv pip sync --quiet --python $(LABEL_STUDIO_VENV)/bin/python --compile-bytecode --require-hashes docker/label-studio/requirements.lock && touch $@
