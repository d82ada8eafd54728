"""`provision machines`: the boxes of the site, what they could become, and new ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from homelab_provision.cli.options import find_site, json_option, print_json, print_table, print_text, site_option, tell
from homelab_provision.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from homelab_provision.cli.terminal import Renderer
    from homelab_provision.jobs.adopt import Found
    from homelab_provision.machine.placement import Judgement
    from homelab_provision.site.models import Host, Machine, Site

VERDICTS = {
    "plays": "plays it",
    "fits": "fits",
    "by-name": "fits, by name only",
    "with-parts": "fits with parts",
    "lacks": "does not fit",
    "taken": "plays another",
}


@click.group()
def machines() -> None:
    """The physical (or virtual) boxes of the site."""


@machines.command("list")
@site_option
@json_option
def list_machines(site_dir: Path | None, as_json: bool) -> None:
    """List the machines and who plays what."""
    from homelab_provision.site.description import machine_rows
    from homelab_provision.site.loading import load_site

    rows = machine_rows(load_site(find_site(site_dir)))
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    table = [
        [
            row.name,
            row.plays or "(spare)",
            row.model or "",
            row.serial or "none",
            f"{row.way}/{row.operator}",
            f"not {', '.join(row.distrusted_as)}" if row.distrusted_as else "",
        ]
        for row in rows
    ]
    print_table(table, ["machine", "plays", "model", "serial", "way", "trust"])


@machines.command()
@click.argument("hosts", metavar="[HOST]...", nargs=-1)
@site_option
@click.option("--all", "everybody", is_flag=True, help="Also the machines that play another host.")
@json_option
def check(hosts: tuple[str, ...], site_dir: Path | None, everybody: bool, as_json: bool) -> None:
    """Say of each spare whether it could take over HOST (all of them, if none is named), why not, and with which part.

    \b
    It compares what a host asks for (`provision_needs`) with what a machine's passport says, as a rebuild
    does, and looks through the parts on the shelf (`parts` in machines.yml). Nothing is asked over the network.
    Exit code 7 if there is a host that no spare could take over as it is.

    \b
    Examples:
      provision machines check
      provision machines check db-wyse --all
    """
    from homelab_provision.machine.placement import judge, require_provisioned
    from homelab_provision.site.loading import load_site

    site = load_site(find_site(site_dir))
    asked = [site.host(name) for name in dict.fromkeys(hosts)] or [h for h in site.hosts.values() if h.provisioned]
    for host in asked:
        require_provisioned(host)
    judged = {host.name: [judge(site, host, machine) for machine in site.machines.values()] for host in asked}
    lonely = [host.name for host in asked if not any(map(_could, judged[host.name]))]
    if as_json:
        print_json(_as_data(site, asked, judged, everybody))
    else:
        _show(judged, everybody)
        for name in lonely:
            tell(f"no spare could take over {name} as it is")
        for part in site.parts.values():
            if not any(machine.model in part.models for machine in site.machines.values()):
                tell(f"the part {part.name} goes into no machine of this site: {', '.join(part.models)}")
    raise click.exceptions.Exit(ExitCode.UNHEALTHY if lonely else ExitCode.DONE)


def _could(judgement: Judgement) -> bool:
    from homelab_provision.machine.placement import Verdict

    return judgement.verdict in (Verdict.FITS, Verdict.BY_NAME)


def _shown(judged: list[Judgement], everybody: bool) -> list[Judgement]:
    """Best first."""
    from homelab_provision.machine.placement import Verdict

    order = list(Verdict)
    shown = [each for each in judged if everybody or each.verdict is not Verdict.TAKEN]
    return sorted(shown, key=lambda each: order.index(each.verdict))


def _show(judged: dict[str, list[Judgement]], everybody: bool) -> None:
    rows = []
    for host, judgements in judged.items():
        for each in _shown(judgements, everybody):
            words = VERDICTS[each.verdict] if each.verdict != "taken" else f"plays {each.machine.plays}"
            parts = " + ".join(fitting.part for fitting in each.fittings) if each.verdict == "with-parts" else ""
            rows.append([host, each.machine.name, words, "; ".join(each.lacks), parts])
    print_table(rows, ["host", "machine", "could it", "what it lacks", "with which parts"])


def _as_data(site: Site, hosts: list[Host], judged: dict[str, list[Judgement]], everybody: bool) -> dict[str, Any]:
    def row(each: Judgement) -> dict[str, Any]:
        return {
            "machine": each.machine.name,
            "plays": each.machine.plays,
            "verdict": each.verdict.value,
            "lacks": list(each.lacks),
            "parts": [{"part": fitting.part, "how": fitting.how} for fitting in each.fittings],
        }

    return {
        "hosts": [
            {
                "host": host.name,
                "needs": host.needs.model_dump(mode="json"),
                "covered": any(map(_could, judged[host.name])),
                "machines": [row(each) for each in _shown(judged[host.name], everybody)],
            }
            for host in hosts
        ],
        "parts": {name: part.model_dump(mode="json", exclude={"name"}) for name, part in site.parts.items()},
    }


@machines.command()
@click.argument("name", required=False)
@site_option
@click.option(
    "--address", "addresses", metavar="ADDRESS", multiple=True, help="Look there, not on the whole wire; repeatable."
)
@click.option("--system", metavar="SERIAL", help="The disk that may be flashed, where the machine has several.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def adopt(
    name: str | None, site_dir: Path | None, addresses: tuple[str, ...], system: str | None, yes: bool, as_json: bool
) -> None:
    """Find boxes that were started from the site's stick, show what they are, and write them into machines.yml.

    \b
    Whoever answers is believed under the pinned key of the site's rescue alone. Nothing is written on
    a machine. A machine that the site knows is compared with its passport.

    \b
    Examples:
      provision machines adopt                          look, show, ask
      provision machines adopt wyse-7                   with this name
      provision machines adopt --address 192.168.1.57   behind a router
      provision machines adopt wyse-7 --system S3ERIAL --yes
    """
    from homelab_provision.cli.render import renderer
    from homelab_provision.jobs import adopt as job
    from homelab_provision.site.loading import load_site

    if yes and not name:
        raise UsageError("`--yes` asks for nothing, not even a name", hint="provision machines adopt NAME --yes")
    site = load_site(find_site(site_dir))
    with renderer() as show:
        found = job.look(site, addresses, show)
    new = [each for each in found if each.known is None]
    if (name or system) and len(new) > 1:
        told = ", ".join(each.address for each in new)
        raise UsageError(f"{len(new)} new machines are there: {told}", hint="choose one: `--address ADDRESS`")
    adopted: dict[str, Machine] = {}
    for each in found:
        if not as_json:
            print_text("\n".join(_portrait(each)))
        if each.known is None and (yes or not as_json):
            # A machine that was written a moment ago has its name.
            now = load_site(site.root) if adopted else site
            adopted[each.address] = _adopt(now, each, name, system, yes=yes, as_json=as_json)
    if as_json:
        print_json([_found_as_data(each, adopted.get(each.address)) for each in found])
    elif not new:
        tell("nothing to adopt: the site knows every machine that answers")
    raise click.exceptions.Exit(ExitCode.CHANGES_PENDING if len(adopted) < len(new) else ExitCode.DONE)


def _adopt(site: Site, found: Found, name: str | None, system: str | None, *, yes: bool, as_json: bool) -> Machine:
    """Ask what has to be asked, show the passport, and write it."""
    from homelab_provision.cli.render import renderer
    from homelab_provision.jobs import adopt as job
    from homelab_provision.site.adding import lines

    if not yes:
        with renderer() as show:
            name, system = name or _asked_name(site, found, show), system or _asked_disk(found, show)
    machine = job.propose(site, found, name, system)
    if not as_json:
        print_text("\n".join(["", *lines(machine, found.address)]))
    _tell_hosts(site, machine)
    if yes:
        job.refuse_failing(found, machine)
    else:
        with renderer() as show:
            show.confirm(f"Type `{machine.name}` to write this into machines.yml", machine.name)
    job.record(site, found, machine)
    tell(f"{machine.name} is a spare of {site.name} now: `provision rebuild HOST --onto {machine.name}` goes on")
    return machine


def _asked_name(site: Site, found: Found, show: Renderer) -> str:
    from homelab_provision.machine.draft import kind_of, proposed_name

    proposal = proposed_name(kind_of(found.facts, site.machines.values()), site.machines)
    return show.ask(f"What shall the machine at {found.address} be called? [{proposal}]") or proposal


def _asked_disk(found: Found, show: Renderer) -> str | None:
    """The serial of the disk that may be flashed; nobody is asked about the only one."""
    from homelab_provision.machine.draft import built_in_disks

    disks = {str(disk): disk.serial for disk in built_in_disks(found.facts)}
    if len(disks) < 2:
        return None
    return disks[show.choose("Which disk may be flashed? All others are kept.", list(disks))]


def _tell_hosts(site: Site, machine: Machine) -> None:
    from homelab_provision.machine.placement import judge

    for host in (host for host in site.hosts.values() if host.provisioned):
        judgement = judge(site, host, machine)
        reasons = f": {'; '.join(judgement.lacks)}" if judgement.lacks else ""
        tell(f"as {host.name}: {VERDICTS[judgement.verdict]}{reasons}")


def _portrait(found: Found) -> list[str]:
    """What a person wants to see of a box."""
    from homelab_provision.machine.draft import FEATURES, left_out
    from homelab_provision.machine.inspection import InspectedNic

    facts, inspection, dmi = found.facts, found.inspection, found.facts.dmi
    named = [("", dmi.sys_vendor), ("", dmi.product_name), ("serial ", dmi.product_serial), ("SKU ", dmi.product_sku)]
    named += [("board ", dmi.board_name), ("BIOS ", dmi.bios_version)]
    secure = {True: "Secure Boot on", False: "Secure Boot off", None: "Secure Boot unknown"}[facts.secure_boot]
    flags = " ".join(flag for flag in FEATURES if flag in facts.cpu.flags) or "none of the usual flags"
    lines = [
        f"at {found.address}{f': this is {found.known.name}' if found.known else ''}",
        f"  box      {', '.join(f'{word}{text}' for word, text in named if text)}",
        f"  firmware {facts.firmware}, {secure}{f', TPM {inspection.tpm}' if inspection.tpm else ''}",
        f"  CPU      {facts.cpu.model or 'unknown'}, {facts.cpu.cores or '?'} cores; {flags}",
        f"  memory   {facts.memory_mib or '?'} MiB, as the kernel sees it",
    ]
    for disk in facts.disks:
        if not disk.boot_area and disk.transport != "usb":
            lines.append(f"  disk     {disk}; {found.health(disk.name)}")
    for nic in facts.nics:
        seen = inspection.nics.get(nic.name, InspectedNic())
        speed = f"{seen.speed_mbit} Mb/s" if seen.speed_mbit else "no link" if seen.carrier is False else ""
        wakeup = f"wake-up {seen.wakeup}" if seen.wakeup else ""
        lines.append("  network  " + "  ".join(filter(None, (nic.name, nic.mac, nic.driver, speed, wakeup))))
    lines += [f"  left out {text}" for text in left_out(facts, inspection)]
    lines += [f"  differs  {difference}" for difference in found.differences]
    return lines


def _found_as_data(found: Found, adopted: Machine | None) -> dict[str, Any]:
    from homelab_provision.machine.draft import left_out

    known = found.known or adopted
    return {
        "address": found.address,
        "machine": known.name if known else None,
        "adopted": adopted is not None,
        "differences": [str(difference) for difference in found.differences],
        "facts": found.facts.model_dump(mode="json", by_alias=True),
        "inspection": found.inspection.model_dump(mode="json"),
        "health": {disk.name: str(found.health(disk.name)) for disk in found.facts.disks if not disk.boot_area},
        "left_out": list(left_out(found.facts, found.inspection)),
    }
