# Every target but help and clean makes .venv first, and leaves it alone while it is current.

VENV_PYTHON := .venv/bin/python
BENCH_ARGS ?=
SOAK_SECONDS ?= 60
SOAK_SEED ?= 1000

.PHONY: help demo test soak check bench clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\): *## /make \1	/p' Makefile | expand -t 14

demo: ## run the main job on real data, and check what came out
	@.ci/setup.sh
	@$(VENV_PYTHON) docs/demo.py

test: ## run the tests, with MariaDB and other languages, which it installs where they are missing
	@.ci/setup.sh mariadb languages
	@$(VENV_PYTHON) -m pytest -n logical --dist worksteal

soak: ## let devices sync under load, and in made-up orders, for SOAK_SECONDS=60 each; from SOAK_SEED
	@.ci/setup.sh mariadb
	@SYNCSESSION_SOAK_SECONDS=$(SOAK_SECONDS) SYNCSESSION_SOAK_SEED=$(SOAK_SEED) \
		$(VENV_PYTHON) -m pytest -s tests/scenarios/test_under_load.py \
		tests/scenarios/test_concurrent_devices.py tests/properties/test_convergence.py \
		tests/properties/test_rules.py

check: ## lint, check the format, the types and the generated reference
	@.ci/setup.sh
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m mypy
	$(VENV_PYTHON) docs/generate.py --check

bench: ## measure; BENCH_ARGS="push --rows 1000 --runs 1" chooses what
	@.ci/setup.sh
	@$(VENV_PYTHON) -m benchmarks $(BENCH_ARGS)

clean: ## remove .venv, caches and builds
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis tests/programs/node_modules
	find . -name .git -prune -o -name __pycache__ -prune -exec rm -rf {} +
