"""Four machines at once against one: wall time, each from a blank disk to a proven host.

How near the ratio comes to 1 is a question of cores: emulated machines have their own work to do on these.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from bench.rebuild import say
from homelab_provision.errors import ProvisionError
from homelab_provision.events import Emit, Event, discard
from homelab_provision.image.host_image import image_of
from homelab_provision.jobs import many
from homelab_provision.lab import reach
from homelab_provision.runs.store import Request
from homelab_provision.site.loading import load_site
from homelab_provision.site.models import Site

ROUNDS, MACHINES = 2, 4
NAMES = [f"web-{number}" for number in range(1, MACHINES + 1)]


def measure() -> Iterator[dict[str, object]]:
    """Rounds of one and of four in turn."""
    with TemporaryDirectory(prefix="hlp-bench-") as folder, _site(Path(folder)) as site:
        image_of(site.host(NAMES[0]), discard)
        one, four = [], []
        for number in range(ROUNDS):
            one.append(rebuild(site, NAMES[:1]))
            four.append(rebuild(site, NAMES))
            say(f"round {number + 1}: one {one[-1]:.0f} s, {MACHINES} at once {four[-1]:.0f} s")
        seconds = {"one": round(statistics.median(one), 1), "four": round(statistics.median(four), 1)}
        ratio = round(statistics.median(four) / statistics.median(one), 3)
        accelerator = str(reach.lab_of(site).accel)
        yield {"many": {**seconds, "four_over_one": ratio, "cores": os.cpu_count(), "accelerator": accelerator}}


def rebuild(site: Site, hosts: list[str]) -> float:
    """Rebuild these hosts on blank machines, all at once; the seconds until the last of them is proven."""
    lab = reach.lab_of(site)
    for name in site.machines:
        lab.machine(name).power_off()
        lab.machine(name).wipe()
    started = time.monotonic()
    members = many.group(site, Request(command="rebuild", site=site.root, host=""), hosts, None)
    endings = many.rebuild(site, members, emit=discard, emit_of=_watch, person=Nobody(), unattended=True)
    if failed := [ending for ending in endings if ending.error]:
        raise ProvisionError(f"{failed[0].member.host} was not rebuilt: {failed[0].error}")
    return time.monotonic() - started


def hosts_yml() -> str:
    """Hosts that need nothing of each other."""
    lines = ["all:", "  vars: {ansible_user: root, base_timezone: Etc/UTC}", "  children:"]
    lines += ["    provisioned:", "      hosts:"]
    for number, name in enumerate(NAMES, 11):
        network = f"address: 192.168.50.{number}/24, gateway: 192.168.50.1, dns: [192.168.50.1]"
        lines.append(f"        {name}: {{ansible_host: 192.168.50.{number}, provision_network: {{{network}}}}}")
    return "\n".join(lines) + "\n"


def machines_yml() -> str:
    """A small box for each host."""
    lines = ["lab: {namespace: hlp-bench, router: 192.168.50.1/24}", "machines:"]
    for number, name in enumerate(NAMES, 1):
        mac, disk = f"52:54:00:50:71:0{number}", f"LABSYS-{number}"
        lines += [
            f"  box-{number}:",
            f"    plays: {name}",
            "    operator: lab",
            f"    address: 192.168.50.{100 + number}",
            f'    passport: {{serial: LABBENCH{number}, macs: ["{mac}"], disks: [{{serial: {disk}, size: 16 GB}}]}}',
            "    lab:",
            f"      smbios: {{serial: LABBENCH{number}}}",
            f'      mac: "{mac}"',
            "      cpus: 2",
            "      memory_mib: 1024",
            f"      disks: [{{name: system, bus: sata, serial: {disk}, size_bytes: 16 GB, model: QEMU HARDDISK}}]",
        ]
    return "\n".join(lines) + "\n"


class Nobody:
    """An unattended rebuild asks nobody."""

    def confirm(self, text: str, expected: str) -> NoReturn:
        raise AssertionError(text)

    def ask(self, text: str) -> NoReturn:
        raise AssertionError(text)

    def choose(self, text: str, options: object) -> NoReturn:
        raise AssertionError(text)


def _watch(host: str) -> Emit:
    def tell(event: Event) -> None:
        if event.kind == "phase_finished":
            say(f"  {host}: {event.phase}: {event.seconds:.1f} s")

    return tell


@contextmanager
def _site(folder: Path) -> Iterator[Site]:
    """Boxes in a namespace of their own, taken down at the end."""
    root = folder / "many"
    root.mkdir()
    (root / "hosts.yml").write_text(hosts_yml())
    (root / "machines.yml").write_text(machines_yml())
    site = load_site(root)
    try:
        yield site
    finally:
        reach.lab_of(site).down(remove_disks=True)
