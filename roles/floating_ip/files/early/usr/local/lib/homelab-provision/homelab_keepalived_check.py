"""Refuse a keepalived.conf that keepalived would not take as it is.

`keepalived -t` has more than one status for what it does not like (5 for a word that it does not know, a password that
it cuts and an interface that is missing, 6 for scripts that it would not run), and goes on with the rest when it is
started. An empty file is skipped by systemd, without a word.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# It wants to see the folder of the files that it is to watch, which their writer has not made yet.
ANSWERS = Path("/run/homelab-floating")
SECONDS = 20


def objection(file: str, program: str = "keepalived") -> str | None:
    """What keepalived has against the file, in its own words; `None` if it takes it."""
    try:
        if not Path(file).read_text().strip():
            return "keepalived.conf is empty: systemd would skip keepalived, without a failure"
        done = subprocess.run(
            [program, "--config-test", "--use-file", file], capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{program} came to no end within {SECONDS} s"
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return None
    # It says some things for each of its processes, and calls the file by its last name.
    lines = (done.stdout + done.stderr).replace(Path(file).name, "keepalived.conf").splitlines()
    said = "; ".join(dict.fromkeys(line.strip() for line in lines if line.strip()))
    return f"keepalived does not take it as it is (status {done.returncode}): {said or 'without a word'}"


if __name__ == "__main__":
    ANSWERS.mkdir(exist_ok=True)
    sys.exit(objection(sys.argv[1]))
