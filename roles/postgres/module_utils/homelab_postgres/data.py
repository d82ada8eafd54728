"""The cluster's data directory: adopted if there is one, made if there is none, never overwritten."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

# Order and letter case come from PostgreSQL itself (provider builtin) and not from the system's C library or ICU: the
# data outlives the system that a rebuild replaces, and an index sorted by another version's rules finds nothing.
# Comparing is as fast as in C. LC_CTYPE C.UTF-8 lets text search tell letters of all scripts from other characters.
LOCALE = ("--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")


class UnusableError(Exception):
    """What lies at the place of the data cannot be used, and is not touched; the text says what to do."""


def present(data: str, version: str) -> bool:
    """Whether there is a cluster to adopt. Raises `UnusableError` for anything that is neither that nor nothing."""
    place = Path(data)
    found = place / "PG_VERSION"
    if found.exists():
        major = found.read_text().strip()
        if major != version:
            raise UnusableError(f"{data} is a cluster of PostgreSQL {major}, not {version}. {_way_out(major)}")
        return True
    if place.exists() and any(place.iterdir()):
        raise UnusableError(
            f"{data} holds files and is no cluster: there is no PG_VERSION in it. Move them away, "
            "or restore the cluster"
        )
    others = {path.parent.parent.name: path.parent for path in place.parent.parent.glob(f"*/{place.name}/PG_VERSION")}
    if others:
        newest = max(others, key=lambda name: [int(part) for part in re.findall(r"\d+", name)])
        raise UnusableError(
            f"{others[newest]} is a cluster of PostgreSQL {newest}, and an empty one of {version} "
            f"beside it would look as if its data were lost. {_way_out(newest)}"
        )
    return False


def _way_out(major: str) -> str:
    return (
        f"Set postgres_version to {major}, or bring the data over (pg_upgrade, or a dump), or move the old "
        "directory out of the way"
    )


def initialise(module: Any, data: str, initdb: str, account: str) -> None:
    """Make an empty cluster. It gets its name when it is complete, so that a killed run leaves none behind."""
    place = Path(data)
    new = place.with_name(place.name + ".initialising")
    shutil.rmtree(new, ignore_errors=True)
    code, out, err = module.run_command([
        "setpriv", f"--reuid={account}", f"--regid={account}", "--clear-groups",
        initdb, f"--pgdata={new}", "--username=postgres", "--data-checksums", "--auth=reject",
        "--no-instructions", *LOCALE,
    ])  # fmt: skip
    if code:
        raise UnusableError(f"initdb failed: {(err or out).strip()}")
    # All of the configuration is in /etc; what initdb has written would only mislead.
    names = [f"{new}/{name}" for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf")]
    # By the account itself: the directory is its own, and root follows nothing in it.
    module.run_command(
        ["setpriv", f"--reuid={account}", f"--regid={account}", "--clear-groups", "rm", "--", *names], check_rc=True
    )
    if place.exists():
        place.rmdir()
    new.rename(place)
