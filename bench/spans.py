"""Text spans with embeddings, always the same ones: data for a database to be measured, backed up, lost and restored.

    python -m bench.spans --rows 200000 --dimensions 16 | psql -c 'COPY spans (id, topic, body, embedding) FROM STDIN'

Words follow Zipf's law, as those of any language do, so that some are in nearly every span and most in hardly
any. Embeddings lie in clusters, as those of a language model do: one cluster for each topic. Each row is made
from its own number, so rows 200001 to 200500 are the same whether or not the ones before were made.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from random import Random
from typing import NamedTuple

SEED = 5070
VOCABULARY = 20_000
TOPICS = 256
# A dozen words, give or take four.
SHORTEST, LONGEST = 8, 16
# How far an embedding lies from its topic's centre, in each dimension; the centres are 1 apart (standard deviation).
SPREAD = 0.35
ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "st", "tr", "pl")
NUCLEI = ("a", "e", "i", "o", "u", "ai", "ei", "ou")
# Where output is not buffered (PYTHONUNBUFFERED), a row for itself is a packet for itself when it goes through ssh, and
# sshd, which enlarges and copies its buffer for each of them, took 50 s for 2 MB (emulated), if the connection held.
ROWS_AT_ONCE = 256


class Span(NamedTuple):
    """One row; `embedding` has as many numbers as the corpus has dimensions."""

    id: int
    topic: int
    body: str
    embedding: tuple[float, ...]

    def copy_line(self) -> str:
        """The row in the text format of COPY; a vector is written as pgvector reads it."""
        numbers = ",".join([f"{number:.4f}" for number in self.embedding])
        return f"{self.id}\t{self.topic}\t{self.body}\t[{numbers}]\n"


@dataclass(frozen=True)
class Corpus:
    """What all spans have in common: the words with their weights, and the centres of the topics."""

    seed: int
    words: tuple[str, ...]  # the most frequent first
    weights: tuple[float, ...]  # cumulative
    centres: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, dimensions: int, seed: int = SEED) -> Corpus:
        """The corpus for embeddings of so many dimensions."""
        chance = Random(seed)
        words = _words(chance)
        centres = tuple(tuple(chance.gauss(0, 1) for _ in range(dimensions)) for _ in range(TOPICS))
        weights = tuple(accumulate(1 / rank for rank in range(1, len(words) + 1)))
        return cls(seed, words, weights, centres)

    def span(self, number: int) -> Span:
        """The row with this number (from 1)."""
        chance = Random(self.seed << 40 | number)
        topic = chance.randrange(TOPICS)
        length = chance.randint(SHORTEST, LONGEST)
        body = " ".join(chance.choices(self.words, cum_weights=self.weights, k=length))
        gauss = chance.gauss
        return Span(number, topic, body, tuple([gauss(mean, SPREAD) for mean in self.centres[topic]]))

    def spans(self, rows: int, first: int = 1) -> Iterator[Span]:
        """`rows` rows, from the number `first` on."""
        return map(self.span, range(first, first + rows))


def _words(chance: Random) -> tuple[str, ...]:
    """Words of two to four syllables, each once; short ones are frequent, as in any language."""
    found: dict[str, None] = {}
    while len(found) < VOCABULARY:
        syllables = 2 + (len(found) > VOCABULARY // 100) + (len(found) > VOCABULARY // 4)
        found["".join(chance.choice(ONSETS) + chance.choice(NUCLEI) for _ in range(syllables))] = None
    return tuple(found)


def main(words: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m bench.spans", description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rows", type=int, required=True, help="how many")
    options.add_argument("--first", type=int, default=1, help="number of the first row (default: 1)")
    options.add_argument("--dimensions", type=int, default=64, help="of the embeddings (default: 64)")
    given = options.parse_args(words)
    if min(given.rows, given.first, given.dimensions) < 1:
        options.error("--rows, --first and --dimensions are at least 1")
    spans = Corpus.of(given.dimensions).spans(given.rows, given.first)
    while lines := [span.copy_line() for span in islice(spans, ROWS_AT_ONCE)]:
        sys.stdout.write("".join(lines))


if __name__ == "__main__":
    main()
