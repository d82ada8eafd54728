"""The programs, files and Python packages that the toolkit leans on: tables, and what reads them."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from homelab_provision.doctor.examination import Answer, Check, Verdict
from homelab_provision.doors.process import environment, run

Version = tuple[int, ...]

PYTHON: Version = (3, 11)
ANSIBLE_CORE: tuple[Version, Version] = ((2, 19), (2, 20))  # from, and below


@dataclass(frozen=True)
class Tool:
    """A program: the Debian package that brings it, how it tells its version, and the oldest that will do."""

    name: str
    package: str
    ask: tuple[str, ...] = ("--version",)
    pattern: str = r"(\d+(?:\.\d+)+)"
    oldest: Version | None = None
    missing: Verdict = Verdict.FAIL


# The oldest versions are those of Debian 12, the oldest system this is used on.
TOOLS = (
    Tool("ssh", "openssh-client", ("-V",), r"OpenSSH_(\d+\.\d+)", (8, 5)),
    Tool("nc", "netcat-openbsd", ("-h",), r"OpenBSD netcat \(Debian patchlevel (\d+\.\d+)"),
    Tool("setpriv", "util-linux", oldest=(2, 33)),
    Tool("zstd", "zstd", pattern=r"v(\d+\.\d+\.\d+)", oldest=(1, 4)),
    Tool("mmdebstrap", "mmdebstrap", oldest=(1, 3)),
    Tool("mkfs.ext4", "e2fsprogs", ("-V",), r"mke2fs (\d+\.\d+\.\d+)", (1, 46)),
    Tool("mkfs.vfat", "dosfstools", ("--help",), r"(?i)(usage)"),
    Tool("mcopy", "mtools", oldest=(4, 0)),
    Tool("sfdisk", "fdisk", oldest=(2, 36)),
    Tool("nfs-ls", "libnfs-utils", ("--help",), r"(Usage)", missing=Verdict.WARN),
    Tool("cpio", "cpio", pattern=r"cpio \(GNU cpio\) (\d+\.\d+)"),
    Tool("newuidmap", "uidmap", ("--help",), r"(usage: newuidmap)", missing=Verdict.WARN),
    Tool("sysctl", "procps", pattern=r"procps(?:-ng)? (\d+\.\d+)", missing=Verdict.WARN),
    Tool("qemu-system-x86_64", "qemu-system-x86", oldest=(7, 2), missing=Verdict.WARN),
    Tool("qemu-img", "qemu-utils", oldest=(7, 2), missing=Verdict.WARN),
    Tool("dnsmasq", "dnsmasq-base", pattern=r"version (\d+\.\d+)", oldest=(2, 85), missing=Verdict.WARN),
    Tool("ip", "iproute2", ("-V",), r"iproute2-(\d+\.\d+)", (5, 10), Verdict.WARN),
    Tool("nft", "nftables", pattern=r"v(\d+\.\d+\.\d+)", oldest=(0, 9, 8), missing=Verdict.WARN),
    Tool("docker", "docker.io", pattern=r"version (\d+\.\d+)", oldest=(20, 10), missing=Verdict.WARN),
)


@dataclass(frozen=True)
class Needed:
    """A file that a package brings; any of `paths` will do, as distributions differ."""

    name: str
    package: str
    paths: tuple[str, ...]
    missing: Verdict = Verdict.FAIL


FILES = (
    Needed("Debian's archive keys", "debian-archive-keyring", ("/usr/share/keyrings/debian-archive-keyring.gpg",)),
    Needed("certificates of authorities", "ca-certificates", ("/etc/ssl/certs/ca-certificates.crt",)),
    Needed(
        "UEFI firmware",
        "ovmf",
        (
            "/usr/share/OVMF/OVMF_CODE_4M.fd",
            "/usr/share/OVMF/OVMF_CODE.fd",
            "/usr/share/edk2/ovmf/OVMF_CODE.fd",
        ),
        Verdict.WARN,
    ),
    Needed(
        "UEFI firmware, Secure Boot",
        "ovmf",
        (
            "/usr/share/OVMF/OVMF_VARS_4M.ms.fd",
            "/usr/share/OVMF/OVMF_VARS.ms.fd",
            "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd",
        ),
        Verdict.WARN,
    ),
)


def tool_checks(root: Path = Path("/")) -> list[Check]:
    """One check per program and file, and the Python side."""
    python = [Check("python", "Python", python_version), Check("python", "ansible-core", ansible_version)]
    return [
        *python,
        *(Check("tools", tool.name, partial(look_for_tool, tool)) for tool in TOOLS),
        *(Check("tools", file.name, partial(look_for_file, file, root)) for file in FILES),
    ]


def look_for_tool(tool: Tool) -> Answer:
    """Find a program and ask its version."""
    path = shutil.which(tool.name, path=environment()["PATH"])
    if path is None:
        return _missing("not installed", tool.package, tool.missing)
    done = run([path, *tool.ask], deadline=2, check=False)
    return judge_tool(tool, path, done.stdout + done.stderr)


def judge_tool(tool: Tool, path: str, output: str) -> Answer:
    """Judge a program by what it says about itself."""
    found = re.search(tool.pattern, output)
    if found is None:
        return _missing(f"{path} is another program of that name", tool.package, tool.missing)
    if tool.oldest and _version(found[1]) < tool.oldest:
        return Answer(
            tool.missing,
            f"{found[1]} is too old, {_dotted(tool.oldest)} is wanted",
            f"upgrade the system: the package {tool.package} of Debian 12 or later will do",
        )
    return Answer(Verdict.OK, f"{found[1]}, {path}" if found[1][0].isdigit() else path)


def look_for_file(needed: Needed, root: Path) -> Answer:
    """Find one of the places of a file."""
    present = [path for path in needed.paths if (root / path.lstrip("/")).exists()]
    return Answer(Verdict.OK, present[0]) if present else _missing("not installed", needed.package, needed.missing)


def python_version() -> Answer:
    """The interpreter that runs this."""
    found = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}, {sys.executable}"
    if sys.version_info[:2] >= PYTHON:
        return Answer(Verdict.OK, found)
    return Answer(Verdict.FAIL, found, f"install homelab-provision with Python {_dotted(PYTHON)} or later")


def ansible_version() -> Answer:
    """Ansible has to live in the same environment, as its version decides what playbooks mean."""
    mend = "install homelab-provision anew, in an environment of its own: pipx reinstall homelab-provision"
    try:
        version = importlib.metadata.version("ansible-core")
    except importlib.metadata.PackageNotFoundError:
        return Answer(Verdict.FAIL, "not installed", mend)
    lowest, below = ANSIBLE_CORE
    if not lowest <= _version(version) < below:
        return Answer(Verdict.FAIL, f"{version}; {_dotted(lowest)} is wanted", mend)
    if not Path(sys.executable).with_name("ansible-playbook").exists():
        return Answer(Verdict.FAIL, f"{version}, but no ansible-playbook beside {sys.executable}", mend)
    return Answer(Verdict.OK, version)


def _missing(found: str, package: str, verdict: Verdict) -> Answer:
    return Answer(verdict, found, f"sudo apt-get install {package}", package)


def _version(text: str) -> Version:
    return tuple(int(part) for part in re.findall(r"\d+", text))


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))
