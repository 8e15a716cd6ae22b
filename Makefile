# Needs Python >= 3.11, make, and a package registry. `make` lists the targets.
PYTHON ?= python3
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TEST_PROCESSES ?= 2
BENCHMARKS ?= speed views_speed waiting quality growth overhead checkpoint_overhead first_step load page

.DEFAULT_GOAL := help
.PHONY: help setup demo up test contract browser observability chaos fuzz mutants lint format bench docs docker-check lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

demo: $(READY) ## Train an encoder on real handwritten digits, through the whole service
	$(BIN)/moco demo

up: $(READY) ## Start the service on this machine
	$(BIN)/moco up

# Hypothesis draws the same examples in each run of `make test`; plain pytest draws new ones.
test: lint ## Check style, types, import contracts, and run every test
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --durations 10 \
		--hypothesis-profile ci

observability: $(READY) ## Run every query of dashboards and alerts on a real Prometheus, during a real training
	$(BIN)/python -m pytest -s -m observability tests/observability

contract: $(READY) ## Kill and resume each method with each encoder, ranks, and the pretend GPU (up to an hour)
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist worksteal --durations 10 \
		-m 'contract or not contract' tests/contract tests/benchmarks/suites/test_gpu.py

chaos: $(READY) ## Inject a thousand faults over hundreds of jobs (half an hour)
	$(BIN)/python -m pytest -m chaos tests
	$(BIN)/python -m tests.chaos

fuzz: $(READY) ## Send over ten thousand valid, broken and concurrent requests to the API (minutes)
	$(BIN)/python -m tests.fuzz

mutants: $(READY) ## Break a copy in more than 100 places, one at a time; a test must fail for each
	$(BIN)/python -m tests.mutants

lint: $(READY) ## Check style, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## Format the sources
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

browser: $(READY) ## Check every page in Chromium: both widths, both color schemes, and error states
	MOCO_SHOTS=$${MOCO_SHOTS:-$$(mktemp -d)} $(BIN)/python -m pytest tests/browser -m 'browser or not browser'

bench: $(READY) ## Run every benchmark, one after the other
	@set -e; for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m benchmarks $$name; done

docs: $(READY) ## Generate the references and the dashboards
	$(BIN)/python docs/generate.py

docker-check: ## Run the steps of the Dockerfiles in empty folders, without Docker
	$(PYTHON) docker/check.py docker/service.Dockerfile
	$(PYTHON) docker/check.py docker/worker.Dockerfile

setup: $(READY) ## Create the virtual environment from the locked requirements

# A venv, a pinned uv, the locked requirements, and this project on top. Where uv does not run,
# pip does the same, more slowly. `.ready` is touched last, so that an incomplete venv is completed.
$(READY): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mocoserve needs Python 3.11 or newer; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) || true
	if $(BIN)/uv --version; then \
		$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock && \
		$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	else \
		$(BIN)/python -m pip install --require-hashes -r requirements.lock && \
		$(BIN)/python -m pip install --no-deps --no-build-isolation -e .; \
	fi
	touch $(READY)

LOCK := $(BIN)/uv pip compile pyproject.toml --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --universal

lock: $(READY) ## Resolve the requirements again, with hashes
	$(LOCK) --extra worker --extra dev -o requirements.lock
	$(LOCK) --extra worker -c requirements.lock -o docker/worker.lock
	$(LOCK) -c requirements.lock -o docker/service.lock
	echo hatchling==1.29.0 | $(BIN)/uv pip compile - --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --universal -c requirements.lock -o docker/build.lock

clean: ## Remove the virtual environment and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
