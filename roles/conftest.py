"""What the tests of all roles share: expected facts, one round trip for many questions, a look from outside.

The same files are run by molecule against a container, by `provision verify`, and by the last phase of a
rebuild. A test asks the host through `answers`, so that a whole file costs one connection, and reaches
its ports through `outside`, as any other machine of the network would.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

# How long a port may stay silent before it counts as closed to us, in seconds.
SILENCE = 3
PATIENCE = 60


class Answer(NamedTuple):
    """What a command said on the host: its exit status, and both of its outputs."""

    status: int
    text: str


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--expected", type=Path, help="a JSON file with the facts that this host has to show")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "negative: shows that something is refused; every role has one")
    config.addinivalue_line("markers", "machine(reason): needs a machine; skipped in a container, for that reason")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _expected(config).get("machine") != "container":
        return
    for item in items:
        if needs := item.get_closest_marker("machine"):
            item.add_marker(pytest.mark.skip(reason=f"not in a container: {needs.args[0]}"))


def _expected(config: pytest.Config) -> dict[str, Any]:
    file: Path | None = config.getoption("--expected")
    return dict(json.loads(file.read_text())) if file else {}


class Expected(Mapping[str, Any]):
    """The facts that a host has to show; a test that asks for one nobody told is skipped and says so."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self._facts = facts

    def __getitem__(self, name: str) -> Any:
        if self._facts.get(name) is None:
            pytest.skip(f"nobody said what `{name}` has to be")
        return self._facts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)


@pytest.fixture(scope="session")
def expected(request: pytest.FixtureRequest) -> Expected:
    return Expected(_expected(request.config))


def ask(host: Any, questions: Mapping[str, str]) -> dict[str, Answer]:
    """Run many shell commands on the host at once, over one connection; an answer for each.

    Each begins in an empty directory of its own, where it may leave files.
    """
    mark = uuid.uuid4().hex
    script = ["export LC_ALL=C.UTF-8 PATH=$PATH:/usr/sbin:/sbin; cd $(mktemp -d)"]
    for name, command in questions.items():
        script += [f"mkdir {name}.d", f"( ( cd {name}.d; {command}\n) >{name} 2>&1; echo $? >{name}.status ) &"]
    script += ["wait"]
    script += [f"echo; echo {mark} {name} $(cat {name}.status); cat {name}" for name in questions]
    script += ["rm -r $PWD"]
    # A host may say what is no text; only its own answer suffers then.
    output = host.run("\n".join(script)).stdout_bytes.decode(errors="replace")
    found = re.findall(rf"^{mark} (\S+) (\d+)\n(.*?)(?=\n{mark} |\Z)", output, re.DOTALL | re.MULTILINE)
    return {name: Answer(int(status), text.strip()) for name, status, text in found}


@pytest.fixture(scope="module")
def answers(request: pytest.FixtureRequest, host: Any) -> dict[str, Answer]:
    """The answers to the file's `QUESTIONS`."""
    return ask(host, request.module.QUESTIONS)


def address_of(host: Any) -> str:
    """The address by which others know the host, and not that of a network within it."""
    route: list[dict[str, str]] = json.loads(host.run("ip -json -4 route get 192.0.2.1").stdout)
    return route[0]["prefsrc"]


class Outside:
    """Another machine's view: SSH connections to the host that are not the one the tests use."""

    def __init__(self, ssh: list[str], alias: str) -> None:
        self._ssh, self._alias = ssh, alias

    def knock(self, *options: str, command: str = "true") -> Answer:
        """Try to log in with these options of ssh; the answer holds what ssh tells with -v."""
        argv = [*self._ssh, "-v", "-o", f"ConnectTimeout={SILENCE}", *options, self._alias, command]
        # Into a file: a program that ssh leaves behind (its way into a lab, where hang-ups are ignored) would keep a
        # pipe open, and us waiting.
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            tried = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=PATIENCE, check=False
            )
            output.seek(0)
            return Answer(tried.returncode, output.read())

    def greeting(self, port: int) -> str | None:
        """The name of the software that greets at a TCP port, if it greets as an SSH server; `None` for silence."""
        heard = re.search(r"remote software version (\S+)", self.knock("-p", str(port)).text)
        return heard[1] if heard else None


@pytest.fixture(scope="module")
def outside(request: pytest.FixtureRequest, host: Any, tmp_path_factory: pytest.TempPathFactory) -> Outside:
    # A connection of its own each time, and none of the doors that are already open.
    fresh = ["-o", "ControlMaster=no", "-o", "ControlPath=none", "-o", "LogLevel=DEBUG1"]
    name = host.backend.get_pytest_id().partition("://")[2]
    if host.backend.NAME == "ssh":
        return Outside(["ssh", "-F", request.config.getoption("--ssh-config"), *fresh], name)
    # A container is asked through Docker, which is trusted to tell its address and its key.
    key = host.run("cat /etc/ssh/ssh_host_ed25519_key.pub").stdout.strip()
    folder = tmp_path_factory.mktemp("outside")
    (folder / "known_hosts").write_text(f"{name} {key}\n")
    pinned = f"UserKnownHostsFile={folder}/known_hosts"
    options = [f"HostName={address_of(host)}", f"HostKeyAlias={name}", "StrictHostKeyChecking=yes", "BatchMode=yes"]
    words = [word for option in (pinned, *options) for word in ("-o", option)]
    return Outside(["ssh", "-F", "none", *words, *fresh], name)


@pytest.fixture(scope="module")
def address(host: Any) -> str:
    """The host's own address in its network."""
    return address_of(host)


@pytest.fixture(scope="session")
def aside() -> Iterator[ThreadPoolExecutor]:
    """Threads for what waits on the network while the other tests go on."""
    with ThreadPoolExecutor() as pool:
        yield pool


GREETER = """
import socket, sys, threading
server = socket.create_server(("", int(sys.argv[1])))
server.settimeout(int(sys.argv[2]))
while True:
    peer = server.accept()[0]
    peer.sendall(b"SSH-2.0-greeter\\r\\n")
    peer.close()
"""


def greet(host: Any, port: int, seconds: int) -> bool:
    """Start a server on the host that greets at `port` for some seconds, and hear it from the host itself."""
    serve = f"setsid python3 -c {shlex.quote(GREETER)} {port} {seconds} </dev/null >/dev/null 2>&1 &"
    hear = f"exec 3<>/dev/tcp/127.0.0.1/{port} && head -n1 <&3"
    tries = f"for try in $(seq 50); do bash -c {shlex.quote(hear)} 2>/dev/null && exit; sleep 0.1; done"
    return "greeter" in host.run(f"{serve}\n{tries}").stdout


@pytest.fixture(scope="session")
def greeter() -> Any:
    """`greeter(host, port, seconds)` starts a server to be knocked at; true when the host itself hears it."""
    return greet
