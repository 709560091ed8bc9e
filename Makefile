# Shortcuts for the commands of CONTRIBUTING. Arguments: make unit ARGS="-k loss", make bench ARGS="--show leaderboard"
SHELL := bash
ENV := source scripts/environment &&
export OMP_NUM_THREADS ?= 1

.PHONY: setup fmt lint types docs unit contract test bench

setup:            # makes or updates .venv
	$(ENV) python --version
fmt:
	$(ENV) ruff format && ruff check --fix
lint:
	$(ENV) ruff format --check && ruff check
types:
	$(ENV) mypy
docs:
	$(ENV) mkdocs build --quiet --strict
unit:
	$(ENV) pytest tests/unit $(ARGS)
contract:
	$(ENV) pytest tests/contract $(ARGS)
test:             # everything that must pass before a merge
	scripts/test $(ARGS)
bench:            # lists the tables of the guide; ARGS="--run TABLE" measures one
	$(ENV) python scripts/bench/record.py $(ARGS)
