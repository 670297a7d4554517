# Each target first installs what is missing, and prints nothing when nothing is.

SCENARIOS ?= anon hugetlb-2m
BOOTS ?= 6
UPDATES ?= 5
PYTEST_ARGS ?=
RATES_ARGS ?=
LAB_SCENARIOS ?=
NIGHTLY ?= bench/examples/nightly.toml

BIN := .venv/bin
BPF_SOURCES := $(wildcard probes/bpf/*.c probes/bpf/*.h)
SHELL_SOURCES := runners/setup.sh .ci/run

.DEFAULT_GOAL := help
.PHONY: help setup bench lab nightly rates test check check-style check-types check-imports check-bpf check-shell clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install missing packages (as root) and create .venv
	@runners/setup.sh

bench: setup ## measure and write an HTML report: SCENARIOS="anon hugetlb-2m" BOOTS=6 UPDATES=5
	@$(BIN)/pausebench run $(SCENARIOS) --boots $(BOOTS) --updates $(UPDATES); status=$$?; \
	case $$status in 0|3) printf 'report: '; $(BIN)/pausebench report;; esac; exit $$status

lab: setup ## measure guests with assigned devices (VFIO) in a VM: LAB_SCENARIOS="vfio-type1"
	@$(BIN)/pausebench lab run $(LAB_SCENARIOS)

nightly: setup ## run a nightly job: NIGHTLY=bench/examples/nightly.toml
	@$(BIN)/pausebench nightly $(NIGHTLY)

rates: setup ## simulate the tables of docs/rates.md and docs/rates-history.md: RATES_ARGS="--quick"
	@$(BIN)/python -m bench.benchmarks.rates $(RATES_ARGS)
	@$(BIN)/python -m bench.benchmarks.history_rates $(RATES_ARGS)

test: setup ## run the tests: PYTEST_ARGS="-k timeline"
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

check: check-style check-types check-imports check-bpf check-shell ## check lint, format, types, layers

check-style: setup
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --diff --quiet .; exit 1; }

check-types: setup
	@$(BIN)/mypy --no-error-summary

check-imports: setup
	@out=$$($(BIN)/lint-imports 2>&1) || { echo "$$out"; exit 1; }

# Setup does not install clang-format and shellcheck (100 MB): only those who edit the BPF sources
# and shell scripts need them.
check-bpf:
	@if ! command -v clang-format >/dev/null; then echo "clang-format is missing: BPF sources not checked"; \
	elif [ -n "$(BPF_SOURCES)" ]; then clang-format --dry-run --Werror $(BPF_SOURCES); fi

check-shell:
	@if ! command -v shellcheck >/dev/null; then echo "shellcheck is missing: shell scripts not checked"; \
	else shellcheck $(SHELL_SOURCES); fi

clean: ## remove caches and build output; keeps .venv and out/
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .benchmarks
	@find bench probes runners results reports tests -name __pycache__ -prune -exec rm -rf {} +
