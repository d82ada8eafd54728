"""Rewriting who plays whom in the text of a machines.yml.

Only the characters that say so are touched: comments, order, quotes and odd indentation stay byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode

from homelab_provision.site.document import child, parse_document, plain

PLAYS, DISTRUSTED = "plays", "distrusted_as"


@dataclass(frozen=True, order=True)
class Edit:
    """Put `text` in place of the characters from `start` to `end`."""

    start: int
    end: int
    text: str


def rewrite(text: str, host: str, machine: str) -> str:
    """`text` after `machine` became the player of `host`, and whoever was it before is distrusted with that name."""
    pair = child(parse_document("machines.yml", text).root, "machines")
    edits: list[Edit] = []
    for key, node in pair[1].value if pair and isinstance(pair[1], MappingNode) else ():
        # What comes from an alias stands elsewhere, and others may use it, too: it is left alone.
        if isinstance(node, MappingNode) and _start(node) >= _end(key):
            entry = _Entry(text, key, node)
            if key.value == machine:
                edits += entry.becomes(host)
            elif entry.scalar(PLAYS) == host:
                edits += entry.was(host)
    for edit in sorted(edits, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


@dataclass(frozen=True)
class _Entry:
    """One machine in the text: its name, and the mapping below it."""

    text: str
    name: Node
    body: MappingNode

    def becomes(self, host: str) -> Iterator[Edit]:
        """It plays `host` from now on, and is trusted with that name again."""
        plays, distrusted = self._own(PLAYS), self._own(DISTRUSTED)
        if distrusted and plain(distrusted[1]) == [host] and not plays and _is_flow(distrusted[1]):
            yield Edit(_start(distrusted[0]), _end(distrusted[1]), f"{PLAYS}: {host}")
            return
        if distrusted and isinstance(distrusted[1], SequenceNode):
            yield from self._drop_item(distrusted, host)
        if plays and self.scalar(PLAYS):
            if self.scalar(PLAYS) != host:
                yield Edit(_start(plays[1]), _end(plays[1]), host)
        elif plays:
            yield self._fill(plays, host)
        else:
            yield self._insert(f"{PLAYS}: {host}")

    def was(self, host: str) -> Iterator[Edit]:
        """It plays nothing from now on, and is not to be trusted as `host`."""
        plays, distrusted = self._own(PLAYS), self._own(DISTRUSTED)
        if plays is None:
            return
        if distrusted is None:
            # In its place, so that the order and the comment behind it stay.
            yield Edit(_start(plays[0]), _end(plays[1]), f"{DISTRUSTED}: [{host}]")
            return
        yield self._without(*plays)
        if not isinstance(distrusted[1], SequenceNode):
            yield self._fill(distrusted, f"[{host}]")
        elif host not in [item.value for item in distrusted[1].value]:
            yield self._append(distrusted[1], host)

    def scalar(self, name: str) -> str | None:
        pair = self._own(name)
        return str(pair[1].value) if pair and isinstance(pair[1], ScalarNode) and plain(pair[1]) is not None else None

    def _own(self, name: str) -> tuple[Node, Node] | None:
        """The pair of a key that is written in this very mapping (not merged or aliased into it)."""
        return next(
            ((key, value) for key, value in self.body.value if key.value == name and _start(value) >= _end(key)), None
        )

    def _fill(self, pair: tuple[Node, Node], value: str) -> Edit:
        """Give a value to a key that has none (`plays:`, `plays: ~`)."""
        key, empty = pair
        colon = self.text.index(":", _end(key)) + 1
        return Edit(_start(empty), _end(empty), value) if empty.value else Edit(colon, colon, f" {value}")

    def _insert(self, line: str) -> Edit:
        """A new key: behind `model`, which says what the machine is, or as the first one."""
        if _is_flow(self.body):
            after = _start(self.body) + 1
            return Edit(after, after, f"{line}, ")
        model = self._own("model")
        above = model[1] if model and isinstance(model[1], ScalarNode) else self.name
        end = self._line_end(_end(above))
        indent = " " * self.body.value[0][0].start_mark.column
        return Edit(end, end, f"{self._newline()}{indent}{line}")

    def _without(self, key: Node, value: Node) -> Edit:
        """Take a key with a one-line value out; a comment behind it keeps its line."""
        if _is_flow(self.body):
            return self._cut(list(self.body.value), (key, value))
        return self._cut_line(_start(key), _end(value))

    def _append(self, items: SequenceNode, host: str) -> Edit:
        if not items.value:
            return Edit(_start(items), _end(items), f"[{host}]")
        last = _end(items.value[-1])
        if _is_flow(items):
            return Edit(last, last, f", {host}")
        end = self._line_end(last)
        return Edit(end, end, f"{self._newline()}{' ' * items.start_mark.column}- {host}")

    def _drop_item(self, pair: tuple[Node, Node], host: str) -> Iterator[Edit]:
        key, items = pair
        item = next((item for item in items.value if item.value == host), None)
        if item is None:
            return
        if _is_flow(items):
            yield self._cut([(each, each) for each in items.value], (item, item))
        elif len(items.value) > 1:
            yield self._cut_line(self.text.rindex("-", 0, _start(item)), _end(item))
        else:
            yield Edit(_end(key), _end(item), ": []")

    def _cut(self, pairs: list[tuple[Node, Node]], gone: tuple[Node, Node]) -> Edit:
        """Take one part out of a `[flow, style]` list or mapping, with one of the commas beside it."""
        index = next(number for number, pair in enumerate(pairs) if pair[0] is gone[0])
        if index > 0:
            return Edit(_end(pairs[index - 1][1]), _end(gone[1]), "")
        return Edit(_start(gone[0]), _start(pairs[1][0]) if len(pairs) > 1 else _end(gone[1]), "")

    def _cut_line(self, start: int, end: int) -> Edit:
        line_end = self._line_end(end)
        rest = self.text[end:line_end]
        if rest.strip():
            return Edit(start, end + len(rest) - len(rest.lstrip()), "")
        return Edit(self.text.rfind("\n", 0, start) + 1, min(len(self.text), self.text.find("\n", end) + 1), "")

    def _line_end(self, offset: int) -> int:
        end = self.text.find("\n", offset)
        end = len(self.text) if end < 0 else end
        return end - 1 if self.text[end - 1] == "\r" else end

    def _newline(self) -> str:
        return "\r\n" if "\r\n" in self.text else "\n"


def _is_flow(node: Node) -> bool:
    return isinstance(node, CollectionNode) and bool(node.flow_style)


def _start(node: Node) -> int:
    return int(node.start_mark.index)


def _end(node: Node) -> int:
    return int(node.end_mark.index)
