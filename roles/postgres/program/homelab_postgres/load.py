"""Load a dump into the cluster such that nothing which an owner has written runs as a superuser.

Constraints, triggers, expressions of indexes, views and defaults call functions, and those are their owners'. `SET
ROLE` in a superuser's session is no protection, because a function can undo it: each owner's part is loaded by a login
of its own, made for this one load, that may become this owner and nobody else.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from homelab_host import report
from homelab_host.errors import Trouble
from homelab_host.process import run

from .client import identifier, literal
from .config import Setup
from .contents import SECTIONS, Batch, Stage, batches
from .sql import Door, SqlError, target

# Silence of pg_dump and pg_restore, which tell of every table and index that they begin.
PATIENCE = 6 * 3600.0
LOGIN = "homelab-loading-"

ROLES = "SELECT json_object_agg(rolname, rolsuper) FROM pg_roles"
OWNER = "SELECT to_json(pg_get_userbyid(datdba)) FROM pg_database WHERE datname = {}"
LEFT_OVER = f"SELECT coalesce(json_agg(rolname), '[]') FROM pg_roles WHERE starts_with(rolname, '{LOGIN}')"
# What they own, or belong to, they may use already.
STRANGERS = """
SELECT coalesce(json_agg(json_build_array(n.nspname, r.rolname)), '[]') FROM pg_namespace n, pg_roles r
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND r.rolname IN ({})
    AND NOT pg_has_role(r.oid, n.nspowner, 'USAGE')
"""


def roles_of(dumped: Door, loaded: Door) -> dict[str, bool | None]:
    """The roles of the cluster that is dumped, and what they are in the one that is loaded."""
    there: Mapping[str, bool] = loaded.ask(ROLES)
    return {name: there.get(name) for name in dumped.ask(ROLES)}


def owner_of(door: Door, database: str) -> str:
    return str(door.ask(OWNER.format(literal(database))))


class Load:
    """One load of one dump; a context that takes its logins away at the end.

    `folder` is for what must not outlive it: the logins' password, and the lists.
    """

    def __init__(self, setup: Setup, door: Door, dump: Path, folder: Path) -> None:
        self._program = str(setup.programs / "pg_restore")
        self._door = door
        self._dump = dump
        self._password_file, self._list_file = folder / "loading", folder / "list"
        self._logins: dict[str, str] = {}

    def __enter__(self) -> Load:
        self._remove_logins()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._remove_logins()
        for each in (self._password_file, self._list_file):
            each.unlink(missing_ok=True)

    def run(self, database: str, owner: str, roles: Mapping[str, bool | None]) -> None:
        """Make the database and load everything into it. Raises `Trouble`; what is half done is for the caller."""
        todo = batches({section: self._listed(section) for section in SECTIONS}, owner, roles)
        self._make_logins({batch.owner for batch in todo if batch.owner is not None})
        strangers: list[list[str]] | None = None
        for batch in todo:
            if batch.stage > Stage.FRAME and strangers is None:
                strangers = self._let_in(database)
            if batch.stage >= Stage.LAST_RIGHTS and strangers:
                self._schemas(database, "REVOKE", "FROM", strangers)
                strangers = []
            self._load(batch, database)
        if strangers:
            self._schemas(database, "REVOKE", "FROM", strangers)

    def leave(self, database: str) -> None:
        """Take from the database what was for the load alone."""
        for login in self._logins.values():
            self._door.ask(f"DROP OWNED BY {identifier(login)}", database)

    def _listed(self, section: str) -> str:
        words = [self._program, "--create", "--list", f"--section={section}", str(self._dump)]
        output = run(words, patience=PATIENCE)
        if output.status != 0:
            raise Trouble("the dump cannot be read", None, output.last_words)
        return output.out

    def _make_logins(self, owners: set[str]) -> None:
        password = secrets.token_hex(32)
        self._logins = {owner: f"{LOGIN}{number}" for number, owner in enumerate(sorted(owners), 1)}
        self._password_file.unlink(missing_ok=True)
        self._password_file.touch(0o600)
        self._password_file.write_text(f"*:*:*:*:{password}\n")
        with self._door.session() as session:
            for owner, login in self._logins.items():
                stored = literal(session.verifier(password, login))
                made = f"CREATE ROLE {identifier(login)} LOGIN NOINHERIT PASSWORD {stored}"
                # What it is from its first moment on, RESET ROLE leads to as well.
                become = f"ALTER ROLE {identifier(login)} SET role = {literal(owner)}"
                session.do(made, f"GRANT {identifier(owner)} TO {identifier(login)}", become)

    def _remove_logins(self) -> None:
        for login in self._door.ask(LEFT_OVER):
            try:
                self._door.ask(f"ALTER ROLE {identifier(login)} NOLOGIN")
                self._door.ask(f"DROP ROLE {identifier(login)}")
            except SqlError as error:
                report.notice(f"the role {login}, which was for a load alone, stays and cannot log in: {error.message}")

    def _let_in(self, database: str) -> list[list[str]]:
        """Let the logins connect, and their owners make what is theirs; rights of their own come with the last."""
        if not self._logins:
            return []
        with self._door.session() as session:
            for login in self._logins.values():
                session.do(f"GRANT CONNECT ON DATABASE {identifier(database)} TO {identifier(login)}")
        strangers: list[list[str]] = self._door.ask(STRANGERS.format(", ".join(map(literal, self._logins))), database)
        self._schemas(database, "GRANT", "TO", strangers)
        return strangers

    def _schemas(self, database: str, verb: str, word: str, strangers: list[list[str]]) -> None:
        with self._door.session(database) as session:
            for schema, role in strangers:
                session.do(f"{verb} USAGE, CREATE ON SCHEMA {identifier(schema)} {word} {identifier(role)}")

    def _load(self, batch: Batch, database: str) -> None:
        self._list_file.write_text("".join(f"{line}\n" for line in batch.lines))
        who, options = self._way_in(batch, database)
        words = [*who, "--exit-on-error", "--verbose", f"--use-list={self._list_file}", *options, str(self._dump)]
        output = run([self._program, *words], patience=PATIENCE)
        if output.status != 0:
            what = f"load {database}" + (f" as {batch.owner}" if batch.owner is not None else "")
            raise Trouble(f"could not {what}; the database in the cluster is as it was", None, output.last_words)

    def _way_in(self, batch: Batch, database: str) -> tuple[list[str], list[str]]:
        if batch.stage is Stage.FRAME:
            return [*self._door.words(), "--dbname=postgres"], ["--create"]
        options = [f"--jobs={os.cpu_count() or 1}"]
        if batch.owner is None:
            return [*self._door.words(), f"--dbname={target(database)}"], options
        if batch.stage is Stage.VIEWS:
            # Row security binds the owners, too, where it is forced; a view holds what its owner may see.
            options.append("--enable-row-security")
        keyed = f"{target(database)} passfile='{self._password_file}'"
        return [*self._door.words(self._logins[batch.owner]), f"--dbname={keyed}"], options
