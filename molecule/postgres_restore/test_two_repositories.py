"""A second repository: the same backups and WAL in another place, which are enough if the first one is lost."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

CONFIGURATION = "/etc/pgbackrest/conf.d/second.conf"
FACTS = "/etc/homelab-provision/postgres.json"
SETTINGS = r"[global]\nrepo2-path=/elsewhere\nrepo2-retention-full=1\n"
ODD = '"Odd ""names"""'
# As the manual of pgBackRest has it, without the program: what somebody can do who has lost the NAS, too.
ALONE = f"""
pgbackrest --stanza=main --repo=2 --pg1-path=/srv/alone --no-delta restore
cd /srv/alone; touch postgresql.conf; echo 'local all all peer' >pg_hba.conf; mkdir /tmp/alone
server() {{ /usr/lib/postgresql/17/bin/pg_ctl -D /srv/alone -s -w -o '-k /tmp/alone -c listen_addresses=' "$@"; }}
server start >/dev/null
until [ "$(psql -XAtq -h /tmp/alone -c 'SELECT pg_is_in_recovery()')" = f ]; do sleep 0.2; done
psql -XAtq -h /tmp/alone -d spans -c 'SELECT count(*) FROM spans'
psql -XAtq -h /tmp/alone -d other -c {shlex.quote(f"SELECT count(*) FROM {ODD}")}
server stop
"""


@pytest.fixture(scope="module", autouse=True)
def elsewhere(machine: Any, backed_up: Any) -> Iterator[None]:
    """What the role writes for `postgres_backup_second_repository`, for these tests only.

    Those that take the share away in the middle of a replay would find the WAL in the other repository.
    """
    before = machine.sh(f"cat {FACTS}")
    machine.sh(f"printf {shlex.quote(SETTINGS)} >{CONFIGURATION}; chmod 644 {CONFIGURATION}")
    machine.sh(f"""sed -i 's/"second": false/"second": true/' {FACTS}""")
    assert json.loads(machine.sh(f"cat {FACTS}"))["second"]
    yield
    machine.sh(f"rm {CONFIGURATION}; echo {shlex.quote(before)} >{FACTS}")


def test_it_gets_backups_of_its_own_and_is_enough(machine: Any) -> None:
    machine.done("backup")
    machine.done("backup")
    listed = machine.sh("cd / && runuser -u postgres -- pgbackrest --stanza=main --repo=2 info --output=json")
    assert [each["type"] for each in json.loads(listed)[0]["backup"]] == ["full", "incr"]
    machine.insert("spans", "spans", 7, "later")  # only the archived log has these
    machine.sql("postgres", "SELECT pg_switch_wal()")
    wanted = [machine.count("spans", "spans"), machine.count("other", ODD)]
    machine.sh("until ! ls /srv/postgresql/17/main/pg_wal/archive_status/*.ready 2>/dev/null; do sleep 0.2; done")

    machine.sh("mv /nas/pgbackrest /nas/away; install -d -m 700 -o postgres /srv/alone")
    rows = machine.sh(f"cd / && runuser -u postgres -- bash -euc {shlex.quote(ALONE)}")
    machine.sh("mv /nas/away /nas/pgbackrest; rm -r /srv/alone")
    assert [int(number) for number in rows.split()] == wanted


def test_what_it_does_not_take_is_said(machine: Any) -> None:
    machine.sh("chmod 500 /elsewhere/backup/main")
    told = machine.job("backup")
    machine.sh("chmod 750 /elsewhere/backup/main")
    assert told.status == 1
    assert "is complete on the share, but the second repository did not get one" in told.last["message"]
    label = told.last["message"].split()[2]
    assert machine.sh(f"ls /nas/postgres/{label}.json")
    assert machine.done("backup")["label"] > label


def test_one_that_is_away_is_named_before_anything_is_copied(machine: Any) -> None:
    machine.sh("mv /elsewhere/backup /elsewhere/gone; touch /elsewhere/backup")
    told = machine.job("backup")
    machine.sh("rm /elsewhere/backup; mv /elsewhere/gone /elsewhere/backup")
    assert told.status == 1
    assert told.last["message"].startswith("the second repository takes nothing")
    assert not told.steps
