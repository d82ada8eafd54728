"""The systemd units of the shares: which have to start or to end, and how a share is let go.

Whatever might wait for a server does so in a program of its own, under a time limit (time_limits.py).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible.module_utils.homelab import units
from ansible.module_utils.homelab_nas_mounts import mountpoint, time_limits
from ansible.module_utils.homelab_nas_mounts.spec import unit_name

PROPERTIES = "Id,LoadState,ActiveState,NeedDaemonReload"
LET_GO_SECONDS = 20

Shown = dict[str, dict[str, str]]


def look(module: Any, paths: Iterable[str]) -> Shown:
    """What systemd says of the units of each path, by the unit's name."""
    names = [f"{unit_name(path)}.{kind}" for path in paths for kind in ("automount", "mount")]
    if not names:
        return {}
    # A unit that is asked for by name is loaded; so nothing here says whether it was there before.
    _, text, _ = module.run_command(["systemctl", "show", f"--property={PROPERTIES}", "--", *names], check_rc=True)
    return dict(zip(names, units.blocks(text), strict=True))


def unheeded(shown: Shown) -> bool:
    """Whether systemd has yet to read what is written."""
    return any(unit["LoadState"] == "not-found" or unit["NeedDaemonReload"] == "yes" for unit in shown.values())


def asleep(paths: Iterable[str], shown: Shown) -> list[str]:
    """The paths at which nothing would mount the share, as the automount does not run."""
    units = {path: shown[f"{unit_name(path)}.automount"] for path in paths}
    return [path for path, unit in units.items() if unit["ActiveState"] not in ("active", "activating")]


def let_go(path: str, *, answers: bool) -> str | None:
    """Unmount the share at `path`, if it is mounted; the reason if that cannot be.

    A share in use stays while its server answers: whoever uses it is told of, not cut off. One whose server is away
    could not be unmounted in any time; it is taken off the tree, and who hangs on it goes on when the server is back.
    """
    gently = ["umount", "--no-canonicalize", path]
    dead = ["umount", "--no-canonicalize", "--internal-only", "--lazy", path]
    while (types := mountpoint.mounts_now().get(path)) and types[-1] != "autofs":
        time_limits.run(gently if answers else dead, LET_GO_SECONDS)
        if len(mountpoint.mounts_now().get(path, [])) >= len(types):
            return f"{path} is in use by {', '.join(users(path)) or 'the kernel'}"
    return None


def users(path: str) -> list[str]:
    """The processes that have something open beneath `path`. The kernel names the files; none of them is touched."""
    found = []
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda entry: int(entry.name)):
        places = [process / "cwd", process / "root", process / "exe"]
        with contextlib.suppress(OSError):
            places += (process / "fd").iterdir()
        if any(_leads(place, path) for place in places):
            with contextlib.suppress(OSError):
                found.append(f"{(process / 'comm').read_text().strip()} ({process.name})")
    return found


def _leads(place: Path, path: str) -> bool:
    try:
        target = os.fspath(place.readlink())
    except OSError:
        return False
    return target == path or target.startswith(f"{path}/")
