"""restic: the only module that calls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from homelab_host import report, share
from homelab_host.errors import Trouble
from homelab_host.process import Finished, run

from .config import Setup
from .restic_output import (
    INCOMPLETE,
    NotUnderstood,
    Snapshot,
    Summary,
    complaint,
    hint,
    is_missing,
    parse_snapshots,
    parse_summary,
    progress,
)

T = TypeVar("T")
CACHE = Path("/var/cache/homelab-stacks")
# Longest silence, in seconds: of a question, of a copy (restic tries again for a quarter of an hour when a server is
# away), of looking through all that there is. A server that is away is not asked for longer than `FIRST_ANSWER`.
ANSWER, COPY, LOOK, FIRST_ANSWER = 300.0, 1800.0, 4 * 3600.0, 60
# One line of progress in so many seconds; without it sixty a second, all of them kept.
ENVIRONMENT = {"RESTIC_PROGRESS_FPS": "0.5"}


@dataclass(frozen=True)
class Repository:
    """One repository; everything raises `Trouble`. `share`: on which it lies, if on any.

    A password never stands on a command line: restic reads it from `key_file`. What the second one wants besides
    (names and passwords of S3 or of a REST server) it takes from its environment alone, so that is where it goes, and
    into no other program's.
    """

    location: str
    key_file: Path
    share: Path | None = None
    certificate: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    name: str = "the repository"

    @property
    def path(self) -> Path:
        """Where it lies, if on a share."""
        return Path(self.location)

    def exists(self) -> bool:
        """Whether it is there and opens with the key; one that cannot be looked at raises `Trouble`."""
        # restic would ask a server that is away for a quarter of an hour.
        words = ["timeout", f"{FIRST_ANSWER}", *self._words("cat", "config")]
        found = run(words, patience=ANSWER, environment=self._environment)
        if found.status and is_missing(found.status, found.err + found.out):
            return False
        self._checked("cat config", found)
        return True

    def make(self, like: Repository | None = None) -> None:
        """Make it; `like` another, so that what is copied from that is cut into the same pieces."""
        origin = ["--copy-chunker-params", *like._as_origin()] if like else []
        self._ask("init", *origin)

    def unlock(self) -> None:
        """Take away locks of runs that are dead."""
        self._ask("unlock")

    def snapshots(self) -> list[Snapshot]:
        return self._understood(parse_snapshots, self._ask("snapshots", "--json"))

    def backup(self, host: str, tags: Sequence[str], paths: Sequence[Path], heard: Progress) -> Summary:
        """Copy these paths; mounts below them stay out. A copy that lacks something is none."""
        words = [f"--host={host}", *(f"--tag={tag}" for tag in tags), "--json", "--one-file-system", "--"]
        words += [str(path) for path in paths]
        made = self._understood(parse_summary, self._do("backup", *words, heard=heard))
        heard(made.bytes, made.bytes)  # what takes but a moment is over before the first line
        return made

    def keep_text(self, host: str, tags: Sequence[str], name: str, text: str) -> Summary:
        """Keep a text as a file of this name, a snapshot of its own."""
        words = [f"--host={host}", *(f"--tag={tag}" for tag in tags), "--json", "--stdin", f"--stdin-filename=/{name}"]
        return self._understood(parse_summary, self._ask("backup", *words, feed=text))

    def text(self, snapshot: str, name: str) -> str:
        return self._ask("dump", snapshot, f"/{name}").out

    def restore(self, snapshot: str, target: Path, heard: Progress) -> None:
        """Bring everything of a snapshot below `target`, by the absolute paths that it had."""
        self._do("restore", snapshot, f"--target={target}", "--json", heard=heard)

    def copy(self, snapshots: Sequence[str], origin: Repository) -> None:
        """Copy snapshots of `origin` into this one, except those that are here already."""
        words = [*origin._as_origin(), *snapshots]
        self._checked("copy", run(self._words("copy", *words), patience=COPY, environment=self._environment))

    def forget(self, snapshots: Sequence[str]) -> None:
        """Let go of these; their data go with the next `prune`."""
        self._ask("forget", *snapshots)

    def prune(self) -> None:
        """Remove data that no snapshot holds; what is left unused in packs with others may be a tenth."""
        self._do("prune", "--max-unused=10%", patience=LOOK)

    def check(self, part: str) -> None:
        """Look whether everything is there, and read a part of it ("3/10")."""
        self._do("check", f"--read-data-subset={part}", patience=LOOK)

    def _as_origin(self) -> list[str]:
        return [f"--from-repo={self.location}", f"--from-password-file={self.key_file}"]

    @property
    def _environment(self) -> dict[str, str]:
        return {**ENVIRONMENT, **self.environment}

    def _words(self, command: str, *words: str) -> list[str]:
        settings = [f"--repo={self.location}", f"--password-file={self.key_file}", f"--cache-dir={CACHE}"]
        settings += [f"--cacert={self.certificate}"] if self.certificate else []
        return ["restic", *settings, "--cleanup-cache", command, *words]

    def _ask(self, command: str, *words: str, feed: str = "") -> Finished:
        found = run(self._words(command, *words), patience=ANSWER, feed=feed, environment=self._environment)
        return self._checked(command, found)

    def _do(self, command: str, *words: str, heard: Progress | None = None, patience: float = COPY) -> Finished:
        def listen(line: str) -> None:
            if heard and (done := progress(line)):
                heard(*done)

        return self._checked(
            command,
            run(
                self._words(command, *words),
                patience=patience,
                heard=listen,
                silent=lambda: share.require(self.share),
                environment=self._environment,
            ),
        )

    def _understood(self, parse: Callable[[str], T], found: Finished) -> T:
        try:
            return parse(found.out)
        except NotUnderstood as error:
            raise Trouble(f"{self.name}: {error}", None, found.last_words) from None

    def _checked(self, command: str, found: Finished) -> Finished:
        if found.status == 0:
            return found
        why = complaint(found.out + found.err)
        if found.status == 124:
            raise Trouble(f"{self.name} does not answer", "see whether its server is there", why)
        what = "could not read everything" if found.status == INCOMPLETE and command == "backup" else "failed"
        message = f"restic {command} {what} ({self.name}, status {found.status})"
        raise Trouble(message, hint(found.status, why), why)


Progress = Callable[[int, int], None]


def reporting(name: str) -> Progress:
    return lambda done, total: report.progress(name, done, total, "bytes")


def first(setup: Setup) -> Repository:
    """The one on the share; raises `Trouble` where the site wants no backups of this host."""
    if setup.share is None:
        raise Trouble(
            "this host has no place for backups", "set `provision_backup` in the site's inventory, then apply the host"
        )
    return Repository(str(setup.share / "stacks" / "repository"), setup.key_file, setup.share)


def second(setup: Setup) -> Repository:
    """The one elsewhere; raises `Trouble` if there is none."""
    told = setup.second
    if told is None:
        raise Trouble("this host has no second repository", "`app_stacks_second` of the role names one")
    environment = credentials(told.environment_file) if told.environment_file else {}
    name = "the second repository"
    return Repository(told.repository, setup.key_file, None, told.certificate, environment, name)


def credentials(file: Path) -> dict[str, str]:
    """The variables of a file of `KEY=value` lines; quotes around a value are none of it."""
    try:
        lines = file.read_text().splitlines()
    except OSError as error:
        raise Trouble(f"cannot read {file}: {error.strerror}", "apply the host: the role writes it") from None
    pairs = [line.partition("=") for line in map(str.strip, lines) if line and not line.startswith("#")]
    return {name.strip(): value.strip().strip("'\"") for name, equals, value in pairs if equals}
