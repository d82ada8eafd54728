# demo: see a rebuild    test: everything    check: the fast part    bench: the figures
# next: how far the next Ansible is    test-online: with images that only registries have
.PHONY: demo test check-and-lab lab long long-lab long-rest test-online next roles check setup bench clean ruff mypy yamllint ansible-lint shellcheck unit
SCENARIOS = $(patsubst molecule/%/molecule.yml,%,$(wildcard molecule/*/molecule.yml))
# With applications that are large and slow to start.
LONG_SCENARIOS = chat inference_vulkan labelling
play = for scenario in $(1); do molecule test --scenario-name $$scenario || exit 1; done
PYTEST = .venv/bin/python -m pytest
export PATH := $(CURDIR)/.venv/bin:$(PATH)

demo: setup
	@tools/demo

# The roles' containers wait for themselves much of the time, so they have company from the beginning.
test: setup
	@$(MAKE) --no-print-directory --jobs=2 roles check-and-lab

check-and-lab:
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory lab

lab:
	$(PYTEST) --numprocesses 2 --dist loadfile -m "(lab or packaging) and not long" --durations=0 tests

# What takes too long for continuous integration: before a release, on a quiet machine. The virtual machines' tests follow
# one another, and what needs none runs beside them.
long: setup
	@$(MAKE) --no-print-directory --jobs=2 --keep-going long-lab long-rest

long-lab:
	$(PYTEST) -m "long and lab" --durations=0 tests

long-rest:
	$(PYTEST) -m "long and not lab" --durations=0 tests
	export ROUNDS=10; $(call play,$(LONG_SCENARIOS) floating_ip vpn)
	export SECONDS=300 REAL_MODEL=1; $(call play,inference)
	export IMAGE=debian13-next-docker; $(call play,docker app_stacks)

# Where registries are reached: with the images that are published there.
test-online: setup
	ONLINE=1 molecule test --scenario-name applications
	ONLINE=1 molecule test --scenario-name pihole

roles:
	@$(call play,$(filter-out $(LONG_SCENARIOS),$(SCENARIOS)))

check: setup
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target mypy unit ansible-lint ruff yamllint shellcheck

ruff:
	ruff check .
	ruff format --check .

mypy:
	mypy

yamllint:
	yamllint --strict .

ansible-lint:
	ansible-lint --offline

shellcheck:
	shellcheck $$(git grep -lE '^#!/bin/(ba)?sh' -- ':!*.md' ':!*.py')

# Many wait for programs that they have started: one more at once than there are processors here.
unit:
	$(PYTEST) -q --numprocesses 3 --dist loadfile -m "not lab and not packaging and not long" -o faulthandler_timeout=300 tests

setup:
	@tools/setup

next:
	@tools/next-ansible

bench: setup
	python -m bench

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache dist
