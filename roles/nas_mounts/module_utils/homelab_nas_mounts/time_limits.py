"""What might wait for a server for ever ends in time here: asking it, and a program that has to do with its shares.

The module of the role and the program that runs at shutdown both ask in this one way;
`program/homelab_nas_mounts/time_limits.py` is a link to this file.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence

PROBE_SECONDS = 3

Server = tuple[str, int]


def probe(servers: Iterable[Server]) -> dict[Server, bool]:
    """Which servers take a connection within three seconds; all are asked at once, names included."""
    answers = dict.fromkeys(servers, False)

    def ask(server: Server) -> None:
        with contextlib.suppress(OSError), socket.create_connection(server, timeout=PROBE_SECONDS):
            answers[server] = True

    # Daemons, so that a resolver which hangs does not keep the program from ending.
    threads = [threading.Thread(target=ask, args=(server,), daemon=True) for server in list(answers)]
    for thread in threads:
        thread.start()
    give_up = time.monotonic() + PROBE_SECONDS + 0.5
    for thread in threads:
        thread.join(max(0.0, give_up - time.monotonic()))
    return dict(answers)


def run(argv: Sequence[str], seconds: float) -> None:
    """Run a program that may never end; after the time limit it is killed and not waited for."""
    # The kernel may hold it for as long as the server is away, so `subprocess.run` would wait for it after all.
    quiet = subprocess.DEVNULL
    child = subprocess.Popen(argv, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
