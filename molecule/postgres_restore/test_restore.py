"""A backed up cluster comes back: whole, as of a time, or one database of it."""

from __future__ import annotations

import importlib.util
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from homelab_provision import paths
from homelab_provision.data.backups import Record
from homelab_provision.identity.signing import Signer, objection

DATA = "/srv/postgresql/17/main"
SERVICE = "postgresql@17-main.service"
ODD = '"Odd ""names"""'


def now() -> str:
    """A moment that no transaction shares."""
    time.sleep(0.3)
    moment = datetime.now(UTC).isoformat()
    time.sleep(0.3)
    return moment


def test_first_backup_is_full_and_the_next_refers_to_it(backed_up: Any) -> None:
    assert (backed_up["full"]["type"], backed_up["incr"]["type"]) == ("full", "incr")
    assert backed_up["incr"]["label"].startswith(backed_up["full"]["label"])
    assert backed_up["incr"]["rows"] == 22_000


def test_record_lists_every_file_with_its_size(machine: Any, backed_up: Any) -> None:
    record = json.loads(machine.sh(f"cat /nas/postgres/{backed_up['incr']['label']}.json"))
    there = dict(
        line.rsplit(" ", 1) for line in machine.sh("cd /nas && find * -type f -printf '%p %s\\n'").splitlines()
    )
    assert {path: there.get(path) for path in record["files"]} == {
        path: str(size) for path, size in record["files"].items()
    }
    needed = "\n".join(record["files"])
    for part in ("F/bundle/1", "I/backup.manifest", "archive/main/17-1/0000000100000000/00000001"):
        assert part in needed
    assert record["fingerprint"]["databases"]["spans"]["tables"]["public.spans"]["rows"] == 22_000
    assert machine.sh("stat -c '%U %a' /nas/postgres/*.json | sort -u") == "postgres 640"


def test_the_tests_of_the_role_see_that_nobody_else_reads_the_backups(machine: Any, backed_up: Any) -> None:
    spec = importlib.util.spec_from_file_location("asked", paths.content("roles") / "postgres/verify/test_postgres.py")
    assert spec
    assert spec.loader
    role = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(role)
    heads = machine.sh(role.QUESTIONS["repository"])
    names = {Path(line.split()[1]).name for line in heads.splitlines()}
    assert {"backup.info", "archive.info", "backup.manifest"} <= names
    assert role.unsealed(heads) == []
    machine.sh("install -D -o postgres -m 640 /etc/debian_version /nas/pgbackrest/archive/main/17-1/00plain")
    assert role.unsealed(machine.sh(role.QUESTIONS["repository"])) != []
    machine.sh("rm /nas/pgbackrest/archive/main/17-1/00plain")


def against(machine: Any, name: str) -> str | None:
    """What speaks against the signature of a file, for the controller."""
    kind, key = machine.sh("cat /etc/homelab-provision/signing-key.pub").split()[:2]
    current = datetime.now(UTC)
    signers = [Signer(f"{kind} {key}", current - timedelta(days=1))]
    text = machine.sh(f"cat /nas/postgres/{name}") + "\n"
    return objection(text, json.loads(text)["host"], f"postgres/{name}", current, signers)


def test_records_are_signed_with_a_key_that_only_root_reads(machine: Any, backed_up: Any) -> None:
    assert machine.sh("stat -c '%U %a' /etc/homelab-provision/signing-key") == "root 600"
    assert against(machine, f"{backed_up['incr']['label']}.json") is None
    assert against(machine, f"{backed_up['full']['label']}.json") is None


def test_records_say_with_which_key_the_backup_opens(machine: Any, backed_up: Any) -> None:
    record = Record.model_validate_json(machine.sh(f"cat /nas/postgres/{backed_up['incr']['label']}.json"))
    key = machine.sh("sed -n s/^repo1-cipher-pass=//p /etc/pgbackrest/conf.d/key.conf").strip()
    assert record.opens_with(key)
    assert not record.opens_with(key[:-1])


def test_a_destroyed_cluster_comes_back_with_what_came_after_the_backup(machine: Any, backed_up: Any) -> None:
    machine.sh(f"systemctl stop {SERVICE}; rm -r /srv/postgresql")
    result = machine.done("restore")
    assert machine.fingerprint() == backed_up["fingerprint"] == result["fingerprint"]
    assert result["label"] == backed_up["incr"]["label"]
    assert result["replaced"] is None
    assert result["rows"] == 22_300
    assert machine.count("other", "fleeting") == 0


def test_nothing_of_the_restore_is_left_in_the_cluster(machine: Any, backed_up: Any) -> None:
    assert machine.beside() == []
    assert machine.sh(f"ls {DATA} | grep -E 'signal|label$|manifest' || true") == ""
    settings = machine.sh(f"grep -v '^#' {DATA}/postgresql.auto.conf")
    assert settings == "work_mem = '7MB'"
    assert machine.sql("postgres", "SHOW archive_mode") == "on"
    assert machine.sh(f"stat -c '%U:%G %a' {DATA} /srv/postgresql") == "postgres:postgres 700\npostgres:postgres 755"
    assert machine.leftovers() == ""


def test_restores_to_a_time_and_then_to_a_later_one(machine: Any, backed_up: Any) -> None:
    machine.insert("other", ODD, 10, "early")
    early = now()
    machine.insert("other", ODD, 20, "late")
    late = now()
    machine.sql("other", f"DELETE FROM {ODD}")
    result = machine.done("restore", "--to", early)
    assert machine.count("other", ODD) == 310
    assert result["restored_to"] < early
    assert machine.sh(f"test -d {result['replaced']} && echo kept") == "kept"
    # What was committed later lies on the timeline that the first restore has left.
    machine.done("restore", "--to", late)
    assert machine.count("other", ODD) == 330


def test_one_database_comes_back_and_the_others_stay(machine: Any, backed_up: Any) -> None:
    before = now()
    machine.sql("other", f"DROP TABLE {ODD}")
    machine.sql("spans", "DELETE FROM spans WHERE id <= 100")
    machine.sql("postgres", "ALTER DATABASE other SET work_mem = '9MB'")
    machine.sql("postgres", "CREATE ROLE somebody; GRANT CREATE ON DATABASE other TO somebody")
    result = machine.done("restore", "--database", "other", "--to", before)
    assert machine.count("other", ODD) == 330
    assert machine.count("spans", "spans") == 21_900
    assert (
        machine.sql("postgres", f"SELECT datallowconn FROM pg_database WHERE datname = '{result['replaced']}'") == "f"
    )
    assert machine.sql("other", "SELECT tableowner FROM pg_tables WHERE tablename = 'planted'") == "planter"
    # What somebody had planted in it has run without a superuser's rights, and nothing made for the load is left.
    roles = machine.sql("postgres", "SELECT rolname, rolsuper FROM pg_roles WHERE rolname ~ '^(planter|homelab)'")
    assert roles == "planter|f"
    assert machine.beside() == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--to", "2026-01-01T00:00Z"), "there is no way back to before"),
        (("--label", "20260101-000000F"), "there is no backup 20260101-000000F"),
        (("--database", "nobody"), "holds no database nobody"),
    ],
)
def test_refuses_what_cannot_be_had(machine: Any, backed_up: Any, words: tuple[str, ...], said: str) -> None:
    told = machine.job("restore", *words)
    assert told.status == 1
    assert said in told.last["message"]
    assert told.last["hint"]
    assert machine.beside() == []


def test_a_second_run_waits_and_takes_over_the_result(machine: Any, backed_up: Any) -> None:
    second: list[Any] = []
    first = machine.job("fingerprint", at="", do=None)
    told = machine.job("restore", at="compare", do=lambda: second.append(machine.job("fingerprint")))
    assert first.status == told.status == second[0].status == 0
    assert second[0].steps[0].startswith("wait for the run that is at work: `restore`")


def test_proof_is_written(machine: Any, backed_up: Any) -> None:
    machine.done("prove")
    proof = json.loads(machine.sh("cat /nas/postgres/proof.json"))
    assert proof["label"] == backed_up["incr"]["label"]
    assert against(machine, "proof.json") is None
    assert proof["rows"] == 22_000
    assert machine.beside() == []
