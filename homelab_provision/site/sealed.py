"""Files of variables that Ansible Vault has sealed: opened in memory, and nothing of them is ever shown."""

from __future__ import annotations

from pathlib import Path

from homelab_provision.errors import UsageError
from homelab_provision.site.document import Document, parse_document, read_document
from homelab_provision.site.problems import Problem
from homelab_provision.site.vault.format import NoVault, WrongPassword, unseal
from homelab_provision.site.vault.store import Vault, read_password

HEADER = "$ANSIBLE_VAULT;"


def read_variables(root: Path, name: str) -> Document:
    """The document of a file of variables, whether it is sealed or not."""
    document = read_document(root, name)
    if not document.text.startswith(HEADER):
        return document
    try:
        clear = unseal(document.text.encode(), read_password(password_of(root)))
    except UsageError as error:
        return _shut(name, error.message, error.hint)
    except WrongPassword:
        return _shut(name, "this file does not open with the site's password", "was it sealed with another one?")
    except NoVault as error:
        return _shut(name, f"this is no file that Ansible Vault has sealed: {error}", None)
    return parse_document(name, clear, sealed=True)


def password_of(root: Path) -> Path:
    """The file with the site's password. Raises `UsageError` that says where it may be."""
    return Vault.of(root, name=root.name).password_file


def _shut(name: str, message: str, hint: str | None) -> Document:
    return Document(name, "", None, [Problem(name, 1, "", message, None, hint)], sealed=True)
