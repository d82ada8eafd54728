"""Keys, the vault and what is injected into a new root."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from homelab_provision.doors.ssh import Door, config, known_hosts
from homelab_provision.errors import UsageError
from homelab_provision.identity import identities
from homelab_provision.identity.certificates import Certificate, Named, new_authority, permits
from homelab_provision.identity.identities import HostIdentity, KeyPair, SiteIdentity
from homelab_provision.identity.seed import RELEASE, archive, files
from homelab_provision.lab.reach import link_local
from homelab_provision.site.models import Host, Needs, Network
from homelab_provision.site.vault import store
from homelab_provision.site.vault.store import Vault


@pytest.fixture
def lab_vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vault:
    monkeypatch.delenv(store.PASSWORD_VARIABLE, raising=False)
    return Vault.of(tmp_path, name="lab", create=True)


@pytest.mark.processes
def test_identities_are_made_once_and_kept_encrypted(lab_vault: Vault) -> None:
    first = identities.load(lab_vault, "lab", HOST)
    again = identities.load(lab_vault, "lab", HOST)
    assert again == first
    assert len(first.hosts["db-wyse"].machine_id) == 32
    stored = "".join(path.read_text() for path in lab_vault.folder.iterdir())
    assert stored.startswith("$ANSIBLE_VAULT;")
    assert "PRIVATE KEY" not in stored
    assert first.hosts["db-wyse"].machine_id not in stored
    assert {path.stat().st_mode & 0o777 for path in lab_vault.folder.iterdir()} == {0o600}


@pytest.mark.processes
def test_what_somebody_else_changed_meanwhile_is_not_written_over(
    lab_vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stick is revoked while another command, which has read the vault already, adds a host."""
    identities.load(lab_vault, "lab", HOST)
    read = Vault.read
    revoked: list[str] = []

    def then_revoke(self: Vault, names: Sequence[str]) -> dict[str, dict[str, str]]:
        found = read(self, names)
        if not revoked:
            revoked.append("")
            revoked[0] = identities.revoke_rescue(lab_vault, "lab")
        return found

    monkeypatch.setattr(Vault, "read", then_revoke)
    other = HOST.model_copy(update={"name": "web-wyse", "address": "192.168.50.11"})
    told = identities.load(lab_vault, "lab", HOST, other, all_hosts=[HOST, other])
    kept = lab_vault.read(["site"])["site"]
    assert identities.fingerprint(kept["rescue_public"]) != revoked[0]
    assert told.site.rescue.public == kept["rescue_public"]
    assert identities.retired_on(told.site, kept["rescue_public"]) is None
    assert list(told.site.retired) == revoked


@pytest.mark.processes
def test_who_only_looks_keeps_nothing(lab_vault: Vault) -> None:
    assert identities.load(lab_vault, "lab", HOST, keep=False).hosts["db-wyse"].machine_id
    assert not lab_vault.folder.exists()


@pytest.mark.processes
def test_passwords_are_made_once_and_the_users_own_stay(lab_vault: Vault) -> None:
    lab_vault.write("secrets", {"secret_mine": "typed by hand"})
    host = HOST.model_copy(update={"secrets": ("mine", "spans")})
    identities.load(lab_vault, "lab", host)
    first = lab_vault.read(["secrets"])["secrets"]
    assert first["secret_mine"] == "typed by hand"
    assert len(first["secret_spans"]) == 32
    identities.load(lab_vault, "lab", host)
    assert lab_vault.read(["secrets"])["secrets"] == first
    assert lab_vault.variables_file() == lab_vault.folder / "secrets.yml"


@pytest.mark.processes
def test_a_host_that_is_played_first_finds_the_passwords_of_the_others(lab_vault: Vault) -> None:
    other = HOST.model_copy(update={"name": "site-wyse", "secrets": ("notes_database",)})
    told = identities.load(lab_vault, "lab", HOST, all_hosts=[HOST, other])
    assert told.secrets == tuple(lab_vault.read(["secrets"])["secrets"].values())
    assert list(lab_vault.read(["secrets"])["secrets"]) == ["secret_notes_database"]
    assert list(told.hosts) == ["db-wyse"]


@pytest.mark.processes
def test_what_an_older_vault_lacks_is_added_and_the_rest_stays(lab_vault: Vault) -> None:
    first = identities.load(lab_vault, "lab", HOST)
    values = lab_vault.read(["db-wyse"])["db-wyse"]
    older = {name: text for name, text in values.items() if not name.startswith("tls_")}
    lab_vault.write("db-wyse", older)
    again = identities.load(lab_vault, "lab", HOST)
    assert again.hosts["db-wyse"].host_key == first.hosts["db-wyse"].host_key
    assert again.hosts["db-wyse"].certificate != first.hosts["db-wyse"].certificate


@pytest.mark.processes
@pytest.mark.parametrize("how", ["flash", "rotate"])
def test_a_key_that_signed_is_kept_for_its_time_alone(lab_vault: Vault, how: str) -> None:
    before = identities.load(lab_vault, "lab", HOST).hosts["db-wyse"]
    if how == "flash":
        renewed = identities.renew_signing(lab_vault, "db-wyse", before)
        assert (renewed.host_key, renewed.machine_id) == (before.host_key, before.machine_id)
    else:
        identities.rotate(lab_vault, HOST)
    after = identities.load(lab_vault, "lab", HOST).hosts["db-wyse"]
    old, new = after.signers
    assert after.signing != before.signing
    assert (old.public, new.public) == (before.signing.public, after.signing.public)
    assert old.before is not None
    assert new.before is None


@pytest.mark.negative
@pytest.mark.processes
@pytest.mark.parametrize(
    "broken",
    [
        {"signers": "{"},
        {"signers": "{}"},
        {"signers": "[1]"},
        {"signers": '[{"public": "x"}]'},
        {"signing_since": "yesterday"},
        {"signing_since": "2026-11-22T03:00:00"},
    ],
)
def test_damaged_signers_are_named(lab_vault: Vault, broken: dict[str, str]) -> None:
    identities.load(lab_vault, "lab", HOST)
    lab_vault.write("db-wyse", lab_vault.read(["db-wyse"])["db-wyse"] | broken)
    with pytest.raises(UsageError, match="signers"):
        identities.load(lab_vault, "lab", HOST)


@pytest.mark.processes
def test_a_rotated_host_has_nothing_in_common_with_the_one_that_was_stolen(lab_vault: Vault) -> None:
    before = identities.load(lab_vault, "lab", HOST)
    old = before.hosts["db-wyse"]
    identities.rotate(lab_vault, HOST)
    after = identities.load(lab_vault, "lab", HOST)
    new = after.hosts["db-wyse"]
    assert new.host_key.public != old.host_key.public
    assert new.host_key.private != old.host_key.private
    assert new.certificate.certificate != old.certificate.certificate
    assert new.certificate.private != old.certificate.private
    assert new.machine_id != old.machine_id
    assert after.site == before.site
    assert identities.retired_on(new, old.host_key.public)
    assert identities.retired_on(new, new.host_key.public) is None
    assert identities.load(lab_vault, "lab", HOST) == after
    assert old.host_key.public not in known_hosts(after.credentials.pinned)


@pytest.mark.processes
@pytest.mark.negative
def test_a_host_that_never_was_cannot_be_rotated(lab_vault: Vault) -> None:
    with pytest.raises(UsageError, match="no identity yet"):
        identities.rotate(lab_vault, HOST)
    assert not lab_vault.folder.exists()


@pytest.mark.processes
def test_under_a_new_authority_every_host_gets_a_new_certificate(lab_vault: Vault) -> None:
    old = identities.load(lab_vault, "lab", HOST)
    identities.rotate_authority(lab_vault, "lab", [HOST])
    new = identities.load(lab_vault, "lab", HOST)
    assert new.site.authority.private != old.site.authority.private
    assert new.hosts["db-wyse"].certificate != old.hosts["db-wyse"].certificate
    assert new.hosts["db-wyse"].host_key == old.hosts["db-wyse"].host_key


@pytest.mark.processes
def test_an_authority_without_limits_gets_them_and_keeps_its_key(lab_vault: Vault) -> None:
    """As older versions made it: what it signed stays good."""
    made = new_authority("lab")
    lab_vault.write("site", {"authority_private": made.private, "authority_certificate": unlimited(made)})
    found = identities.load(lab_vault, "lab", HOST)
    assert permits(found.site.authority, [Named("db-wyse", HOST.address)])
    assert found.site.authority.private == made.private
    assert identities.load(lab_vault, "lab", HOST) == found
    assert identities.load(lab_vault, "lab").site == found.site


def unlimited(authority: Certificate) -> str:
    """The authority's certificate without any constraint."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    key = serialization.load_pem_private_key(authority.private.encode(), None)
    limited = x509.load_pem_x509_certificate(authority.certificate.encode())
    builder = x509.CertificateBuilder(
        limited.issuer,
        limited.subject,
        limited.public_key(),
        1,
        limited.not_valid_before_utc,
        limited.not_valid_after_utc,
    ).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    signed = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]
    return signed.public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.processes
def test_wrong_password_is_told_without_a_traceback(lab_vault: Vault) -> None:
    identities.load(lab_vault, "lab")
    lab_vault.password_file.write_text("another\n")
    with pytest.raises(UsageError, match="does not open"):
        identities.load(lab_vault, "lab")


@pytest.mark.processes
def test_executable_password_file_is_run(lab_vault: Vault) -> None:
    kept = identities.load(lab_vault, "lab")
    password = lab_vault.password_file.read_text().strip()
    lab_vault.password_file.write_text(f"#!/bin/sh\necho {password}\n")
    lab_vault.password_file.chmod(0o700)
    assert identities.load(lab_vault, "lab") == kept


def test_password_file_that_others_can_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(store.PASSWORD_VARIABLE, raising=False)
    (tmp_path / ".vault-password").write_text("x")
    (tmp_path / ".vault-password").chmod(0o644)
    with pytest.raises(UsageError, match="others can read"):
        Vault.of(tmp_path, name="home")


def test_real_site_without_a_password_is_told_where_to_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(store.PASSWORD_VARIABLE, raising=False)
    monkeypatch.setattr("homelab_provision.site.vault.store.shutil.which", lambda name: None)
    with pytest.raises(UsageError, match="no vault password"):
        Vault.of(tmp_path, name="home")
    assert not (tmp_path / ".vault-password").exists()


HOST = Host(
    name="db-wyse",
    address="192.168.50.10",
    network=Network(
        address=IPv4Interface("192.168.50.10/24"),
        gateway=IPv4Address("192.168.50.1"),
        dns=(IPv4Address("192.168.50.1"),),
    ),
    needs=Needs(),
    groups=("provisioned",),
    provisioned=True,
)
WHO = HostIdentity(
    KeyPair("ssh-ed25519 AAAA", "-----PRIVATE-----"), Certificate("-----CERT-----", "-----KEY-----"), "01ab" * 8,
    KeyPair("ssh-ed25519 EEEE", "-----SIGNING-----"), (),
)  # fmt: skip
WHERE = SiteIdentity(KeyPair("ssh-ed25519 CCCC", ""), KeyPair("ssh-ed25519 DDDD", ""), Certificate("-----CA-----", ""))


def test_injected_files_make_the_host(tmp_path: Path) -> None:
    made = files(HOST, WHO, WHERE, mac="52:54:00:00:00:01", release={"nonce": "n"})
    with tarfile.open(fileobj=io.BytesIO(archive(made))) as tar:
        modes = {member.name: member.mode for member in tar}
        owners = {(member.uid, member.gid) for member in tar}
    assert modes["etc/ssh/ssh_host_ed25519_key"] == 0o600
    assert modes["etc/homelab-provision/tls/host.key"] == 0o600
    assert modes["etc/homelab-provision/signing-key"] == 0o600
    assert made["etc/homelab-provision/signing-key"].text == "-----SIGNING-----"
    assert made["etc/homelab-provision/tls/ca.crt"].text == "-----CA-----"
    assert made["root/.ssh/authorized_keys"].text.startswith("ssh-ed25519 CCCC ")
    assert modes["root/.ssh"] == 0o700
    assert modes["root/.ssh/authorized_keys"] == 0o600
    assert owners == {(0, 0)}
    assert list(modes).index("root/.ssh") < list(modes).index("root/.ssh/authorized_keys")
    assert json.loads(made[RELEASE].text) == {"nonce": "n"}
    network = made["etc/systemd/network/10-lan.network"].text
    assert "192.168.50.10/24" in network
    assert "52:54:00:00:00:01" in network
    assert "192.168.50.1" in made["etc/resolv.conf"].text


def test_host_without_a_network_asks_dhcp() -> None:
    made = files(HOST.model_copy(update={"network": None}), WHO, WHERE, mac="52:54:00:00:00:01", release={})
    assert not [path for path in made if "network" in path or "resolv" in path]


def test_link_local_address_follows_rfc_4291() -> None:
    assert str(link_local("34:56:78:9a:bc:de")) == "fe80::3656:78ff:fe9a:bcde"


def test_ssh_configuration_never_relaxes_host_key_checking() -> None:
    text = config(addresses={"rescue": "192.168.50.102"}, folder=Path("/f"), door=Door(("ip", "netns", "exec", "x")))
    assert "StrictHostKeyChecking yes" in text
    assert "GlobalKnownHostsFile none" in text
    assert "ProxyCommand ip netns exec x nc %h %p" in text
    assert "ProxyCommand" not in config(addresses={}, folder=Path("/f"), door=Door())
