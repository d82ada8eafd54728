"""What the role wrote down about this host's cluster, checked before anything relies on it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from homelab_host import document
from homelab_host.errors import Trouble


@dataclass(frozen=True)
class Setup:
    """The cluster, its service, and where its backups are; paths are absolute. `second`: there are two of those;
    `key`: pgBackRest's file with what they are encrypted with."""

    host: str
    version: str
    data: Path
    config: Path
    service: str
    socket: Path
    port: int
    stanza: str
    share: Path | None = None
    records: Path | None = None
    repository: Path | None = None
    account: str = "postgres"
    second: bool = False
    key: Path | None = None

    @property
    def programs(self) -> Path:
        """Where Debian keeps the server's programs of this version."""
        return Path("/usr/lib/postgresql") / self.version / "bin"

    def beside(self, purpose: str) -> Path:
        """A directory next to the data, on the same file system, so that it can take their place by a rename."""
        return self.data.with_name(f"{self.data.name}.{purpose}")


def load(path: Path) -> Setup:
    """Read the file that the role writes; raises `Trouble` that names what is wrong with it."""
    return document.load(path, parse, "play the role `postgres` on this host: it writes the file")


def parse(text: str) -> Setup:
    """The settings from JSON; unknown keys are left to newer programs. Raises `Trouble`."""
    found = document.Reader("", document.decoded(text)).values
    values: dict[str, object] = {}
    for field in fields(Setup):
        value = found.get(field.name)
        if value is None:
            if field.name in ("share", "records", "repository", "account", "second", "key"):
                continue
            raise Trouble(f"it does not say `{field.name}`")
        desired = {"port": int, "second": bool}.get(field.name, str)
        if type(value) is not desired:
            raise Trouble(f"`{field.name}` has to be {desired.__name__}, not {value!r}")
        values[field.name] = Path(str(value)) if "Path" in str(field.type) else value
        if "Path" in str(field.type) and not Path(str(value)).is_absolute():
            raise Trouble(f"`{field.name}` has to be an absolute path, not {value!r}")
    return Setup(**values)  # type: ignore[arg-type] # each was checked against its field above


def backups_of(setup: Setup) -> tuple[Path, Path]:
    """Repository and records; raises `Trouble` where the site wants no backups of this host."""
    if setup.repository is None or setup.records is None:
        raise Trouble(
            "this host has no place for backups",
            "set `provision_backup` in the site's inventory (or `postgres_backup_share` of the role), then apply it",
        )
    return setup.repository, setup.records
