"""Whether KVM is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from homelab_provision.errors import UsageError
from homelab_provision.lab import accel
from homelab_provision.lab.accel import Probe, choose, probe_argv
from homelab_provision.lab.qemu import Accel

KERNEL = Path("/boot/vmlinuz")


def no_kernel() -> Path:
    raise AssertionError("no kernel should have been asked for")


@pytest.fixture(autouse=True)
def computer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A computer with a KVM device, whose fingerprint is fixed; returns the device."""
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.delenv(accel.VARIABLE, raising=False)
    monkeypatch.setattr(accel, "KVM_DEVICE", device)
    monkeypatch.setattr(accel, "_fingerprint", lambda: "fingerprint")
    return device


def trying(monkeypatch: pytest.MonkeyPatch, came_up: bool) -> list[Path]:
    tried: list[Path] = []

    def fake(kernel: Path, accel: Accel) -> Probe:
        tried.append(kernel)
        return Probe(came_up, "KVM internal error. Suberror: 1")

    monkeypatch.setattr(accel, "probe", fake)
    return tried


@pytest.mark.parametrize(("came_up", "expected"), [(True, Accel.KVM), (False, Accel.TCG)])
def test_kvm_is_tried_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, came_up: bool, expected: Accel) -> None:
    tried = trying(monkeypatch, came_up)
    assert choose(tmp_path / "cache", KERNEL) is expected
    assert choose(tmp_path / "cache", no_kernel) is expected
    assert tried == [KERNEL]
    assert "internal error" in (tmp_path / "cache/kvm-fingerprint.json").read_text()


def test_a_spoilt_answer_is_asked_for_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tried = trying(monkeypatch, came_up=True)
    (tmp_path / "kvm-fingerprint.json").write_text("{")
    assert choose(tmp_path, KERNEL) is Accel.KVM
    assert tried


def test_another_host_kernel_or_qemu_is_another_question(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tried = trying(monkeypatch, came_up=False)
    choose(tmp_path, KERNEL)
    monkeypatch.setattr(accel, "_fingerprint", lambda: "another")
    choose(tmp_path, lambda: KERNEL)
    assert len(tried) == 2


def test_without_a_device_nothing_is_tried(computer: Path, tmp_path: Path) -> None:
    computer.unlink()
    assert choose(tmp_path, no_kernel) is Accel.TCG


@pytest.mark.parametrize("name", ["kvm", "tcg"])
def test_the_user_overrules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setenv(accel.VARIABLE, name)
    assert choose(tmp_path, no_kernel) == name


def test_the_user_mistypes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(accel.VARIABLE, "xen")
    with pytest.raises(UsageError, match="xen"):
        choose(tmp_path, no_kernel)


def test_the_probe_ends_by_itself_and_speaks_on_standard_output() -> None:
    words = probe_argv(KERNEL, Accel.KVM)
    assert "-no-reboot" in words
    assert words[words.index("-serial") + 1] == "stdio"
    assert "panic=-1" in words[words.index("-append") + 1]
