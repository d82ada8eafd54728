"""What is done to the host's network, and what DHCP is told."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from homelab_provision.errors import ProvisionError
from homelab_provision.lab.network import (
    Present,
    Uplink,
    accept_rules,
    alias,
    choose_link,
    dnsmasq_config,
    inner_rules,
    link_commands,
    outer_name,
    outer_rules,
    parse_leases,
    remembered,
    table_name,
    tap_name,
    up_commands,
)
from homelab_provision.lab.sudo import Privilege
from homelab_provision.site.virtual import LabNetwork

ROOT, USER = Privilege(0, 0), Privilege(1000, 1000)
NETWORK = LabNetwork()
UPLINK = Uplink("eth0", 1400, IPv4Network("198.18.7.0/30"), forwarded_before=False)


def lines(commands: list[tuple[str, ...]]) -> list[str]:
    return [" ".join(command) for command in commands]


def test_the_first_up_makes_everything() -> None:
    made = lines(up_commands(NETWORK, dict.fromkeys(["tap-a", "tap-b"], "lan0"), Present(), ROOT))
    assert made[0] == "ip netns add hlp-lab"
    assert "ip -n hlp-lab addr replace 192.168.50.1/24 dev lan0" in made
    assert "ip -n hlp-lab tuntap add dev tap-b mode tap user 0" in made
    assert "ip netns exec hlp-lab sysctl -qw net.ipv4.ip_forward=1" in made


def test_what_is_there_is_not_made_again() -> None:
    present = Present(True, frozenset({"lo", "lan0", "tap-a", "up0"}), frozenset({"eth0", outer_name(NETWORK)}))
    commands = up_commands(NETWORK, dict.fromkeys(["tap-a", "tap-b"], "lan0"), present, ROOT) + link_commands(
        NETWORK, UPLINK, present, ROOT
    )
    made = [line for line in lines(commands) if " add " in line]
    assert made == ["ip -n hlp-lab tuntap add dev tap-b mode tap user 0"]


def test_a_user_needs_sudo_for_each_command_and_owns_the_taps() -> None:
    made = lines(
        up_commands(NETWORK, {"tap-a": "lan0"}, Present(), USER) + link_commands(NETWORK, UPLINK, Present(), USER)
    )
    assert all(line.startswith("sudo -n ") for line in made)
    assert any(line.endswith("tuntap add dev tap-a mode tap user 1000") for line in made)


def test_a_users_machines_run_as_the_user() -> None:
    assert USER.inside_as_user("hlp-lab", "qemu") == (
        "sudo", "-n", "ip", "netns", "exec", "hlp-lab",
        "setpriv", "--reuid=1000", "--regid=1000", "--init-groups", "--", "qemu",
    )  # fmt: skip
    assert ROOT.inside_as_user("hlp-lab", "qemu") == ("ip", "netns", "exec", "hlp-lab", "qemu")


def test_forwarding_is_switched_on_for_two_interfaces_only() -> None:
    made = lines(link_commands(NETWORK, UPLINK, Present(), ROOT))
    switches = [line for line in made if "sysctl" in line]
    assert switches == [
        f"sysctl -qw net/ipv4/conf/{outer_name(NETWORK)}/forwarding=1",
        "sysctl -qw net/ipv4/conf/eth0/forwarding=1",
    ]


def test_the_link_has_the_uplinks_mtu_and_segments_fit_it() -> None:
    made = lines(link_commands(NETWORK, UPLINK, Present(), ROOT))
    assert f"ip link set {outer_name(NETWORK)} mtu 1400 up" in made
    assert "ip -n hlp-lab link set up0 mtu 1400 up" in made
    assert inner_rules(NETWORK, UPLINK).count("maxseg size set 1360") == 2


def test_the_labs_addresses_never_show_on_the_host() -> None:
    assert 'ip saddr 192.168.50.0/24 oifname "up0" masquerade' in inner_rules(NETWORK, UPLINK)
    assert "192.168.50" not in outer_rules(NETWORK, UPLINK)


def test_a_host_that_was_no_router_becomes_none_for_its_neighbours() -> None:
    closed = 'iifname "eth0" ct state new'
    assert closed in outer_rules(NETWORK, UPLINK)
    router = Uplink("eth0", 1500, UPLINK.link, forwarded_before=True)
    assert closed not in outer_rules(NETWORK, router)


@pytest.mark.parametrize("before", [True, False])
def test_what_was_before_is_remembered(before: bool) -> None:
    uplink = Uplink("wlp2s0", 1500, UPLINK.link, forwarded_before=before)
    assert remembered(alias(NETWORK, uplink)) == ("wlp2s0", before)
    assert remembered("somebody's cable") is None


def test_labs_do_not_meet() -> None:
    other = LabNetwork(namespace="hlp-test")
    assert outer_name(NETWORK) != outer_name(other)
    assert table_name(NETWORK) != table_name(other)
    assert choose_link("hlp-lab", []) != choose_link("hlp-test", [])
    assert accept_rules(NETWORK) != accept_rules(other)


def test_interface_names_fit_the_kernel() -> None:
    long = LabNetwork(namespace="a-very-long-name-of-a-namespace")
    assert len(outer_name(long)) <= 15
    assert len(tap_name("a-machine-with-a-rather-long-name")) <= 15


def test_the_link_evades_whatever_is_taken() -> None:
    usual = choose_link("hlp-lab", [])
    assert usual.prefixlen == 30
    evading = choose_link("hlp-lab", [IPv4Network("0.0.0.0/0"), usual, IPv4Network("10.0.0.0/8")])
    assert evading != usual
    with pytest.raises(ProvisionError, match="is in use"):
        choose_link("hlp-lab", [IPv4Network("198.18.0.0/15")])


def test_dhcp_goes_by_the_mac_alone() -> None:
    reservations = {"52:54:00:aa:bb:01": IPv4Address("192.168.50.10")}
    config = dnsmasq_config(NETWORK, reservations, ["9.9.9.9"], Path("/state"), "me", "mine").splitlines()
    assert "dhcp-host=52:54:00:aa:bb:01,192.168.50.10" in config
    assert "dhcp-ignore-clid" in config
    assert "dhcp-range=192.168.50.192,192.168.50.254,255.255.255.0,1h" in config
    assert ("user=me" in config, "group=mine" in config) == (True, True)
    assert [line for line in config if line.startswith("server=")] == ["server=9.9.9.9"]


def test_dhcp_stays_inside_the_lab() -> None:
    config = dnsmasq_config(NETWORK, {}, [], Path("/state"), "me", "mine").splitlines()
    assert {"interface=lan0", "bind-interfaces", "no-resolv", "no-hosts"} <= set(config)


def test_leases_are_read_and_ipv6_is_passed_over() -> None:
    file = [
        "1764000000 52:54:00:aa:bb:01 192.168.50.200 db-wyse 01:52:54:00:aa:bb:01",
        "duid 00:01:00:01",
        "1764000000 77 fd00::5 * 00:01",
    ]
    assert parse_leases(file) == {"52:54:00:aa:bb:01": IPv4Address("192.168.50.200")}
