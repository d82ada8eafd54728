"""A host with data: backed up to a NAS that really exports NFS, lost, and back with every row."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from homelab_provision import paths
from homelab_provision.errors import ExitCode
from homelab_provision.lab.sudo import Privilege
from homelab_provision.site.loading import load_site
from homelab_provision.site.vault.store import Vault
from tests.lab.conftest import Homelab

pytestmark = [pytest.mark.lab, pytest.mark.long]

PROJECT = Path(__file__).parents[2]
HOST, ADDRESS = "db-wyse", "192.168.50.10"
ROWS = 3000
SHARE = "/srv/backup/db-wyse"
PSQL = ("runuser", "-u", "postgres", "--", "psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", "spans")
NEAREST = "SELECT id FROM spans ORDER BY embedding <-> %s LIMIT 3"


def sql(homelab: Homelab, text: str, feed: str | None = None) -> str:
    """What psql answers on the host; `feed` is for a COPY from standard input."""
    return homelab.done("lab", "ssh", HOST, "--", *PSQL, "-c", text, feed=feed).stdout.strip()


def load(homelab: Homelab, rows: int, first: int) -> None:
    words = ["--rows", str(rows), "--first", str(first), "--dimensions", "16"]
    made = subprocess.run(
        [sys.executable, "-m", "bench.spans", *words], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    sql(homelab, "COPY spans (id, topic, body, embedding) FROM STDIN", made.stdout)


def archive(homelab: Homelab) -> None:
    """Wait until everything that is committed has reached the NAS."""
    last = sql(homelab, "SELECT pg_walfile_name(pg_switch_wal())")
    give_up = time.monotonic() + 120
    while sql(homelab, f"SELECT last_archived_wal >= '{last}' FROM pg_stat_archiver") != "t":
        assert time.monotonic() < give_up, "the log does not reach the NAS"
        time.sleep(1)


def answers(homelab: Homelab) -> str:
    """Rows and checksum of every table, extensions, versions, and the demo's questions."""
    fingerprint = homelab.on(HOST, "homelab-postgres fingerprint").splitlines()[-1]
    asked = homelab.done("lab", "ssh", HOST, "--", *PSQL, feed=(PROJECT / "tools" / "questions.sql").read_text())
    return fingerprint + "\n" + asked.stdout


class Client:
    """A program of somebody else on the LAN."""

    def __init__(self, homelab: Homelab, folder: Path) -> None:
        site = load_site(homelab.site)
        assert site.lab is not None
        self.password = Vault.of(site.root, name=site.name).read(["secrets"])["secrets"]["secret_spans"]
        self._inside = Privilege.current().inside(site.lab.namespace)
        self._authority = folder / "ca.crt"
        self._authority.write_text(homelab.done("config", "ca").stdout)

    def ask(self, query: str, *parameters: Any, **changed: str) -> dict[str, Any]:
        connection = {
            "host": ADDRESS,
            "dbname": "spans",
            "user": "spans",
            "password": self.password,
            "sslmode": "verify-full",
            "sslrootcert": str(self._authority),
            **changed,
        }
        order = json.dumps({"connection": connection, "queries": [[query, parameters]]})
        said = subprocess.run(
            [*self._inside, sys.executable, "-m", "tests.lab.database_client"],
            input=order, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        answer: dict[str, Any] = json.loads(said.stdout)
        return answer


def refused(homelab: Homelab, said: str) -> None:
    """A rebuild of the living host is refused in preflight, before any machine is touched."""
    done = homelab.run("rebuild", HOST, "--onto", "wyse-a", "--yes")
    assert done.returncode == ExitCode.REFUSED, done.stderr
    assert said in done.stderr
    assert [phase["name"] for phase in homelab.latest()["phases"]] == ["preflight"]


def test_a_lost_database_comes_back_with_every_row(homelab: Homelab, tmp_path: Path) -> None:
    for machine in ("nas-a", "wyse-a"):
        homelab.done("lab", "install", machine)
    homelab.done("apply", "nas", HOST)
    sql(homelab, (PROJECT / "tools" / "spans.sql").read_text())
    load(homelab, ROWS, 1)
    homelab.done("apply", HOST)
    assert sql(homelab, "SELECT count(*) FROM pg_index WHERE indisvalid AND indrelid = 'spans'::regclass") == "3"

    client = Client(homelab, tmp_path)
    clients_get_in_with_tls_and_their_password_only(client)
    backups_are_judged_before_anything_is_wiped(homelab)
    the_database_goes_back_to_a_time(homelab)

    load(homelab, 50, ROWS + 1)  # after the last backup: they are in the archived log only
    archive(homelab)
    before = answers(homelab)
    assert f'"rows": {ROWS + 50}' in before
    machine_id = homelab.on(HOST, "cat /etc/machine-id")
    homelab.machine("wyse-a").power_off()
    the_nas_vanishes_during_the_restore(homelab)
    assert answers(homelab) == before
    assert homelab.on(HOST, "cat /etc/machine-id") == machine_id
    assert client.ask(NEAREST, [0.0] * 16)["rows"], "the same certificate, the same password"

    data_that_is_kept_needs_no_restore(homelab, before)
    homelab.done("verify", HOST)
    the_password_shows_nowhere(homelab, client.password)


def clients_get_in_with_tls_and_their_password_only(client: Client) -> None:
    query = "SELECT id, embedding FROM spans WHERE id = 42"
    told = client.ask(query)
    assert "rows" in told, told
    ((number, vector),) = told["rows"][0]
    assert (number, len(vector)) == (42, 16)
    assert client.ask(NEAREST, vector)["rows"][0][0] == [42]
    assert "password authentication failed" in client.ask(query, password="wrong")["error"]
    assert "no encryption" in client.ask(query, sslmode="disable")["error"]
    assert "postgres" in client.ask(query, user="postgres")["error"]
    assert 'database "postgres"' in client.ask(query, dbname="postgres")["error"]
    assert "permission denied" in client.ask("SELECT pg_read_file('/etc/passwd')")["error"]


def backups_are_judged_before_anything_is_wiped(homelab: Homelab) -> None:
    refused(homelab, "there is no backup")
    homelab.done("backup", HOST, "--type", "full")
    refused(homelab, "no backup was ever restored and compared")
    proven = json.loads(homelab.done("backup", HOST, "--prove", "--json").stdout)["postgres"]
    assert proven["rows"] == ROWS
    planned = homelab.run("rebuild", HOST, "--onto", "wyse-a", "--plan", "--json")
    assert planned.returncode == ExitCode.CHANGES_PENDING, planned.stderr
    assert json.loads(planned.stdout)["backups"][0]["label"] == proven["label"]

    proof = f"{SHARE}/postgres/proof.json"
    old = (datetime.now(UTC) - timedelta(days=9)).isoformat()
    homelab.on("nas", f'cp -p {proof} /root/proof; sed -i \'s/"proven": *"[^"]*"/"proven": "{old}"/\' {proof}')
    refused(homelab, "the last proof is 9 days old")
    refused(homelab, "was changed after it was signed")
    homelab.on("nas", f"cp -p /root/proof {proof}")
    largest = homelab.on("nas", f"find {SHARE}/pgbackrest/backup -type f | xargs ls -S | head -n1").strip()
    homelab.on("nas", f"cp -p {largest} /root/whole; head -c -1 /root/whole >{largest}")
    refused(homelab, "the repository is damaged")
    homelab.on("nas", f"cp -p /root/whole {largest}")
    homelab.machine("nas-a").set_link(False)
    refused(homelab, "192.168.50.20 does not answer")
    homelab.machine("nas-a").set_link(True)


def the_database_goes_back_to_a_time(homelab: Homelab) -> None:
    before = answers(homelab)
    moment = sql(homelab, "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')") + "Z"
    time.sleep(1)
    sql(homelab, "DELETE FROM spans WHERE id > 10")
    archive(homelab)
    done = json.loads(homelab.done("restore", HOST, "--to", moment, "--yes", "--json").stdout)["postgres"]
    assert done["rows"] == ROWS
    assert answers(homelab) == before


def the_nas_vanishes_during_the_restore(homelab: Homelab) -> None:
    child = homelab.start("rebuild", HOST, "--onto", "wyse-b", "--yes")
    homelab.wait_for("phase_started", "restore", child)
    homelab.wait_for("step_started", "copy the backup", child)
    homelab.machine("nas-a").set_link(False)
    _, said = child.communicate(timeout=900)
    assert child.returncode == ExitCode.FAILED, said
    failed = homelab.latest()["phases"][-1]
    assert (failed["name"], failed["result"]) == ("restore", "failed")
    assert "/mnt/backup" in said
    homelab.machine("nas-a").set_link(True)
    homelab.done("rebuild", HOST, "--resume", "--yes")
    shown = homelab.latest()
    assert shown["result"] == "proven", shown
    restored = next(phase["proof"] for phase in shown["phases"] if phase["name"] == "restore")
    assert restored["data"] == "restored"
    assert restored["restored"]["postgres"]["rows"] == ROWS + 50


def data_that_is_kept_needs_no_restore(homelab: Homelab, before: str) -> None:
    cluster = "SELECT system_identifier FROM pg_control_system()"
    same = sql(homelab, cluster), homelab.on(HOST, "stat -c '%i %u:%g' /srv/postgresql/17/main")
    homelab.on(HOST, "touch /root/gone; sync")
    homelab.done("rebuild", HOST, "--onto", "wyse-b", "--keep-data", "--yes")
    shown = homelab.latest()
    assert shown["result"] == "proven", shown
    assert next(phase["proof"] for phase in shown["phases"] if phase["name"] == "restore")["data"] == "kept"
    assert (sql(homelab, cluster), homelab.on(HOST, "stat -c '%i %u:%g' /srv/postgresql/17/main")) == same
    assert answers(homelab) == before
    assert homelab.run("lab", "ssh", HOST, "--", "test", "-e", "/root/gone").returncode == ExitCode.FAILED


def the_password_shows_nowhere(homelab: Homelab, password: str) -> None:
    """Not in what the controller keeps, nor in the host's logs, its processes, or what lies on the NAS."""
    kept = [*homelab.runs_folder.rglob("*"), *homelab.site.rglob("*"), *paths.state().rglob("*.log")]
    assert not [file for file in kept if file.is_file() and password.encode() in file.read_bytes()]
    pattern = f"/srv/pattern-{int(time.time())}"
    seek = (
        f"cat >{pattern}; %s; journalctl -q -o cat | grep -qFf {pattern} && echo in the journal;"
        f" grep -rlFf {pattern} /var/log /etc /run/homelab-provision /tmp 2>/dev/null;"
        f" cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | grep -qaFf {pattern} && echo in a process;"
        f" rm {pattern}; echo done"
    )
    planted = homelab.on(HOST, seek % f"cp {pattern} /tmp/planted", password + "\n")
    assert planted.splitlines() == ["/tmp/planted", "done"], "the search finds nothing"
    assert homelab.on(HOST, seek % "rm /tmp/planted", password + "\n").splitlines() == ["done"]
    seek = f"cat >/root/pattern; grep -rlFf /root/pattern {SHARE}/postgres; rm /root/pattern; echo done"
    assert homelab.on("nas", seek, password + "\n").splitlines() == ["done"]
