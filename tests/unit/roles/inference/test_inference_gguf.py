"""The header of a model, from a disk and over HTTP; and whatever else lies there instead."""

from __future__ import annotations

import http.server
import random
import struct
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles.inference import parts

gguf = parts.part("gguf")
pieces = parts.part("pieces")
quantities = parts.part("quantities")
Trouble = parts.part("errors").Trouble

SMALL = parts.llama(2, 256, 4, 512, 1024)


def parse(content: bytes) -> Any:
    return gguf.parse(pieces.from_bytes(content), "a.gguf")


def refused(content: bytes) -> str:
    with pytest.raises(Trouble) as caught:
        parse(content)
    assert caught.value.hint
    message: str = caught.value.message
    return message


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(parts.file(*SMALL))
    found = gguf.read(str(tmp_path / "a.gguf"))
    assert found.metadata["general.name"] == "a llama"
    assert found.metadata["llama.rope.freq_base"] == 10000.0
    assert found.metadata["tokenizer.ggml.tokens"] == gguf.Array(3)
    first = found.tensors[0]
    assert (first.name, first.type, first.shape, first.bytes) == (
        "token_embd.weight",
        "Q4_0",
        (256, 1024),
        256 * 1024 // 32 * 18,
    )
    assert found.size == (tmp_path / "a.gguf").stat().st_size
    assert found.weights == sum(tensor.bytes for tensor in found.tensors)


def test_short_lists_of_numbers_are_kept_and_long_ones_are_not() -> None:
    found = parse(parts.header({"a": [1, 2, 3], "b": [True, False], "c": [7] * 5000, "d": "x" * 10000}, []))
    assert found.metadata["a"] == gguf.Array(3, (1, 2, 3))
    assert found.metadata["b"] == gguf.Array(2, (True, False))
    assert found.metadata["c"] == gguf.Array(5000)
    assert len(found.metadata["d"]) == gguf.KEPT_TEXT


def test_every_type_has_the_size_that_its_name_says() -> None:
    """Bits for a weight, as ggml-org/llama.cpp, examples/quantize has them in its table."""
    bits = {"Q4_0": 4.5, "Q8_0": 8.5, "Q2_K": 2.625, "Q3_K": 3.4375, "Q4_K": 4.5, "Q5_K": 5.5, "Q6_K": 6.5625}
    bits |= {"IQ1_S": 1.5625, "IQ2_XXS": 2.0625, "IQ4_XS": 4.25, "MXFP4": 4.25, "NVFP4": 4.5, "Q1_0": 1.125, "BF16": 16}
    sizes = {name: size * 8 / weights for name, weights, size in quantities.TENSOR_TYPES.values()}
    assert {name: sizes[name] for name in bits} == bits


def test_a_type_that_is_newer_than_this_program_is_as_large_as_it_leaves_room() -> None:
    content = parts.header({}, [("a", (64, 32), parts.F16), ("b", (64,), parts.F32)])
    offset = content.index(struct.pack("<QQI", 64, 32, parts.F16)) + 16
    found = parse(content[:offset] + struct.pack("<I", 99) + content[offset + 4 :] + bytes(64 * 32 * 2 + 256))
    assert [(tensor.type, tensor.bytes) for tensor in found.tensors] == [("type 99", 4096), ("F32", 256)]


def test_a_model_in_several_files(tmp_path: Path) -> None:
    metadata, shapes = SMALL
    for number, some in enumerate((shapes[:5], shapes[5:]), start=1):
        own = {"split.count": 2, "split.no": number - 1} | (metadata if number == 1 else {})
        (tmp_path / f"a-{number:05}-of-00002.gguf").write_bytes(parts.file(own, some))
    found = gguf.read(str(tmp_path / "a-00001-of-00002.gguf"))
    assert [tensor.name for tensor in found.tensors] == [name for name, _, _ in shapes]
    assert found.size == sum(path.stat().st_size for path in tmp_path.iterdir())
    (tmp_path / "a-00002-of-00002.gguf").unlink()
    with pytest.raises(Trouble, match=r"a-00002-of-00002\.gguf: cannot be read: No such file"):
        gguf.read(str(tmp_path / "a-00001-of-00002.gguf"))


@pytest.mark.negative
@pytest.mark.parametrize("name", ["a-00002-of-00002.gguf", "model.gguf", "a-00001-of-00003.gguf"])
def test_a_part_that_is_not_the_first(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(parts.file({"split.count": 2}, SMALL[1]))
    with pytest.raises(Trouble, match="this is one of 2 parts of a model, and not named as the first of them"):
        gguf.read(str(tmp_path / name))


OTHERS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "a.gguf: 4 bytes should follow, and the file ends after 0 (at byte 0)"),
    "a web page": (b"<!doctype html><title>Sign in</title>", "a web page or an answer in words, not a model"),
    "an error in JSON": (b'{"error": "gated"}', "a web page or an answer in words, not a model"),
    "a pointer": (b"version " + b"git-lfs/spec/v1\noid sha256:0\nsize 1\n", "a pointer of Git LFS, not the model"),
    "an old model": (b"ggjt" + bytes(60), "a model in the format before GGUF"),
    "an archive": (b"PK\x03\x04" + bytes(60), "not a GGUF file: it begins with b'PK\\x03\\x04'"),
    "version 1": (b"GGUF" + struct.pack("<III", 1, 0, 0), "version 1 of GGUF, expected 2 or 3. (at byte 8)"),
    "another byte order": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "in the byte order of other computers"),
}


@pytest.mark.negative
@pytest.mark.parametrize("case", OTHERS)
def test_what_is_no_model(case: str) -> None:
    content, message = OTHERS[case]
    assert message in refused(content)


def head(tensors: int, entries: int, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, entries) + rest


def tensor(shape: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0, sides: int | None = None) -> bytes:
    count = len(shape) if sides is None else sides
    return head(1, 0, parts.text("t") + struct.pack(f"<I{len(shape)}QIQ", count, *shape, kind, offset) + bytes(64))


ARRAY, STRING = struct.pack("<I", parts.ARRAY), struct.pack("<I", parts.STRING)
LIES: dict[str, tuple[bytes, str]] = {
    "many tensors": (head(2**62, 0), "it claims 4611686018427387904 tensors and 0 entries"),
    "many entries": (head(0, 2**40), "it claims 0 tensors and 1099511627776 entries"),
    "more entries than there are": (head(0, 1), "8 bytes should follow, and the file ends after 24"),
    "a long name": (head(0, 1, struct.pack("<Q", 2**40)), "a name of 1099511627776 bytes, expected at most 65535"),
    "a long text": (
        head(0, 1, parts.text("k") + STRING + struct.pack("<Q", 2**50)),
        "4096 bytes should follow, and the file ends after",
    ),
    "a long array of numbers": (
        head(0, 1, parts.text("k") + ARRAY + struct.pack("<IQ", parts.UINT64, 2**61)),
        f"{2**64} bytes should follow",
    ),
    "a long array of texts": (
        head(0, 1, parts.text("k") + ARRAY + struct.pack("<IQ", parts.STRING, 2**40)),
        "8796093022208 bytes should follow",
    ),
    "arrays in arrays": (
        head(0, 1, parts.text("k") + ARRAY + struct.pack("<IQ", parts.ARRAY, 1) * 9 + bytes(64)),
        "'k' is an array of type 9, which there is none of",
    ),
    "an array of nothing known": (
        head(0, 1, parts.text("k") + ARRAY + struct.pack("<IQ", 77, 1) + bytes(9)),
        "'k' is an array of type 77, which there is none of",
    ),
    "a value of nothing known": (
        head(0, 1, parts.text("k") + struct.pack("<I", 13) + bytes(9)),
        "'k' has a value of type 13, which there is none of",
    ),
    "no dimensions": (tensor(()), "tensor 't' has 0 dimensions, expected 1 to 4"),
    "many dimensions": (tensor((32,), sides=2**31), "tensor 't' has 2147483648 dimensions, expected 1 to 4"),
    "a side of nought": (tensor((32, 0)), "tensor 't' has the shape (32, 0)"),
    "sides beyond measure": (tensor((2**40, 2**40, 2**40)), "which no tensor does"),
    "an offset beyond measure": (tensor(offset=2**63), "which no tensor does"),
    "part of a block": (tensor((33,), kind=parts.Q8_0), "tensor 't' of Q8_0 has rows of 33, no multiple of 32"),
    "beyond the end": (tensor((2**30,)), "tensor 't' ends at byte 4294967360, and the file after"),
    "an alignment": (parts.header({"general.alignment": 3}, []), "general.alignment is 3, expected a power of two"),
}


@pytest.mark.negative
@pytest.mark.parametrize("case", LIES)
def test_numbers_that_lie(case: str) -> None:
    content, message = LIES[case]
    assert message in refused(content)


@pytest.mark.negative
def test_a_download_that_broke_off(tmp_path: Path) -> None:
    whole = parts.file(*SMALL)
    (tmp_path / "a.gguf").write_bytes(whole[:-1000])
    with pytest.raises(Trouble) as caught:
        gguf.read(str(tmp_path / "a.gguf"))
    assert "and the file after" in caught.value.message
    assert caught.value.hint == "the file is cut off, as after an interrupted download: fetch the rest of it"


@pytest.mark.negative
def test_a_header_without_end_stops_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "LIMIT", 1024**2)

    def endless() -> Iterator[bytes]:
        yield head(0, 1, parts.text("k") + ARRAY + struct.pack("<IQ", parts.STRING, 2**16))
        while True:
            yield (struct.pack("<Q", 56) + bytes(56)) * 64

    tracemalloc.start()
    with pytest.raises(Trouble, match="its header claims to be larger than 1 MiB"):
        gguf.parse(pieces.Pieces(None, endless()), "a.gguf")
    assert tracemalloc.get_traced_memory()[1] < 256 * 1024
    tracemalloc.stop()


@pytest.mark.negative
def test_damage_of_any_kind_is_refused_or_harmless() -> None:
    """Damaged files: each is read, or refused with words; nothing else, and nothing large."""
    metadata, shapes = SMALL
    whole = parts.header(metadata | {"extra": [1, 2, 3], "words": ["a", "b"]}, shapes)
    chance = random.Random(7)
    huge = [struct.pack("<Q", number) for number in (0, 1, 2**31, 2**32, 2**63, 2**64 - 1)]
    tracemalloc.start()
    outcomes = []
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(damaged))
            match chance.randrange(4):
                case 0:
                    damaged[at] ^= 1 << chance.randrange(8)
                case 1:
                    damaged[at : at + 8] = chance.choice(huge)
                case 2:
                    del damaged[at : at + chance.randint(1, 16)]
                case 3:
                    damaged = damaged[: max(1, at)]
        outcomes.append(_understood(bytes(damaged)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert {True, False} == set(outcomes)
    assert peak < 8 * 1024**2


def _understood(content: bytes) -> bool:
    use = parts.part("model").Use(4096)
    try:
        found = parts.part("model").Model(gguf.parse(pieces.Pieces(None, iter([content])), "a.gguf"))
        numbers = found.kv_cache(use), found.buffers(use), found.bytes_per_token(100, use)
    except Trouble:
        return False
    assert min(numbers) >= 0
    return True


class Server(http.server.BaseHTTPRequestHandler):
    """A file, as servers of different kinds send it."""

    content = parts.file(*SMALL)
    kind = "ranges"
    asked: list[str]

    def do_GET(self) -> None:
        told = self.headers.get("Range", "")
        self.asked.append(told)
        first, last = (int(number) for number in told.removeprefix("bytes=").split("-"))
        if self.kind == "missing":
            self.send_error(404)
        elif self.kind == "moved" and "there" not in self.path:
            self.send_response(302)
            self.send_header("Location", "/there")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.kind == "whole":
            self._send(200, self.content, "")
        elif self.kind == "lying":
            self._send(206, self.content[7:100], f"bytes 7-99/{len(self.content)}")
        elif self.kind == "replaced" and first:
            self._send(206, self.content[first : last + 1], f"bytes {first}-{last}/{len(self.content) + 1}")
        elif self.kind == "breaks off" and first:
            self._send(206, b"", f"bytes {first}-{last}/{len(self.content)}", length=100)
        else:
            some = self.content[first : last + 1]
            self._send(206, some, f"bytes {first}-{first + len(some) - 1}/{len(self.content)}")

    def _send(self, status: int, body: bytes, told: str, length: int | None = None) -> None:
        self.send_response(status)
        if told:
            self.send_header("Content-Range", told)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def serving(kind: str) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    handler = type("Handler", (Server,), {"kind": kind, "asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/models/a.gguf?token=hunter2", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("kind", ["ranges", "whole", "moved"])
def test_a_model_that_is_not_here_yet(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 512)
    with serving(kind) as (url, asked):
        found = gguf.read(url)
    assert found.size == len(Server.content)
    assert found.weights == parse(Server.content).weights
    assert found.where.endswith("/models/a.gguf")
    if kind == "ranges":
        # Of 600 kB, the header alone.
        assert asked == [f"bytes={at}-{at + 511}" for at in range(0, len(asked) * 512, 512)]
        assert len(asked) == -(-len(parts.header(*SMALL)) // 512)


SERVERS = {
    "missing": "the server answers 404",
    "lying": "asked for the bytes from 0, the server sent bytes 7-99/",
    "replaced": "the file was replaced while it was read",
    "breaks off": "8 bytes should follow|the file is cut off: its header does not end|the answer broke off",
}


@pytest.mark.negative
@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_does_not_send_it(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 512)
    with serving(kind) as (url, _), pytest.raises(Trouble, match=SERVERS[kind]) as caught:
        gguf.read(url)
    # An address may hold a secret.
    assert "hunter2" not in caught.value.message + caught.value.hint
    assert "/models/a.gguf: " in caught.value.message


@pytest.mark.negative
def test_nobody_answers() -> None:
    with pytest.raises(Trouble, match=r"127\.0\.0\.1:9/a\.gguf: .*refused"):
        gguf.read("http://127.0.0.1:9/a.gguf")
    with pytest.raises(Trouble, match="cannot be read: Is a directory"):
        gguf.read("/")


@pytest.mark.negative
def test_a_server_that_sends_a_byte_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "DEADLINE", 0.0)
    begun = time.monotonic()
    with serving("ranges") as (url, _), pytest.raises(Trouble, match="took longer than 0 seconds"):
        gguf.read(url)
    assert time.monotonic() - begun < 30
