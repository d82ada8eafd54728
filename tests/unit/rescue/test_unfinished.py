"""A write that was stopped: the disk says whose it was, its run goes on, and nobody takes it for an empty disk."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from homelab_provision.doors.process import run
from homelab_provision.errors import Refused
from homelab_provision.image.layout import kept_data
from homelab_provision.machine.target import Allowance
from homelab_provision.rescue.facts import unfinished_mark
from tests.unit.rescue.disks import (
    MIB,
    Disk,
    MakeDisk,
    make_data,
    payload_of,
    pieces,
    plan_for,
    small_layout,
    written_pieces,
)
from tests.unit.rescue.loops import SERIAL, attached, facts_of, judge

pytestmark = pytest.mark.processes
SIZE = 16 * MIB
RUN = "20261123T070000Z-db-wyse-4f1c"


class PowerCut(BaseException):
    """Nothing after it reaches the disk."""


def write(writer: ModuleType, plan: dict[str, Any], payload: Path, monkeypatch: pytest.MonkeyPatch, cut: int) -> bool:
    """Write, with the power cut before write number `cut`; returns whether it was cut."""
    really, done = os.pwrite, 0

    def pwrite(handle: int, data: Any, at: int) -> int:
        nonlocal done
        done += 1
        if done > cut:
            raise PowerCut
        return really(handle, data, at)

    with monkeypatch.context() as patched, payload.open("rb") as stream:
        patched.setattr(os, "pwrite", pwrite)
        try:
            writer.write(plan, stream)
        except PowerCut:
            return True
    return False


def foreign(disk: Disk) -> None:
    """Somebody's GPT and file system, up to the end of the disk."""
    script = "label: gpt\nstart=2048, type=linux\n"
    run(["sfdisk", "--quiet", "--wipe", "never", disk.device], input=script, deadline=20)


@pytest.mark.parametrize("state", ["empty", "foreign", "ours"])
@pytest.mark.parametrize("cut", range(9))
def test_wherever_the_power_is_cut_the_same_run_goes_on_and_no_other_calls_the_disk_empty(
    writer: ModuleType, make_disk: MakeDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, cut: int
) -> None:
    disk, layout, image = make_disk(SIZE, filled=state != "empty"), small_layout(SIZE), pieces()
    # As long as the old table stands, the user's word is needed as at first. (Our own layout needs none where the
    # kernel looks for partitions on loop devices, which not every one does.)
    erase = (SERIAL,) if state == "foreign" or (state == "ours" and cut < 2) else ()
    if state == "foreign":
        foreign(disk)
    elif state == "ours":
        disk.partition(layout)
    plan, payload = plan_for(disk, layout, image), payload_of(image, tmp_path / "image.zst")

    assert write(writer, plan, payload, monkeypatch, cut) is (cut < 8)

    assert judge(disk.device, *erase, run=RUN).path == str(disk.device)
    if cut:
        try:
            allowed = judge(disk.device, run="another run").allowed_by
        except Refused:
            allowed = None
        assert allowed in (None, Allowance.UNFINISHED, Allowance.OWN_LAYOUT)
    assert not write(writer, plan, payload, monkeypatch, 100)
    assert all(written_pieces(disk, layout, image))


def test_a_half_written_disk_names_its_run_and_may_be_taken_by_another(
    writer: ModuleType, make_disk: MakeDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, layout, image = make_disk(SIZE), small_layout(SIZE), pieces()
    payload = payload_of(image, tmp_path / "image.zst")
    assert write(writer, plan_for(disk, layout, image), payload, monkeypatch, 6)
    target = judge(disk.device)
    assert target.allowed_by == Allowance.UNFINISHED
    assert target.content == (f"{disk.device.name}  the unfinished write of run {RUN} (`db-wyse`)",)


def test_commit_takes_the_mark_away(
    writer: ModuleType, make_disk: MakeDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, layout, image = make_disk(SIZE), small_layout(SIZE), pieces()
    plan = plan_for(disk, layout, image)
    assert not write(writer, plan, payload_of(image, tmp_path / "image.zst"), monkeypatch, 100)
    assert facts_of(disk.device)["unfinished"]["run"] == RUN
    writer.commit(plan, None)
    facts = facts_of(disk.device)
    assert facts["unfinished"] is None
    assert [(table["type"], table["partitions"], table["problem"]) for table in facts["tables"]] == [
        ("dos", 0, None),
        ("gpt", 3, None),
        ("gpt", 3, None),
    ]


def test_kept_data_is_found_again_by_the_mark_alone(
    writer: ModuleType, make_disk: MakeDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's directory may be lost with the controller: without the mark nobody knew where the data lies."""
    disk, layout, image = make_disk(SIZE), small_layout(SIZE), pieces()
    make_data(disk, layout, tmp_path)
    disk.partition(layout)
    plan = plan_for(disk, layout, image, keep_data=True)
    assert write(writer, plan, payload_of(image, tmp_path / "image.zst"), monkeypatch, 5)
    with pytest.raises(Refused, match="is not empty") as refused:
        judge(disk.device, run="another run")
    assert "the data of `db-wyse`, which that write keeps" in (refused.value.evidence or "")
    assert "`provision rebuild db-wyse --resume`" in (refused.value.hint or "")
    assert judge(disk.device, run="another run", keep_data=True).allowed_by == Allowance.UNFINISHED
    assert judge(disk.device, run=RUN, keep_data=True).allowed_by == Allowance.UNFINISHED
    kept = kept_data(facts_of(disk.device))
    assert kept is not None
    assert (kept.start, kept.sectors, kept.uuid) == (layout.data.start, layout.data.sectors, layout.data.uuid)


@pytest.mark.negative
def test_a_mark_under_a_system_that_came_later_counts_for_nothing(make_disk: MakeDisk) -> None:
    disk = make_disk(SIZE, filled=False)
    with disk.device.open("r+b") as device:
        device.seek(MIB // 2)
        device.write(unfinished_mark(RUN, "db-wyse", None))
    assert judge(disk.device).allowed_by == Allowance.UNFINISHED
    foreign(disk)
    for asking in (RUN, "another run"):
        with pytest.raises(Refused, match="is not empty"):
            judge(disk.device, run=asking)


@pytest.mark.negative
@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"[]",
        b"{}",
        b'"x"',
        b"\xff",
        b'{"run": 1, "host": "db", "keep": null}',
        b'{"run": "r", "host": "db; reboot", "keep": null}',
        b'{"run": "r", "host": "\\u001b[2J", "keep": null}',
        b'{"run": "r", "host": "db", "keep": {"start": "0"}}',
        b'{"run": "r", "host": "db", "keep": {"start": -1, "sectors": 1, "uuid": "u"}}',
    ],
)
def test_what_only_looks_like_a_mark_is_content(make_disk: MakeDisk, text: bytes) -> None:
    disk = make_disk(SIZE, filled=False)
    with disk.device.open("r+b") as device:
        device.seek(MIB // 2)
        device.write(unfinished_mark(RUN, "db-wyse", None).partition(b"{")[0] + text)
    with pytest.raises(Refused, match="is not empty"):
        judge(disk.device, run=RUN)


# ---- the disk is the one that was seen ---------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["S3YJNX0K-42", " s3yjnx0k-42 "])
def test_the_writer_compares_serials_as_identify_does(
    writer: ModuleType, make_disk: MakeDisk, tmp_path: Path, written: str
) -> None:
    disk, layout, image = make_disk(SIZE), small_layout(SIZE), pieces()
    with payload_of(image, tmp_path / "image.zst").open("rb") as stream:
        writer.write(plan_for(disk, layout, image, serial=written), stream)
    assert all(written_pieces(disk, layout, image))


@pytest.mark.negative
def test_large_sectors_are_refused_before_anything_is_written(writer: ModuleType, tmp_path: Path) -> None:
    backing = tmp_path / "disk"
    backing.write_bytes(b"\xaa" * SIZE)
    image = pieces()
    with attached(backing, 4096) as device:
        disk = Disk(device, backing, SIZE)
        plan, payload = plan_for(disk, small_layout(SIZE), image), payload_of(image, tmp_path / "image.zst")
        for name in ("write", "personalise", "commit"):
            with payload.open("rb") as stream, pytest.raises(writer.GiveUp, match="sectors of 4096 bytes"):
                getattr(writer, name)(plan, stream)
    assert backing.read_bytes() == b"\xaa" * SIZE


@pytest.mark.negative
def test_a_disk_that_was_exchanged_while_it_was_opened_is_not_written(
    writer: ModuleType, make_disk: MakeDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, image = make_disk(SIZE), pieces()
    before, plan = disk.digest(), plan_for(disk, small_layout(SIZE), image)
    monkeypatch.setattr(writer, "device_number", lambda handle: "259:99")
    payload = payload_of(image, tmp_path / "image.zst")
    with payload.open("rb") as stream, pytest.raises(writer.GiveUp, match="another disk now"):
        writer.write(plan, stream)
    assert disk.digest() == before


def test_the_mark_fits_into_one_sector() -> None:
    keep = {"start": 2**40, "sectors": 2**40, "uuid": "8D1C1E0A-0000-4000-8000-000000000003"}
    mark = unfinished_mark(f"20261123T070000Z-{'h' * 63}-4f1c", "h" * 63, keep)
    assert len(mark) == 512
    assert json.loads(mark.partition(b"write ")[2].rstrip(b"\0"))["keep"] == keep
