"""Who a program is: root only where it must be, else the account whose data it works on.

The effective ids become those of the account, for files and for children alike; so a link that the account
planted leads root nowhere, and files on a share that knows no root can be read. Root comes back for
the moments that need it.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import Trouble


def require_root(program: str) -> None:
    if os.geteuid() != 0:
        raise Trouble("this has to run as root: it stops and starts the service", f"sudo {program} …")


def become(name: str) -> None:
    """Work as this account from now on; `as_root` is the way back."""
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        raise Trouble(f"there is no account `{name}`", "apply this host again: its role makes it") from None
    os.umask(0o077)
    groups = {account.pw_gid, *(group.gr_gid for group in grp.getgrall() if name in group.gr_mem)}
    os.setgroups(sorted(groups))
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)


@contextmanager
def as_root() -> Iterator[None]:
    """Be root for a moment. The groups stay those of the account: root needs none."""
    uid, gid = os.geteuid(), os.getegid()
    os.seteuid(0)
    os.setegid(0)
    try:
        yield
    finally:
        os.setegid(gid)
        os.seteuid(uid)
