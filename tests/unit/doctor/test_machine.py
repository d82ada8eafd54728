"""What `provision doctor --machine` says of a box in the rescue system."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from homelab_provision.doctor import Verdict
from homelab_provision.doctor.machine import examine_machine
from homelab_provision.jobs import adopt
from homelab_provision.jobs.adopt import Found
from homelab_provision.lab import reach
from homelab_provision.machine.inspection import Inspection
from homelab_provision.site.models import Machine, Site
from tests.unit.cli.command import Provision, provision, site
from tests.unit.jobs.test_adopt import FIXTURES, SYSTEM, found
from tests.unit.site.sites import site_of

__all__ = ["provision", "site"]  # fixtures

BOX = found()
MACHINE = adopt.propose(site_of(), BOX, "wyse-c", SYSTEM)


def said(machine: Machine, box: Found) -> dict[str, tuple[Verdict, str]]:
    return {each.name: (each.verdict, each.found) for each in examine_machine(machine, box)}


def test_a_real_wyse() -> None:
    told = said(MACHINE, BOX)
    assert told["passport"] == (Verdict.OK, "matches: serial DOCD407")
    assert told["product"] == (Verdict.OK, "Dell Inc. Wyse 5070 Thin Client 080C 06MC09")
    assert told["Secure Boot"] == (Verdict.OK, "cannot be read")
    assert told["PXE"] == (Verdict.OK, "offered: 0003 Onboard NIC (IPV4)")
    assert told["HTTP boot"] == (Verdict.WARN, "no boot entry offers it")
    assert told["enp1s0"] == (Verdict.WARN, "00:00:5e:00:53:d4, wake-up disabled, 1000 Mb/s")
    assert told["watchdog"] == (Verdict.WARN, "the rescue's kernel shows none")
    assert told["sda"][0] is Verdict.OK
    assert "unknown" in told["BootNext"][1]
    assert told["kexec"] == (Verdict.WARN, "the kernel allows it; unknown whether the box survives it")


def test_a_disk_that_nobody_asked_is_unknown_and_one_that_fails_is_said() -> None:
    assert said(MACHINE, Found("x", BOX.facts, Inspection()))["sda"][0] is Verdict.WARN
    failing = json.loads((FIXTURES / "inspections" / "smartctl-ata-failing.json").read_text())
    inspection = Inspection.model_validate({"disks": {"sda": {"smartctl": failing}}})
    assert said(MACHINE, Found("x", BOX.facts, inspection))["sda"][0] is Verdict.FAIL


def test_another_box_and_one_with_other_parts() -> None:
    spare = site_of().machine("wyse-b")
    assert said(spare, Found("x", BOX.facts, Inspection(), MACHINE))["passport"] == (Verdict.FAIL, "this is `wyse-c`")
    assert said(MACHINE, found(memory_mib=3917))["passport"] == (
        Verdict.FAIL,
        "memory: expected 8192 MiB, found 3917 MiB",
    )
    assert said(MACHINE, found(firmware="bios"))["mode"] == (Verdict.FAIL, "it started as a BIOS")


@pytest.mark.parametrize(("box", "code"), [(BOX, 0), (found(memory_mib=3917), 7)])
def test_the_command(site: Path, provision: Provision, monkeypatch: pytest.MonkeyPatch, box: Found, code: int) -> None:
    adopt.record(site_of((site / "machines.yml").read_text(), root=site), BOX, MACHINE)
    asked: list[list[str]] = []

    def look(given: Site, addresses: list[str], emit: object) -> list[Found]:
        asked.append(list(addresses))
        return [box]

    monkeypatch.setattr(adopt, "look", look)
    monkeypatch.setattr(reach, "link_of", lambda site: "eth7")
    shown = provision("doctor", "--machine", "wyse-c")
    assert (shown.code, asked) == (code, [["fe80::200:5eff:fe00:53d4%eth7"]])
    assert "  warn  HTTP boot" in shown.out
    told = json.loads(provision("doctor", "--machine", "wyse-c", "--json").out)
    assert told["facts"]["dmi"]["product_serial"] == "DOCD407"
    assert told["inspection"]["tpm"] == "2"


@pytest.mark.negative
@pytest.mark.usefixtures("site")
def test_a_machine_that_there_is_not(provision: Provision) -> None:
    assert provision("doctor", "--machine", "wyse-z").code == 2
