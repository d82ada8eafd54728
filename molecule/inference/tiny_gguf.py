"""A language model of a few hundred kilobytes that was never taught anything, in the format GGUF.

A real server loads it, answers with it, and computes vectors with it; what it says means nothing. The same seed makes
the same bytes. The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (version 3, little endian).
"""

from __future__ import annotations

import random
import struct
import sys
from array import array
from pathlib import Path

EMBEDDING, HEADS, KV_HEADS, LAYERS, FEED_FORWARD, CONTEXT = 64, 4, 2, 2, 128, 2048
ALIGNMENT = 32
# A word of its own, so that who asks can make it be said (`logit_bias`): what comes after it, the server sees to.
CALL = "<tool_call>"
CHAT = """\
{% for t in tools or [] %}{{ t | tojson }}
{% endfor %}{% for m in messages %}{{ m['role'] }}: {{ m['content'] or '' }}{% for c in m['tool_calls'] or [] %}
<tool_call>{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}</tool_call>{% endfor %}
{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"""

UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
UNKNOWN, CONTROL, NORMAL, BYTE = 2, 3, 1, 6


def string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key: str, value: int | float | str) -> bytes:
    """One fact of the model."""
    if isinstance(value, str):
        return string(key) + struct.pack("<I", STRING) + string(value)
    if isinstance(value, bool):
        return string(key) + struct.pack("<I?", BOOL, value)
    if isinstance(value, float):
        return string(key) + struct.pack("<If", FLOAT32, value)
    return string(key) + struct.pack("<II", UINT32, value)


def entries(key: str, kind: int, values: list[bytes]) -> bytes:
    """A list of facts, each packed already."""
    return string(key) + struct.pack("<IIQ", ARRAY, kind, len(values)) + b"".join(values)


def vocabulary() -> tuple[list[str], list[int]]:
    """Tokens and their kinds: every byte, and some letters so that there is something to put together."""
    words = [chr(97 + number) for number in range(26)] + ["\u2581"] + [f"\u2581{chr(97 + n)}" for n in range(26)]
    words.append(CALL)
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{number:02X}>" for number in range(256)), *words]
    return tokens, [UNKNOWN, CONTROL, CONTROL, *([BYTE] * 256), *([NORMAL] * len(words))]


def tensors(words: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes, the innermost dimension first."""
    found: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (EMBEDDING, words),
        "output_norm.weight": (EMBEDDING,),
        "output.weight": (EMBEDDING, words),
    }
    narrow = EMBEDDING // HEADS * KV_HEADS
    for layer in range(LAYERS):
        shapes: dict[str, tuple[int, ...]] = {
            "attn_norm": (EMBEDDING,),
            "ffn_norm": (EMBEDDING,),
            "attn_q": (EMBEDDING, EMBEDDING),
            "attn_k": (EMBEDDING, narrow),
            "attn_v": (EMBEDDING, narrow),
            "attn_output": (EMBEDDING, EMBEDDING),
            "ffn_gate": (EMBEDDING, FEED_FORWARD),
            "ffn_up": (EMBEDDING, FEED_FORWARD),
            "ffn_down": (FEED_FORWARD, EMBEDDING),
        }
        found |= {f"blk.{layer}.{name}.weight": shape for name, shape in shapes.items()}
    return found


def facts(name: str) -> list[bytes]:
    tokens, kinds = vocabulary()
    scores = [0.0] * 259 + [-float(number) for number in range(len(tokens) - 259)]
    return [
        entry("general.architecture", "llama"),
        entry("general.name", name),
        entry("general.file_type", 0),
        entry("llama.context_length", CONTEXT),
        entry("llama.embedding_length", EMBEDDING),
        entry("llama.block_count", LAYERS),
        entry("llama.feed_forward_length", FEED_FORWARD),
        entry("llama.attention.head_count", HEADS),
        entry("llama.attention.head_count_kv", KV_HEADS),
        entry("llama.attention.layer_norm_rms_epsilon", 1e-5),
        entry("llama.rope.dimension_count", EMBEDDING // HEADS),
        entry("llama.vocab_size", len(tokens)),
        entry("tokenizer.ggml.model", "llama"),
        entry("tokenizer.ggml.pre", "default"),
        entries("tokenizer.ggml.tokens", STRING, [string(token) for token in tokens]),
        entries("tokenizer.ggml.scores", FLOAT32, [struct.pack("<f", score) for score in scores]),
        entries("tokenizer.ggml.token_type", INT32, [struct.pack("<i", kind) for kind in kinds]),
        entry("tokenizer.ggml.unknown_token_id", 0),
        entry("tokenizer.ggml.bos_token_id", 1),
        entry("tokenizer.ggml.eos_token_id", 2),
        # The server expects its own words back as they are in the template.
        entry("tokenizer.ggml.add_space_prefix", False),
        entry("tokenizer.chat_template", CHAT),
    ]


def tiny_gguf(name: str, seed: int) -> bytes:
    """The whole file."""
    numbers = random.Random(seed)
    header, data = [], bytearray()
    shapes = tensors(len(vocabulary()[0]))
    for tensor, shape in shapes.items():
        header.append(string(tensor) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(data)))
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        weights = [1.0] * count if len(shape) == 1 else [numbers.gauss(0, 0.05) for _ in range(count)]
        data += array("f", weights).tobytes()
        data += bytes(-len(data) % ALIGNMENT)
    known = facts(name)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(known)) + b"".join(known) + b"".join(header)
    return head + bytes(-len(head) % ALIGNMENT) + bytes(data)


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(tiny_gguf(Path(sys.argv[1]).stem, int(sys.argv[2])))
