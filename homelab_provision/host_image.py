"""The image of a host: what its roles want of it, found in the cache or built."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from homelab_provision import paths
from homelab_provision.events import Emit, Notice, step
from homelab_provision.image.os_image import Image, Recipe, SystemAccount, build_image, find_image
from homelab_provision.roles import roles_of
from homelab_provision.site import Host


def image_of(host: Host, emit: Emit, *, anew: bool = False) -> Image:
    """The image of a host from the cache; built if it is not there, or, with `anew`, to have newer packages in it."""
    recipe = recipe_for(roles_of(host))
    if not anew and (image := find_image(recipe, paths.cache())):
        return image
    emit(Notice(text=f"building the image of {host.name}: it is kept, the next time it is there"))
    with step(emit, "build the image"):
        return build_image(recipe, paths.cache(), emit)


def recipe_for(roles: Iterable[str], folder: Path | None = None) -> Recipe:
    """What the image of a host with these roles is made of.

    Of each role: `vars/main/packages.yml`, `files/root/`, and what has to be there before the packages:
    `vars/main/accounts.yml`, `files/early/`.
    """
    packages: set[str] = set()
    accounts: list[SystemAccount] = []
    files: dict[str, str] = {}
    early: dict[str, str] = {}
    for role in roles:
        home = (folder or paths.content("roles")) / role
        packages.update(_declared(home, "packages"))
        accounts += [SystemAccount.model_validate(account) for account in _declared(home, "accounts")]
        files |= _texts(home / "files" / "root")
        early |= _texts(home / "files" / "early")
    return Recipe(packages=tuple(sorted(packages)), accounts=tuple(accounts), files=files, early=early)


def _declared(role: Path, what: str) -> list[Any]:
    """A list that a role declares in plain YAML, as `<role>_<what>` in `vars/main/<what>.yml`."""
    file = role / "vars" / "main" / f"{what}.yml"
    return list(yaml.safe_load(file.read_text())[f"{role.name}_{what}"]) if file.exists() else []


def _texts(root: Path) -> dict[str, str]:
    """The files below `root`: path from there → text."""
    return {str(path.relative_to(root)): path.read_text() for path in paths.files_below(root)}
