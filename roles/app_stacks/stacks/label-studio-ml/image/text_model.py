"""What is learnt: words and pairs of words, weighed by how rare they are, and a logistic regression over them."""

from __future__ import annotations

from collections.abc import Sequence

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline


class Model:
    """A model of these examples; the same ones give the same model."""

    def __init__(self, examples: Sequence[tuple[str, str]]) -> None:
        texts, labels = zip(*examples, strict=True)
        # Single letters and signs count, too: there are languages that write so, and texts of one letter.
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+|[^\w\s]")
        self._pipeline = make_pipeline(words, LogisticRegression(C=10, max_iter=1000, class_weight="balanced"))
        self._pipeline.fit(texts, labels)

    def predict(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """The likeliest label of each text, and how likely it is."""
        names = self._pipeline.classes_
        rows = self._pipeline.predict_proba(texts) if texts else []
        return [(str(names[row.argmax()]), float(row.max())) for row in rows]
