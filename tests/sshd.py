"""A real sshd on a port of this computer, reached as a machine's port 22 is: by the way of a `Door`."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from homelab_provision.doors.ssh import Door, Ssh, opened
from homelab_provision.identity.identities import Identities, KeyPair

PROGRAM = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin") or "/usr/sbin/sshd"
ADDRESS = "127.0.0.1"
AS_ASKED = 'exec sh -c "$SSH_ORIGINAL_COMMAND"'
# Programs of the controller that want port 22 get the server's.
PREFIX = """#!/bin/sh
case $1 in
  ssh-keyscan) shift; exec ssh-keyscan -p {port} "$@" ;;
  nc) exec nc $(echo "$*" | sed -e 's/^nc//' -e 's/ 22$/ {port}/') ;;
esac
"""


@dataclass(frozen=True)
class Server:
    """`asked` holds the commands that it was sent, a line each; `received` what a session has kept of its input."""

    folder: Path
    port: int

    @property
    def asked(self) -> list[str]:
        log = self.folder / "asked"
        return log.read_text().splitlines() if log.exists() else []

    @property
    def received(self) -> bytes:
        log = self.folder / "received"
        return log.read_bytes() if log.exists() else b""

    @property
    def door(self) -> Door:
        prefix = self.folder / "prefix"
        prefix.write_text(PREFIX.format(port=self.port))
        prefix.chmod(0o700)
        return Door((str(prefix),))


@contextmanager
def listening(folder: Path, host_key: KeyPair, login: KeyPair, *, session: str = AS_ASKED) -> Iterator[Server]:
    """A server that shows `host_key` and lets whoever has the key `login` run commands as the user of the tests.

    `session` is the shell script that a session runs.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        port = probe.getsockname()[1]
    files = {
        "host_key": host_key.private,
        "authorized_keys": login.public,
        "run": f"""#!/bin/sh
printf '%s\\n' "$SSH_ORIGINAL_COMMAND" >>{folder}/asked
{session}
""",
        "config": f"""Port {port}
ListenAddress {ADDRESS}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
ForceCommand {folder}/run
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PidFile none
""",
    }
    for name, text in files.items():
        (folder / name).touch(mode=0o700)
        (folder / name).write_text(text)
    if getpass.getuser() == "root":
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen([PROGRAM, "-D", "-e", "-f", folder / "config"], stderr=log) as server,
    ):
        try:
            _wait(port, server)
            yield Server(folder, port)
        finally:
            server.terminate()


@contextmanager
def reached(server: Server, identities: Identities, alias: str) -> Iterator[Ssh]:
    """SSH to the server by the alias, as the user of the tests."""
    with opened(identities.credentials, {alias: ADDRESS}, server.door) as ssh:
        ssh.config_file.write_text(ssh.config_file.read_text().replace("User root", f"User {getpass.getuser()}"))
        yield ssh


def inventory(folder: Path, alias: str, variables: Mapping[str, object]) -> Path:
    """A hosts.yml of one host at the server's address."""
    import yaml

    file = folder / "hosts.yml"
    host = {"ansible_host": ADDRESS, "ansible_user": getpass.getuser(), **variables}
    file.write_text(yaml.safe_dump({"all": {"hosts": {alias: host}}}))
    return file


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex((ADDRESS, port)) == 0:
                return
        assert server.poll() is None, "sshd did not start"
        time.sleep(0.05)
    raise AssertionError("sshd does not answer")
