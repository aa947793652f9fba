# Everything a fresh machine with Python 3.11 and make needs: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check
SOURCES := pyproject.toml README.md $(shell find advisor backends knowledge -type f -not -name '*.pyc')

.PHONY: demo test lint benchmark clean

demo: $(VENV)/.installed
	$(VENV)/bin/advisor demo

# The tests run on the installed package, not on the sources beside them; two files at a time, each
# on one thread, so that they do not wait for each other.
test: lint
	OMP_NUM_THREADS=1 $(VENV)/bin/pytest -n 2 --dist loadfile

lint: $(VENV)/.installed-dev $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

benchmark: $(VENV)/.installed
	$(VENV)/bin/python benchmarks/startup.py

# torch comes first and pinned: a CPU wheel where one is offered, else the build with CUDA.
$(VENV)/.packages: pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -c constraints.txt torch==2.13.0
	$(PIP) install --quiet -c constraints.txt ".[all]"
	touch $@

$(VENV)/.installed: $(VENV)/.packages $(SOURCES)
	$(PIP) install --quiet --no-deps --force-reinstall .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.packages
	$(PIP) install --quiet -c constraints.txt ".[all,dev]"
	touch $@

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache
