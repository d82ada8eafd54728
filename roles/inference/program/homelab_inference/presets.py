"""What a build is told: the presets of the models, and the arguments of the server, in the words of that build."""

from __future__ import annotations

import re
from collections.abc import Mapping

from homelab_host.errors import Trouble

from .config import Config, Model
from .fetch import folder_of
from .flags import NO, YES, Flags
from .places import Places

# One word of 2026 for what were several (llama.cpp #20834): with it, and in the older words.
LOAD_MODES = {
    "none": {"mmap": "off"},
    "mmap": {"mmap": "on"},
    "mlock": {"mmap": "off", "mlock": "on"},
    "mmap+mlock": {"mmap": "on", "mlock": "on"},
    "auto": {},
}
# What the role itself says, what would open a door, and what would bring something from elsewhere.
RESERVED = re.compile(
    r"host|port|reuse-port|api-.*|ssl-.*|model|model-.*|models-.*|docker-repo|hf-.*|offline|alias|metrics|cors-.*|path|rpc"
    r"|tools.*|agent|mcp-.*|(web)?ui-mcp-proxy|log-prompts-dir|media-path|slot-save-path|.*-default|.*-url|list-devices|help|version"
)
# A value that stands in a file of an environment as it is, and is one word there.
WORD = re.compile(r"[^\s\"'\\$]+")


def presets(config: Config, flags: Flags, *, load_on_startup: bool = True) -> str:
    """The file of presets; without `load_on_startup` for a trial. Trouble names all that the build would not take."""
    layers = {"n-gpu-layers": "0" if config.backend == "cpu" else "999"}
    shared = spoken(flags, layers | dict(config.defaults))
    wrong = complaints(flags, "inference_defaults", shared)
    sections = [("*", shared)]
    for model in config.models:
        options = spoken(flags, _options(config, model))
        wrong += complaints(flags, f"options of {model.name}", options)
        own = {"model": str(folder_of(config, model) / model.files[0].name)}
        if model.aliases:
            own["alias"] = ",".join(model.aliases)
        if model.load_on_startup and load_on_startup:
            own["load-on-startup"] = "true"
        sections.append((model.name, own | options))
    if wrong:
        raise Trouble(
            f"llama.cpp {flags.version} would not take the presets: {'; '.join(wrong)}",
            "nothing was changed. `llama-server --help` of that build lists its options",
        )
    return "version = 1\n" + "".join(f"\n[{name}]\n{_lines(options)}" for name, options in sections)


def _lines(options: Mapping[str, str]) -> str:
    return "".join(f"{name} = {value}\n" for name, value in options.items())


def _options(config: Config, model: Model) -> dict[str, str]:
    found = {"ctx-size": str(model.context)} if model.context else {}
    if model.kind == "embedding":
        found["embeddings"] = "on"
    # A name of one of its own files stands for that file, as in `mmproj`.
    own = {file.name: str(folder_of(config, model) / file.name) for file in model.files}
    return found | {name: own.get(value, value) for name, value in model.options.items()}


def spoken(flags: Flags, options: Mapping[str, str]) -> dict[str, str]:
    """The same in the words of this build, where they are known by another name."""
    said = dict(options)
    if "load-mode" in said and not flags.knows("load-mode") and said["load-mode"] in LOAD_MODES:
        said |= LOAD_MODES[said.pop("load-mode")]
    elif flags.knows("load-mode") and not flags.knows("mmap"):
        older = {name: said.pop(name) for name in ("mmap", "no-mmap", "mlock") if name in said}
        if older:
            mapped = older.get("mmap", "on") in YES and older.get("no-mmap", "off") in NO
            locked = older.get("mlock", "off") in YES
            said["load-mode"] = ("mmap+mlock" if mapped else "mlock") if locked else ("mmap" if mapped else "none")
    if "embeddings" in said and not flags.knows("embeddings"):
        said["embedding"] = said.pop("embeddings")
    return said


def complaints(flags: Flags, where: str, options: Mapping[str, str]) -> list[str]:
    found = []
    for name, value in options.items():
        why = f"`{name}` is not said this way" if RESERVED.fullmatch(name) else flags.complain(name, value)
        found += [f"{where}: {why}"] if why else []
    return found


def arguments(config: Config, flags: Flags, places: Places) -> list[str]:
    """The words of the server's command line. It listens at a socket; who passes on to it is systemd."""
    wrong = complaints(flags, "inference_server_options", config.arguments)
    wrong += [
        f"inference_server_options: `{name}` has blanks or quotes"
        for name, value in config.arguments.items()
        if not WORD.fullmatch(value)
    ]
    if config.keys and not flags.knows("api-key-file"):
        wrong.append("it knows no --api-key-file, so it would serve everybody")
    if wrong:
        raise Trouble(
            f"llama.cpp {flags.version} would not take the server's options: {'; '.join(wrong)}", "nothing was changed"
        )
    said = [
        "--host",
        str(places.socket),
        "--port",
        str(config.port),
        *router(str(places.presets), config.models_max),
        "--metrics",
    ]
    if config.keys:
        said += ["--api-key-file", str(places.keys)]
    said += offline(flags)
    if flags.knows("cors-origins"):
        said += ["--cors-origins", config.cors_origins]
    for name, value in config.arguments.items():
        said += switch(flags, name, value)
    return said


def router(file: str, models_max: int) -> list[str]:
    return ["--models-preset", file, "--models-max", str(models_max)]


def offline(flags: Flags) -> list[str]:
    """Nothing is looked for elsewhere. Older builds do without the word."""
    return ["--offline"] if flags.knows("offline") else []


def switch(flags: Flags, name: str, value: str) -> list[str]:
    """An option on a command line: one that takes nothing is there, or there is its opposite."""
    if flags.options[name].takes:
        return [f"--{name}", value]
    if value.lower() in YES:
        return [f"--{name}"]
    opposite = f"no-{name}"
    return [f"--{opposite}"] if flags.knows(opposite) else []
