# Two commands for a newcomer: `make demo` and `make test`. Both install what is missing into .venv first.
PYTHON ?= python3
BIN = .venv/bin
MINUTES = 2
COMMANDS = tests/test_readme.py tests/test_cluster.py tests/test_team.py

.PHONY: demo test test-commands test-others lint figures benchmarks soak

demo: .venv/installed
	$(BIN)/unnoise demo --out demo --minutes $(MINUTES)

# The commands of the README and the docs, and what waits for several machines, half of it all, run beside the other tests.
test: .venv/installed lint
	$(MAKE) --jobs=2 test-commands test-others

test-commands:
	$(BIN)/python -m pytest --quiet $(COMMANDS)

test-others:
	$(BIN)/python -m pytest $(COMMANDS:%=--ignore=%)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# torch is asked for by its exact version first, so that a CPU build, where one is offered, is taken.
.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[train,peers,cluster,dev]"
	touch $@

# What the tests try a few times, at the stated numbers: batches stopped at random moments, the corpus as one batch. Five minutes.
soak: .venv/installed
	$(BIN)/python benchmarks/soak.py

# The tables in the README and docs, from benchmarks/results/*.json.
figures: .venv/installed
	$(BIN)/python benchmarks/table.py
	test ! -f demo/picture.png || cp demo/picture.png docs/demo.png

# About six hours on a quiet machine. The free corpus and the test sets are not part of the repository: see docs/reproduce.md.
benchmarks: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[benchmarks]"
	$(BIN)/python benchmarks/noise.py
	$(BIN)/python benchmarks/camera.py
	$(BIN)/python benchmarks/profiles.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/step_time.py
	$(BIN)/python benchmarks/cache.py
	$(BIN)/python benchmarks/bsd68.py
	$(BIN)/python benchmarks/minutes.py
	$(BIN)/python benchmarks/tuning.py
	$(BIN)/python benchmarks/optimisers.py
	$(BIN)/python benchmarks/architectures.py
	$(BIN)/python benchmarks/pareto.py
	$(BIN)/python benchmarks/processes.py
	$(BIN)/python benchmarks/features.py
	$(BIN)/python benchmarks/features.py --judge
	$(BIN)/python benchmarks/perceptual.py
	$(BIN)/python benchmarks/recorded.py
	$(BIN)/python benchmarks/denoise.py
	$(BIN)/python benchmarks/folder.py
	$(BIN)/python benchmarks/cluster.py
	$(BIN)/python benchmarks/int8.py
	$(BIN)/python benchmarks/peer_parameters.py
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/testsets.py
	$(BIN)/python benchmarks/doctor_rule.py
	$(BIN)/python benchmarks/doctor.py
	$(BIN)/python benchmarks/gains.py
	$(BIN)/python benchmarks/growing.py
	$(BIN)/python benchmarks/noisy_only.py --targets pairs blind-spot
	$(BIN)/python benchmarks/fallback.py
	$(BIN)/python benchmarks/clipped.py
	$(BIN)/python benchmarks/invented.py
	$(BIN)/python benchmarks/serve.py
	$(BIN)/unnoise demo --json > benchmarks/results/demo.json
