# The environment is in .venv and is made again only when the requirements change.
# To use another interpreter: make env PYTHON=python3.12
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
CAREAMICS := 0.3.5
# for `make lowest` and `make newest`; TESTS names rooms of the tests, by default all
UV := .venvs/uv/bin/uv
RESOLUTION_lowest := lowest-direct
RESOLUTION_newest := highest
# libraries of docs/demo, outside of the folders whose files are ours
NPM := .venvs/npm/node_modules
ESBUILD := NODE_PATH=$(NPM) $(NPM)/.bin/esbuild --bundle --format=esm --log-level=warning
# for `make example`: names of the structures, each with a file of images without noise in DATA; kinds of packages;
# metadata; and the GitHub account that uploads them
STRUCTURES ?= er actin
KINDS ?= mmse fast interval
ABOUT ?= rdf_templates/example.yaml
GITHUB_USER ?= $(shell git config github.user)
# if set by the caller, these would make imports bypass the environment, and compile all modules in each process
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: FORCE help env demo example settings docs test lowest newest test-slow napari consumers lines browser-demo browser kills fuzz lint format wheel-test clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z -]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: $(READY)  ## create .venv with the package (editable) and all development tools

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name one with: make env PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar off --editable '.[dev,docs]' --constraint constraints.txt
	# reference implementation for the tests; its requirements would install another torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar off --no-deps careamics==$(CAREAMICS)
	@touch $@

demo: $(READY)  ## run the whole workflow on simulated images, into demo/ (minutes); continues if interrupted
	$(BIN)/denoisplit demo -o demo

example: $(KINDS:%=example/%.zip)  ## train on images in DATA, export, check, and write a page like that of the zoo: GITHUB_USER=you GIT_REPO=https://...
	$(BIN)/python docs/zoo_page.py $^ -o example/index.html
	for package in $^; do echo $$package; $(BIN)/denoisplit check $$package --environments .venvs || exit 1; done

example/%.zip: example/run/report.html example/about.yaml
	rm -f $@
	$(BIN)/denoisplit export example/run -o $@ --kind $* --about example/about.yaml

# older than the packages if nothing has changed
example/about.yaml: FORCE
	@test -n "$(GITHUB_USER)" -a -n "$(GIT_REPO)" || { echo "a package needs a maintainer and a repository: make example GITHUB_USER=you GIT_REPO=https://..." >&2; exit 2; }
	@mkdir -p example
	@{ cat $(ABOUT); echo "maintainers: [{github_user: $(GITHUB_USER)}]"; echo "git_repo: $(GIT_REPO)"; } > example/about.new
	@cmp -s example/about.new $@ || mv example/about.new $@

example/run/report.html: | $(READY)
	@test -n "$(DATA)" -o -d example/run || { echo "name the folder of the images: make example DATA=folder ..." >&2; exit 2; }
	$(BIN)/denoisplit train $(if $(wildcard example/run),--resume,$(foreach name,$(STRUCTURES),--structure $(name) "$(DATA)/$(name).tif") --preset small --synthetic-poisson 4 --synthetic-gaussian 1.5) -o example/run

FORCE:

settings: $(READY)  ## write docs/settings.md from the declarations of settings and options
	$(BIN)/python docs/make_settings.py

docs: $(READY)  ## build the site in build/site, with executed notebooks (a minute)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --site-dir build/site

test: $(READY)  ## run the quick tests (minutes); DENOISPLIT_TEST_DATA is the folder of test images
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lowest newest: $(READY)  ## test the oldest, or newest, versions of all dependencies, in .venvs/ (by hand)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --target .venvs/uv uv
	grep '^torch==' constraints.txt > .venvs/torch.txt
	$(UV) pip compile --quiet --resolution $(RESOLUTION_$@) --extra dev --extra docs --output-file .venvs/$@.txt pyproject.toml --constraints .venvs/torch.txt
	$(UV) venv --quiet --clear --python $(BIN)/python .venvs/$@
	$(UV) pip install --quiet --python .venvs/$@ --requirements .venvs/$@.txt
	$(UV) pip install --quiet --python .venvs/$@ --no-deps --editable . careamics==$(CAREAMICS)
	OMP_NUM_THREADS=1 .venvs/$@/bin/python -m pytest -W default -p no:cacheprovider -n 2 --dist loadfile --ignore tests/test_house.py $(TESTS)

test-slow: $(READY)  ## run the slow tests, which train for minutes
	$(BIN)/python -m pytest -m slow

napari: .venvs/napari/.ready  ## test the plugin in the real napari, on a virtual screen (needs xvfb-run and Mesa)
	OMP_NUM_THREADS=1 xvfb-run --auto-servernum .venvs/napari/bin/python -m pytest -W default --disable-warnings tests/viewer/real_napari.py

.venvs/napari/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venvs/napari
	.venvs/napari/bin/python -m pip install --quiet --disable-pip-version-check --progress-bar off --editable '.[dev,napari]' PySide6 --constraint constraints.txt
	@touch $@

consumers: $(READY)  ## run all kinds of packages in bioimageio.core, BiaPy, onnxruntime, Node.js and OpenVINO (half an hour)
	$(BIN)/python tests/consumers/matrix.py .venvs

lines: $(READY)  ## check a small package in every program of `denoisplit check` (under three minutes, but the first time)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --durations=1 tests/consumers/every_line.py

browser-demo: $(NPM)/.ready  ## build the page that splits images in a browser, in build/demo (needs Node.js and npm)
	$(ESBUILD) docs/demo/page.js docs/demo/worker.js --minify --outdir=build/demo
	cp docs/demo/index.html docs/demo/style.css $(NPM)/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm build/demo

$(NPM)/.ready: docs/demo/package.json docs/demo/package-lock.json
	mkdir -p $(dir $(NPM))
	cp $^ $(dir $(NPM))
	npm ci --prefix $(dir $(NPM)) --loglevel=error --no-audit --no-fund
	@touch $@

browser: $(READY) browser-demo  ## test that page in headless Chromium (needs chromium too; minutes)
	$(NPM)/.bin/prettier --config docs/demo/package.json --check docs/demo tests/browser
	$(ESBUILD) tests/browser/parts.test.js --platform=node --outdir=build/browser --out-extension:.js=.mjs
	node --test build/browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -W default --disable-warnings tests/browser/in_chromium.py

kills: $(READY)  ## kill train, predict, noise-model fit, export and compare 20 times each, and compare the ends (an hour)
	OMP_NUM_THREADS=1 MPLBACKEND=Agg $(BIN)/python tests/kills.py

fuzz: $(READY)  ## read 5000 damaged files of every kind, and count what comes of it (an hour); FUZZ="--case SEED"
	$(BIN)/python -m tests.fuzz $(FUZZ)

lint: $(READY)  ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## fix style and format with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel-test: $(READY)  ## build the wheel, install it in an empty environment and check its contents
	$(BIN)/python -m pytest tests/test_house.py -k wheel

clean:  ## remove environment, caches and build products (not your runs)
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
