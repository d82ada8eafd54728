"""What the tree of a role has laid on the host before, and has no more.

The paths of the tree are kept on the host, and in an image; what is missing among those of today is removed, unless it
went over to another role, whose tree has laid it already. A unit that goes is switched off first, once nothing speaks
against the rest of the task.
"""

from __future__ import annotations

import json
from collections.abc import Set
from pathlib import Path
from typing import Any

from ansible.module_utils.homelab import files

KEPT = "/var/lib/homelab-provision/trees"
UNITS = "/etc/systemd/system/"

TREE = {
    "role": {"type": "str", "required": True},
    "skips": {"type": "list", "elements": "path", "default": []},
    "only": {"type": "str"},
    "paths": {"type": "list", "elements": "path"},
}


def manifest(paths: list[str]) -> str:
    """The text of the file that keeps the paths of a tree."""
    return json.dumps(sorted(paths), indent=1) + "\n"


def entries(module: Any, tree: dict[str, Any], given: Set[str]) -> list[dict[str, Any]]:
    """Entries of files: those that the tree had and has no more are absent, and what it has now is kept.

    `given` are the paths of which the task itself says what stands there: a file that became a template stays.
    """
    if tree["paths"] is None:
        module.fail_json(
            msg="`tree` is filled in by the action plugin of this name, which is not there: "
            "`action_plugins` of the configuration has to name playbooks/action_plugins"
        )
    kept = f"{KEPT}/{tree['role']}.json"
    gone = set(_paths_in(kept)) - set(tree["paths"]) - given
    if gone:
        others = [str(path) for path in Path(KEPT).glob("*.json") if str(path) != kept]
        gone -= {path for other in others for path in _paths_in(other)}
    defaults = {name: option.get("default") for name, option in files.FILE.items()}
    absent = [{**defaults, "path": path, "state": "absent", "unit": _unit(path)} for path in sorted(gone)]
    return [*absent, {**defaults, "path": kept, "content": manifest(tree["paths"])}]


def _paths_in(kept: str) -> list[str]:
    try:
        paths = json.loads(files.look(kept).body or b"[]")
    except ValueError:
        return []
    return [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []


def _unit(path: str) -> str | None:
    """The unit that this file is, if it is one that can run: neither a template nor a drop-in, and no link."""
    name = path.removeprefix(UNITS)
    own = path.startswith(UNITS) and "/" not in name and "@." not in name
    return name if own and files.look(path).kind == "file" else None
