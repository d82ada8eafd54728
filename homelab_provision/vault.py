"""The site's secrets: Ansible Vault files under `<site>/vault/`, opened with the site's password.

    vault/site.yml      the controller's SSH key, the rescue system's host key, the certificate authority
    vault/<host>.yml    the host's SSH host key, certificate and machine-id
    vault/secrets.yml   passwords: variables that playbooks get; your own may be added (`ansible-vault edit`)

The password comes from, first found: the file or executable script that `ANSIBLE_VAULT_PASSWORD_FILE`
names, `<site>/.vault-password` (a file, or an executable script that prints it), or the desktop's
keyring (`secret-tool`, attribute `homelab-provision` = the site's name).
"""

from __future__ import annotations

import os
import secrets as random
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from homelab_provision.errors import UsageError
from homelab_provision.process import Argument, ProcessError, run

PASSWORD_VARIABLE = "ANSIBLE_VAULT_PASSWORD_FILE"
DEADLINE = 60.0


@dataclass(frozen=True)
class Vault:
    """The vault of one site. Values never leave memory, but through the channels that need them."""

    folder: Path
    password_file: Path

    @classmethod
    def of(cls, site: Path, *, name: str, create: bool = False) -> Vault:
        """Find the password of the site `name` at `site`; with `create`, make one at first use (lab sites only)."""
        return cls(site / "vault", _password_file(site, name, create))

    def read(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        """Decrypt several vault files in one go: name → its values. A file that is not there is left out."""
        present = [name for name in names if self._file(name).exists()]
        if not present:
            return {}
        try:
            shown = self._ansible_vault("view", *(os.fspath(self._file(name)) for name in present))
        except ProcessError as error:
            raise UsageError(
                f"the vault of the site does not open: {self.folder}",
                hint=f"is the password in {self.password_file} the right one?",
            ) from error
        documents = [document for document in yaml.safe_load_all(shown) if document]
        return dict(zip(present, documents, strict=True))

    def write(self, name: str, values: Mapping[str, str]) -> None:
        """Encrypt `values` into a vault file, replacing it as a whole."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        clear = yaml.safe_dump(dict(values), explicit_start=True, sort_keys=True)
        sealed = self._ansible_vault("encrypt", "--output", "-", "-", input=clear)
        draft = self._file(name).with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(sealed.rstrip("\n") + "\n")
        draft.replace(self._file(name))

    def variables_file(self) -> Path | None:
        """The sealed file whose values playbooks get as variables, if there is one; Ansible opens it itself."""
        file = self._file("secrets")
        return file if file.exists() else None

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.yml"

    def _ansible_vault(self, verb: str, *words: str, input: str | None = None) -> str:
        program = Path(sys.executable).with_name("ansible-vault")
        # An encrypted text is safe to show; the clear text of `view` is not: it stays out of every error,
        # because `ProcessError` carries the standard error only when there is any.
        argv: list[Argument] = [program, verb, "--vault-password-file", self.password_file, *words]
        return run(argv, deadline=DEADLINE, input=input).stdout


def _password_file(site: Path, name: str, create: bool) -> Path:
    if named := os.environ.get(PASSWORD_VARIABLE):
        path = Path(named).expanduser()
        if not path.exists():
            raise UsageError(f"{PASSWORD_VARIABLE} names a file that is not there: {path}")
        return path
    own = site / ".vault-password"
    if own.exists():
        _refuse_open_file(own)
        return own
    if shutil.which("secret-tool"):
        try:
            if run(["secret-tool", "lookup", "homelab-provision", name], deadline=20, check=False).stdout:
                return _keyring_script(name)
        except ProcessError:
            pass  # a locked keyring without a desktop; the message below names the other ways
    if create:
        own.touch(mode=0o600)
        own.write_text(random.token_urlsafe(32) + "\n")
        return own
    raise UsageError(
        f"no vault password for the site at {site}",
        hint=f"put it into {own} (mode 0600; an executable script may print it), or name a file in {PASSWORD_VARIABLE}",
    )


def _keyring_script(name: str) -> Path:
    # Ansible runs an executable password file; the script asks the keyring each time, so nothing is stored.
    from homelab_provision import paths

    script = paths.state() / f"vault-password-{name}"
    script.touch(mode=0o700)
    script.write_text(f"#!/bin/sh\nexec secret-tool lookup homelab-provision {shlex.quote(name)}\n")
    return script


def _refuse_open_file(path: Path) -> None:
    if path.stat().st_mode & 0o077:
        raise UsageError(f"others can read the vault password in {path}", hint=f"chmod 600 {path}")
