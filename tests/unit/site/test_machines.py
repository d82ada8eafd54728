"""machines.yml: what a good one means, and how every mistake in a bad one is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from homelab_provision.errors import ExitCode, UsageError
from homelab_provision.site.models import DiskUse, Firmware
from homelab_provision.site.problems import SiteError
from tests.unit.site.sites import MACHINES, WYSE_A, WYSE_B, problems_of, site_of

MISTAKES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "mistakes.yml").read_text())


def test_a_good_site() -> None:
    site = site_of()
    assert site.name == "lab"
    wyse_a, wyse_b = site.machine("wyse-a"), site.machine("wyse-b")
    assert (wyse_a.plays, wyse_b.plays) == ("db-wyse", None)
    assert site.player_of("db-wyse") is wyse_a
    assert site.player_of("web-wyse") is None
    assert site.spares() == (wyse_b,)
    assert wyse_b.passport.disks[0].size_bytes == 256 * 10**9
    assert (wyse_b.passport.disks[0].use, wyse_b.passport.disks[0].erase) == (DiskUse.SYSTEM, False)
    assert (wyse_b.passport.firmware, wyse_b.way, wyse_b.operator) == (Firmware.UEFI, "usb", "person")


def test_anchors_save_typing() -> None:
    site = site_of(
        "machines:\n  wyse-a: &wyse\n    model: wyse5070\n    operator: lab\n"
        "    passport: &p {serial: A, macs: ['52:54:00:50:70:0a'], disks: [{serial: SA, size: 1 TB}], cores: 4}\n"
        "  wyse-b:\n    <<: *wyse\n    passport:\n      <<: *p\n      serial: B\n"
        "      macs: ['52:54:00:50:70:0b']\n      disks: [{serial: SB, size: 1 TB}]\n"
    )
    assert site.machine("wyse-b").operator == "lab"
    assert site.machine("wyse-b").passport.cores == 4


@pytest.mark.negative
def test_an_unknown_key_is_shown_in_the_users_own_yaml() -> None:
    assert (
        problems_of(MACHINES.replace("serial: BBB0001", "serail: BBB0001"))
        == """\
the site /srv/sites/lab has 1 problem:

machines.yml:12: machines.wyse-b.passport.serail: unknown key
      10 |   wyse-b:  # the spare
      11 |     passport:
    > 12 |       serail: BBB0001
         |       ^^^^^^
      13 |       macs: ["52:54:00:50:70:0b"]
  expected one of: board_serial, cores, cpu_flags, disks, firmware, macs, memory_mib, product, serial, uuid
  did you mean `serial`?"""
    )


@pytest.mark.negative
def test_a_missing_passport() -> None:
    for below in ("    model: wyse5070\n", "    passport:\n", "    passport: ~\n", ""):
        text = problems_of(f"machines:\n{WYSE_A}  wyse-b:\n{below}")
        assert "has 1 problem:\n\nmachines.yml:9: machines.wyse-b: missing key `passport`" in text
        assert "expected the identity of the box" in text


@pytest.mark.negative
@pytest.mark.parametrize("case", MISTAKES, ids=lambda case: case["new"].strip() or case["old"].strip())
def test_mistakes(case: dict[str, Any]) -> None:
    assert case["old"] in MACHINES
    text = problems_of(MACHINES.replace(case["old"], case["new"], 1))
    assert "has 1 problem:" in text
    for words in case["said"]:
        assert words in text


@pytest.mark.negative
def test_a_host_on_two_machines() -> None:
    text = problems_of(f"machines:\n{WYSE_A}\n{WYSE_B}    plays: db-wyse\n")
    assert "machines.yml:18: machines.wyse-b.plays: a host on two machines: db-wyse is also played by `wyse-a`" in text


@pytest.mark.negative
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "machines.yml:1: machines: there are no machines"),
        ("# nothing\n", "machines.yml:1: machines: there are no machines"),
        ("- a\n", "machines.yml:1: machines: there are no machines"),
        ("machines: [a]\n", "machines.yml:1: machines: there are no machines"),
        ("lab: {}\n", "machines.yml:1: machines: there are no machines"),
        ("machines: {wyse-a: [}\n", "machines.yml:1: not YAML"),
    ],
)
def test_files_that_are_no_list_of_machines(text: str, said: str) -> None:
    assert said in problems_of(text)


def test_a_box_without_a_serial_is_told_by_something_else() -> None:
    for line, known_by in (
        ("board_serial: PF2X0ABC", "board serial PF2X0ABC"),
        ("uuid: 4C4C4544-0042-3510-8052-B3C04F4B4E32", "product UUID 4c4c4544-0042-3510-8052-b3c04f4b4e32"),
        ("cores: 4", "MAC address 52:54:00:50:70:0a and disk SYS-A"),
    ):
        machine = site_of(MACHINES.replace("serial: AAA0001", line)).machines["wyse-a"]
        assert machine.passport.known_by == known_by


@pytest.mark.negative
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("board_serial: PF2X0ABC", "board_serial: pf2x0abc"),
        ("uuid: 4c4c4544-0042-3510-8052-b3c04f4b4e32", "uuid: 4C4C4544-0042-3510-8052-B3C04F4B4E32"),
    ],
)
def test_no_two_boxes_are_told_by_the_same(first: str, second: str) -> None:
    both = MACHINES.replace("serial: AAA0001", first).replace("serial: BBB0001", second)
    assert "is also that of `wyse-a` (line 5)" in problems_of(both)


def test_a_site_may_have_no_machines_yet() -> None:
    assert site_of("machines:\n").machines == {}


@pytest.mark.negative
def test_all_mistakes_are_shown_at_once() -> None:
    bad = MACHINES.replace("db-wyse", "db-wise").replace("serial: AAA0001", "serail: AAA0001")
    bad = bad.replace("size: 256 GB}", "size: lots}").replace("52:54:00:50:70:0b", "52:54:00:50:70:0a")
    with pytest.raises(SiteError) as caught:
        site_of(bad)
    assert caught.value.exit_code == ExitCode.USAGE
    assert [(problem.line, problem.path) for problem in caught.value.problems] == [
        (3, "machines.wyse-a.plays"),
        (5, "machines.wyse-a.passport.serail"),
        (8, "machines.wyse-a.passport.disks[0].size"),
        (13, "machines.wyse-b.passport.macs[0]"),
    ]


@pytest.mark.negative
def test_mistakes_in_virtual_hardware() -> None:
    hardware = "    lab: {smbios: {serial: B, vendr: x}, mac: '52:54:00:50:70:0b', disks: [{name: d, bus: sata}]}\n"
    text = problems_of(f"machines:\n{WYSE_A}\n{WYSE_B}{hardware}")
    assert "machines.wyse-b.lab.smbios.vendr: unknown key" in text
    assert "did you mean `vendor`?" in text
    assert "machines.wyse-b.lab.disks[0]: missing key `size_bytes`" in text


def test_names_that_a_site_does_not_have() -> None:
    with pytest.raises(UsageError, match="no host `db-wise`") as caught:
        site_of().host("db-wise")
    assert (caught.value.hint, caught.value.exit_code) == ("did you mean `db-wyse`?", ExitCode.USAGE)
    with pytest.raises(UsageError, match="no machine `tower`") as caught:
        site_of().machine("tower")
    assert caught.value.hint == "machines of this site: wyse-a, wyse-b"


PARTS = """\
parts:
  ram-16:
    kind: memory
    models: [wyse5070]
    memory_mib: 16384
  ssd:  # for whatever
    kind: disk
    models: [wyse5070, optiplex]
    disk_gb: 256
  brick: {kind: power, models: [wyse5070]}
"""


def test_parts_on_the_shelf() -> None:
    parts = site_of(MACHINES + PARTS).parts
    assert {name: (part.kind, part.models) for name, part in parts.items()} == {
        "ram-16": ("memory", ("wyse5070",)),
        "ssd": ("disk", ("wyse5070", "optiplex")),
        "brick": ("power", ("wyse5070",)),
    }
    assert (parts["ram-16"].memory_mib, parts["ram-16"].modules, parts["ssd"].disk_gb) == (16384, 1, 256)
    assert site_of(f"{MACHINES}parts:\n").parts == {}


@pytest.mark.negative
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    memory_mib: 16384\n", "", "expected `memory_mib`, how large it is: a part of the kind `memory` has it"),
        ("    disk_gb: 256\n", "", "expected `disk_gb`, how large it is: a part of the kind `disk` has it"),
        ("kind: power,", "kind: power, disk_gb: 1,", "expected no `disk_gb`: it belongs to a part of the kind `disk`"),
        ("kind: memory", "kind: memori", "did you mean `memory`?"),
        ("kind: power, models: [wyse5070]", "kind: power", "missing key `models`"),
        ("models: [wyse5070]}", "models: []}", "the list is empty"),
        ("ram-16:", "RAM 16:", "machines.yml:19: parts.RAM 16: this is no name"),
        (PARTS, "parts: [a]\n", "expected a mapping of names"),
    ],
)
def test_mistakes_in_parts(old: str, new: str, said: str) -> None:
    assert old in PARTS
    assert said in problems_of(MACHINES + PARTS.replace(old, new, 1))
