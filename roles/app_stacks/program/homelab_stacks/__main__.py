"""The command line of `homelab-stacks`."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

from homelab_host import account, command, share
from homelab_host.errors import Trouble
from homelab_host.lock import exclusive

from . import facts, run_stack
from .apply import apply
from .backup import backup
from .config import Setup, load
from .prove import prove
from .restore import restore
from .source import Request

CONFIGURATION = Path("/etc/homelab-provision/stacks.json")
LOCK = Path("/run/homelab-stacks/lock")


def main() -> int:
    words = _parser().parse_args()
    if words.command in run_stack.COMMANDS:
        return run_stack.main(words.command, words.name)
    os.umask(0o077)
    return command.run(lambda: _job(words))


def _job(words: argparse.Namespace) -> dict[str, object]:
    account.require_root("homelab-stacks")
    if words.command == "apply":
        return _apply(sys.stdin.read(), words.check)
    setup = load(CONFIGURATION)
    return exclusive(LOCK, command.request(words), lambda: _run_on_share(words, setup))


def _apply(text: str, check: bool) -> dict[str, object]:
    """Bring the stacks to what the document says."""
    try:
        desired = json.loads(text)
    except ValueError as error:
        raise Trouble(f"what the role wants is no JSON: {error}") from None
    # Which document: whoever waited with another one does not get this one's result.
    request = {"command": "apply", "check": str(check), "document": hashlib.sha256(text.encode()).hexdigest()}
    return exclusive(LOCK, request, lambda: apply(desired, check))


def _run_on_share(words: argparse.Namespace, setup: Setup) -> dict[str, object]:
    """Do the job. Whatever fails when the share is gone failed because of that, and is said so."""
    try:
        return _run(words, setup)
    except Trouble as trouble:
        if words.command != "fingerprint" and getattr(words, "origin", "share") == "share":
            share.require(setup.share, trouble.evidence or trouble.message)
        raise


def _run(words: argparse.Namespace, setup: Setup) -> dict[str, object]:
    match words.command:
        case "backup":
            return backup(setup)
        case "prove":
            return prove(setup)
        case "fingerprint":
            if words.against is not None:
                return facts.compare(setup, words.against)
            return {"fingerprint": facts.take(setup.kept)}
    stacks = tuple(dict.fromkeys(words.stack))
    return restore(setup, Request(stacks, words.to, words.label, words.record, words.origin == "second"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "homelab-stacks", description="Run the stacks of this host; back up, restore and prove what they keep."
    )
    jobs = parser.add_subparsers(dest="command", required=True)
    for job, meaning in run_stack.COMMANDS.items():
        jobs.add_parser(job, help=meaning).add_argument("name", metavar="STACK")
    one = jobs.add_parser("apply", help="bring the stacks to what the role says on standard input")
    one.add_argument("--check", action="store_true", help="only tell what would be done")
    one = jobs.add_parser("backup", help="copy all stacks, and write down what they hold")
    # Of restic's backups each is whole, and only what is new is written, so there is nothing to choose.
    one.add_argument("--type", choices=("full", "diff", "incr"), help="for others' sake; makes no difference here")
    one = jobs.add_parser("restore", help="replace the data of the stacks by those of a backup")
    one.add_argument("--stack", action="append", default=[], metavar="NAME", help="this one only; may be repeated")
    one.add_argument(
        "--to", type=command.moment, metavar="TIME", help="as it was then (ISO 8601, local or with an offset)"
    )
    one.add_argument("--label", help="this backup instead of the newest")
    one.add_argument("--record", metavar="SHA256", help="refuse if the record of --label is another file than this")
    one.add_argument("--from", dest="origin", choices=("share", "second"), default="share", help="which repository")
    jobs.add_parser("prove", help="restore the newest backup aside, ask what it holds, and write a proof")
    one = jobs.add_parser("fingerprint", help="ask the stacks what they hold now")
    one.add_argument(
        "--against", type=command.fingerprint, metavar="-", help="compare with the one (JSON) on standard input"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
