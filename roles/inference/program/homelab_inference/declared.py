"""The models of the document that the role writes, as far as one needs to know them before they are there.

It is read leniently: whoever only asks what would fit has no checksums yet.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from homelab_host.errors import Trouble

from .gguf import SHARD
from .model import Use
from .pieces import shown

OFF = ("off", "false", "0", "disabled")
# llama-server's, for what nobody says.
CONTEXT, UBATCH = 4096, 512


@dataclass(frozen=True)
class Declared:
    """A model as it is declared: where it is, and how it is to be served.

    Without a context, it has that of its training. `beside` are the bytes of what is loaded with it (an mmproj).
    """

    name: str
    source: str
    use: Use
    context_of_its_own: bool = False
    beside: int = 0

    @property
    def is_here(self) -> bool:
        return not self.source.lower().startswith(("http:", "https:"))


def read(path: Path | None) -> dict[str, Any]:
    """The document; nothing of no path; that on standard input of `-`. Raises `Trouble`."""
    if path is None:
        return {}
    try:
        document = json.loads(sys.stdin.read() if str(path) == "-" else path.read_text())
    except (OSError, ValueError) as error:
        raise Trouble(f"{path}: {error}", "expected is the JSON that the role writes") from None
    if not isinstance(document, dict):
        raise Trouble(f"{path}: no JSON object", "expected is the JSON that the role writes")
    return document


def models(document: Mapping[str, Any]) -> list[Declared]:
    """The models of a document. Raises `Trouble` that names the one that is wrong."""
    entries = document.get("models") or []
    if not isinstance(entries, list):
        raise Trouble("`models` has to be a list", "see the README of the role")
    return [_model(entry, document, number) for number, entry in enumerate(entries)]


def options(given: Any, where: str) -> dict[str, str]:
    """Options of llama-server by their long names. YAML's true and false are on and off."""
    if not isinstance(given or {}, dict):
        raise Trouble(f"{where} is {given!r}", "expected are options as in `ctx-size: 4096`")
    return {str(name): value if isinstance(value, str) else json.dumps(value) for name, value in (given or {}).items()}


def _model(entry: Any, document: Mapping[str, Any], number: int) -> Declared:
    files = entry.get("files") or [entry] if isinstance(entry, dict) else [None]
    if not isinstance(files, list) or not all(isinstance(file, dict) for file in files):
        raise Trouble(f"models[{number}] has no files", "name a GGUF file, by `path` or `url`")
    source = _source(files[0], entry, document)
    if not source:
        raise Trouble(
            f"models[{number}] has a file without `path` and `url`", "name the GGUF file, here or on a server"
        )
    name = str(entry.get("name") or shown(source).rpartition("/")[2])
    said = options(document.get("defaults"), "defaults") | options(entry.get("options"), f"options of {name}")
    context = _whole(entry.get("context") or said.get("ctx-size") or 0, f"context of {name}")
    try:
        use = Use(
            context or CONTEXT,
            _whole(said.get("parallel", 1), "parallel"),
            _whole(said.get("ubatch-size", UBATCH), "ubatch-size"),
            said.get("cache-type-k", "f16"),
            said.get("cache-type-v", "f16"),
            said.get("flash-attn", "on").lower() not in OFF,
        )
    except Trouble as trouble:
        raise Trouble(f"{name}: {trouble.message}", trouble.hint) from None
    others = [file for file in files[1:] if not SHARD.search(_source(file, entry, document))]
    beside = sum(_whole(file.get("size") or 0, f"size of a file of {name}") for file in others)
    return Declared(name, _here(document, name, source) or source, use, context == 0, beside)


def _source(file: Mapping[str, Any], model: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """Where a file is had from: a path, an address, or a file of a revision of a repository, as hubs have it."""
    given = file.get("path") or file.get("url")
    if not given and file.get("file") and document.get("models_url") and model.get("repository"):
        hub, repository = str(document["models_url"]).rstrip("/"), quote(str(model["repository"]))
        given = f"{hub}/{repository}/resolve/{quote(str(model.get('revision') or 'main'))}/{quote(str(file['file']))}"
    return str(given or "")


def _here(document: Mapping[str, Any], name: str, source: str) -> str:
    """The file where the role has put it, if it has."""
    folder = document.get("models_folder")
    path = Path(str(folder), name, shown(source).rpartition("/")[2]) if folder else None
    return str(path) if path and path.is_file() else ""


def _whole(value: Any, what: str) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,18}", str(value)):
        raise Trouble(f"{what} is {value!r}", "expected a whole number")
    return int(value)
