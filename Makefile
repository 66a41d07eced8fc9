# Every target sets up what it needs: .venv on first use, and again when the dependencies change.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PYTHON313 ?= $(shell for python in python3.13 $$(pyenv root 2>/dev/null)/versions/3.13*/bin/python; do \
  "$$python" -c '' 2>/dev/null && echo "$$python" && break; done)
BIN := .venv/bin
# The tests start a hundred Pythons; without its bytecode each would compile the project anew.
unexport PYTHONDONTWRITEBYTECODE
DURATION ?= 30s
INPUTS ?= 100000
SECONDS ?= 600
PROTO := protos/worldforge/jepa/v1
STUBS := worldforge_jepa_client/v1
# Mapping the proto's folder onto the package's gives the stubs imports that work, with nothing to rewrite.
PROTOC = $(BIN)/python -m grpc_tools.protoc -I$(STUBS)=$(PROTO) $(PROTO)/jepa.proto
RECORDING = $(BIN)/python -m grpc_tools.protoc -I$(STUBS)=$(PROTO) $(PROTO)/recording.proto
# Its messages get a descriptor pool of their own, so it needs descriptors and no stubs.
INFERENCE := server/worldforge_jepa_server/rpc/open_inference/open_inference.binpb
DESCRIBE = $(BIN)/python -m grpc_tools.protoc -Iprotos protos/inference/open_inference.proto --descriptor_set_out

.PHONY: help setup lock generate baseline lint test test-secured test-ray worldforge evidence matrix hosts proxies \
  diagnose-faults demo serve serve-ray bench bench-scale load fuzz soak train evaluate clean

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 17

setup: .venv/ready ## create .venv with everything for development

.venv/ready: pyproject.toml constraints-dev.txt
	@echo "making .venv: pip's torch for Linux has CUDA, about 5 GB in all; CONTRIBUTING.md has the CPU build"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --constraint constraints-dev.txt --editable '.[dev]'
	@touch $@

# One lock file for every Python that is supported, with one version of each package wherever there is one for all.
lock: .venv/ready ## renew constraints-dev.txt, the versions that development uses
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.10 --fork-strategy fewest --no-annotate \
	  --no-emit-package worldforge-jepa --extra dev --extra worldforge --custom-compile-command 'make lock' \
	  --output-file constraints-dev.txt pyproject.toml

# WorldForge needs Python 3.13; there the client is tested as its users install it, without torch.
.venv-worldforge/ready: pyproject.toml constraints-dev.txt
	@if [ -n "$(PYTHON313)" ]; then \
	  "$(PYTHON313)" -m venv .venv-worldforge && \
	  .venv-worldforge/bin/pip install --constraint constraints-dev.txt --editable '.[worldforge]' pytest && touch $@; \
	else echo "no Python 3.13 here: the WorldForge tests will be skipped"; fi

generate: .venv/ready ## regenerate what is made from other files: the stubs, pages of docs, the blocking client
	$(PROTOC) --python_out=. --pyi_out=. --grpc_python_out=.
	$(RECORDING) --python_out=. --pyi_out=.
	$(DESCRIBE)=$(INFERENCE)
	$(BIN)/python scripts/async_to_sync.py
	$(BIN)/python -m scripts.pages

baseline: .venv/ready ## make the proto as it is the one that lint lets no later proto break; at a release
	$(BIN)/buf build protos --exclude-source-info --output protos/baseline.binpb

lint: .venv/ready ## ruff, mypy, import rules, buf, and generated files that are up to date
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/buf lint protos
	$(BIN)/buf breaking protos --against protos/baseline.binpb
	@rm -rf build/stubs && mkdir -p build/stubs
	$(PROTOC) --python_out=build/stubs --pyi_out=build/stubs --grpc_python_out=build/stubs
	$(RECORDING) --python_out=build/stubs --pyi_out=build/stubs
	diff -r -x __init__.py -x __pycache__ build/stubs/$(STUBS) $(STUBS)
	$(DESCRIBE)=build/open_inference.binpb
	cmp build/open_inference.binpb $(INFERENCE)
	$(BIN)/python -m scripts.pages --check
	$(BIN)/python scripts/async_to_sync.py --check

# Two processes, since most of a test's time is the wait for a server; a module's tests stay together. CI also has the time
# for another Python.
test: lint .venv-worldforge/ready ## everything CI runs
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder
	$(MAKE) test-ray
	$(if $(CI),$(MAKE) matrix RUNS=3.13)

# The tests of faults, whose servers and channels become secured ones without a change to the tests. Left out are those
# that need a plain server of their own, and one that counts steps while TLS's own work goes on beside it.
FAULTS := rpc/test_failures.py rpc/test_intake.py rpc/test_lifecycle.py rpc/test_resilience.py client/test_connections.py \
  client/test_fork.py external/test_foreign_failures.py external/test_foreign_inputs.py runtime/test_fairness.py \
  runtime/test_latents.py runtime/test_plans.py runtime/test_streams.py \
  $(foreach side,aio sync,$(side)/test_closing.py $(side)/test_refusals.py $(side)/test_session_failures.py)

test-secured: .venv/ready ## the tests of faults again, with TLS, tokens, metrics that are scraped and a JSON log everywhere
	$(BIN)/pytest --secured -n 2 --dist loadfile $(addprefix tests/,$(FAULTS)) \
	  -k 'not another_service and not until_the_models and not delay_another'

test-ray: .venv/ready ## the part of the tests that runs through Ray Serve, which takes a minute to start
	$(BIN)/pytest -m ray tests/ray

worldforge: .venv/ready .venv-worldforge/ready ## the tests that meet WorldForge; WORLDFORGE_REPO=PATH uses a checkout's code
	$(BIN)/pytest -q tests/provider

evidence: .venv/ready .venv-worldforge/ready ## rewrite docs/evidence by smokes of the embedded model and of random weights
	$(BIN)/python scripts/evidence.py

diagnose-faults: .venv/ready ## inject each fault of the table into logs, and see that diagnose names it; SEED=7 draws others
	$(BIN)/python -m tests.diagnosis.table --seed $(or $(SEED),0)

hosts: .venv/ready ## build the hosts in other languages, and write the table of docs/hosts.md by what they do
	WRITE_HOSTS=1 $(BIN)/pytest -q tests/interop/test_hosts.py

proxies: .venv/ready ## hold each installed proxy to every promise of the proto, the slow ones too
	ALL_PROMISES=1 $(BIN)/pytest -q tests/interop/test_proxies.py

matrix: .venv/ready ## lint and tests on each Python found, and with the lowest and newest dependencies; RUNS="3.10 lowest"
	$(BIN)/python scripts/matrix.py $(RUNS)

serve: .venv/ready ## serve the embedded model on 127.0.0.1:50051
	$(BIN)/worldforge-jepa-server

serve-ray: .venv/ready ## serve on Ray Serve as deploy/ray/serve.yaml says: two replicas behind 127.0.0.1:50051
	$(BIN)/python -m worldforge_jepa_server.scale.ray_serve deploy/ray/serve.yaml

demo: .venv/ready ## a server and a planner in two processes; writes build/demo.png
	$(BIN)/python -m examples.two_room.demo

bench: .venv/ready ## measure speed, memory and responsiveness; writes benchmarks/results/ and the tables of README and docs
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.summary

bench-scale: .venv/ready ## measure plain servers and Ray Serve; writes benchmarks/results/scale_*, and the README's table
	$(BIN)/python -m benchmarks scale.latency scale.replicas
	$(BIN)/python -m benchmarks.summary

# A CUDA image has no .venv of ours: any Python with torch, numpy, grpcio, grpcio-status, protobuf and pytest does.
.PHONY: gpu-check
gpu-check: ## test and measure the native models on CUDA; writes benchmarks/results/gpu.md
	PYTHONPATH=.:server $(or $(wildcard $(BIN)/python),$(PYTHON)) -m benchmarks.models.gpu

load: .venv/ready ## load a server, with ghz if it is installed; DURATION=600s soaks, TARGET=host:port names the server
	$(BIN)/python -m benchmarks.load --duration $(DURATION) $(if $(TARGET),--target $(TARGET))

fuzz: .venv/ready ## send hostile inputs to a server of its own, and watch its health and memory; INPUTS=100000
	$(BIN)/python -m tests.fuzz --inputs $(INPUTS)

soak: .venv/ready ## planners beside hostile clients; writes the figures to docs/reliability.md; SECONDS=600
	$(BIN)/python -m benchmarks.soak --seconds $(SECONDS)

train: .venv/ready ## retrain the embedded model from nothing and write its weights and card
	$(BIN)/python -m examples.two_room.training.train

evaluate: .venv/ready ## measure the embedded model on held-out scenes
	$(BIN)/python -m examples.two_room.training.evaluate

clean: ## remove everything that make has made
	rm -rf .venv .venv-worldforge build .mypy_cache .pytest_cache .ruff_cache
