# joyctl: every target sets up .venv first when it is missing or older than the files that define it.
PYTHON ?= python3
BIN := .venv/bin
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

.PHONY: help setup demo test check bench slurm-up slurm-down clean

help:
	@echo "make demo    set up, run the tiny campaign offline, print its table (about 10 minutes in all)"
	@echo "make test    set up, run the tests"
	@echo "make check   set up, run ruff, mypy --strict and import-linter"
	@echo "make bench   set up, print the ratios of benchmarks/"
	@echo "make setup   set up .venv alone"
	@echo "make slurm-up, make slurm-down   a Slurm of four nodes on this machine, to try things on"

setup: .venv/ready

# The marker is written last: an interrupted set-up is done again.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("joyctl needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; try make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	rm -f .venv/ready
	[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch .venv/ready

demo: setup
	$(BIN)/joyctl sweep tiny --drop math --drop code --at 20
	$(BIN)/joyctl report tiny

# Tests on the real Slurm mostly wait, so they run beside the others; what they said comes at the end. Under `set -m` they
# hear SIGINT, which a script's background processes ignore.
test: setup
	mkdir -p build
	set -m; $(BIN)/python -m pytest -m slurm >build/test-slurm.log 2>&1 & slurm=$$!; set +m; trap 'kill $$slurm 2>/dev/null || true' INT TERM EXIT; \
	rest=0; $(BIN)/python -m pytest -m 'not slurm' || rest=$$?; \
	code=0; wait $$slurm || code=$$?; trap - EXIT; cat build/test-slurm.log; exit $$((rest ? rest : code))

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/plan.py
	$(BIN)/python benchmarks/train.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/report.py --quick
	$(BIN)/python benchmarks/loader.py --quick
	$(BIN)/python benchmarks/order.py
	[ -z "$$JOYCTL_BENCH_DATA" ] || $(BIN)/python benchmarks/tokenise.py --megabytes 40
	[ -z "$$JOYCTL_BENCH_DATA" ] || $(BIN)/python benchmarks/overlap.py --size 100
	[ -z "$$JOYCTL_BENCH_DATA" ] || $(BIN)/python benchmarks/sandbox.py
	[ -z "$$JOYCTL_BENCH_DATA" ] || $(BIN)/python benchmarks/mmlu.py --quick

# In build/slurm, on the loopback address; its packages are those of .ci/run.
slurm-up: setup
	$(BIN)/python tests/slurm/cluster.py up
	@echo 'next:  eval "$$($(BIN)/python tests/slurm/cluster.py env)"'
	@echo '       sinfo'
	@echo '       $(BIN)/joyctl sweep tiny --cluster clusters/test-slurm.yaml --dry-run'
	@echo '       make slurm-down'

slurm-down: setup
	$(BIN)/python tests/slurm/cluster.py down

clean:
	if [ -d build/slurm ]; then $(PYTHON) tests/slurm/cluster.py down; fi
	rm -rf .venv build *.egg-info
