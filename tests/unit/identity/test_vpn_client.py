"""The configuration of a client, read again by a library that knows nothing of ours."""

from __future__ import annotations

import io
from datetime import date
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from wgconfig import WGConfig

from homelab_provision.errors import Refused
from homelab_provision.identity.vpn import VpnKeys, complete, keys_of
from homelab_provision.identity.vpn_client import configuration, require_file
from homelab_provision.site.vpn import Client, Tunnel, Vpn
from homelab_provision.site.wireguard import new_private, public_of

VPN = Vpn(
    endpoint="home.example.org",
    networks=(ip_network("10.77.0.0/24"), ip_network("fd77:5070::/64")),
    reaches=(ip_network("192.168.50.0/24"),),
    dns=(ip_address("192.168.50.53"), ip_address("fd77:5070::1")),
    search="home.arpa",
    mtu=1380,
    clients={
        "tablet": Client(number=10, tunnel=Tunnel.FULL),
        "phone": Client(number=11),
        "own": Client(number=13, public_key=public_of(new_private())),
    },
)
TODAY = date(2026, 11, 27)


def keys_for(vpn: Vpn) -> VpnKeys:
    values: dict[str, str] = {}
    complete(values, vpn)
    return keys_of(values, vpn)


KEYS = keys_for(VPN)


def parsed(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The interface and its one peer; the library puts values with commas into lists."""
    file = WGConfig()
    file.read_from_fileobj(io.StringIO(text))
    (peer,) = file.peers.values()
    own = [{key: value for key, value in part.items() if not key.startswith("_")} for part in (file.interface, peer)]
    return own[0], own[1]


def test_the_text_of_a_client() -> None:
    tablet = KEYS.clients["tablet"]
    assert configuration(VPN, "tablet", KEYS) == (
        "[Interface]\n"
        f"PrivateKey = {tablet.private}\n"
        "Address = 10.77.0.10/32, fd77:5070::a/128\n"
        "DNS = 192.168.50.53, fd77:5070::1, home.arpa\n"
        "MTU = 1380\n"
        "\n"
        "[Peer]\n"
        f"PublicKey = {KEYS.server}\n"
        f"PresharedKey = {tablet.shared}\n"
        "AllowedIPs = 0.0.0.0/0, ::/0\n"
        "Endpoint = home.example.org:51820\n"
        "PersistentKeepalive = 25\n"
    )


def test_another_reader_finds_the_keys_and_networks_of_a_split_tunnel() -> None:
    interface, peer = parsed(configuration(VPN, "phone", KEYS))
    phone = KEYS.clients["phone"]
    assert interface == {
        "PrivateKey": phone.private,
        "Address": ["10.77.0.11/32", "fd77:5070::b/128"],
        "DNS": ["192.168.50.53", "fd77:5070::1", "home.arpa"],
        "MTU": 1380,
    }
    assert peer == {
        "PublicKey": KEYS.server,
        "PresharedKey": phone.shared,
        "AllowedIPs": ["10.77.0.0/24", "fd77:5070::/64", "192.168.50.0/24"],
        "Endpoint": "home.example.org:51820",
        "PersistentKeepalive": 25,
    }


def test_what_is_not_described_is_not_written() -> None:
    little = Vpn(
        endpoint="203.0.113.5",
        networks=VPN.networks[:1],
        keepalive=0,
        clients={"phone": Client(number=11)},
    )
    interface, peer = parsed(configuration(little, "phone", keys_for(little)))
    assert interface.keys() == {"PrivateKey", "Address"}
    assert peer.keys() == {"PublicKey", "PresharedKey", "AllowedIPs", "Endpoint"}
    assert peer["AllowedIPs"] == "10.77.0.0/24"


@pytest.mark.parametrize(
    ("endpoint", "port", "written"),
    [
        ("home.example.org", 443, "home.example.org:443"),
        ("203.0.113.5", 51820, "203.0.113.5:51820"),
        ("2001:db8::5", 51820, "[2001:db8::5]:51820"),
    ],
)
def test_where_the_home_is_found(endpoint: str, port: int, written: str) -> None:
    vpn = VPN.model_copy(update={"endpoint": endpoint, "port": port})
    assert parsed(configuration(vpn, "phone", KEYS))[1]["Endpoint"] == written


def test_a_device_with_its_own_key_is_told_where_to_put_it() -> None:
    text = configuration(VPN, "own", KEYS)
    comment = text.splitlines()[1]
    assert comment.startswith("# PrivateKey = ")
    assert KEYS.clients["own"].public in comment
    assert "PrivateKey" not in parsed(text)[0]
    key = new_private()
    assert parsed(text.replace(comment, f"PrivateKey = {key}"))[0]["PrivateKey"] == key


@pytest.mark.negative
@pytest.mark.parametrize(
    ("client", "said", "hint"),
    [
        (Client(number=2, revoked=True), "`x` is revoked", "provision vpn rekey x"),
        (Client(number=2, expires=date(2026, 11, 26)), "its last day was 2026-11-26", "a later day"),
        (Client(number=2, host="cloud-a"), "`x` is the host `cloud-a`", "provision apply cloud-a"),
    ],
)
def test_who_gets_no_file(client: Client, said: str, hint: str) -> None:
    with pytest.raises(Refused, match=said) as caught:
        require_file("x", client, TODAY)
    assert hint in (caught.value.hint or "")


def test_on_its_last_day_a_client_gets_its_file() -> None:
    require_file("x", Client(number=2, expires=TODAY), TODAY)
