"""The program `homelab-postgres`, which lies in its role as it will lie on a host, loaded from there."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

from homelab_provision import paths

PACKAGE = paths.content("roles") / "postgres/program"


def part(name: str) -> ModuleType:
    """One module of the program."""
    if "postgres" not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            "postgres", PACKAGE / "__init__.py", submodule_search_locations=[str(PACKAGE)]
        )
        assert spec
        assert spec.loader
        sys.modules["postgres"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["postgres"])
    return importlib.import_module(f"postgres.{name}")
