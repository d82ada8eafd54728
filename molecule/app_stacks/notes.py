"""A small application with data: notes that are added over HTTP, and kept in a file."""

import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

VERSION, DATA, PORT = sys.argv[1], Path(sys.argv[2]) / "notes", int(sys.argv[3])


class Notes(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        text = DATA.read_text() if self.path == "/notes" else f"notes {VERSION} {os.environ.get('GREETING', '')}\n"
        self.answer(text)

    def do_POST(self) -> None:
        with DATA.open("a") as file:
            file.write(self.rfile.read(int(self.headers["Content-Length"])).decode() + "\n")
        self.answer("kept\n")

    def answer(self, text: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())


if __name__ == "__main__":
    if VERSION == "broken":
        DATA.write_text("all notes are lost\n")  # as a migration of data that goes wrong
        print("cannot read the notes: they are of a version that does not exist", flush=True)
        time.sleep(3600)
    DATA.touch()
    ThreadingHTTPServer(("", PORT), Notes).serve_forever()
