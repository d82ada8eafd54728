"""What is asked, of which table, with which indexes; and what to make of the answers. Pure.

Three configurations of the same rows: **A** Debian's defaults and no index; **B** Debian's defaults and the indexes
that come to mind first; **C** the role's settings, stored tsvectors in a table of their own with a part for each core
(docs/how-to/ranked-search.sql), and the role's indexes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import NamedTuple

from bench.spans import SEED, TOPICS, Corpus

LANGUAGE = "english"
LIMIT = 10
DIMENSIONS = 64
# Rows that no table holds: questions are not answers.
FIRST_QUESTION = 1_000_000_001
# Ranks of words among the 20,000 of the vocabulary: the ten most frequent are in a tenth of the rows, or more; of
# the rare ones there are a few hundred rows in a million.
COMMON, RARE, SUBSTRING = range(1, 11), range(1500, 6000), range(500, 8000)
QUESTIONS = 20
COMMON_QUESTIONS = 6


class Kind(StrEnum):
    """The kinds of query."""

    RANKED_COMMON = "ranked_common"
    RANKED_RARE = "ranked_rare"
    TRIGRAM = "trigram"
    VECTOR = "vector"
    VECTOR_FILTERED = "vector_filtered"  # near the question, and of the topic that the question is of
    VECTOR_FILTERED_APART = "vector_filtered_apart"  # of another topic: no near row passes the filter


VECTORS = (Kind.VECTOR, Kind.VECTOR_FILTERED, Kind.VECTOR_FILTERED_APART)


class Query(NamedTuple):
    """One question: as A and B ask it, and as C does."""

    plain: str
    tuned: str


class Index(NamedTuple):
    """An index by the name that it has in the results, and what makes it: one statement for each part of the table.
    The relations it consists of are named `spans_` and its name, with the number of the part if there are several."""

    name: str
    statements: tuple[str, ...]


TABLE = f"""CREATE EXTENSION vector; CREATE EXTENSION pg_trgm;
CREATE TABLE spans (
    id bigint PRIMARY KEY, topic integer NOT NULL, body text NOT NULL, embedding vector({DIMENSIONS}) NOT NULL
);
"""
WORDS = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "ranked-search.sql").read_text()

TRIGRAM_INDEX = "USING gin (body gin_trgm_ops)"
HNSW_INDEX = "USING hnsw (embedding vector_l2_ops)"
OBVIOUS_INDEXES = (
    Index("text", (f"CREATE INDEX spans_text ON spans USING gin (to_tsvector('{LANGUAGE}', body))",)),
    Index("trigram", (f"CREATE INDEX spans_trigram ON spans {TRIGRAM_INDEX}",)),
    Index("hnsw", (f"CREATE INDEX spans_hnsw ON spans {HNSW_INDEX}",)),
)


def tuned_table(cores: int) -> str:
    """C's tables, as a psql script."""
    return f"{TABLE}\\set cores {cores}\n{WORDS}"


def role_indexes(cores: int) -> tuple[Index, ...]:
    """C's indexes: concurrently, as the role creates them; a table that is in use stays so."""
    trigram = f"{TRIGRAM_INDEX} WITH (fastupdate = off)"
    words = "CREATE INDEX CONCURRENTLY spans_text_{0} ON spans_words_{0} USING gin (words) WITH (fastupdate = off)"
    return (
        Index("text", tuple(words.format(part) for part in range(cores))),
        Index("trigram", (f"CREATE INDEX CONCURRENTLY spans_trigram ON spans {trigram}",)),
        Index("hnsw", (f"CREATE INDEX CONCURRENTLY spans_hnsw ON spans {HNSW_INDEX}",)),
        Index("topic", ("CREATE INDEX CONCURRENTLY spans_topic ON spans (topic)",)),
    )


def questions(corpus: Corpus) -> dict[Kind, list[Query]]:
    """The same questions in every run."""
    chance = Random(SEED)
    common = [chance.sample(COMMON, 2) for _ in range(COMMON_QUESTIONS)]
    rare = [chance.sample(RARE, 2) for _ in range(QUESTIONS)]
    words = [corpus.words[rank - 1] for rank in chance.sample(SUBSTRING, QUESTIONS)]
    spans = list(corpus.spans(QUESTIONS, first=FIRST_QUESTION))
    vectors = ["[" + ",".join([f"{number:.4f}" for number in span.embedding]) + "]" for span in spans]
    return {
        Kind.RANKED_COMMON: [_ranked(" & ".join(corpus.words[rank - 1] for rank in ranks)) for ranks in common],
        Kind.RANKED_RARE: [_ranked(" | ".join(corpus.words[rank - 1] for rank in ranks)) for ranks in rare],
        Kind.TRIGRAM: [_containing(word[1:]) for word in words],
        Kind.VECTOR: [_nearest(vector) for vector in vectors],
        Kind.VECTOR_FILTERED: [
            _nearest(vector, f"WHERE topic = {span.topic} ") for vector, span in zip(vectors, spans, strict=True)
        ],
        Kind.VECTOR_FILTERED_APART: [
            _of_topic(vector, (span.topic + TOPICS // 2) % TOPICS) for vector, span in zip(vectors, spans, strict=True)
        ],
    }


def _ranked(words: str) -> Query:
    def ask(vector: str, table: str) -> str:
        query = f"to_tsquery('{LANGUAGE}', '{words}')"
        order = f"ts_rank({vector}, {query}) DESC, id"
        return f"SELECT id FROM {table} WHERE {vector} @@ {query} ORDER BY {order} LIMIT {LIMIT};"

    return Query(plain=ask(f"to_tsvector('{LANGUAGE}', body)", "spans"), tuned=ask("words", "spans_words"))


def _containing(part: str) -> Query:
    # The shortest spans first: all that match have to be found, nobody can stop at the tenth.
    ask = f"SELECT id FROM spans WHERE body ILIKE '%{part}%' ORDER BY length(body), id LIMIT {LIMIT};"
    return Query(ask, ask)


def _nearest(vector: str, where: str = "") -> Query:
    ask = f"SELECT id FROM spans {where}ORDER BY embedding <-> '{vector}' LIMIT {LIMIT};"
    return Query(ask, ask)


def _of_topic(vector: str, topic: int) -> Query:
    """C takes the topic's rows by their own index and compares them all: few rows pass, none of them near."""
    rows = f"WITH few AS MATERIALIZED (SELECT id, embedding FROM spans WHERE topic = {topic})"
    order = f"ORDER BY embedding <-> '{vector}' LIMIT {LIMIT};"
    return Query(plain=_nearest(vector, f"WHERE topic = {topic} ").plain, tuned=f"{rows} SELECT id FROM few {order}")


class Sample(NamedTuple):
    """One measured query: milliseconds as psql saw them, and the answer."""

    milliseconds: float
    answer: tuple[int, ...]


def script(queries: Sequence[str], settings: Sequence[str] = ()) -> str:
    """A psql script that asks everything twice and times the second time, as a connection that is kept open would."""
    return "\n".join([*settings, *queries, r"\timing on", r"\echo begin", *queries]) + "\n"


def samples(output: str) -> list[Sample]:
    """What the output of `script` says."""
    found: list[Sample] = []
    answer: list[int] = []
    _, _, timed = output.partition("begin\n")
    for line in timed.splitlines():
        if line.startswith("Time: "):
            found.append(Sample(float(line.split()[1]), tuple(answer)))
            answer = []
        else:
            answer.append(int(line))
    return found


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all values do not exceed (nearest rank)."""
    return sorted(values)[max(math.ceil(len(values) * percent / 100), 1) - 1]


def recall(answers: Sequence[tuple[int, ...]], exact: Sequence[tuple[int, ...]]) -> float:
    """The part of the exact answers that was found."""
    found = sum(len({*answer} & {*right}) for answer, right in zip(answers, exact, strict=True))
    return found / sum(map(len, exact))
