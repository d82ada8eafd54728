"""A back end for Label Studio's machine learning, of this toolkit's own: it sorts texts into choices.

    GET  /health    whether it works
    GET  /versions  of models; there is no choice of them
    POST /setup     can it do this project, and with which model
    POST /train     learn from all annotations of a project
    POST /predict   a choice for each task, and how sure that is
    POST /webhook   what Label Studio tells of single annotations; it waits for /train

What it keeps of a project are the examples that it has learnt from, a file of JSON: the model is made of them again
when it is asked for, so none is ever read that another version of the library has written.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

from text_labels import NotOurs, Question

USER = "label-studio"
SHORTEST = 12
# Bytes of one question: all annotated texts of a project, when it learns.
MOST = 256 << 20
PROJECT = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?", re.ASCII)
Examples = list[tuple[str, str]]


class Predicts(Protocol):
    def predict(self, texts: Sequence[str]) -> list[tuple[str, float]]: ...


class Backend:
    """What it answers. `learn` makes a model of examples."""

    def __init__(self, data: Path, learn: Callable[[Examples], Predicts]) -> None:
        self._data, self._learn = data, learn
        self._lock = threading.Lock()
        self._models: dict[str, tuple[str, Predicts]] = {}

    def setup(self, told: Mapping[str, Any]) -> dict[str, Any]:
        Question.of(told["schema"])
        return {"model_version": version(self._kept(project(told)))}

    def train(self, told: Mapping[str, Any]) -> dict[str, Any]:
        examples = Question.of(told["label_config"]).examples(told["annotations"])
        with self._lock:
            file = self._file(project(told))
            temporary = file.with_suffix(".new")
            with temporary.open("w") as out:
                json.dump(examples, out)
                out.flush()
                os.fsync(out.fileno())
            temporary.replace(file)
            self._model(project(told), examples)
        return {"model_version": version(examples), "examples": len(examples)}

    def predict(self, told: Mapping[str, Any]) -> dict[str, Any]:
        question = Question.of(told["label_config"])
        with self._lock:
            examples = self._kept(project(told))
            model = self._model(project(told), examples)
        if model is None:
            return {"results": [], "model_version": version(examples)}
        guesses = model.predict(question.texts(told["tasks"]))
        made = [question.prediction(label, score, version(examples)) for label, score in guesses]
        return {"results": made, "model_version": version(examples)}

    def _model(self, name: str, examples: Examples) -> Predicts | None:
        """None as long as there is nothing to choose between."""
        if len({label for _, label in examples}) < 2:
            return None
        known = self._models.get(name)
        if known is None or known[0] != version(examples):
            known = self._models[name] = version(examples), self._learn(examples)
        return known[1]

    def _kept(self, name: str) -> Examples:
        try:
            return [(text, label) for text, label in json.loads(self._file(name).read_text())]
        except FileNotFoundError:
            return []

    def _file(self, name: str) -> Path:
        return self._data / f"project-{name}.json"


def project(told: Mapping[str, Any]) -> str:
    """Its number, and the second in which it was made: that of another installation is another project."""
    found = str(told["project"])
    if not PROJECT.fullmatch(found):
        raise ValueError(f"{found!r} is no project")
    return found


def version(examples: Examples) -> str:
    """Of the model that is learnt from them. Empty, Label Studio would take it for none."""
    if not examples:
        return "untrained"
    digest = hashlib.sha256(json.dumps(examples).encode()).hexdigest()
    return f"{len(examples)} examples {digest[:8]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        # It listens since a model was made and the folder was written to.
        told = {"/health": {"status": "UP", "model_class": "TextChoices"}, "/versions": {"versions": []}}
        if self._let_in():
            self._answer(200 if self.path in told else 404, told.get(self.path, {}))

    def do_POST(self) -> None:
        if self._let_in():
            self._answer(*self._done())

    def _done(self) -> tuple[int, object]:
        """Status and answer."""
        length = int(self.headers.get("Content-Length") or -1)
        if not 0 <= length <= MOST:
            # What is not read would be taken for the next question.
            self.close_connection = True
            return 413, {"error": f"a question of {length} bytes is not read"}
        text = self.rfile.read(length)
        backend = self.server.backend
        answers: dict[str, Callable[[Any], object]] = {
            "/setup": backend.setup,
            "/train": backend.train,
            "/predict": backend.predict,
            "/webhook": lambda _: {},
        }
        if self.path not in answers:
            return 404, {}
        try:
            return 200, answers[self.path](json.loads(text))
        except (NotOurs, ValueError, LookupError, TypeError, AttributeError) as error:
            return 400, {"error": f"{type(error).__name__}: {error}"}

    def _let_in(self) -> bool:
        given = self.headers.get("Authorization", "")
        if hmac.compare_digest(given.encode(), self.server.authorization.encode()):
            return True
        self.close_connection = True
        self._answer(401, {"error": "who is asking?"})
        return False

    def _answer(self, status: int, told: object) -> None:
        body = json.dumps(told).encode() + b"\n"
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="label-studio-ml"')
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """Lets in whoever knows the password of the user `label-studio`."""

    def __init__(self, address: tuple[str, int], backend: Backend, password: str) -> None:
        super().__init__(address, Handler)
        self.backend = backend
        self.authorization = "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()


def main() -> None:
    from text_model import Model  # takes seconds; tests of the rest do without

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the first process of a container has to say so
    password = Path("/run/secrets/password").read_text().rstrip("\n")
    if len(password) < SHORTEST:
        sys.exit(f'label-studio-ml: the secret "password" has to be of {SHORTEST} characters or more')
    data = Path("/data")
    (data / ".written").write_text("")
    Model([("yes", "a"), ("no", "b")]).predict(["yes"])
    Server(("", 9090), Backend(data, Model), password).serve_forever()


if __name__ == "__main__":
    main()
