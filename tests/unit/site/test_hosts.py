"""Hosts of an inventory, and how mistakes in them are shown where they were written."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from homelab_provision.site.models import Backup, Needs, Network
from tests.unit.site.sites import HOSTS, problems_of, site_of

NETWORK = """\
          ansible_host: 192.168.50.10
          provision_network:
            address: 192.168.50.10/24
            gateway: 192.168.50.1
            dns: [192.168.50.1, 9.9.9.9]
          provision_needs: {disk_gb: 100, memory_mib: 4096, cores: 4, cpu_flags: [aes]}
          provision_backup: {server: 192.168.50.20, export: /srv/backup, max_proof_age: 36h}
          provision_secrets: [spans, reader]
"""
FULL = HOSTS.replace("          ansible_host: 192.168.50.10\n", NETWORK)


def test_what_is_read_of_a_host() -> None:
    site = site_of(hosts=FULL)
    host = site.host("db-wyse")
    assert host.address == "192.168.50.10"
    assert host.network == Network(
        address=IPv4Interface("192.168.50.10/24"),
        gateway=IPv4Address("192.168.50.1"),
        dns=(IPv4Address("192.168.50.1"), IPv4Address("9.9.9.9")),
    )
    assert host.needs == Needs(disk_gb=100, memory_mib=4096, cores=4, cpu_flags=("aes",))
    assert host.backup == Backup(
        server=IPv4Address("192.168.50.20"), export="/srv/backup", max_proof_age=timedelta(hours=36)
    )
    assert host.secrets == ("spans", "reader")
    assert site.host("nas").backup is None
    assert (host.groups, host.provisioned) == (("provisioned",), True)
    assert not site.host("nas").provisioned
    assert site.host("nas").needs == Needs()


@pytest.mark.negative
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "ansible_host: 192.168.50.11",
            "ansible_host: 192.168.50.10",
            ["hosts.yml:15: hosts.web-wyse: two hosts with one address: 192.168.50.10 is also that of `db-wyse`"],
        ),
        ("ansible_host: 192.168.50.20", "ansible_host: 192.168.50.10", ["hosts.nas: two hosts with one address"]),
        (
            "ansible_host: 192.168.50.11",
            "ansible_host: web.home.arpa",
            ["hosts.web-wyse: `web.home.arpa` does not fit", "a host is rebuilt also while DNS is down"],
        ),
        (
            "          ansible_host: 192.168.50.11\n",
            "",
            ["hosts.yml:14: hosts.web-wyse: missing variable `ansible_host`"],
        ),
        (
            "address: 192.168.50.10/24",
            "address: 192.168.50.13/24",
            ["`provision_network` says 192.168.50.13, but `ansible_host` says 192.168.50.10"],
        ),
        ("gateway: 192.168.50.1", "gateway: 192.168.51.1", ["a gateway inside 192.168.50.0/24"]),
        (
            "gateway: 192.168.50.1",
            "gatewy: 192.168.50.1",
            [
                "hosts.yml:9: all.children.provisioned.hosts.db-wyse.provision_network.gatewy: unknown key",
                "did you mean `gateway`?",
            ],
        ),
        ("address: 192.168.50.10/24", "address: 192.168.50.10/33", ["with the length of its prefix"]),
        ("            address: 192.168.50.10/24\n", "", ["missing key `address`"]),
        ("disk_gb: 100", "disk_gb: lots", ["provision_needs.disk_gb: `lots` does not fit", "expected a number"]),
        ("cores: 4", "coers: 4", ["did you mean `cores`?"]),
        ("server: 192.168.50.20", "server: nas.home.arpa", ["provision_backup.server", "expected an IPv4 address"]),
        ("export: /srv/backup", "export: srv/backup", ["provision_backup.export: `srv/backup` does not fit"]),
        ("export: /srv/backup, ", "", ["hosts.yml:12", "missing key `export`", "that the server exports"]),
        ("max_proof_age: 36h", "max_proof_age: 36", ["`36` does not fit", "an age in days or hours, as in 8d or 36h"]),
        ("max_proof_age: 36h", "max_proof_age: 0d", ["`0d` does not fit"]),
        ("[spans, reader]", "[spans, my-reader]", ["hosts.yml:13", "provision_secrets[1]: `my-reader` does not fit"]),
        ("[spans, reader]", "spans", ["provision_secrets", "expected a list"]),
        ("provision_backup:", "provision_backups:", ["did you mean `provision_backup`?"]),
        (
            "provision_needs:",
            "provision_need:",
            ["hosts.yml:11: hosts.db-wyse: unknown variable `provision_need`", "did you mean `provision_needs`?"],
        ),
    ],
)
def test_mistakes(old: str, new: str, said: list[str]) -> None:
    assert old in FULL
    text = problems_of(hosts=FULL.replace(old, new, 1))
    assert "has 1 problem:" in text
    for words in said:
        assert words in text


@pytest.mark.negative
def test_the_whole_message() -> None:
    assert (
        problems_of(hosts=HOSTS.replace("192.168.50.11", "192.168.50.10"))
        == """\
the site /srv/sites/lab has 1 problem:

hosts.yml:8: hosts.web-wyse: two hosts with one address: 192.168.50.10 is also that of `db-wyse`
      6 |           ansible_host: 192.168.50.10
      7 |         web-wyse:
    > 8 |           ansible_host: 192.168.50.10
        |                         ^^^^^^^^^^^^^
      9 |     others:
  expected an address that no other host has"""
    )


@pytest.mark.negative
def test_two_hosts_with_one_network_address() -> None:
    both = FULL.replace("ansible_host: 192.168.50.20", "provision_network: {address: 192.168.50.10/24}")
    assert "hosts.nas: two hosts with one address" in problems_of(hosts=both)


BAD_NEEDS = "provision_needs:\n  coers: 4\n"


@pytest.mark.negative
@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("host_vars/db-wyse.yml", "host_vars/db-wyse.yml:2: provision_needs.coers"),
        ("host_vars/db-wyse.yaml", "host_vars/db-wyse.yaml:2: provision_needs.coers"),
        ("host_vars/db-wyse/needs.yml", "host_vars/db-wyse/needs.yml:2: provision_needs.coers"),
        ("host_vars/nas.yml", "hosts.yml:6: all.children.provisioned.hosts.db-wyse.provision_needs.coers"),
    ],
)
def test_a_mistake_with_one_host_is_shown_where_it_stands(file: str, place: str, tmp_path: Path) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(BAD_NEEDS)
    hosts = HOSTS.replace("        db-wyse:\n", "        db-wyse:\n          provision_needs: {coers: 4}\n")
    assert place in problems_of(hosts=hosts, root=tmp_path)


@pytest.mark.negative
@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("group_vars/provisioned.yml", "group_vars/provisioned.yml:2: provision_needs.coers"),
        ("group_vars/provisioned/a.yml", "group_vars/provisioned/a.yml:2: provision_needs.coers"),
        ("group_vars/others.yml", "hosts.yml:4: all.children.provisioned.vars.provision_needs.coers"),
    ],
)
def test_a_mistake_of_a_group_is_one_mistake(file: str, place: str, tmp_path: Path) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(BAD_NEEDS)
    hosts = HOSTS.replace("    provisioned:\n", "    provisioned:\n      vars: {provision_needs: {coers: 4}}\n")
    said = problems_of(hosts=hosts, root=tmp_path)
    assert place in said
    assert "has 1 problem:" in said
