"""The image of a host: what its roles want of it, found in the cache or built."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from homelab_provision import paths
from homelab_provision.errors import ProvisionError
from homelab_provision.events import Emit, Notice, step
from homelab_provision.image.cache import asking
from homelab_provision.image.image import Image
from homelab_provision.image.mirror import find_mirror, is_offered
from homelab_provision.image.os_image import Recipe, SystemAccount, build_image, find_image, image_key
from homelab_provision.site.models import Host

# Where roles' programs lie on a host, and the lists of what their trees have laid there; from the root.
PROGRAMS, TREES = "usr/local/lib/homelab-provision", "var/lib/homelab-provision/trees"
WITHOUT_SECURITY = "without Debian's security updates: this computer's apt names no archive of them"


def image_of(host: Host, emit: Emit, *, anew: bool = False, max_age: timedelta | None = None) -> Image:
    """The image of a host from the cache; built if it is not there, or, with `anew`, to have newer packages in it.

    One that is older than `max_age` is built anew, too; but a host can be rebuilt without any mirror, so when that
    fails, the old one is used, with a warning.
    """
    recipe = recipe_for(host.roles)
    with asking(paths.cache() / "images", image_key(recipe)):  # hosts with the same roles, of which one builds
        image = None if anew else find_image(recipe, paths.cache())
        if image is None:
            emit(Notice(text=f"building the image of {host.name}: it is kept, the next time it is there"))
            image = _built(recipe, emit)
        elif max_age is not None and age_of(image) > max_age:
            image = _renewed(image, recipe, emit)
    if not image.security:
        emit(Notice(level="warning", text=f"image {image.short} is {WITHOUT_SECURITY}"))
    return image


def age_of(image: Image) -> timedelta:
    """How long ago its packages were the newest. A clock that was put back makes nothing new for ever."""
    return abs(datetime.now(UTC) - image.created)


def _renewed(image: Image, recipe: Recipe, emit: Emit) -> Image:
    old = f"image {image.short} is {_days(age_of(image))} old"
    mirror = find_mirror(recipe.mirror)
    if mirror is not None and not is_offered(mirror.base, recipe.suite):
        emit(Notice(level="warning", text=f"{old}; it is used all the same, as no mirror of Debian answers"))
        return image
    emit(Notice(text=f"{old}: building it anew"))
    try:
        return _built(recipe, emit)
    except ProvisionError as error:
        emit(Notice(level="warning", text=f"{old}; it is used all the same: {error.message}"))
        return image


def _built(recipe: Recipe, emit: Emit) -> Image:
    with step(emit, "build the image"):
        return build_image(recipe, paths.cache(), emit)


def image_line(digest: str, created: datetime | None, security: bool, now: datetime | None = None) -> str:
    """An image in a plan: its digest, how old it is, and what it lacks."""
    age = f", built {_days((now or datetime.now(UTC)) - created)} ago" if created else ""
    return f"{digest}{age}" + ("" if security else f", {WITHOUT_SECURITY}")


def _days(age: timedelta) -> str:
    days = max(age, timedelta(0)).days
    return "less than a day" if days == 0 else "a day" if days == 1 else f"{days} days"


def recipe_for(roles: Iterable[str], folder: Path | None = None) -> Recipe:
    """What the image of a host with these roles is made of.

    Of each role: `vars/main/packages.yml`, `files/root/`, `program/`, and what has to be there before the packages:
    `vars/main/accounts.yml`, `files/early/`. Where they go is what the action plugin `host_state` says, too; a list of
    them lies in the image, so that a host knows what to remove when it gets a newer tree.
    """
    packages: set[str] = set()
    accounts: list[SystemAccount] = []
    files: dict[str, str] = {}
    early: dict[str, str] = {}
    for role in roles:
        home = (folder or paths.content("roles")) / role
        packages.update(_declared(home, "packages"))
        accounts += [SystemAccount.model_validate(account) for account in _declared(home, "accounts")]
        tree = _texts(home / "files" / "root") | _texts(home / "program", f"{PROGRAMS}/")
        first = _texts(home / "files" / "early")
        if tree or first:
            laid = sorted(f"/{path}" for path in tree | first)
            files |= tree | {f"{TREES}/{role}.json": json.dumps(laid, indent=1) + "\n"}
        early |= first
    return Recipe(packages=tuple(sorted(packages)), accounts=tuple(accounts), files=files, early=early)


def _declared(role: Path, what: str) -> list[Any]:
    """A list that a role declares in plain YAML, as `<role>_<what>` in `vars/main/<what>.yml`."""
    file = role / "vars" / "main" / f"{what}.yml"
    return list(yaml.safe_load(file.read_text())[f"{role.name}_{what}"]) if file.exists() else []


def _texts(folder: Path, place: str = "") -> dict[str, str]:
    """The files below a folder: path from the host's root, where they lie below `place` → text."""
    return {place + str(path.relative_to(folder)): path.read_text() for path in paths.files_below(folder)}
