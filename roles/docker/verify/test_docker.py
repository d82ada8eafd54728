"""What a host shows when the role `docker` has done its work."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

# Ports that nobody declares; something in a container greets at them all the same.
OPEN_TO_ALL, WITHOUT_ADDRESS = 47811, 47812
NAME = "homelab-verify"

GREETER = """
import socket
server = socket.create_server(("", 22))
while True:
    peer = server.accept()[0]
    peer.sendall(b"SSH-2.0-greeter\\r\\n")
    peer.close()
"""

# No image is pulled for it: a container of nothing but the host's own programs, which it sees read-only.
START = f"""
set -e
cd $(mktemp -d) && mkdir usr && for name in bin lib lib64 sbin; do ln -s usr/$name $name; done
docker rm --force {NAME} >/dev/null 2>&1 || true
tar --create . | docker import - {NAME}:none >/dev/null
docker run --detach --rm --name {NAME} --volume /usr:/usr:ro \\
    --publish 0.0.0.0:{OPEN_TO_ALL}:22 --publish {WITHOUT_ADDRESS}:22 {NAME}:none python3 -c {shlex.quote(GREETER)}
"""
HEAR = """
hear() {
    for try in $(seq 50); do
        timeout 2 bash -c "exec 3<>/dev/tcp/$1 && head -n1 <&3" 2>/dev/null && return
        sleep 0.2
    done
}
"""
STOP = f"docker rm --force {NAME} >/dev/null; docker image rm {NAME}:none >/dev/null"

QUESTIONS = {
    "info": "docker info --format json",
    "compose": "docker compose version --short",
    "elsewhere": "find /var/lib/docker /var/lib/containerd -type f 2>/dev/null; true",
    "failed": "systemctl --failed --plain --no-legend",
}


@pytest.fixture(scope="module", autouse=True)
def container(host: Any, address: str) -> Iterator[dict[str, str]]:
    """A container that greets at two ports; the greetings that the host itself hears, by how it was asked."""
    started = host.run(START)
    asked = {"address": f"{address}/{OPEN_TO_ALL}", "loopback": f"127.0.0.1/{WITHOUT_ADDRESS}"}
    ask = "\n".join(f"echo {name} $(hear {target})" for name, target in asked.items())
    heard = host.run(f"{HEAR}\n{ask}").stdout
    yield dict(line.strip().split(" ", 1) for line in heard.splitlines() if " " in line.strip()) | {
        "started": f"{started.rc} {started.stderr}"
    }
    host.run(STOP)


@pytest.fixture(scope="module")
def info(answers: Any) -> dict[str, Any]:
    """What the engine says of itself."""
    return dict(json.loads(answers["info"].text))


def test_containers_run_and_this_host_reaches_what_they_publish(container: dict[str, str]) -> None:
    assert container.get("address") == "SSH-2.0-greeter", container
    assert container.get("loopback") == "SSH-2.0-greeter", container


def test_nothing_failed_to_start(answers: Any) -> None:
    assert answers["failed"] == (0, "")


def test_all_that_containers_keep_is_below_srv(info: dict[str, Any], answers: Any) -> None:
    assert info["DockerRootDir"] == "/srv/docker"
    assert answers["elsewhere"].text == ""


def test_containers_outlive_the_engine_and_their_logs_do_not_fill_the_disk(info: dict[str, Any]) -> None:
    assert info["LiveRestoreEnabled"] is True
    assert info["LoggingDriver"] == "local"


def test_compose_is_there(answers: Any) -> None:
    assert int(answers["compose"].text.lstrip("v").split(".")[0]) >= 2


@pytest.mark.negative
def test_what_nobody_declared_is_reached_by_nobody(host: Any, outside: Any) -> None:
    assert outside.greeting(OPEN_TO_ALL) is None
    # With one rule more it is: so the door was shut, and it was this door.
    rule = f"meta l4proto tcp ct status dnat ct original proto-dst {OPEN_TO_ALL} accept"
    added = json.loads(host.run(f"nft --json --echo --handle add rule inet homelab published {rule}").stdout)
    handle = next(entry["add"]["rule"]["handle"] for entry in added["nftables"] if "add" in entry)
    try:
        assert outside.greeting(OPEN_TO_ALL) == "greeter"
    finally:
        host.run(f"nft delete rule inet homelab published handle {handle}")


@pytest.mark.negative
def test_what_has_no_address_is_published_to_this_host_alone(host: Any, outside: Any) -> None:
    assert outside.greeting(WITHOUT_ADDRESS) is None
    assert f"127.0.0.1:{WITHOUT_ADDRESS}" in host.run("ss --no-header --listening --tcp --numeric").stdout
