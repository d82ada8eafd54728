"""The main job, for real: firmware boots, disks are written, hosts come back proven."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from homelab_provision.errors import ExitCode
from homelab_provision.phases import ORDER
from tests.lab.conftest import Homelab

pytestmark = pytest.mark.lab

HOST = "site-wyse"  # keeps no data: the story of a host with data is in test_data.py
EFI_GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"  # the UEFI specification's EFI_GLOBAL_VARIABLE
DECOYS = ("decoy-sata", "decoy-usb", "emmc")


@pytest.fixture
def homelab(homelab: Homelab) -> Homelab:
    """wyse-a plays a host that keeps no data."""
    homelab.edit("plays: db-wyse", f"plays: {HOST}")
    return homelab


def assert_proven(homelab: Homelab) -> None:
    shown = homelab.latest()
    assert shown["result"] == "proven", shown
    assert [phase["name"] for phase in shown["phases"]] == [phase.value for phase in ORDER]
    assert {phase["result"] for phase in shown["phases"]} == {"ok"}


def test_blank_spare_becomes_the_lost_host_and_nothing_else_is_touched(homelab: Homelab) -> None:
    spare = homelab.machine("wyse-b")
    spare.make_disks()
    before = {name: spare.digest(name) for name in DECOYS}
    assert homelab.run("lab", "install", "wyse-a").returncode == 0
    alive = homelab.run("rebuild", HOST, "--onto", "wyse-b", "--yes")
    assert alive.returncode == ExitCode.REFUSED
    assert "is alive" in alive.stderr
    homelab.machine("wyse-a").power_off()

    planned = homelab.run("rebuild", HOST, "--plan", "--json")
    assert planned.returncode == ExitCode.CHANGES_PENDING, planned.stderr
    assert json.loads(planned.stdout)["machine"] == "wyse-b"
    assert not spare.is_on()

    done = homelab.run("rebuild", HOST, "--yes", "--confirm-code", "--json")  # the lab reads it off the console
    assert done.returncode == ExitCode.DONE, done.stderr
    assert_proven(homelab)
    assert json.loads(done.stdout)["result"] == "proven"
    spare.power_off()
    assert {name: spare.digest(name) for name in DECOYS} == before

    listed = {row["name"]: row for row in json.loads(homelab.run("machines", "list", "--json").stdout)}
    assert listed["wyse-b"]["plays"] == HOST
    assert listed["wyse-a"]["plays"] is None
    assert listed["wyse-a"]["distrusted_as"] == [HOST]
    report = Path(homelab.run("runs", "report", "latest").stdout.strip())
    assert "proven" in report.read_text()

    # The new host as the lab's other commands see it: up again from its disk, applied without a change, verified.
    assert homelab.run("lab", "on", "wyse-b").returncode == ExitCode.DONE
    applied = homelab.run("apply", HOST)
    assert applied.returncode == ExitCode.DONE, applied.stderr
    counts = homelab.latest()["phases"][0]["proof"]
    assert "changed" not in counts, counts
    assert homelab.run("verify", HOST).returncode == ExitCode.DONE
    # The image's root is far smaller: it has grown into its partition, and /srv has the rest of the 16 GB disk.
    assert file_system_bytes(homelab, "/") > 7_000_000_000
    assert file_system_bytes(homelab, "/srv") > 6_000_000_000
    broken = homelab.run("lab", "ssh", HOST, "--", "nft", "flush", "ruleset")
    assert broken.returncode == ExitCode.DONE
    assert homelab.run("verify", HOST).returncode == ExitCode.UNPROVEN


def on_host(homelab: Homelab, *command: str) -> subprocess.CompletedProcess[str]:
    return homelab.run("lab", "ssh", HOST, "--", *command)


def file_system_bytes(homelab: Homelab, path: str) -> int:
    shown = on_host(homelab, "findmnt", "-nbo", "SIZE", path)
    assert shown.returncode == ExitCode.DONE, shown.stderr
    return int(shown.stdout)


@pytest.mark.long
def test_kept_data_survives_a_rebuild_under_secure_boot(homelab: Homelab) -> None:
    """A living host on its own machine, whose firmware starts signed code only: its disk, the stick, its new disk."""
    homelab.edit("      smbios: {serial: LAB5070A}\n", "      smbios: {serial: LAB5070A}\n      secure_boot: true\n")
    assert homelab.run("lab", "install", "wyse-a").returncode == ExitCode.DONE
    assert on_host(homelab, "sh", "-c", "echo mine | tee /srv/kept >/root/gone; sync").returncode == ExitCode.DONE

    done = homelab.run("rebuild", HOST, "--keep-data", "--yes")
    assert done.returncode == ExitCode.DONE, done.stderr
    assert_proven(homelab)
    rescue = json.loads((homelab.runs_folder / "latest" / "facts.json").read_text())
    assert rescue["secure_boot"] is True
    secure = on_host(homelab, "od", "-An", "-tu1", "-j4", "-N1", f"/sys/firmware/efi/efivars/SecureBoot-{EFI_GLOBAL}")
    assert secure.stdout.strip() == "1", secure.stderr
    assert on_host(homelab, "cat", "/srv/kept").stdout == "mine\n"
    assert on_host(homelab, "test", "-e", "/root/gone").returncode == ExitCode.FAILED


# The moment in each phase at which the run is killed: an event, and how many seconds into the work it began.
MOMENTS = {
    "preflight": ("step_started", "find the machine", 0.0),
    "boot": ("step_started", "wait for the rescue", 3.0),
    "identify": ("step_started", "read the machine", 0.5),
    "flash": ("step_started", "write the image", 3.0),
    "arrive": ("step_started", f"wait for {HOST}", 3.0),
    "converge": ("phase_started", "converge", 3.0),
    "restore": ("phase_started", "restore", 0.0),
    "verify": ("phase_started", "verify", 2.0),
}


def test_killed_in_each_phase_it_resumes_and_ends_proven(homelab: Homelab) -> None:
    """One run, killed with SIGKILL in every phase in turn; what each kill leaves behind is what resume finds."""
    words = ["rebuild", HOST, "--onto", "wyse-b", "--yes"]
    for phase in ORDER:
        kind, name, delay = MOMENTS[phase]
        child = homelab.start(*words)
        homelab.wait_for(kind, name, child)
        time.sleep(delay)
        homelab.kill(child)
        assert homelab.latest()["result"] == "failed"
        words = ["rebuild", HOST, "--resume", "--yes"]
    done = homelab.run(*words)
    assert done.returncode == ExitCode.DONE, done.stderr
    assert_proven(homelab)


def test_power_cut_in_mid_flash_leaves_no_bootable_disk_and_resume_ends_proven(homelab: Homelab) -> None:
    spare = homelab.machine("wyse-b")
    child = homelab.start("rebuild", HOST, "--onto", "wyse-b", "--yes")
    homelab.wait_for("step_started", "write the image", child)
    spare.power_cut_after("system", 100_000_000, deadline=300)
    assert child.wait(timeout=120) == ExitCode.FAILED
    table = subprocess.run(["sfdisk", "--json", spare.disk_path("system")], capture_output=True, check=False)
    assert b"hlp-root" not in table.stdout, "a half written disk carries a partition table"
    done = homelab.run("rebuild", HOST, "--resume", "--yes")
    assert done.returncode == ExitCode.DONE, done.stderr
    assert_proven(homelab)


def test_flipped_byte_is_caught_before_the_partition_table(homelab: Homelab) -> None:
    """The image is whole when preflight checks it, and damaged on its way: one byte of what the writer reads."""
    spare = homelab.machine("wyse-b")
    child = homelab.start("rebuild", HOST, "--onto", "wyse-b", "--yes")
    homelab.wait_for("phase_started", "boot", child)
    child.send_signal(signal.SIGSTOP)
    plan = json.loads(next(homelab.runs_folder.glob("*/plan.json")).read_text())
    payload = Path(plan["image"]) / "payload.zst"
    original = payload.read_bytes()
    try:
        payload.write_bytes(repacked_with_a_flipped_byte(original))
        child.send_signal(signal.SIGCONT)
        assert child.wait(timeout=600) == ExitCode.FAILED
    finally:
        payload.write_bytes(original)
    flash = homelab.latest()["phases"][-1]
    assert (flash["name"], flash["result"]) == ("flash", "failed")
    table = subprocess.run(["sfdisk", "--json", spare.disk_path("system")], capture_output=True, check=False)
    assert b"hlp-root" not in table.stdout


@pytest.mark.long
def test_old_system_that_answers_instead_of_the_new_one_is_named(homelab: Homelab) -> None:
    """wyse-a, believed dead, comes back with the host's own key while wyse-b is being written."""
    assert homelab.run("lab", "install", "wyse-a").returncode == 0
    homelab.machine("wyse-a").power_off()
    child = homelab.start("rebuild", HOST, "--onto", "wyse-b", "--yes")
    homelab.wait_for("phase_started", "flash", child)
    homelab.machine("wyse-a").power_on()
    homelab.wait_for("phase_started", "arrive", child)
    homelab.machine("wyse-b").set_link(False)  # the old one is alone on the address
    assert child.wait(timeout=700) == ExitCode.FAILED
    assert child.stderr is not None
    assert f"an old system of {HOST} answers" in child.stderr.read()
    arrive = homelab.latest()["phases"][-1]
    assert (arrive["name"], arrive["result"]) == ("arrive", "failed")


def repacked_with_a_flipped_byte(payload: bytes) -> bytes:
    """The same image with one bit of its content turned over: its own compression and checksum are in order."""
    unpacked = subprocess.run(["zstd", "-dcq"], input=payload, capture_output=True, check=True).stdout
    middle = len(unpacked) // 2
    flipped = unpacked[:middle] + bytes([unpacked[middle] ^ 1]) + unpacked[middle + 1 :]
    return subprocess.run(["zstd", "-1", "-cq"], input=flipped, capture_output=True, check=True).stdout


@pytest.mark.negative
def test_refusals_write_nothing(homelab: Homelab) -> None:
    """One boot of the rescue, six reasons to refuse; the target disk stays bit for bit what it was."""
    spare = homelab.machine("wyse-b")
    spare.make_disks()
    homelab.machine("wyse-a").power_off()
    subprocess.run(["mkfs.ext4", "-q", "-L", "precious", spare.disk_path("system")], check=True)
    before = spare.digest("system")
    words = ("rebuild", HOST, "--onto", "wyse-b", "--yes")

    def refused(*extra: str) -> str:
        run = homelab.run(*words, *extra)
        assert run.returncode == ExitCode.REFUSED, run.stderr
        assert homelab.latest()["result"] == "refused"
        assert [phase["name"] for phase in homelab.latest()["phases"]][-1] == "identify"
        return run.stderr

    assert "--erase LABSYS-B" in refused()  # a foreign file system
    slip = homelab.run(*words, "--erase", "LABSYS-A")  # leave to erase the disk of another machine
    assert (slip.returncode, "did you mean `LABSYS-B`" in slip.stderr) == (ExitCode.USAGE, True), slip.stderr
    assert "not the rescue on the screen" in refused("--confirm-code", "TTTT-VVVV")  # another machine's screen
    homelab.edit("serial: LAB5070B\n", "serial: LAB5070X\n")
    assert "LAB5070X" in refused("--erase", "LABSYS-B")  # another machine
    homelab.edit("serial: LAB5070X\n", "serial: LAB5070B\n")
    homelab.edit("{serial: LABSYS-B, size: 16 GB, use: system}", "{serial: LABSYS-Y, size: 16 GB, use: system}")
    assert "LABSYS-Y" in refused("--erase", "LABSYS-Y")  # another disk
    # The rescue that is running came from a stick that is revoked now: it is a stranger, and started anew.
    shown = homelab.run("usb", "revoke", "--yes")
    assert shown.returncode == ExitCode.DONE, shown.stderr
    starts = boot_ids(homelab)
    assert "LABSYS-Y" in refused("--erase", "LABSYS-Y")
    assert boot_ids(homelab) - starts
    spare.power_off()
    assert spare.digest("system") == before


def boot_ids(homelab: Homelab) -> set[str]:
    """Every start of the rescue that a run looked at."""
    return {json.loads(facts.read_text())["boot_id"] for facts in homelab.runs_folder.glob("*/facts.json")}
