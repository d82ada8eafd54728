"""A recorded run in words: its summary and its HTML report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from homelab_provision import files
from homelab_provision.doors.process import tail
from homelab_provision.doors.verify import Verdict, VerifiedTest, parse
from homelab_provision.events import PhaseFinished, RunResult
from homelab_provision.phases.plan import Plan
from homelab_provision.report.html import RunDetails, render_report
from homelab_provision.report.summary import RunSummary, summarise
from homelab_provision.runs.store import Damaged, Run

CONSOLE_LINES = 60
CONSOLE_BYTES = 256 * 1024


def summary(run: Run | Damaged) -> RunSummary:
    """The run in one object. One that cannot be read is `damaged`, with the reason as its note."""
    try:
        if isinstance(run, Damaged):
            raise run
        plan, events = plan_of(run), run.events()
    except Damaged as damaged:
        host, site = (run.request.host, run.request.site.name) if isinstance(run, Run) else ("", "")
        return RunSummary(
            run=damaged.id,
            host=host,
            machine="",
            site=site,
            result=RunResult.DAMAGED,
            seconds=0,
            note=damaged.reason,
        )
    machine = plan.machine if plan else run.request.onto or ""
    return summarise(run.id, run.request.host, machine, run.request.site.name, events)


def document(run: Run | Damaged) -> dict[str, Any]:
    """The same for JSON. A run that is proven has nothing to note, and says so by silence."""
    short = summary(run)
    return short.model_dump(mode="json", exclude={"note"} if short.note is None else None)


def write_report(run: Run) -> Path:
    """Write (again) the report of a run: one HTML file that needs nothing else."""
    plan, short, events = plan_of(run), summary(run), run.events()
    failed = next((event for event in reversed(events) if isinstance(event, PhaseFinished) and event.error), None)
    details = RunDetails(
        run=run.id,
        host=short.host,
        machine=short.machine,
        site=short.site,
        image_digest=plan.image_digest if plan else None,
        plan=plan.lines() if plan else {},
        tests=_tests(run),
        command=run.request.command,
        consoles=_consoles(run),
        evidence=failed.evidence if failed else None,
        hint=failed.hint if failed else None,
    )
    return run.write(run.report.name, render_report(details, events))


def plan_of(run: Run) -> Plan | None:
    """What preflight decided, `None` if it did not come so far. Raises `Damaged`."""
    return run.read(run.plan_file.name, Plan)


def _tests(run: Run) -> tuple[VerifiedTest, ...]:
    results: tuple[VerifiedTest, ...] = ()
    for file in sorted((run.directory / "verify").glob("*.xml")):
        try:
            results += parse(files.read_text(file), run.request.host)
        except (OSError, SyntaxError, ValueError) as error:  # torn: the machine went off while it was written
            results += (VerifiedTest("", file.name, Verdict.ERROR, 0.0, f"the results cannot be read: {error}"),)
    return results


def _consoles(run: Run) -> dict[str, str]:
    try:
        return {"machine": tail(files.read_end(run.console_log, CONSOLE_BYTES), CONSOLE_LINES)}
    except FileNotFoundError:
        return {}
    except OSError as error:
        return {"machine": f"the log cannot be read: {error.strerror}"}
