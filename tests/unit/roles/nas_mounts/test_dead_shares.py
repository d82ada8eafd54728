"""What happens to shares when a host shuts down: those of a dead NAS are let go, and no others."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles import programs

shutdown = programs.shares("__main__")
time_limits = programs.shares("time_limits")

ROLE = programs.ROLES / "nas_mounts"
UNITS = ROLE / "files/root/etc/systemd/system"


def listed(path: str, fstype: str, options: str, device: str = "0:57") -> dict[str, str]:
    """One share as findmnt of Debian 13 tells of it."""
    return {"target": path, "maj:min": f"{device:>7}", "fstype": fstype, "options": options}


DATA = listed("/mnt/data", "nfs4", "rw,nosuid,vers=4.2,hard,clientaddr=192.168.50.10,addr=192.168.50.20")
FILMS = listed("/mnt/a film", "cifs", "rw,vers=3.1.1,username=films,addr=fe80::1%lan,soft", "0:61")


@pytest.fixture
def server() -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield "127.0.0.1", listening.getsockname()[1]


@pytest.fixture
def refusing() -> tuple[str, int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return "127.0.0.1", listening.getsockname()[1]


@pytest.fixture
def mute() -> Iterator[tuple[str, int]]:
    """A server that takes no connection and refuses none, like one that is switched off: its queue is full."""
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        time.sleep(0.1)
        yield "127.0.0.1", listening.getsockname()[1]


def test_a_share_is_known_by_the_kernels_number_and_address() -> None:
    assert list(shutdown.mounted({"filesystems": [DATA, FILMS]})) == [
        shutdown.Share("0:57", ("192.168.50.20", 2049), "/mnt/data"),
        shutdown.Share("0:61", ("fe80::1%lan", 445), "/mnt/a film"),
    ]
    other = listed("/mnt/data", "nfs4", "rw,port=20490,addr=192.168.50.20")
    assert [mount.server for mount in shutdown.mounted({"filesystems": [other]})] == [("192.168.50.20", 20490)]
    assert list(shutdown.mounted({})) == []


def in_use(folder: Path, device: str, address: str, told: str) -> Path:
    """One NFS as `/sys/fs/nfs` of Debian 13 tells of it, where `nfs_client` and `switch` are links; its switch."""
    connection = folder / device / "nfs_client/switch/xprt-1-tcp"
    connection.mkdir(parents=True)
    (connection / "dstaddr").write_text(f"{address}\n")
    (connection / "xprt_info").write_text(told)
    (folder / device / "shutdown").write_text("0\n")
    return folder / device / "shutdown"


def test_a_share_that_was_taken_off_the_tree_is_found_by_its_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutdown, "SWITCHES", tmp_path)
    in_use(tmp_path, "0:57", "192.168.50.20", "last_used=4295172609\nsrc_port=963\ntasks_queuelen=0\ndst_port=20490\n")
    in_use(tmp_path, "0:58", "fe80::1%lan", "<closed>\n")
    (tmp_path / "net/nfs_client").mkdir(parents=True)
    (tmp_path / "0:59").mkdir()
    found = [shutdown.Share("0:57", ("192.168.50.20", 20490)), shutdown.Share("0:58", ("fe80::1%lan", 2049))]
    assert list(shutdown.unmounted(without=set())) == found
    assert list(shutdown.unmounted(without={"0:57"})) == found[1:]


def test_a_dead_share_lets_go_that_is_off_the_tree_and_a_living_one_does_not(
    tmp_path: Path, server: tuple[str, int], refusing: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutdown, "SWITCHES", tmp_path)
    monkeypatch.setattr(shutdown, "PAUSE", 0.05)
    monkeypatch.setattr(shutdown, "_findmnt", dict)
    dead = in_use(tmp_path, "0:57", refusing[0], f"dst_port={refusing[1]}\n")
    living = in_use(tmp_path, "0:58", server[0], f"dst_port={server[1]}\n")
    assert shutdown.main() == 0
    assert (dead.read_text(), living.read_text()) == ("1", "0\n")


@pytest.mark.negative
def test_a_share_without_an_address_is_left_alone() -> None:
    assert list(shutdown.mounted({"filesystems": [listed("/mnt/data", "nfs4", "rw,hard")]})) == []


def test_a_server_is_dead_that_is_mute_or_refuses_at_three_tries(
    server: tuple[str, int], refusing: tuple[str, int], mute: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_limits, "PROBE_SECONDS", 0.5)
    monkeypatch.setattr(shutdown, "PAUSE", 0.05)
    assert shutdown.silent({server, refusing, mute}) == {refusing, mute}
    assert shutdown.silent(set()) == set()


@pytest.mark.negative
def test_one_lost_packet_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = iter([{("nas", 2049): False}, {("nas", 2049): False}, {("nas", 2049): True}])
    monkeypatch.setattr(time_limits, "probe", lambda servers: next(tries))
    monkeypatch.setattr(shutdown, "PAUSE", 0.01)
    assert shutdown.silent({("nas", 2049)}) == set()


def test_requests_fail_before_the_shares_leave_the_tree_the_innermost_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    switches = {device: tmp_path / device / "shutdown" for device in ("0:57", "0:58")}
    for switch in switches.values():
        switch.parent.mkdir()
        switch.write_text("0")

    def run(argv: list[str], _seconds: float) -> None:
        assert [switch.read_text() for switch in switches.values()] == ["1", "1"]
        assert {"--force", "--lazy", "--internal-only", "--no-canonicalize"} <= set(argv)
        ran.append(argv[-1])

    monkeypatch.setattr(shutdown, "SWITCHES", tmp_path)
    monkeypatch.setattr(time_limits, "run", run)
    inner = listed("/mnt/data/inner", "nfs4", DATA["options"], "0:58")
    shutdown.let_go(list(shutdown.mounted({"filesystems": [DATA, inner, FILMS]})))
    assert ran == ["/mnt/a film", "/mnt/data/inner", "/mnt/data"]


# Mounts of a namespace of its own. The kernel here need not know NFS: file systems in memory take the place of shares,
# and a findmnt that says so takes the place of the kernel's list.
SCENE = """set -e
for name in dead living; do mount -t tmpfs "$name" "$1/$name"; touch "$1/$name/file"; done
cd "$1/dead"
PATH="$1:$PATH" "$1/usr/local/libexec/homelab-dead-shares"
cd /
ls "$1/dead" "$1/living"
"""


@pytest.mark.processes
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_the_program_takes_a_dead_share_from_under_its_user_and_leaves_a_living_one(
    tmp_path: Path, server: tuple[str, int], refusing: tuple[str, int]
) -> None:
    shutil.copytree(ROLE / "files/root/usr", tmp_path / "usr")
    shutil.copytree(ROLE / "program", tmp_path / "usr/local/lib/homelab-provision")
    shares = []
    for name, (address, port) in {"dead": refusing, "living": server}.items():
        (tmp_path / name).mkdir()
        shares.append(listed(str(tmp_path / name), "nfs4", f"rw,hard,port={port},addr={address}", "0:0"))
    findmnt = tmp_path / "findmnt"
    findmnt.write_text(f"#!/bin/sh\ncat <<'end'\n{json.dumps({'filesystems': shares})}\nend\n")
    findmnt.chmod(0o755)
    run = subprocess.run(
        ["unshare", "--mount", "sh", "-c", SCENE, "sh", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert run.stdout.splitlines() == [
        f"{tmp_path}/dead: {refusing[0]} does not answer at port {refusing[1]}, letting go",
        f"{tmp_path}/dead:",
        "",
        f"{tmp_path}/living:",
        "file",
    ]


@pytest.mark.processes
def test_the_real_findmnt_knows_what_it_is_asked() -> None:
    answer: dict[str, Any] = shutdown._findmnt()
    assert all(one["fstype"] in shutdown.PORTS for one in answer.get("filesystems", ()))
    words = [*shutdown.FINDMNT, ",".join(shutdown.COLUMNS)]
    words[words.index("--types") + 1] = "proc"
    told = json.loads(subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout)
    assert told["filesystems"][0].keys() == DATA.keys()


def test_the_unit_acts_before_network_and_shares_go_and_holds_up_no_boot() -> None:
    unit = (UNITS / "homelab-dead-shares.service").read_text()
    after = next(line for line in unit.splitlines() if line.startswith("After="))
    # Whoever pulls it in would wait for it, were it not said that it comes after.
    (pulled_in_by,) = [line.partition("=")[2] for line in unit.splitlines() if line.startswith("WantedBy=")]
    assert {"network.target", pulled_in_by} <= set(after.partition("=")[2].split())
    assert "Before=homelab-dead-shares.service" in (UNITS / "mount.d/homelab-dead-shares.conf").read_text()
