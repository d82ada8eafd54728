"""The sessions of the program with a real server: what they keep, how long they wait, what ends with them."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles import modules
from tests.unit.roles.postgres.server import PORT, Server, running
from tests.unit.roles.programs import LIBRARY, PACKAGE, part

client, sql = part("client"), part("sql")
Trouble = part("errors").Trouble
pytestmark = pytest.mark.processes

ACTIVE = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid = {}"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(Server) as made:
        made.sql("postgres", "CREATE TABLE public.spans AS SELECT 1 AS number")
        yield made


@pytest.fixture
def door(server: Server) -> Iterator[Any]:
    """As the program goes through it: root that works as the account."""
    os.seteuid(pwd.getpwnam("postgres").pw_uid)
    try:
        yield sql.Door(server.folder, PORT)
    finally:
        os.seteuid(0)


def test_an_answer_is_one_value(door: Any) -> None:
    assert door.ask("SELECT json_build_object('rows', 12345678901234567890)") == {"rows": 12345678901234567890}
    assert door.ask("SELECT to_json(true)") is True
    assert door.ask("SELECT json_agg(number) FROM public.spans WHERE false") is None
    assert door.ask("CREATE DATABASE other") is None
    assert door.ask("SELECT to_json(current_database())", "other") == "other"


def test_a_session_keeps_its_snapshot_and_its_locks(door: Any) -> None:
    with door.session() as reader, door.session() as writer:
        reader.do("BEGIN ISOLATION LEVEL REPEATABLE READ", "SET LOCAL lock_timeout = '3s'")
        assert reader.ask("SELECT count(*) FROM public.spans") == 1
        writer.do("INSERT INTO public.spans VALUES (2)")
        assert reader.ask("SELECT count(*) FROM public.spans") == 1
        reader.do("SAVEPOINT locks", "LOCK TABLE ONLY public.spans IN SHARE MODE")
        with pytest.raises(sql.SqlError, match="lock timeout"):
            writer.do("SET lock_timeout = 100", "INSERT INTO public.spans VALUES (3)")
        reader.do("ROLLBACK TO SAVEPOINT locks", "SET LOCAL lock_timeout = 0")
        writer.do("DELETE FROM public.spans WHERE number = 2")


def test_time_is_told_while_a_long_query_runs(door: Any) -> None:
    ticks: list[float] = []
    with door.session() as session:
        assert session.ask("SELECT to_json(7) FROM pg_sleep(2.5)", tick=lambda: ticks.append(time.monotonic())) == 7
    assert len(ticks) == 2


@pytest.mark.negative
def test_patience_ends_and_with_the_session_what_was_under_way(door: Any) -> None:
    began = time.monotonic()
    with door.session() as session, door.session() as other:
        pid = session.ask("SELECT pg_backend_pid()")
        with pytest.raises(Trouble, match="database postgres: no answer within 0 s") as refused:
            session.ask("SELECT pg_sleep(600)", patience=0.3)
        assert not isinstance(refused.value, sql.SqlError), "which would be tried again"
        assert other.ask(ACTIVE.format(pid)) == 1
        session.close()
        while other.ask(ACTIVE.format(pid)):
            assert time.monotonic() - began < 30, "the server goes on for nobody"
            time.sleep(0.1)


def test_what_a_module_has_begun_goes_on_without_it(server: Server) -> None:
    """An index is built for hours, and the next run waits for it (postgres_index)."""
    with client.Session(str(server.folder), PORT, pwd.getpwnam("postgres").pw_uid) as session:
        assert session.document("SHOW client_connection_check_interval") == "0"


def test_the_server_is_shown_a_verifier(door: Any) -> None:
    with door.session() as session:
        assert modules.part("scram", "postgres").fits("pencil", session.verifier("pencil", "somebody"))


@pytest.mark.negative
def test_a_refusal_names_the_database_and_never_the_statement(door: Any) -> None:
    with pytest.raises(sql.SqlError) as refused:
        door.ask("SELECT 'secret' FROM nowhere")
    assert refused.value.message == 'database postgres: relation "nowhere" does not exist'
    with pytest.raises(sql.SqlError, match=r'database none: FATAL: +database "none" does not exist'):
        door.ask("SELECT 1", "none")


@pytest.mark.negative
def test_nobody_there_is_told_as_trouble(tmp_path: Path) -> None:
    with pytest.raises(sql.SqlError, match=f"database spans: nothing answers at {tmp_path}"):
        sql.Door(tmp_path, PORT).session("spans")


@pytest.mark.negative
def test_without_psycopg2_the_program_says_so_and_knows_its_way_about() -> None:
    """Where it was removed by hand; `--help` and everything that asks no server still works."""
    told = """
import sys
sys.modules["psycopg2"] = None
import homelab_postgres.__main__
from homelab_host.errors import Trouble
from homelab_postgres.sql import Door
try:
    Door("/nowhere", 1).ask("SELECT 1")
except Trouble as trouble:
    print(trouble.message)
"""
    search = {"PYTHONPATH": f"{PACKAGE.parent}:{LIBRARY.parent}"}
    done = subprocess.run([sys.executable, "-c", told], env=search, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("python3-psycopg2 is not installed on this host")
