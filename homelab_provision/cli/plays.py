"""`provision apply`, `run` and `verify`: Ansible and the tests against hosts that are up."""

from __future__ import annotations

from pathlib import Path

import click

from homelab_provision.cli.options import find_site, json_option, print_json, site_option, tell


@click.command()
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@site_option
@click.option("--check", is_flag=True, help="Show what would change, and change nothing.")
def apply(hosts: tuple[str, ...], site_dir: Path | None, check: bool) -> None:
    """Bring hosts to what the site describes: site.yml, for the named hosts or for all.

    \b
    Examples:
      provision apply db-wyse
      provision apply --check
    """
    from homelab_provision import paths
    from homelab_provision.cli.render import renderer
    from homelab_provision.plays import run_playbook

    with renderer() as show:
        run_playbook(
            "apply", find_site(site_dir), paths.content("playbooks") / "site.yml", hosts, emit=show, check=check
        )


@click.command()
@click.argument("playbook", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--limit", "hosts", metavar="HOST", multiple=True, help="Only this host (may be repeated).")
@site_option
@click.option("--check", is_flag=True, help="Show what would change, and change nothing.")
def run(playbook: Path, hosts: tuple[str, ...], site_dir: Path | None, check: bool) -> None:
    """Run any PLAYBOOK against the site: a one-off repair after a failure, recorded as a run.

    \b
    Example:
      provision run playbooks/repair-apt.yml --limit db-wyse
    """
    from homelab_provision.cli.render import renderer
    from homelab_provision.plays import run_playbook

    with renderer() as show:
        run_playbook("run", find_site(site_dir), playbook.resolve(), hosts, emit=show, check=check)


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
    from homelab_provision.errors import Unproven
    from homelab_provision.plays import verify_hosts

    with renderer() as show:
        reports = verify_hosts(find_site(site_dir), hosts, emit=show)
    if as_json:
        print_json({report.host: report.proof() for report in reports})
    for report in reports:
        tell(f"{report.host}: {report.passed} passed, {report.failed} failed, {report.skipped} skipped")
    if failures := [f"{report.host}: {line}" for report in reports for line in report.failures()]:
        raise Unproven("some tests failed", evidence="\n".join(failures))
