"""How much of a host's memory its GPU may use, and the kernel's arguments that say so.

The GPU of such a host has no memory of its own: the GTT is the part of the system's that it may take. The kernel gives
it half unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .errors import Trouble
from .hardware import Hardware
from .known import GTT_LEFT_GIB, GTT_MAX_GIB, LOCKUP_TIMEOUT_MS
from .quantities import GIB

PAGE = 4096
PAGES_A_GIB = GIB // PAGE
# What older guides say, and what would count as well as ours.
OUTDATED = ("amdgpu.gttsize", "amdttm.pages_limit", "amdttm.page_pool_size")

DROP_IN = """\
# The memory that the GPU may use, and how long it may compute at once. Written by the role `inference`.
GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT {arguments}"
"""


@dataclass(frozen=True)
class Plan:
    """What the GPU may use, in GiB and in pages of the kernel, and the arguments that the kernel is started with."""

    gtt_gib: int
    arguments: tuple[str, ...]

    @property
    def pages(self) -> int:
        return self.gtt_gib * PAGES_A_GIB

    @property
    def drop_in(self) -> str:
        """The text of a file in /etc/default/grub.d."""
        return DROP_IN.format(arguments=" ".join(self.arguments))


@dataclass(frozen=True)
class Difference:
    """Something that is not yet as planned: how it is, the argument that is to be, and one of others that has to go."""

    seen: str
    expected: str = ""
    surplus: str = ""


def plan(memory: int, gtt_gib: int | None = None, iommu_off: bool = False) -> Plan:
    """The plan for a host with so many bytes of memory. Raises `Trouble` when that leaves the system too little."""
    total = memory // GIB
    gib = min(GTT_MAX_GIB, total - GTT_LEFT_GIB) if gtt_gib is None else gtt_gib
    if gtt_gib is not None and gtt_gib < 1:
        raise Trouble(f"the GPU is to have {gtt_gib} GiB", "set inference_gtt_gib to 1 or more, or leave it away")
    if gib < 1:
        raise Trouble(
            f"this host has {total} GiB of memory, of which {GTT_LEFT_GIB} stay with the system",
            "a host this small computes on its CPU: inference_backend: cpu",
        )
    if gib > total - 4:
        raise Trouble(
            f"the GPU is to have {gib} GiB of {total}",
            f"the system needs 4 GiB at the very least: set inference_gtt_gib to {max(1, total - GTT_LEFT_GIB)}",
        )
    arguments = [f"ttm.pages_limit={gib * PAGES_A_GIB}", f"amdgpu.lockup_timeout={LOCKUP_TIMEOUT_MS}"]
    if iommu_off:
        arguments.append("amd_iommu=off")
    return Plan(gib, tuple(arguments))


def differences(planned: Plan, hardware: Hardware) -> list[Difference]:
    """In what the running kernel is not as planned. Empty: it is."""
    found = [*_of_arguments(planned.arguments, hardware.command_line)]
    if hardware.pages_limit not in (None, planned.pages):
        found.append(Difference(f"ttm/parameters/pages_limit is {hardware.pages_limit}"))
    for card in hardware.cards:
        if card.driver == "amdgpu" and card.gtt_total not in (None, planned.gtt_gib * GIB):
            seen = f"mem_info_gtt_total of {card.name} is {(card.gtt_total or 0) / GIB:.1f} GiB"
            found.append(Difference(seen))
    return found


def _of_arguments(planned: Sequence[str], running: Sequence[str]) -> list[Difference]:
    last = dict(word.partition("=")[::2] for word in running)
    found = []
    for argument in planned:
        name, _, value = argument.partition("=")
        if last.get(name) != value:
            found.append(Difference(f"{name}={last[name]}" if name in last else f"no {name}", argument))
    names = {argument.partition("=")[0] for argument in planned}
    for name in (*OUTDATED, "amd_iommu"):
        if name in last and name not in names and (name != "amd_iommu" or last[name] == "off"):
            found.append(Difference(f"{name}={last[name]}", f"no {name}", name))
    return found
