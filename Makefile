# demo: see a rebuild    test: everything    check: the fast part    bench: the figures
.PHONY: demo test check setup bench clean
PYTEST = .venv/bin/python -m pytest

demo: setup
	tools/demo

test: setup
	$(MAKE) --no-print-directory check
	PATH="$$PWD/.venv/bin:$$PATH" molecule test --scenario-name base
	$(PYTEST) -m "lab or packaging" --durations=0 tests

check: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/yamllint --strict .
	.venv/bin/ansible-lint --offline
	shellcheck $$(git grep -lE '^#!/bin/(ba)?sh' -- ':!*.md')
	$(PYTEST) -q -m "not lab and not packaging" tests

setup:
	@tools/setup

bench: setup
	.venv/bin/python -m bench

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache dist
