"""Chats with a real model, the smallest there is: that an answer comes back, and not what it says."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.asking import Answer, question
from tests.container import Container

WEBUI, OPENCODE, LLAMA = "http://127.0.0.1:8085", "http://127.0.0.1:4096", "http://127.0.0.1:8080"
EMAIL, PASSWORD = "ada@home.arpa", "the-first-password-of-ada"
KEY = "Bearer the-key-of-the-inference-host"
CODER = ("opencode", "the-password-of-opencode")
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
# The model thinks on the CPU, beside everything else.
PATIENCE = 600
# Of what the agent sends by itself, its instructions and its tools are more than a model this small can read.
PROJECT = {
    "agent": {"brief": {"mode": "primary", "prompt": "Answer in one sentence.", "tools": {"*": False}}},
    "provider": {"site": {"models": {"small": {"limit": {"context": 8192, "output": 48}}}}},
}


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest) -> Container:
    return Container.of(request.config)


def ask(machine: Container, url: str, data: object = None, **changed: Any) -> Answer:
    """From within, where ports of stacks are shown that nobody else may reach."""
    return Answer.of(machine.sh(question(url, data, **changed)))


def sign_in(machine: Container, password: str = PASSWORD) -> Answer:
    return ask(machine, f"{WEBUI}/api/v1/auths/signin", {"email": EMAIL, "password": password})


@pytest.fixture
def token(machine: Container) -> str:
    answer = sign_in(machine)
    assert answer.status == 200, answer
    assert answer.json["role"] == "admin"
    return f"Bearer {answer.json['token']}"


def sign_up(machine: Container) -> Answer:
    stranger = {"name": "Eve", "email": "eve@home.arpa", "password": "a-password-of-eve"}
    return ask(machine, f"{WEBUI}/api/v1/auths/signup", stranger)


def test_the_stand_in_answers_those_who_know_its_key(machine: Container) -> None:
    chat = {"messages": QUESTION, "max_tokens": 16}
    answer = ask(machine, f"{LLAMA}/v1/chat/completions", chat, authorization=KEY)
    assert answer.status == 200, answer
    assert answer.json["choices"][0]["message"]["content"].strip()
    assert ask(machine, f"{LLAMA}/v1/chat/completions", chat).status == 401
    assert ask(machine, f"{LLAMA}/v1/chat/completions", chat, authorization="Bearer a-guess").status == 401


def test_open_webui_chats_with_the_model_of_the_site(machine: Container, token: str) -> None:
    models = ask(machine, f"{WEBUI}/api/models", authorization=token).json["data"]
    assert [model["id"] for model in models] == ["small"]
    chat = {"model": "small", "messages": QUESTION, "stream": False, "max_tokens": 16}
    answer = ask(machine, f"{WEBUI}/api/chat/completions", chat, authorization=token)
    assert answer.status == 200, answer
    assert answer.json["choices"][0]["message"]["content"].strip()


def test_open_webui_is_the_slim_one_of_the_version_that_was_asked_for(machine: Container, token: str) -> None:
    told = ask(machine, f"{WEBUI}/api/config", authorization=token).json
    assert (told["version"], told["features"]["slim"]) == ("0.12.4", True)
    assert told["features"]["enable_version_update_check"] is False


@pytest.mark.negative
def test_open_webui_tells_strangers_nothing(machine: Container) -> None:
    chat = {"model": "small", "messages": QUESTION}
    assert ask(machine, f"{WEBUI}/api/chat/completions", chat).status == 401
    assert ask(machine, f"{WEBUI}/api/models", authorization="Bearer a-guess").status == 401
    assert sign_in(machine, "a-guess-of-somebody").status == 400
    assert sign_up(machine).status == 403


@pytest.mark.negative
def test_what_was_clicked_yields_to_the_environment(machine: Container, token: str) -> None:
    """Somebody opens the door to strangers, and sends conversations elsewhere: until it starts again."""
    admin = f"{WEBUI}/api/v1/auths/admin/config"
    clicked = ask(machine, admin, authorization=token).json | {"ENABLE_SIGNUP": True}
    assert ask(machine, admin, clicked, authorization=token).status == 200
    assert ask(machine, f"{WEBUI}/api/config").json["features"]["enable_signup"] is True
    openai = ask(machine, f"{WEBUI}/openai/config", authorization=token).json
    elsewhere = openai | {"OPENAI_API_BASE_URLS": ["http://127.0.0.1:9/v1"]}
    assert ask(machine, f"{WEBUI}/openai/config/update", elsewhere, authorization=token).status == 200

    machine.sh("systemctl restart stack-open-webui")
    assert ask(machine, f"{WEBUI}/api/config").json["features"]["enable_signup"] is False
    assert sign_up(machine).status == 403
    assert ask(machine, f"{WEBUI}/openai/config", authorization=token).json == openai


@pytest.mark.negative
def test_open_webui_does_not_start_with_secrets_that_could_be_guessed(machine: Container) -> None:
    image = machine.sh("docker ps --filter name=open-webui --format '{{.Image}}'")
    for short, words in (("session_key", "32 characters or more"), ("admin_password", "12 characters or more")):
        secrets = "cp -r /etc/homelab-provision/stacks/open-webui/secrets /root/; chmod -R go+rX /root/secrets"
        words_of_run = f"docker run --rm -v /root/secrets:/run/secrets {image}"
        refused = machine.run(f"rm -rf /root/secrets; {secrets}; echo short >/root/secrets/{short}; {words_of_run}")
        assert refused.returncode == 1, refused
        assert f'"{short}" has to be of {words}' in refused.stderr


def test_opencode_has_a_turn_with_the_model_of_the_site(machine: Container) -> None:
    """With an agent of the project's own, as one would be written for a small model."""
    project = "/srv/stacks/opencode/projects/brief"
    text = json.dumps(PROJECT)
    machine.sh(f"mkdir -p {project}; cat >{project}/opencode.json <<'END'\n{text}\nEND\nchown -R 3102:3102 {project}")

    def call(path: str, data: object = None) -> Answer:
        return ask(machine, f"{OPENCODE}/{path}?directory=/projects/brief", data, who=CODER)

    # One with a title need not think of one.
    session = call("session", {"title": "a turn"}).json["id"]
    turn = {"agent": "brief", "parts": [{"type": "text", "text": QUESTION[0]["content"]}]}
    asked = call(f"session/{session}/prompt_async", turn)
    assert asked.status == 204, asked
    replies: list[Any] = []
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        replies = [each for each in call(f"session/{session}/message").json if each["info"]["role"] == "assistant"]
        if replies and ("error" in replies[-1]["info"] or "completed" in replies[-1]["info"]["time"]):
            break
        time.sleep(2)
    assert replies
    info = replies[-1]["info"]
    assert "error" not in info, info
    assert (info["providerID"], info["modelID"]) == ("site", "small")
    assert "".join(part["text"] for part in replies[-1]["parts"] if part["type"] == "text").strip()


@pytest.mark.negative
def test_no_secret_is_shown_by_the_engine(machine: Container) -> None:
    shown = machine.sh("docker inspect $(docker ps --quiet)")
    for secret in ("the-first-password", "a-key-of-the-scenario", "the-password-of", "the-key-of"):
        assert secret not in shown


def test_a_chat_comes_back_from_a_backup(machine: Container, token: str) -> None:
    """Which is proven first: a throw-away copy says how many there are."""
    said: dict[str, Any] = {"id": "1", "parentId": None, "childrenIds": [], **QUESTION[0]}
    chat = {"title": "capitals", "models": ["small"], "messages": [said], "history": {"messages": {}}}
    made = ask(machine, f"{WEBUI}/api/v1/chats/new", {"chat": chat}, authorization=token)
    assert made.status == 200, made

    def kept() -> list[str]:
        answer = ask(machine, f"{WEBUI}/api/v1/chats/{made.json['id']}", authorization=token)
        return [message["content"] for message in answer.json["chat"]["messages"]]

    assert kept() == [QUESTION[0]["content"]]
    machine.sh("systemctl start homelab-backup@app_stacks.service homelab-prove@app_stacks.service")
    record, proof = (json.loads(machine.sh(f"cat /nas/app_stacks/{name}.json")) for name in ("*F", "proof"))
    assert proof["label"] == record["label"]
    machine.sh("systemctl stop stack-open-webui.service && rm -r /srv/stacks/open-webui/data")
    machine.sh("homelab-stacks restore && systemctl start stack-open-webui.service")
    assert kept() == [QUESTION[0]["content"]]
    # The host has asked for facts, and left no files of somebody else's among its own.
    assert machine.sh("find /srv/stacks/open-webui/data ! -user 3106") == ""


def test_none_of_them_is_root(machine: Container) -> None:
    told = machine.sh(
        "docker ps --quiet | xargs docker inspect --format '{{.Name}} {{.Config.User}} {{.HostConfig.ReadonlyRootfs}}'"
    )
    assert sorted(told.split("\n")) == [
        "/inference-llama-1 3199:3199 true",
        "/open-webui-open-webui-1 3106:3106 true",
        "/opencode-opencode-1 3102:3102 true",
    ]
    assert machine.sh("docker exec open-webui-open-webui-1 id -u") == "3106"
