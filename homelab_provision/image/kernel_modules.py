"""Choose kernel modules and describe them for `modprobe`, without running `depmod`.

Every module carries its dependencies and aliases in its `.modinfo` section, as `key=value` strings.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from homelab_provision.image.mmdebstrap import BuildError

MODINFO = re.compile(rb"(?:(?<=\0)|^)(depends|alias|softdep|name|firmware)=([^\0]*)\0")


@dataclass(frozen=True)
class Module:
    """A module: its path below `kernel/` without compression suffix, its bytes, and what it says of itself."""

    name: str
    path: str
    data: bytes
    depends: tuple[str, ...]
    aliases: tuple[str, ...]
    firmware: tuple[str, ...] = ()
    """Files below /usr/lib/firmware that it may ask for."""


def canonical(name: str) -> str:
    return name.replace("-", "_")


def read_module(path: str, packed: bytes) -> Module:
    """Unpack a `.ko.xz` (or plain `.ko`) and read what it depends on; soft dependencies count as wanted."""
    data = lzma.decompress(packed) if path.endswith(".xz") else packed
    depends: list[str] = []
    aliases: list[str] = []
    firmware: list[str] = []
    for key, raw in MODINFO.findall(data):
        value = raw.decode(errors="replace")
        if key == b"depends":
            depends += filter(None, value.split(","))
        elif key == b"softdep":
            depends += [word.removeprefix("platform:") for word in value.split() if not word.endswith(":")]
        elif key == b"firmware":
            firmware.append(value)
        elif key == b"alias":
            aliases.append(value)
    plain = path.removesuffix(".xz")
    name = canonical(plain.rsplit("/", 1)[-1].removesuffix(".ko"))
    return Module(name, plain, data, tuple(map(canonical, depends)), tuple(aliases), tuple(firmware))


def built_in(listed: str) -> frozenset[str]:
    """The modules that are part of the kernel itself, from `modules.builtin`: a path a line."""
    return frozenset(canonical(path.rsplit("/", 1)[-1].removesuffix(".ko")) for path in listed.split())


def closure(
    wanted: Iterable[str], paths: Mapping[str, str], read: Callable[[str], bytes], kernel: Collection[str] = ()
) -> tuple[Module, ...]:
    """The wanted modules and all they depend on; `paths` maps module names to files, `kernel` are those built in.

    Raises `BuildError` for a wanted one that is neither.
    """
    chosen: dict[str, Module] = {}
    queue = [canonical(name) for name in wanted]
    if unknown := sorted(name for name in queue if name not in paths and name not in kernel):
        raise BuildError(
            f"this kernel has no module {', '.join(unknown)}", hint="it was renamed or left out; see rescue_contents.py"
        )
    while queue:
        name = queue.pop()
        if name in chosen or name not in paths:
            continue
        chosen[name] = read_module(paths[name], read(paths[name]))
        queue += chosen[name].depends
    return tuple(sorted(chosen.values(), key=lambda module: module.path))


def modules_dep(modules: Iterable[Module]) -> str:
    """`modules.dep`: per module, everything that it needs; `modprobe` loads that list from its end."""
    known = {module.name: module for module in modules}

    def load_order(module: Module, loaded: dict[str, None]) -> dict[str, None]:
        for name in module.depends:
            if name in known and known[name].path not in loaded:
                load_order(known[name], loaded)
                loaded[known[name].path] = None
        return loaded

    lines = ([f"{module.path}:", *reversed(load_order(module, {}))] for module in known.values())
    return "".join(" ".join(line) + "\n" for line in lines)


def modules_alias(modules: Iterable[Module]) -> str:
    """`modules.alias`: which hardware asks for which module."""
    return "".join(f"alias {alias} {module.name}\n" for module in modules for alias in module.aliases)
