"""A Pi-hole that is asked from elsewhere, killed, given another password, backed up, lost and brought back."""

from __future__ import annotations

import json
import shlex
import time

import pytest

from tests.container import Container


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest) -> Container:
    return Container.of(request.config)


def ask(machine: Container, name: str, *words: str) -> list[str] | str:
    """The addresses that it answers, or the code of what is none."""
    last = json.loads(machine.sh(f"homelab-pihole ask {name} {' '.join(words)}").splitlines()[-1])
    return list(last["addresses"]) if last["code"] == "NOERROR" else str(last["code"])


def until_it_answers(machine: Container, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while machine.run("homelab-pihole ask pi.hole").returncode:
        assert time.monotonic() < deadline, machine.sh("journalctl --unit=pihole --lines=20 --output=cat")
        time.sleep(0.5)


@pytest.mark.parametrize(
    ("name", "kind", "addresses"),
    [
        ("nas.home.arpa", "A", ["192.168.50.20"]),
        ("nas", "A", ["192.168.50.20"]),
        ("files.home.arpa", "A", ["192.168.50.20"]),
        ("db-wyse.home.arpa", "A", ["192.168.50.10"]),
        ("upstream.example.net", "A", ["192.0.2.53"]),
        ("ads.example.net", "A", ["0.0.0.0"]),
        ("ads.example.net", "AAAA", ["::"]),
        ("listed.example.net", "A", ["0.0.0.0"]),
        ("deep.tracker.example.net", "A", ["0.0.0.0"]),
        ("good.example.net", "A", "NXDOMAIN"),  # it is allowed, and the upstream does not know it
        ("nobody.home.arpa", "A", "NXDOMAIN"),  # and nobody else is asked for it
    ],
)
def test_names_are_answered(machine: Container, name: str, kind: str, addresses: list[str] | str) -> None:
    assert ask(machine, name, kind) == addresses


# A client of a VPN: its network is declared, and is none of this host's interfaces.
VPN = """
ip netns add lan && ip link add lan0 type veth peer name eth0 netns lan
ip address add 198.51.100.1/24 dev lan0 && ip link set lan0 up
ip -n lan address add 198.51.100.2/24 dev eth0 && ip -n lan link set eth0 up && ip -n lan link set lo up
ip -n lan address add 10.99.0.2/32 dev lo && ip route add 10.99.0.0/24 via 198.51.100.2
ip -n lan route add 198.51.100.1/32 dev eth0 src 10.99.0.2
ip netns exec lan homelab-pihole ask nas.home.arpa --server 198.51.100.1 || true
ip -n lan route del 198.51.100.1/32 dev eth0 src 10.99.0.2
ip netns exec lan homelab-pihole ask nas.home.arpa --server 198.51.100.1 || true
ip route del 10.99.0.0/24 via 198.51.100.2; ip netns del lan
"""


@pytest.mark.negative
def test_a_declared_network_behind_a_router_is_answered_and_another_is_not(machine: Container) -> None:
    declared, undeclared = [json.loads(line) for line in machine.sh(VPN).splitlines()]
    assert declared["addresses"] == ["192.168.50.20"]
    assert undeclared["message"] == "198.51.100.1 does not answer"


def test_it_comes_back_however_often_it_is_killed(machine: Container) -> None:
    """More often than upstream's own unit would."""
    for _ in range(6):
        machine.sh("docker kill pihole")
        until_it_answers(machine)
    assert ask(machine, "nas.home.arpa") == ["192.168.50.20"]


def test_the_web_page_has_the_certificate_of_the_host(machine: Container) -> None:
    known = "curl --silent --cacert /etc/homelab-provision/tls/ca.crt"
    if machine.run("command -v curl").returncode:
        known = "openssl s_client -verify_return_error -CAfile /etc/homelab-provision/tls/ca.crt -verify_ip 127.0.0.1"
        assert "Verification: OK" in machine.sh(f"{known} -connect 127.0.0.1:443 </dev/null 2>/dev/null")
    else:
        machine.sh(f"{known} https://127.0.0.1/api/auth")


@pytest.mark.negative
def test_a_backup_comes_back_and_has_no_password_in_it(machine: Container) -> None:
    machine.sh("homelab-pihole backup && homelab-pihole prove")
    read = 'import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).read("etc/pihole/pihole.toml").decode())'
    toml = f"python3 -c {shlex.quote(read)}"
    kept = machine.sh(f"for file in /nas/pihole-archives/*.zip; do {toml} $file; done")
    assert "nas.home.arpa" in kept
    assert "pwhash" not in kept
    # Everything is lost, and somebody else has set it up anew.
    machine.sh("systemctl stop pihole && rm -r /srv/pihole/etc/* && systemctl start pihole")
    until_it_answers(machine)
    assert ask(machine, "nas.home.arpa") == "NXDOMAIN"
    machine.sh("printf '0.0.0.0 listed.example.net\\n' >/srv/pihole/etc/scenario.list")
    assert '"kind": "error"' not in machine.sh("homelab-pihole restore")
    until_it_answers(machine)
    assert ask(machine, "nas.home.arpa") == ["192.168.50.20"]
    assert ask(machine, "listed.example.net") == ["0.0.0.0"]
    # The session of this is opened with the password that it had all the time.
    machine.sh("homelab-pihole fingerprint")


@pytest.mark.negative
def test_a_spoilt_archive_is_refused(machine: Container) -> None:
    machine.sh("for file in /nas/pihole-archives/*.zip; do echo spoilt >>$file; done")
    for job in ("prove", "restore"):
        assert "is not the archive that was recorded" in machine.sh(f"homelab-pihole {job}", status=1)
