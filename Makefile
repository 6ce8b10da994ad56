# Two commands for a fresh machine:
#   make compress   the main job on the embedded data set, into runs/digits
#   make test       the checks and the tests
# Both make .venv from constraints.txt if it is not there. PYTHON=... names another interpreter.

PYTHON ?= python3.11
VENV ?= .venv
JOBS ?= 2
NEEDED_GB ?= 5
BIN := $(VENV)/bin
INSTALL_ADB := apt-get install --yes --no-install-recommends adb
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: compress test lint adb clean

compress: $(VENV)/.installed
	$(BIN)/tfgraphprune compress --config=configs/digits.py --workdir=runs/digits

test: lint adb
	$(BIN)/pytest -n $(JOBS) --dist loadfile

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The client for the tests of phones, which are skipped without one: Debian's, where root may install.
adb:
	@command -v adb >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		echo "installing adb" && { $(INSTALL_ADB) || { apt-get update && $(INSTALL_ADB); }; } >/dev/null 2>&1; } || \
		echo "there is no adb: tests of phones are skipped"

# The package is installed as a link to the sources: only a change of what it depends on asks for
# another installation.
$(VENV)/.installed: setup.py constraints.txt
	@$(prepare)
	@$(PIP_INSTALL) -e '.[all]'
	@touch $@

$(VENV)/.installed-test: setup.py constraints.txt
	@$(prepare)
	@$(PIP_INSTALL) -e '.[all,test]'
	@touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) build dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The right Python and enough disk, or one sentence; then an environment to install into.
define prepare
python="$(PYTHON)"; [ ! -x "$(BIN)/python" ] || python="$(BIN)/python"; \
say() { echo "tfgraphprune: $$1" >&2; exit 1; }; \
command -v "$$python" >/dev/null || \
	say "Python 3.11 is needed, but there is no $$python: install it, or name it with make PYTHON=FILE."; \
version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); \
[ "$$version" = 3.11 ] || \
	say "Python 3.11 is needed (constraints.txt holds versions for it), but $$python is $${version:-no working Python}: name another with make PYTHON=FILE."; \
[ -e "$(VENV)/.installed" ] || "$$python" -c 'import shutil, sys; sys.exit(shutil.disk_usage(sys.argv[1]).free < float(sys.argv[2]) * 1e9)' "$(dir $(abspath $(VENV)))" $(NEEDED_GB) || \
	say "$(NEEDED_GB) GB of disk are needed, but $(dir $(abspath $(VENV))) has less: free some, or name another place with make VENV=FOLDER."; \
[ -x "$(BIN)/pip" ] || "$$python" -m venv "$(VENV)" || exit 1; \
echo "installing into $(VENV), which takes some minutes the first time"
endef
