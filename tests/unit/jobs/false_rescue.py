"""A real SSH server on the loopback that takes itself for the rescue, and writes down all that it is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from homelab_provision.doors.ssh import RESCUE, Ssh
from homelab_provision.identity.identities import Identities, KeyPair
from tests import sshd

CODE, BOOT_ID = "BCDF-GHJK", "11111111-2222-4333-8444-555555555555"


@contextmanager
def listening(
    folder: Path, key: KeyPair, controller: KeyPair, *, code: str = CODE, boot_id: str = BOOT_ID
) -> Iterator[sshd.Server]:
    """A server with this host key, into which the controller may log in; where a rescue has its code, its release and
    its boot id, it has those."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, text in (("code", code), ("boot_id", boot_id), ("release", "a rescue")):
        (folder / name).write_text(f"{text}\n")
    edit = (
        f"sed -e 's#/run/rescue/code#{folder}/code#' -e 's#/etc/rescue/release#{folder}/release#'"
        f" -e 's#/proc/sys/kernel/random/boot_id#{folder}/boot_id#'"
    )
    session = f"""tee -a {folder}/received | sh -c "$(printf '%s' "$SSH_ORIGINAL_COMMAND" | {edit})\""""
    with sshd.listening(folder, key, controller, session=session) as server:
        yield server


def at(rescue: sshd.Server, identities: Identities) -> AbstractContextManager[Ssh]:
    """The controller's way to it."""
    return sshd.reached(rescue, identities, RESCUE)
