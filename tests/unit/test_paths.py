from __future__ import annotations

from pathlib import Path

from homelab_provision.paths import files_below


def test_what_a_python_compiled_is_no_content(tmp_path: Path) -> None:
    for name in ("b/conf", "a", "b/__pycache__/conf.cpython-313.pyc", "__pycache__/x/y.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert files_below(tmp_path) == [tmp_path / "a", tmp_path / "b" / "conf"]
