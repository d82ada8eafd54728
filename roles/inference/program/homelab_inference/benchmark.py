"""llama-bench for the declared models; what it says beside what the memory allows and what others have published."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from homelab_host.errors import Trouble

from . import declared as declarations
from . import gguf, plot
from .anchors import BANDWIDTH, SLACK, Anchor, Backend, anchors_of
from .declared import Declared
from .model import Model, Use
from .quantities import GIB

SERVER = Path("/opt/llama.cpp/current/llama-server")
PROMPT, GENERATED, ROUNDS = 512, 128, 3
HOURS = 2.0  # for one model: what hangs on a GPU hangs for ever


@dataclass(frozen=True)
class Measured:
    """One line of llama-bench: a prompt, or an answer, of so many tokens behind so many others; tokens a second."""

    file: str
    backend: Backend
    device: str
    build: int
    prompt: int
    generated: int
    depth: int
    speed: float
    deviation: float

    @property
    def test(self) -> str:
        words = [f"pp{self.prompt}"] if self.prompt else []
        words += [f"tg{self.generated}"] if self.generated else []
        return "+".join(words) + (f" at {self.depth}" if self.depth else "")


@dataclass(frozen=True)
class Comparison:
    """A measurement, what the memory allows, what others have published, and what is to be said of it."""

    model: str
    measured: Measured
    bound: float | None = None
    published: float | None = None
    source: str = ""
    remark: str = ""

    @property
    def share(self) -> float | None:
        return self.measured.speed / self.bound if self.bound else None


def command(bench: Path, help_text: str, declared: Declared, backend: Backend) -> list[str]:
    """How llama-bench is called. What its options are named depends on its build, whose --help tells."""
    use = declared.use
    words = [str(bench), "--output", "json", "--model", declared.source]
    words += ["--n-prompt", str(PROMPT), "--n-gen", str(GENERATED), "--repetitions", str(ROUNDS)]
    words += ["--ubatch-size", str(use.ubatch), "--cache-type-k", use.cache_type_k, "--cache-type-v", use.cache_type_v]
    words += ["--n-gpu-layers", "0" if backend is Backend.CPU else "999"]
    # A number before it could be on, off or auto.
    worded = re.search(r"--flash-attn\s+<[^>]*\bon\b", help_text)
    words += ["--flash-attn", ("on" if worded else "1") if use.flash_attention else ("off" if worded else "0")]
    if "--load-mode" in help_text:
        words += ["--load-mode", "none"]
    elif "--mmap" in help_text:
        words += ["--mmap", "0"]
    return words


def measure(words: Sequence[str], environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """Run llama-bench. Raises `Trouble` with what it said last."""
    done = _run(words, HOURS * 3600, environment)
    if done.returncode:
        last = "\n  ".join(done.stderr.strip().splitlines()[-5:])
        raise Trouble(f"llama-bench ended with {done.returncode}", f"it said last:\n  {last}")
    return parse(done.stdout, words[0])


def _run(words: Sequence[str], seconds: float, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=seconds, env={**os.environ, **environment})
    except FileNotFoundError:
        raise Trouble(
            f"{words[0]}: there is no such program", "it comes with llama.cpp: is the role converged?"
        ) from None
    except subprocess.TimeoutExpired:
        raise Trouble(
            f"llama-bench did not end within {seconds:g} seconds", "`journalctl -k`: does the GPU hang?"
        ) from None


def parse(text: str, where: str) -> list[dict[str, Any]]:
    """What llama-bench --output json has written. Raises `Trouble`."""
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise Trouble(f"{where}: no JSON: {error}", "expected is what `llama-bench --output json` writes") from None
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise Trouble(f"{where}: no list of results", "expected is what `llama-bench --output json` writes")
    return entries


def measured(entry: Mapping[str, Any]) -> Measured:
    """One result, understood. Raises `Trouble`."""
    try:
        speed = float(entry["avg_ts"])
        if not math.isfinite(speed) or speed <= 0:
            raise ValueError(f"avg_ts is {speed}")
        return Measured(
            str(entry["model_filename"]),
            _backend(str(entry.get("backends", "")), int(entry.get("n_gpu_layers", 0))),
            str(entry.get("gpu_info") or entry.get("cpu_info") or ""),
            int(entry.get("build_number") or 0),
            int(entry["n_prompt"]),
            int(entry["n_gen"]),
            int(entry.get("n_depth") or 0),
            speed,
            float(entry.get("stddev_ts") or 0),
        )
    except (KeyError, ValueError, TypeError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise Trouble(f"a result of llama-bench cannot be used: {why}", "is it whole, and of this program?") from None


def _backend(names: str, layers: int) -> Backend:
    if layers == 0:
        return Backend.CPU
    if "vulkan" in names.lower():
        return Backend.VULKAN
    return Backend.ROCM if re.search("rocm|hip", names, re.IGNORECASE) else Backend.CPU


def compare(
    results: Sequence[Measured], models: Mapping[str, Model], bandwidth: float | None = None
) -> list[Comparison]:
    """Each result beside its bound (for answers; of prompts the memory is none) and the published figure, if any.

    `models` are found by the name of the file that was measured; `bandwidth` is in GB/s.
    """
    return [_compared(each, models.get(each.file), bandwidth or BANDWIDTH[each.backend]) for each in results]


def _compared(result: Measured, model: Model | None, bandwidth: float) -> Comparison:
    name = Path(result.file).name.removesuffix(".gguf")
    if model is None:
        return Comparison(name, result, remark="its file could not be read: no bound")
    size = (model.header.size or model.weights) / GIB
    anchor = next(anchors_of(model.architecture, size, result.backend), None)
    known = _published(anchor, result) if anchor else None
    bound = None
    if result.generated and not result.prompt:
        middle = result.depth + result.generated // 2
        bound = bandwidth * 1e9 / model.bytes_per_token(middle if result.depth else 0, Use(max(1, middle)))
    found = Comparison(name, result, bound, known, anchor.source if anchor and known else "")
    return replace(found, remark=_remark(found))


def _published(anchor: Anchor, result: Measured) -> float | None:
    return {"pp512": anchor.pp512, "tg128": anchor.tg128}.get(result.test)


def _remark(found: Comparison) -> str:
    if found.share is not None and found.share > 1.05:
        return "faster than the memory allows: is the bandwidth right, and was it this file?"
    if found.published and found.measured.speed < (1 - SLACK) * found.published:
        missing = 1 - found.measured.speed / found.published
        return f"{missing:.0%} slower than published: does the GPU compute, are the kernel's arguments in force?"
    if found.published:
        return "as published" if found.measured.speed < 1.1 * found.published else "faster than published"
    return ""


def table(comparisons: Sequence[Comparison]) -> str:
    """For a person."""
    head = ("model", "test", "tokens/s", "at most", "share", "published", "")
    rows = [head, *(_row(each) for each in comparisons)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(each: Comparison) -> tuple[str, ...]:
    return (
        each.model,
        each.measured.test,
        f"{each.measured.speed:.1f} ± {each.measured.deviation:.1f}",
        f"{each.bound:.1f}" if each.bound else "-",
        f"{each.share:.0%}" if each.share else "-",
        f"{each.published:g}" if each.published else "-",
        each.remark,
    )


def picture(comparisons: Sequence[Comparison]) -> str:
    """The same as SVG: answers beside what the memory allows, prompts beside what is published."""
    answers = [_drawn(each) for each in comparisons if each.measured.generated]
    prompts = [_drawn(each) for each in comparisons if not each.measured.generated]
    panels = [plot.Panel("Answers, tokens a second", answers), plot.Panel("Prompts, tokens a second", prompts)]
    return plot.svg(panels, "Speeds measured by llama-bench, what the memory allows, and what others have published")


def _drawn(each: Comparison) -> plot.Bar:
    note = f"{each.measured.speed:.1f}" + (f", {each.share:.0%} of {each.bound:.1f}" if each.share else "")
    label = f"{each.model} {each.measured.test}"
    return plot.Bar(label, each.measured.speed, limit=each.bound, mark=each.published, note=note)


def benchmark(argv: Sequence[str]) -> int:
    """The command: 0 when everything was measured, 1 when something was not, 2 when it is asked wrongly."""
    parser = argparse.ArgumentParser(prog="homelab-inference benchmark", description=__doc__)
    parser.add_argument("--models", type=Path, help="what is declared, as JSON; measured are those with a `path`")
    parser.add_argument("--bench", type=Path, help="llama-bench (default: that of the build in service)")
    parser.add_argument("--results", type=Path, nargs="*", default=[], help="compare what was measured before instead")
    parser.add_argument("--backend", choices=[each.value for each in Backend], help="default: the declared one")
    parser.add_argument("--bandwidth", type=float, help="of the memory, in GB/s")
    parser.add_argument(
        "--out", type=Path, help="a directory for results.json, comparison.json, table.txt and plot.svg"
    )
    words = parser.parse_args(argv)
    try:
        if bool(words.models) == bool(words.results):
            raise Trouble("either --models or --results", "--models measures, --results compares what was measured")
        entries, troubles = _entries(words)
        results = [measured(entry) for entry in entries]
    except (Trouble, OSError, ValueError) as error:
        said = error.with_hint if isinstance(error, Trouble) else error
        print(f"homelab-inference benchmark: {said}", file=sys.stderr)
        return 2
    comparisons = compare(results, _models(results), words.bandwidth)
    if words.out:
        _write(words.out, entries, comparisons, troubles)
    print("\n".join([table(comparisons), *troubles]))
    return int(bool(troubles))


def _entries(words: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """What llama-bench says, of now or of before, and why not of every model."""
    if words.results:
        return [entry for path in words.results for entry in parse(path.read_text(), str(path))], []
    document = declarations.read(words.models)
    backend = Backend(words.backend or document.get("backend") or Backend.VULKAN)
    environment = {str(name): str(value) for name, value in (document.get("environment") or {}).items()}
    bench = words.bench or SERVER.resolve().with_name("llama-bench")
    helped = _run([str(bench), "--help"], 60, environment)
    entries: list[dict[str, Any]] = []
    troubles: list[str] = []
    for declared in declarations.models(document):
        try:
            if not declared.is_here:
                raise Trouble("it is not on this host", "`homelab-inference fetch` brings what is declared")
            entries += measure(command(bench, helped.stdout + helped.stderr, declared, backend), environment)
        except Trouble as trouble:
            troubles.append(f"{declared.name}: {trouble.with_hint}")
    return entries, troubles


def _models(results: Sequence[Measured]) -> dict[str, Model]:
    found = {}
    for file in {each.file for each in results}:
        try:
            found[file] = Model(gguf.read(file))
        except Trouble as trouble:
            print(trouble.with_hint, file=sys.stderr)
    return found


def _write(out: Path, entries: Any, comparisons: Sequence[Comparison], troubles: Sequence[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    compared = [{**asdict(each), "share": each.share} for each in comparisons]
    files = {
        "results.json": json.dumps(entries, indent=2),
        "comparison.json": json.dumps({"comparisons": compared, "troubles": troubles}, indent=2),
        "table.txt": "\n".join([table(comparisons), *troubles]),
        "plot.svg": picture(comparisons),
    }
    for name, text in files.items():
        (out / name).write_text(text if text.endswith("\n") else f"{text}\n")


if __name__ == "__main__":
    sys.exit(benchmark(sys.argv[1:]))
