# Two commands do everything on a machine with python3 and make:  make train   make test
PYTHON ?= python3
RANKS ?= 2
CONFIG ?= examples/digits.toml
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: train test test-faults test-slurm lint bench-quick clean

train: $(VENV)/.mpi
	$(BIN)/paralift run -n $(RANKS) $(CONFIG)

# Two workers: one for the tests that start ranks, another for the rest.
test: $(VENV)/.test
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup

test-faults: $(VENV)/.test
	$(BIN)/python -m pytest tests/faults --rounds 100 -s

# A SLURM of two nodes on this machine, in a temporary folder; its programs come from Debian's packages.
test-slurm: $(VENV)/.test
	test -x /usr/sbin/slurmctld || { $(SUDO) apt-get update && $(SUDO) apt-get install --yes slurm-wlm munge libpmix-dev; }
	$(BIN)/python -m pytest tests/jobs

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	rm -rf build/typed
	$(BIN)/python setup.py --quiet build_py --build-lib build/typed
	cd build/typed && ../../$(BIN)/mypy --config-file ../../pyproject.toml -p paralift

bench-quick: $(VENV)/.test
	$(BIN)/paralift bench kernels --quick
	$(BIN)/paralift bench peers --quick
	$(BIN)/paralift bench exchange --quick
	$(BIN)/paralift bench scaling --quick

# A stamp file for each set of extras, so that a second call installs nothing.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.mpi: $(VENV)/bin/python setup.py
	$(BIN)/python -m pip install --quiet --editable '.[mpi,data]'
	touch $@

$(VENV)/.test: $(VENV)/bin/python setup.py
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

$(VENV)/.lint: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --editable '.[lint]' setuptools
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
