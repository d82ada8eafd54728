"""What the computer refuses, and what we did wrong ourselves, as errors that a person can read."""

from __future__ import annotations

import errno
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from homelab_provision.errors import ProvisionError

_HINTS = {
    errno.ENOSPC: "make room there, then run the same command again",
    errno.EDQUOT: "make room there, then run the same command again",
    errno.EROFS: "it is mounted read-only; XDG_STATE_HOME and XDG_CACHE_HOME say where runs and images are kept",
    errno.EACCES: "it belongs to somebody else, or its mode forbids it",
    errno.EPERM: "it belongs to somebody else, or its mode forbids it",
    errno.ENOENT: "it is gone, or was never there",
    errno.EMFILE: "too many files are open: `ulimit -n` shows how many may be",
}


def of_the_system(error: OSError) -> ProvisionError:
    """A file, a disk or a stream that does not do what it should."""
    reason = error.strerror or str(error) or type(error).__name__
    names = " and ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    return ProvisionError(f"{names}: {reason}" if names else reason, hint=_HINTS.get(error.errno or 0))


def of_a_bug(bug: Exception) -> ProvisionError:
    """An error that nobody thought of. What it says may hold anything, so that it goes into a private file only."""
    frames = traceback.extract_tb(bug.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    story = "".join(traceback.format_exception(bug))
    return ProvisionError(
        f"a bug in provision: {type(bug).__name__} at {where}",
        hint=f"please report it with {_kept(story)}; look first whether that says more than you want to show",
    )


def _kept(story: str) -> str:
    import tempfile

    from homelab_provision import paths

    with suppress(OSError, ProvisionError):
        log = paths.private(paths.state() / "bugs") / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}.log"
        log.touch(mode=0o600)
        log.write_text(story, errors="backslashreplace")
        return str(log)
    with suppress(OSError), tempfile.NamedTemporaryFile("w", prefix="provision-bug-", delete=False) as file:
        file.write(story)
        return file.name
    return "how it came to this"
