"""A registry of images that a lab's own hosts reach, as no other is reached from there. It stands on one of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.lab.conftest import PROVISION, Homelab

PORT = 5001
IMAGES = Path(__file__).parents[2] / "molecule" / "image"
FOLDER = "/srv/registry"
INSTALL = f"""set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install --no-install-recommends docker-registry >/dev/null
systemctl disable --quiet --now docker-registry.service
mkdir -p {FOLDER}
"""
# What these repositories have, as the registry lays it down: links, and the blobs that they name.
PACK = """set -eu
cd /registry
v2=docker/registry/v2
for name; do
  echo $v2/repositories/$name
  find $v2/repositories/$name -path '*/sha256/*' -name link -exec cut -d: -f2 {} + |
    sed "s#^\\(..\\).*#$v2/blobs/sha256/\\1/&#"
done | sort --unique | tar --create --files-from=-
"""


def bring(homelab: Homelab, host: str, *names: str) -> None:
    """Make the images of these stacks, or of these folders, and carry them to a host."""
    homelab.on(host, INSTALL)
    subprocess.run([sys.executable, IMAGES / "stacks", *names], check=True)
    volume = ["docker", "run", "--rm", "--volume=homelab-provision-registry:/registry:ro"]
    packed = subprocess.Popen(
        [*volume, "homelab-provision/molecule:debian13", "sh", "-c", PACK, "-", *(Path(name).name for name in names)],
        stdout=subprocess.PIPE,
    )
    unpack = ["lab", "ssh", host, "--", "tar", "--extract", f"--directory={FOLDER}"]
    subprocess.run([*PROVISION, *unpack], env=homelab.environment, stdin=packed.stdout, check=True, timeout=1200)
    assert packed.wait() == 0


def serve(homelab: Homelab, host: str, address: str) -> dict[str, str]:
    """Serve them from now on, until the host starts anew: each by its name and tag, with its digest."""
    words = ["lab", "ssh", host, "--", "sh", "-s", f"{address}:{PORT}", FOLDER]
    anew = "systemctl --quiet stop registry.service 2>/dev/null || true\n"
    told = homelab.done(*words, feed=anew + (IMAGES / "registry").read_text()).stdout
    return dict(line.split() for line in told.splitlines())
