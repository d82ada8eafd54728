"""Fetch a Debian root with mmdebstrap: as root, or unprivileged in a user namespace (it chooses itself)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from homelab_provision.doors import process
from homelab_provision.errors import ProvisionError
from homelab_provision.image.mirror import COMPONENTS, KEYRING, Mirror

# A fixed date: what is built from the same packages is the same, whenever it is built.
SOURCE_DATE_EPOCH = "1735689600"
DEADLINE = 1800.0


class BuildError(ProvisionError):
    """An image could not be built."""


def mmdebstrap_argv(
    suite: str,
    target: Path,
    packages: Sequence[str],
    *,
    variant: str,
    options: Sequence[str] = (),
    mirror: Mirror | None = None,
    keyring: Path = KEYRING,
) -> list[str]:
    """The command that makes `target` (a tar archive) from the packages of a release."""
    return [
        "mmdebstrap", f"--variant={variant}", "--mode=auto", "--format=tar", f"--keyring={keyring}",
        "--architectures=amd64", f"--include={','.join(packages)}", *options,
        *(() if mirror else [f"--components={COMPONENTS.replace(' ', ',')}"]),
        suite, str(target), *(mirror.sources(suite) if mirror else ()),
    ]  # fmt: skip


def fetch_root(argv: Sequence[str]) -> None:
    """Run it. Raises `BuildError` with a hint where the cause is known."""
    if not KEYRING.exists():
        raise BuildError(
            f"Debian's archive keys are missing ({KEYRING})", hint="install the package debian-archive-keyring"
        )
    try:
        process.run(argv, deadline=DEADLINE, env={"SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH})
    except process.ProcessError as error:
        raise BuildError(
            "Debian's packages could not be fetched and unpacked",
            hint="check that `apt update` works here: Debian comes from the mirror that it names",
            evidence=error.evidence,
        ) from error
