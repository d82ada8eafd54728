"""The programs of roles, and the library below them, imported from their roles as on a host."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from homelab_provision import paths

ROLES = paths.content("roles")
PACKAGE = ROLES / "postgres/program/homelab_postgres"
LIBRARY = ROLES / "base/program/homelab_host"
STACKS = ROLES / "app_stacks/program/homelab_stacks"
SHARES = ROLES / "nas_mounts/program/homelab_nas_mounts"
FLOATING = ROLES / "floating_ip/program/homelab_floating"
for _folder in sorted(ROLES.glob("*/program")):
    if str(_folder) not in sys.path:
        sys.path.append(str(_folder))


def part(name: str) -> ModuleType:
    """One module of the program, or of the library."""
    package = PACKAGE if (PACKAGE / f"{name}.py").exists() else LIBRARY
    return importlib.import_module(f"{package.name}.{name}")


def library(name: str) -> ModuleType:
    """One module of the library, also where the program has one of the same name."""
    return importlib.import_module(f"{LIBRARY.name}.{name}")


def stacks(name: str) -> ModuleType:
    """One module of the program of the role `app_stacks`."""
    return importlib.import_module(f"{STACKS.name}.{name}")


def shares(name: str) -> ModuleType:
    """One module of the program of the role `nas_mounts`."""
    return importlib.import_module(f"{SHARES.name}.{name}")


def vpn(name: str) -> ModuleType:
    """One module of the program of the role `vpn`."""
    return importlib.import_module(f"homelab_vpn.{name}")


def floating(name: str) -> ModuleType:
    """One module of the program of the role `floating_ip`."""
    return importlib.import_module(f"{FLOATING.name}.{name}")


def inference(name: str) -> ModuleType:
    """One module of the program of the role `inference`."""
    return importlib.import_module(f"homelab_inference.{name}")
