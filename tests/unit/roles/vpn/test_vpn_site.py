"""What the site says of its VPN, in the words of the role: on a server, and on a host that is a client."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from homelab_provision import paths
from tests.unit.roles import programs

spec = importlib.util.spec_from_file_location(
    "vpn_filter", paths.content("roles") / "vpn" / "filter_plugins" / "vpn.py"
)
assert spec
assert spec.loader
plugin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plugin)

config = programs.vpn("config")

SITE: dict[str, Any] = {
    "endpoint": "home.example.org",
    "port": 51821,
    "networks": ["10.77.0.0/24", "fd77:5070::/64"],
    "reaches": ["192.168.50.0/24"],
    "clients": {
        "tablet": {"number": 10, "tunnel": "split", "expires": "2027-01-31"},
        "cloud": {"number": 5, "host": "cloud-a"},
        "own": {"number": 6, "public_key": "made by itself"},
        "lost": {"number": 12, "revoked": True},
    },
}
KEYS = {
    "secret_vpn_private_server": "private of the server",
    "public_vpn_server": "public of the server",
    "public_vpn_tablet": "public of the tablet",
    "secret_vpn_shared_tablet": "shared with the tablet",
    "secret_vpn_private_cloud": "private of the cloud",
    "public_vpn_cloud": "public of the cloud",
    "secret_vpn_shared_cloud": "shared with the cloud",
    "public_vpn_lost": "public of the lost one",
}


def test_a_server_knows_all_who_may_connect() -> None:
    found = plugin.vpn_of(SITE, "vpn-a", KEYS)
    assert found == plugin.vpn_of(SITE, "vpn-b", KEYS), "one stands in for the other"
    assert found["addresses"] == ["10.77.0.1/24", "fd77:5070::1/64"]
    assert (found["private_key"], found["port"], found["reaches"]) == (
        "private of the server",
        51821,
        ["192.168.50.0/24"],
    )
    peers = {peer["name"]: peer for peer in found["peers"]}
    assert peers.keys() == {"tablet", "cloud", "own"}
    assert peers["tablet"] == {
        "name": "tablet",
        "public_key": "public of the tablet",
        "preshared_key": "shared with the tablet",
        "networks": ["10.77.0.10/32", "fd77:5070::a/128"],
        "expires": "2027-01-31",
    }
    assert peers["own"]["public_key"] == "made by itself"


def test_whoever_has_all_of_its_traffic_in_the_tunnel_reaches_everything() -> None:
    clients = {"tablet": {"number": 10, "tunnel": "full"}}
    assert plugin.vpn_of(SITE | {"clients": clients}, "vpn-a", KEYS)["reaches"][1:] == ["0.0.0.0/0", "::/0"]
    clients["tablet"]["revoked"] = True
    assert plugin.vpn_of(SITE | {"clients": clients}, "vpn-a", KEYS)["reaches"][1:] == []


def test_a_client_looks_for_the_server() -> None:
    found = plugin.vpn_of(SITE, "cloud-a", KEYS)
    assert (found["addresses"], found["port"]) == (["10.77.0.5/24", "fd77:5070::5/64"], 0)
    assert found["private_key"] == "private of the cloud"
    [server] = found["peers"]
    assert server == {
        "name": "home",
        "public_key": "public of the server",
        "preshared_key": "shared with the cloud",
        "networks": ["10.77.0.0/24", "fd77:5070::/64", "192.168.50.0/24"],
        "endpoint": "home.example.org:51821",
        "keepalive": 25,
        "probe": "10.77.0.1",
    }


@pytest.mark.parametrize("endpoint", ["fd00::5", "198.51.100.7", "home.example.org"])
def test_the_program_understands_where_the_home_is(endpoint: str) -> None:
    [server] = plugin.vpn_of(SITE | {"endpoint": endpoint}, "cloud-a", KEYS)["peers"]
    reader = config._Reader("", server)
    assert config._endpoint(reader) == config.Endpoint(endpoint, 51821)


def test_a_revoked_client_that_is_a_host_looks_for_nobody() -> None:
    clients = {"cloud": {"number": 5, "host": "cloud-a", "revoked": True}}
    assert plugin.vpn_of(SITE | {"clients": clients}, "cloud-a", KEYS)["peers"] == []


def test_without_a_vpn_there_is_nothing() -> None:
    assert plugin.vpn_of({}, "db-wyse", KEYS) == {}


def test_hosts_that_share_an_address_for_the_tunnel_are_a_pair() -> None:
    hosts = {"one": "192.168.1.11", "two": "192.168.1.12", "pi": "192.168.1.5"}
    tunnel = {"address": "192.168.1.51/24", "also": ["fd00::51/64"], "hosts": ["one", "two"]}
    names = {"address": "192.168.1.53/24", "hosts": ["one", "pi"], "check": [{"kind": "dns"}]}
    floating = [names, {**tunnel, "check": [{"kind": "wireguard"}]}]
    assert plugin.vpn_pair_of(floating, "one", hosts) == {
        "addresses": ["192.168.1.51", "fd00::51"],
        "others": ["192.168.1.12"],
    }
    assert plugin.vpn_pair_of(floating, "two", hosts)["others"] == ["192.168.1.11"]
    assert plugin.vpn_pair_of(floating, "pi", hosts) == {}
    assert plugin.vpn_pair_of([], "one", {}) == {}
