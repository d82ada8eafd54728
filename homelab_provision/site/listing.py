"""`ansible-inventory`, which also says whom some patterns mean.

    python3 -P listing.py '["provisioned", ["web*", "!old"]]' -i hosts.yml --list --export

Runs in a process of its own, and knows Ansible only: to import it takes longer than all else that a command does, so
one child answers both. `_meta.matched` in its answer holds for each pattern the names of its hosts, or, as a text, why
Ansible refuses it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from ansible.cli.inventory import InventoryCLI
from ansible.errors import AnsibleError


class Listing(InventoryCLI):  # type: ignore[misc]  # Ansible ships no types
    """Reads the patterns before Ansible's own words."""

    def __init__(self, words: list[str]) -> None:
        program, patterns, *rest = words
        self._patterns = json.loads(patterns)
        super().__init__([program, *rest])

    def json_inventory(self, top: Any) -> dict[str, Any]:
        answer: dict[str, Any] = super().json_inventory(top)
        answer["_meta"]["matched"] = [self._matched(pattern) for pattern in self._patterns]
        return answer

    def _matched(self, pattern: str | list[str]) -> list[str] | str:
        try:
            return [host.name for host in self.inventory.get_hosts(pattern)]
        except AnsibleError as refused:
            return str(refused)


if __name__ == "__main__":
    Listing.cli_executor(sys.argv)
