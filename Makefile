# The environment lies in .venv and is made again only when the requirements change.
# Another interpreter: make env PYTHON=python3.12
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
CAREAMICS := 0.3.5
# who uploads the example package, and where the code lies that made it
GITHUB_USER ?= $(shell git config github.user)
# set in the shell of the caller, these would lead imports past the environment
unexport PYTHONPATH PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help env demo example test test-slow consumers lint format wheel-test clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: $(READY)  ## .venv with the package (editable) and everything to develop it

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name one with: make env PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar off --editable '.[dev]' --constraint constraints.txt
	# a peer to compare with; its own requirements would bring another torch, and it runs without them
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar off --no-deps careamics==$(CAREAMICS)
	@touch $@

demo: $(READY)  ## the whole way on simulated images, into demo/ (minutes); goes on where it stopped
	$(BIN)/denoisplit demo -o demo

example: $(READY)  ## a finished package of simulated images, and its check: GITHUB_USER=you GIT_REPO=https://...
	@test -n "$(GITHUB_USER)" -a -n "$(GIT_REPO)" || { echo "a package has a maintainer: make example GITHUB_USER=you GIT_REPO=https://..." >&2; exit 2; }
	@mkdir -p example
	@{ cat rdf_templates/example.yaml; echo "maintainers: [{github_user: $(GITHUB_USER)}]"; echo "git_repo: $(GIT_REPO)"; } > example/about.new
	@cmp -s example/about.new example/about.yaml || { mv example/about.new example/about.yaml; rm -f example/package.zip; }
	$(BIN)/denoisplit demo -o example --about example/about.yaml
	$(BIN)/denoisplit check example/package.zip

test: $(READY)  ## the quick tests (minutes); DENOISPLIT_TEST_DATA names the folder of test images
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(READY)  ## the tests that train for minutes
	$(BIN)/python -m pytest -m slow

consumers: $(READY)  ## packages of all kinds in several versions of bioimageio.core (half an hour)
	$(BIN)/python tests/consumers/matrix.py .venvs

lint: $(READY)  ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## let ruff put things right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel-test: $(READY)  ## build the wheel, install it in an empty environment, look inside
	$(BIN)/python -m pytest tests/test_house.py -k wheel

clean:  ## remove the environment, caches and build products (not your runs)
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
