# Every target works in .venv/, which it makes, and to which it adds what it needs: `make demo` installs the service and
# a store, `make test` adds what the tests need, and so on. requirements.txt has the pins of the service, requirements/
# those that each other layer adds. `make` alone prints the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LAYERS := $(VENV)/layers
PINS := $(patsubst %,-c %,requirements.txt $(wildcard requirements/*.txt))
INSTALL := $(BIN)/uv pip install --python $(BIN)/python

# One process more than there are cores, since live tests wait for others, and eight at most: each of them starts a store
# and a service of its own.
PROCESSES = $(shell $(PYTHON) -c 'import os; print(min(8, 1 + (os.cpu_count() or 1)))')
PYTEST = $(BIN)/pytest -n $(PROCESSES) --dist worksteal --durations 10
TESTS ?=
BENCH ?=
ARCH ?= x86_64
UPGRADE ?= --upgrade
EXAMPLES ?= 500

.DEFAULT_GOAL := help
.PHONY: help install demo serve store test coverage test-long test-arrays test-minio check format bench bench-arrays bench-kernels bench-peers bench-scaling faults \
  docs dist lambda-zip lambda-cold lock clean

help: ## Print this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 15

# The layers of .venv/: a file in $(LAYERS) says that one is installed.

$(LAYERS)/uv: requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	@echo "Making $(VENV)/ with $$($(PYTHON) --version), and uv to install the rest"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@mkdir -p $(LAYERS) && touch $@

$(LAYERS)/demo: $(LAYERS)/uv requirements.txt requirements/demo.txt requirements/build.txt pyproject.toml handler/pyproject.toml
	@echo "Installing the service and a store: requirements.txt, requirements/demo.txt"
	@$(INSTALL) --require-hashes -r requirements.txt -r requirements/demo.txt
	@$(INSTALL) --quiet --no-deps --build-constraints requirements/build.txt -e . -e ./handler
	@touch $@

$(LAYERS)/test $(LAYERS)/bench $(LAYERS)/check $(LAYERS)/docs: $(LAYERS)/%: $(LAYERS)/demo requirements/%.txt
	@echo "Adding what $* needs: requirements/$*.txt"
	@$(INSTALL) --require-hashes -r requirements/$*.txt $(PINS)
	@touch $@

$(LAYERS)/check: $(LAYERS)/test $(LAYERS)/bench

install: $(LAYERS)/check $(LAYERS)/docs ## Make .venv/ with everything in it

# What a user runs

demo: $(LAYERS)/demo ## Reduce sample data on a store of its own, compare with numpy, stop
	@echo "Starting a store and the service, and reducing sample data"
	@$(BIN)/python -m deploy.local.demo

serve: $(LAYERS)/demo ## The same store and service, kept running, with what to try next
	@$(BIN)/python -m deploy.local.demo --serve

store: $(LAYERS)/demo ## Only the store, kept running on port 9000
	@bin/store-run

# What a developer runs

test: $(LAYERS)/test ## Run the tests; TESTS="tests/doors -k webhook" for some of them
	$(PYTEST) $(TESTS)

coverage: $(LAYERS)/test ## The same, with the branches that they cover, which must not become fewer
	$(PYTEST) --cov --cov-report=term:skip-covered --cov-report=html:build/coverage $(TESTS)

examples: $(LAYERS)/test ## Run the programs in docs/examples and the notebook, and compare them with plain xarray
	$(BIN)/python -m deploy.local.examples

examples-page: $(LAYERS)/test ## The same, and write docs/examples.md, the first lines of the README, the notebook and the pictures
	$(BIN)/python -m deploy.local.examples --write

test-long: $(LAYERS)/test ## The tests of drawn cases, with twice as many of them
	$(PYTEST) -m hypothesis --hypothesis-profile long $(TESTS)

test-minio: $(LAYERS)/test ## The live tests against the MinIO program that MINIO=path names: all clients, and its object lambda
	@test -n "$(MINIO)" || { echo "say which MinIO: make test-minio MINIO=path/to/minio" >&2; exit 2; }
	MINIO="$(MINIO)" $(BIN)/pytest tests/live -k minio

test-arrays: $(LAYERS)/test ## Judge random whole arrays by xarray: EXAMPLES containers of each kind, other ones in every run
	ARRAY_EXAMPLES=$(EXAMPLES) $(PYTEST) --hypothesis-profile=default tests/arrays

check: $(LAYERS)/check ## Lint, formatting, import laws, types; changes nothing
	bin/check

format: $(LAYERS)/check ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(LAYERS)/docs ## Write the client's API documentation to build/docs/
	$(BIN)/pdoc active_storage --docformat google --output-directory build/docs

bench: $(LAYERS)/bench ## Measure, and write docs/performance.md; BENCH="--quick" for a short run that writes nothing
	$(BIN)/python -m bench performance $(BENCH)

bench-kernels: $(LAYERS)/bench ## Measure the arithmetic alone, and write docs/kernels.md
	$(BIN)/python -m bench kernels $(BENCH)

bench-peers: $(LAYERS)/bench ## Measure beside Reductionist, and write docs/peers.md; says which programs are missing
	$(BIN)/python -m bench peers $(BENCH)

bench-arrays: $(LAYERS)/bench ## Measure whole arrays, and write docs/whole-arrays-speed.md; says which programs are missing
	$(BIN)/python -m bench whole-arrays-speed $(BENCH)

bench-scaling: $(LAYERS)/bench ## Measure one, two and four services, and write docs/scaling.md; needs nginx and root
	$(BIN)/python -m bench scaling $(BENCH)

faults: $(LAYERS)/test ## Ask for every fault there is a test for, and write docs/faults.md
	$(BIN)/python -m tests.faults_page

lambda-zip: $(LAYERS)/demo ## Build build/lambda.zip, the AWS function; ARCH=arm64 for Graviton
	$(BIN)/python -m deploy.aws.package --arch $(ARCH)

lambda-cold: $(LAYERS)/demo ## Measure what importing the function costs, from its zip, in fresh processes
	$(BIN)/python -m deploy.aws.cold

dist: $(LAYERS)/demo ## Build both distributions in dist/, with pinned build tools
	@rm -rf dist
	$(BIN)/uv build --python $(BIN)/python --all-packages --require-hashes --build-constraints requirements/build.txt --out-dir dist

lock: $(LAYERS)/uv ## Pin the newest of what both pyproject.toml name; with UPGRADE= the pins stay, and what they lack is added
	bin/lock $(UPGRADE)

clean: ## Remove what the other targets made
	rm -rf $(VENV) build dist .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
