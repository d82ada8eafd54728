"""A small role that keeps data is one folder: everything finds it there. It is played by the scenario `backup`."""

from __future__ import annotations

from pathlib import Path

from homelab_provision.image.host_image import recipe_for
from homelab_provision.site.roles import programs_of
from tests.unit.roles import modules

plugin = modules.action("host_state")
ROLES = Path(__file__).parents[2] / "fixtures" / "roles"
ROLE = ROLES / "example_service"
LAID = {
    "/etc/systemd/system/example.service",
    "/usr/local/lib/homelab-provision/homelab_example_service/__init__.py",
    "/usr/local/lib/homelab-provision/homelab_example_service/__main__.py",
    "/usr/local/sbin/homelab-example_service",
}


def test_its_program_is_known_by_what_it_says_of_itself() -> None:
    assert programs_of(["example_service"], ROLES) == {"example_service": "/usr/local/sbin/homelab-example_service"}


def test_its_files_are_in_the_image_and_in_its_task() -> None:
    recipe = recipe_for(["example_service"], ROLES)
    lists = {path for path in recipe.files if path.startswith("var/lib/homelab-provision/trees/")}
    assert {f"/{path}" for path in recipe.files.keys() - lists} == LAID
    made = plugin.with_tree(ROLE, {"tree": {"role": "example_service"}})
    assert {entry["path"] for entry in made["files"]} == LAID
