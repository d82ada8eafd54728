"""Which of the declared models fit this host, and what they would reach, computed before any of them is downloaded."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from homelab_host.errors import Trouble

from . import declared as declarations
from . import gguf, hardware, memory, plot
from .anchors import BANDWIDTH, Backend, anchors_of, shares
from .declared import Declared
from .model import Model, Use
from .pieces import shown
from .quantities import GIB, MIB

# Beside what is computed: fragments, the programs themselves, growth. For a model on the GPU, and for the system.
ROOM = 2 * GIB
PROMPT_CACHE_MIB = 8192  # llama-server's default for --cache-ram
# Below so many bytes for a token, other things than memory take the time, and nobody has published how much of it.
SMALL = 10**9


@dataclass(frozen=True)
class Host:
    """What there is room in, in bytes, and how fast that is, in GB/s. `gpu` is None where the CPU computes."""

    backend: Backend
    memory: int
    gpu: int | None
    bandwidth: float
    models_max: int = 1
    prompt_cache: int = PROMPT_CACHE_MIB * MIB


@dataclass(frozen=True)
class Verdict:
    """What is to be said of one model. Sizes are bytes, speeds tokens a second for one conversation."""

    name: str
    source: str
    trouble: str = ""
    architecture: str = ""
    file: int = 0
    context: int = 0
    weights: int = 0
    cache: int = 0
    buffers: int = 0
    fits: bool = False
    remedy: str = ""
    bytes_per_token: int = 0
    bound: float = 0.0
    bound_when_full: float = 0.0
    expected: tuple[float, float] | None = None
    published: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def needed(self) -> int:
        return self.weights + self.cache + self.buffers


def judge(declared: Declared, host: Host) -> Verdict:
    """Read the model's header and say what follows from it. A model that cannot be read has `trouble`."""
    where = shown(declared.source)
    try:
        model = Model(gguf.read(declared.source))
        use = declared.use
        if declared.context_of_its_own:
            use = replace(use, context=model.context or use.context)
        return _judged(declared, where, model, use, host)
    except Trouble as trouble:
        return Verdict(declared.name, where, trouble=trouble.with_hint)


def _judged(declared: Declared, where: str, model: Model, use: Use, host: Host) -> Verdict:
    size = (model.header.size or model.weights) / GIB
    read = model.bytes_per_token()
    full = model.bytes_per_token(max(1, use.context // use.parallel), use)
    speed = host.bandwidth * 1e9
    reached = shares(model.architecture, host.backend, model.experts > 0) if model.causal and read >= SMALL else None
    weights = model.weights + declared.beside
    fits = _fits(weights + model.kv_cache(use) + model.buffers(use), host)
    return Verdict(
        declared.name,
        where,
        architecture=model.architecture,
        file=(model.header.size or model.weights) + declared.beside,
        context=use.context,
        weights=weights,
        cache=model.kv_cache(use),
        buffers=model.buffers(use),
        fits=fits,
        remedy="" if fits else _remedy(weights, model, use, host),
        bytes_per_token=read,
        bound=speed / read,
        bound_when_full=speed / full,
        expected=(reached[0] * speed / read, reached[1] * speed / read) if reached else None,
        published=tuple(asdict(anchor) for anchor in anchors_of(model.architecture, size, host.backend)),
        notes=tuple(_notes(model, use)),
    )


def _fits(needed: int, host: Host) -> bool:
    on_gpu = host.gpu is None or needed + ROOM <= host.gpu
    return on_gpu and needed + host.prompt_cache + ROOM <= host.memory


def _remedy(weights: int, model: Model, use: Use, host: Host) -> str:
    """What to do about a model that does not fit: the least that helps."""
    if largest := _largest_context(weights, model, use, host):
        return f"does not fit with a context of {use.context}; with {largest} it does"
    if _fits(weights + model.kv_cache(use) + model.buffers(use), replace(host, prompt_cache=0)):
        return f"does not fit beside a prompt cache of {host.prompt_cache // MIB} MiB: lower cache-ram"
    return "does not fit with any context: take a smaller file of it, or a smaller model"


def _largest_context(weights: int, model: Model, use: Use, host: Host) -> int:
    """The largest context, for all slots together, with which it fits; 0 if with none. At most that of its training."""

    def fits(context: int) -> bool:
        tried = replace(use, context=context)
        return _fits(weights + model.kv_cache(tried) + model.buffers(tried), host)

    low, high = 0, max(1, (model.context or use.context) * use.parallel // 256)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle * 256) else (low, middle - 1)
    return low * 256


def _notes(model: Model, use: Use) -> list[str]:
    each = use.context // use.parallel
    notes = []
    if use.parallel > 1:
        notes.append(f"{use.parallel} slots share the context: {each} tokens each")
    if model.context and each > model.context:
        notes.append(f"trained for {model.context} tokens, and told to take {each}: it will ramble")
    if not model.causal:
        notes.append("makes embeddings, and generates nothing: its bound is that of one short text after another")
    return notes


def together(verdicts: Sequence[Verdict], host: Host) -> str:
    """What is wrong when as many of them are loaded as may be; empty when nothing is."""
    largest = sorted((each for each in verdicts if each.fits), key=lambda each: -each.needed)[: host.models_max]
    needed = sum(each.needed + ROOM for each in largest)
    limit = min(host.memory - host.prompt_cache - ROOM, host.gpu if host.gpu is not None else host.memory)
    if len(largest) < 2 or needed <= limit:
        return ""
    names = ", ".join(each.name for each in largest)
    return f"{len(largest)} may be loaded at once, and {names} need {needed / GIB:.1f} GiB of {limit / GIB:.1f}"


def table(verdicts: Sequence[Verdict], host: Host) -> str:
    """For a person: a line for each model, then what is to be said about them."""
    head = (
        "model",
        "file",
        "context",
        "cache",
        "buffers",
        "needed",
        "fits",
        "read/token",
        "at most",
        "expected",
        "published",
    )
    rows = [head, *(_row(verdict) for verdict in verdicts if not verdict.trouble)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    where = f"{host.gpu / GIB:.0f} GiB for the GPU" if host.gpu is not None else "the CPU computes"
    lines += [
        "",
        f"{host.memory / GIB:.1f} GiB of memory, {where}; {host.bandwidth:.0f} GB/s; {host.backend}.",
        "Speeds are tokens a second for one conversation that has just begun: at most what the memory allows,",
        "expected is the share of it that others reach.",
    ]
    for verdict in verdicts:
        if verdict.trouble:
            lines.append(f"{verdict.name}: {verdict.trouble}")
            continue
        if not verdict.fits:
            lines.append(f"{verdict.name}: {verdict.remedy}")
        lines += [f"{verdict.name}: {note}" for note in verdict.notes]
        lines += [f"{verdict.name}: published by {each['source']}" for each in verdict.published]
    if crowded := together(verdicts, host):
        lines.append(f"{crowded}: lower inference_models_max, or their contexts")
    return "\n".join(lines)


def _row(verdict: Verdict) -> tuple[str, ...]:
    least, most = (f"{speed:.0f}" for speed in verdict.expected or (0, 0))
    expected = "-" if not verdict.expected else f"about {least}" if least == most else f"{least} to {most}"
    published = ", ".join(f"{each['tg128']:g} (pp512 {each['pp512']:g})" for each in verdict.published)
    return (
        verdict.name,
        _gib(verdict.file),
        str(verdict.context),
        _gib(verdict.cache),
        _gib(verdict.buffers),
        _gib(verdict.needed),
        "yes" if verdict.fits else "NO",
        f"{verdict.bytes_per_token / 1e9:.2f} GB",
        f"{verdict.bound:.1f}",
        expected,
        published or "-",
    )


def _gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB"


def picture(verdicts: Sequence[Verdict]) -> str:
    """What is expected of the models, as SVG."""
    bars = [
        plot.Bar(
            each.name,
            expected=each.expected,
            limit=each.bound,
            mark=each.published[0]["tg128"] if each.published else None,
            note=f"at most {each.bound:.0f}" + ("" if each.fits else ", does not fit"),
        )
        for each in verdicts
        if not each.trouble
    ]
    return plot.svg([plot.Panel("Answers, tokens a second", bars)], "What the declared models are expected to reach")


def host_of(document: Mapping[str, Any], seen: hardware.Hardware) -> Host:
    """What there is: what the document says, and for the rest the host that was read. Raises `Trouble`."""
    try:
        backend = Backend(document.get("backend") or "vulkan")
        size = float(document.get("memory_gib") or seen.memory / GIB)
        bandwidth = float(document.get("bandwidth_gbs") or BANDWIDTH[backend])
        gtt = (document.get("preflight") or document).get("gtt_gib")
        total = int(size * GIB)
        gpu = None if backend is Backend.CPU else memory.plan(total, int(gtt) if gtt else None).gtt_gib * GIB
        said = declarations.options(document.get("defaults"), "defaults")
        said |= declarations.options(document.get("arguments"), "arguments")
        host = Host(
            backend,
            total,
            gpu,
            bandwidth,
            int(document.get("models_max") or 1),
            max(0, int(said.get("cache-ram", PROMPT_CACHE_MIB))) * MIB,
        )
    except (ValueError, TypeError) as error:
        raise Trouble(f"the declaration cannot be used: {error}", "sizes and speeds are numbers") from None
    if host.memory <= 0 or host.bandwidth <= 0 or host.models_max < 1:
        raise Trouble(
            "memory, bandwidth and models_max have to be more than nothing", "see --memory-gib and --bandwidth"
        )
    return host


def choice(argv: Sequence[str]) -> int:
    """The command: 0 when all models fit, 1 when one does not or cannot be read, 2 when it is asked wrongly."""
    parser = argparse.ArgumentParser(prog="homelab-inference choice", description=__doc__)
    parser.add_argument("source", nargs="*", help="GGUF files, paths or addresses, beside what is declared")
    parser.add_argument("--models", type=Path, help="a file with what is declared, as JSON; - is standard input")
    parser.add_argument("--backend", choices=[each.value for each in Backend])
    parser.add_argument("--ctx", type=int, help="tokens of context, for all slots together")
    parser.add_argument("--memory-gib", type=float, help="instead of this host's")
    parser.add_argument("--gtt-gib", type=int, help="what the GPU may use (default: all but 16, at most 112)")
    parser.add_argument("--bandwidth", dest="bandwidth_gbs", type=float, help="of the memory, in GB/s")
    parser.add_argument("--root", type=Path, default=Path("/"), help="where /proc and /sys are (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="say it as JSON, for programs")
    parser.add_argument("--svg", type=Path, help="a file for a picture of it")
    words = parser.parse_args(argv)
    try:
        document = declarations.read(words.models)
        told = {
            key: value
            for key in ("backend", "memory_gib", "gtt_gib", "bandwidth_gbs")
            if (value := getattr(words, key)) is not None
        }
        document |= told
        if words.ctx:
            document["defaults"] = declarations.options(document.get("defaults"), "defaults") | {"ctx-size": words.ctx}
        document["models"] = [*(document.get("models") or []), *({"url": source} for source in words.source)]
        host = host_of(document, hardware.read(words.root))
        verdicts = [judge(declared, host) for declared in declarations.models(document)]
    except Trouble as trouble:
        print(f"homelab-inference choice: {trouble.with_hint}", file=sys.stderr)
        return 2
    if words.svg:
        words.svg.write_text(picture(verdicts))
    print(as_json(verdicts, host) if words.json else table(verdicts, host))
    return int(bool(together(verdicts, host)) or not all(verdict.fits for verdict in verdicts))


def as_json(verdicts: Sequence[Verdict], host: Host) -> str:
    """The same for programs; sizes in bytes, speeds in tokens a second, bandwidth in GB/s."""
    models = [{**asdict(verdict), "needed": verdict.needed} for verdict in verdicts]
    return json.dumps({"host": asdict(host), "models": models, "together": together(verdicts, host)}, indent=2)


if __name__ == "__main__":
    sys.exit(choice(sys.argv[1:]))
