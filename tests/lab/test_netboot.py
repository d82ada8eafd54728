"""The way without hands: firmware asks the network, and one machine is answered, for as long as a rebuild waits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from homelab_provision import paths
from homelab_provision.errors import ExitCode
from homelab_provision.events import discard
from homelab_provision.lab.seat import seat_address, seat_name
from homelab_provision.operators import operator_called
from homelab_provision.site.loading import load_site
from tests.lab.conftest import Homelab
from tests.lab.test_rebuild import DECOYS, HOST, assert_proven

pytestmark = pytest.mark.lab

ARMED, STRANGER = "52:54:00:50:70:0b", "52:54:00:50:70:0a"
# Who asks as firmware does (PXE over IPv4, x64), and prints which server offers what: addresses, or to be asked for a
# loader, which it does by calling itself `PXEClient`.
ASK = """
import json, os, socket, struct, sys, time
interface, mac, seconds = sys.argv[1], bytes.fromhex(sys.argv[2].replace(":", "")), float(sys.argv[3])
def option(code, value):
    return bytes([code, len(value)]) + value
asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for name in (socket.SO_REUSEADDR, socket.SO_BROADCAST):
    asked.setsockopt(socket.SOL_SOCKET, name, 1)
asked.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + bytes(1))
asked.bind(("", 68))
asked.settimeout(0.5)
number = os.urandom(4)
head = struct.pack("!BBBB4sHH16x16s64x128x", 1, 1, 6, 0, number, 0, 0x8000, mac)
words = [option(53, b"\\x01"), option(60, b"PXEClient:Arch:00007:UNDI:003016"), option(93, b"\\x00\\x07")]
words += [option(94, b"\\x01\\x03\\x10"), option(55, bytes([1, 3, 43, 54, 60, 66, 67])), option(97, bytes(17))]
message = head + b"\\x63\\x82\\x53\\x63" + b"".join(words) + b"\\xff"
offers, end = {}, time.monotonic() + seconds
while time.monotonic() < end:
    asked.sendto(message, ("255.255.255.255", 67))
    again = time.monotonic() + 2
    while time.monotonic() < again:
        try:
            answer = asked.recv(2048)
        except TimeoutError:
            continue
        if answer[4:8] != number:
            continue
        found, at = {}, 240
        while at < len(answer) and answer[at] != 255:
            if answer[at] == 0:
                at += 1
                continue
            found[answer[at]] = answer[at + 2 : at + 2 + answer[at + 1]]
            at += 2 + answer[at + 1]
        offers[socket.inet_ntoa(found[54])] = found.get(60, b"an address").decode()
print(json.dumps(offers))
"""
# What a card does that is to wake its machine: it looks for its MAC, sixteen times, after six bytes of ones.
SLEEP = """
import socket, sys
card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
card.bind((sys.argv[1], 0))
card.settimeout(20)
print("sleeps", flush=True)
while b"\\xff" * 6 + bytes.fromhex(sys.argv[2].replace(":", "")) * 16 not in card.recv(2048):
    pass
print("woken", flush=True)
"""
# A rebuild's boot phase alone, as far as the server is concerned; it serves until it is killed.
SERVE = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from homelab_provision.lab import reach
from homelab_provision.site.loading import load_site
from homelab_provision.ways.netboot import server
site, rescue, mac = load_site(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3]
found = SimpleNamespace(directory=rescue, kernel=rescue / "vmlinuz", initrd=rescue / "rescue.img")
start = SimpleNamespace(
    machine=SimpleNamespace(passport=SimpleNamespace(macs=(mac,))),
    rescue=found,
    identity=SimpleNamespace(controller=SimpleNamespace(public="ssh-ed25519 AAAA")),
    medium=SimpleNamespace(rescue_id="lab-1"),
)
with reach.wire(site) as wire, server.serving(wire, start):
    print("serves", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def homelab(homelab: Homelab) -> Homelab:
    homelab.edit("plays: db-wyse", f"plays: {HOST}")
    return homelab


@pytest.fixture
def rescue(tmp_path: Path) -> Path:
    """Files of the names that a rescue has; what is in them nobody starts here."""
    folder = tmp_path / "rescue"
    folder.mkdir()
    for name in ("BOOTX64.EFI", "grubnetx64.efi", "vmlinuz", "rescue.img"):
        (folder / name).write_text(name)
    return folder


@contextmanager
def serving(homelab: Homelab, rescue: Path) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", SERVE, str(homelab.site), str(rescue), ARMED]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "serves\n"
        yield program
        if program.poll() is None:
            program.communicate()


def offers(homelab: Homelab, mac: str, seconds: float = 4) -> dict[str, str]:
    """Who offers what to a machine on the lab's network that asks."""
    words = ["ip", "netns", "exec", f"{homelab.lab.network.namespace}-probe", sys.executable, "-c", ASK]
    done = subprocess.run([*words, "probe0", mac, str(seconds)], capture_output=True, text=True, check=True)
    told: dict[str, str] = json.loads(done.stdout)
    return told


@pytest.fixture
def probed(homelab: Homelab) -> Iterator[Homelab]:
    """A lab that is up, with a card on its network that has no address yet."""
    homelab.done("lab", "up")
    lab = homelab.lab.network
    probe = f"{lab.namespace}-probe"
    for line in (
        f"netns add {probe}",
        f"link add probe0 netns {probe} type veth peer name probe1 netns {lab.namespace}",
        f"-n {lab.namespace} link set probe1 master {lab.bridge} up",
        f"-n {probe} link set probe0 up",
    ):
        subprocess.run(["ip", *line.split()], check=True)
    yield homelab
    subprocess.run(["ip", "netns", "delete", probe], check=True)


def test_one_machine_is_answered_for_as_long_as_it_is_served(probed: Homelab, rescue: Path) -> None:
    network = probed.lab.network
    router, controller = str(network.router.ip), str(seat_address(network).ip)
    alone = {router: "an address"}
    with serving(probed, rescue):
        # The router's DHCP is what it was.
        assert offers(probed, ARMED) == alone | {controller: "PXEClient"}
        assert offers(probed, STRANGER) == alone
    assert offers(probed, ARMED) == alone


def test_a_killed_controller_serves_nobody(probed: Homelab, rescue: Path) -> None:
    seat = seat_name(probed.lab.network)
    with serving(probed, rescue) as program:
        (watcher,) = (int(each) for each in programs_in(seat) if name_of(each) == "sh")
        # On a busy computer its turn comes late.
        os.kill(watcher, signal.SIGSTOP)
        os.kill(program.pid, signal.SIGKILL)
        program.wait()
        os.kill(watcher, signal.SIGCONT)
        give_up = time.monotonic() + 10
        while left := programs_in(seat):
            assert time.monotonic() < give_up, left
            time.sleep(0.1)
    assert list(offers(probed, ARMED).values()) == ["an address"]
    # The next one takes its place.
    with serving(probed, rescue):
        assert "PXEClient" in offers(probed, ARMED).values()


def test_a_packet_comes_for_a_card_that_sleeps(probed: Homelab, tmp_path: Path) -> None:
    """Which has no address: it is meant by its MAC, wherever that stands in a packet to everybody."""
    listener = ["ip", "netns", "exec", f"{probed.lab.network.namespace}-probe", sys.executable, "-c", SLEEP]
    with subprocess.Popen([*listener, "probe0", ARMED], stdout=subprocess.PIPE, text=True) as sleeper:
        assert sleeper.stdout is not None
        assert sleeper.stdout.readline() == "sleeps\n"
        site = load_site(probed.site)
        operator_called("wol")(site, tmp_path / "console", discard, no_host).start_from_network(site.machine("wyse-b"))
        assert sleeper.stdout.readline() == "woken\n"
        assert sleeper.wait() == 0


def no_host(host: str, argv: Sequence[str], input: str, deadline: float) -> None:
    raise AssertionError(f"{host} is asked")


def programs_in(namespace: str) -> list[str]:
    return subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=True).stdout.split()


def name_of(process: str) -> str:
    return Path("/proc", process, "comm").read_text().strip()


def test_a_blank_spare_is_rebuilt_over_the_network(homelab: Homelab) -> None:
    spare = homelab.machine("wyse-b")
    spare.make_disks()
    before = {name: spare.digest(name) for name in DECOYS}
    done = homelab.run("rebuild", HOST, "--onto", "wyse-b", "--way", "netboot", "--yes", "--confirm-code")
    assert done.returncode == ExitCode.DONE, done.stderr
    assert_proven(homelab)
    boot = next(phase for phase in homelab.latest()["phases"] if phase["name"] == "boot")
    key = (paths.runs() / "latest" / "rescue_key").read_text()
    assert key.split()[1].endswith(boot["proof"]["host_key"])  # its own, made for this start
    assert not Path("/run/netns", seat_name(homelab.lab.network)).exists()
    spare.power_off()
    assert {name: spare.digest(name) for name in DECOYS} == before
