"""The spans that databases are measured and restored with: the same every time, and like text."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise
from types import SimpleNamespace

import pytest

from bench.spans import LONGEST, SHORTEST, Corpus, main

DIMENSIONS = 8


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus.of(DIMENSIONS)


def test_a_row_is_the_same_in_every_run_and_wherever_one_begins(corpus: Corpus) -> None:
    again = Corpus.of(DIMENSIONS)
    assert list(corpus.spans(3, first=98)) == list(again.spans(100))[97:]
    assert corpus.span(1).copy_line() != Corpus.of(DIMENSIONS, seed=1).span(1).copy_line()


def test_rows_differ(corpus: Corpus) -> None:
    spans = list(corpus.spans(1000))
    assert len({span.body for span in spans}) == len({span.embedding for span in spans}) == 1000
    assert [span.id for span in spans] == list(range(1, 1001))


def test_words_follow_zipf(corpus: Corpus) -> None:
    """The word of rank r is 1/r as frequent as the first, within what 60,000 words allow."""
    seen = Counter(word for span in corpus.spans(5000) for word in span.body.split())
    first = seen[corpus.words[0]]
    for rank in (2, 4, 8, 16):
        assert seen[corpus.words[rank - 1]] * rank / first == pytest.approx(1, rel=0.15)
    assert len(set(corpus.words)) == len(corpus.words) == 20_000


def test_spans_have_about_a_dozen_words(corpus: Corpus) -> None:
    lengths = [len(span.body.split()) for span in corpus.spans(2000)]
    assert (min(lengths), max(lengths)) == (SHORTEST, LONGEST)
    assert sum(lengths) / len(lengths) == pytest.approx(12, abs=0.5)


def test_embeddings_lie_nearer_to_their_own_topic_than_to_the_next(corpus: Corpus) -> None:
    own = [math.dist(span.embedding, corpus.centres[span.topic]) for span in corpus.spans(300)]
    apart = [math.dist(one, other) for one, other in pairwise(corpus.centres)]
    assert sum(own) / len(own) < sum(apart) / len(apart) / 2


def test_lines_are_what_copy_and_pgvector_read(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--rows", "2", "--first", "7", "--dimensions", "3"])
    lines = capsys.readouterr().out.splitlines()
    number = r"-?\d+\.\d{4}"
    assert [line.split("\t")[0] for line in lines] == ["7", "8"]
    assert all(re.fullmatch(rf"\d+\t\d+\t[a-z ]+\t\[{number},{number},{number}\]", line) for line in lines)


def test_rows_are_written_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row by row, they become packets that choke an sshd when Python does not buffer its output."""
    written: list[str] = []
    monkeypatch.setattr("sys.stdout", SimpleNamespace(write=written.append))
    main(["--rows", "600", "--dimensions", "3"])
    assert [part.count("\n") for part in written] == [256, 256, 88]


@pytest.mark.negative
@pytest.mark.parametrize(
    "words", [["--rows", "0"], ["--rows", "1", "--first", "0"], ["--rows", "1", "--dimensions", "-1"]]
)
def test_less_than_one_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "at least 1" in capsys.readouterr().err
