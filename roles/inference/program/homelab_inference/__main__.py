"""The command line of `homelab-inference`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from homelab_host import synced
from homelab_host.command import run
from homelab_host.lock import alone

from . import apply
from .benchmark import benchmark
from .choice import choice
from .compare import compare
from .config import Config, load, parse
from .flags import flags_of
from .places import Places
from .preflight import preflight
from .service import Service

Words = argparse.Namespace
Result = dict[str, object]


@dataclass(frozen=True)
class Command:
    """`alone`: it changes something, so there is one at a time."""

    work: Callable[[Words], Result]
    help: str
    alone: bool = False
    arguments: Callable[[argparse.ArgumentParser], object] = lambda parser: None


def _apply(words: Words) -> Result:
    places = Places()
    text = sys.stdin.read()
    result = apply.apply(parse(text), places, Service(), words.check)
    # Only what has worked is what other commands, and the next boot, go by.
    if not words.check:
        places.document.parent.mkdir(parents=True, exist_ok=True)
        synced.write(places.document, text, 0o644)
    return result


def _flags(words: Words) -> Result:
    found = flags_of(words.server)
    return {"version": found.version, "options": sorted(name for name in found.options if found.knows(name))}


def _config() -> Config:
    return load(Places().document)


COMMANDS: dict[str, Command] = {
    "apply": Command(
        _apply,
        "install, fetch and serve what the document on standard input declares",
        alone=True,
        arguments=lambda parser: parser.add_argument(
            "--check", action="store_true", help="only tell what would be done"
        ),
    ),
    "install": Command(lambda words: apply.install(_config(), Places()), "install the declared build", alone=True),
    "fetch": Command(lambda words: apply.bring(_config()), "bring the declared models that are not here", alone=True),
    "restore": Command(lambda words: apply.restore(_config()), "the same: models are not backed up", alone=True),
    "switch": Command(
        lambda words: apply.switch(_config(), words.build, Places(), Service()),
        "serve with another installed build",
        alone=True,
        arguments=lambda parser: parser.add_argument("build"),
    ),
    "rollback": Command(
        lambda words: apply.rollback(_config(), Places(), Service()), "serve with the build before this one", alone=True
    ),
    "purge": Command(
        lambda words: apply.purge(_config(), Places()),
        "delete models and builds that nobody declares any more",
        alone=True,
    ),
    "flags": Command(
        _flags,
        "what a build understands",
        arguments=lambda parser: parser.add_argument(
            "server", type=Path, nargs="?", default=Places().current / "llama-server"
        ),
    ),
    "compare": Command(lambda words: compare(_config(), Places()), "whether the GPU computes, and the same as the CPU"),
    "status": Command(
        lambda words: apply.status(_config(), Places(), Service()), "what is served, and what is missing"
    ),
}


# These only look, talk to people, and have options of their own.
QUESTIONS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "preflight": (preflight, "whether this host can serve models, and what is in the way"),
    "choice": (choice, "which of the declared models fit, and what they would reach"),
    "benchmark": (benchmark, "measure the declared models"),
}


def main() -> int:
    if asked := QUESTIONS.get(sys.argv[1] if sys.argv[1:] else ""):
        return asked[0](sys.argv[2:])
    words = _parser().parse_args()
    command = COMMANDS[words.command]
    os.umask(0o022)

    def work() -> Result:
        with alone(Places().lock) if command.alone else nullcontext():
            return command.work(words)

    return run(work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="homelab-inference",
        description="Serve language models with llama.cpp.",
        epilog="example: homelab-inference status",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        command.arguments(commands.add_parser(name, help=command.help, description=command.help))
    for name, (_, told) in QUESTIONS.items():
        commands.add_parser(name, help=told, add_help=False)
    return parser


if __name__ == "__main__":
    sys.exit(main())
