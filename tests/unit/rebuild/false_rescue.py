"""A real SSH server on the loopback that takes itself for the rescue, and writes down all that it is told."""

from __future__ import annotations

import getpass
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from homelab_provision.identity import Identities, KeyPair
from homelab_provision.ssh import RESCUE, Door, Ssh, opened

# The program has to be named by its path: it starts itself again.
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin") or "/usr/sbin/sshd"
CODE, BOOT_ID = "BCDF-GHJK", "11111111-2222-4333-8444-555555555555"


@dataclass(frozen=True)
class FalseRescue:
    """`asked`: the commands that it was sent; `received`: what came after them on their standard input."""

    folder: Path
    port: int

    def asked(self) -> list[str]:
        log = self.folder / "asked"
        return log.read_text().splitlines() if log.exists() else []

    def received(self) -> bytes:
        log = self.folder / "received"
        return log.read_bytes() if log.exists() else b""


@contextmanager
def listening(
    folder: Path, key: KeyPair, controller: KeyPair, *, code: str = CODE, boot_id: str = BOOT_ID
) -> Iterator[FalseRescue]:
    """A server with this host key, into which the controller may log in."""
    folder.mkdir(mode=0o700, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, text in (("key", key.private), ("authorized", controller.public + "\n"), ("code", code + "\n"),
                       ("boot_id", boot_id + "\n"), ("release", "a rescue\n")):  # fmt: skip
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(text)
    session = folder / "session"
    session.write_text(
        f"""#!/bin/sh
printf '%s\\n' "$SSH_ORIGINAL_COMMAND" >>{folder}/asked
tee -a {folder}/received | sh -c "$(printf '%s' "$SSH_ORIGINAL_COMMAND" | sed \
    -e 's#/run/rescue/code#{folder}/code#' -e 's#/etc/rescue/release#{folder}/release#' \
    -e 's#/proc/sys/kernel/random/boot_id#{folder}/boot_id#')"
"""
    )
    session.chmod(0o700)
    settings = (
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/key\nAuthorizedKeysFile {folder}/authorized\n"
        f"StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nForceCommand {session}\n"
    )
    (folder / "config").write_text(settings)
    Path("/run/sshd").mkdir(exist_ok=True) if getpass.getuser() == "root" else None
    with subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "config"], stderr=(folder / "log").open("w")) as server:
        try:
            _wait(server, port, folder / "log")
            yield FalseRescue(folder, port)
        finally:
            server.terminate()


@contextmanager
def at(rescue: FalseRescue, identities: Identities) -> Iterator[Ssh]:
    """The controller's way to it: port 22 of the rescue's address is the server's port."""
    prefix = rescue.folder / "prefix"
    prefix.write_text(
        f"""#!/bin/sh
case $1 in
    ssh-keyscan) shift; exec ssh-keyscan -p {rescue.port} "$@" ;;
    nc) exec nc $(echo "$*" | sed -e 's/^nc//' -e 's/ 22$/ {rescue.port}/') ;;
esac
"""
    )
    prefix.chmod(0o700)
    with opened(identities, {RESCUE: "127.0.0.1"}, Door((str(prefix),))) as ssh:
        ssh.config_file.write_text(ssh.config_file.read_text().replace("User root", f"User {getpass.getuser()}"))
        yield ssh


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(200):
        if server.poll() is not None:
            raise AssertionError(f"{shlex.join(map(str, server.args))}: {log.read_text()}")  # type: ignore[arg-type]
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("the server does not listen")
