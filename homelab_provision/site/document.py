"""A YAML file that remembers where everything stands.

Scalars stay the text that the user wrote; the models give them types. So a serial `0012` keeps its
zeros, and no word turns into a boolean behind anybody's back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from homelab_provision import files
from homelab_provision.site.problems import Problem, excerpt

KeyPath = tuple[str | int, ...]
_NULL, _MERGE = "tag:yaml.org,2002:null", "tag:yaml.org,2002:merge"


@dataclass(frozen=True)
class Place:
    """A part of a file: line from 1, column from 0, and how many characters of that line it covers."""

    line: int
    column: int
    width: int


@dataclass
class Document:
    """One file of a site, parsed into nodes. `problems` holds what the parser itself has to say."""

    name: str
    text: str
    root: Node | None = None
    problems: list[Problem] = field(default_factory=list)
    sealed: bool = False  # it was opened with the vault's password: nothing of it is ever shown

    def problem(
        self,
        path: KeyPath,
        message: str,
        *,
        expected: str | None = None,
        suggestion: str | None = None,
        at_value: bool = False,
        called: str | None = None,
    ) -> Problem:
        """A problem with what stands at `path` (or with the nearest part of it that exists), shown as `called`."""
        place = self.place(path, at_value=at_value)
        return self._problem(place, called or dotted(path), message, expected, suggestion)

    def place(self, path: KeyPath, *, at_value: bool = False) -> Place:
        """Where the key (or the value) at `path` stands; the nearest parent if it does not exist."""
        node, found = self.root, self.root
        for step in path:
            pair = child(node, step)
            if pair is None:
                break
            key, node = pair
            # What is not written stands nowhere: the parser would say "where the next thing begins".
            found = key if key is not None and (not at_value or is_empty(node)) else node
        return self._place(found)

    def _place(self, node: Node | None) -> Place:
        if node is None:
            return Place(1, 0, 1)
        start, end = node.start_mark, node.end_mark
        same_line = start.line == end.line
        lines = self.text.splitlines()
        if start.line >= len(lines):  # a value that lacks at the very end
            return Place(max(1, len(lines)), 0, max(1, len(lines[-1]) if lines else 1))
        width = end.column - start.column if same_line else len(lines[start.line].rstrip()) - start.column
        return Place(start.line + 1, start.column, max(1, width))

    def _problem(self, place: Place, path: str, message: str, expected: str | None, suggestion: str | None) -> Problem:
        shown = "" if self.sealed else excerpt(self.text, place.line, place.column, place.width)
        return Problem(self.name, place.line, path, message, expected, suggestion, shown)

    def note_syntax(self, error: MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column, 1) if mark else Place(1, 0, 1)
        place = Place(min(place.line, max(1, len(self.text.splitlines()))), place.column, 1)
        since = f"; {error.context} that began in line {error.context_mark.line + 1}" if error.context_mark else ""
        self.problems.append(self._problem(place, "", f"not YAML: {error.problem}{since}", None, None))

    def note_duplicates(self) -> None:
        """YAML allows a key once; parsers take the last one and say nothing."""
        for path, mapping in _mappings(self.root, ()):
            seen: dict[str, int] = {}
            for key, _ in mapping.value:
                name = str(key.value)
                if name in seen:
                    self.problems.append(
                        self._problem(
                            self._place(key),
                            dotted((*path, name)),
                            "key is there twice",
                            f"each key once; the first one is in line {seen[name]}",
                            None,
                        )
                    )
                seen.setdefault(name, key.start_mark.line + 1)


def read_document(root: Path, name: str) -> Document:
    """Parse the file `name` of the site at `root`. Problems are collected, not raised."""
    try:
        text = files.read_text(root / name)
    except FileNotFoundError:
        return Document(name, "", None, [Problem(name, 0, "", "there is no such file", f"a site at {root}")])
    except OSError as error:
        problem = Problem(name, 0, "", f"cannot be read: {error.strerror}", "a YAML file in UTF-8")
        return Document(name, "", None, [problem])
    return parse_document(name, text)


def parse_document(name: str, text: str, *, sealed: bool = False) -> Document:
    document = Document(name, text, sealed=sealed)
    try:
        document.root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        document.note_syntax(error)
    except (YAMLError, ValueError, RecursionError) as error:  # also characters that no text has, and depth without end
        reason = "nested too deep" if isinstance(error, RecursionError) else (str(error).splitlines() or ["?"])[0]
        line = _line_of(error, text)
        document.problems.append(Problem(name, line, "", f"not YAML: {'' if sealed else reason}".rstrip(": ")))
    if too_much := _too_much(document.root):
        place = document._place(too_much)
        message = "an alias (`*name`) inside of what it stands for, or aliases of aliases without end"
        document.problems.append(document._problem(place, "", message, None, None))
        document.root = None
    document.note_duplicates()
    return document


def _line_of(error: Exception, text: str) -> int:
    """The line of a character that YAML does not allow; 1 where the error does not say."""
    position = getattr(error, "position", None)
    return text.count("\n", 0, position) + 1 if isinstance(position, int) else 1


def plain(node: Node | None, *, keep_empty: bool = False) -> object:
    """The node as dict, list, text or None. Keys without a value are left out (unless `keep_empty`); merges (`<<`) are
    applied."""
    if isinstance(node, MappingNode):
        merged: dict[str, object] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                for source in value.value if isinstance(value, SequenceNode) else [value]:
                    inherited = plain(source, keep_empty=keep_empty)
                    if isinstance(inherited, dict):
                        merged = {**inherited, **merged}
        # Of a key that is there twice (an error), the first one counts, as it does for `child`.
        own = {
            str(key.value): plain(value, keep_empty=keep_empty)
            for key, value in reversed(node.value)
            if key.tag != _MERGE
        }
        own = dict(reversed(own.items()))
        return {**merged, **{key: value for key, value in own.items() if keep_empty or value is not None}}
    if isinstance(node, SequenceNode):
        return [plain(item, keep_empty=keep_empty) for item in node.value]
    if isinstance(node, ScalarNode) and node.tag != _NULL:
        return str(node.value)
    return None


def is_null(node: Node | None) -> bool:
    """Whether a value says "nothing" (`~`, `null`), or is not written at all."""
    return isinstance(node, ScalarNode) and node.tag == _NULL


def is_empty(node: Node | None) -> bool:
    """Whether a value is not written at all."""
    return is_null(node) and str(getattr(node, "value", "")) == ""


def walk(node: Node | None, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Node]]:
    """Every value with its path; keys themselves are left out."""
    if node is None:
        return
    yield path, node
    if isinstance(node, MappingNode):
        for key, value in node.value:
            yield from walk(value, (*path, str(key.value)))
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            yield from walk(item, (*path, index))


def child(node: Node | None, step: str | int) -> tuple[Node | None, Node] | None:
    """The pair (key, value) at `step`: a key of a mapping (also a merged one) or an index of a list."""
    if isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
        return None, node.value[step]
    if not isinstance(node, MappingNode):
        return None
    for key, value in node.value:
        if key.tag != _MERGE and key.value == str(step):
            return key, value
    for key, value in node.value:
        if key.tag == _MERGE:
            for source in value.value if isinstance(value, SequenceNode) else [value]:
                if found := child(source, step):
                    return found
    return None


def at(node: Node | None, path: KeyPath) -> Node | None:
    """The value at `path`, or None."""
    for step in path:
        pair = child(node, step)
        if pair is None:
            return None
        node = pair[1]
    return node


def dotted(path: KeyPath) -> str:
    """`machines.wyse-b.passport.disks[0].size`"""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.lstrip(".")


MOST_NODES = 200_000  # of a file with its aliases written out


def _too_much(root: Node | None) -> Node | None:
    """A node that contains itself, or at which a file with its aliases written out becomes too large."""
    seen = 0
    stack: list[tuple[Node, frozenset[int]]] = [(root, frozenset())] if root is not None else []
    while stack:
        node, above = stack.pop()
        seen += 1
        if id(node) in above or seen > MOST_NODES:
            return node
        if isinstance(node, MappingNode | SequenceNode):
            pairs = node.value
            below = [part for pair in pairs for part in pair] if isinstance(node, MappingNode) else pairs
            inner = above | {id(node)}
            stack += [(part, inner) for part in below if isinstance(part, MappingNode | SequenceNode)]
    return None


def _mappings(node: Node | None, path: KeyPath) -> Iterator[tuple[KeyPath, MappingNode]]:
    if isinstance(node, MappingNode):
        yield path, node
        for key, value in node.value:
            if key.tag != _MERGE:
                yield from _mappings(value, (*path, str(key.value)))
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            yield from _mappings(item, (*path, index))
