"""Disks that are real block devices with nothing real on them, and what the rescue's own code makes of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from homelab_provision.doors.process import ProcessError, run
from homelab_provision.machine.facts import MachineFacts
from homelab_provision.machine.target import Target, choose_target
from homelab_provision.rescue import facts as rescue_facts
from homelab_provision.site.models import Passport

SERIAL = "S3YJNX0K-42"


@contextmanager
def attached(backing: Path, sector: int = 512) -> Iterator[Path]:
    """The file as a disk; the test is skipped where loop devices are not to be had."""
    if os.geteuid() != 0:
        pytest.skip("loop devices need root")
    words = ["losetup", "--partscan", "--sector-size", str(sector), "--find", "--show", str(backing)]
    try:
        device = run(words, deadline=10).stdout.strip()
    except ProcessError as error:
        pytest.skip(f"no loop device: {error}")
    try:
        yield Path(device)
    finally:
        run(["losetup", "--detach", device], deadline=10)


def facts_of(device: Path) -> dict[str, Any]:
    """What the rescue says of a disk, as if it hung on SATA and had a serial."""
    found = rescue_facts.disk(Path("/sys/block") / device.name, None)
    return found | {"transport": "sata", "serial": SERIAL}


def judge(device: Path, *erase: str, **asks: Any) -> Target:
    """What the controller decides about a disk; raises `Refused`."""
    facts = MachineFacts.model_validate({"firmware": "uefi", "disks": [facts_of(device)]})
    disk = {"serial": SERIAL, "size": facts.disks[0].size_bytes}
    papers = Passport.model_validate({"macs": ["00:00:5e:00:53:01"], "disks": [disk]})
    return choose_target(papers, facts, frozenset(erase), 0, **asks)
