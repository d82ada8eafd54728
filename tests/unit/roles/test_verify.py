"""The runner of the roles' tests."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest
import testinfra

from homelab_provision import paths
from homelab_provision.doors.verify import Verdict, VerifyReport, folders_of, parse, plain_name, pytest_argv, verify
from homelab_provision.errors import ProvisionError
from homelab_provision.events import Event, Progress, discard

JUNIT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests"><testsuite name="pytest" tests="4">
<testcase classname="base.verify.test_base" name="test_a[ssh://db-wyse]" time="0.5" />
<testcase classname="base.verify.test_base" name="test_b[ssh://db-wyse-ssh.service]" time="0.1">
  <failure message="assert 1 == 2">long\nevidence</failure></testcase>
<testcase classname="postgres.verify.test_sql" name="test_c" time="0"><skipped message="no nonce">x</skipped></testcase>
<testcase classname="postgres.verify.test_sql" name="test_d" time="1"><error message="no host">gone</error></testcase>
</testsuite></testsuites>"""

TESTS = """
import pytest

def test_good(expected):
    assert expected["nonce"] == "n-1"

def test_nobody_told(expected):
    expected["mirror"]

@pytest.mark.machine("it has no disk")
def test_machine():
    pass

@pytest.mark.negative
def test_bad():
    assert "seen" == "expected"
"""


def test_junit_becomes_a_report() -> None:
    report = VerifyReport("db-wyse", parse(JUNIT, "db-wyse"), 2.0)
    assert [(test.role, test.name, test.outcome) for test in report.tests] == [
        ("base", "test_a", Verdict.PASSED),
        ("base", "test_b[ssh.service]", Verdict.FAILED),
        ("postgres", "test_c", Verdict.SKIPPED),
        ("postgres", "test_d", Verdict.ERROR),
    ]
    assert report.proof() == {"passed": 1, "failed": 2, "skipped": 1}
    assert report.failures() == ["base: test_b[ssh.service]: long\nevidence", "postgres: test_d: gone"]
    assert not report.ok


@pytest.mark.negative
def test_a_host_of_which_nothing_was_tested_is_not_proven() -> None:
    assert not VerifyReport("db", (), 0.0).ok


def test_names_lose_the_host_but_not_the_case() -> None:
    assert plain_name("test_x[ssh://a.b-c]", "a.b-c") == "test_x"
    assert plain_name("test_x[ssh://a.b-c-80-tcp]", "a.b-c") == "test_x[80-tcp]"
    assert plain_name("test_x[plain]", "a") == "test_x[plain]"


def test_facts_go_by_file_and_foreign_configuration_stays_out(tmp_path: Path) -> None:
    argv = pytest_argv(
        "db",
        [tmp_path / "base" / "verify"],
        ssh_config=tmp_path / "c",
        root=tmp_path,
        facts=tmp_path / "f",
        results=tmp_path / "r",
    )
    assert "--hosts=ssh://db" in argv
    assert f"--ssh-config={tmp_path}/c" in argv
    assert f"--expected={tmp_path}/f" in argv
    assert argv[argv.index("-c") + 1] == "/dev/null"


@pytest.mark.negative
def test_a_role_that_nobody_can_prove_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match="no tests for: vpn"):
        folders_of(tmp_path, ["vpn"])


@pytest.fixture
def roles(tmp_path: Path) -> Path:
    folder = tmp_path / "roles" / "toy" / "verify"
    folder.mkdir(parents=True)
    shutil.copy(paths.content("roles") / "conftest.py", tmp_path / "roles")
    (folder / "test_toy.py").write_text(TESTS)
    return tmp_path / "roles"


@pytest.mark.processes
def test_tests_run_in_a_pytest_of_their_own(tmp_path: Path, roles: Path) -> None:
    events: list[Event] = []
    facts = {"nonce": "n-1", "machine": "container"}
    report = verify(
        "db",
        ["toy"],
        ssh_config=tmp_path / "ssh_config",
        expected=facts,
        artifacts=tmp_path / "verify",
        emit=events.append,
        roles_root=roles,
    )
    assert {test.name: test.outcome for test in report.tests} == {
        "test_good": Verdict.PASSED,
        "test_nobody_told": Verdict.SKIPPED,
        "test_machine": Verdict.SKIPPED,
        "test_bad": Verdict.FAILED,
    }
    assert "not in a container: it has no disk" in report.tests[2].text
    assert "assert 'seen' == 'expected'" in report.failures()[0]
    told = [event for event in events if isinstance(event, Progress)]
    assert [(event.name, event.done, event.total, event.unit) for event in told][-1] == ("test_bad", 4, 4, "tests")
    told_facts = tmp_path / "verify" / "expected.json"
    assert json.loads(told_facts.read_text()) == facts
    assert told_facts.stat().st_mode & 0o777 == 0o600


@pytest.mark.processes
@pytest.mark.negative
def test_a_question_costs_no_other(shared: ModuleType) -> None:
    """One whose answer is no text; and two that write a file of one name at the same time."""
    keep = "echo {0} >file; sleep 0.3; cat file"
    questions = {"noise": "printf '\\301\\n'; false", "one": keep.format(1), "two": "\n" + keep.format(2)}
    answers = shared.ask(testinfra.get_host("local://"), questions)
    assert answers == {"noise": (1, "\N{REPLACEMENT CHARACTER}"), "one": (0, "1"), "two": (0, "2")}


@pytest.fixture
def shared() -> ModuleType:
    spec = importlib.util.spec_from_file_location("shared_by_roles", paths.content("roles") / "conftest.py")
    assert spec
    assert spec.loader
    shared = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shared)
    return shared


@pytest.mark.processes
@pytest.mark.negative
def test_tests_that_cannot_run_are_an_error_not_a_verdict(tmp_path: Path, roles: Path) -> None:
    (roles / "toy" / "verify" / "test_toy.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(ProvisionError, match="could not run"):
        verify(
            "db",
            ["toy"],
            ssh_config=tmp_path / "c",
            expected={},
            artifacts=tmp_path / "v",
            emit=discard,
            roles_root=roles,
        )
