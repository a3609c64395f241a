# One entry for everything. Each target sets up .venv by itself; nothing has to be run before.

.DEFAULT_GOAL := help
.PHONY: help setup judges demo test check fix unit contract sim trouble soak bench docs dist serve new-channel

# The tests start two hundred processes; each would compile the sources anew if Python kept nothing.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
PYTHON_FOLDERS = src tests scripts $(wildcard benchmarks)

# Words handed on to the command, as in: make demo ARGS="--break wrong-bitmap"
ARGS ?=
# Where `make serve` keeps its data, and the port it listens on.
DATA ?= data
PORT ?= 8080
# How long `make soak` goes on.
SECONDS ?= 180
# The vendor that `make new-channel` begins, as in: make new-channel NAME=acme
NAME ?=

help:  ## print this table
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup:  ## prepare .venv (every other target does this by itself)
	@sh scripts/setup.sh

judges: setup  ## fetch other people's senders for the tests that use them (once; optional)
	@sh scripts/judges.sh

demo: setup  ## run the whole service against its sandbox and check the books (a minute)
	@$(BIN)/tocsin demo $(ARGS)

test: check judges  ## check everything, then run every test, on every core
	@$(BIN)/pytest --numprocesses auto --maxprocesses 8 --dist loadfile $(ARGS)

check: setup  ## lint, formatting and types over sources, tests and benchmarks
	@$(BIN)/ruff check $(PYTHON_FOLDERS)
	@$(BIN)/ruff format --check $(PYTHON_FOLDERS)
	@$(BIN)/mypy $(PYTHON_FOLDERS)

fix: setup  ## repair what ruff can repair, and format
	@$(BIN)/ruff check --fix $(PYTHON_FOLDERS)
	@$(BIN)/ruff format $(PYTHON_FOLDERS)

unit: setup  ## run the unit and architecture tests only (seconds)
	@$(BIN)/pytest tests/unit tests/architecture $(ARGS)

contract: setup  ## run the suite that every adapter must pass
	@$(BIN)/pytest tests/contract $(ARGS)

sim: setup  ## run the simulator; SEED=n repeats one run
	@TOCSIN_SEED=$(SEED) $(BIN)/pytest tests/sim $(ARGS)

trouble: setup  ## try every trouble of every length with up to 2,000 devices (long: 520 cases, up to a minute each)
	@TOCSIN_TROUBLE=1 $(BIN)/pytest tests/sim/test_trouble.py tests/wire/test_trouble.py --numprocesses auto --maxprocesses 8 --dist worksteal $(ARGS)

soak: setup  ## pester a served process for SECONDS=180 and see that its memory stays
	@TOCSIN_SOAK_S=$(SECONDS) $(BIN)/pytest tests/wire/test_soak.py tests/wire/test_hostile.py tests/wire/test_hostile_service.py $(ARGS)

bench: setup  ## print the figures, each as a ratio against something run beside it
	@$(BIN)/python -m benchmarks $(ARGS)

docs: setup  ## write the generated pages of docs/ anew
	@$(BIN)/python scripts/docs.py

dist: setup  ## build the wheel and what an installation needs beside it into dist/
	@$(BIN)/python scripts/dist.py

serve: setup  ## serve on PORT=8080 with DATA=data
	@$(BIN)/tocsin serve --data $(DATA) --port $(PORT) $(ARGS)

new-channel: setup  ## begin a vendor: make new-channel NAME=acme
	@$(BIN)/python scripts/new_channel.py $(NAME)
