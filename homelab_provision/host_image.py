"""The image of a host: what its roles want of it, found in the cache or built."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import yaml

from homelab_provision import paths
from homelab_provision.events import Emit, Notice, step
from homelab_provision.image.os_image import Image, Recipe, build_image, find_image
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
    """What the image of a host with these roles is made of: `vars/main/packages.yml` and `files/root/` of each."""
    packages: set[str] = set()
    files: dict[str, str] = {}
    for role in roles:
        home = (folder or paths.content("roles")) / role
        declared, root = home / "vars" / "main" / "packages.yml", home / "files" / "root"
        if declared.exists():
            packages.update(yaml.safe_load(declared.read_text())[f"{role}_packages"])
        files |= {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}
    return Recipe(packages=tuple(sorted(packages)), files=files)
