"""The only door to other programs.

Every call names its deadline. The child gets a small, rebuilt environment, no terminal to read
from, and a process group of its own that is killed when the deadline passes or the user
interrupts. It also dies with this process (PR_SET_PDEATHSIG, through `setpriv`), so a killed run
leaves nobody behind who still writes to a disk.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from homelab_provision.errors import Interrupted, ProvisionError

# What a child may know of us: where programs are, who we are, how to reach the network.
KEPT_ENVIRONMENT = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TERM",
    "TMPDIR",
    "SSH_AUTH_SOCK",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
)
# Ordinary users of Debian do not have these in their path; mkfs, sfdisk and dnsmasq live there.
SYSTEM_PROGRAMS = ("/usr/sbin", "/sbin")
TAIL_LINES = 30
REDACTED = "<redacted>"

Argument = str | os.PathLike[str]


@dataclass(frozen=True)
class Completed:
    """A finished child: its exit status and what it printed."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    seconds: float


class ProcessError(ProvisionError):
    """A child failed, was not found, or ran into its deadline (`returncode` is then `None`)."""

    def __init__(
        self, message: str, *, returncode: int | None, stdout: str = "", stderr: str = "", hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint, evidence=tail(stderr or stdout))
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child: the kept names, a fixed locale, and `extra`. Never pass a secret."""
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    kept["PATH"] = os.pathsep.join([kept.get("PATH", os.defpath), *SYSTEM_PROGRAMS])
    return {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", **kept, **(extra or {})}


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """The last lines of an output, for an error message."""
    return "\n".join(text.strip().splitlines()[-lines:])


def redact(text: str, secrets: Sequence[str]) -> str:
    """`text` without any of `secrets` (longest first, so that no half of one stays)."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return text


@cache
def _follow_parent() -> tuple[str, ...]:
    setpriv = shutil.which("setpriv", path=environment()["PATH"])
    return (setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()


def run(
    argv: Sequence[Argument],
    *,
    deadline: float,
    of_silence: bool = False,
    input: str | bytes | None = None,
    stdin: IO[bytes] | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    secrets: Sequence[str] = (),
    on_line: Callable[[str], None] | None = None,
) -> Completed:
    """Run a program to its end and return what it printed.

    `deadline` is in seconds; after it the whole process group is killed. With `of_silence` it begins anew with
    everything that the child prints: it ends what hangs, not what takes long. `input` (or the open file `stdin`)
    is what the child reads; otherwise its standard input is closed. `on_line` sees every line of standard output
    as it comes (also split at carriage returns). `secrets` never show in errors.

    Raises `ProcessError` when the child fails (unless `check` is false), cannot be started, or is too slow;
    `Interrupted` on Ctrl-C, after the child is gone.
    """
    words = tuple(os.fspath(word) for word in argv)
    shown = redact(shlex.join(words), secrets)
    if shutil.which(words[0], path=environment(env)["PATH"]) is None:
        raise ProcessError(
            f"`{words[0]}` is not installed (wanted for: {shown})",
            returncode=127,
            hint="run `provision doctor` to see everything that is missing",
        )
    started = time.monotonic()
    child = subprocess.Popen(
        [*_follow_parent(), *words],
        stdin=stdin if stdin else (subprocess.PIPE if input is not None else subprocess.DEVNULL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=environment(env),
        start_new_session=True,
    )
    out, err = _Reader(child.stdout, on_line), _Reader(child.stderr, None)
    feeder = _feed(child, input)
    try:
        _wait(child, deadline, (lambda: out.heard_at) if of_silence else (lambda: started))
    except subprocess.TimeoutExpired:
        _kill_group(child)
        stdout, stderr = redact(out.text(), secrets), redact(err.text(), secrets)
        waited = f"{deadline:.0f} s" + (" without a word" if of_silence else "")
        raise ProcessError(f"gave up after {waited}: {shown}", returncode=None, stdout=stdout, stderr=stderr) from None
    except KeyboardInterrupt:
        _kill_group(child)
        raise Interrupted(f"interrupted: {shown}") from None
    finally:
        if child.poll() is None:
            _kill_group(child)
    if feeder:
        feeder.join(timeout=5)
    done = Completed(
        words, child.returncode, redact(out.text(), secrets), redact(err.text(), secrets), time.monotonic() - started
    )
    if check and done.returncode != 0:
        raise ProcessError(
            f"failed ({_status(done.returncode)}): {shown}",
            returncode=done.returncode,
            stdout=done.stdout,
            stderr=done.stderr,
        )
    return done


def interact(argv: Sequence[Argument]) -> int:
    """Lend the terminal to a program that a person talks to (`ssh`, a console); returns its exit status."""
    return subprocess.call([os.fspath(word) for word in argv], env=environment())


@contextmanager
def background(argv: Sequence[Argument], *, ready: Callable[[], bool], deadline: float = 10.0) -> Iterator[int]:
    """Keep a program running beside us: wait until `ready()`, yield its process id, end it at the close."""
    words = [os.fspath(word) for word in argv]
    child = subprocess.Popen(
        [*_follow_parent(), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
        start_new_session=True,
    )
    try:
        give_up = time.monotonic() + deadline
        while not ready():
            if child.poll() is not None or time.monotonic() > give_up:
                raise ProcessError(f"did not start: {shlex.join(words)}", returncode=child.returncode)
            time.sleep(0.02)
        yield child.pid
    finally:
        _kill_group(child)


def _wait(child: subprocess.Popen[bytes], deadline: float, since: Callable[[], float]) -> None:
    """Wait for the child's end, `deadline` seconds from the moment that `since` names, which may move on meanwhile."""
    while (left := since() + deadline - time.monotonic()) > 0:
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=left)
            return
    raise subprocess.TimeoutExpired(child.args, deadline)


class _Reader:
    """Collects one stream of a child in a thread, so that neither stream can block the other."""

    def __init__(self, stream: IO[bytes] | None, on_line: Callable[[str], None] | None) -> None:
        assert stream is not None
        self._stream, self._on_line = stream, on_line
        self._chunks: deque[bytes] = deque()
        self.heard_at = time.monotonic()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        rest = b""
        while chunk := os.read(self._stream.fileno(), 65536):
            self._chunks.append(chunk)
            self.heard_at = time.monotonic()
            if self._on_line:
                *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
                for line in filter(None, lines):
                    self._on_line(line.decode(errors="replace"))
        if rest and self._on_line:
            self._on_line(rest.decode(errors="replace"))

    def text(self) -> str:
        # A grandchild may keep the pipe open after the child ended: take what is there after a moment.
        self._thread.join(timeout=2)
        return b"".join(self._chunks).decode(errors="replace")


def _feed(child: subprocess.Popen[bytes], data: str | bytes | None) -> threading.Thread | None:
    if data is None:
        return None
    raw = data.encode() if isinstance(data, str) else data

    def write() -> None:
        assert child.stdin is not None
        try:
            child.stdin.write(raw)
            child.stdin.close()
        except BrokenPipeError:
            pass  # the child's own exit status tells the story

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    return thread


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    for sign, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
        try:
            os.killpg(child.pid, sign)
            child.wait(timeout=patience)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _status(returncode: int) -> str:
    if returncode < 0:
        return f"killed by {signal.Signals(-returncode).name}"
    return f"exit status {returncode}"
