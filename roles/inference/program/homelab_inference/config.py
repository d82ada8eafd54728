"""What is wanted: a document that the role writes, read as a whole or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from homelab_host import document
from homelab_host.errors import Trouble

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SHA256 = re.compile(r"[0-9a-f]{64}")
BACKENDS, METHODS, KINDS = ("vulkan", "rocm", "cpu"), ("release", "distro", "source"), ("chat", "embedding")


@dataclass(frozen=True)
class File:
    """A file and where it is had from: a URL, or a path on this host (a share of the NAS). `size` is in bytes."""

    name: str
    source: str
    sha256: str
    size: int | None = None


@dataclass(frozen=True)
class Model:
    """`files` lie in one folder; the first one is what the server is told to load, and finds further shards itself."""

    name: str
    kind: str
    files: tuple[File, ...]
    options: Mapping[str, str]
    aliases: tuple[str, ...] = ()
    context: int | None = None
    load_on_startup: bool = False


@dataclass(frozen=True)
class Build:
    """A pinned build of llama.cpp. `archive` is none for `distro`, whose build is a Debian package's."""

    name: str
    method: str
    archive: File | None


@dataclass(frozen=True)
class Config:
    """`reserve` (bytes) is left free on the disk of the models; the server comes up within `start_seconds`."""

    backend: str
    build: Build
    port: int
    keys: bool
    models_folder: Path
    models: tuple[Model, ...]
    models_max: int
    reserve: int
    start_seconds: int
    cors_origins: str
    defaults: Mapping[str, str]
    arguments: Mapping[str, str]
    environment: Mapping[str, str]


def load(path: Path) -> Config:
    return document.load(path, parse, "play the role `inference` on this host: it writes the file")


def parse(text: str) -> Config:
    """Raises Trouble that says what is wrong where."""
    told = _Reader("", document.decoded(text))
    hub = told.text("models_url", "")
    models = tuple(_model(each, hub) for each in told.inners("models", []))
    _one_each(told, [name for model in models for name in (model.name, *model.aliases)])
    models_max = told.number("models_max", 1, 1000)
    early = [model.name for model in models if model.load_on_startup]
    if len(early) > models_max:
        raise Trouble(
            f"{', '.join(early)} are to be loaded when the server starts, and inference_models_max is {models_max}",
            "the server would not start: raise it if they fit side by side, or let fewer have load_on_startup",
        )
    folder = Path(told.text("models_folder"))
    if not folder.is_absolute():
        raise told.wrong("models_folder", "a whole path")
    return Config(
        backend=told.choice("backend", BACKENDS),
        build=_build(told.inner("build")),
        port=told.number("port", 1, 65535),
        keys=told.flag("keys"),
        models_folder=folder,
        models=models,
        models_max=models_max,
        reserve=told.number("reserve", 0, 1 << 50),
        start_seconds=told.number("start_seconds", 1, 1 << 20),
        cors_origins=told.text("cors_origins"),
        defaults=told.options("defaults"),
        arguments=told.options("arguments"),
        environment=MappingProxyType(
            {str(name): str(value) for name, value in told.values.get("environment", {}).items()}
        ),
    )


class _Reader(document.Reader):
    def name(self, key: str) -> str:
        value = self.text(key)
        if not NAME.fullmatch(value):
            raise self.wrong(key, f"a name of letters, digits, dots and dashes (and not {value!r})")
        return value

    def options(self, key: str) -> Mapping[str, str]:
        """Options of the server; YAML's true and false are on and off."""
        found = {}
        for name, value in self.inner(key).values.items() if self.values.get(key) else ():
            text = value if isinstance(value, str) else json.dumps(value)
            if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or "\n" in text or isinstance(value, dict | list):
                raise self.wrong(
                    f"{key}.{name}", "an option as in `ctx-size: 4096`, its long name without dashes before it,"
                )
            found[name] = text
        return MappingProxyType(found)


def _build(told: _Reader) -> Build:
    method = told.choice("method", METHODS)
    name = told.name("name")
    if name in ("current", "previous"):
        raise told.wrong("name", f"another name than {name!r}")
    if method == "distro":
        return Build(name, method, None)
    source = _source(told, "source", told.text("source"))
    return Build(name, method, File(f"{name}.tar", source, _sha256(told)))


def _model(told: _Reader, hub: str) -> Model:
    files = tuple(_file(each, told, hub) for each in told.inners("files", []))
    names = [file.name for file in files]
    if not files or len(set(names)) < len(names):
        raise told.wrong("files", "at least one file, each with a name of its own,")
    return Model(
        name=told.name("name"),
        kind=told.choice("kind", KINDS, "chat"),
        files=files,
        options=told.options("options"),
        aliases=tuple(_alias(told, each) for each in told.each("aliases", [])),
        context=told.number("context", 1, 1 << 30) if told.values.get("context") else None,
        load_on_startup=told.flag("load_on_startup", False),
    )


def _alias(told: _Reader, value: object) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise told.wrong("aliases", f"a list of names (and not {value!r})")
    return value


def _file(told: _Reader, model: _Reader, hub: str) -> File:
    given = [key for key in ("url", "path", "file") if told.text(key, "")]
    if len(given) != 1:
        raise told.wrong("", "`url`, `path`, or `file` in the model's repository, and only one of them,")
    value = told.text(given[0])
    if given == ["file"]:
        source = _in_repository(told, model, hub, value)
    else:
        source = _source(told, given[0], value)
        if source.startswith("/") != (given == ["path"]):
            raise told.wrong(given[0], "a whole path" if given == ["path"] else "an address that begins with http")
    name = value.partition("?")[0].rpartition("/")[2]
    if not NAME.fullmatch(name):
        raise told.wrong(given[0], f"something that ends with a file's name (and not {name!r})")
    return File(name, source, _sha256(told), told.number("size", 1, 1 << 50))


def _in_repository(told: _Reader, model: _Reader, hub: str, path: str) -> str:
    """The address of a file of a repository, as hubs have it; of a pinned revision, or it could be another tomorrow."""
    if not hub:
        raise told.wrong("file", "`models_url` (where repositories of models are)")
    repository, revision = model.text("repository", ""), model.text("revision", "")
    if not repository or not revision:
        raise told.wrong("file", f"`repository` and `revision` of {model.values.get('name')}")
    return f"{hub.rstrip('/')}/{quote(repository)}/resolve/{quote(revision)}/{quote(path)}"


def _source(told: _Reader, key: str, text: str) -> str:
    if not re.fullmatch(r"(https?://[^\s/]+)?/[^\s]+", text):
        raise told.wrong(key, f"an address that begins with http, or a whole path (and not {text!r})")
    return text


def _sha256(told: _Reader) -> str:
    text = told.text("sha256", "").lower()
    if not SHA256.fullmatch(text):
        raise told.wrong("sha256", "the SHA-256 of the file, 64 hexadecimal digits,")
    return text


def _one_each(told: _Reader, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise told.wrong("models", f"a name or an alias for one model alone (and not {', '.join(twice)} for two)")
