#!/usr/bin/python
"""Ansible module: everything that a role wants of a host, in one round trip.

Each module that Ansible starts costs about 0.3 s on a server and 3.5 s on an emulated machine, whatever it
does. So this one takes lists, and the lists together. Its parts are in module_utils/homelab.
"""

from __future__ import annotations

from typing import Any

from ansible.module_utils.homelab import accounts, files, packages, system_accounts, tree, units
from ansible.module_utils.homelab.unlogged import UnloggedModule

DOCUMENTATION = r"""
module: host_state
short_description: Packages, accounts, files and units of a host, in one round trip
description:
  - Compares with the host first and changes only what differs, in the order of the options below.
  - An option that is not given is left alone.
options:
  tree:
    description:
      - The role's own tree, C(files/early), C(files/root) and C(program), is laid on the host; what it had before and
        neither it nor another role's tree has now is removed. An entry of C(files) for one of its paths says what is
        not as usual.
    type: dict
    suboptions:
      role: {type: str, required: true, description: Name of the role whose task this is.}
      skips: {type: list, elements: path, default: [], description: Paths that are left alone on this host.}
      only: {type: str, description: "The one folder of the tree to lay, such as C(program); the rest is left alone."}
      paths: {type: list, elements: path, description: All paths of the tree; filled in on the controller.}
  system_accounts:
    description: Accounts of services, with a number that is the same on every host; made before the packages make them.
    type: list
    elements: dict
    suboptions:
      name: {type: str, required: true, description: Name of the account and of its group.}
      id: {type: int, required: true, description: Number of both.}
      comment: {type: str, default: "", description: What it is for.}
      home: {type: path, required: true, description: Home directory; the package makes it.}
      shell: {type: str, default: /usr/sbin/nologin, description: Login shell.}
  early:
    description: Files that have to be there before the packages are installed; entries like those of C(files).
    type: list
    elements: dict
    suboptions: &file
      path: {type: path, required: true, description: Absolute path on the host.}
      content: {type: str, description: The whole text of the file.}
      merge: {type: dict, description: Keys to set in a JSON file whose other keys stay.}
      link: {type: path, description: The file is a symbolic link to this existing path.}
      state: {type: str, choices: [present, absent, directory], default: present, description: What shall stand there.}
      owner: {type: str, default: root, description: Owner.}
      group: {type: str, default: root, description: Group.}
      mode: {type: str, default: "0644", description: Octal mode; a directory usually wants 0755.}
      validate: {type: str, description: "Command that must accept the new text; C(%s) is a file that holds it."}
      then: {type: list, elements: str, default: [], description: Commands to run once when this file has changed.}
      in_effect:
        type: str
        description: Command that succeeds while the host follows the file; if it fails, C(then) runs without a change.
  packages:
    description: Debian packages to install if they are missing. apt runs only then.
    type: list
    elements: str
  accounts:
    description:
      - Accounts of persons, without a password. The keys of one that is no longer listed are removed.
    type: list
    elements: dict
    suboptions:
      name: {type: str, required: true, description: Login name.}
      comment: {type: str, default: "", description: Real name.}
      shell: {type: str, default: /bin/bash, description: Login shell.}
      groups: {type: list, elements: str, default: [], description: "Groups to be in, beside those of other roles."}
      sudo: {type: bool, default: false, description: Whether the account is in the group sudo.}
      keys: {type: list, elements: str, default: [], description: Public keys that open it.}
      state: {type: str, choices: [present, absent], default: present, description: Absent keeps the home directory.}
  files:
    description:
      - Files, links and directories. All are validated before the first is replaced; directories come first.
      - A unit that the tree has no more is switched off between the two.
    type: list
    elements: dict
    suboptions: *file
  units:
    description: systemd units. One that systemd itself skips here, because a C(Condition) does not hold, is settled.
    type: list
    elements: dict
    suboptions:
      name: {type: str, required: true, description: "With its suffix: C(chrony.service)."}
      enabled: {type: bool, description: Whether it comes with the boot; omit to leave that alone.}
      active: {type: bool, description: Whether it runs; omit to leave that alone.}
"""

EXAMPLES = r"""
- name: Keep the time
  host_state:
    tree: {role: time}
    packages: [chrony]
    files:
      - path: /etc/chrony/sources.d/lan.sources
        content: "server 192.168.50.1 iburst\n"
        then: [systemctl try-restart chrony.service]
    units:
      - {name: chrony.service, enabled: true, active: true}
"""

RETURN = r"""
system_accounts: {description: "C(actions): what was (or would be) done.", type: dict, returned: if given}
early: {description: Like C(files)., type: dict, returned: if given}
packages: {description: "C(missing): what was (or would be) installed.", type: dict, returned: if given}
accounts: {description: "C(actions): what was (or would be) done.", type: dict, returned: if given}
files:
  description: "C(changed_files): their paths; C(ran): the commands of C(then) that ran."
  type: dict
  returned: if given
units:
  description: "C(actions): the calls of systemctl; C(conditions): units that systemd skips here."
  type: dict
  returned: if given
"""

# In the order in which they have to come: a package finds its account and what it is to leave alone, and brings the
# programs; an account owns the file, the unit reads it.
PARTS = {
    "system_accounts": system_accounts,
    "early": files,
    "packages": packages,
    "accounts": accounts,
    "files": files,
    "units": units,
}


def arguments() -> dict[str, Any]:
    lists = {
        "system_accounts": system_accounts.SYSTEM_ACCOUNT,
        "early": files.FILE,
        "accounts": accounts.USER,
        "files": files.FILE,
        "units": units.UNIT,
    }
    return {
        "tree": {"type": "dict", "options": tree.TREE},
        "packages": {"type": "list", "elements": "str"},
        **{name: {"type": "list", "elements": "dict", "options": options} for name, options in lists.items()},
    }


def main() -> None:
    module = UnloggedModule(argument_spec=arguments(), supports_check_mode=True)
    answer: dict[str, Any] = {}
    changed, diff = False, []
    if module.params["tree"]:
        given = [entry for name in ("early", "files") for entry in module.params[name] or []]
        own = tree.entries(module, module.params["tree"], {entry["path"] for entry in given})
        module.params["files"] = (module.params["files"] or []) + own
    for name, part in PARTS.items():
        desired = module.params[name]
        if desired is None:
            continue
        result = part.settle(module, desired)
        changed = result.pop("changed") or changed
        diff += result.pop("diff", [])
        answer[name] = result
    module.exit_json(changed=changed, diff=diff, **answer)


if __name__ == "__main__":
    main()
