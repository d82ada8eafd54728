"""The back end for Label Studio's machine learning, asked over HTTP as Label Studio asks, with a small model in it."""

from __future__ import annotations

import base64
import http.client
import importlib
import json
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from homelab_provision import paths

sys.path.append(str(paths.content("roles") / "app_stacks/stacks/label-studio-ml/image"))
ml_backend = importlib.import_module("ml_backend")
text_labels = importlib.import_module("text_labels")

PASSWORD = "the-password-of-the-back-end"
PROJECT = "7.1764190000"
CONFIG = """
<View>
  <Text name="review" value="$body"/>
  <Choices name="mood" toName="review"><Choice value="good"/><Choice value="bad"/></Choices>
</View>
"""


class Shorter:
    """It has learnt by heart, and says of what it does not know what the shortest example is."""

    def __init__(self, examples: Sequence[tuple[str, str]]) -> None:
        self.known = dict(examples)
        self.guess = min(examples, key=lambda example: len(example[0]))[1]

    def predict(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        return [(self.known[text], 1.0) if text in self.known else (self.guess, 0.5) for text in texts]


@dataclass
class Asked:
    port: int
    data: Path

    def __call__(self, path: str, told: object = None, password: str = PASSWORD) -> tuple[int, Any]:
        body = json.dumps(told) if not isinstance(told, str) else told
        token = base64.b64encode(f"label-studio:{password}".encode()).decode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"Authorization": f"Basic {token}"} if password else {}
        connection.request("GET" if told is None else "POST", path, body if told is not None else None, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Asked]:
    server = ml_backend.Server(("127.0.0.1", 0), ml_backend.Backend(tmp_path, Shorter), PASSWORD)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Asked(server.server_port, tmp_path)
    server.shutdown()
    thread.join()
    server.server_close()


def annotated(text: str, *labels: str, **changed: Any) -> dict[str, Any]:
    region = {"from_name": "mood", "to_name": "review", "type": "choices", "value": {"choices": list(labels)}}
    return {"data": {"body": text}, "annotations": [{"result": [region], **changed}]}


def about(**told: Any) -> dict[str, Any]:
    return {"project": PROJECT, "label_config": CONFIG, "schema": CONFIG, **told}


TAUGHT = about(annotations=[annotated("fine", "good"), annotated("dreadful", "bad")])


def test_it_learns_and_guesses_with_scores(ask: Asked) -> None:
    assert ask("/health") == (200, {"status": "UP", "model_class": "TextChoices"})
    assert ask("/setup", about()) == (200, {"model_version": "untrained"})
    status, learnt = ask("/train", TAUGHT)
    assert (status, learnt["examples"]) == (200, 2)
    assert ask("/setup", about())[1]["model_version"] == learnt["model_version"]
    status, told = ask(
        "/predict", about(tasks=[{"id": 1, "data": {"body": "dreadful"}}, {"id": 2, "data": {"body": "?"}}])
    )
    assert status == 200
    assert [(each["result"][0]["value"]["choices"], each["score"]) for each in told["results"]] == [
        (["bad"], 1.0),
        (["good"], 0.5),
    ]
    assert told["results"][0]["result"][0]["from_name"] == "mood"
    assert {each["model_version"] for each in told["results"]} == {learnt["model_version"]}


def test_what_it_learnt_outlives_it(ask: Asked) -> None:
    version = ask("/train", TAUGHT)[1]["model_version"]
    other = ml_backend.Backend(ask.data, Shorter)
    told = other.predict(about(tasks=[{"data": {"body": "dreadful"}}]))
    assert told["model_version"] == version
    assert told["results"][0]["result"][0]["value"] == {"choices": ["bad"]}
    assert other.setup(about(project="8.1764190000")) == {"model_version": "untrained"}


def test_what_was_skipped_or_has_several_choices_teaches_nothing(ask: Asked) -> None:
    more = [annotated("left out", "bad", was_cancelled=True), annotated("mixed", "good", "bad"), annotated("none")]
    assert ask("/train", about(annotations=[*TAUGHT["annotations"], *more]))[1]["examples"] == 2


def test_without_a_choice_it_guesses_nothing(ask: Asked) -> None:
    assert ask("/train", about(annotations=[annotated("fine", "good")]))[0] == 200
    assert ask("/predict", about(tasks=[{"data": {"body": "fine"}}]))[1]["results"] == []


@pytest.mark.negative
@pytest.mark.parametrize("password", ["", "a-guess", f"{PASSWORD}x"])
def test_nobody_is_let_in_without_the_password(ask: Asked, password: str) -> None:
    for path, told in (("/health", None), ("/versions", None), ("/train", TAUGHT), ("/webhook", {})):
        assert ask(path, told, password)[0] == 401
    assert list(ask.data.iterdir()) == []


@pytest.mark.negative
@pytest.mark.parametrize("wrong", ["../../etc/x", "1/2", "", "1.2.3", "1\n", "\u0661"])
def test_a_project_is_a_number_and_no_way_to_a_file(ask: Asked, wrong: str) -> None:
    assert ask("/train", {**TAUGHT, "project": wrong})[0] == 400
    assert list(ask.data.iterdir()) == []


@pytest.mark.negative
def test_what_it_cannot_do_is_said(ask: Asked) -> None:
    other = '<View><Image name="i" value="$i"/><Choices name="c" toName="i"/></View>'
    status, told = ask("/setup", about(schema=other))
    assert status == 400
    assert "no <Choices> about a <Text>" in told["error"]
    assert ask("/setup", about(schema="<View"))[0] == 400
    assert ask("/setup", {})[0] == 400
    assert ask("/train", "[1")[0] == 400
    assert ask("/train", "[]")[0] == 400
    assert ask("/elsewhere", {})[0] == 404
    assert ask("/elsewhere")[0] == 404


@pytest.mark.negative
def test_more_than_it_may_read_is_refused(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ml_backend, "MOST", 10)
    assert ask("/train", TAUGHT)[0] == 413
