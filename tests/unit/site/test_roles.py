"""What a host's roles declare: which they are, what keeps data, what its image is made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from homelab_provision.image.host_image import recipe_for
from homelab_provision.site.loading import load_site
from homelab_provision.site.problems import SiteError
from homelab_provision.site.roles import Pattern, programs_of
from tests.unit.site.sites import MACHINES

INVENTORY = """\
all:
  children:
    provisioned:
      hosts: {db-wyse: {ansible_host: 192.168.50.10}, site-wyse: {ansible_host: 192.168.50.11}}
    databases:
      hosts: {db-wyse: , trainer: }
    web:
      hosts: {site-wyse: , "shop[1:3].lan": , attic: }
    storage:
      children:
        shelves: {hosts: {nas: , attic: }}
    old:
      hosts: {attic: }
"""


@pytest.fixture
def plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `site.yml` of the test's own, and a site."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "hosts.yml").write_text(INVENTORY)
    (site / "machines.yml").write_text(MACHINES)
    playbook = tmp_path / "site.yml"
    monkeypatch.setattr("homelab_provision.site.roles.playbook", lambda: playbook)
    return playbook


@pytest.mark.processes
@pytest.mark.parametrize(
    ("pattern", "hosts"),
    [
        ("provisioned", {"db-wyse", "site-wyse"}),
        ("provisioned:&databases", {"db-wyse"}),
        ("&databases:provisioned", {"db-wyse"}),  # what narrows comes last, wherever it is written
        ("web:storage:!old", {"site-wyse", "shop1.lan", "shop2.lan", "shop3.lan", "nas"}),
        ("!old:storage", {"nas"}),
        ("*-wyse", {"db-wyse", "site-wyse"}),
        ("~^(shop[12]|nas)", {"shop1.lan", "shop2.lan", "nas"}),
        ("web[1:2]", {"shop1.lan", "shop2.lan"}),
        ("db-wyse,nas", {"db-wyse", "nas"}),
        (["web", "!shop*"], {"site-wyse", "attic"}),
        ("nobody", set()),
        ("localhost", set()),
        ("all", {"db-wyse", "site-wyse", "trainer", "shop1.lan", "shop2.lan", "shop3.lan", "attic", "nas"}),
    ],
    ids=lambda value: "" if isinstance(value, set) else str(value),
)
def test_a_play_is_for_whom_ansible_says(plays: Path, pattern: Pattern, hosts: set[str]) -> None:
    plays.write_text(json.dumps([{"hosts": pattern, "roles": ["shop"]}]))
    site = load_site(plays.parent / "site")
    assert {name for name, host in site.hosts.items() if host.roles} == hosts
    assert not site.warnings


@pytest.mark.processes
def test_roles_come_in_the_order_of_the_plays_each_after_its_dependencies(plays: Path) -> None:
    plays.write_text(
        "- {hosts: provisioned, roles: [base]}\n"
        "- {hosts: db-wyse, tasks: []}\n"
        '- {hosts: "provisioned:&databases", roles: [{role: nas_mounts}, postgres, base]}\n'
        "- {hosts: db-wyse, roles: [extra]}\n"
    )
    hosts = load_site(plays.parent / "site").hosts
    assert hosts["db-wyse"].roles == ("base", "nas_mounts", "backup", "postgres", "extra")
    assert hosts["site-wyse"].roles == ("base",)
    assert hosts["trainer"].roles == ()  # named in the inventory, never touched


@pytest.mark.processes
@pytest.mark.negative
@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("databases[7]", "No hosts matched the subscripted pattern 'databases[7]'"),
        ("~(wyse", "Invalid host list pattern: ~(wyse"),
    ],
)
def test_a_pattern_that_ansible_refuses_is_shown_where_it_stands(plays: Path, pattern: str, said: str) -> None:
    plays.write_text(f'- hosts: provisioned\n  roles: [base]\n- name: Shop\n  hosts: "{pattern}"\n  roles: [shop]\n')
    with pytest.raises(SiteError) as refused:
        load_site(plays.parent / "site")
    assert f"{plays}:4: play 2: Ansible refuses this pattern: {said}" in refused.value.message
    assert f'> 4 |   hosts: "{pattern}"' in refused.value.message
    assert "expected a pattern of hosts as Ansible knows them" in refused.value.message


@pytest.mark.negative
@pytest.mark.parametrize(
    "play", ["{roles: [shop]}", "{hosts: , roles: [shop]}", "{hosts: [web, 7]}", "{hosts: {a: b}}"]
)
def test_a_play_for_nobody_is_refused(plays: Path, play: str) -> None:
    plays.write_text(f"- {{hosts: all}}\n- {play}\n")
    with pytest.raises(SiteError, match="play 2: this play does not say for which hosts it is"):
        load_site(plays.parent / "site")


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
