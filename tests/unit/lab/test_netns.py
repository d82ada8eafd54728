"""What of the host is restored when a lab goes down; on a host that is only pretended."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from homelab_provision.doors.process import Completed
from homelab_provision.lab import netns
from homelab_provision.lab.network import Uplink, alias, outer_name
from homelab_provision.lab.sudo import Privilege
from homelab_provision.site.virtual import LabNetwork

ONE, TWO = LabNetwork(namespace="hlp-one"), LabNetwork(namespace="hlp-two")


@dataclass
class Host:
    """Answers what `ip`, `iptables` and the kernel's switches would, and keeps what was commanded."""

    labs: dict[str, str] = field(default_factory=dict)
    switches: dict[str, bool] = field(default_factory=dict)
    default_route: bool = True
    firewall: str = "-P FORWARD ACCEPT"
    commanded: list[str] = field(default_factory=list)

    def do(self, argv: tuple[str, ...], *, input: str | None = None, check: bool = True) -> Completed:
        line = " ".join(argv)
        self.commanded.append(line)
        return Completed(argv, 1 if " -C " in line else 0, self._answer(line), "", 0.0)

    def _answer(self, line: str) -> str:
        if line == "ip -j link show":
            return json.dumps([{"ifname": "eth0"}, *({"ifname": k, "ifalias": v} for k, v in self.labs.items())])
        if line == "ip -j link show dev eth0":
            return json.dumps([{"ifname": "eth0", "mtu": 1400}])
        if line == "ip -j -4 route show default":
            return json.dumps([{"dst": "default", "dev": "eth0"}] if self.default_route else [])
        if line == "ip -j -4 route show table all":
            return json.dumps([{"dst": "default"}, {"dst": "192.0.2.0/24"}, {"dst": "127.0.0.1"}])
        if line == "ip -j -4 addr show":
            return json.dumps([{"ifname": "eth0", "addr_info": [{"local": "192.0.2.2", "prefixlen": 24}]}])
        return self.firewall if line == "iptables -w -S FORWARD" else ""


def joined(network: LabNetwork, before: bool) -> dict[str, str]:
    uplink = Uplink("eth0", 1400, IPv4Network("198.18.0.0/30"), forwarded_before=before)
    return {outer_name(network): alias(network, uplink)}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    host = Host(switches={"ip_forward": False, "conf/eth0/forwarding": True})
    monkeypatch.setattr(netns, "_do", host.do)
    monkeypatch.setattr(netns, "_switch", lambda name: host.switches[name])
    monkeypatch.setattr("homelab_provision.lab.netns.shutil.which", lambda name, path: f"/usr/sbin/{name}")
    monkeypatch.setattr(netns, "_NAMESPACES", tmp_path)
    return host


def lowered(host: Host, network: LabNetwork = ONE) -> bool:
    """Whether forwarding was switched off on the uplink."""
    notes = netns.lower_network(network, Privilege(0, 0))
    switched = "sysctl -qw net/ipv4/conf/eth0/forwarding=0" in host.commanded
    assert bool(notes) is switched
    return switched


def test_the_last_lab_restores_forwarding(host: Host) -> None:
    host.labs = joined(ONE, before=False)
    assert lowered(host)
    assert f"ip link delete {outer_name(ONE)}" in host.commanded


def test_another_lab_still_needs_it(host: Host) -> None:
    host.labs = joined(ONE, before=False) | joined(TWO, before=False)
    assert not lowered(host)


def test_a_host_that_forwarded_before_goes_on(host: Host) -> None:
    host.labs = joined(ONE, before=True)
    assert not lowered(host)


def test_somebody_else_has_made_the_host_a_router_meanwhile(host: Host) -> None:
    host.labs, host.switches["ip_forward"] = joined(ONE, before=False), True
    assert not lowered(host)


def test_down_without_a_lab_touches_nothing(host: Host) -> None:
    assert not lowered(host)
    assert not [line for line in host.commanded if "delete" in line and "nft" not in line]


def test_a_second_lab_takes_over_what_the_first_remembers(host: Host) -> None:
    host.labs = joined(ONE, before=False)  # which has switched forwarding on
    uplink = netns.find_uplink(TWO)
    assert uplink is not None
    assert (uplink.interface, uplink.mtu, uplink.forwarded_before) == ("eth0", 1400, False)


def test_no_internet_no_uplink(host: Host) -> None:
    host.default_route = False
    assert netns.find_uplink(ONE) is None


@pytest.mark.parametrize(
    ("firewall", "touched"),
    [("-P FORWARD ACCEPT", False), ("-P FORWARD DROP", True), ("-P FORWARD ACCEPT\n-A FORWARD -j DOCKER-USER", True)],
)
def test_a_firewall_is_opened_only_where_it_is_shut(host: Host, firewall: str, touched: bool) -> None:
    host.firewall = firewall
    netns._accept(ONE, Privilege(0, 0))
    assert any(" -I FORWARD " in line for line in host.commanded) is touched


def test_only_name_servers_elsewhere_can_be_asked_from_the_lab(tmp_path: Path) -> None:
    stub, real = tmp_path / "resolv.conf", tmp_path / "upstream.conf"
    stub.write_text("# systemd-resolved\nnameserver 127.0.0.53\noptions edns0\n")
    assert netns.resolvers([stub, real]) == []
    real.write_text("nameserver 192.168.1.1\nnameserver fe80::1%eth0\nnameserver 9.9.9.9\nsearch home\n")
    assert netns.resolvers([stub, real]) == ["192.168.1.1", "9.9.9.9"]
    stub.write_text("nameserver 10.0.0.1\n")
    assert netns.resolvers([stub, real]) == ["10.0.0.1"]
