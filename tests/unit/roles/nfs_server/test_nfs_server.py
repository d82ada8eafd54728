"""What the role `nfs_server` writes for its exports, and which it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from homelab_provision import paths

ROLE = paths.content("roles") / "nfs_server"
SQUASHED = "sync,no_subtree_check,all_squash,anonuid=2049,anongid=2049"
READER = SQUASHED.replace("anonuid=2049", "anonuid=2050")


def render(text: str, known: dict[str, Any]) -> Any:
    """What Ansible makes of a template; an expression alone keeps its type."""
    return Templar(loader=DataLoader(), variables=known).template(trust_as_template(text))


def load(name: str) -> Any:
    return yaml.safe_load((ROLE / name).read_text())


def variables(exports: list[dict[str, Any]], **given: Any) -> dict[str, Any]:
    """The variables of the role, with those it computes."""
    known = {**load("defaults/main.yml"), **load("vars/main/accounts.yml"), "nfs_server_exports": exports, **given}
    for name in ("addresses", "paths", "sizes", "days", "id", "reader"):
        known[f"__nfs_server_{name}"] = render(load("vars/main/files.yml")[f"__nfs_server_{name}"], known)
    return known


def written(template: str, exports: list[dict[str, Any]]) -> list[str]:
    """The lines of a template that are no comments."""
    text = str(render((ROLE / "templates" / template).read_text(), variables(exports)))
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def accepted(exports: list[dict[str, Any]], **given: Any) -> bool:
    """Whether the role's first task lets this through."""
    conditions = load("tasks/main.yml")[0]["ansible.builtin.assert"]["that"]
    known = variables(exports, **given)
    return all(render(f"{{{{ {condition} }}}}", known) for condition in conditions)


def export(path: str = "/srv/x", *addresses: str, **client: Any) -> dict[str, Any]:
    return {"path": path, "clients": [{"address": one, **client} for one in addresses or ("192.0.2.1",)]}


def test_each_client_has_its_own_rights_and_nobody_a_name_on_the_disk() -> None:
    two = {
        "path": "/srv/x",
        "clients": [{"address": "192.0.2.1"}, {"address": "192.0.2.9", "access": "ro", "insecure": True}],
    }
    assert written("exports.j2", [two, export("/srv/y", "2001:db8::/64")]) == [
        f'"/srv/x" 192.0.2.1(rw,secure,{SQUASHED}) 192.0.2.9(ro,insecure,{READER})',
        f'"/srv/y" 2001:db8::/64(rw,secure,{SQUASHED})',
    ]


def test_nothing_is_exported_by_default() -> None:
    assert written("exports.j2", load("defaults/main.yml")["nfs_server_exports"]) == []


def test_the_port_is_open_for_every_client_once() -> None:
    exports = [export("/srv/x", "192.0.2.1", "192.0.2.0/24"), export("/srv/y", "192.0.2.1", "2001:db8::1")]
    assert [line.strip() for line in written("nfs.nft.j2", exports) if "accept" in line] == [
        "ip saddr 192.0.2.0/24 tcp dport 2049 accept",
        "ip saddr 192.0.2.1 tcp dport 2049 accept",
        "ip6 saddr 2001:db8::1 tcp dport 2049 accept",
    ]


@pytest.mark.parametrize(
    "path", ["/srv/x", "/srv/backup/db-wyse", "/srv/a.b_c", "/srv/..x/y", "/srv/snapshots-of-mine"]
)
def test_directories_below_srv_can_be_shared(path: str) -> None:
    assert accepted([{**export(path, "192.0.2.1", "192.0.2.0/24", "fd00::/8"), "size": "1.5 TB", "snapshots": 14}])


@pytest.mark.parametrize(
    "exports",
    [
        [export("/etc")],
        [export("/srv")],
        [export("/srv/")],
        [export("/srv/x/")],
        [export("/srv/../etc")],
        [export("/srv/x/..")],
        [export("/srv/a b")],
        [export("/srv/a\nb")],
        [export("/srv/a\n")],
        [export("/srv/a//b")],
        [export("/srv/./a")],
        [export('/srv/a"b')],
        [export("/srvx/y")],
        [export("/srv/x", "nas.home.arpa")],
        [export("/srv/x", "*")],
        [export("/srv/x", "192.0.2.1(rw,no_root_squash)")],
        [export("/srv/x", "192.0.2.1/24 10.0.0.1")],
        [export("/srv/x", "192.0.2.1\n10.0.0.1")],
        [export("/srv/x", "")],
        [export("/srv/snapshots")],
        [export("/srv/snapshots/x")],
        [{**export(), "size": "200G"}],
        [{**export(), "size": "much"}],
        [{**export(), "size": ""}],
        [{**export(), "snapshots": -1}],
    ],
)
@pytest.mark.negative
def test_what_could_open_more_than_it_says_is_refused(exports: list[dict[str, Any]]) -> None:
    assert not accepted(exports)


@pytest.mark.negative
def test_grace_is_never_shorter_than_the_lease() -> None:
    assert accepted([], nfs_server_grace_time=90, nfs_server_lease_time=90)
    assert not accepted([], nfs_server_grace_time=10, nfs_server_lease_time=90)


@pytest.mark.parametrize("role", ["nas_mounts", "nfs_server"])
def test_what_nfs_version_3_needs_is_masked_before_it_is_installed(role: str) -> None:
    early = paths.content("roles") / role / "files" / "early"
    masked = {file.name: file.stat().st_size for file in early.rglob("*") if file.is_file()}
    assert {"rpcbind.service", "rpcbind.socket", "rpc-statd.service"} <= masked.keys()
    assert set(masked.values()) == {0}, "only an empty unit is a masked one"
