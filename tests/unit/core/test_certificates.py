"""The site's authority and its hosts' certificates, as OpenSSL sees them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from homelab_provision.certificates import Certificate, fits, issue, new_authority

ADDRESS = "192.168.50.10"


@pytest.fixture(scope="module")
def authority() -> Certificate:
    return new_authority("lab")


def test_a_certificate_fits_its_host_and_nobody_else(authority: Certificate) -> None:
    made = issue(authority, "db-wyse", ADDRESS)
    assert fits(made, authority, "db-wyse", ADDRESS)
    assert not fits(made, authority, "site-wyse", ADDRESS)
    assert not fits(made, authority, "db-wyse", "192.168.50.11")
    assert not fits(made, authority, "db-wyse", None)
    assert not fits(made, new_authority("lab"), "db-wyse", ADDRESS)


def test_a_certificate_that_ends_soon_no_longer_fits(authority: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    from homelab_provision import certificates

    monkeypatch.setattr(certificates, "VALID", certificates.RENEWED / 2)
    assert not fits(issue(authority, "db-wyse", None), authority, "db-wyse", None)


def test_the_key_shows_nowhere(authority: Certificate) -> None:
    assert "PRIVATE" not in repr(authority)


@pytest.mark.processes
@pytest.mark.parametrize(("name", "good"), [(("-verify_ip", ADDRESS), True), (("-verify_hostname", "db-wyse"), True),
                                            (("-verify_ip", "192.168.50.99"), False)])  # fmt: skip
def test_openssl_accepts_it(authority: Certificate, name: tuple[str, str], good: bool, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text(authority.certificate)
    (tmp_path / "host.crt").write_text(issue(authority, "db-wyse", ADDRESS).certificate)
    verify = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", *name, "-CAfile"]
    said = subprocess.run([*verify, tmp_path / "ca.crt", tmp_path / "host.crt"], capture_output=True, check=False)
    assert (said.returncode == 0) is good, said.stderr
