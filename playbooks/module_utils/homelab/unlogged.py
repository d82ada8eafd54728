"""A module that keeps its arguments to itself."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule


class UnloggedModule(AnsibleModule):  # type: ignore[misc]  # Ansible ships no types
    """Ansible would write the arguments, the texts of files among them, into the host's journal."""

    def _log_invocation(self) -> None:
        pass
