"""What llama-bench says, beside what the memory allows and what others have published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.unit.roles.inference import parts

benchmark = parts.part("benchmark")
declared = parts.part("declared")
anchors = parts.part("anchors")
plot = parts.part("plot")
Trouble = parts.part("errors").Trouble

HELP = (parts.FIXTURES / "llama-bench-help.txt").read_text()
# As builds before July 2026 say it.
OLDER_HELP = "-fa, --flash-attn <0|1>  (default: 0)\n-mmp, --mmap <0|1>  (default: 1)\n"


def result(**changed: Any) -> dict[str, Any]:
    """One result: of answers, from a GPU, as published for llama-2-7B."""
    (one, *_) = json.loads((parts.FIXTURES / "llama-bench.json").read_text())
    gpu = {"backends": "Vulkan", "n_gpu_layers": 999, "gpu_info": "RADV GFX1151", "model_filename": "/srv/llama.gguf"}
    return {**one, **gpu, "n_prompt": 0, "n_gen": 128, "avg_ts": 55.7, "stddev_ts": 0.1, **changed}


def compared(*entries: dict[str, Any]) -> list[Any]:
    llama = parts.model(*parts.llama(32, 4096, 32, 11008, 32000))
    measured = [benchmark.measured(entry) for entry in entries]
    found: list[Any] = benchmark.compare(measured, {"/srv/llama.gguf": llama})
    return found


def test_what_llama_bench_has_written() -> None:
    entries = benchmark.parse((parts.FIXTURES / "llama-bench.json").read_text(), "a.json")
    found = [benchmark.measured(entry) for entry in entries]
    assert [(each.test, round(each.speed)) for each in found] == [
        ("pp16", 110),
        ("tg4", 48),
        ("pp16 at 64", 90),
        ("tg4 at 64", 60),
    ]
    assert {(each.backend, each.build, each.device) for each in found} == {("cpu", 11669, "CPU")}


def test_an_answer_beside_its_bound_and_what_is_published() -> None:
    (found,) = compared(result())
    assert (found.model, found.measured.backend) == ("llama", "vulkan")
    assert found.bound == pytest.approx(68.3, rel=0.001)
    assert found.share == pytest.approx(0.82, abs=0.005)
    assert (found.published, found.remark) == (55.7, "as published")
    assert found.source.startswith("kyuz0/amd-strix-halo-toolboxes")


def test_a_prompt_has_no_bound() -> None:
    (found,) = compared(result(n_prompt=512, n_gen=0, avg_ts=1500))
    assert (found.bound, found.share, found.published, found.remark) == (None, None, 1338, "faster than published")


def test_behind_many_tokens_the_cache_is_read_too() -> None:
    """The cache of 4096 tokens is 2 GiB, and 64 of the answer's own are there on average."""
    (found,) = compared(result(n_depth=4032))
    assert found.bound == pytest.approx(256e9 / (3.75e9 + 2 * 1024**3), rel=0.001)
    assert (found.measured.test, found.published) == ("tg128 at 4032", None)


def test_another_back_end_has_other_figures() -> None:
    (rocm,) = compared(result(backends="ROCm", avg_ts=50.6))
    assert (rocm.measured.backend, rocm.published, rocm.remark) == ("rocm", 50.6, "as published")
    (cpu,) = compared(result(n_gpu_layers=0, avg_ts=20))
    assert (cpu.measured.backend, cpu.bound, cpu.published) == ("cpu", pytest.approx(26.7, abs=0.1), None)


@pytest.mark.negative
def test_what_is_remarked_on() -> None:
    slow, fast, unknown = compared(
        result(n_prompt=512, n_gen=0, avg_ts=340), result(avg_ts=90), result(model_filename="/srv/gone.gguf")
    )
    assert slow.remark == "75% slower than published: does the GPU compute, are the kernel's arguments in force?"
    assert fast.remark == "faster than the memory allows: is the bandwidth right, and was it this file?"
    assert unknown.remark == "its file could not be read: no bound"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({"avg_ts": 0}, "a result of llama-bench cannot be used: avg_ts is 0.0"),
    "no number": ({"avg_ts": "nan"}, "a result of llama-bench cannot be used: avg_ts is nan"),
    "words": ({"n_prompt": "many"}, "a result of llama-bench cannot be used: invalid literal"),
}


@pytest.mark.negative
@pytest.mark.parametrize("case", WRONG)
def test_a_result_that_is_none(case: str) -> None:
    changed, message = WRONG[case]
    with pytest.raises(Trouble) as caught:
        benchmark.measured(result(**changed))
    assert caught.value.message.startswith(message)


@pytest.mark.negative
def test_a_file_that_has_no_results() -> None:
    with pytest.raises(Trouble, match=r"a\.json: no JSON: "):
        benchmark.parse("| model | size |", "a.json")
    with pytest.raises(Trouble, match=r"a\.json: no list of results"):
        benchmark.parse('{"avg_ts": 1}', "a.json")
    with pytest.raises(Trouble, match="cannot be used: it has no 'avg_ts'"):
        benchmark.measured({"model_filename": "a"})


def a_model(**options: Any) -> Any:
    (one,) = declared.models({"models": [{"name": "a", "path": "/srv/a.gguf", "options": options}]})
    return one


def test_llama_bench_is_called_in_the_words_of_its_build() -> None:
    bench = Path("/opt/llama.cpp/current/llama-bench")
    vulkan, cpu = anchors.Backend.VULKAN, anchors.Backend.CPU
    usual = benchmark.command(bench, HELP, a_model(**{"ubatch-size": 1024, "cache-type-k": "q8_0"}), vulkan)
    assert " ".join(usual) == (
        "/opt/llama.cpp/current/llama-bench --output json --model /srv/a.gguf --n-prompt 512 --n-gen 128 "
        "--repetitions 3 --ubatch-size 1024 --cache-type-k q8_0 --cache-type-v f16 --n-gpu-layers 999 "
        "--flash-attn on --load-mode none"
    )
    older = benchmark.command(bench, OLDER_HELP, a_model(**{"flash-attn": False}), cpu)
    assert " ".join(older).endswith("--n-gpu-layers 0 --flash-attn 0 --mmap 0")
    assert "--flash-attn 1 --mmap 0" in " ".join(benchmark.command(bench, OLDER_HELP, a_model(), vulkan))


SCRIPT = """#!/bin/sh
case "$*" in
  --help) cat {help} ;;
  *broken*) echo "loading model" >&2; echo "error: out of memory" >&2; exit 1 ;;
  *) cat {results} ;;
esac
"""


@pytest.mark.processes
def test_the_command_measures_what_is_declared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = tmp_path / "llama-bench"
    bench.write_text(SCRIPT.format(help=parts.FIXTURES / "llama-bench-help.txt", results=tmp_path / "said.json"))
    bench.chmod(0o755)
    file = tmp_path / "a.gguf"
    file.write_bytes(parts.file(*parts.llama(2, 256, 4, 512, 1024)))
    (tmp_path / "said.json").write_text(json.dumps([result(model_filename=str(file)), result(n_prompt=512, n_gen=0)]))
    models = [
        {"name": "a", "path": str(file)},
        {"name": "b", "path": "/srv/broken.gguf"},
        {"name": "c", "url": "http://127.0.0.1/c.gguf"},
    ]
    (tmp_path / "models.json").write_text(json.dumps({"models": models}))
    out = tmp_path / "out"
    words = ["--models", str(tmp_path / "models.json"), "--bench", str(bench), "--out", str(out)]
    assert benchmark.benchmark(words) == 1
    said = capsys.readouterr()
    assert "b: llama-bench ended with 1\n  it said last:\n  loading model\n  error: out of memory" in said.out
    assert "c: it is not on this host\n  `homelab-inference fetch` brings what is declared" in said.out
    assert "/srv/llama.gguf: cannot be read" in said.err
    assert sorted(path.name for path in out.iterdir()) == ["comparison.json", "plot.svg", "results.json", "table.txt"]
    told = json.loads((out / "comparison.json").read_text())
    assert [each["model"] for each in told["comparisons"]] == ["a", "llama"]
    assert told["comparisons"][0]["share"] > 0
    assert len(told["troubles"]) == 2
    # What was measured can be compared again, elsewhere.
    assert benchmark.benchmark(["--results", str(out / "results.json"), "--bandwidth", "100"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == [
        "model",
        "test",
        "tokens/s",
        "at",
        "most",
        "share",
        "published",
    ]


@pytest.mark.negative
@pytest.mark.processes
def test_the_command_says_when_it_is_asked_wrongly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.benchmark([]) == 2
    assert "either --models or --results" in capsys.readouterr().err
    assert benchmark.benchmark(["--results", str(tmp_path / "missing.json")]) == 2
    assert "missing.json" in capsys.readouterr().err
    (tmp_path / "models.json").write_text('{"models": []}')
    assert benchmark.benchmark(["--models", str(tmp_path / "models.json"), "--bench", str(tmp_path / "none")]) == 2
    assert f"{tmp_path}/none: there is no such program" in capsys.readouterr().err


def boxes(picture: str) -> list[tuple[str, float, float]]:
    """What is drawn: its kind, where it begins, how long it is."""
    found = [each for each in ElementTree.fromstring(picture).iter() if each.tag.endswith("}rect")]
    return [(each.attrib["class"], float(each.attrib["x"]), float(each.attrib["width"])) for each in found]


def test_lengths_are_as_the_numbers() -> None:
    bars = [plot.Bar("a", value=50, limit=100, mark=75), plot.Bar("b", expected=(25, 50))]
    found = boxes(plot.svg([plot.Panel("speed", bars), plot.Panel("none", [])], "a picture"))
    left, width = plot.LEFT, plot.WIDTH
    assert found[:4] == [
        ("limit", left, width),
        ("value", left, width / 2),
        ("mark", left + width * 0.75 - 1.5, 3),
        ("range", left + width / 4, width / 4),
    ]
    # And once each below, with what it means.
    assert [kind for kind, _, _ in found[4:]] == ["value", "range", "limit", "mark"]


def test_a_picture_for_light_and_for_dark() -> None:
    (found,) = compared(result(model_filename="/srv/llama.gguf"))
    drawn = benchmark.picture([found])
    light, dark = drawn.split("@media (prefers-color-scheme: dark)")
    for kind in ("text", ".limit", ".value", ".mark"):
        assert f"{kind} {{" in light
        assert f"{kind} {{" in dark
    assert "55.7, 82% of 68.3" in drawn


@pytest.mark.negative
def test_names_of_others_are_no_part_of_the_picture() -> None:
    drawn = plot.svg([plot.Panel("<b>", [plot.Bar("<script>a&b</script>" + "x" * 60, note='"')])], "&")
    texts = ["".join(each.itertext()) for each in ElementTree.fromstring(drawn).iter() if each.tag.endswith("}text")]
    assert texts == ["<b>", "<script>a&b</script>xxxxxxxxx…", '"']
    assert boxes(plot.svg([], "nothing")) == []
