# Each target installs what it needs first, and says nothing where all is there.

SCENARIOS ?= anon hugetlb-2m
BOOTS ?= 3
UPDATES ?= 5
PYTEST_ARGS ?=
LAB_SCENARIOS ?=
NIGHTLY ?= bench/examples/nightly.toml

BIN := .venv/bin
BPF_SOURCES := $(wildcard probes/bpf/*.c probes/bpf/*.h)
SHELL_SOURCES := runners/setup.sh .ci/run

.DEFAULT_GOAL := help
.PHONY: help setup bench lab nightly test check check-style check-types check-imports check-bpf check-shell clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is missing on this host (root), and the venv
	@runners/setup.sh

bench: setup ## measure and write an HTML report: SCENARIOS="anon hugetlb-2m" BOOTS=3 UPDATES=5
	@$(BIN)/pausebench run $(SCENARIOS) --boots $(BOOTS) --updates $(UPDATES); status=$$?; \
	case $$status in 0|3) printf 'report: '; $(BIN)/pausebench report;; esac; exit $$status

lab: setup ## measure assigned devices (VFIO) in a virtual machine: LAB_SCENARIOS="vfio-type1"
	@$(BIN)/pausebench lab run $(LAB_SCENARIOS)

nightly: setup ## the nightly job of the example: NIGHTLY=bench/examples/nightly.toml
	@$(BIN)/pausebench nightly $(NIGHTLY)

test: setup ## run the tests: PYTEST_ARGS="-k timeline"
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

check: check-style check-types check-imports check-bpf check-shell ## lint, format, types, layers

check-style: setup
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --diff --quiet .; exit 1; }

check-types: setup
	@$(BIN)/mypy --no-error-summary

check-imports: setup
	@out=$$($(BIN)/lint-imports 2>&1) || { echo "$$out"; exit 1; }

# clang-format and shellcheck are no part of the set-up: they are worth their 100 MB only to
# someone who edits those files.
check-bpf:
	@if ! command -v clang-format >/dev/null; then echo "no clang-format here: BPF sources not checked"; \
	elif [ -n "$(BPF_SOURCES)" ]; then clang-format --dry-run --Werror $(BPF_SOURCES); fi

check-shell:
	@if ! command -v shellcheck >/dev/null; then echo "no shellcheck here: shell scripts not checked"; \
	else shellcheck $(SHELL_SOURCES); fi

clean: ## remove caches and build output; keeps .venv and out/
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .benchmarks
	@find bench probes runners results reports tests -name __pycache__ -prune -exec rm -rf {} +
