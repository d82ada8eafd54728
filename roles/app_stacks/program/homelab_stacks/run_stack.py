"""What the unit of a stack calls. What it says is for a person who reads the journal."""

from __future__ import annotations

import sys

from homelab_host.errors import Trouble

from . import engine, stack

COMMANDS = {
    "up": "start a compose project when all that it needs is there, and wait until it is healthy",
    "down": "stop a compose project",
    "needs": "say what a stack waits for",
}


def main(command: str, name: str) -> int:
    """The exit status: 0, 1 for a failure, 75 (sysexits.h: try again later) for one that waits."""
    try:
        found = stack.find(name)
        match command:
            case "up":
                found.up()
            case "down":
                engine.down(name)
            case "needs":
                found.require()
    except stack.Waits as waits:
        print(f"{waits.message}; {waits.hint}", file=sys.stderr)
        return stack.TRY_AGAIN
    except Trouble as trouble:
        print("\n".join(filter(None, (trouble.message, trouble.hint, trouble.evidence))), file=sys.stderr)
        return 1
    return 0
