"""Language models through the service, its router and its unit, over a bare server of the same build, on one machine.

The scenario `inference` is converged for it, in a container. The model was never taught anything, which takes no less
time; it is large enough for a token to take milliseconds, as it does with models that are of use.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shlex
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from homelab_provision.doors.process import run
from tests.asking import Answer, question

SCENARIO = Path(__file__).parents[1] / "molecule" / "inference"
CONTAINER, MODEL, KEY = "inference", "medium", "the-key-of-the-scenario"
SERVICE, BARE = 8080, 8099
ROUNDS, TOKENS = 10, 256
WARM = 2  # rounds that do not count
# One answer of each in turn, as a client reads it: in pieces, from the question to the last of them.
ASK = """
import http.client, json, sys, time
asked = json.load(sys.stdin)

def rate(port):
    wanted = {"model": asked["model"], "messages": [{"role": "user", "content": "hello"}], "temperature": 0}
    wanted |= {"max_tokens": asked["tokens"], "ignore_eos": True, "cache_prompt": False, "stream": True}
    headers = {"Content-Type": "application/json", "Authorization": "Bearer " + asked["key"]}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    began = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", json.dumps(wanted | {"stream_options": {"include_usage": True}}), headers)
    answer = connection.getresponse()
    lines = [line for line in answer.read().decode().splitlines() if line.startswith("data: {")]
    seconds = time.perf_counter() - began
    assert answer.status == 200, (port, answer.status)
    return json.loads(lines[-1][6:])["usage"]["completion_tokens"] / seconds

rates = {str(port): [] for port in asked["ports"]}
for number in range(asked["rounds"]):
    for port in asked["ports"] if number % 2 else reversed(asked["ports"]):
        rates[str(port)].append(rate(port))
print(json.dumps(rates))
"""  # noqa: E501 - as it is sent


def measure() -> Iterator[dict[str, object]]:
    """The medians of ten rounds, in tokens a second, and their ratio."""
    run(["molecule", "converge", "--scenario-name", "inference"], deadline=1800)
    try:
        serve()
        url = f"http://127.0.0.1:{SERVICE}/v1/models"
        answer = Answer.of(inside(question(url, authorization=f"Bearer {KEY}")))
        (model,) = [each for each in answer.json["data"] if each["id"] == MODEL]
        inside(f"systemd-run --quiet --unit=bare --collect {shlex.join(bare(model['status']['args']))}")
        healthy = f"import urllib.request as u; u.urlopen('http://127.0.0.1:{BARE}/health')"
        inside(f'until python3 -c "{healthy}" 2>/dev/null; do sleep 0.2; done')
        asked = {"model": MODEL, "tokens": TOKENS, "key": KEY, "rounds": ROUNDS + WARM, "ports": [SERVICE, BARE]}
        rates = json.loads(inside(f"python3 -I -c {shlex.quote(ASK)}", json.dumps(asked)))
        build = json.loads(inside("homelab-inference status"))["build"]
    finally:
        run(["molecule", "destroy", "--scenario-name", "inference"], deadline=600)
    yield {"inference": compared(rates) | {"build": build, "rounds": ROUNDS}}


def compared(rates: dict[str, list[float]]) -> dict[str, object]:
    """Rounds are compared each with itself, so that what else the machine did meanwhile counts for both."""
    service, alone = rates[str(SERVICE)][WARM:], rates[str(BARE)][WARM:]
    return {
        "service_over_bare": round(
            statistics.median(one / other for one, other in zip(service, alone, strict=True)), 3
        ),
        "service_tokens_per_second": round(statistics.median(service), 1),
        "bare_tokens_per_second": round(statistics.median(alone), 1),
    }


def bare(words: Sequence[str]) -> list[str]:
    """The words by which the router has started the model's server, for one that listens elsewhere."""
    instead = {"--host": "127.0.0.1", "--port": str(BARE)}
    return [instead.get(before, word) for before, word in zip(["", *words], words, strict=False)]


def serve() -> None:
    """Have the model served, by the role's own program."""
    with TemporaryDirectory(prefix="hlp-bench-") as made:
        file = Path(made) / f"{MODEL}.gguf"
        file.write_bytes(medium())
        run(["docker", "cp", file, f"{CONTAINER}:/srv/nas/"], deadline=120)
        data = file.read_bytes()
    entry = {"path": f"/srv/nas/{MODEL}.gguf", "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    document = json.loads(inside("cat /etc/homelab-provision/inference.json"))
    document["models"] = [{"name": MODEL, "context": 2048, "load_on_startup": True, "files": [entry]}]
    inside("homelab-inference apply", json.dumps(document))


def medium() -> bytes:
    """The scenario's model, some hundred times larger: 50 MB."""
    spec = importlib.util.spec_from_file_location("tiny_gguf", SCENARIO / "tiny_gguf.py")
    assert spec
    assert spec.loader
    made: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    made.EMBEDDING, made.FEED_FORWARD, made.LAYERS = 512, 1536, 4
    return bytes(made.tiny_gguf(MODEL, 4))


def inside(script: str, text: str = "") -> str:
    """What a script of the shell says in the container."""
    words = ["docker", "exec", "--interactive", CONTAINER, "bash", "-euc", script]
    return run(words, input=text, deadline=1800).stdout
