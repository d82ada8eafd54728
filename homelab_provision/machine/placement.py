"""Which machine shall play a host, and what another one lacks for it. Nothing is touched here.

`judge` is the one place where it is decided: `pick_machine` chooses by it for a rebuild, `provision machines check`
shows what it says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from homelab_provision.errors import Refused
from homelab_provision.site.models import PROVISIONED_GROUP, Firmware, Host, Machine, Needs, Part, PartKind, Site
from homelab_provision.site.sizes import format_size


@dataclass(frozen=True)
class Lack:
    """Something that a machine has not got enough of. `mended_by`: the kind of part that could change it, and how
    large it has to be (GB of a disk, MiB of memory)."""

    text: str
    mended_by: PartKind | None = None
    size: float = 0


@dataclass(frozen=True)
class Fitting:
    """A part of the shelf that would mend a lack, and how it goes in."""

    part: str
    how: str

    def __str__(self) -> str:
        return f"{self.part} ({self.how})"


class Verdict(StrEnum):
    """Whether a machine could become a host."""

    PLAYS = "plays"  # it is that host
    FITS = "fits"
    BY_NAME = "by-name"  # it fits, but was that host once: a rebuild takes it only if it is named
    WITH_PARTS = "with-parts"  # it would fit with parts that are on the shelf
    LACKS = "lacks"
    TAKEN = "taken"  # it plays another host


@dataclass(frozen=True)
class Judgement:
    """What a machine would be as a host: `lacks` say what is missing, `fittings` the parts that would mend that."""

    host: str
    machine: Machine
    verdict: Verdict
    lacks: tuple[str, ...] = ()
    fittings: tuple[Fitting, ...] = ()


def lacks(needs: Needs, machine: Machine) -> tuple[Lack, ...]:
    """What a machine has not got of these needs. What a passport leaves out, it lacks."""
    passport = machine.passport
    found = []
    largest = max((disk.size_bytes for disk in passport.system_disks), default=0)
    if largest < (needs.disk_gb or 0) * 10**9:
        text = f"disk: {format_size(largest)}, needs {needs.disk_gb:g} GB"
        found.append(Lack(text, PartKind.DISK, needs.disk_gb or 0))
    for what, unit, has, needed, part in (
        ("memory", " MiB", passport.memory_mib, needs.memory_mib, PartKind.MEMORY),
        ("cores", "", passport.cores, needs.cores, None),
    ):
        if needed and (has or 0) < needed:
            text = f"{what}: {f'{has}{unit}' if has else 'not in its passport'}, needs {needed}{unit}"
            found.append(Lack(text, part, needed))
    if lacking := [flag for flag in needs.cpu_flags if flag not in passport.cpu_flags]:
        found.append(Lack(f"CPU: its passport names no {', '.join(lacking)}"))
    if passport.firmware is not Firmware.UEFI:
        found.append(Lack(f"firmware: {passport.firmware}, needs uefi"))
    if not machine.power_supply:
        found.append(Lack("power supply: it has none", PartKind.POWER))
    return tuple(found)


def fits(needs: Needs, machine: Machine) -> list[str]:
    """Why a machine cannot play a host with these needs; nothing if it can."""
    return [lack.text for lack in lacks(needs, machine)]


def judge(site: Site, host: Host, machine: Machine) -> Judgement:
    """Whether the machine could become the host, and which parts of the site's shelf would help."""
    missing = lacks(host.needs, machine)
    fittings = [_mended(lack, machine, site.parts.values()) for lack in missing]
    found = tuple(fitting for fitting in fittings if fitting)
    if machine.plays is not None:
        verdict = Verdict.PLAYS if machine.plays == host.name else Verdict.TAKEN
    elif missing:
        verdict = Verdict.WITH_PARTS if len(found) == len(missing) else Verdict.LACKS
    else:
        verdict = Verdict.BY_NAME if host.name in machine.distrusted_as else Verdict.FITS
    return Judgement(host.name, machine, verdict, tuple(lack.text for lack in missing), found)


def _mended(lack: Lack, machine: Machine, shelf: Iterable[Part]) -> Fitting | None:
    """The smallest part that mends a lack."""
    parts = [part for part in shelf if part.kind is lack.mended_by and machine.model in part.models]
    offers = [offer for part in parts for offer in _offers(part, machine) if offer[0] >= lack.size]
    return min(offers, key=lambda offer: offer[0])[1] if offers else None


def _offers(part: Part, machine: Machine) -> Iterator[tuple[float, Fitting]]:
    """What the machine would have with a part: beside what is in it, or in its place."""
    if part.kind is PartKind.MEMORY:
        own, more = machine.passport.memory_mib or 0, part.memory_mib or 0
        if own and machine.free_memory_slots >= part.modules:
            yield own + more, Fitting(part.name, f"{more} MiB beside its {own} MiB")
        yield more, Fitting(part.name, f"{more} MiB in place of what is in it")
    elif part.kind is PartKind.DISK:
        yield part.disk_gb or 0, Fitting(part.name, f"{part.disk_gb:g} GB, as its system disk")
    else:
        yield 0, Fitting(part.name, "power supply")


def require_provisioned(host: Host) -> None:
    """Refuse a host that nobody may rebuild."""
    if not host.provisioned:
        raise Refused(
            f"`{host.name}` may not be rebuilt: it is not in the group `{PROVISIONED_GROUP}`",
            hint=f"add it to `{PROVISIONED_GROUP}` in hosts.yml if it may",
        )


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
    require_provisioned(host)
    if onto is not None:
        return _onto(site.machine(onto), host)
    own = site.player_of(host.name)
    if own is not None and reachable(own):
        return own
    judged = [judge(site, host, machine) for machine in site.spares()]
    fitting = [each.machine for each in judged if each.verdict is Verdict.FITS]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise _nobody(judged, host, own)
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


def _nobody(judged: list[Judgement], host: Host, own: Machine | None) -> Refused:
    lines = [f"`{own.name}` plays it, but cannot be reached"] if own else []
    for each in judged:
        name = each.machine.name
        if each.verdict is Verdict.BY_NAME:
            lines.append(f"`{name}` was `{host.name}` once and is taken for it only by name: `--onto {name}`")
        else:
            mended = f"; it would with {' and '.join(map(str, each.fittings))}"
            told = mended if each.verdict is Verdict.WITH_PARTS else ""
            lines.append(f"`{name}` does not fit: {'; '.join(each.lacks)}{told}")
    return Refused(
        f"no machine can play `{host.name}`",
        evidence="\n".join(lines or ["there are no spares"]),
        hint=f"name one with `--onto`{f' (`--onto {own.name}` if it is only switched off)' if own else ''}, "
        "or add a spare to machines.yml",
    )
