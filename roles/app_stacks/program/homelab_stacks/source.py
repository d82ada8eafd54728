"""Where a restore comes from: a repository, a record, and the snapshots that it has of each stack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from homelab_host import report, share
from homelab_host.errors import Trouble

from .config import ROLE, Setup, Stack
from .record_files import load_all
from .records import TAG, Kept, Record, choose, moment_of, parse_record
from .repository import Repository, first, second


@dataclass(frozen=True)
class Request:
    """What to restore: which stacks (none named: all), up to when, from which backup (None: the newest that will do).

    `record`: the SHA-256 that the record of the backup `label` has to have, if somebody has judged it before.
    """

    stacks: tuple[str, ...] = ()
    to: datetime | None = None
    label: str | None = None
    record: str | None = None
    from_second: bool = False


@dataclass(frozen=True)
class Source:
    """`snapshots`: stack → its snapshot in this repository, where a copy has an id of its own."""

    repository: Repository
    record: Record
    snapshots: Mapping[str, str]


def select(setup: Setup, request: Request) -> Source:
    """The newest backup that holds what is wanted; raises `Trouble` if none does."""
    return _from_second(setup, request) if request.from_second else _from_share(setup, request)


def _from_share(setup: Setup, request: Request) -> Source:
    share.require(setup.share)
    repository = first(setup)
    assert setup.share is not None
    judged = {request.label: request.record} if request.label and request.record else {}
    record = choose(load_all(setup.share / ROLE, setup.host, judged), request.label, request.to)
    return Source(repository, record, _snapshots(_opened(repository), record))


def _from_second(setup: Setup, request: Request) -> Source:
    """The share may be gone, so the record comes out of the repository; only who has its key can have put it there."""
    if request.record:
        raise Trouble("--record names a file on the share, so it does not go with --from second", "leave it away")
    repository = _opened(second(setup))
    held = {each.label: each for each in repository.snapshots() if TAG in each.tags and each.label}
    # A record is written when its backup is complete, some time after its label: what began too late is not read.
    early = [label for label in sorted(held) if request.to is None or moment_of(label) <= request.to]
    wanted = [label for label in early if request.label in (None, label)][-2:] or sorted(held)[:1]
    found = []
    for label in wanted:
        name = f"{label}.json"
        found.append(parse_record(repository.text(held[label].id, name), f"{name} of {repository.name}", setup.host))
    record = choose(found, request.label, request.to)
    return Source(repository, record, _snapshots(repository, record))


def _opened(repository: Repository) -> Repository:
    if not repository.exists():
        raise Trouble(
            f"{repository.name} is not there: nothing lies at {repository.location}", "is it the right place?"
        )
    repository.unlock()
    return repository


def _snapshots(repository: Repository, record: Record) -> dict[str, str]:
    here = {each.original or each.id: each.id for each in repository.snapshots()}
    here |= {each.id: each.id for each in repository.snapshots()}
    if lost := sorted(name for name, kept in record.stacks.items() if kept.snapshot not in here):
        raise Trouble(
            f"{repository.name} does not hold the snapshots of {', '.join(lost)} that the record {record.label} names",
            "try an older backup with --label, and look at the NAS",
        )
    return {name: here[kept.snapshot] for name, kept in record.stacks.items()}


def wanted(setup: Setup, record: Record, names: tuple[str, ...]) -> list[tuple[Stack, Kept]]:
    """The stacks to restore, with what the backup has of them."""
    declared = {stack.name: stack for stack in setup.stacks}
    for name in names:
        if name not in declared:
            raise Trouble(f"this host has no stack {name}", f"there are: {', '.join(declared) or 'none'}")
        if name not in record.stacks:
            raise Trouble(f"the backup {record.label} has nothing of {name}", "choose another one with --label")
    for name in record.stacks.keys() - declared.keys():
        report.notice(f"the backup has the stack {name}, which this host has no more: it is left there")
    chosen = names or [name for name in record.stacks if name in declared]
    return [(declared[name], record.stacks[name]) for name in chosen]
