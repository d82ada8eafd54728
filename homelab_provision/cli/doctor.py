"""`provision doctor`"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from homelab_provision.cli.options import find_site, json_option, print_json, print_text, site_if_any, site_option
from homelab_provision.errors import ExitCode

if TYPE_CHECKING:
    from homelab_provision.doctor import Finding, Surroundings


@click.command()
@site_option
@click.option("--machine", metavar="NAME", help="Look at this machine instead, which runs the rescue system.")
@json_option
def doctor(site_dir: Path | None, machine: str | None, as_json: bool) -> None:
    """Check that this computer can do all of this, with the repair for what is missing.

    \b
    With --machine, look at a machine that was started from the site's stick: is it as its passport says,
    what does its firmware offer, how are its disks? --json adds all that it said of itself, serials too.
    Exit code 7 if something is missing that a rebuild cannot do without.

    \b
    Examples:
      provision doctor
      provision doctor --machine wyse-b
    """
    from homelab_provision.doctor import Verdict, all_checks, examine

    if machine is not None:
        _look_at(site_dir, machine, as_json=as_json)
        return
    findings = examine(all_checks(_surroundings(site_dir)))
    failed = any(finding.verdict is Verdict.FAIL for finding in findings)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_text(table(findings))
    sys.exit(ExitCode.UNHEALTHY if failed else ExitCode.DONE)


def _look_at(site_dir: Path | None, name: str, *, as_json: bool) -> None:
    from homelab_provision.cli.render import renderer
    from homelab_provision.doctor import Verdict
    from homelab_provision.doctor.machine import examine_machine
    from homelab_provision.jobs.adopt import look_at
    from homelab_provision.site.loading import load_site

    site = load_site(find_site(site_dir))
    machine = site.machine(name)
    with renderer() as show:
        found = look_at(site, machine, show)
    findings = examine_machine(machine, found)
    if as_json:
        facts, inspection = found.facts.model_dump(mode="json", by_alias=True), found.inspection.model_dump(mode="json")
        print_json({"findings": [asdict(each) for each in findings], "facts": facts, "inspection": inspection})
    else:
        print_text(table(findings))
    failed = any(finding.verdict is Verdict.FAIL for finding in findings)
    sys.exit(ExitCode.UNHEALTHY if failed else ExitCode.DONE)


def table(findings: Sequence[Finding]) -> str:
    """The findings as aligned columns under their groups, repairs below what they repair."""
    from homelab_provision.doctor import Verdict, repair_packages

    width = max((len(finding.name) for finding in findings), default=0)
    lines: list[str] = []
    group = None
    for finding in findings:
        if finding.group != group:
            lines += [""] * bool(lines) + [finding.group]
            group = finding.group
        first, *more = finding.found.splitlines() or [""]
        lines.append(f"  {finding.verdict:<4}  {finding.name:<{width}}  {first}".rstrip())
        lines += [f"        {'':<{width}}  {line}".rstrip() for line in more]
        if finding.repair and finding.verdict is not Verdict.OK:
            lines.append(f"        {'':<{width}}  repair: {finding.repair}")
    counts = [f"{sum(finding.verdict is verdict for finding in findings)} {verdict}" for verdict in Verdict]
    lines += ["", ", ".join(counts)]
    if packages := repair_packages(findings):
        lines.append(f"all packages at once: sudo apt-get install {' '.join(packages)}")
    return "\n".join(lines)


def _surroundings(site_dir: Path | None) -> Surroundings:
    from homelab_provision import paths
    from homelab_provision.doctor import Surroundings

    site = site_if_any(site_dir)  # a healthy computer need not have one yet
    return Surroundings(
        cache=paths.cache(),
        state=paths.state(),
        accelerator=_remembered_accelerator,
        load_site=(lambda: _describe(site)) if site else None,
        open_vault=(lambda: _open_vault(site)) if site else None,
        site=site,
    )


def _remembered_accelerator() -> str | None:
    from homelab_provision import paths
    from homelab_provision.lab.accel import choose

    def not_now() -> Path:
        raise LookupError

    try:
        return str(choose(paths.cache(), not_now))
    except LookupError:
        return None


def _describe(root: Path) -> str:
    from homelab_provision.site.loading import load_site

    site = load_site(root)
    counts = f"hosts: {len(site.hosts)}, machines: {len(site.machines)}, spares: {len(site.spares())}, at {root}"
    return "\n".join([counts, *(f"warning: hosts.yml: {warning}" for warning in site.warnings)])


def _open_vault(root: Path) -> str:
    from homelab_provision.site.vault.store import Vault

    sealed = sorted(path.stem for path in (root / "vault").glob("*.yml"))
    if not sealed:
        return "nothing sealed yet; keys are made at the first rebuild"
    opened = Vault.of(root, name=root.name).read(sealed)
    return f"opens: {', '.join(opened)}"
