# A fresh machine needs two commands, `make demo` and `make test`; each builds .venv from nothing first.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test lint schemas clean
.DELETE_ON_ERROR:

# Profile, optimize and split the embedded example; what it writes lies under demo/.
demo: $(INSTALLED)
	@sh examples/digits/demo.sh $(BIN)/collabplan

# Everything that .ci/run runs.
test: lint
	$(BIN)/python -m pytest tests

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# After a change of a record: publish its JSON Schema anew.
schemas: $(INSTALLED)
	$(BIN)/python -m collabplan.records.schemas

# Where `python3` is not 3.11 or newer: make PYTHON=python3.12 ...
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("collabplan needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=/path/to/python3.12 ..." if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv build demo *.egg-info
