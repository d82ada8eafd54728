"""The boot server: whom it answers, what it hears, and that it is gone when we are."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import pytest

from homelab_provision.errors import ProvisionError, Refused
from homelab_provision.image.medium import Announcement, personalisation
from homelab_provision.lab.reach import Wire
from homelab_provision.lab.seat import seat_commands
from homelab_provision.lab.sudo import Privilege
from homelab_provision.site.virtual import LabNetwork
from homelab_provision.ways.netboot import config, http_server, server
from tests.unit.image.test_initramfs import read_archive

MAC, OTHER = "52:54:00:50:70:0b", "52:54:00:00:00:01"
KEY, FALSE_KEY = "ssh-ed25519 AAAAours", "ssh-ed25519 AAAAtheirs"
TOKEN = "a-token"
NEIGHBOURS = "IP address       HW type     Flags       HW address            Mask     Device\n"
WIRE = Wire("lan0", IPv4Interface("192.168.50.2/24"), Privilege(1000, 1000), "hlp-lab-seat")


class Server:
    """The real program, and who asks it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.asked_by(MAC)
        (folder / "kernel").write_bytes(b"a kernel")
        told = {
            "address": "127.0.0.1",
            "port": port,
            "macs": [MAC],
            "token": TOKEN,
            "announce": config.ANNOUNCE,
            "files": {"vmlinuz": str(folder / "kernel")},
            "neighbours": str(folder / "arp"),
        }
        (folder / http_server.SERVED).write_text(json.dumps(told))
        self.program = subprocess.Popen([sys.executable, http_server.__file__, str(folder)], stdin=subprocess.PIPE)
        give_up = time.monotonic() + 60
        while not (folder / http_server.LISTENING).exists():
            assert time.monotonic() < give_up
            time.sleep(0.02)

    def asked_by(self, mac: str) -> None:
        line = f"127.0.0.1        0x1         0x2         {mac.upper()}     *        lan0\n"
        (self.folder / "arp").write_text(NEIGHBOURS + line)

    def ask(self, path: str, data: bytes | None = None) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(f"{self.url}/{path}", data, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, b""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.program.kill()
    made.program.communicate()


@pytest.mark.processes
def test_the_machine_gets_its_files_and_is_heard_once(served: Server) -> None:
    announced = server.Announced(served.folder)
    assert served.ask("vmlinuz") == (200, b"a kernel")
    assert announced.host_key() is None
    assert served.ask(config.ANNOUNCE, f"{TOKEN} {KEY} rescue\n".encode()) == (200, b"")
    assert announced.host_key() == KEY
    # It did not hear our answer, and says it again.
    assert served.ask(config.ANNOUNCE, f"{TOKEN} {KEY}".encode())[0] == 200
    assert announced.host_key() == KEY


@pytest.mark.processes
@pytest.mark.negative
def test_nobody_else_gets_or_says_anything(served: Server) -> None:
    for path in ("", "served.json", "../kernel", "vmlinuz2", config.ANNOUNCE):
        assert served.ask(path)[0] == 404
    for said in ("", TOKEN, f"another {KEY}", f"{TOKEN} ssh-rsa AAAA", f"{TOKEN}{KEY}"):
        assert served.ask(config.ANNOUNCE, said.encode())[0] == 403
    assert served.ask("elsewhere", f"{TOKEN} {KEY}".encode())[0] == 403
    served.asked_by(OTHER)
    assert served.ask("vmlinuz")[0] == 403
    assert served.ask(config.ANNOUNCE, f"{TOKEN} {KEY}".encode())[0] == 403
    assert server.Announced(served.folder).host_key() is None


@pytest.mark.processes
@pytest.mark.negative
def test_two_rescues_for_one_start_stop_the_run(served: Server) -> None:
    for key in (FALSE_KEY, KEY):
        served.ask(config.ANNOUNCE, f"{TOKEN} {key}".encode())
    with pytest.raises(Refused, match="two rescues have announced themselves"):
        server.Announced(served.folder).host_key()


@pytest.mark.processes
def test_it_ends_with_its_input(served: Server) -> None:
    assert served.program.stdin is not None
    served.program.stdin.close()
    assert served.program.wait(30) == 0


LOG = {
    "asked": "dnsmasq-dhcp[7]: 1 PXE(lan0) 52:54:00:50:70:0b proxy\n",
    "has the loader": "dnsmasq-tftp[7]: sent /tmp/x/tftp/bootx64.efi to 192.168.50.102\n",
}


def test_how_far_the_machine_has_come(tmp_path: Path) -> None:
    """What to say when nobody comes: each step that a firewall or a setting can end."""
    announced = server.Announced(tmp_path)
    log, asked = tmp_path / config.LOG, tmp_path / http_server.ASKED
    told = [announced.progress()]
    log.write_text(LOG["asked"])
    told.append(announced.progress())
    log.write_text("".join(LOG.values()))
    told.append(announced.progress())
    for name in (config.KERNEL, config.SITE):
        asked.write_text(asked.read_text() + f"{name}\n" if asked.exists() else f"{name}\n")
        told.append(announced.progress())
    (tmp_path / http_server.ANNOUNCED).write_text(KEY)
    told.append(announced.progress())
    begin = [
        "its firmware has not asked",
        "its firmware has asked, was answered, and took no loader",
        "it has the loader, and has asked for no kernel",
        "it is loading the rescue (vmlinuz last)",
        "it has loaded the rescue",
        "its rescue has announced itself",
    ]
    assert [line[: len(expected)] for line, expected in zip(told, begin, strict=True)] == begin


def test_only_armed_machines_are_answered() -> None:
    text = config.dnsmasq_config(WIRE, (MAC, OTHER), Path("/t"), Path("/f"), "ada")
    told = text.splitlines()
    assert "dhcp-range=192.168.50.0,proxy,255.255.255.0" in told
    assert {f"dhcp-host={MAC},set:armed", f"dhcp-host={OTHER},set:armed", "dhcp-ignore=tag:!armed"} <= set(told)
    # No names, no addresses: those are the router's.
    assert "port=0" in told
    assert [line for line in told if line.startswith("pxe-service")] == [
        f'pxe-service=tag:armed,{number},"homelab-provision rescue",bootx64.efi' for number in (7, 9)
    ]


def test_large_files_come_over_http() -> None:
    text = config.grub_config(WIRE)
    assert "linux (http,192.168.50.2:8470)/vmlinuz console=" in text
    assert "initrd (http,192.168.50.2:8470)/rescue.img (http,192.168.50.2:8470)/site.img\n" in text
    assert text.rstrip().endswith("exit")  # back to the firmware, which goes on with the disk


def test_what_comes_over_the_wire_holds_no_key() -> None:
    announcement = Announcement("http://192.168.50.2:8470/announce", TOKEN)
    files = read_archive(personalisation("ssh-ed25519 AAAA me\n", announcement, "site-1", 300))
    assert [name for name in files if "host" in name] == []
    told = "ANNOUNCE_URL=http://192.168.50.2:8470/announce\nANNOUNCE_TOKEN=a-token\n"
    assert files["etc/rescue/conf"][1].decode() == "RESCUE_ID=site-1\nDEADMAN_SECONDS=300\n" + told


def test_its_programs_are_no_more_than_they_have_to_be() -> None:
    words = " ".join(server.dnsmasq_argv(WIRE, Path("/f/conf")))
    assert words.startswith("sudo -n ip netns exec hlp-lab-seat setpriv --pdeathsig=clear sh -c ")
    assert "--reuid=1000 --regid=1000 --clear-groups" in words
    assert "--pdeathsig=KILL -- dnsmasq --keep-in-foreground --conf-file=/f/conf" in words


def test_the_lab_s_controller_is_not_its_router() -> None:
    lines = [" ".join(argv) for argv in seat_commands(LabNetwork(), Privilege(0, 0))]
    assert lines[0] == "ip netns add hlp-lab-seat"
    assert "ip -n hlp-lab link set seat0 master lan0 up" in lines
    assert "ip -n hlp-lab-seat addr add 192.168.50.2/24 dev lan0" in lines


@pytest.mark.processes
@pytest.mark.negative
@pytest.mark.parametrize(("kind", "port"), [(socket.SOCK_DGRAM, 4011), (socket.SOCK_STREAM, config.HTTP_PORT)])
def test_who_has_the_ports_is_named(kind: Any, port: int) -> None:
    wire = Wire("lo", IPv4Interface("127.0.0.1/8"), Privilege.current())
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", port))
        if kind is socket.SOCK_STREAM:
            taken.listen()
        with pytest.raises(ProvisionError, match=f"port {port} at 127.0.0.1, and it is taken") as refused:
            server.refuse_taken(wire)
        assert f"(process {os.getpid()}) has it" in str(refused.value)
    server.refuse_taken(wire)
