"""The files of the vault: opened as Ansible does, and whatever is wrong is told without a word of what they hold."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pytest

from homelab_provision.errors import UsageError
from homelab_provision.identity import identities
from homelab_provision.site.vault import store
from homelab_provision.site.vault.format import NoVault, WrongPassword, seal, unseal
from homelab_provision.site.vault.store import Vault, read_password

PASSWORD = b"pass w\xc3\xb6rd"
SECRET = "hunter2"
ANSIBLE_VAULT = str(Path(sys.executable).with_name("ansible-vault"))


@pytest.fixture(autouse=True)
def no_password_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(store.PASSWORD_VARIABLE, raising=False)


@pytest.fixture
def mine(tmp_path: Path) -> Vault:
    return Vault.of(tmp_path, name="lab", create=True)


def put(mine: Vault, name: str, clear: str) -> Path:
    """Seal a text as it is."""
    mine.folder.mkdir(exist_ok=True)
    file = mine.folder / f"{name}.yml"
    file.write_text(seal(clear, read_password(mine.password_file)))
    return file


def refusal(mine: Vault, name: str) -> UsageError:
    """The error that reading a file ends with; neither it nor its causes show the secret."""
    with pytest.raises(UsageError) as caught:
        mine.read([name])
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert f"{name}.yml" in caught.value.message
    assert caught.value.hint
    return caught.value


# ---- the format ----------------------------------------------------------------------------------------------


@pytest.mark.processes
@pytest.mark.parametrize("label", [[], ["--encrypt-vault-id", "home"]], ids=["1.1", "1.2"])
def test_ansible_opens_what_is_sealed_here_and_the_other_way_round(tmp_path: Path, label: list[str]) -> None:
    clear = "---\nsecret: 'größe'\n" * 30
    for name, content in (("password", PASSWORD + b"\n"), ("clear", clear.encode()), ("ours", b"")):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "ours").write_text(seal(clear, PASSWORD))
    call = [ANSIBLE_VAULT, "view", "--vault-id", f"home@{tmp_path}/password", str(tmp_path / "ours")]
    assert subprocess.run(call, capture_output=True, text=True, check=True).stdout == clear
    call = [ANSIBLE_VAULT, "encrypt", "--vault-id", f"home@{tmp_path}/password", *label, str(tmp_path / "clear")]
    subprocess.run(call, capture_output=True, check=True)
    assert unseal((tmp_path / "clear").read_bytes(), PASSWORD) == clear


@pytest.mark.negative
def test_another_password_is_told_from_what_is_no_vault() -> None:
    sealed = seal("secret: x\n", PASSWORD).encode()
    with pytest.raises(WrongPassword):
        unseal(sealed, b"another")
    lines = sealed.decode().splitlines()
    for bad, why in (
        ("", "empty"),
        ("secret: hunter2\n", "not encrypted"),
        ("größe", "not encrypted"),
        (sealed.decode().replace(";1.1;", ";9.9;"), "line 1"),
        ("\n".join([lines[0], "not hex", *lines[1:]]), "line 2 is damaged"),
        ("\n".join(lines[:2]), "missing"),
        (lines[0], "missing"),
    ):
        with pytest.raises(NoVault, match=why) as caught:
            unseal(bad.encode(), PASSWORD)
        assert SECRET not in str(caught.value)


# ---- what a file holds ---------------------------------------------------------------------------------------


@pytest.mark.negative
@pytest.mark.parametrize(
    ("clear", "line", "kind"),
    [
        (f"secret_a: x\nsecret_b {SECRET}\nsecret_c: y\n", 3, "not `name: value`"),
        (f"secret_a: {SECRET}: x\n", 1, "second `: `"),
        (f"secret_a: *{SECRET}\n", 1, "begins with `*`"),
        (f"secret_a: &{SECRET} x\nsecret_b: &{SECRET} y\n", 2, "begins with `&`|not text"),
        (f"secret_a: !{SECRET} x\n", 1, "not text|type"),
        (f"mine: !{SECRET} x\n", 1, "type"),
        (f"secret_a: @{SECRET}\n", 1, "a character of YAML's own"),
        (f"secret_a: `{SECRET}\n", 1, "a character of YAML's own"),
        (f"secret_a: %{SECRET}\n", 1, "a character of YAML's own"),
        (f"secret_a: x\n\tsecret_b: {SECRET}\n", 2, "tab"),
        (f'secret_a: "{SECRET}\nsecret_b: x\n', 3, "quotes that do not end"),
        (f"secret_a: '{SECRET}\n", 2, "quotes that do not end"),
        (f'secret_a: "{SECRET}\\q"\n', 1, "backslash"),
        (f"secret_a: [{SECRET}\n", 2, "line"),
        (f"secret_a: '{SECRET}' {SECRET}\n", 1, "behind the end of a value"),
        (f"secret_a: {SECRET}\x07\n", None, "a character that no text has"),
        (f"secret_a: {SECRET}\nsecret_a: other\n", 2, r"lines 1 and 2: the same name \(`secret_a`\)"),
        (f"{SECRET}: a\n{SECRET}: b\n", 2, "lines 1 and 2: the same name; which"),
        (f"secret_a:\n{SECRET}: a\n", 1, r"without a value \(`secret_a`\)"),
        ("secret_a: 0123\n", 1, "not text.*quotes"),
        ("secret_a: yes\n", 1, "not text.*quotes"),
        ("secret_a: 2026-01-01\n", 1, "not text.*quotes"),
        ("secret_a: 'a{{b'\n", 1, "template"),
        (f"- {SECRET}\n", 1, "`name: value` is expected"),
        (f"{SECRET}\n", 1, "`name: value` is expected"),
        (f"[{SECRET}]: x\n", 1, "a name is expected"),
        (f"1: {SECRET}\n", 1, "a name is expected"),
        ("", None, "nothing in it"),
        ("# only a comment\n", None, "nothing in it"),
        (f"secret_a: x\n---\nsecret_b: {SECRET}\n", 2, "second document"),
        ("[" * 5000, None, "too many brackets"),
    ],
)
def test_a_mistake_is_told_by_its_line_and_kind_and_never_by_its_text(
    mine: Vault, clear: str, line: int | None, kind: str
) -> None:
    put(mine, "secrets", clear)
    error = refusal(mine, "secrets")
    assert re.search(kind, error.message)
    if line:
        assert re.search(rf"lines? (\d+ and )?{line}\b", error.message), error.message
    assert "ansible-vault edit" in (error.hint or "")


def test_variables_of_the_users_own_may_be_anything(mine: Vault) -> None:
    put(mine, "secrets", "secret_a: x\nmine: [1, {a: '{{ b }}'}]\nother: 3\n")
    assert mine.read(["secrets"])["secrets"] == {"secret_a": "x", "mine": [1, {"a": "{{ b }}"}], "other": 3}


@pytest.mark.negative
def test_every_file_is_its_own_one_bad_does_not_shift_the_others(mine: Vault) -> None:
    put(mine, "db-wyse", "a: x\n")
    put(mine, "web-wyse", "a: y\n--- \nb: z\n")
    put(mine, "site", "a: s\n")
    assert mine.read(["site", "db-wyse"]) == {"site": {"a": "s"}, "db-wyse": {"a": "x"}}
    assert "line 2: a second document" in refusal(mine, "web-wyse").message


# ---- what stands in the place of a file ----------------------------------------------------------------------


@pytest.mark.negative
def test_what_is_no_file_of_the_vault(mine: Vault, tmp_path: Path) -> None:
    file = put(mine, "site", "a: x\n")
    file.write_text(f"secret: {SECRET}\n")
    assert "not encrypted" in refusal(mine, "site").message
    file.write_text("")
    assert "empty" in refusal(mine, "site").message
    file.unlink()
    file.symlink_to(tmp_path / "gone")
    assert "where nothing is" in refusal(mine, "site").message
    file.unlink()
    os.mkfifo(file)
    started = time.monotonic()
    assert "a pipe" in refusal(mine, "site").message
    assert time.monotonic() - started < 5
    file.unlink()
    file.mkdir()
    assert "a directory" in refusal(mine, "site").message


@pytest.mark.negative
def test_a_new_authority_is_never_made_in_the_place_of_one_that_is_lost(mine: Vault, tmp_path: Path) -> None:
    kept = identities.load(mine, "lab")
    put(mine, "db-wyse", "a: x\n")
    file = mine.folder / "site.yml"
    sealed = file.read_bytes()
    file.unlink()
    with pytest.raises(UsageError, match=r"site\.yml is missing, but db-wyse\.yml is there"):
        identities.load(mine, "lab")
    file.symlink_to(tmp_path / "gone")
    with pytest.raises(UsageError, match="where nothing is"):
        identities.load(mine, "lab")
    assert not (tmp_path / "gone").exists()
    file.unlink()
    file.write_bytes(sealed)
    assert identities.load(mine, "lab") == kept
    mine.folder.rename(tmp_path / "moved")
    mine.folder.symlink_to(tmp_path / "gone")
    with pytest.raises(UsageError, match="link to nothing"):
        identities.load(mine, "lab")


@pytest.mark.negative
@pytest.mark.parametrize("name", ["controller", "rescue", "authority"])
def test_half_a_pair_a_damaged_and_a_foreign_key_are_refused(mine: Vault, tmp_path: Path, name: str) -> None:
    (tmp_path / "other").mkdir()
    identities.load(mine, "lab")
    identities.load(Vault(tmp_path / "other", mine.password_file), "other")
    values = mine.read(["site"])["site"]
    foreign = Vault(tmp_path / "other", mine.password_file).read(["site"])["site"]
    other = f"{name}_certificate" if name == "authority" else f"{name}_public"
    for changed, why in (
        ({key: text for key, text in values.items() if key != other}, f"`{other}`, which belongs to it, is missing"),
        ({key: text for key, text in values.items() if key != f"{name}_private"}, "is missing"),
        ({**values, other: values[other][:40]}, f"`{other}` is damaged"),
        ({**values, f"{name}_private": values[f"{name}_private"][:-60]}, f"`{name}_private` is damaged"),
        ({**values, other: foreign[other]}, f"`{other}` belongs to another key"),
    ):
        mine.write("site", changed)
        with pytest.raises(UsageError) as caught:
            identities.load(mine, "lab")
        assert why in caught.value.message
        assert "PRIVATE" not in "".join(traceback.format_exception(caught.value))


# ---- the password --------------------------------------------------------------------------------------------


@pytest.mark.negative
@pytest.mark.processes
def test_a_password_script_that_fails_or_hangs_is_told_as_what_it_is(
    mine: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(mine, "site", "a: x\n")
    monkeypatch.setattr(store, "DEADLINE", 1.0)
    script = tmp_path / "script"
    for body, why in (
        (f"#!/bin/sh\necho {SECRET}; echo {SECRET} >&2; exit 3\n", r"failed \(exit status 3\)"),
        (f"#!/bin/sh\n{SECRET}\n", r"failed \(exit status 127\)"),
        (f"#!/bin/sh\necho {SECRET}; sleep 60\n", "gave no answer within 1 s"),
        ("#!/bin/sh\nexit 0\n", "printed no password"),
        ("#!/no/such/shell\n", "failed|cannot"),
        (f"{SECRET}\n", "executable, but no program"),
    ):
        script.write_text(body)
        script.chmod(0o700)
        with pytest.raises(UsageError, match=why) as caught:
            Vault(mine.folder, script).read(["site"])
        assert SECRET not in "".join(traceback.format_exception(caught.value)) + (caught.value.evidence or "")


@pytest.mark.negative
def test_a_password_file_that_is_empty_or_none_is_told(mine: Vault, tmp_path: Path) -> None:
    put(mine, "site", "a: x\n")
    file = tmp_path / "password"
    os.mkfifo(file, 0o600)
    with pytest.raises(UsageError, match="a pipe"):
        Vault(mine.folder, file).read(["site"])
    file.unlink()
    with pytest.raises(UsageError, match="No such file"):
        Vault(mine.folder, file).read(["site"])
    file.write_text("\n")
    with pytest.raises(UsageError, match="there is no password"):
        Vault(mine.folder, file).read(["site"])
    file.write_text("another\n")
    with pytest.raises(UsageError, match="does not open with the password"):
        Vault(mine.folder, file).read(["site"])


def test_a_link_to_a_vault_elsewhere_stays_a_link(mine: Vault, tmp_path: Path) -> None:
    put(mine, "site", "a: x\n")
    elsewhere = tmp_path / "elsewhere.yml"
    (mine.folder / "site.yml").rename(elsewhere)
    (mine.folder / "site.yml").symlink_to(elsewhere)
    mine.write("site", {"a": "y"})
    assert (mine.folder / "site.yml").is_symlink()
    assert mine.read(["site"]) == {"site": {"a": "y"}}
    assert elsewhere.stat().st_mode & 0o777 == 0o600
