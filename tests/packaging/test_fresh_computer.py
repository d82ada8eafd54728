"""A computer on which nothing was installed: a minimal Debian with git, make and python3, as the README asks for.

A change of root in a mount namespace of its own is computer enough: programs, libraries, Python and apt are the new
root's; kernel and network are this machine's.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from homelab_provision.image.mirror import find_mirror

ROOT = Path(__file__).parents[2]
ASKED_FOR = ("git", "make", "python3")
CLONE = "/home/ada/homelab-provision"
# What this machine needs to reach the package index; its certificates are laid into the new root.
INDEX = ("http_proxy", "https_proxy", "no_proxy", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_DEFAULT_TIMEOUT")
AUTHORITIES = "/usr/local/share/authorities-of-the-builder.crt"
PYTHON = {"bookworm": "3.11", "trixie": "3.13"}

pytestmark = [
    pytest.mark.long,
    pytest.mark.packaging,
    pytest.mark.processes,
    pytest.mark.skipif(os.geteuid() != 0, reason="changing the root needs root"),
]


@dataclass(frozen=True)
class Computer:
    root: Path
    suite: str

    def run(self, script: str, *, timeout: float = 1800) -> subprocess.CompletedProcess[str]:
        """Run a shell script in the clone, in an environment that is an ordinary user's."""
        environment = {name: os.environ[name] for name in INDEX if name in os.environ}
        if (self.root / AUTHORITIES.lstrip("/")).exists():
            environment |= {"PIP_CERT": AUTHORITIES, "SSL_CERT_FILE": AUTHORITIES}
        words = [f"{name}={value}" for name, value in environment.items()]
        inside: list[str | Path] = [
            "chroot", self.root, "/usr/bin/env", "-i", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb",
            "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", *words, "sh", "-euc", f"cd {CLONE}\n{script}",
        ]  # fmt: skip
        # The new root is mounted on itself: `ip netns` wants a root that is a mount point, as every real one is.
        kernel = "for place in proc sys dev; do mount --rbind /$place $0/$place; done"
        mounts = f"mount --rbind $0 $0; {kernel}; mount -t tmpfs none $0/run"
        command: list[str | Path] = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-euc",
            f'{mounts}; exec "$@"',
            self.root,
        ]
        return subprocess.run([*command, *inside], capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture(scope="module", params=PYTHON)
def computer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Computer]:
    """A minimal root with a clone of this tree in it."""
    root = tmp_path_factory.mktemp("computer") / "root"
    mirror = find_mirror()
    made: list[str | Path] = [
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join(ASKED_FOR)}",
        request.param,
        root,
    ]
    subprocess.run([*made, *(mirror.sources(request.param) if mirror else ())], check=True, capture_output=True)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    if authorities := os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE"):
        shutil.copy(authorities, root / AUTHORITIES.lstrip("/"))
    (root / CLONE.lstrip("/")).parent.mkdir()
    subprocess.run(["git", "clone", "--quiet", "--no-local", ROOT, root / CLONE.lstrip("/")], check=True)
    yield Computer(root, request.param)
    shutil.rmtree(root)


def test_a_minimal_debian_is_set_up_and_starts_a_lab(computer: Computer) -> None:
    made = computer.run("make setup")
    assert made.returncode == 0, made.stderr
    again = computer.run("make setup")
    assert (again.returncode, again.stdout + again.stderr) == (0, "")

    version = computer.run(".venv/bin/python -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'")
    assert version.stdout.strip() == PYTHON[computer.suite]

    found = computer.run("cp -r inventories/lab /tmp/site; .venv/bin/provision doctor --site /tmp/site --json")
    failed = [one for one in json.loads(found.stdout) if one["verdict"] == "fail"]
    missing = [one for one in json.loads(found.stdout) if (one["repair"] or "").startswith("sudo apt-get install")]
    assert (found.returncode, failed, missing) == (0, [], []), found.stderr

    name = f"hlp-{secrets.token_hex(3)}"
    started = computer.run(
        f"""
        sed -i 's/^lab:.*/&\\n  namespace: {name}/' /tmp/site/machines.yml
        export PROVISION_SITE=/tmp/site
        trap '.venv/bin/provision lab down --remove-disks' EXIT
        .venv/bin/provision lab up
        .venv/bin/provision lab status --json
        """
    )
    assert started.returncode == 0, started.stderr
    assert {row["name"] for row in json.loads(started.stdout)} >= {"wyse-a", "wyse-b"}


def test_an_image_is_built_with_the_programs_of_this_debian(computer: Computer) -> None:
    made = computer.run(
        "make setup; cp -r inventories/lab /tmp/another; .venv/bin/provision image build site-wyse --site /tmp/another"
    )
    assert made.returncode == 0, made.stderr[-6000:]


def test_the_unit_tests_pass_with_the_python_of_this_debian(computer: Computer) -> None:
    assert computer.run("make setup").returncode == 0
    done = computer.run("git config --global --add safe.directory '*'; make unit")
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    assert " passed" in done.stdout
