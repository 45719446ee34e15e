# make demo   sets itself up (the command alone), explains a real photo, says where the picture is
# make test   sets itself up (with all that the tests need), then formatting, lint, types and tests
# make dist   sets itself up; the wheel and the source distribution, in dist/, and the wheel tried
# make bench  sets itself up, with the libraries to compare with; then all benchmarks, in 90 minutes,
#             whose tables and figure it writes into docs/benchmarks.md and .json
# make site   sets itself up, then builds the documentation as a website, site/index.html
# make tables writes the tables of methods, metrics and errors into docs/
# make pictures draws the pictures of the pages of methods and metrics, in an hour
# make notebooks runs the notebooks of examples/ and saves them with what they show
PYTHON ?= python3
VENV   := .venv
BENCH  := .venv-bench
READY  := $(VENV)/.ready
DEMO   := $(VENV)/.ready-for-demo

.PHONY: demo test dist bench site tables pictures notebooks clean

demo: $(DEMO)
	$(VENV)/bin/limelight explain --out limelight-out

test: $(READY)
	VENV=$(VENV) scripts/check

dist: $(READY)
	rm -rf dist
	$(VENV)/bin/python -m build --no-isolation
	$(VENV)/bin/python scripts/smoke.py --here dist/*.whl

bench: $(BENCH)/.ready
	for what in gradcam first_call layouts growth photos agreement metrics family compat deployed page; do \
	  $(BENCH)/bin/python benchmarks/$$what.py --publish || exit 1; \
	done

site: $(READY)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

tables: $(READY)
	$(VENV)/bin/python scripts/tables.py

notebooks: $(READY)
	OMP_NUM_THREADS=1 $(VENV)/bin/python scripts/notebooks.py

pictures: $(READY)
	PYTHONPATH=benchmarks $(VENV)/bin/python scripts/page_pictures.py

# An environment is made once, and again only when what it is made from changes. That of the demo is
# the same one, with less in it.
$(DEMO): needs := --editable '.[cli]'
$(READY): needs := --editable '.[test]'
$(BENCH)/.ready: needs := --editable '.[cli]' --requirement benchmarks/requirements.txt
$(BENCH)/.ready: benchmarks/requirements.txt
$(DEMO) $(READY) $(BENCH)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "limelight needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	       "Say which one to use: make PYTHON=python3.12 test" >&2; exit 2; }
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(needs)
	@touch $@

clean:
	rm -rf $(VENV) $(BENCH) limelight-out dist site
