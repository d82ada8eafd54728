"""The slow-query report: what it says of what it has seen."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.roles import modules

report = modules.part("postgres_report")

GB = 1024**3
VECTOR = {"table": "spans", "column": "embedding", "dimensions": 384, "rows": 22_000_000, "indexed": False}


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
    asked = report.dimensions_question({"table": '"odd table"', "column": 'odd "column"'})
    assert 'vector_dims("odd ""column""") FROM "odd table"' in asked
