"""The description of the VPN: what is read of it, and how each mistake is shown where it was written."""

from __future__ import annotations

from datetime import date
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from homelab_provision import paths
from homelab_provision.site.description import describe
from homelab_provision.site.loading import load_site
from homelab_provision.site.models import Site
from homelab_provision.site.problems import SiteError
from homelab_provision.site.vpn import Client, Tunnel
from tests.unit.site.sites import HOSTS, VPN, VPN_KEY, hosts_with, problems_of, site_of

AT = len(HOSTS.splitlines()) + 2  # the line in which `provision_vpn:` stands


def test_what_is_read_of_it() -> None:
    vpn = site_of(hosts=hosts_with(VPN)).vpn
    assert vpn
    assert (vpn.endpoint, vpn.port, vpn.search, vpn.mtu, vpn.keepalive) == (
        "home.example.org",
        51820,
        "home.arpa",
        1380,
        25,
    )
    assert vpn.networks == (ip_network("10.77.0.0/24"), ip_network("fd77:5070::/64"))
    assert (vpn.reaches, vpn.dns) == ((ip_network("192.168.50.0/24"),), (ip_address("192.168.50.53"),))
    assert vpn.clients == {
        "tablet": Client(number=10, tunnel=Tunnel.FULL),
        "phone": Client(number=11, expires=date(2027, 1, 31)),
        "old_laptop": Client(number=12, revoked=True),
        "cloud_a": Client(number=5, host="nas"),
        "own": Client(number=13, public_key=VPN_KEY),
    }
    assert vpn.clients["phone"].tunnel is Tunnel.SPLIT
    assert vpn.addresses(10) == (ip_address("10.77.0.10"), ip_address("fd77:5070::a"))


def test_the_last_day_is_one_on_which_it_may_connect() -> None:
    phone = Client(number=11, expires=date(2027, 1, 31))
    assert not phone.expired(date(2027, 1, 31))
    assert phone.expired(date(2027, 2, 1))
    assert not Client(number=11).expired(date(2999, 1, 1))


def test_the_site_as_it_is_understood_shows_it_once() -> None:
    shown = describe(site_of(hosts=hosts_with(VPN)))
    assert str(shown).count(VPN_KEY) == 1
    assert isinstance(vpn := shown["vpn"], dict)
    assert vpn["networks"] == ["10.77.0.0/24", "fd77:5070::/64"]
    assert describe(site_of())["vpn"] is None


@pytest.mark.negative
@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("endpoint: home.example.org", "", 0, "missing key `endpoint`\n|found from outside, as in home.example.org"),
        ("home.example.org", "home.example.org:51820", 1, "endpoint: `home.example.org:51820` does not fit|`port`"),
        ("home.example.org", "-home.org", 1, "endpoint: `-home.org` does not fit"),
        ("home.example.org", "203.0.113.300", 1, "endpoint: `203.0.113.300` does not fit"),
        ("home.example.org", "127.0.0.1", 1, "is a loopback address"),
        ("home.example.org", '"[2001:db8::1]"', 1, "endpoint: `[2001:db8::1]` does not fit"),
        ("home.example.org", "fe80::1%eth0", 1, "link-local"),
        ("home.example.org", '"home\\nPostUp = id"', 1, "endpoint"),
        ("mtu: 1380", "mtu: 100", 6, "mtu: `100` does not fit|1280"),
        ("mtu: 1380", "port: 0", 6, "port: `0` does not fit|greater than or equal to 1"),
        ("mtu: 1380", "port: 65536", 6, "less than or equal to 65535"),
        ("mtu: 1380", "keepalive: 70000", 6, "less than or equal to 65535"),
        ("mtu: 1380", "keepalive: off", 6, "true and false"),
        ("mtu: 1380", "mut: 1380", 6, "mut: unknown key|did you mean `mtu`?"),
        ("search: home.arpa", "search: Home Arpa", 5, "a domain in small letters"),
        ("  dns: [192.168.50.53]\n", "", 4, "search: nobody is asked for names|`dns` beside it"),
        ("dns: [192.168.50.53]", "dns: [router]", 4, "dns[0]: `router` does not fit|an address, as in"),
        ("dns: [192.168.50.53]", "dns: [0.0.0.0]", 4, "unspecified"),
        ("dns: [192.168.50.53]", "dns: [9.9.9.9]", 4, "not reached through the tunnel|`phone` has a split tunnel"),
        ("reaches: [192.168.50.0/24]", "reaches: [192.168.50.0]", 3, "reaches[0]|the length of its prefix"),
        ("reaches: [192.168.50.0/24]", "reaches: [192.168.50.0/33]", 3, "reaches[0]|the length of its prefix"),
        ("reaches: [192.168.50.0/24]", "reaches: [192.168.50.7/24]", 3, "192.168.50.7 is an address in it"),
        ("reaches: [192.168.50.0/24]", "reaches: [192.168.50.0/24, 0.0.0.0/0]", 3, "reaches[1]|/8 or longer"),
        (
            "reaches: [192.168.50.0/24]",
            "reaches: [192.168.50.0/24, 10.0.0.0/8]",
            3,
            "reaches[1]: `10.0.0.0/8` overlaps the tunnel|apart from the tunnel's own 10.77.0.0/24",
        ),
        ("10.77.0.0/24, ", "", 2, "networks: there is no IPv4 network"),
        ("10.77.0.0/24, ", "10.77.0.0/24, 10.78.0.0/24, ", 2, "networks[1]: `10.78.0.0/24` is a second one of IPv4"),
        ('"fd77:5070::/64"', '"fd77:5070::/64", "fd78::/64"', 2, "networks[2]: `fd78::/64` is a second one of IPv6"),
        ('10.77.0.0/24, "fd77:5070::/64"', "", 2, "the list is empty|as in [10.77.0.0/24]"),
        ("10.77.0.0/24", "224.0.0.0/24", 2, "group"),
        ("10.77.0.0/24", "10.77.0.0/255.255.255.0", 2, "the length of its prefix"),
        ('"fd77:5070::/64"', '"fe80::/64"', 2, "link-local"),
        ('"fd77:5070::/64"', '"fd77:5070::/127"', 2, "networks[1]: `fd77:5070::/127` does not fit|/126 or shorter"),
        ("tablet:", "Tablet:", 8, "clients.Tablet: `Tablet` does not fit|small letters, digits and _"),
        ("tablet:", "server:", 8, "clients.server: `server` does not fit|another name than"),
        ("{number: 10, tunnel: full}", "{tunnel: full}", 8, "clients.tablet: missing key `number`|from 2 on"),
        ("{number: 10, tunnel: full}", "", 8, "clients.tablet: does not fit|keys with values"),
        ("number: 10, tunnel: full", "number: 10, tunel: full", 8, "clients.tablet.tunel|did you mean `tunnel`?"),
        ("number: 10, tunnel: full", "number: 10, tunnel: ful", 8, "`ful` does not fit|did you mean `full`?"),
        ("number: 10,", "number: 1,", 8, "clients.tablet.number: `1` does not fit|greater than or equal to 2"),
        ("number: 10,", "number: 255,", 8, "`255` is not in 10.77.0.0/24|a number from 2 to 254"),
        ("number: 10,", "number: yes,", 8, "clients.tablet.number"),
        ("number: 12,", "number: 10,", 10, "clients.old_laptop.number: `10` is the number of `tablet` already"),
        ("2027-01-31", "31.1.2027", 9, "clients.phone.expires: `31.1.2027` does not fit|as in 2027-01-31"),
        ("2027-01-31", '"2027-02-30"', 9, "clients.phone.expires: `2027-02-30` does not fit"),
        ("2027-01-31", "1800000000", 9, "clients.phone.expires: `1800000000` does not fit"),
        ("revoked: true", "revoked: perhaps", 10, "true or false"),
        ("host: nas", "host: nass", 11, "clients.cloud_a.host: there is no host `nass`|did you mean `nas`?"),
        ("host: nas", "host: nas, tunnel: full", 11, "clients.cloud_a.tunnel: `full` does not fit|split"),
        ("number: 10, tunnel: full", "number: 10, host: nas", 11, "`nas` is the host of `tablet` already"),
        (
            "host: nas",
            f'host: nas, public_key: "{VPN_KEY[:-2]}o="',
            11,
            "cloud_a.public_key: a host has no key",
        ),
        (VPN_KEY, VPN_KEY[:-1], 12, "clients.own.public_key|as `wg pubkey` prints it"),
        (VPN_KEY, "A" * 43 + "=", 12, "clients.own.public_key"),
        (VPN_KEY, VPN_KEY[:-2] + "R=", 12, "clients.own.public_key"),
        ("number: 10, tunnel: full", f'number: 10, public_key: "{VPN_KEY}"', 12, "is the key of `tablet` already"),
        ("provision_vpn:", "provision_vnp:", -1, "unknown variable `provision_vnp`|did you mean `provision_vpn`?"),
    ],
)
def test_mistakes(old: str, new: str, line: int, said: str) -> None:
    assert old in VPN
    text = problems_of(hosts=hosts_with(VPN.replace(old, new, 1)))
    if line >= 0:
        assert "has 1 problem:" in text, text
        assert f"hosts.yml:{AT + line}: all.vars.provision_vpn" in text, text
    for words in said.split("|"):
        assert words in text, text


def test_a_resolver_elsewhere_will_do_for_clients_that_send_everything() -> None:
    full = VPN.replace("192.168.50.53", "9.9.9.9").replace("number: 11", "number: 11, tunnel: full")
    assert "`own` has a split tunnel" in problems_of(hosts=hosts_with(full))
    full = full.replace("number: 13", "number: 13, tunnel: full")
    assert problems_of(hosts=hosts_with(full)) == ""  # a host asks its own, one that is revoked nobody


@pytest.mark.negative
def test_two_hosts_know_one_vpn() -> None:
    other = "          provision_vpn: {endpoint: other.example.org, networks: [10.77.0.0/24]}\n"
    hosts = hosts_with(VPN).replace("192.168.50.11\n", f"192.168.50.11\n{other}")
    text = problems_of(hosts=hosts)
    assert "has 1 problem:" in text
    assert "hosts.yml:9: hosts.web-wyse: `provision_vpn` is another one than that of `db-wyse`" in text
    assert "described in group_vars/all" in text


@pytest.mark.negative
@pytest.mark.parametrize("name", ["vpn_private_server", "vpn_shared_phone"])
def test_no_password_is_called_as_a_key_of_the_vpn(name: str) -> None:
    text = problems_of(
        hosts=HOSTS.replace("192.168.50.11\n", f"192.168.50.11\n          provision_secrets: [{name}]\n")
    )
    assert "hosts.yml:9" in text
    assert f"`{name}` does not fit" in text
    allowed = HOSTS.replace("192.168.50.11\n", "192.168.50.11\n          provision_secrets: [vpn_public, vpn_x]\n")
    assert problems_of(hosts=allowed) == ""


# ---- as Ansible reads it -------------------------------------------------------------------------------------


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A site with the VPN in a file of its own in group_vars/all."""
    for name in ("machines.yml", "hosts.yml"):
        (tmp_path / name).write_text((paths.content("inventories") / "example" / name).read_text())
    (tmp_path / "group_vars" / "all").mkdir(parents=True)
    return tmp_path


def read(root: Path, vpn: str) -> Site:
    (root / "group_vars" / "all" / "vpn.yml").write_text(vpn)
    return load_site(root)


@pytest.mark.processes
def test_ansible_hands_on_what_was_written(example: Path) -> None:
    vpn = read(example, VPN.replace("host: nas", f"host: {next(iter(load_site(example).hosts))}")).vpn
    assert vpn
    assert vpn.clients["phone"].expires == date(2027, 1, 31)
    assert vpn.clients["old_laptop"].revoked


@pytest.mark.negative
@pytest.mark.processes
def test_mistakes_are_shown_in_the_file_where_they_are(example: Path) -> None:
    with pytest.raises(SiteError) as caught:
        read(example, VPN.replace("2027-01-31", "soon").replace("number: 12", "number: 1").replace("host: nas", "x: 1"))
    text = caught.value.message
    assert "has 3 problems:" in text
    for line, words in ((10, "expires: `soon`"), (11, "number: `1`"), (12, "clients.cloud_a.x: unknown key")):
        assert f"group_vars/all/vpn.yml:{line}: provision_vpn.clients." in text
        assert words in text
