"""A STAND-IN for the image of Pi-hole: starts as its entrypoint does, from the environment and /etc/pihole."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from .ftl import Ftl
from .resolver import Resolver
from .server import serve
from .settings import environment

FOLDER = Path("/etc/pihole")


def main() -> None:
    ftl = Ftl(FOLDER, environment(), Resolver(Path("/run/pihole-stand-in")))
    if not ftl.settings.values["dns.upstreams"]:
        # As the image does, which asks somebody whom nobody has named.
        ftl.settings.install({"dns.upstreams": ["8.8.8.8", "8.8.4.4"]})
    owner = int(os.environ.get("PIHOLE_UID", "1000"))
    for path in (FOLDER, *FOLDER.iterdir()):
        os.chown(path, owner, owner)
    serve(ftl)
    print("########## FTL started (a stand-in) ##########", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
