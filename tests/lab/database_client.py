"""A client on the lab's network: psycopg and pgvector over TLS. Runs inside the lab's namespace; told what to do, the
password included, by one JSON document on standard input, and answers with another."""

from __future__ import annotations

import json
import sys
from typing import Any


def main() -> None:
    order = json.load(sys.stdin)
    try:
        print(json.dumps({"rows": answers(order)}, default=lambda vector: vector.to_list()))
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))


def answers(order: dict[str, Any]) -> list[Any]:
    """The rows of each query. A parameter that is a list of numbers is sent as a vector, by pgvector's own type."""
    import numpy
    import psycopg
    from pgvector.psycopg import register_vector

    with psycopg.connect(**order["connection"], connect_timeout=20) as connection:
        register_vector(connection)
        found = []
        for query, parameters in order["queries"]:
            vectors = [numpy.array(value) if isinstance(value, list) else value for value in parameters]
            found.append([list(row) for row in connection.execute(query, vectors).fetchall()])
        return found


if __name__ == "__main__":
    main()
