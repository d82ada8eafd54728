"""What a stack has in its own database while a new version is tried, with a real server that is reached with TLS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles import programs
from tests.unit.roles.app_stacks.proven_server import ADDRESS, PASSWORD, Proven
from tests.unit.roles.postgres.server import running

database_copy = programs.stacks("database_copy")
project = programs.stacks("project")

pytestmark = pytest.mark.processes

AS_IT_WAS = """
CREATE EXTENSION pg_trgm;
SET ROLE notes;
CREATE SCHEMA own;
CREATE TABLE own.notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text NOT NULL CHECK (text <> ''));
CREATE INDEX ON own.notes USING gin (text gin_trgm_ops);
INSERT INTO own.notes (text) VALUES ('buy bread'), ('it''s late \\. $$');
COMMENT ON TABLE own.notes IS 'what was noted';
SELECT lo_from_bytea(0, 'a picture');
"""
# As a new version would, before it fails.
SPOILT = "DROP TABLE own.notes; CREATE TABLE migrations (name text); INSERT INTO migrations VALUES ('0002')"
ASKED = """
SELECT (SELECT string_agg(id || text, ',' ORDER BY id) FROM own.notes), obj_description('own.notes'::regclass),
  (SELECT count(*) FROM pg_largeobject_metadata), to_regclass('migrations'),
  (SELECT extowner::regrole FROM pg_extension WHERE extname = 'pg_trgm'),
  has_database_privilege('notes', 'notes', 'CREATE')
"""
BEFORE = "1buy bread,2it's late \\. $$|what was noted|1||postgres|t"


@pytest.fixture(scope="module")
def running_server() -> Iterator[Proven]:
    with running(Proven) as made:
        made.make_notes()
        yield made


@pytest.fixture
def server(running_server: Proven) -> Iterator[Proven]:
    sql(running_server, AS_IT_WAS)
    yield running_server
    running_server.administrator("ALTER ROLE notes PASSWORD 'pass''word'")
    sql(running_server, "DROP EXTENSION pg_trgm CASCADE; DROP OWNED BY notes; GRANT ALL ON DATABASE notes TO notes")


@pytest.fixture
def notes(server: Proven, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stack as it is in force, and the next one that wants to take its place."""
    monkeypatch.setattr(project, "DATA", tmp_path / "data")
    monkeypatch.setattr(project, "PROJECTS", tmp_path / "projects")
    (tmp_path / "data").mkdir()
    made = project.Project("notes")
    for place in (made.home, made.next):
        lay(place, server, PASSWORD)
    return made


def lay(place: Path, server: Proven, password: str, **changed: str) -> None:
    (place / "secrets").mkdir(parents=True, exist_ok=True)
    authority = server.authority.certificate
    need = {
        "host": ADDRESS,
        "port": server.port,
        "database": "notes",
        "user": "notes",
        "authority": authority,
        **changed,
    }
    (place / "stack.json").write_text(json.dumps({"needs": {"mounts": [], "databases": [need]}}))
    (place / "secrets" / "database_password").write_text(password)
    (place / "secrets" / "database_ca.crt").write_text(authority)


def sql(server: Proven, statements: str) -> str:
    words = ("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", f"--host={server.folder}", f"--port={server.port}", "notes")
    return server.run(*words, feed=statements).strip()


def take(notes: Any) -> None:
    notes.home.rename(notes.previous)
    notes.next.rename(notes.home)


def test_what_a_version_has_made_of_it_is_undone(server: Proven, notes: Any) -> None:
    assert sql(server, ASKED) == BEFORE
    database_copy.keep(notes)
    assert notes.dump.stat().st_mode & 0o777 == 0o600
    take(notes)
    sql(server, f"SET ROLE notes; {SPOILT}")
    for _ in range(2):  # one that was broken off is done again
        database_copy.put_back(notes)
        assert sql(server, ASKED) == BEFORE
    notes.clear()
    assert list(project.DATA.iterdir()) == []


def test_a_password_that_changes_with_the_version_opens_it(server: Proven, notes: Any) -> None:
    server.administrator("ALTER ROLE notes PASSWORD 'a:new\\\\one'")
    lay(notes.next, server, "a:new\\\\one")
    database_copy.keep(notes)
    take(notes)
    sql(server, f"SET ROLE notes; {SPOILT}")
    database_copy.put_back(notes)
    assert sql(server, ASKED) == BEFORE


@pytest.mark.negative
def test_a_database_that_cannot_be_copied_is_told_of_and_nothing_is_left(server: Proven, notes: Any) -> None:
    lay(notes.next, server, "a-guess")
    with pytest.raises(programs.library("errors").Trouble, match="the database of notes could not be copied") as caught:
        database_copy.keep(notes)
    assert "password authentication failed" in caught.value.evidence
    assert not notes.dump.exists()
    notes.clear()
    assert list(project.DATA.iterdir()) == []


@pytest.mark.negative
def test_it_is_put_back_whole_or_not_at_all(server: Proven, notes: Any) -> None:
    database_copy.keep(notes)
    take(notes)
    # What hangs on a table of its own belongs to somebody else: the copy cannot be put in its place.
    sql(server, "CREATE TABLE public.foreign_to_it (note bigint REFERENCES own.notes)")
    spoilt = sql(server, ASKED)
    with pytest.raises(programs.library("errors").Trouble, match="could not be put back as it was") as caught:
        database_copy.put_back(notes)
    assert str(notes.dump) in caught.value.hint
    assert sql(server, ASKED) == spoilt
    sql(server, "DROP TABLE public.foreign_to_it")


def test_a_stack_without_one_has_nothing_copied(server: Proven, notes: Any) -> None:
    lay(notes.home, server, PASSWORD, database="", user="", authority="")
    database_copy.keep(notes)
    take(notes)
    database_copy.put_back(notes)
    assert list(project.DATA.iterdir()) == []
