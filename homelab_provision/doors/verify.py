"""Run the roles' own tests against a host: the one definition of "it works".

The tests are testinfra files in `roles/<role>/verify/`. They run in a pytest of their own, over SSH, and leave
a JUnit file and their whole output in the run's directory.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import JsonValue

from homelab_provision import paths
from homelab_provision.doors.process import Completed, run, tail
from homelab_provision.errors import ProvisionError
from homelab_provision.events import Emit, Progress

RESULTS = "testinfra.xml"
OUTPUT = "output.txt"
EXPECTED = "expected.json"
DEADLINE = 600.0

# pytest's exit statuses: 0 all passed, 1 some failed; everything else means that the tests did not run.
RAN = (0, 1)


class Verdict(StrEnum):
    """How one test ended. `error` is a failure in what a test needs before it can run."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class VerifiedTest:
    """One test: `text` is the evidence of a failure, or the reason of a skip."""

    role: str
    name: str
    outcome: Verdict
    seconds: float
    text: str = ""

    @property
    def failed(self) -> bool:
        return self.outcome in (Verdict.FAILED, Verdict.ERROR)


@dataclass(frozen=True)
class VerifyReport:
    """All tests of one host, in the order in which they ran."""

    host: str
    tests: tuple[VerifiedTest, ...]
    seconds: float

    @property
    def passed(self) -> int:
        return sum(test.outcome is Verdict.PASSED for test in self.tests)

    @property
    def failed(self) -> int:
        return sum(test.failed for test in self.tests)

    @property
    def skipped(self) -> int:
        return sum(test.outcome is Verdict.SKIPPED for test in self.tests)

    @property
    def ok(self) -> bool:
        """Whether the host is proven: nothing failed, and something passed."""
        return self.failed == 0 and self.passed > 0

    def failures(self) -> list[str]:
        """One paragraph for each failed test."""
        return [f"{test.role}: {test.name}: {test.text}" for test in self.tests if test.failed]

    def proof(self) -> dict[str, JsonValue]:
        return {"passed": self.passed, "failed": self.failed, "skipped": self.skipped}


def verify(
    host: str,
    roles: Sequence[str],
    *,
    ssh_config: Path,
    expected: Mapping[str, JsonValue],
    artifacts: Path,
    emit: Emit,
    roles_root: Path | None = None,
    deadline: float = DEADLINE,
) -> VerifyReport:
    """Test a host with the tests of its roles.

    `expected` are the facts that it has to show (`host`, `nonce`, `run`, `address`, `mirror`): a test whose fact
    is missing is skipped and says so. A failed test is in the report, not an exception; `ProvisionError` is
    raised when the tests could not run.
    """
    root = (roles_root or paths.content("roles")).resolve()
    folder = paths.private(artifacts)
    results = folder / RESULTS
    results.unlink(missing_ok=True)
    facts = folder / EXPECTED
    facts.touch(mode=0o600)
    facts.write_text(json.dumps(dict(expected)))
    started = time.monotonic()
    done = run(
        pytest_argv(host, folders_of(root, roles), ssh_config=ssh_config, root=root, facts=facts, results=results),
        deadline=deadline,
        check=False,
        cwd=root,
        # Nothing but testinfra is loaded, and nothing is written into an installed package.
        env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        on_line=_Listener(emit, host).line,
    )
    (folder / OUTPUT).write_text(done.stdout + done.stderr)
    tests = _read(results, done, host)
    return VerifyReport(host, tests, time.monotonic() - started)


def folders_of(root: Path, roles: Sequence[str]) -> list[Path]:
    """Where the tests of these roles lie; raises `ProvisionError` for a role that nobody can prove."""
    folders = [root / role / "verify" for role in roles]
    if missing := [folder.parent.name for folder in folders if not folder.is_dir()]:
        raise ProvisionError(f"no tests for: {', '.join(missing)}", hint=f"they belong into {root}/ROLE/verify/")
    return folders


def pytest_argv(
    host: str, folders: Sequence[Path], *, ssh_config: Path, root: Path, facts: Path, results: Path
) -> list[str]:
    """The command that runs the tests, independent of any configuration of pytest that lies around."""
    return [
        sys.executable,
        "-u",
        "-m",
        "pytest",
        "-v",
        "--tb=short",
        "-c",
        os.devnull,
        f"--rootdir={root}",
        f"--confcutdir={root}",
        "--import-mode=importlib",
        "-p",
        "testinfra.plugin",
        "-p",
        "no:cacheprovider",
        f"--hosts=ssh://{host}",
        f"--ssh-config={ssh_config.resolve()}",
        f"--expected={facts.resolve()}",
        f"--junit-xml={results.resolve()}",
        *map(os.fspath, folders),
    ]


def parse(document: str, host: str) -> tuple[VerifiedTest, ...]:
    """The tests in a JUnit document as pytest writes it; our own file, as XML from strangers is not safe to parse.

    Raises `ElementTree.ParseError` (a `SyntaxError`) if it is torn, `ValueError` for a time that is no number.
    """
    return tuple(_test(case, host) for case in ElementTree.fromstring(document).iter("testcase"))


def plain_name(name: str, host: str) -> str:
    """A test's name without the host that testinfra puts into it: `test_x[ssh://db-1-a]` → `test_x[a]`."""
    return re.sub(rf"\[ssh://{re.escape(host)}-?", "[", name).replace("[]", "")


def _test(case: ElementTree.Element, host: str) -> VerifiedTest:
    verdict, text = Verdict.PASSED, ""
    for tag, meaning in (("skipped", Verdict.SKIPPED), ("failure", Verdict.FAILED), ("error", Verdict.ERROR)):
        if (found := case.find(tag)) is not None:
            verdict = meaning
            text = found.get("message", "") if meaning is Verdict.SKIPPED else tail(found.text or "")
    role = case.get("classname", "").split(".")[0]
    return VerifiedTest(role, plain_name(case.get("name", ""), host), verdict, float(case.get("time", 0)), text)


def _read(results: Path, done: Completed, host: str) -> tuple[VerifiedTest, ...]:
    if done.returncode not in RAN or not results.exists():
        raise ProvisionError(
            f"the tests could not run (pytest ended with {done.returncode})",
            evidence=tail(done.stdout + done.stderr),
            hint=f"the whole output is in {results.parent / OUTPUT}",
        )
    return parse(results.read_text(), host)


class _Listener:
    """Turns pytest's lines into progress."""

    def __init__(self, emit: Emit, host: str) -> None:
        self._emit, self._host = emit, host
        self._total: int | None = None
        self._done = 0

    def line(self, text: str) -> None:
        if found := re.search(r"collected (\d+) items?", text):
            self._total = int(found[1])
        if found := re.match(r"\S+::(?P<name>\S+) (?:PASSED|FAILED|SKIPPED|ERROR)\b", text):
            self._done += 1
            name = plain_name(found["name"], self._host)
            self._emit(Progress(name=name, done=self._done, total=self._total, unit="tests"))
