"""What a home's NAS has for a host that serves language models: a build of llama.cpp, and models that mean nothing."""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

from tests.lab.conftest import PROVISION, Homelab

RELEASES = Path(__file__).parents[2] / "molecule" / "inference" / "releases"
NAS, FOLDER, PORT = "192.168.50.20", "/srv/models", 9000
SHARE = "/mnt/nas"
BUILD = "b11669"
ARCHIVE = f"llama-{BUILD}-bin-ubuntu-x64.tar.gz"
REPOSITORY, REVISION = "owner/tiny", "0a1b2c"
# What is made of the scenario's, and where it lies on the NAS.
MODELS = {"tiny": f"{REPOSITORY}/resolve/{REVISION}/tiny.gguf", "vectors": "vectors.gguf"}
# The build is that of another release of Debian and wants its loader, which a program names by a whole path. On a disk
# that was just written, what the share has is the only thing that is there already.
LOADER_THERE, LOADER = "/opt/forky/ld.so", f"{SHARE}/ld.so"
# Over HTTP as any server has it; who asked for what is written down.
SERVE = f"""set -eu
[ ! -e /srv/asked ] || rm /srv/asked
systemd-run --quiet --unit=hub --property=StandardError=append:/srv/asked \\
  python3 -u -m http.server --directory {FOLDER} {PORT}
"""


def lay(homelab: Homelab, host: str, folder: Path) -> dict[str, dict[str, object]]:
    """Carry all of it to the NAS and serve it there. Digests and sizes, by name; that of the build is `build`."""
    subprocess.run([RELEASES, "--without-image", folder], check=True, timeout=1800)
    models = {name: (folder / f"{name}.gguf").read_bytes() for name in MODELS}
    build, loader = repacked(folder / "llama.tar")
    packed = folder / "nas.tar"
    with tarfile.open(packed, "w") as tar:
        for path, data in {ARCHIVE: build, "ld.so": loader, **{MODELS[name]: models[name] for name in MODELS}}.items():
            add(tar, path, data)
    unpack = ["lab", "ssh", host, "--", "tar", "--extract", "--no-same-owner", f"--directory={FOLDER}"]
    with packed.open("rb") as stream:
        subprocess.run([*PROVISION, *unpack], env=homelab.environment, stdin=stream, check=True, timeout=1200)
    homelab.on(host, SERVE)
    files = {**models, "build": build}
    return {name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in files.items()}


def asked(homelab: Homelab, host: str) -> list[str]:
    """The paths that were asked for over HTTP until now."""
    lines = homelab.on(host, "cat /srv/asked").splitlines()
    return [line.split('"')[1].split()[1].removeprefix("/") for line in lines if '"GET ' in line]


def repacked(build: Path) -> tuple[bytes, bytes]:
    """The scenario's build as upstream packs one, without what is for GPUs; and the loader that it wants at LOADER."""
    there, here = (path.encode().ljust(len(LOADER_THERE) + 1, b"\0") for path in (LOADER_THERE, LOADER))
    assert len(here) <= len(there), f"{LOADER} is longer than {LOADER_THERE}"
    packed, loader = io.BytesIO(), b""
    with (
        tarfile.open(build) as tar,
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as new,
    ):
        for member in tar:
            stream = tar.extractfile(member)
            if stream is None or "vulkan" in member.name:
                continue
            data, name = stream.read(), Path(member.name).name
            if name == "llama-server":
                assert there in data, f"{name} does not name {LOADER_THERE}"
                data = data.replace(there, here)
            if name.startswith("ld-linux"):
                loader = data
            add(new, f"llama-{BUILD}/{name}", data)
    return packed.getvalue(), loader


def add(tar: tarfile.TarFile, path: str, data: bytes) -> None:
    """A file that everybody may read and run."""
    member = tarfile.TarInfo(path)
    member.size, member.mode = len(data), 0o755
    tar.addfile(member, io.BytesIO(data))
