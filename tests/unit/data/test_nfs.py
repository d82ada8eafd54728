"""What libnfs prints, as libnfs 4.0 printed it for a directory of a Debian 13 server."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from homelab_provision.data import nfs
from homelab_provision.data.nfs import Export, NfsError, parse_listing
from homelab_provision.doors.process import Completed, ProcessError
from homelab_provision.doors.ssh import Door

LISTING = """\
drwxr-xr-x  3  2049  2049         4096 pgbackrest
drwxr-xr-x  2  2049  2049         4096 pgbackrest/x
-rw-r--r--  1  2049  2049         4097 pgbackrest/x/f
lrwxrwxrwx  1  2049  2049            1 pgbackrest/latest
drwxr-xr-x  2  2049  2049         4096 postgres
-rw-r--r--  1  2049  2049            6 postgres/a b.json
-rw-r----- 12 65534 65534 123456789012 pgbackrest/large
"""
EXPORT = Export("192.168.50.20", "/srv/backup/db-wyse", Door(("ip", "netns", "exec", "x")))


def test_files_and_their_sizes() -> None:
    assert dict(parse_listing(LISTING)) == {
        "pgbackrest/x/f": 4097,
        "postgres/a b.json": 6,
        "pgbackrest/large": 123456789012,
    }


def test_it_goes_through_the_door_and_asks_for_version_4(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(argv: list[str], **options: Any) -> Completed:
        asked.append(argv)
        return Completed(tuple(argv), 0, LISTING, "", 0.1)

    monkeypatch.setattr(nfs, "run", run)
    assert len(EXPORT.sizes()) == 3
    EXPORT.read("postgres/proof.json")
    assert all(argv[:4] == ["ip", "netns", "exec", "x"] for argv in asked)
    url = "nfs://192.168.50.20/srv/backup/db-wyse"
    assert [argv[4:] for argv in asked[1:]] == [
        ["nfs-ls", "-R", f"{url}?version=4"], ["nfs-cat", f"{url}/postgres/proof.json?version=4"]
    ]  # fmt: skip


@pytest.mark.negative
def test_a_server_that_is_away_and_one_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nfs, "run", lambda argv, **options: Completed(tuple(argv), 1, "", "", 3.0))
    with pytest.raises(NfsError, match=r"192.168.50.20 does not answer \(NFS, port 2049\)"):
        EXPORT.sizes()

    def refuse(argv: list[str], **options: Any) -> Completed:
        if "nc" in argv:
            return Completed(tuple(argv), 0, "", "", 0.1)
        raise ProcessError("failed", returncode=254, stderr="NFS4ERR_ACCESS(-13)")

    monkeypatch.setattr(nfs, "run", refuse)
    with pytest.raises(NfsError, match="does not let us look") as refused:
        EXPORT.sizes()
    assert refused.value.evidence == "NFS4ERR_ACCESS(-13)"


def test_a_server_that_wants_to_be_asked_again_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """As nfsd of Debian 13 did, a moment after a host had written what is listed."""
    delay = 'Failed to opendir("/stacks") opendir call failed with "NFS4: (path /stacks) failed with NFS4ERR_DELAY(-5)"'
    told = iter([delay, "failed with NFS4ERR_GRACE(-13)", ""])

    def run(argv: list[str], **options: Any) -> Completed:
        if error := next(told, delay):
            raise ProcessError("failed", returncode=1, stderr=error)
        return Completed(tuple(argv), 0, "text", "", 0.1)

    monkeypatch.setattr(nfs, "run", run)
    monkeypatch.setattr(nfs, "PAUSE", 0.001)
    assert EXPORT.read("postgres/proof.json") == "text"
    monkeypatch.setattr(nfs, "LATER_SECONDS", 0.01)
    with pytest.raises(NfsError) as refused:
        EXPORT.read("postgres/proof.json")
    assert refused.value.evidence == delay


@pytest.mark.negative
@pytest.mark.processes
def test_nobody_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed port of this computer, really knocked at."""
    monkeypatch.setattr(nfs, "PORT", 1)
    assert subprocess.run(["nc", "-z", "127.0.0.1", "1"], check=False).returncode == 1
    with pytest.raises(NfsError, match="does not answer"):
        Export("127.0.0.1", "/srv", Door()).sizes()
