"""Who is on the wire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from homelab_provision.doors import echo
from homelab_provision.doors import neighbours as door_module
from homelab_provision.doors.neighbours import neighbours, shown_keys
from homelab_provision.doors.process import Completed
from homelab_provision.doors.ssh import Door
from homelab_provision.errors import ProvisionError
from homelab_provision.identity import identities
from homelab_provision.lab import reach
from tests import sshd
from tests.unit.jobs.test_trust import Memory
from tests.unit.site.sites import site_of

RESCUE, PRIVATE = "fe80::5054:ff:fe50:700b", "fe80::8d2:3c1f:77aa:1"


def answers(returncode: int, stdout: str = "", stderr: str = "") -> Any:
    def run(argv: list[str], *, deadline: float, check: bool = True) -> Completed:
        assert [argv[0], argv[-1], check] == ["inside", "lan0", False]
        return Completed(tuple(argv), returncode, stdout, stderr, 0.1)

    return run


def test_everybody_who_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "run", answers(0, f"{PRIVATE}\n{RESCUE}\n"))
    assert neighbours(Door(("inside",)), "lan0") == (PRIVATE, RESCUE)
    monkeypatch.setattr(door_module, "run", answers(0, "\n"))
    assert neighbours(Door(("inside",)), "lan0") == ()


@pytest.mark.negative
def test_nobody_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "run", answers(1, stderr="ping_group_range"))
    with pytest.raises(ProvisionError, match="nobody can be asked for an echo on lan0") as caught:
        neighbours(Door(("inside",)), "lan0")
    assert caught.value.evidence == "ping_group_range"


def test_only_those_whose_address_follows_from_the_mac_may_be_a_rescue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "neighbours", lambda door, link: (PRIVATE, RESCUE))
    monkeypatch.setattr(reach, "_default_link", lambda: "eth7")
    assert reach.link_local_neighbours(site_of()) == (f"{RESCUE}%eth7",)
    assert str(reach.link_local("52:54:00:50:70:0b")) == RESCUE


class Asker:
    """In the place of a socket: what it receives, in turn; `None` is silence."""

    def __init__(self, *received: tuple[bytes, str] | None) -> None:
        self.received = list(received)
        self.sent: list[tuple[int, tuple[str, int, int, int]]] = []

    def settimeout(self, seconds: float) -> None:
        assert 0 < seconds <= echo.PAUSE

    def sendto(self, data: bytes, target: tuple[str, int, int, int]) -> None:
        self.sent.append((data[0], target))

    def recvfrom(self, size: int) -> tuple[bytes, tuple[str, int, int, int]]:
        if not self.received or (now := self.received.pop(0)) is None:
            raise TimeoutError
        return now[0], (now[1], 0, 0, 2)


def test_echoes_are_told_once_and_nothing_else_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reply, other = bytes([129]) + bytes(7), bytes([135]) + bytes(23)
    asker = Asker((reply, f"{RESCUE}%lan0"), (other, PRIVATE), None, (reply, RESCUE), (reply, "2001:db8::1"), None)
    monkeypatch.setattr(echo, "_socket", lambda: asker)
    monkeypatch.setattr("homelab_provision.doors.echo.socket.if_nametoindex", lambda link: {"lan0": 2}[link])
    assert echo.main("lan0") == 0
    assert capsys.readouterr().out == f"{RESCUE}\n"
    assert asker.sent == [(128, ("ff02::1", 0, 0, 2))] * echo.ROUNDS


@pytest.mark.negative
def test_who_may_not_ask_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(*kind: object) -> None:
        raise PermissionError

    monkeypatch.setattr("homelab_provision.doors.echo.socket.socket", refuse)
    assert echo.main("lan0") == 1
    assert "ping_group_range" in capsys.readouterr().err


@pytest.mark.processes
def test_the_keys_of_all_addresses_at_once(tmp_path: Path) -> None:
    Memory.values = {}
    keys = identities.load(Memory(tmp_path, tmp_path), "lab").site
    with sshd.listening(tmp_path / "server", keys.rescue, keys.controller) as server:
        assert shown_keys(server.door, ["127.0.0.1", "127.0.0.2"]) == {"127.0.0.1": keys.rescue.public}
        assert server.asked == []  # nobody was logged in to
        assert shown_keys(server.door, []) == {}
