# Every target works in .venv/, which it makes. `make` alone prints this help.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
BENCH ?=
ARCH ?= x86_64
UPGRADE ?= --upgrade
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock"

.DEFAULT_GOAL := help
.PHONY: help install demo serve store test test-minio check format bench bench-kernels bench-peers faults lambda-zip lambda-cold lock clean

help: ## Print this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

$(INSTALLED): requirements-dev.txt pyproject.toml handler/pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . -e ./handler
	@touch $@

install: $(INSTALLED) ## Make .venv/ with everything in it

demo: $(INSTALLED) ## Reduce sample data on a store of its own, compare with numpy, stop
	$(BIN)/python -m deploy.local.demo

serve: $(INSTALLED) ## The same store and service, kept running, with what to try next
	$(BIN)/python -m deploy.local.demo --serve

store: $(INSTALLED) ## Only the store, kept running on port 9000
	bin/store-run

test: $(INSTALLED) ## Run the tests
	$(BIN)/pytest

test-minio: $(INSTALLED) ## The live tests against the MinIO program that MINIO=path names: all clients, and its object lambda
	@test -n "$(MINIO)" || { echo "say which MinIO: make test-minio MINIO=path/to/minio" >&2; exit 2; }
	MINIO="$(MINIO)" $(BIN)/pytest tests/live -k minio

check: $(INSTALLED) ## Lint, formatting, import laws, types; changes nothing
	bin/check

format: $(INSTALLED) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(INSTALLED) ## Measure, and write docs/performance.md; BENCH="--quick" for a short run that writes nothing
	$(BIN)/python -m bench $(BENCH)

bench-kernels: $(INSTALLED) ## Time each kernel; BENCH=--benchmark-autosave, and after a change BENCH=--benchmark-compare
	$(BIN)/python -m pytest bench/kernels_here.py $(BENCH)

bench-peers: $(INSTALLED) ## Measure beside Reductionist, write docs/peers.md; says what is missing
	$(BIN)/python -m bench.peers $(BENCH)

faults: $(INSTALLED) ## Ask for every fault there is a test for, and write docs/faults.md
	$(BIN)/python -m tests.faults_page

lambda-zip: $(INSTALLED) ## Build build/lambda.zip, the AWS function; ARCH=arm64 for Graviton
	$(BIN)/python -m deploy.aws.package --arch $(ARCH)

lambda-cold: $(INSTALLED) ## Measure what importing the function costs, from its zip, in fresh processes
	$(BIN)/python -m deploy.aws.cold

lock: $(INSTALLED) ## Pin what both pyproject.toml name, anew; with UPGRADE= the pins stay, and only what they lack is added
	$(COMPILE) --group dev $(UPGRADE) --no-emit-package s3-active-storage --no-emit-package s3-active-storage-service \
	  -o requirements-dev.txt
	$(COMPILE) handler/pyproject.toml --extra server --no-emit-package s3-active-storage -c requirements-dev.txt -o requirements.txt
	$(COMPILE) --group lambda-image -c requirements-dev.txt -o requirements-lambda.txt

clean: ## Remove what the other targets made
	rm -rf $(VENV) build dist .benchmarks .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
