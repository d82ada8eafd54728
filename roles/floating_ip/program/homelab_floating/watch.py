"""The service that checks all the time, and answers keepalived by files.

A program started anew for each check would cost a thin client more than what it asks. One thread for each name: what
one service does to its checks does not keep the others waiting.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from homelab_host.errors import Trouble

from homelab_floating.checks import objection
from homelab_floating.settings import ANSWERS, Name, Settings, load
from homelab_floating.wire import Wire

WARNING, NOTICE = "<4>", "<5>"  # the journal's levels


class Verdict:
    """Whether a name is good here: it takes `fall` failures in a row to lose that, and `rise` successes to have it."""

    def __init__(self, good: bool, fall: int, rise: int) -> None:
        self.good = good
        self._needed = {True: fall, False: rise}
        self._against = 0

    def changed_by(self, passed: bool) -> bool:
        """Count one more; whether that has turned the verdict."""
        self._against = 0 if passed is self.good else self._against + 1
        if self._against < self._needed[self.good]:
            return False
        self.good, self._against = passed, 0
        return True


class Watch:
    """One name: checks it, and keeps its file."""

    def __init__(self, name: Name, settings: Settings, answers: Path = ANSWERS) -> None:
        self.name, self.settings = name, settings
        # Those that speak IPv6 alone with each other have no ARP.
        speaks = settings.interface and "." in name.source
        self.wire = Wire(settings.interface, name.source, name.peers) if speaks else None
        self.file = answers / name.name
        # What was known before a reload stands until it is known better.
        self.verdict = Verdict(_says(self.file) == "1", settings.fall, settings.rise)
        self.alive_until = time.monotonic() + self._patience()
        if not self.verdict.good:
            self._answer("0 not checked yet")

    def _patience(self) -> float:
        return self.settings.interval + sum(check.timeout for check in self.name.checks) + 2

    def once(self) -> None:
        """Check everything once; the first thing that is not true is enough."""
        if self.wire:
            self.wire.ask()
        alone = self.wire.objection() if self.wire else None
        causes = (objection(check) for check in self.name.checks)
        cause = alone or next((each for each in causes if each), None)
        if self.verdict.changed_by(cause is None):
            self._answer("1" if cause is None else f"0 {cause}")
            if cause is None:
                print(f"{NOTICE}{self.name.name}: good, this host may have it", file=sys.stderr, flush=True)
            else:
                print(f"{WARNING}{self.name.name}: failed, {cause}", file=sys.stderr, flush=True)

    def forever(self) -> None:
        due = time.monotonic()
        while True:
            self.once()
            self.alive_until = time.monotonic() + self._patience()
            due = max(due + self.settings.interval, time.monotonic() - self.settings.interval)
            time.sleep(max(due - time.monotonic(), 0))

    def _answer(self, text: str) -> None:
        # keepalived looks at a file that is moved to its place; a half-written one it never sees.
        new = self.file.with_name(f".{self.file.name}")
        new.write_text(text.replace("\n", " ") + "\n")
        new.replace(self.file)


def _says(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def run(settings: Settings, answers: Path = ANSWERS) -> None:
    """Check until a signal comes. SIGHUP begins anew, with another program and settings if there are."""
    signal.signal(signal.SIGHUP, _begin_anew)
    for file in answers.iterdir():
        if file.name not in {name.name for name in settings.names}:
            file.unlink()
    watches = [Watch(name, settings, answers) for name in settings.names]
    for watch in watches:
        threading.Thread(target=watch.forever, name=watch.name.name, daemon=True).start()
    _tell_systemd("READY=1")
    while True:
        # A thread that has died, or hangs where nothing should, is no check any more: systemd ends us.
        if all(time.monotonic() < watch.alive_until for watch in watches):
            _tell_systemd("WATCHDOG=1")
        time.sleep(0.5)


def _begin_anew(*_: object) -> None:
    try:
        load()
    except Trouble as trouble:
        print(f"{WARNING}it goes on as before: {trouble.message}", file=sys.stderr, flush=True)
    else:
        os.execv(sys.orig_argv[0], sys.orig_argv)


def _tell_systemd(word: str) -> None:
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.sendto(word.encode(), f"\0{address[1:]}" if address.startswith("@") else address)
