"""Writing a stick to a real block device: a loop device, let through by a rule of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from homelab_provision.doors.process import ProcessError, run
from homelab_provision.errors import Refused
from homelab_provision.events import discard
from homelab_provision.image.block_device import describe_target
from homelab_provision.image.stick_target import EDGE, Rule, refusals, write_stick

pytestmark = [pytest.mark.processes, pytest.mark.skipif(os.geteuid() != 0, reason="loop devices need root")]

LOOP = Rule(frozenset({"loop"}), serial_required=False)
SIZE = 48 * 2**20


@dataclass(frozen=True)
class Loop:
    device: Path
    backing: Path


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    backing = tmp_path / "stick"
    backing.write_bytes(b"\xaa" * SIZE)
    try:
        device = run(["losetup", "--find", "--show", backing], deadline=10).stdout.strip()
    except ProcessError as error:
        pytest.skip(f"no loop device: {error}")
    yield Loop(Path(device), backing)
    run(["losetup", "--detach", device], deadline=10)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(os.urandom(20 * 2**20 + 512))
    return path


def test_the_image_arrives_and_an_old_table_at_the_end_goes(loop: Loop, image: Path) -> None:
    facts = describe_target(loop.device)
    size = image.stat().st_size
    assert refusals(facts, size, None, LOOP) == []
    assert refusals(facts, size, None) != []  # by the rule for sticks it may not

    written = write_stick(image, facts, discard)

    content = loop.backing.read_bytes()
    assert content[:size] == image.read_bytes()
    assert content[size : SIZE - EDGE] == b"\xaa" * (SIZE - EDGE - size)
    assert content[SIZE - EDGE :] == bytes(EDGE)
    assert written.size_bytes == size


@pytest.mark.negative
def test_a_mounted_device_is_refused_by_the_facts_and_by_the_kernel(loop: Loop, image: Path, tmp_path: Path) -> None:
    before = describe_target(loop.device)
    run(["mkfs.ext4", "-q", loop.device], deadline=30)
    (tmp_path / "mounted").mkdir()
    run(["mount", loop.device, tmp_path / "mounted"], deadline=30)
    try:
        assert refusals(describe_target(loop.device), 10**6, None, LOOP) == [
            f"{loop.device} is in use: mounted at {tmp_path / 'mounted'}"
        ]
        with pytest.raises(Refused, match="in use"):
            write_stick(image, before, discard)
    finally:
        run(["umount", tmp_path / "mounted"], deadline=30)


@pytest.mark.negative
@pytest.mark.parametrize("change", [{"size_bytes": SIZE - 512}, {"serial": "4C530001"}, {"sequence": "0"}], ids=str)
def test_another_device_under_the_same_name_is_refused(loop: Loop, image: Path, change: dict[str, Any]) -> None:
    described = replace(describe_target(loop.device), **change)
    with pytest.raises(Refused, match="not the device any more"):
        write_stick(image, described, discard)
    assert loop.backing.read_bytes() == b"\xaa" * SIZE
