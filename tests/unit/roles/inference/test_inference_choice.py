"""Which models fit a host and what they would reach, before they are there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.unit.roles.inference import parts
from tests.unit.roles.inference.parts import GIB

choice = parts.part("choice")
declared = parts.part("declared")
hardware = parts.part("hardware")
model = parts.part("model")
gguf = parts.part("gguf")
pieces = parts.part("pieces")
Trouble = parts.part("errors").Trouble

LLAMA = parts.llama(32, 4096, 32, 11008, 32000)
OSS_20B, OSS_120B = parts.gpt_oss(24, 32), parts.gpt_oss(36, 128)
KNOWN = {"/srv/llama-2-7b.gguf": LLAMA, "/srv/gpt-oss-20b.gguf": OSS_20B, "/srv/gpt-oss-120b.gguf": OSS_120B}


@pytest.fixture(autouse=True)
def headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of many gigabytes, of which there are headers alone."""
    read = gguf.read

    def known(source: str) -> Any:
        if source not in KNOWN:
            return read(source)
        return gguf.parse(pieces.Pieces(None, iter([parts.header(*KNOWN[source])])), source)

    monkeypatch.setattr(gguf, "read", known)


def host(root: Path | None = None, **document: Any) -> Any:
    seen = hardware.read(root or Path("/nowhere"))
    return choice.host_of({"memory_gib": 124.97, **document}, seen)


def verdict(source: str, at: Any = None, **options: Any) -> Any:
    document = {"models": [{"name": "one", "path": source, "options": options}]}
    (one,) = declared.models(document)
    return choice.judge(one, at or host())


def test_a_framework_desktop_with_gpt_oss_120b() -> None:
    """Published: 59.02 GiB, 56.6 tokens a second with RADV, of 72.4 at most (kyuz0, 2026-05-16)."""
    found = verdict("/srv/gpt-oss-120b.gguf", **{"ctx-size": 131072})
    assert found.fits
    assert found.weights / GIB == pytest.approx(59.02, rel=0.001)
    assert found.cache == 18 * 2048 * (131072 + 768)
    assert found.bound == pytest.approx(72.4, rel=0.02)
    assert [(each["tg128"], each["pp512"]) for each in found.published] == [(56.6, 720)]
    assert found.expected[0] < 56.6 < found.expected[1]
    assert found.bound_when_full < found.bound
    assert found.remedy == ""


def test_what_is_expected_is_the_share_that_others_reach() -> None:
    dense = verdict("/srv/llama-2-7b.gguf", **{"ctx-size": 4096})
    assert dense.expected == pytest.approx((0.82 * dense.bound, 0.82 * dense.bound))
    rocm = verdict("/srv/gpt-oss-20b.gguf", host(backend="rocm"), **{"ctx-size": 4096})
    assert rocm.expected == pytest.approx((0.72 * rocm.bound, 0.73 * rocm.bound))
    # An architecture that nobody has measured is taken for those that have.
    anchors = parts.part("anchors")
    assert anchors.shares("new", anchors.Backend.VULKAN, True) == (0.54, 0.80)
    assert anchors.shares("new", anchors.Backend.VULKAN, False) == (0.82, 0.82)
    # Nobody has published any for CPUs.
    assert verdict("/srv/llama-2-7b.gguf", host(backend="cpu"), **{"ctx-size": 4096}).expected is None


def test_a_model_keeps_the_context_of_its_training_where_nobody_says_another() -> None:
    assert verdict("/srv/gpt-oss-20b.gguf").context == 131072
    assert verdict("/srv/gpt-oss-20b.gguf", **{"ctx-size": 8192}).context == 8192


def test_a_context_that_is_too_large_and_one_that_fits() -> None:
    small = host(memory_gib=31.5, gtt_gib=15, arguments={"cache-ram": 0})
    found = verdict("/srv/llama-2-7b.gguf", small, **{"ctx-size": 65536, "parallel": 16})
    assert not found.fits
    said = found.remedy
    assert said.startswith("does not fit with a context of 65536; with ")
    largest = int(said.split("with ")[2].split()[0])
    assert verdict("/srv/llama-2-7b.gguf", small, **{"ctx-size": largest, "parallel": 16}).fits
    assert not verdict("/srv/llama-2-7b.gguf", small, **{"ctx-size": largest + 256, "parallel": 16}).fits


def test_what_can_be_done_about_a_model_that_does_not_fit() -> None:
    small = host(memory_gib=31.5, gtt_gib=15)
    assert verdict("/srv/gpt-oss-120b.gguf", small).remedy == (
        "does not fit with any context: take a smaller file of it, or a smaller model"
    )
    cramped = host(memory_gib=12, backend="cpu", arguments={"cache-ram": 8192})
    assert verdict("/srv/llama-2-7b.gguf", cramped, **{"ctx-size": 4096}).remedy == (
        "does not fit beside a prompt cache of 8192 MiB: lower cache-ram"
    )
    roomy = host(memory_gib=12, backend="cpu", arguments={"cache-ram": 1024})
    assert verdict("/srv/llama-2-7b.gguf", roomy, **{"ctx-size": 4096}).fits


def test_the_gpu_has_a_limit_of_its_own() -> None:
    assert verdict("/srv/gpt-oss-120b.gguf", host(gtt_gib=64), **{"ctx-size": 4096}).fits
    assert not verdict("/srv/gpt-oss-120b.gguf", host(gtt_gib=61), **{"ctx-size": 4096}).fits


def test_models_that_are_loaded_together() -> None:
    both = [verdict(path, **{"ctx-size": 4096}) for path in ("/srv/gpt-oss-120b.gguf", "/srv/gpt-oss-20b.gguf")]
    assert choice.together(both, host(models_max=1)) == ""
    assert choice.together(both, host(models_max=2)) == ""
    assert choice.together(both, host(models_max=2, gtt_gib=70)) == (
        "2 may be loaded at once, and one, one need 75.4 GiB of 70.0"
    )


def test_what_lies_beside_a_model_is_loaded_with_it() -> None:
    files = [{"path": "/srv/llama-2-7b.gguf"}, {"path": "/srv/mmproj.gguf", "size": GIB}]
    (one,) = declared.models({"models": [{"name": "one", "files": files}]})
    plain = verdict("/srv/llama-2-7b.gguf")
    assert choice.judge(one, host()).weights == plain.weights + GIB
    # Further parts of a model in several files are in its header's table already.
    files = [{"path": "/srv/a-00001-of-00002.gguf"}, {"path": "/srv/a-00002-of-00002.gguf", "size": GIB}]
    (parted,) = declared.models({"models": [{"name": "one", "files": files}]})
    assert parted.beside == 0


def test_small_models_are_not_said_to_be_fast(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(parts.file(*parts.llama(2, 256, 4, 512, 1024)))
    found = verdict(str(tmp_path / "a.gguf"))
    assert found.fits
    assert found.bound > 1000
    assert found.expected is None


def test_notes() -> None:
    found = verdict("/srv/llama-2-7b.gguf", **{"ctx-size": 32768, "parallel": 2})
    assert found.notes == (
        "2 slots share the context: 16384 tokens each",
        "trained for 4096 tokens, and told to take 16384: it will ramble",
    )


def test_a_document_of_the_role(tmp_path: Path) -> None:
    (tmp_path / "models/here").mkdir(parents=True)
    (tmp_path / "models/here/b.gguf").write_bytes(b"GGUF")
    document = {
        "models_url": "http://hub.home.arpa/",
        "models_folder": str(tmp_path / "models"),
        "defaults": {"parallel": 2, "ubatch-size": "256", "flash-attn": False, "load-mode": "none"},
        "models": [
            {
                "name": "chat",
                "context": 8192,
                "repository": "org/a model",
                "revision": "0123abc",
                "options": {"cache-type-k": "q8_0", "ubatch-size": 1024},
                "files": [{"file": "q4/a.gguf", "sha256": "0" * 64}],
            },
            {"name": "here", "files": [{"url": "http://127.0.0.1/b.gguf?token=hunter2"}]},
        ],
    }
    chat, here = declared.models(document)
    assert chat.source == "http://hub.home.arpa/org/a%20model/resolve/0123abc/q4/a.gguf"
    assert chat.use == model.Use(8192, 2, 1024, "q8_0", "f16", flash_attention=False)
    assert (chat.context_of_its_own, chat.is_here) == (False, False)
    assert (here.source, here.is_here) == (f"{tmp_path}/models/here/b.gguf", True)
    assert (here.use.ubatch, here.context_of_its_own) == (256, True)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no list": ({"models": "many"}, "`models` has to be a list"),
    "no object": ({"models": ["a"]}, "models[0] has no files"),
    "no file": ({"models": [{"name": "a", "files": [{}]}]}, "models[0] has a file without `path` and `url`"),
    "options": ({"models": [{"path": "a", "options": ["b"]}]}, "options of a is ['b']"),
    "defaults": ({"models": [{"path": "a"}], "defaults": "b"}, "defaults is 'b'"),
    "a number": ({"models": [{"path": "a", "options": {"parallel": "two"}}]}, "a: parallel is 'two'"),
    "a context": ({"models": [{"path": "a", "context": -1}]}, "context of a is -1"),
    "a type": ({"models": [{"path": "a", "options": {"cache-type-v": "q9"}}]}, "a: cache_type_v is 'q9'"),
    "none": ({"models": [{"path": "a", "options": {"parallel": 0}}]}, "a: parallel is 0"),
}


@pytest.mark.negative
@pytest.mark.parametrize("case", WRONG)
def test_a_document_that_nobody_can_use(case: str) -> None:
    document, message = WRONG[case]
    with pytest.raises(Trouble) as caught:
        declared.models(document)
    assert caught.value.message == message
    assert caught.value.hint


@pytest.mark.negative
@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"backend": "cuda"}, "the declaration cannot be used: 'cuda' is not a valid Backend"),
        ({"bandwidth_gbs": "fast"}, "the declaration cannot be used: could not convert string to float: 'fast'"),
        ({"bandwidth_gbs": -1}, "memory, bandwidth and models_max have to be more than nothing"),
        ({"memory_gib": 8}, "this host has 8 GiB of memory, of which 16 stay with the system"),
        ({"arguments": {"cache-ram": "all"}}, "the declaration cannot be used: invalid literal for int()"),
    ],
)
def test_a_host_that_nobody_has(document: dict[str, Any], message: str) -> None:
    with pytest.raises(Trouble) as caught:
        host(**document)
    assert caught.value.message.startswith(message)


def test_the_command_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = tmp_path / "models.json"
    models = [
        {"name": "llama", "path": "/srv/llama-2-7b.gguf", "context": 4096},
        {"name": "gpt-oss", "path": "/srv/gpt-oss-120b.gguf", "context": 32768},
    ]
    document.write_text(json.dumps({"models": models}))
    root = parts.host("framework-desktop", tmp_path)
    told = ["--models", str(document), "--root", str(root)]
    assert choice.choice(told) == 0
    assert capsys.readouterr().out.splitlines() == [
        "model    file       context  cache     buffers   needed     fits  read/token  at most  expected  published",
        "llama    3.56 GiB   4096     2.00 GiB  0.08 GiB  5.64 GiB   yes   3.75 GB     68.3     about 56  "
        "55.7 (pp512 1338)",
        "gpt-oss  59.02 GiB  32768    1.15 GiB  0.48 GiB  60.65 GiB  yes   3.59 GB     71.3     56 to 57  "
        "56.6 (pp512 720)",
        "",
        "125.0 GiB of memory, 108 GiB for the GPU; 256 GB/s; vulkan.",
        "Speeds are tokens a second for one conversation that has just begun: at most what the memory allows,",
        "expected is the share of it that others reach.",
        "llama: published by kyuz0/amd-strix-halo-toolboxes, docs/results.json, 2026-05-16: kernel 6.19.12, "
        "llama.cpp b9187/b9193, ROCm 7.2.3",
        "gpt-oss: published by kyuz0/amd-strix-halo-toolboxes, docs/results.json, 2026-05-16: kernel 6.19.12, "
        "llama.cpp b9187/b9193, ROCm 7.2.3",
    ]
    assert choice.choice([*told, "--gtt-gib", "32", "/srv/missing.gguf"]) == 1
    said = capsys.readouterr().out
    assert "gpt-oss: does not fit with any context" in said
    assert "missing.gguf: /srv/missing.gguf: cannot be read: No such file or directory" in said


def test_the_command_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    svg = tmp_path / "plot.svg"
    words = ["/srv/gpt-oss-20b.gguf", "--memory-gib", "124.97", "--ctx", "8192", "--bandwidth", "215"]
    assert choice.choice([*words, "--json", "--svg", str(svg)]) == 0
    told = json.loads(capsys.readouterr().out)
    (one,) = told["models"]
    assert (one["name"], one["fits"], one["context"]) == ("gpt-oss-20b.gguf", True, 8192)
    assert one["bound"] == pytest.approx(215 / 2.5734, rel=0.001)
    assert one["needed"] == one["weights"] + one["cache"] + one["buffers"]
    assert told["host"] == {
        "backend": "vulkan",
        "memory": int(124.97 * GIB),
        "gpu": 108 * GIB,
        "bandwidth": 215.0,
        "models_max": 1,
        "prompt_cache": 8 * GIB,
    }
    drawn = ElementTree.parse(svg)
    words = ["".join(text.itertext()) for text in drawn.iter() if text.tag.endswith("}text")]
    assert {"gpt-oss-20b.gguf", "at most 84", "expected", "what the memory allows", "published by others"} <= set(words)
    assert "measured" not in words


@pytest.mark.negative
def test_the_command_says_when_it_is_asked_wrongly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = tmp_path / "models.json"
    for text in ("{", "[]"):
        damaged.write_text(text)
        assert choice.choice(["--models", str(damaged)]) == 2
        assert str(damaged) in capsys.readouterr().err
    assert choice.choice(["--models", str(tmp_path / "missing.json")]) == 2
    assert choice.choice(["--memory-gib", "4", "/srv/llama-2-7b.gguf"]) == 2
    assert "a host this small computes on its CPU" in capsys.readouterr().err
