# Two commands set everything up on a fresh machine:   make demo     and     make test
# They need only python3 (3.11 or newer, with venv) and make.
# PY=python3.12 picks another Python, VENV=... puts the environment elsewhere, and NOVENV=1 uses the
# current environment as it is (a GPU image without network access, say).
PY     ?= python3
VENV   ?= .venv
OUT    ?= runs/iris
ifdef NOVENV
  RUN   := PYTHONPATH=$(CURDIR) $(PY)
  READY :=
else
  RUN   := $(VENV)/bin/python
  READY := $(VENV)/.ready
endif
# A wider thread pool than small machines get: see tests/solvers/test_jax_regressions.py.
export NPROC ?= 16
# Threads of BLAS that wait for one another cost more than they save where test processes share the cores.
export OPENBLAS_NUM_THREADS ?= 1

# Part of the tests is compiled as users do, with all of XLA's optimisations, which the rest of the suite goes
# without for time. What may differ: states and reactions of all boundaries, training, and runs that must end in the
# same bits.
OPTIMIZED := tests/equilibrium tests/solvers/test_jax_regressions.py \
  $(addprefix tests/training/test_train.py::, test_training_is_plain_descent \
    test_one_network_is_an_ensemble_of_one test_blocks_change_nothing \
    test_an_interrupted_run_resumes_to_the_last_bit test_a_failure_is_isolated)

.PHONY: demo test lint docs notebooks clean
demo: $(READY)
	$(RUN) -m jaxphys train examples/iris.toml --out $(OUT) --force

test: lint
	$(RUN) -m pytest -q -n 2 --durations=15 $(foreach test,$(OPTIMIZED),--deselect=$(test))
	JAXPHYS_TEST_FLOAT32=1 $(RUN) -m pytest -q -n 2
	XLA_FLAGS= $(RUN) -m pytest -q -n 2 $(OPTIMIZED)

lint: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# Warnings (links that lead nowhere, names that are gone) are errors. Then open build/docs/index.html.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

# Runs every notebook at full size (some five minutes) and writes its outputs.
notebooks: $(READY)
ifndef NOVENV
	$(RUN) -m pip install -q -e '.[notebooks]'
endif
	$(RUN) notebooks/execute.py

clean:
	rm -rf $(VENV) runs build/docs

$(VENV)/.ready: pyproject.toml
	@$(PY) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "jaxphys needs Python 3.11 or newer; try: make PY=python3.12 demo")'
	$(PY) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -q -e '.[test]'
	@touch $@
