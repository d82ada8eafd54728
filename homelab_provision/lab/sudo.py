"""Who touches the host's network: root, through `sudo -n` where we are not root. Machines run as the user."""

from __future__ import annotations

import os
from dataclasses import dataclass

Argv = tuple[str, ...]


@dataclass(frozen=True)
class Privilege:
    """The user that the lab belongs to; builds argv prefixes for it."""

    uid: int
    gid: int

    @classmethod
    def current(cls) -> Privilege:
        """The user that this process runs as."""
        return cls(os.getuid(), os.getgid())

    def root(self, *argv: str) -> Argv:
        """`argv` as root. `sudo -n` fails at once where it would ask for a password."""
        return argv if self.uid == 0 else ("sudo", "-n", *argv)

    def inside(self, namespace: str, *argv: str) -> Argv:
        """`argv` as root inside a network namespace."""
        return self.root("ip", "netns", "exec", namespace, *argv)

    def inside_as_user(self, namespace: str, *argv: str) -> Argv:
        """`argv` as the lab's own user inside a network namespace, which only root can enter."""
        if self.uid == 0:
            return self.inside(namespace, *argv)
        drop = ("setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--init-groups", "--")
        return self.inside(namespace, *drop, *argv)
