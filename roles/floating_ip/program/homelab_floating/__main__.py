"""The programs of the role `floating_ip`, by their first word."""

from __future__ import annotations

import sys

from homelab_host.errors import Trouble

from homelab_floating import hooks, release, settings, watch


def main(words: list[str]) -> int:
    match words:
        case ["run"]:
            watch.run(settings.load())
        case ["release"]:
            release.release(settings.load().names)
        # INSTANCE or GROUP, its name, its state, its priority: keepalived adds them.
        case ["notify", "INSTANCE", name, state, *_]:
            return hooks.moved(name, state)
        case _:
            print("homelab-floating: run | release | notify INSTANCE NAME STATE PRIORITY", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Trouble as trouble:
        sys.exit(f"homelab-floating: {trouble.with_hint}")
