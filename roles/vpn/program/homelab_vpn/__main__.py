"""The command line of `homelab-vpn`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from homelab_host.errors import Trouble
from homelab_host.lock import alone

from . import config as configuration
from . import pair, report
from .apply import bring_up, take_down
from .config import Config
from .memory import Memory, write
from .watch import Report, look

# A look and a play would take apart what the other puts together.
LOCK = Path("/run/homelab-vpn.lock")


def main() -> int:
    words = _parser().parse_args()
    os.umask(0o077)
    try:
        return COMMANDS[words.command](words, Memory())
    except Trouble as trouble:
        print(f"homelab-vpn: {trouble.with_hint}", file=sys.stderr)
        return 1


def _check(words: argparse.Namespace, memory: Memory) -> int:
    configuration.load(words.file)
    return 0


def _apply(words: argparse.Namespace, memory: Memory) -> int:
    """Bring the interface to what the file says. A damaged file changes nothing."""
    with alone(LOCK):
        config = configuration.load(words.file)
        outcome = bring_up(config, memory)
        write(memory.good, words.file.read_text())
        for name, why in outcome.troubles.items():
            print(f"{name}: {why}", file=sys.stderr)
        return int("interface" in outcome.troubles)


def _down(words: argparse.Namespace, memory: Memory) -> int:
    with alone(LOCK):
        take_down(configuration.load(words.file if words.file.exists() else memory.good))
        return 0


def _watch(words: argparse.Namespace, memory: Memory) -> int:
    with alone(LOCK):
        config, damage = _readable(words.file, memory)
        before = memory.recall("watch").get("troubles", {})
        found = look(config, memory)
        found.repairs = [*damage.repairs, *found.repairs]
        found.troubles |= damage.troubles
        report.tell(config, memory, found, before)
        return 0


def _readable(file: Path, memory: Memory) -> tuple[Config, Report]:
    """The configuration, or the last one that was in effect, which then takes the place of a damaged one."""
    damage = Report()
    try:
        return configuration.load(file), damage
    except Trouble as trouble:
        config = configuration.load(memory.good)
        write(file, memory.good.read_text())
        damage.repairs.append((trouble.message, "put the last good one in its place"))
        return config, damage


def _pair(words: argparse.Namespace, memory: Memory) -> int:
    config = configuration.load(words.file)
    if config.pair is None:
        raise Trouble("this host is the only server", "a floating address that is checked by `wireguard` makes a pair")
    pair.serve(lambda: configuration.load(words.file), config.pair, lambda text: print(text, flush=True))
    return 0


def _status(words: argparse.Namespace, memory: Memory) -> int:
    print(json.dumps(report.status(configuration.load(words.file), memory), indent=2))
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace, Memory], int]] = {
    "check": _check,
    "apply": _apply,
    "down": _down,
    "watch": _watch,
    "pair": _pair,
    "status": _status,
}
HELP = {
    "check": "say whether a file is a whole configuration",
    "apply": "bring the interface to what the configuration says; sessions go on",
    "down": "remove the interface",
    "watch": "look once whether everything is as it has to be, and mend it",
    "pair": "keep in step with the other servers of the same key, for ever",
    "status": "tell who is connected, what is wrong, and what was repaired",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="homelab-vpn", description="Keep the VPN up.", epilog="example: homelab-vpn status"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in HELP.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("file", nargs="?", type=Path, default=configuration.FILE, help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
