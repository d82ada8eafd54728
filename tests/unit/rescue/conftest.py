"""The writer as a module, and disks for it: loop devices, which are real block devices with nothing real on them."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from homelab_provision.doors.process import ProcessError, run
from homelab_provision.rescue import facts as rescue_facts
from tests.unit.rescue.disks import SERIAL, Disk, MakeDisk


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The writer, with what it imports beside it as in the rescue."""
    for name in ("facts", "stream"):
        monkeypatch.setitem(sys.modules, name, importlib.import_module(f"homelab_provision.rescue.{name}"))
    return importlib.import_module("homelab_provision.rescue.writer")


@pytest.fixture
def writer(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The writer as it may be used here: disks have a serial, and this computer's own firmware is out of reach."""
    monkeypatch.setattr(module, "boot_entry", lambda plan: None)
    monkeypatch.setattr(rescue_facts, "serial", lambda block, kind: SERIAL)
    return module


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[MakeDisk]:
    """Makes disks of a given size, each filled with a pattern; skips where loop devices are not to be had."""
    devices: list[str] = []

    def make(size: int, *, filled: bool = True) -> Disk:
        if os.geteuid() != 0:
            pytest.skip("loop devices need root")
        backing = tmp_path / f"disk{len(devices)}"
        with backing.open("wb") as file:
            if filled:
                file.write((b"\xaa" * 511 + b"\n") * (size // 512))
            file.truncate(size)
        try:
            made = run(["losetup", "--partscan", "--find", "--show", backing], deadline=10)
        except ProcessError as error:
            pytest.skip(f"no loop device: {error}")
        devices.append(made.stdout.strip())
        return Disk(Path(devices[-1]), backing, size)

    yield make
    for device in devices:
        run(["losetup", "--detach", device], deadline=10)
