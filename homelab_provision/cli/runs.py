"""`provision runs`: what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from homelab_provision.cli.options import json_option, print_json, print_table, print_text

if TYPE_CHECKING:
    from homelab_provision.report.summary import RunSummary

DAMAGED = "damaged"


@click.group()
def runs() -> None:
    """Look at recorded runs. RUN is an id, the beginning of one, or `latest`."""


@runs.command("list")
@json_option
def list_runs(as_json: bool) -> None:
    """List the runs, oldest first."""
    from homelab_provision.jobs.report import document, summary
    from homelab_provision.runs import store

    if as_json:
        print_json([document(run) for run in store.everything()])
        return
    found = [summary(run) for run in store.everything()]
    rows = [[one.run, one.host, one.machine, _result(one), f"{one.seconds:.0f} s"] for one in found]
    print_table(rows, ["run", "host", "machine", "result", "time"])


def _result(one: RunSummary) -> str:
    return f"{one.result}: {one.note}" if one.result == DAMAGED else one.result


@runs.command()
@click.argument("run", default="latest")
@json_option
def show(run: str, as_json: bool) -> None:
    """Show one run: its phases, their times and proofs.

    \b
    Example:
      provision runs show latest --json
    """
    from homelab_provision.jobs.report import document, summary
    from homelab_provision.report.wording import scalar_text
    from homelab_provision.runs import store

    found = store.load(run)
    one = summary(found)
    if one.result == DAMAGED:
        raise store.Damaged(one.run, one.note or "")
    if as_json:
        print_json(document(found))
        return
    print_text(
        f"{one.run}: {one.host} on {one.machine}: {one.result}, {one.seconds:.0f} s"
        + (f" ({one.note})" if one.note else "")
    )
    rows = [
        [
            phase.name,
            phase.result,
            f"{phase.seconds:.1f} s",
            "  ".join(f"{key}={scalar_text(value)}" for key, value in phase.proof.items()),
        ]
        for phase in one.phases
    ]
    print_table(rows, ["phase", "result", "time", "proof"])


@runs.command()
@click.argument("run", default="latest")
def report(run: str) -> None:
    """Write the HTML report of a run and print where it lies."""
    from homelab_provision.jobs.report import write_report
    from homelab_provision.runs import store

    print_text(str(write_report(store.load(run))))
