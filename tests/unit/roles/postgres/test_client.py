"""The one client of PostgreSQL, as the modules use it, in conversation with a real server."""

from __future__ import annotations

import json
import os
import pwd
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from homelab_provision.image.host_image import recipe_for
from tests.unit.roles import modules
from tests.unit.roles.postgres.server import PORT, PROGRAMS, Server, running

client = modules.part("client", "postgres")
pytestmark = pytest.mark.processes

ODD = "odd 'name' \\ \"host=elsewhere"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(Server) as made:
        yield made


@pytest.fixture(autouse=True)
def own_account() -> Iterator[None]:
    """Whoever does not come back to the own account fails, and nobody after that."""
    own = os.geteuid()
    yield
    seen = os.geteuid()
    os.seteuid(own)
    assert seen == own


def session(server: Server, database: str = "postgres") -> Any:
    return client.Session(str(server.folder), PORT, pwd.getpwnam("postgres").pw_uid, database)


def test_values_come_as_what_they_are(server: Server) -> None:
    with session(server) as opened:
        assert opened.query("SELECT 'zwölf', NULL, 9007199254740993, true UNION ALL SELECT '', '', 0, false") == [
            ("zwölf", None, 9007199254740993, True),
            ("", "", 0, False),
        ]
        assert opened.query("SET work_mem = '4MB'") == []
        assert opened.query("SELECT FROM generate_series(1, 2)") == [(), ()], "rows without columns are rows"


def test_a_document_is_decoded(server: Server) -> None:
    with session(server) as opened:
        assert opened.document("""SELECT '{"a": [12345678901234567890, 0.5, null]}'::json""") == {
            "a": [12345678901234567890, 0.5, None]
        }
        assert opened.document("SELECT json_agg(x) FROM (SELECT 1 WHERE false) AS none (x)") is None


def test_percent_signs_are_only_percent_signs(server: Server) -> None:
    with session(server) as opened:
        assert opened.document("SELECT '100 %, %s, %(name)s'") == "100 %, %s, %(name)s"


def test_any_name_and_any_text_can_be_quoted(server: Server) -> None:
    server.sql("postgres", f"CREATE DATABASE {client.identifier(ODD)}")
    server.sql("postgres", f"ALTER DATABASE {client.identifier(ODD)} SET standard_conforming_strings = off")
    with session(server, ODD) as opened:
        assert opened.query(f"SELECT current_database(), {client.literal(ODD)}") == [(ODD, ODD)]


@pytest.mark.negative
def test_nothing_of_the_callers_environment_leads_elsewhere(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = {
        "HOST": "elsewhere.example",
        "HOSTADDR": "127.0.0.1",
        "PORT": "1",
        "USER": "nobody",
        "DATABASE": "template1",
        "OPTIONS": "-c search_path=public",
        "APPNAME": "somebody",
        "SERVICE": "elsewhere",
        "TZ": "Asia/Tokyo",
        "CLIENTENCODING": "LATIN1",
        "TARGETSESSIONATTRS": "standby",
    }
    for name, value in foreign.items():
        monkeypatch.setenv(f"PG{name}", value)
    with session(server) as opened:
        told = opened.query("SELECT current_user, current_database(), current_setting('search_path')")
        assert told == [("postgres", "postgres", "pg_catalog,pg_temp")]
        assert opened.document("SHOW TimeZone") != "Asia/Tokyo"
        assert opened.document("SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()") == (
            "homelab-provision"
        )


@pytest.mark.negative
def test_an_owner_does_not_say_where_names_are_looked_up(server: Server) -> None:
    server.sql("postgres", "CREATE DATABASE planted; ALTER DATABASE planted SET search_path = mine, pg_catalog")
    server.sql("planted", "CREATE SCHEMA mine; CREATE FUNCTION mine.version() RETURNS text RETURN 'planted'")
    assert server.sql("planted", "SELECT version()") == "planted"
    with session(server, "planted") as opened:
        assert opened.document("SELECT version()").startswith("PostgreSQL")


@pytest.mark.negative
def test_our_statements_are_never_written_down(server: Server) -> None:
    server.sql("postgres", "CREATE DATABASE talkative; ALTER DATABASE talkative SET log_statement = 'all'")
    server.sql("postgres", "ALTER DATABASE talkative SET log_min_duration_statement = 0")
    server.sql("talkative", "SELECT 'said openly'")
    with session(server, "talkative") as opened:
        opened.query("SELECT 'a verifier'")
        with pytest.raises(client.SqlError):
            opened.query("SELECT 'a verifier' FROM nowhere")
    log = (server.folder / "log").read_text()
    assert "said openly" in log
    assert "a verifier" not in log


@pytest.mark.negative
def test_a_refusal_tells_why_and_never_the_statement(server: Server) -> None:
    with session(server) as opened:
        with pytest.raises(client.SqlError) as refused:
            opened.query("SELECT lenght('secret')")
        assert "function lenght(unknown) does not exist; No function matches" in str(refused.value)
        assert refused.value.state == "42883"
        assert "secret" not in str(refused.value)
        with pytest.raises(client.SqlError) as refused:
            opened.query("SELECT 'secret'; SELECT FROM nowhere")
        assert str(refused.value) == 'relation "nowhere" does not exist'
        assert refused.value.state == client.UNDEFINED_TABLE
        with pytest.raises(client.SqlError, match=r"duplicate key.*; Key \(oid\)=\(1\) already exists"):
            opened.query("CREATE TEMPORARY TABLE once (oid int UNIQUE); INSERT INTO once VALUES (1), (1)")
        assert opened.document("SELECT 1") == 1, "the session goes on"


def test_statements_of_one_query_are_one_transaction(server: Server) -> None:
    with session(server) as opened:
        with pytest.raises(client.SqlError, match="division by zero"):
            opened.query("CREATE TABLE public.half_done (); SELECT 1 / 0")
        assert opened.document("SELECT to_regclass('public.half_done')") is None


def test_what_needs_no_transaction_around_it_works(server: Server) -> None:
    with session(server) as opened:
        opened.query("CREATE TABLE public.numbers AS SELECT 1 AS number")
        for statement in (
            "CREATE INDEX CONCURRENTLY ON public.numbers (number)",
            "VACUUM public.numbers",
            "ALTER SYSTEM SET work_mem = '5MB'",
            "CREATE DATABASE short_lived",
            "DROP DATABASE short_lived",
        ):
            opened.query(statement)
    with session(server) as opened:
        assert opened.document("SELECT count(*) FROM public.numbers") == 1, "nothing waits for a COMMIT"


def test_the_account_changes_for_the_connection_alone(server: Server, tmp_path: Path) -> None:
    with session(server):
        assert os.geteuid() == 0
    with pytest.raises(client.SqlError, match="Peer authentication failed"):
        client.Session(str(server.folder), PORT, 0)
    with pytest.raises(client.SqlError, match='database "none" does not exist'):
        session(server, "none")
    with pytest.raises(client.UnreachableError):
        client.Session(str(tmp_path), PORT, pwd.getpwnam("postgres").pw_uid)
    assert os.geteuid() == 0


@pytest.mark.negative
def test_a_server_that_hangs_up_is_told(server: Server) -> None:
    with session(server) as first, session(server) as second:
        pid = first.document("SELECT pg_backend_pid()")
        second.query(f"SELECT pg_terminate_backend({pid}, 5000)")
        with pytest.raises(client.UnreachableError, match=r"hung up on database postgres: .*terminating connection"):
            first.query("SELECT 1")
        with pytest.raises(client.UnreachableError):
            first.query("SELECT 1")


@pytest.mark.negative
def test_nobody_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(client.UnreachableError) as refused:
        client.Session(str(tmp_path), 5432, os.geteuid())
    assert str(refused.value) == f"nothing answers at {tmp_path}/.s.PGSQL.5432: No such file or directory"


@pytest.mark.negative
def test_a_server_that_hangs_is_not_waited_for_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CONNECT_SECONDS", 0.2)
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(f"{tmp_path}/.s.PGSQL.5432")
        deaf.listen()
        with pytest.raises(client.UnreachableError, match=r"nothing answers at .*: no answer within 0 s"):
            client.Session(str(tmp_path), 5432, os.geteuid())


@pytest.mark.negative
def test_a_password_is_not_something_we_have(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where somebody has left the right one."""
    server.sql("postgres", "ALTER ROLE postgres PASSWORD 'left behind'")
    left = server.folder / ".pgpass"
    server.run("sh", "-c", f"umask 077; echo '*:*:*:*:left behind' >{left}")
    monkeypatch.setenv("HOME", str(server.folder))
    monkeypatch.setenv("PGPASSWORD", "left behind")
    server.let_in("trust", administrator="scram-sha-256")
    try:
        server.control("restart")
        with pytest.raises(client.UnreachableError, match="it wants `local all postgres peer`"):
            session(server)
    finally:
        server.let_in("trust")
        server.control("restart")


@pytest.mark.negative
@pytest.mark.skipif(PROGRAMS is None, reason="no PostgreSQL on this computer: apt-get install postgresql")
def test_a_host_without_psycopg2_would_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    monkeypatch.setattr(client, "psycopg2", None)
    required = dict.fromkeys(("data", "config", "service", "socket", "text"), "/x")
    assert PROGRAMS
    told = {**required, "version": PROGRAMS.parent.name, "tuning": {"profile": "x", "memory_share": 1}}
    pair = {"tls": {"certificate": "/x", "key": "/x"}}
    words = {**told, **pair, "_ansible_check_mode": True, "_ansible_remote_tmp": str(tmp_path)}
    with patch_module_args(words), pytest.raises(SystemExit):
        modules.module("postgres_cluster", "postgres").main()
    answer = json.loads(capsys.readouterr().out)
    assert answer["changed"]
    assert answer["actions"] == ["install PostgreSQL and psycopg2 first"]


@pytest.mark.negative
def test_modules_say_that_psycopg2_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    monkeypatch.setattr(client, "psycopg2", None)
    module = modules.module("postgres_report", "postgres")
    facts = tmp_path / "postgres.json"
    facts.write_text(json.dumps({"socket": str(tmp_path), "port": PORT}))
    monkeypatch.setattr(module, "FACTS", facts)
    monkeypatch.setattr(module, "ACCOUNT", "root")
    with patch_module_args({"_ansible_remote_tmp": str(tmp_path)}), pytest.raises(SystemExit):
        module.main()
    answer = json.loads(capsys.readouterr().out)
    assert answer["msg"].startswith("python3-psycopg2 is not installed on this host")
    assert "exception" not in answer


def test_module_documents_what_it_takes() -> None:
    cluster = modules.module("postgres_cluster", "postgres")
    assert yaml.safe_load(cluster.DOCUMENTATION)["options"].keys() == cluster.arguments().keys()


def test_hosts_and_images_get_the_text_behind_the_link() -> None:
    """The program's client is a link to the modules'."""
    text, host_state = Path(client.__file__).read_text(), modules.action("host_state")
    path = "/usr/local/lib/homelab-provision/homelab_postgres/client.py"
    assert dict(host_state.found(modules.ROLES / "postgres", host_state.LATER))[path] == text
    assert recipe_for(["postgres"]).files[path[1:]] == text
