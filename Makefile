# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test check debian bench lock clean

help:  ## show the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1\t/' | expand -t 16

setup: $(VENV)/.installed  ## create .venv with argosy and everything it needs

$(VENV)/.installed: requirements.lock pyproject.toml tools/setup.sh
	@PYTHON="$(PYTHON)" sh tools/setup.sh $(VENV)
	@touch $@

demo: setup  ## run Bookinfo in a mesh on this machine, until Ctrl-C
	@exec $(BIN)/argosy demo

check: setup  ## format, lint, types, layers, unit and golden tests (under a minute)
	$(BIN)/ruff format --check src tests samples bench
	$(BIN)/ruff check src tests samples bench
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -n 2 -m "not e2e and not envoy"

debian: setup  ## unpack Prometheus and Redis into .venv, for the tests that need the real ones
	@sh tools/debian.sh $(VENV)/debian

test: debian check  ## everything: check, then every test with real Envoys
	$(BIN)/pytest -q -n 4 --dist loadfile -m "e2e or envoy"

bench: setup  ## measure, and rewrite docs/benchmarks.md
	$(BIN)/python -m bench

lock:  ## write requirements.lock anew from pyproject.toml
	uv pip compile -q --upgrade --universal --python-version 3.11 --group dev --generate-hashes --no-emit-index-url pyproject.toml -o requirements.lock

clean:  ## remove .venv and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
