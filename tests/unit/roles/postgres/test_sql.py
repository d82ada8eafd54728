"""Declarations become SQL: users, databases, extensions, grants. Nothing to do gives nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.roles import modules

client = modules.part("client", "postgres")
users = modules.part("users", "postgres")
databases = modules.part("databases", "postgres")
grants = modules.part("grants", "postgres")
scram = modules.part("scram", "postgres")


def user(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "password": None,
        "login": True,
        "attributes": [],
        "member_of": [],
        "state": "present",
        **more,
    }


def has(**more: Any) -> dict[str, Any]:
    attributes = dict.fromkeys(users.ATTRIBUTES, False)
    return {"password": None, "login": True, "attributes": attributes, "member_of": [], **more}


def database(name: str, **more: Any) -> dict[str, Any]:
    wanted = {"owner": "postgres", "encoding": "UTF8", "extensions": [], "grants": [], "state": "present"}
    return {"name": name, **wanted, "drop_data": False, **more}


def sql(statements: list[Any]) -> list[str]:
    return [statement.sql for statement in statements]


def test_names_and_strings_are_quoted() -> None:
    assert client.identifier('odd "name"') == '"odd ""name"""'
    assert client.literal("it's \\ odd") == "'it''s \\ odd'"
    with pytest.raises(ValueError, match="null character"):
        client.literal("a\0b")


def test_user_is_made_with_a_verifier_and_told_without() -> None:
    made, password = users.statements([user("ada", password="pencil", attributes=["createdb"])], {})
    assert made.sql == 'CREATE ROLE "ada" LOGIN NOSUPERUSER CREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS'
    assert password.sql.startswith('ALTER ROLE "ada" PASSWORD \'SCRAM-SHA-256$4096:')
    assert "pencil" not in password.sql
    assert (made.summary, password.summary) == ("create user ada", "set the password of user ada")


def test_settled_user_needs_nothing() -> None:
    seen = {"ada": has(password=scram.verifier("pencil"), member_of=["readers"]), "readers": has(login=False)}
    wanted = [user("ada", password="pencil", member_of=["readers"]), user("readers", login=False)]
    assert users.statements(wanted, seen) == []


@pytest.mark.parametrize(
    ("wanted", "seen", "statement"),
    [
        (user("ada"), has(password="SCRAM-SHA-256$"), 'ALTER ROLE "ada" PASSWORD NULL'),
        (user("ada", login=False), has(), 'ALTER ROLE "ada" NOLOGIN'),
        (user("ada"), has(member_of=["admins"]), 'REVOKE "admins" FROM "ada"'),
        (user("ada", member_of=["readers"]), has(), 'GRANT "readers" TO "ada"'),
        (user("ada", state="absent"), has(), 'DROP ROLE "ada"'),
    ],
)
def test_what_differs_is_changed(wanted: dict[str, Any], seen: dict[str, Any], statement: str) -> None:
    assert sql(users.statements([wanted], {"ada": seen})) == [statement]


def test_absent_user_who_is_not_there_is_fine() -> None:
    assert users.statements([user("gone", state="absent")], {}) == []


@pytest.mark.parametrize("name", ["postgres", "pg_monitor"])
def test_users_of_postgresql_itself_are_left_alone(name: str) -> None:
    with pytest.raises(ValueError, match="PostgreSQL's own"):
        users.statements([user(name)], {})


def test_who_is_not_listed_is_told() -> None:
    assert users.unlisted([user("ada")], {"ada": has(), "stray": has(), "postgres": has()}) == ["stray"]
    assert databases.unlisted([database("spans")], {"spans": {}, "old": {}, "postgres": {}, "template1": {}}) == ["old"]


def test_database_is_made_and_closed() -> None:
    assert sql(databases.statements([database("spans", owner="ada")], {})) == [
        'CREATE DATABASE "spans" OWNER "ada" ENCODING \'UTF8\' TEMPLATE template0',
        'REVOKE ALL ON DATABASE "spans" FROM PUBLIC',
    ]


def test_settled_database_needs_nothing() -> None:
    seen = {"spans": {"owner": "postgres", "encoding": "UTF8", "open": False}}
    assert databases.statements([database("spans")], seen) == []
    assert sql(databases.statements([database("spans", owner="ada")], seen)) == [
        'ALTER DATABASE "spans" OWNER TO "ada"'
    ]


def test_database_is_dropped_only_if_that_is_said_twice() -> None:
    seen = {"old": {"owner": "postgres", "encoding": "UTF8", "open": False}}
    with pytest.raises(ValueError, match="drop_data: true"):
        databases.statements([database("old", state="absent")], seen)
    dropped = databases.statements([database("old", state="absent", drop_data=True)], seen)
    assert sql(dropped) == ['DROP DATABASE "old" WITH (FORCE)']


def test_encoding_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="dump it"):
        databases.statements([database("spans")], {"spans": {"owner": "postgres", "encoding": "LATIN1", "open": False}})


def test_extensions_are_made_and_updated() -> None:
    seen = {
        "vector": {"has": None, "comes": "0.8.0"},
        "pg_trgm": {"has": "1.5", "comes": "1.6"},
        "unaccent": {"has": "1.1", "comes": "1.1"},
    }
    todo = databases.extension_statements("spans", ["vector", "pg_trgm", "unaccent"], seen)
    assert sql(todo) == [
        'SET LOCAL search_path = public; CREATE EXTENSION "vector" CASCADE',
        'ALTER EXTENSION "pg_trgm" UPDATE',
    ]
    with pytest.raises(ValueError, match="no package on this host brings the extension timescaledb"):
        databases.extension_statements("spans", ["timescaledb"], seen)


def grant(on: str, *privileges: str) -> dict[str, Any]:
    return {"role": "reader", "on": on, "privileges": list(privileges)}


@pytest.mark.parametrize(
    ("wanted", "answer", "statements"),
    [
        (grant("database", "CONNECT"), [[]], ['GRANT CONNECT ON DATABASE "spans" TO "reader"']),
        (grant("database", "CONNECT"), [["CONNECT"]], []),
        (
            grant("schema app", "USAGE"),
            [["CREATE"]],
            ['GRANT USAGE ON SCHEMA "app" TO "reader"', 'REVOKE CREATE ON SCHEMA "app" FROM "reader"'],
        ),
        (grant("table notes"), [["SELECT"]], ['REVOKE SELECT ON TABLE "public"."notes" FROM "reader"']),
        (
            grant("all tables in schema app", "SELECT"),
            [["SELECT"], [], ["SELECT"]],
            ['GRANT SELECT ON ALL TABLES IN SCHEMA "app" TO "reader"'],
        ),
        (
            grant("all tables in schema app", "SELECT"),
            [["SELECT"], []],
            ['ALTER DEFAULT PRIVILEGES FOR ROLE "owner" IN SCHEMA "app" GRANT SELECT ON TABLES TO "reader"'],
        ),
        (grant("all sequences in schema app", "ALL"), [["USAGE", "SELECT", "UPDATE"]] * 2, []),
        (grant("table app.own", "SELECT"), [None], []),  # its own table: there it may do everything
        (grant("table app.later", "SELECT"), None, []),  # which does not exist yet
    ],
)
def test_grants_give_and_take(wanted: dict[str, Any], answer: list[Any] | None, statements: list[str]) -> None:
    assert sql(grants.statements("spans", "owner", [wanted], [answer])) == statements


def test_grant_on_what_does_not_exist_yet_waits() -> None:
    wanted = grant("table app.later", "SELECT")
    assert grants.waiting("spans", [wanted], [None]) == ["spans: reader on table app.later: it does not exist yet"]
    assert grants.waiting("spans", [wanted], [[[]]]) == []


@pytest.mark.parametrize(
    ("wanted", "message"),
    [(grant("everything", "SELECT"), "is none of"), (grant("database", "SELECT"), "no privilege SELECT on `database`")],
)
def test_grant_that_makes_no_sense_is_refused(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grants.statements("spans", "owner", [wanted], [[[]]])


def test_names_in_questions_are_quoted() -> None:
    asked = grants.question([{"role": "o'hara", "on": "table it's.odd", "privileges": []}])
    assert "'o''hara'" in asked
    assert "'it''s'" in asked
