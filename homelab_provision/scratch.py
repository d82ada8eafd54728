"""Directories for as long as something takes, private, with secrets in them perhaps.

One that was left by a process that was killed is removed by the next that needs one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

OURS, UNLOCKED = "hlp-", ".hlp-new-"
LOCK = "lock"


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory that only we can enter, empty but for its lock. Its path is short: a socket's name may have no more
    than 108 characters."""
    _sweep()
    made = Path(tempfile.mkdtemp(prefix=UNLOCKED))
    folder = made.with_name(OURS + made.name.removeprefix(UNLOCKED))
    with (made / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made.rename(folder)  # only what is locked has the name that is swept up
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    """Remove what killed processes have left: what is locked by nobody."""
    for folder in Path(tempfile.gettempdir()).glob(f"{OURS}*"):
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with (folder / LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
