# A fresh machine needs two commands, `make demo` and `make test`; each builds .venv from nothing first.

PYTHON ?= python3
BIN := "$(CURDIR)/.venv/bin"
INSTALLED := .venv/.installed
NAMED := .venv/named/collabplan

.PHONY: demo test coverage lint docs schemas bench-env clean
.DELETE_ON_ERROR:

# A network as small as the example, and those of the tests, is run by one thread: on a busy machine two
# wait for each other most of the time.
demo test coverage: export OMP_NUM_THREADS = 1

# The whole way on the embedded example, into demo/ alone. `make demo VERBOSE=1` prints all of it.
demo: $(INSTALLED)
	@rm -rf demo && mkdir demo
	@cd demo && VERBOSE=$(VERBOSE) ../examples/digits/demo.sh ../.venv/bin/collabplan ../examples/digits/model.py

# Everything that .ci/run runs.
# Two files at a time: most of a test's time is torch on one thread.
test: lint docs
	$(BIN)/python -m pytest tests -n 2 --dist loadfile

# The tests again, with the share of branches that they reach, floor by floor in .coverage-report/.
coverage: $(INSTALLED)
	$(BIN)/python -m pytest tests -n 2 --dist loadfile --cov=collabplan --cov-config=pyproject.toml --cov-report=term:skip-covered --cov-report=html

# mypy takes a package's name from its folder, and a clone may have any name.
$(NAMED): $(INSTALLED)
	mkdir -p $(@D) && ln -sfn ../.. $@

lint: $(INSTALLED) $(NAMED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd .venv/named && $(BIN)/mypy --config-file collabplan/pyproject.toml collabplan
	$(BIN)/lint-imports

# The documentation as a site in site/. Strict: a broken link or a name that is not there stops it. Its parser reads
# every file below the package's folder, so it gets one that holds the floors alone, without .venv and bench-env.
docs: export NO_MKDOCS_2_WARNING = 1
docs: $(INSTALLED)
	mkdir -p .venv/documented/collabplan
	ln -sfn $(addprefix ../../../,__init__.py $(patsubst %/__init__.py,%,$(wildcard */__init__.py))) .venv/documented/collabplan
	$(BIN)/mkdocs build --strict --quiet

# After a change of a record: publish its JSON Schema anew.
schemas: $(INSTALLED)
	$(BIN)/python -m collabplan.records.schemas

# Benchmarks run on models that others wrote, in an environment of their own: torchvision has no CPU build for
# this torch, so it comes without its dependencies, and benchmarks/zoo.py defines its operator names first.
bench-env: bench-env/.installed

bench-env/.installed: pyproject.toml constraints.txt
	test -x bench-env/bin/python || $(PYTHON) -m venv bench-env
	bench-env/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[all]'
	bench-env/bin/python -m pip install -qq --disable-pip-version-check --no-deps 'torchvision==0.28.*' timm
	bench-env/bin/python -m pip install -qq --disable-pip-version-check transformers pyyaml
	@touch $@

# Without --no-compile pip compiles all of torch, most of which nobody imports.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("collabplan needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv (torch is large: some minutes)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev,docs]'
	@touch $@

clean:
	rm -rf .venv bench-env build demo site .coverage .coverage-report *.egg-info
