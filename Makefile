# Two commands on a fresh machine with Python >= 3.11: `make quick` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
# One thread per process: tests and trials run side by side on all cores.
export OMP_NUM_THREADS := 1

.PHONY: quick test cluster-test chaos bench bench-sweep bench-scale bench-cluster bench-assess mutants gpu gpu-wheels lint install clean

quick: install
	$(BIN)/dptq-sweep launch --grid quick

test: install
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

# The quick grid on several Ray nodes of this machine, one of which goes away: storage on S3, runs on an MLflow server.
cluster-test: install
	DPTQ_CLUSTER=1 $(BIN)/python -m pytest tests/orchestrator/launch/test_cluster.py -v

# Hurts sweeps in every way we know and checks that they recover, about 20 minutes; Linux, as root for the full disk.
KILLS ?= 10
chaos: install
	DPTQ_CHAOS=$(KILLS) $(BIN)/python -m pytest tests/orchestrator/launch/test_chaos.py -v

# Speed against bars and peers, about 1 minute: bench.json holds every timing, bench.md the table.
bench: .venv/bench-installed
	$(BIN)/python -m pytest tests/benchmarks -o python_files='bench_*.py' -o python_functions='bench_*' \
		--benchmark-json=bench.json --benchmark-columns=min,median,rounds
	$(BIN)/python -m tests.benchmarks.figures bench.json > bench.md
	@cat bench.md

# What orchestration costs: runs the quick grid into a fresh folder, about 4 minutes, and reads its timestamps.
bench-sweep: .venv/bench-installed
	folder=$$(mktemp -d) && $(BIN)/dptq-sweep launch --grid quick --storage $$folder && \
		$(BIN)/python -m tests.benchmarks.sweep_overhead $$folder

# What 2,000 trials cost the driver, about 16 minutes: they only sleep.
bench-scale: .venv/installed
	$(BIN)/python -m tests.benchmarks.sweep_scale

# How busy 64 workers are with 1,000 trials that wait for their parents, about 10 minutes: they only sleep.
bench-cluster: .venv/installed
	$(BIN)/python -m tests.benchmarks.sweep_cluster

# Which tools notice a network that was made to fail, 6 minutes: trains what FOLDER does not hold yet.
# AIMET and ModelOpt are in a venv of their own: nothing else here needs them or what they bring along.
FOLDER ?= .peers/networks
bench-assess: .peers/installed
	.peers/venv/bin/python -m tests.benchmarks.assess_peers $(FOLDER) $(ARGS)

# Whether the tests notice small changes of the code, 150 of them, at most 30 minutes on 2 cores. SEED=7: those of that seed.
mutants: .venv/mutants-installed
	$(BIN)/python -m tests.mutants.run --seed "$(SEED)" $(ARGS)

# Settles what only a GPU can tell, in nine minutes, and needs no installation; again, it goes on. ARGS=--tiny: on a CPU.
gpu:
	$(PYTHON) tests/gpu/run.py $(ARGS)

# What a bare GPU machine lacks, for `make gpu` there: wheels for its Python and CIFAR-10, 40 MiB at most, into .gpu/bring.
gpu-wheels: .venv/installed
	$(BIN)/python -m tests.gpu.collect $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python {v[0]}.{v[1]} is too old: install 3.11 or newer, or name it with PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test]'
	# Its wheel ships a real classifier for the tests; the packages that it needs to run are left out.
	$(BIN)/pip install --quiet --no-deps -c constraints.txt 'rapidocr-onnxruntime; python_version < "3.13"'
	touch $@

.venv/bench-installed: .venv/installed
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test,bench]'
	touch $@

.peers/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .peers/venv
	.peers/venv/bin/pip install --quiet -c constraints.txt -e '.[peers]'
	touch $@

.venv/mutants-installed: .venv/installed
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test,mutants]'
	touch $@

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .peers *.egg-info bench.json bench.md .mutants .gpu/work gpu-results
