"""What a file of the vault holds: names and values, checked without ever showing one.

A mistake is told by its line and its kind. The parser's own words are not: they show the text around it, and even
`undefined alias 'hunter2'` is a password.
"""

from __future__ import annotations

import re

import yaml

from homelab_provision.site.values import SECRET_PREFIX
from homelab_provision.site.wireguard import PUBLIC

SECRETS = "secrets"
# Names that we give ourselves; any other may be a password that slid to the left of its colon.
_OURS = re.compile(r"((secret|public_vpn)_[a-z0-9_]{1,60}|[a-z_]{1,40}_(private|public|certificate)|machine_id)")
_TEMPLATE = re.compile(r"\{[{%#]")
# What a parser complains about → what a person did. The beginnings are PyYAML's.
_KINDS = (
    ("could not find expected ':'", "a line that is not `name: value`"),
    ("mapping values are not allowed", "a second `: ` in one line; put the value in quotes"),
    ("found character", "a value that begins with a character of YAML's own, or a tab; put the value in quotes"),
    ("found undefined alias", "a value that begins with `*`; put it in quotes"),
    ("found duplicate anchor", "a value that begins with `&`; put it in quotes"),
    ("expected alphabetic or numeric", "a value that begins with `*` or `&`; put it in quotes"),
    ("found unexpected end of stream", "quotes that do not end"),
    ("found unknown escape", "a backslash in double quotes; use single ones"),
    ("expected escape sequence", "a backslash in double quotes; use single ones"),
    ("expected <block end>", "something behind the end of a value, or a line that is indented differently"),
    ("expected the node content", "a value that begins with a character of YAML's own; put it in quotes"),
    ("expected a single document", "a second document (`---`)"),
)


class BadValues(ValueError):
    """What is wrong, and where; free of what stands there."""


def parse(name: str, clear: str) -> dict[str, str]:
    """The values of the vault file `name`. Raises `BadValues`."""
    try:
        root = yaml.compose(clear, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise BadValues(_complaint(error)) from None
    except (yaml.YAMLError, RecursionError):
        raise BadValues("a character that no text has, or too many brackets") from None
    if root is None:
        raise BadValues("there is nothing in it")
    if not isinstance(root, yaml.MappingNode):
        raise BadValues(f"line {_line(root)}: `name: value` is expected, and this is something else")
    _check(name, root)
    try:
        # Values of a user's own variables may be of any type; ours are text.
        return dict(yaml.SafeLoader("").construct_document(root))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        where = f"line {mark.line + 1}: " if mark else ""
        raise BadValues(f"{where}a value of a type that is not supported, such as one that begins with `!`") from None


def _check(name: str, root: yaml.MappingNode) -> None:
    """Names are texts that are there once, values of ours are texts."""
    seen: dict[str, int] = {}
    for key, value in root.value:
        line = _line(key)
        if not _is_text(key):
            raise BadValues(f"line {line}: a name is expected")
        if key.value in seen:
            raise BadValues(f"lines {seen[key.value]} and {line}: the same name{_called(key.value)}; which one counts?")
        seen[key.value] = line
        if isinstance(value, yaml.ScalarNode) and value.tag.endswith(":null"):
            raise BadValues(f"line {line}: a name without a value{_called(key.value)}")
        ours = name != SECRETS or key.value.startswith((SECRET_PREFIX, PUBLIC))
        if ours and not _is_text(value):
            raise BadValues(f"line {line}: a value that is not text{_called(key.value)}; put it in quotes")
        if name == SECRETS and ours and _TEMPLATE.search(value.value):
            raise BadValues(
                f"line {line}: a value with a curly bracket and another, `%` or `#` behind it{_called(key.value)}; "
                "Ansible would take it for a template, and show it when that fails"
            )


def _is_text(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and bool(node.tag.endswith(":str"))


def _called(name: str) -> str:
    return f" (`{name}`)" if _OURS.fullmatch(name) else ""


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _complaint(error: yaml.MarkedYAMLError) -> str:
    told = (error.problem or "", error.context or "")
    kind = next(
        (kind for said, kind in _KINDS if any(one.startswith(said) for one in told)),
        "not YAML; put the value in quotes",
    )
    mark = error.problem_mark or error.context_mark
    begun = error.context_mark.line + 1 if error.context_mark else None
    line = mark.line + 1 if mark else 1
    since = f" (it began in line {begun})" if begun and begun != line and "quote" in (error.context or "") else ""
    return f"line {line}: {kind}{since}"
