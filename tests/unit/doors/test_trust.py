"""Who may be talked to: real servers with the right key and with another one, and agents whose owner was killed."""

from __future__ import annotations

import getpass
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from homelab_provision.doors import ssh as ssh_module
from homelab_provision.doors.ansible import Playbook, PlaybookFailed, play
from homelab_provision.doors.ssh import RESCUE, Answer, Door, config, opened
from homelab_provision.events import Event
from homelab_provision.identity.certificates import Certificate
from homelab_provision.identity.identities import HostIdentity, Identities, KeyPair, SiteIdentity, _new_key, _pair
from tests import sshd

ROOT = Path(__file__).parents[3]
SECRET = "kept-from-strangers"
HOST = "db-wyse"

# What a site, or the user's computer, could say to have host keys ignored.
SWITCHES: dict[str, dict[str, object]] = {
    "nothing": {},
    "ansible_host_key_checking": {"ansible_host_key_checking": False},
    "ansible_ssh_host_key_checking": {"ansible_ssh_host_key_checking": False},
    "ansible_ssh_common_args": {
        "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    },
    "ansible_ssh_extra_args": {"ansible_ssh_extra_args": "-o StrictHostKeyChecking=accept-new"},
    "ansible_ssh_args": {"ansible_ssh_args": "-o StrictHostKeyChecking=off -o UserKnownHostsFile=/dev/null"},
}


def key(name: str) -> KeyPair:
    return _pair(_new_key(name), name)


@pytest.fixture(scope="module")
def identities() -> Identities:
    nothing = Certificate("", "")
    return Identities(
        SiteIdentity(key("controller"), key("rescue"), nothing),
        {HOST: HostIdentity(key("host"), nothing, "0" * 32, key("signing"), ())},
    )


@pytest.fixture
def playbook(tmp_path: Path) -> Path:
    """A playbook that tells the host a secret."""
    file = tmp_path / "plays" / "tell.yml"
    file.parent.mkdir()
    file.write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n"
        f"    - ansible.builtin.raw: echo {SECRET} >{tmp_path}/received\n"
    )
    return file


@pytest.mark.processes
@pytest.mark.negative
@pytest.mark.parametrize("switch", SWITCHES)
def test_a_stranger_receives_nothing_whatever_the_site_says(
    identities: Identities, playbook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    monkeypatch.setenv("ANSIBLE_HOST_KEY_CHECKING", "False")
    monkeypatch.setenv("ANSIBLE_SSH_ARGS", "-o StrictHostKeyChecking=no")
    inventory = sshd.inventory(tmp_path, HOST, SWITCHES[switch])
    with (
        sshd.listening(tmp_path / "stranger", key("another"), identities.site.controller) as server,
        sshd.reached(server, identities, HOST) as ssh,
    ):
        with pytest.raises(PlaybookFailed, match="1 task") as failed:
            play(Playbook(playbook, inventory, ssh.config_file), artifacts=tmp_path / "run", emit=lambda event: None)
        assert "Host key verification failed" in (failed.value.evidence or "")
        assert ssh.answer(HOST) is Answer.STRANGER
        assert server.asked == []
    assert not (tmp_path / "received").exists()


@pytest.mark.processes
def test_the_pinned_key_opens_under_alias_and_address(identities: Identities, playbook: Path, tmp_path: Path) -> None:
    seen: list[Event] = []
    with (
        sshd.listening(tmp_path / "own", identities.hosts[HOST].host_key, identities.site.controller) as server,
        sshd.reached(server, identities, HOST) as ssh,
    ):
        recap = play(
            Playbook(playbook, sshd.inventory(tmp_path, HOST, {}), ssh.config_file),
            artifacts=tmp_path / "run",
            emit=seen.append,
        )
        assert recap.ok
        assert ssh.answer(HOST) is Answer.OURS
    assert (tmp_path / "received").read_text() == f"{SECRET}\n"


@pytest.mark.processes
@pytest.mark.negative
def test_a_rescue_is_no_host_at_the_same_address(identities: Identities, playbook: Path, tmp_path: Path) -> None:
    """The rescue may have the address that the host will have: its key opens nothing that is meant for the host."""
    with (
        sshd.listening(tmp_path / "rescue", identities.site.rescue, identities.site.controller) as server,
        opened(identities.credentials, {RESCUE: sshd.ADDRESS, HOST: sshd.ADDRESS}, server.door) as ssh,
    ):
        ssh.config_file.write_text(ssh.config_file.read_text().replace("User root", f"User {getpass.getuser()}"))
        assert ssh.answer(RESCUE) is Answer.OURS  # an open connection to the rescue is none to the host
        assert ssh.answer(HOST) is Answer.STRANGER
        with pytest.raises(PlaybookFailed):
            play(
                Playbook(playbook, sshd.inventory(tmp_path, HOST, {}), ssh.config_file),
                artifacts=tmp_path / "run",
                emit=lambda event: None,
            )
        assert server.asked == ["true"]  # by which the rescue was known
    assert not (tmp_path / "received").exists()


def test_the_address_belongs_to_the_host_alone() -> None:
    text = config(addresses={RESCUE: "192.168.1.10", HOST: "192.168.1.10"}, folder=Path("/f"), door=Door())
    assert re.findall("^Host (.*)", text, re.MULTILINE) == [RESCUE, f"{HOST} 192.168.1.10", "*"]


SWITCHED_OFF = re.compile(
    r"StrictHostKeyChecking[= ]+(no|off|accept-new|false)|host_key_checking['\"]?\s*[:=]\s*['\"]?(false|no|0)\b", re.I
)


@pytest.mark.processes
def test_nothing_in_the_project_switches_the_checking_off() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    # Words about it are none that do it.
    names = [name for name in listed.split("\0") if name and not name.startswith("tests/unit/")]
    texts = [ROOT / name for name in names if not name.endswith(".md")]
    found = [path for path in texts if path.is_file() and SWITCHED_OFF.search(path.read_text(errors="replace"))]
    assert found == []
    # Molecule's own default is to check nothing.
    assert "host_key_checking: true" in (ROOT / ".config/molecule/config.yml").read_text()


# ---- the agent ---------------------------------------------------------------------------------------------------

HOLDER = """
import signal, sys, time
for number in (signal.SIGHUP, signal.SIGINT):  # whoever runs the tests in the background may have them ignored
    signal.signal(number, signal.SIG_DFL if number == signal.SIGHUP else signal.default_int_handler)
from pathlib import Path
from homelab_provision.cli import main
from homelab_provision.doors.ssh import Door, opened
from tests.unit.doors.test_trust import some_identities

def hold():
    with opened(some_identities().credentials, {}, Door()) as ssh:
        print(ssh.config_file.parent, flush=True)
        time.sleep(60)

import homelab_provision.cli as cli
cli.cli.main = lambda **options: hold()
main()
"""


def some_identities() -> Identities:
    return Identities(SiteIdentity(key("controller"), key("rescue"), Certificate("", "")), {})


@pytest.fixture
def holder() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A run that holds an agent, and its directory."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        assert child.stdout
        yield child, Path(child.stdout.readline().strip())
        child.kill()


def agents(folder: Path) -> list[str]:
    """The live processes that name the directory of a run."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"{folder}/agent" in words:
            found.append(words)
    return found


def gone(folder: Path, seconds: float) -> bool:
    give_up = time.monotonic() + seconds
    while agents(folder) and time.monotonic() < give_up:
        time.sleep(0.05)
    return not agents(folder)


@pytest.mark.processes
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_no_agent_outlives_its_run(holder: tuple[subprocess.Popen[str], Path], sign: signal.Signals) -> None:
    child, folder = holder
    assert len(agents(folder)) >= 1
    os.kill(child.pid, sign)
    child.wait(timeout=20)
    assert gone(folder, 5)
    assert folder.exists() == (sign is signal.SIGKILL)
    with opened(some_identities().credentials, {}, Door()):
        assert not folder.exists()  # what was left is swept up by the next run


@pytest.mark.processes
def test_the_agent_misses_even_a_watcher_that_was_killed(holder: tuple[subprocess.Popen[str], Path]) -> None:
    child, folder = holder
    (watcher,) = [
        int(process.name)
        for process in Path("/proc").glob("[0-9]*")
        if (process / "environ").exists() and _watches(process, folder)
    ]
    os.kill(watcher, signal.SIGKILL)
    os.kill(child.pid, signal.SIGKILL)
    child.wait(timeout=20)
    assert gone(folder, 15)


def _watches(process: Path, folder: Path) -> bool:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
        environment = (process / "environ").read_bytes()
    except OSError:
        return False
    return words[0] == b"sh" and f"SSH_AUTH_SOCK={folder}/agent".encode() in environment


@pytest.mark.processes
def test_a_key_has_a_lifetime_and_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_module, "KEY_LIFETIME", 2)
    monkeypatch.setattr(ssh_module, "KEY_RENEWED", 1)
    with opened(some_identities().credentials, {}, Door()) as ssh:
        time.sleep(3.5)
        assert listed(ssh.config_file.parent / "agent").returncode == 0
    monkeypatch.setattr(ssh_module, "KEY_RENEWED", 60)
    with opened(some_identities().credentials, {}, Door()) as ssh:
        time.sleep(3.5)
        assert "no identities" in listed(ssh.config_file.parent / "agent").stdout


def listed(agent: Path) -> subprocess.CompletedProcess[str]:
    words = ["ssh-add", "-l"]
    return subprocess.run(
        words, env={**os.environ, "SSH_AUTH_SOCK": str(agent)}, capture_output=True, text=True, check=False
    )
