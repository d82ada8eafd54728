"""Does KVM really work here? A device file that opens proves nothing: a kernel must come up.

There are hosts (nested virtualisation among them) whose KVM dies in the first instructions of a stock kernel, after
which QEMU hangs. So a kernel is booted, with a short deadline, and the answer is remembered.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from homelab_provision import files
from homelab_provision.doors.process import ProcessError, run, tail
from homelab_provision.errors import UsageError
from homelab_provision.lab.qemu import QEMU, Accel, accelerator
from homelab_provision.lab.sudo import Argv

VARIABLE = "PROVISION_LAB_ACCEL"
KVM_DEVICE = Path("/dev/kvm")
PROBE_SECONDS = 15.0
# Without a root file system a kernel ends here, which is the whole way up.
_CAME_UP = "Unable to mount root fs"


def choose(cache_dir: Path, kernel: Path | Callable[[], Path]) -> Accel:
    """The accelerator for machines on this computer.

    `kernel` is a bzImage to try KVM with (the rescue's), or what makes one: it is called only if KVM has to be tried.
    The environment variable PROVISION_LAB_ACCEL (`kvm` or `tcg`) overrules.
    """
    if wanted := os.environ.get(VARIABLE):
        try:
            return Accel(wanted)
        except ValueError:
            raise UsageError(f"{VARIABLE} is {wanted!r}", hint="set it to `kvm` or `tcg`, or not at all") from None
    if not os.access(KVM_DEVICE, os.R_OK | os.W_OK):
        return Accel.TCG
    answer = cache_dir / f"kvm-{_fingerprint()}.json"
    try:
        return Accel(json.loads(files.read_text(answer))["accel"])
    except (OSError, ValueError, LookupError, TypeError):
        pass
    found = probe(kernel if isinstance(kernel, Path) else kernel(), Accel.KVM)
    cache_dir.mkdir(parents=True, exist_ok=True)
    accel = Accel.KVM if found.came_up else Accel.TCG
    answer.write_text(json.dumps({"accel": accel, "host": platform.release(), "evidence": found.evidence}) + "\n")
    return accel


@dataclass(frozen=True)
class Probe:
    """What came of trying to boot a kernel; `evidence` is the end of what QEMU and the kernel said."""

    came_up: bool
    evidence: str


def probe(kernel: Path, accel: Accel, deadline: float = PROBE_SECONDS) -> Probe:
    """Boot `kernel` under `accel`; it has `deadline` seconds to come up. Raises `ProcessError` if QEMU is missing."""
    try:
        done = run(probe_argv(kernel, accel), deadline=deadline, check=False)
        output = done.stdout + done.stderr
    except ProcessError as error:
        if error.returncode is not None:
            raise
        output = f"{error.stdout}{error.stderr}\ngave up after {deadline:.0f} s"
    return Probe(_CAME_UP in output, tail(output, 5))


def probe_argv(kernel: Path, accel: Accel) -> Argv:
    """A machine with nothing but a kernel, whose serial port is standard output and which ends when the kernel does."""
    return (
        QEMU, "-no-user-config", "-nodefaults", "-machine", "q35", *accelerator(accel), "-cpu", "Denverton",
        "-m", "512M", "-display", "none", "-serial", "stdio", "-no-reboot",
        "-kernel", str(kernel), "-append", "console=ttyS0 panic=-1",
    )  # fmt: skip


def _fingerprint() -> str:
    """What the answer depends on: the host's kernel, its CPU, and QEMU."""
    version = run((QEMU, "--version"), deadline=10).stdout.splitlines()[0]
    return hashlib.sha256(f"{platform.release()}\n{_cpu_model()}\n{version}".encode()).hexdigest()[:12]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
