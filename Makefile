# Only Python 3.11, make, git and cc are expected. `make demo` and `make test` are all that most people need.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
# Compiled modules are kept: the tests start hundreds of programs, and each would compile all of fishtune anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-slow test-browser check format clean install proto catalogue memory-table

# The demo runs in a plain terminal and in CI alike; on a terminal the wizard then opens on what it made.
demo: install
	$(BIN)/fishtune demo
	@if [ -t 0 ] && [ -t 1 ]; then $(BIN)/fishtune-tui demo; fi

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "fishtune needs Python 3.11 or newer: make PYTHON=python3.12 …"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,prepare,quantised]'
	touch $(STAMP)

test: install
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not slow"

test-slow: install
	$(BIN)/python -m pytest -m slow --timeout 3600

# The pages to listen to in a real Chromium: the system's, or Debian's package where that can be installed.
test-browser: install
	@command -v chromium || command -v chromium-browser || command -v google-chrome || \
		{ command -v apt-get >/dev/null && apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium; } || \
		echo "NO BROWSER: install Chromium to test the pages to listen to"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[browser]' || \
		echo "NO PLAYWRIGHT: the pages to listen to are not tested"
	$(BIN)/python -m pytest tests/test_listening_browser.py tests/test_proofreading_browser.py

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p build/typed/fishtune
	for part in core tui presets; do ln -sfn ../../../$$part build/typed/fishtune/$$part; done
	MYPYPATH=build/typed $(BIN)/python -m mypy -p fishtune

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache

# After a change of a text that the wizard shows, its own or the engine's.
catalogue: install
	$(BIN)/python tests/tui/catalogue_update.py

# After a change of what a training step or the codec allocates, of a preset, or of torch and peft: some minutes.
memory-table: install
	$(BIN)/python benchmarks/memory_table.py
	$(BIN)/python benchmarks/memory.py

# After a change of core/shards/text_data.proto. The path inside build/typed becomes the file's registered
# name, so that it cannot clash with an installed fish-speech.
proto: install
	mkdir -p build/typed/fishtune
	ln -sfn ../../../core build/typed/fishtune/core
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I build/typed \
		--python_out=build/typed --mypy_out=build/typed fishtune/core/shards/text_data.proto
