"""The ways of a machine whose Linux still answers: it starts the rescue itself, and goes on as before if that fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from homelab_provision.errors import ExitCode
from tests.lab.conftest import BOOT_ID, REBOOT, Homelab
from tests.lab.test_rebuild import HOST, assert_proven

LEFT = "find /boot/efi/ -name hlp-rescue -o -name grub"
pytestmark = [pytest.mark.lab, pytest.mark.long]

# The way with a rescue that cannot start, given up when the machine is back. `Start` as the phase boot makes it.
GO = """
import sys, time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from homelab_provision.image.rescue import Rescue
from homelab_provision.phases.boot import RescueNotReached
from homelab_provision.phases.session import session
from homelab_provision.ways import Medium, way_called
host, machine, rescue, before, patience = sys.argv[2:]
with session(Path(sys.argv[1]), [host]) as opened:
    start = SimpleNamespace(
        ssh=opened.ssh, system=host, machine=opened.site.machine(machine), identity=opened.identities.site,
        rescue=Rescue(Path(rescue), "0"), medium=Medium(rescue_id="lab-0", path=Path(rescue)),
    )
    with suppress(RescueNotReached), way_called("bootnext").serving(start):
        give_up = time.monotonic() + float(patience)
        ask = ("cat", "/proc/sys/kernel/random/boot_id")
        while opened.ssh.run(host, *ask, deadline=60, check=False).stdout in (before, ""):
            assert time.monotonic() < give_up
            time.sleep(2)
        raise RescueNotReached("as expected")
"""


@pytest.fixture
def homelab(homelab: Homelab) -> Homelab:
    homelab.edit("plays: db-wyse", f"plays: {HOST}")
    homelab.install("wyse-a", HOST)
    return homelab


def entries(homelab: Homelab) -> str:
    return homelab.on(HOST, "efibootmgr")


@pytest.mark.parametrize("way", ["bootnext", "kexec"])
def test_a_living_host_is_rebuilt_without_a_hand(homelab: Homelab, way: str) -> None:
    homelab.edit("    plays: site-wyse\n", "    plays: site-wyse\n    survives_kexec: true\n")
    homelab.on(HOST, "echo mine | tee /srv/kept >/root/gone; sync")
    done = homelab.run("rebuild", HOST, "--way", way, "--keep-data", "--yes", "--confirm-code")
    assert done.returncode == ExitCode.DONE, done.stderr
    assert_proven(homelab)
    assert homelab.on(HOST, "cat /srv/kept; ls /root/gone 2>/dev/null || echo gone") == "mine\ngone\n"
    # Nothing is left of it, in the firmware or on the disk.
    assert "rescue" not in entries(homelab)
    assert homelab.on(HOST, LEFT) == ""


def test_a_rescue_that_does_not_start_gives_the_machine_back(homelab: Homelab, tmp_path: Path) -> None:
    rescue = tmp_path / "rescue"
    rescue.mkdir()
    for name in ("BOOTX64.EFI", "grubnetx64.efi", "mmx64.efi", "vmlinuz", "rescue.img"):
        (rescue / name).write_bytes(b"no program")
    before = homelab.on(HOST, BOOT_ID)
    words = [sys.executable, "-c", GO, str(homelab.site), HOST, "wyse-a", str(rescue), before, str(REBOOT)]
    subprocess.run(words, env=homelab.environment, check=True)
    assert homelab.on(HOST, BOOT_ID) != before
    # The firmware has forgotten it, and so has the disk.
    assert "BootNext" not in entries(homelab)
    assert "rescue" not in entries(homelab)
    assert homelab.on(HOST, LEFT) == ""


@pytest.mark.negative
def test_nobody_is_started_so_who_was_not_said_to_survive_it(homelab: Homelab) -> None:
    refused = homelab.run("rebuild", HOST, "--way", "kexec", "--yes")
    assert refused.returncode == ExitCode.REFUSED
    assert "survives_kexec: true" in refused.stderr


@pytest.mark.negative
def test_who_does_not_answer_cannot_be_told(homelab: Homelab) -> None:
    homelab.machine("wyse-a").power_off()
    refused = homelab.run("rebuild", HOST, "--onto", "wyse-a", "--way", "bootnext", "--yes")
    assert refused.returncode == ExitCode.REFUSED
    assert "cannot get into the rescue system through `bootnext`" in refused.stderr
    assert "none answers" in refused.stderr
