"""What is made of the figures, and that both servers are started alike."""

from __future__ import annotations

import pytest

from bench import inference


def test_a_bare_server_differs_only_in_where_it_listens() -> None:
    words = ["/opt/llama-server", "--host", "/run/x.sock", "--port", "40001", "--ctx-size", "2048", "--jinja"]
    assert inference.bare(words) == [
        "/opt/llama-server", "--host", "127.0.0.1", "--port", "8099", "--ctx-size", "2048", "--jinja"
    ]  # fmt: skip


def test_rounds_are_compared_each_with_itself_and_the_first_do_not_count() -> None:
    service = [1.0, 1.0, 99.0, 49.0, 98.0]
    assert inference.compared({"8080": service, "8099": [9.0, 9.0, 100.0, 50.0, 100.0]}) == {
        "service_over_bare": 0.98,
        "service_tokens_per_second": 98.0,
        "bare_tokens_per_second": 100.0,
    }


@pytest.mark.negative
def test_figures_that_are_not_of_the_same_rounds_are_none() -> None:
    with pytest.raises(ValueError, match="shorter"):
        inference.compared({"8080": [1.0] * 5, "8099": [1.0] * 4})
