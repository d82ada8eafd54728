"""The site's authority and its hosts' certificates, as OpenSSL sees them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from homelab_provision.identity.certificates import Certificate, Named, fits, issue, new_authority, permits, renewed

ADDRESS = "192.168.50.10"


@pytest.fixture(scope="module")
def authority() -> Certificate:
    return new_authority("lab", [Named("db-wyse", ADDRESS), Named("vpn", "203.0.113.7")])


def test_a_certificate_fits_its_host_and_nobody_else(authority: Certificate) -> None:
    made = issue(authority, "db-wyse", ADDRESS)
    assert fits(made, authority, "db-wyse", ADDRESS)
    assert not fits(made, authority, "site-wyse", ADDRESS)
    assert not fits(made, authority, "db-wyse", "192.168.50.11")
    assert not fits(made, authority, "db-wyse", None)
    assert not fits(made, new_authority("lab"), "db-wyse", ADDRESS)


def test_a_certificate_that_ends_soon_no_longer_fits(authority: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    from homelab_provision.identity import certificates

    monkeypatch.setattr(certificates, "VALID", certificates.RENEWED / 2)
    assert not fits(issue(authority, "db-wyse", None), authority, "db-wyse", None)


def test_the_key_shows_nowhere(authority: Certificate) -> None:
    assert "PRIVATE" not in repr(authority)


def verified(authority: Certificate, host: Certificate, folder: Path, *name: str) -> bool:
    """Whether OpenSSL, which PostgreSQL's clients and most others check certificates with, accepts it."""
    (folder / "ca.crt").write_text(authority.certificate)
    (folder / "host.crt").write_text(host.certificate)
    verify = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", *name, "-CAfile"]
    said = subprocess.run([*verify, folder / "ca.crt", folder / "host.crt"], capture_output=True, check=False)
    return said.returncode == 0


@pytest.mark.processes
@pytest.mark.parametrize(("name", "good"), [(("-verify_ip", ADDRESS), True), (("-verify_hostname", "db-wyse"), True),
                                            (("-verify_ip", "192.168.50.99"), False)])  # fmt: skip
def test_openssl_accepts_it(authority: Certificate, name: tuple[str, str], good: bool, tmp_path: Path) -> None:
    assert verified(authority, issue(authority, "db-wyse", ADDRESS), tmp_path, *name) is good


@pytest.mark.processes
@pytest.mark.parametrize(
    ("name", "address", "good"),
    [
        ("db-wyse", "10.9.8.7", True),  # a host that moved within somebody's house
        ("vpn", "203.0.113.7", True),  # a host of the site with a public address of its own
        ("www.bank.example", None, False),
        ("www.bank.example", ADDRESS, False),
        ("db-wyse.bank.example", None, False),
        ("db-wyse", "203.0.113.8", False),
        ("db-wyse", "2001:db8::1", False),
        ("other-wyse", ADDRESS, False),
    ],
)
def test_what_the_authority_signs_is_good_for_the_site_s_hosts_only(
    authority: Certificate, name: str, address: str | None, good: bool, tmp_path: Path
) -> None:
    """Whoever steals its key can sign anything, but nobody believes it for more than the site."""
    assert verified(authority, issue(authority, name, address), tmp_path) is good


@pytest.mark.processes
@pytest.mark.negative
def test_an_authority_for_no_host_signs_for_no_host(tmp_path: Path) -> None:
    nobody = new_authority("lab")
    assert not verified(nobody, issue(nobody, "www.bank.example", None), tmp_path)


@pytest.mark.processes
def test_a_renewed_authority_vouches_for_what_was_signed_before(authority: Certificate, tmp_path: Path) -> None:
    before = issue(authority, "db-wyse", ADDRESS)
    more = [Named("db-wyse", ADDRESS), Named("site-wyse")]
    assert not permits(authority, more)
    new = renewed(authority, more)
    assert permits(new, more)
    assert fits(before, new, "db-wyse", ADDRESS)
    assert verified(new, before, tmp_path)
    assert verified(new, issue(new, "site-wyse", None), tmp_path)
    # A client that still has the older certificate of the authority knows nothing of the new host.
    assert not verified(authority, issue(new, "site-wyse", None), tmp_path)
