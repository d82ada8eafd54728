"""The slow-query report: what it says of what it has seen."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.roles import modules
from tests.unit.roles.postgres.server import PORT, Server, running

databases, report = (modules.part(name, "postgres") for name in ("databases", "report"))

GB = 1024**3
VECTOR = {
    "table": "spans",
    "column": "embedding",
    "type": "vector",
    "schema": "public",
    "dimensions": 384,
    "rows": 22_000_000,
    "indexed": False,
}


def said(**found: Any) -> str:
    database = {"read_whole": [], "unused_indexes": [], "bloat": [], "vectors": [], **found}
    whole = {"queries": [], "maintenance_work_mem": 4 * GB, "databases": {"spans": database}}
    return "\n".join(report.readable(whole))


def test_memory_is_told_before_anybody_builds() -> None:
    """22 million rows of 384 dimensions: 49 GB as they are, and the graph alone is a third of it in any precision."""
    costed = report.costed(VECTOR, 16 * GB)
    assert {kind: round(number / 1e9) for kind, number in costed["hnsw_bytes"].items()} == {
        "vector": 49,
        "halfvec": 32,
        "bit": 16,
    }
    assert costed["fits"] == ["bit"]
    assert "spans.embedding (22000000 rows of 384 dimensions) has no HNSW index" in said(vectors=[costed])


def test_vectors_of_unknown_length_cost_an_unknown_amount() -> None:
    costed = report.costed({**VECTOR, "dimensions": 0}, 4 * GB)
    assert "built in an unknown amount" in said(vectors=[costed])


@pytest.mark.negative
@pytest.mark.parametrize(
    ("kind", "dimensions", "possible", "refused", "instead"),
    [
        ("vector", 2000, ["vector", "halfvec", "bit"], {}, None),
        ("vector", 2001, ["halfvec", "bit"], {"vector": 2000}, "embedding::halfvec(2001)"),
        ("vector", 3072, ["halfvec", "bit"], {"vector": 2000}, "embedding::halfvec(3072)"),
        ("vector", 4001, ["bit"], {"vector": 2000, "halfvec": 4000}, "binary_quantize(embedding)::bit(4001)"),
        ("halfvec", 4000, ["halfvec", "bit"], {}, None),
        ("halfvec", 4001, ["bit"], {"halfvec": 4000}, "binary_quantize(embedding)"),
        ("halfvec", 64_001, [], {"halfvec": 4000, "bit": 64_000}, "subvector(embedding"),
        ("sparsevec", 1000, ["sparsevec"], {}, None),
        ("sparsevec", 1001, [], {"sparsevec": 1000}, "fewer elements"),
    ],
)
def test_what_cannot_be_indexed_is_left_out_and_why(
    kind: str, dimensions: int, possible: list[str], refused: dict[str, int], instead: str | None
) -> None:
    costed = report.costed({**VECTOR, "type": kind, "dimensions": dimensions}, 2**60)
    assert [*costed["hnsw_bytes"]] == costed["fits"] == possible
    told = said(vectors=[costed])
    assert costed["refused"].keys() == refused.keys()
    for name, most in refused.items():
        assert f"cannot be indexed as {name}: an index has at most {most}" in told
    assert (instead or "it is built in") in told
    assert ("unknown amount" in told) is False


@pytest.mark.parametrize(("valid", "words"), [(True, "never used"), (False, "INVALID, cannot be used")])
def test_indexes_that_help_nobody_are_named(valid: bool, words: str) -> None:
    index = {"name": "spans_body", "table": "spans", "valid": valid, "bytes": 3 * GB}
    assert f"{words}: index spans_body of spans (3 GB)" in said(unused_indexes=[index])


def test_tables_are_named() -> None:
    whole = {"name": "spans", "bytes": GB, "rows": 1000, "scans": 7, "by_index": 0}
    bloat = {"name": "spans", "bytes": GB, "unneeded": GB / 2, "dead": 5}
    told = said(read_whole=[whole], bloat=[bloat])
    assert "read as a whole: spans (1 GB, 1000 rows) 7 times" in told
    assert "larger than its rows: spans (1 GB) by about 512 MB, 5 dead rows" in told


def test_nothing_to_say_is_said() -> None:
    assert said().splitlines()[-1] == "  nothing to say"


def test_column_names_are_quoted() -> None:
    asked = report.dimensions_question({**VECTOR, "table": '"odd table"', "column": 'odd "column"'})
    assert 'public.vector_dims("odd ""column""") FROM "odd table"' in asked


def test_sparse_vectors_are_asked_how_full_they_are() -> None:
    asked = report.dimensions_question({**VECTOR, "type": "sparsevec"})
    assert "max((pg_column_size(v) - 13) / 8)" in asked
    # A head of 16 bytes, or of 13 where the whole is short, and an index and a number for each element.
    assert [(head + 8 * full - 13) // 8 for head, full in ((13, 3), (16, 1000), (16, 0))] == [3, 1000, 0]


class Watched(Server):
    settings = "-c shared_preload_libraries=pg_stat_statements"


@pytest.mark.processes
def test_queries_of_a_real_server_are_told() -> None:
    """The extension is made as the role makes it, and lies where sessions of ours look no names up."""
    comes = {"pg_stat_statements": {"has": None, "comes": ""}}
    (made,) = databases.extension_statements("postgres", [*comes], comes)
    with running(Watched) as server:
        server.sql("postgres", f"BEGIN; {made.sql}; COMMIT; CREATE DATABASE spans")
        server.sql("spans", "CREATE TABLE spans AS SELECT 1 AS number; SELECT number AS seen FROM spans")
        found = modules.module("postgres_report", "postgres").gather(str(server.folder), PORT, 50)
    told = [(query["database"], query["query"], query["rows"]) for query in found["queries"]]
    assert ("spans", "SELECT number AS seen FROM spans", 1) in told
    assert found["databases"].keys() == {"spans"}
    assert found["maintenance_work_mem"] == 64 << 20
