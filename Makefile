# Needs make and a Python 3.11 or newer; brings everything else, uv included. Nothing outside this folder and
# the user's cache folders is touched. Works from anywhere with `make -C`, in paths with spaces, without root.

UV_PIN := 0.13.9
UV_OLDEST := 0.9.0
PYTHON ?= python3
PYTEST_FLAGS ?= -n auto --dist worksteal

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

# uv: the one on PATH if it is new enough, else one of our own below .tools. Paths here are relative on purpose:
# make cannot handle spaces in targets.
OWN_UV := .tools/uv-$(UV_PIN)/bin/uv
UV = "$$(cat .tools/uv-path)"

.PHONY: help
help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

.PHONY: uv
uv:
	@mkdir -p .tools; if found="$$(command -v uv)" && "$$found" --version 2>/dev/null | awk -v oldest="$(UV_OLDEST)" \
	    '{split($$2, at, "."); split(oldest, o, "."); exit !(at[1] > o[1] || (at[1] == o[1] && at[2] >= o[2]))}'; then \
	    printf '%s' "$$found" > .tools/uv-path; \
	else \
	    $(MAKE) --no-print-directory "$(OWN_UV)" && printf '%s' "$$(pwd)/$(OWN_UV)" > .tools/uv-path; \
	fi

$(OWN_UV):
	@$(PYTHON) -c '' || { echo "make: no '$(PYTHON)' here; install Python 3.11 or newer, or: make PYTHON=/path/to/python3" >&2; exit 2; }
	@rm -rf ".tools/uv-$(UV_PIN)"
	@if $(PYTHON) -m venv ".tools/uv-$(UV_PIN)" >/dev/null 2>&1; then \
	    ".tools/uv-$(UV_PIN)/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$(UV_PIN)"; \
	elif $(PYTHON) -m pip --version >/dev/null 2>&1; then \
	    rm -rf ".tools/uv-$(UV_PIN)" && \
	    $(PYTHON) -m pip install --quiet --disable-pip-version-check --target ".tools/uv-$(UV_PIN)" "uv==$(UV_PIN)"; \
	else \
	    rm -rf ".tools/uv-$(UV_PIN)"; \
	    echo "make: $(PYTHON) has neither venv nor pip: install python3-venv (Debian, Ubuntu), or uv, and try again" >&2; exit 2; \
	fi
	@test -x "$(OWN_UV)"

.PHONY: python
python: uv
	@$(UV) python find --no-project '>=3.11' >/dev/null 2>&1 || { \
	    echo "make: no Python 3.11 or newer here ($$($(PYTHON) --version 2>&1)). uv now tries to download one; where that" >&2; \
	    echo "make: is not possible, install Python 3.11 or newer and try again" >&2; \
	    $(UV) python install '>=3.11'; }

.PHONY: sync
sync: python
	@$(UV) sync --quiet --frozen --inexact --no-dev --extra all

.PHONY: setup
setup: python ## Everything for working on exitdrill: environment with all extras, Azurite
	@$(UV) sync --quiet --frozen --all-extras --group bench
	@$(UV) run --no-sync python -m exitdrill.emulator

.PHONY: drill
drill: sync ## Run the rehearsal drill: Azurite, a local vault, SeaweedFS; and verify its evidence
	@$(UV) run --no-sync python -m exitdrill.emulator >/dev/null
	@status=0; $(UV) run --no-sync exitdrill run drills/rehearsal.yaml || status=$$?; \
	$(UV) run --no-sync exitdrill verify last --key "$${XDG_CONFIG_HOME:-$$HOME/.config}/exitdrill/machine.pem.pub" && \
	exit $$status

.PHONY: test
test: setup ## Every test, with coverage
	@$(UV) run --no-sync pytest $(PYTEST_FLAGS) --cov --cov-report=term:skip-covered

.PHONY: bench
bench: python ## Compare with rclone, AzCopy and the SDKs, in short
	@$(UV) sync --quiet --frozen --all-extras --group bench
	@$(UV) run --no-sync python -m bench $(BENCH_FLAGS)

.PHONY: bench-full
bench-full: python ## The same with all the data and repeats; writes bench-full.json
	@$(UV) sync --quiet --frozen --all-extras --group bench
	@$(UV) run --no-sync python -m bench --mode full --json bench-full.json $(BENCH_FLAGS)

.PHONY: lint
lint: python ## Format, lint, types and floors
	@$(UV) sync --quiet --frozen --all-extras --group bench
	$(UV) run --no-sync ruff format --check .
	$(UV) run --no-sync ruff check .
	$(UV) run --no-sync mypy
	$(UV) run --no-sync lint-imports --no-logo

.PHONY: format
format: python ## Put sources in form
	@$(UV) sync --quiet --frozen --all-extras --group bench
	@$(UV) run --no-sync ruff format .
	@$(UV) run --no-sync ruff check --fix .

.PHONY: clean
clean: ## Remove what was built here; runs and vaults stay
	rm -rf .venv .tools .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist
