"""The network file: the flash phase renders it with Jinja alone, so what comes out is pinned here."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, StrictUndefined

from homelab_provision import paths


def render(name: str, **network: Any) -> str:
    text = (paths.content("roles") / "base" / "templates" / name).read_text()
    jinja = Environment(undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True)
    return jinja.from_string(text).render(base_network=network)


def test_fixed_address_on_the_card_of_the_passport() -> None:
    assert (
        render(
            "lan.network.j2",
            address="192.168.50.10/24",
            gateway="192.168.50.1",
            dns=["192.168.50.1", "9.9.9.9"],
            mac="52:54:00:00:00:01",
        )
        == """\
# Written by homelab-provision.
[Match]
PermanentMACAddress=52:54:00:00:00:01

[Network]
Address=192.168.50.10/24
Gateway=192.168.50.1
DNS=192.168.50.1 9.9.9.9
"""
    )


def test_any_card_asks_dhcp_with_its_address_as_the_rescue_does() -> None:
    assert (
        render("lan.network.j2")
        == """\
# Written by homelab-provision.
[Match]
Type=ether
Kind=!*

[Network]
DHCP=ipv4

[DHCPv4]
# The rescue system asks with the card's address too, so the lease stays the same.
ClientIdentifier=mac
"""
    )


def test_name_servers() -> None:
    assert render("resolv.conf.j2", dns=["192.168.50.1"]) == (
        "# Written by homelab-provision.\nnameserver 192.168.50.1\n"
    )
