# make demo     a student distilled beside one that learned alone, on real images
# make test     everything CI runs: lint, types, tests on three backends, integration
# make guides   every guide, on every backend
# make lint     format, lint and types
# make format   let ruff mend what it can
# make bench    the benchmarks
# make hostile  every loss with wrong, odd and extreme inputs, on three backends
# make nightly  the tests on three backends with keras-nightly, in .venv-nightly
#
# Everything is installed into .venv, with the versions in constraints.txt.
# PYTHON chooses the interpreter that makes .venv, KERAS_BACKEND the demo's backend,
# TEST_BACKENDS what `make test` covers, TEST_WORKERS how many processes run tests.

PYTHON ?= python3
DEMO_BACKEND := $(or $(KERAS_BACKEND),jax)
TEST_BACKENDS ?= jax tensorflow torch
TEST_WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# Both packages fill the same folder, and TensorFlow asks for the stable one.
NIGHTLY_INSTEAD := $(BIN)/python -m pip uninstall --quiet --yes keras && \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --pre --no-deps \
	--force-reinstall keras-nightly
DEMO_READY := $(VENV)/.ready-demo-$(DEMO_BACKEND)
TEST_READY := $(VENV)/.ready-test
# A worker runs neighbouring tests, which share models and compiled programs, until it
# has none left and takes half of what another still has to do.
PYTEST_ARGS := -n $(TEST_WORKERS) --dist worksteal

# Errors still show; what goes is each backend's advice about the machine.
export TF_CPP_MIN_LOG_LEVEL ?= 3
export GRPC_VERBOSITY ?= ERROR
# The models here are small: a thread for every core spends its time waiting for the
# others, up to ten times as long when something else runs on the machine.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test lint format guides integration bench hostile nightly clean
# Stop a half-done install from looking finished.
.DELETE_ON_ERROR:

demo: $(DEMO_READY)
	KERAS_BACKEND=$(DEMO_BACKEND) $(BIN)/python guides/demo.py $(DEMO_ARGS)

test: lint $(TEST_BACKENDS:%=test-%) integration

lint: $(TEST_READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(TEST_READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# One process tree for each backend: Keras reads KERAS_BACKEND once, at import.
test-%: $(TEST_READY)
	KERAS_BACKEND=$* $(BIN)/python -m pytest $(PYTEST_ARGS) --doctest-modules keras_kd
	KERAS_BACKEND=$* $(BIN)/python -m pytest $(PYTEST_ARGS) tests

# Each guide runs on one backend in turn, in processes of its own; `make guides` runs all
# of them on all three. The tests around them need some backend too.
integration: $(TEST_READY)
	KERAS_BACKEND=$(DEMO_BACKEND) GUIDE_BACKENDS=rotate $(BIN)/python -m pytest $(PYTEST_ARGS) \
		integration_tests

guides: $(TEST_READY)
	KERAS_BACKEND=$(DEMO_BACKEND) GUIDE_BACKENDS=all $(BIN)/python -m pytest -v \
		--durations=0 integration_tests/test_guides.py

bench: $(TEST_READY)
	for backend in $(TEST_BACKENDS); do \
		KERAS_BACKEND=$$backend $(BIN)/python -m benchmarks.step || exit 1; \
		$(BIN)/python -m benchmarks.first_step --backend $$backend || exit 1; done

HOSTILE_ARGS ?=
hostile: $(TEST_READY)
	for backend in $(TEST_BACKENDS); do \
		KERAS_BACKEND=$$backend $(BIN)/python -m integration_tests.hostile.sweep \
			$(HOSTILE_ARGS) || exit 1; done

# The same tests by the same rules, in an environment with the nightly of this day.
nightly:
	rm -f .venv-nightly/.ready-test
	$(MAKE) VENV=.venv-nightly NIGHTLY=1 $(TEST_BACKENDS:%=test-%)

clean:
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache demo.png
	find keras_kd tests integration_tests guides -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The stamps hold the installing back until what is to be installed changes.
$(DEMO_READY): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing keras_kd with $(DEMO_BACKEND) into $(VENV) ..."
	@start=$$(date +%s); \
	$(PIP) -e '.[$(DEMO_BACKEND),report]' scikit-learn && \
	echo "Installed in $$(($$(date +%s) - start)) s."
	@touch $@

$(TEST_READY): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing keras_kd with three backends and the tools into $(VENV) ..."
	@start=$$(date +%s); \
	$(PIP) -e '.[jax,tensorflow,torch,guides,dev]' && \
	$(if $(NIGHTLY),$(NIGHTLY_INSTEAD) &&) \
	echo "Installed in $$(($$(date +%s) - start)) s."
	@touch $@
