"""Label Studio and the back end it learns with, asked as those would who use them."""

from __future__ import annotations

import json
import socket
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.asking import Answer, question, visit
from tests.container import Container

STUDIO, BACKEND = "http://127.0.0.1:8080", "http://127.0.0.1:9090"
# As containers of the host call it.
DECLARED = "http://host.docker.internal:9090"
ADA, PASSWORD = "ada@example.org", "the-first-password-of-ada"
ML = ("label-studio", "the-password-of-the-back-end")
CONFIG = """
<View>
  <Text name="review" value="$text"/>
  <Choices name="mood" toName="review"><Choice value="good"/><Choice value="bad"/></Choices>
</View>
"""
GOOD = ["a fine and friendly book", "friendly people, a fine evening", "fine weather, fine food", "such a friendly dog"]
BAD = ["a dull and dreary book", "dreary people, a dull evening", "dull weather, dreary food", "such a dreary dog"]
OPEN = ["a fine film with friendly faces", "a dull film with dreary faces", "a film"]


def browse(machine: Container, page: str, form: dict[str, str], *then: tuple[str, str, str]) -> list[Answer]:
    return Answer.all_of(machine.sh(visit(STUDIO, page, form, *then)))


def as_ada(machine: Container, path: str, data: str, kind: str) -> Answer:
    return browse(machine, "/user/login/", {"email": ADA, "password": PASSWORD}, (path, data, kind))[1]


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest) -> Container:
    return Container.of(request.config)


@pytest.fixture(scope="module")
def refresh(machine: Container) -> str:
    """A personal access token, which its owner makes once and programs keep."""
    made = as_ada(machine, "/api/token/", "{}", "application/json")
    assert made.status == 201, made
    return str(made.json["token"])


Ask = Callable[..., Answer]


def program(machine: Container, refresh: str) -> Ask:
    """Questions as a program asks them that has such a token: with another, good for minutes, that it gets for it."""
    made = Answer.of(machine.sh(question(f"{STUDIO}/api/token/refresh/", {"refresh": refresh})))
    assert made.status == 200, made

    def ask(path: str, data: object = None, **changed: Any) -> Answer:
        authorization = f"Bearer {made.json['access']}"
        return Answer.of(machine.sh(question(f"{STUDIO}{path}", data, authorization=authorization, **changed)))

    return ask


@pytest.fixture
def ask(machine: Container, refresh: str) -> Ask:
    return program(machine, refresh)


@dataclass(frozen=True)
class Project:
    id: int
    # The number of each text's task.
    tasks: dict[str, int]


@pytest.fixture(scope="module")
def project(machine: Container, refresh: str) -> Project:
    """One in which all is labelled but the texts that are open."""
    ask = program(machine, refresh)

    def call(path: str, data: object = None) -> Any:
        answer = ask(path, data)
        assert answer.status in (200, 201), answer
        return answer.json

    number = call("/api/projects/", {"title": "Moods", "label_config": CONFIG})["id"]
    told = call(f"/api/projects/{number}/import", [{"text": text} for text in (*GOOD, *BAD, *OPEN)])
    assert told["task_count"] == len((*GOOD, *BAD, *OPEN))
    tasks = {task["data"]["text"]: task["id"] for task in call(f"/api/tasks?project={number}&fields=all")["tasks"]}
    for label, texts in (("good", GOOD), ("bad", BAD)):
        region = {"from_name": "mood", "to_name": "review", "type": "choices", "value": {"choices": [label]}}
        for text in texts:
            call(f"/api/tasks/{tasks[text]}/annotations/", {"result": [region]})
    return Project(number, tasks)


def connect(ask: Ask, project: Project, url: str, password: str = ML[1]) -> Answer:
    """Make it a back end of the project, as in its settings."""
    told = {"project": project.id, "url": url, "title": "moods", "auth_method": "BASIC_AUTH"}
    return ask("/api/ml/", told | {"basic_auth_user": ML[0], "basic_auth_pass": password})


def test_it_is_the_version_that_was_asked_for(machine: Container) -> None:
    assert Answer.of(machine.sh(question(f"{STUDIO}/api/version/"))).json["release"] == "1.23.2"


def test_what_was_labelled_is_exported(ask: Ask, project: Project) -> None:
    exported = ask(f"/api/projects/{project.id}/export?exportType=JSON").json
    labels = {
        task["data"]["text"]: task["annotations"][0]["result"][0]["value"]["choices"][0]
        for task in exported
        if task["annotations"]
    }
    assert labels == {**dict.fromkeys(GOOD, "good"), **dict.fromkeys(BAD, "bad")}


def test_an_upload_lies_in_the_folder_that_is_kept(ask: Ask, machine: Container) -> None:
    number = ask("/api/projects/", {"title": "Uploads", "label_config": CONFIG}).json["id"]
    lines = ["--b", 'Content-Disposition: form-data; name="f"; filename="more.csv"', "", "text", "a book", "--b--", ""]
    sent = as_ada(machine, f"/api/projects/{number}/import", "\r\n".join(lines), "multipart/form-data; boundary=b")
    assert (sent.status, sent.json["task_count"]) == (201, 1), sent
    [told] = machine.sh("cd /srv/stacks/label-studio/data/media/upload && stat --format '%n %u' */*-more.csv").split(
        "\n"
    )
    assert told.startswith(f"{number}/")
    assert told.endswith(" 3104")


def test_the_back_end_learns_what_was_labelled_and_guesses_the_rest(ask: Ask, project: Project) -> None:
    """Through Label Studio alone: it sends the annotations, asks for guesses, and then people for the least sure."""
    connected = connect(ask, project, DECLARED)
    assert connected.status == 201, connected
    number = connected.json["id"]
    assert ask(f"/api/ml/{number}").json["model_version"] == "untrained"
    trained = ask(f"/api/ml/{number}/train", {})
    assert trained.status == 200, trained
    everything = {"selectedItems": {"all": True, "excluded": []}}
    done = ask(f"/api/dm/actions?id=retrieve_tasks_predictions&project={project.id}", everything)
    assert done.status == 200, done
    version = ask(f"/api/ml/{number}").json["model_version"]
    assert version.startswith("8 examples ")
    guesses = {}
    for text in OPEN:
        [prediction] = ask(f"/api/tasks/{project.tasks[text]}").json["predictions"]
        assert prediction["model_version"] == version
        guesses[text] = prediction["result"][0]["value"]["choices"][0], prediction["score"]
    fine, dull, unknown = (guesses[text] for text in OPEN)
    assert (fine[0], dull[0]) == ("good", "bad")
    assert 0.5 <= unknown[1] < min(fine[1], dull[1]) <= 1
    chosen = {"model_version": version, "sampling": "Uncertainty sampling"}
    assert ask(f"/api/projects/{project.id}", chosen, method="PATCH").status == 200
    assert ask(f"/api/projects/{project.id}/next").json["id"] == project.tasks[OPEN[-1]]


def test_uploads_and_what_was_learnt_are_backed_up_and_proven(machine: Container) -> None:

    def facts() -> Any:
        return json.loads(machine.sh("homelab-stacks fingerprint | tail -n1"))["fingerprint"]

    before = facts()
    assert int(before["label-studio"]["uploads"]) > 0
    machine.sh("systemctl start homelab-backup@app_stacks.service homelab-prove@app_stacks.service")
    machine.sh("systemctl stop stack-label-studio-ml.service && rm -r /srv/stacks/label-studio-ml/data")
    machine.sh("homelab-stacks restore --stack label-studio-ml && systemctl start stack-label-studio-ml.service")
    assert facts() == before


@pytest.mark.negative
def test_no_other_private_address_is_asked_as_a_back_end(ask: Ask, machine: Container, project: Project) -> None:
    """The host itself has one that answers at its other names, too: it is the name and the port that is declared."""
    before = ask(f"/api/ml/?project={project.id}").json
    host = machine.address
    for url in (
        f"http://{host}:9090",
        "http://host.docker.internal:8080",
        "http://localhost:9090",
        "http://169.254.1.1",
    ):
        refused = connect(ask, project, url)
        assert refused.status == 403, (url, refused)
        assert "not allowed" in refused.text or "reserved network address" in refused.text
    assert len(ask(f"/api/ml/?project={project.id}").json) == len(before)


@pytest.mark.negative
def test_a_back_end_is_let_through_for_nothing_else(ask: Ask, machine: Container, project: Project) -> None:
    url = urllib.parse.urlencode({"url": f"{DECLARED}/health"})
    sent = as_ada(machine, f"/api/projects/{project.id}/import", url, "application/x-www-form-urlencoded")
    assert sent.status in (400, 403), sent
    assert "reserved network address" in sent.text
    hook = ask("/api/webhooks/", {"project": project.id, "url": f"{DECLARED}/webhook"})
    assert hook.status == 403, hook
    assert ask(f"/api/webhooks/?project={project.id}").json == []


@pytest.mark.negative
def test_a_back_end_without_its_password_is_none(ask: Ask, project: Project) -> None:
    refused = connect(ask, project, DECLARED, "a-guess-of-somebody")
    assert refused.status == 400
    assert "authentication parameters" in refused.text


@pytest.mark.negative
def test_the_back_end_answers_nobody_without_its_password(machine: Container) -> None:
    for path, data in (("/health", None), ("/versions", None), ("/predict", {}), ("/train", {}), ("/webhook", {})):
        assert Answer.of(machine.sh(question(BACKEND + path, data))).status == 401
        assert Answer.of(machine.sh(question(BACKEND + path, data, who=(ML[0], "a-guess")))).status == 401
    assert Answer.of(machine.sh(question(f"{BACKEND}/health", who=ML))).json["status"] == "UP"


@pytest.mark.negative
def test_strangers_get_nothing_and_no_account(machine: Container, ask: Ask, refresh: str) -> None:
    assert ask("/api/projects/").status == 200
    assert Answer.of(machine.sh(question(f"{STUDIO}/api/projects/"))).status == 401
    assert Answer.of(machine.sh(question(f"{STUDIO}/api/projects/", authorization=f"Bearer {refresh}"))).status == 401
    assert Answer.of(machine.sh(question(f"{STUDIO}/user/login/", host="elsewhere.invalid"))).status == 400
    stranger = {"email": "eve@example.org", "password": "the-password-of-eve"}
    assert browse(machine, "/user/signup/", stranger)[0].status == 403
    assert "csrftoken" not in browse(machine, "/user/login/", stranger)[0].text
    people = [each["email"] for each in ask("/api/users/").json]
    assert people == [ADA]


@pytest.mark.negative
def test_other_machines_reach_neither(machine: Container) -> None:
    for port in (8080, 9090):
        with pytest.raises(OSError, match=r"refused|timed out"):
            socket.create_connection((machine.address, port), timeout=3)


@pytest.mark.negative
def test_no_secret_is_shown_by_the_engine(machine: Container) -> None:
    shown = machine.sh("docker inspect $(docker ps --quiet) && docker compose ls && ps -eo args")
    for secret in (PASSWORD, ML[1], "a-key-of-the-scenario", "pass:word"):
        assert secret not in shown


def test_none_of_them_is_root(machine: Container) -> None:
    told = machine.sh(
        "docker ps --quiet | xargs docker inspect --format "
        "'{{.Name}} {{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}'"
    )
    assert sorted(told.split("\n")) == [
        "/label-studio-label-studio-1 3104:3104 true [ALL]",
        "/label-studio-ml-backend-1 3105:3105 true [ALL]",
    ]
    for name, number in (("label-studio-label-studio-1", "3104"), ("label-studio-ml-backend-1", "3105")):
        assert machine.sh(f"docker exec {name} id -u") == number
