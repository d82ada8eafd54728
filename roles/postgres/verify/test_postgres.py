"""What a host shows when the role `postgres` has done its work."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

FACTS = "/etc/homelab-provision/postgres.json"
DOORS = Path(__file__).with_name("doors.py").read_text()
PSQL = "cd / && runuser -u postgres -- psql -XAtq -h /var/run/postgresql"
ARCHIVE_SECONDS = 30

SETTINGS = """
SELECT json_object_agg(name, setting) FROM pg_settings WHERE name IN
    ('data_directory', 'data_checksums', 'listen_addresses', 'ssl', 'ssl_min_protocol_version', 'password_encryption',
     'server_encoding', 'shared_preload_libraries', 'archive_mode', 'server_version', 'allow_alter_system')
"""
# For each database what it has of its own, and the nearest of three vectors where it wants pgvector.
DATABASE = r"""
SELECT json_build_object('database', current_database(),
    'extensions', (SELECT json_agg(extname) FROM pg_extension),
    'indexes', (SELECT coalesce(json_object_agg(indexrelid::regclass, indisvalid), '{}') FROM pg_index)) AS answer,
    EXISTS (SELECT FROM pg_extension WHERE extname = 'vector') AS vectors \gset
\echo :answer
\if :vectors
SELECT json_build_object('database', current_database(), 'nearest', place) FROM
    (VALUES ('east', '[1,0,0]'::vector), ('north', '[0,1,0]'), ('up', '[0,0,1]')) AS known (place, direction)
ORDER BY direction <=> '[0.2,0.9,0.1]' LIMIT 1;
\endif
"""
COMPLAINTS = """
SELECT error FROM pg_hba_file_rules WHERE error IS NOT NULL
UNION ALL SELECT error FROM pg_ident_file_mappings WHERE error IS NOT NULL
"""


def fact(expression: str) -> str:
    """Shell that gives a part of the facts; `f` are all of them."""
    return f"$(python3 -c \"import json; f = json.load(open('{FACTS}')); print({expression})\")"


DATABASES, SERVICE, REPOSITORY = fact("*f['databases']"), fact("f['service']"), fact("f['repository'] or ''")

QUESTIONS = {
    "facts": f"cat {FACTS}",
    "settings": f'{PSQL} -c "{SETTINGS}"',
    "complaints": f'{PSQL} -c "{COMPLAINTS}"',
    "databases": f"for name in {DATABASES}; do {PSQL} -d $name <<'SQL'\n{DATABASE}\nSQL\ndone",
    "listening": "ss -Htln 'sport = :5432'",
    "service": f"systemctl show --property=ActiveState,UnitFileState,RequiresMountsFor,Restart {SERVICE}",
    "timers": "systemctl is-enabled homelab-backup@postgres.timer homelab-prove@postgres.timer",
    "secrets": "stat --format='%a %U:%G %n' /etc/postgresql/*/main/server.key /etc/postgresql/*/main/pg_hba.conf"
    f" /etc/pgbackrest/pgbackrest.conf /etc/pgbackrest/conf.d/second.conf"
    f" /etc/pgbackrest/conf.d/key.conf {FACTS} 2>/dev/null; true",
    "stored": f"{PSQL} -c \"SELECT count(*) FROM pg_authid WHERE rolpassword NOT LIKE 'SCRAM-SHA-256\\$%'\"",
    "ipc": "systemd-analyze cat-config systemd/logind.conf | grep ^RemoveIPC= | tail -n1",
    "huge": "cat /sys/kernel/mm/transparent_hugepage/shmem_enabled;"
    " systemd-detect-virt --quiet --container && echo container",
    "program": "/usr/local/sbin/homelab-postgres --help",
    "archive": f'repository={REPOSITORY}; [ -n "$repository" ] || {{ echo no share; exit; }};'
    " timeout 15 ls $repository/archive/main >/dev/null 2>&1 || { echo no backup; exit; };"
    f" cd / && timeout {ARCHIVE_SECONDS * 2} runuser -u postgres -- pgbackrest --stanza=main"
    f" --log-level-console=info --archive-timeout={ARCHIVE_SECONDS} check",
    # What describes the repository and its backups, and the log. Not the files of backups: where a backup keeps blocks,
    # pgBackRest leaves the mark of what is encrypted out (cipherBlock.c, `raw`), and nothing tells it from noise.
    "repository": f'repository={REPOSITORY}; [ -n "$repository" ] || {{ echo no share; exit; }};'
    " cd / && timeout 15 runuser -u postgres -- find $repository -type f '(' -name '*.info' -o -name backup.manifest"
    " -o -path '*/archive/*' -name '0*' ')' | head -n 40"
    " | while read -r f; do echo $(runuser -u postgres -- head --bytes=8 $f | od -An -tx1 | tr -d ' ') $f; done",
    "doors": f"python3 - <<'END'\n{DOORS}\nEND",
}


@pytest.fixture(scope="module")
def facts(answers: Any) -> dict[str, Any]:
    return dict(json.loads(answers["facts"].text))


@pytest.fixture(scope="module")
def settings(answers: Any) -> dict[str, str]:
    assert answers["settings"].status == 0, answers["settings"].text
    return dict(json.loads(answers["settings"].text))


@pytest.fixture(scope="module")
def databases(answers: Any) -> list[dict[str, Any]]:
    assert answers["databases"].status == 0, answers["databases"].text
    return [json.loads(line) for line in answers["databases"].text.splitlines()]


@pytest.fixture(scope="module")
def inside(answers: Any) -> dict[str, str]:
    assert answers["doors"].status == 0, answers["doors"].text
    return dict(json.loads(answers["doors"].text)["inside"])


@pytest.fixture(scope="module")
def network(answers: Any) -> dict[str, Any]:
    tried = dict(json.loads(answers["doors"].text)["network"])
    if not tried:
        pytest.skip("no address of this host is among those that may connect")
    return tried


def test_server_runs_and_comes_with_the_boot(answers: Any) -> None:
    shown = dict(line.split("=", 1) for line in answers["service"].text.splitlines())
    assert shown["ActiveState"] == "active"
    # Debian's own generator enables every cluster anew at each boot, for good as far as anybody can tell.
    assert shown["UnitFileState"] in ("enabled", "enabled-runtime")
    assert shown["Restart"] == "on-failure"


def test_server_waits_for_its_data(answers: Any, facts: Any) -> None:
    shown = dict(line.split("=", 1) for line in answers["service"].text.splitlines())
    assert facts["data"] in shown["RequiresMountsFor"].split()


def test_version_is_the_one_that_was_asked_for(settings: Any, facts: Any) -> None:
    assert settings["server_version"].split(".")[0] == facts["version"]


def test_data_lies_below_srv(settings: Any, facts: Any) -> None:
    assert settings["data_directory"] == facts["data"]
    assert settings["data_directory"].startswith("/srv/")


def test_pages_carry_checksums(settings: Any) -> None:
    assert settings["data_checksums"] == "on"


def test_databases_are_there_with_their_extensions(databases: Any, facts: Any) -> None:
    seen = {row["database"]: row for row in databases if "extensions" in row}
    assert seen.keys() == facts["databases"].keys()
    for name, desired in facts["databases"].items():
        assert set(desired) <= set(seen[name]["extensions"])


def test_nearest_neighbour_is_found(databases: Any, facts: Any) -> None:
    desired = {name for name, extensions in facts["databases"].items() if "vector" in extensions}
    if not desired:
        pytest.skip("no database wants the extension vector")
    assert {row["database"]: row["nearest"] for row in databases if "nearest" in row} == dict.fromkeys(desired, "north")


@pytest.mark.negative
def test_no_index_was_left_half_built(databases: Any) -> None:
    indexes = {name: valid for row in databases for name, valid in row.get("indexes", {}).items()}
    assert indexes
    assert [name for name, valid in indexes.items() if not valid] == []


@pytest.mark.negative
def test_nothing_listens_where_nothing_is_declared(answers: Any, facts: Any) -> None:
    listening = {line.split()[3].rpartition(":")[0].strip("[]") for line in answers["listening"].text.splitlines()}
    assert listening == set(facts["listen"])


@pytest.mark.negative
def test_logging_out_does_not_take_the_memory_away(answers: Any) -> None:
    assert answers["ipc"] == (0, "RemoveIPC=no")


def test_buffers_may_lie_in_huge_pages(answers: Any) -> None:
    output = answers["huge"].text
    if output.endswith("container"):
        pytest.skip("a container has no kernel of its own to be set")
    assert "[within_size]" in output


@pytest.mark.negative
def test_server_has_no_complaint_about_its_files(answers: Any) -> None:
    assert answers["complaints"] == (0, "")


@pytest.mark.negative
def test_right_password_opens_and_a_wrong_one_does_not(inside: Any) -> None:
    assert inside["right password"] == "in"
    assert "password authentication failed" in inside["wrong password"]


@pytest.mark.negative
def test_user_without_rights_can_neither_write_nor_read(inside: Any) -> None:
    assert "permission denied for schema public" in inside["write"]
    assert "permission denied for table pg_authid" in inside["read"]


@pytest.mark.negative
def test_user_without_rights_does_not_even_enter(inside: Any, facts: Any) -> None:
    for database in facts["databases"]:
        assert "permission denied for database" in inside[f"enter {database}"]


@pytest.mark.negative
def test_passwords_are_written_nowhere(inside: Any, answers: Any) -> None:
    assert inside["change"] == ""
    assert "does not exist" in inside["fail"] or "permission denied" in inside["fail"]
    assert inside["passwords written down"] == "0"
    assert answers["stored"] == (0, "0")


@pytest.mark.negative
def test_keys_are_nobody_elses_business(answers: Any) -> None:
    seen = {line.split()[2]: line.split()[:2] for line in answers["secrets"].text.splitlines()}
    assert ["600", "postgres:postgres"] in [mode for path, mode in seen.items() if path.endswith("/server.key")]
    assert not [path for path, (mode, _) in seen.items() if int(mode, 8) & 0o027]


def test_who_may_connect_is_asked_for_the_password(network: Any) -> None:
    assert network["allowed"] == "asks for the password"


@pytest.mark.negative
def test_wrong_password_is_refused_over_the_network(network: Any) -> None:
    assert "password authentication failed" in network["wrong password"]


@pytest.mark.negative
def test_nobody_comes_without_tls(network: Any) -> None:
    assert network["allowed"] == "asks for the password"
    assert re.search(r"pg_hba.conf rejects connection .* no encryption", network["plain"])


@pytest.mark.negative
def test_foreign_address_is_refused(network: Any) -> None:
    assert network["allowed"] == "asks for the password"
    assert 'pg_hba.conf rejects connection for host "198.51.100.1"' in network["foreign"]


@pytest.mark.negative
def test_administrator_comes_from_nowhere_else(network: Any) -> None:
    assert "pg_hba.conf rejects connection" in network["administrator"]


@pytest.mark.negative
def test_firewall_is_silent_to_a_foreign_address(network: Any) -> None:
    heard = network["firewall"]
    assert heard["trouble"] == ""
    assert heard["ssh"] == "open", "the way itself is closed, so silence proves nothing"
    assert heard["postgres"] == "silent"


def test_program_for_backups_is_there(answers: Any) -> None:
    assert answers["program"].status == 0, answers["program"].text


def test_backups_come_by_themselves_where_there_is_a_share(answers: Any, facts: Any, settings: Any) -> None:
    desired = "enabled" if facts["share"] else "disabled"
    assert answers["timers"].text.split() == [desired] * 2
    assert settings["archive_mode"] == ("on" if facts["share"] else "off")


def test_log_is_archived(answers: Any) -> None:
    if answers["archive"].text in ("no share", "no backup"):
        pytest.skip(f"{answers['archive'].text} yet, so nothing is archived")
    assert answers["archive"].status == 0, answers["archive"].text
    assert "successfully archived" in answers["archive"].text


def unsealed(heads: str) -> list[str]:
    """The files, each after its first bytes in hex, that do not begin as what OpenSSL encrypts with a password."""
    return [line for line in heads.splitlines() if not line.startswith(f"{b'Salted__'.hex()} ")]


@pytest.mark.negative
def test_backups_are_nobody_elses_to_read(answers: Any, facts: Any) -> None:
    if answers["repository"].text in ("no share", ""):
        pytest.skip("there are no backups yet")
    if not facts["encrypted"]:
        pytest.skip("this host's backups have no key (postgres_backup_key)")
    assert unsealed(answers["repository"].text) == []
