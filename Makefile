# The two commands: `make demo` and `make test`. Each does all its set-up.
PYTHON ?= python3
VENV = .venv
RUN = $(VENV)/bin/python
SOURCES = $(wildcard csrc/*/*.[ch] cysrc/*.pyx cysrc/*.pxi cysrc/*.pxd fuload_exec/include/*.h) \
          setup.py pyproject.toml MANIFEST.in

.PHONY: demo test check lint format coverage conformance bench asan tsan mutants build clean check-system

demo: $(VENV)/.built
	$(RUN) examples/quickstart.py

# What Python has compiled once it need not compile in each process that a test starts.
export PYTHONDONTWRITEBYTECODE =

# Most tests wait for programs to start: four processes are at work on two CPUs.
PARALLEL = -n 4 --dist loadgroup --max-worker-restart 0

test: $(VENV)/.built
	$(RUN) -m pytest $(PARALLEL)

# The quick round: without what starts programs, builds, or repeats races.
check: $(VENV)/.built
	$(RUN) -m pytest $(PARALLEL) -m "not program and not build and not stress"

# CPython's own tests of process pools, in all their flavours (make test has one).
conformance: $(VENV)/.built
	FULOAD_FLAVOURS="Spawn Fork Forkserver" $(RUN) -m pytest $(PARALLEL) tests/conformance

# What is wrong or not formatted, in Python, C, Cython and English.
lint: $(VENV)/.lint
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/clang-format --dry-run -Werror csrc/*/*.[ch] fuload_exec/include/fuload.h
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV)/bin/cython-lint cysrc/*.pyx cysrc/*.pxi cysrc/*.pxd
	$(VENV)/bin/codespell fuload_exec tests benchmarks examples docs csrc cysrc *.md

format: $(VENV)/.lint
	$(VENV)/bin/ruff format
	$(VENV)/bin/clang-format -i csrc/*/*.[ch] fuload_exec/include/fuload.h

# Which lines of Python, Cython and C the tests run: build/coverage/report.txt.
coverage: $(VENV)/.coverage
	$(RUN) tests/measure_coverage.py

bench: $(VENV)/.bench
	$(RUN) -m pytest benchmarks -c benchmarks/pytest.ini

# The C core under the sanitizers, with its C-level tests.
asan tsan:
	$(MAKE) -C tests/protocol $@

# Faults put into the C core one at a time: its tests must catch each.
mutants:
	$(PYTHON) tests/protocol/mutants.py

build: $(VENV)/.built

$(VENV)/.built: $(SOURCES) | check-system
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

$(VENV)/.lint: $(VENV)/.built
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[lint]'
	touch $@

$(VENV)/.coverage: $(VENV)/.built
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[coverage]'
	touch $@

$(VENV)/.bench: $(VENV)/.built
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[bench]'
	touch $@

# One sentence for each thing that only the system's packages can bring.
CC ?= cc
check-system:
	@command -v $(PYTHON) >/dev/null || { echo "Python is missing: 'apt-get install python3' brings it." >&2; exit 1; }
	@command -v $(CC) >/dev/null || { echo "A C compiler is missing: 'apt-get install gcc libc6-dev' brings one." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "Python's venv module is missing: 'apt-get install python3-venv' brings it." >&2; exit 1; }
	@echo '#include <stdio.h>' | $(CC) -E - >/dev/null 2>&1 || \
	    { echo "The header stdio.h is missing: 'apt-get install libc6-dev' brings it." >&2; exit 1; }
	@echo '#include <Python.h>' | $(CC) -I"$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')" -E - >/dev/null 2>&1 || \
	    { echo "The header Python.h is missing: 'apt-get install python3-dev' brings it." >&2; exit 1; }
	@echo '#include <ffi.h>' | $(CC) -E - >/dev/null 2>&1 || \
	    { echo "The header ffi.h is missing: 'apt-get install libffi-dev' brings it." >&2; exit 1; }

clean:
	rm -rf $(VENV) build dist *.egg-info fuload_exec/bin fuload_exec/lib fuload_exec/*.so cysrc/*.c tests/protocol/build
