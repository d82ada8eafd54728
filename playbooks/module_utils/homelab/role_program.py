"""A role's program on the host brings it to what a document says; a module hands it the document, and its answer on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# The task hides it where there are secrets in it. no_log here would blank every word of it, names among them, in what
# is answered.
DOCUMENT = {"document": {"type": "dict", "required": True, "no_log": False}}


def apply(module: Any, program: str) -> dict[str, Any] | None:
    """What `program apply` (in check mode `apply --check`) tells of the document; its error fails the task.

    None: the program is not there yet, as in check mode on a new host.
    """
    if module.check_mode and not Path(program).exists():
        return None
    words = [program, "apply", *(["--check"] if module.check_mode else [])]
    _, out, err = module.run_command(words, data=json.dumps(module.params["document"]))
    last = _last(out)
    if last.get("kind") != "result":
        message = last.get("message") or (err or out).strip() or f"{program} said nothing"
        hint = last.get("hint") and f"→ {last['hint']}"
        module.fail_json(msg="\n".join(filter(None, (message, hint, last.get("evidence")))))
    return last


def _last(out: str) -> dict[str, Any]:
    """The last line that the program said."""
    for line in reversed(out.splitlines()):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        return found if isinstance(found, dict) else {}
    return {}
