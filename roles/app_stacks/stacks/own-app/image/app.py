"""A research tool, as small as one can be: notes that are added over HTTP and kept in PostgreSQL."""

from __future__ import annotations

import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg2

VERSION = "1.0"
TABLE = "CREATE TABLE IF NOT EXISTS notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text NOT NULL)"
# Every note that was added, with its number.
LOG = Path("/data/notes.log")


def ask(statement: str, *values: str) -> Any:
    """The first field of the answer. Where the database is, libpq takes from PGHOST and the like."""
    password = Path("/run/secrets/database_password").read_text().rstrip("\n")
    connection = psycopg2.connect(password=password, connect_timeout=5)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None
    finally:
        connection.close()


class Notes(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/version":
            self.answer(200, {"version": VERSION})
        elif self.path == "/notes":
            self.answer(200, {"notes": ask("SELECT count(*) FROM notes")})
        else:
            self.answer(404, {"there is": ["/version", "/notes"]})

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        number = ask("INSERT INTO notes (text) VALUES (%s) RETURNING id", text)
        with LOG.open("a") as log:
            log.write(f"{number} {json.dumps(text)}\n")
        self.answer(201, {"note": number})

    def answer(self, status: int, told: object) -> None:
        body = json.dumps(told).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the first process of a container has to say so
    ask(TABLE)
    ThreadingHTTPServer(("", 8000), Notes).serve_forever()
