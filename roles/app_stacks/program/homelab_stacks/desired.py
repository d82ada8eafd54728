"""What the role wants of a stack, in the role's words. There are secrets in it, so no value of it is printed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import health, needs, units, venv
from .values import DATA, PROJECTS, Wrong, absolute, get, object_of, relative

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
# A tag says to a person what it is, the digest to the engine.
_IMAGE = re.compile(r"[^\s@]+:[^\s@/:]+@sha256:[0-9a-f]{64}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Folder:
    """A directory below the stack's, and whose it is."""

    path: str
    owner: int
    mode: int


@dataclass(frozen=True)
class Desired:
    """One stack. `files`: those of its project by their path, units among them; `told`: what its stack.json says.
    `packages`: what its virtual environment has, which its file `venv` names. `downgrade`: whether an older version
    can read what a newer one wrote."""

    name: str
    kind: str = ""
    version: str = ""
    present: bool = False
    purge: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[Folder, ...] = ()
    told: Mapping[str, Any] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    downgrade: bool = False

    @property
    def digest(self) -> str:
        """The same for the same stack: whether there is anything to do."""
        folders = [[each.path, each.owner, each.mode] for each in self.folders]
        said = [self.kind, self.version, dict(self.files), folders]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def parse(found: object, projects: Mapping[str, Any]) -> Desired:
    """A stack from decoded JSON, and the texts of the compose projects. Raises `Wrong`."""
    entry = object_of(found, "app_stacks")
    name = get(entry, "name", str, "app_stacks")
    if not _NAME.fullmatch(name):
        raise Wrong(f"app_stacks: the name {name!r} has to be of lower-case letters, digits and dashes")
    where = f"stack {name}"
    kind, version = entry.get("kind", "compose"), str(entry.get("version", ""))
    if kind not in ("compose", "service") or not version:
        raise Wrong(f"{where}: it is `compose` or `service`, and has a version")
    if entry.get("state", "present") == "absent":
        return Desired(name, purge=entry.get("purge", False) is True)
    secrets = _secrets(object_of(entry.get("secrets", {}), f"{where}, secrets"), where)
    folders = tuple(_folder(each, where) for each in entry.get("folders", []))
    texts = _texts(object_of(entry.get("files", {}), f"{where}, files"), where)
    packages = _packages(kind, entry.get("python_packages", []), where)
    told = _told(name, kind, version, entry)
    # systemd puts nothing in for a variable in the path of the program itself.
    command = [str(word).replace("${STACK_VENV}", str(venv.place(name, packages))) for word in entry.get("command", [])]
    files = {
        **({"compose.yml": get(projects, name, str, f"{where}, compose")} if kind == "compose" else {}),
        **{f"secrets/{each}": text for each, text in secrets.items()},
        **{f"files/{each}": text for each, text in texts.items()},
        **units.of_stack(name, kind, version, {**entry, "command": command}, [folder.path for folder in folders]),
        **({"venv": str(venv.place(name, packages))} if packages else {}),
        **({"reads": _reads(entry["reads"], where)} if entry.get("reads") else {}),
        "environment": _environment(name, entry, packages, where),
        "stack.json": json.dumps(told, indent=1, sort_keys=True) + "\n",
    }
    downgrade = entry.get("downgrade", False) is True
    return Desired(name, kind, version, True, False, files, folders, told, packages, downgrade)


def _told(name: str, kind: str, version: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """What the unit and the backups have to know of it, checked by those who read it."""
    where = f"stack {name}"
    asked = _question(entry.get("health"), f"{where}, health")
    checks = [_question(each, f"{where}, checks") for each in entry.get("checks", [])]
    servers = [{"port": 5432, **object_of(each, f"{where}, databases")} for each in entry.get("databases", [])]
    keep = {
        "paths": [],
        "before": "",
        "after": "",
        "facts": [],
        **object_of(entry.get("backup", {}), f"{where}, backup"),
    }
    needed = {"mounts": list(entry.get("mounts", [])), "databases": servers}
    needs.parse(needed, f"{where}, needs")
    places = {"folder": str(DATA / name), "project": str(PROJECTS / name), "unit": f"stack-{name}.service"}
    what = {"name": name, "kind": kind, "version": version}
    return {**what, **places, "needs": needed, "health": asked, "checks": checks, "backup": keep}


def _reads(found: object, where: str) -> str:
    """Files of the host by their digests: another one is another stack."""
    if not isinstance(found, list):
        raise Wrong(f"{where}: `reads` is a list of files, not {found!r}")
    files = [absolute({"reads": each}, "reads", where) for each in found]
    return "".join(
        f"{hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else 'missing'} {file}\n" for file in files
    )


def _question(found: object, where: str) -> dict[str, Any]:
    """A question over HTTP as the site has it, with what it leaves out."""
    told = {"host": "", "status": 200, "contains": "", "seconds": 120, **object_of(found, where)}
    health.parse(told, where)
    return told


def _environment(name: str, entry: Mapping[str, Any], packages: Sequence[str], where: str) -> str:
    """Variables as compose and systemd both read them: between single quotes, as they stand."""
    images = object_of(entry.get("images", {}), f"{where}, images")
    for image, reference in images.items():
        if not isinstance(reference, str) or not _IMAGE.fullmatch(reference):
            raise Wrong(f"{where}: the image {image} has to be NAME:TAG@sha256:DIGEST, not {reference!r}")
    variables = {
        **{f"IMAGE_{image.upper().replace('-', '_')}": value for image, value in images.items()},
        "STACK_DATA": str(DATA / name),
        "STACK_SECRETS": str(PROJECTS / name / "secrets"),
        "STACK_FILES": str(PROJECTS / name / "files"),
        **({"STACK_VENV": str(venv.place(name, packages))} if packages else {}),
        **object_of(entry.get("environment", {}), f"{where}, environment"),
    }
    for variable, value in variables.items():
        if not _VARIABLE.fullmatch(variable):
            raise Wrong(f"{where}: {variable!r} is no name of a variable")
        # What YAML took for a number or a truth value is written as YAML has it; who wants another spelling quotes it.
        text = json.dumps(value) if isinstance(value, bool) else str(value)
        if isinstance(value, (list, dict)) or "'" in text or (text and not text.isprintable()):
            raise Wrong(f"{where}: {variable} has to be one line of text without single quotes; a secret is a file")
        variables[variable] = text
    return "".join(f"{variable}='{value}'\n" for variable, value in sorted(variables.items()))


def _packages(kind: str, found: object, where: str) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(each, str) and venv.EXACT.fullmatch(each) for each in found):
        raise Wrong(f"{where}: python_packages is a list of exact versions, as in `name==1.2`, not {found!r}")
    if found and kind != "service":
        raise Wrong(f"{where}: python_packages are for a service; a compose project has them in its image")
    return tuple(found)


def _secrets(found: Mapping[str, Any], where: str) -> dict[str, str]:
    for name, text in found.items():
        if not _WORD.fullmatch(name):
            raise Wrong(f"{where}: {name!r} is no name of a secret")
        if not isinstance(text, str) or not text:
            raise Wrong(f"{where}: the secret {name} has no value")
    return dict(found)


def _texts(found: Mapping[str, Any], where: str) -> dict[str, str]:
    for name, text in found.items():
        if not _WORD.fullmatch(name) or not isinstance(text, str):
            raise Wrong(f"{where}: a file has a name without blanks and slashes, and a text, not {name!r}")
    return dict(found)


def _folder(found: object, where: str) -> Folder:
    told = {"owner": 0, "mode": "0750", **object_of(found, f"{where}, folders")}
    try:
        mode = int(get(told, "mode", str, f"{where}, folders"), 8)
    except ValueError:
        raise Wrong(f"{where}, folders: the mode {told['mode']!r} is not octal") from None
    return Folder(relative(told.get("path")), get(told, "owner", int, f"{where}, folders"), mode)
