"""From which mirror to build: the one that this machine's own apt uses.

A controller that runs Debian has a mirror configured that works for it; images are built from that one. Elsewhere
(Ubuntu) mmdebstrap's built-in default is used. No host name of an archive is written down here.
"""

from __future__ import annotations

import http.client
import re
import shlex
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

APT_DIRECTORY = Path("/etc/apt")
OS_RELEASE = Path("/etc/os-release")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
COMPONENTS = "main non-free-firmware"
SECURITY = "-security"
PROBE_SECONDS = 5.0
SIGNED = b"-----BEGIN PGP SIGNED MESSAGE-----"


@dataclass(frozen=True)
class Source:
    """One archive as apt knows it."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""


@dataclass(frozen=True)
class Mirror:
    """Base addresses of the archive and, if it is known, of its security updates."""

    base: str
    security: str | None = None

    def sources(self, suite: str) -> tuple[str, ...]:
        """The lines of `sources.list` for a release."""
        lines = [f"deb {self.base} {suite} {COMPONENTS}", f"deb {self.base} {suite}-updates {COMPONENTS}"]
        if self.security:
            lines.append(f"deb {self.security} {suite}{SECURITY} {COMPONENTS}")
        return tuple(lines)


def find_mirror(
    override: str | None = None, *, apt: Path = APT_DIRECTORY, os_release: Path = OS_RELEASE
) -> Mirror | None:
    """The mirror to build from: `override`, else this machine's; `None` means the default of the tool.

    The security archive is taken from this machine's configuration also when the base is overridden.
    """
    sources = tuple(read_sources(apt)) if _is_debian(os_release) else ()
    base = override or _base(sources)
    security = next((s.uri for s in sources if s.suite.endswith(SECURITY) and "main" in s.components), None)
    return Mirror(base.rstrip("/"), security.rstrip("/") if security else None) if base else None


def complete(mirror: Mirror | None, suite: str, offers: Callable[[str, str], bool] | None = None) -> Mirror | None:
    """The mirror with its security archive. Where apt names none, it is looked for beside the archive itself, as
    Debian and its mirrors lay them out (`…/debian` and `…/debian-security`), and taken if it is there."""
    if mirror is None or mirror.security or not mirror.base.endswith("/debian"):
        return mirror
    beside = f"{mirror.base}{SECURITY}"
    return Mirror(mirror.base, beside) if (offers or is_offered)(beside, f"{suite}{SECURITY}") else mirror


def is_offered(base: str, suite: str) -> bool:
    """Whether an archive answers now and has this release. What it says is proven later, by its signature."""
    try:
        with urllib.request.urlopen(f"{base}/dists/{suite}/InRelease", timeout=PROBE_SECONDS) as answer:
            return bool(answer.read(len(SIGNED)) == SIGNED)
    except (OSError, ValueError, http.client.HTTPException):
        return False


def read_sources(apt: Path = APT_DIRECTORY) -> Iterator[Source]:
    """Every enabled binary source of an apt configuration, in both of its formats."""
    parts = apt / "sources.list.d"
    for path in (apt / "sources.list", *sorted(parts.glob("*.list"))):
        if path.is_file():
            yield from parse_list(path.read_text(errors="replace"))
    for path in sorted(parts.glob("*.sources")):
        yield from parse_deb822(path.read_text(errors="replace"))


def parse_list(text: str) -> Iterator[Source]:
    """The one-line format: `deb [option=value …] uri suite component…` (sources.list(5))."""
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<rest>[^#]+)", line)
        if not match:
            continue
        uri, suite, *components = match["rest"].split()
        options = dict(word.partition("=")[::2] for word in (match["options"] or "").split())
        yield Source(uri, suite, tuple(components), options.get("signed-by", ""))


def parse_deb822(text: str) -> Iterator[Source]:
    """The format with fields (sources.list(5), "deb822-style format")."""
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        fields = {
            key.lower(): value.strip()
            for key, value in re.findall(r"^([\w-]+):((?:.*)(?:\n[ \t]+.*)*)", stanza, re.MULTILINE)
        }
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false"):
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(uri, suite, tuple(fields.get("components", "").split()), fields.get("signed-by", ""))


def _base(sources: Iterable[Source]) -> str | None:
    """The address of Debian's own archive, told from the many third parties that copy its suite names."""
    found = tuple(sources)
    updated = {s.uri for s in found if s.suite.endswith("-updates")}

    def likeness(source: Source) -> int:
        own_path = source.uri.rstrip("/").endswith("/debian")
        return own_path + (source.uri in updated) + ("debian-archive" in source.signed_by)

    usable = [
        s
        for s in found
        if s.uri.startswith(("http://", "https://"))
        and "main" in s.components
        and re.fullmatch(r"[a-z]+", s.suite)
        and likeness(s)
    ]
    return max(usable, key=likeness).uri if usable else None


def _is_debian(os_release: Path) -> bool:
    try:
        lines = os_release.read_text().splitlines()
    except OSError:
        return False
    return any(shlex.split(line) == ["ID=debian"] for line in lines if line.startswith("ID="))
