"""Who is not let in, and what a broken firewall still keeps out: tried on a host that nobody uses."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.container import Container

FRAGMENTS = "/etc/nftables.d"
OPENED, CLOSED = 4711, 4712


class Machine(Container):
    """A host, and how it is asked from outside."""

    def knock(self, account: str, command: str = "id -un") -> subprocess.CompletedProcess[str]:
        """Log in with the key that every account had let in."""
        options = "-o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=/root/known -i /root/probe"
        known = 'echo "127.0.0.1 $(cat /etc/ssh/ssh_host_ed25519_key.pub)" >/root/known'
        return self.run(f"{known}; ssh {options} {account}@127.0.0.1 {command}")

    def answers(self, port: int) -> bool:
        address = self.sh("hostname -I | cut -d' ' -f1")
        with socket.socket() as probe:
            probe.settimeout(3)
            return probe.connect_ex((address, port)) == 0


@pytest.fixture(scope="session")
def machine(request: pytest.FixtureRequest) -> Machine:
    return Machine.of(request.config)


def test_root_has_its_key_from_its_own_home(machine: Machine) -> None:
    came = machine.knock("root")
    assert (came.returncode, came.stdout.strip()) == (0, "root"), came.stderr


@pytest.mark.parametrize("account", ["left", "service", "ada"])
def test_a_key_in_a_home_directory_opens_nothing(machine: Machine, account: str) -> None:
    machine.sh(
        f"home=$(getent passwd {account} | cut -d: -f6); mkdir -p -m 0700 $home/.ssh;"
        " cp /root/probe.pub $home/.ssh/authorized_keys; chown -R --reference=$home $home/.ssh"
    )
    came = machine.knock(account)
    assert came.returncode == 255
    assert "Permission denied (publickey)" in came.stderr


def test_who_is_not_in_the_list_has_nothing_left(machine: Machine) -> None:
    assert machine.sh("id -nG left") == "left"
    assert machine.sh("passwd --status left").split()[1] == "L"
    assert machine.run("su left -c true").returncode != 0
    assert machine.run("pgrep --uid left").stdout == ""
    assert machine.run("test -e /var/lib/systemd/linger/left").returncode == 1
    assert machine.sh("stat -c %U /home/left") == "left"  # the files stay


def test_a_key_that_root_wrote_for_an_expired_account_opens_nothing_either(machine: Machine) -> None:
    machine.sh("cp /root/probe.pub /etc/ssh/authorized_keys.d/left")
    try:
        assert machine.knock("left").returncode == 255
    finally:
        machine.sh("rm /etc/ssh/authorized_keys.d/left")


def test_services_keep_what_their_role_gave_them(machine: Machine) -> None:
    assert machine.run("su service -c true").returncode == 0


# ---- the firewall ------------------------------------------------------------------------------------------------


@pytest.fixture
def listeners(machine: Machine) -> Iterator[None]:
    """Somebody listens at both ports."""
    for port in (OPENED, CLOSED):
        machine.sh(f"systemd-run --quiet --collect --unit=listen-{port} python3 -m http.server {port}")
        answer = f"import socket; socket.create_connection(('127.0.0.1', {port}))"
        machine.sh(f'for _ in $(seq 100); do python3 -c "{answer}" 2>/dev/null && exit 0; sleep 0.1; done; exit 1')
    yield
    machine.sh(f"systemctl stop listen-{OPENED} listen-{CLOSED}")


@pytest.fixture
def broken(machine: Machine) -> Iterator[None]:
    """Three files that do not load, each for a reason of its own, and one that does."""
    rules = {
        "10-missing-set": "ip saddr @nowhere tcp dport 1 accept",
        "20-name": "ip saddr no-such-host.invalid tcp dport 2 accept",
        "30-good": f"tcp dport {OPENED} accept",
        "40-words": "let everybody in",
    }
    for name, rule in rules.items():
        text = f"table inet homelab {{ chain services {{ {rule}; }}; }}"
        machine.sh(f"echo '{text}' >{FRAGMENTS}/{name}.nft")
    yield
    machine.sh(f"cd {FRAGMENTS}; rm {' '.join(f'{name}.nft' for name in rules)}; systemctl restart nftables.service")


@pytest.mark.parametrize("how", ["restart", "reload"])
def test_a_file_that_does_not_load_costs_only_itself(machine: Machine, listeners: None, broken: None, how: str) -> None:
    machine.sh("systemctl start nftables.service")
    machine.sh(f"systemctl {how} nftables.service")
    assert machine.answers(OPENED)
    assert not machine.answers(CLOSED)
    assert machine.answers(22)
    failed = machine.sh("cat /run/homelab-firewall.failed")
    assert [line.split(":")[0].rsplit("/", 1)[1] for line in failed.splitlines()] == [
        "10-missing-set.nft",
        "20-name.nft",
        "40-words.nft",
    ]
    assert "no-such-host.invalid" in failed
    said = machine.sh("journalctl --unit=nftables.service --boot --output=cat")
    assert f"{FRAGMENTS}/10-missing-set.nft is not loaded" in said


def test_without_a_base_that_loads_everything_is_closed_but_ssh(machine: Machine, listeners: None) -> None:
    machine.sh("cp -p /etc/nftables.conf /root/kept; echo nonsense >/etc/nftables.conf")
    try:
        assert machine.run("systemctl restart nftables.service").returncode != 0
        assert not machine.answers(CLOSED)
        assert not machine.answers(OPENED)
        assert machine.answers(22)
    finally:
        machine.sh("cp -p /root/kept /etc/nftables.conf; systemctl restart nftables.service")


def test_a_reload_opens_no_window(machine: Machine, listeners: None) -> None:
    """A new base and its files come in one transaction: at no moment does the chain accept what it should drop."""
    machine.sh(
        "systemd-run --quiet --collect --unit=reloads sh -c"
        " 'for i in 1 2 3 4 5 6 7 8; do systemctl reload nftables.service; done'"
    )
    for _ in range(3):
        assert not machine.answers(CLOSED)
    assert "policy drop" in machine.sh("nft list chain inet homelab input")


def test_other_tables_stay(machine: Machine) -> None:
    machine.sh("nft add table inet others; systemctl restart nftables.service; systemctl reload nftables.service")
    assert "table inet others" in machine.sh("nft list tables; nft delete table inet others")
