"""Whatever goes wrong, the old cluster is as it was, and the same command ends the job later."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

DATA = "/srv/postgresql/17/main"
SERVICE = "postgresql@17-main.service"
COPY, COMPARE, REPLAY, PROMOTE = "copy the backup", "compare the fingerprint", "replay what came", "promote"
# Every file of a cluster that is at rest.
HASH = f"cd {DATA} && find . -type f ! -name postmaster.opts -print0 | sort -z | xargs -0 sha256sum | sha256sum"


@pytest.fixture(autouse=True)
def known(machine: Any, backed_up: Any) -> dict[str, Any]:
    """The fingerprint of the cluster before the trouble."""
    found: dict[str, Any] = machine.fingerprint()
    return found


@pytest.mark.parametrize("step", [COPY, COMPARE, REPLAY, PROMOTE])
def test_killed_anywhere_it_leaves_the_old_data(machine: Any, known: Any, step: str) -> None:
    machine.job("restore", at=step, do=machine.kill)
    assert machine.leftovers("postgres") == ""
    machine.sh(f"systemctl start {SERVICE}")
    assert machine.fingerprint() == known
    # The old cluster goes on; what it writes now must not be lost to a timeline that came to nothing.
    machine.sql("other", "CREATE TABLE IF NOT EXISTS went_on (at timestamptz); INSERT INTO went_on SELECT now()")


def test_after_a_kill_the_same_command_completes(machine: Any, known: Any) -> None:
    machine.job("restore", at="put the restored data in place", do=machine.kill)
    machine.done("restore")
    assert machine.fingerprint() == known
    assert machine.beside() == []
    assert machine.leftovers() == ""


def test_stopped_politely_it_cleans_up_and_says_so(machine: Any, known: Any) -> None:
    told = machine.job("restore", at=COMPARE, do=lambda: machine.kill("TERM"))
    assert told.status == 1
    assert told.last["message"] == "stopped by SIGTERM"
    assert machine.leftovers() == ""
    assert machine.fingerprint() == known


@pytest.mark.parametrize("step", [COMPARE, REPLAY])
def test_a_share_that_goes_away_is_named_and_the_same_command_completes(
    machine: Any, known: Any, share: Callable[[], None], step: str
) -> None:
    told = machine.job("restore", at=step, do=share)
    assert told.status == 1
    assert "/mnt/backup, is not mounted" in told.last["message"]
    assert "run the same command again" in told.last["hint"]
    assert machine.fingerprint() == known
    machine.sh("mount --bind /nas /mnt/backup")
    machine.done("restore")
    assert machine.fingerprint() == known


def test_a_damaged_repository_gives_no_proof_and_no_restore(machine: Any, known: Any, backed_up: Any) -> None:
    proof = machine.sh("cat /nas/postgres/proof.json || true")
    bundle = f"/nas/pgbackrest/backup/main/{backed_up['full']['label']}/bundle/1"
    machine.sh(f"cp -p {bundle} /root/kept && truncate -s -1000 {bundle}")
    for job in ("prove", "restore"):
        told = machine.job(job)
        assert told.status == 1
        assert "repository are missing or damaged" in told.last["hint"]
    machine.sh(f"cat /root/kept >{bundle}")
    assert machine.sh("cat /nas/postgres/proof.json || true") == proof
    assert machine.fingerprint() == known


def test_a_repository_that_cannot_be_read_costs_no_record(machine: Any, known: Any) -> None:
    """pgBackRest ends with 0 and an empty list here; the account of the cluster is the one that cannot read."""
    before = machine.sh("cd /nas/postgres && sha256sum *.json")
    machine.sh(
        "stat -c '%U %a' /nas/pgbackrest/backup >/root/owner; chown root:root /nas/pgbackrest/backup; "
        "chmod 700 /nas/pgbackrest/backup"
    )
    try:
        for job in ("backup", "prove", "restore"):
            told = machine.job(job)
            assert (told.status, told.last["message"]) == (1, "the repository cannot be read; nothing was changed")
            assert "Permission denied" in told.last["evidence"]
    finally:
        machine.sh(
            "read -r owner mode </root/owner; chown $owner /nas/pgbackrest/backup; chmod $mode /nas/pgbackrest/backup"
        )
    assert machine.sh("cd /nas/postgres && sha256sum *.json") == before
    assert machine.fingerprint() == known


def test_a_backup_that_does_not_hold_its_facts_is_not_put_in_place(machine: Any, known: Any, backed_up: Any) -> None:
    path = f"/nas/postgres/{backed_up['incr']['label']}.json"
    record = json.loads(machine.sh(f"cat {path}"))
    record["fingerprint"]["databases"]["spans"]["tables"]["public.spans"]["rows"] += 1
    machine.sh(f"cp -p {path} /root/kept; cat >{path} <<'END'\n{json.dumps(record)}\nEND")
    told = machine.job("restore")
    machine.sh(f"cat /root/kept >{path}")
    assert told.status == 1
    assert "table public.spans: 22000 rows instead of 22001" in told.last["evidence"]
    assert machine.fingerprint() == known


@pytest.fixture
def small_disk(machine: Any) -> Any:
    """The cluster on a small disk of its own, at rest."""
    machine.sh(f"""
        systemctl stop {SERVICE}
        rm -rf {DATA}.*
        size=$(du -sm {DATA} | cut -f1)
        mkdir /root/aside && mv {DATA} /root/aside/main
        mount -t tmpfs -o size=$((size * 2 + 800))m,mode=755,uid=5432,gid=5432 small $(dirname {DATA})
        cp -a /root/aside/main {DATA}
        systemctl start {SERVICE}
    """)
    yield
    machine.sh(f"""
        systemctl stop {SERVICE}
        # Its WAL went on there.
        rm -r /root/aside/main && cp -a {DATA} /root/aside/main
        umount $(dirname {DATA})
        mv /root/aside/main {DATA} && rmdir /root/aside
        systemctl start {SERVICE}
    """)


def test_a_disk_that_is_too_small_is_noticed_before(machine: Any, small_disk: None) -> None:
    machine.sh(
        f"cd $(dirname {DATA}); free=$(df --output=avail -B1 . | tail -n1); fallocate -l $((free - 20000000)) filler"
    )
    told = machine.job("restore")
    assert told.status == 1
    assert "is too full" in told.last["message"]
    assert COPY not in " ".join(told.steps)


@pytest.fixture
def full_disk(machine: Any, small_disk: None) -> Any:
    """A disk that had room and becomes full when the copy begins: a wrapper of pgBackRest fills it first."""
    machine.sh(f"""
        cat >/usr/local/bin/pgbackrest <<'END'
#!/bin/sh
case " $* " in *" restore "*) head -c 4G /dev/zero >$(dirname {DATA})/filler 2>/dev/null ;; esac
exec /usr/bin/pgbackrest "$@"
END
        chmod 755 /usr/local/bin/pgbackrest
    """)
    yield
    machine.sh("rm /usr/local/bin/pgbackrest")


def test_a_disk_that_becomes_full_leaves_every_byte_of_the_old_data(machine: Any, full_disk: None) -> None:
    machine.sh(f"systemctl stop {SERVICE}")
    before = machine.sh(HASH)
    told = machine.job("restore")
    assert told.status == 1
    assert "has become full" in told.last["message"]
    assert machine.sh(HASH) == before


def test_a_disk_that_becomes_full_does_not_take_the_running_cluster_along(
    machine: Any, known: Any, full_disk: None
) -> None:
    told = machine.job("restore")
    assert told.status == 1
    assert "has become full" in told.last["message"], told.lines
    assert machine.beside() == ["filler"], "the incomplete copy has to make room"
    machine.sh(f"rm $(dirname {DATA})/filler")
    assert machine.fingerprint() == known
    machine.sql("other", "CREATE TABLE afterwards AS SELECT 1")
