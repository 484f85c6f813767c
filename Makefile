# Each target installs what it needs into .venv once; a second run installs nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BASE := $(VENV)/.base
INSTALLED := $(VENV)/.installed
# torch's build for CPUs takes 6 GB less than its build with CUDA, which is installed on machines that have an NVIDIA
# GPU or submit to Slurm, and wherever CPU_TORCH is empty: make CPU_TORCH=
CPU_TORCH ?= https://download.pytorch.org/whl/cpu
WITH_CUDA := { test -z "$(CPU_TORCH)" || test "$$(uname -sm)" != "Linux x86_64" || test -e /dev/nvidiactl || \
	command -v nvidia-smi >/dev/null || command -v sbatch >/dev/null; }
LATEST := .venv-latest
MODEL ?= wav2vec2
SECONDS ?= 600
SEED ?= 19
LOOSE := --allow-untyped-defs --allow-untyped-calls --allow-incomplete-defs --allow-any-generics \
	--no-warn-return-any --no-warn-unused-ignores --cache-dir .mypy_cache/loose
ALONE := unshare --pid --fork --mount-proc --kill-child
PATIENCE := -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20
INSTALL_SLURM := { test $$(id -u) = 0 && apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends slurm-wlm munge; }

.PHONY: demo test check types docs test-slow chaos fuzz test-gpu test-slurm test-browser chromium test-latest format clean

demo: $(BASE)
	$(BIN)/nonverbal demo $(if $(filter-out wav2vec2,$(MODEL)),--pretraining recipes/demo_$(MODEL).yaml --out runs/demo-$(MODEL))

# One worker per core, and one thread per worker. The tests of a file stay together, because they share fixtures.
# tests/conftest.py orders the files, the longest first.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory types

# Tests and benchmarks need not annotate their own functions.
types: $(INSTALLED)
	$(BIN)/mypy
	$(BIN)/mypy $(LOOSE) tests benchmarks

docs: $(INSTALLED)
	$(BIN)/python -m mkdocs build --quiet
	@echo "wrote build/site: open build/site/index.html"

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow

test-gpu: $(INSTALLED)
	$(BIN)/python -m pytest -m gpu

chaos: $(INSTALLED)
	$(BIN)/python -m pytest -m chaos tests/chaos

# Gives hostile files to everything that reads files, for SECONDS in all, and continues where the last call ended. Files
# that break a target are kept in build/fuzz; to replay one: .venv/bin/python tests/fuzz/harness.py --replay FILE
fuzz: $(INSTALLED)
	$(BIN)/python tests/fuzz/harness.py --seconds $(SECONDS) --seed $(SEED) $(FUZZ)

# The tests start and stop their own Slurm, with two nodes on this machine. If the kernel allows it, they run in their
# own process namespace, so that no process outlives tests that are killed.
test-slurm: $(INSTALLED)
	@for program in slurmctld slurmd munged; do command -v $$program >/dev/null || missing=1; done; \
		test -z "$$missing" || $(INSTALL_SLURM) || { echo "Slurm is missing: apt-get install slurm-wlm munge;" \
		"in a Debian or Ubuntu container, as root, this target does so itself"; exit 2; }
	$$($(ALONE) true 2>/dev/null && echo $(ALONE)) $(BIN)/python -m pytest -m slurm

# Tests the report in Debian's Chromium, without a window.
test-browser: $(INSTALLED) chromium
	$(BIN)/python -m pytest -m browser tests/report

chromium:
	@command -v chromium >/dev/null || { test $$(id -u) = 0 && apt-get update -qq $(PATIENCE) && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(PATIENCE) chromium; } || \
		{ echo "Chromium is missing: apt-get install chromium; in a Debian container, as root, this target does so itself"; exit 2; }

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The packages that a user needs. If CPU_TORCH cannot be reached, PyPI's torch is installed, which is built for CUDA.
$(BASE): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer with venv is needed: apt-get install python3-venv, or make PYTHON=..."; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(WITH_CUDA) || $(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt --retries 1 \
		--timeout 20 --index-url $(CPU_TORCH) torch torchaudio 2>/dev/null || \
		echo "cannot get torch for CPUs from $(CPU_TORCH): installing PyPI's, which takes 6 GB more"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

# The packages that tests and pages need in addition. fairseq2 works only with torch's build with CUDA. DS_BUILD_OPS=0:
# DeepSpeed compiles its operators when they are first used, not here.
$(INSTALLED): $(BASE)
	@command -v g++ >/dev/null || { echo "g++ is missing: apt-get install g++ (DeepSpeed and torch.compile need it)"; exit 2; }
	DS_BUILD_OPS=0 $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable \
		".[$$($(BIN)/python -m pip list | grep -q '^torch .*+cpu' || echo fairseq2,)deepspeed,opensmile,datasets,lora,speech,docs,dev]"
	touch $@

# The newest transformers 5.x and the newest torch that torchaudio allows, in a separate environment. torchaudio does
# not declare which version of torch it needs, and works only with its own.
test-latest: $(LATEST)/.installed
	$(LATEST)/bin/python -m pytest

$(LATEST)/.installed: pyproject.toml
	test -x $(LATEST)/bin/python || $(PYTHON) -m venv $(LATEST)
	$(LATEST)/bin/python -m pip install --quiet --upgrade torchaudio
	$(LATEST)/bin/python -m pip install --quiet --upgrade --editable '.[dev]' 'transformers>=5,<6' \
		"torch==$$($(LATEST)/bin/python -c 'from importlib.metadata import version; print(version("torchaudio").split("+")[0])').*"
	touch $@

clean:
	rm -rf $(VENV) $(LATEST) dist build
