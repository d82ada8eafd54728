"""The command line of `homelab-pihole`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from homelab_host import account, command
from homelab_host.errors import Trouble
from homelab_host.lock import exclusive

from . import backups, dns
from .copy import copy
from .prepare import prepare
from .setup import Setup, load

LOCK = Path("/run/homelab-pihole/lock")


def main() -> int:
    words = _parser().parse_args()
    os.umask(0o077)
    return command.run(lambda: _job(words))


def _job(words: argparse.Namespace) -> dict[str, object]:
    if words.command == "ask":
        return _ask(words)
    account.require_root("homelab-pihole")
    if words.command == "prepare":
        return prepare()
    setup = load()
    return exclusive(LOCK, command.request(words), lambda: _run(words, setup))


def _run(words: argparse.Namespace, setup: Setup) -> dict[str, object]:
    match words.command:
        case "backup":
            return backups.backup(setup)
        case "prove":
            return backups.prove(setup)
        case "copy":
            return copy(setup)
        case "fingerprint":
            return backups.fingerprint(setup, words.against)
    return backups.restore(setup, words.label, words.record, words.to)


def _ask(words: argparse.Namespace) -> dict[str, object]:
    reply = dns.ask(words.name, words.type, words.server, words.port, timeout=5)
    if reply is None:
        raise Trouble(f"{words.server} does not answer", "systemctl status pihole.service")
    return {"code": reply.code, "addresses": reply.addresses}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("homelab-pihole", description="Keep what the Pi-hole of this host knows.")
    jobs = parser.add_subparsers(dest="command", required=True)
    one = jobs.add_parser("ask", help="ask it for a name")
    one.add_argument("name")
    one.add_argument("type", nargs="?", choices=sorted(dns.TYPES), default="A")
    one.add_argument("--server", default="127.0.0.1", help="ask another one")
    one.add_argument("--port", type=int, default=53, help="at another port")
    jobs.add_parser("prepare", help="what its unit does before it starts")
    jobs.add_parser("copy", help="bring it into step with its source")
    one = jobs.add_parser("backup", help="export what it knows to the share, and write down how much that is")
    one.add_argument("--type", choices=("full", "diff", "incr"), help="for others' sake; makes no difference here")
    one = jobs.add_parser("restore", help="import a backup; the password stays")
    one.add_argument("--to", type=command.moment, metavar="TIME", help="as it was then (ISO 8601)")
    one.add_argument("--label", help="this backup instead of the newest")
    one.add_argument("--record", metavar="SHA256", help="refuse if the record of --label is another file than this")
    jobs.add_parser("prove", help="read the newest backup back, and write a proof")
    one = jobs.add_parser("fingerprint", help="count what it knows now")
    one.add_argument("--against", type=command.fingerprint, metavar="-", help="compare with the one on standard input")
    return parser


if __name__ == "__main__":
    sys.exit(main())
