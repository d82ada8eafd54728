"""Backup: each stack is quieted, asked what it holds, and copied; a record is written only if all of that went well."""

from __future__ import annotations

import time
from pathlib import Path

from homelab_host import records as files
from homelab_host import report, share
from homelab_host.errors import Trouble
from homelab_host.records import key_proof
from homelab_host.timestamps import now, write

from . import facts, record_files, records, repository_files, retention
from .config import ROLE, Setup
from .copy_stack import copy, told
from .records import Kept, Record
from .repository import Repository, first, second


def backup(setup: Setup) -> dict[str, object]:
    """Back up all stacks; returns the record without the list of files.

    One that fails holds up no other. The snapshots of the others are kept then, but there is no record: the newest
    record is what a rebuild would trust.
    """
    began = time.monotonic()
    share.require(setup.share)
    repository = first(setup)
    assert setup.share is not None
    folder = setup.share / ROLE
    _prepare(repository, folder)
    made = _new_label(repository, folder, setup)
    stacks = _copy_all(setup, repository, made)
    size = sum(kept.bytes for kept in stacks.values())
    proof = key_proof(_key(setup.key_file), setup.host, made)
    record = Record(setup.host, made, write(now()), size, stacks, key_proof=proof)
    report.step("write the record")
    record = _keep_record(repository, folder, record)
    report.step("let go of what is too old")
    record = _let_go(setup, repository, folder, record)
    if setup.second:
        _copy_again(setup, repository, record)
    return {
        "label": record.label,
        "finished": record.finished,
        "bytes": record.bytes,
        **facts.sums(record.fingerprint),
        "seconds": round(time.monotonic() - began, 1),
        "fingerprint": record.fingerprint,
    }


def _prepare(repository: Repository, folder: Path) -> None:
    """Make the repository if there is none; one that has vanished beside its records is not made anew."""
    if repository.exists():
        repository.unlock()
    else:
        if repository_files.has_files(folder):
            raise Trouble(
                f"{folder} holds records, but there is no repository at {repository.path}",
                "is it the right share? If the backups are lost, remove that folder, and a new repository is made",
            )
        share.require(repository.share)
        report.notice(f"make the repository {repository.path}")
        repository.make()
    repository_files.open_to_group(repository.path)


def _new_label(repository: Repository, folder: Path, setup: Setup) -> str:
    """A label that is newer than all there are: a clock that was set back must not make the newest look old."""
    label = records.label_of(now())
    known = [each.label for each in repository.snapshots() if each.label]
    known += files.labels(folder)
    if label <= max(known, default=""):
        raise Trouble(f"there is a backup {max(known)}, and by this host's clock it is {label[:-1]}", "set the clock")
    return label


def _key(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError as error:
        raise Trouble(f"cannot read {file}: {error.strerror}", "apply the host: the role writes it") from None


def _copy_all(setup: Setup, repository: Repository, label: str) -> dict[str, Kept]:
    stacks: dict[str, Kept] = {}
    failed: dict[str, Trouble] = {}
    for stack in setup.kept:
        try:
            stacks[stack.name] = copy(setup, repository, stack, label)
        except Trouble as trouble:
            share.require(setup.share, trouble.evidence or trouble.message)
            failed[stack.name] = trouble
    if failed:
        good = f"; {', '.join(stacks)} {'is' if len(stacks) == 1 else 'are'} backed up" if stacks else ""
        hints = {trouble.hint: None for trouble in failed.values() if trouble.hint}
        raise Trouble(
            f"no complete backup: {', '.join(failed)} failed{good}, but without a record",
            "; ".join(hints) or "mend it, then make a backup again",
            "\n".join(told(trouble) for trouble in failed.values()),
        )
    return stacks


def _keep_record(repository: Repository, folder: Path, record: Record) -> Record:
    """Write the record beside the repository, and into it: so a copy of the repository is complete by itself."""
    tags = [records.TAG, f"label={record.label}"]
    repository.keep_text(record.host, tags, f"{record.label}.json", records.text_of(record))
    return _list_files(repository, folder, record)


def _list_files(repository: Repository, folder: Path, record: Record) -> Record:
    assert repository.share is not None
    snapshots = [kept.snapshot for kept in record.stacks.values()]
    record = record.with_files(repository_files.needed(repository.path, repository.share, snapshots))
    record_files.save(folder, record)
    return record


def _let_go(setup: Setup, repository: Repository, folder: Path, record: Record) -> Record:
    """Forget what is kept no longer, drop its records, and once a week prune.

    Records that stay are not written anew, though pruning rewrites files that they list: only the newest is judged by
    its list, and a host that signs again what it finds on a share would sign what somebody else put there.
    """
    snapshots = [each for each in repository.snapshots() if each.label and records.LABEL.fullmatch(each.label)]
    complete = {each.label for each in snapshots if records.TAG in each.tags and each.label}
    keep = retention.kept(complete, {each.label for each in snapshots if each.label}, setup.keep)
    # The controller asks for a proof, and for the backup that it is of.
    keep |= {record.label, record_files.proven(folder) or ""}
    gone = [each for each in snapshots if each.label not in keep]
    if gone:
        repository.forget([each.id for each in gone])
    there = {each.label for each in snapshots if each.label} - {each.label for each in gone}
    files.drop(folder, there)
    if retention.prune_due(complete, record.label):
        report.step("remove data that no backup holds any more")
        repository.prune()
        return _list_files(repository, folder, record)
    return record


def _copy_again(setup: Setup, repository: Repository, record: Record) -> None:
    """The same into the second repository, which may let nobody delete: so nothing is forgotten there.

    It is copied from the first, so it holds the very same, and no stack has to stay quiet for as long as a slow line
    takes.
    """
    report.step("copy it into the second repository")
    try:
        other = second(setup)
        if other.exists():
            other.unlock()
        else:
            report.notice("make the second repository")
            other.make(like=repository)
        ours = [each.id for each in repository.snapshots() if each.label == record.label]
        other.copy(ours, repository)
    except Trouble as trouble:
        raise Trouble(
            f"the backup {record.label} is complete on the share, but the second repository did not get it: "
            f"{trouble.message}",
            trouble.hint or "mend it, then make a backup again",
            trouble.evidence,
        ) from None
