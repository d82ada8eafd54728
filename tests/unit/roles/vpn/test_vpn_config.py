"""A configuration of the VPN is read as a whole or not at all, and nothing of its keys is in what is said of it."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles import programs

config = programs.vpn("config")
wireguard = programs.vpn("wireguard")
errors = programs.library("errors")


def key(number: int) -> str:
    return base64.b64encode(bytes([number]) * 32).decode()


def document() -> dict[str, Any]:
    return {
        "interface": "wg0",
        "private_key": key(1),
        "port": 51820,
        "addresses": ["10.77.0.1/24", "fd77::1/64"],
        "mtu": 1420,
        "forwards": True,
        "firewall": True,
        "peers": [
            {
                "name": "tablet",
                "public_key": key(2),
                "preshared_key": key(3),
                "networks": ["10.77.0.10/32", "fd77::a/128"],
                "endpoint": "",
                "keepalive": 0,
                "expires": "2027-01-31",
            },
            {
                "name": "cloud",
                "public_key": key(4),
                "networks": ["10.77.0.11/32", "10.90.0.0/16"],
                "endpoint": "[fd00::5]:51820",
                "keepalive": 25,
                "probe": "10.77.0.11",
            },
        ],
        "dyndns": {},
    }


def read(values: dict[str, Any]) -> Any:
    return config.parse(json.dumps(values))


def test_it_is_read() -> None:
    found = read(document())
    tablet, cloud = found.peers
    assert (found.port, found.mtu, found.forwards) == (51820, 1420, True)
    assert [str(address) for address in found.addresses] == ["10.77.0.1/24", "fd77::1/64"]
    assert (cloud.endpoint.host, cloud.endpoint.port, cloud.endpoint.address) == ("fd00::5", 51820, "fd00::5")
    assert tablet.endpoint is None
    assert found.dyndns is None


def test_nothing_shows_a_key() -> None:
    shown = repr(read(document()))
    assert key(1) not in shown
    assert key(3) not in shown


def test_who_has_expired_may_not_connect_from_the_next_day_on() -> None:
    found = read(document())
    last = datetime(2027, 1, 31, 23, 59, tzinfo=UTC)
    assert [peer.name for peer in found.peers_at(last)] == ["tablet", "cloud"]
    assert [peer.name for peer in found.peers_at(datetime(2027, 2, 1, tzinfo=UTC))] == ["cloud"]


WRONG: dict[str, tuple[Any, str]] = {
    "interface": ("wireguard-of-the-home", "interface: a name of at most 15"),
    "private_key": ("c2hvcnQ=", "private_key: a key of WireGuard"),
    "port": (70000, "port: a number from 0 to 65535"),
    "mtu": (1000, "mtu: a number from 1280"),
    "addresses": (["10.77.0.1"], "addresses: an address with the length of its prefix"),
    "forwards": ("yes", "forwards: true or false"),
    "peers": ({}, "peers: a list"),
}
WRONG_PEERS: dict[str, tuple[Any, str]] = {
    "public_key": ("", "peers[0].public_key: a key"),
    "preshared_key": ("x", "peers[0].preshared_key: a key"),
    "networks": (["10.77.0.10/24"], "peers[0].networks: a network without bits of a host"),
    "endpoint": ("home.example.org", "peers[0].endpoint: name:port"),
    "keepalive": (-1, "peers[0].keepalive: a number"),
    "expires": ("31.1.2027", "peers[0].expires: a day"),
    "name": (None, "peers[0].name: a text"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name: str) -> None:
    value, said = WRONG[name]
    with pytest.raises(errors.Trouble) as refused:
        read(document() | {name: value})
    assert refused.value.message.startswith(said)
    assert key(1) not in refused.value.message


@pytest.mark.parametrize("name", WRONG_PEERS)
def test_what_is_wrong_with_a_peer_is_named(name: str) -> None:
    value, said = WRONG_PEERS[name]
    values = document()
    values["peers"][0][name] = value
    with pytest.raises(errors.Trouble) as refused:
        read(values)
    assert refused.value.message.startswith(said)


@pytest.mark.parametrize("share", [0, 0.3, 0.9, 0.99])
def test_a_file_that_is_cut_off_is_damaged(tmp_path: Path, share: float) -> None:
    file = tmp_path / "vpn.json"
    text = json.dumps(document())
    file.write_text(text[: int(len(text) * share)])
    with pytest.raises(errors.Trouble) as refused:
        config.load(file)
    assert refused.value.message == f"{file}: it is damaged: no whole JSON document"


@pytest.mark.parametrize("text", ["[]", "1", '"text"', "null"])
def test_another_document_is_no_configuration(text: str) -> None:
    with pytest.raises(errors.Trouble):
        config.parse(text)


def test_two_peers_are_told_apart() -> None:
    values = document()
    values["peers"][1]["public_key"] = key(2)
    with pytest.raises(errors.Trouble, match="tablet and cloud have one key"):
        read(values)
    values = document()
    values["peers"][1]["networks"] = ["10.77.0.10/32"]
    with pytest.raises(errors.Trouble, match=r"10\.77\.0\.10/32 leads to tablet and to cloud"):
        read(values)


DUMP = (
    f"{key(1)}\t{key(9)}\t51820\toff\n"
    f"{key(2)}\t{key(3)}\t203.0.113.7:4711\tfd77::a/128,10.77.0.10/32\t1767225600\t100\t200\toff\n"
    f"{key(4)}\t(none)\t(none)\t10.77.0.11/32,10.90.0.0/16\t0\t0\t0\t25\n"
)


def test_an_interface_that_is_as_configured_is_left_alone() -> None:
    found, state = read(document()), wireguard.parse(DUMP)
    assert wireguard.fits(state, found, found.peers)
    assert state.peers[key(2)].endpoint == "203.0.113.7:4711"
    assert state.peers[key(2)].handshake == 1767225600


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (key(1), key(5)),
        ("51820", "51821"),
        (key(3), "(none)"),
        ("10.90.0.0/16", "10.91.0.0/16"),
        ("0\t25", "0\toff"),
        (key(4), key(6)),
    ],
)
def test_whatever_differs_is_seen(old: str, new: str) -> None:
    found = read(document())
    assert not wireguard.fits(wireguard.parse(DUMP.replace(old, new, 1)), found, found.peers)


def test_the_kernel_is_told_addresses_and_no_names() -> None:
    found = read(document())
    text = wireguard.document(found, found.peers, {key(4): wireguard.joined("fd00::5", 51820)})
    assert text == "\n".join(
        [
            "[Interface]",
            f"PrivateKey = {key(1)}",
            "ListenPort = 51820",
            "",
            "[Peer]",
            f"PublicKey = {key(2)}",
            f"PresharedKey = {key(3)}",
            "AllowedIPs = 10.77.0.10/32, fd77::a/128",
            "PersistentKeepalive = 0",  # a word of it, or a former one would stay
            "",
            "[Peer]",
            f"PublicKey = {key(4)}",
            "AllowedIPs = 10.77.0.11/32, 10.90.0.0/16",
            "Endpoint = [fd00::5]:51820",
            "PersistentKeepalive = 25",
            "",
        ]
    )
