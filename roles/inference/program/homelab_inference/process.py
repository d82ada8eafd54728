"""Programs that are not trusted: they run as nobody. Others are run by the library."""

from __future__ import annotations

import grp
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from homelab_host.process import ENVIRONMENT

NOBODY = 65534


def start_as_nobody(
    argv: Sequence[str | Path],
    log: IO[bytes],
    groups: Sequence[str] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.Popen[bytes]:
    """Start a program that may do nothing here but read what all may read, and that ends when this one does.

    `groups` let it have more: who may use the GPU.
    """
    words = ["setpriv", "--pdeathsig=KILL", "--no-new-privs", "--", *(str(word) for word in argv)]
    ids: dict[str, Any] = {}
    if os.geteuid() == 0:
        more = [each.gr_gid for each in grp.getgrall() if each.gr_name in groups]
        ids = {"user": NOBODY, "group": NOBODY, "extra_groups": more}
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd="/",
        umask=0o077,
        env={**ENVIRONMENT, **environment},
        start_new_session=True,
        **ids,
    )
