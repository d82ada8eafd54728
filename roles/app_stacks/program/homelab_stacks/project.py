"""What lies on the disk of a stack beside its data: its project, its unit, and of each the one before while it changes.

    /etc/homelab-provision/stacks/NAME            the project that is in force
    …/NAME.next                                   one that is being written, or was not taken
    …/NAME.previous                               the one before, until the new one is known to work
    /srv/stacks/NAME                              the data
    /srv/stacks/.upgrade-NAME                     a copy of them from before an upgrade; with .dump, of a database
    /srv/stacks/.venv/NAME                        virtual environments, of which the project names one

NAME.previous is the one sign that a change is under way: whoever finds it goes back.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from homelab_host import disk_space, synced
from homelab_host.errors import Trouble
from homelab_host.process import run

from . import venv
from .desired import Desired
from .values import DATA, PROJECTS

UNITS = Path("/etc/systemd/system")
# Seconds that a copy of data may be silent.
COPYING = 6 * 3600.0


@dataclass(frozen=True)
class Project:
    """The places of one stack."""

    name: str

    @property
    def home(self) -> Path:
        return PROJECTS / self.name

    @property
    def next(self) -> Path:
        return PROJECTS / f"{self.name}.next"

    @property
    def previous(self) -> Path:
        return PROJECTS / f"{self.name}.previous"

    @property
    def data(self) -> Path:
        return DATA / self.name

    @property
    def copy(self) -> Path:
        return DATA / f".upgrade-{self.name}"

    @property
    def part(self) -> Path:
        """A copy that is being made."""
        return DATA / f".upgrade-{self.name}.part"

    @property
    def dump(self) -> Path:
        """A copy of its database from before an upgrade."""
        return DATA / f".upgrade-{self.name}.dump"

    @property
    def dump_part(self) -> Path:
        return DATA / f".upgrade-{self.name}.dump.part"

    @property
    def failed(self) -> Path:
        """Data that a version has spoilt, on their way out; as `gone`, a project."""
        return DATA / f".failed-{self.name}"

    @property
    def gone(self) -> Path:
        return PROJECTS / f"{self.name}.gone"

    @property
    def unit(self) -> str:
        return f"stack-{self.name}.service"

    def told(self, what: str) -> str | None:
        """What the project in force says: its `digest`, its `version`; None if there is none."""
        try:
            return (self.home / what).read_text()
        except FileNotFoundError:
            return None

    def write(self, desired: Desired) -> None:
        """Lay the project aside, whole and on the disk."""
        remove(self.next)
        texts = {**desired.files, "version": desired.version, "digest": desired.digest}
        # A service reads its `files` under an account of its own.
        make(PROJECTS, 0o755)
        make(self.next, 0o755)
        # Who may not enter reads none of them; a container is given the file, not the way to it.
        make(self.next / "secrets", 0o700)
        for path, text in texts.items():
            for folder in reversed((self.next / path).relative_to(self.next).parents[:-1]):
                make(self.next / folder, 0o700 if folder.parts[0] == "secrets" else 0o755)
            self.add(path, text)

    def add(self, path: str, text: str) -> None:
        """One file more of the project that is being written."""
        synced.write(self.next / path, text, 0o600 if path == "environment" else 0o644)

    def take(self) -> None:
        """The next project becomes the one in force; the one that was is kept."""
        if self.home.exists():
            self.home.rename(self.previous)
        self.next.rename(self.home)
        self.link()

    def go_back(self) -> None:
        """The previous project is in force again, and so are its data, if a copy of them was made."""
        if self.copy.exists():
            remove(self.failed)
            if self.data.exists():
                self.data.rename(self.failed)
            self.copy.rename(self.data)
        remove(self.home)
        self.previous.rename(self.home)
        self.link()

    def settle(self) -> None:
        """The new one works: nothing of the one before is needed any more."""
        if self.previous.exists():
            remove(self.gone)
            self.previous.rename(self.gone)
        self.clear()

    def clear(self) -> None:
        """Remove what a change leaves, or one that was killed, when there is nothing to go back to."""
        environments, used = venv.ENVIRONMENTS / self.name, self.told("venv")
        unused = [path for path in environments.glob("*") if str(path) != used] if used else [environments]
        for path in (self.next, self.gone, self.copy, self.part, self.dump, self.dump_part, self.failed, *unused):
            remove(path)

    def link(self) -> None:
        """Show the units to systemd, and no others than there are."""
        own = {path.name for path in (*self.home.glob("*.service"), *self.home.glob("*.slice"))}
        for place in UNITS.iterdir():
            if place.is_symlink() and place.readlink().parent == self.home and place.name not in own:
                place.unlink()
        for name in sorted(own):
            place, temporary = UNITS / name, UNITS / f".{name}.new"
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(self.home / name)
            temporary.replace(place)
        systemctl("daemon-reload")

    def keep_data(self) -> None:
        """A copy of the data as they are now; what runs on them is stopped before. Raises `Trouble` without room."""
        if not self.data.exists():
            return
        needed, free = disk_space.used(self.data), disk_space.free(DATA) - disk_space.reserve(DATA)
        if needed > free:
            raise Trouble(
                f"the data of {self.name} need {disk_space.shown(needed)} for a copy to go back to, and "
                f"{disk_space.shown(max(free, 0))} are free in {DATA}",
                "make room, then apply this host again",
            )
        done = run(["cp", "--archive", "--reflink=auto", "--", str(self.data), str(self.part)], patience=COPYING)
        if done.status:
            raise Trouble(f"the data of {self.name} could not be copied", None, done.last_words)
        self.part.rename(self.copy)

    def vanish(self, purge: bool) -> None:
        """Nothing of the stack stays but its data; with `purge`, not even those."""
        for place in list(UNITS.iterdir()):
            if place.is_symlink() and place.readlink().parent == self.home:
                place.unlink()
        systemctl("daemon-reload")
        for path in (self.home, self.previous, *((self.data,) if purge else ())):
            remove(path)
        self.clear()


def systemctl(*words: str, patience: float = 1800.0) -> str:
    """Raises `Trouble` with the last words of systemd."""
    done = run(["systemctl", *words], patience=patience)
    if done.status:
        raise Trouble(f"systemctl {' '.join(words)} failed", None, done.last_words)
    return done.out


def make(folder: Path, mode: int) -> None:
    """A directory with this mode, whatever the mask is."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(mode)


def remove(path: Path) -> None:
    """Remove a directory with all that is in it, or a file; one that is not there is none."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path, onerror=_raise)


def _raise(function: Callable[..., object], path: str, error: object) -> None:
    raise OSError(f"cannot remove {path}: {error}")
