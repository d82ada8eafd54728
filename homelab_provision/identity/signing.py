"""Who signed a record of a backup, and whether it was that host's to sign at that time.

OpenSSH's signatures (`ssh-keygen -Y`): each host has a key for them alone, a new one whenever its disk is written. The
vault keeps the public halves of all with the time in which each counts. What is signed is a statement that names the
host and the file, so no record passes for another one's; decision 16 says what that promises, and what it does not.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from homelab_provision.doors.process import run
from homelab_provision.files import scratch

NAMESPACE = "homelab-backup"
KEY_FILE = "/etc/homelab-provision/signing-key"
# A clock may be ahead of another by so much; what comes from later was not written by a clock that is right.
CLOCK_SKEW = timedelta(minutes=10)
DEADLINE = 30.0
# How the program on the host ends a file that it signs (its signing.py). All before it is signed, byte by byte.
_SIGNED = re.compile(
    r'(?P<body>.*),\n "signature": "(?P<signature>[-A-Za-z0-9+/= ]*(\\n[-A-Za-z0-9+/= ]*)*)"\n}\n', re.DOTALL
)


@dataclass(frozen=True)
class Signer:
    """A key that signs for a host, and when it counts (`before` is `None`: still)."""

    public: str
    after: datetime
    before: datetime | None = None


def digest(text: str) -> str:
    """The SHA-256 of a whole file, as the program on the host compares it."""
    return hashlib.sha256(text.encode()).hexdigest()


def statement(host: str, name: str, body: str) -> str:
    """What is signed. `name`: the file, from the host's directory; `body`: its text without the signature."""
    return f"homelab-backup 1\nhost {host}\nfile {name}\nsha256 {digest(body)}\n"


def allowed_signers(host: str, signers: Iterable[Signer]) -> str:
    """The file that says whose keys count, in which namespace and when (ssh-keygen(1)); times are UTC."""
    lines = []
    for signer in signers:
        times = f'valid-after="{_stamp(signer.after - CLOCK_SKEW)}"'
        if signer.before is not None:
            times += f',valid-before="{_stamp(signer.before + CLOCK_SKEW)}"'
        lines.append(f'{host} namespaces="{NAMESPACE}",{times} {signer.public}\n')
    return "".join(lines)


def objection(text: str, host: str, name: str, moment: datetime, signers: Iterable[Signer]) -> str | None:
    """What speaks against the signature of a file that says it was made at `moment`; `None`: it is right."""
    if '"signature":' not in text:
        return "is not signed"
    found = _SIGNED.fullmatch(text)
    if found is None:
        return "has a signature that is cut short or damaged"
    said = statement(host, name, found["body"] + "\n}\n")
    with scratch() as folder:
        signature, allowed = folder / "signature", folder / "allowed_signers"
        signature.write_text(found["signature"].replace("\\n", "\n"))
        allowed.write_text(allowed_signers(host, signers))
        what = ("-n", NAMESPACE, "-s", signature)
        when = f"-Overify-time={_stamp(moment)}"
        if _agrees(said, "-Y", "verify", "-f", allowed, "-I", host, when, *what):
            return None
        if _agrees(said, "-Y", "check-novalidate", *what):
            return f"was signed with a key that was not {host}'s at that time"
    return f"was changed after it was signed, or was not signed as {name} of {host}"


def _agrees(said: str, *words: str | Path) -> bool:
    # Times without a zone are local to ssh-keygen; older ones know no other.
    done = run(("ssh-keygen", *words), input=said, deadline=DEADLINE, check=False, env={"TZ": "UTC"})
    return done.returncode == 0


def _stamp(moment: datetime) -> str:
    """A time for ssh-keygen, which knows years of four digits."""
    offset = moment.utcoffset() or timedelta(0)
    try:
        moment = moment.replace(tzinfo=None) - offset
    except OverflowError:
        moment = moment.replace(tzinfo=None)  # the first or the last day of all: no key counts then
    return moment.isoformat(timespec="seconds").replace("-", "").replace(":", "").replace("T", "")
