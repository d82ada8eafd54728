"""The ways of a machine whose Linux still answers: it starts the rescue itself, and goes on as before if that fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from homelab_provision.errors import ExitCode
from tests.lab.conftest import BOOT_ID, Homelab
from tests.lab.test_rebuild import HOST, assert_proven

pytestmark = [pytest.mark.lab, pytest.mark.long]

# The way's first half, with a rescue that cannot start.
STAGE = """
import sys
from pathlib import Path
from homelab_provision.image.rescue import Rescue
from homelab_provision.phases.session import session
from types import SimpleNamespace
from homelab_provision.ways import _living
from homelab_provision.ways.bootnext import contents, stage
site, host, machine, rescue = Path(sys.argv[1]), sys.argv[2], sys.argv[3], Rescue(Path(sys.argv[4]), "0")
with session(site, [host]) as opened:
    start = SimpleNamespace(ssh=opened.ssh, system=host, machine=opened.site.machine(machine))
    stage(start, contents(rescue, b"nothing"))
    _living.restart(start, "systemctl reboot")
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
    assert homelab.on(HOST, "find /boot/efi -name 'hlp-rescue' -o -name grub") == ""


def test_a_rescue_that_does_not_start_gives_the_machine_back(homelab: Homelab, tmp_path: Path) -> None:
    rescue = tmp_path / "rescue"
    rescue.mkdir()
    for name in ("BOOTX64.EFI", "grubnetx64.efi", "mmx64.efi", "vmlinuz", "rescue.img"):
        (rescue / name).write_bytes(b"no program")
    before = homelab.on(HOST, BOOT_ID)
    words = [sys.executable, "-c", STAGE, str(homelab.site), HOST, "wyse-a", str(rescue)]
    subprocess.run(words, env=homelab.environment, check=True)
    assert homelab.until_back(HOST, before) != before
    assert "BootNext" not in entries(homelab)


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
