"""A home and somebody on the road: what carries on, and what is mended, and by what cause it is told."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from tests.container import Container

HOME, ROAD = "10.77.0.1", "10.77.0.10"
HOME_6 = "fd77:5070::1"
CONFIGURATION = "/etc/homelab-provision/vpn.json"
# The address of the pair, in a network of its own.
SHARED = "10.55.0.51"
# Behind the home: an address that peers may reach, and one that they may not.
REACHED, CLOSED = "10.88.0.1", "10.99.0.1"


@pytest.fixture(scope="module")
def home(request: pytest.FixtureRequest) -> Container:
    return Container.of(request.config)


@pytest.fixture(scope="module")
def road(home: Container) -> Container:
    """The other end, which finds the home by its name, and is looked after by hand."""
    road = Container(f"{home.name}-road")
    for machine in (home, road):
        machine.sh("systemctl stop homelab-vpn-watch.timer")
    known_as(road, home.address)
    road.sh("systemctl restart homelab-vpn && homelab-vpn watch")
    return road


def known_as(road: Container, address: str) -> None:
    """Have the home's name lead there. A container's hosts file can be written, and not replaced."""
    road.sh(
        f"sed '/home.test/d' /etc/hosts >/tmp/hosts; echo {address} home.test >>/tmp/hosts; cat /tmp/hosts >/etc/hosts"
    )


def reaches(road: Container, address: str, seconds: float = 5) -> bool:
    return road.run(f"ping -n -q -c 1 -W {seconds} {address}").returncode == 0


def until_reached(road: Container, address: str = HOME, seconds: float = 20) -> None:
    give_up = time.monotonic() + seconds
    while not reaches(road, address, 1):
        assert time.monotonic() < give_up, road.sh("wg show; homelab-vpn status")


def watch(machine: Container) -> str:
    return machine.sh("homelab-vpn watch")


def status(machine: Container) -> dict[str, Any]:
    return dict(json.loads(machine.sh("homelab-vpn status")))


def change(machine: Container, code: str) -> None:
    """Change the configuration as the role would, and have it take effect. `road` is the peer of that name."""
    find = "road = next((p for p in d['peers'] if p['name'] == 'road'), None)"
    read, write = f"d = json.load(open('{CONFIGURATION}'))", f"json.dump(d, open('{CONFIGURATION}', 'w'))"
    text = f"import json; {read}; {find}; {code}; {write}"
    machine.sh(f"python3 -c {shlex.quote(text)} && systemctl reload homelab-vpn.service")


def put_back(machine: Container, text: str) -> None:
    machine.sh(f"printf '%s\\n' {shlex.quote(text)} >{CONFIGURATION}; systemctl reload homelab-vpn.service")


def test_the_road_reaches_the_home_by_both_versions(road: Container, home: Container) -> None:
    until_reached(road)
    assert reaches(road, HOME_6)
    assert status(home)["peers"]["road"]["connected"]
    assert status(home)["peers"].keys() == {"road", "phone"}


def test_what_lies_behind_is_reached_and_nothing_else(road: Container, home: Container) -> None:
    """Forwarded by the home: from the tunnel to a namespace that stands for its network."""
    home.sh(
        "ip netns add lan; ip link add lan0 type veth peer name eth0 netns lan; ip address add 10.88.0.254/24 dev lan0;"
        "ip link set lan0 up; ip -n lan link set eth0 up; ip -n lan link set lo up;"
        f"ip -n lan address add {REACHED}/24 dev eth0; ip -n lan address add {CLOSED}/32 dev lo;"
        f"ip route add {CLOSED}/32 via {REACHED}"
    )
    # It does not know the way back to the tunnel: the home translates.
    assert reaches(road, REACHED)
    road.sh(
        f"ip route add {CLOSED}/32 dev wg0;"
        f"wg set wg0 peer $(wg show wg0 peers) allowed-ips 10.77.0.0/24,10.88.0.0/24,{CLOSED}/32"
    )
    home.sh(f"ping -n -q -c 1 -W 2 {CLOSED}")
    # `phone` has all of its tunnel, so the home passes everything on. Without it, nothing but what is declared.
    assert reaches(road, CLOSED)
    home.sh("sed -i 's#, 0.0.0.0/0##; s#0.0.0.0/0, ##' /etc/nftables.d/45-vpn.nft && systemctl reload nftables")
    assert not reaches(road, CLOSED, 2)
    assert reaches(road, REACHED)


@pytest.mark.negative
def test_a_stranger_gets_no_answer(road: Container) -> None:
    """The same machine with another key; with its own it gets in again."""
    road.sh("wg showconf wg0 >/run/own.conf; wg genkey >/run/stranger; wg set wg0 private-key /run/stranger")
    try:
        assert not reaches(road, HOME, 6)
    finally:
        road.sh("wg setconf wg0 /run/own.conf; rm /run/own.conf /run/stranger")
    until_reached(road)


def test_a_change_cuts_no_session(road: Container, home: Container) -> None:
    road.sh(f"ping -n -i 0.05 -c 120 {HOME} >/tmp/pings 2>&1 & echo $! >/tmp/pinging")
    handshake = home.sh("wg show wg0 latest-handshakes | sort")
    keep = home.sh(f"cat {CONFIGURATION}")
    change(home, "d['peers'] = [p for p in d['peers'] if p['name'] != 'phone']")
    change(home, "road['networks'].append('10.66.0.0/24')")
    road.sh("while kill -0 $(cat /tmp/pinging) 2>/dev/null; do sleep 0.2; done")
    assert " 0% packet loss" in road.sh("cat /tmp/pings | tail -n 3")
    assert home.sh("wg show wg0 latest-handshakes | sort") in handshake
    # What lies behind a peer is reached through it from then on, and not any more when it is taken away.
    assert "wg0" in home.sh("ip route get 10.66.0.5")
    change(home, "road['networks'].remove('10.66.0.0/24')")
    assert "wg0" not in home.sh("ip route get 10.66.0.5")
    put_back(home, keep)


@pytest.mark.negative
def test_who_is_revoked_or_expired_is_out(road: Container, home: Container) -> None:
    keep = home.sh(f"cat {CONFIGURATION}")
    try:
        change(home, "road['expires'] = '2026-01-31'")
        assert not reaches(road, HOME, 6)
        change(home, "road['expires'] = '2999-01-31'")
        until_reached(road)
        change(home, "d['peers'] = []")
        assert not reaches(road, HOME, 6)
    finally:
        put_back(home, keep)
    until_reached(road)


BREAKS = {
    "interface": ("ip link delete wg0", "wg0 was not there"),
    "down": ("ip link set wg0 down", "wg0 was down"),
    "forwarding": ("sysctl --quiet net.ipv4.ip_forward=0", "forwarding of IPv4 was switched off"),
    "firewall": ("nft flush ruleset", "the rules of the VPN were not in the firewall"),
    "peers": ("wg set wg0 peer $(wg show wg0 peers | head -n 1) remove", "the peers of wg0 were others, or their keys"),
    "address": ("ip address delete 10.77.0.1/24 dev wg0", "wg0 lacked the address 10.77.0.1/24"),
    "file": (f"truncate --size=300 {CONFIGURATION}", "it is damaged: no whole JSON document"),
    "no file": (f"rm {CONFIGURATION}", "No such file or directory"),
}


@pytest.mark.parametrize("what", BREAKS)
def test_what_somebody_broke_is_mended_with_its_cause(road: Container, home: Container, what: str) -> None:
    broken, cause = BREAKS[what]
    watch(home)
    keep = home.sh(f"cat {CONFIGURATION}")
    home.sh(broken)
    assert cause in watch(home)
    assert watch(home) == "", "there is nothing left to mend"
    assert cause in "".join(repair["cause"] for repair in status(home)["repairs"])
    assert home.sh(f"cat {CONFIGURATION}") == keep
    assert home.sh(f"stat --format %a {CONFIGURATION}") == "600"
    until_reached(road)
    assert reaches(road, REACHED)


def move(home: Container, old: str, new: str) -> None:
    """Give it another address in its network, as a provider does."""
    prefix = home.sh(f"ip -o -4 address show dev eth0 | grep -o '{old}/[0-9]*'").partition("/")[2]
    way = home.sh("ip route show default")
    home.sh(
        f"ip address delete {old}/{prefix} dev eth0; ip address add {new}/{prefix} dev eth0; ip route replace {way}"
    )


def test_a_name_that_has_moved_is_followed(road: Container, home: Container) -> None:
    old, new = home.address, home.address.rpartition(".")[0] + ".250"
    watch(road)
    move(home, old, new)
    known_as(road, new)
    said = [watch(road) for look in range(3)]
    assert f"home.test is at {new}:51820 and was looked for at {old}:51820" in "".join(said)
    until_reached(road)
    assert status(road)["troubles"] == {}
    # A name that nobody can look up any more is where it was; that is said, and does no harm.
    road.sh("sed '/home.test/d' /etc/hosts >/tmp/hosts; cat /tmp/hosts >/etc/hosts; systemctl restart homelab-vpn")
    until_reached(road)
    move(home, new, old)
    [watch(road) for look in range(2)]
    assert "home.test has no address" in status(road)["troubles"]["name home.test"]
    known_as(road, old)
    [watch(road) for look in range(2)]
    until_reached(road)
    assert status(road)["troubles"] == {}


def test_a_way_that_takes_only_small_packets_is_found_out(road: Container, home: Container) -> None:
    home.sh("nft add table ip hole; nft add chain ip hole input '{ type filter hook input priority -200; }'")
    home.sh("nft add rule ip hole input udp dport 51820 meta length gt 1400 drop")
    forget = 'python3 -c \'import json; f = "/var/lib/homelab-provision/vpn/watch.json"; d = json.load(open(f));' + (
        ' d["mtu_asked"] = 0; d["mtu_since"] = 0; json.dump(d, open(f, "w"))\''
    )
    road.sh(forget)
    # With its own 60 bytes, and what fills it up to a multiple of 16.
    assert "packets of 1420 bytes do not get through: sends 1320 at most" in watch(road)
    assert "mtu 1320" in road.sh("ip link show wg0")
    assert watch(road) == ""
    home.sh("nft delete table ip hole")
    road.sh(forget.replace('["mtu_since"] = 0', '["mtu_since"] = -10**6'))
    assert "packets of 1420 bytes get through again" in watch(road)
    assert "mtu 1420" in road.sh("ip link show wg0")


def test_a_home_that_is_away_is_named_and_comes_back(road: Container, home: Container) -> None:
    home.sh("systemctl stop homelab-vpn")
    said = "".join(watch(road) for look in range(4))
    assert "cannot be mended from here: home does not answer at 10.77.0.1; the last handshake was" in said
    assert "made the interface anew" in said
    home.sh("systemctl start homelab-vpn")
    until_reached(road)
    assert "over: home does not answer" in watch(road)


def test_it_is_measured(home: Container) -> None:
    change(home, "d['metrics'] = '/run/vpn.prom'")
    watch(home)
    told = home.sh("cat /run/vpn.prom")
    assert "homelab_vpn_up 1" in told
    assert "homelab_vpn_troubles 0" in told
    assert 'homelab_vpn_handshake_seconds{peer="road"} 1' in told


@pytest.fixture
def twin(home: Container, road: Container) -> Iterator[Container]:
    """The other server, while the road looks for the address that is with one of the two."""
    known_as(road, SHARED)
    road.sh("systemctl restart homelab-vpn")
    until_reached(road)
    yield Container(f"{home.name}-twin")
    road.sh(f"ip neighbour delete {SHARED} dev eth0 || true")
    known_as(road, home.address)
    road.sh("systemctl restart homelab-vpn")


@pytest.mark.skipif("ROUNDS" not in os.environ, reason="long: one that is frozen still answers for its address")
def test_the_other_server_takes_the_clients_along(home: Container, twin: Container, road: Container) -> None:
    """A client by itself looks for another session after fifteen seconds; and it goes back the same way."""
    assert json.loads(home.sh("homelab-vpn status"))["has_the_address"] is True
    assert twin.sh("wg show wg0 endpoints | grep -vc none || true") == "0", "who has no address knows nobody"
    road.sh(f"ping -n -D -i 0.1 {HOME} >/tmp/pings 2>&1 & echo $! >/tmp/pinging; sleep 2")
    docker("pause", home)
    try:
        twin.sh(f"ip address add {SHARED}/24 dev eth0")
        heard_to_be_at(road, twin)
        road.sh("sleep 8")
        assert reaches(road, HOME_6)
        assert twin.sh("wg show wg0 latest-handshakes | grep -vcw 0") == "1"
    finally:
        # The other one is back first, and has the address: what was said meanwhile has reached it.
        twin.sh(f"ip address delete {SHARED}/24 dev eth0")
        docker("unpause", home)
        heard_to_be_at(road, home)
        road.sh("sleep 8; kill -INT $(cat /tmp/pinging)")
    assert reaches(road, HOME)
    answered = [float(line[1:].partition("]")[0]) for line in road.sh("grep icmp_seq /tmp/pings").splitlines()]
    gaps = sorted(after - before for before, after in pairwise(answered))
    assert gaps[-1] < 6, gaps[-5:]
    assert twin.sh("wg show wg0 endpoints | grep -vc none || true") == "0", "it would take the client along"
    for server in (home, twin):
        assert "spoke first to road" in server.sh("journalctl --unit=homelab-vpn-pair --output=cat")


def heard_to_be_at(road: Container, server: Container) -> None:
    """What keepalived tells neighbours when an address comes. One that is frozen, and not dead, would still answer."""
    card = server.sh("cat /sys/class/net/eth0/address")
    road.sh(f"ip neighbour replace {SHARED} lladdr {card} dev eth0 nud permanent")


def docker(verb: str, machine: Container) -> None:
    subprocess.run(["docker", verb, machine.name], check=True, capture_output=True)
