"""A box that nobody has described: started from the site's stick, found on the wire, written into the site."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from homelab_provision.errors import ExitCode
from homelab_provision.site.loading import load_site
from tests.lab.conftest import Homelab

pytestmark = [pytest.mark.lab, pytest.mark.long]

# Seconds until the rescue answers, under emulation and beside other work.
BOOT = 900
NAME = "shelf-1"


def test_a_new_box_is_adopted_once_and_nothing_on_it_is_touched(homelab: Homelab, tmp_path: Path) -> None:
    described = load_site(homelab.site).machine("wyse-b").passport
    file, stick = homelab.site / "machines.yml", tmp_path / "rescue.img"
    homelab.done("usb", "write", str(stick))
    homelab.done("lab", "up")
    box, whole = homelab.machine("wyse-b"), file.read_text()
    box.make_disks()
    disks = [disk.name for disk in box.hardware.disks]
    before = {name: box.digest(name) for name in disks}
    nobody = homelab.run("machines", "adopt", NAME, "--system", "LABSYS-B", "--yes")
    assert nobody.returncode == ExitCode.FAILED
    assert "no rescue system of this site answers" in nobody.stderr
    box.power_on(stick=stick)
    try:
        start, end = whole.index("  wyse-b:"), whole.index("  nas-a:")
        file.write_text(whole[:start] + whole[end:])
        give_up = time.monotonic() + BOOT
        while (looked := homelab.run("machines", "adopt", "--json")).returncode == ExitCode.FAILED:
            assert time.monotonic() < give_up, looked.stderr
        assert looked.returncode == ExitCode.CHANGES_PENDING, looked.stderr
        (seen,) = json.loads(looked.stdout)
        assert seen["machine"] is None
        assert file.read_text() == whole[:start] + whole[end:]

        homelab.done("machines", "adopt", NAME, "--system", "LABSYS-B", "--yes")
        text = file.read_text()
        assert text.startswith((whole[:start] + whole[end:]).rstrip("\n"))
        passport = load_site(homelab.site).machine(NAME).passport
        assert (passport.serial, passport.product, passport.macs) == (
            described.serial,
            described.product,
            described.macs,
        )
        assert (passport.memory_mib, passport.cores) == (described.memory_mib, described.cores)
        assert [disk.serial for disk in passport.system_disks] == ["LABSYS-B"]
        assert {disk.serial for disk in passport.disks} == {"LABSYS-B", "LABDECOY-SATA", "0xdeadbeef"}

        again = homelab.done("machines", "adopt")
        assert f"this is {NAME}" in again.stdout
        assert "differs" not in again.stdout
        assert file.read_text() == text
        told = json.loads(homelab.done("doctor", "--machine", NAME, "--json").stdout)
        verdicts = {finding["name"]: finding["verdict"] for finding in told["findings"]}
        assert (verdicts["passport"], verdicts["mode"]) == ("ok", "ok")
    finally:
        box.power_off()
        file.write_text(whole)
    assert {name: box.digest(name) for name in disks} == before
