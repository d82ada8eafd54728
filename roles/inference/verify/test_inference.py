"""What a host shows when the role `inference` has done its work."""

from __future__ import annotations

import json
from typing import Any

import pytest

DOCUMENT = "/etc/homelab-provision/inference.json"
# Loose on purpose: a GPU that is wrong is far off (llama.cpp #28211), and rounding differs from one to the other.
APART = 0.1
EXPOSURE = 2.5
# Of the weights, in the GPU's memory: the table of its words may stay with the processor.
IN_MEMORY = 0.9
# What a play only warns of, and is not as it has to be all the same.
NEVER = ("arguments", "firmware", "override")

# Asks at the real address, as clients do. The key is read here, and is among nobody's words.
ASK = """
import http.client, json, pathlib
told = json.loads(pathlib.Path("/etc/homelab-provision/inference.json").read_text())
lines = pathlib.Path("/etc/homelab-provision/inference/keys").read_text().split()
host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(told["listen"], told["listen"])

def text(path, data=None, key=lines[0] if lines else None):
    connection = http.client.HTTPConnection(host, told["port"], timeout=1800)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    connection.request("POST" if data else "GET", path, data and json.dumps(data), headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()

def ask(*words):
    status, body = text(*words)
    return status, json.loads(body) if status == 200 else {}

said = {"keys": len(lines), "answers": {}, "without": {}, "guessed": {}}
for model in told["models"]:
    if model.get("kind", "chat") == "embedding":
        path, data = "/v1/embeddings", {"model": model["name"], "input": "a house by the sea"}
    else:
        data = {"model": model["name"], "messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 2}
        path = "/v1/chat/completions"
    said["answers"][model["name"]] = ask(path, data)
    said["without"][model["name"]] = ask(path, data, None)[0]
    said["guessed"][model["name"]] = ask(path, data, "a-guess-of-somebody")[0]
said["models"] = ask("/models")[1].get("data", [])
said["closed"] = {path: ask(path, None, None)[0] for path in ("/v1/models", "/metrics", "/slots", "/props")}
if told["models"]:
    said["metrics"] = text(f"/metrics?model={told['models'][-1]['name']}")[1].count("llamacpp:")
print(json.dumps(said))
"""
# Looks at a server that was started for a model: what it has open, and whether it is reached from outside of its
# network, and from within. Nobody sees the key but in its file.
LOOK = """
import json, os, pathlib, socket, subprocess
show = ["systemctl", "show", "--property=MainPID", "--value", "homelab-inference.service"]
router = subprocess.run(show, capture_output=True, text=True).stdout.strip()
processes = [path for path in pathlib.Path("/proc").iterdir() if path.name.isdigit()]

def read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""

def links(folder):
    try:
        return [os.readlink(path) for path in folder.iterdir()]
    except OSError:
        return []

def answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET /health HTTP/1.0\\r\\n\\r\\n")
            return connection.recv(100).decode().split()[1]
    except OSError:
        return "nothing"

def parent(path):
    return (read(path / "stat").rpartition(b")")[2].split() or [b"", b""])[1].decode()

children = [path for path in processes if parent(path) == router]
if not children:
    print("{}")
    raise SystemExit
child = max(children, key=lambda path: int(path.name))
words = read(child / "cmdline").decode().split("\\0")
port = int(words[words.index("--port") + 1])
key = read(pathlib.Path("/etc/homelab-provision/inference/keys")).split(b"\\n")[0]
GPU = ("/dev/dri/renderD", "/dev/kfd")
found = {
    "outside": answers(port),
    "gpu_files": sum(name.startswith(GPU) for child in children for name in links(child / "fd")),
    "key_seen": sum(bool(key) and key in read(path / name) for path in processes for name in ("cmdline", "environ")),
    "key_found": key in read(pathlib.Path("/etc/homelab-provision/inference/keys")),
}
namespace = os.open(child / "ns" / "net", os.O_RDONLY)
os.setns(namespace, os.CLONE_NEWNET)
found["within"] = answers(port)
print(json.dumps(found))
"""

QUESTIONS = {
    "document": f"cat {DOCUMENT}",
    "ask": f"python3 -I - <<'END' && python3 -I - <<'LOOK'\n{ASK}\nEND\n{LOOK}\nLOOK",
    "status": "homelab-inference status",
    "compare": "homelab-inference compare | tail -n1",
    "preflight": "homelab-inference preflight --json",
    "exposure": "systemd-analyze security --no-pager homelab-inference.service | tail -n1",
    "kernel": "journalctl --dmesg --no-pager --boot 2>/dev/null"
    " | grep -E 'ring .* timeout|GCVM_L2_PROTECTION_FAULT|MES failed|amdgpu.*(hang|reset)' | tail -n5",
    "sockets": "ss --no-header --listening --tcp --numeric --processes | grep llama-server",
    "mode": "stat --format '%a %U' /etc/homelab-provision/inference/keys",
}


@pytest.fixture(scope="module")
def told(answers: Any) -> dict[str, Any]:
    """What the role was told."""
    return dict(json.loads(answers["document"].text))


@pytest.fixture(scope="module")
def said(answers: Any) -> dict[str, Any]:
    """What clients were answered."""
    assert answers["ask"].status == 0, answers["ask"].text
    return dict(json.loads(answers["ask"].text.split("\n")[0]))


@pytest.fixture(scope="module")
def seen(said: dict[str, Any], answers: Any) -> dict[str, Any]:
    """What a look at the server showed while it had a model loaded."""
    found = dict(json.loads(answers["ask"].text.split("\n")[1]))
    if not said["answers"]:
        pytest.skip("no models are declared")
    return found


@pytest.fixture(scope="module")
def found(told: dict[str, Any], answers: Any) -> dict[str, Any]:
    """What `preflight` finds, and the host that it saw."""
    if told["backend"] == "cpu":
        pytest.skip("this host computes on its processor (inference_backend: cpu)")
    return dict(json.loads(answers["preflight"].text))


@pytest.fixture(scope="module")
def compared(told: dict[str, Any], answers: Any) -> dict[str, Any]:
    if told["backend"] == "cpu":
        pytest.skip("this host computes on its processor (inference_backend: cpu)")
    found = dict(json.loads(answers["compare"].text))
    assert found["kind"] == "result", found
    if found["model"] is None:
        pytest.skip("no model of the kind `chat` is declared")
    return found


def test_every_model_answers_at_the_real_address(said: dict[str, Any], told: dict[str, Any]) -> None:
    assert said["answers"].keys() == {model["name"] for model in told["models"]}
    for model in told["models"]:
        status, answer = said["answers"][model["name"]]
        assert status == 200, (model["name"], status, answer)
        if model.get("kind", "chat") == "embedding":
            assert len(answer["data"][0]["embedding"]) >= 16
        else:
            assert answer["usage"]["completion_tokens"] >= 1


def test_no_model_has_failed_and_none_is_missing(said: dict[str, Any], answers: Any) -> None:
    assert [model["id"] for model in said["models"] if model["status"].get("failed")] == []
    status = json.loads(answers["status"].text)
    assert (status["unit"], status["missing"]) == ("active", [])
    assert status["build"] == status["declared_build"], "it was rolled back, and the site does not say so"


def test_its_figures_are_told(said: dict[str, Any]) -> None:
    assert said.get("metrics", 1) > 0


@pytest.mark.negative
def test_who_has_no_key_gets_nothing(said: dict[str, Any], told: dict[str, Any]) -> None:
    if not said["keys"]:
        assert told["listen"].startswith("127.") or told["listen"] == "::1", "everybody may ask it"
        pytest.skip("no keys are declared, and nobody but this host is served")
    assert set(said["without"].values()) | set(said["guessed"].values()) | set(said["closed"].values()) == {401}


@pytest.mark.negative
def test_the_servers_of_models_are_reached_through_the_one_door_alone(seen: dict[str, Any]) -> None:
    """They know no keys. That they are there is seen from within."""
    assert (seen["within"], seen["outside"]) == ("200", "nothing")


@pytest.mark.negative
def test_nothing_of_it_listens_on_this_host(answers: Any) -> None:
    """The port is systemd's own; the server has a network to itself."""
    assert answers["sockets"].text == ""


@pytest.mark.negative
def test_the_key_is_for_root_alone_and_in_no_command_line(
    said: dict[str, Any], seen: dict[str, Any], answers: Any
) -> None:
    assert answers["mode"].text == "600 root"
    if not said["keys"]:
        pytest.skip("no keys are declared")
    assert (seen["key_found"], seen["key_seen"]) == (True, 0)


def test_the_unit_is_confined(answers: Any) -> None:
    words = answers["exposure"].text.split()
    assert float(next(word for word in words if word.replace(".", "").isdigit())) <= EXPOSURE, answers["exposure"].text


@pytest.mark.negative
def test_a_gpu_computes_and_nothing_that_plays_one(
    compared: dict[str, Any], told: dict[str, Any], seen: dict[str, Any]
) -> None:
    devices = compared["devices"]
    assert devices, (
        "no GPU was found, and the processor has taken over without a word: is its driver there (vulkaninfo)?"
    )
    assert compared["offloaded"] == compared["layers"] > 0, f"not all layers are on the GPU: {compared}"
    if compared["software"] and told["accept_software_renderer"]:
        return
    assert not compared["software"], f"this is not a GPU: {', '.join(devices)} is the processor, playing one"
    assert seen["gpu_files"] > 0, "the server in service has no GPU open: does its unit let it have one?"


def test_the_gpu_answers_as_the_processor_does(compared: dict[str, Any]) -> None:
    """A prompt that is longer than the micro-batch, and what is likeliest to come after it."""
    assert compared["distance"] <= APART, compared


def test_the_model_is_in_the_memory_of_the_gpu(compared: dict[str, Any], told: dict[str, Any]) -> None:
    if told["accept_software_renderer"]:
        pytest.skip("a processor that plays a GPU has no memory of its own")
    assert compared["gpu_memory"] >= IN_MEMORY * compared["weights"], compared


@pytest.mark.negative
def test_the_gpu_is_as_the_role_has_planned_it(found: dict[str, Any], told: dict[str, Any]) -> None:
    """Kernel, firmware, BIOS, the memory that the running kernel lets it take, and nothing that overrides."""
    wrong = [each for each in found["findings"] if each["level"] == "refused" or each["gate"] in NEVER]
    assert wrong == [], "\n".join(f"{each['seen']}; expected: {each['expected']}; {each['mend']}" for each in wrong)
    if told["backend"] == "rocm":
        assert found["hardware"]["gfx_targets"], "the kernel shows ROCm no GPU (/sys/class/kfd)"


def test_the_kernel_has_nothing_to_say_about_the_gpu(compared: dict[str, Any], answers: Any) -> None:
    assert answers["kernel"].text == ""
