"""`provision rebuild` with several hosts: the plan of all, the rebuild, and what came of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from time import monotonic
from typing import NoReturn

import click

from homelab_provision.cli.many import renderer_of_many
from homelab_provision.cli.options import print_json, print_table, table_lines, tell
from homelab_provision.cli.render import print_error, renderer
from homelab_provision.cli.trouble import of_a_bug, of_the_system
from homelab_provision.errors import ExitCode, Interrupted, ProvisionError
from homelab_provision.jobs import many
from homelab_provision.jobs.report import summary
from homelab_provision.report.wording import seconds_text
from homelab_provision.runs.store import Request
from homelab_provision.site import loading


def rebuild_many(
    asked: Request, hosts: Sequence[str], *, plan_only: bool, unattended: bool, code: str | None, as_json: bool
) -> NoReturn:
    """Rebuild these hosts (none named: all that may be) as `asked`, and leave with the exit code of all."""
    started, site = monotonic(), loading.load_site(asked.site)
    names = hosts or [host.name for host in site.hosts.values() if host.provisioned]
    with renderer() as show:
        members = many.group(site, asked, names, None if unattended or as_json else show)
    if plan_only:
        _show_plan(members, as_json=as_json)
    waits = {member.host: f"after {', '.join(member.after)}" if member.after else "" for member in members}
    with renderer_of_many(waits) as show_many:
        endings = many.rebuild(
            site,
            members,
            emit=show_many,
            emit_of=show_many.of,
            person=show_many,
            unattended=unattended,
            code=code,
        )
    _report(endings, monotonic() - started, as_json=as_json)
    raise click.exceptions.Exit(many.exit_code(endings))


def _show_plan(members: Sequence[many.Member], *, as_json: bool) -> NoReturn:
    if as_json:
        print_json([member.document() for member in members])
    else:
        rows = [[m.host, m.machine.name, m.disk, m.erases, m.way, ", ".join(m.after)] for m in members]
        print_table(rows, ["host", "machine", "disk", "erases", "way", "after"])
    raise click.exceptions.Exit(ExitCode.CHANGES_PENDING)


def _report(endings: Sequence[many.Ending], seconds: float, *, as_json: bool) -> None:
    """What came of each: data on standard output if it is wanted, all else for the person who watches."""
    if as_json:
        print_json([ending.document() for ending in endings])
    for ending in endings:
        if ending.error and not isinstance(ending.error, many.NotBegun | Interrupted):
            print_error(_named(ending.member.host, ending.error))
    for ending in endings:
        if ending.run:
            tell(f"report: {ending.run.report}")
    rows, results = [], Counter[str]()
    for ending in endings:
        short = summary(ending.run) if ending.run else None
        result = str(short.result) if short else many.NOT_BEGUN
        results[result] += 1
        time = seconds_text(short.seconds) if short else ""
        rows.append([ending.member.host, ending.member.machine.name, result, time, ending.next])
    for line in table_lines(rows, ["host", "machine", "result", "time", "go on with"]):
        tell(line)
    tell(f"{', '.join(f'{count} {result}' for result, count in results.items())} after {seconds_text(seconds)}")


def _named(host: str, error: BaseException) -> ProvisionError:
    """What ended the rebuild of a host, with its name."""
    match error:
        case ProvisionError():
            known = error
        case OSError():
            known = of_the_system(error)
        case Exception():
            known = of_a_bug(error)
        case _:
            known = ProvisionError(repr(error))
    return ProvisionError(f"{host}: {known.message}", hint=known.hint, evidence=known.evidence)
