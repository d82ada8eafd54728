"""A passport from what a box says of itself: it matches the box again, and names nothing that may not be named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from homelab_provision.errors import Refused
from homelab_provision.machine.draft import (
    built_in_disks,
    draft_passport,
    fitted_memory,
    kind_of,
    left_out,
    proposed_name,
)
from homelab_provision.machine.facts import MachineFacts
from homelab_provision.machine.inspection import Health, InspectedDisk, Inspection, Shape, health
from homelab_provision.machine.match import compare
from homelab_provision.machine.target import choose_target
from homelab_provision.site.models import Machine

FIXTURES = Path(__file__).parents[2] / "fixtures"
INSPECTED = Inspection.model_validate_json((FIXTURES / "inspections" / "wyse5070-d407.json").read_text())
NOTHING = Inspection()


def box(name: str, **changed: Any) -> MachineFacts:
    told = json.loads((FIXTURES / "machines" / f"{name}.json").read_text())
    return MachineFacts.model_validate({**told, **changed})


D407 = box("wyse5070-d407-sata-and-emmc-tpm")
# Every captured box, and the disk of it that somebody would name.
REAL = {
    "wyse5070-0609-emmc-only-secureboot": None,
    "wyse5070-d2f3-emmc-only-usb-ssd-is-sda": None,
    "wyse5070-d407-sata-and-emmc-tpm": "DOC-MICRON-D407",
    "wyse3040-fb8a-foreign": None,
    "framework-desktop-395": "DOC-QS-1",
    "virtual-wyse": "LABSYS-B",
}


@pytest.mark.parametrize(("name", "system"), REAL.items())
def test_the_draft_matches_the_box_that_it_was_made_of(name: str, system: str | None) -> None:
    facts = box(name)
    disks = built_in_disks(facts)
    assert (system is None) == (len(disks) == 1)
    passport = draft_passport(facts, NOTHING, system or disks[0].serial or "")
    assert compare(passport, facts) == []
    assert [disk.serial for disk in passport.system_disks] == [system or disks[0].serial]
    assert {disk.serial for disk in passport.disks} == {disk.serial for disk in disks}
    assert not {disk.serial for disk in passport.disks} & {d.serial for d in facts.disks if d.transport == "usb"}


def test_a_real_wyse() -> None:
    passport = draft_passport(D407, INSPECTED, "doc-micron-d407", ["rdrand", "avx2"])
    assert passport.model_dump(mode="json", exclude_none=True) == {
        "serial": "DOCD407",
        "product": "Wyse 5070 Thin Client",
        "macs": ["00:00:5e:00:53:d4"],
        "firmware": "uefi",
        "memory_mib": 8192,
        "cores": 4,
        "cpu_flags": ["sse4_2", "aes", "rdrand"],
        "disks": [
            {"serial": "0x0d0cd407", "size": "31268536320", "use": "keep", "erase": False, "model": "hB8aP>"},
            {
                "serial": "DOC-MICRON-D407",
                "size": "256060514304",
                "use": "system",
                "erase": False,
                "model": "Micron_1100_MTFDDAV256TBN",
            },
        ],
    }
    # What stands on the disk is no matter of the passport: a rebuild still refuses it.
    with pytest.raises(Refused, match="not empty"):
        choose_target(passport, D407)


def test_what_is_left_out_is_said() -> None:
    assert left_out(D407, INSPECTED) == ("sdb  usb  8 GB  USB DISK 2.0  serial DOC-STICK: it holds the rescue",)
    assert any("hangs on usb" in line for line in left_out(box("wyse5070-d2f3-emmc-only-usb-ssd-is-sda"), NOTHING))


def test_cards_on_usb_count_only_if_there_are_no_others_and_wireless_ones_never() -> None:
    nics = [
        {"name": name, "mac": f"00:00:5E:00:53:0{number}"} for number, name in enumerate(("eno1", "enx1", "wlp2"), 1)
    ]
    facts = D407.model_copy(update={"nics": box("wyse5070-d407-sata-and-emmc-tpm", nics=nics).nics})
    seen = Inspection.model_validate({"nics": {"eno1": {}, "enx1": {"usb": True}, "wlp2": {"wireless": True}}})
    assert draft_passport(facts, seen, "DOC-MICRON-D407").macs == ("00:00:5e:00:53:01",)
    assert [line.split(": ")[-1] for line in left_out(facts, seen)[1:]] == ["on USB", "wireless"]
    assert draft_passport(facts, NOTHING, "DOC-MICRON-D407").macs == ("00:00:5e:00:53:01", "00:00:5e:00:53:02")
    only_usb = Inspection.model_validate(
        {"nics": {"eno1": {"usb": True}, "enx1": {"usb": True}, "wlp2": {"wireless": True}}}
    )
    assert draft_passport(facts, only_usb, "DOC-MICRON-D407").macs == ("00:00:5e:00:53:01", "00:00:5e:00:53:02")


@pytest.mark.parametrize(
    ("name", "known_by"),
    [("mini-pc-without-a-serial", "board serial"), ("mini-pc-without-anything", "MAC address")],
)
def test_a_box_without_a_serial_is_told_by_what_it_has(name: str, known_by: str) -> None:
    facts = box(name)
    passport = draft_passport(facts, NOTHING, built_in_disks(facts)[0].serial or "")
    assert passport.serial is None
    assert passport.known_by.startswith(known_by)
    assert compare(passport, facts) == []


def test_of_namespaces_of_one_disk_only_the_chosen_one_is_named() -> None:
    facts = box("nvme-two-namespaces")
    first, second = built_in_disks(facts)
    passport = draft_passport(facts, NOTHING, second.wwn or "")
    assert [(disk.serial, disk.wwn) for disk in passport.disks] == [(second.serial, (second.wwn or "").casefold())]
    with pytest.raises(Refused, match="2 built-in disks"):
        draft_passport(facts, NOTHING, first.serial or "")


@pytest.mark.negative
@pytest.mark.parametrize("serial", ["NOT-THERE", "DOC-STICK", "0x0d0cd40"])
def test_a_disk_that_is_not_built_in_is_not_taken(serial: str) -> None:
    with pytest.raises(Refused, match="no built-in disk"):
        draft_passport(D407, INSPECTED, serial)


@pytest.mark.negative
def test_a_box_without_a_wired_card_gets_no_passport() -> None:
    with pytest.raises(Refused, match="no passport can be made") as caught:
        draft_passport(D407.model_copy(update={"nics": ()}), NOTHING, "DOC-MICRON-D407")
    assert caught.value.evidence is not None
    assert caught.value.evidence.startswith("macs:")


@pytest.mark.parametrize(
    ("seen", "fitted"),
    [
        (3917, 4096),  # 4,011,488 KiB: a real Wyse of 4 GB
        (8013, 8192),  # 8,205,364 KiB: one of 8 GB
        (30720, 30720),
        (31500, 32768),
        (128411, 131072),  # the Framework Desktop with the smallest part for its GPU
        (98000, 98304),  # and with a quarter for it: no more than is seen is promised
        (975, 1024),
        (4500, 4500),  # no module is near
        (None, None),
    ],
)
def test_memory_that_is_fitted(seen: int | None, fitted: int | None) -> None:
    assert fitted_memory(seen) == fitted


def test_names_and_kinds() -> None:
    own = Machine(name="w", model="thin client", passport=draft_passport(D407, NOTHING, "DOC-MICRON-D407"))
    assert kind_of(D407, []) == "wyse5070"
    assert kind_of(D407, [own]) == "thin client"
    assert kind_of(box("wyse5070-extended-3d46"), []) == "wyse5070-extended"
    assert kind_of(box("framework-desktop-395"), []) == "framework-desktop"
    assert kind_of(box("wyse3040-fb8a-foreign"), []) == "wyse-3040-thin-client"
    assert proposed_name("wyse5070", ["wyse-1", "wyse-3"]) == "wyse-2"
    assert proposed_name(None, []) == "machine-1"


# ---- the health of disks -----------------------------------------------------------------------------------------


def smartctl(name: str) -> InspectedDisk:
    return InspectedDisk(smartctl=json.loads((FIXTURES / "inspections" / f"smartctl-{name}.json").read_text()))


@pytest.mark.parametrize(
    ("disk", "expected"),
    [
        (smartctl("ata-good"), Health(Shape.GOOD, "1730 hours on")),
        (smartctl("nvme-good"), Health(Shape.GOOD, "0 % of its life used, 2401 hours on")),
        (smartctl("ata-failing"), Health(Shape.FAILING, "1975 reallocated sectors, 8 pending sectors, 65592 hours on")),
        (INSPECTED.disks["mmcblk0"], Health(Shape.GOOD, "up to 20 % of its life used, reserve: normal")),
        (
            InspectedDisk(life_time="0x0b 0x01", pre_eol_info="0x01"),
            Health(Shape.FAILING, "its life is used up, reserve: normal"),
        ),
        (InspectedDisk(life_time="0x00 0x00", pre_eol_info="0x00"), Health(Shape.UNKNOWN, "the eMMC does not say")),
        (InspectedDisk(problem="there is no smartctl"), Health(Shape.UNKNOWN, "there is no smartctl")),
        (None, Health(Shape.UNKNOWN, "nobody asked it")),
        (InspectedDisk(smartctl={}), Health(Shape.UNKNOWN, "it says nothing of it")),
        (
            InspectedDisk(smartctl={"smartctl": {"messages": [{"string": "Unable to detect device type"}]}}),
            Health(Shape.UNKNOWN, "Unable to detect device type"),
        ),
    ],
)
def test_health(disk: InspectedDisk | None, expected: Health) -> None:
    assert health(disk) == expected


def test_a_warning_of_an_nvme_disk_counts_more_than_that_it_passed() -> None:
    said = json.loads((FIXTURES / "inspections" / "smartctl-nvme-good.json").read_text())
    said["nvme_smart_health_information_log"]["critical_warning"] = 4
    assert health(InspectedDisk(smartctl=said)).shape is Shape.FAILING
