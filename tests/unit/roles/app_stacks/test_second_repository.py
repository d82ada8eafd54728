"""The second repository: a real rest-server that lets nobody delete, with TLS and a password; the share may be dead."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.roles.app_stacks.host import Host, needs_restic

pytestmark = [pytest.mark.processes, needs_restic]
SERVER = shutil.which("restic-rest-server") or shutil.which("rest-server")


class Elsewhere:
    def __init__(self, folder: Path) -> None:
        self.folder, self.kept = folder, folder / "kept"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.kept.mkdir(parents=True)
        digest = base64.b64encode(hashlib.sha1(b"sesame").digest()).decode()
        (folder / "passwords").write_text(f"host:{{SHA}}{digest}\n")
        (folder / "environment").write_text("RESTIC_REST_USERNAME=host\nRESTIC_REST_PASSWORD=sesame\n")
        words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-days", "2", "-subj", "/CN=elsewhere", "-addext", "subjectAltName=IP:127.0.0.1",
                 "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"]  # fmt: skip
        subprocess.run(words, check=True, capture_output=True)
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert SERVER
        words = [SERVER, "--append-only", f"--path={self.kept}", f"--listen=127.0.0.1:{self.port}", "--tls",
                 f"--tls-cert={self.folder}/cert.pem", f"--tls-key={self.folder}/key.pem",
                 f"--htpasswd-file={self.folder}/passwords"]  # fmt: skip
        with (self.folder / "log").open("wb") as log:
            self.child = subprocess.Popen(words, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> None:
        if self.child:
            self.child.kill()
            self.child.wait()
            self.child = None


@pytest.fixture
def elsewhere(host: Host, tmp_path: Path) -> Iterator[Elsewhere]:
    if not SERVER:
        pytest.skip("no rest-server on this computer (since Debian 13: apt-get install restic-rest-server)")
    made = Elsewhere(tmp_path / "elsewhere")
    made.start()
    host.setup["second"] = {
        "repository": f"rest:https://127.0.0.1:{made.port}/site",
        "environment_file": str(made.folder / "environment"),
        "certificate": str(made.folder / "cert.pem"),
    }
    yield made
    made.stop()


def test_everything_comes_back_from_elsewhere_when_the_share_is_dead(host: Host, elsewhere: Elsewhere) -> None:
    first = host.backup()
    host.write("notes", 5)
    second = host.backup()["label"]
    shutil.rmtree(host.share)
    host.mount(False)
    shutil.rmtree(host.folder / "cache")
    host.data.rename(host.folder / "gone")
    assert host.run("restore", "--from", "second").result["label"] == second
    assert (host.rows("notes"), host.rows("wiki")) == (5, 3)
    result = host.run("restore", "--from", "second", "--stack", "notes", "--to", first["finished"]).result
    assert (result["label"], host.rows("notes")) == (first["label"], 3)
    assert result["fingerprint"] == {"notes": {"rows": "3"}}
    assert "does not go with --from second" in host.run(
        "restore", "--from", "second", "--label", second, "--record", "0" * 64
    ).error["message"]  # fmt: skip


def test_nothing_is_forgotten_elsewhere(host: Host, elsewhere: Elsewhere) -> None:
    host.backup(keep_all=False)
    host.backup(keep_all=False)
    assert len(host.labels()) == 1
    assert len(list(elsewhere.kept.glob("site/snapshots/*"))) == 6
    assert not list(elsewhere.kept.glob("site/locks/*"))


@pytest.mark.negative
def test_one_that_is_away_leaves_the_backup_on_the_share(host: Host, elsewhere: Elsewhere) -> None:
    elsewhere.stop()
    error = host.run("backup").error
    (label,) = host.labels()
    assert f"the backup {label} is complete on the share, but the second repository did not get it" in error["message"]
    elsewhere.start()
    host.backup()
    assert len(list(elsewhere.kept.glob("site/snapshots/*"))) == 3


@pytest.mark.negative
@pytest.mark.parametrize("wrong", ["password", "certificate"])
def test_who_is_not_known_there_gets_nothing(host: Host, elsewhere: Elsewhere, wrong: str) -> None:
    if wrong == "password":
        (elsewhere.folder / "environment").write_text("RESTIC_REST_USERNAME=host\nRESTIC_REST_PASSWORD=secret-x\n")
    else:
        host.setup["second"]["certificate"] = None
    answer = host.run("backup")
    assert "did not get it" in answer.error["message"]
    assert "secret-x" not in json.dumps(answer.lines)
    assert not list(elsewhere.kept.glob("site/*"))


@pytest.mark.negative
def test_its_password_is_on_no_command_line(host: Host, elsewhere: Elsewhere) -> None:
    """restic in between is a script that writes its words down."""
    real = shutil.which("restic")
    (host.folder / "bin/restic").write_text(f'#!/bin/sh\necho "$@" >>{host.folder}/words\nexec {real} "$@"\n')
    (host.folder / "bin/restic").chmod(0o755)
    host.backup()
    said = (host.folder / "words").read_text()
    assert "copy --from-repo" in said
    assert "sesame" not in said
    assert "a-key-of" not in said


def test_a_folder_will_do_as_well(host: Host, tmp_path: Path) -> None:
    """Without a server, on Debian 12 too: the record comes out of it, and its snapshots have ids of their own."""
    host.setup["second"] = {"repository": str(tmp_path / "two"), "environment_file": None, "certificate": None}
    label = host.backup()["label"]
    host.write("wiki", 7)
    host.mount(False)
    assert host.run("restore", "--from", "second").result["label"] == label
    assert host.rows("wiki") == 3
    (host.folder / "key").write_text("another-key-of-32-characters-xxx\n")
    assert "made with another key" in host.run("restore", "--from", "second").error["hint"]
