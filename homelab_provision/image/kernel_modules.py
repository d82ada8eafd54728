"""Choose kernel modules and describe them for `modprobe`, without running `depmod`.

Every module carries its dependencies and aliases in its `.modinfo` section, as `key=value` strings.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

MODINFO = re.compile(rb"(?:(?<=\0)|^)(depends|alias|softdep|name)=([^\0]*)\0")


@dataclass(frozen=True)
class Module:
    """A module: its path below `kernel/` without compression suffix, its bytes, and what it says of itself."""

    name: str
    path: str
    data: bytes
    depends: tuple[str, ...]
    aliases: tuple[str, ...]


def canonical(name: str) -> str:
    return name.replace("-", "_")


def read_module(path: str, packed: bytes) -> Module:
    """Unpack a `.ko.xz` (or plain `.ko`) and read what it depends on; soft dependencies count as wanted."""
    data = lzma.decompress(packed) if path.endswith(".xz") else packed
    depends: list[str] = []
    aliases: list[str] = []
    for key, raw in MODINFO.findall(data):
        value = raw.decode(errors="replace")
        if key == b"depends":
            depends += filter(None, value.split(","))
        elif key == b"softdep":
            depends += [word for word in value.split() if word not in ("pre:", "post:", "platform:")]
        elif key == b"alias":
            aliases.append(value)
    plain = path.removesuffix(".xz")
    name = canonical(plain.rsplit("/", 1)[-1].removesuffix(".ko"))
    return Module(name, plain, data, tuple(map(canonical, depends)), tuple(aliases))


def closure(wanted: Iterable[str], paths: Mapping[str, str], read: Callable[[str], bytes]) -> tuple[Module, ...]:
    """The wanted modules and all they depend on; `paths` maps module names to files, built-in ones are absent."""
    chosen: dict[str, Module] = {}
    queue = [canonical(name) for name in wanted]
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
