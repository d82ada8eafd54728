"""The backups of a host's data, judged from the controller before anything is wiped.

Each backup leaves a record on the NAS: what it holds, and every file that restoring it needs, with its size. A
scheduled job on the host restores one now and then, compares, and leaves a proof beside the records. All of it is read
from the NAS itself: the host that wrote it is dead when this matters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict, ValidationError

from homelab_provision.errors import ProvisionError, Refused
from homelab_provision.nfs import Export
from homelab_provision.site.values import age_text

PROOF = "proof.json"
# How many damaged files a message names.
NAMED = 3


class _Told(BaseModel):
    """What a role's program wrote down; it may say more than the controller wants to know."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Record(_Told):
    """One backup. `files`: what restoring it needs, as path from the host's directory → size in bytes."""

    label: str
    finished: datetime
    bytes: int
    files: Mapping[str, int]


class BackupProof(_Told):
    """When a backup was last restored and found to be what was recorded."""

    label: str
    proven: datetime


class PlannedBackup(BaseModel):
    """A backup that a rebuild will restore, and what is known of it. `bytes` is the size of the data itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: str
    program: str
    label: str
    finished: datetime
    bytes: int
    proven: datetime | None

    def line(self) -> str:
        """For a person: which backup, how old, how well proven."""
        now = datetime.now(UTC)
        proven = f"proven {ago(now - self.proven)} ago" if self.proven else "NOT PROVEN"
        return f"{self.role}: backup {self.label}, {ago(now - self.finished)} old, {proven}"


@dataclass(frozen=True)
class Evidence:
    """What lies on the NAS of one role's backups: the newest record and the proof, and every file with its size."""

    record: Record | None
    proof: BackupProof | None
    sizes: Mapping[str, int]


class UnreadableBackupsError(ProvisionError):
    """The NAS does not answer, or what it holds cannot be understood."""


def plan_backups(
    host: str, programs: Mapping[str, str], export: Export | None, max_proof_age: timedelta, *, accept_unproven: bool
) -> tuple[tuple[PlannedBackup, ...], tuple[str, ...]]:
    """What a rebuild of `host` will restore, and what speaks against trusting it.

    `programs` maps each role that keeps data to the program that restores it ("" where none does). Raises `Refused`
    for the first role with doubts, unless `accept_unproven`: then the doubts are returned, and data without any
    readable backup begins empty.
    """
    planned: list[PlannedBackup] = []
    doubts: list[str] = []
    for role, program in programs.items():
        found = _look(host, role, program, export)
        evidence = found if isinstance(found, Evidence) else Evidence(None, None, {})
        against = [found] if isinstance(found, str) else list(judge(evidence, max_proof_age, datetime.now(UTC)))
        if against and not accept_unproven:
            raise _refusal(host, role, against)
        doubts += [f"{role}: {text}" for text in against]
        if record := evidence.record:
            proven = evidence.proof.proven if evidence.proof else None
            planned.append(PlannedBackup(role=role, program=program, label=record.label, finished=record.finished,
                                         bytes=record.bytes, proven=proven))  # fmt: skip
    return tuple(planned), tuple(doubts)


def judge(evidence: Evidence, max_proof_age: timedelta, now: datetime) -> Iterator[str]:
    """Everything that speaks against restoring the newest backup."""
    record, proof = evidence.record, evidence.proof
    if record is None:
        yield "there is no backup"
        return
    damaged = [name for name, size in record.files.items() if evidence.sizes.get(name) != size]
    if damaged:
        named = ", ".join(_difference(name, record.files[name], evidence.sizes.get(name)) for name in damaged[:NAMED])
        more = f" and {len(damaged) - NAMED} more" if len(damaged) > NAMED else ""
        yield f"the repository is damaged: {named}{more} (backup {record.label})"
    if proof is None:
        yield "no backup was ever restored and compared"
    elif now - proof.proven > max_proof_age:
        yield (f"the last proof is {ago(now - proof.proven)} old (of backup {proof.label}); "
               f"at most {age_text(max_proof_age)} are allowed (`max_proof_age`)")  # fmt: skip


def read_evidence(export: Export, role: str) -> Evidence:
    """Read a role's records and its proof from the host's directory. Raises `UnreadableBackupsError`."""
    sizes = export.sizes()
    names = [name for name in sizes if PurePosixPath(name).parent == PurePosixPath(role) and name.endswith(".json")]
    records = [name for name in names if PurePosixPath(name).name != PROOF]
    proof = f"{role}/{PROOF}"
    try:
        read = [Record.model_validate_json(export.read(name)) for name in records]
        proven = BackupProof.model_validate_json(export.read(proof)) if proof in names else None
    except ValidationError as error:
        raise UnreadableBackupsError(
            f"a record of {role} on {export} cannot be understood", evidence=str(error)
        ) from None
    return Evidence(max(read, key=lambda record: record.finished, default=None), proven, sizes)


def ago(age: timedelta) -> str:
    """An age for a person: `12 min`, `3 h`, `12 days`."""
    minutes = max(int(age.total_seconds() // 60), 0)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 60 * 72 else f"{minutes // 1440} days"


def _look(host: str, role: str, program: str, export: Export | None) -> Evidence | str:
    """The evidence, or why there is none."""
    if not program:
        return f"the role {role} keeps data that nothing brings back"
    if export is None:
        return f"{host} has no `provision_backup`, so its data is backed up nowhere"
    try:
        return read_evidence(export, role)
    except ProvisionError as error:
        return "\n".join(filter(None, (f"the repository cannot be read: {error.message}", error.evidence)))


def _refusal(host: str, role: str, against: Sequence[str]) -> Refused:
    return Refused(
        f"the data of {host} would be lost ({role})",
        evidence="\n".join(against),
        hint=f"`provision backup {host} --prove` makes a new one while {host} lives; --keep-data leaves the data "
        "where it is; or take the risk: --accept-unproven-backup restores what is there, or begins empty",
    )


def _difference(name: str, expected: int, seen: int | None) -> str:
    return f"{name} is missing" if seen is None else f"{name} has {seen} bytes instead of {expected}"
