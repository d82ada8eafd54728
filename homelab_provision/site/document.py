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

    def problem(
        self, path: KeyPath, message: str, *, expected: str | None = None, suggestion: str | None = None,
        at_value: bool = False, called: str | None = None,
    ) -> Problem:  # fmt: skip
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
            found = node if at_value or key is None else key
        return self._place(found)

    def _place(self, node: Node | None) -> Place:
        if node is None:
            return Place(1, 0, 1)
        start, end = node.start_mark, node.end_mark
        same_line = start.line == end.line
        line = self.text.splitlines()[start.line] if start.line < self.text.count("\n") + 1 and self.text else ""
        width = end.column - start.column if same_line else len(line.rstrip()) - start.column
        return Place(start.line + 1, start.column, max(1, width))

    def _problem(self, place: Place, path: str, message: str, expected: str | None, suggestion: str | None) -> Problem:
        shown = excerpt(self.text, place.line, place.column, place.width)
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
                    self.problems.append(self._problem(
                        self._place(key), dotted((*path, name)), "key is there twice",
                        f"each key once; the first one is in line {seen[name]}", None))  # fmt: skip
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


def parse_document(name: str, text: str) -> Document:
    document = Document(name, text)
    try:
        document.root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        document.note_syntax(error)
    except YAMLError as error:
        document.problems.append(Problem(name, 1, "", f"not YAML: {str(error).splitlines()[0]}"))
    if _contains_itself(document.root, ()):
        document.problems.append(Problem(name, 0, "", "an alias (`*name`) inside of what it stands for"))
        document.root = None
    document.note_duplicates()
    return document


def plain(node: Node | None) -> object:
    """The node as dict, list, text or None. Keys without a value are left out; merges (`<<`) are applied."""
    if isinstance(node, MappingNode):
        merged: dict[str, object] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                for source in value.value if isinstance(value, SequenceNode) else [value]:
                    inherited = plain(source)
                    if isinstance(inherited, dict):
                        merged = {**inherited, **merged}
        # Of a key that is there twice (an error), the first one counts, as it does for `child`.
        own = {str(key.value): plain(value) for key, value in reversed(node.value) if key.tag != _MERGE}
        own = dict(reversed(own.items()))
        return {**merged, **{key: value for key, value in own.items() if value is not None}}
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.value]
    if isinstance(node, ScalarNode) and node.tag != _NULL:
        return str(node.value)
    return None


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


def _contains_itself(node: Node | None, above: tuple[Node, ...]) -> bool:
    if not isinstance(node, (MappingNode, SequenceNode)):
        return False
    if any(node is other for other in above):
        return True
    below = [part for pair in node.value for part in pair] if isinstance(node, MappingNode) else node.value
    return any(_contains_itself(part, (*above, node)) for part in below)


def _mappings(node: Node | None, path: KeyPath) -> Iterator[tuple[KeyPath, MappingNode]]:
    if isinstance(node, MappingNode):
        yield path, node
        for key, value in node.value:
            if key.tag != _MERGE:
                yield from _mappings(value, (*path, str(key.value)))
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            yield from _mappings(item, (*path, index))
