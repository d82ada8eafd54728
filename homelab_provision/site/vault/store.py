"""The site's secrets: Ansible Vault files under `<site>/vault/`, opened with the site's password.

    vault/site.yml      the controller's SSH key, the rescue system's host key, the certificate authority
    vault/<host>.yml    the host's SSH host key, certificate and machine-id
    vault/secrets.yml   passwords and the VPN's keys: variables that playbooks get; your own may be added
                        (`ansible-vault edit`)

The password comes from, first found: the file or executable script that `ANSIBLE_VAULT_PASSWORD_FILE`
names, `<site>/.vault-password` (a file, or an executable script that prints it), or the desktop's
keyring (`secret-tool`, attribute `homelab-provision` = the site's name).
"""

from __future__ import annotations

import hashlib
import os
import secrets as random
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from homelab_provision import files, paths
from homelab_provision.doors.process import ProcessError, run
from homelab_provision.errors import UsageError
from homelab_provision.site.vault.format import NoVault, WrongPassword, seal, unseal
from homelab_provision.site.vault.keys import faults
from homelab_provision.site.vault.values import SECRETS, BadValues, parse

PASSWORD_VARIABLE = "ANSIBLE_VAULT_PASSWORD_FILE"
SITE = "site"
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

    @staticmethod
    def at(site: Path) -> bool:
        """Whether the site has a vault already (or what stands in its place)."""
        return files.exists(site / "vault")

    def read(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        """Open several files of the vault: name → its values. A file that is not there is left out.

        Raises `UsageError` for one that is anything else than a sealed file with sound values, and where the site's
        own file is missing beside those of hosts: what hosts and sticks trust is never made anew by mistake.
        """
        present = [name for name in names if self._is_there(name)]
        if SITE in names and SITE not in present and (others := self._of_hosts()):
            raise UsageError(
                f"{self._file(SITE)} is missing, but {', '.join(others)} is there: the site's keys are lost",
                hint="bring it back from a backup or from git; to begin with new keys and sticks, move the folder away",
            )
        if not present:
            return {}
        password = read_password(self.password_file)
        return {name: self._open(name, password) for name in present}

    def write(self, name: str, values: Mapping[str, str]) -> None:
        """Encrypt `values` into a vault file, replacing it as a whole."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        clear = yaml.safe_dump(dict(values), explicit_start=True, sort_keys=True)
        files.replace(self._file(name), seal(clear, read_password(self.password_file)).encode())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else on this computer changes the vault meanwhile: what is read within is what is written over."""
        name = hashlib.sha256(os.fsencode(self.folder.resolve())).hexdigest()[:16]
        with files.exclusive(paths.private(paths.locks()) / f"vault-{name}.lock"):
            yield

    def variables_file(self) -> Path | None:
        """The sealed file whose values playbooks get as variables, if there is one; Ansible opens it itself.

        Whoever plays has read it with `read` before, so that a mistake in it is told by us, not by Ansible's stack.
        """
        return self._file(SECRETS) if self._is_there(SECRETS) else None

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.yml"

    def _is_there(self, name: str) -> bool:
        if files.exists(self.folder) and not self.folder.is_dir():
            raise UsageError(f"{self.folder} is not a directory, or a link to nothing", hint="the vault belongs there")
        return files.exists(self._file(name))

    def _of_hosts(self) -> list[str]:
        return sorted(file.name for file in self.folder.glob("*.yml") if file.stem not in (SITE, SECRETS))

    def _open(self, name: str, password: bytes) -> dict[str, str]:
        file = self._file(name)
        try:
            values = parse(name, unseal(files.read_bytes(file), password))
        except OSError as error:
            linked = file.is_symlink() and not file.exists()
            reason = f"a link to {file.readlink()}, where nothing is" if linked else error.strerror
            raise UsageError(f"{file}: {reason}", hint="bring the file back from a backup or from git") from None
        except WrongPassword:
            raise UsageError(
                f"{file} does not open with the password in {self.password_file}",
                hint="was it sealed with another one? A file that was changed by hand does not open either",
            ) from None
        except NoVault as error:
            raise UsageError(
                f"{file} is no file that Ansible Vault has sealed: {error}",
                hint=f"seal it with `{self._command('encrypt', file)}`, or bring it back from a backup or from git",
            ) from None
        except BadValues as error:
            raise UsageError(
                f"{file} (as it is when opened): {error}", hint=f"mend it with `{self._command('edit', file)}`"
            ) from None
        if wrong := list(faults(values)):
            raise UsageError(
                f"{file}: " + "; ".join(wrong), hint="bring the file back from a backup or from git, as it was together"
            )
        return values

    def _command(self, verb: str, file: Path) -> str:
        return shlex.join(["ansible-vault", verb, "--vault-password-file", str(self.password_file), str(file)])


def read_password(file: Path) -> bytes:
    """The password in a file, or the one that an executable file prints, as Ansible understands both.

    Raises `UsageError`.
    """
    try:
        password = _ask(file) if file.stat().st_mode & 0o111 and file.is_file() else files.read_bytes(file).strip()
    except OSError as error:
        raise UsageError(f"the vault password cannot be read: {file}: {error.strerror}") from None
    if not password:
        raise UsageError(f"there is no password in {file}", hint="a password file holds the password alone")
    return password


def _ask(script: Path) -> bytes:
    """Run the script that prints the password. Whatever it prints may be the password: nothing of it is shown."""
    with script.open("rb") as file:
        if file.read(2) not in (b"#!", b"\x7fE"):  # a shell would run it all the same, and quote it in its complaints
            raise UsageError(
                f"the vault password file is executable, but no program: {script}",
                hint=f"`chmod 600 {script}` if it holds the password itself; a script begins with `#!`",
            )
    words = ["--vault-id", "default"] if script.stem.endswith("-client") else []  # Ansible's convention
    by_hand = f"run it by hand to see why; it gets no terminal here: {script}"
    try:
        done = run([script.absolute(), *words], deadline=DEADLINE, check=False)
    except ProcessError as error:
        reason = f"gave no answer within {DEADLINE:.0f} s" if error.returncode is None else "cannot be run"
        raise UsageError(f"the password script {reason}: {script}", hint=by_hand) from None
    password = done.stdout.strip("\r\n")
    if done.returncode or not password:
        how = f"failed (exit status {done.returncode})" if done.returncode else "printed no password"
        raise UsageError(f"the password script {how}: {script}", hint=by_hand)
    return password.encode()


def _password_file(site: Path, name: str, create: bool) -> Path:
    if named := os.environ.get(PASSWORD_VARIABLE):
        path = Path(os.path.expanduser(named))  # noqa: PTH111 - which fails for a user that does not exist
        if not path.exists():
            raise UsageError(f"{PASSWORD_VARIABLE} names a file that is not there: {path}")
        return path
    own = site / ".vault-password"
    if files.exists(own):
        _refuse_open_file(own)
        return own
    if shutil.which("secret-tool"):
        try:
            if run(["secret-tool", "lookup", "homelab-provision", name], deadline=20, check=False).stdout:
                return _keyring_script(name)
        except ProcessError:
            pass  # a locked keyring without a desktop; the message below names the other ways
    if create:
        files.replace(own, f"{random.token_urlsafe(32)}\n".encode())
        return own
    raise UsageError(
        f"no vault password for the site at {site}",
        hint=f"put it into {own} (mode 0600; an executable script may print it), or name a file in {PASSWORD_VARIABLE}",
    )


def _keyring_script(name: str) -> Path:
    # Ansible runs an executable password file; the script asks the keyring each time, so nothing is stored.
    script = paths.private(paths.state()) / f"vault-password-{name}"
    text = f"#!/bin/sh\nexec secret-tool lookup homelab-provision {shlex.quote(name)}\n"
    files.replace(script, text.encode(), mode=0o700)
    return script


def _refuse_open_file(path: Path) -> None:
    if not path.exists():
        raise UsageError(f"the vault password in {path} is a link to nothing")
    if path.stat().st_mode & 0o077:
        raise UsageError(f"others can read the vault password in {path}", hint=f"chmod 600 {path}")
