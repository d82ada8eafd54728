"""Clients as they are: OpenAI's own, and eight at once of which some are a nuisance."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import threading
import time
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from homelab_provision import paths
from tests.container import Container

CLIENT = "openai>=1.50,<4"
KEY = "the-key-of-the-scenario"
HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
PORT = 8080
# How long eight clients ask at once.
SECONDS = int(os.environ.get("SECONDS", "20"))
TALKERS = 5
# How long anybody of them may wait, in seconds, and by how much the server may grow, in KiB: what it needs for a long
# prompt, glibc keeps for each thread. Of thousands of such prompts there would be more.
PATIENCE, GROWTH = 120, 1024 * 1024
# The memory of a process and of those that it has started.
MEMORY = """
pid=$(systemctl show --property=MainPID --value homelab-inference.service)
cat /proc/$pid/status $(grep -ls "^PPid:[[:space:]]*$pid$" /proc/[0-9]*/status) |
  awk '/^VmRSS/ {sum += $2} END {print sum}'
"""
# What would differ if anything had been started again: units, and the server of the model.
PROCESSES = """
systemctl show --property=MainPID,NRestarts homelab-inference.service homelab-inference-proxy.service
pid=$(systemctl show --property=MainPID --value homelab-inference.service)
grep -ls "^PPid:[[:space:]]*$pid$" /proc/[0-9]*/status || true  # some have ended meanwhile
"""


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest) -> Container:
    return Container.of(request.config)


@pytest.fixture(scope="module")
def python() -> Path:
    """A Python with OpenAI's client, had from the index that pip knows here, and kept for the next time."""
    folder = paths.cache() / "openai-client"
    found = folder / "bin" / "python"
    if not found.exists() or subprocess.run([found, "-c", "import openai"], check=False).returncode:
        venv.create(folder, with_pip=True, clear=True)
        words = [str(found), "-m", "pip", "install", "--quiet", "--only-binary=:all:", CLIENT]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"the Python index has no {CLIENT}: {done.stderr.strip()[-200:]}")
    return found


def test_the_client_of_openai_gets_what_it_asks_for(machine: Container, python: Path) -> None:
    script = Path(__file__).with_name("openai_client.py")
    words = [str(python), "-I", str(script), f"http://{machine.address}:{PORT}/v1"]
    done = subprocess.run(words, input=KEY, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["models"] == ["tiny", "vectors"]
    assert (told["tokens"], bool(told["whole"])) == (8, True)
    assert len(told["pieces"]) > 2
    assert "".join(told["pieces"]) == told["whole"]
    name, arguments = told["calls"][0]
    assert (name, json.loads(arguments)["place"] in ("Oslo", "Rome")) == ("weather", True)
    assert told["vectors"] == [64, 64]
    assert told["refused"] is True


def post(address: str, data: str | bytes) -> int:
    """The status of the answer, which is read to its end."""
    connection = http.client.HTTPConnection(address, PORT, timeout=PATIENCE)
    try:
        connection.request("POST", "/v1/chat/completions", data, HEADERS)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def chat(content: str = "hello", **more: Any) -> str:
    return json.dumps({"model": "tiny", "messages": [{"role": "user", "content": content}], "max_tokens": 16} | more)


def talk(address: str, over: threading.Event) -> list[int]:
    """Someone who asks, reads, and asks again; the statuses of all answers."""
    statuses: list[int] = []
    while not over.is_set():
        statuses.append(post(address, chat(stream=len(statuses) % 2 == 0)))
    return statuses


def send_much(address: str, over: threading.Event) -> list[int]:
    """A prompt of a megabyte, again and again."""
    statuses = []
    while not over.is_set():
        statuses.append(post(address, chat("a house by the sea. " * 52429)))
    return statuses


def send_garbage(address: str, over: threading.Event) -> list[int]:
    """What is no HTTP, and what is HTTP and no JSON; the statuses of the latter."""
    statuses = []
    while not over.is_set():
        with socket.create_connection((address, PORT), timeout=PATIENCE) as connection:
            connection.sendall(os.urandom(4096))
        statuses += [post(address, os.urandom(4096)), post(address, chat()[:-20])]
    return statuses


def read_nothing(address: str, over: threading.Event) -> list[int]:
    """Someone who asks for a long answer, and never reads it."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE)
        connection.connect((address, PORT))
        data = chat(stream=True, max_tokens=1900)
        head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
        words = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n{head}Content-Length: {len(data)}\r\n\r\n{data}"
        connection.sendall(words.encode())
        over.wait()
    return []


@pytest.mark.negative
def test_of_eight_at_once_those_who_behave_are_served(machine: Container) -> None:
    address, over = machine.address, threading.Event()
    assert post(address, chat()) == 200
    before, memory = machine.sh(PROCESSES), int(machine.sh(MEMORY))
    with ThreadPoolExecutor(TALKERS + 3) as pool:
        nuisances = [pool.submit(each, address, over) for each in (read_nothing, send_much, send_garbage)]
        talkers = [pool.submit(talk, address, over) for _ in range(TALKERS)]
        try:
            # A failure of one ends it at once.
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline and not any(each.done() for each in (*nuisances, *talkers)):
                time.sleep(0.5)
        finally:
            over.set()
        statuses = [each.result() for each in talkers]
        _, much, garbage = [each.result() for each in nuisances]
    assert [set(each) for each in statuses] == [{200}] * TALKERS
    assert min(map(len, statuses)) >= SECONDS // PATIENCE
    assert (set(much), set(garbage)) == ({400}, {400})
    assert machine.sh(PROCESSES) == before, "something was started again"
    assert int(machine.sh(MEMORY)) - memory < GROWTH
