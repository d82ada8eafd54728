"""`provision usb write`: the stick that was confirmed is the one that is written; a misspelt device makes no file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from homelab_provision.cli.terminal import Renderer
from homelab_provision.cli.usb import usb
from homelab_provision.errors import Refused, UsageError
from homelab_provision.image.block_device import TargetFacts
from homelab_provision.image.stick_target import Written
from homelab_provision.ways import Medium
from tests.unit.image.test_stick_target import STICK, Computer, computer

__all__ = ["computer"]


class Bench:
    """The command with a computer's sticks before it; `built` counts the images made, `written` the devices."""

    def __init__(self, computer: Computer, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.computer, self.monkeypatch = computer, monkeypatch
        self.built = 0
        self.written: list[TargetFacts | Path] = []
        image = root / "made.img"
        image.write_bytes(bytes(2**20))

        def site_stick(*_: object) -> Medium:
            self.built += 1
            return Medium(path=image, rescue_id="id")

        def write_stick(source: Path, target: TargetFacts | Path, *_: object, **options: object) -> Written:
            self.written.append(target)
            return Written(2**20, "0" * 64)

        def describe(device: Path) -> TargetFacts:
            return computer.describe(str(device))

        for name, stand_in in {
            "cli.usb.find_site": lambda given: root,
            "site.loading.load_site": lambda given: SimpleNamespace(root=root, name="lab", lab=None, hosts={}),
            "site.vault.store.Vault.of": lambda *words, **options: None,
            "identity.identities.load": lambda *words, **options: SimpleNamespace(site=None),
            "image.rescue.build_rescue": lambda *words: None,
            "ways.usb.site_stick": site_stick,
            "image.stick_target.write_stick": write_stick,
            "image.stick_target.describe_target": describe,
            "image.block_device.describe_target": describe,
        }.items():
            monkeypatch.setattr(f"homelab_provision.{name}", stand_in)

    def run(self, *words: str, at_the_prompt: Any = lambda: None) -> Result:
        self.monkeypatch.setattr(Renderer, "confirm", lambda show, question, expected: at_the_prompt())
        return CliRunner().invoke(usb, ["write", *words])


@pytest.fixture
def bench(computer: Computer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(computer, tmp_path, monkeypatch)


def test_the_stick_that_was_confirmed_is_written(bench: Bench) -> None:
    for words in (("/dev/sdr",), ("/dev/sdr", "--yes", "--serial", "4C530001")):
        assert bench.run(*words).exit_code == 0
    assert bench.written == [bench.computer.describe("/dev/sdr")] * 2


@pytest.mark.negative
@pytest.mark.parametrize("serial", ["4C530002", "4C530001"], ids=["another stick", "its twin, or itself once more"])
def test_a_stick_that_was_exchanged_at_the_prompt_is_not_written(bench: Bench, serial: str) -> None:
    """The next one has the same name, number, size, model and port; the twin has even its serial."""

    def exchange() -> None:
        sysfs = bench.computer.sysfs
        (sysfs / "devices" / STICK / "serial").write_text(f"{serial}\n")
        (sysfs / "class/block/sdr/diskseq").write_text("8\n")

    done = bench.run("/dev/sdr", at_the_prompt=exchange)
    assert isinstance(done.exception, Refused)
    assert "not the device any more" in done.exception.message
    assert "number of the insertion: was 7, is 8" in (done.exception.evidence or "")
    assert ("serial number" in (done.exception.evidence or "")) is (serial == "4C530002")
    assert bench.written == []


@pytest.mark.negative
def test_a_stick_that_was_mounted_at_the_prompt_is_not_written(bench: Bench) -> None:
    done = bench.run("/dev/sdr", at_the_prompt=lambda: bench.computer.mount("65:17", "/media/stick"))
    assert isinstance(done.exception, Refused)
    assert "mounted at /media/stick" in (done.exception.evidence or "")
    assert bench.written == []


@pytest.mark.negative
@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (("sdr",), UsageError, "sdr is no device"),
        (("dev/sdr",), UsageError, "no device"),
        (("/dev/sdz",), UsageError, "not a block device that is here"),
        (("/dev/null",), UsageError, "a character device"),
        ((".",), UsageError, "a directory"),
        (("there.img",), Refused, "exists; nothing was written"),
        (("/dev/sdr1",), Refused, "will not be written"),
        (("/dev/sdq",), Refused, "will not be written"),
    ],
)
def test_what_cannot_be_a_stick_is_said_before_anything_is_built(
    bench: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    error: type[Exception],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.img").write_bytes(b"somebody's disk")
    before = sorted(path.name for path in tmp_path.iterdir())
    done = bench.run(*words, "--yes", "--serial", "4C530001")
    assert isinstance(done.exception, error)
    assert said in str(done.exception)
    assert (bench.built, bench.written) == (0, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_file_is_written_and_replaced_by_force(bench: Bench, tmp_path: Path) -> None:
    target = tmp_path / "rescue.img"
    assert bench.run(str(target)).exit_code == 0
    target.write_bytes(b"older")
    assert bench.run(str(target), "--force").exit_code == 0
    assert bench.written == [target, target]
