"""Whether a stack does what it is for, asked as those would who use it."""

from __future__ import annotations

import http.client
import ssl
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .values import Wrong, get, object_of

# The site's own authority; names of the site are proven by it.
AUTHORITY = Path("/etc/homelab-provision/tls/ca.crt")
PATIENCE, PAUSE = 10.0, 1.0
# How much of an answer is looked at.
MOST = 1 << 20


@dataclass(frozen=True)
class Health:
    """One question over HTTP: the answer has this status, and these words in it. `host`: as whom it is asked for."""

    url: str
    host: str
    status: int
    contains: str
    seconds: int


def parse(found: object, where: str) -> Health:
    """The question from decoded JSON. Raises `Wrong`."""
    told = object_of(found, where)
    words = {name: get(told, name, str, where) for name in ("url", "host", "contains")}
    numbers = {name: get(told, name, int, where) for name in ("status", "seconds")}
    if urllib.parse.urlsplit(words["url"]).scheme not in ("http", "https"):
        raise Wrong(f"{where}: {words['url']!r} is no URL of HTTP")
    return Health(words["url"], words["host"], numbers["status"], words["contains"], numbers["seconds"])


def objection(health: Health) -> str | None:
    """What is wrong with the answer; None if it is as it should be."""
    place = urllib.parse.urlsplit(health.url)
    try:
        connection = _connection(place, health.host)
        connection.request(
            "GET", place.path + (f"?{place.query}" if place.query else "") or "/", headers=_headers(health)
        )
        answer = connection.getresponse()
        text = answer.read(MOST).decode(errors="replace")
        connection.close()
    except (OSError, http.client.HTTPException) as error:
        return f"{health.url} does not answer ({error or type(error).__name__})"
    if answer.status != health.status:
        return f"{health.url} answers {answer.status} instead of {health.status}"
    if health.contains not in text:
        return f"{health.url} answers without {health.contains!r}"
    return None


def _headers(health: Health) -> dict[str, str]:
    return {"Host": health.host} if health.host else {}


def _connection(place: urllib.parse.SplitResult, host: str) -> http.client.HTTPConnection:
    if place.scheme == "http":
        return http.client.HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE)
    context = ssl.create_default_context(cafile=str(AUTHORITY) if AUTHORITY.exists() else None)
    return http.client.HTTPSConnection(place.hostname or "", place.port, timeout=PATIENCE, context=context)


def wait(health: Health, alive: Callable[[], None]) -> str | None:
    """Ask until the answer is right; the last objection after its `seconds`. `alive` is called while it is not."""
    deadline = time.monotonic() + health.seconds
    while (wrong := objection(health)) and time.monotonic() < deadline:
        alive()
        time.sleep(PAUSE)
    return wrong
