PYTHON ?= python3
BIN := .venv/bin
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: venv quickstart census fashion-pairs test test-slow test-faults lint docs benchmark clean

venv: .venv/.installed

.venv/.installed: setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tf_mtl needs Python 3.11 or later")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

quickstart: venv
	$(BIN)/python recipes/sentiment.py $(ARGS)

census: venv
	$(BIN)/python recipes/census_income.py $(ARGS)

fashion-pairs: venv
	$(BIN)/python recipes/fashion_pairs.py $(ARGS)

test: venv
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m 'not slow and not faults' --durations=25 $(ARGS)

test-slow: venv
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow --durations=25 $(ARGS)

test-faults: venv
	$(BIN)/python -m pytest -s -m faults $(ARGS)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs:
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict $(ARGS)

benchmark: venv
	$(BIN)/python benchmarks/step_time.py $(ARGS)

clean:
	rm -rf .venv build dist *.egg-info runs .pytest_cache .ruff_cache
