"""Questions to a server of llama.cpp at its socket, in HTTP."""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 10.0


@dataclass(frozen=True)
class Answer:
    status: int
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def ask(path: Path, what: str, key: str = "", data: object = None, seconds: float = SECONDS) -> Answer | None:
    """The answer to a GET, or to a POST of `data`; none if nobody answers."""
    connection = _Connection(path, seconds)
    try:
        body = None if data is None else json.dumps(data)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        connection.request("GET" if data is None else "POST", what, body, headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read().decode(errors="replace"))
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def is_healthy(path: Path) -> bool:
    answer = ask(path, "/health")
    return answer is not None and answer.status == 200
