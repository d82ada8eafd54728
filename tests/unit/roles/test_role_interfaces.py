"""The pattern that every role follows, checked for every role there is."""

from __future__ import annotations

import ast
import re
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml

from homelab_provision.image.host_image import recipe_for
from homelab_provision.image.os_image import tar_of
from tests.unit.roles import modules, role_readme

TYPES: dict[str, type] = {"str": str, "bool": bool, "int": int, "float": float, "list": list, "dict": dict}

plugin = modules.action("host_state")
every_role = pytest.mark.parametrize("role", role_readme.roles(), ids=lambda role: role.name)


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) if path.exists() else None


def text_files(role: Path) -> list[Path]:
    return [path for path in role.rglob("*") if path.is_file() and path.suffix in (".yml", ".j2", ".py", ".md")]


def test_there_are_roles() -> None:
    assert [role.name for role in role_readme.roles()]


@every_role
def test_every_entry_point_is_specified(role: Path) -> None:
    entry_points = {path.stem for path in (role / "tasks").glob("[!_]*.yml")}
    assert role_readme.specification(role).keys() == entry_points


@every_role
def test_defaults_are_what_the_specification_says(role: Path) -> None:
    options = {
        name: option for entry in role_readme.specification(role).values() for name, option in entry["options"].items()
    }
    stated = {name: option["default"] for name, option in options.items() if "default" in option}
    assert (load(role / "defaults" / "main.yml") or {}) == stated
    for name, option in options.items():
        assert ("default" in option) != bool(option.get("required")), name
        # A default that is computed is text, whatever comes out of it.
        if "default" in option and "{{" not in str(option["default"]):
            assert isinstance(option["default"], TYPES[option["type"]]), name


@every_role
def test_variables_carry_the_name_of_the_role(role: Path) -> None:
    own = re.compile(rf"(__)?{role.name}(_\w+)?")
    for path in (*role.glob("defaults/**/*.yml"), *role.glob("vars/**/*.yml")):
        assert [name for name in load(path) or {} if not own.fullmatch(name)] == [], path


@every_role
def test_packages_are_plain_text_for_the_image_builder(role: Path) -> None:
    declared = load(role / "vars" / "main" / "packages.yml") or {f"{role.name}_packages": []}
    assert list(declared) == [f"{role.name}_packages"]
    names = declared[f"{role.name}_packages"]
    assert [name for name in names if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", name)] == []
    assert names == sorted(set(names))


@every_role
def test_a_negative_test_belongs_to_every_role(role: Path) -> None:
    marked = [
        function.name
        for path in (role / "verify").glob("test_*.py")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        and any(ast.unparse(decorator) == "pytest.mark.negative" for decorator in function.decorator_list)
    ]
    assert marked


@every_role
def test_readme_is_made_from_the_specification(role: Path) -> None:
    assert (role / "README.md").read_text() == role_readme.readme(role), "run tests/unit/roles/role_readme.py"


@every_role
def test_no_error_is_ignored_and_no_mirror_named(role: Path) -> None:
    for path in text_files(role):
        text = path.read_text()
        assert not re.search(r"\bignore_errors:", text), path
        assert not re.search(r"https?://(?!localhost|127\.)", text), path


@every_role
def test_role_has_a_scenario(role: Path) -> None:
    assert (role.parent.parent / "molecule" / role.name / "molecule.yml").exists()


@every_role
def test_what_the_image_brings_is_what_the_role_writes(role: Path) -> None:
    early, later = dict(plugin.found(role, plugin.EARLY)), dict(plugin.found(role, plugin.LATER))
    recipe = recipe_for([role.name])
    assert {f"/{path}": text for path, text in recipe.early.items()} == early
    kept = {f"{modules.part('tree').KEPT}/{role.name}.json": modules.part("tree").manifest([*early, *later])}
    assert {f"/{path}": text for path, text in recipe.files.items()} == later | (kept if early or later else {})
    with tarfile.open(fileobj=BytesIO(tar_of({path: text.encode() for path, text in recipe.files.items()}))) as tar:
        for member in tar.getmembers():
            assert f"{member.mode:04o}" == plugin.mode_of(member.name.removeprefix(".")), member.name
