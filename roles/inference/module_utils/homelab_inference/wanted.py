"""What `preflight` is told: the role's variables of these names, and what holds where a site says nothing of one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from .anchors import Backend
from .errors import Trouble
from .known import BUILDS_DENIED_ROCM, FIRMWARE_DENIED, KERNEL_MINIMUM, MES_DENIED, UMA_MAX_MIB


@dataclass(frozen=True)
class Wanted:
    """`build` is llama.cpp's number, 0 if it is not known; `gtt_gib` is None where the memory decides."""

    backend: Backend = Backend.VULKAN
    build: int = 0
    deny_builds_rocm: tuple[tuple[int, int], ...] = BUILDS_DENIED_ROCM
    min_kernel: Mapping[str, str] = field(default_factory=lambda: KERNEL_MINIMUM)
    firmware_deny: tuple[str, ...] = tuple(each.what for each in FIRMWARE_DENIED)
    mes_deny: tuple[str, ...] = tuple(each.what for each in MES_DENIED)
    uma_max_mib: int = UMA_MAX_MIB
    gtt_gib: int | None = None
    iommu_off: bool = False
    accept_software_renderer: bool = False


def settings(text: str) -> Wanted:
    """From a JSON object of the role's variables, without `inference_`; what is empty is not said. `Trouble`."""
    try:
        given = json.loads(text)
    except ValueError as error:
        raise Trouble(
            f"the settings are no JSON: {error}", "the role writes them; `provision apply` does it anew"
        ) from None
    names = {each.name for each in fields(Wanted)}
    if not isinstance(given, dict) or not given.keys() <= names:
        surplus = ", ".join(sorted(map(str, set(given) - names))) if isinstance(given, dict) else "no object"
        raise Trouble(f"settings that nobody knows: {surplus}", f"known are {', '.join(sorted(names))}")
    try:
        return Wanted(**{name: _typed(name, value) for name, value in given.items() if value})
    except (ValueError, TypeError) as error:
        raise Trouble(
            f"the settings cannot be used: {error}", "the role's README has each variable's meaning"
        ) from None


def _typed(name: str, value: Any) -> Any:
    match name:
        case "backend":
            return Backend(value)
        case "build":
            return build_number(value)
        case "deny_builds_rocm":
            return tuple((int(first), int(last)) for first, last in value)
        case "min_kernel":
            for version in value.values():
                if not re.match(r"\d+\.\d+", str(version)):
                    raise ValueError(f"{version!r} is no version of a kernel")
            named = {str(kind).removesuffix("_hwe").replace("_", "-"): str(version) for kind, version in value.items()}
            return {**KERNEL_MINIMUM, **named}
        case "firmware_deny":
            return tuple(str(each) for each in value)
        case "mes_deny":
            # YAML reads 0x83 as a number.
            return tuple(hex(each if isinstance(each, int) else int(str(each), 16)) for each in value)
        case "uma_max_mib" | "gtt_gib":
            return int(value)
    return bool(value)


def build_number(text: str | int) -> int:
    """11669 of b11669. Raises `ValueError`."""
    return int(str(text).strip().removeprefix("b") or 0)
