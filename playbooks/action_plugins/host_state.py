"""host_state on the controller: what a role's own tree lays on a host is found here, and listed nowhere.

    roles/<role>/files/early/…   /…, before the packages are installed
    roles/<role>/files/root/…    /…
    roles/<role>/program/…       /usr/local/lib/homelab-provision/…, from where Python imports it

An entry of the task's `files` for one of these paths needs to say only what is not as usual (owner, mode, `validate`,
`then`); one that has a content or a state of its own takes the place of what the tree has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

EARLY = {"files/early": "/"}
LATER = {"files/root": "/", "program": "/usr/local/lib/homelab-provision/"}
# How open a file is follows from where it lies, as in an image (homelab_provision/image/os_image.py).
MODES = {
    "/etc/sudoers.d/": "0440",
    "/usr/local/sbin/": "0755",
    "/usr/local/libexec/": "0755",
}
OWN = ("content", "merge", "link", "state")


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible ships no types
    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if arguments.get("tree") is not None:
            if self._task._role is None:
                raise AnsibleActionFail("host_state: `tree` is for the tasks of a role, which has one")
            arguments = with_tree(Path(self._task._role._role_path), arguments)
        answer: dict[str, Any] = self._execute_module(module_args=arguments, task_vars=task_vars)
        return answer


def with_tree(role: Path, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The task's arguments with the files of the role's tree in them."""
    tree = dict(arguments["tree"])
    if tree.get("role") != role.name:
        raise AnsibleActionFail(f"host_state: `tree.role` has to be {role.name}, whose task this is")
    early = dict(found(role, EARLY))
    later = dict(found(role, LATER))
    tree["paths"] = sorted([*early, *later])
    skips = set(tree.get("skips") or ())
    if only := tree.get("only"):
        if only not in {**EARLY, **LATER}:
            raise AnsibleActionFail(f"host_state: `tree.only` has to be one of {', '.join({**EARLY, **LATER})}")
        skips |= {*early, *later} - dict(found(role, {only: {**EARLY, **LATER}[only]})).keys()
    return {
        **arguments,
        "tree": tree,
        "early": joined({path: text for path, text in early.items() if path not in skips}, arguments.get("early")),
        "files": joined({path: text for path, text in later.items() if path not in skips}, arguments.get("files")),
    }


def found(role: Path, places: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Where each file of the role's tree goes, and its text. What a Python has compiled there is no part of it."""
    for folder, place in places.items():
        for file in sorted((role / folder).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                yield place + str(file.relative_to(role / folder)), file.read_text()


def joined(texts: Mapping[str, str], given: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """Entries for the files of the tree, and those that the task gives."""
    output = {entry["path"]: entry for entry in given or ()}
    own = [dict(entry) for entry in given or () if entry["path"] not in texts or any(name in entry for name in OWN)]
    taken = {entry["path"] for entry in own}
    return own + [
        {"path": path, "content": text, "mode": mode_of(path), **output.get(path, {})}
        for path, text in texts.items()
        if path not in taken
    ]


def mode_of(path: str) -> str:
    """The octal mode of a file that lies there."""
    return next((mode for place, mode in MODES.items() if path.startswith(place)), "0644")
