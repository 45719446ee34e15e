# make demo   sets itself up, explains a real photo, says where the picture is
# make test   sets itself up, then formatting, lint, types and tests
PYTHON ?= python3
VENV   := .venv
READY  := $(VENV)/.ready

.PHONY: demo test bench clean

demo: $(READY)
	$(VENV)/bin/limelight explain --out limelight-out

test: $(READY)
	VENV=$(VENV) scripts/check

bench: $(READY)
	$(VENV)/bin/python benchmarks/gradcam_over_forward.py

# The environment is made once, and again only when pyproject.toml changes.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "limelight needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	       "Say which one to use: make PYTHON=python3.12 test" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) limelight-out
