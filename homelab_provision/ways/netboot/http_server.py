"""Serves the files of one start over HTTP, to one machine, and hears which host key its rescue has made.

A program of its own, because it runs inside the lab's network, and of the standard library alone: `http_server.py
FOLDER`. FOLDER/served.json says what is served; what the machine has asked for, and announced, is
appended to FOLDER/asked and FOLDER/announced. It ends when its standard input does.
"""

from __future__ import annotations

import hmac
import json
import os
import shutil
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SERVED, ASKED, ANNOUNCED, LISTENING = "served.json", "asked", "announced", "listening"
LONGEST = 1024  # bytes of an announcement
SECONDS = 30.0  # until a client that says nothing is given up


class Served:
    """What is served: the address to listen at, the machine's MACs, the token, and files by their name in the URL."""

    def __init__(self, folder: Path) -> None:
        told = json.loads((folder / SERVED).read_text())
        self.folder = folder
        self.listen: tuple[str, int] = (told["address"], told["port"])
        self.macs: frozenset[str] = frozenset(told["macs"])
        self.token: str = told["token"]
        self.announce: str = told["announce"]
        self.files: Mapping[str, str] = told["files"]
        self._neighbours = Path(told.get("neighbours", "/proc/net/arp"))

    def is_the_machine(self, address: str) -> bool:
        """Whether the neighbour with this address is the machine, as far as the wire can tell."""
        return mac_of(address, self._neighbours.read_text()) in self.macs

    def hear(self, text: str) -> bool:
        """Keep an announcement (`token public-key`); `False`: the token is another start's."""
        token, _, key = text.strip().partition(" ")
        if not hmac.compare_digest(token.encode(), self.token.encode()) or not key.startswith("ssh-ed25519 "):
            return False
        self.note(ANNOUNCED, " ".join(key.split()[:2]))
        return True

    def note(self, file: str, line: str) -> None:
        """One more line for whoever has started us."""
        with (self.folder / file).open("a") as notes:
            notes.write(line + "\n")


def mac_of(address: str, neighbours: str) -> str | None:
    """The MAC that the kernel knows for an address (the text of /proc/net/arp)."""
    for line in neighbours.splitlines()[1:]:
        words = line.split()
        if len(words) >= 4 and words[0] == address:
            return words[3].lower()
    return None


def handler(served: Served) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """GRUB asks for files, the rescue announces."""

        protocol_version = "HTTP/1.1"
        timeout = SECONDS

        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            if not served.is_the_machine(self.client_address[0]):
                self._say(403)
            elif name not in served.files:
                self._say(404)
            else:
                served.note(ASKED, name)
                with Path(served.files[name]).open("rb") as file:
                    self.send_response(200)
                    self.send_header("Content-Length", str(os.fstat(file.fileno()).st_size))
                    self.end_headers()
                    shutil.copyfileobj(file, self.wfile)

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            if (
                self.path != f"/{served.announce}"
                or not served.is_the_machine(self.client_address[0])
                or length > LONGEST
            ):
                self.close_connection = True
                self._say(403)
            else:
                self._say(200 if served.hear(self.rfile.read(length).decode(errors="replace")) else 403)

        def _say(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass  # nobody reads it, and the token is nobody's business

    return Handler


def main(folder: Path) -> None:
    served = Served(folder)
    server = ThreadingHTTPServer(served.listen, handler(served))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (folder / LISTENING).touch()
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
