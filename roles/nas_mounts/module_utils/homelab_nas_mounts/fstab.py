"""What /etc/fstab says about the paths of shares.

Pure: text in, an error out. Shares are not listed there (nas_entries says why), so a line for one is somebody else's.
"""

from __future__ import annotations

from collections.abc import Iterable

from ansible.module_utils.homelab_nas_mounts.spec import NasError, unescaped


def target(line: str) -> str | None:
    """The path of an entry, without a slash at its end; `None` for a comment and for what is no entry."""
    words = line.split()
    if len(words) < 3 or words[0].startswith("#"):
        return None
    return unescaped(words[1]).rstrip("/") or "/"


def refuse_foreign(text: str, paths: Iterable[str]) -> None:
    """Raise `NasError` when a line claims one of the paths."""
    desired = set(paths)
    for number, line in enumerate(text.splitlines(), 1):
        if target(line) in desired:
            raise NasError(
                f"/etc/fstab, line {number}, already mounts {target(line)}: `{line.strip()}`. "
                "Remove that line, or take the path from nas_mounts"
            )
