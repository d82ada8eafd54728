"""SSH to the machines of a site: the OpenSSH client with a generated configuration.

One configuration serves ssh, Ansible and testinfra. Names are aliases: `rescue` for a machine in the
rescue system, the host's own name for the installed system. Each alias is checked against its own pinned
key, whatever address it has, and so is its address, which Ansible connects to. The controller's private key lives in
an agent of our own, never in a file.
"""

from __future__ import annotations

import os
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO

from homelab_provision.doors.process import Completed, ProcessError, background, interact, run
from homelab_provision.errors import ProvisionError
from homelab_provision.files import scratch

RESCUE = "rescue"
CONNECT_TIMEOUT = 5
# ssh-agent is setgid, so that it does not hear of our death. The shell beside it does, by the end of its input, and
# ends it; should that shell be killed, too, the agent misses it within ten seconds (ssh-agent(1), "command").
WATCHED_AGENT = ("sh", "-c", 'read -r _; kill "$SSH_AGENT_PID"')
# An agent that outlives even that forgets the key after this time; as long as we live, it gets it anew before.
KEY_LIFETIME = 900  # seconds
KEY_RENEWED = 300  # seconds
# ssh's own exit status; any other is the command's.
FAILED = 255
# Fastest first: 100 MiB into the rescue took 7.6 s with aes128-ctr and umac-64, 9.7 s with aes128-gcm, 12.7 s with
# chacha20-poly1305 (emulated).
CIPHERS = "aes128-ctr,aes128-gcm@openssh.com,chacha20-poly1305@openssh.com"
MACS = "umac-64-etm@openssh.com,umac-128-etm@openssh.com,hmac-sha2-256-etm@openssh.com"


class Answer(StrEnum):
    """What stands behind an address."""

    OURS = "ours"  # the pinned key, and it let us in
    SILENT = "silent"  # nothing speaks SSH there
    STRANGER = "stranger"  # another host key
    LOCKED_OUT = "locked out"  # the pinned key, but it does not let us in


@dataclass(frozen=True)
class Credentials:
    """What opens the machines of a site, and what they have to show: `private` is the controller's key (OpenSSH's file
    format), `pinned` the host key of each alias (`ssh-ed25519 AAAA…`)."""

    private: str = field(repr=False)
    pinned: Mapping[str, str]


@dataclass(frozen=True)
class Door:
    """How programs reach the homelab's network: through nothing at home, through the lab's namespace in the lab."""

    prefix: tuple[str, ...] = ()

    def proxy(self) -> str | None:
        return shlex.join([*self.prefix, "nc"]) + " %h %p" if self.prefix else None


def config(*, addresses: dict[str, str], folder: Path, door: Door) -> str:
    """The text of the ssh configuration: `addresses` maps an alias to its address; `folder` holds the sockets.

    A host's pinned key is the only one that counts, for its alias and for its address, which Ansible connects to.
    """
    # A shared connection has been checked against one key: who has another one, at the same address, gets his own.
    blocks = [
        f"Host {_names(alias, address)}\n  HostName {address}\n  HostKeyAlias {alias}\n"
        f"  ControlPath {folder}/{number}-%C"
        for number, (alias, address) in enumerate(addresses.items())
    ]
    proxy = door.proxy()
    common = [
        "Host *",
        "  User root",
        f"  UserKnownHostsFile {folder}/known_hosts",
        "  GlobalKnownHostsFile none",
        "  StrictHostKeyChecking yes",
        "  UpdateHostKeys no",
        "  CheckHostIP no",
        "  BatchMode yes",
        "  PreferredAuthentications publickey",
        f"  IdentityAgent {folder}/agent",
        f"  Ciphers {CIPHERS}",
        f"  MACs {MACS}",
        "  ControlMaster auto",
        f"  ControlPath {folder}/%C",
        "  ControlPersist 30",
        # A connection to a machine that was reset would hang for ever without these.
        "  ServerAliveInterval 5",
        "  ServerAliveCountMax 3",
        f"  ConnectTimeout {CONNECT_TIMEOUT}",
        "  LogLevel ERROR",
        *([f"  ProxyCommand {proxy}"] if proxy else []),
    ]
    return "\n".join([*blocks, "\n".join(common)]) + "\n"


def known_hosts(pinned: Mapping[str, str]) -> str:
    """The text of a `known_hosts` file, by host-key alias."""
    return "".join(f"{alias} {public}\n" for alias, public in pinned.items())


def _names(alias: str, address: str) -> str:
    """What ssh may be called with to reach the alias. The rescue may have the address that its host will have: there
    the address is the host's."""
    return alias if alias == RESCUE else " ".join(dict.fromkeys((alias, address)))


@dataclass(frozen=True)
class Ssh:
    """An open door to the machines of one site, for the time of one command."""

    config_file: Path
    addresses: dict[str, str]
    door: Door
    pinned: dict[str, str]

    def argv(self, alias: str, *command: str) -> list[str]:
        return ["ssh", "-F", os.fspath(self.config_file), alias, *([shlex.join(command)] if command else [])]

    def run(
        self,
        alias: str,
        *command: str,
        deadline: float,
        input: str | bytes | None = None,
        stdin: IO[bytes] | None = None,
        check: bool = True,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        """Run a command on the machine (given as words, quoted for its shell)."""
        return run(
            self.argv(alias, *command), deadline=deadline, input=input, stdin=stdin, check=check, on_line=on_line
        )

    def interact(self, alias: str, *command: str) -> int:
        """Lend the terminal to a shell or a command on the machine; returns its exit status.

        Raises `ProvisionError` when there is no connection, or no longer: at our log level ssh leaves without a word
        when the machine falls silent.
        """
        status = interact(self.argv(alias, *command))
        if status == FAILED:
            raise ProvisionError(
                f"no connection to `{alias}` ({self.addresses[alias]}), or it was lost",
                hint="is the machine on? If it is, its console says more",
            )
        return status

    def know(self, alias: str, address: str) -> None:
        """One more machine, or another address of one."""
        self.addresses[alias] = address
        text = config(addresses=self.addresses, folder=self.config_file.parent, door=self.door)
        self.config_file.write_text(text)

    def pin(self, alias: str, public: str) -> None:
        """From now on, this host key is the one that the alias has to show."""
        self.forget(alias)
        self.pinned[alias] = public
        (self.config_file.parent / "known_hosts").write_text(known_hosts(self.pinned))

    def close(self) -> None:
        for alias in self.addresses:
            self.forget(alias)

    def forget(self, alias: str) -> None:
        """Close the shared connection: the machine is about to go away."""
        run(["ssh", "-F", self.config_file, "-O", "exit", alias], deadline=10, check=False)

    def offered_key(self, alias: str) -> str | None:
        """The Ed25519 host key that the alias's address shows (`ssh-ed25519 AAAA…`); `None`: nothing speaks SSH."""
        scan = ["ssh-keyscan", "-T", str(CONNECT_TIMEOUT), "-t", "ed25519", self.addresses[alias]]
        shown = run([*self.door.prefix, *scan], deadline=CONNECT_TIMEOUT + 10, check=False).stdout
        keys = [line.split(" ", 1)[1] for line in shown.splitlines() if " ssh-ed25519 " in line]
        return keys[0].strip() if keys else None

    def answer(self, alias: str) -> Answer:
        """Who answers at the alias's address."""
        if not self._listens(alias):
            return Answer.SILENT
        if self.run(alias, "true", deadline=CONNECT_TIMEOUT + 15, check=False).returncode == 0:
            return Answer.OURS
        offered = self.offered_key(alias)
        if offered is None:
            return Answer.SILENT
        return Answer.LOCKED_OUT if offered == self.pinned[alias] else Answer.STRANGER

    def _listens(self, alias: str) -> bool:
        # ssh and ssh-keyscan take seconds to give up on an address that is not there; a bare connection does not.
        probe = [*self.door.prefix, "nc", "-z", "-w", "1", self.addresses[alias], "22"]
        return run(probe, deadline=15, check=False).returncode == 0

    def wait(
        self,
        alias: str,
        *,
        deadline: float,
        interval: float = 0.3,
        on_wait: Callable[[float, Answer], None] | None = None,
    ) -> Answer:
        """Try until the alias is ours or `deadline` seconds have passed; returns the last answer."""
        started = time.monotonic()
        while (answer := self.answer(alias)) is not Answer.OURS:
            waited = time.monotonic() - started
            if waited > deadline:
                break
            if on_wait:
                on_wait(waited, answer)
            time.sleep(interval)
        return answer


@contextmanager
def opened(credentials: Credentials, addresses: dict[str, str], door: Door) -> Iterator[Ssh]:
    """Start the agent, write the configuration, and clean both up at the end."""
    with ExitStack() as stack:
        folder = stack.enter_context(scratch())
        (folder / "known_hosts").write_text(known_hosts(credentials.pinned))
        config_file = folder / "ssh_config"
        config_file.write_text(config(addresses=addresses, folder=folder, door=door))
        agent = folder / "agent"
        stack.enter_context(background(["ssh-agent", "-a", agent, *WATCHED_AGENT], ready=agent.exists))
        stack.enter_context(_key_in(agent, credentials.private))
        session = Ssh(config_file, dict(addresses), door, dict(credentials.pinned))
        stack.callback(session.close)
        yield session


@contextmanager
def _key_in(agent: Path, private: str) -> Iterator[None]:
    """Keep a private key in the agent, for a short time that is renewed while we need it."""
    done = threading.Event()

    def add() -> None:
        run(
            ["ssh-add", "-q", "-t", str(KEY_LIFETIME), "-"],
            deadline=20,
            input=private,
            env={"SSH_AUTH_SOCK": os.fspath(agent)},
        )

    def renew() -> None:
        while not done.wait(KEY_RENEWED):
            with suppress(ProcessError):  # whoever connects without the key says what is wrong
                add()

    add()
    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=20)
