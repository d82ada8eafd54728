"""A new machine in the text of a machines.yml: nothing else may change."""

from __future__ import annotations

import difflib
import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from homelab_provision.errors import ProvisionError, UsageError
from homelab_provision.paths import PACKAGE
from homelab_provision.site.adding import lines, scalar, with_machine
from homelab_provision.site.assignment import record_machine
from homelab_provision.site.models import Machine
from tests.unit.site.sites import HOSTS, MACHINES, site_of

PASSPORT = {
    "serial": "NEW0001",
    "product": "Wyse 5070 Thin Client",
    "macs": ["00:00:5e:00:53:99"],
    "memory_mib": 8192,
    "cores": 4,
    "cpu_flags": ["sse4_2", "aes"],
    "disks": [
        {"serial": "DOC-9", "size": 256060514304, "model": "Micron_1100"},
        {"serial": "0x0d0c", "size": 31268536320, "use": "keep", "model": "hB8aP>"},
    ],
}


def new(**changed: Any) -> Machine:
    described = {"name": "wyse-c", "model": "wyse5070", "passport": {**PASSPORT, **changed}}
    return Machine.model_validate(described)


BLOCK = """\
  wyse-c:  # adopted
    model: wyse5070
    passport:
      serial: NEW0001
      product: Wyse 5070 Thin Client
      macs: ["00:00:5e:00:53:99"]
      firmware: uefi
      memory_mib: 8192
      cores: 4
      cpu_flags: [sse4_2, aes]
      disks:
        - {serial: DOC-9, size: 256060514304, use: system, model: Micron_1100}
        - {serial: "0x0d0c", size: 31268536320, use: keep, model: "hB8aP>"}
"""


def added(before: str, machine: Machine | None = None) -> str:
    after = with_machine(before, machine or new(), "adopted")
    assert after is not None
    return after


def test_it_stands_behind_all_others_and_everything_else_stays() -> None:
    assert added(MACHINES) == f"{MACHINES}\n{BLOCK}"


# How the end of the machines may look, and what may stand below it.
TAILS = (
    "  a: {passport: {x: 1}}\n",
    "  a:\n    passport:\n      disks:\n        - {x: 1}  # the last one\n",
    "  a:\n    note: |\n      many\n      lines\n",
    "  a:\n    note: >-\n      folded\n\n      text\n",
    '  a:\n    note: "quoted\n      over lines"\n',
    "  a:\n    plays:\n",
    "  a:\n    list: [1,\n      2]   # odd\n",
    "  a: 1\n    # a remark about a, indented like it\n",
)
BELOW = (
    "",
    "# the end\n",
    "\n\n# --- parts ---\nparts:\n  ram: {kind: power}\n",
    "lab:\n  router: x\n",
    "  # indented like a machine, above what follows\nlab: 1\n",
    "...\n",
)


@pytest.mark.parametrize(("tail", "below"), list(itertools.product(TAILS, BELOW)))
def test_wherever_the_machines_end(tail: str, below: str) -> None:
    before = f"# top\nmachines:   # all\n  # first\n{tail}{below}"
    after = added(before)
    delta = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "-+"]
    assert not [line for line in delta if line[0] == "-"]
    assert "".join(f"{line[2:]}\n" for line in delta if line[2:]) == BLOCK
    told, was = yaml.safe_load(after), yaml.safe_load(before)
    assert told["machines"].pop("wyse-c")["passport"]["serial"] == "NEW0001"
    assert told == was


def test_a_comment_that_belongs_to_the_last_machine_stays_with_it() -> None:
    before = "machines:\n  a:\n    x: 1\n    # more of a\n\n# of the file\n"
    assert added(before) == f"machines:\n  a:\n    x: 1\n    # more of a\n\n{BLOCK}\n# of the file\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("machines:\n", f"machines:\n{BLOCK}"),
        ("machines:", f"machines:\n{BLOCK}"),
        ("machines:  # none yet\n# end\n", f"machines:  # none yet\n{BLOCK}# end\n"),
        ("machines:\n  a: 1", f"machines:\n  a: 1\n\n{BLOCK}"),
    ],
)
def test_an_empty_file_and_one_without_a_last_line_end(before: str, after: str) -> None:
    assert added(before).rstrip("\n") == after.rstrip("\n")


def test_its_indent_and_line_ends_are_those_of_the_file() -> None:
    before = "machines:\r\n    a:\r\n        x: 1\r\n"
    after = added(before)
    assert after.startswith(before)
    assert after.count("\n") == after.count("\r\n")
    assert "\r\n    wyse-c:" in after


@pytest.mark.negative
@pytest.mark.parametrize("text", ["machines: {a: {x: 1}}\n", "machines: ~\n", "x: &m {a: 1}\nmachines: *m\n", "a: 1\n"])
def test_where_no_place_can_be_found_without_risk(text: str) -> None:
    assert with_machine(text, new(), "x") is None


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "null",
        "1e3",
        "0x1",
        "a: b",
        "a #b",
        "- a",
        "{a}",
        'quo"te',
        "ä",
        "a  b",
        " a",
        "12:30:45",
        "*a",
        "ok",
        "x y",
    ],
)
def test_a_text_stays_a_text(text: str) -> None:
    assert yaml.safe_load(f"k: [{scalar(text)}]") == {"k": [text]}


def test_all_that_a_passport_can_hold_is_written() -> None:
    whole = new(
        board_serial="BOARD-1",
        uuid="4c4c4544-0042-3510-8052-b3c04f4b4e32",
        firmware="bios",
        disks=[{"serial": "S-1", "wwn": "eui.00253858b1000001", "size": 10**12}],
    )
    moved = whole.model_copy(update={"operator": "lab", "power_supply": True})
    read = yaml.safe_load("\n".join(lines(moved, "x")))["wyse-c"]
    assert Machine.model_validate({"name": "wyse-c", **read}) == moved


# ---- written into a site -----------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "machines.yml").write_text(MACHINES)
    return tmp_path


def test_a_machine_is_a_spare_of_the_site_then(root: Path) -> None:
    site = site_of(MACHINES, HOSTS, root)
    record_machine(site, new(), "adopted")
    text = (root / "machines.yml").read_text()
    assert text == f"{MACHINES}\n{BLOCK}"
    assert [machine.name for machine in site_of(text).spares()] == ["wyse-b", "wyse-c"]
    with pytest.raises(UsageError, match="there is a machine `wyse-c` already"):
        record_machine(site, new(), "adopted")
    assert (root / "machines.yml").read_text() == text


@pytest.mark.negative
@pytest.mark.parametrize("changed", [{"serial": "BBB0001"}, {"macs": ["52:54:00:50:70:0a"]}], ids=["serial", "mac"])
def test_one_who_is_somebody_else_is_not_written(root: Path, changed: dict[str, Any]) -> None:
    with pytest.raises(ProvisionError, match="it is as it was") as caught:
        record_machine(site_of(MACHINES, HOSTS, root), new(**changed), "adopted")
    assert (root / "machines.yml").read_text() == MACHINES
    assert caught.value.evidence is not None
    assert "twice" in caught.value.evidence
    assert caught.value.hint is not None
    assert "wyse-c:  # adopted" in caught.value.hint


@pytest.mark.parametrize("site", ["lab", "example"])
def test_the_sites_of_the_repository_can_be_added_to(site: str) -> None:
    before = (PACKAGE.parent / "inventories" / site / "machines.yml").read_text()
    after = added(before)
    kept = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] == "-"]
    assert kept == []
    told = yaml.safe_load(after)
    told["machines"].pop("wyse-c")
    assert told == yaml.safe_load(before)
