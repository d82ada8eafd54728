"""A host that is cut off beyond its own link gives its addresses away, and one on a quiet network keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import pytest

from tests.unit.roles import programs

pytestmark = pytest.mark.processes
watch, settings, wire = (programs.floating(name) for name in ("watch", "settings", "wire"))
QUESTION = wire.question
ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth1\t00000000\tFE0200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
"""


class Card:
    """An interface whose network answers, or does not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "eth0"
        (self.folder / "statistics").mkdir(parents=True)
        (self.folder / "address").write_text("52:54:00:50:70:0a\n")
        self.packets = 0
        self.receives()

    def receives(self, number: int = 1) -> None:
        self.packets += number
        (self.folder / "statistics/rx_packets").write_text(f"{self.packets}\n")


class Deaf:
    """In the place of a socket."""

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def bind(self, to: object) -> None:
        pass

    def send(self, data: bytes) -> None:
        pass


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Card:
    (tmp_path / "route").write_text(ROUTES)
    monkeypatch.setattr(wire, "NETWORKS", tmp_path)
    monkeypatch.setattr(wire, "ROUTES", tmp_path / "route")
    return Card(tmp_path)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(wire, "time", made)
    return made


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whom it would have asked: nothing is sent from here."""
    seen: list[str] = []

    def question(own: bytes, source: str, address: str) -> bytes:
        seen.append(f"{source} asks {address}")
        return b""

    monkeypatch.setattr(wire, "question", question)
    monkeypatch.setattr(wire.socket, "socket", Deaf)
    return seen


def test_who_hears_something_asks_nobody(card: Card, clock: Clock, asked: list[str]) -> None:
    looking = wire.Wire("eth0", "192.0.2.11", ["192.0.2.12"])
    for _ in range(20):
        card.receives()
        looking.ask()
        assert looking.objection() is None
        clock.now += 0.5
    assert asked == []


def test_who_hears_nothing_asks_and_is_alone_after_a_while(card: Card, clock: Clock, asked: list[str]) -> None:
    looking = wire.Wire("eth0", "192.0.2.11", ["192.0.2.12"])
    told = []
    for _ in range(5):
        looking.ask()
        told.append(looking.objection())
        clock.now += 0.5
    alone = "eth0 hears nothing, not even from 192.0.2.12 and 192.0.2.1"
    assert told == [None, None, None, alone, alone]
    assert asked[:2] == ["192.0.2.11 asks 192.0.2.12", "192.0.2.11 asks 192.0.2.1"]
    card.receives()
    looking.ask()
    assert looking.objection() is None


def test_a_card_that_is_gone_hears_nothing(card: Card, clock: Clock, tmp_path: Path) -> None:
    looking = wire.Wire("eth9", "192.0.2.11", ["192.0.2.12"])
    looking.ask()
    clock.now += 2
    looking.ask()
    assert looking.objection() == "eth9 hears nothing, not even from anybody"


def test_the_question_is_that_of_rfc_826() -> None:
    asked = QUESTION(bytes.fromhex("52540050700a"), "192.0.2.11", "192.0.2.12")
    assert asked.hex(" ", 2) == (
        "ffff ffff ffff 5254 0050 700a 0806 0001 0800 0604 0001 5254 0050 700a c000 020b 0000 0000 0000 c000 020c"
    )


def test_what_a_host_hears_goes_before_what_it_can_do(card: Card, clock: Clock, tmp_path: Path) -> None:
    """Its services are well, and of no use to anybody."""
    answers = tmp_path / "answers"
    answers.mkdir()
    name = settings.Name("dns", ("192.0.2.53/24",), (), "192.0.2.11", ("192.0.2.12",))
    watching = watch.Watch(name, settings.Settings(0.5, 3, 2, (name,), "eth0"), answers)
    said = []
    for _ in range(2):
        card.receives()
        watching.once()
    said.append((answers / "dns").read_text())
    for _ in range(6):
        watching.once()
        clock.now += 0.5
    said.append((answers / "dns").read_text())
    assert said == ["1\n", "0 eth0 hears nothing, not even from 192.0.2.12 and 192.0.2.1\n"]


def test_hosts_that_speak_ipv6_with_each_other_are_not_asked(tmp_path: Path) -> None:
    name = settings.Name("dns", ("fd00::53/64",), (), "fd00::11", ("fd00::12",))
    assert watch.Watch(name, settings.Settings(0.5, 3, 2, (name,), "eth0"), tmp_path).wire is None
