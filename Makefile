# Every target does all of its own set-up: it needs python3 (3.11 or newer), make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

OUTCOME := reward

# Tests start many processes, each of which would compile the project anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test suite lint style types check stress bench mutate docs study screenshots clean

help:
	@echo "make demo    two groups of agents talk over a bridge that is killed and restarted on the way"
	@echo "make test    everything that must hold: style, types, layers, all tests with coverage"
	@echo "make stress  tests that take seconds or minutes, and on every server what make test does on SQLite or one of them"
	@echo "make bench   what writing and reading cost, beside bare sqlite3 and redis-py"
	@echo "make mutate  break each guarantee in the code and see its test fail"
	@echo "make screenshots  reports as a browser shows them, light and dark, wide and narrow, into build/screenshots"
	@echo "make docs    write the generated documents anew"
	@echo "make study   write docs/study.md anew, from TRANSCRIPTS=a file of runs"

demo: $(VENV)/runtime
	$(BIN)/callosum demo

# Tests wait: for servers, for processes, for one another. Types are checked meanwhile.
test: style
	$(BIN)/python -m pytest --no-header -q -m 'timing and not stress and not slow' $$(grep -l mark.timing tests/test_*.py)
	@$(MAKE) --no-print-directory --jobs=2 types suite

# Three for two cores, for the same reason.
suite: $(VENV)/development
	$(BIN)/python -m pytest --no-header -m 'not stress and not slow and not timing' -n 3 --dist worksteal --cov --cov-report=
	$(BIN)/coverage report --fail-under=90

lint: style types

style: $(VENV)/development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/development
	MYPY_NUM_WORKERS=2 $(BIN)/mypy
	$(BIN)/lint-imports

check: $(VENV)/development
	$(BIN)/python -m pytest -x -q

stress: $(VENV)/development
	$(BIN)/python -m pytest -m 'stress or slow or hypothesis' --hypothesis-profile=long -s

bench: $(VENV)/development
	$(BIN)/python benchmarks/bench_append.py --growth 1000000
	$(BIN)/python benchmarks/bench_read.py
	$(BIN)/python benchmarks/bench_fold.py
	$(BIN)/python benchmarks/bench_delivery.py
	$(BIN)/python benchmarks/bench_rebuild.py
	$(BIN)/python benchmarks/bench_gate.py
	$(BIN)/python benchmarks/bench_report.py

mutate: $(VENV)/development
	$(BIN)/python tests/mutate.py

docs: $(VENV)/development
	$(BIN)/python -m interface.catalogue > docs/events.md.new
	mv docs/events.md.new docs/events.md
	$(BIN)/python -m interface.gate_document > docs/gates.md.new
	mv docs/gates.md.new docs/gates.md

study:
	@test -f "$(TRANSCRIPTS)" || { echo "Name a file of runs: make study TRANSCRIPTS=runs.jsonl"; exit 1; }
	@$(MAKE) --no-print-directory $(VENV)/development
	$(BIN)/python -m interface.study_document "$(TRANSCRIPTS)" $(OUTCOME) > docs/study.md.new
	mv docs/study.md.new docs/study.md

# TRANSCRIPTS=runs.jsonl has a report of these, too.
screenshots: $(VENV)/development
	$(BIN)/python -m tests.screenshots build/screenshots $(TRANSCRIPTS)

clean:
	rm -rf $(VENV)

# On Debian, `python3 -m venv` needs a package of its own; root gets it here, others are told.
$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Try make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq -y python3-venv; } \
	  || { echo "The venv module is missing: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/runtime: $(VENV)/made pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[study]'
	@touch $@

# Of the many modules few are imported; those are compiled then.
$(VENV)/development: $(VENV)/made pyproject.toml
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[study]' --group dev
	@touch $@ $(VENV)/runtime
