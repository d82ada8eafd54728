"""The keys of the VPN: made once, kept in the vault beside the passwords, and those that fit each other."""

from __future__ import annotations

import base64
import shutil
import subprocess
from ipaddress import ip_network
from pathlib import Path

import pytest

from homelab_provision.errors import UsageError
from homelab_provision.identity import identities
from homelab_provision.identity.vpn import rekey
from homelab_provision.site.vault import store
from homelab_provision.site.vault.store import Vault
from homelab_provision.site.vpn import Client, Vpn
from homelab_provision.site.wireguard import is_key, new_private, new_shared, public_of

OWN = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08="
VPN = Vpn(
    endpoint="home.example.org",
    networks=(ip_network("10.77.0.0/24"),),
    clients={
        "tablet": Client(number=10),
        "gone": Client(number=12, revoked=True),
        "own": Client(number=13, public_key=OWN),
    },
)
NAMES = {
    "secret_vpn_private_server",
    "public_vpn_server",
    "secret_vpn_private_tablet",
    "public_vpn_tablet",
    "secret_vpn_shared_tablet",
    "public_vpn_own",
    "secret_vpn_shared_own",
}


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vault:
    monkeypatch.delenv(store.PASSWORD_VARIABLE, raising=False)
    return Vault.of(tmp_path, name="lab", create=True)


def kept(vault: Vault) -> dict[str, str]:
    return vault.read(["secrets"])["secrets"]


# ---- keys ----------------------------------------------------------------------------------------------------

# RFC 7748, section 6.1: the private keys of Alice and Bob, and their public ones.
VECTORS = {
    "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a": (
        "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    ),
    "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb": (
        "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    ),
}


def written(digits: str) -> str:
    return base64.b64encode(bytes.fromhex(digits)).decode()


def test_the_public_half_is_that_of_the_standard() -> None:
    assert {written(private): public_of(written(private)) for private in VECTORS} == {
        written(private): written(public) for private, public in VECTORS.items()
    }


def test_a_private_key_is_clamped_as_wg_does_and_every_key_is_another() -> None:
    keys = [new_private() for _ in range(64)]
    for raw in map(base64.b64decode, keys):
        assert len(raw) == 32
        assert raw[0] & 7 == 0
        assert raw[31] & 0xC0 == 0x40
    shared = [new_shared() for _ in range(64)]
    assert len({*keys, *shared}) == 128
    assert all(map(is_key, (*keys, *shared)))


@pytest.mark.processes
@pytest.mark.skipif(not shutil.which("wg"), reason="wireguard-tools is not installed")
def test_wg_computes_the_same_public_half() -> None:
    private = new_private()
    done = subprocess.run(["wg", "pubkey"], input=private, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == public_of(private)


@pytest.mark.negative
@pytest.mark.parametrize("text", ["", "AAAA", "A" * 43 + "=", OWN[:-1], OWN + "\n", OWN[:-2] + "R=", "ä" * 43 + "="])
def test_what_is_no_key(text: str) -> None:
    assert not is_key(text)
    with pytest.raises(ValueError, match="not a private key of WireGuard"):
        public_of(text)


# ---- in the vault --------------------------------------------------------------------------------------------


def test_keys_are_made_once_and_none_for_who_is_revoked(vault: Vault) -> None:
    told = identities.load(vault, "lab", vpn=VPN)
    first = kept(vault)
    assert first.keys() == NAMES
    assert identities.load(vault, "lab", vpn=VPN).vpn == told.vpn
    assert kept(vault) == first
    assert told.vpn
    assert told.vpn.server == first["public_vpn_server"] == public_of(first["secret_vpn_private_server"])
    tablet = told.vpn.clients["tablet"]
    assert (tablet.private, tablet.public) == (first["secret_vpn_private_tablet"], public_of(tablet.private or ""))
    assert tablet.shared == first["secret_vpn_shared_tablet"]
    assert (told.vpn.clients["own"].private, told.vpn.clients["own"].public) == (None, OWN)
    assert "gone" not in told.vpn.clients


def test_what_is_public_is_not_hidden_and_no_key_is_shown(vault: Vault) -> None:
    told = identities.load(vault, "lab", vpn=VPN)
    values = kept(vault)
    assert {*told.secrets} == {text for name, text in values.items() if name.startswith("secret_")}
    assert not [text for text in told.secrets if text in f"{told!r} {told.vpn!r}"]


def test_a_site_without_a_vpn_has_no_keys_of_one(vault: Vault) -> None:
    assert identities.load(vault, "lab").vpn is None
    assert vault.read(["secrets"]) == {}


def test_a_client_that_is_added_or_revoked_changes_no_key_of_another(vault: Vault) -> None:
    identities.load(vault, "lab", vpn=VPN)
    before = kept(vault)
    clients = {**VPN.clients, "tablet": Client(number=10, revoked=True), "phone": Client(number=11)}
    told = identities.load(vault, "lab", vpn=VPN.model_copy(update={"clients": clients}))
    after = kept(vault)
    assert before.items() <= after.items()
    made = {"secret_vpn_private_phone", "public_vpn_phone", "secret_vpn_shared_phone"}
    assert after.keys() - before.keys() == made
    assert told.vpn
    assert {*told.vpn.clients} == {"phone", "own"}


@pytest.mark.parametrize("revoked", [False, True])
def test_a_public_half_that_is_missing_is_computed_again(vault: Vault, revoked: bool) -> None:
    identities.load(vault, "lab", vpn=VPN)
    before = kept(vault)
    without = {name: text for name, text in before.items() if name not in ("public_vpn_server", "public_vpn_tablet")}
    vault.write("secrets", without)
    clients = {**VPN.clients, "tablet": Client(number=10, revoked=revoked)}
    identities.load(vault, "lab", vpn=VPN.model_copy(update={"clients": clients}))
    assert kept(vault) == before


def test_a_device_that_makes_its_own_key_takes_the_old_one_out_of_the_vault(vault: Vault) -> None:
    identities.load(vault, "lab", vpn=VPN)
    before = kept(vault)
    key = public_of(new_private())
    clients = {**VPN.clients, "tablet": Client(number=10, public_key=key)}
    identities.load(vault, "lab", vpn=VPN.model_copy(update={"clients": clients}))
    private = before.pop("secret_vpn_private_tablet")
    assert private not in kept(vault).values()
    assert kept(vault) == before | {"public_vpn_tablet": key}


@pytest.mark.negative
def test_halves_that_do_not_fit_are_an_error_that_shows_neither(vault: Vault) -> None:
    identities.load(vault, "lab", vpn=VPN)
    good = kept(vault)
    for name, value, said in (
        ("public_vpn_tablet", OWN, "`public_vpn_tablet` belongs to another key than `secret_vpn_private_tablet`"),
        ("secret_vpn_private_server", new_private(), "`public_vpn_server` belongs to another key"),
        ("secret_vpn_private_tablet", "hunter2", "`secret_vpn_private_tablet` is damaged"),
        ("secret_vpn_shared_tablet", "hunter2", "`secret_vpn_shared_tablet` is damaged"),
        ("public_vpn_own", "hunter2", "`public_vpn_own` is damaged"),
    ):
        vault.write("secrets", good | {name: value})
        with pytest.raises(UsageError) as caught:
            identities.load(vault, "lab", vpn=VPN)
        text = f"{caught.value.message} {caught.value.hint}"
        assert said in text
        assert "secrets.yml" in text
        assert not [each for each in (value, *good.values()) if each in text]


@pytest.mark.negative
@pytest.mark.parametrize("name", ["server", "tablet"])
def test_half_a_pair_is_never_made_anew_without_a_word(vault: Vault, name: str) -> None:
    identities.load(vault, "lab", vpn=VPN)
    half = {key: text for key, text in kept(vault).items() if key != f"secret_vpn_private_{name}"}
    vault.write("secrets", half)
    with pytest.raises(UsageError, match=f"`public_vpn_{name}`, but `secret_vpn_private_{name}`") as caught:
        identities.load(vault, "lab", vpn=VPN)
    assert f"provision vpn rekey {name}" in (caught.value.hint or "")
    assert kept(vault) == half


@pytest.mark.negative
def test_two_with_one_key_are_named(vault: Vault) -> None:
    """Somebody has pasted the key of the server in the place of the device's own."""
    identities.load(vault, "lab", vpn=VPN)
    clients = {"own": Client(number=13, public_key=kept(vault)["public_vpn_server"])}
    with pytest.raises(UsageError, match="`own` and `server` have one and the same public key"):
        identities.load(vault, "lab", vpn=VPN.model_copy(update={"clients": clients}))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("tablet", {"secret_vpn_private_tablet", "public_vpn_tablet", "secret_vpn_shared_tablet"}),
        ("server", {"secret_vpn_private_server", "public_vpn_server"}),
    ],
)
def test_a_rekeyed_client_has_nothing_of_the_one_that_was_lost(vault: Vault, name: str, parts: set[str]) -> None:
    vault.write("secrets", {"secret_mine": "typed by hand"})
    identities.load(vault, "lab", vpn=VPN)
    before = kept(vault)
    rekey(vault, name)
    after = kept(vault)
    assert after.keys() == before.keys()
    assert {key for key in after if after[key] != before[key]} == parts
    identities.load(vault, "lab", vpn=VPN)
    assert kept(vault) == after
