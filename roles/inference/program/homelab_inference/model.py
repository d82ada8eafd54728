"""What a model takes and reads, from its header: memory for weights, cache and buffers, and bytes for each token.

All numbers are in bytes. What is computed exactly: weights, the KV cache of the architectures that are named here (of
another, it is taken to attend to everything everywhere: never too little), and the bytes of weights that are read for
a token. Buffers are an estimate, made to fit what llama.cpp has logged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from homelab_host.errors import Trouble

from .gguf import Array, Header, Tensor
from .quantities import CACHE_TYPES, cache_bytes

# Of so many layers in a row, all but the last look back over a window alone. Only where a file does not say so itself
# (attention.sliding_window_pattern): ggml-org/llama.cpp, src/models/<architecture>.cpp, `set_swa_pattern`.
WINDOW_PERIOD = {"gpt-oss": 2, "gemma2": 2, "gemma3": 6, "gemma3n": 5, "cohere2": 4}
# Of so many layers in a row, only the last attends to all tokens, the others keep a state of fixed size. The same
# folder, `full_attention_interval`.
ATTENTION_INTERVAL = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4}
# Contexts and windows are rounded up to this (src/llama-kv-cache-iswa.cpp, GGML_PAD).
PADDING = 256
MOST_LAYERS = 4096
BLOCK = re.compile(r"blk\.(\d+)\.")
EXPERTS = re.compile(r"_(ch)?exps\.")


@dataclass(frozen=True)
class Use:
    """How a model is to be served: what llama-server is told. `context` is for all slots together."""

    context: int
    parallel: int = 1
    ubatch: int = 512
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    flash_attention: bool = True

    def __post_init__(self) -> None:
        for name, most in (("context", 2**28), ("parallel", 1024), ("ubatch", 2**20)):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= most:
                raise Trouble(f"{name} is {number!r}", f"expected a whole number from 1 to {most}")
        for name in ("cache_type_k", "cache_type_v"):
            if getattr(self, name) not in CACHE_TYPES:
                raise Trouble(f"{name} is {getattr(self, name)!r}", f"expected one of {', '.join(CACHE_TYPES)}")


class Model:
    """A header, understood. Raises `Trouble` where it lacks what every model for text has."""

    def __init__(self, header: Header) -> None:
        self.header = header
        architecture = header.metadata.get("general.architecture")
        if not isinstance(architecture, str):
            raise Trouble(
                f"{header.where}: it does not say which architecture it has", "is this a model, or a part of one?"
            )
        self.architecture = architecture
        self.layers = self._number("block_count", most=MOST_LAYERS) - self._number("nextn_predict_layers", 0)
        self.embedding = self._number("embedding_length")
        self.context = self._number("context_length", 0)
        self.heads = self._each("attention.head_count")
        self.kv_heads = self._each("attention.head_count_kv", self.heads)
        head = self.embedding // max(1, 1, *self.heads)
        self.key_length = self._number("attention.key_length", head)
        self.value_length = self._number("attention.value_length", head)
        self.experts = self._number("expert_count", 0)
        self.experts_used = self._number("expert_used_count", 0)
        if self.layers < 1 or self.experts_used > self.experts:
            raise Trouble(
                f"{header.where}: {self.layers} layers, {self.experts_used} of {self.experts} experts used",
                "the file's metadata contradict one another: it is damaged, or badly converted",
            )
        self.vocabulary = self._vocabulary()
        self.window = self._number("attention.sliding_window", 0)
        # False: it makes embeddings of texts, generates nothing, and keeps no cache.
        self.causal = header.metadata.get(f"{architecture}.attention.causal", True) is not False

    @property
    def name(self) -> str:
        name = self.header.metadata.get("general.name")
        return name if isinstance(name, str) else self.header.where.rpartition("/")[2]

    @property
    def parameters(self) -> int:
        total = 0
        for tensor in self.header.tensors:
            count = 1
            for side in tensor.shape:
                count *= side
            total += count
        return total

    @property
    def weights(self) -> int:
        return self.header.weights

    def kv_cache(self, use: Use) -> int:
        """The KV cache for the whole context, with what layers of other kinds keep for each slot."""
        if not self.causal:
            return 0
        cells = _padded(use.context)
        windowed = self._windowed()
        # One cache for all slots (--kv-unified) has room for a window of each.
        near = min(cells, _padded(self.window * use.parallel + use.ubatch)) if self.window else cells
        total = 0
        for layer in range(self.layers):
            if self._attends(layer):
                keys, values = self.kv_heads[layer] * self.key_length, self.kv_heads[layer] * self.value_length
                a_cell = cache_bytes(use.cache_type_k, keys) + cache_bytes(use.cache_type_v, values)
                total += a_cell * (near if windowed[layer] else cells)
            else:
                total += self._state() * use.parallel
        return total

    def buffers(self, use: Use) -> int:
        """Room for what is computed at once, estimated.

        A micro-batch's logits beside its last embeddings (gpt-oss-20b, 512: 398.38 MiB, as logged; llama-2-7B: 70.5),
        or what the feed-forward layers hold, whichever is larger, and the mask of the attention.
        """
        last = self.vocabulary + self.embedding
        ahead = max(self._each("feed_forward_length", [0] * self.layers))
        if self.experts_used:
            ahead = max(ahead, self._number("expert_feed_forward_length", ahead) * self.experts_used)
        middle = 2 * ahead + 2 * self.embedding
        mask = 6 * use.ubatch * _padded(use.context)
        if not use.flash_attention:
            mask += 4 * max(self.heads) * use.ubatch * _padded(use.context)
        return 4 * use.ubatch * max(last, middle) + mask

    def bytes_per_token(self, depth: int = 0, use: Use | None = None) -> int:
        """What has to be read for one token, with so many tokens before it: all weights that take part, and the cache.

        Of the embeddings one row is read, unless they are the output, too; of the experts those that are used; of
        layers that predict further tokens nothing.
        """
        output_of_its_own = any(tensor.name == "output.weight" for tensor in self.header.tensors)
        weights = sum(self._read(tensor, output_of_its_own) for tensor in self.header.tensors)
        if not depth:
            return weights
        use = use or Use(depth)
        seen = Use(depth, 1, 1, use.cache_type_k, use.cache_type_v)
        return weights + self.kv_cache(seen)

    def _read(self, tensor: Tensor, output_of_its_own: bool) -> int:
        block = BLOCK.match(tensor.name)
        if block and int(block[1]) >= self.layers:
            return 0
        if tensor.name in ("token_embd.weight", "per_layer_token_embd.weight"):
            tied = tensor.name == "token_embd.weight" and not output_of_its_own
            return tensor.bytes if tied else tensor.bytes // max(1, tensor.shape[-1])
        if self.experts and EXPERTS.search(tensor.name):
            return tensor.bytes * self.experts_used // self.experts
        return tensor.bytes

    def _windowed(self) -> list[bool]:
        """Which layers look back over a window alone."""
        if not self.window:
            return [False] * self.layers
        told = self.header.metadata.get(f"{self.architecture}.attention.sliding_window_pattern")
        if isinstance(told, Array) and told.numbers:
            return [bool(told.numbers[layer % told.count]) for layer in range(self.layers)]
        period = told if isinstance(told, int) and told > 0 else WINDOW_PERIOD.get(self.architecture, 1)
        return [layer % period < period - 1 for layer in range(self.layers)]

    def _attends(self, layer: int) -> bool:
        told = self.header.metadata.get(f"{self.architecture}.attention.recurrent_layers")
        if isinstance(told, Array) and told.numbers and layer < told.count:
            return not told.numbers[layer]
        interval = self._number("full_attention_interval", ATTENTION_INTERVAL.get(self.architecture, 1))
        return self.kv_heads[layer] > 0 and (layer + 1) % max(1, interval) == 0

    def _state(self) -> int:
        """What a layer without a KV cache keeps for a slot, in 32 bits (src/llama-hparams.cpp, n_embd_r, n_embd_s)."""
        inner, state = self._number("ssm.inner_size", 0), self._number("ssm.state_size", 0)
        behind = max(0, self._number("ssm.conv_kernel", 0) - 1)
        return 4 * (behind * (inner + 2 * self._number("ssm.group_count", 0) * state) + state * inner)

    def _vocabulary(self) -> int:
        for tensor in self.header.tensors:
            if tensor.name == "token_embd.weight":
                return tensor.shape[-1]
        tokens = self.header.metadata.get("tokenizer.ggml.tokens")
        return tokens.count if isinstance(tokens, Array) else self._number("vocab_size", 0)

    def _number(self, key: str, otherwise: int | None = None, most: int = 2**31) -> int:
        return max(self._read_numbers(key, [] if otherwise is None else [otherwise], most))

    def _each(self, key: str, otherwise: Sequence[int] = ()) -> list[int]:
        """One number for each layer, also where the file has one for all."""
        numbers = self._read_numbers(key, otherwise, 2**20)
        if len(numbers) == 1:
            return list(numbers) * self.layers
        if len(numbers) < self.layers:
            raise Trouble(
                f"{self.header.where}: {self.architecture}.{key} has {len(numbers)} numbers for {self.layers} layers",
                "the file's metadata contradict one another: it is damaged, or badly converted",
            )
        return list(numbers[: self.layers])

    def _read_numbers(self, key: str, otherwise: Sequence[int], most: int) -> Sequence[int]:
        found = self.header.metadata.get(f"{self.architecture}.{key}")
        values = found.numbers if isinstance(found, Array) else (found,)
        if found is None and otherwise:
            return otherwise
        numbers = [value for value in values or () if isinstance(value, int) and 0 <= value <= most]
        if not numbers or len(numbers) != len(values or ()):
            shown = "nothing" if found is None else found
            raise Trouble(
                f"{self.header.where}: {self.architecture}.{key} is {shown}, expected whole numbers up to {most}",
                "a model for text says this of itself: is this one, or is the file damaged?",
            )
        return numbers


def _padded(cells: int) -> int:
    return -(-cells // PADDING) * PADDING
