"""The VPN for real: from a café behind its own router into the home, and what usually takes it down."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.away import (
    ACCOUNT,
    BRIDGE,
    CAFE,
    HOME,
    MOVED,
    NAME,
    PASSWORD,
    ROAD,
    ROUTER_6,
    WORLD,
    WORLD_6,
    Away,
)
from tests.lab.conftest import Homelab

pytestmark = [pytest.mark.lab, pytest.mark.long]

SERVER, NAS = "192.168.50.11", "192.168.50.20"
TUNNEL, TUNNEL_6 = "10.77.0.1", "fd77:5070::1"
# A host of the home's network that knows nothing of the tunnel: the router itself.
BEHIND = "192.168.50.1"
VPN: dict[str, Any] = {
    "endpoint": NAME,
    "networks": ["10.77.0.0/24", "fd77:5070::/64"],
    "reaches": ["192.168.50.0/24"],
    "dns": [BEHIND],
    "keepalive": 5,
    "clients": {
        "road": {"number": 10, "host": "road"},
        "tablet": {"number": 11, "tunnel": "full"},
    },
}
PLACE = {
    "ansible_host": ROAD,
    "provision_network": {"address": f"{ROAD}/24", "gateway": CAFE, "dns": [CAFE]},
    "provision_needs": {"disk_gb": 12, "memory_mib": 1024},
    "base_ntp_servers": [WORLD],
}
# The limit that a person is promised, in seconds.
MENDED = 120
# A device that knows nothing of us: a network of its own within the road's machine, behind one more router.
TABLET = """
ip netns add tablet
ip link add tablet0 type veth peer name eth0 netns tablet
ip address add 172.21.0.1/24 dev tablet0; ip link set tablet0 up
ip -n tablet address add 172.21.0.2/24 dev eth0; ip -n tablet link set eth0 up; ip -n tablet link set lo up
ip -n tablet route add default via 172.21.0.1
sysctl -qw net.ipv4.conf.tablet0.forwarding=1 net.ipv4.conf.all.forwarding=1
nft add table ip hotspot; nft add chain ip hotspot nat '{ type nat hook postrouting priority 100; }'
nft add rule ip hotspot nat ip saddr 172.21.0.0/24 masquerade
mkdir -p /etc/netns/tablet; cp /etc/resolv.conf /etc/netns/tablet/
"""
WITHIN = "ip netns exec tablet"


class House:
    """A home with a VPN, and a host in a café."""

    def __init__(self, homelab: Homelab, folder: Path) -> None:
        self.homelab = homelab
        self.on, self.done = homelab.on, homelab.done
        homelab.edit("plays: db-wyse", "plays: site-wyse")
        homelab.edit("wyse-b:  # the spare\n", "wyse-b:\n    plays: road\n")
        homelab.edit('mac: "52:54:00:50:70:0b"\n', f'mac: "52:54:00:50:70:0b"\n      bridge: {BRIDGE}\n')
        groups = "    vpn:\n      hosts: {site-wyse: , road: }\n\n    web:\n      hosts:\n"
        homelab.edit("    web:\n      hosts:\n", f"{groups}        road: {json.dumps(PLACE)}\n", "hosts.yml")
        self.describe(VPN)
        asked = {"name": NAME, "ask": f"http://{WORLD}/address", "update": f"http://{WORLD}/nic/update"}
        homelab.tell("site-wyse", vpn_dyndns={**asked, "user": ACCOUNT, "password": PASSWORD})
        self.done("lab", "up")

    def describe(self, vpn: dict[str, Any]) -> None:
        file = self.homelab.site / "group_vars" / "all" / "vpn.yml"
        file.write_text(yaml.safe_dump({"provision_vpn": vpn}))

    def bring_up(self, away: Away) -> None:
        for machine, host in (("wyse-a", "site-wyse"), ("wyse-b", "road")):
            self.homelab.install(machine, host)
        self.done("apply", "site-wyse", "road")
        # The home's addresses of IPv6 are its router's business; the lab's has none to give.
        own = "ip -6 address add 2001:db8:50::11/64 dev $(ip -o -4 route show default | cut -d' ' -f5) nodad"
        self.on("site-wyse", f"{own}; ip -6 route add default via {ROUTER_6}")

    def status(self, host: str) -> dict[str, Any]:
        return dict(json.loads(self.on(host, "homelab-vpn status")))

    def reached(self, address: str = TUNNEL, *, by: str = "road", within: str = "") -> bool:
        script = f"{within} ping -n -q -c 1 -W 2 {address}"
        return self.homelab.run("lab", "ssh", by, "--", "sh", "-c", script).returncode == 0

    def until_reached(self, address: str = TUNNEL, seconds: float = MENDED) -> float:
        """The seconds that it takes until the road reaches an address in the tunnel."""
        started = time.monotonic()
        while not self.reached(address):
            if time.monotonic() - started > seconds:
                pytest.fail(f"{address} is not reached\n{self.status('road')}\n{self.status('site-wyse')}")
        return time.monotonic() - started


@pytest.fixture
def house(homelab: Homelab, tmp_path: Path) -> Iterator[tuple[House, Away]]:
    house = House(homelab, tmp_path)
    with Away(homelab, tmp_path) as away:
        yield house, away


def test_somebody_in_a_cafe_is_at_home(house: tuple[House, Away]) -> None:
    home, away = house
    home.bring_up(away)
    a_host_in_a_cafe_reaches_the_home(home)
    a_device_has_all_of_its_traffic_in_the_tunnel(home)
    what_takes_it_down_is_mended(home, away)
    who_is_revoked_is_out(home)
    the_server_is_lost_and_rebuilt(home)
    home.done("verify", "site-wyse")


def a_host_in_a_cafe_reaches_the_home(house: House) -> None:
    """By both versions of IP, and what lies behind the home's server; not without the tunnel."""
    house.until_reached()
    assert house.reached(TUNNEL_6)
    assert house.reached(BEHIND)
    house.on("road", "systemctl stop homelab-vpn-watch.timer homelab-vpn")
    assert not house.reached(BEHIND)
    house.on("road", "systemctl start homelab-vpn homelab-vpn-watch.timer")
    house.until_reached()


def a_device_has_all_of_its_traffic_in_the_tunnel(house: House) -> None:
    """With the file that `provision vpn client` makes, and the programs of WireGuard alone."""
    house.on("road", TABLET)
    asked = f"{WITHIN} python3 -c " + shlex.quote(
        "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode())"
    )
    # Before, the world sees the café.
    assert house.on("road", f"{asked} http://{WORLD}/address").strip() == "192.0.2.2"
    connect_tablet(house)
    assert house.on("road", f"{asked} http://{WORLD}/address").strip() == HOME
    assert house.on("road", f"{asked} 'http://[{WORLD_6}]/address'").strip() == "2001:db8:50::11"
    assert house.reached(BEHIND, within=WITHIN)
    connected = house.status("site-wyse")["peers"]["tablet"]
    assert connected["connected"], connected


def connect_tablet(house: House) -> None:
    file = house.done("vpn", "client", "tablet").stdout
    assert f"Endpoint = {NAME}:51820" in file
    # No program here takes names for one network alone.
    without = "".join(line for line in file.splitlines(True) if not line.startswith("DNS"))
    house.on("road", "umask 077; mkdir -p /run/tablet; cat >/run/tablet/wg9.conf", feed=without)
    house.on("road", f"{WITHIN} wg-quick up /run/tablet/wg9.conf 2>&1")


CAUSES: dict[str, tuple[str, str, str]] = {
    # What is broken, on which host, and the cause that is told.
    "forwarding switched off by another tool": (
        "site-wyse",
        "sysctl -qw net.ipv4.ip_forward=0",
        "forwarding of IPv4 was switched off",
    ),
    "nftables flushed": ("site-wyse", "nft flush ruleset", "the rules of the VPN were not in the firewall"),
    "interface deleted, at home": ("site-wyse", "ip link delete wg0", "wg0 was not there"),
    "interface deleted, on the road": ("road", "ip link delete wg0", "wg0 was not there"),
    "keys file truncated, and a restart": (
        "site-wyse",
        "truncate --size=200 /etc/homelab-provision/vpn.json; systemctl restart homelab-vpn || true",
        "it is damaged: no whole JSON document",
    ),
}


def what_takes_it_down_is_mended(house: House, away: Away) -> dict[str, float]:
    """Each cause that people report, with the seconds until what lies behind the home is reached again."""
    times: dict[str, float] = {}
    for name, (host, broken, cause) in CAUSES.items():
        times[name] = mended(house, host, lambda host=host, broken=broken: house.on(host, broken), cause)
    times["the provider gives the home another address"] = mended(
        house,
        "road",
        lambda: away.move_home(HOME, MOVED),
        f"{NAME} is at {MOVED}:51820 and was looked for at {HOME}:51820",
    )
    told = house.status("site-wyse")["repairs"]
    assert any(f"and this home is at {MOVED}" in repair["cause"] for repair in told), told
    times["packets above 1400 bytes get lost"] = mended(
        house, "road", lambda: away.swallow(1400), "packets of 1420 bytes do not get through", small=False
    )
    away.swallow(None)
    times["a name that nobody answers for at boot, once it is answered for"] = a_name_that_nobody_answers_for(
        house, away
    )
    times["a clock that is a year behind at boot"] = a_clock_that_is_wrong_at_boot(house)
    print("\n".join(f"{seconds:6.0f} s  {name}" for name, seconds in times.items()))
    return times


def mended(house: House, host: str, break_it: Any, cause: str, *, small: bool = True) -> float:
    """The seconds from breaking something until packets get through again, small ones or those of full size."""
    before = len(repairs(house, host))
    break_it()
    started = time.monotonic()
    give_up = started + MENDED + 60
    ping = f"ping -n -q -c 1 -W 2 {BEHIND}" if small else f"ping -n -q -c 1 -W 2 -M want -s 1380 {TUNNEL}"
    while True:
        told = repairs(house, host)[before:]
        done = house.homelab.run("lab", "ssh", "road", "--", "sh", "-c", ping)
        if done.returncode == 0 and any(cause in repair for repair in told):
            return time.monotonic() - started
        assert time.monotonic() < give_up, (cause, told, done.stdout, house.status(host), house.status("road"))


def repairs(house: House, host: str) -> list[str]:
    lines = house.on(host, "cat /var/lib/homelab-provision/vpn/repairs.jsonl 2>/dev/null || true").splitlines()
    return [json.loads(line)["cause"] for line in lines]


def a_name_that_nobody_answers_for(house: House, away: Away) -> float:
    """Nor has it ever been: while the host starts, and for a while after."""
    away.lead()
    house.on("road", "rm -f /var/lib/homelab-provision/vpn/endpoints.json")
    house.homelab.reboot("road")
    time.sleep(20)
    assert not house.reached()
    away.lead(MOVED)
    return house.until_reached()


def a_clock_that_is_wrong_at_boot(house: House) -> float:
    """By a year, and with nobody who sets it by itself."""
    year_ago = "timedatectl set-time \"$(date --date '1 year ago' '+%F %T')\""
    house.on("road", f"systemctl disable --quiet --now chrony; timedatectl set-ntp false; {year_ago}")
    house.homelab.reboot("road")
    started = time.monotonic()
    house.until_reached(seconds=MENDED + 60)
    seconds = time.monotonic() - started
    told = repairs(house, "road")
    assert any("the clock is" in repair and "behind the last look" in repair for repair in told), told
    house.on("road", "systemctl enable --quiet chrony")
    return seconds


def who_is_revoked_is_out(house: House) -> None:
    """From the next play on, and nobody else notices."""
    house.on("road", TABLET)
    connect_tablet(house)
    assert house.reached(TUNNEL, within=WITHIN)
    house.on("road", f"ping -n -i 0.2 {TUNNEL} >/run/pings 2>&1 & echo $! >/run/pinging")
    clients = VPN["clients"] | {"tablet": {"number": 11, "tunnel": "full", "revoked": True}}
    house.describe(VPN | {"clients": clients})
    house.done("apply", "site-wyse")
    house.on("road", "kill -INT $(cat /run/pinging); sleep 1")
    assert " 0% packet loss" in house.on("road", "tail -n 3 /run/pings")
    assert "tablet" not in house.status("site-wyse")["peers"]
    assert not house.reached(TUNNEL, within=WITHIN)
    assert house.reached()
    refused = house.homelab.run("vpn", "client", "tablet")
    assert refused.returncode != 0
    assert "revoked" in refused.stderr


def the_server_is_lost_and_rebuilt(house: House) -> None:
    """Its clients come back by themselves: the keys are the site's, and nobody was told anything."""
    before = house.on("road", "cat /etc/homelab-provision/vpn.json")
    machine = house.homelab.machine("wyse-a")
    machine.power_off()
    machine.wipe()
    house.done("rebuild", "site-wyse", "--onto", "wyse-a", "--yes")
    assert house.homelab.latest()["result"] == "proven"
    assert house.until_reached() < MENDED
    assert house.reached(BEHIND)
    assert house.on("road", "cat /etc/homelab-provision/vpn.json") == before
