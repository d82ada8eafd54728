"""Images of containers that tests make on this computer: there are none to pull.

An image tells by a label what it was made from, and one that was made from the same is kept. Starts dockerd where
nobody else has.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

LABEL = "homelab-provision.inputs"
DOCKERD_SECONDS = 60
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
PROJECT = Path(__file__).resolve().parents[2]


def say(text: str) -> None:
    print(f"{Path(sys.argv[0]).resolve().relative_to(PROJECT)}: {text}", file=sys.stderr, flush=True)


def die(text: str) -> NoReturn:
    say(text)
    sys.exit(1)


def start_docker() -> None:
    """Make sure that dockerd answers: as a service where there is systemd, else as a process of its own."""
    if docker_answers():
        return
    if Path("/run/systemd/system").is_dir():
        die("dockerd does not answer; start it with `sudo systemctl start docker`, or join the group docker")
    if os.geteuid() != 0:
        die("dockerd does not answer, and only root can start it: run `sudo dockerd` in another terminal")
    log = Path(tempfile.gettempdir()) / "homelab-provision-dockerd.log"
    say(f"starting dockerd (its log: {log})")
    with log.open("wb") as out:
        subprocess.Popen(["dockerd"], stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    deadline = time.monotonic() + DOCKERD_SECONDS
    while not docker_answers():
        if time.monotonic() > deadline:
            die(f"dockerd did not come up within {DOCKERD_SECONDS} s; its last words are in {log}")
        time.sleep(0.5)


def docker_answers() -> bool:
    if shutil.which("docker") is None:
        die("docker is not installed: `apt-get install docker.io`")
    return subprocess.run(["docker", "version"], capture_output=True, timeout=60, check=False).returncode == 0


def digest_of(*inputs: bytes) -> str:
    return hashlib.sha256(b"\0".join(inputs)).hexdigest()


def made_from(tag: str) -> str | None:
    """The digest of what the present image was made from; `None` if there is none."""
    template = f'{{{{ index .Config.Labels "{LABEL}" }}}}'
    shown = subprocess.run(["docker", "image", "inspect", "--format", template, tag],
                           capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    return shown.stdout.strip() if shown.returncode == 0 else None


def import_root(tag: str, digest: str, mmdebstrap: Sequence[str], *changes: str) -> None:
    """Make an image of the root that mmdebstrap writes to its standard output."""
    labelled = [word for change in (*changes, f"LABEL {LABEL}={digest}") for word in ("--change", change)]
    with subprocess.Popen(mmdebstrap, stdout=subprocess.PIPE) as root:
        importing = ["docker", "import", *labelled, "-", tag]
        imported = subprocess.run(importing, stdin=root.stdout, stdout=subprocess.DEVNULL, timeout=1800, check=False)
    if root.returncode or imported.returncode:
        subprocess.run(["docker", "image", "rm", tag], capture_output=True, timeout=60, check=False)
        die(f"the image {tag} could not be built; the messages above say why")


def docker_build(
    tag: str, digest: str, context: str = "-", arguments: Mapping[str, str] | None = None, stdin: bytes | None = None
) -> None:
    """Make an image by its Dockerfile, in the folder `context` or in the archive `stdin`."""
    # The classic builder where the new one is not installed.
    buildkit = subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False).returncode == 0
    # Names that only this computer knows are known there, too.
    words = ["docker", "build", "--quiet", "--network=host", f"--tag={tag}", f"--label={LABEL}={digest}"]
    words += [f"--build-arg={name}={value}" for name, value in (arguments or {}).items()]
    words += [f"--build-arg={name}" for name in PROXIES if name in os.environ]
    environment = {**os.environ, "DOCKER_BUILDKIT": str(int(buildkit))}
    built = subprocess.run([*words, context], input=stdin, env=environment, capture_output=True, check=False)
    if built.returncode:
        sys.stderr.buffer.write(built.stdout[-20000:] + built.stderr[-20000:])
        die(f"the image {tag} could not be built; the messages above say why")
