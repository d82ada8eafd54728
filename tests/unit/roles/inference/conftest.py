"""A place for builds and models, a server that has files and lets connections fall, and a unit without systemd."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles import programs
from tests.unit.roles.inference import stand_in_server

# Hosts have a newer Python than a controller may have.
CAREFUL = pytest.mark.skipif(
    not hasattr(tarfile, "data_filter"), reason="this Python unpacks archives without care, 3.11.4 and newer can"
)

# A tar of a real llama-server that runs here, in the place of the stand-in.
RELEASE = os.environ.get("LLAMA_RELEASE", "")
KEY = "a-key-of-the-tests"

process, service = programs.inference("process"), programs.inference("service")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Hub:
    """Files over HTTP. `drops` is after how many bytes of an answer the connection falls, in turn; then it holds."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.drops: list[int] = []
        self.statuses: list[int] = []
        self.asked: list[str | None] = []
        self.ranges = True
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, asked: BaseHTTPRequestHandler) -> None:
        data = self.files.get(asked.path)
        span = asked.headers["Range"]
        self.asked.append(span)
        status = self.statuses.pop(0) if self.statuses else (200 if data is not None else 404)
        if status != 200 or data is None:
            return asked.send_error(status)
        tag = f'"{sha256(data)}"'
        begin = 0
        if span and self.ranges and asked.headers["If-Range"] == tag:
            begin = int(span.removeprefix("bytes=").rstrip("-"))
            asked.send_response(206)
            asked.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        else:
            asked.send_response(200)
        asked.send_header("Content-Length", str(len(data) - begin))
        asked.send_header("ETag", tag)
        asked.end_headers()
        most = self.drops.pop(0) if self.drops else len(data)
        with suppress(BrokenPipeError):
            asked.wfile.write(data[begin : begin + most])
        return None


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """One that everybody may look into: a build is tried as nobody."""
    with tempfile.TemporaryDirectory(prefix="hlp-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = Hub()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def places(tmp_path: Path) -> Any:
    (tmp_path / "socket").mkdir()
    return programs.inference("places").Places(
        builds=tmp_path / "builds",
        state=tmp_path / "state",
        document=tmp_path / "inference.json",
        lock=tmp_path / "lock",
        socket=tmp_path / "socket" / "llama.sock",
        keys=tmp_path / "state" / "keys",
    )


class Unit:
    """What systemd does with the unit, done with a process."""

    def __init__(self, places: Any) -> None:
        self.places, self.starts = places, 0
        self.child: Any = None
        self.log = places.state.parent / "unit.log"

    def restart(self) -> None:
        self.stop()
        self.starts += 1
        words = self.places.arguments.read_text().strip().partition("=")[2]
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                [self.places.current.resolve() / "llama-server", *shlex.split(words)], stdout=log, stderr=log
            )

    def stop(self) -> None:
        if self.child:
            self.child.terminate()
            self.child.wait(10)
        self.child = None
        self.places.socket.unlink(missing_ok=True)

    def state(self) -> str:
        if self.child is None:
            return "inactive"
        return "active" if self.child.poll() is None else "failed"

    def last_words(self) -> str:
        return str(self.log.read_text()[-500:])


@pytest.fixture
def unit(places: Any) -> Iterator[Unit]:
    made = Unit(places)
    yield made
    made.stop()


Release = Callable[..., dict[str, str]]


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """Makes the archive of a build, as upstream has them; what the role is told of it."""

    def make(number: int, **changed: Any) -> dict[str, str]:
        archive = tmp_path / f"llama-b{number}.tar.gz"
        if RELEASE and not changed:
            shutil.copy(RELEASE, archive)
        else:
            folder = tmp_path / "made" / f"llama-b{number}"
            stand_in_server.lay(folder, number, **changed)
            with tarfile.open(archive, "w:gz") as tar:
                tar.add(folder, f"llama-b{number}")
        return {
            "name": f"b{number}",
            "method": "release",
            "source": str(archive),
            "sha256": sha256(archive.read_bytes()),
        }

    return make


Document = Callable[..., dict[str, Any]]


@pytest.fixture
def document(tmp_path: Path) -> Document:
    """What the role writes, with one model that comes from a path."""
    source = tmp_path / "nas" / "tiny.gguf"
    source.parent.mkdir()
    source.write_bytes(model())

    def make(build: dict[str, str], **changed: Any) -> dict[str, Any]:
        return {
            "backend": "cpu",
            "build": build,
            "port": 8080,
            "keys": False,
            "models_folder": str(tmp_path / "models"),
            "models_url": "",
            "models": [{"name": "tiny", "files": [of_path(source)], "context": 512}],
            "models_max": 1,
            "reserve": 0,
            "start_seconds": 30,
            "cors_origins": "localhost",
            "defaults": {"load-mode": "none"},
            "arguments": {},
            **changed,
        }

    return make


def of_path(path: Path, **changed: Any) -> dict[str, Any]:
    data = path.read_bytes()
    return {"path": str(path), "sha256": sha256(data), "size": len(data), **changed}


def of_url(hub: Hub, name: str, data: bytes, **changed: Any) -> dict[str, Any]:
    hub.files[f"/{name}"] = data
    return {"url": f"{hub.url}/{name}", "sha256": sha256(data), "size": len(data), **changed}


def model(seed: int = 1) -> bytes:
    """A real one where a real server is to load it."""
    if RELEASE:
        made: dict[str, Any] = {}
        exec(Path("molecule/inference/tiny_gguf.py").read_text().partition("if __name__")[0], made)
        return bytes(made["tiny_gguf"]("tiny", seed))
    return f"GGUF {seed} ".encode() * 30000


def parsed(document: dict[str, Any]) -> Any:
    return programs.inference("config").parse(json.dumps(document))


def spoken(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if re.match(r"\{", line)]
