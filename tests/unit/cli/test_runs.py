"""What the command says of runs, machines and the site: data on standard output, tables for people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from homelab_provision.events import Outcome, RunResult
from homelab_provision.runs import store
from homelab_provision.runs.store import Request, Run
from tests.unit.cli.command import KEYS, PLAN, Provision, proven_journal, provision, site
from tests.unit.report.journal import Journal

__all__ = ["provision", "site"]  # fixtures
PHASE_KEYS = ["name", "result", "seconds", "proof"]


def record(root: Path, journal: Journal) -> Run:
    run = store.start(Request(command="rebuild", site=root, host="db-wyse", onto="wyse-x"))
    for event in journal.events:
        run.append(event)
    return run


def test_runs_show_prints_exactly_the_promised_object(provision: Provision, site: Path) -> None:
    run = record(site, proven_journal())
    run.write("plan.json", PLAN.model_dump_json())
    shown = provision("runs", "show", "latest", "--json")
    assert shown.code == 0
    one = json.loads(shown.out)
    assert list(one) == KEYS
    assert [list(phase) for phase in one["phases"]] == [PHASE_KEYS, PHASE_KEYS]
    assert one == {
        "run": run.id,
        "host": "db-wyse",
        "machine": "wyse-b",
        "site": "home",
        "result": "proven",
        "seconds": 32.5,
        "phases": [
            {"name": "preflight", "result": "ok", "seconds": 2.0, "proof": {"machine": "wyse-b"}},
            {"name": "boot", "result": "ok", "seconds": 30.5, "proof": {"boot_id": "b"}},
        ],
    }


def test_runs_list_prints_the_same_objects_oldest_first(provision: Provision, site: Path) -> None:
    assert json.loads(provision("runs", "list", "--json").out) == []
    record(site, proven_journal())
    (listed,) = json.loads(provision("runs", "list", "--json").out)
    assert listed == json.loads(provision("runs", "show", "--json").out)


@pytest.mark.parametrize(("result", "error"), [(RunResult.REFUSED, "not empty"), (RunResult.UNPROVEN, "2 failed")])
def test_a_run_that_is_not_proven_says_why(provision: Provision, site: Path, result: RunResult, error: str) -> None:
    journal = Journal()
    journal.run()
    journal.phase("identify", 1.0, result=Outcome.FAILED, error=error)
    journal.end(result, 1.0, error)
    record(site, journal)
    one = json.loads(provision("runs", "show", "--json").out)
    assert (one["result"], one["note"], one["phases"][0]["result"]) == (result, error, "failed")
    assert list(one) == [*KEYS, "note"]


def test_runs_for_people_are_tables_on_standard_output(provision: Provision, site: Path) -> None:
    run = record(site, proven_journal())
    listed = provision("runs", "list")
    assert run.id in listed.out
    assert "proven" in listed.out
    shown = provision("runs", "show", run.id[:4])
    assert "boot_id=b" in shown.out
    assert (listed.err, shown.err) == ("", "")


@pytest.mark.usefixtures("site")
def test_machines_and_config_are_data_on_standard_output(provision: Provision) -> None:
    listed = provision("machines", "list", "--json")
    assert [(one["name"], one["plays"]) for one in json.loads(listed.out)] == [("wyse-a", "db-wyse"), ("wyse-b", None)]
    shown = provision("config", "show", "--json")
    assert "db-wyse" in json.loads(shown.out)["hosts"]
    assert (listed.err, shown.err) == ("", "")
