"""Back ends for machine learning that Label Studio may ask though their addresses are private: those that are declared.

What people can make it ask must not be within the site (SSRF), and Label Studio refuses private addresses: when an URL
is given to it, and again with each connection. It can be told to refuse none, or to refuse other networks; then
everything may be asked there, also by whoever imports from an URL. Here the guard stays, and what is declared is let
through, by scheme, host and port, and for machine learning alone. A declared one that leads elsewhere meets the guard
again.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?/?", re.ASCII | re.IGNORECASE)
logger = logging.getLogger(__name__)


def origins(text: str) -> tuple[str, ...]:
    """What begins the URLs of each, of words that spaces or commas part. Raises `ValueError` for anything else."""
    words = text.replace(",", " ").split()
    for word in words:
        if not ORIGIN.fullmatch(word):
            raise ValueError(f"ML_BACKENDS: {word!r} has to be a scheme, a host and a port, as http://127.0.0.1:9090")
    return tuple(f"{word.rstrip('/')}/".lower() for word in words)


def is_declared(url: str, declared: tuple[str, ...]) -> bool:
    """As `requests` finds the adapter of an URL; the last / ends the port, so nothing can follow it but a path."""
    return f"{url}/".lower().startswith(declared)


def checking(check: Callable[..., None], declared: tuple[str, ...]) -> Callable[..., None]:
    """The check of an URL that is given for a back end."""

    def checked(url: str, block_local_urls: bool = True) -> None:
        check(url, block_local_urls=block_local_urls and not is_declared(url, declared))

    return checked


def connecting(
    create: Callable[[Any], Any], adapter: Callable[..., Any], declared: tuple[str, ...]
) -> Callable[[Any], Any]:
    """The session in which a back end is asked; `adapter`: one without the guard."""

    def create_session(api: Any) -> Any:
        session = create(api)
        for origin in declared:
            session.mount(origin, adapter(max_retries=api._max_retries))
        return session

    return create_session


def unless_refused(receiver: Callable[..., None], refused: type[Exception]) -> Callable[..., None]:
    """The receiver that wants a back end to hear of every change. The guard refuses that, and the back end with it."""

    def receive(sender: Any, **told: Any) -> None:
        try:
            receiver(sender, **told)
        except refused:
            logger.warning("a back end at a private address hears of no changes, and learns when it is asked to")

    return receive
