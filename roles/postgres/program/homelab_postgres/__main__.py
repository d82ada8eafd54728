"""The command line of `homelab-postgres`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from homelab_host import account, command, process, share
from homelab_host.errors import Trouble
from homelab_host.lock import exclusive

from .backup import backup
from .config import Setup, load
from .fingerprint import compare, take
from .prove import prove
from .restore import restore
from .restore_database import extract
from .restore_plan import Request
from .service import Service

CONFIGURATION = Path("/etc/homelab-provision/postgres.json")
ENVIRONMENT = {"PGAPPNAME": "homelab-postgres", "PGCONNECT_TIMEOUT": "15"}
LOCK = Path("/run/homelab-postgres/lock")


def main() -> int:
    words = _parser().parse_args()
    process.ENVIRONMENT.update(ENVIRONMENT)
    return command.run(lambda: _job(words))


def _job(words: argparse.Namespace) -> dict[str, object]:
    account.require_root("homelab-postgres")
    setup = load(CONFIGURATION)
    account.become(setup.account)
    return exclusive(LOCK, command.request(words), lambda: _run_on_share(words, setup))


def _run_on_share(words: argparse.Namespace, setup: Setup) -> dict[str, object]:
    """Do the job. Whatever fails when the share is gone failed because of that, and is said so."""
    try:
        return _run(words, setup)
    except Trouble as trouble:
        if words.command != "fingerprint":
            share.require(setup.share, trouble.evidence or trouble.message)
        raise


def _run(words: argparse.Namespace, setup: Setup) -> dict[str, object]:
    match words.command:
        case "backup":
            return backup(setup, words.type)
        case "prove":
            return prove(setup)
        case "fingerprint":
            door = Service(setup).door()
            return compare(door, words.against) if words.against else {"fingerprint": take(door)}
    request = Request(words.to, words.label, words.record)
    return extract(setup, words.database, request) if words.database else restore(setup, request)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "homelab-postgres", description="Back up, restore and prove the PostgreSQL cluster of this host."
    )
    jobs = parser.add_subparsers(dest="command", required=True, metavar="backup|restore|prove|fingerprint")
    one = jobs.add_parser("backup", help="make a backup, and write down what is in it")
    one.add_argument("--type", choices=("full", "diff", "incr"), help="default: full once a week, else incr")
    one = jobs.add_parser("restore", help="replace the cluster (or one database) by what a backup and the WAL hold")
    one.add_argument(
        "--to", type=command.moment, metavar="TIME", help="as it was then (ISO 8601, local or with an offset)"
    )
    one.add_argument("--database", metavar="NAME", help="this database only; the others are left alone")
    one.add_argument("--label", help="begin with this backup instead of the newest that will do")
    one.add_argument("--record", metavar="SHA256", help="refuse if the record of --label is another file than this")
    jobs.add_parser("prove", help="restore the newest backup aside, compare, and write a proof")
    one = jobs.add_parser("fingerprint", help="count and sum up what is in the cluster now")
    one.add_argument(
        "--against", type=command.fingerprint, metavar="-", help="compare with the one (JSON) on standard input"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
