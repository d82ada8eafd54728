"""Kinds of mistakes in a site: each is shown at its place, and hides no other."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from homelab_provision import paths
from homelab_provision.site.form import MOST_HOSTS, written_out
from homelab_provision.site.loading import load_site
from homelab_provision.site.problems import SiteError
from homelab_provision.site.vault.format import seal
from tests.unit.site.sites import HOSTS, MACHINES, problems_of

pytestmark = pytest.mark.negative
NETWORK = "          provision_network: {{address: {address}, gateway: {gateway}}}\n"
HOST = "          ansible_host: 192.168.50.10\n"


def with_host(lines: str) -> str:
    """What is wrong when db-wyse has these lines, too."""
    return problems_of(hosts=HOSTS.replace(HOST, HOST + lines))


def with_machine(old: str, new: str) -> str:
    assert old in MACHINES
    return problems_of(MACHINES.replace(old, new, 1))


# ---- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["rescue", "site", "secrets", "localhost", "all", "a b", "../x", "-a", "a_b", "a.b", "x" * 64]
)
def test_names_of_hosts_that_are_rebuilt_and_of_machines(name: str) -> None:
    said = problems_of(hosts=HOSTS.replace("web-wyse", f'"{name}"'))
    assert re.search(r"hosts\.yml:7: hosts\..*(reserved|no name for a computer)", said)
    said = problems_of(MACHINES.replace("  wyse-b:", f'  "{name}":'))
    assert re.search(r"machines\.yml:\d+: machines\..*(reserved|no name for a computer)", said)


def test_a_name_with_a_line_end_in_it() -> None:
    assert "no name for a computer" in problems_of(hosts=HOSTS.replace("web-wyse:", '"web\\nwyse":'))


def test_hosts_that_are_only_talked_to_may_have_any_name() -> None:
    assert problems_of(hosts=HOSTS.replace("        nas:", "        nas.home.arpa:")) == ""


# ---- YAML ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines", ["          provision_needs:\n", "          provision_network:\n", "          provision_backup: ~\n"]
)
def test_an_empty_value_is_no_traceback(lines: str) -> None:
    with_host(lines)
    hosts = HOSTS.replace("    others:\n      hosts:\n        nas:\n          ansible_host: 192.168.50.20\n", "")
    problems_of(hosts=hosts + lines)
    problems_of(hosts=(hosts + lines).rstrip("\n"))


def test_a_blank_that_was_forgotten_is_an_unknown_key_with_its_line() -> None:
    said = with_machine("{serial: SYS-A, size: 256 GB}", "{serial: SYS-A, size: 256 GB, use:keep}")
    assert "machines.yml:8: machines.wyse-a.passport.disks[0].use:keep: unknown key" in said
    assert "did you mean `use`?" in said
    assert "machines.wyse-a.nte: unknown key" in with_machine("    plays: db-wyse", "    plays: db-wyse\n    nte:")


# ---- what Ansible passes over --------------------------------------------------------------------------------


def site_in(folder: Path, hosts: str = HOSTS, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "hosts.yml").write_text(hosts)
    (folder / "machines.yml").write_text(MACHINES)
    for name, text in files.items():
        file = folder / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".yml").write_text(text)
    return folder


def wrong(folder: Path) -> str:
    with pytest.raises(SiteError) as caught:
        load_site(folder)
    assert all(problem.line >= 1 for problem in caught.value.problems)
    return caught.value.message


def test_var_instead_of_vars(tmp_path: Path) -> None:
    said = wrong(site_in(tmp_path, HOSTS.replace("    others:\n", "    others:\n      var: {ansible_port: 22}\n")))
    assert "hosts.yml:10: all.children.others.var: unknown key" in said
    assert "did you mean `vars`?" in said


def test_what_breaks_ansible_hides_no_other_mistake(tmp_path: Path) -> None:
    hosts = HOSTS.replace("    others:\n", "    others:\n      vars: []\n").replace(
        HOST, HOST + "          provision_needs: {memory_mib: much}\n"
    )
    said = wrong(site_in(tmp_path, hosts))
    assert "all.children.others.vars: does not fit" in said
    assert "provision_needs.memory_mib: `much` does not fit" in said.replace("hosts.db-wyse.", "")


@pytest.mark.parametrize(
    ("file", "near"), [("host_vars__db-wise", "db-wyse"), ("group_vars__provisoned", "provisioned")]
)
def test_variables_for_nobody(tmp_path: Path, file: str, near: str) -> None:
    said = wrong(site_in(tmp_path, **{file: "a: 1\n"}))
    assert "so nobody gets these variables" in said
    assert f"did you mean `{near}`?" in said


def test_doubled_keys_in_variables(tmp_path: Path) -> None:
    assert "group_vars/all.yml:2: base_domain: key is there twice" in wrong(
        site_in(tmp_path, group_vars__all="base_domain: a\nbase_domain: b\n")
    )


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("povision_network", "provision_network"),
        ("provision_netwrok", "provision_network"),
        ("base_user", "base_users"),
        ("bse_domain", "base_domain"),
        ("postgres_setings", "postgres_settings"),
    ],
)
def test_near_misses_of_our_names(variable: str, meant: str) -> None:
    said = with_host(f"          {variable}: x\n")
    assert f"unknown variable `{variable}`" in said
    assert f"did you mean `{meant}`?" in said


def test_other_variables_are_the_users_own() -> None:
    assert with_host("          my_colour: green\n          ansible_hosts: x\n") == ""


# ---- values that cannot be -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "gateway", "marked"),
    [
        ("192.168.50.10", "192.168.50.1", "192.168.50.10"),
        ("192.168.50.10/32", "192.168.50.1", "192.168.50.10/32"),
        ("192.168.50.10/31", "192.168.50.11", "192.168.50.10/31"),
        ("192.168.50.10/0", "192.168.50.1", "192.168.50.10/0"),
        ("192.168.50.0/24", "192.168.50.1", "192.168.50.0/24"),
        ("192.168.50.255/24", "192.168.50.1", "192.168.50.255/24"),
        ("192.168.50.10/24", "192.168.50.10", "192.168.50.10"),
        ("192.168.50.10/24", "192.168.51.1", "192.168.51.1"),
        ("192.168.50.10/24", "192.168.50.255", "192.168.50.255"),
        ("192.168.50.10/24", "192.168.50.0", "192.168.50.0"),
        ("192.168.50.10/24", "no", "no"),
    ],
)
def test_networks_that_cannot_be_are_marked_where_they_are_wrong(address: str, gateway: str, marked: str) -> None:
    said = with_host(NETWORK.format(address=address, gateway=gateway))
    (line,) = [line for line in said.splitlines() if line.strip().startswith("> ")][:1]
    caret = said.splitlines()[said.splitlines().index(line) + 1]
    assert line[caret.index("^") : caret.rindex("^") + 1] == marked, said


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "169.254.1.1", "240.0.0.1"]
)
def test_addresses_that_no_computer_has(address: str) -> None:
    assert "the address of a computer" in problems_of(hosts=HOSTS.replace("192.168.50.10", address))
    assert "the address of a computer" in with_machine(
        "    plays: db-wyse", f"    plays: db-wyse\n    address: {address}"
    )
    assert "the address of a computer" in with_host(
        f"          provision_backup: {{server: {address}, export: /srv/b}}\n"
    )


@pytest.mark.parametrize("server", ["no", "0", "true", "nas", "192.168.50.20/24"])
def test_a_server_is_an_address(server: str) -> None:
    assert "server" in with_host(f"          provision_backup: {{server: {server}, export: /srv/b}}\n")


def test_a_host_does_not_keep_its_own_backups() -> None:
    said = with_host("          provision_backup: {server: 192.168.50.10, export: /srv/b}\n")
    assert "keeps its backups itself" in said


@pytest.mark.parametrize(
    "needs",
    [
        "cores: yes",
        "cores: 0",
        "cores: 99999",
        "memory_mib: true",
        "memory_mib: 1",
        "disk_gb: .inf",
        "disk_gb: .nan",
        "disk_gb: 0",
        "disk_gb: 1e300",
        "disk_gb: yes",
    ],
)
def test_needs_that_nothing_meets(needs: str) -> None:
    assert "does not fit" in with_host(f"          provision_needs: {{{needs}}}\n")


@pytest.mark.parametrize("size", ["1", "1 B", "999 kB", "2000 TB", "-1 GB", ".inf", "yes"])
def test_disks_of_sizes_that_no_disk_has(size: str) -> None:
    assert "does not fit" in with_machine("size: 256 GB}", f"size: {size}}}")


# ---- addresses of ordinary inventories -----------------------------------------------------------------------


def test_templates_and_names_are_no_addresses() -> None:
    named = '{ansible_host: "{{ inventory_hostname }}.lan"}'
    others = f"        nas: {named}\n        tv: {named}\n"
    hosts = HOSTS.replace("        nas:\n          ansible_host: 192.168.50.20\n", others)
    assert problems_of(hosts=hosts) == ""


def test_one_address_twice_matters_where_one_of_the_two_is_rebuilt() -> None:
    twice = "        nas: {ansible_host: 192.168.50.20}\n        nas-admin: {ansible_host: 192.168.50.20}\n"
    hosts = HOSTS.replace("        nas:\n          ansible_host: 192.168.50.20\n", twice)
    assert problems_of(hosts=hosts) == ""
    assert "two hosts with one address" in problems_of(hosts=hosts.replace("192.168.50.20", "192.168.50.10"))


# ---- sealed files, ranges, INI -------------------------------------------------------------------------------


@pytest.mark.processes
def test_a_sealed_file_is_opened_and_never_shown(tmp_path: Path) -> None:
    site = site_in(tmp_path / "site")
    password = site / ".vault-password"
    password.write_text("a password\n")
    password.chmod(0o600)
    (site / "group_vars" / "all").mkdir(parents=True)
    sealed = site / "group_vars" / "all" / "vault.yml"
    sealed.write_text(seal("---\nmy_token: hunter2\nprovision_needs: {cores: 2}\n", b"a password"))
    assert load_site(site).host("db-wyse").needs.cores == 2
    sealed.write_text(seal("---\nmy_token: hunter2\nprovision_needs: {cores: hunter2, memry_mib: 1}\n", b"a password"))
    said = wrong(site)
    assert "group_vars/all/vault.yml:3" in said
    assert "hunter2" not in said
    sealed.write_text(seal("a: [hunter2\nb: 1\n", b"a password"))
    said = wrong(site)
    assert "group_vars/all/vault.yml:2: not YAML" in said
    assert "hunter2" not in said
    sealed.write_text(seal("a: 1\n", b"another password"))
    assert "does not open with the site's password" in wrong(site)
    password.unlink()
    assert "no vault password" in wrong(site)


def test_a_mistake_of_a_range_is_shown_under_the_hosts_own_name() -> None:
    hosts = HOSTS.replace("        web-wyse:\n", "        web[1:1]:\n").replace("192.168.50.11", "192.168.50.300")
    inventory = hosts.replace("web[1:1]", "web1")
    from homelab_provision.site.document import parse_document
    from homelab_provision.site.hosts import HostSources, read_hosts
    from tests.unit.site.sites import inventory_of

    _, problems = read_hosts(HostSources(Path("/nowhere"), parse_document("hosts.yml", hosts), inventory_of(inventory)))
    (problem,) = problems
    assert (problem.path, problem.line) == ("hosts.web1", 8)


def test_ranges_that_no_inventory_has_are_no_trouble() -> None:
    assert written_out("web[²:3]") == ["web[²:3]"]
    assert len(written_out("web[1:3000][1:3000][1:3000]")) == MOST_HOSTS
    assert written_out("web[08:10:2].lan") == ["web08.lan", "web10.lan"]


@pytest.mark.parametrize(
    ("name", "many"), [("web[1:5000]", 5000), ("w[1:3000][1:3000]", 9_000_000), ("w[a:z][0:999999999:2]x", 13 * 10**9)]
)
def test_a_range_without_end_is_not_written_out_by_anybody(tmp_path: Path, name: str, many: int) -> None:
    said = wrong(site_in(tmp_path, HOSTS.replace("        nas:", f"        {name}:")))
    assert re.search(rf"hosts\.yml:\d+: .*this range is {many} hosts", said)


@pytest.mark.parametrize("value", ["high", "1.5", "[1]", "~", "'{{ x }}'", ".inf", '""', "9999999999"])
def test_a_priority_that_is_no_number_is_told_where_it_stands(tmp_path: Path, value: str) -> None:
    site = site_in(tmp_path / "one", HOSTS + f"    lab:\n      vars:\n        ansible_group_priority: {value}\n")
    assert re.search(rf"hosts\.yml:{HOSTS.count(chr(10)) + 3}: .*ansible_group_priority.*does not fit", wrong(site))
    site = site_in(tmp_path / "two")
    (site / "group_vars").mkdir(exist_ok=True)
    (site / "group_vars" / "all.yml").write_text(f"x: 1\nansible_group_priority: {value}\n")
    assert "group_vars/all.yml:2: ansible_group_priority: does not fit" in wrong(site)


@pytest.mark.parametrize("way", ["local", "paramiko_ssh", "community.docker.docker", "[ssh]", "5", "~"])
def test_a_host_that_is_rebuilt_is_reached_by_ssh(way: str) -> None:
    said = with_host(f"          ansible_connection: {way}\n")
    assert re.search(r"hosts\.yml:7: hosts\.db-wyse.*`ansible_connection: .*` does not fit", said)


def test_how_other_hosts_are_reached_is_the_users_own_matter() -> None:
    other = HOSTS.replace("        nas:\n", "        nas:\n          ansible_connection: local\n")
    assert problems_of(hosts=other) == ""
    assert with_host("          ansible_connection: ssh\n") == ""


@pytest.mark.processes
def test_what_ansible_warns_of_is_not_thrown_away(tmp_path: Path) -> None:
    """A group and a host of one name: whatever is said of one is said of both."""
    site = load_site(site_in(tmp_path / "site", HOSTS.replace("    others:", "    nas:")))
    assert site.warnings == ("Found both group and host with same name: nas",)
    assert load_site(site_in(tmp_path / "good")).warnings == ()


def test_a_name_server_is_a_computer() -> None:
    for last in (0, 255):
        said = with_host(f"          provision_network: {{address: 192.168.50.10/24, dns: [192.168.50.{last}]}}\n")
        assert "addresses of computers, not those of the network 192.168.50.0/24 itself" in said


def test_an_ini_inventory_gets_a_word_on_how_to_convert(tmp_path: Path) -> None:
    said = wrong(site_in(tmp_path, "[provisioned]\ndb-wyse ansible_host=192.168.50.10\n"))
    assert "--list --yaml" in said


@pytest.mark.processes
def test_every_inventory_of_ours_has_nothing_wrong(tmp_path: Path) -> None:
    for name in ("example", "lab"):
        site = tmp_path / name
        shutil.copytree(paths.content("inventories") / name, site, ignore=shutil.ignore_patterns(".vault-p*", "vault"))
        assert load_site(site).hosts
