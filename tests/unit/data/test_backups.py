"""Whether a backup is good enough to wipe a disk for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from homelab_provision.data.backups import Evidence, ago, judge, plan_backups, read_evidence
from homelab_provision.data.nfs import Export, NfsError
from homelab_provision.errors import Refused
from tests.unit.data.signers import sealed, signers
from tests.unit.roles.programs import library

pytestmark = pytest.mark.processes  # ssh-keygen signs, and looks at signatures

NOW = datetime.now(UTC)
WEEK = timedelta(days=7)
KEY = "a-key-of-32-characters-as-made-x"
PROGRAM = {"postgres": "/usr/local/sbin/homelab-postgres"}


def record(label: str = "20261122-030000F", hours: float = 5, **more: Any) -> dict[str, Any]:
    files = {"pgbackrest/backup/main/1/bundle": 4096, "pgbackrest/archive/main/17-1/01.zst": 512}
    finished = (NOW - timedelta(hours=hours)).isoformat()
    return {
        "format": 1,
        "host": "db-wyse",
        "label": label,
        "finished": finished,
        "bytes": 10**9,
        "files": files,
        "fingerprint": {},
        **more,
    }


def proof(days: float = 0.1, **more: Any) -> dict[str, Any]:
    proven = (NOW - timedelta(days=days)).isoformat()
    return {"format": 1, "host": "db-wyse", "label": "20261122-030000F", "proven": proven, "seconds": 60, **more}


OLDER = {"postgres/20261120-030000F.json": record("20261120-030000F", hours=60)}


class Nas(Export):
    """An export whose files are a dictionary: a JSON document, or a number of bytes."""

    def __init__(self, **files: Any) -> None:
        super().__init__("192.168.50.20", "/srv/backup/db-wyse", None)  # type: ignore[arg-type]  # nothing goes through it
        object.__setattr__(self, "files", files)

    def sizes(self) -> dict[str, int]:
        return {name: body if isinstance(body, int) else 100 for name, body in self.files.items()}  # type: ignore[attr-defined]

    def read(self, name: str) -> str:
        body = self.files[name]  # type: ignore[attr-defined]
        return body if isinstance(body, str) else sealed(name, body)


def good(**changed: Any) -> Nas:
    files = {
        "postgres/20261122-030000F.json": record(),
        "postgres/proof.json": proof(),
        "pgbackrest/backup/main/1/bundle": 4096,
        "pgbackrest/archive/main/17-1/01.zst": 512,
    }
    return Nas(**{name: body for name, body in {**files, **changed}.items() if body is not None})


def plan(
    nas: Export | None, *, accept: bool = False, programs: dict[str, str] = PROGRAM, keys: tuple[str, ...] = ()
) -> Any:
    return plan_backups("db-wyse", programs, nas, signers(), keys, WEEK, accept_unproven=accept)


def test_a_whole_and_proven_backup_is_planned() -> None:
    (backup,), doubts = plan(good())
    assert (backup.role, backup.label, backup.bytes, doubts) == ("postgres", "20261122-030000F", 10**9, ())
    assert backup.line() == "postgres: backup 20261122-030000F, 5 h old, proven 2 h ago"


def test_the_newest_backup_is_the_one() -> None:
    newest = "20261122-030000F_20261123-030000I"
    nas = good(
        **{
            f"postgres/{newest}.json": record(newest, hours=1),
            "postgres/20261101-030000F.json": record("20261101-030000F", hours=500),
        }
    )
    assert plan(nas)[0][0].label == newest


@pytest.mark.negative
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"postgres/20261122-030000F.json": None}, "there is no backup"),
        (
            {"pgbackrest/backup/main/1/bundle": 4095},
            "pgbackrest/backup/main/1/bundle has 4095 bytes instead of 4096 (backup 20261122-030000F)",
        ),
        ({"pgbackrest/archive/main/17-1/01.zst": None}, "pgbackrest/archive/main/17-1/01.zst is missing"),
        ({"postgres/proof.json": None}, "no backup was ever restored and compared"),
        (
            {"postgres/proof.json": proof(days=8)},
            "the last proof is 8 days old (of backup 20261122-030000F); at most 7d are allowed",
        ),
        (
            {"postgres/20261122-030000F.json": "{"},
            "192.168.50.20:/srv/backup/db-wyse/postgres/20261122-030000F.json cannot be understood",
        ),
        ({"postgres/20261122-030000F.json": record(files={})}, "files: "),
        ({"postgres/20261122-030000F.json": record(finished="2026-11-22T03:00:00")}, "timezone"),
        ({"postgres/20261122-030000F.json": record(bytes=-1)}, "bytes: "),
        ({"postgres/20261122-030000F.json": record(bytes=float("nan"))}, "bytes: "),
        ({"postgres/20261122-030000F.json": record(files={"../other/host": 1})}, "files."),
        ({"postgres/20261122-030000F.json": record(files={"/etc/passwd": 1})}, "files."),
        ({"postgres/20261122-030000F.json": record(files={"a\x1b[2J": 1})}, "files."),
        ({"postgres/20261122-030000F.json": record("20261122-030000F\x1b[2J")}, "label: "),
        ({"postgres/20261122-030000F.json": record("20261121-030000F")}, "is a record of another backup"),
        ({"postgres/20261122-030000F.json": "[" * 100_000}, "cannot be understood"),
        ({"postgres/20261122-030000F.json": 10**9}, "has 1000000000 bytes: that is no record"),
        ({"postgres/20261122-030000F.json": record(host="site-wyse")}, "is one of site-wyse, not of db-wyse"),
        ({"postgres/20261122-030000F.json": record(hours=-48)}, "says that it was made 47 h from now"),
        ({"postgres/proof.json": proof(days=-2)}, "says that it was made 47 h from now"),
        ({"postgres/proof.json": proof(days=-20000)}, "from now"),
        ({"postgres/proof.json": proof(proven="2026-11-22T03:00:00")}, "timezone"),
        ({"postgres/proof.json": proof(label="20261101-030000F")}, "not there (any more): 20261101-030000F"),
        ({"postgres/proof.json": proof(host="site-wyse")}, "the proof is one of site-wyse"),
        ({"postgres/proof.json": proof(days=0.3)}, "the proof is older than the backup that it is of"),
        (
            {**OLDER, "postgres/proof.json": proof(days=3, label="20261120-030000F")},
            "the proof is older than the backup that it is of (20261120-030000F)",
        ),
        (
            {
                "postgres/20261120-030000F.json": record("20261120-030000F", hours=60, host="site-wyse"),
                "postgres/proof.json": proof(days=2, label="20261120-030000F"),
            },
            "is of a backup (20261120-030000F) that is one of site-wyse, not of db-wyse",
        ),
        ({"postgres/proof.json": "nonsense"}, "postgres/proof.json cannot be understood"),
    ],
)
def test_refusals(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match="the data of db-wyse would be lost") as refused:
        plan(good(**changed))
    assert said in (refused.value.evidence or "")
    away = "cannot be read" in (refused.value.evidence or "")
    assert ("--accept-unproven-backup" in (refused.value.hint or "")) is not away
    assert "begins empty" not in (refused.value.hint or "") or not away


def test_the_plan_says_which_backup_was_proven() -> None:
    (backup,), doubts = plan(good(**OLDER, **{"postgres/proof.json": proof(days=2, label="20261120-030000F")}))
    assert doubts == ()
    assert backup.line().endswith("5 h old, proven 48 h ago (by restoring 20261120-030000F)")


@pytest.mark.parametrize(
    "name",
    [
        "postgres/._20261122-030000F.json",
        "postgres/20261122-030000F.sync-conflict-20261123-101010-ABCDEFG.json",
        "postgres/20261122-030000F (1).json",
        "postgres/20261122-030000F.json~",
        "postgres/.20261122-030000F.json.new",
        "postgres/.DS_Store",
        "postgres/notes.json",
        "postgres/@eaDir/20261122-030000F.json",
        "postgres/@eaDir/20261122-030000F.json/SYNO.json",
        "#recycle/postgres/20271122-030000F.json",
    ],
)
def test_foreign_files_beside_the_records_are_passed_over(name: str) -> None:
    (backup,), doubts = plan(good(**{name: "no record"}))
    assert (backup.label, doubts) == ("20261122-030000F", ())


def test_a_broken_record_that_a_newer_one_replaces_holds_nobody_up() -> None:
    (backup,), doubts = plan(good(**{"postgres/20261120-030000F.json": "{"}))
    assert (backup.label, doubts) == ("20261122-030000F", ())


@pytest.mark.negative
def test_a_broken_record_that_could_be_the_newest_is_named() -> None:
    with pytest.raises(Refused) as refused:
        plan(good(**{"postgres/20261122-030000F_20261125-030000I.json": "{"}))
    assert "20261122-030000F_20261125-030000I.json cannot be understood" in (refused.value.evidence or "")


@pytest.mark.negative
def test_an_encrypted_backup_takes_the_key_that_the_vault_has() -> None:
    proven = library("records").key_proof(KEY, "db-wyse", "20261122-030000F")
    nas = good(**{"postgres/20261122-030000F.json": record(key_proof=proven)})
    (backup,), doubts = plan(nas, keys=("a-password", KEY))
    assert (backup.label, doubts) == ("20261122-030000F", ())


@pytest.mark.negative
@pytest.mark.parametrize(
    ("about", "keys"),
    [
        ((KEY, "db-wyse", "20261122-030000F"), ()),
        ((KEY, "db-wyse", "20261122-030000F"), (KEY[:-1], KEY + "\n", "")),
        ((KEY, "db-nas", "20261122-030000F"), (KEY,)),
        ((KEY, "db-wyse", "20261121-030000F"), (KEY,)),
        (None, (KEY,)),
    ],
    ids=["an empty vault", "a new key", "another host's", "another backup's", "nonsense"],
)
def test_a_vault_without_the_key_of_the_backup_is_a_reason_to_refuse(about: Any, keys: tuple[str, ...]) -> None:
    proven = library("records").key_proof(*about) if about else "\u00e4"
    nas = good(**{"postgres/20261122-030000F.json": record(key_proof=proven)})
    with pytest.raises(Refused) as refused:
        plan(nas, keys=keys)
    assert "is encrypted with a key that is not in the site's vault" in (refused.value.evidence or "")


def test_everything_that_is_wrong_is_told_at_once() -> None:
    old = {
        "postgres/20261001-030000F.json": record("20261001-030000F", hours=800),
        "postgres/proof.json": proof(days=30, label="20261001-030000F"),
    }
    nas = good(**old, **{"pgbackrest/archive/main/17-1/01.zst": 0})
    with pytest.raises(Refused) as refused:
        plan(nas)
    assert len((refused.value.evidence or "").splitlines()) == 2


def test_many_damaged_files_are_counted() -> None:
    evidence = read_evidence(
        good(**{"postgres/20261122-030000F.json": record(files={str(n): 1 for n in range(9)})}), "postgres"
    )
    (said,) = judge(evidence, "db-wyse", signers(), (), WEEK, NOW)
    assert "0 is missing, 1 is missing, 2 is missing and 6 more" in said


@pytest.mark.negative
def test_a_nas_that_is_away_is_a_reason_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(nas: Nas) -> dict[str, int]:
        raise NfsError("192.168.50.20 does not answer (NFS, port 2049)")

    monkeypatch.setattr(Nas, "sizes", away)
    with pytest.raises(Refused) as refused:
        plan(good())
    assert "192.168.50.20 does not answer" in (refused.value.evidence or "")
    assert "bring the NAS back" in (refused.value.hint or "")
    assert "empty" not in (refused.value.hint or "")
    planned, doubts = plan(good(), accept=True)
    assert planned == ()
    assert "cannot be read" in doubts[0]
    with pytest.raises(Refused) as refused:
        plan(good(), programs={"app_stacks": "/usr/local/sbin/homelab-stacks"})
    assert "`provision restore db-wyse --from second`" in (refused.value.hint or "")


def test_accepted_doubts_are_told_and_what_is_there_is_planned() -> None:
    (backup,), (doubt,) = plan(good(**{"postgres/proof.json": None}), accept=True)
    assert doubt == "postgres: no backup was ever restored and compared"
    assert backup.proven is None
    assert "NOT PROVEN" in backup.line()


@pytest.mark.negative
@pytest.mark.parametrize(
    ("nas", "programs", "said"),
    [(None, PROGRAM, "has no `provision_backup`"), (good(), {"nfs_server": ""}, "keeps data that nothing brings back")],
)
def test_data_without_any_backup(nas: Nas | None, programs: dict[str, str], said: str) -> None:
    with pytest.raises(Refused) as refused:
        plan(nas, programs=programs)
    assert said in (refused.value.evidence or "")


def test_a_broken_record_is_not_taken_for_none() -> None:
    assert read_evidence(good(**{"postgres/20261122-030000F.json": {"label": "x"}}), "postgres").broken


@pytest.mark.parametrize(
    ("changed", "label"),
    [
        ({"postgres/proof.json": "{"}, "20261122-030000F"),
        ({"postgres/20261122-030000F.json": "{"}, "20261120-030000F"),
    ],
)
def test_who_accepts_a_torn_file_gets_the_newest_good_backup_and_not_an_empty_one(
    changed: dict[str, Any], label: str
) -> None:
    planned, doubts = plan(good(**OLDER, **changed), accept=True)
    assert [backup.label for backup in planned] == [label]
    assert "cannot be understood" in doubts[0]


def test_records_of_another_role_and_other_files_are_not_read() -> None:
    nas = good(**{"docker/20270101-000000F.json": "no JSON", "postgres/old/x.json": "no JSON", "postgres/notes": 5})
    assert isinstance(read_evidence(nas, "postgres"), Evidence)


@pytest.mark.parametrize(
    ("minutes", "text"), [(-5, "0 min"), (119, "119 min"), (120, "2 h"), (60 * 71, "71 h"), (60 * 72, "3 days")]
)
def test_ages(minutes: int, text: str) -> None:
    assert ago(timedelta(minutes=minutes)) == text
