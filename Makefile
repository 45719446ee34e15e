# make demo   sets itself up, explains a real photo, says where the picture is
# make test   sets itself up, then formatting, lint, types and tests
# make bench  sets itself up, with the libraries to compare with; then all benchmarks, in 90 minutes,
#             whose tables and figure it writes into docs/benchmarks.md and .json
# make tables writes the tables of methods, metrics and errors into README.md and docs/
# make notebooks runs the notebooks of examples/ and saves them with what they show
PYTHON ?= python3
VENV   := .venv
BENCH  := .venv-bench
READY  := $(VENV)/.ready

.PHONY: demo test bench tables notebooks clean

demo: $(READY)
	$(VENV)/bin/limelight explain --out limelight-out

test: $(READY)
	VENV=$(VENV) scripts/check

bench: $(BENCH)/.ready
	for what in gradcam first_call layouts growth photos agreement metrics family compat deployed page; do \
	  $(BENCH)/bin/python benchmarks/$$what.py --publish || exit 1; \
	done

tables: $(READY)
	$(VENV)/bin/python scripts/tables.py

notebooks: $(READY)
	OMP_NUM_THREADS=1 $(VENV)/bin/python scripts/notebooks.py

# An environment is made once, and again only when what it is made from changes.
$(READY): needs := --editable '.[test]'
$(BENCH)/.ready: needs := --editable . --requirement benchmarks/requirements.txt
$(BENCH)/.ready: benchmarks/requirements.txt
$(READY) $(BENCH)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "limelight needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	       "Say which one to use: make PYTHON=python3.12 test" >&2; exit 2; }
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(needs)
	@touch $@

clean:
	rm -rf $(VENV) $(BENCH) limelight-out
