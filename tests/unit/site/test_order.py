"""Which host comes before which."""

from __future__ import annotations

from typing import Any

import pytest

from homelab_provision.errors import UsageError
from homelab_provision.site.models import Backup, Host, Network, Site
from homelab_provision.site.order import in_order
from homelab_provision.site.vpn import Vpn
from tests.unit.site.sites import HOSTS, site_of

ADDRESSES = {"nas": "192.168.50.20", "db": "192.168.50.10", "web": "192.168.50.11", "dns": "192.168.50.53"}


def site(**told: dict[str, Any]) -> Site:
    """Hosts that need nothing of each other, but for what is told of them."""
    hosts = {
        name: Host(name=name, address=address, provisioned=True, **told.get(name, {}))
        for name, address in ADDRESSES.items()
    }
    return site_of().__class__(root=site_of().root, name="home", hosts=hosts, machines={})


def network(name: str, **more: Any) -> Network:
    return Network.model_validate({"address": f"{ADDRESSES[name]}/24", **more})


def order(site: Site, *names: str) -> list[tuple[str, dict[str, str]]]:
    return [(name, dict(needed)) for name, needed in in_order(site, names).items()]


BACKUP = Backup.model_validate({"server": ADDRESSES["nas"], "export": "/srv/backup"})


def test_who_keeps_backups_comes_before_whose_data_is_there() -> None:
    home = site(db={"backup": BACKUP, "roles": ("base", "postgres")}, web={"backup": BACKUP, "roles": ("base",)})
    assert order(home, "db", "web", "nas") == [("nas", {}), ("web", {}), ("db", {"nas": "its backups"})]


def test_whoever_is_not_rebuilt_is_waited_for_by_nobody() -> None:
    home = site(db={"backup": BACKUP, "roles": ("postgres",)})
    assert order(home, "db", "web") == [("db", {}), ("web", {})]


def test_shares_databases_names_and_the_way_out_come_first() -> None:
    asking = network("web", dns=[ADDRESSES["dns"]])
    home = site(
        web={"network": asking, "uses": {"db": "the databases of its stacks", ADDRESSES["nas"]: "its shares"}},
        db={"network": network("db", gateway=ADDRESSES["dns"])},
    )
    found = dict(order(home, "web", "db", "dns", "nas"))
    assert found["web"] == {"dns": "names", "db": "the databases of its stacks", "nas": "its shares"}
    assert found["db"] == {"dns": "its way out"}
    assert list(found)[-1] == "web"


def test_one_that_answers_names_is_enough() -> None:
    """The router answers, too, and is rebuilt by nobody."""
    home = site(web={"network": network("web", dns=[ADDRESSES["dns"], "192.168.50.1"])})
    assert order(home, "web", "dns") == [("web", {}), ("dns", {})]


def test_a_client_of_the_vpn_comes_after_its_server() -> None:
    away = {"away": {"number": 5, "host": "web"}}
    vpn = Vpn.model_validate({"endpoint": "home.example.org", "networks": ["10.77.0.0/24"], "clients": away})
    home = site(web={"vpn": vpn, "roles": ("vpn",)}, db={"vpn": vpn, "roles": ("vpn",)}, nas={"vpn": vpn})
    assert order(home, "web", "db", "nas") == [("db", {}), ("nas", {}), ("web", {"db": "the VPN"})]


@pytest.mark.negative
def test_hosts_that_need_each_other_are_told_why() -> None:
    home = site(nas={"network": network("nas", dns=[ADDRESSES["dns"]])}, dns={"uses": {ADDRESSES["nas"]: "its shares"}})
    with pytest.raises(UsageError) as refused:
        in_order(home, ["nas", "dns", "web"])
    assert "nas needs dns for names" in refused.value.message
    assert "dns needs nas for its shares" in refused.value.message
    assert "provision rebuild " in (refused.value.hint or "")


@pytest.mark.negative
def test_a_host_that_is_not_there_is_no_host() -> None:
    with pytest.raises(UsageError, match="has no host `dbb`"):
        in_order(site(), ["db", "dbb"])


USES = """\
          provision_mounts:
            - {source: "192.168.50.20:/srv/data", path: /mnt/data}
            - {source: //media-box/films, path: /mnt/films}
            - nonsense
          app_stacks:
            - {name: mlflow, database: {host: db-wyse, password: x}}
            - {name: own, databases: [{host: 192.168.50.12}, {port: 5}]}
            - {name: none}
"""


def test_what_a_host_uses_is_read_where_roles_are_told_it() -> None:
    host = "          ansible_host: 192.168.50.11\n"
    found = site_of(hosts=HOSTS.replace(host, host + USES)).host("web-wyse")
    shares, databases = "its shares", "the databases of its stacks"
    assert found.uses == {
        "192.168.50.20": shares,
        "media-box": shares,
        "db-wyse": databases,
        "192.168.50.12": databases,
    }
    assert site_of().host("db-wyse").uses == {}
