"""The command as scripts meet it: exit codes, data on standard output, talk on standard error."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from homelab_provision import cli
from homelab_provision.errors import Interrupted, Locked, ProvisionError, Refused, Unproven
from homelab_provision.events import Event
from homelab_provision.jobs import rebuild as job
from homelab_provision.phases.plan import Plan
from homelab_provision.runs import store
from homelab_provision.runs.store import Request, Run
from tests.unit.cli.command import KEYS, PLAN, Provision, proven_journal, provision, rebuild_that, site
from tests.unit.site.sites import MACHINES

__all__ = ["provision", "site"]  # fixtures


# ---- exit codes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (ProvisionError("broken"), 1),
        (Unproven("not so"), 4),
        (Refused("no"), 5),
        (Locked("held"), 6),
        (Interrupted("stopped"), 130),
    ],
    ids=str,
)
@pytest.mark.usefixtures("site")
def test_exit_code_of_a_rebuild_says_how_it_ended(
    provision: Provision, monkeypatch: pytest.MonkeyPatch, error: ProvisionError | None, code: int
) -> None:
    rebuild_that(monkeypatch, error)
    shown = provision("rebuild", "db-wyse", "--yes")
    assert shown.code == code
    assert shown.out == ""
    assert error is None or error.message in shown.err


@pytest.mark.negative
@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(
    "words",
    [
        ("rebuild", "db-wyse", "--no-such-option"),
        ("rebuild",),
        ("rebuild", "db-wyse", "--way", "teleport"),
        ("rebuild", "db-wyse", "--from", "nowhere"),
        ("no-such-command",),
        ("runs", "show", "1999"),
        ("verify", "no-such-host"),
        ("backup", "no-such-host"),
        ("backup", "db-wyse", "--type", "half"),
        ("restore", "db-wyse", "--json"),
        ("rebuild", "db-wyse", "--resume", "--accept-unproven-backup"),
    ],
    ids=" ".join,
)
def test_what_is_not_understood_is_a_usage_error(provision: Provision, words: tuple[str, ...]) -> None:
    shown = provision(*words)
    assert shown.code == 2
    assert shown.out == ""
    assert shown.err
    assert "Traceback" not in shown.err


@pytest.mark.negative
@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("more", [("--yes",), ("--plan",)], ids=" ".join)
def test_an_unknown_host_is_a_usage_error_that_names_it(provision: Provision, more: tuple[str, ...]) -> None:
    shown = provision("rebuild", "db-wise", *more)
    assert shown.code == 2
    assert "db-wise" in shown.err


@pytest.mark.negative
@pytest.mark.parametrize(
    "words", [("config", "show"), ("machines", "list"), ("rebuild", "db-wyse", "--plan")], ids=" ".join
)
def test_a_wrong_site_is_a_usage_error_that_shows_the_place(
    provision: Provision, site: Path, words: tuple[str, ...]
) -> None:
    (site / "machines.yml").write_text(MACHINES.replace("plays: db-wyse", "plys: db-wyse"))
    shown = provision(*words)
    assert shown.code == 2
    assert shown.out == ""
    assert "machines.yml:3" in shown.err
    assert "plys" in shown.err


@pytest.mark.negative
def test_without_a_site_the_command_says_where_it_looked(
    provision: Provision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROVISION_SITE", raising=False)
    monkeypatch.chdir(tmp_path)
    shown = provision("machines", "list")
    assert shown.code == 2
    assert f"{tmp_path}/machines.yml" in shown.err.replace("\n", "")
    assert "--site" in shown.err


# ---- rebuild -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("site")
def test_plan_shows_changes_pending_and_makes_no_run(provision: Provision, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []

    def plan_only(request: Request, **options: Any) -> Plan:
        asked.append(request)
        return PLAN

    monkeypatch.setattr(job, "plan_only", plan_only)
    shown = provision("rebuild", "db-wyse", "--plan", "--onto", "wyse-b", "--erase", "A", "--erase", "B")
    assert shown.code == 3
    assert "wyse-b, through usb (person)" in shown.out
    assert "SYS-B" in shown.out
    assert (asked[0].host, asked[0].onto, asked[0].erase) == ("db-wyse", "wyse-b", frozenset("AB"))

    shown = provision("rebuild", "db-wyse", "--plan", "--json")
    assert shown.code == 3
    assert json.loads(shown.out)["machine"] == "wyse-b"
    assert store.everything() == []


@pytest.mark.negative
@pytest.mark.usefixtures("site")
def test_json_changes_nothing_without_yes(provision: Provision, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = rebuild_that(monkeypatch, None)
    shown = provision("rebuild", "db-wyse", "--json")
    assert (shown.code, shown.out) == (2, "")
    assert "--yes" in shown.err
    assert (calls, store.everything()) == ([], [])


@pytest.mark.negative
@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("going_on", [("--resume",), ("--from", "flash")], ids=" ".join)
@pytest.mark.parametrize(
    "change", [("--onto", "wyse-b"), ("--way", "usb"), ("--erase", "A"), ("--keep-data",)], ids=" ".join
)
def test_a_run_that_goes_on_keeps_what_was_asked_for(
    provision: Provision, monkeypatch: pytest.MonkeyPatch, going_on: tuple[str, ...], change: tuple[str, ...]
) -> None:
    calls = rebuild_that(monkeypatch, None)
    provision("rebuild", "db-wyse", "--yes")
    shown = provision("rebuild", "db-wyse", "--yes", *going_on, *change)
    assert shown.code == 2
    assert "keeps its plan" in shown.err
    assert len(calls) == len(store.everything()) == 1


@pytest.mark.negative
@pytest.mark.usefixtures("site")
def test_nothing_to_resume_is_a_usage_error(provision: Provision, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = rebuild_that(monkeypatch, None)
    for words in (("--resume",), ("--resume", "0042"), ("--resume=",), ("--from", "flash")):
        shown = provision("rebuild", "db-wyse", "--yes", *words)
        assert (shown.code, calls) == (2, [])
        assert "Missing argument" not in shown.err


@pytest.mark.usefixtures("site")
def test_resume_goes_on_with_the_last_run_of_the_host(provision: Provision, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = rebuild_that(monkeypatch, None)
    for words in (("db-wyse",), ("web-wyse",), ("db-wyse", "--resume"), ("db-wyse", "--from", "flash")):
        assert provision("rebuild", *words, "--yes").code == 0
    first, other, resumed, again = calls
    assert resumed["run"].id == again["run"].id == first["run"].id != other["run"].id
    assert (resumed["first"], again["first"]) == (None, "flash")
    assert all(call["unattended"] is True for call in calls)


@pytest.mark.usefixtures("site")
def test_resume_takes_the_name_of_a_run_and_of_this_host_only(
    provision: Provision, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = rebuild_that(monkeypatch, None)
    for host in ("db-wyse", "db-wyse", "web-wyse"):
        provision("rebuild", host, "--yes")
    first, second, other = (call["run"].id for call in calls)
    for words, wanted in (
        (("db-wyse", "--resume", first), first),
        (("db-wyse", "--resume", first[:4], "--yes"), first),
        (("db-wyse", "--resume", "--yes"), second),
        (("--resume", "db-wyse"), second),
    ):
        assert provision("rebuild", *words).code == 0
        assert calls[-1]["run"].id == wanted
    shown = provision("rebuild", "db-wyse", "--resume", other)
    assert shown.code == 2
    assert "is no rebuild of `db-wyse`" in shown.err


@pytest.mark.usefixtures("site")
def test_without_yes_the_job_may_ask(provision: Provision, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = rebuild_that(monkeypatch, None)
    provision("rebuild", "db-wyse")
    assert calls[0]["unattended"] is False


@pytest.mark.usefixtures("site")
def test_json_of_a_rebuild_is_one_document_alone_on_standard_output(
    provision: Provision, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rebuild(asked: Request, *, emit: Callable[[Event], None], **options: Any) -> Run:
        run = store.start(asked)
        for event in proven_journal().events:
            run.append(event)
            emit(event)
        return run

    monkeypatch.setattr(job, "rebuild", rebuild)
    shown = provision("rebuild", "db-wyse", "--yes", "--json")
    assert list(json.loads(shown.out)) == KEYS
    assert "report: " in shown.err


# ---- the entry point -----------------------------------------------------------------------------------------


def test_every_command_exists_and_explains_itself(provision: Provision) -> None:
    for name in cli.COMMANDS:
        shown = provision(name, "--help")
        assert shown.code == 0, name
        assert f"provision {name}" in shown.out.splitlines()[0]


@pytest.mark.negative
def test_ctrl_c_outside_of_a_job_is_an_interruption(
    provision: Provision, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(root: Path) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("homelab_provision.site.loading.load_site", interrupted)
    assert provision("machines", "list").code == 130


@pytest.mark.processes
def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from homelab_provision import cli\n"
        "sys.argv = ['provision', '--help']\n"
        "try: cli.main()\n"
        "finally: print([name for name in sys.modules if name.split('.')[0] in "
        "('rich', 'pydantic', 'ansible', 'ansible_runner', 'jinja2', 'yaml', 'ruamel', 'cryptography')], "
        "file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "rebuild" in done.stdout
    assert done.stderr.strip() == "[]"
