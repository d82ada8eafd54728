"""A recorded run in words: its summary and its HTML report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from homelab_provision.events import PhaseFinished
from homelab_provision.phases.plan import Plan
from homelab_provision.process import tail
from homelab_provision.report.details import ReportedTest, RunDetails, parse_junit
from homelab_provision.report.html import render_report
from homelab_provision.report.summary import RunSummary, summarise
from homelab_provision.runs import Run

CONSOLE_LINES = 60


def summary(run: Run) -> RunSummary:
    """The run in one object."""
    plan = plan_of(run)
    machine = plan.machine if plan else run.request.onto or ""
    return summarise(run.id, run.request.host, machine, run.request.site.name, run.events())


def document(run: Run) -> dict[str, Any]:
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
    return Plan.model_validate_json(run.plan_file.read_bytes()) if run.plan_file.exists() else None


def _tests(run: Run) -> tuple[ReportedTest, ...]:
    results: tuple[ReportedTest, ...] = ()
    for file in sorted((run.directory / "verify").glob("*.xml")):
        results += parse_junit(file.read_text())
    return results


def _consoles(run: Run) -> dict[str, str]:
    if not run.console_log.exists():
        return {}
    return {"machine": tail(run.console_log.read_text(errors="replace"), CONSOLE_LINES)}
