"""hub.py FOLDER PORT BYTES: files over HTTP, from a server that lets the connection fall after so many bytes of each.

What was asked for is written to its output, a line each.
"""

from __future__ import annotations

import hashlib
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER, PORT, BYTES = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])


class Hub(BaseHTTPRequestHandler):
    """Knows ranges, and calls each file by what is in it."""

    def do_GET(self) -> None:
        span = self.headers["Range"]
        print(self.path, span or "-", flush=True)
        path = FOLDER / Path(self.path).name
        if not path.is_file():
            return self.send_error(404)
        data = path.read_bytes()
        tag = f'"{hashlib.sha256(data).hexdigest()}"'
        begin = 0
        if span and self.headers["If-Range"] == tag:
            begin = int(span.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data) - begin))
        self.send_header("ETag", tag)
        self.end_headers()
        self.wfile.write(data[begin : begin + BYTES])
        return None

    def log_message(self, format: str, *args: object) -> None:
        pass


ThreadingHTTPServer(("127.0.0.1", PORT), Hub).serve_forever()
