"""`provision apply`, `run` and `verify`: Ansible and the tests against hosts that are up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from homelab_provision.cli.options import (
    find_site,
    json_option,
    print_json,
    print_table,
    site_if_any,
    site_option,
    tell,
)
from homelab_provision.errors import UsageError

if TYPE_CHECKING:
    from homelab_provision.jobs.playbook import Order


@click.command()
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@site_option
@click.option("--check", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--diff", is_flag=True, help="Show what changes.")
@json_option
def apply(hosts: tuple[str, ...], site_dir: Path | None, check: bool, diff: bool, as_json: bool) -> None:
    """Bring hosts to what the site describes: site.yml, for the named hosts or for all.

    \b
    Examples:
      provision apply db-wyse
      provision apply --check
    """
    from homelab_provision import paths
    from homelab_provision.jobs.playbook import Order

    playbook = paths.content("playbooks") / "site.yml"
    _play("apply", find_site(site_dir), playbook, Order(hosts, check, diff), as_json)


@click.command()
@click.argument("playbook", required=False)
@click.option("--limit", "hosts", metavar="HOST", multiple=True, help="Only this host (may be repeated).")
@site_option
@click.option("--check", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--diff", is_flag=True, help="Show what changes.")
@click.option(
    "-e",
    "--extra-vars",
    "words",
    metavar="NAME=VALUE",
    multiple=True,
    help="A variable; `@FILE` for a file of them, which is the place for a secret.",
)
@click.option("--tags", metavar="TAG", multiple=True, help="Only tasks with this tag (may be repeated).")
@click.option("--list", "listing", is_flag=True, help="Say which playbooks there are, and what each is for.")
@json_option
def run(
    playbook: str | None,
    hosts: tuple[str, ...],
    site_dir: Path | None,
    check: bool,
    diff: bool,
    words: tuple[str, ...],
    tags: tuple[str, ...],
    listing: bool,
    as_json: bool,
) -> None:
    """Run any PLAYBOOK against the site: a one-off repair after a failure, recorded as a run.

    PLAYBOOK is a path, or the name of one in the site's `playbooks/` or among the toolkit's own.

    \b
    Examples:
      provision run --list
      provision run free-space.yml --limit db-wyse
      provision run slow-queries -e slow_queries_limit=3 --json
    """
    from homelab_provision.jobs import playbook_files
    from homelab_provision.jobs.playbook import Order

    if listing:
        _list(site_dir, as_json)
        return
    if playbook is None:
        raise UsageError("which playbook?", hint="`provision run --list` says what there is")
    site = find_site(site_dir)
    order = Order(
        hosts, check, diff, tuple(tag for word in tags for tag in word.split(",")), playbook_files.variables(words)
    )
    _play("run", site, playbook_files.find(playbook, site), order, as_json)


def _play(command: str, site: Path, playbook: Path, order: Order, as_json: bool) -> None:
    from homelab_provision.cli.render import renderer
    from homelab_provision.jobs.playbook import run_playbook
    from homelab_provision.jobs.report import document, write_report

    with renderer() as show:
        played = run_playbook(command, site, playbook, order, emit=show)
    report = write_report(played.run)
    if as_json:
        said = [one.model_dump(mode="json", exclude={"kind", "at"}) for one in played.said]
        print_json({**document(played.run), "tasks": played.recap.proof(), "said": said})
    tell(f"report: {report}")


def _list(site_dir: Path | None, as_json: bool) -> None:
    from homelab_provision.jobs.playbook_files import known

    found = known(site_if_any(site_dir))
    if as_json:
        print_json([{"name": one.name, "purpose": one.purpose, "path": one.path, "own": one.own} for one in found])
    else:
        print_table(
            [[one.name, "toolkit" if one.own else "site", one.purpose] for one in found], ["playbook", "of", "purpose"]
        )


@click.command()
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@site_option
@json_option
def verify(hosts: tuple[str, ...], site_dir: Path | None, as_json: bool) -> None:
    """Run the tests of the hosts' roles. Exit code 4: they are up, but something is not as it should be.

    \b
    Example:
      provision verify db-wyse
    """
    from homelab_provision.cli.render import renderer
    from homelab_provision.errors import ProvisionError, Unproven
    from homelab_provision.jobs.playbook import verify_hosts

    with renderer() as show:
        verified = verify_hosts(find_site(site_dir), hosts, emit=show)
    if as_json:
        print_json({report.host: report.proof() for report in verified.reports})
    for report in verified.reports:
        tell(f"{report.host}: {report.passed} passed, {report.failed} failed, {report.skipped} skipped")
    failures = "\n".join(f"{report.host}: {line}" for report in verified.reports for line in report.failures())
    if absent := verified.absent:
        hints = dict.fromkeys(error.hint for error in absent if error.hint)
        raise ProvisionError("; ".join(error.message for error in absent), hint="; ".join(hints), evidence=failures)
    if failures:
        raise Unproven("some tests failed", evidence=failures)
