"""What the PostgreSQL benchmark asks, and what it makes of the answers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench.postgres import plot
from bench.postgres.queries import (
    COMMON_QUESTIONS,
    DIMENSIONS,
    OBVIOUS_INDEXES,
    QUESTIONS,
    Kind,
    Sample,
    percentile,
    questions,
    recall,
    role_indexes,
    samples,
    script,
    tuned_table,
)
from bench.postgres.server import SPILLED
from bench.spans import Corpus


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus.of(DIMENSIONS)


def test_the_same_questions_in_every_run(corpus: Corpus) -> None:
    assert questions(corpus) == questions(Corpus.of(DIMENSIONS))
    assert questions(corpus) != questions(Corpus.of(DIMENSIONS, seed=1))


def test_several_different_questions_of_each_kind(corpus: Corpus) -> None:
    for kind, asked in questions(corpus).items():
        wanted = COMMON_QUESTIONS if kind is Kind.RANKED_COMMON else QUESTIONS
        assert len(asked) == len({query.plain for query in asked}) == wanted, kind


def test_common_words_are_in_many_rows_and_rare_ones_in_few(corpus: Corpus) -> None:
    bodies = [set(span.body.split()) for span in corpus.spans(2000)]

    def matching(plain: str) -> list[int]:
        found = re.search(r"to_tsquery\('english', '(\w+) [&|] (\w+)'\)", plain)
        assert found
        return [sum(word in body for body in bodies) for word in found.groups()]

    asked = questions(corpus)
    assert min(min(matching(query.plain)) for query in asked[Kind.RANKED_COMMON]) > 150
    assert max(max(matching(query.plain)) for query in asked[Kind.RANKED_RARE]) < 15


def test_what_is_asked_of_vectors_is_no_row_of_the_table(corpus: Corpus) -> None:
    rows = {span.copy_line().split("\t")[3].strip() for span in corpus.spans(300)}
    asked = [re.search(r"'(\[.*\])'", query.plain) for query in questions(corpus)[Kind.VECTOR]]
    assert all(found and found[1] not in rows for found in asked)


def test_b_computes_tsvectors_and_c_has_them(corpus: Corpus) -> None:
    query = questions(corpus)[Kind.RANKED_COMMON][0]
    assert query.plain.count("to_tsvector(") == 2
    assert "to_tsvector(" not in query.tuned
    stored = query.plain.replace("to_tsvector('english', body)", "words")
    assert query.tuned == stored.replace(" FROM spans ", " FROM spans_words ")


def test_every_part_of_the_words_has_its_index() -> None:
    assert "\\set cores 3\n" in tuned_table(3)
    text = role_indexes(3)[0]
    parts = [re.search(r"spans_text_(\d) ON spans_words_(\d) ", statement) for statement in text.statements]
    assert [found and found.groups() for found in parts] == [("0", "0"), ("1", "1"), ("2", "2")]


def test_graphs_of_b_and_c_are_built_alike() -> None:
    """Else the builds could not be compared: the same method, operators and parameters."""
    hnsw = [
        statement.partition(" USING ")[2]
        for index in (*OBVIOUS_INDEXES, *role_indexes(2))
        if index.name == "hnsw"
        for statement in index.statements
    ]
    assert hnsw == ["hnsw (embedding vector_l2_ops)"] * 2


def test_samples_are_read_from_the_second_time_on() -> None:
    asked = script(["SELECT 1;", "SELECT 2;"], ["SET jit = off;"])
    assert asked.splitlines() == [
        "SET jit = off;",
        "SELECT 1;",
        "SELECT 2;",
        r"\timing on",
        r"\echo begin",
        "SELECT 1;",
        "SELECT 2;",
    ]
    printed = "1\n2\nbegin\n1\n7\nTime: 12.500 ms\nTime: 61234.100 ms (01:01.234)\n"
    assert samples(printed) == [Sample(12.5, (1, 7)), Sample(61234.1, ())]


@pytest.mark.parametrize(("percent", "value"), [(50, 3), (95, 5), (1, 1), (100, 5), (20, 1), (21, 2)])
def test_percentiles_are_values_that_were_seen(percent: float, value: int) -> None:
    assert percentile([5, 3, 1, 2, 4], percent) == value


def test_recall_is_the_part_that_was_found() -> None:
    assert recall([(1, 2), (9,)], [(2, 1), (3, 4)]) == 0.5
    assert recall([()], [(1, 2)]) == 0


@pytest.mark.negative
def test_recall_of_other_questions_is_none() -> None:
    with pytest.raises(ValueError, match="longer"):
        recall([(1,)], [(1,), (2,)])


def test_a_spilled_graph_is_noticed() -> None:
    told = "NOTICE:  hnsw graph no longer fits into maintenance_work_mem after 67057 tuples\nDETAIL:  Building will"
    found = SPILLED.search(told)
    assert found
    assert found[1] == "67057"


@pytest.mark.processes  # matplotlib asks for the fonts of this computer
def test_figures_become_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the picture is drawn with the extra `dev`")
    query = {"A": {"p50_ms": 2000.0}, "B": {"p50_ms": 1000.0}, "C": {"p50_ms": 100.0}}
    figures = {
        "rows": 1000,
        "dimensions": 64,
        "queries": {"ranked_common": query},
        "builds": {"hnsw": {"B": {"seconds": 282.0}, "C": {"seconds": 65.0}}},
    }
    picture = tmp_path / "out" / "postgres.png"
    plot.draw(json.loads(json.dumps(figures)), picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
