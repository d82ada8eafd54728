"""Debian packages that have to be there.

Asks dpkg alone. apt's package cache, which takes seconds to open on a small machine, is touched only when
something is missing.
"""

from __future__ import annotations

from typing import Any

# Held conffiles keep the text that a role has written; somebody else's apt run is waited for.
APT = ("apt-get", "--yes", "--quiet", "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold",
       "-o", "DPkg::Lock::Timeout=300")  # fmt: skip
QUIET = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}


def missing(names: list[str], shown: str) -> list[str]:
    """Which of `names` dpkg does not show as installed (`shown`: lines of `name status`)."""
    installed = {line.split()[0] for line in shown.splitlines() if line.endswith(" installed")}
    return [name for name in dict.fromkeys(names) if name not in installed]


def settle(module: Any, names: list[str]) -> dict[str, Any]:
    """Install what is missing."""
    # dpkg-query fails when it does not know one of the names; what it does know it prints all the same.
    _, shown, _ = module.run_command(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names])
    desired = missing(names, shown)
    for step in (
        (["update"], ["install", "--no-install-recommends", *desired]) if desired and not module.check_mode else ()
    ):
        code, out, err = module.run_command([*APT, *step], environ_update=QUIET)
        if code:
            module.fail_json(msg=f"apt-get {step[0]} failed: {(err or out).strip()}", missing=desired)
    return {"changed": bool(desired), "missing": desired}
