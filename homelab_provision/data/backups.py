"""The backups of a host's data, judged from the controller before anything is wiped.

Each backup leaves a record on the NAS: what it holds, and every file that restoring it needs, with its size. A
scheduled job on the host restores one now and then, compares, and leaves a proof beside the records. All of it is read
from the NAS itself: the host that wrote it is dead when this matters.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Annotated, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    StringConstraints,
    ValidationError,
)

from homelab_provision.data.nfs import Export
from homelab_provision.errors import ProvisionError, Refused
from homelab_provision.identity.signing import CLOCK_SKEW, Signer, digest, objection
from homelab_provision.site.roles import restores_from_second
from homelab_provision.site.values import age_text

PROOF = "proof.json"
# The name of a record: pgBackRest's label of the backup, which holds the local times of it and of what it builds on.
_RECORD = re.compile(r"(?P<full>\d{8}-\d{6})F(?:_(?P<own>\d{8}-\d{6})[DI])?\.json")
# How many damaged files a message names.
NAMED = 3
# A record names some ten thousand files on a large host; what is larger than this is none.
MOST_BYTES = 32 * 2**20

Label = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_-]{1,80}$")]


def _inside(path: str) -> str:
    """A path from the host's directory: nothing that leads out of it, and nothing that a terminal would act on."""
    if not path or path.startswith("/") or ".." in PurePosixPath(path).parts or not path.isprintable():
        raise ValueError("is no path within the host's directory")
    return path


RelativePath = Annotated[str, AfterValidator(_inside)]


class _Told(BaseModel):
    """What a role's program wrote down; it may say more than the controller wants to know."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Record(_Told):
    """One backup. `files`: what restoring it needs, as path from the host's directory → size in bytes."""

    host: str
    label: Label
    finished: AwareDatetime
    bytes: NonNegativeInt
    files: Annotated[Mapping[RelativePath, NonNegativeInt], Field(min_length=1)]
    key_proof: str | None = None  # of one that is encrypted, from programs that say it

    def opens_with(self, key: str) -> bool:
        """Whether it was encrypted with this key: the program on the host makes the same (its records.py)."""
        said = f"homelab-backup-key 1\nhost {self.host}\nlabel {self.label}\n"
        made = hmac.new(key.encode(), said.encode(), "sha256").hexdigest()
        return hmac.compare_digest(made.encode(), (self.key_proof or "").encode())


class BackupProof(_Told):
    """When a backup was last restored and found to be what was recorded."""

    host: str
    label: Label
    proven: AwareDatetime


class PlannedBackup(BaseModel):
    """A backup that a rebuild will restore, and what is known of it. `bytes` is the size of the data itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: str
    program: str
    label: str
    finished: datetime
    bytes: int
    proven: datetime | None
    sha256: str | None = None  # of the record that was judged: the restore refuses another one
    proven_label: str | None = None  # an older backup, if that is the one that was restored and compared

    def line(self) -> str:
        """For a person: which backup, how old, how well proven."""
        now = datetime.now(UTC)
        proven = f"proven {ago(now - self.proven)} ago" if self.proven else "NOT PROVEN"
        if self.proven and self.proven_label not in (None, self.label):
            proven += f" (by restoring {self.proven_label})"
        return f"{self.role}: backup {self.label}, {ago(now - self.finished)} old, {proven}"


@dataclass(frozen=True)
class Evidence:
    """What lies on the NAS of one role's backups: the records that can be understood by their labels, the proof, every
    file with its size, and, as they lie there, the texts of the records and of the proof by their names."""

    role: str
    records: Mapping[str, Record]
    proof: BackupProof | None
    sizes: Mapping[str, int]
    texts: Mapping[str, str]
    broken: tuple[str, ...] = ()  # files of ours that cannot be understood, and could be the newest

    @property
    def newest(self) -> Record | None:
        return max(self.records.values(), key=lambda record: record.finished, default=None)

    def objection(self, name: str, host: str, moment: datetime, signers: Sequence[Signer]) -> str | None:
        """What speaks against the signature of one of the role's files."""
        return objection(self.texts[name], host, f"{self.role}/{name}", moment, signers)


_T = TypeVar("_T", bound=_Told)


class UnreadableBackupsError(ProvisionError):
    """The NAS does not answer, or what it holds cannot be understood."""


def plan_backups(
    host: str,
    programs: Mapping[str, str],
    export: Export | None,
    signers: Sequence[Signer],
    keys: Sequence[str],
    max_proof_age: timedelta,
    *,
    accept_unproven: bool,
) -> tuple[tuple[PlannedBackup, ...], tuple[str, ...]]:
    """What a rebuild of `host` will restore, and what speaks against trusting it.

    `programs` maps each role that keeps data to the program that restores it ("" where none does); `signers` are the
    keys that signed for the host, and when; `keys` are the secrets of the site, one of which has to be what a backup is
    encrypted with. Raises `Refused` for the first role with doubts, unless `accept_unproven`: then the doubts are
    returned, and data without any readable backup begins empty.
    """
    planned: list[PlannedBackup] = []
    doubts: list[str] = []
    for role, program in programs.items():
        found = _look(host, role, program, export)
        if isinstance(found, str):
            against, record = [found], None
        else:
            against, record = list(judge(found, host, signers, keys, max_proof_age, datetime.now(UTC))), found.newest
        if against and not accept_unproven:
            raise _refusal(host, role, against, away=isinstance(found, str) and export is not None)
        doubts += [f"{role}: {text}" for text in against]
        if record and isinstance(found, Evidence):
            sound = found.proof if not against else None
            planned.append(
                PlannedBackup(
                    role=role,
                    program=program,
                    label=record.label,
                    finished=record.finished,
                    bytes=record.bytes,
                    sha256=digest(found.texts[_record_name(record.label)]),
                    proven=sound.proven if sound else None,
                    proven_label=sound.label if sound else None,
                )
            )
    return tuple(planned), tuple(doubts)


def judge(
    evidence: Evidence,
    host: str,
    signers: Sequence[Signer],
    keys: Sequence[str],
    max_proof_age: timedelta,
    now: datetime,
) -> Iterator[str]:
    """Everything that speaks against restoring the newest backup of `host`."""
    record, proof = evidence.newest, evidence.proof
    yield from evidence.broken
    if record is None:
        yield "there is no backup"
        return
    if record.host != host:
        yield f"the newest backup ({record.label}) is one of {record.host}, not of {host}"
    if wrong := evidence.objection(_record_name(record.label), host, record.finished, signers):
        yield f"the record of the newest backup ({record.label}) {wrong}"
    if record.key_proof is not None and not any(record.opens_with(key) for key in keys):
        yield (
            f"the newest backup ({record.label}) is encrypted with a key that is not in the site's vault "
            "(vault/secrets.yml): bring back the one that it had"
        )
    if record.finished > now + CLOCK_SKEW:
        yield f"the newest backup ({record.label}) says that it was made {ago(record.finished - now)} from now"
    damaged = [name for name, size in record.files.items() if evidence.sizes.get(name) != size]
    if damaged:
        named = ", ".join(_difference(name, record.files[name], evidence.sizes.get(name)) for name in damaged[:NAMED])
        more = f" and {len(damaged) - NAMED} more" if len(damaged) > NAMED else ""
        yield f"the repository is damaged: {named}{more} (backup {record.label})"
    if proof is None:
        yield "no backup was ever restored and compared"
    else:
        if wrong := evidence.objection(PROOF, host, proof.proven, signers):
            yield f"the proof (of backup {proof.label}) {wrong}"
        yield from _against_proof(proof, evidence, host, max_proof_age, now)


def _against_proof(
    proof: BackupProof, evidence: Evidence, host: str, max_proof_age: timedelta, now: datetime
) -> Iterator[str]:
    if proof.host != host:
        yield f"the proof is one of {proof.host}, not of {host}"
    of = evidence.records.get(proof.label)
    if of is None:
        yield f"the proof is of a backup that is not there (any more): {proof.label}"
    elif of.host != host:
        yield f"the proof is of a backup ({of.label}) that is one of {of.host}, not of {host}"
    elif proof.proven < of.finished:
        yield f"the proof is older than the backup that it is of ({of.label})"
    if proof.proven > now + CLOCK_SKEW:
        yield f"the proof (of backup {proof.label}) says that it was made {ago(proof.proven - now)} from now"
    if now - proof.proven > max_proof_age:
        yield (
            f"the last proof is {ago(now - proof.proven)} old (of backup {proof.label}); "
            f"at most {age_text(max_proof_age)} are allowed (`max_proof_age`)"
        )


def read_evidence(export: Export, role: str) -> Evidence:
    """Read a role's records and its proof from the host's directory. Raises `NfsError` where nobody can look.

    What has another name than a record's is somebody else's (a synchroniser's, a desktop's) and is passed over. One
    that cannot be understood speaks against the backups, by its name, unless a newer one is good: then nobody needs it.
    """
    sizes = export.sizes()
    records = {name: _moment_of(name) for name in sizes if _moment_of(name) and _is_of(name, role)}
    read: dict[str, Record] = {}
    texts: dict[str, str] = {}
    broken: list[str] = []
    for name in sorted(records, key=records.__getitem__, reverse=True):
        try:
            record, text = _parse(export, name, sizes, Record)
        except UnreadableBackupsError as error:
            if not read:
                broken.append(_told(error))
            continue
        read[record.label] = record
        texts[_record_name(record.label)] = text
    proof = None
    if (name := f"{role}/{PROOF}") in sizes:
        try:
            proof, texts[PROOF] = _parse(export, name, sizes, BackupProof)
        except UnreadableBackupsError as error:
            broken.append(_told(error))
    return Evidence(role, read, proof, sizes, texts, tuple(broken))


def _told(error: ProvisionError) -> str:
    return "; ".join(filter(None, (error.message, error.evidence, error.hint)))


def _record_name(label: str) -> str:
    return f"{label}.json"


def _is_of(name: str, role: str) -> bool:
    return PurePosixPath(name).parent == PurePosixPath(role)


def _moment_of(name: str) -> str:
    """When the backup of a record was made, as its name says it and as it sorts; "" for what is none by its name."""
    found = _RECORD.fullmatch(PurePosixPath(name).name)
    return (found["own"] or found["full"]) if found else ""


def _parse(export: Export, name: str, sizes: Mapping[str, int], model: type[_T]) -> tuple[_T, str]:
    """One file of the records, as what it has to be, and its text."""
    where = f"{export}/{name}"
    hint = "look at the file on the NAS; if it is of no use, remove it: the backups themselves lie elsewhere"
    if sizes[name] > MOST_BYTES:
        raise UnreadableBackupsError(f"{where} has {sizes[name]} bytes: that is no record", hint=hint)
    try:
        text = export.read(name)
        found = model.model_validate_json(text)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}" for one in error.errors()[:NAMED])
        raise UnreadableBackupsError(f"{where} cannot be understood", evidence=wrong, hint=hint) from None
    if isinstance(found, Record) and _record_name(found.label) != PurePosixPath(name).name:
        raise UnreadableBackupsError(f"{where} is a record of another backup, {found.label}", hint=hint)
    return found, text


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
        return "\n".join(filter(None, (f"the repository cannot be read: {error.message}", error.evidence, error.hint)))


def _refusal(host: str, role: str, against: Sequence[str], away: bool) -> Refused:
    """`away`: there may well be good backups, but nobody could look."""
    if away:
        hint = "bring the NAS back, or what is named above, and run the same command again; --keep-data does without it"
        if restores_from_second(role):
            hint += (
                f"; where there is a second repository, --accept-unproven-backup begins empty, and "
                f"`provision restore {host} --from second` brings the data back"
            )
    else:
        hint = (
            f"`provision backup {host} --prove` makes a new one while {host} lives; --keep-data leaves the data "
            "where it is; or take the risk: --accept-unproven-backup restores what is there, or begins empty"
        )
    return Refused(f"the data of {host} would be lost ({role})", evidence="\n".join(against), hint=hint)


def _difference(name: str, expected: int, seen: int | None) -> str:
    return f"{name} is missing" if seen is None else f"{name} has {seen} bytes instead of {expected}"
