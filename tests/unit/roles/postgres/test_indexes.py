"""Indexes as data: the statement, and the steps from what stands there to what is declared."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.roles import modules

indexes = modules.part("indexes", "postgres")
Built, Situation = indexes.Built, indexes.Situation

GOOD = Built(True, "USING gin (words)")
OTHER = Built(True, "USING gin (words) WITH (fastupdate=off)")
BROKEN = Built(False, "USING gin (words)")

BUILD = 'CREATE INDEX CONCURRENTLY "spans_words" ON "public"."spans" USING "gin" (words)'
BUILD_NEW = BUILD.replace("spans_words", "spans_words_new")
DROP = 'DROP INDEX CONCURRENTLY "public"."spans_words"'
DROP_NEW = 'DROP INDEX CONCURRENTLY "public"."spans_words_new"'
RENAME = 'ALTER INDEX "public"."spans_words_new" RENAME TO "spans_words"'


def index(**more: Any) -> dict[str, Any]:
    usual = {"unique": False, "with": {}, "where": None, "memory": None, "state": "present"}
    return {
        "database": "spans",
        "table": "spans",
        "name": "spans_words",
        "using": "gin",
        "on": "words",
        **usual,
        **more,
    }


def test_definition_becomes_a_statement() -> None:
    wanted = index(
        name="near",
        table="app.spans",
        using="hnsw",
        on="(embedding::halfvec(384)) halfvec_cosine_ops",
        **{"with": {"m": 16, "ef_construction": 64}},
        where="embedding IS NOT NULL",
    )
    assert indexes.creation(wanted, "near", '"app"."spans"') == (
        'CREATE INDEX CONCURRENTLY "near" ON "app"."spans" USING "hnsw" '
        "((embedding::halfvec(384)) halfvec_cosine_ops) WITH (\"ef_construction\" = '64', \"m\" = '16') "
        "WHERE embedding IS NOT NULL"
    )


@pytest.mark.parametrize(
    ("wanted", "message"), [({"name": "n" * 60}, "longer than 59 bytes"), ({"on": None}, "does not say what it is on")]
)
def test_index_that_cannot_be_built_is_refused(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        indexes.creation(index(**wanted), "name", '"spans"')


def test_definitions_are_compared_without_their_names() -> None:
    shape = indexes.definition("CREATE INDEX shape_index ON pg_temp_3.shape USING gin (words)")
    assert shape == indexes.definition('CREATE INDEX spans_words ON public."odd table" USING gin (words)')
    assert shape != indexes.definition("CREATE UNIQUE INDEX spans_words ON public.spans USING gin (words)")


@pytest.mark.parametrize(
    ("old", "new", "steps"),
    [
        (None, None, [BUILD]),
        (GOOD, None, []),
        (BROKEN, None, [DROP, BUILD]),
        (OTHER, None, [BUILD_NEW, DROP, RENAME]),
        # Killed while the successor was built, after it was complete, and after the old one was dropped:
        (OTHER, BROKEN, [DROP_NEW, BUILD_NEW, DROP, RENAME]),
        (OTHER, GOOD, [DROP, RENAME]),
        (None, GOOD, [RENAME]),
        # The declaration went back to what it was.
        (GOOD, BROKEN, [DROP_NEW]),
        (GOOD, GOOD, [DROP_NEW]),
        (BROKEN, GOOD, [DROP, RENAME]),
        (None, OTHER, [DROP_NEW, BUILD]),
    ],
)
def test_steps_lead_from_anywhere_to_the_declared_index(old: Any, new: Any, steps: list[str]) -> None:
    assert indexes.steps(index(), Situation(old, new, GOOD.definition)) == steps


@pytest.mark.parametrize("old", [None, GOOD, BROKEN])
def test_absent_index_is_dropped(old: Any) -> None:
    assert indexes.steps(index(state="absent"), Situation(old, None, "")) == ([DROP] if old else [])


@pytest.mark.parametrize(
    ("old", "told"),
    [
        (None, "build"),
        (OTHER, "build anew, its definition has changed"),
        (BROKEN, "build anew, an earlier build did not come to its end"),
    ],
)
def test_why_is_told(old: Any, told: str) -> None:
    assert indexes.summary(index(), Situation(old, None, GOOD.definition)) == told


class Server:
    """Answers as PostgreSQL would; `refusal` is the SQLSTATE with which it refuses the declared index, `kind` is the
    table's `relkind`."""

    def __init__(self, refusal: str = "", kind: str = "r", message: str = "no such thing") -> None:
        self.refusal, self.kind, self.message, self.heard = refusal, kind, message, [""]

    def query(self, sql: str) -> list[list[str]]:
        self.heard.append(sql)
        return [['"spans owner"', self.kind, "pg_catalog, public, pg_temp"]]

    def document(self, sql: str) -> Any:
        self.heard.append(sql)
        if "CREATE TEMPORARY TABLE" in sql:
            if self.refusal:
                raise indexes.SqlError(self.message, self.refusal)
            return "CREATE INDEX i ON t USING gin (words)"
        return {"spans_words": {"valid": True, "text": "CREATE INDEX spans_words ON public.spans USING gin (words)"}}


def test_server_is_asked_for_its_own_wording() -> None:
    seen = indexes.look(Server(), index())
    assert seen == Situation(GOOD, None, GOOD.definition)
    assert indexes.steps(index(), seen) == []


def test_what_a_definition_calls_is_tried_as_the_owner_of_the_table() -> None:
    server = Server()
    indexes.look(server, index())
    tried = next(sql for sql in server.heard if "CREATE INDEX" in sql)
    assert tried.index('OWNER TO "spans owner"') < tried.index("SET LOCAL search_path = pg_catalog, public, pg_temp")
    assert tried.index("CREATE INDEX") < tried.index("SET LOCAL search_path = pg_catalog, pg_temp")


@pytest.mark.negative
def test_too_many_dimensions_are_refused_with_a_way_out() -> None:
    message = "column cannot have more than 2000 dimensions for hnsw index"
    with pytest.raises(ValueError, match=r"cannot have more than 2000.*`halfvec` of 4000.*halfvec\(3072\)"):
        indexes.look(Server("54000", message=message), index(using="hnsw", on="embedding vector_cosine_ops"))


@pytest.mark.parametrize("state", ["42P01", "42703", "3F000"])
def test_index_on_what_does_not_exist_yet_waits(state: str) -> None:
    server = Server(state)
    assert indexes.look(server, index()) == "no such thing"
    assert server.heard[-1] == "ROLLBACK"


def test_wrong_definition_is_found_before_anything_is_built() -> None:
    with pytest.raises(ValueError, match="spans_words on spans: no such thing"):
        indexes.look(Server("42704"), index())


@pytest.mark.negative
def test_index_of_a_partitioned_table_is_wanted_for_each_partition() -> None:
    with pytest.raises(ValueError, match=r"the table spans is partitioned.*declare one for each partition"):
        indexes.look(Server(kind="p"), index())
