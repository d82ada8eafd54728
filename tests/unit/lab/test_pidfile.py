"""A pid file is believed only if the process carries our word."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from homelab_provision.lab import pidfile
from homelab_provision.lab.pidfile import Daemon, kill, program

WORD = "/lab/machines/box/qemu.pid"


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    (tmp_path / "proc/4711").mkdir(parents=True)
    (tmp_path / "qemu.pid").write_text("4711\n")
    return Daemon(tmp_path / "qemu.pid", WORD, tmp_path / "proc")


def says(daemon: Daemon, *words: str) -> None:
    (daemon.proc / "4711/cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in words))


def test_ours(daemon: Daemon) -> None:
    says(daemon, "qemu-system-x86_64", "-pidfile", WORD, "-daemonize")
    assert daemon.pid == 4711
    says(daemon, "dnsmasq", f"--conf-file={WORD}")
    assert daemon.pid == 4711


@pytest.mark.parametrize("words", [("sleep", "60"), ("qemu-system-x86_64", "-pidfile", WORD + "2"), ()])
def test_a_stranger_with_the_number_or_a_zombie(daemon: Daemon, words: tuple[str, ...]) -> None:
    says(daemon, *words)
    assert daemon.pid is None


def test_gone(daemon: Daemon) -> None:
    assert daemon.pid is None
    daemon.pidfile.write_text("")
    assert daemon.pid is None
    daemon.pidfile.unlink()
    assert daemon.pid is None
    daemon.kill()  # nothing to do


def test_one_that_will_not_go_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    monkeypatch.setattr(pidfile, "_send_kill", sent.append)
    monkeypatch.setattr(pidfile, "_GONE_SECONDS", 0.05)
    with pytest.raises(Exception, match="does not end"):
        kill(4711, lambda: True)
    assert sent


def test_the_name_of_a_program() -> None:
    assert program(os.getpid()) is not None
    assert program(2**22 + 1) is None
