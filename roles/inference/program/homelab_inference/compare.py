"""Whether the GPU computes, and computes the same as the CPU: the smallest model is asked one question on either."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from homelab_host.errors import Trouble

from .ask import ask
from .builds import SERVER
from .config import Config, Model
from .fetch import folder_of
from .flags import Flags, flags_of
from .gguf import SHARD
from .hardware import gpu_memory_used
from .places import Places
from .presets import offline, spoken, switch
from .scratch import Scratch, served

SECONDS = 1800.0
# A processor that plays a GPU, as its drivers call it.
SOFTWARE = re.compile(r"llvmpipe|lavapipe|swiftshader|softpipe", re.IGNORECASE)
# What a GPU got wrong in 2026 (llama.cpp #28211), it got wrong in prompts that are longer than one micro-batch. A
# processor that plays a GPU needs a second for each token.
BEYOND, SHORT = 64, 4
CANDIDATES = 20
TEXT = "The quick brown fox jumps over the lazy dog, and the dog thinks about it for a while. " * 400
ON_CPU = ("--n-gpu-layers", "0", "--device", "none")


@dataclass(frozen=True)
class Measured:
    """`first` are the likeliest first tokens of an answer, each with its probability.

    `memory` is by how many bytes what the GPU has in use has risen.
    """

    devices: tuple[str, ...]
    offloaded: int
    layers: int
    tokens: int
    first: Mapping[int, float]
    memory: int = 0

    @property
    def software(self) -> bool:
        return _is_software(self.devices)


def compare(config: Config, places: Places) -> dict[str, object]:
    """Raises Trouble if the model cannot be loaded on one of them."""
    models = [model for model in config.models if model.kind == "chat"]
    if config.backend == "cpu" or not models:
        return {"backend": config.backend, "model": None}
    model = min(models, key=lambda each: sum(file.size or 0 for file in each.files))
    flags = flags_of(places.current / SERVER)
    gpu = _measure(config, places, model, flags)
    cpu = _measure(config, places, model, flags, ON_CPU, gpu.tokens)
    return {
        "backend": config.backend,
        "model": model.name,
        "devices": list(gpu.devices),
        "software": gpu.software,
        "offloaded": gpu.offloaded,
        "layers": gpu.layers,
        "weights": weights(model),
        "gpu_memory": gpu.memory,
        "prompt_tokens": gpu.tokens,
        "distance": round(distance(gpu.first, cpu.first), 4),
        "same_first_token": _likeliest(gpu.first) == _likeliest(cpu.first),
    }


def weights(model: Model) -> int:
    """Bytes of what is loaded: the model's first file with its shards."""
    return sum(file.size or 0 for file in model.files if file is model.files[0] or SHARD.search(file.name))


def distance(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    """How far two distributions are apart, as far as both are known: 0 is the same, 1 is nothing in common."""
    found = sum(abs(one.get(token, 0.0) - other.get(token, 0.0)) for token in {*one, *other})
    return found / max(sum(one.values()) + sum(other.values()), 1e-9)


def _is_software(devices: Sequence[str]) -> bool:
    return any(SOFTWARE.search(device) for device in devices)


def _likeliest(first: Mapping[int, float]) -> int:
    return max(first, key=lambda token: first[token])


def _measure(
    config: Config, places: Places, model: Model, flags: Flags, more: Sequence[str] = (), tokens: int = 0
) -> Measured:
    options = spoken(flags, {"n-gpu-layers": "999", **config.defaults, **model.options})
    batch = int(options.get("ubatch-size", "512"))
    options["ctx-size"] = str(batch + BEYOND + 64)
    own = {file.name: str(folder_of(config, model) / file.name) for file in model.files}
    told = [
        word
        for name, value in options.items()
        if flags.knows(name)
        for word in switch(flags, name, own.get(value, value))
    ]
    server, model_file = (places.current / SERVER).resolve(), own[model.files[0].name]
    words = [server, "--port", str(config.port), "--model", model_file, "-lv", "4", *offline(flags), *told, *more]
    before = gpu_memory_used()
    with served(words, {}, SECONDS, config.environment) as found:
        if found.wrong:
            raise Trouble(f"{model.name}: llama.cpp {flags.version} {found.wrong}: {found.last_words}")
        devices, offloaded, layers = read_log(found.words)
        count = tokens or (SHORT if _is_software(devices) else batch + BEYOND)
        asked = _asked(found, model.name, count)
        return Measured(devices, offloaded, layers, *asked, gpu_memory_used() - before)


def read_log(text: str) -> tuple[tuple[str, ...], int, int]:
    """Devices that are used, and how many of how many layers are on them, as the server says at verbosity 4."""
    devices = re.findall(r"using device (.+?) - \d+ MiB free", text)
    layers = re.search(r"offloaded (\d+)/(\d+) layers to GPU", text)
    return tuple(dict.fromkeys(devices)), int(layers[1]) if layers else 0, int(layers[2]) if layers else 0


def _asked(found: Scratch, name: str, count: int) -> tuple[int, Mapping[int, float]]:
    tokens = _answer(found, name, "/tokenize", {"content": TEXT})["tokens"][:count]
    # A token that is only a part of a letter would not be told. Probabilities are those from before the grammar.
    wanted = {"prompt": tokens, "n_predict": 1, "temperature": 0, "n_probs": CANDIDATES, "cache_prompt": False}
    wanted["grammar"] = "root ::= [ -~]+"
    told = _answer(found, name, "/completion", wanted)
    listed = told["completion_probabilities"][0]["top_logprobs"]
    return int(told["tokens_evaluated"]), MappingProxyType({each["id"]: math.exp(each["logprob"]) for each in listed})


def _answer(found: Scratch, name: str, what: str, data: object) -> Any:
    answer = ask(found.socket, what, data=data, seconds=SECONDS)
    if answer is None or answer.status != 200:
        said = f"answers {answer.status}: {answer.body[:200]}" if answer else f"does not answer: {found.last_words}"
        raise Trouble(f"{name}: the server {said}")
    return answer.json
