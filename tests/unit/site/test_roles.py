"""What a host's roles declare: which they are, what keeps data, what its image is made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from homelab_provision.image.host_image import recipe_for
from homelab_provision.site import Host
from homelab_provision.site.roles import programs_of, roles_of

PLAYS = """\
- {hosts: provisioned, roles: [base]}
- {hosts: "provisioned:&databases", roles: [{role: nas_mounts}, postgres, base]}
- {hosts: "web:storage:!old", roles: [shop]}
- {hosts: db-wyse, roles: [extra]}
"""


@pytest.mark.parametrize(
    ("name", "groups", "roles"),
    [
        ("db-wyse", ("provisioned", "databases"), ("base", "nas_mounts", "backup", "postgres", "extra")),
        ("nas", ("storage",), ("shop",)),
        ("site-wyse", ("provisioned", "web"), ("base", "shop")),
        ("attic", ("web", "old"), ()),
        ("trainer", ("databases",), ()),  # named in the inventory, never touched
    ],
)
def test_roles_follow_the_patterns_of_the_plays(
    name: str, groups: tuple[str, ...], roles: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "site.yml").write_text(PLAYS)
    assert roles_of(Host(name=name, groups=groups), tmp_path / "site.yml") == roles


def test_which_roles_keep_data() -> None:
    assert programs_of(["base", "nas_mounts", "postgres", "nfs_server"]) == {
        "postgres": "/usr/local/sbin/homelab-postgres",
        "nfs_server": "",
    }


def test_what_packages_have_to_find_is_in_the_recipe(tmp_path: Path) -> None:
    role = tmp_path / "shop"
    for path, text in {
        "vars/main/packages.yml": "shop_packages: [nginx, curl]\n",
        "vars/main/accounts.yml": "shop_accounts: [{name: shop, id: 7000, home: /srv/shop}]\n",
        "files/early/etc/shop/no": "yes\n",
        "files/root/etc/shop/conf": "x\n",
        "files/root/etc/shop/__pycache__/conf.pyc": "compiled",
        "program/homelab_shop.py": "print()\n",
    }.items():
        (role / path).parent.mkdir(parents=True, exist_ok=True)
        (role / path).write_text(text)
    recipe = recipe_for(["shop", "none"], tmp_path)
    assert recipe.packages == ("curl", "nginx")
    assert [(account.name, account.id) for account in recipe.accounts] == [("shop", 7000)]
    assert recipe.early == {"etc/shop/no": "yes\n"}
    assert recipe.files == {
        "etc/shop/conf": "x\n",
        "usr/local/lib/homelab-provision/homelab_shop.py": "print()\n",
        "var/lib/homelab-provision/trees/shop.json": json.dumps(
            ["/etc/shop/conf", "/etc/shop/no", "/usr/local/lib/homelab-provision/homelab_shop.py"], indent=1
        )
        + "\n",
    }
