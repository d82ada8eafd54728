"""Modules of the role's program, hosts to look at, and model files to read, made for a test."""

from __future__ import annotations

import importlib
import shutil
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.unit.roles import programs

FIXTURES = Path(__file__).parents[3] / "fixtures/inference"
WHOLE = ("framework-desktop", "no-gpu", "wyse-5070")
GIB = 1024**3
UINT32, FLOAT32, BOOL, STRING, ARRAY, UINT64 = 4, 6, 7, 8, 9, 10
# Numbers of ggml's tensor types.
F32, F16, Q4_0, Q8_0, Q6_K, MXFP4 = 0, 1, 2, 8, 14, 39
Shape = tuple[str, tuple[int, ...], int]
Shapes = Sequence[Shape]


def part(name: str) -> ModuleType:
    """One module of the program."""
    assert programs.ROLES  # its import has put the programs where they are found
    return importlib.import_module(f"homelab_inference.{name}")


def host(name: str, folder: Path) -> Path:
    """A host of the fixtures as a tree that a test may change."""
    root = folder / name
    shutil.copytree(FIXTURES / (name if name in WHOLE else "framework-desktop"), root)
    shutil.copytree(FIXTURES / name, root, dirs_exist_ok=True)
    return root


def text(value: str | bytes) -> bytes:
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(raw)) + raw


def entry(key: str, value: Any) -> bytes:
    """One entry of the metadata, of the type that converters give it."""
    if isinstance(value, bool):
        return text(key) + struct.pack("<I?", BOOL, value)
    if isinstance(value, int):
        return text(key) + struct.pack("<II", UINT32, value)
    if isinstance(value, float):
        return text(key) + struct.pack("<If", FLOAT32, value)
    if isinstance(value, str):
        return text(key) + struct.pack("<I", STRING) + text(value)
    kind = STRING if value and isinstance(value[0], str) else BOOL if isinstance(value[0], bool) else UINT32
    items = [text(item) if kind == STRING else struct.pack("<?" if kind == BOOL else "<I", item) for item in value]
    return text(key) + struct.pack("<IIQ", ARRAY, kind, len(value)) + b"".join(items)


def header(metadata: dict[str, Any], shapes: Shapes, version: int = 3) -> bytes:
    """A GGUF file up to where its tensors begin, made from the description of the format."""
    output = b"GGUF" + struct.pack("<IQQ", version, len(shapes), len(metadata))
    output += b"".join(entry(key, value) for key, value in metadata.items())
    offset = 0
    for name, shape, kind in shapes:
        output += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        offset += -(-_size(shape, kind) // 32) * 32
    return output + bytes(-len(output) % 32)


def file(metadata: dict[str, Any], shapes: Shapes) -> bytes:
    """A whole GGUF file, whose weights are all nought."""
    return header(metadata, shapes) + bytes(sum(-(-_size(shape, kind) // 32) * 32 for _, shape, kind in shapes))


def _size(shape: tuple[int, ...], kind: int) -> int:
    bits = {F32: 32, F16: 16, Q4_0: 4.5, Q8_0: 8.5, Q6_K: 6.5625, MXFP4: 4.25}[kind]
    count = 1
    for side in shape:
        count *= side
    return int(count * bits / 8)


def model(metadata: dict[str, Any], shapes: Shapes) -> Any:
    """The model whose header this is; the weights are not there."""

    def pieces() -> Iterator[bytes]:
        yield header(metadata, shapes)

    return part("model").Model(part("gguf").parse(part("pieces").Pieces(None, pieces()), "a.gguf"))


def llama(layers: int, embedding: int, heads: int, ahead: int, words: int, kv_heads: int = 0) -> tuple[Any, Any]:
    """Metadata and tensors of a model of the kind llama, as `llama-quantize` makes Q4_0 of it."""
    key = embedding // heads * (kv_heads or heads)
    shapes: list[Shape] = [("token_embd.weight", (embedding, words), Q4_0), ("output.weight", (embedding, words), Q6_K)]
    for layer in range(layers):
        block = f"blk.{layer}."
        shapes += [
            (f"{block}attn_norm.weight", (embedding,), F32),
            (f"{block}attn_q.weight", (embedding, embedding), Q4_0),
            (f"{block}attn_k.weight", (embedding, key), Q4_0),
            (f"{block}attn_v.weight", (embedding, key), Q4_0),
            (f"{block}attn_output.weight", (embedding, embedding), Q4_0),
            (f"{block}ffn_gate.weight", (embedding, ahead), Q4_0),
            (f"{block}ffn_up.weight", (embedding, ahead), Q4_0),
            (f"{block}ffn_down.weight", (ahead, embedding), Q4_0),
        ]
    metadata = {
        "general.architecture": "llama",
        "general.name": "a llama",
        "llama.block_count": layers,
        "llama.context_length": 4096,
        "llama.embedding_length": embedding,
        "llama.feed_forward_length": ahead,
        "llama.attention.head_count": heads,
        "llama.attention.head_count_kv": kv_heads or heads,
        "llama.rope.freq_base": 10000.0,
        "tokenizer.ggml.tokens": ["a", "b", "c"],
    }
    return metadata, shapes


def gpt_oss(layers: int, experts: int) -> tuple[Any, Any]:
    """gpt-oss as ggml-org publishes it: experts in MXFP4, other large tensors in Q8_0 (config.json, openai-moe.cpp)."""
    embedding, words, heads, kv_heads, head, ahead = 2880, 201088, 64, 8, 64, 2880
    shapes: list[Shape] = [("token_embd.weight", (embedding, words), Q8_0), ("output.weight", (embedding, words), Q8_0)]
    for layer in range(layers):
        block = f"blk.{layer}."
        shapes += [
            (f"{block}attn_q.weight", (embedding, heads * head), Q8_0),
            (f"{block}attn_k.weight", (embedding, kv_heads * head), Q8_0),
            (f"{block}attn_v.weight", (embedding, kv_heads * head), Q8_0),
            (f"{block}attn_output.weight", (heads * head, embedding), Q8_0),
            (f"{block}ffn_gate_inp.weight", (embedding, experts), F32),
            (f"{block}ffn_gate_exps.weight", (embedding, ahead, experts), MXFP4),
            (f"{block}ffn_up_exps.weight", (embedding, ahead, experts), MXFP4),
            (f"{block}ffn_down_exps.weight", (ahead, embedding, experts), MXFP4),
            (f"{block}ffn_gate_exps.bias", (ahead, experts), F32),
            (f"{block}ffn_up_exps.bias", (ahead, experts), F32),
            (f"{block}ffn_down_exps.bias", (embedding, experts), F32),
        ]
    metadata = {
        "general.architecture": "gpt-oss",
        "gpt-oss.block_count": layers,
        "gpt-oss.context_length": 131072,
        "gpt-oss.embedding_length": embedding,
        "gpt-oss.feed_forward_length": ahead,
        "gpt-oss.expert_feed_forward_length": ahead,
        "gpt-oss.attention.head_count": heads,
        "gpt-oss.attention.head_count_kv": kv_heads,
        "gpt-oss.attention.key_length": head,
        "gpt-oss.attention.value_length": head,
        "gpt-oss.attention.sliding_window": 128,
        "gpt-oss.expert_count": experts,
        "gpt-oss.expert_used_count": 4,
    }
    return metadata, shapes
