"""The confirmation code: is the rescue that answers the one on the screen in front of the person?

The rescue's host key lies on a stick, and a stick can be stolen: its thief can answer in the rescue's name, from any
box on the same network. What he does not see is the screen of the machine that is being rebuilt. Each start of the
rescue makes a code that stands there and in its memory; the controller reads it through SSH, is told by a person what
stands on the screen, and compares. The code itself is never sent: a false rescue learns nothing from being asked.

The code proves one start of one rescue, and `boot_id` (a random number of its kernel that it tells only through SSH)
names that start from then on: whoever answers later without knowing it is refused before anything is sent.
"""

from __future__ import annotations

from homelab_provision.doors.ssh import RESCUE
from homelab_provision.errors import Refused, UsageError
from homelab_provision.phases.context import Rebuild

CODE_FILE = "/run/rescue/code"
BOOT_ID_FILE = "/proc/sys/kernel/random/boot_id"
# In the run's directory: the boot id of the rescue that was confirmed.
CONFIRMED = "confirmed"
LETTERS, LENGTH = "BCDFGHJKMPQRTVWX", 8  # as `rescue_files/init` makes them


def plain(code: str) -> str:
    """A code as it is compared: people type it in small letters, with blanks or without the dash."""
    return "".join(code.upper().split()).replace("-", "")


def is_code(text: str) -> bool:
    """Whether the text can be a code at all."""
    return len(plain(text)) == LENGTH and set(plain(text)) <= set(LETTERS)


def confirm(rebuild: Rebuild) -> str | None:
    """Compare the code on the screen with that of the rescue; returns the boot id of what was confirmed, or `None` when
    nobody asked for it. The same start of the same rescue is confirmed once in a run. Raises `Refused`."""
    if rebuild.code is None:
        return None
    shown = rebuild.ssh.run(RESCUE, "cat", BOOT_ID_FILE, CODE_FILE, deadline=30, check=False).stdout.split()
    boot_id, code = (*shown, "", "")[:2]
    known = rebuild.run.directory / CONFIRMED
    if boot_id and known.exists() and known.read_text().strip() == boot_id:
        return boot_id
    if not is_code(code):
        raise Refused(
            f"the rescue of {rebuild.machine.name} has no confirmation code: the stick was made by an older version",
            hint="write the stick anew with `provision usb write`; nothing was written or sent",
        )
    if plain(code) != plain(_told(rebuild)):
        raise Refused(
            f"the code does not belong to the machine that answers at {rebuild.ssh.addresses[RESCUE]}: "
            f"this is not the rescue on the screen of {rebuild.machine.name}",
            hint="nothing was written or sent. Read the screen again; if the code is right, somebody has a stick of "
            "this site: `provision usb revoke`",
        )
    rebuild.run.write(CONFIRMED, boot_id + "\n")
    rebuild.say(f"the code on the screen of {rebuild.machine.name} is that of the rescue")
    return boot_id


def _told(rebuild: Rebuild) -> str:
    """What stands on the screen, from whoever can see it."""
    if rebuild.code:
        return rebuild.code
    if seen := rebuild.operator.shown_code(rebuild.machine):
        return seen
    if rebuild.unattended:
        raise UsageError(
            "`--yes` asks nobody, so `--confirm-code` needs the code",
            hint="read it on the machine's screen: --resume --yes --confirm-code CODE",
        )
    return rebuild.person.ask(f"The code on the screen of {rebuild.machine.name}:")
