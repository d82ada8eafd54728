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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, NamedTuple

from homelab_provision.errors import Interrupted, ProvisionError
from homelab_provision.text import clipped, last_lines

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
# What is kept of a child's output. A reader that gets every line as it comes needs no more than both ends of it;
# what is asked for as a whole must come whole.
KEPT_ENDS = 4 * 2**20  # bytes, of the beginning and of the end
MOST_OUTPUT = 64 * 2**20  # bytes
LONGEST_LINE = 8 * 2**20  # bytes; a task of Ansible tells all that it printed in one line
# What reading a line of the wrong shape ends with: words that are no numbers, a list for a mapping, a field that lacks.
MISUNDERSTANDINGS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
# How often it is looked whether a child's words were understood.
HEARING = 0.2  # seconds
# How long a program in the background may take to end by itself when its input ends.
FOLLOWS = 0.5  # seconds

Argument = str | os.PathLike[str]
# Threads in which Ctrl-C was pressed, so to speak, and that have not heard it yet.
_interrupted: set[int | None] = set()


@dataclass(frozen=True)
class Completed:
    """A finished child: its exit status and what it printed."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    seconds: float


class ProcessError(ProvisionError):
    """A child failed, could not be started, or was ended: by its deadline or for what it said (`returncode` is then
    `None`)."""

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
    return last_lines(text.strip(), lines)


def interrupt(thread: threading.Thread) -> None:
    """Ctrl-C for a thread other than the main one, which alone is told by Python. It is heard once, where the thread
    waits for a program or in `pause`, and means what it means to the main thread."""
    _interrupted.add(thread.ident)


def pause(seconds: float) -> None:
    """Sleep; Ctrl-C is heard afterwards."""
    time.sleep(seconds)
    _hear()


def _hear() -> None:
    if (thread := threading.get_ident()) in _interrupted:
        _interrupted.discard(thread)
        raise KeyboardInterrupt


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
    on_line: Callable[[str], None] | None = None,
) -> Completed:
    """Run a program to its end and return what it printed.

    `deadline` is in seconds; after it the whole process group is killed. With `of_silence` it begins anew with
    everything that the child prints: it ends what hangs, not what takes long. `input` (or the open file `stdin`)
    is what the child reads; otherwise its standard input is closed. `on_line` sees every line of standard output
    as it comes (also split at carriage returns); of what it has seen, only the beginning and the end are returned.

    Raises `ProcessError` when the child fails (unless `check` is false), cannot be started, is too slow, prints
    without end, or says a line that `on_line` does not understand (it raised ValueError or the like); `Interrupted`
    on Ctrl-C. The child is gone then. Other errors of `on_line` are raised as they are.
    """
    words = tuple(os.fspath(word) for word in argv)
    shown = shlex.join(words)
    child = _start(
        words,
        shown,
        stdin=stdin if stdin else (subprocess.PIPE if input is not None else subprocess.DEVNULL),
        stdout=subprocess.PIPE,
        cwd=cwd,
        env=environment(env),
    )
    out = _Reader(child.stdout, on_line, whole=on_line is None)
    err = _Reader(child.stderr, None, whole=False)
    feeder = _feed(child, input)
    started = time.monotonic()
    try:
        _wait(child, deadline, (lambda: out.heard_at) if of_silence else (lambda: started), out)
    except subprocess.TimeoutExpired:
        _kill_group(child)
        waited = f"{deadline:.0f} s" + (" without a word" if of_silence else "")
        raise ProcessError(
            f"gave up after {waited}: {shown}", returncode=None, stdout=out.text(), stderr=err.text()
        ) from None
    except KeyboardInterrupt:
        _kill_group(child)
        raise Interrupted(f"interrupted: {shown}") from None
    finally:
        if child.poll() is None:
            _kill_group(child)
    if feeder:
        feeder.join(timeout=5)
    done = Completed(words, child.returncode, out.text(), err.text(), time.monotonic() - started)
    if out.failure:
        raise _not_understood(out.failure, shown)
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
    words = tuple(os.fspath(word) for word in argv)
    _refuse_missing(words, shlex.join(words), environment())
    return subprocess.call(words, env=environment())


@contextmanager
def background(argv: Sequence[Argument], *, ready: Callable[[], bool], deadline: float = 10.0) -> Iterator[int]:
    """Keep a program running beside us: wait until `ready()`, yield its process id, end it at the close.

    Its standard input ends with us, however that happens: a program that loses the parent-death signal (the kernel
    takes it from one that is setgid) can follow us by that.
    """
    words = tuple(os.fspath(word) for word in argv)
    child = _start(
        words, shlex.join(words), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=None, env=environment()
    )
    assert child.stdin is not None
    try:
        give_up = time.monotonic() + deadline
        while not ready():
            if child.poll() is not None or time.monotonic() > give_up:
                raise ProcessError(f"did not start: {shlex.join(words)}", returncode=child.returncode)
            time.sleep(0.02)
        yield child.pid
    finally:
        child.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=FOLLOWS)
        _kill_group(child)


def _start(
    words: Sequence[str], shown: str, *, stdin: int | IO[bytes], stdout: int, cwd: Path | None, env: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a child that dies with us; what it says on standard error goes the way of its standard output."""
    _refuse_missing(words, shown, env)
    try:
        return subprocess.Popen(
            [*_follow_parent(), *words],
            stdin=stdin,
            stdout=stdout,
            stderr=stdout,
            cwd=cwd,
            env=env,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:  # no memory, no such directory, more words than fit, a zero byte in one
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ProcessError(f"cannot be started ({reason}): {clipped(shown)}", returncode=None) from error


def _refuse_missing(words: Sequence[str], shown: str, env: Mapping[str, str]) -> None:
    if shutil.which(words[0], path=env["PATH"]) is None:
        raise ProcessError(
            f"`{words[0]}` is not installed (wanted for: {clipped(shown)})",
            returncode=127,
            hint="run `provision doctor` to see everything that is missing",
        )


def _wait(child: subprocess.Popen[bytes], deadline: float, since: Callable[[], float], out: _Reader) -> None:
    """Wait for the child's end, `deadline` seconds from the moment that `since` names, which may move on meanwhile.

    A child that is not understood is not waited for.
    """
    while (left := since() + deadline - time.monotonic()) > 0:
        _hear()
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=min(left, HEARING))
            return
        if out.failure:
            return
    raise subprocess.TimeoutExpired(child.args, deadline)


class _Failure(NamedTuple):
    """Why a stream is not read on, and the words at which it happened."""

    error: Exception
    line: str


class _Endless(ValueError):
    """More output than anybody can want as a whole."""


class _Reader:
    """Collects one stream of a child in a thread, so that neither stream can block the other.

    `whole` asks for all of it, up to a limit; otherwise its beginning and its end are kept. What comes after a
    failure is read and thrown away, so that the child does not block before it is ended.
    """

    def __init__(self, stream: IO[bytes] | None, on_line: Callable[[str], None] | None, *, whole: bool) -> None:
        assert stream is not None
        self._stream, self._whole = stream, whole
        self._lines = _Lines(on_line) if on_line else None
        self._head, self._tail = bytearray(), bytearray()
        self._lost = 0
        self.failure: _Failure | None = None
        self.heard_at = time.monotonic()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while chunk := os.read(self._stream.fileno(), 65536):
            self.heard_at = time.monotonic()
            self._take(chunk)
        self._take(b"")

    def _take(self, chunk: bytes) -> None:
        if self.failure:
            return
        try:
            self._keep(chunk)
            if self._lines:
                self._lines.feed(chunk) if chunk else self._lines.end()
        except Exception as error:  # of `on_line`: raised again by whoever waits for the child
            self.failure = _Failure(error, self._lines.at_work if self._lines else "")

    def _keep(self, chunk: bytes) -> None:
        room = (MOST_OUTPUT if self._whole else KEPT_ENDS) - len(self._head)
        self._head += chunk[:room]
        if len(chunk) > room and self._whole:
            raise _Endless
        self._tail += chunk[room:]
        if len(self._tail) > 2 * KEPT_ENDS:
            self._lost += len(self._tail) - KEPT_ENDS
            del self._tail[:-KEPT_ENDS]

    def text(self) -> str:
        # A grandchild may keep the pipe open after the child ended: take what is there after a moment.
        self._thread.join(timeout=2)
        gap = f"\n… {self._lost} bytes left out …\n".encode() if self._lost else b""
        return b"".join((self._head, gap, self._tail)).decode(errors="replace")


class _Lines:
    """Cuts a stream into lines; of one that does not end, only the beginning is passed on."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = bytearray()
        self.at_work = ""

    def feed(self, chunk: bytes) -> None:
        first, *more = chunk.replace(b"\r", b"\n").split(b"\n")
        self._add(first)
        for part in more:
            self.end()
            self._add(part)

    def end(self) -> None:
        if self._rest:
            self.at_work = self._rest.decode(errors="replace")
            self._rest.clear()
            self._on_line(self.at_work)

    def _add(self, part: bytes) -> None:
        self._rest += part[: LONGEST_LINE - len(self._rest)]


def _not_understood(failure: _Failure, shown: str) -> Exception:
    """What to raise for a stream that could not be read on."""
    if isinstance(failure.error, _Endless):
        return ProcessError(f"printed more than {MOST_OUTPUT >> 20} MiB: {shown}", returncode=None)
    if isinstance(failure.error, MISUNDERSTANDINGS):
        error = ProcessError(f"said what cannot be understood: {shown}", returncode=None, stdout=failure.line)
        error.__cause__ = failure.error
        return error
    return failure.error


def _feed(child: subprocess.Popen[bytes], data: str | bytes | None) -> threading.Thread | None:
    if data is None:
        return None
    raw = data.encode(errors="surrogateescape") if isinstance(data, str) else data

    def write() -> None:
        assert child.stdin is not None
        try:
            child.stdin.write(raw)
            child.stdin.close()
        except OSError:
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
