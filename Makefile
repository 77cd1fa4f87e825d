# The two commands: `make demo` opens the studio on a small real example, `make test` runs the whole suite.
# Others: install, lint, bench, screenshots. PYTHON=/path/to/python3.12 picks the interpreter that .venv is made with.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo-workspace
# make demo PORT=8000 is short for ARGS="--port 8000".
PORT ?=
# More for the app (make demo ARGS="--no-browser") or for pytest (make test ARGS="-k images -x").
ARGS ?=

.PHONY: demo test install install-dev lint bench screenshots
.NOTPARALLEL:
.DEFAULT_GOAL := demo

demo: install
	@# The stamp comes last: an init that broke off is gone on with.
	@test -f $(DEMO)/.ready || { $(BIN)/python -m m3po init $(DEMO) --demo && touch $(DEMO)/.ready; }
	$(BIN)/python app.py --workspace $(DEMO) $(if $(PORT),--port $(PORT)) $(ARGS)

test: install-dev
	@# Three at a time, a file's tests together (tests/conftest.py says how): much of the suite waits for processes and pages.
	$(BIN)/python -m pytest -n 3 --dist loadfile $(ARGS)

install: $(VENV)/.installed

install-dev: $(VENV)/.installed-dev

lint: install-dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python $(BIN)/lint-imports

# What is timed on a million instructions takes half an hour and is run by hand; the maker of that workspace measures nothing.
bench: install-dev
	@set -e; for script in $(filter-out %/make_million.py %/review_latency.py,$(wildcard benchmarks/[!_]*.py)); do \
		echo "== $$script"; PYTHONPATH=. $(BIN)/python $$script; done

screenshots: install-dev
	$(BIN)/python tests/e2e/screenshots.py

# A stamp is touched last, so an installation that broke off is taken up again, and a finished one costs nothing.
$(VENV)/.installed: requirements.txt | $(VENV)/.made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

# torchvision for the tests of models that need it: beside the environment, where the app does not find it.
$(VENV)/.installed-dev: requirements-dev.txt tests/video_parts.py $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@$(BIN)/python tests/video_parts.py || echo "The tests that need it will be skipped, and fail where CI is set." >&2
	@touch $@

# A virtual environment that works is kept, one that broke off half-way is made anew.
$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { \
		echo "There is no $(PYTHON): install Python 3.11 or newer, or name it: make PYTHON=/path/to/python3.12" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "M3PO Studio needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) -V 2>&1): make PYTHON=/path/to/python3.12" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make a virtual environment: install its venv module (Debian: apt install python3-venv)" >&2; \
		exit 1; }
	@echo "Installing into $(VENV) (some minutes, once) ..."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@touch $@
