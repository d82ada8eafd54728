"""Which machine shall play a host. Nothing is touched here."""

from __future__ import annotations

from collections.abc import Callable

from homelab_provision.errors import Refused
from homelab_provision.site.models import PROVISIONED_GROUP, Firmware, Host, Machine, Needs, Site
from homelab_provision.site.sizes import format_size


def fits(needs: Needs, machine: Machine) -> list[str]:
    """Why a machine cannot play a host with these needs; nothing if it can. What a passport leaves out, it lacks."""
    passport = machine.passport
    reasons = []
    largest = max((disk.size_bytes for disk in passport.system_disks), default=0)
    if largest < (needs.disk_gb or 0) * 10**9:
        reasons.append(f"disk: {format_size(largest)}, needs {needs.disk_gb:g} GB")
    for what, unit, has, needed in (
        ("memory", " MiB", passport.memory_mib, needs.memory_mib),
        ("cores", "", passport.cores, needs.cores),
    ):
        if needed and (has or 0) < needed:
            reasons.append(f"{what}: {f'{has}{unit}' if has else 'not in its passport'}, needs {needed}{unit}")
    lacking = [flag for flag in needs.cpu_flags if flag not in passport.cpu_flags]
    if lacking:
        reasons.append(f"CPU: its passport names no {', '.join(lacking)}")
    if passport.firmware is not Firmware.UEFI:
        reasons.append(f"firmware: {passport.firmware}, needs uefi")
    return reasons


def pick_machine(
    site: Site,
    host: Host,
    onto: str | None,
    reachable: Callable[[Machine], bool],
    ask: Callable[[list[Machine]], Machine] | None,
) -> Machine:
    """The machine that shall play `host`.

    `onto` is the user's word for it. Without it: the machine that plays the host if it can be reached, else the one
    spare that fits; `ask` is called where several do (None: nobody is there to ask). Raises Refused, or UsageError for
    a name that the site does not know.
    """
    if not host.provisioned:
        raise Refused(
            f"`{host.name}` may not be rebuilt: it is not in the group `{PROVISIONED_GROUP}`",
            hint=f"add it to `{PROVISIONED_GROUP}` in hosts.yml if it may",
        )
    if onto is not None:
        return _onto(site.machine(onto), host)
    own = site.player_of(host.name)
    if own is not None and reachable(own):
        return own
    spares = [machine for machine in site.spares() if host.name not in machine.distrusted_as]
    fitting = [machine for machine in spares if not fits(host.needs, machine)]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise _nobody(site, host, own)
    if ask is not None:
        return ask(fitting)
    raise Refused(
        f"several spares could play `{host.name}`: {', '.join(machine.name for machine in fitting)}",
        hint=f"choose one: `--onto {fitting[0].name}`",
    )


def _onto(machine: Machine, host: Host) -> Machine:
    if machine.plays not in (None, host.name):
        raise Refused(
            f"`{machine.name}` plays `{machine.plays}`: it cannot become `{host.name}`",
            hint="choose a spare, or take `plays` from it in machines.yml first",
        )
    if reasons := fits(host.needs, machine):
        raise Refused(
            f"`{machine.name}` does not fit `{host.name}`: {'; '.join(reasons)}",
            hint="choose another machine, or change `provision_needs` of the host",
        )
    return machine


def _nobody(site: Site, host: Host, own: Machine | None) -> Refused:
    lines = [f"`{own.name}` plays it, but cannot be reached"] if own else []
    for machine in site.spares():
        if host.name in machine.distrusted_as:
            lines.append(
                f"`{machine.name}` was `{host.name}` once and is taken for it only by name: `--onto {machine.name}`"
            )
        else:
            lines.append(f"`{machine.name}` does not fit: {'; '.join(fits(host.needs, machine))}")
    return Refused(
        f"no machine can play `{host.name}`",
        evidence="\n".join(lines or ["there are no spares"]),
        hint=f"name one with `--onto`{f' (`--onto {own.name}` if it is only switched off)' if own else ''}, "
        "or add a spare to machines.yml",
    )
