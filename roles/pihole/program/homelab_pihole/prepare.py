"""What has to be so before the container starts. Systemd starts this as root, and anew however often it fails."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from homelab_host.errors import Trouble

STATE = Path("/srv/pihole/etc")
RUN = Path("/run/pihole")
TLS = Path("/etc/homelab-provision/tls")
# As PIHOLE_UID in the container's environment: nobody else has this number.
OWNER = 2053


def prepare() -> dict[str, object]:
    # Of a run that was killed.
    subprocess.run(["docker", "rm", "--force", "pihole"], capture_output=True, check=False, timeout=60)
    STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
    if not (STATE / "gravity.db").exists():
        # Without this file the image would bring in a list that nobody has declared.
        (STATE / "adlists.list").touch()
    _certificate(RUN / "tls.pem")
    return {}


def _certificate(file: Path) -> None:
    """The host's own, known by the site's authority: key and certificate in one file, as FTL wants them."""
    try:
        text = (TLS / "host.key").read_text() + (TLS / "host.crt").read_text()
    except OSError as error:
        hint = "a rebuild writes it; `provision apply` brings a new one"
        raise Trouble(f"{error.filename}: {error.strerror}", hint) from None
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as out:
        os.fchown(descriptor, 0, OWNER)
        os.fchmod(descriptor, 0o640)
        out.write(text)
