# Everything that a developer runs, each in the environment .venv, which is made on the first use: nothing has to be activated.
#     make install PYTHON=python3.12      choose the Python
#     make test ARGS='tests/planning -k plan' give arguments to what is run
#     make test JOBS=0                    one test at a time, for debuggers
VENV ?= .venv
PYTHON ?=
ARGS ?=
# More than cores: tests of Slurm wait most of the time.
JOBS ?= 3
BENCH ?= quality sst2
BIN := $(VENV)/bin
# Beside the public data sets, the tests that measure quality have a pretrained model to start from.
comma := ,
EXTRAS := dev$(if $(wildcard ../shared/data),$(comma)realdata)

.DEFAULT_GOAL := help
.PHONY: help install system smoke test test-faults faults soak check audit fix docs cluster bench clean

help: ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "make %-12s %s\n", $$1, $$2 }'

install: $(VENV)/installed $(VENV)/compiled ## Make .venv and install everything into it

$(VENV)/bin/python:
	@scripts/make-venv $(VENV) $(PYTHON)

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo 'Installing into $(VENV) (about 2 GB; a few minutes the first time) ...'
	@$(BIN)/python -m pip install -qq --no-compile --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@# On all cores; pip would take one. Some packages hold files that are no Python, which pip doesn't mind either.
	@$(BIN)/python -m compileall -qq -j 0 -x '/tests/' launcher "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" || true
	@touch $@

# Compiled anew where the versions change.
$(VENV)/compiled: $(VENV)/installed
	@scripts/build-ops $(BIN)/python
	@touch $@

smoke: install ## Train a tiny model on this machine and use it: the whole main path in about a minute
	@scripts/smoke $(BIN)/launch $(ARGS)

test: ## Run all tests but long ones (installs Slurm, Chromium, zsh and fish where it may)
	@$(MAKE) --no-print-directory --jobs=2 install system # side by side: one waits for the network while the other unpacks
	@$(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=loadfile --no-loadscope-reorder -m 'not long' $(ARGS)

system:
	@scripts/install-slurm
	@scripts/install-browser
	@scripts/install-shells

test-faults: install ## Run what make test leaves out: the tests that kill, cut off and fill up, and whatever takes long
	@scripts/install-slurm
	@$(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=loadfile -m 'fault or long' tests/faults tests $(ARGS)

faults: install ## Do every fault of docs/reliability.md to real trainings, and write that page (about half an hour on two cores)
	@scripts/install-slurm
	@rm -f .faults.jsonl
	@FAULTS_RECORD=$(CURDIR)/.faults.jsonl $(BIN)/python -m pytest -m fault --numprocesses=$(JOBS) --dist=loadfile \
		--no-loadscope-reorder tests/faults tests $(ARGS); code=$$?; \
		$(BIN)/python tests/support/fault_rows.py .faults.jsonl docs/reliability.md && exit $$code

soak: install ## Damage thousands of run directories and recipes and see that every verb copes (other cases: SOAK_SEED=7)
	@SOAK_RUNS=2000 SOAK_RECIPES=5000 SOAK_KILLS=1000 $(BIN)/python -m pytest --numprocesses=$(JOBS) tests/soak \
		tests/faults/test_kills_in_saves.py $(ARGS)

check: $(VENV)/installed ## Lint, formatting, types and layers; prints which package imports which
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/house/test_layers.py
	@$(BIN)/python tests/support/import_graph.py

audit: ## Look up the versions of constraints.txt among known vulnerabilities (pip-audit, in an environment of its own)
	@test -x .venv-audit/bin/pip-audit || { scripts/make-venv .venv-audit $(PYTHON) && .venv-audit/bin/python -m pip install -qq --disable-pip-version-check pip-audit; }
	@.venv-audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt

fix: $(VENV)/installed ## Mend what can be mended by a program
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

docs: $(VENV)/installed ## Write the generated pages of docs/ anew
	@$(BIN)/python -m launcher.cli.reference

cluster: $(VENV)/installed ## Start a Slurm of four nodes on this machine (stop it: slurm/dev-cluster stop)
	@scripts/install-slurm
	@slurm/dev-cluster start $(ARGS)

bench: install ## Measure quality beside a plain Trainer (another: BENCH='quality mrpc --seeds 1')
	@$(BIN)/python -m benchmarks.$(BENCH)

clean: ## Remove the environment, builds and caches, but no runs
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
