"""The formatter lays out everything but the words of a command line, where an option and its value share a line."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
SKIP = "# fmt: " + "skip"


def misplaced(source: str) -> list[int]:
    """The lines that keep the formatter away from a statement without an option of a command line in it."""
    lines = [number for number, line in enumerate(source.splitlines(), 1) if line.endswith(SKIP)]
    statements = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)] if lines else []
    return [line for line in lines if not any(_is_option(node) for node in ast.walk(_at(statements, line)))]


def _at(statements: list[ast.stmt], line: int) -> ast.AST:
    """The smallest statement with this line; of one with a body what stands before the body, decorators too."""
    around = [node for node in statements if _begin(node) <= line <= (node.end_lineno or 0)]
    smallest = min(around, key=lambda node: (node.end_lineno or 0) - _begin(node))
    items = smallest.items if isinstance(smallest, ast.With) else []
    head = [child for child in ast.iter_child_nodes(smallest) if isinstance(child, ast.expr)]
    return ast.Tuple(elts=[*head, *(item.context_expr for item in items)])


def _begin(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _is_option(node: ast.AST) -> bool:
    first = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else node
    return isinstance(first, ast.Constant) and isinstance(first.value, str) and first.value.startswith("-")


def python() -> Iterator[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", "*.py"], cwd=PROJECT, capture_output=True, text=True, check=True)
    return (PROJECT / name for name in listed.stdout.split("\0") if name)


@pytest.mark.processes
def test_the_formatter_is_kept_from_command_lines_only() -> None:
    found = [f"{path.relative_to(PROJECT)}:{line}" for path in python() for line in misplaced(path.read_text())]
    assert not found, f"let `ruff format` lay these out: {', '.join(found)}"


@pytest.mark.negative
@pytest.mark.parametrize(
    ("source", "lines"),
    [
        (f"run(['ip', '-n', name])  {SKIP}\n", []),
        (f"run(['ip', f'--name={{name}}'])  {SKIP}\n", []),
        (f"table = [1,\n  2]  {SKIP}\n", [2]),
        (f"def f(a,\n  b):  {SKIP}\n    return ['-n']\n", [2]),
        (f"@mark([1,\n  2])  {SKIP}\ndef f():\n    pass\n", [2]),
        (f"@mark(['-n',\n  2])  {SKIP}\ndef f():\n    pass\n", []),
        (f"with run('-n'):  {SKIP}\n    pass\n", []),
    ],
)
def test_what_is_no_command_line_is_found(source: str, lines: list[int]) -> None:
    assert misplaced(source) == lines
