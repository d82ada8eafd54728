"""pgBackRest: the only module that calls it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from homelab_host import disk_space, share
from homelab_host.errors import Trouble
from homelab_host.process import Finished, run

from .config import Setup, backups_of
from .pgbackrest_info import (
    Listed,
    NotUnderstood,
    Stanza,
    complaint,
    parse_info,
    parse_listing,
    percentage,
    verify_complaints,
)

# Longest silence, in seconds: of a question, of a copy (one file of 1 GiB on a slow network), of `verify`.
ANSWER, COPY, VERIFY = 180.0, 1200.0, 4 * 3600.0


KEY = "repo1-cipher-pass="
# Words of pgBackRest about files that are not what they were; the last three are said of encrypted ones.
DAMAGED = (
    "unexpected eof",
    "checksum",
    "FileMissingError",
    "FormatError",
    "missing file",
    "CryptoError",
    "unable to flush",
    "cipher header",
)


class Repository:
    """A repository of this host's stanza; everything raises `Trouble`.

    The first one lies on the share. A second one, elsewhere, gets the same backups and WAL, but no records.
    """

    def __init__(self, setup: Setup, number: int = 1) -> None:
        self.setup = setup
        self.path, _ = backups_of(setup)
        self._number = f"--repo={number}"
        self._on_share = number == 1

    def info(self) -> Stanza:
        """What is in it; a repository that cannot be read is no empty one."""
        output = self._ask("info", "--output=json", self._number)
        try:
            return parse_info(output, self.setup.stanza)
        except NotUnderstood as error:
            raise Trouble(
                "the repository cannot be read; nothing was changed",
                "look at the NAS: is everything there, does it belong to the right account, is the key the right one?",
                str(error),
            ) from None

    def listing(self, *folders: str) -> list[Listed]:
        """The files below these folders of the repository."""
        found: list[Listed] = []
        for folder in folders:
            output = self._ask("repo-ls", self._number, "--recurse", "--output=json", folder)
            try:
                found += parse_listing(output, folder)
            except NotUnderstood as error:
                raise Trouble(f"what lies in {folder} of the repository cannot be read", None, str(error)) from None
        return found

    def read(self, path: str) -> str:
        return self._ask("repo-get", self._number, path)

    def prepare(self, system_id: int) -> list[str]:
        """Make the repository one that takes the WAL of the cluster that runs; returns what had to be done."""
        known = self.info()
        if not known.exists:
            self._ask("stanza-create")
            return ["created the stanza"]
        if known.newest_system_id != system_id:
            self._ask("stanza-upgrade")
            return ["the repository knew another cluster so far; its backups stay until they expire"]
        return []

    def backup(self, kind: str, progress: Callable[[float], None]) -> None:
        """Make a backup; `progress` gets percentages. What is too old is kept: `expire` is for afterwards."""
        options = (f"--type={kind}", self._number, "--no-expire-auto", "--log-level-console=detail")
        self._do(COPY, progress, "backup", *options)

    def expire(self) -> None:
        self._do(COPY, None, "expire", self._number, "--log-level-console=info")

    def restore(self, label: str, data: Path, progress: Callable[[float], None], *options: str) -> None:
        """Restore a backup into `data`, which may hold a part of it already; no recovery is set up.

        `postgresql.auto.conf` stays as it was in the backup: what the user set with ALTER SYSTEM is kept.
        """
        self._do(
            COPY, progress, "restore", self._number, f"--set={label}", f"--pg1-path={data}", "--type=none", "--delta",
            # One try more for what could not be read: the whole command can be run again, too.
            "--log-level-console=detail", "--job-retry=1", *options,
        )  # fmt: skip

    def verify(self) -> None:
        """Read and check every file of the repository."""
        output = self._do(VERIFY, None, "verify", self._number, "--output=text", "--log-level-console=info")
        if wrong := verify_complaints(output.out):
            raise Trouble(
                "the repository is damaged: pgBackRest found files that are missing or not what they should be",
                "look at the NAS and its disks; then make a full backup: homelab-postgres backup --type full",
                "\n".join(wrong),
            )

    def key(self) -> str | None:
        """What backups are encrypted with; `None` where they are not."""
        if self.setup.key is None:
            return None
        try:
            lines = self.setup.key.read_text().splitlines()
        except OSError as error:
            hint = "apply the host: it writes the file"
            raise Trouble(f"cannot read {self.setup.key}: {error.strerror}", hint) from None
        return next((line.removeprefix(KEY) for line in lines if line.startswith(KEY)), None)

    def fetch_command(self, folder: Path, data: Path) -> str:
        """The restore_command of a temporary instance with this data; `folder` gets its log."""
        script = Path(__file__).resolve().with_name("fetch-wal")
        return f'sh {script} {folder} {self.setup.stanza} {data} %f "%p"'

    def _ask(self, command: str, *options: str) -> str:
        """A question, or a change that takes a moment; returns stdout."""
        console = ("--log-level-console=off", "--log-level-stderr=error")
        return self._checked(command, run(self._words(command, *options, *console), patience=ANSWER)).out

    def _do(self, patience: float, progress: Callable[[float], None] | None, command: str, *options: str) -> Finished:
        """A job with a log on stdout, which tells how far it is."""

        def heard(line: str) -> None:
            if progress and (done := percentage(line)) is not None:
                progress(done)

        words = self._words(command, "--log-level-stderr=off", *options)
        return self._checked(command, run(words, patience=patience, heard=heard, silent=self._still_there))

    def _still_there(self) -> None:
        # pgBackRest asks a share that is gone for file after file, and each answer takes its time.
        if self._on_share:
            share.require(self.setup.share)

    def _words(self, command: str, *options: str) -> list[str]:
        """Options first, then the command, then what it is about."""
        about = [option for option in options if not option.startswith("--")]
        settings = [option for option in options if option.startswith("--")]
        return ["pgbackrest", f"--stanza={self.setup.stanza}", *settings, command, *about]

    def _checked(self, command: str, output: Finished) -> Finished:
        if output.status == 0:
            return output
        why = complaint(output.out + output.err)
        raise Trouble(f"pgbackrest {command} failed (status {output.status})", _hint(why), why)


def _hint(text: str) -> str | None:
    """What to do about the errors that can be foreseen."""
    if disk_space.FULL in text or "Disk quota exceeded" in text:
        return "make room on the file system that is named below, then run the same command again"
    if "unable to acquire lock" in text:
        return "another pgBackRest is at work on this host; wait for it, then run the same command again"
    if any(word in text for word in DAMAGED):
        return "files of the repository are missing or damaged; try an older backup with --label, and look at the NAS"
    return None
