"""A homelab of its own for each test: a copy of the lab's site in its own namespace, with its own state."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from homelab_provision import paths
from homelab_provision.errors import ExitCode
from homelab_provision.lab.lab import Lab
from homelab_provision.lab.machine import VirtualMachine
from homelab_provision.lab.reach import lab_of
from homelab_provision.site.loading import load_site

# Seconds until a machine that was told to reboot lets somebody in, under emulation and beside other work.
REBOOT = 600
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
PROVISION = [sys.executable, "-m", "homelab_provision"]


@dataclass
class Homelab:
    """A lab site and the command `provision` for it, run as a user runs it."""

    site: Path
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    def run(self, *words: str, timeout: float = 5400, feed: str | None = None) -> subprocess.CompletedProcess[str]:
        """`provision WORDS` to its end, with `feed` as its input; never raises for its exit status."""
        return subprocess.run(
            [*PROVISION, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            input=feed or "",
            check=False,
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        """`provision WORDS` in the background."""
        self.started = datetime.now(UTC)
        return subprocess.Popen(
            [*PROVISION, *words],
            env=self.environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def done(self, *words: str, feed: str | None = None) -> subprocess.CompletedProcess[str]:
        """`provision WORDS`, which must succeed."""
        run = self.run(*words, feed=feed)
        assert run.returncode == ExitCode.DONE, run.stderr
        return run

    def install(self, machine: str, host: str) -> None:
        """Put the host that it plays onto a machine, with its root as large as a rebuild would make it."""
        self.done("lab", "install", machine)
        self.on(host, 'resize2fs "$(findmnt --noheadings --output SOURCE /)" 2>/dev/null')

    def on(self, host: str, script: str, feed: str | None = None) -> str:
        """What a shell script on a host prints, with `feed` as its input; it must succeed."""
        return self.done("lab", "ssh", host, "--", "sh", "-c", script, feed=feed).stdout

    def tell(self, host: str, **variables: object) -> None:
        """Make these the variables that the site has for a host alone."""
        file = self.site / "host_vars" / f"{host}.yml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(yaml.safe_dump(variables))

    def reboot(self, host: str) -> float:
        """Reboot a host and wait for it; the seconds until its next kernel started, by its own clock."""
        started = float(self.on(host, "date +%s"))
        before = self.on(host, BOOT_ID)
        self.run("lab", "ssh", host, "--", "systemctl", "reboot")
        give_up = time.monotonic() + REBOOT
        while (asked := self.run("lab", "ssh", host, "--", "sh", "-c", BOOT_ID)).stdout in (before, ""):
            assert time.monotonic() < give_up, asked.stderr
            time.sleep(2)
        return float(self.on(host, "awk '/^btime/ {print $2}' /proc/stat")) - started

    def latest(self) -> dict[str, Any]:
        """`provision runs show latest --json`."""
        shown = self.run("runs", "show", "latest", "--json")
        assert shown.returncode == 0, shown.stderr
        document: dict[str, Any] = json.loads(shown.stdout)
        return document

    def journal(self) -> list[dict[str, Any]]:
        """The events of the newest run, as far as they are written."""
        file = paths.runs() / "latest" / "journal.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def wait_for(self, kind: str, name: str, child: subprocess.Popen[str]) -> None:
        """Wait for an event whose name begins so, of the child that was started last; it must not end before."""

        def came(event: dict[str, Any]) -> bool:
            named = event["kind"] == kind and any(str(value).startswith(name) for value in event.values())
            return named and datetime.fromisoformat(event["at"]) > self.started

        give_up = time.monotonic() + 1800
        while not any(came(event) for event in self.journal()):
            if child.poll() is not None:
                pytest.fail(f"it ended ({child.returncode}) before the moment came:\n{child.communicate()[1]}")
            if time.monotonic() > give_up:
                child.kill()
                pytest.fail("the moment never came")
            time.sleep(0.1)

    def kill(self, child: subprocess.Popen[str]) -> None:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()

    def edit(self, old: str, new: str, file: str = "machines.yml") -> None:
        """Replace the first occurrence of a text in the site's description."""
        path = self.site / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    @property
    def runs_folder(self) -> Path:
        return paths.runs()

    @property
    def lab(self) -> Lab:
        return lab_of(load_site(self.site))

    def machine(self, name: str) -> VirtualMachine:
        return self.lab.machine(name)

    @property
    def environment(self) -> dict[str, str]:
        """What tells `provision` where this homelab is."""
        return {**os.environ, "PROVISION_SITE": str(self.site)}


@pytest.fixture
def homelab(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Homelab]:
    """A blank homelab; everything of it is gone afterwards. Consoles are shown if the test failed."""
    site = tmp_path / "site"
    shutil.copytree(paths.content("inventories") / "lab", site, ignore=shutil.ignore_patterns(".vault*", "vault"))
    made = Homelab(site)
    made.edit("lab:\n", f"lab:\n  namespace: hlp-{secrets.token_hex(3)}\n")
    yield made
    for console in sorted((tmp_path / "state").glob("**/console.log")):
        print(f"--- {console}\n{console.read_text(errors='replace')[-3000:]}")
    down = made.run("lab", "down", "--remove-disks")
    assert down.returncode == 0, down.stderr
