"""One database is loaded into a real server: what its owner has planted gains nothing, and everything comes back."""

from __future__ import annotations

import json
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.roles import modules
from tests.unit.roles.postgres.server import PORT, Server, running
from tests.unit.roles.programs import part

client, indexes, report = (modules.part(name, "postgres") for name in ("client", "indexes", "report"))
databases, grants_of = (modules.part(name, "postgres") for name in ("databases", "grants"))
contents = part("contents")
Trouble = part("errors").Trouble

HERE = Path(__file__).parent
ROOT = HERE.parents[3]
PLANTS = (
    "check",
    "generated",
    "index",
    "predicate",
    "trigger",
    "view",
    "domain",
    "partition",
    "cast",
    "path",
    "operator",
    "hash",
)
# Takes the place of the command line: as the program does, it is root and works as the account.
DRIVER = """
import json, sys
from pathlib import Path
from tests.unit.roles.programs import part
account, config, fingerprint, load, sql = map(part, ("account", "config", "fingerprint", "load", "sql"))
what, folder, version = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
setup = config.Setup("db", version, folder / "data", folder, "none", folder, 5999, "main")
account.become("postgres")
door = sql.Door(folder, 5999)
if what == "fingerprint":
    print(json.dumps(fingerprint.take(door, "planted", as_text=True)))
    door.ask(fingerprint.WRITTEN, "planted")
elif what == "load":
    roles = load.roles_of(door, door)
    door.ask("ALTER DATABASE planted RENAME TO before")
    with load.Load(setup, door, folder / "dump", folder) as loading:
        try:
            loading.run("planted", load.owner_of(door, "before"), roles)
        except part("errors").Trouble as trouble:
            sys.exit(f"{trouble.message}: {trouble.evidence}")
        loading.leave("planted")
"""
RIGHTS = """
SET search_path = pg_catalog;
SELECT json_agg(t ORDER BY t) FROM (
    SELECT concat_ws(' ', relname, relowner::regrole, relkind, relrowsecurity, relforcerowsecurity,
        (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(relacl) a))
    FROM pg_class WHERE relnamespace IN ('public'::regnamespace, 'app'::regnamespace)
    UNION ALL SELECT concat_ws(' ', nspname, nspowner::regrole,
        (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(coalesce(nspacl, acldefault('n', nspowner))) a))
    FROM pg_namespace WHERE nspname !~ '^pg_(temp|toast)'
    UNION ALL SELECT concat(conname, pg_get_constraintdef(oid)) FROM pg_constraint
    UNION ALL SELECT concat(polname, polrelid::regclass) FROM pg_policy
    UNION ALL SELECT concat(tgname, tgenabled) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT concat(stxname, stxowner::regrole) FROM pg_statistic_ext
    UNION ALL SELECT concat(defaclrole::regrole, defaclacl) FROM pg_default_acl
    UNION ALL SELECT concat(lomowner::regrole, lo_get(oid)) FROM pg_largeobject_metadata
    UNION ALL SELECT concat(oid::regprocedure, proowner::regrole) FROM pg_proc WHERE oid >= 16384
    UNION ALL SELECT extname FROM pg_extension
    UNION ALL SELECT concat(count(*), ' seen') FROM public.seen
    UNION ALL SELECT concat(setconfig) FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase
        WHERE datname = current_database()
    UNION ALL SELECT obj_description('app.checked'::regclass)) AS all_of_it (t)
"""


class Planted(Server):
    """A server whose database holds every way in which an owner's code could be called."""

    def plant(self) -> None:
        self.sql("postgres", "CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; CREATE DATABASE planted OWNER alice")
        self.sql("planted", "CREATE EXTENSION pg_trgm")
        self.sql("planted", (HERE / "planted.sql").read_text(), user="alice")
        self.let_in("scram-sha-256")

    def dump(self) -> None:
        words = ("--format=directory", "--create", f"--file={self.folder}/dump")
        self.run(str(self.programs / "pg_dump"), f"--host={self.folder}", f"--port={PORT}", *words, "planted")

    def program(self, what: str) -> str:
        """The last line that the program says; those before tell how far it is."""
        words = [sys.executable, "-c", DRIVER, what, str(self.folder), self.programs.parent.name]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
        assert done.returncode == 0, done.stdout + done.stderr
        return (done.stdout.splitlines() or [""])[-1]

    def grabbed(self) -> list[str]:
        """What has run as a superuser: each plant leaves a file then."""
        return sorted(path.name.removeprefix("grabbed by ").strip() for path in self.folder.glob("data/grabbed by *"))


@pytest.fixture
def server() -> Iterator[Planted]:
    with running(Planted) as made:
        made.plant()
        yield made


@pytest.mark.processes
@pytest.mark.negative
def test_nothing_that_an_owner_planted_runs_as_superuser(server: Planted) -> None:
    before = json.loads(server.program("fingerprint"))
    rights = json.loads(server.sql("planted", RIGHTS))
    assert server.grabbed() == [], "the fingerprint was read with functions of the owner's"
    server.dump()
    server.program("load")
    assert json.loads(server.program("fingerprint")) == before
    assert server.grabbed() == []
    assert json.loads(server.sql("planted", RIGHTS)) == rights
    assert server.sql("postgres", "SELECT rolname FROM pg_roles WHERE rolname ~ '^homelab'") == ""
    assert sorted(each.name for each in server.folder.iterdir() if each.name in ("loading", "list")) == []


@pytest.mark.processes
def test_the_plants_would_work(server: Planted) -> None:
    """What the test above is worth: a superuser's pg_restore, and a superuser's everyday questions, run them all."""
    server.dump()
    server.sql("postgres", "ALTER DATABASE planted RENAME TO before")
    door, more = (f"--host={server.folder}", f"--port={PORT}"), ("--create", "--enable-row-security")
    server.run(str(server.programs / "pg_restore"), *door, "--dbname=postgres", *more, f"{server.folder}/dump")
    server.sql("planted", "SELECT to_json('x'::text); SELECT FROM pg_class WHERE relname = 'x'::name")
    server.sql("planted", "SELECT hashtextextended(r.*::text, 0) FROM ONLY app.checked AS r")
    server.sql("planted", "INSERT INTO app.checked (body) VALUES ('x')")
    # PostgreSQL itself fills a view as its owner, as far as anybody knows.
    assert server.grabbed() == sorted({*PLANTS} - {"view"})


@pytest.mark.processes
@pytest.mark.negative
def test_the_modules_of_the_role_call_nothing_of_an_owners(server: Planted) -> None:
    """An index is compared by making it on an empty copy of its table; everything else is asked of catalogs."""
    usual = {"unique": False, "with": {}, "where": None, "memory": None, "state": "present", "name": "i"}
    wanted = {**usual, "database": "planted", "table": "app.checked", "using": "gin"}
    grants = [{"role": "bob", "on": "all tables in schema app", "privileges": ["SELECT"]}]
    with client.Session(str(server.folder), PORT, pwd.getpwnam("postgres").pw_uid, "planted") as session:
        seen = indexes.look(session, {**wanted, "on": "body gin_trgm_ops"})
        assert seen.desired == "USING gin (body public.gin_trgm_ops)"
        indexes.look(
            session, {**wanted, "using": "btree", "on": "(public.grab('index'))", "where": "public.grab('hash')"}
        )
        for question in report.OF_DATABASE.values():
            session.document(question.format(limit=5))
        session.document(grants_of.question(grants))
        session.document(databases.EXTENSIONS)
    assert server.grabbed() == []


LISTING = {
    "pre-data": """\
;
; Archive created at 2026-11-25
3410; 1262 16386 DATABASE - spans alice
7; 2615 16468 SCHEMA - app alice
3411; 0 0 ACL - SCHEMA app alice
2; 3079 16387 EXTENSION - pg_trgm\x20
3412; 0 0 COMMENT - EXTENSION pg_trgm\x20
217; 1259 16470 TABLE app t alice
218; 1259 16471 TABLE app u bob
3414; 0 0 ACL app TABLE t alice
3253; 2604 16473 DEFAULT ACL t id alice
""",
    "data": """\
3404; 0 16470 TABLE DATA app t alice
3405; 0 16471 TABLE DATA app u bob
3406; 0 16999 TABLE DATA app of_an_extension alice
""",
    "post-data": """\
3256; 2606 16478 CONSTRAINT app t t_pkey alice
2090; 826 16487 DEFAULT ACL - DEFAULT PRIVILEGES FOR TABLES alice
3402; 0 16479 MATERIALIZED VIEW DATA public mv alice
3257; 3466 16488 EVENT TRIGGER - on_ddl postgres
""",
}
ROLES = {"alice": False, "bob": False, "postgres": True, "pg_database_owner": False}


def numbers(batch: object) -> list[int]:
    return [int(line.split(";")[0]) for line in batch.lines]  # type: ignore[attr-defined]


def test_each_part_is_loaded_by_its_owner_in_order() -> None:
    found = [(batch.stage.name, batch.owner, numbers(batch)) for batch in contents.batches(LISTING, "alice", ROLES)]
    assert found == [
        ("FRAME", None, [3410, 7, 2, 3412]),
        ("OBJECTS", "alice", [217]),
        ("OBJECTS", "bob", [218]),
        # A default of a table in a schema called ACL is no right, whatever it looks like.
        ("OBJECTS", "alice", [3253]),
        ("DATA", None, [3406]),
        ("DATA", "alice", [3404]),
        ("DATA", "bob", [3405]),
        ("RIGHTS", None, [3414]),
        ("CHECKS", "alice", [3256]),
        ("LAST_RIGHTS", None, [3411, 2090]),
        ("VIEWS", "alice", [3402]),
        ("EVENTS", None, [3257]),
    ]


@pytest.mark.parametrize(
    ("line", "roles", "owner"),
    [
        ("1; 1259 2 TABLE public t alice", {}, "alice"),
        ("1; 1259 2 TABLE public t postgres", {}, None),
        # Two names fit, so it is not certain that it is the superuser's.
        ("1; 1259 2 TABLE public t evil postgres", {"evil postgres": False}, "evil postgres"),
        ("1; 1259 2 TABLE public t two lines", {"two\nlines": False}, "two\nlines"),
        ("1; 2615 2 COMMENT - SCHEMA public pg_database_owner", {}, "alice"),
        ("1; 2605 2 CAST - CAST (app.t AS text) ", {}, None),
        # A superuser by now, wherever the dump comes from, and the other way about.
        ("1; 1259 2 TABLE public t root", {"root": True}, None),
    ],
)
def test_whose_an_entry_is(line: str, roles: dict[str, bool], owner: str | None) -> None:
    assert contents.owner_of(line, "alice", {**ROLES, **roles}) == owner


@pytest.mark.negative
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1; 1259 2 TABLE public t gone", "belongs to gone, and the cluster has no such role"),
        ("1; 1259 2 TABLE public t evil postgres", "belongs to evil postgres"),
        ("1; 1259 2 TABLE public t nobody", "cannot be told"),
    ],
)
def test_an_owner_who_is_not_there_is_named_before_anything_is_loaded(line: str, said: str) -> None:
    with pytest.raises(Trouble, match=said):
        contents.owner_of(line, "alice", {**ROLES, "gone": None, "evil postgres": None})
