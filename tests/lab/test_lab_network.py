"""A real lab, in a namespace of its own: it comes up, a machine runs in it, and nothing of it stays."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from homelab_provision.errors import ProvisionError
from homelab_provision.lab.lab import Lab
from homelab_provision.lab.netns import find_uplink, running_namespaces
from homelab_provision.lab.network import outer_name, table_name
from homelab_provision.lab.qemu import Accel
from homelab_provision.lab.qmp import Qmp
from homelab_provision.lab.sudo import Privilege
from homelab_provision.site.virtual import LabMachine, LabNetwork

pytestmark = pytest.mark.lab

NETWORK = LabNetwork.model_validate({"namespace": "hlp-test-net", "router": "192.168.50.1/24"})
WHO = Privilege.current()
MAC = "52:54:00:5e:57:01"
BOX = LabMachine.model_validate(
    {
        "smbios": {"serial": "TEST001"},
        "mac": MAC,
        "memory_mib": 512,
        "disks": [
            {"name": "system", "serial": "BLANK1", "size_bytes": "64 MiB"},
            {"name": "photos", "serial": "DECOY1", "size_bytes": "64 MiB", "bus": "usb", "content": "decoy"},
        ],
    }
)


def shell(*argv: str) -> str:
    return subprocess.run(WHO.root(*argv), check=True, capture_output=True, text=True, timeout=30).stdout


def inside(*argv: str) -> str:
    return shell("ip", "netns", "exec", NETWORK.namespace, *argv)


def host_traces() -> dict[str, object]:
    """Everything on the host that a lab may touch."""
    uplink = find_uplink(NETWORK)
    forwarding = [f"net/ipv4/conf/{uplink.interface}/forwarding"] if uplink else []
    return {
        "links": sorted(re.findall(r"hlpv\w+", shell("ip", "-o", "link"))),
        "tables": sorted(re.findall(r"lab_\w+", shell("nft", "list", "tables"))),
        "forwarding": shell("sysctl", "net.ipv4.ip_forward", *forwarding),
        "namespace": NETWORK.namespace in shell("ip", "netns", "list").split(),
        "accepts": "hlp-test-net" in shell("sh", "-c", "iptables -S FORWARD 2>/dev/null || true"),
    }


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    # A long path on purpose: longer than a unix socket's address can be.
    state = tmp_path / ("a-long-way-down-" * 6)
    lab = Lab(NETWORK, {"box": BOX}, {MAC: IPv4Address("192.168.50.77")}, state, Accel.TCG)
    yield lab
    lab.down()


def until(seconds: float, question: str, answer: object) -> None:
    end = time.monotonic() + seconds
    assert callable(answer)
    while not answer():
        assert time.monotonic() < end, f"not within {seconds} s: {question}"
        time.sleep(0.2)


def test_nothing_of_a_lab_stays(lab: Lab) -> None:
    before = host_traces()
    assert not lab.is_up()
    lab.up()
    assert lab.is_up()
    assert NETWORK.namespace in running_namespaces(WHO)
    there = host_traces()
    assert outer_name(NETWORK) in str(there["links"])
    assert table_name(NETWORK) in str(there["tables"])
    assert lab.down() is not None
    assert host_traces() == before
    assert not lab.is_up()
    assert lab.down() == ()  # twice is fine


def test_up_twice_changes_nothing_and_completes_what_is_missing(lab: Lab) -> None:
    lab.up()
    server = shell("ip", "netns", "pids", NETWORK.namespace).split()
    addresses = inside("ip", "-o", "-4", "addr")
    assert lab.up() == ()
    assert inside("ip", "-o", "-4", "addr") == addresses
    assert shell("ip", "netns", "pids", NETWORK.namespace).split() == server
    inside("ip", "link", "delete", "tap-box")
    subprocess.run(WHO.root("kill", "-9", *server), check=True)
    until(5, "the DHCP server is gone", lambda: not lab.is_up())
    lab.up()
    assert lab.is_up()
    assert "tap-box" in inside("ip", "-br", "link")


def test_a_machine_runs_and_its_power_can_be_cut(lab: Lab) -> None:
    box = lab.machine("box")
    with pytest.raises(ProvisionError, match="not up"):
        box.power_on()
    lab.up()
    box.power_on()
    pid = box.pid
    assert pid is not None
    with Qmp(box.folder / "qmp.sock") as qmp:
        assert qmp.execute("query-status")["status"] == "running"
    with pytest.raises(ProvisionError, match="already on"):
        box.power_on()
    # The firmware speaks on the serial port: there is nothing to boot on a blank disk, and it says so.
    until(90, "the firmware looks for something to boot", lambda: "BdsDxe" in box.console_tail(500))
    row = lab.status()[0]
    assert (row.name, row.on, row.pid, row.address) == ("box", True, pid, IPv4Address("192.168.50.77"))
    before = box.digest("photos")
    box.power_off()
    assert not box.is_on()
    assert not Path(f"/proc/{pid}/exe").exists()
    assert box.digest("photos") == before
    box.power_off()  # twice is fine
    box.power_on()  # and it can be switched on again, with a console log of its own
    assert "BdsDxe" not in box.console_tail(500)


def test_a_stick_comes_and_goes_while_the_machine_runs(lab: Lab, tmp_path: Path) -> None:
    stick = tmp_path / "stick.img"
    stick.write_bytes(bytes(2**20))
    lab.up()
    box = lab.machine("box")
    box.power_on(stick=stick)
    assert box.stick() == stick
    # Unplugging needs no driver in the machine; its firmware may be anywhere.
    box.remove_stick()
    assert box.stick() is None
    box.remove_stick()
    box.insert_stick(stick)
    assert box.stick() == stick
    box.reset()
    box.set_link(False)
    box.set_link(True)
    assert box.bytes_written("system") == 0
    with pytest.raises(ProvisionError, match="wrote only 0"):
        box.power_cut_after("system", 1, deadline=0.5)
    assert box.is_on()


def test_a_number_in_a_pid_file_is_not_believed(lab: Lab) -> None:
    lab.up()
    box = lab.machine("box")
    with subprocess.Popen(["sleep", "60"]) as stranger:
        box.folder.mkdir(parents=True, exist_ok=True)
        (box.folder / "qemu.pid").write_text(f"{stranger.pid}\n")
        assert not box.is_on()
        box.power_off()
        assert stranger.poll() is None
        stranger.kill()


# Asks for an address as a machine does, and prints the one that is offered, the router and the name server.
DISCOVER = """
import socket, struct, sys
mac, client_id = bytes.fromhex(sys.argv[1].replace(":", "")), sys.argv[2].encode()
ask = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ask.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
ask.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
ask.bind(("", 68))
ask.settimeout(10)
head = struct.pack("!BBBBIHH16x16s192x", 1, 1, 6, 0, 77, 0, 0x8000, mac)
options = bytes([53, 1, 1, 61, len(client_id) + 1, 0]) + client_id + bytes([55, 2, 3, 6, 255])
ask.sendto(head + b"\\x63\\x82\\x53\\x63" + options, ("255.255.255.255", 67))
offer = ask.recv(2000)
found, rest = {}, offer[240:]
while rest[0] != 255:
    found[rest[0]], rest = rest[2:2 + rest[1]], rest[2 + rest[1]:]
print(*(socket.inet_ntoa(raw) for raw in (offer[16:20], found[3], found[6])))
"""


@pytest.fixture
def client(lab: Lab) -> Iterator[str]:
    """Another computer on the lab's wire, with the box's MAC: a namespace of its own."""
    lab.up()
    name = "hlp-test-client"
    shell("ip", "netns", "add", name)
    try:
        inside("ip", "link", "add", "wire", "type", "veth", "peer", "name", "eth0", "address", MAC, "netns", name)
        inside("ip", "link", "set", "wire", "master", NETWORK.bridge, "up")
        shell("ip", "-n", name, "link", "set", "eth0", "up")
        yield name
    finally:
        shell("ip", "netns", "delete", name)


def test_the_reserved_address_goes_to_the_mac_whatever_it_calls_itself(client: str) -> None:
    for client_id in ("the-rescue", "the-installed-system"):
        offer = shell("ip", "netns", "exec", client, "python3", "-c", DISCOVER, MAC, client_id).split()
        assert offer == ["192.168.50.77", "192.168.50.1", "192.168.50.1"]


def test_a_stranger_gets_an_address_of_the_range(client: str) -> None:
    offer = shell("ip", "netns", "exec", client, "python3", "-c", DISCOVER, "52:54:00:00:00:99", "stranger").split()
    first, last = NETWORK.leases
    assert first <= IPv4Address(offer[0]) <= last


def test_a_lab_without_outside_has_no_way_out(tmp_path: Path) -> None:
    alone = NETWORK.model_copy(update={"outside": False})
    open_lab, closed_lab = (Lab(network, {}, {}, tmp_path / "state", Accel.TCG) for network in (NETWORK, alone))
    try:
        open_lab.up()
        assert outer_name(NETWORK) in str(host_traces()["links"])
        closed_lab.up()
        assert outer_name(NETWORK) not in str(host_traces()["links"])
        assert "default" not in inside("ip", "route")
    finally:
        closed_lab.down()
