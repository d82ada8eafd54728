"""The rebuild against its floors, in the same virtual machine, with the same image.

- *bare write*: `zstd -dc | dd` of the raw image into the machine's disk, nothing checked.
- *floor*: boot the rescue, write the image bare, boot the disk to SSH; nothing else.
- *package installation*: mmdebstrap of the same package set inside the machine, onto its disk.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from homelab_provision import paths
from homelab_provision.doors.process import run
from homelab_provision.doors.ssh import RESCUE, Answer, Ssh, opened
from homelab_provision.errors import ProvisionError
from homelab_provision.events import Event, discard
from homelab_provision.identity.identities import Identities
from homelab_provision.identity.identities import load as load_identities
from homelab_provision.identity.seed import files
from homelab_provision.image.host_image import image_of
from homelab_provision.image.image import Image
from homelab_provision.image.rescue import build_rescue
from homelab_provision.jobs import rebuild
from homelab_provision.jobs.preinstalled import install
from homelab_provision.jobs.report import summary
from homelab_provision.lab import reach
from homelab_provision.lab.machine import VirtualMachine
from homelab_provision.phases.context import Person
from homelab_provision.runs import store
from homelab_provision.runs.store import Request
from homelab_provision.site.loading import load_site
from homelab_provision.site.models import Machine, Site
from homelab_provision.site.vault.store import Vault
from homelab_provision.ways.usb import site_stick

HOST, MACHINE = "site-wyse", "wyse-b"
ROUNDS = 2
DISK_BYTES = 16_000_000_000


def measure() -> Iterator[dict[str, object]]:
    """Rounds of floor and rebuild in turn, then one package installation; yields the figures as they are known."""
    with TemporaryDirectory(prefix="hlp-bench-") as folder, _site(Path(folder)) as site:
        bench = Bench(site, Path(folder))
        floors, rebuilds = [], []
        for number in range(ROUNDS):
            floors.append(bench.floor())
            rebuilds.append(bench.rebuild())
            say(f"round {number + 1}: floor {floors[-1]}, rebuild {rebuilds[-1]}")
        floor = {name: round(statistics.median(one[name] for one in floors), 1) for name in floors[0]}
        phases = {name: round(statistics.median(one[name] for one in rebuilds), 1) for name in rebuilds[0]}
        whole = statistics.median(sum(one.values()) for one in rebuilds)
        yield {
            "flash_over_write": round(phases["flash"] / floor["write"], 3),
            "rebuild_over_floor": round(whole / statistics.median(sum(one.values()) for one in floors), 3),
            "phases": phases,
            "floor": floor,
            "rebuild_seconds": round(whole, 1),
            "image": bench.image.digest,
            "accelerator": bench.accelerator,
            "rounds": ROUNDS,
        }
        packages = bench.package_installation()
        yield {
            "rebuild_over_package_install": round(whole / packages, 3),
            "package_install_seconds": round(packages, 1),
        }


class Bench:
    """One lab with one blank machine, measured again and again."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site, self._folder = site, folder
        self._machine: Machine = site.machine(MACHINE)
        self._host = site.host(HOST)
        self._identities: Identities = load_identities(
            Vault.of(site.root, name=site.name, create=True), site.name, site.host(HOST)
        )
        say("building the image and the rescue system, if they are not in the cache")
        self.image: Image = image_of(self._host, discard)
        rescue = build_rescue(paths.cache(), discard)
        self._stick = site_stick(site.name, self._identities.site, rescue, discard)
        lab = reach.lab_of(site)
        lab.up()
        self.accelerator = str(lab.accel)
        self._virtual: VirtualMachine = lab.machine(MACHINE)
        self._raw = self._raw_image()

    def floor(self) -> dict[str, float]:
        """Boot the rescue, write bare, boot the disk: seconds of each."""
        self._blank()
        with self._ssh() as ssh:
            boot = timed(lambda: self._start_rescue(ssh))
            write = timed(lambda: self._write_bare(ssh))
            start = timed(lambda: self._start_disk(ssh))
        return {"boot": boot, "write": write, "start": start}

    def rebuild(self) -> dict[str, float]:
        """A whole rebuild of the blank machine: seconds of each phase."""
        self._blank()
        record = store.start(Request(command="rebuild", site=self.site.root, host=HOST, onto=MACHINE))
        rebuild.rebuild(record, emit=_watch, person=_nobody(), unattended=True)
        return {phase.name: phase.seconds for phase in summary(record).phases}

    def package_installation(self) -> float:
        """mmdebstrap of the image's package set inside the machine that was just rebuilt, onto its data partition."""
        with self._ssh() as ssh:
            ssh.run(HOST, "sh", "-c", "apt-get -qq update && apt-get -qq -y install mmdebstrap", deadline=1800)
            names = ",".join(sorted(self.image.packages))
            sources = "cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null"
            install = f"mmdebstrap --variant=custom --include={names} {self.image.suite} /srv/target -"
            script = f"{sources} | {install} && sync"
            return timed(lambda: ssh.run(HOST, "sh", "-c", script, deadline=5400))

    def _blank(self) -> None:
        self._virtual.power_off()
        self._virtual.wipe()
        self._virtual.make_disks()

    def _raw_image(self) -> Path:
        """The image as a compressed raw disk with the host's identity, as somebody would keep it for `dd`."""
        whole, packed = self._folder / "disk.img", self._folder / "disk.img.zst"
        content = files(
            self._host,
            self._identities.hosts[HOST],
            self._identities.site,
            mac=self._machine.passport.macs[0],
            release={"run": "bench"},
        )
        layout = install(self.image, whole, DISK_BYTES, content)
        end = layout.root.offset_bytes + self.image.root_fs_bytes
        run(["truncate", "-s", str(end), whole], deadline=60)
        run(["zstd", "-q", "-T0", "-10", "-f", "-o", packed, whole], deadline=900)
        return packed

    def _start_rescue(self, ssh: Ssh) -> None:
        self._virtual.power_on(stick=self._stick.path)
        expect(ssh.wait(RESCUE, deadline=600))

    def _write_bare(self, ssh: Ssh) -> None:
        with self._raw.open("rb") as image:
            disk = "/dev/$(grep -la LABSYS-B /sys/block/sd*/device/vpd_pg80 | cut -d/ -f4)"
            ssh.run(
                RESCUE,
                "sh",
                "-c",
                f"zstd -dcq | dd of={disk} bs=4M conv=fsync iflag=fullblock",
                stdin=image,
                deadline=1800,
            )

    def _start_disk(self, ssh: Ssh) -> None:
        ssh.run(RESCUE, "sh", "-c", "(sleep 0.2; reboot -f) </dev/null >/dev/null 2>&1 &", deadline=20, check=False)
        ssh.forget(RESCUE)
        self._virtual.remove_stick()
        expect(ssh.wait(HOST, deadline=900))

    @contextmanager
    def _ssh(self) -> Iterator[Ssh]:
        addresses = {HOST: self._host.address or "", RESCUE: reach.rescue_address(self.site, self._machine)}
        with opened(self._identities.credentials, addresses, reach.door(self.site)) as ssh:
            yield ssh


def timed(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def expect(answer: Answer) -> None:
    if answer is not Answer.OURS:
        raise ProvisionError(f"the machine did not come up: {answer}")


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def _watch(event: Event) -> None:
    if event.kind == "phase_finished":
        say(f"  {event.phase}: {event.seconds:.1f} s")


def _nobody() -> Person:
    class Nobody:
        def confirm(self, text: str, expected: str) -> None:
            raise AssertionError("an unattended rebuild asks nobody")

        def ask(self, text: str) -> str:
            raise AssertionError("an unattended rebuild asks nobody")

        def choose(self, text: str, options: object) -> str:
            raise AssertionError("an unattended rebuild asks nobody")

    return Nobody()


@contextmanager
def _site(folder: Path) -> Iterator[Site]:
    """A copy of the lab's site in a namespace of its own, taken down at the end."""
    root = folder / "bench"
    shutil.copytree(paths.content("inventories") / "lab", root, ignore=shutil.ignore_patterns(".vault*", "vault"))
    machines = root / "machines.yml"
    text = machines.read_text().replace("lab:\n", "lab:\n  namespace: hlp-bench\n", 1)
    # Nobody plays the host: the rounds start from the same blank machine, and it is always the spare.
    machines.write_text(text.replace("    plays: db-wyse\n", "", 1))
    site = load_site(root)
    try:
        yield site
    finally:
        reach.lab_of(site).down(remove_disks=True)
