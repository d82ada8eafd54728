"""A host with stacks, its share and the real restic; only systemd, and whether the share is mounted, are stand-ins."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.unit.data.signers import key
from tests.unit.roles.app_stacks import seed
from tests.unit.roles.programs import LIBRARY, STACKS

NAME = "site-wyse"
KEY = "a-key-of-32-characters-as-made-x"
needs_restic = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("restic"), reason="the program runs as root, and calls restic"
)
SYSTEMCTL = """#!/bin/sh
echo "$@" >>{folder}/systemctl.log
case "$1 $2" in "start --no-block") [ -e {folder}/broken ] || echo active >{folder}/units/$3; exit 0 ;; esac
case $1 in
  is-active) cat {folder}/units/$2 2>/dev/null || echo inactive ;;
  stop) echo inactive >{folder}/units/$2 ;;
  start) [ ! -e {folder}/broken ] && echo active >{folder}/units/$2 ;;
esac
"""
# The places of a host, moved below the test's folder; all else is the program as it is.
START = """
import os, pathlib, sys
sys.path[:0] = [{library!r}, {program!r}]
from homelab_host import process, share, signing
import homelab_stacks.__main__ as program
from homelab_stacks import proof_copy, repository
folder = pathlib.Path({folder!r})
process.ENVIRONMENT["PATH"] = f"{{folder}}/bin:" + os.environ["PATH"]
share.MOUNTS, signing.KEY = folder / "mountinfo", pathlib.Path({key!r})
repository.CACHE, repository.FIRST_ANSWER = folder / "cache", 5
program.CONFIGURATION, program.LOCK = folder / "stacks.json", folder / "run/lock"
{more}
sys.exit(program.main())
"""


@dataclass
class Answer:
    status: int
    lines: list[dict[str, Any]]
    err: str

    @property
    def last(self) -> dict[str, Any]:
        return self.lines[-1]

    @property
    def result(self) -> dict[str, Any]:
        assert (self.status, self.last["kind"]) == (0, "result"), (self.lines, self.err)
        return self.last

    @property
    def error(self) -> dict[str, Any]:
        assert (self.status, self.last["kind"]) == (1, "error"), (self.lines, self.err)
        assert "Traceback" not in self.err
        return self.last

    @property
    def notices(self) -> list[str]:
        return [line["text"] for line in self.lines if line["kind"] == "notice"]


class Host:
    """Two services, `notes` and `wiki`, each with rows in a file that a fact counts."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.share, self.data = folder, folder / "share", folder / "srv/stacks"
        self.records = self.share / "app_stacks"
        self.repository = self.share / "stacks/repository"
        for made in (self.share, self.data, folder / "units", folder / "bin"):
            made.mkdir(parents=True)
        (folder / "bin/systemctl").write_text(SYSTEMCTL.format(folder=folder))
        (folder / "bin/systemctl").chmod(0o755)
        (folder / "key").write_text(f"{KEY}\n")
        if shutil.which("restic"):
            shutil.copytree(seed.repository(KEY), self.repository)
        self.mount(True)
        self.setup: dict[str, Any] = {
            "host": NAME,
            "share": str(self.share),
            "key_file": str(folder / "key"),
            "second": None,
            "keep": {"daily": 7, "weekly": 5, "monthly": 12},
            "stacks": [self.stack("notes"), self.stack("wiki")],
        }
        for name in ("notes", "wiki"):
            self.write(name, 3)
            (folder / f"units/stack-{name}.service").write_text("active\n")

    def stack(self, name: str, **backup: Any) -> dict[str, Any]:
        rows = {"name": "rows", "command": ["sh", "-c", 'wc -l <"$STACK_DATA/data/rows"'], "service": None}
        return {
            "name": name,
            "kind": "service",
            "version": "1.4",
            "folder": str(self.data / name),
            "project": "",
            "unit": f"stack-{name}.service",
            "needs": {},
            "health": {},
            "memory": "1G",
            "backup": {"paths": ["data"], "before": "", "after": "", "facts": [rows], **backup},
        }

    def write(self, name: str, rows: int) -> None:
        """The data of a stack: rows, something larger, a link that leads out, and the same file twice."""
        data = self.data / name / "data"
        (data / "sub").mkdir(parents=True, exist_ok=True)
        (data / "rows").write_text("".join(f"row {number}\n" for number in range(rows)))
        (data / "sub/large").write_bytes(f"{name} {rows}".encode() * 100_000)
        if not (data / "out").is_symlink():
            (data / "out").symlink_to(self.folder / "outside")
            os.link(data / "rows", data / "again")

    def rows(self, name: str) -> int:
        return len((self.data / name / "data/rows").read_text().splitlines())

    def mount(self, there: bool) -> None:
        line = f"36 25 0:32 / {self.share} rw shared:1 - nfs4 nas:/srv/backup/{NAME} rw\n"
        (self.folder / "mountinfo").write_text(line if there else "")

    def start(self, *words: str, more: str = "", feed: str = "") -> subprocess.Popen[str]:
        (self.folder / "stacks.json").write_text(json.dumps(self.setup))
        program = START.format(
            library=str(LIBRARY.parent),
            program=str(STACKS.parent),
            folder=str(self.folder),
            key=str(key(NAME)),
            more=more,
        )
        child = subprocess.Popen(
            [sys.executable, "-IBc", program, *words],
            stdin=subprocess.PIPE,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert child.stdin is not None
        child.stdin.write(feed)
        child.stdin.close()
        child.stdin = None
        return child

    def run(self, *words: str, more: str = "", feed: str = "") -> Answer:
        child = self.start(*words, more=more, feed=feed)
        out, err = child.communicate(timeout=180)
        return Answer(child.returncode, [json.loads(line) for line in out.splitlines()], err)

    def backup(self, keep_all: bool = True) -> dict[str, Any]:
        """A backup of a second of its own: labels are no finer. Of one day only the last is kept, by the numbers."""
        time.sleep(1.05 - time.time() % 1)
        more = "import homelab_stacks.retention as r; r.kept = lambda complete, labels, keep: set(labels)"
        return self.run("backup", more=more if keep_all else "").result

    def killed(self, *words: str, at: str) -> None:
        """Run the program, and kill it without a word when it calls this name in its own code (`module.name`)."""
        module, _, name = at.partition(".")
        more = (
            f"import homelab_stacks.{module} as _m, signal\n"
            f"_m.{name} = lambda *words, **named: os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        child = self.start(*words, more=more)
        child.communicate(timeout=180)
        assert child.returncode == -signal.SIGKILL

    def restic(self, *words: str, repository: str | None = None) -> str:
        base = ["restic", f"--repo={repository or self.repository}", f"--password-file={self.folder}/key"]
        base += [f"--cache-dir={self.folder}/cache"]
        return subprocess.run([*base, *words], capture_output=True, text=True, check=True, timeout=120).stdout

    def labels(self) -> list[str]:
        return sorted(path.stem for path in self.records.glob("2*.json"))

    def called(self) -> list[str]:
        """What systemctl was told to do."""
        log = self.folder / "systemctl.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [line for line in lines if not line.startswith(("is-active", "show"))]
