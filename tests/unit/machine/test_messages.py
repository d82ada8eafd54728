"""What a refusal says: what was expected, what was found, what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from homelab_provision.errors import Refused
from homelab_provision.machine.facts import MachineFacts
from homelab_provision.machine.match import Mismatch, describe_box, recognise, require_match
from homelab_provision.machine.target import choose_target
from homelab_provision.site.models import Machine, Passport

BOXES = Path(__file__).parents[2] / "fixtures" / "machines"


def box(name: str) -> MachineFacts:
    return MachineFacts.model_validate_json((BOXES / f"{name}.json").read_text())


def machine(name: str, serial: str, mac: str, disk: str) -> Machine:
    papers = {"serial": serial, "macs": [mac], "disks": [{"serial": disk, "size": "256 GB"}]}
    return Machine(name=name, passport=Passport.model_validate(papers))


BENCH = machine("bench", "BENCH01", "00:00:5e:00:53:01", "BENCH-SATA-1")
OTHER = machine("other", "OTHER01", "00:00:5e:00:53:77", "OTHER-SATA-1")


def test_the_right_box() -> None:
    require_match(BENCH, box("sata-blank"), [BENCH, OTHER])


@pytest.mark.negative
def test_another_machine_of_the_site_is_recognised() -> None:
    with pytest.raises(Refused) as caught:
        require_match(OTHER, box("sata-blank"), [BENCH, OTHER])
    assert (
        caught.value.message
        == """\
the box in the rescue system does not match the passport of `other`; nothing was written
  serial             expected OTHER01
                     found    BENCH01
  network card       expected 00:00:5e:00:53:77
                     found    00:00:5e:00:53:01
  disk OTHER-SATA-1  expected a disk of 256 GB with this serial
                     found    BENCH-SATA-1 (sda), DOC-STICK (sdb)"""
    )
    assert caught.value.hint == "this box is `bench`: go to `other`, or say `--onto bench`"
    assert (
        caught.value.evidence
        == """\
seen: Dell Inc. Wyse 5070 Thin Client, serial BENCH01, uefi
  enp1s0  00:00:5e:00:53:01
  sda  sata  256.1 GB  Micron_1100_MTFDDAV256TBN  serial BENCH-SATA-1
  sdb  usb  8 GB  USB DISK 2.0  serial DOC-STICK"""
    )


@pytest.mark.negative
def test_a_stranger() -> None:
    with pytest.raises(Refused) as caught:
        require_match(OTHER, box("sata-blank"), [OTHER])
    assert caught.value.hint == "is this the right box? `other` carries the serial OTHER01"


@pytest.mark.negative
def test_the_right_box_with_another_disk() -> None:
    with pytest.raises(Refused) as caught:
        require_match(BENCH, box("sata-other-serial"), [BENCH, OTHER])
    assert caught.value.hint is not None
    assert "with other parts" in caught.value.hint
    assert "machines.yml (disk BENCH-SATA-1)" in caught.value.hint


@pytest.mark.negative
def test_a_used_disk() -> None:
    with pytest.raises(Refused) as caught:
        choose_target(BENCH.passport, box("sata-windows-iot"))
    assert caught.value.message == (
        "/dev/sda (sata, 256.1 GB, Micron_1100_MTFDDAV256TBN, BENCH-SATA-1) is the right disk, but it is not empty; "
        "nothing was written"
    )
    assert (
        caught.value.evidence
        == """\
on it:
  sda1  vfat, partition `EFI system partition` (260 MiB)
  sda2  a partition with unknown content, partition `Microsoft reserved partition` (16 MiB)
  sda3  ntfs `Windows IoT`, partition `Basic data partition` (254.7 GB)
  sda4  ntfs `Recovery` (1 GiB)"""
    )
    assert caught.value.hint == "if all of this may go, say `--erase BENCH-SATA-1`"


def test_a_box_that_says_nothing_of_itself() -> None:
    silent = MachineFacts.model_validate({"firmware": "bios", "nics": [{"name": "eth0", "mac": None}], "later": 1})
    assert describe_box(silent).startswith("seen: a box without a name, serial (none), bios")
    assert recognise([BENCH], silent) is None
    with pytest.raises(Refused):
        require_match(BENCH, silent)


def test_a_mismatch_in_one_line() -> None:
    assert str(Mismatch("serial", "A", "B")) == "serial: expected A, found B"
