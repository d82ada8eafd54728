"""Who is on the wire."""

from __future__ import annotations

from pathlib import Path

import pytest

from homelab_provision.doors import neighbours as door_module
from homelab_provision.doors.neighbours import Neighbour, neighbours, parse_neighbours, shown_keys
from homelab_provision.doors.process import Completed
from homelab_provision.doors.ssh import Door
from homelab_provision.identity import identities
from homelab_provision.lab import reach
from tests import sshd
from tests.unit.jobs.test_trust import Memory
from tests.unit.site.sites import site_of

# As iproute2 6.15 prints it: one who did not answer, a router, one whose address was made of his MAC.
SHOWN = """[{"dst":"fd00::1","dev":"eth0","state":["FAILED"]},
{"dst":"fe80::1","dev":"eth0","lladdr":"3C:52:A1:00:53:01","router":null,"state":["STALE"]},
{"dst":"fe80::5054:ff:fe50:700b","dev":"eth0","lladdr":"52:54:00:50:70:0b","state":["REACHABLE"]},
{"dst":"2001:db8::7","dev":"eth0","lladdr":"52:54:00:50:70:0c","state":["DELAY"]}]
"""
RESCUE = Neighbour("fe80::5054:ff:fe50:700b", "52:54:00:50:70:0b")


def test_those_who_answered_with_an_address_of_the_link() -> None:
    assert parse_neighbours(SHOWN) == (Neighbour("fe80::1", "3c:52:a1:00:53:01"), RESCUE)
    assert parse_neighbours("") == parse_neighbours("[]") == ()


def test_everybody_is_asked_and_a_ping_that_fails_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(argv: list[str], *, deadline: float, check: bool = True) -> Completed:
        asked.append(argv)
        assert check is (argv[1] == "ip")
        return Completed(tuple(argv), 0 if argv[1] == "ip" else 2, SHOWN, "", 0.1)

    monkeypatch.setattr(door_module, "run", run)
    assert neighbours(Door(("inside",)), "lan0")[-1] == RESCUE
    assert asked[0][:2] == ["inside", "ping"]
    assert asked[0][-1] == "ff02::1%lan0"
    assert asked[1][-2:] == ["dev", "lan0"]


def test_only_those_whose_address_follows_from_the_mac_may_be_a_rescue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "neighbours", lambda door, link: parse_neighbours(SHOWN))
    monkeypatch.setattr(reach, "_default_link", lambda: "eth7")
    assert reach.link_local_neighbours(site_of()) == ("fe80::5054:ff:fe50:700b%eth7",)


@pytest.mark.processes
def test_the_keys_of_all_addresses_at_once(tmp_path: Path) -> None:
    Memory.values = {}
    keys = identities.load(Memory(tmp_path, tmp_path), "lab").site
    with sshd.listening(tmp_path / "server", keys.rescue, keys.controller) as server:
        assert shown_keys(server.door, ["127.0.0.1", "127.0.0.2"]) == {"127.0.0.1": keys.rescue.public}
        assert server.asked == []  # nobody was logged in to
        assert shown_keys(server.door, []) == {}
