"""The only door to other programs: they run as the account, die with this program, and may not be silent for ever."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO

from . import report
from .account import as_root
from .errors import Trouble

# What a child gets to see of the world. Nothing of it comes from the caller; a program may add to it.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "HOME": "/nonexistent",
}
NOTHING: Mapping[str, str] = MappingProxyType({})
GRACE = 10.0
TICK = 5.0
# Seconds without a word after which somebody is asked why.
SILENCE = 30.0
EVIDENCE_LINES = 12


@dataclass(frozen=True)
class Finished:
    status: int
    out: str
    err: str

    @property
    def last_words(self) -> str:
        return last_lines(self.err or self.out)

    @property
    def last_word(self) -> str:
        """The last line alone, for a message of one line."""
        return self.last_words.rpartition("\n")[2] or f"exit status {self.status}"


def last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-EVIDENCE_LINES:])


def start(
    argv: Sequence[str],
    *,
    stop: str = "TERM",
    root: bool = False,
    stdin: int = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[bytes] = subprocess.PIPE,
    environment: Mapping[str, str] = NOTHING,
) -> subprocess.Popen[bytes]:
    """Start a program that gets the signal `stop` when this one dies, however it dies.

    It sees `ENVIRONMENT`, and what `environment` adds for it alone.

    It has a session of its own: a Ctrl-C on the terminal is for this program, which then stops its children in order.
    """
    # setpriv comes with Debian's base system (util-linux). It is started with the final ids: a change of ids would
    # make the kernel forget the signal.
    words = ["setpriv", f"--pdeathsig={stop}", "--", *argv]
    ids = (0, 0) if root else (os.geteuid(), os.getegid())
    with as_root():
        return subprocess.Popen(
            words,
            env={**ENVIRONMENT, **environment},
            cwd="/",
            user=ids[0],
            group=ids[1],
            start_new_session=True,
            umask=0o077,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )


def run(
    argv: Sequence[str],
    *,
    patience: float,
    heard: Callable[[str], None] | None = None,
    feed: str = "",
    root: bool = False,
    silent: Callable[[], None] | None = None,
    environment: Mapping[str, str] = NOTHING,
) -> Finished:
    """Run a program to its end and return what it said; `heard` gets each line of its stdout at once.

    Raises `Trouble` if it says nothing for `patience` seconds. `silent` is asked whenever it has said nothing for a
    while, and may know why: what it raises ends the program. A status other than 0 is for the caller to judge.
    """
    stdin = subprocess.PIPE if feed else subprocess.DEVNULL
    with start(argv, root=root, stdin=stdin, environment=environment) as child:
        try:
            return _listen(child, argv, patience, heard, feed, silent)
        finally:
            end(child)


def run_within(argv: Sequence[str | Path], *, seconds: float, feed: str = "") -> Finished:
    """Run a program that is quick, by whatever account, and return what it said: it has so many seconds in all.

    Raises `Trouble` if it has not ended by then, or cannot be run. A status other than 0 is for the caller to judge.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            input=feed,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            env=ENVIRONMENT,
            cwd="/",
        )
    except subprocess.TimeoutExpired:
        raise Trouble(f"`{' '.join(words)}` has not ended within {seconds:g} s") from None
    except OSError as error:
        hint = "apply this host again: its role brings the program"
        raise Trouble(f"`{words[0]}` cannot be run: {error.strerror}", hint) from None
    return Finished(done.returncode, done.stdout, done.stderr)


def _listen(
    child: subprocess.Popen[bytes],
    argv: Sequence[str],
    patience: float,
    heard: Callable[[str], None] | None,
    feed: str,
    silent: Callable[[], None] | None,
) -> Finished:
    assert child.stdout is not None
    assert child.stderr is not None
    if child.stdin is not None:
        # Small texts only (they fit into the pipe); a child that does not want them says so itself.
        with suppress(BrokenPipeError):
            child.stdin.write(feed.encode())
            child.stdin.close()
    output = {"out": bytearray(), "err": bytearray()}
    passed_on, heard_at = 0, time.monotonic()
    asked_at = heard_at
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ, "out")
        selector.register(child.stderr, selectors.EVENT_READ, "err")
        while selector.get_map():
            ready = selector.select(min(patience, TICK))
            report.alive()
            if ready:
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > patience:
                raise _silent(argv, patience, output["err"] or output["out"])
            elif silent and time.monotonic() - max(heard_at, asked_at) > SILENCE:
                silent()
                asked_at = time.monotonic()
            for key, _ in ready:
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fileobj)
                output[key.data] += data
            if heard:
                passed_on = _pass_on(output["out"], passed_on, heard)
    try:
        status = child.wait(patience)
    except subprocess.TimeoutExpired:
        raise _silent(argv, patience, output["err"]) from None
    return Finished(status, output["out"].decode(errors="replace"), output["err"].decode(errors="replace"))


def _pass_on(text: bytearray, begin: int, heard: Callable[[str], None]) -> int:
    """Hand on the whole lines after `begin`; returns where the rest begins."""
    end_of_lines = text.rfind(b"\n") + 1
    for line in text[begin:end_of_lines].decode(errors="replace").splitlines():
        heard(line)
    return max(begin, end_of_lines)


def _silent(argv: Sequence[str], patience: float, output: bytearray) -> Trouble:
    name = os.path.basename(argv[0])  # noqa: PTH119 - a word of a command line, not a path
    text = last_lines(output.decode(errors="replace"))
    return Trouble(f"{name} has said nothing for {patience:.0f} s and was stopped", None, text)


def end(child: subprocess.Popen[bytes], *signals: signal.Signals, grace: float = GRACE) -> None:
    """Stop a child and its session, the polite signals first. One that hangs in the kernel is left behind."""
    for number in (*(signals or (signal.SIGTERM,)), signal.SIGKILL):
        if child.poll() is not None:
            return
        with suppress(ProcessLookupError), as_root():
            (os.killpg if number == signal.SIGKILL else os.kill)(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(grace)
