"""The passport check and the choice of the disk, on captured and invented boxes (see the fixtures' README)."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import yaml

from homelab_provision.errors import ExitCode, Refused
from homelab_provision.machine.facts import MachineFacts
from homelab_provision.machine.match import compare
from homelab_provision.machine.target import Target, choose_target
from homelab_provision.phases.identify import lost
from homelab_provision.rescue.facts import same_serial
from homelab_provision.site.models import Passport

BOXES = Path(__file__).parents[2] / "fixtures" / "machines"
TABLE = yaml.safe_load((BOXES / "cases.yml").read_text())
CASES: list[dict[str, Any]] = TABLE["cases"]


@functools.cache
def box(name: str) -> MachineFacts:
    return MachineFacts.model_validate_json((BOXES / f"{name}.json").read_text())


def passport(name: str) -> Passport:
    return Passport.model_validate(TABLE["passports"][name])


def _id(case: dict[str, Any]) -> str:
    erase = f"-erase-{case['erase'][0]}" if "erase" in case else ""
    return f"{case['box']}-{case['passport']}{erase}"


def choose(case: dict[str, Any]) -> Target:
    erase, keep = frozenset[str](case.get("erase", ())), bool(case.get("keep_data"))
    papers = passport(case["passport"])
    return choose_target(papers, box(case["box"]), erase, run=case.get("run"), keep_data=keep)


@pytest.mark.parametrize("case", CASES, ids=_id)
def test_passport(case: dict[str, Any]) -> None:
    found = compare(passport(case["passport"]), box(case["box"]))
    assert [mismatch.what for mismatch in found] == case.get("mismatches", [])


@pytest.mark.parametrize("case", [case for case in CASES if "target" in case], ids=_id)
def test_target(case: dict[str, Any]) -> None:
    target = choose(case)
    assert (target.name, target.path) == (case["target"], f"/dev/{case['target']}")
    assert target.allowed_by == case["allowed_by"]
    assert target.own_layout is case.get("own_layout", False)
    for words in case.get("erases", ()):
        assert words in "\n".join(target.content)
    if target.allowed_by == "blank":
        assert target.content == ()


@pytest.mark.negative
@pytest.mark.parametrize("case", [case for case in CASES if "refused" in case], ids=_id)
def test_refusal(case: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        choose(case)
    refusal = caught.value
    assert refusal.exit_code == ExitCode.REFUSED
    said = "\n".join(part for part in (refusal.message, refusal.evidence, refusal.hint) if part)
    for words in case["refused"]:
        assert words in said
    assert refusal.hint


def test_every_box_is_used() -> None:
    assert {path.stem for path in BOXES.glob("*.json")} == {case["box"] for case in CASES}


@pytest.mark.parametrize("name", sorted({case["box"] for case in CASES}))
def test_nothing_but_the_system_disk_is_ever_chosen(name: str) -> None:
    """Every passport against the box, with leave to erase everything: the rules hold whatever is asked."""
    facts = box(name)
    for papers in map(passport, TABLE["passports"]):
        for disk in papers.disks:
            try:
                target = choose_target(papers, facts, frozenset({disk.serial}))
            except Refused:
                continue
            seen = next(seen for seen in facts.disks if seen.path == target.path)
            assert seen.transport != "usb"
            assert not seen.boot_area
            assert not seen.holds_rescue
            assert same_serial(seen.serial or "", disk.serial)
            assert disk in papers.system_disks
            assert len(facts.disks_like(disk)) == 1


def test_kept_data_is_not_among_what_is_lost() -> None:
    case = next(case for case in CASES if case["box"] == "sata-own-layout")
    facts = box(case["box"])
    target = choose_target(passport(case["passport"]), facts)
    everything, kept = (lost(target, facts, keep_data=keep) for keep in (False, True))
    assert len(everything) > len(kept) > 0
    assert all("hlp-srv" in line for line in set(everything) - set(kept))
    assert not any("hlp-srv" in line for line in kept)
